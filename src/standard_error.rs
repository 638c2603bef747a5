//! A stderr that can be written to, for libraries that take it for granted.
//!
//! `eprintln!` panics where stderr cannot be written, and libraries use it at just the wrong moments: the
//! Wayland client's says so that the desktop is gone, which often took the terminal with it.

use std::fs::File;
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Where nobody can read stderr any more, it is `/dev/null` from now on.
pub(crate) fn keep_usable() {
    if is_gone()
        && let Ok(nowhere) = File::options().write(true).open("/dev/null")
    {
        // As it is when this fails, it was before.
        let _ = nix::unistd::dup2_stderr(nowhere);
    }
}

/// Whether its reader has ended: the other end of a pipe or a socket is closed, a terminal hung up.
fn is_gone() -> bool {
    let stderr = std::io::stderr();
    let mut ends = [PollFd::new(stderr.as_fd(), PollFlags::empty())];
    poll(&mut ends, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}
