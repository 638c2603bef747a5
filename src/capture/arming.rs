//! Which written pages are armed again.
//!
//! A page costs the target a fault only when it is armed *and* written. One that was armed and stayed silent is armed still, at
//! no cost; one that was written is not, until it is armed again. So what is decided at the end of a window is the
//! arming of the pages that are not armed: those written in it, and those that were left alone before (`unseen`).
//!
//! While all of them may be armed within the budget of faults, all are, and the windows are exact. Above it the
//! monitor asks its [`ArmingPolicy`]. Capture has one that works alone ([`SweepArming`]); `system` may put
//! another in its place, which knows more about what a sample is worth.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::PageRange;
use super::range;
use super::region::MemoryRegion;

/// What a policy is told at the end of a window, when the next one is about to be armed.
#[derive(Debug, Clone, Copy)]
pub struct WindowEnd<'a> {
    /// The mappings under watch.
    pub regions: &'a [MemoryRegion],
    /// The size of a page in bytes.
    pub page_size: u64,
    /// Pages that were armed and were written: sorted, disjoint.
    pub written: &'a [PageRange],
    /// Pages that were not armed in this window: sorted, disjoint, apart from `written`.
    pub unseen: &'a [PageRange],
    /// Faults that the next window may cost, those of pages that are armed already included; infinite for a
    /// target that does not run. None: the budget does not bind, every page is armed, and the answer changes
    /// nothing.
    pub budget: Option<f64>,
    /// What arming one more run of neighbouring pages costs the target besides the faults on them, in faults: a flush of its address
    /// translations. Long runs are cheaper than scattered pages.
    pub run_cost: f64,
    /// The most flushes that the arming may cause.
    pub flushes: u64,
}

/// What is to be armed in the next window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arming {
    /// Every page.
    Everything,
    /// These pages, in any order, and those that were armed and stayed silent. A page that is armed already may be among them or
    /// not: it makes no difference.
    Pages(Vec<PageRange>),
    /// What is not armed of this memory, each range of which lies in one page table, in one step a range:
    /// sorted but for one place, disjoint. What was written meanwhile is of the window that ends.
    Tables(Vec<PageRange>),
}

/// Says what is armed in the next window.
pub trait ArmingPolicy: fmt::Debug + Send {
    /// Called at the end of every window.
    fn arm(&mut self, end: &WindowEnd<'_>) -> Arming;
}

/// However seldom chosen pages are written again, so many are armed at most for each fault of the budget: what has been silent
/// may be written all at once.
const FOR_EACH_FAULT: f64 = 8.0;

/// How much of the past a window leaves in the averages.
const KEPT: f64 = 0.9;

/// What one flush covers: the memory of one page table.
const TABLE: u64 = 2 << 20;

/// The fewest pages that are worth a flush, unless there are no more.
const FEWEST: u64 = 8;

/// How much of what is not armed may be armed at a time, and how much the budget has allowed at last. Clones
/// share one.
#[derive(Debug, Clone)]
pub struct SweepRate(Arc<Mutex<Rates>>);

#[derive(Debug)]
struct Rates {
    wanted: f64,
    allowed: f64,
}

impl Default for SweepRate {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Rates { wanted: 1.0, allowed: 1.0 })))
    }
}

impl SweepRate {
    /// Of the pages that are not armed, this share is armed at the end of a window at most, 0..1.
    pub fn set(&self, share: f64) {
        self.locked().wanted = share;
    }

    /// The share that the budget alone would have allowed at the end of the last window in which it bound,
    /// 0..1.
    pub fn allowed(&self) -> f64 {
        self.locked().allowed
    }

    fn locked(&self) -> MutexGuard<'_, Rates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Arms in turn, round and round over the addresses of what is not armed, as much in each window as the
/// budget pays for. What lies in one page table is armed in one step, which costs the target one flush,
/// however many pages there are.
#[derive(Debug, Clone, Default)]
pub struct SweepArming {
    rate: SweepRate,
    /// Where the next window goes on.
    next: u64,
    /// Pages armed a window, and faults, on average.
    armed: f64,
    faults: f64,
    /// What windows have left of their budgets that was too little for a flush.
    saved: f64,
}

impl SweepArming {
    /// Arms no more than this rate has it.
    pub fn at(rate: SweepRate) -> Self {
        Self { rate, ..Self::default() }
    }

    /// Faults to be expected of a page that is armed.
    fn faults_a_page(&self) -> f64 {
        let written_again = if self.armed > 0.0 { self.faults / self.armed } else { 1.0 };
        written_again.clamp(1.0 / FOR_EACH_FAULT, 1.0)
    }

    /// Chooses among `due` until `pages` are chosen or the budget is spent.
    fn choose(&mut self, due: &[PageRange], end: &WindowEnd<'_>, budget: f64, most: u64) -> Vec<PageRange> {
        let a_page = self.faults_a_page();
        let first = due.partition_point(|range| range.end <= self.next);
        let (before, behind) = due.split_at(first);
        let (mut spent, mut armed, mut flushes) = (0.0, 0, 0);
        let mut chosen: Vec<PageRange> = Vec::new();
        'due: for range in behind.iter().chain(before) {
            let mut start = range.start.max(if self.next < range.end { self.next } else { 0 });
            while start < range.end {
                let table = start / TABLE;
                let same =
                    chosen.last().is_some_and(|last| (last.end - 1) / TABLE == table && last.end <= start);
                let flush = if same { 0.0 } else { end.run_cost };
                let left = ((budget - spent - flush) / a_page) as u64;
                let left = left.min(most - armed);
                let pages = ((table + 1) * TABLE).min(range.end).saturating_sub(start) / end.page_size;
                let taken = pages.min(left);
                if taken == 0 || taken < pages && taken < FEWEST || !same && flushes == end.flushes {
                    self.next = start;
                    break 'due;
                }
                let stop = start + taken * end.page_size;
                match chosen.last_mut().filter(|_| same) {
                    Some(last) => last.end = stop,
                    None => chosen.push(PageRange::new(start, stop)),
                }
                (spent, armed) = (spent + flush + taken as f64 * a_page, armed + taken);
                flushes += u64::from(!same);
                start = stop;
            }
        }
        self.armed = self.armed * KEPT + armed as f64 * (1.0 - KEPT);
        chosen
    }
}

