//! The Hilbert curve by Skilling's method.
//!
//! John Skilling, "Programming the Hilbert curve", AIP Conference Proceedings 707, 381 (2004): an index is held as the
//! "transpose" of the coordinates' bits, Gray-decoded, and then the excess rotations are undone level by level. In two
//! dimensions the result has the textbook orientation: index 0 lies at (0, 0), the last one at (2^order − 1, 0).

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
    /// The curve of `order`, [`MIN_ORDER`]`..=`[`MAX_ORDER`].
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

/// [`HilbertCapability`] by Skilling's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HilbertSkilling {
    order: u32,
}

impl HilbertSkilling {
    /// The curve of `order`, or an error that names the range.
    pub fn try_new(order: u32) -> Result<Self, InvalidOrder> {
        if (MIN_ORDER..=MAX_ORDER).contains(&order) { Ok(Self { order }) } else { Err(InvalidOrder(order)) }
    }

    /// The curve's order.
    pub fn order(&self) -> u32 {
        self.order
    }

    /// Cells along one side.
    pub fn size(&self) -> u32 {
        1 << self.order
    }

    /// Cells in all.
    pub fn cells(&self) -> u32 {
        1 << (2 * self.order)
    }
}

impl HilbertCapability for HilbertSkilling {
    fn new(order: u32) -> Self {
        match Self::try_new(order) {
            Ok(curve) => curve,
            Err(error) => panic!("{error}"),
        }
    }

    fn d2xy(&self, index: u32) -> (u32, u32) {
        debug_assert!(index < self.cells());
        // The transpose: x takes the odd bits of the index, y the even ones.
        let (mut x, mut y) = (even_bits(index >> 1), even_bits(index));
        let carry = y >> 1;
        y ^= x;
        x ^= carry;
        for level in 1..self.order {
            let low = (1 << level) - 1;
            let bit = 1 << level;
            // Skilling goes through the axes from last to first, each time against axis 0 (x).
            if y & bit != 0 {
                x ^= low;
            } else {
                let swap = (x ^ y) & low;
                x ^= swap;
                y ^= swap;
            }
            if x & bit != 0 {
                x ^= low;
            }
        }
        (x, y)
    }

    fn xy2d(&self, x: u32, y: u32) -> u32 {
        debug_assert!(x < self.size() && y < self.size());
        let (mut x, mut y) = (x, y);
        for level in (1..self.order).rev() {
            let low = (1 << level) - 1;
            let bit = 1 << level;
            if x & bit != 0 {
                x ^= low;
            }
            if y & bit != 0 {
                x ^= low;
            } else {
                let swap = (x ^ y) & low;
                x ^= swap;
                y ^= swap;
            }
        }
        // Gray encode.
        y ^= x;
        let mut flips = 0;
        for level in 1..self.order {
            if y & (1 << level) != 0 {
                flips ^= (1 << level) - 1;
            }
        }
        x ^= flips;
        y ^= flips;
        spread_bits(x) << 1 | spread_bits(y)
    }

    fn verify_locality(&self, tolerance: f32) -> bool {
        let tolerance = f64::from(tolerance) * f64::from(tolerance);
        let cells = self.cells();
        let (mut pairs, mut near) = (0u64, 0u64);
        for index in 0..cells {
            let here = self.d2xy(index);
            for lag in 1..=5 {
                let Some(other) = index.checked_add(lag).filter(|other| *other < cells) else { break };
                let distance = squared_distance(here, self.d2xy(other));
                if (lag == 1 && distance != 1) || distance > 6 * u64::from(lag) {
                    return false;
                }
                pairs += 1;
                near += u64::from(distance as f64 <= tolerance);
            }
        }
        let aligned_blocks_are_squares = (1..=self.order).all(|level| {
            let stretch = 1u32 << (2 * level);
            (0..cells / stretch).all(|block| {
                let corner = self.d2xy(block * stretch);
                let square = (corner.0 >> level, corner.1 >> level);
                // Three quarters and the end pin a block down; every cell of every block would be order² the work.
                [1, 2, 3, 4].into_iter().all(|quarter| {
                    let (x, y) = self.d2xy(block * stretch + quarter * (stretch / 4) - 1);
                    (x >> level, y >> level) == square
                })
            })
        });
        // Below order 3 there are too few pairs for a share to mean much; the other tests are exact there too.
        aligned_blocks_are_squares && (self.order < 3 || near as f64 >= 0.95 * pairs as f64)
    }
}

