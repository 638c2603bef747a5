//! The line of pages that the curve is laid along.
//!
//! The watched regions in address order, holes left out, make a line of N pages. A page keeps its place while regions
//! come and go, so that the picture does not jump: new pages are appended, the places of pages that went stay empty.
//! Only when the pages out of place pass [`REBUILD_SHARE`] of the line is it laid out anew in address order.

use std::ops::{Range, RangeInclusive};

use serde::{Deserialize, Serialize};

/// The share of the line that may be empty or out of address order before it is laid out anew.
pub const REBUILD_SHARE: f64 = 0.125;

/// A stretch of consecutive addresses that lies on consecutive places of the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedRegion {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// The place of its first page on the line.
    pub first_page: u64,
}

/// What [`AddressLayout::update`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutChange {
    /// The same regions as before.
    Unchanged,
    /// Every page that is still there kept its place; new ones were appended.
    Extended,
    /// Pages have other places than before.
    Rebuilt,
}

/// The layout as plain data: what `snapshot --layout` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutFile {
    /// The order of the map that was made with it.
    pub order: u32,
    /// Bytes a page.
    pub page_size: u64,
    /// Places on the line, N.
    pub pages: u64,
    /// Where each stretch of addresses lies on the line, by address.
    pub regions: Vec<PlacedRegion>,
}

/// Which page of the target lies where on the line, and which places a cell of the curve shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressLayout {
    page_size: u64,
    /// By address, disjoint.
    placed: Vec<PlacedRegion>,
    pages: u64,
}

impl AddressLayout {
    /// Lays `regions` (page-aligned address ranges, by address, disjoint) in address order.
    ///
    /// # Panics
    /// When `page_size` is not a power of two.
    pub fn new(page_size: u64, regions: impl IntoIterator<Item = Range<u64>>) -> Self {
        assert!(page_size.is_power_of_two(), "a page is a power of two of bytes, not {page_size}");
        let mut layout = Self { page_size, placed: Vec::new(), pages: 0 };
        for region in regions {
            layout.append(region);
        }
        layout
    }

    /// Takes the regions as they are now (page-aligned, by address, disjoint).
    pub fn update(&mut self, regions: &[Range<u64>]) -> LayoutChange {
        let before = self.live_pages();
        let mut next = Self { page_size: self.page_size, placed: Vec::new(), pages: self.pages };
        let mut appended = Vec::new();
        for region in regions {
            let mut from = region.start;
            for old in self.overlapping(region) {
                if from < old.start {
                    appended.push(from..old.start);
                }
                let (start, end) = (old.start.max(region.start), old.end.min(region.end));
                next.placed.push(PlacedRegion {
                    start,
                    end,
                    first_page: old.first_page + (start - old.start) / self.page_size,
                });
                from = end;
            }
            if from < region.end {
                appended.push(from..region.end);
            }
        }
        let kept = next.live_pages();
        if kept == before && appended.is_empty() {
            return LayoutChange::Unchanged;
        }
        let live: u64 = kept + appended.iter().map(|new| (new.end - new.start) / self.page_size).sum::<u64>();
        for region in appended {
            next.append(region);
        }
        next.placed.sort_by_key(|region| region.start);
        next.merge();
        let empty = next.pages - live;
        if (empty + next.out_of_order()) as f64 > REBUILD_SHARE * live as f64 {
            *self = Self::new(self.page_size, regions.iter().cloned());
            return LayoutChange::Rebuilt;
        }
        *self = next;
        LayoutChange::Extended
    }

    /// Bytes a page.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }

    /// Places on the line, N; those of pages that went are counted until the line is laid out anew.
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// Pages that are there now.
    pub fn live_pages(&self) -> u64 {
        self.placed.iter().map(|region| (region.end - region.start) / self.page_size).sum()
    }

    /// The stretches, by address.
    pub fn placed(&self) -> &[PlacedRegion] {
        &self.placed
    }

    /// The place of the page that holds `address`, or `None` where nothing is watched.
    pub fn page_of(&self, address: u64) -> Option<u64> {
        let after = self.placed.partition_point(|region| region.start <= address);
        let region = self.placed[..after].last().filter(|region| address < region.end)?;
        Some(region.first_page + (address - region.start) / self.page_size)
    }

    /// The first address of the page at `place`, or `None` where no page is.
    pub fn address_of(&self, place: u64) -> Option<u64> {
        self.placed.iter().find_map(|region| {
            let pages = (region.end - region.start) / self.page_size;
            let offset = place.checked_sub(region.first_page).filter(|offset| *offset < pages)?;
            Some(region.start + offset * self.page_size)
        })
    }

