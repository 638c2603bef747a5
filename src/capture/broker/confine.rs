//! What the broker gives up before it answers anybody: every capability but those of attaching, every chance to get new
//! ones, being looked into by others, and every system call that attaching does not take.
//!
//! Landlock is not among it: a process in a Landlock domain may only trace processes of that domain (landlock(7),
//! "Ptrace restrictions"), so a broker in one could attach to nothing. That it opens files only for reading is in the seccomp
//! filter; which files it can see, the service's unit says (`ProtectSystem`, `ProtectHome`).
//!
//! What the filter does not know answers EPERM instead of killing: the attach helper inherits it, and must not die while a
//! thread's registers are its own.

use nix::libc;
use rustix::thread::{CapabilitySet, CapabilitySets};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

use super::BrokerError;
use crate::capture::{keeper, sys};

/// To trace others, to open their `/proc/PID/pagemap`, to hear of their page faults, and to put the thread that is stopped
/// ahead of ordinary ones.
const NEEDED: CapabilitySet = CapabilitySet::SYS_PTRACE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_NICE);

/// Gives up everything else. One thread only, and no way back.
///
/// Who suspends the seccomp filters of others may have none, and needs one capability more (ptrace(2), `PTRACE_O_SUSPEND_SECCOMP`).
/// Only a broker that root starts for itself and for one attach is such a one: it has no other clients.
pub(super) fn confine(suspends_seccomp: bool) -> Result<(), BrokerError> {
    let needed = if suspends_seccomp { NEEDED | CapabilitySet::SYS_ADMIN } else { NEEDED };
    seal_bounding_set(needed)?;
    give_up_capabilities(needed)?;
    let failed = |step| move |error: &dyn std::fmt::Display| refusal(step, &error.to_string());
    nix::sys::prctl::set_dumpable(false).map_err(|error| failed("not to be dumpable")(&error))?;
    rustix::thread::set_no_new_privs(true).map_err(|error| failed("no new privileges")(&error))?;
    if suspends_seccomp {
        return Ok(());
    }
    let program = filter().map_err(|error| failed("building its seccomp filter")(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| failed("its seccomp filter")(&error))
}

fn refusal(step: &'static str, reason: &str) -> BrokerError {
    BrokerError::Confine {
        step,
        reason: reason.to_owned(),
        remedy: "it needs a kernel with seccomp filters, on x86-64",
    }
}

/// Keeps of the capabilities only these, for this thread and those that it starts.
pub(super) fn give_up_capabilities(kept: CapabilitySet) -> Result<(), BrokerError> {
    let failed = |error: rustix::io::Errno| refusal("giving up capabilities", &error.to_string());
    rustix::thread::clear_ambient_capability_set().map_err(failed)?;
    let kept = rustix::thread::capabilities(None).map_err(failed)?.permitted & kept;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed)
}

/// No program that is executed from now on gets others than these back. Only who may change the set can; for everybody else
/// `no_new_privs` does the same.
fn seal_bounding_set(kept: CapabilitySet) -> Result<(), BrokerError> {
    let failed = |error: rustix::io::Errno| refusal("sealing the bounding set", &error.to_string());
    let now = rustix::thread::capabilities(None).map_err(failed)?;
    if !now.effective.contains(CapabilitySet::SETPCAP) {
        return Ok(());
    }
    for capability in CapabilitySet::all().iter().filter(|one| !kept.contains(*one)) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The list has some that an older kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

/// The same for the auditor, which needs no capability at all and opens nothing: it has its pipes, its log, and the journal's socket.
pub(super) fn confine_auditor() -> Result<(), BrokerError> {
    let failed = |step| move |error: &dyn std::fmt::Display| refusal(step, &error.to_string());
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    rustix::thread::set_capabilities(None, sets).map_err(|error| failed("giving up capabilities")(&error))?;
    // A name is for people; without it the log is as good.
    let _ = nix::sys::prctl::set_name(c"glass-auditor");
    nix::sys::prctl::set_dumpable(false).map_err(|error| failed("not to be dumpable")(&error))?;
    let rules = AUDITING.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let program: Result<BpfProgram, _> =
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, TargetArch::x86_64)
            .and_then(TryInto::try_into);
    let program = program.map_err(|error| failed("building its seccomp filter")(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| failed("its seccomp filter")(&error))
}

/// What keeping a log takes that is open already.
const AUDITING: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_sendto,
    libc::SYS_close,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// What may be called whatever the arguments.
const ALLOWED: &[libc::c_long] = &[
    // Itself: memory, time, threads of one, the end.
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_uname,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Files and sockets that are open already. Opening is below.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_stat,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_socketpair,
    // The auditor, which is forked from here and then allowed less (`AUDITING`).
    libc::SYS_pipe2,
    libc::SYS_flock,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_connect,
    // Attaching: the helper, the stop, the call, taking the descriptor over.
    libc::SYS_clone,
    libc::SYS_setsid,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_tgkill,
    libc::SYS_ptrace,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_userfaultfd,
    libc::SYS_process_madvise,
    // What a keeper does before it has a filter of its own.
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_seccomp,
    libc::SYS_chdir,
    libc::SYS_perf_event_open,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_getparam,
    libc::SYS_sched_setparam,
    libc::SYS_sched_setattr,
    libc::SYS_sched_getattr,
    libc::SYS_sched_setaffinity,
    libc::SYS_getpriority,
    libc::SYS_setpriority,
    // Finding one `syscall` instruction: the only way to a target's memory.
    libc::SYS_process_vm_readv,
    // Users and groups of the policy.
    libc::SYS_geteuid,
    libc::SYS_getuid,
];

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let argument =
        |index, value: u64| SeccompCondition::new(index, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value);
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Files are opened for reading, and none is made.
    let writing = (libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC) as u64;
    let read_only = |index| {
        SeccompRule::new(vec![SeccompCondition::new(
            index,
            SeccompCmpArgLen::Dword,
            SeccompCmpOp::MaskedEq(writing),
            libc::O_RDONLY as u64,
        )?])
    };
    rules.insert(libc::SYS_openat, vec![read_only(2)?]);
    rules.insert(libc::SYS_open, vec![read_only(1)?]);
    // Name look-ups of the policy may ask a daemon of this machine; nothing goes to a network.
    let local = SeccompRule::new(vec![argument(0, libc::AF_UNIX as u64)?])?;
    rules.insert(libc::SYS_socket, vec![local]);
    // The attach helper and the keeper take names of their own, and the keeper confines itself further.
    let confining = [libc::PR_SET_NAME, libc::PR_SET_DUMPABLE, libc::PR_SET_NO_NEW_PRIVS];
    let confining: Result<Vec<SeccompRule>, _> =
        confining.iter().map(|option| SeccompRule::new(vec![argument(0, *option as u64)?])).collect();
    rules.insert(libc::SYS_prctl, confining?);
    let ioctls = sys::ATTACH_IOCTLS.iter().chain(keeper::IOCTLS).chain(&[libc::TCGETS, libc::FIONREAD]);
    let ioctls: Result<Vec<SeccompRule>, _> =
        ioctls.map(|request| SeccompRule::new(vec![argument(1, *request)?])).collect();
    rules.insert(libc::SYS_ioctl, ioctls?);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    SeccompFilter::new(rules, refuse, SeccompAction::Allow, TargetArch::x86_64)?.try_into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_one() {
        assert!(filter().expect("built").len() > ALLOWED.len());
    }
}
