//! The thread that answers every event of a userfaultfd at once.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use userfaultfd::EventBuffer;

use super::super::FaultEvent;
use super::super::range::PageRange;
use super::super::sys;
use super::super::uffd::{UffdIoctlMode, UserfaultFd};
use crate::error::Result;

/// Events that are fetched in one call.
const BATCH: usize = 64;

/// Answers the events of a userfaultfd in a thread of its own, which comes ahead of ordinary ones where that is permitted: somebody
/// waits for each. Dropping it ends the thread.
#[derive(Debug)]
pub struct FaultReader {
    stop: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

impl FaultReader {
    /// Begins to answer: with an unprotected page, or with zeros, as the pages were registered. `consumer` is called after the
    /// answers, with the events in their order and the moment at which the thread was woken for them.
    pub fn start(
        uffd: Arc<UserfaultFd>,
        mode: UffdIoctlMode,
        consumer: impl FnMut(&[FaultEvent], Instant) + Send + 'static,
    ) -> Result<Self> {
        Self::with_beat(Arc::clone(&uffd), mode, || {}, consumer)
            .map_err(|errno| uffd.failed("starting the fault reader", errno))
    }

    /// As `start`; `beat` is called before events are read, and again when all of them are answered and consumed.
    pub(super) fn with_beat(
        uffd: Arc<UserfaultFd>,
        mode: UffdIoctlMode,
        beat: impl Fn() + Send + 'static,
        consumer: impl FnMut(&[FaultEvent], Instant) + Send + 'static,
    ) -> std::result::Result<Self, Errno> {
        // SAFETY: a new descriptor that nobody else owns.
        let stop = unsafe {
            let fd = Errno::result(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK))?;
            OwnedFd::from_raw_fd(fd)
        };
        let theirs = stop.try_clone().map_err(super::super::target::errno)?;
        let thread = std::thread::Builder::new()
            .name("fault reader".into())
            .spawn(move || read(&uffd, mode, &theirs, beat, consumer))
            .map_err(super::super::target::errno)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for FaultReader {
    fn drop(&mut self) {
        let one = 1u64;
        // SAFETY: eight bytes of this stack, as the descriptor wants them.
        unsafe { libc::write(self.stop.as_raw_fd(), (&raw const one).cast(), 8) };
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(
    uffd: &UserfaultFd,
    mode: UffdIoctlMode,
    stop: &OwnedFd,
    beat: impl Fn(),
    mut consumer: impl FnMut(&[FaultEvent], Instant),
) {
    // Faults wait for this thread: ahead of ordinary ones, where that is permitted.
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: a structure of this stack that the call reads; 0 is this thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &first) };
    let page_size = sys::page_size();
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
        beat();
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
        for event in &events {
            if let FaultEvent::PageFault { address, .. } = event {
                answer(uffd, mode, address / page_size * page_size, page_size);
            }
        }
        consumer(&events, woken);
        beat();
    }
}

fn answer(uffd: &UserfaultFd, mode: UffdIoctlMode, page: u64, page_size: u64) {
    let page = PageRange::new(page, page + page_size);
    let answered = match mode {
        UffdIoctlMode::WriteProtect => uffd.unprotect(page),
        UffdIoctlMode::Missing => uffd.zero(page),
    };
    // One that fails has been answered by somebody, or is gone with its memory; waking it lets it look again.
    if answered.is_err() {
        let _ = uffd.wake(page);
    }
}
