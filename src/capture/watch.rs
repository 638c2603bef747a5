//! The set of mappings under watch, kept in step with the target's own table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::CaptureError;
use super::arming::Arming;
use super::attach::ProcessAttach;
use super::huge::HugeBlocks;
use super::keeper;
use super::range::{self, PageRange};
use super::region::{MemoryRegion, RegionKind};
use super::scan::Question;

/// Address space of shared mappings in which pages that do not exist yet are marked, too. The marks cost the target one
/// five-hundredth of it in page tables.
const MARKED_AT_MOST: u64 = 8 << 30;

/// How long the keeper of a watch that has ended may take for each mapping that it still has.
const FORMER: Duration = Duration::from_millis(500);

/// A writable mapping that the kernel would not let us watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRegion {
    /// The mapping.
    pub region: MemoryRegion,
    /// The kernel's answer to its registration.
    pub errno: Errno,
}

/// The address space that was watched is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Why a pass over the set stopped.
#[derive(Debug)]
pub(super) enum Stopped {
    Gone,
    Failed(CaptureError),
}

impl From<Gone> for Stopped {
    fn from(_: Gone) -> Self {
        Stopped::Gone
    }
}

/// What is watched.
#[derive(Debug, Default)]
pub(super) struct WatchSet {
    regions: Arc<[MemoryRegion]>,
    refused: Vec<RefusedRegion>,
    /// Where huge pages were seen before our arming split them.
    huge: HugeBlocks,
    /// Shared mappings whose pages that do not exist yet carry marks.
    marked: Vec<PageRange>,
    /// Pages that are not armed: whether they are written is not known. Sorted, disjoint.
    unseen: Vec<PageRange>,
    /// Huge pages that the last pass has found.
    huge_now: Vec<PageRange>,
    /// A mapping was found that is not the one of the table.
    strangers: bool,
}

/// What a pass over the set has found.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// Pages that were armed and were written: sorted, disjoint.
    pub written: Vec<PageRange>,
    /// Whether they are armed again.
    pub armed: bool,
}

/// What arming has taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Armed {
    /// Flushes of the target's translations.
    pub flushes: u64,
    /// The time of one call; none where there was none.
    pub median_call: Option<Duration>,
}

impl WatchSet {
    pub fn regions(&self) -> Arc<[MemoryRegion]> {
        Arc::clone(&self.regions)
    }

    pub fn refused(&self) -> &[RefusedRegion] {
        &self.refused
    }

    /// Whether a pass since the last reading of the table met a mapping that is not the one of the table.
    pub fn met_strangers(&self) -> bool {
        self.strangers
    }

    /// Pages that are not armed.
    pub fn unseen(&self) -> &[PageRange] {
        &self.unseen
    }

    /// Begins with the mappings as they are, of which none is armed yet. The first pass finds all there is, which is of no window.
    pub fn begin(&mut self, target: &mut ProcessAttach) -> Result<(), Stopped> {
        // The table that the attach has read; the reading in `reconcile` only tells what is different from it.
        self.rebuild(target).map_err(Stopped::Failed)?;
        self.outwait_former(target).map_err(Stopped::Failed)?;
        self.reconcile(target)?;
        refuse_second(&self.regions, &self.refused, target.info.pid)?;
        Ok(())
    }

    /// Registers what is new in the target's table and forgets what is gone; whether anything changed.
    pub fn reconcile(&mut self, target: &mut ProcessAttach) -> Result<bool, Stopped> {
        let pid = target.info.pid;
        let failed = |operation| move |errno| Stopped::Failed(CaptureError::System { operation, pid, errno });
        let mut changed = false;
        self.strangers = false;
        // Registering lets the kernel join a new mapping with its neighbour, so the table is read again after it. Twice is
        // enough for a table that holds still, and one that does not is caught up with in the next window.
        for _ in 0..2 {
            if !target.maps.read().map_err(failed("reading the memory map"))? {
                break;
            }
            if target.maps.is_gone() {
                return Err(Stopped::Gone);
            }
            changed |= self.rebuild(target).map_err(Stopped::Failed)?;
        }
        Ok(changed)
    }

    /// The keeper of a watch that has just ended lets go of its mappings one after another: those that it has still are asked for again,
    /// for as long as it gets on.
    fn outwait_former(&mut self, target: &ProcessAttach) -> Result<(), CaptureError> {
        let taken = |set: &Self| set.refused.iter().filter(|refused| refused.errno == Errno::EBUSY).count();
        let own = target.keeper().and_then(|keeper| keeper.process());
        let (mut left, mut since) = (taken(self), Instant::now());
        while left > 0 && since.elapsed() < FORMER && keeper::another_is_there(own) {
            std::thread::sleep(Duration::from_millis(5));
            self.refused.retain(|refused| refused.errno != Errno::EBUSY);
            self.rebuild(target)?;
            let now = taken(self);
            if now < left {
                since = Instant::now();
            }
            left = now;
        }
        Ok(())
    }

