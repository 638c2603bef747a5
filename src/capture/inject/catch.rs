//! Catching a thread in user space, where a stop interrupts nothing.
//!
//! The kernel is asked to tell when the thread comes to the address behind the call that it waits in (a
//! breakpoint in a debug register), or, of a thread that runs, when its clock next ticks while it is in user
//! space. It tells by a signal to the thread itself, one that does nothing there, and that the thread's
//! tracer sees before the thread does. A call is never ended by it: the event happens in user space only.
//! Should the tracer have died meanwhile, the kernel drops the signal.
//!
//! Runs in the helper, under its rules (no allocation, no locks, no panics).

use std::mem::zeroed;
use std::ptr;

use nix::libc::{self, c_int, c_long};
use perf_event_open_sys::bindings::{PERF_FLAG_FD_CLOEXEC, perf_event_attr};

use super::helper::system_call;
use super::plan::Plan;
use super::ptrace::ptrace;

/// Where a signal of an event comes from, in its `si_code`.
const POLL_IN: c_int = 1;

/// Tells when the thread is in user space, for as long as it lives.
pub(super) struct Watch {
    event: c_long,
    signal: c_int,
    tid: c_int,
}

impl Watch {
    /// Begins to watch. None where the kernel, our rights or the thread's own signals leave no way to.
    pub unsafe fn begin(plan: &Plan) -> Option<Self> {
        let thread = &plan.thread;
        if thread.signal == 0 {
            return None;
        }
        // SAFETY: the structures are of the plan and of this stack, and outlive the calls.
        unsafe {
            let behind_its_call =
                if thread.return_to == 0 { None } else { open(&plan.breakpoint, thread.tid) };
            let event = behind_its_call.or_else(|| open(&plan.clock, thread.tid))?;
            let watch = Self { event, signal: thread.signal, tid: thread.tid };
            watch.tell_by_signal().then_some(watch)
        }
    }

    unsafe fn tell_by_signal(&self) -> bool {
        /// `struct f_owner_ex`: one thread.
        #[repr(C)]
        struct Owner {
            kind: c_int,
            tid: c_int,
        }
        const F_OWNER_TID: c_int = 0;
        const F_SETSIG: c_long = 10;
        const F_SETOWN_EX: c_long = 15;
        let owner = Owner { kind: F_OWNER_TID, tid: self.tid };
        // SAFETY: as above.
        unsafe {
            let set = |command, argument| {
                system_call(libc::SYS_fcntl, [self.event, command, argument, 0, 0, 0]).is_ok()
            };
            set(F_SETOWN_EX, ptr::from_ref(&owner) as c_long)
                && set(F_SETSIG, self.signal.into())
                && set(libc::F_SETFL.into(), libc::O_ASYNC.into())
        }
    }

    /// Whether the signal that the thread is about to be delivered is ours.
    pub unsafe fn sent(&self, signal: c_int) -> bool {
        // SAFETY: all zero is a valid siginfo, and the kernel fills it.
        unsafe {
            let mut info: libc::siginfo_t = zeroed();
            let asked = ptrace(libc::PTRACE_GETSIGINFO, self.tid, 0, ptr::from_mut(&mut info) as c_long);
            signal == self.signal && asked.is_ok() && info.si_code == POLL_IN
        }
    }

    pub unsafe fn end(self) {
        // SAFETY: our own descriptor, used by nobody after this.
        let _ = unsafe { system_call(libc::SYS_close, [self.event, 0, 0, 0, 0, 0]) };
    }
}

unsafe fn open(event: &perf_event_attr, tid: c_int) -> Option<c_long> {
    let flags = c_long::from(PERF_FLAG_FD_CLOEXEC);
    let event = ptr::from_ref(event) as c_long;
    // SAFETY: the kernel reads the structure, which says its own size.
    unsafe { system_call(libc::SYS_perf_event_open, [event, tid.into(), -1, -1, flags, 0]) }.ok()
}
