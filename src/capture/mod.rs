//! Capture: which pages of another process were written, window by window.
//!
//! **In**: the number of a process that knows nothing of us. **Out**: [`CaptureEvent`]s, each [`Window`] of which names
//! the pages written in it, and the writable mappings when they change. **Called by** `system`, as a calloop source.
//!
//! ```text
//!  attach ──► target     what forbids attaching, read from outside
//!         ──► frozen     control groups that stand still: never touched
//!         ──► threads    which thread is cheapest to stop ◄── calls: which call goes on exactly after it
//!         ──► inject     one system call in that thread, by its registers alone ──► a userfaultfd of the target
//!         ──► keeper     a process that holds it from then on: we watch, and cannot write
//!  monitor ─► tracker    the rung of the ladder: asynchronous (tracking), synchronous (sync), soft-dirty bits (soft_dirty)
//!         ──► tracking   a window: look, decide, arm
//!         ──► watch      the mappings under watch, kept in step with the target's table (table, region)
//!         ──► looks      what one call goes over   ──► parts   which of tens of thousands of mappings
//!         ──► registration  which of them are registered, so that they stay as many as they were
//!         ──► shared, marks  first reads of shared memory told from writes     ──► piece   no call holds the target's lock for long
//!         ──► yielding   what is let go because the target cannot use it otherwise, and how that is told (unwatched)
//!         ──► keeper     registration            ──► scan    PAGEMAP_SCAN: report and re-arm in one step
//!         ──► rest       when there is nothing to look for: the target sleeps (source)
//!         ──► governor   what a window may cost  ──► arming  which written pages are armed again, where that is not all
//!         ──► listening  sampled faults, births (perf, children)  ──► faults  who wrote: the threads of a window
//!         ──► metrics    what it costs           ──► huge    where huge pages are, before they are armed
//!  recording             the windows in a file, and played from it again as if they came from a monitor (source)
//! ```
//!
//! On the best rung the kernel resolves the write faults by itself (`UFFD_FEATURE_WP_ASYNC`), so the target never waits for us: it runs on when the
//! monitor is stopped, stalled or killed. Nothing traces it after the attach, and no descriptor of ours stays in it.
//!
//! What a window cannot tell: a huge page that is populated at once counts as written whole; so do pages of hugetlbfs; pages moved by
//! mremap(2) count as written at their new place. What a device or the kernel itself writes into pinned
//! memory (registered buffers of io_uring, RDMA), and what others write into shared memory through mappings
//! of their own, is in no page table of the target's and not told; nor is what is written into a file's
//! private mapping between mprotect(2) and mprotect(2), unless the table of mappings shows the right once. Of
//! the first pages of a block of 2 MiB of shared memory it tells that it does not know.

mod anonymous;
mod arming;
mod attach;
pub mod birth;
pub mod broker;
mod calls;
mod children;
mod descriptors;
mod devices;
mod error;
mod event_source;
mod fault_time;
mod faults;
mod frozen;
mod governor;
mod huge;
mod inject;
mod keeper;
mod listening;
mod looks;
mod lost;
mod marks;
mod metrics;
mod monitor;
mod parts;
mod perf;
mod piece;
mod probe;
mod processes;
mod program_file;
mod programs;
pub mod range;
pub mod recording;
pub mod region;
mod registration;
mod rest;
pub(crate) mod rights;
mod running;
mod scan;
mod shared;
pub mod shortage;
mod soft_dirty;
mod source;
mod sync;
mod sys;
mod table;
mod target;
mod threads;
mod tracker;
mod tracking;
mod uffd;
mod unwatched;
mod vitals;
mod watch;
mod window;
mod yielding;

pub use arming::{Arming, ArmingPolicy, SweepArming, SweepRate, WindowEnd};
pub use attach::{AttachMetrics, ProcessAttach};
pub use broker::{Attacher, SecurityConfig};
pub use error::{CaptureError, Held};
pub use faults::ThreadWrites;
pub use governor::Governing;
pub use inject::{Stop, interrupt_calls};
pub use lost::LostFeature;
pub use metrics::{FaultMetrics, TargetMetrics};
pub use monitor::{GlassRamMonitor, MonitorConfig};
pub use perf::may_sample_threads;
pub use probe::{Rung, reads};
pub use processes::{ProcessSummary, is_private, may_trace_anyone, may_watch, process_of_thread, processes};
pub(crate) use programs::own_time;
pub use programs::watch_own_userfaultfd;
pub use range::PageRange;
pub use region::{MemoryRegion, RegionKind};
pub use source::WindowSource;
pub use sync::FaultReader;
pub use target::TargetInfo;
pub use uffd::{UffdCapability, UffdFeatureFlags, UffdIoctlMode, UffdMsg, UffdioRange, UserfaultFd};
pub use unwatched::{NotWatched, Unwatched, UnwatchedRegion};
pub use window::{CaptureEvent, ExitReason, Window};

/// What reads the kernel's words and other processes', as functions of bytes.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz {
    pub(crate) use super::broker::fuzz as broker;
    pub(crate) use super::perf::fuzz as perf;
    pub(crate) use super::scan::fuzz as pagemap;
    pub(crate) use super::uffd::fuzz as uffd;
}

use crate::error::Result;

/// One thing that happened to the memory of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultEvent {
    /// A page was faulted on.
    PageFault {
        /// The address that was accessed.
        address: u64,
        /// Bit 0: it was a write. Bit 1: the page was write-protected.
        flags: u32,
        /// The thread, where the kernel says it.
        thread_id: Option<u32>,
    },
    /// The target forked.
    Fork {
        /// The target.
        parent_pid: u32,
        /// Its child; 0 where that was not known yet or ended at once.
        child_pid: u32,
    },
    /// A mapping moved.
    Remap {
        /// Where it was.
        old_address: u64,
        /// Where it is.
        new_address: u64,
        /// Its length in bytes.
        length: u64,
    },
    /// Memory was given back or unmapped.
    Remove {
        /// Where it began.
        address: u64,
        /// Its length in bytes.
        length: u64,
    },
}

/// Attaching to a process and knowing its memory.
pub trait ProcessAttachCapability: Sized {
    /// Attaches to a running process, from outside.
    fn attach(pid: u32) -> Result<Self>;
    /// All its mappings, as they were when it was attached to.
    fn regions(&self) -> &[MemoryRegion];
    /// Those of them that can be written to and watched.
    fn writable_regions(&self) -> Vec<&MemoryRegion>;
    /// Attaches to a child that the process has forked, as a target of its own.
    fn handle_fork(&mut self, child_pid: u32) -> Result<()>;
}
