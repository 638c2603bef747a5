//! How densely each kind of page is sampled: where a fault removes most error.
//!
//! For pages that are written with probability p and whose state changes along the line with hazard h a page, the state
//! of a page d pages from a sample differs from the sample's with probability 2p(1−p)(1−e^(−h·d)) (a two-state Markov
//! chain). A sample every 1/f pages leaves a mean distance of 1/(4f) and a share of 1−f pages unseen, each of which is
//! wrong with at most min(p, 1−p): the better guess without any sample. It costs f·p faults a page. The rates minimise
//! the expected error plus λ times the expected faults, and λ is set so that the faults are what may be spent.

use super::belief::{BELIEFS, belief_class, share_class};

/// Pages of a block; statistics of where on the line are by block.
pub(super) const BLOCK: usize = 512;
/// Classes of hazard, in octaves from 2^−9 a page.
const HAZARDS: usize = 12;
/// Candidate rates: powers of √½.
const RATES: usize = 13;
/// No page is sampled less densely: what is never looked at is never learned.
const LEAST_RATE: f64 = 0.03;
/// A block's statistics keep this share from window to window.
const KEEP: f64 = 0.8;
/// The least λ that is told apart from nothing: at it, all that can be armed is.
pub(super) const CHEAP: f64 = 1e-6;
/// What the whole line says counts as this many samples of a block.
const SHRINK_SHARE: f64 = 40.0;
const SHRINK_HAZARD: f64 = 30.0;

/// What a block's samples of one window say of the pages that were silent, or written, in the window before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BlockSamples {
    pub(super) samples: f64,
    pub(super) written: f64,
    /// Pairs of neighbouring samples, those of them that differ, and the pages between them in all.
    pub(super) pairs: f64,
    pub(super) changes: f64,
    pub(super) apart: f64,
}

/// What is known of a block's pages of one such kind.
#[derive(Debug, Clone, Copy)]
struct Kind {
    share: f64,
    share_weight: f64,
    ln_hazard: f64,
    hazard_weight: f64,
}

impl Kind {
    fn unknown(share: f64) -> Self {
        Self { share, share_weight: 0.0, ln_hazard: 0.1f64.ln(), hazard_weight: 0.0 }
    }

    fn toward(&self, line: &Kind) -> (f64, f64) {
        let mix = |own: f64, weight: f64, other: f64, shrink: f64| {
            (own * weight + other * shrink) / (weight + shrink)
        };
        let share = mix(self.share, self.share_weight, line.share, SHRINK_SHARE);
        (share, mix(self.ln_hazard, self.hazard_weight, line.ln_hazard, SHRINK_HAZARD))
    }
}

/// The classes of a block's pages: share of written ones, and hazard.
#[derive(Debug, Clone, Copy)]
pub(super) struct BlockClass {
    pub(super) share: usize,
    pub(super) hazard: usize,
}

/// Statistics along the line. Index 0 of a pair is for pages silent in the window before, 1 for written ones.
#[derive(Debug, Clone)]
pub(super) struct BlockStatistics {
    blocks: Vec<[Kind; 2]>,
    line: [Kind; 2],
}

impl BlockStatistics {
    pub(super) fn new(pages: usize) -> Self {
        let line = [Kind::unknown(0.1), Kind::unknown(0.5)];
        Self { blocks: vec![[Kind::unknown(0.0); 2]; pages.div_ceil(BLOCK)], line }
    }

    pub(super) fn classes(&self, block: usize) -> [BlockClass; 2] {
        [0, 1].map(|kind| {
            let (share, ln_hazard) = self.blocks[block][kind].toward(&self.line[kind]);
            let octave = (ln_hazard / std::f64::consts::LN_2 + 9.5).clamp(0.0, HAZARDS as f64 - 1.0);
            BlockClass { share: share_class(share), hazard: octave as usize }
        })
    }

    /// Follows the blocks to a line of `pages`; `before` says where a block was, if it was.
    pub(super) fn relay(&mut self, pages: usize, before: impl Fn(usize) -> Option<usize>) {
        let next = (0..pages.div_ceil(BLOCK)).map(|block| {
            before(block).and_then(|old| self.blocks.get(old)).copied().unwrap_or([Kind::unknown(0.0); 2])
        });
        self.blocks = next.collect();
    }

