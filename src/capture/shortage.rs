//! When memory runs out, the monitor goes first: never the target for what we take, in its memory group or
//! out of it.
//!
//! The kernel ends the process of the highest score (Documentation/filesystems/proc.rst, `oom_score_adj`).
//! Whoever watches has the highest there is; what it starts, and what must not die half way, gets back what
//! there was before (`as_before`, `original`).

#![allow(unsafe_code)]

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::sync::OnceLock;

use nix::libc;
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

const SCORE: &str = "/proc/self/oom_score_adj";
/// More than any other can have.
const FIRST: &str = "1000";

/// What the score was before it was raised, as the kernel wrote it.
static ORIGINAL: OnceLock<String> = OnceLock::new();

/// This process is the first to be ended from now on when there is too little memory. Whoever may not say so
/// is as safe as before.
pub fn first_to_go() {
    ORIGINAL.get_or_init(|| {
        let before = std::fs::read_to_string(SCORE).unwrap_or_default().trim().to_owned();
        // Raised with this capability, the new score would be the least that a process without it can go back
        // to.
        let sets = capabilities(None).ok();
        let without = |sets: CapabilitySets| CapabilitySets {
            effective: sets.effective - CapabilitySet::SYS_RESOURCE,
            ..sets
        };
        let _ = sets.map(|sets| set_capabilities(None, without(sets)));
        if let Err(error) = std::fs::write(SCORE, FIRST) {
            tracing::debug!(%error, "not the first to be ended when memory is short");
        }
        let _ = sets.map(|sets| set_capabilities(None, sets));
        before
    });
}

/// The score that there was before this process became the first to go, in the kernel's words; none where it
/// has not. It takes nothing but a look at memory: a freshly forked process may ask.
pub(crate) fn original() -> Option<&'static str> {
    ORIGINAL.get().map(String::as_str).filter(|score| !score.is_empty())
}

/// Has the kernel give this memory in small pages: hardly any of it is ever written, and a huge page is had
/// whole.
pub(crate) fn small_pages<T>(memory: &mut [T]) {
    let size = super::sys::page_size() as usize;
    let start = (memory.as_ptr() as usize).next_multiple_of(size);
    let end = memory.as_ptr_range().end as usize / size * size;
    if start < end {
        // SAFETY: whole pages of memory that is ours alone; how it is paged changes nothing about its
        // content.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_NOHUGEPAGE) };
    }
}

/// Has the program that this command starts the score that we had.
pub(crate) fn as_before(command: &mut Command) {
    let Some(score) = original() else { return };
    // SAFETY: between fork and exec only open(2), write(2) and close(2) are called, with text that lives for
    // ever.
    unsafe {
        command.pre_exec(move || {
            let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if file >= 0 {
                // A program is not refused to a person for this.
                libc::write(file, score.as_ptr().cast(), score.len());
                libc::close(file);
            }
            Ok(())
        });
    }
}
