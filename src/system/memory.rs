//! What is freed goes back to the kernel. A session runs for weeks, and what is large in it comes and goes: maps, pictures,
//! histories of processes that are watched no more, buffers of windows and displays. And what is large is new from the kernel each
//! time: of a map of which hardly any cell is written, hardly any takes memory.
#![allow(unsafe_code)]

use nix::libc;
use tracing::debug;

/// From this size on, bytes, memory is mapped by itself and unmapped when it is freed.
const BY_ITSELF: libc::c_int = 128 << 10;

/// Fixes that size. Left alone, the C library raises it to the largest that was ever freed, up to 32 MiB; from then on what is large
/// lies among small things that stay, and the room that it leaves is kept.
pub(super) fn give_back() {
    // SAFETY: it sets a number of the allocator, and is called before any thread is started.
    let set = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, BY_ITSELF) };
    if set == 0 {
        debug!("the C library's allocator has no threshold to set");
    }
}
