//! The posterior of a two-state chain along the line: mean and variance.
//!
//! Written and silent stretches alternate; a page's state depends on its neighbour's alone. With exact samples the
//! posterior of an unseen page depends on the nearest sample to either side only, in closed form, so there is no need
//! for a forward and a backward pass. Share and hazard are found from the samples themselves. Where the plan has a
//! belief, which knows the page's past as well, that takes the chain's place.

use super::chain::Chain;
use super::{Cells, Field, Samples, Solver, SolverKind};

/// The solver, and what it found of each page.
#[derive(Debug, Clone, Default)]
pub struct Markov {
    pages: Vec<f32>,
}

impl Markov {
    /// Nothing solved yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn fill_gap(&mut self, chain: &Chain, samples: &Samples<'_>, gap: std::ops::Range<usize>) {
        let pages = samples.seen.pages();
        for place in gap.clone() {
            let left = gap.start.checked_sub(1).map(|at| (samples.written.contains(at), place - at));
            let right = (gap.end < pages).then(|| (samples.written.contains(gap.end), gap.end - place));
            self.pages[place] =
                samples.believed(place).unwrap_or_else(|| chain.between(left, right) as f32).clamp(0.0, 1.0);
        }
    }
}

impl Solver for Markov {
    fn kind(&self) -> SolverKind {
        SolverKind::Markov
    }

    fn solve(&mut self, samples: &Samples<'_>, cells: &Cells, field: &mut Field) {
        let chain = Chain::of(samples);
        let pages = samples.seen.pages();
        self.pages.clear();
        self.pages.resize(pages, 0.0);
        let mut next = 0;
        for place in samples.seen.iter() {
            self.fill_gap(&chain, samples, next..place);
            self.pages[place] = f32::from(u8::from(samples.written.contains(place)));
            next = place + 1;
        }
        self.fill_gap(&chain, samples, next..pages);
        field.iterations = 0;
        field.density.clear();
        field.variance.clear();
        for d in 0..cells.count() {
            let of_cell = cells.pages_of(d);
            let total = of_cell.len() as f32;
            let (mut sum, mut variance) = (0.0, 0.0);
            for probability in &self.pages[of_cell] {
                sum += probability;
                variance += probability * (1.0 - probability);
            }
            field.density.push((sum / total).min(1.0));
            // Pages of a cell are taken as independent given the samples.
            field.variance.push(variance / (total * total));
        }
    }

    fn page(&self, place: usize) -> Option<f32> {
        self.pages.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::PageSet;
    use super::*;

    #[test]
    fn what_is_far_from_samples_is_less_sure() {
        let pages = 4096;
        let seen = PageSet::of(pages, (0..pages).filter(|place| *place < 2048 || place % 64 == 0));
        let written = PageSet::of(pages, seen.iter().filter(|place| place / 100 % 2 == 0));
        let mut field = Field::default();
        Markov::new().solve(&Samples::alone(&seen, &written), &Cells::new(pages, 64), &mut field);
        let confidence: Vec<f32> = field.confidence().collect();
        assert!(confidence[..32].iter().all(|sure| *sure == 1.0));
        assert!(confidence[32..].iter().all(|sure| *sure < 1.0));
    }
}
