//! What one call goes over: mappings near each other in the table, with none between them that is not
//! registered.
//!
//! A program may have tens of thousands of mappings, and a call for each would take longer than a window. A
//! call that meets a mapping that is not registered, younger than our table, ends there; then it is asked
//! again, by halves.
//!
//! Where tens of thousands of small ones have others between them that are not ours, one call leaves these
//! out. It takes a little longer a page, and does not tell a mapping that took the place of another: so some
//! are asked for themselves each time, in turn.

use std::ops::Range;

use nix::errno::Errno;

use super::parts::{Faults, PART, Parts};
use super::range::{self, PageRange};
use super::region::{MemoryRegion, RegionKind};
use super::scan::{Found, Pagemap, Question};
use super::sys;

/// So many calls are made for one stretch of mappings each; where there are more, small ones go together.
const MANY: usize = 1024;
/// What lies together in a small one at most.
const SMALL: u64 = 256 << 10;
/// From one small one to the next at most.
const NEAR: u64 = 1 << 30;
/// The memory of one page table.
const TABLE: u64 = 2 << 20;
/// In so many passes each of those is asked for itself once.
const TURNS: usize = 16;

/// The mappings that a pass goes over, by their places in the table of what is watched.
#[derive(Debug, Default)]
pub(super) struct Looks {
    together: Vec<Range<usize>>,
    calls: Vec<Calls>,
    parts: Parts,
    alike: Vec<Alike>,
    /// Which of those that go together although others are between them are asked for themselves next.
    turn: usize,
}

/// How the mappings of one part are gone over.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Calls {
    /// By a call for each of these.
    Each(Vec<Range<usize>>),
    /// By one, from the first to the last of these that go together.
    Woven(Range<usize>),
}

/// Mappings of which one call may ask the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alike {
    regions: Range<usize>,
    /// Where the last of them ends.
    pub end: u64,
    pub question: Question,
    /// They may have huge pages that watching splits. Those of a pool stay whole.
    pub may_be_huge: bool,
}

impl Looks {
    /// Over these mappings, by address, where each of `spans` has nothing but registered ones.
    pub fn over(regions: &[MemoryRegion], spans: &[PageRange]) -> Self {
        let span = |region: &MemoryRegion| {
            let at = spans.partition_point(|span| span.end <= region.start);
            spans.get(at).filter(|span| span.start <= region.start && region.end <= span.end)
        };
        let (mut together, mut alike) = (Vec::new(), Vec::<Alike>::new());
        let mut before = None;
        for (at, region) in regions.iter().enumerate() {
            let within = span(region);
            let joins = within.is_some() && within == before;
            before = within;
            match together.last_mut() {
                Some(Range { end, .. }) if joins => *end = at + 1,
                _ => together.push(at..at + 1),
            }
            let (question, may_be_huge) = (question(region), may_be_huge(region));
            match alike.last_mut().filter(|last| joins && last.same(question, may_be_huge)) {
                Some(last) => (last.regions.end, last.end) = (at + 1, region.end),
                None => alike.push(Alike { regions: at..at + 1, end: region.end, question, may_be_huge }),
            }
        }
        let calls = calls(regions, &together);
        Self { parts: Parts::of(calls.len(), &Parts::default()), together, calls, alike, turn: 0 }
    }

    /// These, in the place of those `before`, which were over the same mappings or over others.
    pub fn instead_of(mut self, before: &Self, same: bool) -> Self {
        if same && self.calls == before.calls && self.together == before.together {
            self.parts = before.parts.clone();
        } else {
            self.parts = Parts::of(self.calls.len(), &before.parts);
        }
        Self { turn: before.turn, ..self }
    }

    /// By address.
    pub fn alike(&self) -> &[Alike] {
        &self.alike
    }

