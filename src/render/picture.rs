//! What one frame shows.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::changes::{Known, said};
use super::{ColorPalette, Marks, Scene};
use crate::sensing::{DensityMap, MapTiles};

/// What the map shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GlassRamVisualizationMode {
    /// How much of each cell is written.
    #[default]
    Heatmap,
    /// Which thread writes where, and how fast it moves.
    #[serde(rename = "kinetic")]
    ThreadKineticEnergy,
    /// How the pattern of writes differs from the one before the last change.
    #[serde(rename = "phase")]
    PhaseTransition,
    /// How writes spread to pages untouched before.
    #[serde(rename = "avalanche")]
    MemoryAvalanche,
    /// Where on the line was written when.
    TimeSeries,
    /// The map over time, as a body.
    #[serde(rename = "volume")]
    Volumetric,
}

impl GlassRamVisualizationMode {
    /// Every mode, in the order of its hotkeys.
    pub const ALL: [Self; 6] = [
        Self::Heatmap,
        Self::ThreadKineticEnergy,
        Self::PhaseTransition,
        Self::MemoryAvalanche,
        Self::TimeSeries,
        Self::Volumetric,
    ];
}

/// How a value becomes a step of the palette.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ColorScale {
    /// Equal steps of the value are equal steps of the palette.
    #[default]
    Linear,
    /// Equal factors of the value are equal steps of the palette, from 1/256 to 1: for maps whose cold side matters.
    Logarithmic,
}

/// A picture on its way from one window to the next.
#[derive(Debug, Clone)]
pub struct Motion {
    /// The map as it was.
    pub before: Arc<DensityMap>,
    /// How far it is, 0 (as it was) to 256 (as it is).
    pub share: u16,
}

/// All that is needed to draw one frame.
#[derive(Debug, Clone)]
pub struct Picture {
    /// How much of each cell is written, indexed `[y][x]`; what lies outside 0..1 is drawn as the nearer end, NaN as 0.
    pub density: Arc<DensityMap>,
    /// What is known of its tiles, so that nobody has to compare it with the one before; said of another map,
    /// it is not believed.
    pub tiles: Option<Arc<MapTiles>>,
    /// The words beside the map.
    pub caption: Caption,
    /// The colours of the map.
    pub palette: ColorPalette,
    /// What is drawn, besides or instead of the density.
    pub scene: Scene,
    /// How values become colours.
    pub scale: ColorScale,
    /// What is bright spreads.
    pub glow: bool,
    /// The heat map on its way from the window before.
    pub motion: Option<Motion>,
    /// Lines, names and marks on the map.
    pub marks: Arc<Marks>,
}

impl Picture {
    /// The plain heat map, without anything on it.
    pub fn new(density: Arc<DensityMap>, caption: Caption, palette: ColorPalette) -> Picture {
        Picture {
            density,
            tiles: None,
            caption,
            palette,
            scene: Scene::Heatmap,
            scale: ColorScale::Linear,
            glow: false,
            motion: None,
            marks: Arc::default(),
        }
    }

    /// Whether nobody could tell them apart: every word is the same, and no cell differs by as much as a colour of the palette.
    pub fn looks_like(&self, other: &Picture) -> bool {
        let visible = match self.scale {
            ColorScale::Linear => 1.0 / 512.0,
            // Half a step of the least octave.
            ColorScale::Logarithmic => 1.0 / 16384.0,
        };
        let same = |(a, b): (&f32, &f32)| (a - b).abs() < visible || a == b;
        let (here, there) = (&self.density, &other.density);
        let alike = || match (said(&other.known(), &self.known()), here.as_slice(), there.as_slice()) {
            // What is known to be the same is not looked at: a large map takes longer than a frame may.
            (Some(changed), Some(here), Some(there)) => {
                let mut rows = changed.tiles.iter().flat_map(|tile| changed.rows_of(*tile));
                rows.all(|row| here[row.clone()].iter().zip(&there[row]).all(same))
            }
            _ => here.iter().zip(there.iter()).all(same),
        };
        self.caption == other.caption
            && self.is_dressed_like(other)
            && (Arc::ptr_eq(here, there) || here.dim() == there.dim() && alike())
    }

    /// It looks the same as `other`: the same memory behind it, not only the same numbers.
    pub(super) fn is(&self, other: &Picture) -> bool {
        self.is_dressed_like(other)
            && Arc::ptr_eq(&self.density, &other.density)
            && self.caption == other.caption
    }

    /// The density, with what is known of it.
    pub(super) fn known(&self) -> Known {
        Known::new(&self.density, self.tiles.as_ref())
    }

    /// It differs from `other` in density and words at the most.
    pub(super) fn is_dressed_like(&self, other: &Picture) -> bool {
        let still = |motion: &Option<Motion>| motion.as_ref().is_none_or(|motion| motion.share >= 256);
        let moves_alike = match (&self.motion, &other.motion) {
            (Some(a), Some(b)) if Arc::ptr_eq(&a.before, &b.before) && a.share == b.share => true,
            (a, b) => still(a) && still(b),
        };
        self.palette == other.palette
            && self.scale == other.scale
            && self.glow == other.glow
            && self.scene.is(&other.scene)
            && moves_alike
            && (Arc::ptr_eq(&self.marks, &other.marks) || self.marks == other.marks)
    }
}

/// The words beside the map, and what its scale means.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// Name and number of the watched process, e.g. "redis-server 1234".
    pub target: String,
    /// Numbers that change while watching, each with its name, the most important first.
    pub numbers: Vec<(&'static str, String)>,
    /// What else there is to say, separated by " · ".
    pub status: String,
    /// Order of the Hilbert curve: the map has 2^order × 2^order cells.
    pub order: u32,
    /// Watched bytes that one cell stands for (below a page when a page has many cells).
    pub bytes_per_cell: f64,
    /// Watched bytes on the whole map.
    pub total_bytes: u64,
    /// How fast a written cell fades.
    pub half_life: Duration,
}

/// How the last frames were drawn; measured, not assumed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RenderingMetrics {
    /// Frames a second into this target, over its last second of frames; 0 until there are two.
    pub fps: f64,
    /// Time from the call until the GPU was done with the frame.
    pub frame_time_ms: f64,
    /// Pixels across and down.
    pub resolution: (u32, u32),
    /// The GPU wrote into the display controller's own buffer.
    pub zero_copy: bool,
    /// The inode of the dma-buf that the GPU wrote into, which is the same for all who share it.
    pub dma_buf: Option<u64>,
    /// Bytes of maps that were copied to the GPU for it: none where the CPU writes them into memory that the GPU reads.
    pub copied: u64,
    /// Bytes of maps that were written for the GPU at all: of a map of which little is new, little.
    pub written: u64,
}
