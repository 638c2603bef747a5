//! The heat-map stage.

use super::{Gpu, MapTarget, Picture, RenderError, RenderingMetrics};

/// The heat-map stage.
pub struct Heatmap;

impl Heatmap {
    /// Builds the pipeline.
    pub fn new(_gpu: &Gpu) -> Result<Heatmap, RenderError> {
        Ok(Heatmap)
    }

    /// Draws, and returns when the GPU is done.
    pub fn draw(
        &mut self,
        _picture: &Picture,
        _target: &mut MapTarget,
    ) -> Result<RenderingMetrics, RenderError> {
        Err(RenderError::NoVulkan { reason: "the stage is not written yet".into() })
    }
}
