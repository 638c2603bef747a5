//! The plan that holds a budget of faults.

use std::ops::Range;

use super::MeasurementPlan;
use super::bank::FaultBank;
use super::belief::Belief;
use super::duel::Duel;
use super::mixer::{self, Contexts, Lesson, Mixer, Surroundings};
use super::page::{Page, Side, TILE, near_share};
use super::rates::{BLOCK, BlockSamples, BlockStatistics, Demand, Rates, rate_class};
use crate::sensing::random::Random;
use crate::sensing::{PageSet, SensingError};

/// The share of the samples that is held out.
const HELD_OUT: f64 = 0.2;
/// The first window is sampled at this many times the budget: nothing is known yet, and seldom is all of it written.
const FIRST_RATE: f64 = 2.0;
/// The least budget, as a share of the pages a window.
pub const LEAST_BUDGET: f64 = 0.001;

/// How often a page was written in the long run moves this far with a window in which it was seen, and in which it was not.
const RATE_SEEN: f32 = 0.1;
const RATE_UNSEEN: f32 = 0.03;

/// The plan that holds a budget of faults.
#[derive(Debug, Clone)]
pub struct BudgetPlan {
    budget: f64,
    bank: FaultBank,
    pages: Vec<Page>,
    belief: Belief,
    mixer: Mixer,
    duel: Duel,
    blocks: BlockStatistics,
    rates: Rates,
    lambda: f64,
    random: Random,
    started: bool,
    armed: PageSet,
    held_out: PageSet,
    strata: Vec<u8>,
    prior: Vec<f32>,
    /// Kept between windows only for their memory.
    left: Vec<Side>,
    contexts: Vec<Contexts>,
    lessons: Vec<Lesson>,
    samples: Vec<[BlockSamples; 2]>,
    tiles: Vec<[u32; 2]>,
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
            mixer: Mixer::new(),
            duel: Duel::new(pages),
            blocks: BlockStatistics::new(pages),
            rates: Rates::even(FIRST_RATE * budget),
            lambda: 0.0,
            random: Random::new(seed),
            started: false,
            armed: PageSet::empty(pages),
            held_out: PageSet::empty(pages),
            strata: vec![0; pages],
            prior: vec![f32::NAN; pages],
            left: vec![Side::default(); pages],
            contexts: vec![Contexts::default(); pages],
            lessons: Vec::new(),
            samples: vec![[BlockSamples::default(); 2]; pages.div_ceil(BLOCK)],
            tiles: vec![[0; 2]; pages.div_ceil(TILE)],
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

    /// Follows the pages to a line of `pages`: `moves` are the stretches of the old line that are still there, each with
    /// its first place on the new one. Other pages are new.
    pub fn relay(&mut self, pages: usize, moves: &[(Range<usize>, usize)]) {
        if pages >= self.pages.len() && moves.iter().all(|(stretch, first)| stretch.start == *first) {
            return self.lengthen(pages, moves);
        }
        let mut next = vec![Page::default(); pages];
        let mut blocks = vec![None; pages.div_ceil(BLOCK)];
        let (mut armed, mut held_out) = (PageSet::empty(pages), PageSet::empty(pages));
        for (stretch, first) in moves {
            for (place, old) in stretch.clone().enumerate().map(|(offset, old)| (first + offset, old)) {
                next[place] = self.pages[old];
                blocks[place / BLOCK] = Some(old / BLOCK);
                if self.armed.contains(old) {
                    armed.insert(place);
                }
                if self.held_out.contains(old) {
                    held_out.insert(place);
                }
            }
        }
        self.pages = next;
        (self.armed, self.held_out) = (armed, held_out);
        self.blocks.relay(pages, |block| blocks[block]);
        self.duel.relay(pages, |block| blocks[block]);
        self.strata = vec![0; pages];
        self.prior = vec![f32::NAN; pages];
        self.left = vec![Side::default(); pages];
        self.contexts = vec![Contexts::default(); pages];
        self.samples = vec![[BlockSamples::default(); 2]; pages.div_ceil(BLOCK)];
        self.tiles = vec![[0; 2]; pages.div_ceil(TILE)];
        self.bank.set_budget(self.budget * pages as f64);
    }

