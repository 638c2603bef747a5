//! Phase transitions: the target begins to write in another way than before.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ndarray::Array2;

use super::bocpd::{Bocpd, Prior};
use super::features::Features;
use crate::map::{HilbertCapability as _, HilbertSkilling};

/// The order of the maps that regimes are kept as.
pub const REGIME_ORDER: u32 = 6;
/// Cells of such a map.
const CELLS: usize = 1 << (2 * REGIME_ORDER);
/// The mean time between changes that is expected.
const BETWEEN: f64 = 60.0;
/// A change is reported when it is so probable,
const SURE: f64 = 0.95;
/// and when the new regime has lasted so many windows.
const LASTED: u64 = 6;
/// Windows whose features and maps are remembered one by one.
const RECENT: usize = 64;
/// Changes that are kept.
const KEPT: usize = 64;

const RATE: usize = 0;
const CENTROID: usize = 1;

/// Rate, centroid, spread, overlap.
const PRIORS: [Prior; 4] = [
    Prior { mean: 8.0, level: 6.0, slope: 0.1, noise: 0.3, floor: 0.1, range: 20.0 },
    Prior { mean: 0.5, level: 0.3, slope: 0.02, noise: 0.03, floor: 0.01, range: 1.0 },
    Prior { mean: 0.2, level: 0.15, slope: 0.01, noise: 0.03, floor: 0.01, range: 0.5 },
    Prior { mean: 0.5, level: 0.4, slope: 0.02, noise: 0.1, floor: 0.03, range: 1.0 },
];

/// How far apart two regimes are, in at least one feature: 1.7 times the pages, 8 % of the line, 8 %, a quarter.
const MATERIAL: [f64; 4] = [0.75, 0.08, 0.08, 0.25];

/// A stretch of time in which the target wrote in one way.
#[derive(Debug, Clone, PartialEq)]
pub struct Regime {
    /// When it began.
    pub from: Duration,
    /// When it ended, or how far it is known.
    pub to: Duration,
    /// Windows that `map` is the mean of.
    pub windows: u64,
    /// The share of each cell written in a window, 0..1, by its place on the curve of [`REGIME_ORDER`].
    pub map: Vec<f32>,
    /// The means of its features, for those windows that have them: rate, centroid, spread, overlap.
    pub features: [Option<f64>; 4],
}

/// The pattern of writes changed.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseChange {
    /// When the new regime began.
    pub at: Duration,
    /// When that was certain enough.
    pub detected: Duration,
    /// The probability of a change, 0..1.
    pub confidence: f32,
    /// The regime that ended.
    pub before: Arc<Regime>,
    /// The one that began: what was known of it at `detected`, and all of it once the next one has begun.
    pub after: Arc<Regime>,
}

impl PhaseChange {
    /// What is written more (up to 1) and less (down to −1) than before, cell by cell, indexed `[y][x]` at [`REGIME_ORDER`].
    pub fn difference(&self) -> Array2<f32> {
        let curve = HilbertSkilling::new(REGIME_ORDER);
        let size = curve.size() as usize;
        let mut difference = Array2::zeros((size, size));
        for (d, (after, before)) in self.after.map.iter().zip(&self.before.map).enumerate() {
            let (x, y) = curve.d2xy(d as u32);
            difference[[y as usize, x as usize]] = after - before;
        }
        difference
    }
}

/// Finds phase transitions as windows come.
#[derive(Debug, Clone)]
pub struct PhaseDetector {
    posterior: Bocpd<4>,
    /// The last windows, oldest first.
    recent: VecDeque<Seen>,
    regime: Growing,
    changes: VecDeque<PhaseChange>,
}

#[derive(Debug, Clone)]
struct Seen {
    window: u64,
    from: Duration,
    to: Duration,
    values: [Option<f64>; 4],
    map: Vec<f32>,
}

/// The present regime, without the windows that are still in `recent`.
#[derive(Debug, Clone)]
struct Growing {
    /// The window that it began with, and the first that a change to the next may be at.
    start: u64,
    from: Duration,
    sums: Vec<f32>,
    windows: u64,
    features: [Moments; 4],
}

#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: f64,
    sum: f64,
    squares: f64,
    bounds: Option<(f64, f64)>,
}

impl Moments {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        self.sum += value;
        self.squares += value * value;
        self.bounds =
            Some(self.bounds.map_or((value, value), |(low, high)| (low.min(value), high.max(value))));
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0.0).then(|| self.sum / self.count)
    }

    fn deviation(&self) -> f64 {
        let mean = self.mean().unwrap_or_default();
        (self.squares / self.count.max(1.0) - mean * mean).max(0.0).sqrt()
    }
}

impl Growing {
    fn new(start: u64, from: Duration) -> Self {
        Self { start, from, sums: vec![0.0; CELLS], windows: 0, features: Default::default() }
    }