    /// Appends where pages of these mappings are not armed, and beside them perhaps; and which of them are
    /// not registered, although they were taken to be. With the target's `faults`, of a long table only as
    /// much is looked at as is needed to find what was written. Whole page tables of what is `known` not to
    /// be armed are left out.
    pub fn unarmed(
        &mut self,
        pagemap: &mut Pagemap,
        regions: &[MemoryRegion],
        faults: Option<Faults>,
        known: &[PageRange],
        unarmed: &mut Vec<PageRange>,
        strangers: &mut Vec<MemoryRegion>,
    ) -> Result<(), Errno> {
        let known: Vec<PageRange> = known.iter().copied().filter(|known| known.len() >= TABLE).collect();
        let Self { together, calls, parts, turn, .. } = self;
        *turn = (*turn + 1) % TURNS;
        let mut look = |at: usize, found: &mut Vec<PageRange>| match calls.get(at) {
            Some(Calls::Each(each)) => each.iter().try_for_each(|of| {
                unarmed_of(pagemap, regions.get(of.clone()).unwrap_or_default(), &known, found, strangers)
            }),
            Some(Calls::Woven(woven)) => {
                let woven = together.get(woven.clone()).unwrap_or_default();
                if let Some((start, end)) = ends(regions, woven) {
                    pagemap.unarmed_among(PageRange::new(start, end), found)?;
                }
                woven.iter().skip(*turn).step_by(TURNS).try_for_each(|of| {
                    unarmed_of(pagemap, regions.get(of.clone()).unwrap_or_default(), &known, found, strangers)
                })
            }
            None => Ok(()),
        };
        if parts.are_few() {
            return (0..calls.len()).try_for_each(|at| look(at, unarmed));
        }
        parts.pass(faults, sys::page_size(), |at| {
            let mut found = Vec::new();
            look(at, &mut found)?;
            range::merge(&mut found);
            unarmed.extend_from_slice(&found);
            Ok(found)
        })
    }

    /// What the pass has found is armed, this of it, or some is left.
    pub fn settle(&mut self, armed: Option<&[PageRange]>) {
        self.parts.settle(armed);
    }

    /// Notes the faults that the target has taken in all.
    pub fn taken_in_all(&mut self, faults: u64) {
        self.parts.taken_in_all(faults);
    }
}

/// From where to where these reach.
fn ends(regions: &[MemoryRegion], together: &[Range<usize>]) -> Option<(u64, u64)> {
    let (first, last) = (together.first()?, together.last()?);
    Some((regions.get(first.start)?.start, regions.get(last.end.checked_sub(1)?)?.end))
}

/// The calls for all of these, by parts.
fn calls(regions: &[MemoryRegion], together: &[Range<usize>]) -> Vec<Calls> {
    let (mut calls, mut each, mut mappings) = (Vec::new(), Vec::new(), 0);
    let mut from = 0;
    for woven in woven(regions, together).into_iter().chain(std::iter::once(together.len()..together.len())) {
        for of in together.get(from..woven.start).unwrap_or_default() {
            for start in of.clone().step_by(PART) {
                let of = start..of.end.min(start + PART);
                mappings += of.len();
                each.push(of);
                if mappings >= PART {
                    calls.push(Calls::Each(std::mem::take(&mut each)));
                    mappings = 0;
                }
            }
        }
        if !each.is_empty() && !woven.is_empty() {
            calls.push(Calls::Each(std::mem::take(&mut each)));
            mappings = 0;
        }
        calls.extend(woven.clone().step_by(PART).map(|at| Calls::Woven(at..woven.end.min(at + PART))));
        from = woven.end;
    }
    calls.extend((!each.is_empty()).then_some(Calls::Each(each)));
    calls
}

/// Stretches of many small ones after another.
fn woven(regions: &[MemoryRegion], together: &[Range<usize>]) -> Vec<Range<usize>> {
    if together.len() <= MANY {
        return Vec::new();
    }
    let small = |of: &Range<usize>| {
        ends(regions, std::slice::from_ref(of)).filter(|(start, end)| end - start <= SMALL)
    };
    let near = |one: &Range<usize>, next: &Range<usize>| {
        small(one).zip(small(next)).is_some_and(|((_, end), (start, _))| start - end <= NEAR)
    };
    let mut from = 0;
    let mut woven = Vec::new();
    for run in together.chunk_by(near) {
        if run.len() > 1 {
            woven.push(from..from + run.len());
        }
        from += run.len();
    }
    woven
}

