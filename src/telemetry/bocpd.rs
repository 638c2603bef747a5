//! Bayesian online change-point detection (Adams and MacKay 2007, arXiv:0710.3742).
//!
//! A posterior is kept over how long the present run has lasted. Within a run each feature is a line in time with normal noise,
//! whose coefficients and variance have their conjugate prior (normal-inverse-gamma): a front that moves or a table that
//! grows steadily is one run. A feature's value may also come from nowhere, with a small probability, so that a single odd
//! window (a collection of garbage, a late scan) neither ends a run nor spoils what is known of it.
//!
//! The `changepoint` crate has the algorithm for one constant, normal feature without outliers; it keeps every run length there
//! ever was, and brings a second ndarray and a linear algebra into the tree. These pages are shorter than the adapter would be.

/// What is expected of a feature before anything is seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Prior {
    /// Its mean, and the deviation from it that a run's level may have.
    pub mean: f64,
    /// See `mean`.
    pub level: f64,
    /// The change from one window to the next that a run may have.
    pub slope: f64,
    /// The noise within a run.
    pub noise: f64,
    /// Differences below this are none.
    pub floor: f64,
    /// The range of values that come from nowhere.
    pub range: f64,
}

/// The probability that a value comes from nowhere.
const STRAY: f64 = 0.03;
/// What the prior of the noise is worth, in windows: half of this many.
const SHAPE: f64 = 2.0;
/// Runs that are followed; the least probable go first.
const RUNS: usize = 128;

/// A straight line through a feature's values so far, in normal-inverse-gamma form.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Precision matrix of level and slope, in units of the noise: [[p00, p01], [p01, p11]].
    p00: f64,
    p01: f64,
    p11: f64,
    /// Precision times mean.
    h0: f64,
    h1: f64,
    /// Σ y² with the prior's part.
    squares: f64,
    shape: f64,
    scale0: f64,
}

impl Line {
    fn new(prior: &Prior) -> Self {
        let p00 = (prior.noise / prior.level).powi(2);
        Self {
            p00,
            p01: 0.0,
            p11: (prior.noise / prior.slope).powi(2),
            h0: p00 * prior.mean,
            h1: 0.0,
            squares: p00 * prior.mean * prior.mean,
            shape: SHAPE,
            scale0: SHAPE * prior.noise * prior.noise,
        }
    }

    /// ln of the density of `value` at `time` windows after the run's begin, and the chance that it is no stray.
    fn predict(&self, time: f64, value: f64, prior: &Prior) -> (f64, f64) {
        let det = self.p00 * self.p11 - self.p01 * self.p01;
        let level = (self.p11 * self.h0 - self.p01 * self.h1) / det;
        let slope = (self.p00 * self.h1 - self.p01 * self.h0) / det;
        let rest = self.squares - (level * self.h0 + slope * self.h1);
        let scale = self.scale0 + 0.5 * rest.max(0.0);
        let leverage = (self.p11 - 2.0 * time * self.p01 + time * time * self.p00) / det;
        let variance = scale / self.shape * (1.0 + leverage) + prior.floor * prior.floor;
        let a = self.shape;
        let off = value - (level + slope * time);
        let student = half_step(a)
            - 0.5 * (2.0 * a * std::f64::consts::PI * variance).ln()
            - (a + 0.5) * (off * off / (2.0 * a * variance)).ln_1p();
        let (usual, stray) = ((1.0 - STRAY) * student.exp(), STRAY / prior.range);
        ((usual + stray).ln(), usual / (usual + stray))
    }

    fn learn(&mut self, time: f64, value: f64, weight: f64) {
        self.p00 += weight;
        self.p01 += weight * time;
        self.p11 += weight * time * time;
        self.h0 += weight * value;
        self.h1 += weight * time * value;
        self.squares += weight * value * value;
        self.shape += weight / 2.0;
    }
}

/// ln Γ(a + ½) − ln Γ(a), for a ≥ 1: the asymptotic series (Abramowitz and Stegun 6.1.47) where it is good to 1e-9.
fn half_step(mut a: f64) -> f64 {
    let mut product = 1.0;
    while a < 8.0 {
        product *= a / (a + 0.5);
        a += 1.0;
    }
    let a3 = a * a * a;
    product.ln() + 0.5 * a.ln() - 1.0 / (8.0 * a) + 1.0 / (192.0 * a3) - 1.0 / (640.0 * a3 * a * a)
}

/// One answer to when the present run began.
#[derive(Debug, Clone)]
struct Run<const N: usize> {
    start: u64,
    /// ln of its posterior probability.
    weight: f64,
    lines: [Line; N],
}

/// The posterior over when the present run began, for N features.
#[derive(Debug, Clone)]
pub(super) struct Bocpd<const N: usize> {
    priors: [Prior; N],
    runs: Vec<Run<N>>,
    windows: u64,
}

