//! Other addresses in place of the target's own, so that nothing behind capture can tell its layout.
//!
//! Every mapping is moved to a place drawn at random, keeps it as long as it is there, however it grows, shrinks or is split, and
//! loses its name. So the map's order is another one, and what is shown, written, recorded or said on the socket has addresses that
//! mean nothing outside of this watch. Sizes stay true, and what lies where within a mapping: they are what a map is for.

use std::sync::{Arc, Mutex, PoisonError};

use super::FaultEvent;
use super::arming::{Arming, ArmingPolicy, WindowEnd};
use super::faults::ThreadWrites;
use super::range::{self, PageRange};
use super::region::{MemoryRegion, RegionKind};
use super::window::Window;

/// Addresses that are given away: those of a process (x86-64, four-level page tables), without the first and the last part.
const SPACE: std::ops::Range<u64> = 1 << 32..1 << 47;
/// And where that is too narrow, as beside reservations of many terabytes: what five-level page tables have. They are labels, and need
/// nothing that the processor has.
const WIDE_SPACE: std::ops::Range<u64> = 1 << 47..1 << 56;
/// Places that are tried for a mapping before it gets one there.
const TRIES: u32 = 64;
/// Kept free around a mapping, at least, for it to grow into.
const ROOM: u64 = 1 << 30;
/// And at most.
const MOST_ROOM: u64 = 1 << 40;

/// Where a mapping was put.
#[derive(Debug, Clone, Copy)]
struct Moved {
    real: PageRange,
    /// What has to be added to an address of it, wrapping.
    by: u64,
    /// The addresses that are its own, room to grow included.
    reserved: PageRange,
}

/// The places of one watch.
#[derive(Debug)]
pub(super) struct Anonymizer {
    random: fastrand::Rng,
    /// By real address.
    moved: Vec<Moved>,
    page_size: u64,
    /// What was given for `moved`.
    seen: Arc<[MemoryRegion]>,
}

impl Anonymizer {
    /// Places that nobody can foretell.
    pub fn new(page_size: u64) -> Self {
        Self::with_random(page_size, fastrand::Rng::new())
    }

    fn with_random(page_size: u64, random: fastrand::Rng) -> Self {
        Self { random, moved: Vec::new(), page_size, seen: Arc::default() }
    }

    /// Takes the mappings of this moment, and gives them as others may see them, by address.
    pub fn follow(&mut self, regions: &[MemoryRegion]) -> Arc<[MemoryRegion]> {
        if self.moved.iter().map(|moved| moved.real).eq(regions.iter().map(MemoryRegion::range)) {
            return Arc::clone(&self.seen);
        }
        let before = std::mem::take(&mut self.moved);
        // Those that stay come first, so that no new one gets their place.
        let kept: Vec<Option<Moved>> = regions.iter().map(|region| keep(&before, region.range())).collect();
        let mut reserved: Vec<PageRange> = kept.iter().flatten().map(|moved| moved.reserved).collect();
        for (region, kept) in regions.iter().zip(kept) {
            let moved = kept.unwrap_or_else(|| self.place(region.range(), &mut reserved));
            self.moved.push(moved);
        }
        let mut seen: Vec<MemoryRegion> =
            regions.iter().zip(&self.moved).map(|(region, moved)| disguise(region, moved.by)).collect();
        seen.sort_unstable_by_key(|region| region.start);
        self.seen = seen.into();
        Arc::clone(&self.seen)
    }

    /// A place for a new mapping, apart from all `reserved` ones.
    fn place(&mut self, real: PageRange, reserved: &mut Vec<PageRange>) -> Moved {
        let mut room = real.len().clamp(ROOM, MOST_ROOM);
        let mut tries = 0;
        let own = loop {
            tries += 1;
            let whole = real.len().saturating_add(2 * room);
            let narrow = tries <= TRIES && whole <= SPACE.end - SPACE.start;
            let space = if narrow { SPACE } else { WIDE_SPACE };
            let last = space.end.saturating_sub(whole).max(space.start + 1);
            let start = self.random.u64(space.start..last) / self.page_size * self.page_size;
            let own = PageRange::new(start, start.saturating_add(whole));
            // There is more space by a factor of thousands than ordinary mappings take: a second try is rare.
            if reserved.iter().all(|other| other.intersection(&own).is_none()) {
                break own;
            }
            room = (room / 2).max(self.page_size);
        };
        reserved.push(own);
        Moved { real, by: (own.start + room).wrapping_sub(real.start), reserved: own }
    }

    /// Real addresses as others may see them. What lies in no mapping is left out.
    pub fn hide(&self, ranges: &[PageRange]) -> Vec<PageRange> {
        translate(ranges, self.moved.iter().map(|moved| (moved.real, moved.by)))
    }