impl Alike {
    /// From the first of them to the end of the last.
    pub fn mappings(&self, regions: &[MemoryRegion]) -> PageRange {
        let first = regions.get(self.regions.start).map_or(self.end, |region| region.start);
        PageRange::new(first, self.end)
    }

    fn same(&self, question: Question, may_be_huge: bool) -> bool {
        self.question == question && self.may_be_huge == may_be_huge
    }

    /// Asks for the written pages among `candidates`, of these mappings all.
    pub fn written(
        &self,
        pagemap: &mut Pagemap,
        regions: &[MemoryRegion],
        candidates: &[PageRange],
        arm: bool,
        mut found: impl FnMut(Found),
    ) -> Result<(), Errno> {
        let answer = pagemap.written(candidates, self.question, arm, &mut found);
        if answer != Err(Errno::EPERM) || self.regions.len() == 1 {
            return answer;
        }
        // What was armed by now is not found again.
        let mut rest = candidates;
        for region in regions.get(self.regions.clone()).unwrap_or_default() {
            let first = rest.partition_point(|range| range.end <= region.start);
            rest = rest.get(first..).unwrap_or_default();
            let here = rest.iter().take_while(|range| range.start < region.end);
            for part in here.filter_map(|range| range.intersection(&region.range())) {
                match pagemap.written(&[part], self.question, arm, &mut found) {
                    Ok(()) | Err(Errno::EPERM) => {}
                    answer => return answer,
                }
            }
        }
        Ok(())
    }
}

fn unarmed_of(
    pagemap: &mut Pagemap,
    regions: &[MemoryRegion],
    known: &[PageRange],
    unarmed: &mut Vec<PageRange>,
    strangers: &mut Vec<MemoryRegion>,
) -> Result<(), Errno> {
    let (Some(first), Some(last)) = (regions.first(), regions.last()) else { return Ok(()) };
    let whole = PageRange::new(first.start, last.end);
    let known_here: Vec<PageRange> = range::overlapping(known, whole).copied().collect();
    let rest = range::subtract(&[whole], &known_here);
    let answer = rest.into_iter().try_for_each(|rest| pagemap.unarmed(rest, unarmed));
    if answer != Err(Errno::EPERM) {
        return answer;
    }
    if regions.len() == 1 {
        strangers.push(first.clone());
        return Ok(());
    }
    // Up to the call that was refused all is known.
    let refused = pagemap.refused();
    let before = regions.partition_point(|region| region.end <= refused.start);
    let behind = regions.partition_point(|region| region.start < refused.end).max(before);
    let (one, other) = match behind - before == regions.len() {
        true => regions.split_at(regions.len() / 2),
        false => (regions.get(before..behind).unwrap_or_default(), regions.get(behind..).unwrap_or_default()),
    };
    unarmed_of(pagemap, one, known, unarmed, strangers)?;
    unarmed_of(pagemap, other, known, unarmed, strangers)
}

fn may_be_huge(region: &MemoryRegion) -> bool {
    matches!(region.kind(), RegionKind::Anonymous | RegionKind::Heap | RegionKind::Shared)
}

