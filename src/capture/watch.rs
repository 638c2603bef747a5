//! The set of mappings under watch, kept in step with the target's own table.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::CaptureError;
use super::arming::Arming;
use super::attach::ProcessAttach;
use super::huge::HugeBlocks;
use super::keeper;
use super::looks::Looks;
use super::lost::LostFeature;
use super::parts::Faults;
use super::programs::own_time;
use super::range::{self, PageRange};
use super::region::{MemoryRegion, RegionKind};
use super::registration::Registration;
use super::shared::SharedMemory;
use super::unwatched::{Unwatched, UnwatchedRegion};
use super::vitals::Vitals;
use super::yielding::Yielding;

/// How long the keeper of a watch that has ended may take for each mapping that it still has.
const FORMER: Duration = Duration::from_millis(500);

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
#[derive(Debug)]
pub(super) struct WatchSet {
    regions: Arc<[MemoryRegion]>,
    /// Their addresses, those joined that touch.
    live: Vec<PageRange>,
    looks: Looks,
    registration: Registration,
    yielding: Yielding,
    /// Where huge pages were seen before our arming split them.
    huge: HugeBlocks,
    shared: SharedMemory,
    /// Pages that are not armed: whether they are written is not known. Sorted, disjoint.
    unseen: Vec<PageRange>,
    /// Huge pages that the last pass has found.
    huge_now: Vec<PageRange>,
    /// A mapping was found that is not the one of the table.
    strangers: bool,
    /// What is watched has changed since the table was read.
    changed_late: bool,
    /// The first pass is over.
    begun: bool,
    /// Whoever watched the target before us has let go by now.
    alone: bool,
}

/// What a pass over the set has found.
#[derive(Debug, Default)]
pub(super) struct Collected {
    /// Pages that were armed and were written: sorted, disjoint.
    pub written: Vec<PageRange>,
    /// Pages that came to be and were either read or written; they are armed now. Sorted, disjoint, apart from `written`.
    pub unknown: Vec<PageRange>,
    /// Whether what was written is armed again.
    pub armed: bool,
}

/// What arming has taken.
#[derive(Debug, Default)]
pub(super) struct Armed {
    /// Flushes of the target's translations.
    pub flushes: u64,
    /// Pages that were written since the last pass, and are armed now. Sorted, disjoint.
    pub late: Vec<PageRange>,
    /// Pages that came to be since, read or written, and are armed now. Sorted, disjoint, apart from `late`.
    pub unknown: Vec<PageRange>,
    /// Our processor time in each call, a flush: it waits for the processors to answer. (By the clock, it
    /// also has what else ran meanwhile.)
    calls: Vec<Duration>,
}

impl Armed {
    fn call(&mut self, range: PageRange, took: Duration) {
        let pieces = range::pieces(std::slice::from_ref(&range));
        self.calls.push(took / pieces.max(1) as u32);
        self.flushes += pieces;
    }

    /// The time of one call; none where there was none.
    pub fn median_call(&mut self) -> Option<Duration> {
        self.calls.sort_unstable();
        self.calls.get(self.calls.len() / 2).copied()
    }
}

impl WatchSet {
    /// Nothing is watched yet.
    pub fn of(target: &ProcessAttach) -> Self {
        Self {
            regions: Arc::default(),
            live: Vec::new(),
            looks: Looks::default(),
            registration: Registration::default(),
            yielding: Yielding::to(target),
            huge: HugeBlocks::default(),
            shared: SharedMemory::default(),
            unseen: Vec::new(),
            huge_now: Vec::new(),
            strangers: false,
            changed_late: false,
            begun: false,
            alone: false,
        }
    }

    pub fn regions(&self) -> Arc<[MemoryRegion]> {
        Arc::clone(&self.regions)
    }

    pub fn unwatched(&self) -> &[UnwatchedRegion] {
        self.registration.unwatched()
    }

    /// What is not known of the target that would matter.
    pub fn unknown(&self, anonymous: bool) -> Vec<LostFeature> {
        self.yielding.unknown(anonymous)
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
        self.reconcile(target, Duration::MAX)?;
        refuse_second(&self.regions, self.unwatched(), target.info.pid)
    }

