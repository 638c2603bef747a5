//! What a mode draws, as plain data: whoever keeps it over the windows makes it, the stages of the shaders draw it.

use std::sync::Arc;
use std::time::Duration;

use bytemuck::{Pod, Zeroable};
use ndarray::Array3;

use super::GlassRamVisualizationMode;
use crate::sensing::DensityMap;

/// Threads that have a hue of their own; all others share a grey.
pub const HUES: usize = 8;
/// Threads that a [`KineticField`] tells apart at the most.
pub const MOST_THREADS: usize = 64;

/// What is drawn, besides or instead of the density of the [`Picture`](super::Picture).
#[derive(Debug, Clone, Default)]
pub enum Scene {
    /// The density.
    #[default]
    Heatmap,
    /// Who writes where, and how fast they move.
    Kinetic(Arc<KineticField>),
    /// Two regimes against each other.
    Phases(Arc<PhaseField>),
    /// The front of a cascade, over the density.
    Avalanche(Arc<AvalancheField>),
    /// Steps of time over the line of pages.
    Waterfall(Arc<Waterfall>),
    /// Windows over the plane of the curve.
    Volume(Arc<Volume>),
}

impl Scene {
    /// The mode that it belongs to.
    pub fn mode(&self) -> GlassRamVisualizationMode {
        match self {
            Scene::Heatmap => GlassRamVisualizationMode::Heatmap,
            Scene::Kinetic(_) => GlassRamVisualizationMode::ThreadKineticEnergy,
            Scene::Phases(_) => GlassRamVisualizationMode::PhaseTransition,
            Scene::Avalanche(_) => GlassRamVisualizationMode::MemoryAvalanche,
            Scene::Waterfall(_) => GlassRamVisualizationMode::TimeSeries,
            Scene::Volume(_) => GlassRamVisualizationMode::Volumetric,
        }
    }

    /// The same data, by its place in memory.
    pub(super) fn is(&self, other: &Scene) -> bool {
        match (self, other) {
            (Scene::Heatmap, Scene::Heatmap) => true,
            (Scene::Kinetic(a), Scene::Kinetic(b)) => Arc::ptr_eq(a, b),
            (Scene::Phases(a), Scene::Phases(b)) => Arc::ptr_eq(a, b),
            (Scene::Avalanche(a), Scene::Avalanche(b)) => Arc::ptr_eq(a, b),
            (Scene::Waterfall(a), Scene::Waterfall(b)) => Arc::ptr_eq(a, b),
            (Scene::Volume(a), Scene::Volume(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// What one thread wrote in one cell.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
pub struct ThreadWrite {
    /// The cell, y · 2^order + x.
    pub cell: u32,
    /// How much, in whatever unit all of them share.
    pub mass: u16,
    /// The thread's place in [`KineticField::threads`].
    pub thread: u16,
}

/// A thread that wrote of late.
#[derive(Debug, Clone, PartialEq)]
pub struct MovingThread {
    /// Its name, as the kernel has it.
    pub name: String,
    /// Its number.
    pub tid: u32,
    /// How far its centre of writing moved along the curve, in cells a window.
    pub velocity: f32,
}

/// The kinetic energy of threads, ½ m v²: m is what a thread wrote in a cell, v how fast its centre of writing moves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KineticField {
    /// The threads, the first [`HUES`] with a hue of their own; at most [`MOST_THREADS`].
    pub threads: Vec<MovingThread>,
    /// What they wrote where, in any order.
    pub writes: Vec<ThreadWrite>,
}

impl KineticField {
    /// For each thread the factor from mass to level, as shaders/kinetic.wgsl wants it: level = mass · scale ≫ 16, and the
    /// largest energy on the map has the level 65535.
    pub fn scales(&self) -> Vec<u32> {
        let square = |thread: usize| {
            let velocity = self.threads.get(thread).map_or(0.0, |thread| f64::from(thread.velocity));
            if velocity.is_finite() { velocity * velocity } else { 0.0 }
        };
        let energy = |write: &ThreadWrite| f64::from(write.mass) * square(write.thread.into());
        let most = self.writes.iter().map(energy).fold(0.0, f64::max);
        (0..self.threads.len())
            .map(|thread| if most > 0.0 { (65535.0 * 65536.0 * square(thread) / most) as u32 } else { 0 })
            .collect()
    }
}

/// One step of a strip of time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StripWindow {
    /// How much was written, 0..1 of the most on the strip.
    pub activity: f32,
    /// A change of regime was found here, with this confidence, 0..1.
    pub change: Option<f32>,
}

/// Two regimes of writing and the change between them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PhaseField {
    /// The mean map of the regime before the last change, as large as the picture's.
    pub before: Arc<DensityMap>,
    /// The mean map since.
    pub after: Arc<DensityMap>,
    /// The last steps of time, the oldest first.
    pub strip: Vec<StripWindow>,
    /// The time that they are of.
    pub span: Duration,
    /// How long ago the last change was; `None` when there was none yet.
    pub since: Option<Duration>,
}

/// The age of a cell that the front has not come to.
pub const UNREACHED: u32 = u32::MAX;

/// A cascade of writes to pages untouched before.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AvalancheField {
    /// For each cell, row by row, how many steps of time ago the front came to it, or [`UNREACHED`].
    pub ages: Vec<u32>,
    /// Where it began, (x, y).
    pub epicentre: Option<(u32, u32)>,
    /// It is going on.
    pub active: bool,
    /// Pages and time of those that have ended, the oldest first.
    pub ended: Vec<(u64, Duration)>,
}

/// Windows over the line of pages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Waterfall {
    /// The newest first; a column is a stretch of the line. As large as the picture's map.
    pub lines: Arc<DensityMap>,
    /// The row that is looked at.
    pub cursor: Option<u32>,
    /// From a row to the next.
    pub window: Duration,
}

