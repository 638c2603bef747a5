//! From how often an armed page was found written to its write rate, with how sure that is.
//!
//! A page that is not armed again at once shows little of itself: it was written once in three looks, and
//! then nobody looked for a second. Taken alone, three looks say next to nothing; but the pages of one
//! program are alike. So the rates of all pages together are found first (the mixture over a fixed set of
//! rates that makes what was seen most likely, by expectation maximisation), and a page's own looks are
//! weighed against it: an empirical Bayes estimate (Robbins 1956; Laird 1978 for the mixture). Its mean is
//! right over all pages, whatever the plan by which they were armed, since what it was stopped by does not
//! matter to a likelihood.

/// Candidates, the last of which is "in every look".
const RATES: usize = 20;
/// The lowest, writes a second, and the factor from one to the next.
const LEAST: f64 = 0.1;
const STEP: f64 = 1.6;
/// Steps of a table in each octave, by the leading bits of a number: 2^3.
const FINE: u32 = 3;
/// Entries for looks that found the page written, up to 127 of them, and for those that did not, up to 1023.
const WRITTEN: usize = 9 << FINE;
const SILENT: usize = 12 << FINE;
/// Expectation maximisation goes on from the last fit.
const ITERATIONS: usize = 4;
/// A look that did not find a page that is always written: a step of the table may hold a fraction of one.
const MISSED: f64 = 1e-3;
/// Every rate stays possible.
const FLOOR: f64 = 1e-5;

/// What is said of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Estimate {
    /// The chance that it is written in one span, 0..1.
    pub mean: f32,
    /// The chance that it is written in one look.
    pub look: f32,
    /// The variance of that.
    pub variance: f32,
}

/// The rates that the pages of a program have, and what follows for each of its pages.
#[derive(Debug, Clone)]
pub(super) struct WriteRates {
    weights: [f64; RATES],
    table: Box<[Estimate]>,
}

impl WriteRates {
    /// Nothing is known: every rate is as likely as another.
    pub fn unknown() -> Self {
        Self { weights: [1.0 / RATES as f64; RATES], table: Box::default() }
    }

    /// Takes what is known of all pages that were not armed all the time: how many looks found each written,
    /// and how many did not. A span is so many looks, each of so many seconds.
    pub fn fit(&mut self, pages: impl Iterator<Item = (f32, f32)>, look: f64, span: f64) {
        let mut seen = vec![0u32; WRITTEN * SILENT];
        pages.for_each(|(written, silent)| seen[entry(written, silent)] += 1);
        // The chance of one look, and its powers at the steps of the table.
        let chance = |rate: usize| {
            let last = rate + 1 == RATES;
            if last { 1.0 } else { 1.0 - (-LEAST * STEP.powi(rate as i32) * look).exp() }
        };
        let powers = |count: usize, of: &dyn Fn(usize) -> f64| -> Vec<[f64; RATES]> {
            (0..count).map(|step| std::array::from_fn(|rate| of(rate).powf(middle(step)))).collect()
        };
        let written = powers(WRITTEN, &chance);
        let silent = powers(SILENT, &|rate| (1.0 - chance(rate)).max(MISSED));
        let likelihood = |at: usize| -> [f64; RATES] {
            let (written, silent) = (&written[at / SILENT], &silent[at % SILENT]);
            std::array::from_fn(|rate| written[rate] * silent[rate])
        };
        let found: Vec<(f64, [f64; RATES])> = seen
            .iter()
            .enumerate()
            .filter(|(_, pages)| **pages > 0)
            .map(|(at, pages)| (f64::from(*pages), likelihood(at)))
            .collect();
        let all: f64 = found.iter().map(|(pages, _)| pages).sum();
        for _ in 0..if all > 0.0 { ITERATIONS } else { 0 } {
            let mut next = [FLOOR; RATES];
            for (pages, likelihood) in &found {
                let posterior = self.posterior(likelihood);
                next.iter_mut().zip(posterior).for_each(|(next, share)| *next += share * pages / all);
            }
            let sum: f64 = next.iter().sum();
            self.weights = next.map(|weight| weight / sum);
        }
        let shown: [f64; RATES] = std::array::from_fn(|rate| 1.0 - (1.0 - chance(rate)).powf(span));
        let looks: [f64; RATES] = std::array::from_fn(chance);
        let said = |at| {
            let posterior = self.posterior(&likelihood(at));
            let mean_of = |of: &dyn Fn(usize) -> f64| -> f64 {
                posterior.iter().enumerate().map(|(rate, share)| share * of(rate)).sum()
            };
            let look = mean_of(&|rate| looks[rate]);
            let square = mean_of(&|rate| looks[rate] * looks[rate]);
            Estimate {
                mean: mean_of(&|rate| shown[rate]) as f32,
                look: look as f32,
                variance: (square - look * look).max(0.0) as f32,
            }
        };
        self.table = (0..seen.len()).map(said).collect();
    }

