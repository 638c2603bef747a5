//! The ends of keepers. As long as who started one lives, it is their child, and somebody has to take note of
//! its end: it would stay in the list of processes until then. Nobody waits for that: a thread does, which
//! ends with it, and where there can be none, whoever looks in.

use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tracing::debug;

/// Enough for one system call.
const STACK: usize = 64 << 10;

/// Those for whom there is no thread. Each is in one place only: a number whose end was noted may soon be
/// another process's.
static LEFT: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// Takes note of the end of a keeper that we have started, whenever that is.
pub(super) fn await_end(keeper: Pid) {
    look_in();
    let wait = move || {
        is_over(keeper, WaitPidFlag::empty());
    };
    let thread = thread::Builder::new().name("mg-reaper".into()).stack_size(STACK).spawn(wait);
    if let Err(error) = thread {
        // The broker's processes may start none.
        debug!(%error, "the end of a keeper is noted later");
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).push(keeper);
    }
}

/// Takes note of the ends that there were; whether there are others to come.
pub(in crate::capture) fn look_in() -> bool {
    let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    left.retain(|keeper| !is_over(*keeper, WaitPidFlag::WNOHANG));
    !left.is_empty()
}

/// Whether it has ended, and that is noted. No signal tells of it, so nobody else's wait for children meets
/// it.
fn is_over(keeper: Pid, how: WaitPidFlag) -> bool {
    loop {
        match waitpid(keeper, Some(how | WaitPidFlag::__WALL)) {
            Err(Errno::EINTR) => {}
            Ok(WaitStatus::StillAlive) => return false,
            Ok(_) | Err(_) => return true,
        }
    }
}
