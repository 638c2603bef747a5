//! Why a process could not be attached to, or why watching it came to an end.

use nix::errno::Errno;
use thiserror::Error;

use crate::error::GlassRamError;

/// One failure of the capture room: what failed, on which process, and the remedy, in one line.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// No process has this number (any more).
    #[error("there is no process {pid}: list the running ones with `ps -e` and try again")]
    NoSuchProcess {
        /// The number that was asked for.
        pid: u32,
    },

    /// The kernel does not let us look into the process or trace it.
    #[error(
        "process {pid} may not be attached to ({what}: {errno}): run as its user with CAP_SYS_PTRACE, or as root"
    )]
    NotPermitted {
        /// The process that was asked for.
        pid: u32,
        /// What was refused.
        what: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },

    /// The broker's policy does not allow it.
    #[error(
        "process {pid} may not be watched by user {user}: it is not wholly that user's own; root can allow it in \
         /etc/memory-glass/policy.toml, and start memory-glass-broker.socket"
    )]
    NotAllowed {
        /// The process that was asked for.
        pid: u32,
        /// The user who asked.
        user: u32,
    },

    /// The configuration does not allow the one stop that attaching takes.
    #[error(
        "process {pid} would have to be stopped for a moment to attach to it, and `allow-ptrace = false` forbids that: set \
         it to true in [security]"
    )]
    PtraceForbidden {
        /// The process that was asked for.
        pid: u32,
    },

    /// Watching ourselves would record the recording.
    #[error("process {pid} is memory-glass itself: choose another process, `ps -e` lists them")]
    Ourselves {
        /// The number that was asked for.
        pid: u32,
    },

    /// The number names a thread, not a process.
    #[error("{tid} is a thread of process {pid}: attach to {pid} instead")]
    ThreadOfProcess {
        /// The number that was asked for.
        tid: u32,
        /// The process that the thread belongs to.
        pid: u32,
    },

    /// Kernel threads have no memory of their own.
    #[error("process {pid} ({comm}) is a kernel thread and has no memory map: choose a program instead")]
    KernelThread {
        /// The process that was asked for.
        pid: u32,
        /// Its name.
        comm: String,
    },

    /// The process has ended and only waits to be reaped.
    #[error("process {pid} ({comm}) has already ended and is a zombie: choose a running process")]
    Zombie {
        /// The process that was asked for.
        pid: u32,
        /// Its name.
        comm: String,
    },

    /// The registers and calls of a 32-bit program are not those of a 64-bit one.
    #[error("process {pid} is a 32-bit program, only 64-bit ones can be watched: run its 64-bit build")]
    ThirtyTwoBit {
        /// The process that was asked for.
        pid: u32,
    },

    /// A process has at most one tracer, and attaching needs to be it for a moment.
    #[error("process {pid} is already traced by {tracer} ({name}): detach that debugger or tracer first")]
    AlreadyTraced {
        /// The process that was asked for.
        pid: u32,
        /// The process that traces it.
        tracer: u32,
        /// The name of that process.
        name: String,
    },

    /// The target's seccomp filter would answer the call, perhaps by killing it.
    #[error(
        "process {pid} runs under a seccomp filter, which only a root with CAP_SYS_ADMIN and no filter of its own \
         can suspend: run memory-glass as root outside the sandbox"
    )]
    Seccomp {
        /// The process that was asked for.
        pid: u32,
    },

    /// The target sends its own system calls elsewhere (`PR_SET_SYSCALL_USER_DISPATCH`).
    #[error(
        "every thread of process {pid} redirects its system calls (as Wine does): such a program cannot be watched"
    )]
    SyscallDispatch {
        /// The process that was asked for.
        pid: u32,
    },

    /// The kernel cannot resolve write faults by itself or cannot report them.
    #[error("{missing} is missing, it needs Linux {required} and this is {detected}: boot a newer kernel")]
    KernelTooOld {
        /// What was probed and not found.
        missing: &'static str,
        /// The first version that has it.
        required: &'static str,
        /// What `uname -r` says.
        detected: String,
    },

    /// Every writable mapping belongs to another userfaultfd already: a second monitor, or the process' own.
    #[error(
        "process {pid} is watched already, by another memory-glass or by a userfaultfd of its own: end that watch first"
    )]
    AlreadyWatched {
        /// The process that was asked for.
        pid: u32,
    },

    /// A synchronous rung on a descriptor that is for faults of user space only would make the target's own
    /// calls fail.
    #[error(
        "process {pid} may only have a userfaultfd for faults of user space, on which its own system calls would fail \
         in this mode: use `--rung wp-async`, or `sudo sysctl vm.unprivileged_userfaultfd=1`"
    )]
    UserModeOnly {
        /// The process that was asked for.
        pid: u32,
    },

    /// It lies in a frozen control group, and would do what it is told only when that is thawed.
    #[error(
        "process {pid} lies in a frozen control group ({group}): thaw it first (`docker unpause`, `systemctl thaw`, or 0 in \
         its cgroup.freeze)"
    )]
    Frozen {
        /// The process that was asked for.
        pid: u32,
        /// The group that is frozen.
        group: String,
    },

    /// No thread of the target came to a stop in time. None was touched.
    #[error("no thread of process {pid} could be stopped, {why}")]
    DidNotStop {
        /// The process that was asked for.
        pid: u32,
        /// What keeps them.
        why: Held,
    },

    /// Its threads are in system calls that would end early or late if they were interrupted. None was
    /// touched.
    #[error(
        "thread {tid} of process {pid} is in {call} and may not be interrupted ({why}): try again later, or go ahead with \
         `--interrupt-calls`"
    )]
    InCall {
        /// The process that was asked for.
        pid: u32,
        /// One of its threads.
        tid: u32,
        /// The call that it is in.
        call: String,
        /// What would become of the call.
        why: &'static str,
    },

    /// A thread of the target was stopped and does not get on, because it is given no processor or was frozen
    /// meanwhile. The helper stays until it has given everything back.
    #[error(
        "a thread of process {pid} is held by the attach helper {helper} and is given no processor: do not end the helper, it \
         lets the thread go as soon as that runs (thaw its group, or give it time)"
    )]
    StillHeld {
        /// The process that was asked for.
        pid: u32,
        /// The process that waits for the thread.
        helper: u32,
    },

    /// The process ended or started another program while it was being attached to.
    #[error("process {pid} ended or executed another program while it was being attached to: try again")]
    Changed {
        /// The process that was asked for.
        pid: u32,
    },

    /// Without an existing `syscall` instruction nothing can be called without writing code.
    #[error("no executable mapping of process {pid} holds a `syscall` instruction: it cannot be attached to")]
    NoSyscallInstruction {
        /// The process that was asked for.
        pid: u32,
    },

    /// The process that does the injection was killed.
    #[error("the attach helper for process {pid} was killed before it could report: try again")]
    HelperDied {
        /// The process that was asked for.
        pid: u32,
    },

    /// The process that holds the userfaultfd of an asynchronous watch was killed.
    #[error(
        "the keeper of the watch over process {pid} was killed or does not answer: the process runs on unwatched, attach to it again"
    )]
    KeeperDied {
        /// The process that was watched.
        pid: u32,
    },

    /// The process that is to hold the userfaultfd could not be started, or could not confine itself.
    #[error(
        "no keeper can be had for the watch over process {pid} ({step}: {errno}), and nobody else may hold its userfaultfd: \
         it needs a kernel with seccomp filters, and room for one more process"
    )]
    KeeperFailed {
        /// The process that was asked for.
        pid: u32,
        /// What failed.
        step: &'static str,
        /// The kernel's answer.
        errno: Errno,
    },

    /// A system call of the set-up or of the watch failed.
    #[error(
        "{operation} failed on process {pid}: {errno}; `memory-glass doctor` says what this machine allows"
    )]
    System {
        /// The step that failed.
        operation: &'static str,
        /// The process it was done to.
        pid: u32,
        /// The kernel's answer.
        errno: Errno,
    },
}

