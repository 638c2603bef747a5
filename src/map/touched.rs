//! The part of the line on which anything was ever written.
//!
//! Programs reserve address space by the terabyte (sanitizers, garbage collectors) and touch hardly any of it. A page
//! that was never written is armed and silent: all is known of it without its having a place in a table. So what is
//! kept page by page is kept on a line of its own, which has the pages that were ever written and those just beside
//! them, and its cost is that of what the target itself has touched.
//!
//! Where the line is short, or most of it is touched, it is taken whole: pages that are silent are evidence, too.

use crate::capture::{PageRange, range};
use crate::map::{AddressLayout, LayoutChange};

/// A line of so many pages is taken whole: 1 GiB of 4 KiB each.
const WHOLE: u64 = 1 << 18;
/// Pages that come together: the neighbours of a page tell something of it, and a page that is written far from all others is to
/// cost less than it costs the target.
const TOGETHER: u64 = 8;

/// A line of the pages that were ever written, and of their neighbours.
#[derive(Debug, Clone)]
pub struct TouchedLine {
    layout: AddressLayout,
    /// The mappings, joined where they touch.
    mapped: Vec<PageRange>,
    /// What was written, by [`TOGETHER`] pages: sorted, disjoint.
    touched: Vec<PageRange>,
    /// It is the whole line.
    whole: bool,
}

impl TouchedLine {
    /// Nothing written yet, nothing mapped.
    ///
    /// # Panics
    /// When `page_size` is not a power of two.
    pub fn new(page_size: u64) -> Self {
        let layout = AddressLayout::new(page_size, []);
        Self { layout, mapped: Vec::new(), touched: Vec::new(), whole: false }
    }

    /// The line.
    pub fn layout(&self) -> &AddressLayout {
        &self.layout
    }

    /// Whether it is the whole line that it is a part of.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Notes that these pages were written. Whether some of them are new.
    pub fn touch(&mut self, written: &[PageRange]) -> bool {
        let known = self.touched.len();
        for range in written.iter().filter(|range| !range.is_empty()) {
            let behind = self.touched[..known].partition_point(|known| known.start <= range.start);
            let holds = |known: &PageRange| range.end <= known.end;
            if !behind.checked_sub(1).is_some_and(|at| holds(&self.touched[at])) {
                self.touched.push(together(*range, self.layout.page_size()));
            }
        }
        let grown = self.touched.len() > known;
        if grown {
            range::merge(&mut self.touched);
        }
        grown
    }

    /// Follows the `whole` line, after what was written or where the mappings have changed. The answer is this line as it was
    /// before, where pages have come, gone or moved.
    pub fn follow(&mut self, whole: &AddressLayout) -> Option<AddressLayout> {
        self.mapped.clear();
        let placed = whole.placed().iter();
        self.mapped.extend(placed.map(|region| PageRange::new(region.start, region.end)));
        range::merge(&mut self.mapped);
        let page_size = self.layout.page_size();
        let mut there = range::intersect(&self.touched, &self.mapped);
        range::merge(&mut there);
        let (mapped, touched) = (range::pages(&self.mapped, page_size), range::pages(&there, page_size));
        // What is lost with a mapping is new when another one takes its place.
        self.touched = there.iter().map(|range| together(*range, page_size)).collect();
        range::merge(&mut self.touched);
        // With some slack, so that it does not go to and fro.
        let dense = mapped / 2 < touched || self.whole && mapped / 4 < touched;
        self.whole = mapped <= WHOLE || dense;
        if self.whole {
            let other = self.layout != *whole;
            return other.then(|| std::mem::replace(&mut self.layout, whole.clone()));
        }
        let before = self.layout.clone();
        let regions: Vec<_> = there.iter().map(|range| range.start..range.end).collect();
        (self.layout.update(&regions) != LayoutChange::Unchanged).then_some(before)
    }

    /// At least some of the line, where nothing of it was written: its first pages.
    pub fn not_empty(&mut self, whole: &AddressLayout) {
        if self.layout.pages() == 0
            && let Some(first) = whole.placed().first()
        {
            self.touch(&[PageRange::new(first.start, first.start + whole.page_size())]);
            self.follow(whole);
        }
    }
}

