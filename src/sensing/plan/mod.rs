//! Which pages to arm in the next window, so that a budget of faults buys the best map.
//!
//! A page costs a fault only when it is armed *and* written: silence is free and exact. So the budget is one of faults,
//! not of pages. Below it every page is armed and the map is exact. Above it the plan keeps cold pages armed, looks at
//! hot ones as often as their learned survival asks for, spaces samples along the line by the length of the runs there,
//! and saves what quiet windows leave for busy ones ([`BudgetPlan`]). It sees nothing but what its own armed pages
//! reported, so replays of recordings and live capture use it alike, through [`MeasurementPlan`].
//!
//! A fifth of the samples is drawn at random and held out: they tell how well the rest foretells what is not seen
//! ([`crate::sensing::HeldOutAccuracy`]).

mod bank;
mod belief;
mod rates;
mod run_follow;

pub use run_follow::RunFollow;

use bank::FaultBank;
use belief::{Belief, Neighbour, Situation};
use rates::{BLOCK, BlockSamples, BlockStatistics, Demand, Rates, rate_class};

use super::random::Random;
use super::{PageSet, SensingError};

/// The share of the samples that is held out.
const HELD_OUT: f64 = 0.2;
/// The first window is sampled at this many times the budget: nothing is known yet, and seldom is all of it written.
const FIRST_RATE: f64 = 2.0;
/// The least budget, as a share of the pages a window.
pub const LEAST_BUDGET: f64 = 0.001;

/// Says which pages to arm, window by window, and learns from what they report.
pub trait MeasurementPlan {
    /// The pages to arm for the next window. Arming a page that is still armed costs nothing.
    fn arm(&mut self) -> &PageSet;

    /// Takes which of the armed pages were written in that window; others are not looked at.
    fn observe(&mut self, written: &PageSet);

    /// Samples of the last armed set that were drawn at random, for [`crate::sensing::HeldOutAccuracy`].
    fn held_out(&self) -> &PageSet;

    /// The chance that a page which is not in the regular part of the sample had to be held out, 0..1.
    fn held_out_chance(&self, place: usize) -> f64;

    /// What the samples without the held-out ones let believe of each page: the probability that it was written in the
    /// last window, NaN where there is no ground for a belief. Only read where a page was not seen.
    fn prior(&self) -> &[f32];
}

/// A page's last states, newest lowest, and the windows since it was last seen.
#[derive(Debug, Clone, Copy, Default)]
struct Page {
    states: u8,
    age: u8,
    class: u8,
    situation: Situation,
}

impl Page {
    fn kind(self) -> usize {
        usize::from(self.states & 1)
    }
}

/// The plan that holds a budget of faults.
#[derive(Debug, Clone)]
pub struct BudgetPlan {
    budget: f64,
    bank: FaultBank,
    pages: Vec<Page>,
    belief: Belief,
    blocks: BlockStatistics,
    rates: Rates,
    lambda: f64,
    random: Random,
    started: bool,
    armed: PageSet,
    held_out: PageSet,
    prior: Vec<f32>,
    /// Kept between windows only for their memory.
    left: Vec<Option<Neighbour>>,
    surroundings: Vec<u16>,
    samples: Vec<[BlockSamples; 2]>,
}

impl BudgetPlan {
    /// A plan for a line of `pages` that spends `budget`, a share of the pages ([`LEAST_BUDGET`]..1), in faults a window
    /// on average. The same `seed` draws the same samples.
    pub fn new(pages: usize, budget: f64, seed: u64) -> Result<Self, SensingError> {
        if !(LEAST_BUDGET..=1.0).contains(&budget) {
            return Err(SensingError::Share { name: "the fault budget", value: budget, least: LEAST_BUDGET });
        }
        Ok(Self {
            budget,
            bank: FaultBank::new(budget * pages as f64),
            pages: vec![Page::default(); pages],
            belief: Belief::new(),
            blocks: BlockStatistics::new(pages),
            rates: Rates::even(FIRST_RATE * budget),
            lambda: 0.0,
            random: Random::new(seed),
            started: false,
            armed: PageSet::empty(pages),
            held_out: PageSet::empty(pages),
            prior: vec![f32::NAN; pages],
            left: vec![None; pages],
            surroundings: vec![0; pages],
            samples: vec![[BlockSamples::default(); 2]; pages.div_ceil(BLOCK)],
        })
    }

