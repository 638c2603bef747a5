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

/// What the held-out samples of one stratum say in one window of the pages that are not seen: sums of e, whether the map was
/// wrong, and t, whether the page was written.
#[derive(Debug, Clone, Copy, Default)]
struct Stratum {
    /// Pages that are not seen.
    unseen: f64,
    /// Held-out samples.
    samples: f64,
    /// Σ w, Σ w·e and Σ w·t with the weights w = (1 − π)/π: how many unseen pages each sample stands for.
    weight: f64,
    error: f64,
    activity: f64,
    /// Σ w².
    squares: f64,
    /// Σ s, Σ s·e, Σ s·t, Σ s·e², Σ s·t², Σ s·e·t with s = (1 − π)/π², of which the variance over the draw is made.
    spread: [f64; 6],
    /// Σ s²·e², by which it is seen how few samples that may rest on.
    heavy: f64,
}

impl Stratum {
    fn add(&mut self, other: &Self) {
        self.unseen += other.unseen;
        self.samples += other.samples;
        self.weight += other.weight;
        self.error += other.error;
        self.activity += other.activity;
        for (sum, own) in self.spread.iter_mut().zip(other.spread) {
            *sum += own;
        }
        self.squares += other.squares;
        self.heavy += other.heavy;
    }

    fn sample(&mut self, chance: f64, error: f64, activity: f64) {
        let weight = (1.0 - chance) / chance;
        self.samples += 1.0;
        self.weight += weight;
        self.error += weight * error;
        self.activity += weight * activity;
        self.squares += weight * weight;
        let of = [1.0, error, activity, error * error, activity * activity, error * activity];
        for (sum, value) in self.spread.iter_mut().zip(of) {
            *sum += weight / chance * value;
        }
        self.heavy += (weight / chance * error).powi(2);
    }

    /// How many unseen pages a unit of weight stands for, once their number is known.
    fn scale(&self) -> f64 {
        if self.weight > 0.0 { self.unseen / self.weight } else { 0.0 }
    }

    /// The variance of error − `ratio`·activity of the unseen pages.
    fn variance(&self, ratio: f64) -> f64 {
        if self.samples < 1.0 {
            return 0.0;
        }
        let [spread, error, activity, errors, activities, both] = self.spread;
        let mean = (self.error - ratio * self.activity) / self.weight;
        let around = errors - 2.0 * ratio * both + ratio * ratio * activities
            - 2.0 * mean * (error - ratio * activity)
            + mean * mean * spread;
        let free = self.samples / (self.samples - 1.0).max(1.0);
        around.max(0.0) * free * self.scale().powi(2)
    }
}

/// One window's evidence.
#[derive(Debug, Clone, Default)]
struct Evidence {
    /// By stratum, ascending.
    strata: Vec<(u8, Stratum)>,
    /// Pages that were seen written.
    seen: f64,
    /// Held-out samples that were written.
    active: u32,
    /// Pages that are not seen.
    unseen: usize,
    /// What the map that is shown says else of them, in pages.
    otherwise: f64,
}

/// Strata with fewer samples than this, in all windows, are joined with the next.
const LEAST_SAMPLES: f64 = 10.0;

