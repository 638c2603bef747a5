//! Programs whose system calls fail: strace answers for the kernel.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// `program` and all that it starts under strace, which writes to `log`; in a process group of its own.
pub fn command(log: &Path, options: &[impl AsRef<OsStr>], program: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(log).args(options).arg(program);
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// What `-e` wants, so that the calls `first` to `last` of each thread fail.
pub fn inject(call: &str, error: &str, first: usize, last: usize) -> String {
    format!("inject={call}:error={error}:when={first}..{last}")
}

/// A call, and what it may fail with: of the errors that its manual page names.
type Call = (&'static str, &'static [&'static str]);

/// All that are made to fail; a program that does not make one has no place for it.
const CALLS: &[Call] = &[
    ("accept4", &["EMFILE", "ECONNABORTED", "ENOMEM"]),
    ("bind", &["EACCES", "EADDRINUSE", "ENOSPC"]),
    ("capget", &["EPERM"]),
    ("capset", &["EPERM"]),
    ("chmod", &["EPERM"]),
    ("clone", &["EAGAIN", "ENOMEM"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
    ("connect", &["EACCES", "ECONNREFUSED", "EAGAIN"]),
    ("dup", &["EMFILE"]),
    ("epoll_create1", &["EMFILE", "ENOMEM"]),
    ("epoll_ctl", &["ENOMEM", "ENOSPC"]),
    ("epoll_pwait", &["EINTR"]),
    ("epoll_wait", &["EINTR"]),
    ("eventfd2", &["EMFILE", "ENOMEM"]),
    ("execve", &["EACCES", "ENOMEM", "EMFILE"]),
    ("fallocate", &["ENOSPC", "EINTR"]),
    ("fchmod", &["EPERM", "EROFS"]),
    ("fcntl", &["EMFILE"]),
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("flock", &["EINTR", "ENOLCK"]),
    ("fstat", &["ENOMEM"]),
    ("ftruncate", &["ENOSPC", "EINTR"]),
    ("getdents64", &["ENOENT", "EINVAL"]),
    ("getsockopt", &["ENOBUFS"]),
    ("inotify_add_watch", &["ENOSPC", "ENOENT"]),
    ("inotify_init1", &["EMFILE"]),
    ("ioctl", &["ENOMEM", "EPERM", "ESRCH", "EAGAIN", "EINTR", "EBUSY", "EINVAL"]),
    ("kill", &["EPERM", "ESRCH"]),
    ("listen", &["EADDRINUSE"]),
    ("madvise", &["ENOMEM", "EAGAIN"]),
    ("memfd_create", &["EMFILE", "ENOMEM"]),
    ("mkdir", &["EACCES", "ENOSPC", "EROFS"]),
    ("mmap", &["ENOMEM", "EPERM"]),
    ("mprotect", &["ENOMEM"]),
    ("newfstatat", &["ENOENT", "EACCES"]),
    ("openat", &["EMFILE", "ENOENT", "EACCES", "EINTR"]),
    ("perf_event_open", &["EACCES", "EMFILE", "EBUSY"]),
    ("pidfd_getfd", &["EPERM", "EMFILE"]),
    ("pidfd_open", &["ESRCH", "EMFILE"]),
    ("pipe2", &["EMFILE"]),
    ("poll", &["EINTR", "ENOMEM"]),
    ("ppoll", &["EINTR", "ENOMEM"]),
    ("prctl", &["EPERM", "EINVAL"]),
    ("pread64", &["EIO", "ESRCH", "EINTR"]),
    ("prlimit64", &["EPERM"]),
    ("process_vm_readv", &["EPERM", "ESRCH", "EFAULT"]),
    ("ptrace", &["ESRCH", "EPERM"]),
    ("read", &["EIO", "ESRCH", "EINTR", "EAGAIN"]),
    ("recvfrom", &["ECONNRESET", "ENOMEM", "EINTR"]),
    ("recvmsg", &["ENOMEM", "ECONNRESET", "EINTR"]),
    ("rename", &["EACCES", "ENOSPC"]),
    ("sched_setaffinity", &["EPERM"]),
    ("sched_setscheduler", &["EPERM"]),
    ("seccomp", &["EINVAL", "ENOMEM"]),
    ("sendmsg", &["ENOBUFS", "EPIPE", "EINTR"]),
    ("sendto", &["ENOBUFS", "EPIPE", "EINTR"]),
    ("setpriority", &["EACCES"]),
    ("setsid", &["EPERM"]),
    ("setsockopt", &["ENOMEM"]),
    ("shutdown", &["ENOTCONN"]),
    ("signalfd4", &["EMFILE", "ENOMEM"]),
    ("socket", &["EMFILE", "EACCES"]),
    ("socketpair", &["EMFILE"]),
    ("statx", &["ENOENT", "EACCES"]),
    ("timerfd_create", &["EMFILE"]),
    ("timerfd_settime", &["EINVAL"]),
    ("uname", &["EFAULT"]),
    ("unlink", &["EACCES", "EBUSY"]),
    ("userfaultfd", &["EPERM", "EMFILE", "ENOMEM"]),
    ("wait4", &["EINTR", "ECHILD"]),
    ("waitid", &["EINTR", "ECHILD"]),
    ("write", &["EINTR", "EIO"]),
    ("writev", &["EINTR", "EPIPE"]),
];

/// A place: the `nth` time that a thread makes this call.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub call: &'static str,
    pub nth: usize,
    pub error: &'static str,
}

impl Place {
    /// The options that make it fail and write down only that call.
    pub fn options(&self) -> [String; 4] {
        let Place { call, nth, error } = self;
        ["-e".into(), format!("trace={call}"), "-e".into(), inject(call, error, *nth, *nth)]
    }
}

/// How often each call is made by the thread that makes it most, as a log of strace has it.
pub fn counts(log: &str) -> BTreeMap<String, usize> {
    let mut each: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        if let Some((call, _)) = rest.trim_start().split_once('(') {
            *each.entry((thread.into(), call.into())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in each {
        let entry = most.entry(call).or_insert(0);
        *entry = count.max(*entry);
    }
    most
}

/// The places of each call beyond those of `start`, at most so many of each.
pub fn places(start: &BTreeMap<String, usize>, all: &BTreeMap<String, usize>, most: usize) -> Vec<Place> {
    let count = |of: &BTreeMap<String, usize>, call| of.get(call).copied().unwrap_or(0);
    let places = CALLS.iter().flat_map(|&(call, errors)| {
        let nth = (count(start, call) + 1..=count(all, call)).take(most);
        nth.map(move |nth| Place { call, nth, error: errors[nth % errors.len()] })
    });
    places.collect()
}

/// Every how manieth place is to be tried: the environment says it, or else this.
pub fn step(otherwise: usize) -> usize {
    std::env::var("MEMORY_GLASS_FAULTS").map_or(otherwise, |step| step.parse().expect("a number"))
}

/// Waits for the end of a program that is the leader of its group. None if it has none in time: then the whole group is killed.
pub fn end_of(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status);
        }
        if begin.elapsed() > patience {
            kill(child);
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends it with all that it has started.
pub fn kill(child: &mut Child) {
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let _ = child.wait();
}
