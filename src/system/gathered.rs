//! Windows put together for telemetry.
//!
//! The detectors and the history go by tenths of a second: what they look for lasts longer, and the time of a window that a picture
//! needs is short for them.

use std::time::Duration;

use crate::capture::{PageRange, Window, range};
use crate::telemetry::ThreadSample;

/// So much of the time is put together, less what a timer may be early.
const ENOUGH: Duration = Duration::from_millis(95);

/// What the windows since the last telling showed.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// What was written in any of them: sorted, disjoint.
    pub written: Vec<PageRange>,
    /// Pages written, once for each window.
    pub faults: u64,
    pub threads: Vec<ThreadSample>,
    /// The line was laid out anew.
    pub relaid: bool,
    pub length: Duration,
    pub windows: u32,
}

impl Gathered {
    pub fn window(&mut self, window: &Window, threads: &[ThreadSample], relaid: bool, page_size: u64) {
        self.faults += range::pages(&window.written, page_size);
        self.written.extend_from_slice(&window.written);
        range::merge(&mut self.written);
        self.threads.extend_from_slice(threads);
        self.relaid |= relaid;
        self.length += window.length;
        self.windows += 1;
    }

    pub fn is_enough(&self) -> bool {
        self.length >= ENOUGH
    }
}
