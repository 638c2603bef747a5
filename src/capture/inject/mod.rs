//! One system call in another process, made with its registers alone.
//!
//! A userfaultfd belongs to the address space of the process that makes it, so the target itself has to make the call.
//! No byte of it is written: one of its threads is stopped, its registers are set to the call and to the address of a
//! `syscall` instruction that is there already, and are put back afterwards.
//!
//! What comes in is an inspected target, what goes out is the descriptor ([`Injected`]). `plan` gathers everything that can be
//! gathered from outside; [`helper`] is the process that does the stopping; [`tracee`] is what it does to the thread.
//!
//! # When somebody dies
//!
//! While the thread's registers are ours (about a tenth of a millisecond) its tracer must not vanish: the kernel would
//! let the thread run on with them. So the tracer is a process of its own, forked for the purpose, in its own
//! session, with every signal blocked and out of the OOM killer's sight as far as privileges allow. The monitor may
//! be killed at any instant; the helper finishes and the target runs on as before. What remains is a SIGKILL that picks out
//! the helper itself within that tenth of a millisecond (by its number, or by killing a whole control group);
//! against that the kernel offers nothing. To keep the span that short on a busy machine the thread is put ahead of ordinary
//! ones for it (its policy is put back with its registers; where privileges do not allow it, the span may be some time slices). Before and after that span, its death merely lets the thread go.

#![allow(unsafe_code)]

mod helper;
mod plan;
mod ptrace;
mod tracee;

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{CaptureError, MemoryRegion};
pub(super) use helper::system_call;
use helper::{Outcome, Report};

/// A userfaultfd of the target, in our hands only.
#[derive(Debug)]
pub(crate) struct Injected {
    pub uffd: OwnedFd,
    pub stop: Stop,
}

/// How long a thread of the target was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The thread that was stopped.
    pub thread: u32,
    /// From the moment the thread was known to stand still until it was let go.
    pub stopped: Duration,
    /// From the request to stop until it was let go: an upper bound of how long it can have stood still.
    pub requested: Duration,
    /// Whether a call that answers EINTR when interrupted was repeated for it.
    pub repeated_call: bool,
    /// Whether the target's credentials only allowed a user-mode descriptor (no loss in the asynchronous mode).
    pub user_mode_only: bool,
}

/// Makes the target create a userfaultfd, takes it over and closes the target's own copy.
pub(crate) fn userfaultfd_of(
    pid: u32,
    pidfd: BorrowedFd<'_>,
    regions: &[MemoryRegion],
) -> Result<Injected, CaptureError> {
    let system = |operation| move |errno| CaptureError::System { operation, pid, errno };
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(system("making a socket pair for the attach helper"))?;
    let plan = plan::make(pid, pidfd.as_raw_fd(), theirs.as_raw_fd(), regions)?;

    let child = fork(&plan).map_err(system("starting the attach helper"))?;
    drop(theirs);
    let answer = receive(&ours);
    // It carries no exit signal, so that nobody else's wait for children meets it.
    let _ = waitpid(child, Some(WaitPidFlag::__WALL));
    let (report, uffd) = answer.map_err(|_| CaptureError::HelperDied { pid })?;

    match (report.outcome, uffd) {
        (Outcome::DONE, Some(uffd)) => Ok(Injected { uffd, stop: stop_of(&report) }),
        (outcome, _) => Err(refusal(pid, outcome, Errno::from_raw(report.errno))),
    }
}

fn stop_of(report: &Report) -> Stop {
    Stop {
        thread: report.tid as u32,
        stopped: Duration::from_nanos(report.stopped_ns),
        requested: Duration::from_nanos(report.requested_ns),
        repeated_call: report.repeated_call != 0,
        user_mode_only: report.user_mode_only != 0,
    }
}

fn refusal(pid: u32, outcome: Outcome, errno: Errno) -> CaptureError {
    match outcome {
        Outcome::NOT_PERMITTED => CaptureError::NotPermitted { pid, what: "PTRACE_SEIZE", errno },
        Outcome::SECCOMP => CaptureError::Seccomp { pid },
        Outcome::DISPATCH => CaptureError::SyscallDispatch { pid },
        Outcome::THIRTY_TWO_BIT => CaptureError::ThirtyTwoBit { pid },
        Outcome::DID_NOT_STOP => CaptureError::DidNotStop { pid },
        Outcome::CHANGED => CaptureError::Changed { pid },
        Outcome::CALL_REFUSED => {
            CaptureError::System { operation: "userfaultfd(2) with the target's credentials", pid, errno }
        }
        Outcome::NOT_TAKEN => CaptureError::System { operation: "pidfd_getfd", pid, errno },
        _ => CaptureError::System { operation: "calling userfaultfd(2) in the target", pid, errno },
    }
}

/// Forks the helper. All signals are blocked across it: a handler of ours must not run in the child.
fn fork(plan: &plan::Plan) -> Result<Pid, Errno> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: a plain fork with no exit signal. The bare call is used in place of fork(3) because that runs the handlers of
    // every library for a child that goes on living; this child touches its own stack and system calls only, and never returns.
    let answer = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
    if answer == 0 {
        // SAFETY: we are the new process and its only thread; the plan is our own copy.
        unsafe { helper::run(plan) }
    }
    let child = Errno::result(answer);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    Ok(Pid::from_raw(child? as i32))
}

/// The helper's one message. An end of file instead means that it was killed.
fn receive(socket: &OwnedFd) -> Result<(Report, Option<OwnedFd>), Errno> {
    let mut bytes = [0u8; size_of::<Report>()];
    let mut control = cmsg_space!([i32; 1]);
    let (length, fd) = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) => {
                let fds = message.cmsgs()?.find_map(|cmsg| match cmsg {
                    ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
                    _ => None,
                });
                break (message.bytes, fds);
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    };
    // SAFETY: the kernel has just put this descriptor into our table for us alone.
    let fd = fd.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    if length != bytes.len() {
        return Err(Errno::EPIPE);
    }
    // SAFETY: a report is made of integers only, so any bytes of its length are one.
    let report = unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast::<Report>()) };
    Ok((report, fd))
}