    /// The way back.
    pub fn reveal(&self, ranges: &[PageRange]) -> Vec<PageRange> {
        let mut ways: Vec<(PageRange, u64)> =
            self.moved.iter().map(|moved| (shift(moved.real, moved.by), moved.by.wrapping_neg())).collect();
        ways.sort_unstable_by_key(|(range, _)| range.start);
        translate(ranges, ways.into_iter())
    }

    /// A window as others may see it.
    pub fn window(&mut self, window: Window) -> Window {
        Window {
            regions: window.regions.map(|regions| self.follow(&regions)),
            written: self.hide(&window.written),
            unseen: self.hide(&window.unseen),
            threads: window.threads.into_iter().map(|thread| self.thread(thread)).collect(),
            events: window.events.into_iter().filter_map(|event| self.event(event)).collect(),
            ..window
        }
    }

    /// One real address as others may see it; none in no mapping.
    fn address(&self, address: u64) -> Option<u64> {
        let at = self.moved.partition_point(|moved| moved.real.end <= address);
        let moved = self.moved.get(at).filter(|moved| moved.real.start <= address)?;
        Some(address.wrapping_add(moved.by))
    }

    fn thread(&self, thread: ThreadWrites) -> ThreadWrites {
        let mut pages: Vec<u64> = thread.pages.iter().filter_map(|page| self.address(*page)).collect();
        pages.sort_unstable();
        ThreadWrites { pages, ..thread }
    }

    /// What happened where no mapping is (any more) is not told.
    fn event(&self, event: FaultEvent) -> Option<FaultEvent> {
        Some(match event {
            FaultEvent::PageFault { address, flags, thread_id } => {
                FaultEvent::PageFault { address: self.address(address)?, flags, thread_id }
            }
            FaultEvent::Remap { old_address, new_address, length } => FaultEvent::Remap {
                old_address: self.address(old_address)?,
                new_address: self.address(new_address)?,
                length,
            },
            FaultEvent::Remove { address, length } => {
                FaultEvent::Remove { address: self.address(address)?, length }
            }
            fork @ FaultEvent::Fork { .. } => fork,
        })
    }
}

/// A policy that sees what everybody sees: it knows the places that were given away, and its answer is led back.
#[derive(Debug)]
pub(super) struct DisguisedPolicy {
    pub anonymizer: Arc<Mutex<Anonymizer>>,
    pub policy: Box<dyn ArmingPolicy>,
}

impl ArmingPolicy for DisguisedPolicy {
    fn arm(&mut self, end: &WindowEnd<'_>) -> Arming {
        let mut anonymizer = self.anonymizer.lock().unwrap_or_else(PoisonError::into_inner);
        let regions = anonymizer.follow(end.regions);
        let (written, unseen) = (anonymizer.hide(end.written), anonymizer.hide(end.unseen));
        match self.policy.arm(&WindowEnd { regions: &regions, written: &written, unseen: &unseen, ..*end }) {
            Arming::Everything => Arming::Everything,
            Arming::Pages(mut pages) => {
                range::merge(&mut pages);
                Arming::Pages(anonymizer.reveal(&pages))
            }
            Arming::Tables(mut tables) => {
                range::merge(&mut tables);
                Arming::Tables(anonymizer.reveal(&tables))
            }
        }
    }
}

/// The place of the mapping that was where this one is, or a part of it, if this one still fits into it.
fn keep(before: &[Moved], real: PageRange) -> Option<Moved> {
    let at = before.partition_point(|moved| moved.real.end <= real.start);
    let old = before.get(at).filter(|old| old.real.intersection(&real).is_some())?;
    let now = shift(real, old.by);
    let fits = old.reserved.start <= now.start && now.end <= old.reserved.end && now.start < now.end;
    fits.then_some(Moved { real, ..*old })
}

fn shift(range: PageRange, by: u64) -> PageRange {
    PageRange { start: range.start.wrapping_add(by), end: range.end.wrapping_add(by) }
}

fn disguise(region: &MemoryRegion, by: u64) -> MemoryRegion {
    let PageRange { start, end } = shift(region.range(), by);
    let pathname = match region.kind() {
        RegionKind::Heap | RegionKind::Stack => region.pathname.clone(),
        RegionKind::Anonymous => None,
        RegionKind::HugeTlb => Some("/anon_hugepage".into()),
        RegionKind::FilePrivate | RegionKind::Shared | RegionKind::Special => Some("a file".into()),
    };
    MemoryRegion {
        start,
        end,
        permissions: region.permissions.clone(),
        offset: 0,
        device: "00:00".into(),
        inode: 0,
        pathname,
    }
}

