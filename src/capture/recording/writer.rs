//! Writing a recording.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zstd::stream::raw::{CParameter, Encoder, Operation as _, OutBuffer};

use super::codec::{self, Context};
use super::error::RecordingError;
use super::frame::{Kind, MAGIC, MAX_WINDOW, frame};
use super::header::{Header, RecordingInfo};
use super::numbers::put;
use super::segments::{self, RingLimits};
use super::weight;
use crate::capture::{ExitReason, MemoryRegion, Rung, TargetInfo, Window};

/// zstd's own default: three times as fast as the next that is noticeably smaller.
const LEVEL: i32 = 3;
/// How far back zstd looks, as a power of two: 1 MiB, which a reader has to hold.
pub(super) const WINDOW_LOG: u32 = 20;
/// A chunk is closed when it is so long, and seeking begins at a chunk.
const CHUNK_TIME: Duration = Duration::from_secs(2);
/// Or when it has so many bytes before compression.
const CHUNK_BYTES: usize = 4 << 20;

/// What is recorded so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Windows written, dropped ones included.
    pub windows: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Windows in the files that have been dropped.
    pub dropped: u64,
}

/// Appends windows to a recording. Each is in the file when [`Self::window`] returns; dropping the recorder
/// loses nothing.
pub struct Recorder {
    path: PathBuf,
    limits: RingLimits,
    header: Header,
    context: Context,
    file: File,
    segment: Segment,
    full: VecDeque<(PathBuf, Segment)>,
    chunk: Option<Chunk>,
    chunks: u64,
    encoder: Encoder<'static>,
    regions: Option<Arc<[MemoryRegion]>>,
    recorded: Recorded,
}

#[derive(Debug, Clone, Copy, Default)]
struct Segment {
    bytes: u64,
    windows: u64,
    /// Offset of its first window's start.
    first: Option<Duration>,
}

struct Chunk {
    first: Duration,
    bytes: usize,
}

impl Recorder {
    /// Begins a recording of `target`, whose times are counted from `origin`. Nothing that is there is
    /// written over.
    pub fn create(
        path: &Path,
        target: &TargetInfo,
        rung: Rung,
        origin: Instant,
        limits: RingLimits,
    ) -> Result<Self, RecordingError> {
        if let Some(there) = segments::list(path)?.into_iter().next() {
            return Err(RecordingError::Exists { path: there });
        }
        let started = SystemTime::now() - origin.elapsed();
        // Two recordings of one name are told apart by when and by whom they were begun.
        let id = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
            ^ (u64::from(std::process::id()) << 32);
        let header = Header { info: RecordingInfo { target: target.clone(), rung, started }, id, segment: 1 };
        let mut encoder = Encoder::new(LEVEL).map_err(RecordingError::io(path, "compressed"))?;
        encoder
            .set_parameter(CParameter::WindowLog(WINDOW_LOG))
            .map_err(RecordingError::io(path, "compressed"))?;
        let (file, bytes) = begin(path, &header)?;
        Ok(Self {
            path: path.to_owned(),
            limits,
            context: Context { page_size: target.page_size, origin },
            header,
            file,
            segment: Segment { bytes, ..Segment::default() },
            full: VecDeque::new(),
            chunk: None,
            chunks: 0,
            encoder,
            regions: None,
            recorded: Recorded { bytes, ..Recorded::default() },
        })
    }

    /// Appends a window.
    pub fn window(&mut self, window: &Window) -> Result<(), RecordingError> {
        let start = window.started.saturating_duration_since(self.context.origin);
        let age = self.segment.first.map_or(Duration::ZERO, |first| start.saturating_sub(first));
        if self.segment.windows > 0 && self.limits.is_full(self.segment.bytes, age) {
            self.next_file(start)?;
        }
        if let Some(regions) = &window.regions {
            self.regions = Some(Arc::clone(regions));
        }
        let chunk_is_full =
            |chunk: &Chunk| chunk.bytes >= CHUNK_BYTES || start.saturating_sub(chunk.first) >= CHUNK_TIME;
        if self.chunk.as_ref().is_none_or(chunk_is_full) {
            self.begin_chunk(start)?;
        }
        let Some(chunk) = &mut self.chunk else { unreachable!("it was just begun") };
        let key = (chunk.bytes == 0).then_some(self.regions.as_deref()).flatten();
        let mut content = Vec::new();
        codec::encode(window, key, self.context, &mut content);
        if content.len() > MAX_WINDOW || !weight::fits(window, window.regions.as_deref().or(key)) {
            return Err(RecordingError::TooLarge { bytes: content.len() });
        }
        chunk.bytes += content.len();
        let compressed =
            compress(&mut self.encoder, &content).map_err(RecordingError::io(&self.path, "compressed"))?;
        let ended = codec::nanoseconds(start + window.length).to_le_bytes();
        self.append(&frame(Kind::Data, &[&ended, &compressed]))?;
        self.segment.windows += 1;
        self.segment.first.get_or_insert(start);
        self.recorded.windows += 1;
        Ok(())
    }

