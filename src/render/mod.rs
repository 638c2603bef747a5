//! From a density map to pixels.
//!
//! In: a [`Picture`], which is a density map, a caption and a palette. Out: an XRGB8888 picture, either written by the
//! GPU straight into a dma-buf that the display controller scans out, or read back as an [`Image`]. Called by the
//! compositor through a [`RenderWorker`], whose thread does everything that may wait for the GPU, and by `snapshot`.
//!
//! There is one code path: a compute shader (`shaders/heatmap.wgsl`) that writes `array<u32>` with a row stride. Only the
//! memory behind that array differs. The shader does integer arithmetic only, so that every driver gives the same
//! pixels, bit for bit, and a CPU reference can check each of them.

mod error;
mod fence;
mod gpu;
mod heatmap;
mod image;
mod import;
pub mod layout;
mod palette;
mod palette_tables;
mod target;
pub mod text;
mod worker;

use std::sync::Arc;
use std::time::Duration;

pub use error::RenderError;
pub use gpu::{Gpu, GpuDescription};
pub use heatmap::{BACKGROUND, Heatmap, INK};
pub use image::Image;
pub use layout::PictureLayout;
pub use palette::ColorPalette;
pub use target::{DmaBufPlane, MapTarget, Part, TargetId, TargetSpec};
pub use worker::{RenderEvent, RenderWorker};

use crate::sensing::DensityMap;

/// What the map shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GlassRamVisualizationMode {
    /// How much of each cell is written.
    #[default]
    Heatmap,
}

/// All that is needed to draw one frame.
#[derive(Debug, Clone)]
pub struct Picture {
    /// How much of each cell is written, indexed `[y][x]`; what lies outside 0..1 is drawn as the nearer end, NaN as 0.
    pub density: Arc<DensityMap>,
    /// The words beside the map.
    pub caption: Caption,
    /// The colours of the map.
    pub palette: ColorPalette,
}

impl Picture {
    /// Whether nobody could tell them apart: every word is the same, and no cell differs by as much as a colour of the palette.
    pub fn looks_like(&self, other: &Picture) -> bool {
        const VISIBLE: f32 = 1.0 / 512.0;
        let Picture { density, caption, palette } = self;
        let same = |(a, b): (&f32, &f32)| (a - b).abs() < VISIBLE || a == b;
        *caption == other.caption
            && *palette == other.palette
            && (Arc::ptr_eq(density, &other.density)
                || density.dim() == other.density.dim() && density.iter().zip(other.density.iter()).all(same))
    }
}

/// The words beside the map, and what its scale means.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// Name and number of the watched process, e.g. "redis-server 1234".
    pub target: String,
    /// Facts that change while watching, separated by " · ".
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
}
