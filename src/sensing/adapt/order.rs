//! The order of the map.

use std::time::Duration;

use super::{Adjusted, Adjustment, AdjustmentReason};
use crate::map::HilbertConfig;
use crate::sensing::AccuracyEstimate;

/// The line may be so much longer or shorter than an order is for before another is taken.
const SLACK: f64 = 0.125;
/// A map may take this share of its window, in the mean of some windows...
const TOO_SLOW: f64 = 0.5;
/// ...and goes back to the order above, which takes four times as long, when it takes less than this.
const QUICK: f64 = 0.05;
/// How much of the past a window leaves in that mean.
const KEPT: f64 = 0.9;
/// Windows that an order is kept at least after it has changed for its time.
const SETTLE: u32 = 32;
/// A map whose accuracy is below this for sure, for [`WRONG_FOR`] windows, is made coarser...
const TOO_WRONG: f64 = 0.8;
const WRONG_FOR: u32 = 120;
/// ...by this number of orders at most...
const COARSER: u32 = 2;
/// ...and finer again when it is truer than this.
const TRUE: f64 = 0.98;

/// Chooses the order of a map: the largest whose cells are at least a page, within the limits, as far as there is the time for it.
#[derive(Debug, Clone)]
pub struct OrderControl {
    config: HilbertConfig,
    order: u32,
    /// The line has been seen.
    begun: bool,
    /// The largest order that there is the time for, as far as is known.
    ceiling: u32,
    /// The mean share of the window that the map takes; `None` until a window was timed at this order.
    share: Option<f64>,
    windows: u32,
    /// Orders by which the map is coarser for its accuracy, and for how many windows it has asked to be
    /// coarser, or finer.
    coarser: u32,
    wrong: u32,
    right: u32,
}

impl OrderControl {
    /// No line seen yet.
    pub fn new(config: HilbertConfig) -> Self {
        let (order, ceiling) = (config.order_for(0), config.max_order);
        Self { config, order, begun: false, ceiling, share: None, windows: 0, coarser: 0, wrong: 0, right: 0 }
    }

    /// The order as it is now.
    pub fn order(&self) -> u32 {
        self.order
    }

    /// Takes the length of the line, in pages.
    pub fn line(&mut self, pages: u64) -> Option<Adjustment> {
        if !self.config.adaptive || pages == 0 {
            return None;
        }
        let own = self.config.order_for(pages).min(self.ceiling);
        if !std::mem::replace(&mut self.begun, true) {
            // What was drawn of no pages is no map.
            self.order = own;
            return None;
        }
        // The order holds while the line is not clearly out of its range.
        let with_slack = |slack: f64| self.config.order_for((pages as f64 * slack) as u64).min(self.ceiling);
        if own > self.order && with_slack(1.0 - SLACK) > self.order {
            self.to(own, AdjustmentReason::MorePages)
        } else if own < self.order && with_slack(1.0 + SLACK) < self.order {
            self.to(own, AdjustmentReason::FewerPages)
        } else {
            None
        }
    }

    /// Takes the time that the map of a window of `length` took, and the line's length in pages.
    pub fn window(&mut self, took: Duration, length: Duration, pages: u64) -> Option<Adjustment> {
        if !self.config.adaptive || length.is_zero() {
            return None;
        }
        let now = took.as_secs_f64() / length.as_secs_f64();
        let share = self.share.map_or(now, |share| KEPT * share + (1.0 - KEPT) * now);
        self.share = Some(share);
        self.windows = self.windows.saturating_add(1);
        if self.windows < SETTLE {
            return None;
        }
        if share > TOO_SLOW && self.order > self.config.min_order {
            self.ceiling = self.order - 1;
            return self.to(self.ceiling, AdjustmentReason::MapTooSlow);
        }
        let quick = share < QUICK && self.coarser == 0;
        if quick && self.order == self.ceiling && self.ceiling < self.config.order_for(pages) {
            self.ceiling += 1;
            return self.to(self.ceiling, AdjustmentReason::MapQuickAgain);
        }
        None
    }

    /// Takes the accuracy of a window's map, where the budget allows no more samples than there are.
    pub fn accuracy(&mut self, accuracy: Option<AccuracyEstimate>) -> Option<Adjustment> {
        let accuracy = accuracy.filter(|_| self.config.adaptive)?;
        self.wrong = if accuracy.high < TOO_WRONG { self.wrong + 1 } else { 0 };
        self.right = if accuracy.low > TRUE { self.right + 1 } else { 0 };
        if self.wrong >= WRONG_FOR && self.coarser < COARSER && self.order > self.config.min_order {
            (self.wrong, self.coarser) = (0, self.coarser + 1);
            self.ceiling = self.order - 1;
            return self.to(self.ceiling, AdjustmentReason::AccuracyBelowGoal);
        }
        if self.right >= WRONG_FOR && self.coarser > 0 {
            (self.right, self.coarser) = (0, self.coarser - 1);
            self.ceiling += 1;
            return self.to((self.order + 1).min(self.ceiling), AdjustmentReason::AccuracyAboveGoal);
        }
        None
    }

