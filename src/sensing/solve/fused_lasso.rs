//! The weighted fused lasso along the curve, exactly, in O(cells).
//!
//! minimise Σ ½·wᵢ·(xᵢ − bᵢ)² + λ·Σ |xᵢ₊₁ − xᵢ|, with bᵢ the mean of what is known of cell i and wᵢ the share of its pages
//! that is known: total variation along the curve with noisy samples. Dynamic programming on the derivative of the
//! message from cell to cell, a piecewise linear function whose knots are kept in a queue (N. A. Johnson, "A dynamic
//! programming algorithm for the fused lasso and L0-segmentation", J. Comput. Graph. Stat. 22(2), 2013).

use std::collections::VecDeque;

use super::{Cells, Field, Samples, Solver, SolverKind, cell_samples};

/// The weight of a cell of which nothing is known: it follows its neighbours.
const NOTHING: f64 = 1e-7;

/// The solver, with its penalty.
#[derive(Debug, Clone)]
pub struct FusedLasso {
    lambda: f64,
    weights: Vec<f64>,
    means: Vec<f64>,
    bounds: Vec<(f32, f32)>,
    ranges: Vec<(f64, f64)>,
    knots: VecDeque<Knot>,
}

impl Default for FusedLasso {
    /// A step of a tenth of the cell's weight is not worth a jump.
    fn default() -> Self {
        Self::with_penalty(0.05)
    }
}

/// Where the derivative's slope and intercept change.
#[derive(Debug, Clone, Copy)]
struct Knot {
    at: f64,
    slope: f64,
    intercept: f64,
}

impl FusedLasso {
    /// With λ = `penalty` ≥ 0 for a unit jump between neighbouring cells.
    pub fn with_penalty(penalty: f64) -> Self {
        Self {
            lambda: penalty.max(0.0),
            weights: Vec::new(),
            means: Vec::new(),
            bounds: Vec::new(),
            ranges: Vec::new(),
            knots: VecDeque::new(),
        }
    }

    /// The minimiser for weights > 0 and means of equal, positive number.
    fn minimise(&mut self, solution: &mut Vec<f32>) {
        let (lambda, last) = (self.lambda, self.means.len() - 1);
        self.knots.clear();
        self.ranges.clear();
        // The derivative left of all knots and right of them, as (slope, intercept).
        let (mut left, mut right) = ((0.0, 0.0), (0.0, 0.0));
        for (index, (weight, mean)) in self.weights.iter().zip(&self.means).enumerate() {
            for line in [&mut left, &mut right] {
                line.0 += weight;
                line.1 -= weight * mean;
            }
            if index == last {
                break;
            }
            // Beyond these two places the next cell pays λ for the jump rather than follow.
            let (slope, intercept) = cut_left(&mut self.knots, left, -lambda);
            let low = (-lambda - intercept) / slope;
            let (low_slope, low_intercept) = (slope, intercept);
            let (slope, intercept) = cut_right(&mut self.knots, right, lambda);
            let high = (lambda - intercept) / slope;
            self.knots.push_front(Knot { at: low, slope: low_slope, intercept: low_intercept + lambda });
            self.knots.push_back(Knot { at: high, slope: -slope, intercept: lambda - intercept });
            (left, right) = ((0.0, -lambda), (0.0, lambda));
            self.ranges.push((low, high));
        }
        let (slope, intercept) = cut_left(&mut self.knots, left, 0.0);
        let mut value = -intercept / slope;
        solution.resize(self.means.len(), 0.0);
        solution[last] = value as f32;
        for (index, (low, high)) in self.ranges.iter().enumerate().rev() {
            value = value.max(*low).min(*high);
            solution[index] = value as f32;
        }
    }
}

/// Drops the knots at which the derivative is still below `level`; the line that reaches it.
fn cut_left(knots: &mut VecDeque<Knot>, mut line: (f64, f64), level: f64) -> (f64, f64) {
    while let Some(knot) = knots.front()
        && line.0 * knot.at + line.1 < level
    {
        line = (line.0 + knot.slope, line.1 + knot.intercept);
        knots.pop_front();
    }
    line
}

/// The same from above.
fn cut_right(knots: &mut VecDeque<Knot>, mut line: (f64, f64), level: f64) -> (f64, f64) {
    while let Some(knot) = knots.back()
        && line.0 * knot.at + line.1 > level
    {
        line = (line.0 - knot.slope, line.1 - knot.intercept);
        knots.pop_back();
    }
    line
}

impl Solver for FusedLasso {
    fn kind(&self) -> SolverKind {
        SolverKind::FusedLasso
    }

    fn solve(&mut self, samples: &Samples<'_>, cells: &Cells, field: &mut Field) {
        let (mut weights, mut means, mut bounds) = (
            std::mem::take(&mut self.weights),
            std::mem::take(&mut self.means),
            std::mem::take(&mut self.bounds),
        );
        weights.clear();
        means.clear();
        bounds.clear();
        field.variance.clear();
        for cell in cell_samples(samples, cells) {
            weights.push(f64::from(cell.weight).max(NOTHING));
            means.push(f64::from(cell.mean));
            let (least, most) = cell.bounds;
            bounds.push(cell.bounds);
            field.variance.push(if least >= most {
                0.0
            } else {
                0.25 * (1.0 - cell.weight.min(1.0)) * (most - least)
            });
        }
        (self.weights, self.means, self.bounds) = (weights, means, bounds);
        self.minimise(&mut field.density);
        for (density, (least, most)) in field.density.iter_mut().zip(&self.bounds) {
            *density = density.max(*least).min(*most);
        }
        field.iterations = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn objective(weights: &[f64], means: &[f64], lambda: f64, x: &[f64]) -> f64 {
        let fit: f64 = (weights.iter().zip(means).zip(x)).map(|((w, b), x)| 0.5 * w * (x - b).powi(2)).sum();
        fit + lambda * x.windows(2).map(|pair| (pair[1] - pair[0]).abs()).sum::<f64>()
    }

    proptest! {
        #[test]
        fn nothing_on_a_fine_grid_is_better(
            cells in prop::collection::vec((0.01f64..1.0, 0.0f64..1.0), 1..5), lambda in 0.0f64..0.5,
        ) {
            let (weights, means): (Vec<f64>, Vec<f64>) = cells.into_iter().unzip();
            let mut solver = FusedLasso::with_penalty(lambda);
            (solver.weights, solver.means) = (weights.clone(), means.clone());
            let mut solution = Vec::new();
            solver.minimise(&mut solution);
            let solution: Vec<f64> = solution.into_iter().map(f64::from).collect();
            let own = objective(&weights, &means, lambda, &solution);
            let n = means.len() as u32;
            const STEPS: usize = 21;
            for index in 0..STEPS.pow(n) {
                let x: Vec<f64> = (0..n)
                    .map(|cell| (index / STEPS.pow(cell) % STEPS) as f64 / (STEPS - 1) as f64)
                    .collect();
                prop_assert!(own <= objective(&weights, &means, lambda, &x) + 1e-5, "{solution:?} against {x:?}");
            }
        }
    }
}
