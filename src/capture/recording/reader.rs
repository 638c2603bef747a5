//! Reading a recording: an index of its chunks, and windows from any of them on.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zstd::stream::raw::{DParameter, Decoder, Operation as _};

use super::codec::{self, Context};
use super::error::{Damaged, RecordingError};
use super::frame::{FRAME, Frame, Kind, MAGIC, MAX_WINDOW, VERSION};
use super::header::{Header, RecordingInfo};
use super::numbers::Bytes;
use super::segments;
use super::writer::{WINDOW_LOG, exit_code};
use crate::capture::{ExitReason, MemoryRegion, Window};

/// No recording has more chunks: at two seconds each, 48 days of them; what follows is not read.
const MAX_CHUNKS: usize = 1 << 21;
/// No header is longer: it is a few numbers and a name.
const MAX_HEADER: usize = 64 << 10;
/// The end of a window stands before its content.
const END_TIME: usize = 8;

/// A recording that was opened: who it is of, and where in it what is.
#[derive(Debug)]
pub struct Recording {
    info: RecordingInfo,
    /// Files in the order in which they were written.
    files: Vec<Segment>,
    chunks: Vec<Chunk>,
    end: Duration,
    outcome: Option<ExitReason>,
    damage: Option<&'static str>,
    origin: Instant,
}

#[derive(Debug)]
struct Segment {
    file: File,
    length: u64,
    /// The first of its chunks.
    first_chunk: usize,
}

/// A place where reading can begin.
#[derive(Debug, Clone, Copy)]
struct Chunk {
    /// In its file.
    offset: u64,
    /// Nanoseconds.
    start: u64,
}

