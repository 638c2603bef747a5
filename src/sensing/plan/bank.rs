//! The fault budget over time.

use super::rates::CHEAP;

/// Windows' worth of budget that can be saved up.
const CAPACITY: f64 = 20.0;
/// Windows over which what was saved is spent, or what was overspent is made good.
const HORIZON: f64 = 20.0;
/// The least share of a window's budget that is spent even in debt: seeing nothing would end all learning.
const LEAST: f64 = 0.2;

/// How far a window may go below and above its even share when its faults tell less, or more, than usual.
const LEAST_OF_EVEN: f64 = 0.5;
const MOST_OF_EVEN: f64 = 2.0;
/// Windows over which the usual price is taken.
const USUAL: f64 = 20.0;
/// Prices below which all is as good as armed count as this.
const LEAST_PRICE: f64 = 0.05;

/// Faults per window that may be spent on average. Written pages come in bursts, and a fault in a busy window tells more
/// than one in a quiet window; so what is left over is kept for a while, and a burst that nobody could foresee is made
/// good afterwards.
///
/// Nor are busy windows alike: where pages are written in no order a fault removes one page's error, where they are hot
/// and steady hardly any. So a window spends what is worth the usual price, within bounds, and the even share is the
/// middle of those (pacing by a price, as budgets are paced in auctions: Balseiro and Gur, 2019).
#[derive(Debug, Clone)]
pub(super) struct FaultBank {
    /// Faults a window.
    budget: f64,
    /// Windows' worth of budget that are saved (or owed, when negative).
    saved: f64,
    /// Logarithm of the error that the last fault of a window removes, of late.
    usual: Option<f64>,
}

impl FaultBank {
    pub(super) fn new(budget: f64) -> Self {
        Self { budget, saved: 0.0, usual: None }
    }

    pub(super) fn set_budget(&mut self, budget: f64) {
        self.budget = budget;
    }

    /// Faults that the next window may cost without regard to what they tell.
    pub(super) fn even(&self) -> f64 {
        self.budget * (1.0 + self.saved / HORIZON).max(LEAST)
    }

    /// Faults to plan for in a window in which the `even` ones would have the last one remove `price` pages of error;
    /// `worth` says how many are worth a price.
    pub(super) fn pace(&mut self, even: f64, price: f64, worth: impl Fn(f64) -> f64) -> f64 {
        if price <= CHEAP * 2.0 {
            return even;
        }
        let price = price.max(LEAST_PRICE).ln();
        let usual = self.usual.unwrap_or(price);
        self.usual = Some(usual + (price - usual) / USUAL);
        // Who owes does not spend ahead as well: the debt would never end.
        let most = if self.saved < 0.0 { 1.0 } else { MOST_OF_EVEN };
        worth(usual.exp()).clamp(LEAST_OF_EVEN * even, most * even)
    }

    /// Takes note of what a window did cost.
    pub(super) fn spend(&mut self, faults: f64) {
        self.saved = (self.saved + 1.0 - faults / self.budget.max(1.0)).min(CAPACITY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_windows_pay_for_busy_ones_and_debts_are_made_good() {
        let mut bank = FaultBank::new(100.0);
        for _ in 0..50 {
            bank.spend(0.0);
        }
        assert_eq!(bank.even(), 100.0 * (1.0 + CAPACITY / HORIZON));
        bank.spend(2100.0);
        assert!((bank.even() - 100.0).abs() < 1e-9);
        bank.spend(5000.0);
        assert_eq!(bank.even(), 20.0);
        let mut spent = 0.0;
        for _ in 0..200 {
            let faults = bank.even();
            bank.spend(faults);
            spent += faults;
        }
        assert!(spent < 200.0 * 100.0 - 4500.0, "{spent} of {}", 200 * 100);
    }

    #[test]
    fn a_window_spends_more_where_a_fault_tells_more_and_within_bounds() {
        let mut bank = FaultBank::new(100.0);
        for _ in 0..100 {
            assert!((bank.pace(100.0, 1.0, |price| 100.0 / price) - 100.0).abs() < 1e-6);
        }
        assert!(bank.pace(100.0, 1.5, |price| 150.0 / price) > 140.0);
        assert_eq!(bank.pace(100.0, 9.0, |price| 900.0 / price), MOST_OF_EVEN * 100.0);
        assert_eq!(bank.pace(100.0, 0.1, |price| 10.0 / price), LEAST_OF_EVEN * 100.0);
        assert_eq!(bank.pace(100.0, CHEAP, |_| 3.0), 100.0, "what may all be armed is all armed");
    }
}
