//! Which pages of a line are marked. The line may be terabytes long, and hardly any page of it is: pages are
//! kept by the word, 64 together.

use std::collections::BTreeMap;
use std::ops::Range;

/// Pages of a word.
pub(super) const WORD: u64 = 64;
/// What an entry of a tree takes: key and value, the share of a node that is not filled, and of the
/// allocations.
const NODE: usize = 48;

/// Which pages of a line are in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    words: BTreeMap<u64, u64>,
    count: u64,
}

impl Marks {
    /// Adds these pages, and answers how many of them were not in it before.
    pub(super) fn insert(&mut self, places: Range<u64>) -> u64 {
        let mut new = 0;
        for (index, within) in words(places) {
            let bits = u64::MAX >> (WORD as usize - within.len()) << within.start;
            let word = self.words.entry(index).or_default();
            new += u64::from((bits & !*word).count_ones());
            *word |= bits;
        }
        self.count += new;
        new
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// What a word takes in memory, bytes.
    pub(super) const WEIGHT_OF_WORD: usize = NODE;

    /// What it takes in memory, bytes.
    pub(super) fn weight(&self) -> usize {
        self.words.len() * NODE
    }

    /// The same pages where they have moved.
    pub(super) fn moved(&self, moves: &[(Range<u64>, u64)]) -> Self {
        let mut moved = Self::default();
        for (from, to) in moves {
            let (first, behind) = (from.start / WORD, from.end.div_ceil(WORD));
            for (index, word) in self.words.range(first..behind.max(first)) {
                let mut left = *word;
                while left != 0 {
                    let place = index * WORD + u64::from(left.trailing_zeros());
                    left &= left - 1;
                    if from.contains(&place) {
                        let place = to + (place - from.start);
                        moved.insert(place..place + 1);
                    }
                }
            }
        }
        moved
    }
}

/// The words that a stretch touches, each with the part of it that does.
pub(super) fn words(places: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
    let (first, behind) = (places.start / WORD, places.end.div_ceil(WORD));
    (first..behind).filter_map(move |index| {
        let start = places.start.max(index * WORD) - index * WORD;
        let end = places.end.min((index + 1) * WORD) - index * WORD;
        (start < end).then_some((index, start as usize..end as usize))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_are_a_set_of_places(
            // As far as a line may be long.
            base in prop_oneof![Just(0u64), Just(1 << 44)],
            steps in prop::collection::vec((0u64..500, 0u64..150), 1..20),
            stretch in (0u64..500, 0u64..300), shift in 0u64..200,
        ) {
            let mut marks = Marks::default();
            let mut known = vec![false; 700];
            for (first, count) in steps {
                let new = marks.insert(base + first..base + first + count);
                let mut expected = 0;
                for known in &mut known[first as usize..(first + count) as usize] {
                    expected += u64::from(!std::mem::replace(known, true));
                }
                prop_assert_eq!(new, expected);
                prop_assert_eq!(marks.count(), known.iter().filter(|known| **known).count() as u64);
            }
            let (first, count) = stretch;
            let last = (first + count).min(700);
            let mut moved = marks.moved(&[(base + first..base + last, shift)]);
            for at in first..last {
                let place = at - first + shift;
                prop_assert_eq!(moved.insert(place..place + 1), u64::from(!known[at as usize]));
            }
        }
    }
}
