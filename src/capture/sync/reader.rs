//! The thread that answers every event at once.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use userfaultfd::EventBuffer;

use super::super::FaultEvent;
use super::super::probe::Rung;
use super::super::range::PageRange;
use super::super::sys;
use super::super::uffd::UserfaultFd;

/// Events that are fetched in one call.
const BATCH: usize = 64;
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

/// The reader of one target. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Reader {
    state: Arc<Mutex<State>>,
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
    budget: u32,
}

impl Reader {
    pub fn start(uffd: UserfaultFd, rung: Rung, budget: u32, beat: Arc<Beat>) -> Result<Self, Errno> {
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
        // SAFETY: a new descriptor that nobody else owns.
        let stop = unsafe {
            let fd = Errno::result(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
            OwnedFd::from_raw_fd(fd)
        };
        let theirs = stop.try_clone().map_err(super::super::target::errno)?;
        let shared = Arc::clone(&state);
        let thread = std::thread::Builder::new()
            .name("fault reader".into())
            .spawn(move || read(&uffd, rung, &theirs, &shared, &beat))
            .map_err(super::super::target::errno)?;
        Ok(Self { state, stop, thread: Some(thread), budget })
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

impl Drop for Reader {
    fn drop(&mut self) {
        let one = 1u64;
        // SAFETY: eight bytes of this stack, as the descriptor wants them.
        unsafe { libc::write(self.stop.as_raw_fd(), (&raw const one).cast(), 8) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the watchdog looks at: a number that moves when events are about to be read, to odd, and when they are answered, to even. It
/// lies in memory that both processes share.
#[derive(Debug)]
pub(super) struct Beat(pub &'static AtomicU64);

fn read(uffd: &UserfaultFd, rung: Rung, stop: &OwnedFd, state: &Mutex<State>, beat: &Beat) {
    // Faults wait for this thread: ahead of ordinary ones, where that is permitted.
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: a structure of this stack that the call reads; 0 is this thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &first) };
    let mut buffer = EventBuffer::new(BATCH);
    let mut events = Vec::with_capacity(BATCH);
    loop {
        let mut fds =
            [PollFd::new(uffd.as_fd(), PollFlags::POLLIN), PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(_) => return,
        }
        if fds[1].revents().is_some_and(|ready| !ready.is_empty()) {
            return;
        }
        let woken = Instant::now();
        // Everything that is queued first: page operations fail while an event other than a fault is unread.
        events.clear();
        beat.0.fetch_add(1, Ordering::AcqRel);
        loop {
            let before = events.len();
            if uffd.read_events(&mut buffer, &mut events).is_err() {
                // The address space is gone.
                return;
            }
            if events.len() - before < BATCH {
                break;
            }
        }
        answer(uffd, rung, &mut events, state, woken);
        beat.0.fetch_add(1, Ordering::AcqRel);
    }
}

fn answer(
    uffd: &UserfaultFd,
    rung: Rung,
    events: &mut Vec<FaultEvent>,
    state: &Mutex<State>,
    woken: Instant,
) {
    let page_size = sys::page_size();
    for event in &*events {
        if let FaultEvent::PageFault { address, .. } = event {
            let page =
                PageRange::new(address / page_size * page_size, address / page_size * page_size + page_size);
            // One that fails has been answered by somebody, or is gone with its memory; waking it lets it look again.
            let answered = if rung == Rung::Missing { uffd.zero(page) } else { uffd.unprotect(page) };
            if answered.is_err() {
                let _ = uffd.wake(page);
            }
        }
    }
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let nanos = woken.elapsed().as_nanos() as u64;
    for event in events.drain(..) {
        let _ = state.latency.record(nanos.clamp(1, LONGEST_NS));
        state.events += 1;
        state.taken.waited_faults += u64::from(matches!(event, FaultEvent::PageFault { .. }));
        if state.left == 0 {
            state.taken.dropped += 1;
            state.dropped += 1;
            continue;
        }
        state.left -= 1;
        state.taken.events.push(event);
    }
    if state.left == 0 && !state.taken.exhausted {
        state.taken.exhausted = true;
        for range in std::mem::take(&mut state.armed) {
            let _ = if rung == Rung::Missing { uffd.unwatch(range) } else { uffd.unprotect(range) };
        }
    }
}
