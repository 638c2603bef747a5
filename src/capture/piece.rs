//! How much of a target's address space one call may walk.
//!
//! A walk over page tables holds the target's `mmap_lock`, and every mmap(2), munmap(2) and brk(2) of the
//! target waits for it. On this project's machines a GiB of small pages takes 0.8 ms to look at, 3.4 ms to
//! arm. So what is long is walked in pieces, each as long as the ones before took less than a millisecond.
//!
//! Between pieces the target has its turn: a reader that comes at once takes the lock from under a writer
//! that is just being woken (kernel/locking/rwsem.c), which insists only after 4 ms.

use std::time::{Duration, Instant};

/// What one call should take at most.
const LONGEST: Duration = Duration::from_millis(1);
/// Calls that take less than this are made longer.
const SHORT: Duration = Duration::from_micros(250);

/// Pieces of this kind of walk begin at multiples of it: what one page table covers.
const TABLE: u64 = 2 << 20;
const FIRST: u64 = 64 << 20;
const SHORTEST: u64 = 16 << 20;

/// So much resident memory is walked in one call, wherever it lies, within the time that a call may take.
const LITTLE: u64 = 1 << 30;

/// Time that calls hold the lock, together, before the target has its turn, and how long that is.
const WORK: Duration = Duration::from_micros(500);
const TURN: Duration = Duration::from_micros(150);

/// Gives the target its turns.
#[derive(Debug)]
pub(super) struct Turns {
    held: Duration,
    last: Instant,
}

impl Turns {
    pub fn new() -> Self {
        Self { held: Duration::ZERO, last: Instant::now() }
    }

    /// Before a call: waits, where the calls before have held the lock for long enough.
    pub fn wait(&mut self) {
        if self.last.elapsed() >= TURN {
            self.held = Duration::ZERO;
        } else if self.held >= WORK {
            std::thread::sleep(TURN);
            self.held = Duration::ZERO;
        }
    }

    /// A call has taken so long.
    pub fn took(&mut self, time: Duration) {
        self.held += time;
        self.last = Instant::now();
    }
}

/// Lengths of the next calls of one kind.
#[derive(Debug)]
pub(super) struct Pieces {
    length: u64,
    longest: u64,
}

impl Pieces {
    /// For calls that only look. Address space without pages costs nearly nothing, so pieces may become long;
    /// but where they come to memory again, the first of them is walked whole.
    pub fn of_looking() -> Self {
        Self { length: FIRST, longest: 2 * LITTLE }
    }

    /// For calls that change what they find.
    pub fn of_arming() -> Self {
        Self { length: FIRST, longest: 4 * FIRST }
    }

    /// So many bytes of the target are in memory: no call can meet more.
    pub fn resident(&mut self, bytes: u64) {
        self.longest = if bytes <= LITTLE { u64::MAX } else { 2 * LITTLE };
        self.length = self.length.min(self.longest);
    }

    /// Where the call that begins at `from` ends.
    pub fn end(&self, from: u64, end: u64) -> u64 {
        let reach = from.saturating_add(self.length);
        if reach >= end { end } else { (reach / TABLE * TABLE).max(from + TABLE).min(end) }
    }

    /// A call over so much has taken so long.
    pub fn took(&mut self, walked: u64, time: Duration) {
        if time > LONGEST {
            self.length = (walked.min(self.length) / 2).max(SHORTEST);
        } else if time < SHORT && walked >= self.length / 2 {
            self.length = self.length.saturating_mul(2).min(self.longest);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::range::PageRange;

    const GIB: u64 = 1 << 30;

    /// How many calls go over a range in which there is nothing.
    fn calls_over_nothing(pieces: &mut Pieces, range: PageRange) -> u32 {
        let (mut from, mut calls) = (range.start, 0);
        while from < range.end {
            let end = pieces.end(from, range.end);
            pieces.took(end - from, Duration::ZERO);
            (from, calls) = (end, calls + 1);
        }
        calls
    }

    proptest! {
        #[test]
        fn pieces_follow_one_another_without_gaps_and_stay_within_their_bounds(
            first in 1u64..1 << 30,
            pages in 1u64..1 << 24,
            times in prop::collection::vec(0u64..3000, 1..50),
        ) {
            let whole = PageRange::new(first * 4096, (first + pages) * 4096);
            let mut pieces = Pieces::of_arming();
            let (mut at, mut call) = (whole.start, 0);
            while at < whole.end {
                let end = pieces.end(at, whole.end);
                prop_assert!(at < end && end <= whole.end);
                prop_assert!(end - at <= 4 * FIRST);
                prop_assert!(end == whole.end || end.is_multiple_of(TABLE), "no page table is walked twice");
                pieces.took(end - at, Duration::from_micros(times[call % times.len()]));
                (at, call) = (end, call + 1);
            }
        }
    }

    #[test]
    fn the_target_has_its_turn_after_long_calls_and_short_ones_are_not_held_up() {
        let mut turns = Turns::new();
        let waited = |turns: &mut Turns| {
            let begun = Instant::now();
            turns.wait();
            (begun.elapsed() >= TURN).then_some(turns.held)
        };
        turns.took(WORK);
        assert_eq!(waited(&mut turns), Some(Duration::ZERO));
        for _ in 0..10 {
            turns.took(WORK / 20);
        }
        // Unless this very test was not given the processor.
        let held = turns.held;
        assert!(waited(&mut turns).is_none() && held < WORK || turns.held.is_zero());
    }

    #[test]
    fn what_takes_long_is_walked_in_shorter_pieces_and_nothing_costs_nothing() {
        let mut pieces = Pieces::of_looking();
        pieces.resident(8 * GIB);
        let calls = calls_over_nothing(&mut pieces, PageRange::new(0, 64 * GIB));
        assert!((32..50).contains(&calls), "{calls} calls over nothing");
        for _ in 0..20 {
            let end = pieces.end(0, u64::MAX);
            pieces.took(end, Duration::from_millis(5));
        }
        assert_eq!(pieces.end(0, u64::MAX), SHORTEST);
        pieces.resident(GIB / 2);
        let calls = calls_over_nothing(&mut pieces, PageRange::new(0, 1 << 46));
        assert!(calls < 60, "{calls} calls over 64 TiB of nothing");
    }
}
