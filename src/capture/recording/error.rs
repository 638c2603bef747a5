//! Why a recording could not be written or read.

use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::GlassRamError;

/// One failure with a recording: which file, what, and the remedy, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// Nothing that is there is written over.
    #[error("{} is there already: choose another name, or remove it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system refuses to read or write.
    #[error("{} cannot be {operation} ({reason}): choose a place that can", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was to be done with it.
        operation: &'static str,
        /// The system's answer.
        reason: String,
    },
    /// It is something else.
    #[error("{} is no recording: make one with `memory-glass record`", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later version of this program made it.
    #[error("{} has version {version} of the format, this program reads {known}: use the one that recorded it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        version: u8,
        /// The newest that is understood.
        known: u8,
    },
    /// Not even its first window is whole.
    #[error("{} ends before its first whole window ({reason}): record again, for longer", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: &'static str,
    },
    /// What it describes is more than may be made of a file.
    #[error("this recording describes memory that takes {} MiB to follow, more than {} MiB: record for a shorter time", bytes >> 20, most >> 20)]
    TooMuch {
        /// What it would take.
        bytes: usize,
        /// What it may.
        most: usize,
    },
    /// A window is larger than the format allows.
    #[error("a window of {bytes} bytes does not fit into a recording: watch with shorter windows")]
    TooLarge {
        /// Its size before compression.
        bytes: usize,
    },
}

impl RecordingError {
    pub(super) fn io(path: &Path, operation: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, operation, reason: error.to_string() }
    }
}

impl From<RecordingError> for GlassRamError {
    fn from(error: RecordingError) -> Self {
        Self::FeatureNotSupported { feature: error.to_string() }
    }
}

/// Bytes that are not what a recorder writes; what is wrong with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged(pub &'static str);
