//! What can go wrong between samples and a map.

use std::path::PathBuf;

use crate::GlassRamError;

/// Why the sensing could not do what it was asked for. One line each: what failed, on what, and the remedy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SensingError {
    /// A recording cannot be used.
    #[error(
        "{}: {reason}; a recording is what `memory-glass record` makes, or an .npz file with n_pages, window_start_ns, offsets and page_index",
        path.display()
    )]
    Trace {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A recording would fill the memory.
    #[error(
        "{}: {windows} windows of {pages} pages take {} MiB, more than {} MiB: record for a shorter time, or with longer windows",
        path.display(), bytes >> 20, most >> 20
    )]
    TraceTooLarge {
        /// The file.
        path: PathBuf,
        /// Length of its line.
        pages: usize,
        /// How many windows it has.
        windows: usize,
        /// What they would take.
        bytes: usize,
        /// What they may take.
        most: usize,
    },
    /// A share that has to lie in 0..1 does not.
    #[error("{name} is {value}: give a share of the pages from {least} to 1")]
    Share {
        /// What the share is of.
        name: &'static str,
        /// What was given.
        value: f64,
        /// The least that is taken.
        least: f64,
    },
}

impl From<SensingError> for GlassRamError {
    fn from(error: SensingError) -> Self {
        Self::FeatureNotSupported { feature: error.to_string() }
    }
}
