//! What each mode draws, made from what telemetry keeps. Only the mode that is shown costs anything.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::Axis;

use crate::map::{AddressLayout, HilbertCapability as _, HilbertCurve};
use crate::render::scene::{
    AvalancheField, KineticField, MOST_THREADS, MovingThread, Orbit, PhaseField, Scene, StripWindow,
    ThreadWrite, UNREACHED, Volume, Waterfall,
};
use crate::sensing::DensityMap;
use crate::telemetry::{History, PhaseDetector, REGIME_ORDER, Regime, TelemetryRecorder, ThreadSample};

/// The waterfall has 2^9 columns and rows.
pub(super) const WATERFALL_ORDER: u32 = 9;
/// Steps of a volume.
const LAYERS: usize = 64;
/// Steps of the strip of time.
const STRIP: usize = 120;
/// Below this share of the heaviest write, what a thread wrote is forgotten.
const FADED: f32 = 1e-3;
/// Cells and threads whose writes are kept.
const MASSES: usize = 1 << 19;

/// A scene with a map of its own, and that map's order.
pub(super) struct Own {
    pub(super) scene: Scene,
    pub(super) density: Arc<DensityMap>,
    pub(super) order: u32,
}

/// The difference between the regime at this moment and the one before it.
pub(super) fn phases(recorder: &TelemetryRecorder) -> Own {
    let phases: &PhaseDetector = recorder.phases();
    let rows = recorder.history().rows();
    let first = rows.len().saturating_sub(STRIP);
    let shown: Vec<_> = recorder.history().rows().skip(first).collect();
    let rate = |row: &crate::telemetry::HistoryRow| row.written as f64 / row.length.as_secs_f64().max(1e-9);
    let most = shown.iter().map(|row| rate(row)).fold(0.0, f64::max).max(1e-9);
    let strip = shown
        .iter()
        .map(|row| StripWindow {
            activity: (rate(row) / most) as f32,
            change: phases
                .changes()
                .find(|change| (row.from..row.from + row.length).contains(&change.at))
                .map(|change| change.confidence),
        })
        .collect();
    let last = phases.changes().next_back();
    let after = regime_map(&phases.regime());
    // Without a change there is no difference.
    let before = last.map_or_else(|| Arc::clone(&after), |change| regime_map(&change.before));
    let since = last.map(|change| recorder.now().saturating_sub(change.at));
    let density = Arc::clone(&after);
    let span = shown.iter().map(|row| row.length).sum();
    let scene = Scene::Phases(Arc::new(PhaseField { before, after, strip, span, since }));
    Own { scene, density, order: REGIME_ORDER }
}

fn regime_map(regime: &Regime) -> Arc<DensityMap> {
    Arc::new(on_plane(REGIME_ORDER, regime.map.iter().copied()))
}

/// Values along the curve on its plane.
fn on_plane(order: u32, values: impl Iterator<Item = f32>) -> DensityMap {
    let curve = HilbertCurve::new(order);
    let side = curve.size() as usize;
    let mut map = DensityMap::zeros((side, side));
    for (d, value) in (0..).zip(values).take(side * side) {
        let (x, y) = curve.d2xy(d);
        map[[y as usize, x as usize]] = value;
    }
    map
}

/// The last avalanche on the map of the density.
pub(super) fn avalanche(recorder: &TelemetryRecorder, layout: &AddressLayout, curve: &HilbertCurve) -> Scene {
    let (avalanches, window) = (recorder.avalanches(), recorder.step_length());
    let side = curve.size();
    let cells = curve.cells() as u32;
    let mut ages = vec![UNREACHED; cells as usize];
    let last = avalanches.current().or_else(|| avalanches.ended().next_back());
    let mut epicentre = None;
    if let Some(avalanche) = last {
        for step in &avalanche.front {
            let age = recorder.now().saturating_sub(step.at).as_secs_f64() / window.as_secs_f64().max(1e-3);
            for place in step.pages.iter().flat_map(|pages| layout.places(pages.start..pages.end)).flatten() {
                for d in layout.cells_of_page(place, cells) {
                    let (x, y) = curve.d2xy(d);
                    ages[(y * side + x) as usize] = age as u32;
                }
            }
        }
        epicentre = layout
            .page_of(avalanche.epicentre)
            .map(|place| curve.d2xy(*layout.cells_of_page(place, cells).start()));
    }
    let ended = avalanches.ended().map(|one| (one.size, one.duration())).collect();
    let active = avalanches.current().is_some();
    Scene::Avalanche(Arc::new(AvalancheField { ages, epicentre, active, ended }))
}

