//! What the events of a window are: kept, counted, timed, and bounded in their number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::errno::Errno;

use super::super::FaultEvent;
use super::super::probe::Rung;
use super::super::range::PageRange;
use super::super::uffd::{UffdIoctlMode, UserfaultFd};
use super::fault_reader::FaultReader;

/// Latencies are told apart to two digits, up to a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// What the reader has seen since it was last asked.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub events: Vec<FaultEvent>,
    /// Faults that the target waited for.
    pub waited_faults: u64,
    /// Events that were answered without being kept, because the window had its share.
    pub dropped: u64,
    /// The window had its share: nothing is armed any more.
    pub exhausted: bool,
}

/// How long events took, from the reader's waking until the fault was resolved and the event could be taken.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in super::super) struct SyncMetrics {
    pub events: u64,
    pub dropped: u64,
    pub mean: Duration,
    pub percentile_99: Duration,
    pub longest: Duration,
}

#[derive(Debug)]
struct State {
    taken: Taken,
    armed: Vec<PageRange>,
    left: u32,
    latency: Histogram<u64>,
    events: u64,
    dropped: u64,
}

/// The reader of one target. Dropping it ends its thread.
#[derive(Debug)]
pub(super) struct Reader {
    state: Arc<Mutex<State>>,
    _thread: FaultReader,
    budget: u32,
}

impl Reader {
    pub fn start(uffd: UserfaultFd, rung: Rung, budget: u32, beat: Beat) -> Result<Self, Errno> {
        let latency = Histogram::new_with_max(LONGEST_NS, 2).map_err(|_| Errno::EINVAL)?;
        let state = State {
            taken: Taken::default(),
            armed: Vec::new(),
            left: budget,
            latency,
            events: 0,
            dropped: 0,
        };
        let state = Arc::new(Mutex::new(state));
        let mode = if rung == Rung::Missing { UffdIoctlMode::Missing } else { UffdIoctlMode::WriteProtect };
        let (uffd, shared) = (Arc::new(uffd), Arc::clone(&state));
        let theirs = Arc::clone(&uffd);
        let consumer =
            move |events: &[FaultEvent], woken: Instant| keep(&theirs, mode, events, &shared, woken);
        let beat = move || {
            beat.0.fetch_add(1, Ordering::AcqRel);
        };
        Ok(Self { state, _thread: FaultReader::with_beat(uffd, mode, beat, consumer)?, budget })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn take(&self) -> Taken {
        std::mem::take(&mut self.state().taken)
    }

    /// These pages are armed now.
    pub fn armed(&self, ranges: &[PageRange]) {
        self.state().armed = ranges.to_vec();
    }

    /// The window's share of events begins anew.
    pub fn begin_window(&self) {
        let mut state = self.state();
        state.left = self.budget;
        state.taken.exhausted = false;
    }

    pub fn metrics(&self) -> SyncMetrics {
        let state = self.state();
        let nanos = Duration::from_nanos;
        SyncMetrics {
            events: state.events,
            dropped: state.dropped,
            mean: Duration::from_secs_f64(state.latency.mean() / 1e9),
            percentile_99: nanos(state.latency.value_at_quantile(0.99)),
            longest: nanos(state.latency.max()),
        }
    }
}

/// What the watchdog looks at: a number that moves when events are about to be read, to odd, and when they are answered, to even. It
/// lies in memory that both processes share.
#[derive(Debug)]
pub(super) struct Beat(pub &'static AtomicU64);

fn keep(
    uffd: &UserfaultFd,
    mode: UffdIoctlMode,
    events: &[FaultEvent],
    state: &Mutex<State>,
    woken: Instant,
) {
    let nanos = (woken.elapsed().as_nanos() as u64).clamp(1, LONGEST_NS);
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let State { taken, latency, .. } = &mut *state;
    let _ = latency.record_n(nanos, events.len() as u64);
    taken.waited_faults +=
        events.iter().filter(|event| matches!(event, FaultEvent::PageFault { .. })).count() as u64;
    state.events += events.len() as u64;
    let (kept, beyond) = events.split_at(events.len().min(state.left as usize));
    state.taken.events.extend_from_slice(kept);
    state.taken.dropped += beyond.len() as u64;
    state.dropped += beyond.len() as u64;
    state.left -= kept.len() as u32;
    if state.left == 0 && !state.taken.exhausted {
        state.taken.exhausted = true;
        for range in std::mem::take(&mut state.armed) {
            let _ = match mode {
                UffdIoctlMode::Missing => uffd.unwatch(range),
                UffdIoctlMode::WriteProtect => uffd.unprotect(range),
            };
        }
    }
}
