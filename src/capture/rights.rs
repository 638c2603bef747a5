//! What we may, the programs that we start may not: a session of root's, or one that a unit has given capabilities to, lends them to
//! nobody.

#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Has the program that this command starts run without any capability, and without a way to have one by executing others, as
/// root's programs otherwise have all (capabilities(7)).
pub(crate) fn keep_to_ourselves(command: &mut Command) {
    // SAFETY: between fork and exec only prctl(2) and capset(2) are called, with numbers and values on the stack.
    unsafe {
        command.pre_exec(|| seal().map_err(io::Error::from));
    }
}

fn seal() -> rustix::io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let now = rustix::thread::capabilities(None)?;
    for capability in CapabilitySet::all().iter() {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The list has some that an older kernel does not know.
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(rustix::io::Errno::PERM) => return without_setpcap(),
            Err(error) => return Err(error),
        }
    }
    // What is permitted goes with the exec: of it and of what is bounded, nothing is left.
    let inheritable = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { inheritable, ..now })
}

/// Only who has CAP_SETPCAP can narrow the bounding set. Others execute programs with no more than they have left themselves, once
/// nothing can be gained any more; what is no capability of ours from the start, like a set-uid program of somebody's, is not our concern.
fn without_setpcap() -> rustix::io::Result<()> {
    let none = CapabilitySet::empty();
    if nix::unistd::geteuid().is_root() {
        rustix::thread::set_no_new_privs(true)?;
    }
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective: none, permitted: none, inheritable: none },
    )
}