/// Both sorted and disjoint; the answer is, too.
fn translate(ranges: &[PageRange], ways: impl Iterator<Item = (PageRange, u64)>) -> Vec<PageRange> {
    let mut translated = Vec::with_capacity(ranges.len());
    for (place, by) in ways {
        let first = ranges.partition_point(|range| range.end <= place.start);
        let here = ranges.iter().skip(first).take_while(|range| range.start < place.end);
        translated.extend(here.filter_map(|range| range.intersection(&place)).map(|range| shift(range, by)));
    }
    range::merge(&mut translated);
    translated
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: u64 = 4096;

    fn region(first: u64, pages: u64, name: &str) -> MemoryRegion {
        MemoryRegion {
            start: 0x5555_0000_0000 + first * PAGE,
            end: 0x5555_0000_0000 + (first + pages) * PAGE,
            permissions: "rw-p".into(),
            offset: 8192,
            device: "fd:01".into(),
            inode: 42,
            pathname: (!name.is_empty()).then(|| name.into()),
        }
    }

    fn anonymizer() -> Anonymizer {
        Anonymizer::with_random(PAGE, fastrand::Rng::with_seed(5))
    }

    #[test]
    fn nothing_of_the_layout_is_left() {
        let real = [region(0, 4, "/usr/bin/secret"), region(4, 8, ""), region(100, 2, "[heap]")];
        let mut anonymizer = anonymizer();
        let seen = anonymizer.follow(&real);
        assert!(seen.is_sorted_by_key(|region| region.start));
        for region in seen.iter() {
            assert_eq!((region.offset, region.inode, region.device.as_str()), (0, 0, "00:00"));
            assert!(!region.to_string().contains("secret"));
            assert!(real.iter().all(|real| real.range().intersection(&region.range()).is_none()));
        }
        let sizes = |regions: &[MemoryRegion]| {
            let mut sizes: Vec<u64> = regions.iter().map(MemoryRegion::len).collect();
            sizes.sort_unstable();
            sizes
        };
        assert_eq!(sizes(&seen), sizes(&real));
        // Another watch has other places.
        assert_ne!(Anonymizer::new(PAGE).follow(&real), Anonymizer::new(PAGE).follow(&real));
    }

    #[test]
    fn a_mapping_keeps_its_place_when_it_grows_shrinks_or_is_split() {
        let mut anonymizer = anonymizer();
        anonymizer.follow(&[region(10, 10, "")]);
        let page = [region(12, 1, "").range()];
        let place = anonymizer.hide(&page);
        for table in [
            vec![region(0, 5000, "")],
            vec![region(0, 12, ""), region(12, 40, "")],
            vec![region(11, 3, ""), region(5000, 3, "")],
        ] {
            anonymizer.follow(&table);
            assert_eq!(anonymizer.hide(&page), place, "{table:?}");
        }
        anonymizer.follow(&[region(5000, 3, "")]);
        assert_eq!(anonymizer.hide(&page), []);
    }

    #[test]
    fn reservations_of_many_terabytes_find_a_place_as_well() {
        const TIB: u64 = (1 << 40) / PAGE;
        // What a thread sanitizer maps, in pieces that fit nowhere beside each other in an ordinary address space.
        let table =
            [region(0, 40 * TIB, ""), region(40 * TIB, 40 * TIB, "x"), region(80 * TIB, 10 * TIB, "")];
        for seed in 0..50 {
            let mut anonymizer = Anonymizer::with_random(PAGE, fastrand::Rng::with_seed(seed));
            let seen = anonymizer.follow(&table);
            assert!(seen.windows(2).all(|pair| pair[0].end < pair[1].start), "{seen:?}");
            let written = [region(79 * TIB, 3, "").range()];
            assert_eq!(anonymizer.reveal(&anonymizer.hide(&written)), written);
        }
    }

    proptest! {
        #[test]
        fn there_and_back_again_is_the_same(
            gaps in prop::collection::vec((0u64..50, 1u64..50), 1..20),
            written in prop::collection::vec((0u64..1000, 1u64..20), 0..30),
        ) {
            let mut at = 0;
            let regions: Vec<MemoryRegion> = gaps.iter().map(|(gap, pages)| {
                let region = region(at + gap, *pages, "");
                at += gap + pages;
                region
            }).collect();
            let mut anonymizer = anonymizer();
            let seen = anonymizer.follow(&regions);
            let mut written: Vec<PageRange> = written.iter().map(|(first, pages)| region(*first, *pages, "").range()).collect();
            range::merge(&mut written);
            let mut watched: Vec<PageRange> = regions.iter().map(MemoryRegion::range).collect();
            range::merge(&mut watched);
            let inside = range::intersect(&written, &watched);
            let hidden = anonymizer.hide(&written);
            prop_assert_eq!(range::pages(&hidden, PAGE), range::pages(&inside, PAGE));
            let places: Vec<PageRange> = seen.iter().map(MemoryRegion::range).collect();
            prop_assert_eq!(anonymizer.reveal(&hidden), inside);
            prop_assert_eq!(range::intersect(&hidden, &places), hidden);
        }
    }
}