    fn to(&mut self, order: u32, reason: AdjustmentReason) -> Option<Adjustment> {
        let from = std::mem::replace(&mut self.order, order);
        (self.share, self.windows) = (None, 0);
        Some(Adjustment { adjusted: Adjusted::Order { from, to: order }, reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_millis(100);

    fn order(from: u32, to: u32, reason: AdjustmentReason) -> Option<Adjustment> {
        Some(Adjustment { adjusted: Adjusted::Order { from, to }, reason })
    }

    #[test]
    fn it_follows_the_line_and_not_its_wavering() {
        let mut control = OrderControl::new(HilbertConfig::default());
        assert_eq!(control.line(16_384), None, "the first line is no change");
        assert_eq!(control.order(), 7);
        for pages in [16_000, 17_000, 14_800, 16_384, 65_536, 70_000, 16_383] {
            assert_eq!(control.line(pages), None, "{pages}");
        }
        assert_eq!(control.line(75_000), order(7, 8, AdjustmentReason::MorePages));
        assert_eq!(control.line(65_000), None);
        assert_eq!(control.line(58_000), order(8, 7, AdjustmentReason::FewerPages));
        assert_eq!(control.line(1000), order(7, 4, AdjustmentReason::FewerPages));
        assert_eq!(control.line(0), None, "a target that is gone leaves its map");
    }

    #[test]
    fn a_map_that_is_too_slow_is_made_coarser_and_finer_again_when_there_is_time() {
        let (mut control, pages) = (OrderControl::new(HilbertConfig::default()), 1 << 20);
        control.line(pages);
        let cost = |order: u32, cell: u64| Duration::from_nanos(cell << (2 * order));
        let mut run = |cell: u64, windows: u32| {
            (0..windows)
                .filter_map(|_| {
                    let adjusted = control.window(cost(control.order(), cell), WINDOW, pages);
                    assert_eq!(control.line(pages), None, "the line is as it was");
                    adjusted
                })
                .collect::<Vec<_>>()
        };
        // A million cells at 30 ns are a third of the window.
        assert_eq!(run(30, 500), []);
        assert_eq!(
            run(80, 500),
            [order(10, 9, AdjustmentReason::MapTooSlow).unwrap()],
            "once, and then it fits"
        );
        // At 20 ns a cell, order 9 takes a twentieth: not yet. At 10 ns it does.
        assert_eq!(run(20, 500), []);
        assert_eq!(run(10, 500), [order(9, 10, AdjustmentReason::MapQuickAgain).unwrap()]);
    }

    #[test]
    fn a_map_that_is_wrong_for_long_is_made_coarser_and_one_that_is_true_finer_again() {
        let (mut control, pages) = (OrderControl::new(HilbertConfig::default()), 1 << 16);
        control.line(pages);
        let of = |value: f64| Some(AccuracyEstimate { value, low: value - 0.005, high: value + 0.005 });
        let mut run = |value: f64, windows: u32| -> Vec<Adjustment> {
            (0..windows).filter_map(|_| control.accuracy(of(value))).collect()
        };
        assert_eq!(run(0.9, 1000), []);
        assert_eq!(run(0.6, 60), [], "not for long");
        assert_eq!(run(0.9, 1), []);
        let coarser = [
            order(8, 7, AdjustmentReason::AccuracyBelowGoal).unwrap(),
            order(7, 6, AdjustmentReason::AccuracyBelowGoal).unwrap(),
        ];
        assert_eq!(run(0.6, 1000), coarser, "twice at most");
        let finer = [
            order(6, 7, AdjustmentReason::AccuracyAboveGoal).unwrap(),
            order(7, 8, AdjustmentReason::AccuracyAboveGoal).unwrap(),
        ];
        assert_eq!(run(0.99, 1000), finer);
    }

    #[test]
    fn a_fixed_order_stays() {
        let mut control = OrderControl::new(HilbertConfig::fixed(6).unwrap());
        assert_eq!(control.line(1 << 24), None);
        assert!((0..100).all(|_| control.window(WINDOW * 3, WINDOW, 1 << 24).is_none()));
        assert_eq!(control.order(), 6);
    }

    proptest! {
        #[test]
        fn a_line_that_keeps_within_a_tenth_changes_it_once_at_most(
            pages in 300u64..1 << 24, shares in prop::collection::vec(0.95f64..1.05, 1..200),
        ) {
            let mut control = OrderControl::new(HilbertConfig::default());
            control.line(pages);
            let changes = shares.iter().filter(|share| control.line((pages as f64 * **share) as u64).is_some()).count();
            prop_assert!(changes <= 1, "{} changes", changes);
            let cells = 1u64 << (2 * control.order());
            prop_assert!(control.order() == 4 || cells as f64 <= pages as f64 * 1.2);
            prop_assert!(cells as f64 * 4.0 >= pages as f64 * 0.8);
        }
    }
}