    /// Faults a window that are spent on average, as a share of the pages.
    pub fn budget(&self) -> f64 {
        self.budget
    }

    /// Spends `budget` (clamped to [`LEAST_BUDGET`]..1) from the next window on.
    pub fn set_budget(&mut self, budget: f64) {
        self.budget = budget.clamp(LEAST_BUDGET, 1.0);
        self.bank.set_budget(self.budget * self.pages.len() as f64);
    }

    /// The error, in pages, that the last fault of this window is expected to remove: 0 when all is armed.
    pub fn worth_of_a_fault(&self) -> f64 {
        self.lambda
    }

    fn choose_rates(&mut self) {
        let mut demand = Demand::new();
        for (block, pages) in self.pages.chunks_mut(BLOCK).enumerate() {
            let classes = self.blocks.classes(block);
            for page in pages {
                let block_class = classes[page.kind()];
                page.situation = Belief::situation(page.states, page.age, block_class.share);
                let (probability, with_bursts) = self.belief.before(page.situation);
                page.class = rate_class(probability, block_class.hazard);
                demand.add(page.class, probability, with_bursts);
            }
        }
        if self.started {
            (self.rates, self.lambda) = demand.rates(self.bank.allowance());
        }
    }

    fn regular_share(rate: f64) -> f64 {
        (1.0 - HELD_OUT) * rate
    }

    fn chance(rate: f64) -> f64 {
        HELD_OUT * rate / (1.0 - Self::regular_share(rate))
    }

    /// Notes each page's nearest regular samples of its kind, gathers block statistics, and counts the samples in.
    fn learn(&mut self, written: &PageSet) {
        self.belief.fade();
        let regular = self.armed.difference(&self.held_out);
        let mut last: [Option<(usize, bool)>; 2] = [None; 2];
        let beside = |sample: Option<(usize, bool)>, place: usize| {
            sample.map(|(at, written)| Neighbour { written, distance: at.abs_diff(place) as u32 })
        };
        for (place, page) in self.pages.iter().enumerate() {
            let kind = page.kind();
            self.left[place] = beside(last[kind], place);
            if regular.contains(place) {
                last[kind] = Some((place, written.contains(place)));
            }
        }
        self.samples.fill([BlockSamples::default(); 2]);
        last = [None; 2];
        for (place, page) in self.pages.iter().enumerate().rev() {
            let kind = page.kind();
            let right = beside(last[kind], place);
            let class = belief::belief_class(self.belief.before(page.situation).0);
            let surroundings = Belief::surroundings(class, self.left[place], right);
            self.surroundings[place] = surroundings;
            if !self.armed.contains(place) {
                continue;
            }
            let is_written = written.contains(place);
            let block = &mut self.samples[place / BLOCK][kind];
            block.samples += 1.0;
            block.written += f64::from(u8::from(is_written));
            if !regular.contains(place) {
                continue;
            }
            if let Some((at, before)) = last[kind].filter(|(at, _)| at / BLOCK == place / BLOCK) {
                block.pairs += 1.0;
                block.changes += f64::from(u8::from(before != is_written));
                block.apart += (at - place) as f64;
            }
            last[kind] = Some((place, is_written));
            self.belief.learn_fill(surroundings, is_written);
        }
        for place in self.armed.iter() {
            self.belief.learn_survival(self.pages[place].situation, written.contains(place));
        }
        self.blocks.learn(&self.samples);
    }
}

