//! The rate of the samples.

use super::{Adjusted, Adjustment, AdjustmentReason};
use crate::sensing::{AccuracyEstimate, LEAST_BUDGET, SensingError};

/// The accuracy that is aimed at: below it more is sampled...
const GOAL: f64 = 0.98;
/// ...and above this less: half the errors of the goal.
const MORE_THAN_ENOUGH: f64 = 0.99;
/// A step up, and one down.
const UP: f64 = 2.0;
const DOWN: f64 = std::f64::consts::FRAC_1_SQRT_2;
/// The budget allows less than this part of the rate: then the rate is what it allows.
const HELD: f64 = 0.7;
/// Windows after which the estimate is mostly of the rate as it is: a second of them.
const SETTLE: u32 = 60;
/// The longest time for which a rate is kept that had to be raised, windows.
const LONGEST: u32 = 64 * SETTLE;

/// How densely pages are sampled where not all can be. A rate is the share of the pages that are not armed
/// which is armed at the end of a window: at 0.1, each page has its turn every ten windows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplingConfig {
    /// The rate at the start, and all along where it is not adapted.
    pub nyquist_fraction: f32,
    /// Whether it follows the accuracy.
    pub adaptive: bool,
    /// The least rate that adaptation chooses.
    pub min_rate: f32,
    /// The largest rate that adaptation chooses.
    pub max_rate: f32,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self { nyquist_fraction: 0.1, adaptive: true, min_rate: 0.01, max_rate: 1.0 }
    }
}

impl SamplingConfig {
    /// One rate, [`LEAST_BUDGET`]..1.
    pub fn fixed(rate: f32) -> Result<Self, SensingError> {
        let own = Self { nyquist_fraction: rate, adaptive: false, ..Self::default() };
        own.checked()
    }

    /// Itself, if its rates are shares ([`LEAST_BUDGET`]..1) and in their order.
    pub fn checked(self) -> Result<Self, SensingError> {
        for (name, value) in [
            ("the least sampling rate", self.min_rate),
            ("the largest sampling rate", self.max_rate),
            ("the sampling rate", self.nyquist_fraction),
        ] {
            let value = f64::from(value);
            // The limits mean nothing to a rate that stays.
            let matters = self.adaptive || name == "the sampling rate";
            let least = if name == "the least sampling rate" || !self.adaptive {
                LEAST_BUDGET
            } else {
                f64::from(self.min_rate)
            };
            if matters && !(least..=1.0).contains(&value) {
                return Err(SensingError::Share { name, value, least });
            }
        }
        Ok(self)
    }
}

/// Moves the rate between its limits: up when the accuracy is below its goal for sure and the budget allows
/// it, down when it is above for sure, and to what the budget allows where that is less. A rate that turned
/// out too low is not tried again for a while, which grows with every time.
#[derive(Debug, Clone)]
pub struct RateControl {
    config: SamplingConfig,
    rate: f64,
    /// Windows since the last change, and how many there must be before it goes down.
    windows: u32,
    patience: u32,
    went_down: bool,
}

impl RateControl {
    /// Begins at the configured rate.
    pub fn new(config: SamplingConfig) -> Self {
        let rate = f64::from(config.nyquist_fraction);
        Self { config, rate, windows: 0, patience: SETTLE, went_down: false }
    }

    /// The share of the pages that are not armed which may be armed at the end of a window.
    pub fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes the accuracy as of a window in which not all pages were seen. Whatever it says, no more than `allowed` could be
    /// spent.
    pub fn window(&mut self, accuracy: Option<AccuracyEstimate>, allowed: f64) -> Option<Adjustment> {
        let accuracy = accuracy.filter(|_| self.config.adaptive)?;
        self.windows = self.windows.saturating_add(1);
        let spent = self.rate.min(allowed);
        let (least, most) = (f64::from(self.config.min_rate), f64::from(self.config.max_rate));
        if accuracy.high < GOAL && self.windows >= SETTLE && self.rate < most.min(allowed) {
            if std::mem::take(&mut self.went_down) {
                self.patience = (2 * self.patience).min(LONGEST);
            }
            return self.to((spent * UP).min(most), AdjustmentReason::AccuracyBelowGoal);
        }
        if accuracy.high < GOAL && self.windows >= SETTLE && allowed.max(least) < HELD * self.rate {
            return self.to(allowed.max(least), AdjustmentReason::BudgetSpent);
        }
        if accuracy.low > MORE_THAN_ENOUGH && self.windows >= self.patience && spent > least {
            self.went_down = true;
            return self.to((spent * DOWN).max(least), AdjustmentReason::AccuracyAboveGoal);
        }
        None
    }

