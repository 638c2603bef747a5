//! The posterior of a two-state chain along the line: mean and variance.
//!
//! Written and silent stretches alternate; a page's state depends on its neighbour's alone. With exact samples the
//! posterior of an unseen page depends on the nearest sample to either side only, in closed form, so there is no need
//! for a forward and a backward pass. Share and hazard are found from the samples themselves. Where the plan has a
//! belief, which knows the page's past as well, that takes the chain's place.

use super::{Cells, Field, Samples, Solver, SolverKind};

/// The solver, and what it found of each page.
#[derive(Debug, Clone, Default)]
pub struct Markov {
    pages: Vec<f32>,
}

/// A stationary chain of two states.
#[derive(Debug, Clone, Copy)]
struct Chain {
    /// How likely a page is written.
    share: f64,
    /// How much of the dependence of states is left after one page, 0..1.
    decay: f64,
}

impl Chain {
    /// The chain by moments: the share of written samples, and how often neighbouring samples differ.
    fn of(samples: &Samples<'_>) -> Self {
        let (mut count, mut written, mut changes, mut apart) = (0u64, 0u64, 0u64, 0u64);
        let mut last: Option<(usize, bool)> = None;
        for place in samples.seen.iter() {
            let state = samples.written.contains(place);
            count += 1;
            written += u64::from(state);
            if let Some((before, other)) = last.replace((place, state)) {
                changes += u64::from(other != state);
                apart += (place - before) as u64;
            }
        }
        let share = (written as f64 + 0.5) / (count as f64 + 1.0);
        let pairs = count.saturating_sub(1).max(1) as f64;
        // At mean distance g states differ with probability 2p(1−p)(1−decay^g).
        let strewn = (changes as f64 + 0.5) / (pairs * 2.0 * share * (1.0 - share) + 1.0);
        let distance = (apart as f64 / pairs).max(1.0);
        Self { share, decay: (1.0 - strewn.clamp(0.0, 0.999)).powf(1.0 / distance) }
    }

    /// How likely a page is written, `distance` pages from one in state `from`.
    fn step(&self, from: bool, distance: usize) -> f64 {
        let left = self.decay.powi(distance.min(1 << 20) as i32);
        self.share + left * (f64::from(u8::from(from)) - self.share)
    }

    /// The same given both neighbouring samples, as (state, distance).
    fn between(&self, left: Option<(bool, usize)>, right: Option<(bool, usize)>) -> f64 {
        let before = left.map_or(self.share, |(state, distance)| self.step(state, distance));
        let (if_written, if_silent) = match right {
            None => return before,
            Some((state, distance)) => {
                let (from_written, from_silent) = (self.step(true, distance), self.step(false, distance));
                if state { (from_written, from_silent) } else { (1.0 - from_written, 1.0 - from_silent) }
            }
        };
        let (written, silent) = (before * if_written, (1.0 - before) * if_silent);
        written / (written + silent).max(f64::MIN_POSITIVE)
    }
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
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_closed_form_is_the_sum_over_all_lines(
            states in prop::collection::vec(prop::option::weighted(0.3, any::<bool>()), 2..11),
            share in 0.05f64..0.95, decay in 0.0f64..0.98,
        ) {
            let chain = Chain { share, decay };
            let pages = states.len();
            let step = |from: bool, to: bool| {
                let written = chain.step(from, 1);
                if to { written } else { 1.0 - written }
            };
            let (mut total, mut written) = (0.0, vec![0.0; pages]);
            for bits in 0u32..1 << pages {
                let line: Vec<bool> = (0..pages).map(|place| bits >> place & 1 != 0).collect();
                if states.iter().zip(&line).any(|(seen, state)| seen.is_some_and(|seen| seen != *state)) {
                    continue;
                }
                let start = if line[0] { share } else { 1.0 - share };
                let weight: f64 = start * line.windows(2).map(|pair| step(pair[0], pair[1])).product::<f64>();
                total += weight;
                (0..pages).filter(|place| line[*place]).for_each(|place| written[place] += weight);
            }
            prop_assume!(total > 1e-12);
            for place in (0..pages).filter(|place| states[*place].is_none()) {
                let left = (0..place).rev().find_map(|at| states[at].map(|state| (state, place - at)));
                let right = (place + 1..pages).find_map(|at| states[at].map(|state| (state, at - place)));
                let own = chain.between(left, right);
                prop_assert!((own - written[place] / total).abs() < 1e-9, "page {}: {}", place, own);
            }
        }
    }

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
