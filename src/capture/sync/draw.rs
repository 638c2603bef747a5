//! Drawing pages that exist, of a target that may have reserved a thousand times as much.

use std::time::{Duration, Instant};

use crate::capture::range::{self, PageRange};
use crate::capture::region::MemoryRegion;
use crate::capture::scan::Pagemap;

/// What exists is looked for so often …
const AGE: Duration = Duration::from_secs(1);
/// … and takes at most this part of the time.
const SHARE: u32 = 20;

/// Where the pages are that a target has.
#[derive(Debug, Default)]
pub(super) struct Draw {
    /// Sorted, disjoint.
    there: Vec<PageRange>,
    /// Of each of them, how many pages it has together with those before it.
    pages: Vec<u64>,
    looked: Option<Instant>,
    took: Duration,
}

impl Draw {
    /// Looks where pages are, where that is long ago or these mappings are others than before.
    pub fn look(&mut self, pagemap: &mut Pagemap, regions: &[MemoryRegion], changed: bool, page_size: u64) {
        let age = if changed { Duration::ZERO } else { AGE };
        if self.looked.is_some_and(|looked| looked.elapsed() < age.max(self.took * SHARE)) {
            return;
        }
        let begun = Instant::now();
        self.there.clear();
        for region in regions {
            // One that is gone by now has none.
            let _ = pagemap.there(region.range(), &mut self.there);
        }
        range::merge(&mut self.there);
        self.pages.clear();
        self.pages.extend(self.there.iter().scan(0, |sum, range| {
            *sum += range.pages(page_size);
            Some(*sum)
        }));
        (self.looked, self.took) = (Some(begun), begun.elapsed());
    }

    /// How many pages there are.
    pub fn pages(&self) -> u64 {
        self.pages.last().copied().unwrap_or(0)
    }

    /// The address of one of them.
    pub fn page(&self, place: u64, page_size: u64) -> Option<u64> {
        let at = self.pages.partition_point(|pages| *pages <= place);
        let behind = self.pages.get(at)?.saturating_sub(place);
        Some(self.there.get(at)?.end - behind * page_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_page_has_a_place_and_no_other_has_one() {
        let there = vec![PageRange::new(4096, 3 * 4096), PageRange::new(9 * 4096, 10 * 4096)];
        let draw = Draw { there, pages: vec![2, 3], ..Draw::default() };
        let drawn: Vec<u64> = (0..4).filter_map(|place| draw.page(place, 4096)).collect();
        assert_eq!((draw.pages(), drawn), (3, vec![4096, 2 * 4096, 9 * 4096]));
        assert_eq!((Draw::default().pages(), Draw::default().page(0, 4096)), (0, None));
    }
}
