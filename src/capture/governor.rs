//! The slowdown budget: how many faults a window may cost, held online.
//!
//! A target pays in two ways: each write to an armed page costs a fault, and each arming of a run of pages costs a flush of
//! its address translations on every processor that it runs on. The fault's price is measured in the target
//! while it runs ([`fault_time`](super::fault_time)), and begins with what it is on memory of our own
//! ([`probe`](super::probe)); the flush's goes by the processor time of our own arming calls, which wait for
//! the processors to answer. Both have bounds, and it is the upper ones that are held within the budget.
//!
//! The budget is a share of the time that the target's threads run. It is saved up for a moment, so that a burst is seen
//! whole, and overdrawn when cold memory is written all at once (pages that are armed and silent cost nothing until then); the next
//! windows pay it back. Once it binds, what has been armed lately and is still silent counts as half spent, too: a program that goes over
//! all of its memory now and then would otherwise find all of it armed each time. Which thread takes the faults matters: with one in four threads taking all of them, it alone is slowed. Where
//! the threads are known ([`threads`](super::faults)), the busiest decides; where they are not, all faults are
//! taken to be one thread's.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::fault_time::{FaultTime, Price, fault_price};
use super::running::RunTimes;

/// Seconds whose budget can be saved up.
const SAVED: f64 = 0.4;
/// Seconds whose budget can be overdrawn; a burst that has cost more is forgiven the rest, lest the picture stands still.
const OWED: f64 = 2.0;
/// The part of the budget that is spent even in debt.
const LEAST_SPENT: f64 = 0.1;
/// What is left after one second of the faults that silent pages were expected to cost.
const EXPOSED_PER_SECOND: f64 = 0.5;
/// Flushes a second at most, within a budget. Each interrupts every processor that the target runs on.
const FLUSHES: f64 = 960.0;
/// Time in which savings are spent and debts are paid, once the budget binds.
const SPREAD: f64 = 0.25;
/// A thread counts as running for at least this share of the time: an idle target may still be looked at.
const LEAST_RUN: f64 = 0.05;
/// How long the number of processors is taken for known.
const PROCESSORS_AGE: Duration = Duration::from_secs(1);
/// What a flush costs until one was timed.
const FIRST_FLUSH: f64 = 12e-6;
/// What a flush costs the target, over the time that our call takes: it is interrupted, and then misses its translations.
const FLUSH: Price = Price { value: 1.5, low: 0.5, high: 3.0 };
/// How much of the past a window leaves in the price of a flush.
const KEPT: f64 = 0.9;

/// What one window cost the target.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Spent {
    /// Faults on armed pages.
    pub faults: u64,
    /// Faults of all kinds that the target has taken.
    pub taken: u64,
    /// Flushes of its translations by our arming.
    pub flushes: u64,
    /// How long one arming call took, when some were timed.
    pub arming_call: Option<Duration>,
    /// Time that its threads have waited for answers to synchronous faults.
    pub waited: Duration,
}

/// How the budget is held at the moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Governing {
    /// No budget: every page is armed, whatever it costs.
    Unlimited,
    /// All that is written fits into the budget: every page is armed, the windows are exact.
    Exact,
    /// The budget binds: of the pages that are not armed, this share is armed for the next window.
    Sampling(f64),
}

impl Governing {
    /// The share of the pages to be armed that is.
    pub fn share(&self) -> f64 {
        match self {
            Governing::Unlimited | Governing::Exact => 1.0,
            Governing::Sampling(share) => *share,
        }
    }
}

impl fmt::Display for Governing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Governing::Unlimited => f.write_str("every page, without a budget"),
            Governing::Exact => f.write_str("every page, within the budget"),
            Governing::Sampling(share) => {
                write!(f, "{:.1} % of the hot pages, as the budget allows", 100.0 * share)
            }
        }
    }
}

/// Keeps the account.
#[derive(Debug)]
pub(super) struct Governor {
    budget: Option<f64>,
    /// What a fault takes on memory of our own.
    own_fault: f64,
    fault: Price,
    /// How long an arming call takes for each flush.
    call: f64,
    /// Seconds of fault time that a second allows.
    rate: f64,
    /// Processors that a flush interrupts.
    running: f64,
    /// Seconds of fault time saved up (or owed, when negative).
    credit: f64,
    /// Seconds of fault time that pages armed under the budget would cost, were they all written now. Fades as they stay silent.
    exposed: f64,
    governing: Governing,
}

