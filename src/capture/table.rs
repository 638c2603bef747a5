//! The target's table of mappings as `/proc/PID/maps` has it, and what of it is new.
//!
//! A long table takes longer to read and to understand than a window lasts, and hardly any of it changes from
//! one reading to the next. So it can be read in pieces ([`Maps::read_on`]), and only the lines between the
//! first and the last one that differ are parsed. The kernel itself gives it a page at a time, between which
//! it may change.

use std::fs::File;
use std::io::{Read, Seek};
use std::ops::Range;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::CaptureError;
use super::region::{MemoryRegion, parse_maps};
use super::target::{errno, open_proc};

/// Bytes that are read before the clock is asked again.
const PIECE: u64 = 64 << 10;
/// Bytes of two texts that are compared at once.
const CHUNK: usize = 4096;

/// The open `/proc/PID/maps`, bound to the address space it was opened on: when the target executes another
/// program or ends, it is empty.
#[derive(Debug)]
pub(super) struct Maps {
    file: File,
    text: Vec<u8>,
    fresh: Vec<u8>,
    /// `fresh` is the begin of a table that is being read.
    begun: bool,
    /// The mappings of `text`, line by line; none where that is not to be understood.
    regions: Option<Vec<MemoryRegion>>,
    /// The same where some of them overlap, without that.
    apart: Option<Vec<MemoryRegion>>,
}

impl Maps {
    pub fn open(pid: u32) -> Result<Self, CaptureError> {
        Ok(Self::of(open_proc(pid, "maps")?))
    }

