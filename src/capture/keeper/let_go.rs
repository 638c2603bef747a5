//! Letting go of what is watched, in pieces.
//!
//! UFFDIO_UNREGISTER walks the page table of its range while it holds the lock that the target's mmap(2)
//! waits for: some 20 ms for each gibibyte that is there. So each call gets a piece in which only so many
//! pages exist, however long it is; between two calls the target has its turn. A mapping that is let go of in
//! part is two for a moment, and one again after the next piece.
//!
//! What is registered is asked of the kernel, of each piece: what the target has unmapped or mapped anew
//! since is not ours any more, and may be watched by a userfaultfd of its own.

use nix::libc::{self, c_int};

use super::kernel::Kernel;
use super::memory::{Memory, RUNS};
use super::raw::{exit, now_ns, sleep_ns};
use crate::capture::PageRange;
use crate::capture::huge::HUGE;
use crate::capture::sys::{self, PageRegion, PmScanArg};

/// Pages of a piece: a third of a millisecond of a quiet processor.
const PAGES: u64 = 4096;
/// Time that is worked, together, before the target has its turn, what part of it that turn takes, and the
/// least: a writer that is woken needs some time until it has the lock, and loses it to who comes before.
const TURN_NS: u64 = 200_000;
const REST: u64 = 2;
const LEAST_REST_NS: u64 = 150_000;

/// Gives the target its turns.
#[derive(Default)]
pub(super) struct Pace {
    worked_ns: u64,
}

impl Pace {
    /// After a piece of work that began then.
    pub fn rest(&mut self, begun: u64) {
        self.worked_ns = self.worked_ns.saturating_add(now_ns().saturating_sub(begun));
        if self.worked_ns >= TURN_NS {
            sleep_ns((self.worked_ns / REST).max(LEAST_REST_NS));
            self.worked_ns = 0;
        }
    }
}

/// Lets go of everything, and closes the userfaultfd.
pub(super) fn all(memory: &mut Memory) {
    let kernel = memory.plan.kernel;
    memory.watched.compact();
    let mut pace = Pace::default();
    let mut index = 0;
    while let Some(range) = memory.watched.get(index) {
        of(&kernel, range, &mut memory.runs, &mut pace);
        index = index.wrapping_add(1);
    }
    memory.watched.clear();
    kernel.close_uffd();
}

/// Forgets ranges in which nothing is registered any more.
pub(super) fn forget_gone(memory: &mut Memory) {
    let kernel = memory.plan.kernel;
    memory.left.clear();
    let mut index = 0;
    while let Some(range) = memory.watched.get(index) {
        let any = PmScanArg { max_pages: 1, ..REGISTERED };
        if !matches!(kernel.scan(range, any, &mut memory.runs), Ok((0, _))) {
            memory.left.push(range);
        }
        index = index.wrapping_add(1);
    }
    memory.watched.take(&mut memory.left);
}

/// Lets go of one range. What resists is left to the closing of the descriptor.
pub(super) fn of(kernel: &Kernel, range: PageRange, runs: &mut [PageRegion; RUNS], pace: &mut Pace) {
    let mut from = range.start;
    let mut whole = false;
    while from < range.end {
        if kernel.has_ended() {
            exit();
        }
        let begun = now_ns();
        let piece = PageRange { start: from, end: edge(kernel, from, range.end, runs) };
        let Ok((found, looked)) = twice(|| kernel.scan(piece, REGISTERED, runs)) else {
            from = piece.end;
            continue;
        };
        for run in runs.iter().take(found) {
            let run = PageRange { start: run.start.max(piece.start), end: run.end.min(piece.end) };
            whole |= !run.is_empty() && twice(|| kernel.unregister(run)).is_err();
        }
        from = if looked > from { looked.min(piece.end) } else { piece.end };
        pace.rest(begun);
    }
    // A mapping cannot be split where the target has as many as it may, and not within a large page of a
    // pool.
    if whole {
        let _ = kernel.unregister(range);
    }
}

/// Where a piece that begins here ends: so many pages exist in it, and no huge page lies across its end.
fn edge(kernel: &Kernel, from: u64, end: u64, runs: &mut [PageRegion; RUNS]) -> u64 {
    let looked = match twice(|| kernel.scan(PageRange { start: from, end }, EXISTING, runs)) {
        Ok((_, looked)) => looked,
        Err(_) => from.saturating_add(PAGES.wrapping_mul(4096)),
    };
    if looked >= end {
        return end;
    }
    let whole = looked & !(HUGE.wrapping_sub(1));
    if whole > from { whole } else { (from | HUGE.wrapping_sub(1)).wrapping_add(1).min(end) }
}

/// Whatever fails for a passing reason.
fn twice<T>(mut ask: impl FnMut() -> Result<T, c_int>) -> Result<T, c_int> {
    ask().or_else(|errno| if errno == libc::EINVAL { Err(errno) } else { ask() })
}

const EXISTING: PmScanArg = PmScanArg {
    category_anyof_mask: sys::PAGE_IS_PRESENT | sys::PAGE_IS_SWAPPED,
    return_mask: sys::PAGE_IS_PRESENT,
    max_pages: PAGES,
    ..NOTHING
};

const REGISTERED: PmScanArg =
    PmScanArg { category_mask: sys::PAGE_IS_WPALLOWED, return_mask: sys::PAGE_IS_WPALLOWED, ..NOTHING };

/// Asks for nothing yet.
pub(super) const NOTHING: PmScanArg = PmScanArg {
    size: 0,
    flags: 0,
    start: 0,
    end: 0,
    walk_end: 0,
    vec: 0,
    vec_len: 0,
    max_pages: 0,
    category_inverted: 0,
    category_mask: 0,
    category_anyof_mask: 0,
    return_mask: 0,
};