    fn take(&mut self, seen: &Seen) {
        self.windows += 1;
        self.sums.iter_mut().zip(&seen.map).for_each(|(sum, share)| *sum += share);
        for (moments, value) in self.features.iter_mut().zip(&seen.values) {
            value.iter().for_each(|value| moments.add(*value));
        }
    }

    fn regime(&self, to: Duration) -> Arc<Regime> {
        let weight = 1.0 / self.windows.max(1) as f32;
        Arc::new(Regime {
            from: self.from,
            to,
            windows: self.windows,
            map: self.sums.iter().map(|sum| sum * weight).collect(),
            features: self.features.map(|moments| moments.mean()),
        })
    }
}

impl Default for PhaseDetector {
    fn default() -> Self {
        Self {
            posterior: Bocpd::new(PRIORS),
            recent: VecDeque::new(),
            regime: Growing::new(0, Duration::ZERO),
            changes: VecDeque::new(),
        }
    }
}

impl PhaseDetector {
    /// Cells of the maps that [`Self::window`] takes.
    pub const CELLS: usize = CELLS;

    /// Takes a window that lasted from `from` to `to`, with its features and the share of each cell written in it
    /// ([`Self::CELLS`] of them, as [`super::profile()`] gives them). The answer is the change that has become certain with it.
    pub fn window(
        &mut self,
        from: Duration,
        to: Duration,
        features: &Features,
        map: Vec<f32>,
    ) -> Option<&PhaseChange> {
        let window = self.posterior.windows();
        let values = features.values();
        let hazard = ((to - from).as_secs_f64() / BETWEEN).clamp(1e-4, 0.05);
        self.posterior.window(&values, hazard);
        if window == 0 {
            self.regime.from = from;
        }
        self.recent.push_back(Seen { window, from, to, values, map });
        if self.recent.len() > RECENT
            && let Some(seen) = self.recent.pop_front()
        {
            self.regime.take(&seen);
        }
        let (confidence, start) = self.posterior.began_since(self.regime.start + LASTED);
        if confidence < SURE || window + 1 < start + LASTED {
            return None;
        }
        let (before, after) = self.split(start);
        if !differ(&before, &after) {
            // The same in other words, as a front that starts its next lap: still one regime, whose next change comes later.
            self.regime.start = start;
            return None;
        }
        let ended = before.regime(after.from);
        if let Some(last) = self.changes.back_mut() {
            last.after = Arc::clone(&ended);
        }
        if self.changes.len() == KEPT {
            self.changes.pop_front();
        }
        self.changes.push_back(PhaseChange {
            at: after.from,
            detected: to,
            confidence: confidence as f32,
            before: ended,
            after: after.regime(to),
        });
        self.regime = Growing::new(start, after.from);
        self.recent.retain(|seen| seen.window >= start);
        self.changes.back()
    }

    /// The regime as it was until window `start`, and what has been since.
    fn split(&self, start: u64) -> (Growing, Growing) {
        let mut before = self.regime.clone();
        let first = self.recent.iter().find(|seen| seen.window >= start);
        let mut after = Growing::new(start, first.map_or(before.from, |seen| seen.from));
        for seen in &self.recent {
            if seen.window < start { before.take(seen) } else { after.take(seen) }
        }
        (before, after)
    }

    /// The pages have other places from now on: what is known of where they were written is forgotten.
    pub fn relaid(&mut self) {
        self.recent.iter_mut().for_each(|seen| seen.map.fill(0.0));
        self.regime.sums.fill(0.0);
    }

    /// The changes so far, oldest first; at most 64.
    pub fn changes(&self) -> impl DoubleEndedIterator<Item = &PhaseChange> + ExactSizeIterator {
        self.changes.iter()
    }

    /// The regime at this moment, with all that is known of it.
    pub fn regime(&self) -> Arc<Regime> {
        let mut whole = self.regime.clone();
        self.recent.iter().for_each(|seen| whole.take(seen));
        whole.regime(self.recent.back().map_or(whole.from, |seen| seen.to))
    }
}

/// Whether the two are told apart by more than chance, noise, or where a moving pattern is just now.
fn differ(before: &Growing, after: &Growing) -> bool {
    let both = before.features.iter().zip(&after.features).zip(MATERIAL).enumerate();
    both.into_iter().any(|(index, ((before, after), material))| {
        let (Some(old), Some(new)) = (before.mean(), after.mean()) else {
            // One of them is silent: the rate says so.
            return false;
        };
        let apart = (new - old).abs();
        let known = before.bounds.is_some_and(|(low, high)| (low..=high).contains(&new));
        let sweeps = index == CENTROID && known;
        let noise = before.deviation().max(if index == RATE { 0.0 } else { after.deviation() });
        apart >= material && apart >= 2.0 * noise && !sweeps
    })
}
