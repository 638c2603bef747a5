//! Joins the measurement plan of [`crate::sensing`] to live capture.
//!
//! Capture asks its policy at the end of every window what to arm for the next one, in ranges of addresses; the plan
//! thinks in places on a line. [`Sampling`] keeps a line that follows the mappings and what of them was ever written
//! ([`TouchedLine`]), carries the plan's knowledge of each page along when it changes, and hands what the window just ended showed to the [`Pipeline`](super::Pipeline), which
//! solves for the rest. Both ends are on one thread; the lock is never waited for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::capture::{Arming, ArmingPolicy, PageRange, Window, WindowEnd, range};
use crate::map::{AddressLayout, LayoutChange, TouchedLine};
use crate::sensing::{BudgetPlan, LEAST_BUDGET, MeasurementPlan as _, PageSet};

/// What a window showed in which not every page was armed.
#[derive(Debug)]
pub struct SampledWindow {
    /// The line of all mappings.
    pub line: AddressLayout,
    /// The part of it that the sets are of; none where that is all of it.
    pub part: Option<AddressLayout>,
    /// Whether the pages that are not on the part were armed and silent; otherwise nothing is known of them.
    pub rest_is_silent: bool,
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
    pub fn alone(line: &AddressLayout, window: &Window) -> Self {
        let page_size = line.page_size();
        let unseen = range::pages(&window.unseen, page_size);
        let rest_is_silent = unseen <= line.live_pages() / 2;
        // A line that is not short has what was looked at on it, or what was not: what is less.
        let mut touched = TouchedLine::new(page_size);
        touched.touch(&window.written);
        if rest_is_silent {
            touched.touch(&window.unseen);
        } else {
            let mut mapped: Vec<PageRange> =
                line.placed().iter().map(|region| PageRange::new(region.start, region.end)).collect();
            range::merge(&mut mapped);
            touched.touch(&range::subtract(&mapped, &window.unseen));
        }
        touched.follow(line);
        touched.not_empty(line);
        let (seen, written) = sets(touched.layout(), &window.written, &window.unseen);
        let (prior, strata) = (vec![f32::NAN; seen.pages()], vec![0; seen.pages()]);
        let part = (!touched.is_whole()).then(|| touched.layout().clone());
        let (line, held_out) = (line.clone(), HashMap::new());
        Self { line, part, rest_is_silent, seen, written, prior, strata, held_out, allowed: 0.0 }
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

/// A plan, and the line that it is for: the part that was ever written.
#[derive(Debug)]
struct Live {
    line: AddressLayout,
    touched: TouchedLine,
    plan: BudgetPlan,
}

#[derive(Debug)]
struct State {
    live: Option<Live>,
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
        let Some(Live { line, touched, plan }) = &mut self.live else { return Arming::Everything };
        let layout = touched.layout();
        let pages = layout.pages() as usize;
        if pages == 0 {
            // Nothing was written yet.
            return Arming::Everything;
        }
        let (seen, written) = sets(layout, end.written, end.unseen);
        plan.observe(&seen, &written);
        if seen.count() < pages {
            let held_out = plan.held_out().iter().map(|place| (place, plan.held_out_chance(place))).collect();
            self.window = Some(SampledWindow {
                line: line.clone(),
                part: (!touched.is_whole()).then(|| layout.clone()),
                rest_is_silent: true,
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

    /// Follows the mappings, and what was written.
    fn follow(&mut self, end: &WindowEnd<'_>, seed: u64) {
        let regions: Vec<Range<u64>> =
            end.regions.iter().map(|region| region.start..region.end).filter(|r| !r.is_empty()).collect();
        let new = self.live.is_none();
        if new && !regions.is_empty() {
            let (line, touched) = (AddressLayout::new(end.page_size, []), TouchedLine::new(end.page_size));
            let plan = BudgetPlan::new(0, LEAST_BUDGET, seed);
            self.live = plan.ok().map(|plan| Live { line, touched, plan });
        }
        let Some(Live { line, touched, plan }) = &mut self.live else { return };
        let remapped = line.update(&regions) != LayoutChange::Unchanged;
        if line.pages() == 0 {
            self.live = None;
            return;
        }
        let grown = touched.touch(end.written) | touched.touch(end.unseen);
        if (remapped || grown)
            && let Some(before) = touched.follow(line)
        {
            let layout = touched.layout();
            plan.relay(layout.pages() as usize, &moves(&before, layout));
            if new {
                plan.arm(&PageSet::full(layout.pages() as usize));
            }
        }
    }
}

/// The stretches of the line `before` that are on the line `after`, each with its first place there.
pub(super) fn moves(before: &AddressLayout, after: &AddressLayout) -> Vec<(Range<usize>, usize)> {
    let places = |(from, to): (Range<u64>, u64)| (from.start as usize..from.end as usize, to as usize);
    before.moves(after).into_iter().map(places).collect()
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
