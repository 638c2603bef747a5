//! From the pages written in a window to a density map.
//!
//! In come the written page ranges of one window ([`crate::capture::Window`]), those that it could not see,
//! and the line they lie on ([`crate::map::AddressLayout`]); out goes the [`DensityMap`]: for every cell of
//! the curve how likely its pages are written within [`SPAN`], smoothed over windows. While every page is
//! seen the map is exact; where some are not armed in some windows, they count as is to be expected of them
//! ([`CompressedSensingReconstructor`], [`PageActivity`]), and the map comes with its [`Doubt`].
//!
//! Single windows of a recording can be reconstructed from samples: a [`MeasurementPlan`] says which pages to
//! arm so that a budget of faults buys the best map, a [`Solver`] fills in the others, and
//! [`HeldOutAccuracy`] says how true the result is. [`replay`] takes a [`WriteTrace`] through all of it. How
//! fine the map is and how much is armed at a time follows the target ([`OrderControl`], [`RateControl`]).
//!
//! [`crate::system`] feeds it; [`crate::telemetry`] and [`crate::render`] read the map.

mod accuracy;
mod activity;
mod activity_map;
mod adapt;
mod bits;
mod error;
mod exposure;
mod marks;
mod persistence;
mod plan;
mod random;
mod reconstruct;
mod replay;
mod sampled;
mod solve;
mod tiles;
mod trace;
mod write_rate;

pub use accuracy::{AccuracyEstimate, ESTIMATE_WINDOWS, HeldOutAccuracy, LEAST_EVIDENCE, Score};
pub use activity::{PageActivity, SPAN};
pub use activity_map::{ActivityMap, Doubt};
pub use adapt::{Adjusted, Adjustment, AdjustmentReason, OrderControl, RateControl, SamplingConfig};
pub use bits::PageSet;
pub use error::SensingError;
pub use plan::{BudgetPlan, LEAST_BUDGET, MeasurementPlan, RunFollow};
pub use reconstruct::{CompressedSensingCapability, CompressedSensingReconstructor, ReconstructionMetrics};
pub use replay::{EstimateCheck, Onlooker, ReplayOptions, ReplayReport, replay};
pub use sampled::{HeldOut, SampledMap};
pub use solve::{
    Cells, Field, FusedLasso, HaarFista, Markov, SampleChanges, Samples, Solver, SolverKind, Tv,
};
pub use tiles::{MapTiles, survey, tile_side};
pub use trace::WriteTrace;

use crate::capture::shortage;

/// The share of each cell's pages that are written in a window, smoothed: 0.0 (none, ever) to 1.0 (all, always).
///
/// Indexed `[y][x]`, 2^order × 2^order.
pub type DensityMap = ndarray::Array2<f32>;

/// A map of so many cells a side, all zero. Memory that nobody has written takes none, so a large map of which few cells are
/// written takes little.
pub(crate) fn sparse_map(side: usize) -> DensityMap {
    /// A huge page fits into it.
    const LARGE: usize = 4 << 20;
    let mut map = DensityMap::zeros((side, side));
    if let Some(cells) = map.as_slice_mut().filter(|cells| size_of_val(*cells) >= LARGE) {
        shortage::small_pages(cells);
    }
    map
}