/// What keeps a thread from coming to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Held {
    /// It is never given a processor.
    #[error(
        "because none is given a processor (a CPU quota, or a real-time task that never rests): give it time and try again"
    )]
    Starved,
    /// It sleeps where nothing wakes it.
    #[error("because all are in uninterruptible calls or wait for a vfork child: try again in a moment")]
    Uninterruptible,
}

impl From<CaptureError> for GlassRamError {
    fn from(error: CaptureError) -> Self {
        match error {
            CaptureError::NoSuchProcess { pid } => GlassRamError::ProcessNotFound { pid },
            CaptureError::NotPermitted { pid, .. } => GlassRamError::PermissionDenied { pid },
            CaptureError::KernelTooOld { required, detected, .. } => {
                GlassRamError::KernelVersionTooOld { required: required.into(), detected }
            }
            CaptureError::System { operation, pid, errno } => GlassRamError::UffdError {
                operation: format!("{operation} on process {pid}"),
                errno: errno as i32,
            },
            // The specification has no variant of its own for a refusal; this one carries the text.
            refusal => GlassRamError::FeatureNotSupported { feature: refusal.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_is_one_line_and_keeps_its_words_as_the_crates_error() {
        let all = [
            CaptureError::NoSuchProcess { pid: 7 },
            CaptureError::NotPermitted { pid: 7, what: "PTRACE_SEIZE", errno: Errno::EPERM },
            CaptureError::NotAllowed { pid: 7, user: 1000 },
            CaptureError::PtraceForbidden { pid: 7 },
            CaptureError::Ourselves { pid: 7 },
            CaptureError::ThreadOfProcess { tid: 8, pid: 7 },
            CaptureError::KernelThread { pid: 2, comm: "kthreadd".into() },
            CaptureError::Zombie { pid: 7, comm: "true".into() },
            CaptureError::ThirtyTwoBit { pid: 7 },
            CaptureError::AlreadyTraced { pid: 7, tracer: 9, name: "gdb".into() },
            CaptureError::Seccomp { pid: 7 },
            CaptureError::SyscallDispatch { pid: 7 },
            CaptureError::KernelTooOld { missing: "WP_ASYNC", required: "6.7", detected: "6.1.0".into() },
            CaptureError::AlreadyWatched { pid: 7 },
            CaptureError::UserModeOnly { pid: 7 },
            CaptureError::Frozen { pid: 7, group: "/sys/fs/cgroup/x".into() },
            CaptureError::DidNotStop { pid: 7, why: Held::Starved },
            CaptureError::DidNotStop { pid: 7, why: Held::Uninterruptible },
            CaptureError::InCall { pid: 7, tid: 8, call: "write".into(), why: "it would end early" },
            CaptureError::StillHeld { pid: 7, helper: 9 },
            CaptureError::Changed { pid: 7 },
            CaptureError::NoSyscallInstruction { pid: 7 },
            CaptureError::HelperDied { pid: 7 },
            CaptureError::KeeperDied { pid: 7 },
            CaptureError::KeeperFailed { pid: 7, step: "its seccomp filter", errno: Errno::ENOSYS },
            CaptureError::System { operation: "UFFDIO_API", pid: 7, errno: Errno::EINVAL },
        ];
        for error in all {
            let own = error.to_string();
            let outer = GlassRamError::from(error).to_string();
            assert!(!own.contains('\n') && !outer.contains('\n'), "{own}");
            assert!(own.contains(':'), "no remedy in: {own}");
        }
    }
}