    fn to(&mut self, rate: f64, reason: AdjustmentReason) -> Option<Adjustment> {
        let from = std::mem::replace(&mut self.rate, rate);
        self.windows = 0;
        Some(Adjustment { adjusted: Adjusted::Rate { from, to: rate }, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An estimate with a point to either side.
    fn estimate(value: f64) -> Option<AccuracyEstimate> {
        Some(AccuracyEstimate { value, low: value - 0.002, high: (value + 0.002).min(1.0) })
    }

    /// `windows` windows of a program whose map has `accuracy(rate)`.
    fn run(
        control: &mut RateControl,
        windows: u32,
        allowed: f64,
        accuracy: impl Fn(f64) -> f64,
    ) -> Vec<Adjustment> {
        (0..windows).filter_map(|_| control.window(estimate(accuracy(control.rate())), allowed)).collect()
    }

    #[test]
    fn a_map_that_is_not_true_enough_gets_more_samples_up_to_the_limits() {
        let mut control = RateControl::new(SamplingConfig::default());
        let changes = run(&mut control, 400, 1.0, |_| 0.9);
        assert!(changes.iter().all(|change| change.reason == AdjustmentReason::AccuracyBelowGoal));
        assert_eq!(changes.len(), 4, "0.2, 0.4, 0.8, 1");
        assert_eq!(control.rate(), 1.0);
        let mut control = RateControl::new(SamplingConfig::default());
        let held = run(&mut control, 400, 0.05, |_| 0.9);
        assert_eq!(held.len(), 1, "the budget allows no more: {held:?}");
        assert_eq!((held[0].reason, control.rate()), (AdjustmentReason::BudgetSpent, 0.05));
        let freed = run(&mut control, 400, 0.3, |_| 0.9);
        assert_eq!(freed.last().map(|last| last.reason), Some(AdjustmentReason::AccuracyBelowGoal));
    }

    #[test]
    fn a_map_that_is_truer_than_need_be_gets_fewer_down_to_the_limit() {
        let mut control = RateControl::new(SamplingConfig::default());
        let changes = run(&mut control, 4000, 1.0, |_| 0.999);
        assert!(changes.iter().all(|change| change.reason == AdjustmentReason::AccuracyAboveGoal));
        assert!((control.rate() - 0.01).abs() < 1e-6);
        let mut control = RateControl::new(SamplingConfig::default());
        let first = run(&mut control, 70, 0.04, |_| 0.999)[0];
        let Adjusted::Rate { to, .. } = first.adjusted else { panic!("{first}") };
        assert!((to - 0.04 * DOWN).abs() < 1e-9, "from what could be spent: {to}");
    }

    #[test]
    fn between_goal_and_more_than_enough_it_stays() {
        let mut control = RateControl::new(SamplingConfig::default());
        assert_eq!(run(&mut control, 1000, 1.0, |_| 0.985), []);
        // Nor does it move by an estimate that is not sure, or none.
        let wide = Some(AccuracyEstimate { value: 0.95, low: 0.9, high: 0.99 });
        assert!((0..1000).all(|_| control.window(wide, 1.0).is_none()));
        assert!((0..1000).all(|_| control.window(None, 1.0).is_none()));
    }

    #[test]
    fn where_one_rate_is_too_low_and_the_next_more_than_enough_it_does_not_flap() {
        let mut control = RateControl::new(SamplingConfig::default());
        let cliff = |rate: f64| if rate > 0.08 { 0.999 } else { 0.95 };
        let changes = run(&mut control, 16_000, 1.0, cliff);
        let ups =
            changes.iter().filter(|change| change.reason == AdjustmentReason::AccuracyBelowGoal).count();
        assert!(ups <= 7, "{ups} times in 16000 windows: {changes:?}");
        let later = run(&mut control, 4000, 1.0, cliff);
        assert!(later.len() <= 4, "{later:?}");
        assert!(later.len() < changes.len());
    }

    #[test]
    fn a_fixed_rate_stays_and_rates_out_of_range_are_refused() {
        let mut control = RateControl::new(SamplingConfig::fixed(0.2).unwrap());
        assert_eq!(run(&mut control, 100, 1.0, |_| 0.5), []);
        assert_eq!(run(&mut control, 100, 1.0, |_| 1.0), []);
        for rate in [0.0, -1.0, 1.5, f32::NAN] {
            assert!(SamplingConfig::fixed(rate).is_err(), "{rate}");
        }
        assert_eq!(SamplingConfig::default().checked(), Ok(SamplingConfig::default()));
        let crossed = SamplingConfig { min_rate: 0.5, max_rate: 0.2, ..SamplingConfig::default() };
        assert!(crossed.checked().is_err());
    }
}