/// The last steps of time over the line, the newest first.
pub(super) fn waterfall(recorder: &TelemetryRecorder, cursor: Option<u32>) -> Own {
    let window = recorder.step_length();
    let side = 1usize << WATERFALL_ORDER;
    let history = recorder.history();
    let mut lines = DensityMap::zeros((side, side));
    let rows = history.len();
    let share = History::CELLS / side;
    for (at, mut line) in lines.outer_iter_mut().enumerate().take(rows) {
        for (cell, value) in history.shares(rows - 1 - at).enumerate() {
            line[cell / share] += value / share as f32;
        }
    }
    let lines = Arc::new(lines);
    let density = Arc::clone(&lines);
    Own {
        scene: Scene::Waterfall(Arc::new(Waterfall { lines, cursor, window })),
        density,
        order: WATERFALL_ORDER,
    }
}

/// The last steps of time over the plane of the curve, the newest first.
pub(super) fn volume(recorder: &TelemetryRecorder, orbit: Orbit) -> Scene {
    let window = recorder.step_length();
    let history = recorder.history();
    let rows = history.len();
    let side = (History::CELLS as f64).sqrt() as usize;
    let mut boxes = ndarray::Array3::zeros((LAYERS, side, side));
    for at in 0..LAYERS.min(rows) {
        boxes.index_axis_mut(Axis(0), at).assign(&history.map(rows - 1 - at));
    }
    Scene::Volume(Arc::new(Volume { boxes: Arc::new(boxes), orbit, window }))
}

/// Who wrote where of late: what a thread wrote fades as the density does.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// By cell along the curve and thread.
    masses: HashMap<(u32, u32), f32>,
    /// In the order in which they came, so that a thread keeps its hue.
    threads: Vec<MovingThread>,
}

impl Trail {
    /// Takes a window's samples on a line of `pages` that is laid on `cells`; `keep` is what the window
    /// leaves of the past.
    pub(super) fn window(
        &mut self,
        samples: &[ThreadSample],
        recorder: &TelemetryRecorder,
        name: impl Fn(u32) -> String,
        (pages, cells): (u64, u32),
        keep: f32,
    ) {
        let most = self.masses.values().copied().fold(0.0, f32::max);
        self.masses.retain(|_, mass| {
            *mass *= keep;
            *mass > FADED * most
        });
        for thread in &mut self.threads {
            thread.velocity *= keep;
        }
        for motion in recorder.threads().motions() {
            let gain = (1.0 - keep) * motion.speed as f32;
            if let Some(thread) = self.threads.iter_mut().find(|thread| thread.tid == motion.tid) {
                thread.velocity += gain;
            } else if self.threads.len() < MOST_THREADS {
                self.threads.push(MovingThread { name: name(motion.tid), tid: motion.tid, velocity: gain });
            }
        }
        for sample in samples {
            let cell = u128::from(sample.place) * u128::from(cells) / u128::from(pages.max(1));
            let key = (cell as u32, sample.tid);
            // No program has so many that are not faded, but a file may say so.
            if self.masses.len() < MASSES || self.masses.contains_key(&key) {
                *self.masses.entry(key).or_default() += sample.writes;
            }
        }
    }

    /// The pages have other places, or the map other cells.
    pub(super) fn forget_places(&mut self) {
        self.masses.clear();
    }

    /// Who wrote most in a cell of late.
    pub(super) fn writer(&self, cell: u32) -> Option<&MovingThread> {
        let here = self.masses.iter().filter(|((at, _), _)| *at == cell);
        let (&(_, tid), _) = here.max_by(|a, b| a.1.total_cmp(b.1))?;
        self.threads.iter().find(|thread| thread.tid == tid)
    }

    /// What the mode draws of it.
    pub(super) fn scene(&self, curve: &HilbertCurve) -> Scene {
        let most = self.masses.values().copied().fold(0.0, f32::max).max(f32::MIN_POSITIVE);
        let place: HashMap<u32, u16> =
            (0..).zip(&self.threads).map(|(at, thread)| (thread.tid, at)).collect();
        let writes = self
            .masses
            .iter()
            .filter(|((cell, _), _)| u64::from(*cell) < curve.cells())
            .filter_map(|(&(cell, tid), &mass)| {
                let (x, y) = curve.d2xy(cell);
                let mass = (mass / most * 65535.0).round() as u16;
                Some(ThreadWrite { cell: y * curve.size() + x, mass, thread: *place.get(&tid)? })
            })
            .collect();
        Scene::Kinetic(Arc::new(KineticField { threads: self.threads.clone(), writes }))
    }
}
