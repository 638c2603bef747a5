//! The asynchronous rung, window by window: look, decide, arm.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::FaultEvent;
use super::arming::{Arming, ArmingPolicy, WindowEnd};
use super::attach::ProcessAttach;
use super::governor::{Governor, Spent};
use super::parts::Faults;
use super::programs::own_time;
use super::range::{self, PageRange};
use super::vitals::Vitals;
use super::watch::{Stopped, WatchSet};

/// The table of mappings is read at least this often. Between, its size tells whether it has changed.
const TABLE_AGE: Duration = Duration::from_millis(100);
/// Reading a long table takes at most this part of our time, however often it changes.
const TABLE_SHARE: u32 = 50;
const LONG_TABLE: usize = 500;
/// So long it is read at once: the next window goes on with it.
const READ_AT_ONCE: Duration = Duration::from_millis(1);
/// A target that takes no faults is looked at all the same: others may write to its memory
/// (process_vm_writev(2), a process that has the same memory). While nobody is found to, that takes at most
/// this part of our time, …
const SILENT_SHARE: u32 = 400;
/// … but is done as often as this; and for so long after something was found, in each window.
const LOOK_AGE: Duration = Duration::from_secs(1);

/// What a window showed.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Whether the mappings under watch have changed.
    pub changed: bool,
    pub written: Vec<PageRange>,
    pub unseen: Vec<PageRange>,
    pub spent: Spent,
    /// Single events, in their order; of the synchronous rungs only.
    pub events: Vec<FaultEvent>,
    /// Events that were answered without being kept.
    pub dropped: u64,
}

/// The asynchronous rung on one target.
#[derive(Debug)]
pub(super) struct AsyncTracker {
    pub watch: WatchSet,
    policy: Box<dyn ArmingPolicy>,
    vitals: Vitals,
    /// Faults and size as of the last look.
    faults: Option<u64>,
    /// Its processor time as of the last look, and whether it has run since the one before.
    ran_for: Option<Duration>,
    runs: bool,
    size: Option<(u64, u64)>,
    /// The size when the reading of the table began.
    size_read: Option<(u64, u64)>,
    looked: Instant,
    /// Processor time of the last look in which there was nothing to see.
    silent_look: Duration,
    /// When somebody else was last found to write.
    by_others: Option<Instant>,
    table_read: Instant,
    /// What reading it has taken.
    table_cost: Duration,
    /// What reading on in it has taken so far.
    table_took: Duration,
}

impl AsyncTracker {
    /// Arms what there is. What was written before is of no window.
    pub fn begin(
        target: &mut ProcessAttach,
        governor: &mut Governor,
        policy: Box<dyn ArmingPolicy>,
        length: Duration,
    ) -> Result<Self, Stopped> {
        let vitals = Vitals::open(target.info.pid).map_err(Stopped::Failed)?;
        let now = Instant::now();
        let mut tracker = Self {
            watch: WatchSet::of(target),
            policy,
            faults: vitals.faults(),
            ran_for: vitals.processor_time(),
            runs: true,
            size: vitals.size(),
            size_read: None,
            vitals,
            looked: now,
            silent_look: Duration::ZERO,
            by_others: None,
            table_read: now,
            table_cost: Duration::ZERO,
            table_took: Duration::ZERO,
        };
        tracker.watch.begin(target)?;
        tracker.end_window(target, governor, length, None)?;
        Ok(tracker)
    }

    pub fn set_policy(&mut self, policy: Box<dyn ArmingPolicy>) {
        self.policy = policy;
    }

    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Ends a window of this length.
    pub fn look(
        &mut self,
        target: &mut ProcessAttach,
        governor: &mut Governor,
        length: Duration,
    ) -> Result<Look, Stopped> {
        let yielded = self.watch.yield_to(target, &self.vitals)?;
        let changed = self.table(target)? || yielded;
        let faults = self.vitals.faults();
        let ran_for = self.vitals.processor_time();
        self.runs = ran_for.is_none() || ran_for != std::mem::replace(&mut self.ran_for, ran_for);
        let silent = faults.is_some() && faults == self.faults;
        let quiet = silent && !changed && self.watch.unseen().is_empty();
        if quiet && self.looked.elapsed() < self.silence() {
            governor.armed(None);
            return Ok(Look::default());
        }
        if let Some(resident) = self.vitals.resident(target.info.page_size) {
            target.pagemap.resident(resident);
        }
        let mut unseen = self.watch.unseen().to_vec();
        let begun = own_time();
        let taken = faults.filter(|_| !quiet).map(|taken| Faults { taken, length });
        let (written, mut unknown, mut spent) = self.end_window(target, governor, length, taken)?;
        if let Some(faults) = self.vitals.faults() {
            self.watch.taken_in_all(faults);
        }
        if quiet && written.is_empty() {
            self.silent_look = own_time().saturating_sub(begun);
        } else if quiet {
            self.by_others = Some(Instant::now());
        }
        let changed = self.watch.take_changed() || changed;
        unseen.append(&mut unknown);
        range::merge(&mut unseen);
        let unseen = range::subtract(&unseen, &written);
        let taken = faults.zip(self.faults).map(|(now, before)| now.saturating_sub(before));
        // Fresh memory is written without a fault of ours, and by huge pages many at a time.
        let pages = range::pages(&written, target.info.page_size);
        spent.faults = taken.map_or(pages, |taken| taken.min(pages));
        spent.taken = taken.unwrap_or(spent.faults);
        self.faults = faults;
        self.looked = Instant::now();
        Ok(Look { changed, written, unseen, spent, ..Look::default() })
    }

