//! The files of a bounded recording: `FILE` is being written, `FILE.1`, `FILE.2` … are full.
//!
//! A full file gets its number by rename(2), and files are removed whole, oldest first. Whenever a recorder is killed, what is
//! there is a row of whole files and at most one that is cut off.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::RecordingError;

/// Files that a ring has, when it is full: the more, the less is dropped at once.
const FILES: u64 = 8;

/// How much of the past a recording keeps. What is older is dropped an eighth of this at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingLimits {
    /// All its files together, bytes; passed only where one window is larger than an eighth of it.
    pub max_bytes: Option<u64>,
    /// The oldest window.
    pub max_age: Option<Duration>,
}

impl RingLimits {
    /// Whether a file of so many bytes and such an age is full.
    pub(super) fn is_full(&self, bytes: u64, age: Duration) -> bool {
        self.max_bytes.is_some_and(|most| bytes > most / FILES)
            || self.max_age.is_some_and(|most| age >= most / FILES as u32)
    }

    /// Whether the oldest of the full files has to go: they have `bytes` in all, and its first window was `age` ago. What
    /// stays has to be within the bounds until the next file is full.
    pub(super) fn is_over(&self, bytes: u64, age: Duration) -> bool {
        self.max_bytes.is_some_and(|most| bytes > most - most / FILES)
            || self.max_age.is_some_and(|most| age > most - most / FILES as u32)
    }
}

/// The name of the full file with this number.
pub(super) fn full(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// All files that may belong to the recording at `path`: full ones by number, then the one that is written.
pub(super) fn list(path: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut numbers: Vec<u64> = fs::read_dir(directory)
        .map_err(RecordingError::io(path, "read"))?
        .flatten()
        .filter_map(|entry| number(path, &entry.file_name()))
        .collect();
    numbers.sort_unstable();
    let mut files: Vec<PathBuf> = numbers.into_iter().map(|number| full(path, number)).collect();
    if path.exists() {
        files.push(path.to_owned());
    }
    Ok(files)
}

/// The number of a full file of `path` by its name.
fn number(path: &Path, name: &std::ffi::OsStr) -> Option<u64> {
    let rest = name.as_encoded_bytes().strip_prefix(path.file_name()?.as_encoded_bytes())?;
    let digits = std::str::from_utf8(rest.strip_prefix(b".")?).ok()?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