    /// Lets go of what the target cannot use as it wants while it is watched. Whether anything changed.
    pub fn yield_to(&mut self, target: &mut ProcessAttach, vitals: &Vitals) -> Result<bool, Stopped> {
        let own = self.yielding.looks_for_own(target);
        let marked = |region: &MemoryRegion| target.pagemap.has_marks(region.range()).unwrap_or(false);
        if !self.yielding.looks_for_spinning(vitals, &self.regions, marked) && !own {
            return Ok(false);
        }
        self.rebuild(target).map_err(Stopped::Failed)
    }

    /// Registers what is new in the target's table and forgets what is gone; whether anything changed. The
    /// table is read for about so long; where that is not enough, nothing is answered, and the next call goes
    /// on.
    pub fn reconcile(&mut self, target: &mut ProcessAttach, time: Duration) -> Result<Option<bool>, Stopped> {
        let pid = target.info.pid;
        let failed = |operation| move |errno| Stopped::Failed(CaptureError::System { operation, pid, errno });
        let mut changed = false;
        // Those that are met from here on may have come behind where it is read.
        self.strangers &= target.maps.is_being_read();
        // Registering lets the kernel join a new mapping with its neighbour, so the table is read again after it. Twice is
        // enough for a table that holds still, and one that does not is caught up with in the next window.
        for _ in 0..2 {
            match target.maps.read_on(time).map_err(failed("reading the memory map"))? {
                None if !changed => return Ok(None),
                None | Some(false) => break,
                Some(true) => {}
            }
            if target.maps.is_gone() {
                return Err(Stopped::Gone);
            }
            changed |= self.rebuild(target).map_err(Stopped::Failed)?;
        }
        Ok(Some(changed))
    }

    /// The keeper of a watch that has just ended lets go of its mappings one after another: those that it has still are asked for again,
    /// for as long as it gets on. Only then another's userfaultfd may be taken for the target's own.
    fn outwait_former(&mut self, target: &ProcessAttach) -> Result<(), CaptureError> {
        let own = target.keeper().and_then(|keeper| keeper.process());
        let (mut left, mut since) = (self.registration.taken(), Instant::now());
        while left > 0 && since.elapsed() < FORMER && keeper::another_is_there(own) {
            std::thread::sleep(Duration::from_millis(5));
            self.rebuild(target)?;
            let now = self.registration.taken();
            if now < left {
                since = Instant::now();
            }
            left = now;
        }
        self.alone = true;
        self.rebuild(target).map(drop)
    }

    fn rebuild(&mut self, target: &ProcessAttach) -> Result<bool, CaptureError> {
        let table = target.maps.regions(target.info.pid)?;
        self.yielding.follow(table);
        let mut watched = self.registration.follow(target, table, &self.yielding)?;
        if self.alone && self.registration.taken() > 0 && self.yielding.met_another(target) {
            watched = self.registration.follow(target, table, &self.yielding)?;
        }
        let changed = !self.regions.iter().eq(watched.iter().copied());
        if changed {
            self.live = watched.iter().map(|region| region.range()).collect();
            range::merge(&mut self.live);
            self.unseen = range::intersect(&self.unseen, &self.live);
            let watched: Arc<[MemoryRegion]> = watched.into_iter().cloned().collect();
            self.shared.follow(&watched, self.begun.then_some(&*self.regions));
            self.regions = watched;
        }
        self.looks = Looks::over(&self.regions, self.registration.spans()).instead_of(&self.looks, !changed);
        Ok(changed)
    }