    /// Notes why there are no more windows: the target's end, or the person's wish.
    pub fn finish(mut self, reason: Option<ExitReason>) -> Result<Recorded, RecordingError> {
        let mut content = Vec::new();
        put(&mut content, reason.map_or(0, exit_code));
        self.append(&frame(Kind::End, &[&content]))?;
        self.file.sync_data().map_err(RecordingError::io(&self.path, "written"))?;
        Ok(self.recorded)
    }

    /// What is recorded so far.
    pub fn recorded(&self) -> Recorded {
        self.recorded
    }

    fn begin_chunk(&mut self, start: Duration) -> Result<(), RecordingError> {
        self.encoder.reinit().map_err(RecordingError::io(&self.path, "compressed"))?;
        let mut content = Vec::new();
        put(&mut content, self.chunks);
        put(&mut content, codec::nanoseconds(start));
        self.append(&frame(Kind::Chunk, &[&content]))?;
        self.chunks += 1;
        self.chunk = Some(Chunk { first: start, bytes: 0 });
        Ok(())
    }

    /// One write, so that a record that is there in part is only ever the last.
    fn append(&mut self, record: &[u8]) -> Result<(), RecordingError> {
        self.file.write_all(record).map_err(RecordingError::io(&self.path, "written"))?;
        self.segment.bytes += record.len() as u64;
        self.recorded.bytes += record.len() as u64;
        Ok(())
    }

    /// The file that is written is full: it gets its number, and the oldest go.
    fn next_file(&mut self, now: Duration) -> Result<(), RecordingError> {
        let written = RecordingError::io(&self.path, "written");
        self.file.sync_data().map_err(written)?;
        let name = segments::full(&self.path, self.header.segment);
        fs::rename(&self.path, &name).map_err(RecordingError::io(&name, "written"))?;
        self.full.push_back((name, self.segment));
        while let Some((_, oldest)) = self.full.front()
            && self.limits.is_over(
                self.full.iter().map(|(_, segment)| segment.bytes).sum(),
                now.saturating_sub(oldest.first.unwrap_or(now)),
            )
            && let Some((name, oldest)) = self.full.pop_front()
        {
            fs::remove_file(&name).map_err(RecordingError::io(&name, "removed"))?;
            self.recorded.bytes -= oldest.bytes;
            self.recorded.dropped += oldest.windows;
        }
        self.header.segment += 1;
        let (file, bytes) = begin(&self.path, &self.header)?;
        self.file = file;
        self.segment = Segment { bytes, ..Segment::default() };
        self.recorded.bytes += bytes;
        self.chunk = None;
        Ok(())
    }
}

fn begin(path: &Path, header: &Header) -> Result<(File, u64), RecordingError> {
    // What somebody else's memory does is not for everybody, from the first byte on, whatever the umask says.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => RecordingError::Exists { path: path.to_owned() },
        _ => RecordingError::io(path, "written")(error),
    })?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&frame(Kind::Header, &[&header.encode()]));
    file.write_all(&bytes).map_err(RecordingError::io(path, "written"))?;
    Ok((file, bytes.len() as u64))
}

/// The next piece of the stream: all of `content` can be had from it and from the pieces before.
fn compress(encoder: &mut Encoder<'_>, content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut compressed = vec![0; zstd::zstd_safe::compress_bound(content.len()) + 64];
    let (mut read, mut written) = (0, 0);
    loop {
        let status = if read < content.len() {
            encoder.run_on_buffers(&content[read..], &mut compressed[written..])?
        } else {
            let mut out = OutBuffer::around(&mut compressed[written..]);
            let left = encoder.flush(&mut out)?;
            written += out.pos();
            if left == 0 {
                compressed.truncate(written);
                return Ok(compressed);
            }
            compressed.resize(compressed.len() + left, 0);
            continue;
        };
        read += status.bytes_read;
        written += status.bytes_written;
        if written == compressed.len() {
            compressed.resize(2 * compressed.len(), 0);
        }
    }
}

/// A reason as a number that never changes; 0 is the person's wish.
pub(super) fn exit_code(reason: ExitReason) -> u64 {
    match reason {
        ExitReason::Ended => 1,
        ExitReason::Executed => 2,
        ExitReason::Replayed => 0,
    }
}