impl Governor {
    pub fn new(budget: Option<f64>, fault_cost: Duration) -> Self {
        let rate = budget.unwrap_or(0.0);
        let own_fault = fault_cost.as_secs_f64().max(1e-8);
        Self {
            budget,
            own_fault,
            fault: fault_price(None, own_fault),
            call: FIRST_FLUSH,
            rate,
            running: 1.0,
            credit: rate * SAVED,
            exposed: 0.0,
            governing: if budget.is_some() { Governing::Exact } else { Governing::Unlimited },
        }
    }

    pub fn set_budget(&mut self, budget: Option<f64>) {
        if budget != self.budget {
            let (fault, call, running) = (self.fault, self.call, self.running);
            let own_fault = Duration::from_secs_f64(self.own_fault);
            *self = Self { fault, call, running, ..Self::new(budget, own_fault) };
        }
    }

    pub fn governing(&self) -> Governing {
        self.governing
    }

    /// Whether the savings cover arming `pages` at once, in `flushes`, and a write to each of them.
    pub fn affords(&self, pages: u64, flushes: u64, length: Duration) -> bool {
        self.budget.is_none()
            || flushes <= self.flushes(length)
                && pages as f64 * self.fault.high + flushes as f64 * self.flush(FLUSH.high) <= self.credit
    }

    /// Faults that a window of this length may cost, flushes included; none without a budget.
    pub fn allowance(&self, length: Duration) -> Option<f64> {
        self.budget?;
        let length = length.as_secs_f64();
        let regular = self.rate * length;
        let seconds = regular + (self.credit - self.exposed) * (length / SPREAD).min(1.0);
        Some(seconds.max(regular * LEAST_SPENT) / self.fault.high)
    }

    /// Notes `pages` armed on the allowance.
    pub fn expose(&mut self, pages: u64) {
        self.exposed += pages as f64 * self.fault.high;
    }

    /// Notes `pages` armed pages written.
    pub fn written(&mut self, pages: u64) {
        self.exposed = (self.exposed - pages as f64 * self.fault.high).max(0.0);
    }

    /// What arming one more run of pages costs, in faults.
    pub fn flush_in_faults(&self) -> f64 {
        self.flush(FLUSH.high) / self.fault.high
    }

    /// Flushes that the arming of a window of this length may cause.
    pub fn flushes(&self, length: Duration) -> u64 {
        match self.budget {
            None => u64::MAX,
            Some(_) => ((FLUSHES * length.as_secs_f64()) as u64).max(1),
        }
    }

    /// Notes how the next window is armed.
    pub fn armed(&mut self, chosen: Option<f64>) {
        self.governing = match (self.budget, chosen) {
            (None, _) => Governing::Unlimited,
            (_, None) => Governing::Exact,
            (_, Some(share)) => Governing::Sampling(share),
        };
    }

    /// The cost of a flush in seconds of the target: `times` the processor time of our call.
    fn flush(&self, times: f64) -> f64 {
        times * self.call * self.running
    }

    /// What was spent, in seconds of the target.
    fn cost(&self, spent: &Spent) -> Price {
        let sum = |fault: f64, flush: f64| {
            spent.faults as f64 * fault
                + spent.flushes as f64 * self.flush(flush)
                + spent.waited.as_secs_f64()
        };
        Price {
            value: sum(self.fault.value, FLUSH.value),
            low: sum(self.fault.low, FLUSH.low),
            high: sum(self.fault.high, FLUSH.high),
        }
    }

    /// How long a window must be that costs this much, for the budget to hold.
    pub fn length_for(&self, spent: &Spent) -> Duration {
        const LONGEST: f64 = 2.0;
        match self.budget {
            None => Duration::ZERO,
            Some(_) => Duration::from_secs_f64((self.cost(spent).high / self.rate.max(1e-3)).min(LONGEST)),
        }
    }

    /// Takes one window into account, and answers what it cost the target in seconds.
    pub fn window(
        &mut self,
        spent: &Spent,
        length: Duration,
        threads: &RunTimes,
        shares: &[(u32, f64)],
        sampled: Option<&FaultTime>,
    ) -> Price {
        if let Some(call) = spent.arming_call {
            self.call = self.call * KEPT + call.as_secs_f64() * (1.0 - KEPT);
        }
        self.fault = fault_price(sampled, self.own_fault);
        // Where it does not run there is nothing to interrupt.
        self.running = threads.running().clamp(LEAST_RUN, processors());
        let cost = self.cost(spent);
        if let Some(budget) = self.budget {
            self.rate = budget * capacity(threads, shares);
            let length = length.as_secs_f64();
            let credit = self.credit + self.rate * length - cost.high;
            self.credit = credit.clamp(-self.rate * OWED, self.rate * SAVED);
            self.exposed *= EXPOSED_PER_SECOND.powf(length);
        }
        cost
    }
}

