//! What the monitor reports.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::FaultEvent;
use super::faults::ThreadWrites;
use super::range::PageRange;
use super::region::MemoryRegion;
use crate::error::GlassRamError;

/// What was written in one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Counts from 0.
    pub index: u64,
    /// When it began; the one before it ended then.
    pub started: Instant,
    /// How long it really was. A loop that was held up gives one longer window, never several at once.
    pub length: Duration,
    /// The written pages: sorted, disjoint, page-aligned.
    pub written: Vec<PageRange>,
    /// Pages that were not armed, sorted, disjoint, apart from `written`: whether they were written is not known. Everywhere else
    /// silence is exact; where this is empty, the whole window is.
    pub unseen: Vec<PageRange>,
    /// The mappings under watch, in address order; only where they changed, and in the first window.
    pub regions: Option<Arc<[MemoryRegion]>>,
    /// Pages of all writable mappings, under watch or refused by the kernel.
    pub writable_pages: u64,
    /// Threads of the target that ran of late, as of the last tenth of a second.
    pub active_threads: u32,
    /// Who wrote, as far as it was sampled, by thread; empty where the kernel does not let us know
    /// ([`GlassRamMonitor::lost`](super::GlassRamMonitor::lost)).
    pub threads: Vec<ThreadWrites>,
    /// Processes that the target has forked in it.
    pub forked: Vec<u32>,
    /// Single events in their order; of the synchronous rungs only.
    pub events: Vec<FaultEvent>,
    /// Events that the target was not kept waiting for, and of which nothing is known.
    pub dropped: u64,
}

/// Why there will be no more windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The process ended.
    Ended,
    /// The process executed another program: what was watched is gone, and the new program can be attached to anew.
    Executed,
    /// It was a recording, and it is over.
    Replayed,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExitReason::Ended => "the process has ended",
            ExitReason::Executed => "the process has executed another program",
            ExitReason::Replayed => "the recording is over",
        })
    }
}

/// What the monitor reports.
#[derive(Debug, Clone, PartialEq)]
pub enum CaptureEvent {
    /// One window is over.
    Window(Window),
    /// The target has forked this process; only where its children are followed, and before the window that names it.
    Forked(u32),
    /// The target is gone; the last event.
    Exited(ExitReason),
    /// Watching failed; the last event. The target runs on.
    Failed(GlassRamError),
}