/// The range, widened to pages that come together.
fn together(range: PageRange, page_size: u64) -> PageRange {
    let unit = TOGETHER * page_size;
    let end = range.end.checked_next_multiple_of(unit).unwrap_or(range.end);
    PageRange::new(range.start / unit * unit, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;
    const TIB: u64 = 1 << 40;

    fn pages(first: u64, count: u64) -> PageRange {
        PageRange::new(first * PAGE, (first + count) * PAGE)
    }

    fn line(ranges: &[PageRange]) -> AddressLayout {
        AddressLayout::new(PAGE, ranges.iter().map(|range| range.start..range.end))
    }

    #[test]
    fn of_a_reservation_only_what_was_written_is_on_it() {
        let whole = line(&[PageRange::new(TIB, 65 * TIB)]);
        let mut touched = TouchedLine::new(PAGE);
        touched.follow(&whole);
        assert_eq!((touched.layout().pages(), touched.is_whole()), (0, false));
        let at = TIB / PAGE;
        assert!(touched.touch(&[pages(at + 70, 2), pages(at + (1 << 33), 1)]));
        assert_eq!(touched.follow(&whole).map(|before| before.pages()), Some(0));
        assert_eq!(touched.layout().pages(), 2 * TOGETHER);
        assert_eq!(touched.layout().page_of((at + 70) * PAGE), Some(6));
        assert!(!touched.touch(&[pages(at + 64, TOGETHER)]), "all of these are on it");
        assert_eq!(touched.follow(&whole), None);
    }

    #[test]
    fn what_is_small_or_touched_for_the_most_part_is_whole() {
        let small = line(&[pages(16, WHOLE)]);
        let mut touched = TouchedLine::new(PAGE);
        touched.follow(&small);
        assert_eq!((touched.layout(), touched.is_whole()), (&small, true));
        let large = line(&[pages(64, 8 * WHOLE)]);
        touched.follow(&large);
        assert!(!touched.is_whole());
        for (written, whole) in [(3, false), (4, false), (5, true)] {
            touched.touch(&[pages(64, written * WHOLE)]);
            touched.follow(&large);
            assert_eq!(touched.is_whole(), whole, "{written} eighths");
        }
        assert_eq!(touched.layout(), &large);
        let larger = line(&[pages(64, 16 * WHOLE)]);
        touched.follow(&larger);
        assert!(touched.is_whole(), "it does not go to and fro");
    }

    #[test]
    fn what_is_unmapped_is_forgotten() {
        let both = line(&[PageRange::new(TIB, 2 * TIB), PageRange::new(3 * TIB, 4 * TIB)]);
        let one = line(&[PageRange::new(TIB, 2 * TIB)]);
        let mut touched = TouchedLine::new(PAGE);
        touched.touch(&[pages(TIB / PAGE, 1), pages(3 * TIB / PAGE, 1)]);
        for (mapped, pages) in [(&both, 2 * TOGETHER), (&one, TOGETHER), (&both, TOGETHER)] {
            touched.follow(mapped);
            assert_eq!(touched.layout().live_pages(), pages);
        }
    }

    proptest! {
        #[test]
        fn every_page_that_was_written_and_is_mapped_has_a_place(
            mapped in prop::collection::vec((0u64..1 << 30, 1u64..1 << 22), 1..6),
            windows in prop::collection::vec(prop::collection::vec((0u64..1 << 30, 1u64..300), 0..5), 1..6),
        ) {
            let ranges = |list: &[(u64, u64)]| {
                let mut ranges: Vec<PageRange> = list.iter().map(|(at, count)| pages(*at, *count)).collect();
                range::merge(&mut ranges);
                ranges
            };
            let whole = line(&ranges(&mapped));
            let (mut touched, mut all) = (TouchedLine::new(PAGE), Vec::new());
            for window in windows {
                let written = ranges(&window);
                touched.touch(&written);
                touched.follow(&whole);
                all.extend(written);
                range::merge(&mut all);
                for range in &all {
                    for (address, places) in whole.stretches(range.start..range.end) {
                        for page in 0..places.end - places.start {
                            prop_assert!(touched.layout().page_of(address + page * PAGE).is_some());
                        }
                    }
                }
                let most = 4 * TOGETHER * range::pages(&all, PAGE).max(WHOLE / TOGETHER);
                prop_assert!(touched.layout().live_pages() <= most);
            }
        }
    }
}
