//! Which thread of the target is cheapest to stop.
//!
//! A thread that waits in a call which the kernel restarts by itself notices nothing and stops at once. A running one
//! stops when the kernel next looks (up to a time slice on a busy machine). Calls that answer EINTR when anything
//! interrupts them are repeated by us, but a time limit in them starts anew; so they come late.

use std::fs;
use std::path::Path;

use nix::libc;

use super::CaptureError;
use super::sys::SYS_IO_PGETEVENTS;
use super::target::{Status, proc_path};

/// Threads looked at; a target with more has a cheap one among these.
const LOOKED_AT: usize = 256;

/// A thread that may be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub tid: i32,
    /// A seccomp filter watches its calls and must be suspended.
    pub seccomp: bool,
    cost: u32,
}

/// The threads of a process, cheapest first.
pub(crate) fn candidates(pid: u32) -> Result<Vec<Candidate>, CaptureError> {
    let tasks = fs::read_dir(proc_path(pid, "task")).map_err(|_| CaptureError::NoSuchProcess { pid })?;
    let mut threads: Vec<_> = tasks
        .flatten()
        .take(LOOKED_AT)
        .filter_map(|entry| {
            let tid = entry.file_name().to_str()?.parse().ok()?;
            let status = Status::read(&entry.path().join("status")).ok()?;
            let cost = cost(status.state(), &entry.path())?;
            // Suspending a filter needs more privilege, so a thread without one is always preferred.
            let seccomp = status.number("Seccomp").is_some_and(|mode| mode != 0);
            Some(Candidate { tid, seccomp, cost: cost + if seccomp { 10_000 } else { 0 } })
        })
        .collect();
    threads.sort_unstable_by_key(|thread| (thread.cost, thread.tid));
    Ok(threads)
}

/// What stopping a thread in this state costs; none when it must not be tried at all.
fn cost(state: char, task: &Path) -> Option<u32> {
    match state {
        'Z' | 'X' | 't' => None,
        // Uninterruptible: it may be over in a moment, or only when a disk answers.
        'D' => Some(500),
        _ => Some(cost_of_call(&fs::read_to_string(task.join("syscall")).unwrap_or_default())),
    }
}

/// `/proc/PID/task/TID/syscall` starts with "running" or with the number of the call that the thread waits in.
fn cost_of_call(line: &str) -> u32 {
    let first = line.split_whitespace().next().unwrap_or_default();
    let Ok(number) = first.parse::<i64>() else { return if first == "running" { 20 } else { 15 } };
    match number {
        libc::SYS_futex | libc::SYS_read | libc::SYS_wait4 | libc::SYS_waitid | libc::SYS_pause => 5,
        libc::SYS_rt_sigsuspend => 5,
        libc::SYS_poll | libc::SYS_ppoll | libc::SYS_select | libc::SYS_pselect6 => 6,
        libc::SYS_nanosleep | libc::SYS_clock_nanosleep => 8,
        // On a socket with a time limit these answer EINTR.
        libc::SYS_accept | libc::SYS_accept4 | libc::SYS_recvfrom | libc::SYS_recvmsg => 30,
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => 50,
        libc::SYS_semop | libc::SYS_semtimedop | libc::SYS_rt_sigtimedwait => 60,
        libc::SYS_io_getevents | SYS_IO_PGETEVENTS | libc::SYS_io_uring_enter => 60,
        // Not safe to repeat, should they answer EINTR.
        libc::SYS_connect | libc::SYS_close => 90,
        _ => 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_restart_by_themselves_come_before_running_and_those_before_calls_that_answer_eintr() {
        let futex = cost_of_call("202 0x7f 0x0 0x1 0x0 0x0 0x0 0x7ffd 0x7f12");
        let running = cost_of_call("running");
        let epoll = cost_of_call("232 0x4 0x7f 0x1 0xffffffff 0x0 0x0 0x7ffd 0x7f12");
        assert!(futex < running && running < epoll);
        assert!(cost_of_call("") < running, "an unreadable line is no reason to prefer a running thread");
    }
}