impl Recording {
    /// Opens the recording at `path`, with those of its files that are full. What follows a damage in a file
    /// is not read.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let mut found: Vec<(Header, Segment, u64)> = Vec::new();
        let mut refused = None;
        for name in segments::list(path)? {
            match open_file(&name) {
                Ok(file) => found.push(file),
                Err(error) => refused = Some(error),
            }
        }
        // What is being written, or was last, says which of the files belong together.
        let Some((newest, ..)) = found.last() else {
            return Err(refused.unwrap_or_else(|| RecordingError::Io {
                path: path.to_owned(),
                operation: "read",
                reason: "there is no such file".into(),
            }));
        };
        let (id, info) = (newest.id, newest.info.clone());
        found.retain(|(header, ..)| header.id == id);
        found.sort_by_key(|(header, ..)| header.segment);
        let mut recording = Self {
            info,
            files: Vec::new(),
            chunks: Vec::new(),
            end: Duration::ZERO,
            outcome: None,
            damage: None,
            origin: Instant::now(),
        };
        for (_, file, offset) in found {
            recording.files.push(Segment { first_chunk: recording.chunks.len(), ..file });
            recording.outcome = None;
            // A full file has no end of its own: only the last one can lack it.
            recording.damage = recording.index(offset).err().map(|Damaged(what)| what);
        }
        let mut place = recording.place_at(Duration::ZERO);
        if recording.next_at(&mut place).is_none() {
            let reason = place.damage.or(recording.damage).unwrap_or("nothing follows");
            return Err(RecordingError::Empty { path: path.to_owned(), reason });
        }
        Ok(recording)
    }

    /// Whether the file at `path` begins as a recording does.
    pub fn is_one(path: &Path) -> bool {
        let mut magic = [0; MAGIC.len() - 1];
        File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && MAGIC.starts_with(&magic)
    }

    /// Who was recorded.
    pub fn info(&self) -> &RecordingInfo {
        &self.info
    }

    /// When its first window began: not 0 when the ring has dropped older ones.
    pub fn begin(&self) -> Duration {
        self.chunks.first().map_or(Duration::ZERO, |chunk| Duration::from_nanos(chunk.start))
    }

    /// When its last window ended.
    pub fn end(&self) -> Duration {
        self.end
    }

    /// Why there were no more windows, if the target was the reason.
    pub fn outcome(&self) -> Option<ExitReason> {
        self.outcome
    }

    /// What is wrong with it, if it was not ended properly.
    pub fn damage(&self) -> Option<&'static str> {
        self.damage
    }

    /// Offset of this window's start, counted as [`Self::begin`] and [`Self::end`] are.
    pub fn offset(&self, window: &Window) -> Duration {
        window.started.saturating_duration_since(self.origin)
    }

    /// Its windows, from the first chunk that begins not after `offset`.
    pub fn cursor_at(&self, offset: Duration) -> Cursor<'_> {
        Cursor { recording: self, place: self.place_at(offset) }
    }

    pub(super) fn place_at(&self, offset: Duration) -> Place {
        let offset = codec::nanoseconds(offset);
        let after = self.chunks.partition_point(|chunk| chunk.start <= offset);
        Place::new(after.saturating_sub(1))
    }

    /// The next window at `place`.
    pub(super) fn next_at(&self, place: &mut Place) -> Option<Window> {
        loop {
            let chunk = *self.chunks.get(place.chunk)?;
            let offset = *place.offset.get_or_insert(chunk.offset);
            match self.read(chunk, offset, place) {
                Ok(Step::Window(window)) => return Some(*window),
                Ok(Step::Passed) => {}
                // What is left of this chunk cannot be had; the next one stands alone.
                Ok(Step::Over) => place.turn_to(place.chunk + 1),
                Err(Damaged(what)) => {
                    place.damage.get_or_insert(what);
                    place.turn_to(place.chunk + 1);
                }
            }
        }
    }

    fn read(&self, chunk: Chunk, offset: u64, place: &mut Place) -> Result<Step, Damaged> {
        let file = self.files.partition_point(|file| file.first_chunk <= place.chunk);
        let Some(Segment { file, length, .. }) = file.checked_sub(1).map(|file| &self.files[file]) else {
            return Ok(Step::Over);
        };
        if offset + FRAME as u64 > *length {
            return Ok(Step::Over);
        }
        let cut = |_| Damaged("a record is cut off");
        let mut head = [0; FRAME];
        file.read_exact_at(&mut head, offset).map_err(cut)?;
        let frame = Frame::parse(&head)?;
        if offset + (FRAME + frame.length) as u64 > *length {
            return Err(Damaged("a record is cut off"));
        }
        place.buffer.resize(frame.length, 0);
        file.read_exact_at(&mut place.buffer, offset + FRAME as u64).map_err(cut)?;
        frame.check(&place.buffer)?;
        let first = offset == chunk.offset;
        place.offset = Some(offset + (FRAME + frame.length) as u64);
        match frame.kind {
            Kind::Chunk if first => Ok(Step::Passed),
            Kind::Data if !first => {
                let content = place.buffer.get(END_TIME..).ok_or(Damaged("a window has no time"))?;
                let plain = decompress(&mut place.decoder, content)?;
                let context = Context { page_size: self.info.target.page_size, origin: self.origin };
                let (mut window, table) = codec::decode(&plain, context)?;
                if let Some((table, changed)) = table {
                    // A table that is only repeated is news to whoever has begun here.
                    if changed || place.regions.as_ref() != Some(&table) {
                        window.regions = Some(Arc::clone(&table));
                    }
                    place.regions = Some(table);
                }
                Ok(Step::Window(Box::new(window)))
            }
            _ => Ok(Step::Over),
        }
    }

    /// Finds the chunks of the file that was added last, from its first record after the header on.
    fn index(&mut self, mut offset: u64) -> Result<(), Damaged> {
        let Some(Segment { file, length, .. }) = self.files.last() else { return Ok(()) };
        let length = *length;
        let cut = |_| Damaged("the last record is cut off");
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(offset)).map_err(cut)?;
        loop {
            if offset == length {
                return match self.outcome {
                    // The end of a file that is full, or of one that is being written.
                    None => Err(Damaged("it was not ended properly")),
                    Some(_) => Ok(()),
                };
            }
            let mut head = [0; FRAME];
            reader.read_exact(&mut head).map_err(cut)?;
            let frame = Frame::parse(&head)?;
            let next = offset + (FRAME + frame.length) as u64;
            if next > length {
                return Err(Damaged("the last record is cut off"));
            }
            match frame.kind {
                Kind::Header => return Err(Damaged("it has two headers")),
                Kind::Data => {
                    let mut end = [0; END_TIME];
                    if frame.length < end.len() {
                        return Err(Damaged("a window has no time"));
                    }
                    reader.read_exact(&mut end).map_err(cut)?;
                    self.end = self.end.max(codec::time(u64::from_le_bytes(end))?);
                    let rest = frame.length - end.len();
                    reader.seek_relative(rest as i64).map_err(cut)?;
                }
                Kind::Chunk | Kind::End => {
                    if frame.length > MAX_HEADER {
                        return Err(Damaged("a record is longer than any of its kind"));
                    }
                    let mut content = vec![0; frame.length];
                    reader.read_exact(&mut content).map_err(cut)?;
                    frame.check(&content)?;
                    let mut bytes = Bytes(&content);
                    let first = bytes.number()?;
                    if frame.kind == Kind::End {
                        self.outcome = [ExitReason::Replayed, ExitReason::Ended, ExitReason::Executed]
                            .into_iter()
                            .find(|reason| exit_code(*reason) == first);
                        return Ok(());
                    }
                    let start = codec::nanoseconds(codec::time(bytes.number()?)?);
                    if self.chunks.len() >= MAX_CHUNKS {
                        return Err(Damaged("it has more chunks than any can"));
                    }
                    if self.chunks.last().is_some_and(|chunk| start < chunk.start) {
                        return Err(Damaged("time goes backwards"));
                    }
                    self.chunks.push(Chunk { offset, start });
                }
            }
            offset = next;
        }
    }
}