/// The accuracy of maps whose truth is not known, page by page, from samples that were held out.
///
/// Held-out samples are drawn at random with known chances π, and the map is made without them; so each of them stands
/// for (1 − π)/π pages of its kind that were not seen (Horvitz and Thompson 1952). How many of each kind were not seen is known, so
/// the weights are scaled to that (poststratification: Holt and Smith 1979). What the rest of the samples saw is exact. The sums
/// are pooled over [`ESTIMATE_WINDOWS`] windows. The interval is Wilson's, on the error's count in units of a sample's
/// weight, so that it does not close where errors are rare. The map that is shown was made with the held-out samples as well, and
/// where that makes it say something else it is likely to be right: the interval's upper end allows for it.
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

    /// Takes a window: the armed pages, the `written` ones among them, the held-out ones with their chances, the stratum of each
    /// page, and what is said of it (0..1) by the map that was made without them and by the one that is shown.
    pub fn window(
        &mut self,
        armed: &PageSet,
        written: &PageSet,
        held_out: &PageSet,
        chance: impl Fn(usize) -> f64,
        stratum: impl Fn(usize) -> u8,
        said: impl Fn(usize) -> (f32, f32),
    ) {
        let mut strata = [Stratum::default(); 256];
        let mut otherwise = 0.0;
        for place in armed.complement() {
            strata[usize::from(stratum(place))].unseen += 1.0;
            let (foretold, shown) = said(place);
            otherwise += f64::from((foretold - shown).abs());
        }
        let mut active = 0;
        for place in held_out.iter() {
            let truth = f64::from(u8::from(written.contains(place)));
            let error = (truth - f64::from(said(place).0)).abs();
            strata[usize::from(stratum(place))].sample(chance(place).clamp(1e-6, 1.0), error, truth);
            active += u32::from(truth > 0.0);
        }
        let strata = (0..=255u8).zip(strata).filter(|(_, sums)| sums.unseen + sums.samples > 0.0).collect();
        let (seen, unseen) = (written.count() as f64, armed.pages() - armed.count());
        self.push(Evidence { strata, seen, active, unseen, otherwise });
    }

    /// Takes a window in which every page was seen, and so many were written.
    pub fn exact(&mut self, written: f64) {
        self.push(Evidence { seen: written, ..Default::default() });
    }

    fn push(&mut self, window: Evidence) {
        if self.windows.len() == ESTIMATE_WINDOWS {
            self.windows.pop_front();
        }
        self.windows.push_back(window);
    }

    /// The strata of all windows, none of them with too few samples where there are enough in all.
    fn strata(&self) -> Vec<Stratum> {
        let mut all = [Stratum::default(); 256];
        for (stratum, sums) in self.windows.iter().flat_map(|window| &window.strata) {
            all[usize::from(*stratum)].add(sums);
        }
        let mut joined: Vec<Stratum> = Vec::new();
        for sums in all.iter().filter(|sums| sums.unseen + sums.samples > 0.0) {
            match joined.last_mut().filter(|last| last.samples < LEAST_SAMPLES) {
                Some(last) => last.add(sums),
                None => joined.push(*sums),
            }
        }
        if let [.., before, last] = joined.as_mut_slice()
            && last.samples < LEAST_SAMPLES
        {
            before.add(&last.clone());
            joined.pop();
        }
        joined
    }

    /// The accuracy over the last windows, or `None` while there is too little evidence. Where every page was seen in all
    /// of them it is 1, and known.
    pub fn estimate(&self) -> Option<AccuracyEstimate> {
        if self.windows.is_empty() {
            return None;
        }
        if self.windows.iter().all(|window| window.unseen == 0) {
            return Some(AccuracyEstimate { value: 1.0, low: 1.0, high: 1.0 });
        }
        let strata = self.strata();
        let sum = |of: &dyn Fn(&Stratum) -> f64| {
            strata.iter().map(|stratum| stratum.scale() * of(stratum)).sum::<f64>()
        };
        let error = sum(&|stratum| stratum.error);
        let activity =
            self.windows.iter().map(|window| window.seen).sum::<f64>() + sum(&|stratum| stratum.activity);
        let active: u32 = self.windows.iter().map(|window| window.active).sum();
        if active < LEAST_EVIDENCE || activity <= 0.0 {
            return None;
        }
        let ratio = error / activity;
        let variance: f64 = strata.iter().map(|stratum| stratum.variance(ratio)).sum();
        // What an error counts that has not been seen yet: the weight of the sample that stands for a page.
        let squares = sum(&|stratum| stratum.scale() * stratum.squares);
        let unit = squares / sum(&|stratum| stratum.weight).max(f64::MIN_POSITIVE);
        let middle = error + unit * Z * Z / 2.0;
        // Where the errors are few, or some of them count for many, their spread is not known well either: Student's quantile, of as many
        // degrees of freedom as errors of one weight would tell as much.
        let errors = sum(&|stratum| stratum.scale() * stratum.spread[3]);
        let heavy = sum(&|stratum| stratum.scale().powi(3) * stratum.heavy);
        let quantile = student(if heavy > 0.0 { errors * errors / heavy } else { f64::INFINITY });
        let half = quantile * (variance + unit * unit * Z * Z / 4.0).sqrt();
        let otherwise: f64 = self.windows.iter().map(|window| window.otherwise).sum();
        let accuracy = |error: f64| (1.0 - error / activity).clamp(0.0, 1.0);
        Some(AccuracyEstimate {
            value: accuracy(error),
            low: accuracy(middle + half),
            high: accuracy(middle - half - otherwise),
        })
    }
}

/// Student's quantile for a two-sided interval of 90 % (Cornish and Fisher's expansion, to the second term), for three
/// degrees of freedom and more.
fn student(freedom: f64) -> f64 {
    let freedom = freedom.max(3.0);
    let (z, cube, fifth) = (Z, Z.powi(3), Z.powi(5));
    z + (cube + z) / (4.0 * freedom) + (5.0 * fifth + 16.0 * cube + 3.0 * z) / (96.0 * freedom * freedom)
}