    /// As [`Self::relay`], where every page that is still there keeps its place: only what has come or gone takes time.
    fn lengthen(&mut self, pages: usize, stay: &[(Range<usize>, usize)]) {
        let mut stay: Vec<Range<usize>> = stay.iter().map(|(stretch, _)| stretch.clone()).collect();
        stay.sort_unstable_by_key(|stretch| stretch.start);
        let mut from = 0;
        for next in stay.into_iter().chain(std::iter::once(self.pages.len()..pages)) {
            if from < next.start {
                self.pages[from..next.start].fill(Page::default());
                self.armed.remove_range(from..next.start);
                self.held_out.remove_range(from..next.start);
            }
            from = next.end;
        }
        self.pages.resize(pages, Page::default());
        self.armed.lengthen(pages);
        self.held_out.lengthen(pages);
        self.blocks.relay(pages, Some);
        self.duel.relay(pages, Some);
        self.strata.resize(pages, 0);
        self.prior.resize(pages, f32::NAN);
        self.left.resize(pages, Side::default());
        self.contexts.resize(pages, Contexts::default());
        self.samples.resize(pages.div_ceil(BLOCK), [BlockSamples::default(); 2]);
        self.tiles.resize(pages.div_ceil(TILE), [0; 2]);
        self.bank.set_budget(self.budget * pages as f64);
    }

    fn choose_rates(&mut self, standing: &PageSet) {
        let mut demand = Demand::new();
        let mut spent = 0.0;
        for (block, pages) in self.pages.chunks_mut(BLOCK).enumerate() {
            let classes = self.blocks.classes(block);
            for (offset, page) in pages.iter_mut().enumerate() {
                let block_class = classes[page.kind()];
                page.situation = Belief::situation(page.states, page.age, block_class.share);
                let (probability, with_bursts) = self.belief.before(page.situation);
                page.class = rate_class(probability, block_class.hazard);
                if standing.contains(block * BLOCK + offset) {
                    spent += with_bursts;
                } else {
                    demand.add(page.class, probability, with_bursts);
                }
            }
        }
        if self.started {
            let even = (self.bank.even() - spent).max(0.0);
            let offers = demand.offers();
            let (_, price) = offers.rates(even);
            let allowance = self.bank.pace(even, price, |price| offers.faults_at(price));
            (self.rates, self.lambda) = offers.rates(allowance);
        }
    }

    fn regular_share(rate: f64) -> f64 {
        (1.0 - HELD_OUT) * rate
    }

    fn chance(rate: f64) -> f64 {
        HELD_OUT * rate / (1.0 - Self::regular_share(rate))
    }

    /// Notes what lies around each page, gathers block statistics, and learns from the samples.
    fn learn(&mut self, written: &PageSet) {
        self.belief.fade();
        let regular = self.armed.difference(&self.held_out);
        self.tiles.fill([0; 2]);
        for place in regular.iter() {
            self.tiles[place / TILE][usize::from(written.contains(place))] += 1;
        }
        let mut sides = [Side::default(); 2];
        for (place, page) in self.pages.iter().enumerate() {
            let side = &mut sides[page.kind()];
            self.left[place] = *side;
            if regular.contains(place) {
                side.pass(place, written.contains(place));
            }
        }
        self.samples.fill([BlockSamples::default(); 2]);
        self.lessons.clear();
        sides = [Side::default(); 2];
        for (place, page) in self.pages.iter().enumerate().rev() {
            let (left, right) = (self.left[place], sides[page.kind()]);
            let (armed, is_written) = (self.armed.contains(place), written.contains(place));
            let is_regular = armed && regular.contains(place);
            let contexts = Surroundings {
                situation: page.situation,
                class: self.mixer.class_before(page.situation),
                states: page.states,
                left: left.neighbour(place),
                right: right.neighbour(place),
                of_kind: left.both(&right),
                of_all: near_share(&self.tiles, place, is_regular.then_some(is_written)),
                rate: page.rate,
            }
            .contexts();
            self.contexts[place] = contexts;
            if !armed {
                continue;
            }
            let block = &mut self.samples[place / BLOCK][page.kind()];
            block.samples += 1.0;
            block.written += f64::from(u8::from(is_written));
            if !is_regular {
                continue;
            }
            if let Some((at, before)) = right.nearest.filter(|(at, _)| *at as usize / BLOCK == place / BLOCK)
            {
                block.pairs += 1.0;
                block.changes += f64::from(u8::from(before != is_written));
                block.apart += (at as usize - place) as f64;
            }
            sides[page.kind()].pass(place, is_written);
            self.lessons.push(Lesson {
                contexts,
                set: page.weight_set(),
                written: is_written,
                foretold: false,
            });
        }
        for place in self.armed.iter() {
            self.belief.learn(self.pages[place].situation, written.contains(place));
        }
        self.mixer.learn(&mut self.lessons);
        self.compare(&regular, written);
        self.blocks.learn(&self.samples);
    }

