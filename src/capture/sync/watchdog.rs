//! A process of its own that lets the target go when the monitor stands still.
//!
//! A fault of a synchronous rung waits for the monitor. When that is stopped (SIGSTOP, a debugger, a machine without air), nobody
//! in it can keep the promise that no fault waits longer than its bound. So the watchdog is forked before anything is
//! armed, in its own session; it sees that events are waiting (the descriptor is readable, or the reader's beat is odd: it has
//! read some and not answered yet) and that the reader does not answer (its beat does not move), and then reads what is queued and unregisters everything, which wakes every
//! waiting thread. It ends with the monitor, however that ends: then its copy of the descriptor goes, and with it
//! every registration.
//!
//! Runs under the rules of the injection's helper: no allocation, no locks, no panics, system calls only.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::super::inject::system_call;
use super::super::range::PageRange;
use super::super::sys;
use super::reader::Beat;

/// Ranges that the watchdog can let go of; a target with more mappings has only these watched.
pub(super) const RANGES: usize = 8192;

/// What both processes see.
#[repr(C)]
struct Shared {
    beat: AtomicU64,
    released: AtomicU32,
    count: AtomicU64,
    ranges: [[AtomicU64; 2]; RANGES],
}

/// The watchdog of one target. Dropping it ends the process.
#[derive(Debug)]
pub(super) struct Watchdog {
    shared: NonNull<Shared>,
    process: Pid,
}

// SAFETY: the shared memory is only touched atomically, and unmapped never (see `drop`).
unsafe impl Send for Watchdog {}

impl Watchdog {
    pub fn start(uffd: BorrowedFd<'_>, bound: Duration) -> Result<Self, Errno> {
        // SAFETY: new zeroed memory at an address of the kernel's choice; all zero is a valid `Shared`.
        let shared = unsafe {
            let shared = libc::mmap(
                std::ptr::null_mut(),
                size_of::<Shared>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            if shared == libc::MAP_FAILED {
                return Err(Errno::last());
            }
            NonNull::new(shared.cast::<Shared>()).ok_or(Errno::EINVAL)?
        };
        let monitor = std::process::id() as c_int;
        let uffd = uffd.as_raw_fd();
        let bound = bound.as_millis() as c_long;
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        // SAFETY: as in `inject`: a plain fork without an exit signal, whose child makes system calls only and never returns.
        let answer = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
        if answer == 0 {
            // SAFETY: we are the new process and its only thread; the memory is shared and stays mapped.
            unsafe { watch(shared.as_ref(), uffd, monitor, bound) }
        }
        let child = Errno::result(answer);
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        Ok(Self { shared, process: Pid::from_raw(child? as i32) })
    }

    fn shared(&self) -> &'static Shared {
        // SAFETY: the mapping is never taken away.
        unsafe { self.shared.as_ref() }
    }

    /// What the reader moves.
    pub fn beat(&self) -> Beat {
        Beat(&self.shared().beat)
    }

    /// These ranges are registered now.
    pub fn ranges(&self, ranges: &[PageRange]) {
        let shared = self.shared();
        for (place, range) in shared.ranges.iter().zip(ranges) {
            place[0].store(range.start, Ordering::Relaxed);
            place[1].store(range.end, Ordering::Relaxed);
        }
        shared.count.store(ranges.len().min(RANGES) as u64, Ordering::Release);
    }

    /// Whether it has let the target go since the last call.
    pub fn has_released(&self) -> bool {
        self.shared().released.swap(0, Ordering::AcqRel) != 0
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // The memory stays: the reader may still hold its beat. It is small, and there is one for each watch.
        let _ = nix::sys::signal::kill(self.process, nix::sys::signal::Signal::SIGKILL);
        let _ = waitpid(self.process, Some(WaitPidFlag::__WALL));
    }
}

/// The whole life of the watchdog.
unsafe fn watch(shared: &Shared, uffd: c_int, monitor: c_int, bound: c_long) -> ! {
    // SAFETY: system calls on numbers, and on buffers of this stack that outlive them.
    unsafe {
        let _ = system_call(libc::SYS_setsid, [0; 6]);
        let first = libc::sched_param { sched_priority: 2 };
        let first = (&raw const first) as c_long;
        let _ = system_call(libc::SYS_sched_setscheduler, [0, libc::SCHED_FIFO.into(), first, 0, 0, 0]);
        close_others(uffd);
        // A signal at the parent's death would come when the thread ends that has started us, not the monitor.
        while system_call(libc::SYS_getppid, [0; 6]) == Ok(monitor.into()) {
            let seen = shared.beat.load(Ordering::Acquire);
            let answering = seen & 1 == 1;
            if !readable(uffd, bound) && !answering {
                continue;
            }
            pause(bound);
            if shared.beat.load(Ordering::Acquire) == seen && (answering || readable(uffd, 0)) {
                let_go(shared, uffd);
                shared.released.store(1, Ordering::Release);
            }
        }
        let _ = system_call(libc::SYS_exit_group, [0; 6]);
    }
    loop {
        std::hint::spin_loop();
    }
}

/// Reads what is queued and unregisters everything.
unsafe fn let_go(shared: &Shared, uffd: c_int) {
    // SAFETY: as above.
    unsafe {
        let mut message = [0u64; 4];
        let queued = (&raw mut message) as c_long;
        while let Ok(32) = system_call(libc::SYS_read, [uffd.into(), queued, 32, 0, 0, 0]) {
            const FORK: u64 = 0x13;
            // A child's descriptor, installed by the reading: closing it releases the child.
            if message[0] & 0xff == FORK {
                let _ = system_call(libc::SYS_close, [(message[1] & 0xffff_ffff) as c_long, 0, 0, 0, 0, 0]);
            }
        }
        // The monitor may stand in the middle of writing the table: then one range is wrong, and refused.
        let count = shared.count.load(Ordering::Acquire) as usize;
        for [start, end] in shared.ranges.iter().take(count) {
            let (start, end) = (start.load(Ordering::Relaxed), end.load(Ordering::Relaxed));
            let range = [start, end.wrapping_sub(start)];
            let argument = (&raw const range) as c_long;
            // Ending a registration for write protection wakes nobody by itself.
            for request in [sys::UFFDIO_UNREGISTER, sys::UFFDIO_WAKE] {
                let _ = system_call(libc::SYS_ioctl, [uffd.into(), request as c_long, argument, 0, 0, 0]);
            }
        }
    }
}

unsafe fn readable(fd: c_int, limit_ms: c_long) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one structure of this stack.
    let ready = unsafe { system_call(libc::SYS_poll, [(&raw mut poll) as c_long, 1, limit_ms, 0, 0, 0]) };
    ready == Ok(1) && poll.revents & libc::POLLIN != 0
}

unsafe fn pause(ms: c_long) {
    let time = libc::timespec { tv_sec: 0, tv_nsec: ms.wrapping_mul(1_000_000) };
    // SAFETY: reads the time only.
    let _ = unsafe { system_call(libc::SYS_nanosleep, [(&raw const time) as c_long, 0, 0, 0, 0, 0]) };
}

/// The monitor's displays, locks and sockets must not live on in here.
unsafe fn close_others(kept: c_int) {
    for (first, last) in [(3, kept.wrapping_sub(1)), (kept.wrapping_add(1), c_int::MAX)] {
        if first <= last {
            // SAFETY: closing by number what this process does not use.
            let _ = unsafe { system_call(libc::SYS_close_range, [first.into(), last.into(), 0, 0, 0, 0]) };
        }
    }
}