impl ArmingPolicy for SweepArming {
    fn arm(&mut self, end: &WindowEnd<'_>) -> Arming {
        let faults = range::pages(end.written, end.page_size) as f64;
        self.faults = self.faults * KEPT + faults * (1.0 - KEPT);
        let mut due = [end.written, end.unseen].concat();
        range::merge(&mut due);
        let pages = range::pages(&due, end.page_size);
        let Some(budget) = end.budget else {
            self.armed = self.armed * KEPT + pages as f64 * (1.0 - KEPT);
            return Arming::Everything;
        };
        let most = {
            let mut rate = self.rate.locked();
            let allowed = budget / self.faults_a_page() / pages.max(1) as f64;
            rate.allowed = allowed.min(1.0);
            let wanted = if budget.is_finite() { rate.wanted.min(1.0) } else { 1.0 };
            (wanted * pages as f64).ceil() as u64
        };
        let chosen = self.choose(&due, end, self.saved + budget, most);
        let nothing = chosen.is_empty() && !due.is_empty() && budget.is_finite();
        self.saved = if nothing { self.saved + budget } else { 0.0 };
        Arming::Tables(chosen)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAGE: u64 = 4096;

    fn some(ranges: &[(u64, u64)]) -> Vec<PageRange> {
        ranges.iter().map(|&(first, count)| PageRange::new(first * PAGE, (first + count) * PAGE)).collect()
    }

    /// A target of `pages` pages that writes the first `hot` of them in every window. Faults of each of the windows.
    fn play(pages: u64, hot: u64, budget: f64, windows: usize) -> Vec<u64> {
        let mut policy = SweepArming::default();
        let all = some(&[(0, pages)]);
        let writes = some(&[(0, hot)]);
        let mut unseen = Vec::new();
        let mut faults = Vec::new();
        for _ in 0..windows {
            let written = range::subtract(&writes, &unseen);
            faults.push(range::pages(&written, PAGE));
            let mut due = [written.as_slice(), &unseen].concat();
            range::merge(&mut due);
            let end = WindowEnd {
                regions: &[],
                page_size: PAGE,
                written: &written,
                unseen: &unseen,
                budget: Some(budget),
                run_cost: 0.0,
                flushes: u64::MAX,
            };
            unseen = match policy.arm(&end) {
                Arming::Everything => Vec::new(),
                Arming::Pages(mut chosen) | Arming::Tables(mut chosen) => {
                    range::merge(&mut chosen);
                    range::subtract(&due, &chosen)
                }
            };
            assert!(range::subtract(&unseen, &all).is_empty());
        }
        faults
    }

    #[test]
    fn a_hot_target_costs_its_budget_and_a_cold_one_nothing() {
        let faults = play(65_536, 65_536, 800.0, 200);
        let mean = faults[1..].iter().sum::<u64>() as f64 / 199.0;
        assert!((700.0..900.0).contains(&mean), "{mean}");
        assert!(faults[20..].iter().all(|&faults| faults < 1600), "{faults:?}");
        assert_eq!(play(65_536, 0, 800.0, 50).iter().sum::<u64>(), 0);
    }

    #[test]
    fn what_fits_into_the_budget_is_seen_each_time() {
        let faults = play(65_536, 100, 800.0, 50);
        assert!(faults.iter().all(|&faults| faults == 100), "{faults:?}");
    }

    proptest! {
        #[test]
        fn each_window_spends_its_budget_on_whole_tables_in_turn(
            written in prop::collection::vec((0u64..4000, 1u64..40), 0..30),
            unseen in prop::collection::vec((0u64..4000, 1u64..40), 0..30),
            budget in 0.0f64..2000.0,
        ) {
            let mut written = some(&written);
            range::merge(&mut written);
            let mut unseen = some(&unseen);
            range::merge(&mut unseen);
            let unseen = range::subtract(&unseen, &written);
            let end = WindowEnd { regions: &[], page_size: PAGE, written: &written, unseen: &unseen, budget: Some(budget), run_cost: 0.0, flushes: 16 };
            let mut due = [written.as_slice(), &unseen].concat();
            range::merge(&mut due);
            let mut policy = SweepArming::default();
            let mut left = due.clone();
            for turn in 0.. {
                let Arming::Tables(chosen) = policy.arm(&end) else {
                    return Err(TestCaseError::fail("it has a budget to hold"));
                };
                prop_assert!(chosen.iter().all(|range| range.start / TABLE == (range.end - 1) / TABLE));
                let mut sorted = chosen.clone();
                range::merge(&mut sorted);
                prop_assert_eq!(range::pages(&sorted, PAGE), range::pages(&chosen, PAGE), "disjoint");
                let armed = range::pages(&range::intersect(&due, &sorted), PAGE);
                prop_assert!(armed as f64 * policy.faults_a_page() <= budget.max(FOR_EACH_FAULT * budget));
                left = range::subtract(&left, &sorted);
                if left.is_empty() || budget < FEWEST as f64 {
                    break;
                }
                prop_assert!(turn < 2000, "every page has its turn");
            }
        }
    }
}
