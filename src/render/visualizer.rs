//! Pictures as textures, for a program that draws something of its own around them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ndarray::{Array2, Array3};

use super::scene::{Orbit, Scene, Volume, Waterfall};
use super::{
    Caption, ColorPalette, GlassRamVisualizationMode, Gpu, MapTarget, Painter, Picture, RenderError,
};
use crate::sensing::DensityMap;

/// How a picture is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VisualizationConfig {
    /// What the map shows.
    pub mode: GlassRamVisualizationMode,
    /// The colours of the map.
    pub color_palette: ColorPalette,
    /// What is bright spreads.
    pub enable_glow: bool,
    /// Cells go from one window to the next instead of jumping; it is the session that does it.
    pub enable_animation: bool,
    /// The display controller reads the GPU's own buffer where it can; otherwise the map is always composited.
    pub enable_kms_scanout: bool,
}

impl Default for VisualizationConfig {
    fn default() -> Self {
        Self {
            mode: GlassRamVisualizationMode::default(),
            color_palette: ColorPalette::default(),
            enable_glow: false,
            enable_animation: false,
            enable_kms_scanout: true,
        }
    }
}

/// Density maps as textures.
pub trait VisualizationCapability: Sized {
    /// Opens the GPU.
    fn new(mode: GlassRamVisualizationMode) -> Result<Self, RenderError>;

    /// Draws a map of 2^k × 2^k cells, k from 1 to 12, as a texture of [`Visualizer::SIDE`] pixels a side. A mode that
    /// is made from more than one map shows the density; the session has the rest.
    fn render(&self, density_map: &Array2<f32>) -> Result<wgpu::Texture, RenderError>;

    /// What the map shows from now on.
    fn set_mode(&mut self, mode: GlassRamVisualizationMode);

    /// What the map shows.
    fn mode(&self) -> GlassRamVisualizationMode;
}

/// Several maps in one picture.
pub trait AdvancedVisualizationCapability {
    /// Draws `[time][y][x]`, the newest first, as a body.
    fn render_3d(&self, density_map: &Array3<f32>) -> Result<wgpu::Texture, RenderError>;

    /// Draws maps of one size, the oldest first, over time: a row is a map, a column a row of its cells.
    fn render_time_series(&self, history: &[DensityMap]) -> Result<wgpu::Texture, RenderError>;

    /// Whether [`Visualizer::turn`] turns a body.
    fn enable_interactive(&mut self, enabled: bool);
}

/// Both of them, on a device of its own.
pub struct Visualizer {
    gpu: Gpu,
    painter: Mutex<Painter>,
    config: VisualizationConfig,
    interactive: bool,
    orbit: Orbit,
}

impl Visualizer {
    /// Pixels along a side of the textures.
    pub const SIDE: u32 = 1024;

    /// Draws in this way from now on.
    pub fn configure(&mut self, config: VisualizationConfig) {
        self.config = config;
    }

    /// Turns what [`AdvancedVisualizationCapability::render_3d`] draws, in radians, where that is enabled.
    pub fn turn(&mut self, yaw: f32, pitch: f32) {
        if self.interactive {
            self.orbit.yaw += yaw;
            self.orbit.pitch = (self.orbit.pitch + pitch).clamp(-1.5, 1.5);
        }
    }

    fn draw(&self, density: DensityMap, scene: Scene) -> Result<wgpu::Texture, RenderError> {
        let order = density.nrows().max(2).ilog2();
        let caption = Caption {
            target: String::new(),
            numbers: Vec::new(),
            status: String::new(),
            order,
            bytes_per_cell: 0.0,
            total_bytes: 0,
            half_life: Duration::ZERO,
        };
        let mut picture = Picture::new(Arc::new(density), caption, self.config.color_palette);
        picture.scene = scene;
        picture.glow = self.config.enable_glow;
        let side = Self::SIDE;
        let mut target = MapTarget::offscreen(&self.gpu, side, side)?;
        self.painter.lock().unwrap_or_else(PoisonError::into_inner).draw(&picture, &mut target)?;
        target.texture()
    }
}

impl VisualizationCapability for Visualizer {
    fn new(mode: GlassRamVisualizationMode) -> Result<Self, RenderError> {
        let gpu = Gpu::new()?;
        let painter = Mutex::new(Painter::new(&gpu)?);
        let config = VisualizationConfig { mode, ..VisualizationConfig::default() };
        Ok(Self { gpu, painter, config, interactive: false, orbit: Orbit::default() })
    }

    fn render(&self, density_map: &Array2<f32>) -> Result<wgpu::Texture, RenderError> {
        self.draw(density_map.clone(), Scene::Heatmap)
    }

    fn set_mode(&mut self, mode: GlassRamVisualizationMode) {
        self.config.mode = mode;
    }

    fn mode(&self) -> GlassRamVisualizationMode {
        self.config.mode
    }
}

impl AdvancedVisualizationCapability for Visualizer {
    fn render_3d(&self, density_map: &Array3<f32>) -> Result<wgpu::Texture, RenderError> {
        let (boxes, orbit) = (Arc::new(density_map.clone()), self.orbit);
        let scene = Scene::Volume(Arc::new(Volume { boxes, orbit, window: Duration::ZERO }));
        self.draw(DensityMap::zeros((2, 2)), scene)
    }

    fn render_time_series(&self, history: &[DensityMap]) -> Result<wgpu::Texture, RenderError> {
        let side = history.first().map_or(2, DensityMap::nrows);
        let mut lines = DensityMap::zeros((side, side));
        for (mut line, map) in lines.outer_iter_mut().zip(history.iter().rev()) {
            for (value, row) in line.iter_mut().zip(map.outer_iter()) {
                *value = row.mean().unwrap_or(0.0);
            }
        }
        let waterfall = Waterfall { lines: Arc::new(lines.clone()), cursor: None, window: Duration::ZERO };
        self.draw(lines, Scene::Waterfall(Arc::new(waterfall)))
    }

    fn enable_interactive(&mut self, enabled: bool) {
        self.interactive = enabled;
    }
}