    fn rebuild(&mut self, target: &ProcessAttach) -> Result<bool, CaptureError> {
        let table = target.maps.parse(target.info.pid)?;
        let known =
            |region: &MemoryRegion| self.regions.binary_search_by_key(&region.start, |known| known.start);
        let mut watched = Vec::with_capacity(self.regions.len() + 8);
        let (mut refused, mut new) = (Vec::new(), Vec::new());
        for region in table.into_iter().filter(MemoryRegion::is_watchable) {
            if known(&region).ok().and_then(|at| self.regions.get(at)) == Some(&region) {
                watched.push(region);
            } else if let Some(known) = self.refused.iter().find(|refused| refused.region == region) {
                refused.push(known.clone());
            } else {
                new.push(region);
            }
        }
        let ranges: Vec<PageRange> = new.iter().map(MemoryRegion::range).collect();
        for (region, answer) in new.into_iter().zip(target.watch_all(&ranges)?) {
            match answer {
                Ok(()) => watched.push(region),
                Err(errno) => {
                    // Its kind and size only: a log outlives the care that somebody asked for.
                    tracing::debug!(kind = %region.kind(), bytes = region.len(), %errno, "mapping not watched");
                    refused.push(RefusedRegion { region, errno });
                }
            }
        }
        watched.sort_unstable_by_key(|region| region.start);
        self.refused = refused;
        self.marked.retain(|marked| watched.iter().any(|region| region.range() == *marked));
        let changed = *self.regions != *watched;
        if changed {
            self.regions = watched.into();
            let live: Vec<PageRange> = self.regions.iter().map(MemoryRegion::range).collect();
            self.unseen = range::intersect(&self.unseen, &live);
        }
        Ok(changed)
    }

    /// What was written since the last pass. Where so many pages in so many flushes can be afforded and nothing was left unarmed
    /// before, it is armed again in the same step; otherwise it waits for [`Self::arm`].
    pub fn collect(
        &mut self,
        target: &mut ProcessAttach,
        affords: impl Fn(u64, u64) -> bool,
    ) -> Result<Collected, Stopped> {
        let regions = Arc::clone(&self.regions);
        let mut collected = Collected::default();
        let mut candidates = Vec::new();
        for region in regions.iter() {
            if self.may_mark(region) {
                self.mark(target, region, &mut collected.written)?;
            } else {
                self.find_unarmed(target, region, &mut candidates)?;
            }
        }
        self.note_before_arming(target, &regions, &candidates)?;
        let candidates = range::subtract(&candidates, &self.unseen);
        let pages = range::pages(&candidates, target.info.page_size);
        let armed = self.unseen.is_empty() && affords(pages, range::pieces(&candidates));
        self.huge_now.clear();
        let mut rest = candidates.as_slice();
        for region in regions.iter() {
            let (within, behind) = rest.split_at(rest.partition_point(|range| range.start < region.end));
            rest = behind;
            let note_huge = may_be_huge(region);
            let (written, huge_now) = (&mut collected.written, &mut self.huge_now);
            let answer = target.pagemap.written(within, question(region), armed, |found| {
                written.push(found.range);
                if found.huge && note_huge {
                    huge_now.push(found.range);
                }
            });
            done(answer, target)?;
        }
        let new = self.huge.note(self.huge_now.clone());
        target.note_huge(&new).map_err(Stopped::Failed)?;
        range::merge(&mut collected.written);
        if !armed {
            collected.written = range::subtract(&collected.written, &self.unseen);
        }
        collected.armed = armed;
        Ok(collected)
    }

    /// Arms for the next window what the last pass has left unarmed, as far as it is chosen.
    pub fn arm(
        &mut self,
        target: &mut ProcessAttach,
        written: &[PageRange],
        arming: Arming,
    ) -> Result<Armed, Stopped> {
        let mut due = [written, &self.unseen].concat();
        range::merge(&mut due);
        let chosen = match arming {
            Arming::Everything => due.clone(),
            Arming::Pages(mut pages) => {
                // A huge page costs one fault as long as it is whole, and arming a part of it would split it.
                pages.extend_from_slice(&self.huge_now);
                range::merge(&mut pages);
                range::intersect(&due, &pages)
            }
        };
        let mut rest = chosen.as_slice();
        let (mut flushes, mut calls) = (0, Vec::new());
        for region in Arc::clone(&self.regions).iter() {
            let (within, behind) = rest.split_at(rest.partition_point(|range| range.start < region.end));
            rest = behind;
            for range in within {
                let begun = Instant::now();
                done(target.pagemap.arm(*range, question(region)), target)?;
                let pieces = range::pieces(std::slice::from_ref(range));
                calls.push(begun.elapsed() / pieces.max(1) as u32);
                flushes += pieces;
            }
        }
        self.unseen = range::subtract(&due, &chosen);
        calls.sort_unstable();
        Ok(Armed { flushes, median_call: calls.get(calls.len() / 2).copied() })
    }

