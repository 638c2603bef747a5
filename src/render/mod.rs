//! From a density map to pixels.
//!
//! In: a [`Picture`], which is a density map, a [`Scene`], a caption and how it is to look. Out: an XRGB8888 picture, either written by the
//! GPU straight into a dma-buf that the display controller scans out, or read back as an [`Image`]. Called by the
//! compositor through a [`RenderWorker`], whose thread does everything that may wait for the GPU, and by `snapshot`.
//!
//! There is one code path: compute shaders that write `array<u32>` with a row stride. Only the memory behind that array
//! differs. A frame goes through up to four stages: that of its mode, which makes a word a cell (`shaders/kinetic.wgsl`,
//! `phase.wgsl`, `avalanche.wgsl`, `waterfall.wgsl`; the plain heat map needs none, and `volume.wgsl` draws by itself), the
//! map and the panel (`heatmap.wgsl`), the glow (`glow.wgsl`), and the marks (`overlay.wgsl`). All but the volume's do
//! integer arithmetic only, so that every driver gives the same pixels, bit for bit, and a CPU reference can check each of
//! them. Only what changed since a buffer was drawn last is drawn into it again, and nothing for a picture that is there
//! already.

mod changes;
mod damage;
mod error;
mod export;
mod fence;
mod glow;
mod gpu;
mod image;
mod import;
mod kernel;
pub mod layout;
mod legend;
mod lettering;
mod levels;
mod marks;
mod modes;
mod overlay;
mod painter;
mod palette;
mod palette_tables;
mod picture;
mod pieces;
mod ramps;
pub mod rate;
pub mod scene;
mod shared;
mod shared_map;
mod sheet;
mod target;
pub mod text;
mod upload;
mod visualizer;
mod worker;

pub use error::RenderError;
pub use export::{DmaBufCapability, DmaBufExporter, ZeroCopyProof};
pub use gpu::{Gpu, GpuDescription};
pub use image::Image;
pub use layout::PictureLayout;
pub use legend::Legend;
pub use marks::{Hover, Marks, NamedStretch, Series};
pub use painter::{BACKGROUND, INK, Painter};
pub use palette::ColorPalette;
pub use picture::{Caption, ColorScale, GlassRamVisualizationMode, Motion, Picture, RenderingMetrics};
pub use ramps::{OTHER_THREADS, RAMPS, THREAD_HUES, ramps};
pub use scene::Scene;
pub use shared::DmaFence;
pub use target::{DmaBufPlane, MapTarget, Part, TargetId, TargetSpec};
pub use visualizer::{
    AdvancedVisualizationCapability, VisualizationCapability, VisualizationConfig, Visualizer,
};
pub use worker::{RenderEvent, RenderWorker};