    /// The places of the pages in `addresses` (page-aligned), stretch by stretch; what is not watched is left out.
    pub fn places(&self, addresses: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        self.stretches(addresses).map(|(_, places)| places)
    }

    /// As [`Self::places`], each stretch with its first address.
    pub fn stretches(&self, addresses: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> + '_ {
        let page_size = self.page_size;
        self.overlapping(&addresses).map(move |region| {
            let (start, end) = (region.start.max(addresses.start), region.end.min(addresses.end));
            let first = region.first_page + (start - region.start) / page_size;
            (start, first..first + (end - start) / page_size)
        })
    }

    /// The stretches of this line that are on the line `after`, too, by address: the places here, and the first place there.
    pub fn moves(&self, after: &AddressLayout) -> Vec<(Range<u64>, u64)> {
        let mut moves = Vec::new();
        for old in &self.placed {
            for (start, places) in after.stretches(old.start..old.end) {
                let from = old.first_page + (start - old.start) / self.page_size;
                moves.push((from..from + (places.end - places.start), places.start));
            }
        }
        moves
    }

    /// The places that cell `d` of `cells` shows: where there are fewer cells than pages, whole pages that no
    /// other cell shows; where there are more, one page, which several cells show. A cell never mixes a page
    /// with a part of another, so that what is always written is as bright as can be. `None` on an empty
    /// line.
    pub fn pages_of_cell(&self, d: u32, cells: u32) -> Option<RangeInclusive<u64>> {
        let (d, cells, pages) = (u128::from(d), u128::from(cells), u128::from(self.pages));
        if pages == 0 {
            return None;
        }
        let first = d * pages / cells;
        let end = ((d + 1) * pages / cells).max(first + 1);
        Some(first as u64..=(end - 1) as u64)
    }

    /// The cells of `cells` that show the page at `place`: the inverse of [`Self::pages_of_cell`].
    pub fn cells_of_page(&self, place: u64, cells: u32) -> RangeInclusive<u32> {
        let (place, cells, pages) = (u128::from(place), u128::from(cells), u128::from(self.pages));
        let last = ((place + 1) * cells).div_ceil(pages) - 1;
        let first = (place * cells).div_ceil(pages).min(last);
        first as u32..=last as u32
    }

    /// The layout as plain data, for a map of `order`.
    pub fn to_file(&self, order: u32) -> LayoutFile {
        LayoutFile { order, page_size: self.page_size, pages: self.pages, regions: self.placed.clone() }
    }

    /// The line that [`Self::to_file`] wrote down.
    pub fn from_file(file: &LayoutFile) -> Self {
        Self { page_size: file.page_size, placed: file.regions.clone(), pages: file.pages }
    }

    fn append(&mut self, region: Range<u64>) {
        debug_assert!(
            region.start.is_multiple_of(self.page_size) && region.end.is_multiple_of(self.page_size)
        );
        if region.is_empty() {
            return;
        }
        let pages = (region.end - region.start) / self.page_size;
        self.placed.push(PlacedRegion { start: region.start, end: region.end, first_page: self.pages });
        self.pages += pages;
        self.merge_last();
    }

    fn merge_last(&mut self) {
        if let [.., before, last] = self.placed.as_mut_slice()
            && before.end == last.start
            && before.first_page + (before.end - before.start) / self.page_size == last.first_page
        {
            before.end = last.end;
            self.placed.pop();
        }
    }

    /// Joins neighbours that are consecutive both in addresses and on the line.
    fn merge(&mut self) {
        for region in std::mem::take(&mut self.placed) {
            self.placed.push(region);
            self.merge_last();
        }
    }

    /// Pages of stretches whose place is behind that of a stretch with higher addresses.
    fn out_of_order(&self) -> u64 {
        let mut nearest = u64::MAX;
        let mut pages = 0;
        for region in self.placed.iter().rev() {
            if region.first_page > nearest {
                pages += (region.end - region.start) / self.page_size;
            }
            nearest = nearest.min(region.first_page);
        }
        pages
    }