/// How written pages of a region are told from others, once its marks are set.
fn question(region: &MemoryRegion) -> Question {
    match region.kind() {
        RegionKind::HugeTlb => Question::HugeTlb,
        _ if region.is_shared() => Question::Shared,
        RegionKind::Anonymous | RegionKind::Heap | RegionKind::Stack if region.inode == 0 => {
            Question::Anonymous
        }
        _ => Question::Private,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::capture::probe::Scratch;
    use crate::capture::range;
    use crate::capture::uffd::{UffdCapability, UffdFeatureFlags, UffdIoctlMode, UserfaultFd};

    fn region(first: u64, pages: u64, permissions: &str) -> MemoryRegion {
        MemoryRegion {
            start: first << 12,
            end: (first + pages) << 12,
            permissions: permissions.into(),
            offset: 0,
            device: "00:00".into(),
            inode: 0,
            pathname: None,
        }
    }

    #[test]
    fn one_call_goes_over_a_span_and_asks_what_is_alike() {
        let regions = [
            region(10, 2, "rw-p"),
            region(14, 2, "rw-p"),
            region(16, 4, "rw-s"),
            region(30, 1, "rw-s"),
            region(40, 1, "rw-s"),
        ];
        let spans = [PageRange::new(10 << 12, 31 << 12), PageRange::new(35 << 12, 50 << 12)];
        let looks = Looks::over(&regions, &spans);
        assert_eq!(looks.together, [0..4, 4..5]);
        let alike: Vec<_> =
            looks.alike().iter().map(|alike| (alike.regions.clone(), alike.end >> 12)).collect();
        assert_eq!(alike, [(0..2, 16), (2..4, 31), (4..5, 41)]);
        assert_eq!(
            Looks::over(&regions, &[]).together.len(),
            regions.len(),
            "each for itself where nothing is known"
        );
    }

    #[test]
    fn what_is_not_registered_between_two_mappings_hides_neither() {
        let scratch = Scratch::new().expect("mapped");
        scratch.write_each_page();
        let (start, page) = (scratch.range().start, scratch.page() as u64);
        let part =
            |first: u64, pages: u64| PageRange::new(start + first * page, start + (first + pages) * page);
        let uffd = UserfaultFd::create(UffdFeatureFlags::ASYNC_RUNG).expect("created");
        let registered = [part(0, 4), part(8, 4), part(12, 4), part(20, 4)];
        registered
            .iter()
            .for_each(|part| uffd.register(*part, UffdIoctlMode::WriteProtect).expect("registered"));
        let stranger = part(16, 4);
        let mut places = [&registered[..], &[stranger]].concat();
        places.sort_unstable();
        let regions: Vec<MemoryRegion> =
            places.iter().map(|place| region(place.start >> 12, place.len() >> 12, "rw-p")).collect();
        let mut looks = Looks::over(&regions, &[part(0, 24)]);
        assert_eq!((looks.together.len(), looks.alike().len()), (1, 1));
        let mut pagemap = Pagemap::new(File::open("/proc/self/pagemap").expect("opened"));
        let (mut unarmed, mut strangers, mut written) = (Vec::new(), Vec::new(), Vec::new());
        looks.unarmed(&mut pagemap, &regions, None, &[], &mut unarmed, &mut strangers).expect("scanned");
        range::merge(&mut unarmed);
        let expected = [part(0, 4), part(8, 8), part(20, 4)];
        assert_eq!(range::intersect(&unarmed, &expected), expected);
        assert_eq!(strangers.iter().map(MemoryRegion::range).collect::<Vec<_>>(), [stranger]);
        looks.alike()[0]
            .written(&mut pagemap, &regions, &unarmed, true, |found| written.push(found.range))
            .expect("asked");
        range::merge(&mut written);
        assert_eq!(written, expected);
    }

    #[test]
    fn what_is_known_not_to_be_armed_is_not_gone_over() {
        let scratch = Scratch::new().expect("mapped");
        scratch.write_each_page();
        let whole = scratch.range();
        let uffd = UserfaultFd::create(UffdFeatureFlags::ASYNC_RUNG).expect("created");
        uffd.register(whole, UffdIoctlMode::WriteProtect).expect("registered");
        let regions = [region(whole.start >> 12, whole.len() >> 12, "rw-p")];
        let mut looks = Looks::over(&regions, &[whole]);
        let mut pagemap = Pagemap::new(File::open("/proc/self/pagemap").expect("opened"));
        let mut unarmed_beside = |known| {
            let (mut unarmed, mut strangers) = (Vec::new(), Vec::new());
            looks
                .unarmed(&mut pagemap, &regions, None, &[known], &mut unarmed, &mut strangers)
                .expect("scanned");
            unarmed
        };
        assert_eq!(unarmed_beside(whole), []);
        let part = PageRange::new(whole.start, whole.end - scratch.page() as u64);
        assert_eq!(unarmed_beside(part), [whole], "less than a page table is not worth a call");
    }
}
