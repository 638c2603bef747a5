//! One system call in another process, made with its registers alone.
//!
//! A userfaultfd belongs to the address space of the process that makes it, so the target itself has to make
//! the call. No byte of it is written: one of its threads is stopped, its registers are set to the call and
//! to the address of a `syscall` instruction that is there already, and are put back afterwards.
//!
//! What comes in is an inspected target, what goes out is the descriptor ([`Injected`]). [`choice`] decides
//! which thread is to make it and when; `plan` gathers everything that can be gathered from outside;
//! [`helper`] is the process that does the stopping; [`catch`] waits for the thread to be in user space;
//! [`tracee`] is how it is stopped and let go, [`injection`] the call itself, and [`repair`] what becomes of
//! the call that it was in.
//!
//! # What the thread notices
//!
//! Nothing. It is interrupted only in calls that go on exactly ([`calls`](super::calls)); it is watched at
//! the address behind its call meanwhile, so that it is never interrupted in another one. A thread that is in
//! none of these is caught in user space. If no thread can be stopped in either way, the attach waits for a
//! while, says so, and is then refused, unless the person wants it anyway. Where the kernel tells nothing of
//! other threads' steps (`perf_event_paranoid`, no harmless signal, another user's thread and a broker that
//! is not root), a running thread is interrupted wherever it is, and a transfer that ended early by that is
//! finished first.
//!
//! # When somebody dies
//!
//! While the thread's registers are ours (about a tenth of a millisecond) its tracer must not vanish: the
//! kernel would let the thread run on with them. So the tracer is a process of its own, forked for the
//! purpose, in its own session and with a name of its own, with every signal blocked and out of the OOM
//! killer's sight as far as privileges allow. The monitor may be killed at any instant; the helper finishes
//! and the target runs on as before. It ends only when the thread has its registers again or is dead, however
//! long that takes: in a group that is frozen in that moment, until it is thawed. Whoever asked is answered
//! before ([`CaptureError::StillHeld`]). What remains is a SIGKILL that picks out the helper itself within
//! that tenth of a millisecond (by its number, or by killing a whole control group); against that the kernel
//! offers nothing. To keep the span that short on a busy machine the thread has the best nice value for it.
//! Before and after that span, its death merely lets the thread go.

#![allow(unsafe_code)]

mod catch;
mod choice;
mod helper;
mod injection;
mod plan;
mod ptrace;
mod repair;
mod tracee;

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, socketpair,
};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::CaptureError;
pub use choice::interrupt_calls;
pub(super) use choice::{interrupts_calls, userfaultfd_of};
pub(super) use helper::system_call;
use helper::{Outcome, Report};
use plan::Plan;

/// How long whoever asked waits for a helper that holds a thread. The helper itself waits as long as it
/// takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Helpers that were not waited for, to be reaped.
static LEFT: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

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
    /// Whether the target's credentials only allowed a user-mode descriptor (no loss in the asynchronous
    /// mode).
    pub user_mode_only: bool,
}

/// Why a helper brought nothing.
#[derive(Debug)]
enum Failure {
    /// What it said.
    Said(Outcome, Errno),
    Other(CaptureError),
}

/// One helper, one thread.
fn try_thread(plan: &Plan) -> Result<Injected, Failure> {
    let pid = plan.pid;
    let system = |operation| move |errno| Failure::Other(CaptureError::System { operation, pid, errno });
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(system("making a socket pair for the attach helper"))?;
    let plan = Plan { socket: theirs.as_raw_fd(), ..*plan };
    let child = fork(&plan).map_err(system("starting the attach helper"))?;
    drop(theirs);
    reap_left();
    if !speaks(&ours, Duration::from_nanos(plan.limit_ns) + PATIENCE) {
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        return Err(Failure::Other(CaptureError::StillHeld { pid, helper: child.as_raw() as u32 }));
    }
    let answer = receive(&ours);
    // It carries no exit signal, so that nobody else's wait for children meets it.
    let _ = waitpid(child, Some(WaitPidFlag::__WALL));
    let (report, uffd) = answer.map_err(|_| Failure::Other(CaptureError::HelperDied { pid }))?;
    match (report.outcome, uffd) {
        (Outcome::DONE, Some(uffd)) => Ok(Injected { uffd, stop: stop_of(&report) }),
        (outcome, _) => Err(Failure::Said(outcome, Errno::from_raw(report.errno))),
    }
}

/// Whether there is an answer, or an end, within that time.
fn speaks(socket: &OwnedFd, patience: Duration) -> bool {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        let left = PollTimeout::try_from(left.as_millis()).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, left) {
            Ok(0) => return false,
            Ok(_) => return true,
            // One that cannot wait asks the socket, which does.
            Err(Errno::EINTR) => {}
            Err(_) => return true,
        }
    }
}

/// Takes note of the end of helpers that were left to themselves.
fn reap_left() {
    let ended = |child: &Pid| {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::WNOHANG;
        !matches!(waitpid(*child, Some(flags)), Ok(nix::sys::wait::WaitStatus::StillAlive))
    };
    LEFT.lock().unwrap_or_else(PoisonError::into_inner).retain(|child| !ended(child));
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
        Outcome::CHANGED => CaptureError::Changed { pid },
        Outcome::CALL_REFUSED => {
            CaptureError::System { operation: "userfaultfd(2) with the target's credentials", pid, errno }
        }
        Outcome::NOT_TAKEN => CaptureError::System { operation: "pidfd_getfd", pid, errno },
        _ => CaptureError::System { operation: "calling userfaultfd(2) in the target", pid, errno },
    }
}

/// Forks the helper. All signals are blocked across it: a handler of ours must not run in the child.
fn fork(plan: &Plan) -> Result<Pid, Errno> {
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    // SAFETY: a plain fork with no exit signal. The bare call is used in place of fork(3) because that runs
    // the handlers of every library for a child that goes on living; this child touches its own stack and
    // system calls only, and never returns.
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
