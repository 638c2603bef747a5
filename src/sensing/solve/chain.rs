//! How written and silent stretches alternate along the line: what two samples say of a page between them.

use super::Samples;

/// A stationary chain of two states.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    /// How likely a page is written.
    share: f64,
    /// How much of the dependence of states is left after one page, 0..1.
    decay: f64,
}

impl Chain {
    /// The chain by moments: the share of written samples, and how often neighbouring samples differ.
    pub(super) fn of(samples: &Samples<'_>) -> Self {
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
    pub(super) fn between(&self, left: Option<(bool, usize)>, right: Option<(bool, usize)>) -> f64 {
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

#[cfg(test)]
mod tests {
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
}
