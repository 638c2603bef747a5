//! What tells a Hilbert curve from its look-alikes.

/// The criteria of [`super::HilbertCapability::verify_locality`], for any order of a square's cells: `cell` says where
/// each index below 4^`order` lies.
pub(super) fn is_hilbert(order: u32, tolerance: f32, cell: impl Fn(u32) -> (u32, u32)) -> bool {
    let cell = |index: u64| cell(index as u32);
    let cells = 1u64 << (2 * order);
    let tolerance = f64::from(tolerance) * f64::from(tolerance);
    let (mut pairs, mut near) = (0u64, 0u64);
    for index in 0..cells {
        let here = cell(index);
        for lag in 1..=5 {
            let other = index + lag;
            if other >= cells {
                break;
            }
            let distance = squared_distance(here, cell(other));
            if (lag == 1 && distance != 1) || distance > 6 * lag {
                return false;
            }
            pairs += 1;
            near += u64::from(distance as f64 <= tolerance);
        }
    }
    // Below order 3 there are too few pairs for a share to mean much; the other tests are exact there too.
    aligned_blocks_are_squares(order, cell) && (order < 3 || near as f64 >= 0.95 * pairs as f64)
}

/// Every aligned stretch of 4^j fills a square of 2^j.
fn aligned_blocks_are_squares(order: u32, cell: impl Fn(u64) -> (u32, u32)) -> bool {
    (1..=order).all(|level| {
        let stretch = 1u64 << (2 * level);
        (0..1u64 << (2 * (order - level))).all(|block| {
            let corner = cell(block * stretch);
            let square = (corner.0 >> level, corner.1 >> level);
            // A block's quarters are blocks of the level below, of which one cell says where the others are.
            (1..=4).all(|quarter| {
                let (x, y) = cell(block * stretch + quarter * (stretch / 4) - 1);
                (x >> level, y >> level) == square
            })
        })
    })
}

fn squared_distance(a: (u32, u32), b: (u32, u32)) -> u64 {
    let square = |p: u32, q: u32| u64::from(p.abs_diff(q)).pow(2);
    square(a.0, b.0) + square(a.1, b.1)
}

#[cfg(test)]
mod tests {
    use super::super::{HilbertCapability, HilbertSkilling};
    use super::*;

    fn row_major(order: u32, index: u32) -> (u32, u32) {
        (index & ((1 << order) - 1), index >> order)
    }

    fn snake(order: u32, index: u32) -> (u32, u32) {
        let (x, y) = row_major(order, index);
        (if y % 2 == 0 { x } else { (1 << order) - 1 - x }, y)
    }

    fn morton(order: u32, index: u32) -> (u32, u32) {
        let gather =
            |from: u32| (0..order).fold(0, |bits, level| bits | (index >> (2 * level + from) & 1) << level);
        (gather(0), gather(1))
    }

    /// The share of steps that go no farther than 3 cells, which is all that a weaker test would look at.
    fn short_steps(order: u32, cell: impl Fn(u32) -> (u32, u32)) -> f64 {
        let steps = (1u32 << (2 * order)) - 1;
        let short = (0..steps).filter(|index| squared_distance(cell(*index), cell(index + 1)) <= 9).count();
        short as f64 / f64::from(steps)
    }

    #[test]
    fn impostors_fail_what_the_curve_passes() {
        for order in 2..=9 {
            let curve = HilbertSkilling::new(order);
            assert!(is_hilbert(order, 3.0, |index| curve.d2xy(index)), "order {order}");
            // However much distance is allowed for: the other criteria do not depend on it.
            for tolerance in [3.0, 1e6] {
                assert!(
                    !is_hilbert(order, tolerance, |index| row_major(order, index)),
                    "row-major, order {order}"
                );
                assert!(!is_hilbert(order, tolerance, |index| morton(order, index)), "Morton, order {order}");
                assert!(!is_hilbert(order, tolerance, |index| snake(order, index)), "snake, order {order}");
            }
        }
    }

    #[test]
    fn a_snake_and_rows_have_short_steps_too() {
        assert_eq!(short_steps(8, |index| snake(8, index)), 1.0);
        assert!(short_steps(8, |index| row_major(8, index)) > 0.95);
    }

    #[test]
    fn one_step_through_a_wall_is_seen() {
        // The curve's second half mirrored from top to bottom: every block is a square still.
        let curve = HilbertSkilling::new(6);
        let torn = |index: u32| {
            let (x, y) = curve.d2xy(index);
            if index < curve.cells() / 2 { (x, y) } else { (x, curve.size() - 1 - y) }
        };
        assert!(aligned_blocks_are_squares(6, |index| torn(index as u32)));
        assert!(!is_hilbert(6, 1e6, torn));
    }
}
