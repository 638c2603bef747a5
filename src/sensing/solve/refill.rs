//! The fill of a line after some of its samples have changed, without a look at the rest.
//!
//! A page has its nearest sample's state. So a sample that comes, or turns, gives its state to the pages that are nearer to it than
//! to either neighbour, and one that goes leaves just those to its neighbours; no other page changes. Each costs a look for the
//! neighbours in a word or two of the samples, a word or two of the fill, and the cells over these.

use std::ops::Range;

use super::super::PageSet;
use super::{Cells, SampleChanges};

/// The quick way changes eight bytes of the line, of which so many are before the sample's own.
const BEFORE: usize = 4;
/// How far it looks to the right: half of that is within those bytes. To the left it is seven bytes and the sample's own.
const RIGHT: usize = 48;

/// Shares of two cells of four pages each, by the byte of their eight.
static PAIRS: [[f32; 2]; 256] = {
    let mut pairs = [[0.0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [(byte & 15).count_ones() as f32 * 0.25, (byte >> 4).count_ones() as f32 * 0.25];
        byte += 1;
    }
    pairs
};

/// Brings `filled` and the `shares` of its cells from the samples before the changes to those after them. `touched` gets the
/// cells that were counted anew, for each change, the new samples first.
pub(super) fn refill(
    samples: (&PageSet, &PageSet),
    changes: &SampleChanges,
    cells: &Cells,
    filled: &mut PageSet,
    shares: &mut [f32],
    touched: &mut Vec<Range<usize>>,
) {
    assert_eq!(
        (filled.pages(), shares.len()),
        (samples.0.pages(), cells.count()),
        "the map that was solved last"
    );
    touched.clear();
    touched.reserve(changes.count());
    let mut line = Line { seen: samples.0, written: samples.1, filled, shares, cells };
    line.pass::<false>(&changes.new, touched);
    line.pass::<true>(&changes.gone, touched);
}

/// What a refill works on.
struct Line<'a> {
    seen: &'a PageSet,
    written: &'a PageSet,
    filled: &'a mut PageSet,
    shares: &'a mut [f32],
    cells: &'a Cells,
}