    /// How long a target that takes no faults need not be looked at.
    fn silence(&self) -> Duration {
        let found = self.by_others.is_some_and(|found| found.elapsed() < LOOK_AGE);
        if found { Duration::ZERO } else { LOOK_AGE.min(self.silent_look * SILENT_SHARE) }
    }

    /// Follows the table of mappings. Whether what is watched has changed.
    fn table(&mut self, target: &mut ProcessAttach) -> Result<bool, Stopped> {
        let size = self.vitals.size();
        let age = self.table_read.elapsed();
        let due = size != self.size || size.is_none() || self.watch.met_strangers() || age >= TABLE_AGE;
        let long = self.watch.regions().len() > LONG_TABLE;
        if !due || long && age < self.table_cost * TABLE_SHARE {
            return Ok(false);
        }
        let begun = Instant::now();
        let time = if long { READ_AT_ONCE } else { Duration::MAX };
        if !target.maps.is_being_read() {
            self.size_read = size;
        }
        let changed = self.watch.reconcile(target, time)?;
        self.table_took += begun.elapsed();
        let Some(changed) = changed else { return Ok(false) };
        (self.size, self.table_read) = (self.size_read, begun);
        self.table_cost = std::mem::take(&mut self.table_took);
        Ok(changed)
    }

    /// Finds what was written and arms for the next window: everything, where that is within the budget, else what the
    /// policy chooses. The written pages, those of which it is not known, and what it cost.
    fn end_window(
        &mut self,
        target: &mut ProcessAttach,
        governor: &mut Governor,
        length: Duration,
        faults: Option<Faults>,
    ) -> Result<(Vec<PageRange>, Vec<PageRange>, Spent), Stopped> {
        let collected =
            self.watch.collect(target, faults, |pages, flushes| governor.affords(pages, flushes, length))?;
        let page_size = target.info.page_size;
        governor.written(range::pages(&collected.written, page_size));
        let regions = Arc::clone(&self.watch.regions());
        // Whom it costs nothing now is armed as quickly as can be: what it costs later is no more than if it
        // had been armed slowly.
        let allowance = |governor: &Governor| {
            governor.allowance(length).map(|faults| if self.runs { faults } else { f64::INFINITY })
        };
        let end = WindowEnd {
            regions: &regions,
            page_size,
            written: &collected.written,
            unseen: self.watch.unseen(),
            budget: (!collected.armed).then(|| allowance(governor)).flatten(),
            run_cost: governor.flush_in_faults(),
            flushes: governor.flushes(length),
        };
        let arming = self.policy.arm(&end);
        let arming = if end.budget.is_none() { Arming::Everything } else { arming };
        let mut spent = Spent { flushes: range::pieces(&collected.written), ..Spent::default() };
        if collected.armed {
            governor.armed(None);
            return Ok((collected.written, collected.unknown, spent));
        }
        let (everything, bound) = (arming == Arming::Everything, end.budget.is_some());
        let due = range::pages(&collected.written, page_size) + range::pages(self.watch.unseen(), page_size);
        let mut armed = self.watch.arm(target, &collected.written, arming)?;
        let left = range::pages(self.watch.unseen(), page_size);
        if bound && self.runs {
            governor.expose(due.saturating_sub(left));
        }
        governor.armed((!everything && left > 0).then(|| 1.0 - left as f64 / due.max(1) as f64));
        (spent.flushes, spent.arming_call) = (armed.flushes, armed.median_call());
        let mut written = collected.written;
        if !armed.late.is_empty() {
            written.append(&mut armed.late);
            range::merge(&mut written);
        }
        let mut unknown = collected.unknown;
        unknown.append(&mut armed.unknown);
        range::merge(&mut unknown);
        let unknown = range::subtract(&unknown, &written);
        Ok((written, unknown, spent))
    }
}
