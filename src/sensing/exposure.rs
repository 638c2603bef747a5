//! For how long each page was armed of late, and for how much of that in looks that found it written.
//!
//! Pages are kept by the word: 64 together, once one of them is written, until all are cold again.

use std::collections::BTreeMap;
use std::ops::Range;

use super::marks::{WORD, words};

const PAGES: usize = WORD as usize;
/// What an entry of a tree takes: key and value, the share of a node that is not filled, and of the allocations.
const NODE: usize = 48;

/// What is known of one page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exposure {
    /// Seconds of the looks that found it written, older ones fading.
    pub written: f32,
    /// Seconds of all looks at the armed page, fading alike.
    pub armed: f32,
}

#[derive(Debug, Clone)]
struct Word {
    written: [f32; PAGES],
    armed: [f32; PAGES],
    /// The pages that the last look could not see, by bits.
    unseen: u64,
}

impl Word {
    const COLD: Word = Word { written: [0.0; PAGES], armed: [0.0; PAGES], unseen: 0 };
}

/// How what is known fades at a look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fading {
    /// What is left of a page that was armed.
    pub armed: f32,
    /// What is left of one that was not, of which nothing newer is known.
    pub unseen: f32,
    /// Pages of which less than this was written are cold, and forgotten.
    pub cold: f32,
}

/// By place on a line that may be terabytes long, of which hardly any page is warm.
#[derive(Debug, Clone, Default)]
pub(super) struct Exposures(BTreeMap<u64, Box<Word>>);

impl Exposures {
    /// Takes the looks so far as older by one of `length` seconds, which could not see `unseen`. How many warm pages there are, and how
    /// many of them it could not see.
    pub fn look(
        &mut self,
        unseen: impl IntoIterator<Item = Range<u64>>,
        length: f32,
        fading: Fading,
    ) -> (u64, u64) {
        self.0.values_mut().for_each(|word| word.unseen = 0);
        for (first, behind, bits) in unseen.into_iter().filter_map(span) {
            for (index, word) in self.0.range_mut(first..behind) {
                word.unseen |= bits(*index);
            }
        }
        let (mut warm, mut hidden) = (0, 0);
        self.0.retain(|_, word| {
            let mut any: u64 = 0;
            for (at, (written, armed)) in word.written.iter_mut().zip(&mut word.armed).enumerate() {
                let seen = word.unseen >> at & 1 == 0;
                let keep = if seen { fading.armed } else { fading.unseen };
                *written *= keep;
                *armed = *armed * keep + if seen { length } else { 0.0 };
                let is_warm = *written >= fading.cold;
                *written = if is_warm { *written } else { 0.0 };
                *armed = if is_warm { *armed } else { 0.0 };
                any |= u64::from(is_warm) << at;
            }
            warm += u64::from(any.count_ones());
            hidden += u64::from((any & word.unseen).count_ones());
            any != 0
        });
        (warm, hidden)
    }

    /// The last look, of `length` seconds, found these pages written. Those that are new were armed for `armed` seconds so far.
    pub fn write(&mut self, places: Range<u64>, length: f32, armed: f32) {
        for (index, within) in words(places) {
            let word = self.0.entry(index).or_insert_with(|| Box::new(Word::COLD));
            for at in within {
                if word.written[at] == 0.0 {
                    word.armed[at] = armed;
                }
                word.written[at] += length;
                word.unseen &= !(1 << at);
            }
        }
    }

    /// The warm pages of a stretch, by place.
    pub fn range(&self, places: Range<u64>) -> impl Iterator<Item = (u64, Exposure)> + '_ {
        let (first, behind) = (places.start / WORD, places.end.div_ceil(WORD));
        let words = self.0.range(first..behind.max(first));
        words.flat_map(|(index, word)| word.pages(*index)).filter(move |(place, _)| places.contains(place))
    }

    /// All warm pages, by place.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Exposure)> + '_ {
        self.0.iter().flat_map(|(index, word)| word.pages(*index))
    }

    /// The warm pages that the last look could not see, by place.
    pub fn unseen(&self) -> impl Iterator<Item = (u64, Exposure)> + '_ {
        let words = self.0.iter().filter(|(_, word)| word.unseen != 0);
        words.flat_map(|(index, word)| {
            word.pages(*index).filter(|(place, _)| word.unseen >> (place % WORD) & 1 == 1)
        })
    }

    /// What a word takes in memory, bytes.
    pub const WEIGHT_OF_WORD: usize = size_of::<Word>() + NODE;

    /// What it takes in memory, bytes.
    pub fn weight(&self) -> usize {
        self.0.len() * Self::WEIGHT_OF_WORD
    }

    /// The same where pages have moved: these stretches, each to its new first place.
    pub fn moved(&self, moves: &[(Range<u64>, u64)]) -> Self {
        let mut moved = Self::default();
        for (from, to) in moves {
            for (place, page) in self.range(from.clone()) {
                let place = to + (place - from.start);
                let word = moved.0.entry(place / WORD).or_insert_with(|| Box::new(Word::COLD));
                let at = (place % WORD) as usize;
                (word.written[at], word.armed[at]) = (page.written, page.armed);
            }
        }
        moved
    }
}

impl Word {
    fn pages(&self, index: u64) -> impl Iterator<Item = (u64, Exposure)> + '_ {
        let both = self.written.iter().zip(&self.armed);
        let pages = both.map(|(written, armed)| Exposure { written: *written, armed: *armed });
        (index * WORD..).zip(pages).filter(|(_, page)| page.written > 0.0)
    }
}

/// The words that a stretch touches, first and behind the last, and which bits of each it has.
fn span(places: Range<u64>) -> Option<(u64, u64, impl Fn(u64) -> u64)> {
    let (first, behind) = (places.start / WORD, places.end.div_ceil(WORD));
    let bits = move |index: u64| {
        let start = places.start.max(index * WORD) - index * WORD;
        let end = places.end.min((index + 1) * WORD) - index * WORD;
        if start < end { u64::MAX >> (WORD - (end - start)) << start } else { 0 }
    };
    (first < behind).then_some((first, behind, bits))
}