    /// Notes what of these ranges is of huge pages, which arming would let the next write split.
    fn note_before_arming(
        &mut self,
        target: &mut ProcessAttach,
        regions: &[MemoryRegion],
        mut ranges: &[PageRange],
    ) -> Result<(), Stopped> {
        for region in regions {
            let (within, behind) = ranges.split_at(ranges.partition_point(|range| range.start < region.end));
            ranges = behind;
            if !may_be_huge(region) || within.is_empty() {
                continue;
            }
            match self.huge.look(&mut target.pagemap, within) {
                Ok(new) => target.note_huge(&new).map_err(Stopped::Failed)?,
                answer => done(answer.map(drop), target)?,
            }
        }
        Ok(())
    }

    /// Where pages of the region are not armed.
    fn find_unarmed(
        &mut self,
        target: &mut ProcessAttach,
        region: &MemoryRegion,
        unarmed: &mut Vec<PageRange>,
    ) -> Result<(), Stopped> {
        let mut answer = target.pagemap.unarmed(region.range(), unarmed);
        if answer == Err(Errno::EPERM) && self.watch_anew(target, region) {
            answer = target.pagemap.unarmed(region.range(), unarmed);
        }
        done(answer, target)
    }

    /// Arms the whole of a shared mapping for the first time, pages that do not exist yet included.
    fn mark(
        &mut self,
        target: &mut ProcessAttach,
        region: &MemoryRegion,
        written: &mut Vec<PageRange>,
    ) -> Result<(), Stopped> {
        let whole = [region.range()];
        self.note_before_arming(target, std::slice::from_ref(region), &whole)?;
        let mut ask = |target: &mut ProcessAttach| {
            target
                .pagemap
                .written(&whole, Question::SharedWithMarkers, true, |found| written.push(found.range))
        };
        let mut answer = ask(target);
        if answer == Err(Errno::EPERM) && self.watch_anew(target, region) {
            answer = ask(target);
        }
        if answer.is_ok() {
            self.marked.push(region.range());
            self.unseen = range::subtract(&self.unseen, &whole);
        }
        done(answer, target)
    }

    /// Another mapping took this place, or mremap(2) moved one here: it is not registered, so it is new. Whether it is now.
    fn watch_anew(&mut self, target: &ProcessAttach, region: &MemoryRegion) -> bool {
        self.strangers = true;
        self.unseen = range::subtract(&self.unseen, &[region.range()]);
        target.watch(region.range()).is_ok()
    }

    /// Whether this is a shared mapping without marks that may have them. A page of one that is read for the first time looks
    /// like a written one, unless a mark stood in its place.
    fn may_mark(&self, region: &MemoryRegion) -> bool {
        let marked = || self.marked.iter().map(PageRange::len).sum::<u64>();
        region.is_shared()
            && !self.marked.contains(&region.range())
            && marked() + region.len() <= MARKED_AT_MOST
    }
}

/// Each mapping has one userfaultfd at most.
pub(super) fn refuse_second(
    watched: &[MemoryRegion],
    refused: &[RefusedRegion],
    pid: u32,
) -> Result<(), Stopped> {
    let taken = refused.iter().any(|refused| refused.errno == Errno::EBUSY);
    if watched.is_empty() && taken {
        Err(Stopped::Failed(CaptureError::AlreadyWatched { pid }))
    } else {
        Ok(())
    }
}

/// Whether it may have huge pages that watching splits. Those of a pool stay whole.
fn may_be_huge(region: &MemoryRegion) -> bool {
    matches!(region.kind(), RegionKind::Anonymous | RegionKind::Heap | RegionKind::Shared)
}

/// How written pages of a region are told from others, once its marks are set.
fn question(region: &MemoryRegion) -> Question {
    match region.kind() {
        _ if region.is_shared() => Question::Shared,
        RegionKind::Anonymous | RegionKind::Heap | RegionKind::Stack if region.inode == 0 => {
            Question::Anonymous
        }
        _ => Question::Private,
    }
}

/// A region that is not registered any more has changed once more; the next reading of the table will say how.
fn done(answer: Result<(), Errno>, target: &ProcessAttach) -> Result<(), Stopped> {
    match answer {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(Errno::ESRCH) => Err(Stopped::Gone),
        Err(errno) => {
            let pid = target.info.pid;
            Err(Stopped::Failed(CaptureError::System { operation: "PAGEMAP_SCAN", pid, errno }))
        }
    }
}
