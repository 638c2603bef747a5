//! Marks in shared memory: how a page that is read for the first time is told from one that is written.
//!
//! A page of shared memory is the file's, written or not. One that comes to be looks the same in both cases, unless a mark was armed in
//! its place before: then a read leaves it armed, and a write does not. A mark needs a page table, and page tables of
//! memory that nobody has touched are not for us to make; so marks stand in blocks of 2 MiB whose table is there already, because some page
//! of it is. Of the first pages of a new block it is not known whether they were read or written (a window tells them as
//! unseen), unless the target has made the memory just now and nobody else can have put anything there to read.
//!
//! A few blocks are marked before they are touched, all together at most [`AHEAD`]: those of small mappings, and, where block
//! after block is touched, the ones behind. That is 4 KiB of page table each.

use super::range::{self, PageRange};

/// What one page table covers.
const BLOCK: u64 = 2 << 20;
/// Blocks without a page of their own that may be marked at the same time.
const AHEAD: usize = 32;
/// Blocks that are marked behind one that was touched after its neighbour.
const STRIDE: u64 = 8;
/// Mappings up to this size are marked whole.
const SMALL: u64 = 8 << 20;

/// Where marks stand. All ranges are sorted and disjoint.
#[derive(Debug, Default)]
pub(super) struct Marks {
    marked: Vec<PageRange>,
    /// Blocks among them that had no page when they were marked.
    ahead: Vec<PageRange>,
}

impl Marks {
    /// Only these shared mappings are left.
    pub fn keep(&mut self, shared: &[PageRange]) {
        self.marked = range::intersect(&self.marked, shared);
        self.ahead = range::intersect(&self.ahead, shared);
    }

    /// Other mappings are in these places.
    pub fn forget(&mut self, places: &[PageRange]) {
        self.marked = range::subtract(&self.marked, places);
        self.ahead = range::subtract(&self.ahead, places);
    }

    /// What of these ranges has no marks.
    pub fn missing(&self, of: &[PageRange]) -> Vec<PageRange> {
        range::subtract(of, &self.marked)
    }

    /// Marks are set in these blocks, each of which has a page.
    pub fn set(&mut self, blocks: &[PageRange]) {
        self.marked.extend_from_slice(blocks);
        range::merge(&mut self.marked);
    }

    /// Marks are set in this block, which has no page.
    pub fn set_ahead(&mut self, block: PageRange) {
        self.set(&[block]);
        self.ahead.push(block);
        self.ahead.sort_unstable();
    }

    /// The blocks that were marked before they were touched.
    pub fn ahead(&self) -> Vec<PageRange> {
        self.ahead.clone()
    }

    /// This one has a page now.
    pub fn touched(&mut self, block: PageRange) {
        self.ahead.retain(|ahead| *ahead != block);
    }

    /// What could be marked behind blocks that were touched just now and are not marked yet, if those before them were touched earlier.
    pub fn behind(&self, touched: &[PageRange], shared: &[PageRange]) -> Vec<PageRange> {
        let goes_on = |block: &&PageRange| {
            let before = block.start.saturating_sub(1);
            let at = self.marked.partition_point(|marked| marked.end <= before);
            self.marked.get(at).is_some_and(|marked| marked.start <= before)
        };
        let mut next: Vec<PageRange> = touched
            .iter()
            .filter(goes_on)
            .map(|block| PageRange::new(block.end, block.end.saturating_add(STRIDE * BLOCK)))
            .collect();
        range::merge(&mut next);
        self.room(&range::intersect(&next, shared))
    }

    /// What could be marked of the small ones among these mappings.
    pub fn small(&self, mappings: &[PageRange]) -> Vec<PageRange> {
        let small: Vec<PageRange> =
            mappings.iter().copied().filter(|mapping| mapping.len() <= SMALL).collect();
        self.room(&small)
    }

    /// Of these ranges, the first blocks without marks, as many as may be marked.
    fn room(&self, ranges: &[PageRange]) -> Vec<PageRange> {
        let room = AHEAD.saturating_sub(self.ahead.len());
        self.missing(ranges).iter().flat_map(split).take(room).collect()
    }
}

/// A range, block by block.
pub(super) fn split(range: &PageRange) -> impl Iterator<Item = PageRange> + use<> {
    let range = *range;
    let first = range.start / BLOCK;
    let last = range.end.saturating_sub(1) / BLOCK;
    (first..=last)
        .filter_map(move |block| PageRange::new(block * BLOCK, (block + 1) * BLOCK).intersection(&range))
}

/// The whole blocks that these pages lie in, as far as `within` has them.
pub(super) fn blocks(pages: &[PageRange], within: &[PageRange]) -> Vec<PageRange> {
    let mut blocks: Vec<PageRange> = pages
        .iter()
        .map(|range| PageRange::new(range.start / BLOCK * BLOCK, range.end.next_multiple_of(BLOCK)))
        .collect();
    range::merge(&mut blocks);
    range::intersect(&blocks, within)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(first: u64, blocks: u64) -> PageRange {
        PageRange::new(first * BLOCK, (first + blocks) * BLOCK)
    }

    #[test]
    fn marks_go_ahead_of_what_is_touched_in_turn_and_never_beyond_their_number() {
        let mut marks = Marks::default();
        let shared = [span(0, 1000)];
        assert_eq!(marks.behind(&[span(500, 1)], &shared), [], "one touched block says nothing of the next");
        marks.set(&[span(10, 1), span(500, 1)]);
        let next = marks.behind(&[span(11, 1)], &shared);
        assert_eq!(next, (12..20).map(|block| span(block, 1)).collect::<Vec<_>>());
        for block in 12..12 + AHEAD as u64 {
            marks.set_ahead(span(block, 1));
        }
        assert_eq!(marks.behind(&[span(501, 1)], &shared), []);
        marks.touched(span(12, 1));
        assert_eq!(marks.behind(&[span(501, 1)], &shared), [span(502, 1)]);
        marks.forget(&[span(0, 2000)]);
        assert_eq!(marks.missing(&shared), shared);
        assert_eq!(marks.behind(&[span(1, 1)], &shared), []);
    }

    #[test]
    fn small_mappings_are_marked_whole_and_large_ones_are_not() {
        let marks = Marks::default();
        let small = PageRange::new(BLOCK - 4096, BLOCK + 4096);
        let found = marks.small(&[small, span(10, 100)]);
        assert_eq!(found, [PageRange::new(BLOCK - 4096, BLOCK), PageRange::new(BLOCK, BLOCK + 4096)]);
        assert_eq!(marks.small(&[span(10, 4), span(20, 4)]).len(), 8);
    }

    #[test]
    fn pages_are_rounded_to_blocks_within_their_mappings() {
        let page = PageRange::new(3 * BLOCK + 4096, 3 * BLOCK + 8192);
        assert_eq!(blocks(&[page], &[span(0, 10)]), [span(3, 1)]);
        let within = PageRange::new(3 * BLOCK + 4096, 3 * BLOCK + 12288);
        assert_eq!(blocks(&[page], &[within]), [within]);
    }
}
