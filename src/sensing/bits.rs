//! A set of places on the line, a bit a page.

use std::ops::Range;

/// Which of the line's pages are in it; place i is bit i mod 64 of word ⌊i/64⌋. Bits behind the line's end are zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PageSet {
    words: Vec<u64>,
    pages: usize,
}

impl PageSet {
    /// No page of a line of `pages`.
    pub fn empty(pages: usize) -> Self {
        Self { words: vec![0; pages.div_ceil(64)], pages }
    }

    /// Every page of a line of `pages`.
    pub fn full(pages: usize) -> Self {
        let mut set = Self::empty(pages);
        set.fill();
        set
    }

    /// The given places of a line of `pages`; places behind its end are left out.
    pub fn of(pages: usize, places: impl IntoIterator<Item = usize>) -> Self {
        let mut set = Self::empty(pages);
        for place in places {
            if place < pages {
                set.insert(place);
            }
        }
        set
    }

    /// Length of the line, pages.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The words.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The places of the ones of `word`, as the word of this index.
    pub(super) fn places_of_word(word: u64, index: usize) -> impl Iterator<Item = usize> {
        bits(word, index * 64)
    }

    /// The words' bytes: place i is bit i mod 8 of byte ⌊i/8⌋. None on machines on which they do not lie that way.
    pub(super) fn bytes(&self) -> &[u8] {
        if cfg!(target_endian = "little") { bytemuck::cast_slice(&self.words) } else { &[] }
    }

    /// As [`Self::bytes`]; bits behind the line's end must stay zero.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        if cfg!(target_endian = "little") { bytemuck::cast_slice_mut(&mut self.words) } else { &mut [] }
    }

    /// Whether `place` is in it.
    ///
    /// # Panics
    /// When the place is behind the line's end, as is true of all that take one.
    pub fn contains(&self, place: usize) -> bool {
        self.words[place / 64] >> (place % 64) & 1 != 0
    }

    /// Adds `place`.
    pub fn insert(&mut self, place: usize) {
        debug_assert!(place < self.pages);
        self.words[place / 64] |= 1 << (place % 64);
    }

    /// Takes `place` out.
    pub fn remove(&mut self, place: usize) {
        self.words[place / 64] &= !(1 << (place % 64));
    }

    /// Adds a stretch of places.
    pub fn insert_range(&mut self, places: Range<usize>) {
        debug_assert!(places.end <= self.pages);
        if places.is_empty() {
            return;
        }
        let (first, last) = (places.start / 64, (places.end - 1) / 64);
        let head = u64::MAX << (places.start % 64);
        let tail = u64::MAX >> (63 - (places.end - 1) % 64);
        if first == last {
            self.words[first] |= head & tail;
        } else {
            self.words[first] |= head;
            self.words[first + 1..last].fill(u64::MAX);
            self.words[last] |= tail;
        }
    }

    /// Takes a stretch of places out.
    pub fn remove_range(&mut self, places: Range<usize>) {
        if places.is_empty() {
            return;
        }
        let (first, last) = (places.start / 64, (places.end - 1) / 64);
        let head = u64::MAX << (places.start % 64);
        let tail = u64::MAX >> (63 - (places.end - 1) % 64);
        if first == last {
            self.words[first] &= !(head & tail);
        } else {
            self.words[first] &= !head;
            self.words[first + 1..last].fill(0);
            self.words[last] &= !tail;
        }
    }

    /// Makes it the empty set of a line of `pages`.
    pub fn reset(&mut self, pages: usize) {
        self.words.clear();
        self.words.resize(pages.div_ceil(64), 0);
        self.pages = pages;
    }

    /// Makes it a set of a longer line, whose new places are not in it.
    pub(super) fn lengthen(&mut self, pages: usize) {
        self.words.resize(pages.div_ceil(64), 0);
        self.pages = self.pages.max(pages);
    }

    /// The places of the line that are not in it, ascending.
    pub fn complement(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(move |(index, word)| {
            let behind = (index + 1) * 64;
            let outside = if behind > self.pages { u64::MAX << (self.pages % 64) } else { 0 };
            bits(!(word | outside), index * 64)
        })
    }

    /// Takes every place out.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Puts every place in.
    pub fn fill(&mut self) {
        self.words.fill(u64::MAX);
        if !self.pages.is_multiple_of(64)
            && let Some(last) = self.words.last_mut()
        {
            *last = (1 << (self.pages % 64)) - 1;
        }
    }

    /// How many places are in it.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// How many places of a stretch are in it.
    pub fn count_in(&self, places: Range<usize>) -> usize {
        if places.is_empty() {
            return 0;
        }
        let (first, last) = (places.start / 64, (places.end - 1) / 64);
        let head = u64::MAX << (places.start % 64);
        let tail = u64::MAX >> (63 - (places.end - 1) % 64);
        if first == last {
            return (self.words[first] & head & tail).count_ones() as usize;
        }
        let between: usize = self.words[first + 1..last].iter().map(|word| word.count_ones() as usize).sum();
        (self.words[first] & head).count_ones() as usize
            + between
            + (self.words[last] & tail).count_ones() as usize
    }

    /// The places in it, ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| bits(*word, index * 64))
    }

    /// The first place from `from` on that is in it.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        let mut index = from / 64;
        let mut word = self.words.get(index)? & u64::MAX << (from % 64);
        while word == 0 {
            index += 1;
            word = *self.words.get(index)?;
        }
        Some(index * 64 + word.trailing_zeros() as usize)
    }

    /// How many places are in one of the two alone; all of them where the lines are not the same.
    pub(super) fn differing(&self, other: &Self) -> usize {
        if self.pages != other.pages {
            return self.pages.max(other.pages);
        }
        self.words.iter().zip(&other.words).map(|(a, b)| (a ^ b).count_ones() as usize).sum()
    }

    /// What both have.
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// What this has and the other has not.
    pub fn difference(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    fn zip(&self, other: &Self, combine: impl Fn(u64, u64) -> u64) -> Self {
        assert_eq!(self.pages, other.pages, "two sets of one line");
        let words = self.words.iter().zip(&other.words).map(|(a, b)| combine(*a, *b)).collect();
        Self { words, pages: self.pages }
    }
}