    fn posterior(&self, likelihood: &[f64; RATES]) -> [f64; RATES] {
        let joint: [f64; RATES] = std::array::from_fn(|rate| self.weights[rate] * likelihood[rate]);
        let sum: f64 = joint.iter().sum();
        // What no rate explains says nothing.
        if sum > 0.0 { joint.map(|share| share / sum) } else { self.weights }
    }

    /// What is said of a page that so many looks found written, and so many did not; none before the first
    /// fit.
    pub fn of(&self, written: f32, silent: f32) -> Option<Estimate> {
        self.table.get(entry(written, silent)).copied()
    }
}

/// Where a table has such a page.
fn entry(written: f32, silent: f32) -> usize {
    step(written).min(WRITTEN - 1) * SILENT + step(silent).min(SILENT - 1)
}

/// The step of a number of looks: as fine as a fraction of a look at zero, as a fraction of itself beyond.
fn step(looks: f32) -> usize {
    let above = (1.0 + 4.0 * looks.max(0.0)).to_bits() - 1f32.to_bits();
    (above >> (f32::MANTISSA_DIGITS - 1 - FINE)) as usize
}

/// The number of looks in the middle of a step.
fn middle(step: usize) -> f64 {
    let at = |step: usize| {
        let bits = ((step as u32) << (f32::MANTISSA_DIGITS - 1 - FINE)) + 1f32.to_bits();
        f64::from((f32::from_bits(bits) - 1.0) / 4.0)
    };
    // What was never seen is exactly that.
    if step == 0 { 0.0 } else { (at(step) + at(step + 1)) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_step_holds_its_looks(looks in 0.0f32..900.0) {
            let near = middle(step(looks)) as f32;
            prop_assert!((near - looks).abs() <= 0.04 + 0.07 * looks, "{} for {}", near, looks);
        }
    }

    /// Pages of which half are written at one rate and half at another, seen until the third write.
    #[test]
    fn pages_of_two_kinds_are_told_apart_and_right_in_the_mean() {
        let (look, span) = (1.0 / 60.0, 6.0);
        let mut random = fastrand::Rng::with_seed(3);
        let rates = [0.5, 20.0];
        let pages: Vec<(f32, f32)> = (0..4000)
            .map(|page| {
                let chance = 1.0 - f64::exp(-rates[page % 2] * look);
                let mut silent = 0.0;
                (0..3).for_each(|_| {
                    while random.f64() > chance {
                        silent += 1.0;
                    }
                });
                (3.0, silent)
            })
            .collect();
        let mut known = WriteRates::unknown();
        (0..20).for_each(|_| known.fit(pages.iter().copied(), look, span));
        for (kind, rate) in rates.into_iter().enumerate() {
            let of_kind = pages.iter().skip(kind).step_by(2);
            let mean =
                of_kind.map(|page| known.of(page.0, page.1).expect("fitted").mean).sum::<f32>() / 2000.0;
            let expected = 1.0 - f32::exp(-0.1 * rate as f32);
            assert!((mean - expected).abs() < 0.03, "{rate}/s: {mean}, {expected}");
        }
    }
}
