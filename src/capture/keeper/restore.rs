//! Putting huge pages together again that the watch has split.
//!
//! Only blocks that were huge before, are not now, and are there as a whole: a missing page would be filled, and the target would own
//! more memory than it asked for. Of shared memory the table of the target shows only what it has touched since, so one page is enough
//! there; the huge page itself is still whole in most cases, and only mapped in pieces.

use nix::libc;

use super::kernel::Kernel;
use super::let_go::{NOTHING, Pace};
use super::memory::{Memory, RUNS};
use super::raw::{exit, now_ns, sleep_ns};
use crate::capture::PageRange;
use crate::capture::huge::HUGE;
use crate::capture::sys::{self, PageRegion, PmScanArg};

/// Blocks of one call. The kernel holds the target's lock for one of them at a time, some 0.15 ms.
const AT_ONCE: u64 = 8;
/// How often what fails is tried again, and the pause after the first time; it doubles.
const TRIES: u32 = 8;
const PAUSE_NS: u64 = 10_000_000;
/// The longest pause: what somebody else watches now is looked after for as long as the target runs.
const LONGEST_NS: u64 = 5_000_000_000;

/// What is to be done with a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing: huge already, or not all there.
    Done,
    /// It can be put together.
    Ready,
    /// Not now: somebody watches it.
    Watched,
}

/// Puts together what can be, and calls `told` with the bytes of it once only blocks are left that others watch.
pub(super) fn all(memory: &mut Memory, told: impl FnOnce(u64)) {
    let kernel = memory.plan.kernel;
    memory.huge.compact();
    memory.left.clear();
    let (mut restored, mut pause, mut tries, mut told) = (0u64, PAUSE_NS, 0u32, Some(told));
    loop {
        let mut round = Round { kernel, again: tries < TRIES, restored: 0, failed: false };
        let permitted = round.play(memory).is_ok();
        restored = restored.saturating_add(round.restored);
        if !permitted || memory.left.len() == 0 {
            break;
        }
        memory.left.compact();
        memory.huge.take(&mut memory.left);
        if !round.failed
            && let Some(told) = told.take()
        {
            told(restored);
        }
        tries = tries.saturating_add(u32::from(round.failed));
        sleep_ns(pause);
        pause = pause.saturating_mul(2).min(LONGEST_NS);
    }
    if let Some(told) = told {
        told(restored);
    }
}

/// We may not do this at all.
struct NotPermitted;

/// Going once over all blocks that are left.
struct Round {
    kernel: Kernel,
    /// Whether what fails is to be tried again.
    again: bool,
    /// Bytes.
    restored: u64,
    /// Whether anything failed.
    failed: bool,
}

impl Round {
    fn play(&mut self, memory: &mut Memory) -> Result<(), NotPermitted> {
        let mut pace = Pace::default();
        let mut index = 0;
        while let Some(range) = memory.huge.get(index) {
            index = index.wrapping_add(1);
            let mut at = range.start;
            while at.saturating_add(HUGE) <= range.end {
                if self.kernel.has_ended() {
                    exit();
                }
                let begun = now_ns();
                let (state, run) = run(&self.kernel, at, range.end, &mut memory.runs);
                at = run.end;
                match state {
                    State::Done => {}
                    State::Watched => {
                        memory.left.push(run);
                    }
                    State::Ready => self.put_together(memory, run)?,
                }
                pace.rest(begun);
            }
        }
        Ok(())
    }

    fn put_together(&mut self, memory: &mut Memory, run: PageRange) -> Result<(), NotPermitted> {
        if self.kernel.collapse(run).is_ok() {
            self.restored = self.restored.saturating_add(run.len());
            return Ok(());
        }
        // One of them resists, and the others are as they are: each by itself.
        let mut block = PageRange { start: run.start, end: run.start.wrapping_add(HUGE) };
        while block.end <= run.end {
            if look(&self.kernel, block, &mut memory.runs) == State::Ready {
                self.put_one_together(memory, block)?;
            }
            block = PageRange { start: block.end, end: block.end.wrapping_add(HUGE) };
        }
        Ok(())
    }

    fn put_one_together(&mut self, memory: &mut Memory, block: PageRange) -> Result<(), NotPermitted> {
        match self.kernel.collapse(block) {
            Ok(()) => self.restored = self.restored.saturating_add(HUGE),
            Err(libc::EPERM | libc::EACCES) => return Err(NotPermitted),
            // No memory in one piece, a page that somebody holds for a moment, or what the kernel calls invalid for want of a word.
            Err(_) if self.again => {
                self.failed = true;
                memory.left.push(block);
            }
            Err(_) => {}
        }
        Ok(())
    }
}

/// The blocks from here on that are in the same state, at most so many as one call gets.
fn run(kernel: &Kernel, start: u64, end: u64, runs: &mut [PageRegion; RUNS]) -> (State, PageRange) {
    let block = |start: u64| PageRange { start, end: start.saturating_add(HUGE) };
    let first = block(start);
    let state = look(kernel, first, runs);
    let mut run = first;
    while run.len() < AT_ONCE.wrapping_mul(HUGE) && run.end.saturating_add(HUGE) <= end {
        let next = block(run.end);
        if look(kernel, next, runs) != state {
            break;
        }
        run.end = next.end;
    }
    (state, run)
}

fn look(kernel: &Kernel, block: PageRange, runs: &mut [PageRegion; RUNS]) -> State {
    const ASKED: PmScanArg = PmScanArg {
        category_mask: sys::PAGE_IS_PRESENT | sys::PAGE_IS_PFNZERO,
        category_inverted: sys::PAGE_IS_PFNZERO,
        return_mask: sys::PAGE_IS_FILE | sys::PAGE_IS_HUGE | sys::PAGE_IS_WPALLOWED,
        ..NOTHING
    };
    let Ok((found, _)) = kernel.scan(block, ASKED, runs) else { return State::Done };
    let (mut bytes, mut any) = (0u64, 0u64);
    for run in runs.iter().take(found) {
        bytes = bytes.saturating_add(run.end.saturating_sub(run.start));
        any |= run.categories;
    }
    let there = bytes == HUGE || bytes > 0 && any & sys::PAGE_IS_FILE != 0;
    if any & sys::PAGE_IS_WPALLOWED != 0 {
        State::Watched
    } else if there && any & sys::PAGE_IS_HUGE == 0 {
        State::Ready
    } else {
        State::Done
    }
}