/// From where a volume is seen. Both angles in radians; 0, 0 looks along time, the newest in front.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Orbit {
    /// Around the upright axis.
    pub yaw: f32,
    /// From above.
    pub pitch: f32,
}

impl Default for Orbit {
    fn default() -> Self {
        Self { yaw: 0.7, pitch: 0.5 }
    }
}

impl Orbit {
    /// Right, down and forward of the camera, in the space of the volume (x right, y down, time away).
    pub fn axes(self) -> [[f32; 3]; 3] {
        let (sy, cy) = self.yaw.sin_cos();
        let (sp, cp) = self.pitch.sin_cos();
        [[cy, 0.0, sy], [-sy * sp, cp, cy * sp], [-sy * cp, -sp, cy * cp]]
    }
}

/// Windows over the plane of the curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Densities, indexed `[time][y][x]`, the newest window first; as many rows as columns.
    pub boxes: Arc<Array3<f32>>,
    /// From where it is seen.
    pub orbit: Orbit,
    /// From a layer to the next.
    pub window: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_energy_is_the_brightest_and_none_passes_it() {
        let thread = |velocity| MovingThread { name: "worker".into(), tid: 1, velocity };
        let write = |thread, mass| ThreadWrite { cell: 0, thread, mass };
        let field = KineticField {
            threads: vec![thread(3.0), thread(-12.5), thread(0.0), thread(f32::NAN)],
            writes: vec![write(0, 65535), write(1, 7), write(1, 3000), write(2, 9), write(3, 9)],
        };
        let scales = field.scales();
        let levels: Vec<u32> = field
            .writes
            .iter()
            .map(|write| u32::from(write.mass).checked_mul(scales[usize::from(write.thread)]).unwrap() >> 16)
            .collect();
        assert!(levels.iter().all(|level| *level <= 65535) && levels[0] >= 65534, "{levels:?}");
        assert_eq!((levels[3], levels[4]), (0, 0));
        // 65535 · 9 against 3000 · 156.25.
        assert!(levels[0] > levels[2] && levels[2] * 65535 / levels[0] > 52_000, "{levels:?}");
        assert!(KineticField::default().scales().is_empty());
    }

    #[test]
    fn a_camera_has_a_right_angle_between_its_axes() {
        for orbit in [Orbit::default(), Orbit { yaw: 0.0, pitch: 0.0 }, Orbit { yaw: -2.0, pitch: 1.4 }] {
            let axes = orbit.axes();
            for (i, a) in axes.iter().enumerate() {
                for (j, b) in axes.iter().enumerate() {
                    let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    assert!((dot - if i == j { 1.0 } else { 0.0 }).abs() < 1e-5, "{orbit:?}: {i} {j}");
                }
            }
        }
        assert_eq!(
            Orbit { yaw: 0.0, pitch: 0.0 }.axes(),
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        );
    }
}
