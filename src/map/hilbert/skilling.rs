//! The Hilbert curve by Skilling's method.
//!
//! John Skilling, "Programming the Hilbert curve", AIP Conference Proceedings 707, 381 (2004): an index is held as the
//! "transpose" of the coordinates' bits, Gray-decoded, and then the excess rotations are undone level by level. In two
//! dimensions the result has the textbook orientation: index 0 lies at (0, 0), the last one at (2^order − 1, 0).

use super::{HilbertCapability, InvalidOrder, MAX_ORDER, MIN_ORDER, locality};

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
        decode(self.order, index)
    }

    fn xy2d(&self, x: u32, y: u32) -> u32 {
        debug_assert!(x < self.size() && y < self.size());
        encode(self.order, x, y)
    }

    fn verify_locality(&self, tolerance: f32) -> bool {
        locality::is_hilbert(self.order, tolerance, |index| self.d2xy(index))
    }
}

/// The cell of `index` on the curve of `order`, up to 16.
pub(super) fn decode(order: u32, index: u32) -> (u32, u32) {
    // The transpose: x takes the odd bits of the index, y the even ones.
    let (mut x, mut y) = (even_bits(index >> 1), even_bits(index));
    let carry = y >> 1;
    y ^= x;
    x ^= carry;
    for level in 1..order {
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

/// The index of the cell (x, y) on the curve of `order`, up to 16.
pub(super) fn encode(order: u32, x: u32, y: u32) -> u32 {
    let (mut x, mut y) = (x, y);
    for level in (1..order).rev() {
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
    for level in 1..order {
        if y & (1 << level) != 0 {
            flips ^= (1 << level) - 1;
        }
    }
    x ^= flips;
    y ^= flips;
    spread_bits(x) << 1 | spread_bits(y)
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
