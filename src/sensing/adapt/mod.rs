//! The order of the map and the rate of its samples, as the target and the accuracy ask for them.
//!
//! In come, window by window, the pages of the line, the time that the map took, and the stated accuracy; out go an order
//! ([`OrderControl`]), a rate ([`RateControl`]), and an [`Adjustment`] with its reason whenever one of them moves. Both have
//! hysteresis: what makes one move is not undone by the same amount in the other direction, and every move is given the time to
//! show in what it is judged by.
//!
//! Under a budget it is the rate that buys accuracy. Where the budget allows no more of it and too little of
//! the map is right, the order goes down: errors of pages that have nothing to do with each other cancel out
//! in cells of four times as many.

mod order;
mod rate;

pub use order::OrderControl;
pub use rate::{RateControl, SamplingConfig};

use std::fmt;

use serde::Serialize;

/// What was moved, and from where to where.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Adjusted {
    /// The order of the map's curve.
    Order {
        /// Before.
        from: u32,
        /// From now on.
        to: u32,
    },
    /// The share of the pages that are not armed which may be armed at the end of a window.
    Rate {
        /// Before.
        from: f64,
        /// From now on.
        to: f64,
    },
}

/// Why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentReason {
    /// The line has more pages than the order before was for.
    MorePages,
    /// It has fewer.
    FewerPages,
    /// The map took too large a part of the window.
    MapTooSlow,
    /// It would have the time for the larger order again.
    MapQuickAgain,
    /// The accuracy was below its goal.
    AccuracyBelowGoal,
    /// It was above it, and fewer faults may do.
    AccuracyAboveGoal,
    /// The budget allows no more.
    BudgetSpent,
}

/// One change of order or rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Adjustment {
    /// What was changed.
    #[serde(flatten)]
    pub adjusted: Adjusted,
    /// Why.
    pub reason: AdjustmentReason,
}

impl fmt::Display for AdjustmentReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MorePages => "more pages",
            Self::FewerPages => "fewer pages",
            Self::MapTooSlow => "the map was too slow",
            Self::MapQuickAgain => "the map is quick again",
            Self::AccuracyBelowGoal => "accuracy below its goal",
            Self::AccuracyAboveGoal => "accuracy above its goal",
            Self::BudgetSpent => "the budget allows no more",
        })
    }
}

impl fmt::Display for Adjustment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.adjusted {
            Adjusted::Order { from, to } => write!(f, "order {from} → {to}")?,
            Adjusted::Rate { from, to } => write!(f, "sampling {:.1} → {:.1} %", 100.0 * from, 100.0 * to)?,
        }
        write!(f, " ({})", self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adjustment_says_what_and_why() {
        let order =
            Adjustment { adjusted: Adjusted::Order { from: 8, to: 7 }, reason: AdjustmentReason::FewerPages };
        assert_eq!(order.to_string(), "order 8 → 7 (fewer pages)");
        let rate = Adjustment {
            adjusted: Adjusted::Rate { from: 0.05, to: 0.1 },
            reason: AdjustmentReason::AccuracyBelowGoal,
        };
        assert_eq!(rate.to_string(), "sampling 5.0 → 10.0 % (accuracy below its goal)");
        let json = serde_json::to_value(rate).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"what": "rate", "from": 0.05, "to": 0.1, "reason": "accuracy_below_goal"})
        );
    }
}
