//! A number for each page of a line that may be terabytes long, of which hardly any is not zero.
//!
//! Pages are kept by the word: 64 together, once one of them is not zero, until all are zero again.

use std::collections::BTreeMap;
use std::ops::Range;

/// Pages of a word.
pub(super) const WORD: u64 = 64;
/// What an entry of a tree takes: key and value, the share of a node that is not filled, and of the allocations.
const NODE: usize = 48;

/// Numbers by place on the line; zero where nothing is said.
#[derive(Debug, Clone, Default)]
pub(super) struct Sums(BTreeMap<u64, Box<[f32; WORD as usize]>>);

impl Sums {
    /// Adds to each of these pages.
    pub(super) fn add(&mut self, places: Range<u64>, gain: f32) {
        for (index, within) in words(places) {
            let word = self.0.entry(index).or_insert_with(|| Box::new([0.0; WORD as usize]));
            word[within].iter_mut().for_each(|sum| *sum += gain);
        }
    }

    /// Multiplies all by `keep`; what is less than `least` then is zero.
    pub(super) fn fade(&mut self, keep: f32, least: f32) {
        self.0.retain(|_, word| {
            let mut any = false;
            for sum in word.iter_mut() {
                *sum *= keep;
                *sum = if *sum < least { 0.0 } else { *sum };
                any |= *sum > 0.0;
            }
            any
        });
    }

    /// The number of this page.
    pub(super) fn get(&self, place: u64) -> f32 {
        self.0.get(&(place / WORD)).map_or(0.0, |word| word[(place % WORD) as usize])
    }

    /// Puts this in the place of what there was.
    pub(super) fn set(&mut self, place: u64, sum: f32) {
        let word = self.0.entry(place / WORD).or_insert_with(|| Box::new([0.0; WORD as usize]));
        word[(place % WORD) as usize] = sum;
    }

    /// Those of a stretch that are not zero, by place.
    pub(super) fn range(&self, places: Range<u64>) -> impl Iterator<Item = (u64, f32)> + '_ {
        let (first, behind) = (places.start / WORD, places.end.div_ceil(WORD));
        let words = self.0.range(first..behind.max(first));
        let pages = words.flat_map(|(index, word)| (index * WORD..).zip(word.iter().copied()));
        pages.filter(move |(place, sum)| *sum > 0.0 && places.contains(place))
    }

    /// All that are not zero, by place.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, f32)> + '_ {
        let pages = self.0.iter().flat_map(|(index, word)| (index * WORD..).zip(word.iter().copied()));
        pages.filter(|(_, sum)| *sum > 0.0)
    }

    /// What a word takes in memory, bytes, with the marks of its pages.
    pub(super) const WEIGHT_OF_WORD: usize = size_of::<[f32; WORD as usize]>() + 2 * NODE;

    /// What it takes in memory, bytes.
    pub(super) fn weight(&self) -> usize {
        self.0.len() * (Self::WEIGHT_OF_WORD - NODE)
    }

    /// The same numbers where pages have moved: these stretches, each to its new first place.
    pub(super) fn moved(&self, moves: &[(Range<u64>, u64)]) -> Self {
        let mut moved = Self::default();
        for (from, to) in moves {
            for (place, sum) in self.range(from.clone()) {
                let place = to + (place - from.start);
                moved.add(place..place + 1, sum);
            }
        }
        moved
    }
}

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
fn words(places: Range<u64>) -> impl Iterator<Item = (u64, Range<usize>)> {
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
        fn they_are_a_line_of_numbers(
            // As far as a line may be long.
            base in prop_oneof![Just(0u64), Just(1 << 44)],
            steps in prop::collection::vec((0u64..500, 0u64..150, 0u8..4), 1..20),
            stretch in (0u64..500, 0u64..300), shift in 0u64..200,
        ) {
            let (mut sums, mut marks) = (Sums::default(), Marks::default());
            let (mut numbers, mut known) = (vec![0f32; 700], vec![false; 700]);
            for (first, count, what) in steps {
                let place = |at: u64| base + at;
                if what == 0 {
                    sums.fade(0.5, 0.2);
                    numbers.iter_mut().for_each(|sum| *sum = if *sum * 0.5 < 0.2 { 0.0 } else { *sum * 0.5 });
                    continue;
                }
                sums.add(place(first)..place(first + count), f32::from(what));
                let new = marks.insert(place(first)..place(first + count));
                let mut expected = 0;
                for at in first as usize..(first + count) as usize {
                    numbers[at] += f32::from(what);
                    expected += u64::from(!std::mem::replace(&mut known[at], true));
                }
                prop_assert_eq!(new, expected);
                prop_assert_eq!(marks.count(), known.iter().filter(|known| **known).count() as u64);
            }
            let dense = |from: usize, to: usize| -> Vec<(u64, f32)> {
                (from..to).filter(|at| numbers[*at] > 0.0).map(|at| (base + at as u64, numbers[at])).collect()
            };
            prop_assert_eq!(sums.iter().collect::<Vec<_>>(), dense(0, 700));
            let (first, count) = stretch;
            let range = base + first..base + (first + count).min(700);
            let within = dense(first as usize, (first + count).min(700) as usize);
            prop_assert_eq!(&sums.range(range.clone()).collect::<Vec<_>>(), &within);
            let moves = [(range.clone(), shift)];
            let to = |place: u64| place - range.start + shift;
            let moved: Vec<(u64, f32)> = within.iter().map(|(place, sum)| (to(*place), *sum)).collect();
            prop_assert_eq!(sums.moved(&moves).iter().collect::<Vec<_>>(), moved);
            let mut moved = marks.moved(&moves);
            let last = (first + count).min(700) as usize;
            for (at, known) in known.iter().enumerate().take(last).skip(first as usize) {
                let place = to(base + at as u64);
                prop_assert_eq!(moved.insert(place..place + 1), u64::from(!known));
            }
        }
    }
}
