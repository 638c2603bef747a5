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
mod budget;
mod duel;
mod mixer;
mod page;
mod rates;
mod run_follow;

pub use budget::{BudgetPlan, LEAST_BUDGET};
pub use run_follow::RunFollow;

use super::PageSet;

/// Says which pages to arm, window by window, and learns from what they report.
pub trait MeasurementPlan {
    /// The pages to arm for the next window. Those of `standing` are armed already and stay so: they are in the answer,
    /// and what they may cost is taken off what the others may.
    fn arm(&mut self, standing: &PageSet) -> &PageSet;

    /// Takes which pages were armed in that window, and which of them were written; others are not looked at.
    fn observe(&mut self, seen: &PageSet, written: &PageSet);

    /// Samples of that window that were drawn at random, for [`crate::sensing::HeldOutAccuracy`].
    fn held_out(&self) -> &PageSet;

    /// The chance that a page which is not in the regular part of the sample had to be held out, 0..1.
    fn held_out_chance(&self, place: usize) -> f64;

    /// Pages of the line for which the map goes by evidence of one kind have the same number, by the samples that are not held out.
    fn strata(&self) -> &[u8];

    /// What the samples without the held-out ones let believe of each page: the probability that it was written in the
    /// last window, NaN where its nearest sample tells more. Only read where a page was not seen.
    fn prior(&self) -> &[f32];
}