impl MeasurementPlan for BudgetPlan {
    fn arm(&mut self) -> &PageSet {
        self.choose_rates();
        self.armed.clear();
        self.held_out.clear();
        // The regular part is evenly spaced among pages of a kind, from a new start each window: a rolling shutter.
        let mut due = [self.random.unit(), self.random.unit()];
        for (place, page) in self.pages.iter().enumerate() {
            let rate = self.rates.of(page.class);
            if rate >= 1.0 {
                self.armed.insert(place);
                continue;
            }
            let due = &mut due[page.kind()];
            *due += Self::regular_share(rate);
            if *due >= 1.0 {
                *due -= 1.0;
                self.armed.insert(place);
            } else if self.random.unit() < Self::chance(rate) {
                self.armed.insert(place);
                self.held_out.insert(place);
            }
        }
        &self.armed
    }

    fn observe(&mut self, written: &PageSet) {
        let written = written.intersection(&self.armed);
        self.learn(&written);
        for (place, page) in self.pages.iter_mut().enumerate() {
            let (probability, grounded) = self.belief.after(self.surroundings[place]);
            self.prior[place] = if grounded { probability } else { f32::NAN };
            let seen = self.armed.contains(place);
            let state = if seen { written.contains(place) } else { probability > 0.5 };
            page.age = if seen { 0 } else { page.age.saturating_add(1) };
            page.states = page.states << 1 | u8::from(state);
        }
        // The held-out samples may teach from now on: what they had to test is foretold.
        for place in self.held_out.iter() {
            self.belief.learn_fill(self.surroundings[place], written.contains(place));
        }
        self.bank.spend(written.count() as f64);
        self.started = true;
    }

    fn held_out(&self) -> &PageSet {
        &self.held_out
    }

    fn held_out_chance(&self, place: usize) -> f64 {
        Self::chance(self.rates.of(self.pages[place].class))
    }

    fn prior(&self) -> &[f32] {
        &self.prior
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(plan: &mut BudgetPlan, truth: impl Fn(usize) -> PageSet, windows: usize) -> Vec<(usize, usize)> {
        (0..windows)
            .map(|window| {
                let truth = truth(window);
                let armed = plan.arm().clone();
                let written = truth.intersection(&armed);
                plan.observe(&written);
                (armed.count(), written.count())
            })
            .collect()
    }

    #[test]
    fn below_the_budget_every_page_is_armed() {
        let pages = 10_000;
        let mut plan = BudgetPlan::new(pages, 0.1, 1).unwrap();
        let truth =
            |window: usize| PageSet::of(pages, (0..300).map(|place| (place * 31 + window * 7) % pages));
        let windows = run(&mut plan, truth, 20);
        assert!(windows[4..].iter().all(|(armed, _)| *armed == pages), "{windows:?}");
        assert_eq!(plan.held_out().count(), 0);
    }

    #[test]
    fn above_it_the_faults_are_what_was_asked_for() {
        let pages = 20_000;
        for budget in [0.02, 0.05, 0.1] {
            let mut plan = BudgetPlan::new(pages, budget, 2).unwrap();
            let truth = |window: usize| {
                PageSet::of(pages, (0..pages).filter(|place| (place / 50 + window / 9).is_multiple_of(3)))
            };
            let windows = run(&mut plan, truth, 60);
            let faults: usize = windows.iter().map(|(_, faults)| faults).sum();
            let spent = faults as f64 / 60.0 / pages as f64;
            assert!((0.7 * budget..1.15 * budget).contains(&spent), "{spent} of {budget}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_plan_and_reports_of_unarmed_pages_are_not_seen() {
        let pages = 5000;
        let truth = PageSet::of(pages, (0..pages).filter(|place| place % 3 != 0));
        let mut plans = [7, 7].map(|seed| BudgetPlan::new(pages, 0.05, seed).unwrap());
        for _ in 0..10 {
            let armed = plans[0].arm().clone();
            assert_eq!(&armed, plans[1].arm());
            plans[0].observe(&truth.intersection(&armed));
            plans[1].observe(&truth);
        }
        assert_eq!(plans[0].prior().len(), pages);
    }

    #[test]
    fn budgets_out_of_range_are_refused() {
        for budget in [0.0, -0.1, 1.5, f64::NAN] {
            assert!(BudgetPlan::new(100, budget, 1).is_err(), "{budget}");
        }
    }
}