    /// Takes what a window's samples said, block by block.
    pub(super) fn learn(&mut self, window: &[[BlockSamples; 2]]) {
        for kind in 0..2 {
            let (mut samples, mut written, mut ln_hazard, mut weight) = (0.0, 0.0, 0.0, 0.0);
            for (block, seen) in self.blocks.iter_mut().zip(window) {
                let (known, seen) = (&mut block[kind], &seen[kind]);
                samples += seen.samples;
                written += seen.written;
                let kept = known.share_weight * KEEP;
                if seen.samples > 0.0 {
                    known.share = (known.share * kept + seen.written) / (kept + seen.samples);
                }
                known.share_weight = kept + seen.samples;
                let kept = known.hazard_weight * KEEP;
                known.hazard_weight = kept;
                if let Some((seen_ln_hazard, seen_weight)) = hazard(seen) {
                    known.ln_hazard =
                        (known.ln_hazard * kept + seen_ln_hazard * seen_weight) / (kept + seen_weight);
                    known.hazard_weight += seen_weight;
                    ln_hazard += seen_ln_hazard * seen_weight;
                    weight += seen_weight;
                }
            }
            let line = &mut self.line[kind];
            if samples > 0.0 {
                line.share = 0.5 * (line.share + written / samples);
            }
            if weight > 1.0 {
                line.ln_hazard = 0.5 * (line.ln_hazard + ln_hazard / weight);
            }
        }
    }
}

/// The logarithm of the hazard a page that a block's sample pairs show, and the pairs that would differ if states were
/// strewn: its weight.
fn hazard(seen: &BlockSamples) -> Option<(f64, f64)> {
    if seen.pairs == 0.0 {
        return None;
    }
    let share = (seen.written + 0.01) / (seen.samples + 0.02);
    let weight = seen.pairs * 2.0 * share * (1.0 - share);
    let ratio = ((seen.changes + 0.02) / (weight + 0.04)).clamp(0.0, 0.98);
    let apart = seen.apart / seen.pairs;
    Some(((-(1.0 - ratio).ln() / apart).clamp(1e-4, 8.0).ln(), weight))
}

/// Pages counted by the classes that a rate depends on.
#[derive(Debug, Clone)]
pub(super) struct Demand {
    cells: Vec<DemandCell>,
}

#[derive(Debug, Clone, Copy, Default)]
struct DemandCell {
    pages: f64,
    /// Sum of the probabilities to be written.
    written: f64,
    /// The same with bursts in it.
    faults: f64,
}

/// The share of pages that is sampled, by class.
#[derive(Debug, Clone)]
pub(super) struct Rates(Vec<f64>);

/// The class of a page: its belief and its block's hazard.
pub(super) fn rate_class(probability: f64, hazard: usize) -> u8 {
    (belief_class(probability) * HAZARDS + hazard) as u8
}

impl Rates {
    /// The same rate everywhere, 0..1.
    pub(super) fn even(rate: f64) -> Self {
        Self(vec![rate.clamp(LEAST_RATE, 1.0); BELIEFS * HAZARDS])
    }

    pub(super) fn of(&self, class: u8) -> f64 {
        self.0[usize::from(class)]
    }
}

impl Demand {
    pub(super) fn new() -> Self {
        Self { cells: vec![DemandCell::default(); BELIEFS * HAZARDS] }
    }

    /// Counts a page that is written with `probability`, or `with_bursts` in the long run.
    pub(super) fn add(&mut self, class: u8, probability: f64, with_bursts: f64) {
        let cell = &mut self.cells[usize::from(class)];
        cell.pages += 1.0;
        cell.written += probability;
        cell.faults += with_bursts;
    }

    /// Works out what sampling each class at each rate leaves in errors.
    pub(super) fn offers(&self) -> Offers<'_> {
        let errors = (self.cells.iter().enumerate())
            .map(|(class, cell)| {
                let hazard = ((class % HAZARDS) as f64 - 9.0).exp2();
                let probability = cell.written / cell.pages.max(1.0);
                std::array::from_fn(|rate| expected_error(probability, hazard, candidate(rate)))
            })
            .collect();
        Offers { cells: &self.cells, errors }
    }
}

/// What faults buy: for each class of pages, the errors that are left at each rate.
#[derive(Debug)]
pub(super) struct Offers<'a> {
    cells: &'a [DemandCell],
    errors: Vec<[f64; RATES]>,
}

