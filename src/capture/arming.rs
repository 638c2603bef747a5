//! Which written pages are armed again.
//!
//! A page costs the target a fault only when it is armed *and* written. One that was armed and stayed silent is armed still, at
//! no cost; one that was written is not, until it is armed again. So what is decided at the end of a window is the
//! arming of the pages that are not armed: those written in it, and those that were left alone before (`unseen`).
//!
//! While all of them may be armed within the budget of faults, all are, and the windows are exact. Above it the
//! monitor asks its [`ArmingPolicy`]. Capture has one that works alone ([`StaggeredArming`]); `system` may put another
//! in its place, which knows more about what a sample is worth.

use std::fmt;

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
    /// Faults that the next window may cost, those of pages that are armed already included. None: the budget does not bind,
    /// every page is armed, and the answer changes nothing.
    pub budget: Option<f64>,
    /// What arming one more run of neighbouring pages costs the target besides the faults on them, in faults: a flush of its address
    /// translations. Long runs are cheaper than scattered pages.
    pub run_cost: f64,
}

/// What is to be armed in the next window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arming {
    /// Every page.
    Everything,
    /// These pages, in any order, and those that were armed and stayed silent. A page that is armed already may be among them or
    /// not: it makes no difference.
    Pages(Vec<PageRange>),
}

/// Says what is armed in the next window.
pub trait ArmingPolicy: fmt::Debug + Send {
    /// Called at the end of every window.
    fn arm(&mut self, end: &WindowEnd<'_>) -> Arming;
}

/// Bounds of the pages that are chosen together: a run costs the target a flush of its translations besides the faults.
const RUNS: (u64, u64) = (8, 512);

/// However seldom chosen pages are written again, so many are armed at most for each fault of the budget: what has been silent
/// may be written all at once.
const FOR_EACH_FAULT: f64 = 8.0;

/// How much of the past a window leaves in the averages.
const KEPT: f64 = 0.8;

/// Arms at random, each page with the same chance, so that the faults to be expected are those of the budget: a rolling
/// shutter over whatever is written too often to be seen each time.
#[derive(Debug, Clone)]
pub struct StaggeredArming {
    random: fastrand::Rng,
    /// What was chosen for this window.
    chosen: Vec<PageRange>,
    /// Of the pages that were chosen, the share that is written in the window after; 1 until it is known.
    written_again: f64,
    /// Faults a window on pages that had stayed silent.
    others: f64,
}

impl Default for StaggeredArming {
    fn default() -> Self {
        Self { random: fastrand::Rng::new(), chosen: Vec::new(), written_again: 1.0, others: 0.0 }
    }
}

impl StaggeredArming {
    /// As the default, with samples that can be drawn again.
    pub fn with_seed(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), ..Self::default() }
    }

    fn learn(&mut self, end: &WindowEnd<'_>) {
        let faults = range::pages(end.written, end.page_size) as f64;
        let chosen = range::pages(&self.chosen, end.page_size) as f64;
        let of_chosen = range::pages(&range::intersect(end.written, &self.chosen), end.page_size) as f64;
        let keep = |before: f64, now: f64| before * KEPT + now * (1.0 - KEPT);
        if chosen > 0.0 {
            self.written_again = keep(self.written_again, of_chosen / chosen);
        }
        self.others = keep(self.others, faults - of_chosen);
    }
}

impl ArmingPolicy for StaggeredArming {
    fn arm(&mut self, end: &WindowEnd<'_>) -> Arming {
        self.learn(end);
        self.chosen.clear();
        let Some(budget) = end.budget else { return Arming::Everything };
        let mut due = [end.written, end.unseen].concat();
        range::merge(&mut due);
        // So long that a third of the budget goes into flushes: short where all that is armed is written again, long where it is not.
        let run = (2.0 * end.run_cost / self.written_again.max(0.01)) as u64;
        let run = run.next_power_of_two().clamp(RUNS.0, RUNS.1);
        let run = run * end.page_size;
        let runs: u64 = due.iter().map(|range| (range.end - 1) / run - range.start / run + 1).sum();
        let pages = range::pages(&due, end.page_size);
        let expected =
            pages as f64 * self.written_again.max(1.0 / FOR_EACH_FAULT) + runs as f64 * end.run_cost;
        let chance = ((budget - self.others) / expected.max(1.0)).clamp(0.0, 1.0);
        for range in due {
            // Runs begin at multiples of their length, so that neighbouring ranges do not share one.
            let mut start = range.start;
            while start < range.end {
                let next = ((start / run + 1) * run).min(range.end);
                if self.random.f64() < chance {
                    self.chosen.push(PageRange::new(start, next));
                }
                start = next;
            }
        }
        range::merge(&mut self.chosen);
        Arming::Pages(self.chosen.clone())
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
        let mut policy = StaggeredArming::with_seed(7);
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
            };
            unseen = match policy.arm(&end) {
                Arming::Everything => Vec::new(),
                Arming::Pages(chosen) => range::subtract(&due, &range::intersect(&due, &chosen)),
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
        fn only_pages_that_are_due_are_chosen(
            written in prop::collection::vec((0u64..4000, 1u64..40), 0..30),
            unseen in prop::collection::vec((0u64..4000, 1u64..40), 0..30),
            budget in 0.0f64..2000.0,
        ) {
            let mut written = some(&written);
            range::merge(&mut written);
            let mut unseen = some(&unseen);
            range::merge(&mut unseen);
            let unseen = range::subtract(&unseen, &written);
            let end = WindowEnd { regions: &[], page_size: PAGE, written: &written, unseen: &unseen, budget: Some(budget), run_cost: 0.0 };
            let Arming::Pages(chosen) = StaggeredArming::with_seed(1).arm(&end) else {
                return Err(TestCaseError::fail("it has a budget to hold"));
            };
            let mut due = [written, unseen].concat();
            range::merge(&mut due);
            prop_assert!(range::subtract(&chosen, &due).is_empty());
        }
    }
}