    /// The short way for a window in which every page was seen: there is nothing to believe, so only what the rates are
    /// made of is learned.
    fn observe_all(&mut self, written: &PageSet) {
        self.belief.fade();
        self.samples.fill([BlockSamples::default(); 2]);
        for (samples, (block, pages)) in self.samples.iter_mut().zip(self.pages.chunks_mut(BLOCK).enumerate())
        {
            let mut last: [Option<(usize, bool)>; 2] = [None; 2];
            for (offset, page) in pages.iter_mut().enumerate() {
                let (kind, is_written) = (page.kind(), written.contains(block * BLOCK + offset));
                let samples = &mut samples[kind];
                samples.samples += 1.0;
                let state = u8::from(is_written);
                samples.written += f64::from(state);
                if let Some((at, before)) = last[kind].replace((offset, is_written)) {
                    samples.pairs += 1.0;
                    samples.changes += f64::from(u8::from(before != is_written));
                    samples.apart += (offset - at) as f64;
                }
                self.belief.learn(page.situation, is_written);
                page.rate += RATE_SEEN * (f32::from(state) - page.rate);
                page.age = 0;
                page.states = page.states << 1 | state;
            }
        }
        self.blocks.learn(&self.samples);
        self.prior.fill(f32::NAN);
        self.bank.spend(written.count() as f64);
        self.started = true;
    }

    /// Who would have foretold the regular samples better: the mix, or each one's nearest other sample.
    fn compare(&mut self, regular: &PageSet, written: &PageSet) {
        self.duel.fade();
        // Lessons were taken from the line's end.
        let mut lessons = self.lessons.iter().rev();
        let mut places = regular.iter().peekable();
        let mut before: Option<usize> = None;
        let (mut block, mut weights) = (usize::MAX, [0.0; 2]);
        while let Some(place) = places.next() {
            if place / BLOCK != block {
                block = place / BLOCK;
                // A sample stands for the unseen pages of its kind: silent ones are nearly all seen, hot ones are not.
                let (mut seen, mut unseen) = ([0.0f32; 2], [0.0f32; 2]);
                let first = block * BLOCK;
                for (place, page) in (first..).zip(&self.pages[first..(first + BLOCK).min(self.pages.len())])
                {
                    let count = if self.armed.contains(place) { &mut seen } else { &mut unseen };
                    count[page.kind()] += 1.0;
                }
                weights = [0, 1].map(|kind| unseen[kind] / seen[kind].max(1.0));
            }
            let after = places.peek().copied();
            let nearest = match (before, after) {
                (Some(left), Some(right)) if place - left > right - place => Some(right),
                (left, right) => left.or(right),
            };
            before = Some(place);
            let (Some(nearest), Some(lesson)) = (nearest, lessons.next()) else { continue };
            let errs = (written.contains(nearest) != lesson.written, lesson.foretold != lesson.written);
            self.duel.sample(place, weights[self.pages[place].kind()], errs.0, errs.1);
        }
    }
}

