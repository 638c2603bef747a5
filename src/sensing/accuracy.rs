//! How well a map matches the truth: where the truth is known, and where only samples are.
//!
//! Accuracy = max(0, 1 − Σ|x − x̂| / Σ x), pooled over windows; the empty map scores 0. Bray–Curtis similarity =
//! 2·Σ min(x, x̂) / Σ (x + x̂) stands beside it (on maps of 0 and 1 it is the F1 score).

use std::collections::VecDeque;

use serde::Serialize;

use super::PageSet;

/// Windows over which the online estimate is pooled.
pub const ESTIMATE_WINDOWS: usize = 16;
/// Held-out samples that were written, below which the accuracy is unknown.
pub const LEAST_EVIDENCE: u32 = 20;
/// The normal distribution's quantile for a two-sided interval of 90 %.
const Z: f64 = 1.644_853_6;

/// Sums for a pooled score.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score {
    error: f64,
    truth: f64,
    estimate: f64,
    common: f64,
}

impl Score {
    /// Adds a map against its truth, both 0..1.
    pub fn add(&mut self, truth: &[f32], estimate: &[f32]) {
        for (x, y) in truth.iter().zip(estimate) {
            let (x, y) = (f64::from(*x), f64::from(*y));
            self.error += (x - y).abs();
            self.truth += x;
            self.estimate += y;
            self.common += x.min(y);
        }
    }

    /// Adds another score's windows.
    pub fn merge(&mut self, other: &Self) {
        self.error += other.error;
        self.truth += other.truth;
        self.estimate += other.estimate;
        self.common += other.common;
    }

    /// 1 − relative L1 error, 0..1; 1 when nothing was written and nothing was shown.
    pub fn accuracy(&self) -> f64 {
        if self.error == 0.0 {
            1.0
        } else if self.truth == 0.0 {
            0.0
        } else {
            (1.0 - self.error / self.truth).max(0.0)
        }
    }

    /// Bray–Curtis similarity, 0..1.
    pub fn bray_curtis(&self) -> f64 {
        let both = self.truth + self.estimate;
        if both == 0.0 { 1.0 } else { 2.0 * self.common / both }
    }
}

/// An estimated accuracy, 0..1, and the interval that holds the true one nine times in ten.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AccuracyEstimate {
    /// The best guess.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// One window's sums: what the held-out samples say of all pages that are not seen.
#[derive(Debug, Clone, Copy, Default)]
struct Evidence {
    error: f64,
    activity: f64,
    /// Variances and covariance of the two.
    error_variance: f64,
    activity_variance: f64,
    covariance: f64,
    /// The same of the sums by stretch of the line, with their number.
    stretches: [f64; 3],
    stretch_count: u32,
    /// Held-out samples, and those that were written.
    samples: u32,
    active: u32,
    /// The sum of the samples' weights: how many unseen pages each stands for.
    weight: f64,
    /// The sum of the squares of the weights.
    weight_squares: f64,
    /// Pages that are not seen.
    unseen: usize,
}

/// Pages of a stretch of the line whose samples are not taken for independent.
const STRETCH: usize = 128;

/// The sums of one stretch.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    index: usize,
    error: f64,
    activity: f64,
    samples: u32,
}

impl Stretch {
    fn close(self, window: &mut Evidence) {
        if self.samples > 0 {
            window.stretches[0] += self.error * self.error;
            window.stretches[1] += self.activity * self.activity;
            window.stretches[2] += self.error * self.activity;
            window.stretch_count += 1;
        }
    }
}

/// The accuracy of maps whose truth is not known, page by page, from samples that were held out.
///
/// Held-out samples are drawn at random with known chances π, and the map is made without them; so each of them stands
/// for (1 − π)/π pages of its kind that were not seen (Horvitz and Thompson 1952). What the rest of the samples saw is
/// exact. The sums are pooled over [`ESTIMATE_WINDOWS`] windows. The interval is Wilson's, on the error's count in units
/// of a sample's weight, so that it does not close where errors are rare. Errors come in clusters (where a run ends, where
/// a phase begins), so its width is that of the sums over stretches of `STRETCH` pages, where that is more.
#[derive(Debug, Clone, Default)]
pub struct HeldOutAccuracy {
    windows: VecDeque<Evidence>,
}

