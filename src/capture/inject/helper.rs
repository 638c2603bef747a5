//! The process that stops the thread. It comes out of a fork of a program with many threads, so nothing here
//! allocates, locks, panics on purpose or calls into a library: plain numbers and system calls only.

use std::ptr;

use nix::libc::{self, c_int, c_long};

use super::super::shortage;
use super::plan::Plan;
use super::tracee;

/// The name of the process, so that `pkill memory-glass` does not mean it.
const NAME: &std::ffi::CStr = c"mg-attach";

/// How the helper's work ended, as a number that survives a socket whatever its value.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome(pub u32);

impl Outcome {
    pub const DONE: Self = Self(1);
    pub const NOT_PERMITTED: Self = Self(2);
    pub const SECCOMP: Self = Self(3);
    pub const DISPATCH: Self = Self(4);
    pub const THIRTY_TWO_BIT: Self = Self(5);
    pub const DID_NOT_STOP: Self = Self(6);
    pub const CHANGED: Self = Self(7);
    pub const CALL_REFUSED: Self = Self(8);
    pub const NOT_TAKEN: Self = Self(9);
    pub const UNEXPECTED: Self = Self(10);
    /// It is not in the call any more that it was to be interrupted in. It was not touched.
    pub const MOVED: Self = Self(11);
    /// It did not come to user space in time. It was not touched.
    pub const NOT_CAUGHT: Self = Self(12);
    /// Nothing can tell us when it is in user space. It was not touched.
    pub const NO_CATCHING: Self = Self(13);
}

/// The one message of the helper.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub outcome: Outcome,
    pub errno: i32,
    pub tid: i32,
    pub repeated_call: u32,
    pub user_mode_only: u32,
    pub reserved: u32,
    pub stopped_ns: u64,
    pub requested_ns: u64,
}

impl Report {
    pub fn failed(outcome: Outcome, errno: i32, tid: i32) -> Self {
        Self {
            outcome,
            errno,
            tid,
            repeated_call: 0,
            user_mode_only: 0,
            reserved: 0,
            stopped_ns: 0,
            requested_ns: 0,
        }
    }
}

/// The whole life of the helper.
///
/// # Safety
///
/// Only in a freshly forked process with one thread and all signals blocked; it ends the process.
pub(super) unsafe fn run(plan: &Plan) -> ! {
    // SAFETY: system calls on numbers, and on buffers of this stack that outlive them.
    unsafe {
        withdraw(plan);
        // Nobody is there any more who would have the descriptor: the target is not touched.
        if is_forsaken(plan.socket) {
            let _ = system_call(libc::SYS_exit_group, [0; 6]);
        }
        let (report, fd) = tracee::attempt(plan);
        send(plan.socket, &report, fd);
        let _ = system_call(libc::SYS_exit_group, [0; 6]);
    }
    // The call above does not return; this keeps the promise of the signature without code that could panic.
    loop {
        std::hint::spin_loop();
    }
}

/// A bare system call. All six arguments are passed in full width: the library reads six, whatever it is
/// given.
pub(in crate::capture) unsafe fn system_call(
    number: c_long,
    arguments: [c_long; 6],
) -> Result<c_long, c_int> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: what the call reads or writes is the caller's promise; errno is the thread's own.
    unsafe {
        let answer = libc::syscall(number, a, b, c, d, e, f);
        if answer < 0 { Err(*libc::__errno_location()) } else { Ok(answer) }
    }
}

/// Away from everything that might kill or delay us. All of it is best effort: an attach without it is as
/// right, only less sheltered.
unsafe fn withdraw(plan: &Plan) {
    // SAFETY: see `run`.
    unsafe {
        let _ = system_call(libc::SYS_setsid, [0; 6]);
        let name = c"/proc/self/oom_score_adj".as_ptr() as c_long;
        let opened =
            system_call(libc::SYS_openat, [libc::AT_FDCWD.into(), name, libc::O_WRONLY.into(), 0, 0, 0]);
        if let Ok(file) = opened {
            // The monitor may be the first to be ended; where we may not be the last, it is as it was before.
            for score in shortage::original().into_iter().chain(["-1000"]) {
                let _ = system_call(
                    libc::SYS_write,
                    [file, score.as_ptr() as c_long, score.len() as c_long, 0, 0, 0],
                );
            }
            let _ = system_call(libc::SYS_close, [file, 0, 0, 0, 0, 0]);
        }
        let name = NAME.as_ptr() as c_long;
        let _ = system_call(libc::SYS_prctl, [libc::PR_SET_NAME.into(), name, 0, 0, 0, 0]);
        // Ahead of ordinary processes, so that the target does not stand still while others compute. It never
        // spins: each wait for the target sleeps.
        let first = libc::sched_param { sched_priority: 1 };
        let first = ptr::from_ref(&first) as c_long;
        let _ = system_call(libc::SYS_sched_setscheduler, [0, libc::SCHED_FIFO.into(), first, 0, 0, 0]);
        // The stops of the target are announced by SIGCHLD, unless our program chose to ignore it.
        let default = [libc::SIG_DFL as u64, 0, 0, 0];
        let default = default.as_ptr() as c_long;
        let _ = system_call(libc::SYS_rt_sigaction, [libc::SIGCHLD.into(), default, 0, 8, 0, 0]);
        // Should the monitor die meanwhile, its displays, locks and sockets must not live on in here.
        let (low, high) =
            if plan.pidfd < plan.socket { (plan.pidfd, plan.socket) } else { (plan.socket, plan.pidfd) };
        close_range(3, low.wrapping_sub(1));
        close_range(low.wrapping_add(1), high.wrapping_sub(1));
        close_range(high.wrapping_add(1), c_int::MAX);
    }
}

/// Whether the other end of the socket is closed, which only our monitor has.
unsafe fn is_forsaken(socket: c_int) -> bool {
    let mut end = libc::pollfd { fd: socket, events: 0, revents: 0 };
    let polled = ptr::from_mut(&mut end) as c_long;
    // SAFETY: the one entry outlives the call.
    let answer = unsafe { system_call(libc::SYS_poll, [polled, 1, 0, 0, 0, 0]) };
    answer == Ok(1) && end.revents & libc::POLLHUP != 0
}

unsafe fn close_range(first: c_int, last: c_int) {
    if first <= last {
        // SAFETY: closing by number what this process does not use.
        let _ = unsafe { system_call(libc::SYS_close_range, [first.into(), last.into(), 0, 0, 0, 0]) };
    }
}

/// Sends the report, with the descriptor if there is one.
unsafe fn send(socket: c_int, report: &Report, fd: c_int) {
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        fd: c_int,
        padding: c_int,
    }
    let mut part =
        libc::iovec { iov_base: ptr::from_ref(report).cast_mut().cast(), iov_len: size_of::<Report>() };
    let mut control = Control {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>().wrapping_add(size_of::<c_int>()),
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        fd,
        padding: 0,
    };
    // SAFETY: all zero is a valid empty message header; the pointers set below are to live objects of this
    // stack.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut part;
        message.msg_iovlen = 1;
        if fd >= 0 {
            message.msg_control = ptr::from_mut(&mut control).cast();
            message.msg_controllen = size_of::<Control>();
        }
        // A monitor that is gone makes this fail, and then nobody needs it.
        let message = ptr::from_ref(&message) as c_long;
        let _ = system_call(libc::SYS_sendmsg, [socket.into(), message, libc::MSG_NOSIGNAL.into(), 0, 0, 0]);
    }
}
