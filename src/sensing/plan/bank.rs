//! The fault budget over time.

/// Windows' worth of budget that can be saved up.
const CAPACITY: f64 = 20.0;
/// Windows over which what was saved is spent, or what was overspent is made good.
const HORIZON: f64 = 20.0;
/// The least share of a window's budget that is spent even in debt: seeing nothing would end all learning.
const LEAST: f64 = 0.2;

/// Faults per window that may be spent on average. Written pages come in bursts, and a fault in a busy window tells more
/// than one in a quiet window; so what is left over is kept for a while, and a burst that nobody could foresee is made
/// good afterwards.
#[derive(Debug, Clone)]
pub(super) struct FaultBank {
    /// Faults a window.
    budget: f64,
    /// Windows' worth of budget that are saved (or owed, when negative).
    saved: f64,
}

impl FaultBank {
    pub(super) fn new(budget: f64) -> Self {
        Self { budget, saved: 0.0 }
    }

    pub(super) fn set_budget(&mut self, budget: f64) {
        self.budget = budget;
    }

    /// Faults that the next window may expect to cost.
    pub(super) fn allowance(&self) -> f64 {
        self.budget * (1.0 + self.saved / HORIZON).max(LEAST)
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
        assert_eq!(bank.allowance(), 100.0 * (1.0 + CAPACITY / HORIZON));
        bank.spend(2100.0);
        assert!((bank.allowance() - 100.0).abs() < 1e-9);
        bank.spend(5000.0);
        assert_eq!(bank.allowance(), 20.0);
        let mut spent = 0.0;
        for _ in 0..200 {
            let faults = bank.allowance();
            bank.spend(faults);
            spent += faults;
        }
        assert!(spent < 200.0 * 100.0 - 4500.0, "{spent} of {}", 200 * 100);
    }
}