    fn overlapping<'a>(&'a self, range: &Range<u64>) -> impl Iterator<Item = &'a PlacedRegion> + use<'a> {
        let (start, end) = (range.start, range.end);
        let first = self.placed.partition_point(|region| region.end <= start);
        self.placed[first..].iter().take_while(move |region| region.start < end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    fn range(first: u64, pages: u64) -> Range<u64> {
        first * PAGE..(first + pages) * PAGE
    }

    /// Up to a dozen disjoint regions, by address.
    fn regions() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec((0u64..40, 1u64..200), 0..12).prop_map(|steps| {
            let mut at = 16;
            steps
                .into_iter()
                .map(|(hole, pages)| {
                    let region = range(at + hole, pages);
                    at += hole + pages;
                    region
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_page_has_one_place_and_comes_back_from_it(regions in regions()) {
            let layout = AddressLayout::new(PAGE, regions.clone());
            let addresses: Vec<u64> =
                regions.iter().flat_map(|region| region.clone().step_by(PAGE as usize)).collect();
            prop_assert_eq!(layout.pages(), addresses.len() as u64);
            for (place, address) in addresses.iter().enumerate() {
                prop_assert_eq!(layout.page_of(*address), Some(place as u64));
                prop_assert_eq!(layout.page_of(*address + PAGE - 1), Some(place as u64));
                prop_assert_eq!(layout.address_of(place as u64), Some(*address));
            }
            prop_assert_eq!(layout.page_of(0), None);
            prop_assert_eq!(layout.address_of(layout.pages()), None);
        }

        #[test]
        fn cells_and_pages_are_inverse_relations(pages in 1u64..5000, order in 1u32..6) {
            let layout = AddressLayout::new(PAGE, [range(1, pages)]);
            let cells = 1u32 << (2 * order);
            let mut shown = vec![Vec::new(); pages as usize];
            for d in 0..cells {
                let places = layout.pages_of_cell(d, cells).unwrap();
                prop_assert!(u64::from(cells) < pages || places.start() == places.end(), "cell {} mixes {:?}", d, places);
                for place in places {
                    shown[place as usize].push(d);
                }
            }
            for (place, cells_of_it) in shown.iter().enumerate() {
                prop_assert!(!cells_of_it.is_empty(), "page {} of {} is on no cell", place, pages);
                prop_assert!(u64::from(cells) >= pages || cells_of_it.len() == 1, "page {} is in several cells", place);
                prop_assert_eq!(&layout.cells_of_page(place as u64, cells).collect::<Vec<_>>(), cells_of_it);
            }
        }

        #[test]
        fn an_update_keeps_every_page_in_its_place_or_lays_out_anew(before in regions(), after in regions()) {
            let old = AddressLayout::new(PAGE, before);
            let mut layout = old.clone();
            let change = layout.update(&after);
            let fresh = AddressLayout::new(PAGE, after.clone());
            prop_assert_eq!(layout.live_pages(), fresh.pages());
            let mut places = std::collections::HashSet::new();
            for address in after.iter().flat_map(|region| region.clone().step_by(PAGE as usize)) {
                let place = layout.page_of(address).expect("every region is placed");
                prop_assert!(place < layout.pages() && places.insert(place), "two pages share a place");
                prop_assert_eq!(layout.address_of(place), Some(address));
                if change != LayoutChange::Rebuilt && let Some(kept) = old.page_of(address) {
                    prop_assert_eq!(place, kept);
                }
            }
            match change {
                LayoutChange::Unchanged => prop_assert_eq!(&layout, &old),
                LayoutChange::Rebuilt => prop_assert_eq!(&layout, &fresh),
                LayoutChange::Extended => {
                    let waste = layout.pages() - layout.live_pages();
                    prop_assert!(waste as f64 <= REBUILD_SHARE * layout.live_pages() as f64);
                }
            }
            prop_assert_eq!(layout.update(&after), LayoutChange::Unchanged);
        }
    }

    #[test]
    fn a_growing_heap_is_appended_until_it_is_worth_a_new_line() {
        let mut layout = AddressLayout::new(PAGE, [range(10, 400), range(1000, 600)]);
        assert_eq!(layout.update(&[range(10, 450), range(1000, 600)]), LayoutChange::Extended);
        assert_eq!(layout.page_of(409 * PAGE), Some(399));
        assert_eq!(layout.page_of(410 * PAGE), Some(1000), "appended behind the higher region");
        assert_eq!(layout.page_of(1000 * PAGE), Some(400), "which kept its place");
        assert_eq!(layout.update(&[range(10, 600), range(1000, 600)]), LayoutChange::Rebuilt);
        assert_eq!(layout.page_of(1000 * PAGE), Some(600));
    }

    #[test]
    fn the_definition_of_a_cell_is_the_stated_one() {
        let many = AddressLayout::new(PAGE, [range(0, 10)]);
        assert_eq!(many.pages_of_cell(0, 4), Some(0..=1));
        assert_eq!(many.pages_of_cell(1, 4), Some(2..=4));
        assert_eq!(many.pages_of_cell(3, 4), Some(7..=9));
        let few = AddressLayout::new(PAGE, [range(0, 3)]);
        assert_eq!(few.pages_of_cell(0, 16), Some(0..=0));
        assert_eq!(few.pages_of_cell(5, 16), Some(0..=0));
        assert_eq!(few.pages_of_cell(15, 16), Some(2..=2));
        assert_eq!(AddressLayout::new(PAGE, []).pages_of_cell(0, 16), None);
    }
}