    /// What was written since the last pass. Where so many pages in so many flushes can be afforded and nothing was left unarmed
    /// before, it is armed again in the same step; otherwise it waits for [`Self::arm`]. The target's
    /// `faults` tell how far to look.
    pub fn collect(
        &mut self,
        target: &mut ProcessAttach,
        faults: Option<Faults>,
        affords: impl Fn(u64, u64) -> bool,
    ) -> Result<Collected, Stopped> {
        let mut collected = Collected::default();
        let unarmed = self.find_unarmed(target, faults)?;
        let regions = Arc::clone(&self.regions);
        let mut candidates = range::subtract(&unarmed, &self.unseen);
        self.note_before_arming(target, &candidates)?;
        let first = self.shared.meet(&mut target.pagemap, &mut candidates, self.begun);
        let first = first.map_err(|errno| failed(errno, target))?;
        (collected.written, collected.unknown) = (first.written, first.unknown);
        let pages = range::pages(&candidates, target.info.page_size);
        let armed = self.unseen.is_empty() && affords(pages, range::pieces(&candidates));
        self.huge_now.clear();
        let mut rest = candidates.as_slice();
        for alike in self.looks.alike() {
            let (within, behind) = rest.split_at(rest.partition_point(|range| range.start < alike.end));
            rest = behind;
            if within.is_empty() {
                continue;
            }
            let (written, huge_now) = (&mut collected.written, &mut self.huge_now);
            let answer = alike.written(&mut target.pagemap, &regions, within, armed, |found| {
                written.push(found.range);
                if found.huge && alike.may_be_huge {
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
        collected.unknown = range::subtract(&collected.unknown, &collected.written);
        collected.armed = armed;
        let all = armed.then(|| [collected.written.as_slice(), &collected.unknown].concat());
        let all = all.map(|mut all| {
            range::merge(&mut all);
            all
        });
        self.looks.settle(all.as_deref());
        self.begun = true;
        Ok(collected)
    }

    /// Notes what of these ranges is of huge pages, which arming would let the next write split.
    fn note_before_arming(
        &mut self,
        target: &mut ProcessAttach,
        mut ranges: &[PageRange],
    ) -> Result<(), Stopped> {
        for alike in self.looks.alike() {
            let (within, behind) = ranges.split_at(ranges.partition_point(|range| range.start < alike.end));
            ranges = behind;
            if alike.may_be_huge && !within.is_empty() {
                note_huge_of(&mut self.huge, target, within)?;
            }
        }
        Ok(())
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
        match arming {
            Arming::Everything => {
                let all = due.clone();
                self.arm_pages(target, &due, &all)
            }
            Arming::Pages(mut pages) => {
                // A huge page costs one fault as long as it is whole, and arming a part of it would split it.
                pages.extend_from_slice(&self.huge_now);
                range::merge(&mut pages);
                let chosen = range::intersect(&due, &pages);
                self.arm_pages(target, &due, &chosen)
            }
            Arming::Tables(tables) => self.arm_tables(target, due, tables),
        }
    }

    /// Arms exactly these pages, a call for each run of them.
    fn arm_pages(
        &mut self,
        target: &mut ProcessAttach,
        due: &[PageRange],
        chosen: &[PageRange],
    ) -> Result<Armed, Stopped> {
        let mut rest = chosen;
        let mut armed = Armed::default();
        for alike in self.looks.alike() {
            let (within, behind) = rest.split_at(rest.partition_point(|range| range.start < alike.end));
            rest = behind;
            for range in within {
                let begun = own_time();
                done(target.pagemap.arm(*range, alike.question), target)?;
                armed.call(*range, own_time().saturating_sub(begun));
            }
        }
        self.unseen = range::subtract(due, chosen);
        Ok(armed)
    }

    /// Arms all of these ranges, a call for each, and finds what else was written in them until then.
    fn arm_tables(
        &mut self,
        target: &mut ProcessAttach,
        due: Vec<PageRange>,
        mut tables: Vec<PageRange>,
    ) -> Result<Armed, Stopped> {
        tables.extend_from_slice(&self.huge_now);
        range::merge(&mut tables);
        let regions = Arc::clone(&self.regions);
        let those = |of: fn(&MemoryRegion) -> bool| -> Vec<PageRange> {
            regions.iter().filter(|region| of(region)).map(MemoryRegion::range).collect()
        };
        // A page of a pool is armed whole or not at all.
        let pools = those(|region| region.kind() == RegionKind::HugeTlb);
        let of_pools = range::intersect(&due, &range::intersect(&tables, &pools));
        let tables = range::subtract(&tables, &pools);
        self.note_before_arming(target, &tables)?;
        let mut armed = self.arm_pages(target, &due, &of_pools)?;
        for alike in self.looks.alike() {
            let mappings = alike.mappings(&regions);
            let within = range::overlapping(&tables, mappings);
            for range in within.filter_map(|range| range.intersection(&mappings)) {
                let begun = own_time();
                let found = &mut armed.late;
                let answer =
                    alike.written(&mut target.pagemap, &regions, &[range], true, |run| found.push(run.range));
                done(answer, target)?;
                armed.call(range, own_time().saturating_sub(begun));
            }
        }
        range::merge(&mut armed.late);
        armed.late = range::subtract(&range::intersect(&armed.late, &self.live), &due);
        // A page of shared memory that came since the look may have been read only.
        armed.unknown = range::intersect(&armed.late, &those(MemoryRegion::is_shared));
        armed.late = range::subtract(&armed.late, &armed.unknown);
        self.unseen = range::subtract(&range::subtract(&due, &of_pools), &tables);
        Ok(armed)
    }

    /// Where pages are not armed.
    fn find_unarmed(
        &mut self,
        target: &mut ProcessAttach,
        faults: Option<Faults>,
    ) -> Result<Vec<PageRange>, Stopped> {
        let (mut unarmed, mut strangers) = (Vec::new(), Vec::new());
        let answer = self.looks.unarmed(
            &mut target.pagemap,
            &self.regions,
            faults,
            &self.unseen,
            &mut unarmed,
            &mut strangers,
        );
        done(answer, target)?;
        if !strangers.is_empty() {
            self.watch_anew(target, &strangers)?;
            for region in strangers.iter().filter(|region| self.watches(region)) {
                let mut of_it = Vec::new();
                done(target.pagemap.unarmed(region.range(), &mut of_it), target)?;
                unarmed.append(&mut of_it);
            }
        }
        range::merge(&mut unarmed);
        // What is registered between two of them is no part of the map.
        Ok(range::intersect(&unarmed, &self.live))
    }

    /// Other mappings took these places, or mremap(2) moved some here: they are not registered, so they are new.
    fn watch_anew(&mut self, target: &ProcessAttach, strangers: &[MemoryRegion]) -> Result<(), Stopped> {
        self.strangers = true;
        let places: Vec<PageRange> = strangers.iter().map(MemoryRegion::range).collect();
        self.unseen = range::subtract(&self.unseen, &places);
        self.registration.forget(&places);
        self.shared.strangers(strangers, &places);
        let again = self.registration.again(target, strangers, &self.regions, &self.yielding);
        if !again.map_err(Stopped::Failed)? {
            self.changed_late |= self.rebuild(target).map_err(Stopped::Failed)?;
        }
        Ok(())
    }

    fn watches(&self, region: &MemoryRegion) -> bool {
        let at = self.regions.binary_search_by_key(&region.start, |known| known.start);
        at.ok().and_then(|at| self.regions.get(at)) == Some(region)
    }

    /// Notes the faults that the target has taken in all.
    pub fn taken_in_all(&mut self, faults: u64) {
        self.looks.taken_in_all(faults);
    }

    /// Whether the last pass has changed what is watched.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed_late)
    }
}

/// Each mapping has one userfaultfd at most.
pub(super) fn refuse_second(
    watched: &[MemoryRegion],
    unwatched: &[UnwatchedRegion],
    pid: u32,
) -> Result<(), Stopped> {
    let taken = unwatched.iter().filter(|region| region.why == Unwatched::Refused(Errno::EBUSY));
    let taken: u64 = taken.map(|region| region.region.len()).sum();
    // What is younger than the other watcher's last look may be free still.
    if taken > watched.iter().map(MemoryRegion::len).sum() {
        Err(Stopped::Failed(CaptureError::AlreadyWatched { pid }))
    } else {
        Ok(())
    }
}

fn note_huge_of(
    huge: &mut HugeBlocks,
    target: &mut ProcessAttach,
    ranges: &[PageRange],
) -> Result<(), Stopped> {
    match huge.look(&mut target.pagemap, ranges) {
        Ok(new) => target.note_huge(&new).map_err(Stopped::Failed),
        answer => done(answer.map(drop), target),
    }
}

/// A region that is not registered any more has changed once more; the next reading of the table will say how.
fn done(answer: Result<(), Errno>, target: &ProcessAttach) -> Result<(), Stopped> {
    match answer {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(failed(errno, target)),
    }
}

fn failed(errno: Errno, target: &ProcessAttach) -> Stopped {
    if errno == Errno::ESRCH {
        return Stopped::Gone;
    }
    Stopped::Failed(CaptureError::System { operation: "PAGEMAP_SCAN", pid: target.info.pid, errno })
}