/// The places of a word's ones, of which the lowest bit is `first`.
fn bits(word: u64, first: usize) -> impl Iterator<Item = usize> {
    let mut left = word;
    std::iter::from_fn(move || {
        (left != 0).then(|| {
            let place = first + left.trailing_zeros() as usize;
            left &= left - 1;
            place
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_a_set(pages in 1usize..400, places in prop::collection::vec(0usize..400, 0..60),
                       start in 0usize..400, length in 0usize..400) {
            let mut set = PageSet::of(pages, places.iter().copied());
            let mut model: BTreeSet<usize> = places.iter().copied().filter(|place| *place < pages).collect();
            let stretch = start.min(pages)..(start + length).min(pages);
            prop_assert_eq!(set.count_in(stretch.clone()), model.range(stretch.clone()).count());
            set.insert_range(stretch.clone());
            model.extend(stretch);
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.count(), model.len());
            prop_assert_eq!(set.complement().count() + set.count(), pages);
            prop_assert_eq!(set.next(start), model.range(start..).next().copied());
            prop_assert!(set.complement().all(|place| place < pages && !set.contains(place)));
            let mut fewer = set.clone();
            fewer.remove_range(start.min(pages)..(start + length / 2).min(pages));
            prop_assert!(fewer.iter().all(|place| !(start..start + length / 2).contains(&place)));
            prop_assert_eq!(fewer.count(), set.count() - set.count_in(start.min(pages)..(start + length / 2).min(pages)));
            let full = PageSet::full(pages);
            prop_assert_eq!(full.count(), pages);
            prop_assert_eq!(full.difference(&set).count(), pages - model.len());
            prop_assert_eq!(full.intersection(&set), set);
        }
    }
}
