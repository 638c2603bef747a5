//! Joins the measurement plan of [`crate::sensing`] to live capture.
//!
//! Capture asks its policy at the end of every window what to arm for the next one, in ranges of addresses; the plan
//! thinks in places on a line. [`Sampling`] keeps a line that follows the mappings, carries the plan's knowledge of each
//! page along when they change, and hands what the window just ended showed to the [`Pipeline`](super::Pipeline), which
//! solves for the rest. Both ends are on one thread; the lock is never waited for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::capture::{Arming, ArmingPolicy, PageRange, Window, WindowEnd};
use crate::map::{AddressLayout, LayoutChange};
use crate::sensing::{BudgetPlan, LEAST_BUDGET, MeasurementPlan as _, PageSet};

/// What a window showed in which not every page was armed.
#[derive(Debug)]
pub struct SampledWindow {
    /// The line that the sets are of.
    pub layout: AddressLayout,
    /// Pages that were armed; places without a page count as such.
    pub seen: PageSet,
    /// Those of them that were written.
    pub written: PageSet,
    /// What the plan believes of the others ([`crate::sensing::MeasurementPlan::prior`]).
    pub prior: Vec<f32>,
    /// By what kind of evidence the map goes at each page ([`crate::sensing::MeasurementPlan::strata`]).
    pub strata: Vec<u8>,
    /// The samples that were drawn at random, with the chances that they had.
    pub held_out: HashMap<usize, f64>,
    /// Faults that the slowdown budget allows a window, as a share of the pages.
    pub allowed: f64,
}

impl SampledWindow {
    /// A window whose samples another policy has chosen: nothing is believed of the rest, and no sample tests the map.
    pub fn alone(layout: &AddressLayout, window: &Window) -> Self {
        let (seen, written) = sets(layout, &window.written, &window.unseen);
        let (prior, strata) = (vec![f32::NAN; seen.pages()], vec![0; seen.pages()]);
        Self { layout: layout.clone(), seen, written, prior, strata, held_out: HashMap::new(), allowed: 0.0 }
    }
}

/// The places that were armed, and those of them that were written.
fn sets(layout: &AddressLayout, written: &[PageRange], unseen: &[PageRange]) -> (PageSet, PageSet) {
    let pages = layout.pages() as usize;
    let places = |ranges: &[PageRange]| -> Vec<Range<usize>> {
        let places = ranges.iter().flat_map(|range| layout.places(range.start..range.end));
        places.map(|places| places.start as usize..places.end as usize).collect()
    };
    let (mut seen, mut found) = (PageSet::full(pages), PageSet::empty(pages));
    places(unseen).into_iter().for_each(|places| seen.remove_range(places));
    places(written).into_iter().for_each(|places| found.insert_range(places));
    (seen, found)
}

/// A plan and the line that it is for.
#[derive(Debug)]
struct State {
    live: Option<(AddressLayout, BudgetPlan)>,
    window: Option<SampledWindow>,
    /// Faults that a window may cost, as a share of the pages: what is asked for, and what was allowed at last.
    rate: f64,
    allowed: f64,
}

/// A [`BudgetPlan`] as capture's policy. Clones share one plan.
#[derive(Debug, Clone)]
pub struct Sampling {
    state: Arc<Mutex<State>>,
    seed: u64,
}

impl Sampling {
    /// A plan that knows nothing yet. The same `seed` draws the same samples.
    pub fn new(seed: u64) -> Self {
        let state = State { live: None, window: None, rate: 1.0, allowed: 1.0 };
        Self { state: Arc::new(Mutex::new(state)), seed }
    }

    /// Spends no more than `rate` faults a window, as a share of the pages, from the next one on; less, where the slowdown budget
    /// allows no more.
    pub fn set_rate(&self, rate: f64) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).rate = rate;
    }

    /// What the last window showed, once; `None` where every page of it was armed.
    pub fn take(&self) -> Option<SampledWindow> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).window.take()
    }
}

impl ArmingPolicy for Sampling {
    fn arm(&mut self, end: &WindowEnd<'_>) -> Arming {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).arm(end, self.seed)
    }
}