impl MeasurementPlan for BudgetPlan {
    fn arm(&mut self, standing: &PageSet) -> &PageSet {
        self.choose_rates(standing);
        self.armed.clone_from(standing);
        self.held_out.clear();
        // The regular part is evenly spaced among pages of a kind, from a new start each window: a rolling shutter.
        let mut due = [self.random.unit(), self.random.unit()];
        for (place, page) in self.pages.iter().enumerate() {
            let rate = self.rates.of(page.class);
            if rate >= 1.0 || standing.contains(place) {
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

    fn observe(&mut self, seen: &PageSet, written: &PageSet) {
        let written = written.intersection(seen);
        self.armed.clone_from(seen);
        self.held_out = self.held_out.intersection(seen);
        if seen.count() == self.pages.len() {
            return self.observe_all(&written);
        }
        self.learn(&written);
        for (place, page) in self.pages.iter_mut().enumerate() {
            let seen = self.armed.contains(place);
            let state = if seen {
                f32::from(u8::from(written.contains(place)))
            } else {
                self.mixer.probability(&self.contexts[place], page.weight_set())
            };
            // Held-out samples are foretold as well: the map is tested by them.
            self.prior[place] = if self.held_out.contains(place) {
                self.mixer.probability(&self.contexts[place], page.weight_set())
            } else {
                state
            };
            let wins = self.duel.belief_wins(place);
            self.strata[place] = mixer::stratum(&self.contexts[place], wins.then_some(self.prior[place]));
            if !wins {
                self.prior[place] = f32::NAN;
            }
            page.rate += (if seen { RATE_SEEN } else { RATE_UNSEEN }) * (state - page.rate);
            page.age = if seen { 0 } else { page.age.saturating_add(1) };
            page.states = page.states << 1 | u8::from(state > 0.5);
        }
        // The held-out samples may teach from now on: what they had to test is foretold.
        for place in self.held_out.iter() {
            self.mixer.count(&self.contexts[place], written.contains(place));
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

    fn strata(&self) -> &[u8] {
        &self.strata
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
                let armed = plan.arm(&PageSet::empty(truth.pages())).clone();
                let written = truth.intersection(&armed);
                plan.observe(&armed, &written);
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
            let armed = plans[0].arm(&PageSet::empty(pages)).clone();
            assert_eq!(&armed, plans[1].arm(&PageSet::empty(pages)));
            plans[0].observe(&armed, &truth.intersection(&armed));
            plans[1].observe(&armed, &truth);
        }
        assert_eq!(plans[0].prior().len(), pages);
    }

    #[test]
    fn a_line_that_grows_at_its_end_is_followed_as_any_other() {
        // A page that goes, some that come; and the same with a first stretch that is nowhere, for the way that copies.
        let (pages, more) = (2000, 700);
        let truth = |window: usize, pages: usize| {
            PageSet::of(pages, (0..pages).filter(|place| (place / 40 + window / 5).is_multiple_of(3)))
        };
        let mut plans = [7, 7].map(|seed| BudgetPlan::new(pages, 0.05, seed).unwrap());
        for plan in &mut plans {
            run(plan, |window| truth(window, pages), 20);
        }
        let stay = [(0..1200, 0), (1201..pages, 1201)];
        plans[0].relay(pages + more, &stay);
        plans[1].relay(pages + more, &[&stay[..], &[(0..0, 1)]].concat());
        let runs = plans.each_mut().map(|plan| run(plan, |window| truth(window, pages + more), 20));
        assert_eq!(runs[0], runs[1]);
        assert_eq!(plans[0].prior().len(), pages + more);
    }

    #[test]
    fn budgets_out_of_range_are_refused() {
        for budget in [0.0, -0.1, 1.5, f64::NAN] {
            assert!(BudgetPlan::new(100, budget, 1).is_err(), "{budget}");
        }
    }
}
