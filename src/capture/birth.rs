//! Programs that are watched from their first instruction.
//!
//! The new process asks to be traced by us, so it stops when its program is loaded and none of it has run; it is let go from
//! the trace into an ordinary job-control stop, in which it can be attached to like any other. [`let_run`] continues it.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::target::Status;

/// The longest that a signal on its way to a stopped process may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Has the program that this command starts stop before its first instruction. The thread that starts it must call [`settle`] next.
pub fn hold(command: &mut Command) {
    // SAFETY: between fork and exec only ptrace(2) is called, with numbers.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// Waits until the held program is loaded, and leaves it stopped there with nobody tracing it.
pub fn settle(pid: u32) -> io::Result<()> {
    let process = Pid::from_raw(pid as i32);
    match waitpid(process, None)? {
        WaitStatus::Stopped(..) => {}
        other => return Err(io::Error::other(format!("it did not begin: {other:?}"))),
    }
    ptrace::detach(process, Signal::SIGSTOP)?;
    let begun = Instant::now();
    while Status::of(pid).is_ok_and(|status| status.state() != 'T') {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other("it did not stop"));
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(())
}

/// Lets a held program run.
pub fn let_run(pid: u32) -> io::Result<()> {
    Ok(kill(Pid::from_raw(pid as i32), Signal::SIGCONT)?)
}