impl<const N: usize> Bocpd<N> {
    pub fn new(priors: [Prior; N]) -> Self {
        Self { priors, runs: Vec::new(), windows: 0 }
    }

    /// Takes the features of a window before which a change has the probability `hazard`. What is `None` says nothing.
    pub fn window(&mut self, values: &[Option<f64>; N], hazard: f64) {
        let fresh = self.priors.each_ref().map(Line::new);
        let stays = (1.0 - hazard).ln();
        self.runs.iter_mut().for_each(|run| run.weight += stays);
        // All runs give the same to the one that begins now.
        let start = if self.runs.is_empty() { 0.0 } else { hazard.ln() };
        self.runs.push(Run { start: self.windows, weight: start, lines: fresh });
        for run in &mut self.runs {
            let time = (self.windows - run.start) as f64;
            for ((line, prior), value) in run.lines.iter_mut().zip(&self.priors).zip(values) {
                let Some(value) = *value else { continue };
                let (density, usual) = line.predict(time, value, prior);
                run.weight += density;
                line.learn(time, value, usual);
            }
        }
        self.windows += 1;
        self.prune();
    }

    fn prune(&mut self) {
        if self.runs.len() > RUNS
            && let Some(least) =
                (0..self.runs.len() - 1).min_by(|a, b| self.runs[*a].weight.total_cmp(&self.runs[*b].weight))
        {
            self.runs.remove(least);
        }
        let most = self.runs.iter().map(|run| run.weight).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.runs.iter().map(|run| (run.weight - most).exp()).sum();
        let norm = most + sum.ln();
        self.runs.iter_mut().for_each(|run| run.weight -= norm);
    }

    /// The probability that the present run began in the window `start` or later, and when it then most probably began.
    pub fn began_since(&self, start: u64) -> (f64, u64) {
        let late = self.runs.iter().filter(|run| run.start >= start);
        let mass = late.clone().map(|run| run.weight.exp()).sum();
        let best = late.max_by(|a, b| a.weight.total_cmp(&b.weight));
        (mass, best.map_or(start, |run| run.start))
    }

    /// Windows taken.
    pub fn windows(&self) -> u64 {
        self.windows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIOR: Prior = Prior { mean: 0.5, level: 0.3, slope: 0.02, noise: 0.03, floor: 0.01, range: 1.0 };

    /// Noise that is the same in every run of the tests.
    fn noise(n: u64) -> f64 {
        let x = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / f64::from(1 << 24);
        0.04 * (x - 0.5)
    }

    #[test]
    fn the_half_step_of_the_gamma_function() {
        // Γ(3/2)/Γ(1) = √π/2, Γ(5/2)/Γ(2) = 3√π/4, Γ(21/2)/Γ(10) = 3.1233...
        let root = std::f64::consts::PI.sqrt();
        assert!((half_step(1.0) - (root / 2.0).ln()).abs() < 1e-8);
        assert!((half_step(2.0) - (0.75 * root).ln()).abs() < 1e-8);
        assert!((half_step(10.0).exp() - 1_133_278.388_948_785 / 362_880.0).abs() < 1e-6);
    }

    #[test]
    fn a_step_is_dated_and_a_slope_or_a_stray_is_none() {
        let mut step = Bocpd::new([PRIOR]);
        for n in 0..150 {
            step.window(&[Some(noise(n) + if n < 100 { 0.3 } else { 0.5 })], 0.01);
            let (mass, start) = step.began_since(20);
            match n {
                30..100 => assert!(mass < 0.5, "window {n}: {mass} since {start}"),
                110.. => assert!(mass > 0.99 && start == 100, "window {n}: {mass} since {start}"),
                _ => {}
            }
        }
        let (mut slope, mut stray) = (Bocpd::new([PRIOR]), Bocpd::new([PRIOR]));
        for n in 0..400 {
            slope.window(&[Some(noise(n) + n as f64 / 400.0)], 0.01);
            stray.window(&[Some(noise(n) + if n % 50 == 49 { 0.9 } else { 0.3 })], 0.01);
            if n > 30 {
                assert!(slope.began_since(20).0 < 0.5, "window {n} of the slope");
                assert!(n % 50 == 49 || stray.began_since(20).0 < 0.5, "window {n} with strays");
            }
        }
    }

    #[test]
    fn the_posterior_is_one_whatever_comes() {
        let mut detector = Bocpd::new([PRIOR]);
        for n in 0..1000u64 {
            let value = match n % 7 {
                0 => None,
                1 => Some(1e9),
                _ => Some(noise(n * n)),
            };
            detector.window(&[value], 0.02);
            assert!((detector.began_since(0).0 - 1.0).abs() < 1e-9);
            assert!(detector.runs.len() <= RUNS);
        }
    }
}