/// A way through a recording, window by window.
pub struct Cursor<'a> {
    recording: &'a Recording,
    place: Place,
}

impl Cursor<'_> {
    /// The next window; `None` at the end. The first one has the regions.
    pub fn next_window(&mut self) -> Option<Window> {
        self.recording.next_at(&mut self.place)
    }
}

impl Iterator for Cursor<'_> {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        self.next_window()
    }
}

/// Where in a recording one is.
pub(super) struct Place {
    chunk: usize,
    /// Of the next record; the chunk's own when `None`.
    offset: Option<u64>,
    decoder: Option<Decoder<'static>>,
    /// What the last window's were.
    regions: Option<Arc<[MemoryRegion]>>,
    buffer: Vec<u8>,
    /// Why the first of the chunks was left that could not be read to its end.
    damage: Option<&'static str>,
}

enum Step {
    Window(Box<Window>),
    /// It was a record without a window.
    Passed,
    /// The chunk has no more.
    Over,
}

impl Place {
    pub fn new(chunk: usize) -> Self {
        Self { chunk, offset: None, decoder: None, regions: None, buffer: Vec::new(), damage: None }
    }

    fn turn_to(&mut self, chunk: usize) {
        self.chunk = chunk;
        self.offset = None;
        self.decoder = None;
    }
}

/// Opens one file: its header, and where the first record after it begins.
fn open_file(path: &Path) -> Result<(Header, Segment, u64), RecordingError> {
    let foreign = || RecordingError::Foreign { path: path.to_owned() };
    let mut file = File::open(path).map_err(RecordingError::io(path, "read"))?;
    let length = file.metadata().map_err(RecordingError::io(path, "read"))?.len();
    let mut magic = [0; MAGIC.len()];
    file.read_exact(&mut magic).map_err(|_| foreign())?;
    if magic[..MAGIC.len() - 1] != MAGIC[..MAGIC.len() - 1] {
        return Err(foreign());
    }
    let version = magic[MAGIC.len() - 1];
    if version != VERSION {
        return Err(RecordingError::Version { path: path.to_owned(), version, known: VERSION });
    }
    let empty = |Damaged(reason): Damaged| RecordingError::Empty { path: PathBuf::from(path), reason };
    let cut = |_| empty(Damaged("the header is cut off"));
    let mut head = [0; FRAME];
    file.read_exact(&mut head).map_err(cut)?;
    let frame = Frame::parse(&head).map_err(empty)?;
    if frame.length > MAX_HEADER {
        return Err(empty(Damaged("the header is longer than any can be")));
    }
    let first = (MAGIC.len() + FRAME + frame.length) as u64;
    if first > length {
        return Err(empty(Damaged("the header is cut off")));
    }
    let mut content = vec![0; frame.length];
    file.read_exact(&mut content).map_err(cut)?;
    frame.check(&content).map_err(empty)?;
    let header = Header::decode(&content).map_err(empty)?;
    Ok((header, Segment { file, length, first_chunk: 0 }, first))
}

/// What the next piece of a stream adds.
fn decompress(decoder: &mut Option<Decoder<'static>>, compressed: &[u8]) -> Result<Vec<u8>, Damaged> {
    const PIECE: usize = 64 << 10;
    let broken = |_| Damaged("a window cannot be decompressed");
    if decoder.is_none() {
        let mut new = Decoder::new().map_err(broken)?;
        // A stream that asks for more memory than ours do is not one of ours.
        new.set_parameter(DParameter::WindowLogMax(WINDOW_LOG)).map_err(broken)?;
        *decoder = Some(new);
    }
    let Some(decoder) = decoder else { unreachable!("it was just made") };
    let mut plain = Vec::new();
    let mut read = 0;
    loop {
        let start = plain.len();
        if start > MAX_WINDOW {
            return Err(Damaged("a window is larger than any can be"));
        }
        plain.resize(start + PIECE, 0);
        let status = decoder.run_on_buffers(&compressed[read..], &mut plain[start..]).map_err(broken)?;
        read += status.bytes_read;
        plain.truncate(start + status.bytes_written);
        if read == compressed.len() && status.bytes_written < PIECE {
            return Ok(plain);
        }
        if status.bytes_read == 0 && status.bytes_written == 0 {
            return Err(Damaged("a window cannot be decompressed"));
        }
    }
}
