//! Compressed sensing's classic: a sparse Haar transform by FISTA.
//!
//! minimise ½·Σ wᵢ·(xᵢ − bᵢ)² + λ·‖details of the Haar transform of x‖₁ with 0 ≤ x ≤ 1 (A. Beck and M. Teboulle, "A fast
//! iterative shrinkage-thresholding algorithm", SIAM J. Imaging Sci. 2(1), 2009), λ lowered from iteration to iteration.
//! Along the Hilbert curve four consecutive cells are a square, so the separable Haar transform of the map in the plane
//! is the four-fold one of consecutive cells and needs no plane. It is here to compare with: single pages as samples
//! hardly mix the fine Haar functions, so the theory's promise does not hold and the fill along the curve does better.

use super::{Cells, Field, Samples, Solver, SolverKind, cell_samples};

/// λ at the end.
const PENALTY: f32 = 1e-3;
/// λ starts so many times larger, and falls by this factor an iteration.
const START: f32 = 50.0;
const FALL: f32 = 0.85;

/// The solver, with its number of iterations.
#[derive(Debug, Clone)]
pub struct HaarFista {
    iterations: u32,
    x: Vec<f32>,
    ahead: Vec<f32>,
    work: Vec<f32>,
    coarse: Vec<f32>,
}

impl Default for HaarFista {
    fn default() -> Self {
        Self::with_iterations(30)
    }
}

impl HaarFista {
    /// With so many iterations.
    pub fn with_iterations(iterations: u32) -> Self {
        Self { iterations, x: Vec::new(), ahead: Vec::new(), work: Vec::new(), coarse: Vec::new() }
    }
}

/// One orthonormal level: quads to a mean (first quarter) and three details (the rest), these shrunk by `threshold`.
fn forward(values: &mut [f32], scratch: &mut [f32], threshold: f32) {
    let quarter = values.len() / 4;
    let shrink = |x: f32| x - x.clamp(-threshold, threshold);
    for (index, quad) in values.chunks_exact(4).enumerate() {
        let (a, b, c, d) = (quad[0] + quad[1], quad[0] - quad[1], quad[2] + quad[3], quad[2] - quad[3]);
        scratch[index] = 0.5 * (a + c);
        scratch[quarter + index] = shrink(0.5 * (a - c));
        scratch[2 * quarter + index] = shrink(0.5 * (b - d));
        scratch[3 * quarter + index] = shrink(0.5 * (b + d));
    }
    values.copy_from_slice(&scratch[..values.len()]);
}

/// The inverse of [`forward`] without its shrinkage.
fn inverse(values: &mut [f32], scratch: &mut [f32]) {
    let quarter = values.len() / 4;
    for (index, quad) in scratch[..values.len()].chunks_exact_mut(4).enumerate() {
        let (mean, across, minus, plus) = (
            values[index],
            values[quarter + index],
            values[2 * quarter + index],
            values[3 * quarter + index],
        );
        let (left, right) = (mean + across, mean - across);
        quad[0] = 0.5 * (left + minus + plus);
        quad[1] = 0.5 * (left - minus - plus);
        quad[2] = 0.5 * (right + plus - minus);
        quad[3] = 0.5 * (right - plus + minus);
    }
    values.copy_from_slice(&scratch[..values.len()]);
}

/// Shrinks the details of all levels.
fn shrink_details(values: &mut [f32], scratch: &mut [f32], threshold: f32) {
    let mut length = values.len();
    while length >= 4 {
        forward(&mut values[..length], scratch, threshold);
        length /= 4;
    }
    while length < values.len() {
        length *= 4;
        inverse(&mut values[..length], scratch);
    }
}

impl Solver for HaarFista {
    fn kind(&self) -> SolverKind {
        SolverKind::HaarFista
    }

    fn solve(&mut self, samples: &Samples<'_>, cells: &Cells, field: &mut Field) {
        let known: Vec<_> = cell_samples(samples, cells).collect();
        self.x.clear();
        self.x.extend(known.iter().map(|cell| cell.mean * cell.weight));
        self.ahead.clone_from(&self.x);
        self.coarse.resize(self.x.len(), 0.0);
        let (mut momentum, mut penalty) = (1.0f32, PENALTY * START);
        for _ in 0..self.iterations {
            self.work.clear();
            self.work.extend(
                self.ahead
                    .iter()
                    .zip(&known)
                    .map(|(value, cell)| value - cell.weight.min(1.0) * (value - cell.mean)),
            );
            shrink_details(&mut self.work, &mut self.coarse, penalty.max(PENALTY));
            penalty *= FALL;
            let next = 0.5 * (1.0 + (1.0 + 4.0 * momentum * momentum).sqrt());
            let push = (momentum - 1.0) / next;
            momentum = next;
            for ((x, ahead), value) in self.x.iter_mut().zip(&mut self.ahead).zip(&self.work) {
                let value = value.clamp(0.0, 1.0);
                *ahead = value + push * (value - *x);
                *x = value;
            }
        }
        field.iterations = self.iterations;
        field.density.clear();
        field.variance.clear();
        for (value, cell) in self.x.iter().zip(&known) {
            let (least, most) = cell.bounds;
            field.density.push(value.max(least).min(most));
            field.variance.push(if least >= most {
                0.0
            } else {
                0.25 * (1.0 - cell.weight.min(1.0)) * (most - least)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::PageSet;
    use super::*;

    #[test]
    fn the_transform_is_orthonormal_and_comes_back() {
        let values: Vec<f32> = (0..256).map(|index| ((index * 37) % 101) as f32 / 101.0).collect();
        let (mut work, mut scratch) = (values.clone(), vec![0.0; 256]);
        forward(&mut work, &mut scratch, 0.0);
        let norm = |values: &[f32]| values.iter().map(|value| value * value).sum::<f32>();
        assert!((norm(&work) - norm(&values)).abs() < 1e-3);
        inverse(&mut work, &mut scratch);
        assert!(values.iter().zip(&work).all(|(a, b)| (a - b).abs() < 1e-5));
        shrink_details(&mut work, &mut scratch, 0.0);
        assert!(values.iter().zip(&work).all(|(a, b)| (a - b).abs() < 1e-5));
    }

    #[test]
    fn a_map_of_few_squares_is_found_from_a_part() {
        let pages = 4096;
        let truth =
            PageSet::of(pages, (0..pages).filter(|place| (1024..1280).contains(place) || place / 64 == 40));
        let seen = PageSet::of(pages, (0..pages).filter(|place| (place * 7919) % 10 < 4));
        let written = truth.intersection(&seen);
        let mut field = Field::default();
        HaarFista::with_iterations(200).solve(
            &Samples::alone(&seen, &written),
            &Cells::new(pages, 4096),
            &mut field,
        );
        let wrong: f32 = (0..pages)
            .map(|place| (field.density[place] - f32::from(u8::from(truth.contains(place)))).abs())
            .sum();
        assert!(wrong < 0.1 * truth.count() as f32, "{wrong} of {}", truth.count());
    }
}