impl Line<'_> {
    fn pass<const GONE: bool>(&mut self, places: &[usize], touched: &mut Vec<Range<usize>>) {
        let (first, mut missed) = (touched.len(), Vec::new());
        if self.cells.pages() == 4 * self.cells.count() {
            self.refill_quickly::<GONE>(places, touched, &mut missed);
        } else {
            touched.extend(places.iter().map(|_| 0..0));
            missed.extend(0..places.len());
        }
        for index in missed {
            touched[first + index] = self.refill::<GONE>(places[index]);
        }
    }

    /// As [`Self::refill`] for all of `places` at which both neighbours are near, where cells have four pages each; the indices
    /// of the others are `missed`. There is hardly a branch in it, so that the processor can work on several places at a time.
    fn refill_quickly<const GONE: bool>(
        &mut self,
        places: &[usize],
        touched: &mut Vec<Range<usize>>,
        missed: &mut Vec<usize>,
    ) {
        let (seen, written) = (self.seen.bytes(), self.written.bytes());
        let (filled, (pairs, _)) = (self.filled.bytes_mut(), self.shares.as_chunks_mut::<2>());
        touched.extend(places.iter().enumerate().map(|(index, &place)| {
            let (byte, bit) = (place / 8, place % 8);
            let (around, first) = (byte.wrapping_sub(7), byte.wrapping_sub(BEFORE));
            let around = around..around.wrapping_add(15);
            let (Some(looked), Some(hit), Some(own_bytes), Some(own_pairs)) = (
                seen.get(around.clone()),
                written.get(around),
                filled.get_mut(first..first.wrapping_add(8)),
                pairs.get_mut(first..first.wrapping_add(8)),
            ) else {
                missed.push(index);
                return 0..0;
            };
            // The pages before it, the nearest highest, and those behind it, the nearest lowest.
            let before = |bytes: &[u8]| word(&bytes[..8]) << (7 - bit) << 1;
            let behind = |bytes: &[u8]| word(&bytes[7..]) >> bit >> 1;
            let (left, right) = (before(looked), behind(looked) & ((1 << RIGHT) - 1));
            if left == 0 || right == 0 {
                missed.push(index);
                return 0..0;
            }
            let (left, right) = (left.leading_zeros() as usize, right.trailing_zeros() as usize);
            // The pages that are nearer to it than to either neighbour. The one in the middle is the left one's.
            let own = 8 * BEFORE + bit;
            let (from, to) = (own - left / 2, own + right.div_ceil(2) + 1);
            let nearest = (u64::MAX << from) & (u64::MAX >> (64 - to));
            let states = if GONE {
                let middle = (2 * own + right - left) / 2 + 1;
                let below = nearest & ((1 << middle) - 1);
                below & all(before(hit) << left >> 63) | (nearest ^ below) & all(behind(hit) >> right)
            } else {
                nearest & all(u64::from(hit[7] >> bit))
            };
            let now = (word(own_bytes) & !nearest | states).to_le_bytes();
            own_bytes.copy_from_slice(&now);
            for (pair, byte) in own_pairs.iter_mut().zip(now) {
                *pair = PAIRS[usize::from(byte)];
            }
            (8 * first + from) / 4..(8 * first + to).div_ceil(4)
        }));
    }

    /// Fills the pages that are nearer to `place` than to the samples on either side, and answers with the cells over them.
    fn refill<const GONE: bool>(&mut self, place: usize) -> Range<usize> {
        let (left, right) = (sample_before(self.seen, place), sample_from(self.seen, place + 1));
        let from = left.map_or(0, |left| usize::midpoint(left, place) + 1);
        let to = right.map_or(self.seen.pages(), |right| usize::midpoint(place, right) + 1);
        if GONE {
            let middle = match (left, right) {
                (Some(left), Some(right)) => usize::midpoint(left, right) + 1,
                (Some(_), None) => to,
                (None, _) => from,
            };
            let is_written = |sample: Option<usize>| sample.is_some_and(|place| self.written.contains(place));
            let (first, second) = (is_written(left), is_written(right));
            self.set(from..middle, first);
            self.set(middle..to, second);
        } else {
            self.set(from..to, self.written.contains(place));
        }
        let touched = self.cells.cells_of(from).start..self.cells.cells_of(to - 1).end;
        for (d, share) in touched.clone().zip(&mut self.shares[touched.clone()]) {
            let pages = self.cells.pages_of(d);
            let total = pages.len() as f32;
            *share = self.filled.count_in(pages) as f32 / total;
        }
        touched
    }

    fn set(&mut self, places: Range<usize>, state: bool) {
        if state {
            self.filled.insert_range(places);
        } else {
            self.filled.remove_range(places);
        }
    }
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}

/// Its lowest bit, 64 times.
fn all(bit: u64) -> u64 {
    0u64.wrapping_sub(bit & 1)
}

/// The last sample before `place`.
fn sample_before(seen: &PageSet, place: usize) -> Option<usize> {
    let words = seen.words();
    let mut index = place / 64;
    let mut word = words.get(index).copied().unwrap_or(0) & ((1u64 << (place % 64)) - 1);
    loop {
        if word != 0 {
            return Some(index * 64 + 63 - word.leading_zeros() as usize);
        }
        index = index.checked_sub(1)?;
        word = words[index];
    }
}

/// The first sample at or after `place`.
fn sample_from(seen: &PageSet, place: usize) -> Option<usize> {
    let words = seen.words();
    let mut index = place / 64;
    let mut word = words.get(index)? & (u64::MAX << (place % 64));
    loop {
        if word != 0 {
            return Some(index * 64 + word.trailing_zeros() as usize);
        }
        index += 1;
        word = *words.get(index)?;
    }
}

