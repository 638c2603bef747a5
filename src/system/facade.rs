//! The pipeline as a library: attach, take windows, read the map.

use ndarray::Array2;

use super::Pipeline;
use crate::Result;
use crate::capture::{CaptureEvent, GlassRamMonitor, MonitorConfig};
use crate::map::HilbertConfig;
use crate::render::{ColorPalette, GlassRamVisualizationMode};
use crate::sensing::DensityMap;
use crate::telemetry::GlassRamTelemetry;

/// Memory introspection of one process.
pub trait GlassRamCapability {
    /// Attaches to a process and begins to watch; one that was watched before is let go.
    fn attach(&mut self, pid: u32) -> Result<()>;

    /// Lets the process go, as it was found.
    fn detach(&mut self) -> Result<()>;

    /// The numbers as of the last window.
    fn telemetry(&self) -> &GlassRamTelemetry;

    /// The map as of the last window, indexed `[y][x]`.
    fn density_map(&self) -> &Array2<f32>;

    /// What the map shows.
    fn set_visualization_mode(&mut self, mode: GlassRamVisualizationMode);
}

/// [`GlassRamCapability`], window by window at the caller's pace.
///
/// After [`detach`](GlassRamCapability::detach) the map and the numbers stay as they were last.
#[derive(Debug)]
pub struct GlassRamSystem {
    hilbert: HilbertConfig,
    mode: GlassRamVisualizationMode,
    monitor: Option<GlassRamMonitor>,
    pipeline: Option<Pipeline>,
    /// What is answered before the first attach.
    nothing: (GlassRamTelemetry, DensityMap),
}

impl GlassRamSystem {
    /// Nothing watched yet.
    pub fn new(hilbert: HilbertConfig) -> Self {
        let size = 1 << hilbert.order;
        let nothing = (GlassRamTelemetry::default(), DensityMap::zeros((size, size)));
        Self { hilbert, mode: GlassRamVisualizationMode::default(), monitor: None, pipeline: None, nothing }
    }

    /// Takes what was written since the last call as one window. False when the target is gone.
    pub fn scan(&mut self) -> Result<bool> {
        let (Some(monitor), Some(pipeline)) = (&mut self.monitor, &mut self.pipeline) else {
            return Ok(false);
        };
        match monitor.scan()? {
            CaptureEvent::Window(window) => {
                pipeline.set_cost(Some(monitor.target_metrics()));
                pipeline.window(&window).map(|()| true)
            }
            // Not asked for.
            CaptureEvent::Forked(_) => Ok(true),
            CaptureEvent::Exited(reason) => {
                pipeline.end(reason.to_string());
                self.monitor = None;
                Ok(false)
            }
            CaptureEvent::Failed(error) => {
                self.monitor = None;
                Err(error)
            }
        }
    }

    /// What the map shows.
    pub fn visualization_mode(&self) -> GlassRamVisualizationMode {
        self.mode
    }
}

impl GlassRamCapability for GlassRamSystem {
    fn attach(&mut self, pid: u32) -> Result<()> {
        self.detach()?;
        let mut monitor = GlassRamMonitor::with_config(pid, MonitorConfig::exact())?;
        let pipeline = Pipeline::new(
            monitor.target().clone(),
            monitor.rung(),
            self.hilbert.clone(),
            ColorPalette::default(),
        )?;
        monitor.set_arming_policy(pipeline.arming_policy());
        (self.monitor, self.pipeline) = (Some(monitor), Some(pipeline));
        Ok(())
    }

    fn detach(&mut self) -> Result<()> {
        self.monitor.take().map_or(Ok(()), GlassRamMonitor::detach)
    }

    fn telemetry(&self) -> &GlassRamTelemetry {
        self.pipeline.as_ref().map_or(&self.nothing.0, Pipeline::telemetry)
    }

    fn density_map(&self) -> &Array2<f32> {
        self.pipeline.as_ref().map_or(&self.nothing.1, |pipeline| pipeline.density())
    }

    fn set_visualization_mode(&mut self, mode: GlassRamVisualizationMode) {
        self.mode = mode;
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.view_mut().mode = mode;
        }
    }
}