impl State {
    fn arm(&mut self, end: &WindowEnd<'_>, seed: u64) -> Arming {
        self.window = None;
        self.follow(end, seed);
        let Some((layout, plan)) = &mut self.live else { return Arming::Everything };
        let pages = layout.pages() as usize;
        let (seen, written) = sets(layout, end.written, end.unseen);
        plan.observe(&seen, &written);
        if seen.count() < pages {
            let held_out = plan.held_out().iter().map(|place| (place, plan.held_out_chance(place))).collect();
            self.window = Some(SampledWindow {
                layout: layout.clone(),
                seen: seen.clone(),
                written: written.clone(),
                prior: plan.prior().to_vec(),
                strata: plan.strata().to_vec(),
                held_out,
                allowed: self.allowed,
            });
        }
        let Some(faults) = end.budget else {
            plan.arm(&PageSet::full(pages));
            return Arming::Everything;
        };
        // The plan's samples lie apart, so each costs a flush of translations besides its fault.
        self.allowed = faults / (1.0 + end.run_cost) / pages as f64;
        plan.set_budget(self.allowed.min(self.rate));
        // A page that was armed and stayed silent is armed still.
        let standing = seen.difference(&written);
        let chosen = plan.arm(&standing).difference(&standing);
        Arming::Pages(addresses(layout, &chosen))
    }

    /// Follows the mappings.
    fn follow(&mut self, end: &WindowEnd<'_>, seed: u64) {
        let regions: Vec<Range<u64>> =
            end.regions.iter().map(|region| region.start..region.end).filter(|r| !r.is_empty()).collect();
        match &mut self.live {
            Some((layout, plan)) => {
                let before = layout.clone();
                if layout.update(&regions) != LayoutChange::Unchanged {
                    plan.relay(layout.pages() as usize, &moves(&before, layout));
                }
                if layout.pages() == 0 {
                    self.live = None;
                }
            }
            None => {
                let layout = AddressLayout::new(end.page_size, regions);
                let pages = layout.pages() as usize;
                self.live =
                    BudgetPlan::new(pages, LEAST_BUDGET, seed).ok().filter(|_| pages > 0).map(|mut plan| {
                        plan.arm(&PageSet::full(pages));
                        (layout, plan)
                    });
            }
        }
    }
}

/// The stretches of the line `before` that are on the line `after`, each with its first place there.
pub(super) fn moves(before: &AddressLayout, after: &AddressLayout) -> Vec<(Range<usize>, usize)> {
    let page_size = before.page_size();
    let mut moves = Vec::new();
    for old in before.placed() {
        let first = after.placed().partition_point(|new| new.end <= old.start);
        for new in after.placed()[first..].iter().take_while(|new| new.start < old.end) {
            let (start, end) = (old.start.max(new.start), old.end.min(new.end));
            let from = (old.first_page + (start - old.start) / page_size) as usize;
            let to = (new.first_page + (start - new.start) / page_size) as usize;
            moves.push((from..from + ((end - start) / page_size) as usize, to));
        }
    }
    moves
}

/// The pages of a set as ranges of addresses: sorted, disjoint.
fn addresses(layout: &AddressLayout, set: &PageSet) -> Vec<PageRange> {
    let page_size = layout.page_size();
    let mut ranges: Vec<PageRange> = Vec::new();
    for region in layout.placed() {
        for offset in 0..(region.end - region.start) / page_size {
            if !set.contains((region.first_page + offset) as usize) {
                continue;
            }
            let start = region.start + offset * page_size;
            match ranges.last_mut().filter(|last| last.end == start) {
                Some(last) => last.end += page_size,
                None => ranges.push(PageRange::new(start, start + page_size)),
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;

    fn regions() -> impl Strategy<Value = Vec<Range<u64>>> {
        prop::collection::vec((0u64..40, 1u64..200), 1..8).prop_map(|steps| {
            let mut at = 16;
            steps
                .into_iter()
                .map(|(hole, pages)| {
                    let region = (at + hole) * PAGE..(at + hole + pages) * PAGE;
                    at += hole + pages;
                    region
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_page_that_stays_is_moved_to_its_new_place(before in regions(), after in regions()) {
            let old = AddressLayout::new(PAGE, before.clone());
            let mut new = old.clone();
            new.update(&after);
            let mut expected = Vec::new();
            for address in before.into_iter().flat_map(|region| region.step_by(PAGE as usize)) {
                if let (Some(from), Some(to)) = (old.page_of(address), new.page_of(address)) {
                    expected.push((from as usize, to as usize));
                }
            }
            let moved: Vec<_> =
                moves(&old, &new).into_iter().flat_map(|(from, to)| from.zip(to..)).collect();
            prop_assert_eq!(moved, expected);
        }

        #[test]
        fn a_set_of_pages_is_the_set_of_their_addresses(
            regions in regions(), places in prop::collection::btree_set(0usize..1000, 0..60),
        ) {
            let layout = AddressLayout::new(PAGE, regions);
            let set = PageSet::of(layout.pages() as usize, places);
            let ranges = addresses(&layout, &set);
            let mut back = PageSet::empty(set.pages());
            for places in ranges.iter().flat_map(|range| layout.places(range.start..range.end)) {
                back.insert_range(places.start as usize..places.end as usize);
            }
            prop_assert_eq!(back, set);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
        }
    }
}
