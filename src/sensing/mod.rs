//! From the pages written in a window to a density map.
//!
//! In come the written page ranges of one window ([`crate::capture::Window`]) and the line they lie on
//! ([`crate::map::AddressLayout`]); out goes the [`DensityMap`]: for every cell of the curve the share of its pages that
//! are written in a window, smoothed over windows. Every page is seen here, so the map is exact; the reconstructor for
//! the case in which only some are seen is [`CompressedSensingReconstructor`].
//!
//! [`crate::system`] feeds it; [`crate::telemetry`] and [`crate::render`] read the map.

mod activity;
mod reconstruct;

pub use activity::PageActivity;
pub use reconstruct::{CompressedSensingCapability, CompressedSensingReconstructor, ReconstructionMetrics};

/// The share of each cell's pages that are written in a window, smoothed: 0.0 (none, ever) to 1.0 (all, always).
///
/// Indexed `[y][x]`, 2^order × 2^order.
pub type DensityMap = ndarray::Array2<f32>;