impl HeldOutAccuracy {
    /// No windows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all windows.
    pub fn clear(&mut self) {
        self.windows.clear();
    }

    /// Takes a window: the armed pages, the `written` ones among them, the held-out ones with their chances, and what
    /// the map that was made without them says of them (0..1).
    pub fn window(
        &mut self,
        armed: &PageSet,
        written: &PageSet,
        held_out: &PageSet,
        chance: impl Fn(usize) -> f64,
        foretold: impl Fn(usize) -> f32,
    ) {
        let mut window = Evidence {
            activity: written.count() as f64,
            unseen: armed.pages() - armed.count(),
            ..Default::default()
        };
        let mut stretch = Stretch::default();
        for place in held_out.iter() {
            if place / STRETCH != stretch.index {
                stretch.close(&mut window);
                stretch = Stretch { index: place / STRETCH, ..Default::default() };
            }
            let chance = chance(place).clamp(1e-6, 1.0);
            let weight = (1.0 - chance) / chance;
            let truth = f64::from(u8::from(written.contains(place)));
            let error = (truth - f64::from(foretold(place))).abs();
            window.error += weight * error;
            window.activity += weight * truth;
            // Of a sum over the pages that were not drawn, guessed from those that were: Σ e²·(1 − π)/π², over the draw.
            let spread = weight / chance;
            window.error_variance += error * error * spread;
            window.activity_variance += truth * spread;
            window.covariance += error * truth * spread;
            window.samples += 1;
            window.active += u32::from(truth > 0.0);
            window.weight += weight;
            window.weight_squares += weight * weight;
            stretch.error += weight * error;
            stretch.activity += weight * truth;
            stretch.samples += 1;
        }
        stretch.close(&mut window);
        self.push(window);
    }

    /// Takes a window in which every page was seen, and so many were written.
    pub fn exact(&mut self, written: f64) {
        self.push(Evidence { activity: written, ..Default::default() });
    }

    fn push(&mut self, window: Evidence) {
        if self.windows.len() == ESTIMATE_WINDOWS {
            self.windows.pop_front();
        }
        self.windows.push_back(window);
    }

    /// The accuracy over the last windows, or `None` while there is too little evidence. Where every page was seen in all
    /// of them it is 1, and known.
    pub fn estimate(&self) -> Option<AccuracyEstimate> {
        let mut sum = Evidence::default();
        for window in &self.windows {
            sum.error += window.error;
            sum.activity += window.activity;
            sum.error_variance += window.error_variance;
            sum.activity_variance += window.activity_variance;
            sum.covariance += window.covariance;
            for (sum, own) in sum.stretches.iter_mut().zip(window.stretches) {
                *sum += own;
            }
            sum.stretch_count += window.stretch_count;
            sum.samples += window.samples;
            sum.active += window.active;
            sum.weight += window.weight;
            sum.weight_squares += window.weight_squares;
            sum.unseen += window.unseen;
        }
        if self.windows.is_empty() {
            return None;
        }
        if sum.unseen == 0 {
            return Some(AccuracyEstimate { value: 1.0, low: 1.0, high: 1.0 });
        }
        if sum.active < LEAST_EVIDENCE || sum.activity <= 0.0 {
            return None;
        }
        let ratio = sum.error / sum.activity;
        let of_ratio = |[error, activity, both]: [f64; 3]| {
            (error - 2.0 * ratio * both + ratio * ratio * activity).max(0.0)
        };
        let alone = of_ratio([sum.error_variance, sum.activity_variance, sum.covariance]);
        let stretches = f64::from(sum.stretch_count);
        let variance = alone.max(of_ratio(sum.stretches) * stretches / (stretches - 1.0).max(1.0));
        // What an error counts that has not been seen yet: the weight of the sample that stands for a page.
        let unit = sum.weight_squares / sum.weight.max(f64::MIN_POSITIVE);
        let middle = sum.error + unit * Z * Z / 2.0;
        let half = Z * (variance + unit * unit * Z * Z / 4.0).sqrt();
        let accuracy = |error: f64| (1.0 - error / sum.activity).clamp(0.0, 1.0);
        Some(AccuracyEstimate {
            value: accuracy(sum.error),
            low: accuracy(middle + half),
            high: accuracy(middle - half),
        })
    }
}