    /// Such a file, opened by somebody else.
    pub fn of(file: File) -> Self {
        Self {
            file,
            text: Vec::new(),
            fresh: Vec::new(),
            begun: false,
            regions: Some(Vec::new()),
            apart: None,
        }
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// Reads the table anew; whether it differs from the last one.
    pub fn read(&mut self) -> Result<bool, Errno> {
        self.begun = false;
        loop {
            if let Some(changed) = self.read_on(Duration::MAX)? {
                return Ok(changed);
            }
        }
    }

    /// Reads on in the table, for about so long: whether it differs from the last one, once all of it is
    /// read.
    pub fn read_on(&mut self, time: Duration) -> Result<Option<bool>, Errno> {
        let begun = Instant::now();
        if !std::mem::replace(&mut self.begun, true) {
            self.fresh.clear();
            self.file.rewind().map_err(errno)?;
        }
        loop {
            match (&self.file).take(PIECE).read_to_end(&mut self.fresh).map_err(errno) {
                Ok(0) => break,
                Ok(_) if begun.elapsed() >= time => return Ok(None),
                Ok(_) => {}
                // The process is not only at its end, but its parent has taken note of it.
                Err(Errno::ESRCH) => {
                    self.fresh.clear();
                    break;
                }
                Err(errno) => {
                    self.begun = false;
                    return Err(errno);
                }
            }
        }
        self.begun = false;
        let changed = self.fresh != self.text;
        if changed {
            self.regions = self.understood();
            self.apart = self.regions.as_deref().and_then(apart);
            std::mem::swap(&mut self.fresh, &mut self.text);
        }
        Ok(Some(changed))
    }

    /// Whether a part of it is read, and the next call of [`Self::read_on`] goes on.
    pub fn is_being_read(&self) -> bool {
        self.begun
    }

    /// Whether the address space is gone.
    pub fn is_gone(&self) -> bool {
        self.text.is_empty()
    }

    /// The table as it was read last: by address, disjoint.
    pub fn regions(&self, pid: u32) -> Result<&[MemoryRegion], CaptureError> {
        self.apart.as_deref().or(self.regions.as_deref()).ok_or(CaptureError::System {
            operation: "understanding the memory map",
            pid,
            errno: Errno::EINVAL,
        })
    }

    /// The mappings of `fresh`, from those of `text` as far as the lines are the same.
    fn understood(&mut self) -> Option<Vec<MemoryRegion>> {
        let Some(mut regions) = self.regions.take() else { return parse_maps(&self.fresh).ok() };
        let (old, new) = differing(&self.text, &self.fresh);
        let lines = |text: &[u8]| memchr::memchr_iter(b'\n', text).count();
        let first = lines(self.text.get(..old.start)?);
        let behind = lines(self.text.get(old.end..)?);
        let until = regions.len().checked_sub(behind).filter(|until| first <= *until)?;
        let parsed = parse_maps(self.fresh.get(new)?).ok()?;
        regions.splice(first..until, parsed);
        Some(regions)
    }
}

/// A table that was changed while it was read may have a mapping twice, as it was and as it is, which is read
/// later. None where that is not so.
fn apart(regions: &[MemoryRegion]) -> Option<Vec<MemoryRegion>> {
    if regions.is_sorted_by(|one, next| one.end <= next.start) {
        return None;
    }
    let mut apart: Vec<MemoryRegion> = Vec::with_capacity(regions.len());
    for region in regions {
        while apart.pop_if(|before| before.start >= region.start).is_some() {}
        if let Some(before) = apart.last_mut() {
            before.end = before.end.min(region.start);
        }
        apart.push(region.clone());
    }
    Some(apart)
}

/// Where two texts differ: whole lines, from the first that is another to the last. A line more is no harm.
fn differing(one: &[u8], other: &[u8]) -> (Range<usize>, Range<usize>) {
    let alike = alike(one.chunks(CHUNK).zip(other.chunks(CHUNK)), |(one, other)| {
        one.iter().zip(other).take_while(|(one, other)| one == other).count()
    });
    let first = one.get(..alike).and_then(|same| memchr::memrchr(b'\n', same)).map_or(0, |at| at + 1);
    let (rest, other_rest) = (one.get(first..).unwrap_or_default(), other.get(first..).unwrap_or_default());
    let alike = self::alike(rest.rchunks(CHUNK).zip(other_rest.rchunks(CHUNK)), |(one, other)| {
        one.iter().rev().zip(other.iter().rev()).take_while(|(one, other)| one == other).count()
    });
    let tail = rest.get(rest.len() - alike..).unwrap_or_default();
    let whole = memchr::memchr(b'\n', tail).map_or(0, |at| tail.len() - at - 1);
    (first..one.len() - whole, first..other.len() - whole)
}

/// Bytes that pairs of chunks have in common until the first that differ, and of those so many as `within`
/// says.
fn alike<'a>(
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    within: impl Fn((&'a [u8], &'a [u8])) -> usize,
) -> usize {
    let mut same = 0;
    for (one, other) in pairs {
        if one != other {
            return same + within((one, other));
        }
        same += one.len();
    }
    same
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_parsed_in_part_is_what_is_parsed_whole(
            tables in prop::collection::vec(prop::collection::vec((1u64..400, 0usize..3), 0..120), 1..6),
        ) {
            let dir = tempfile::tempdir().expect("a folder");
            let path = dir.path().join("maps");
            std::fs::write(&path, "").expect("written");
            let mut maps = Maps::of(File::open(&path).expect("opened"));
            for mut lines in tables {
                lines.sort_unstable();
                lines.dedup_by_key(|line| line.0);
                let name = |which: usize| ["", "/a file", "[heap]"][which];
                let text: String = lines
                    .iter()
                    .map(|(at, which)| {
                        let (start, end) = (at << 12, (at + 1) << 12);
                        format!("{start:08x}-{end:08x} rw-p 00000000 00:00 0    {}\n", name(*which))
                    })
                    .collect();
                let before = maps.text.clone();
                std::fs::write(&path, &text).expect("written");
                let changed = loop {
                    if let Some(changed) = maps.read_on(Duration::ZERO).expect("read") {
                        break changed;
                    }
                };
                prop_assert_eq!(changed, before != text.as_bytes());
                prop_assert_eq!(maps.regions(1).expect("understood"), parse_maps(text.as_bytes()).expect("well formed"));
            }
        }
    }

    #[test]
    fn what_was_read_later_is_what_is_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("maps");
        let table = |rows: &[(u64, u64)]| -> String {
            rows.iter()
                .map(|(start, end)| format!("{start:x}000-{end:x}000 rw-p 00000000 00:00 0 \n"))
                .collect()
        };
        std::fs::write(&path, "").expect("written");
        let mut maps = Maps::of(File::open(&path).expect("opened"));
        // It has grown downwards over one mapping and a part of another, and upwards meanwhile.
        for (read, there) in [
            (vec![(1, 3), (5, 9), (9, 10), (8, 12), (14, 15)], vec![(1, 3), (5, 8), (8, 12), (14, 15)]),
            (vec![(1, 3), (5, 9), (14, 15)], vec![(1, 3), (5, 9), (14, 15)]),
            (vec![(1, 3), (5, 9), (5, 20)], vec![(1, 3), (5, 20)]),
        ] {
            std::fs::write(&path, table(&read)).expect("written");
            maps.read().expect("read");
            let found: Vec<(u64, u64)> = maps
                .regions(1)
                .expect("understood")
                .iter()
                .map(|region| (region.start >> 12, region.end >> 12))
                .collect();
            assert_eq!(found, there);
        }
    }

    #[test]
    fn what_is_not_to_be_understood_is_said_until_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("maps");
        let line = "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n";
        std::fs::write(&path, "no address\n").expect("written");
        let mut maps = Maps::of(File::open(&path).expect("opened"));
        maps.read().expect("read");
        assert!(maps.regions(1).is_err());
        std::fs::write(&path, line).expect("written");
        assert!(maps.read().expect("read"));
        assert_eq!(maps.regions(1).expect("understood").len(), 1);
    }
}
