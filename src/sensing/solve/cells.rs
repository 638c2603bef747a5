//! Which pages of the line a cell of the curve shows.

use std::ops::Range;

use super::super::PageSet;

/// The division of a line into a curve's cells, as in [`crate::map::AddressLayout::pages_of_cell`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cells {
    pages: usize,
    cells: usize,
}

impl Cells {
    /// `cells` cells over a line of `pages`.
    ///
    /// # Panics
    /// When there are no pages or no cells.
    pub fn new(pages: usize, cells: usize) -> Self {
        assert!(pages > 0 && cells > 0, "a line of pages is divided into cells");
        Self { pages, cells }
    }

    /// How many cells there are.
    pub fn count(&self) -> usize {
        self.cells
    }

    /// Length of the line.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The pages of cell `d`: at least one.
    pub fn pages_of(&self, d: usize) -> Range<usize> {
        let first = d * self.pages / self.cells;
        first..((d + 1) * self.pages / self.cells).max(first + 1)
    }

    /// The cells that show `place`.
    pub fn cells_of(&self, place: usize) -> Range<usize> {
        let end = ((place + 1) * self.cells).div_ceil(self.pages);
        (place * self.cells).div_ceil(self.pages).min(end - 1)..end
    }

    /// [`Self::pages_of`] of all cells, one after another.
    pub fn iter(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (cells, whole, part) = (self.cells, self.pages / self.cells, self.pages % self.cells);
        // The next cell's first page, and the cells' part of a page that is before it.
        let (mut next, mut left) = (0, 0);
        (0..cells).map(move |_| {
            let first = next;
            (next, left) = (next + whole, left + part);
            if left >= cells {
                (next, left) = (next + 1, left - cells);
            }
            first..next.max(first + 1)
        })
    }

    /// Writes the share of each cell's pages that are in `set`.
    pub fn shares(&self, set: &PageSet, shares: &mut Vec<f32>) {
        debug_assert_eq!(set.pages(), self.pages);
        shares.resize(self.cells, 0.0);
        if self.pages == 4 * self.cells {
            return quarters(set.words(), shares);
        }
        for (pages, share) in self.iter().zip(shares) {
            let total = pages.len() as f32;
            *share = set.count_in(pages) as f32 / total;
        }
    }
}

/// Four pages a cell, sixteen cells a word.
fn quarters(words: &[u64], shares: &mut [f32]) {
    for (shares, word) in shares.chunks_mut(16).zip(words) {
        match *word {
            0 => shares.fill(0.0),
            u64::MAX => shares.fill(1.0),
            word => {
                // The number of ones in each nibble, Hacker's Delight §5-1 stopped two steps early.
                let pairs = word - (word >> 1 & 0x5555_5555_5555_5555);
                let nibbles = (pairs & 0x3333_3333_3333_3333) + (pairs >> 2 & 0x3333_3333_3333_3333);
                for (cell, share) in shares.iter_mut().enumerate() {
                    *share = (nibbles >> (4 * cell) & 15) as f32 * 0.25;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::AddressLayout;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cells_are_those_of_the_layout(pages in 1usize..3000, order in 1u32..6) {
            let cells = Cells::new(pages, 1 << (2 * order));
            let layout = AddressLayout::new(4096, std::iter::once(0..4096 * pages as u64));
            prop_assert!(cells.iter().eq((0..cells.count()).map(|d| cells.pages_of(d))));
            for d in 0..cells.count() {
                let expected = layout.pages_of_cell(d as u32, cells.count() as u32).unwrap();
                let own = cells.pages_of(d);
                prop_assert_eq!(own.start as u64..=own.end as u64 - 1, expected);
            }
            for place in 0..pages {
                let expected = layout.cells_of_page(place as u64, cells.count() as u32);
                let own = cells.cells_of(place);
                prop_assert_eq!(own.start as u32..=own.end as u32 - 1, expected);
            }
        }

        #[test]
        fn shares_are_counts(order in 1u32..5, q in 1usize..7, bits in prop::collection::vec(any::<bool>(), 64..400)) {
            let count = 1usize << (2 * order);
            let set = PageSet::of(count * q, (0..count * q).filter(|place| bits[place * 7 % bits.len()]));
            let cells = Cells::new(count * q, count);
            let mut shares = Vec::new();
            cells.shares(&set, &mut shares);
            for (d, share) in shares.iter().enumerate() {
                prop_assert_eq!(*share, set.count_in(cells.pages_of(d)) as f32 / q as f32);
            }
        }
    }
}