/// Processors that there are for us, as of the last second: to ask means to read half a dozen files.
fn processors() -> f64 {
    static KNOWN: Mutex<Option<(Instant, f64)>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    match *known {
        Some((asked, count)) if asked.elapsed() < PROCESSORS_AGE => count,
        _ => {
            let count = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
            *known = Some((Instant::now(), count));
            count
        }
    }
}

/// By how much the fault time of all threads together may exceed the budget of one that always runs, so that none of them is slowed by
/// more than the budget: each thread's running time over its share of the faults, the least of them.
fn capacity(threads: &RunTimes, shares: &[(u32, f64)]) -> f64 {
    if shares.is_empty() {
        return threads.busiest().max(LEAST_RUN);
    }
    let each = shares.iter().filter(|(_, share)| *share > 0.05);
    let least =
        each.map(|(tid, share)| threads.of(*tid).max(LEAST_RUN) / share).fold(f64::INFINITY, f64::min);
    // Hundreds of threads with few faults each: what they run together.
    least.min(threads.running().max(LEAST_RUN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: Duration = Duration::from_micros(1);
    const WINDOW: Duration = Duration::from_micros(16_667);

    /// Windows in which as many of `hot` pages fault as the governor lets be armed. Seconds of cost a second, and the windows until
    /// the budget held for good.
    fn play(budget: f64, hot: u64, windows: usize) -> Vec<f64> {
        let busy = RunTimes::from([(1, 1.0)]);
        let mut governor = Governor::new(Some(budget), FAULT);
        let mut armed = hot;
        (0..windows)
            .map(|_| {
                let spent = Spent { faults: armed, ..Spent::default() };
                governor.written(armed);
                let cost = governor.window(&spent, WINDOW, &busy, &[], None).high;
                armed = if governor.affords(hot, 0, WINDOW) {
                    hot
                } else {
                    let allowed = (governor.allowance(WINDOW).unwrap_or(0.0) as u64).min(hot);
                    governor.expose(allowed);
                    allowed
                };
                cost / WINDOW.as_secs_f64()
            })
            .collect()
    }

    fn mean(costs: &[f64]) -> f64 {
        costs.iter().sum::<f64>() / costs.len() as f64
    }

    #[test]
    fn the_budget_holds_from_the_second_second_on_whatever_is_written() {
        for hot in [10, 500, 2_000, 65_536, 1 << 20] {
            let costs = play(0.05, hot, 600);
            assert!(mean(&costs[60..]) <= 0.055, "{hot} pages: {}", mean(&costs[60..]));
        }
    }

    #[test]
    fn what_fits_is_seen_whole_and_what_does_not_uses_the_budget_up() {
        let all = 200.0 * fault_price(None, FAULT.as_secs_f64()).high / WINDOW.as_secs_f64();
        assert!(all < 0.03 && play(0.05, 200, 100).iter().all(|cost| (cost - all).abs() < 1e-3));
        assert!(mean(&play(0.05, 65_536, 600)[120..]) > 0.045);
    }

    /// Pages that are armed and silent until all of them are written at once, every half second.
    #[test]
    fn a_program_that_sweeps_over_its_memory_now_and_then_is_held_to_the_budget_too() {
        const ALL: u64 = 100_000;
        let busy = RunTimes::from([(1, 1.0)]);
        let mut governor = Governor::new(Some(0.05), FAULT);
        let (mut armed, mut spent) = (ALL, 0.0);
        for window in 0..1200 {
            let faults = if window % 30 == 0 { std::mem::take(&mut armed) } else { 0 };
            governor.written(faults);
            // However seldom a page is written: eight for each fault that is allowed.
            let more = (8.0 * governor.allowance(WINDOW).unwrap_or(0.0)) as u64;
            let more = more.min(ALL - armed);
            governor.expose(more);
            armed += more;
            let cost = governor.window(&Spent { faults, ..Spent::default() }, WINDOW, &busy, &[], None).high;
            spent += if window >= 300 { cost } else { 0.0 };
        }
        let share = spent / (900.0 * WINDOW.as_secs_f64());
        assert!((0.02..0.055).contains(&share), "{share}");
    }

    #[test]
    fn faults_of_four_equal_threads_cost_each_a_quarter() {
        let even = RunTimes::from([(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]);
        let quarters = [(1, 0.25), (2, 0.25), (3, 0.25), (4, 0.25)];
        assert_eq!(capacity(&even, &quarters), 4.0);
        assert_eq!(capacity(&even, &[(1, 1.0)]), 1.0, "one thread takes them all");
        assert_eq!(capacity(&even, &[]), 1.0, "not known: as if one took them all");
    }
}