impl Offers<'_> {
    /// The rates that are worth λ, the error in pages that a fault must remove, and the faults to expect of them.
    fn at(&self, lambda: f64) -> (Vec<f64>, f64) {
        let mut spent = 0.0;
        let rates = (self.cells.iter().zip(&self.errors))
            .map(|(cell, errors)| {
                if cell.pages == 0.0 {
                    return 1.0;
                }
                let price = lambda * cell.faults / cell.pages;
                let cost = |rate: usize| errors[rate] + price * candidate(rate);
                let best = (0..RATES).min_by(|a, b| cost(*a).total_cmp(&cost(*b))).unwrap_or(0);
                let rate = candidate(best).max(LEAST_RATE);
                spent += cell.faults * rate;
                rate
            })
            .collect();
        (rates, spent)
    }

    /// The faults that are worth λ.
    pub(super) fn faults_at(&self, lambda: f64) -> f64 {
        self.at(lambda).1
    }

    /// The rates whose expected faults are `allowance` (or 1 everywhere where that costs less), and λ: the error, in
    /// pages, that the last fault removes.
    pub(super) fn rates(&self, allowance: f64) -> (Rates, f64) {
        let (mut low, mut high) = (CHEAP, 1e4f64);
        for _ in 0..24 {
            let middle = (low * high).sqrt();
            if self.at(middle).1 > allowance { low = middle } else { high = middle }
        }
        let ((dear, more), (mut rates, less)) = (self.at(low), self.at(high));
        // The rates are few, so the faults jump with λ; what lies between is had by going part of the way.
        if more > less {
            let part = ((allowance - less) / (more - less)).clamp(0.0, 1.0);
            for (rate, dear) in rates.iter_mut().zip(dear) {
                *rate += part * (dear - *rate);
            }
        }
        (Rates(rates), high)
    }
}

fn candidate(rate: usize) -> f64 {
    (-0.5 * rate as f64).exp2()
}

/// The share of pages that are guessed wrong, see the module's head.
fn expected_error(probability: f64, hazard: f64, rate: f64) -> f64 {
    let strewn = 2.0 * probability * (1.0 - probability);
    let near = strewn * (1.0 - (-hazard / (4.0 * rate)).exp());
    (1.0 - rate) * near.min(probability.min(1.0 - probability))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(kinds: &[(usize, f64, usize)]) -> Demand {
        let mut demand = Demand::new();
        for (pages, probability, hazard) in kinds {
            (0..*pages)
                .for_each(|_| demand.add(rate_class(*probability, *hazard), *probability, *probability));
        }
        demand
    }

    #[test]
    fn what_can_be_afforded_is_armed_whole() {
        let (rates, lambda) = demand(&[(10_000, 0.01, 3), (1000, 0.5, 6)]).offers().rates(700.0);
        assert_eq!(rates.of(rate_class(0.01, 3)), 1.0);
        assert_eq!(rates.of(rate_class(0.5, 6)), 1.0);
        assert!(lambda < 1e-5);
    }

    #[test]
    fn the_expected_faults_are_the_allowance_and_go_where_they_tell_most() {
        let kinds = [(20_000, 0.02, 10), (20_000, 0.3, 1), (20_000, 0.3, 10), (20_000, 0.97, 10)];
        for allowance in [1500.0, 4000.0, 8000.0, 16_000.0] {
            let (rates, _) = demand(&kinds).offers().rates(allowance);
            let rate = |kind: usize| rates.of(rate_class(kinds[kind].1, kinds[kind].2));
            let spent: f64 = (0..4).map(|kind| 20_000.0 * kinds[kind].1 * rate(kind)).sum();
            // The floor of the rates has its price, whatever the allowance.
            assert!((spent - allowance).abs() < 0.01 * allowance, "{spent} for {allowance}");
            assert!(rate(3) <= rate(2), "what is surely written is not looked at before what may be");
            assert!(rate(0) >= rate(3), "cold pages cost nothing while they are silent");
        }
        let (rates, _) = demand(&kinds).offers().rates(7000.0);
        assert!(rates.of(rate_class(0.3, 1)) < rates.of(rate_class(0.3, 10)), "long runs need few samples");
    }

    #[test]
    fn the_hazard_of_runs_is_found_from_sparse_pairs() {
        // Runs of 40 pages on, 120 off, seen every 5 pages: two changes a period.
        let seen = BlockSamples { samples: 320.0, written: 80.0, pairs: 320.0, changes: 20.0, apart: 1600.0 };
        let (ln_hazard, weight) = hazard(&seen).expect("pairs");
        // A change of state a page: 1/80; the chain's is that over 2p(1−p).
        assert!((ln_hazard.exp() - (1.0 / 80.0) / 0.375).abs() < 0.006, "{}", ln_hazard.exp());
        assert!(weight > 100.0);
        let strewn = BlockSamples { changes: 120.0, ..seen };
        assert!(hazard(&strewn).expect("pairs").0.exp() > 0.5);
    }
}
