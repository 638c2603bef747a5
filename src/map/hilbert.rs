//! The Hilbert curve: what it must do, and two ways of doing it.
//!
//! [`HilbertCurve`] is the one to use: single cells by arithmetic on whole words, many at once by
//! the same on whichever vectors the CPU has.
//! [`HilbertSkilling`] is the textbook's method, against which everything else is tested. [`HilbertGpu`] is for indices
//! and cells that are in a GPU's memory already. All three are the same curve: index 0 lies at (0, 0), the last one at
//! (2^order − 1, 0).

mod bits;
mod curve;
mod gpu;
mod locality;
mod skilling;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use curve::{CurveError, HilbertCurve, HilbertPath, MAX_CURVE_ORDER};
pub use gpu::{GpuCurveError, HilbertGpu};
pub use skilling::HilbertSkilling;

use crate::GlassRamError;

/// The smallest curve: 2 × 2 cells.
pub const MIN_ORDER: u32 = 1;
/// The largest curve that a map uses: 4096 × 4096 cells.
pub const MAX_ORDER: u32 = 12;

/// An order outside [`MIN_ORDER`]`..=`[`MAX_ORDER`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a Hilbert map has an order from {MIN_ORDER} to {MAX_ORDER}, not {0}: choose one in that range")]
pub struct InvalidOrder(pub u32);

impl From<InvalidOrder> for GlassRamError {
    fn from(error: InvalidOrder) -> Self {
        Self::FeatureNotSupported { feature: error.to_string() }
    }
}

/// Maps an index along the curve to a cell of the square and back.
pub trait HilbertCapability {
    /// The curve of `order`, [`MIN_ORDER`]`..=`[`MAX_ORDER`] ([`HilbertCurve`] goes further).
    ///
    /// # Panics
    /// When the order is outside that range; [`HilbertSkilling::try_new`] answers with an error instead.
    fn new(order: u32) -> Self;

    /// The cell (x, y), each below 2^order, of `index`, which is below 4^order.
    fn d2xy(&self, index: u32) -> (u32, u32);

    /// The index, below 4^order, of the cell (x, y).
    fn xy2d(&self, x: u32, y: u32) -> u32;

    /// Whether the curve keeps what is near on the line near in the square, judged by what tells a Hilbert curve from
    /// its look-alikes: every step goes to a neighbour; at least 95 % of the pairs up to 5 apart on the line lie within
    /// `tolerance` cells (3.0 for this curve: 96 %); no pair lies farther than √6 times the root of its distance along
    /// the line (Niedermeier, Reinhardt and Sanders 2002); every aligned stretch of 4^j fills a square of 2^j.
    /// A row-major order passes the first test almost, a snake order wholly, and both fail the last two.
    fn verify_locality(&self, tolerance: f32) -> bool;
}

/// The orders that a map may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HilbertConfig {
    /// The order when it is not adapted.
    pub order: u32,
    /// Cells along one side: 2^order.
    pub size: u32,
    /// Whether the order follows the size of the target.
    pub adaptive: bool,
    /// The smallest order that adaptation chooses.
    pub min_order: u32,
    /// The largest order that adaptation chooses.
    pub max_order: u32,
}

impl Default for HilbertConfig {
    fn default() -> Self {
        Self { order: 8, size: 1 << 8, adaptive: true, min_order: 4, max_order: MAX_ORDER }
    }
}

impl HilbertConfig {
    /// One order, whatever the target's size.
    pub fn fixed(order: u32) -> Result<Self, InvalidOrder> {
        HilbertSkilling::try_new(order)?;
        Ok(Self { order, size: 1 << order, adaptive: false, ..Self::default() })
    }

    /// The order for a line of `pages`: the fixed one, or the largest within the limits whose cells are at least a page.
    pub fn order_for(&self, pages: u64) -> u32 {
        if !self.adaptive {
            return self.order;
        }
        // 4^k ≤ pages ⇔ k ≤ log4(pages)
        let largest = pages.checked_ilog2().unwrap_or(0) / 2;
        largest.clamp(self.min_order, self.max_order)
    }
}

#[cfg(test)]
mod tests;