fn squared_distance(a: (u32, u32), b: (u32, u32)) -> u64 {
    let square = |p: u32, q: u32| u64::from(p.abs_diff(q)).pow(2);
    square(a.0, b.0) + square(a.1, b.1)
}

/// Gathers bits 0, 2, 4, … into the low half (H. S. Warren, "Hacker's Delight", 7-2).
fn even_bits(value: u32) -> u32 {
    let mut v = value & 0x5555_5555;
    v = (v | v >> 1) & 0x3333_3333;
    v = (v | v >> 2) & 0x0f0f_0f0f;
    v = (v | v >> 4) & 0x00ff_00ff;
    (v | v >> 8) & 0x0000_ffff
}

/// The inverse of [`even_bits`].
fn spread_bits(value: u32) -> u32 {
    let mut v = value & 0x0000_ffff;
    v = (v | v << 8) & 0x00ff_00ff;
    v = (v | v << 4) & 0x0f0f_0f0f;
    v = (v | v << 2) & 0x3333_3333;
    (v | v << 1) & 0x5555_5555
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The textbook recursion, quadrant by quadrant, written from the picture of the curve rather than from Skilling.
    fn textbook(order: u32, index: u32) -> (u32, u32) {
        if order == 0 {
            return (0, 0);
        }
        let half = 1 << (order - 1);
        let quarter = 1 << (2 * (order - 1));
        let (x, y) = textbook(order - 1, index % quarter);
        match index / quarter {
            0 => (y, x),
            1 => (x, y + half),
            2 => (x + half, y + half),
            _ => (2 * half - 1 - y, half - 1 - x),
        }
    }

    #[test]
    fn every_order_is_the_textbook_curve() {
        for order in MIN_ORDER..=8 {
            let curve = HilbertSkilling::new(order);
            for index in 0..curve.cells() {
                assert_eq!(curve.d2xy(index), textbook(order, index), "order {order}, index {index}");
            }
        }
    }

    proptest! {
        #[test]
        fn index_and_cell_are_inverse_of_each_other(order in MIN_ORDER..=MAX_ORDER, seed: u32) {
            let curve = HilbertSkilling::new(order);
            let index = seed % curve.cells();
            let (x, y) = curve.d2xy(index);
            prop_assert!(x < curve.size() && y < curve.size());
            prop_assert_eq!(curve.xy2d(x, y), index);
            prop_assert_eq!((x, y), textbook(order, index));
        }
    }

    #[test]
    fn the_ends_lie_where_the_textbook_puts_them() {
        for order in MIN_ORDER..=MAX_ORDER {
            let curve = HilbertSkilling::new(order);
            assert_eq!(curve.d2xy(0), (0, 0));
            assert_eq!(curve.d2xy(curve.cells() - 1), (curve.size() - 1, 0));
        }
    }

    #[test]
    fn locality_holds_at_every_order_and_fails_where_it_must() {
        for order in MIN_ORDER..=9 {
            assert!(HilbertSkilling::new(order).verify_locality(3.0), "order {order}");
        }
        assert!(!HilbertSkilling::new(8).verify_locality(1.0), "only the direct neighbours lie within 1");
    }

    #[test]
    fn an_order_out_of_range_is_an_error_with_the_range() {
        for order in [0, 13, u32::MAX] {
            let message = HilbertSkilling::try_new(order).unwrap_err().to_string();
            assert!(message.contains("from 1 to 12") && message.contains(&order.to_string()), "{message}");
        }
    }

    #[test]
    fn the_automatic_order_is_the_largest_whose_cells_hold_a_page() {
        let config = HilbertConfig::default();
        for (pages, order) in [
            (0, 4),
            (1, 4),
            (255, 4),
            (256, 4),
            (1023, 4),
            (1024, 5),
            (16_384, 7),
            (16_383, 6),
            (u64::MAX, 12),
        ] {
            assert_eq!(config.order_for(pages), order, "{pages} pages");
        }
        assert_eq!(HilbertConfig::fixed(6).unwrap().order_for(1 << 40), 6);
    }
}