#[cfg(test)]
mod tests {
    use super::super::Tv;
    use super::*;
    use proptest::prelude::*;

    /// Unseen, seen silent, seen written.
    type State = Option<bool>;
    /// Places of a window with their new states.
    type Changed = Vec<(usize, State)>;

    fn sets(states: &[State]) -> (PageSet, PageSet) {
        let pages = states.len();
        let seen = PageSet::of(pages, (0..pages).filter(|place| states[*place].is_some()));
        let written = PageSet::of(pages, (0..pages).filter(|place| states[*place] == Some(true)));
        (seen, written)
    }

    /// A line with samples as dense as `dense` in a hundred, and some windows' changes of it: places with their new states.
    fn story() -> impl Strategy<Value = (usize, Vec<State>, Vec<Changed>)> {
        (0usize..4, 1u32..60, 1usize..1500).prop_flat_map(|(order, dense, pages)| {
            // Every other line has four pages a cell.
            let cells = 1usize << (2 * (order + 1));
            let pages = if pages % 2 == 0 { 4 * cells } else { pages };
            let state = prop_oneof![100 - dense => Just(None), dense => any::<bool>().prop_map(Some)];
            let change = (0..pages, prop_oneof![1 => Just(None), 3 => any::<bool>().prop_map(Some)]);
            (
                Just(cells),
                prop::collection::vec(state, pages),
                prop::collection::vec(prop::collection::vec(change, 0..40), 1..6),
            )
        })
    }

    proptest! {
        #[test]
        fn window_after_window_the_refill_is_the_fill((count, mut states, windows) in story()) {
            let cells = Cells::new(states.len(), count);
            let (mut tv, mut shares) = (Tv::new(), Vec::new());
            let mut before = sets(&states);
            tv.fill(&before.0, &before.1, &cells, &mut shares);
            let (mut changes, mut touched) = (SampleChanges::default(), Vec::new());
            for window in windows {
                let old_shares = shares.clone();
                for (place, state) in window {
                    states[place] = state;
                }
                let now = sets(&states);
                changes.find((&before.0, &before.1), (&now.0, &now.1));
                tv.refill(&now.0, &now.1, &changes, &cells, &mut shares, &mut touched);
                let (mut whole, mut expected) = (Tv::new(), Vec::new());
                whole.fill(&now.0, &now.1, &cells, &mut expected);
                prop_assert_eq!(tv.filled(), whole.filled());
                prop_assert_eq!(&shares, &expected);
                // What was touched is what changed, and lies in the gaps beside changed samples.
                let mut beside = vec![false; count];
                for &place in changes.new.iter().chain(&changes.gone) {
                    let left = sample_before(&now.0, place).unwrap_or(0);
                    let right = sample_from(&now.0, place + 1).unwrap_or(states.len() - 1);
                    beside[cells.cells_of(left).start..cells.cells_of(right).end].fill(true);
                }
                for d in 0..count {
                    let is_touched = touched.iter().any(|range| range.contains(&d));
                    prop_assert!(is_touched || shares[d] == old_shares[d], "cell {} changed unsaid", d);
                    prop_assert!(!is_touched || beside[d], "cell {} is beside no change", d);
                }
                before = now;
            }
        }
    }

    #[test]
    fn only_what_has_changed_is_found() {
        let (before, now) = (
            sets(&[None, Some(true), Some(false), Some(true), None]),
            sets(&[Some(false), Some(true), Some(true), None, None]),
        );
        let mut changes = SampleChanges::default();
        changes.find((&before.0, &before.1), (&now.0, &now.1));
        assert_eq!(changes, SampleChanges { new: vec![0, 2], gone: vec![3] });
        changes.find((&now.0, &now.1), (&now.0, &now.1));
        assert_eq!(changes.count(), 0);
    }
}
