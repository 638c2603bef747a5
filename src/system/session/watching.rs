//! The watched process: beginning, windows, end, and the change to another one.

use std::time::Duration;

use calloop::{Dispatcher, RegistrationToken};
use tracing::{info, warn};

use super::state::Session;
use super::words;
use crate::Result;
use crate::capture::{CaptureEvent, GlassRamMonitor, MonitorConfig, ProcessAttach, TargetMetrics};
use crate::config::Config;
use crate::display::{Compositor, DisplayError};
use crate::ipc::{Target, Telemetry};
use crate::system::Pipeline;

/// A process under watch, or what is left of it when it has ended.
pub(super) struct Watched {
    pub(super) pipeline: Pipeline,
    source: Option<Source>,
    /// As of the last look, for when the process is gone.
    metrics: TargetMetrics,
}

struct Source {
    dispatcher: Dispatcher<'static, GlassRamMonitor, Compositor>,
    token: RegistrationToken,
}

/// How processes are watched with this configuration.
pub(super) fn monitor_config(config: &Config) -> MonitorConfig {
    MonitorConfig { window: Duration::from_millis(config.window_ms.into()), ..MonitorConfig::default() }
}

impl Watched {
    pub(super) fn set_window(&self, window: Duration) {
        if let Some(source) = &self.source {
            source.dispatcher.as_source_mut().set_window(window);
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pipeline.target().pid
    }

    /// Who it is, and whether it is still there.
    pub(super) fn target(&self) -> Target {
        let target = self.pipeline.target();
        Target {
            pid: target.pid,
            name: target.comm.clone(),
            rung: self.pipeline.rung().to_string(),
            ended: self.pipeline.ended().map(str::to_owned),
        }
    }

    /// Not from within its own source.
    pub(super) fn telemetry(&self) -> Telemetry {
        let numbers = self.pipeline.telemetry();
        let source = self.source.as_ref();
        let metrics =
            source.map_or(self.metrics, |source| source.dispatcher.as_source_ref().target_metrics());
        Telemetry {
            target: self.target(),
            windows: self.pipeline.windows(),
            pages: self.pipeline.layout().pages,
            fault_rate: numbers.fault_rate,
            active_threads: numbers.active_threads,
            memory_avalanche_detected: numbers.memory_avalanche_detected,
            phase_transition_detected: numbers.phase_transition_detected,
            reconstruction_accuracy: numbers.reconstruction_accuracy,
            hilbert_order: numbers.hilbert_order,
            sampling_rate: numbers.sampling_rate,
            overhead_percent: metrics.overhead_percent,
            slow_down_factor: metrics.slow_down_factor,
            memory_overhead_mb: metrics.memory_overhead_mb,
        }
    }
}

impl Session {
    /// Watches this process from now on. The one before is let go only when nothing can refuse any more.
    pub(super) fn watch(&mut self, compositor: &mut Compositor, attached: ProcessAttach) -> Result<()> {
        let monitor = GlassRamMonitor::watch(attached, monitor_config(&self.config))?;
        self.watch_with(compositor, monitor)
    }

    /// As [`Self::watch`], with a monitor that is there already.
    pub(super) fn watch_with(&mut self, compositor: &mut Compositor, monitor: GlassRamMonitor) -> Result<()> {
        let hilbert = self.config.hilbert()?;
        let target = monitor.target().clone();
        let rung = monitor.rung();
        let palette = words::color_palette(self.palette);
        let mut pipeline = Pipeline::new(target.clone(), rung, hilbert.clone(), palette)?;
        pipeline.reshape(hilbert, self.half_life())?;
        let metrics = monitor.target_metrics();
        let me = self.me.clone();
        let dispatcher = Dispatcher::new(monitor, move |event, _, compositor: &mut Compositor| {
            if let Some(session) = me.upgrade() {
                session.borrow_mut().captured(compositor, event);
            }
        });
        let token = self
            .handle
            .register_dispatcher(dispatcher.clone())
            .map_err(|error| DisplayError::Setup { what: "the capture source", reason: error.to_string() })?;
        if let Err(error) = self.let_go() {
            warn!("the process that was watched before is not wholly as it was: {error}");
        }
        info!("watching {} {} by {rung}", target.comm, target.pid);
        self.watched = Some(Watched { pipeline, source: Some(Source { dispatcher, token }), metrics });
        self.frozen = None;
        self.show(compositor);
        self.publish(compositor);
        Ok(())
    }

    /// Watches nothing.
    pub(super) fn unwatch(&mut self, compositor: &mut Compositor) -> Result<()> {
        let outcome = self.let_go();
        self.frozen = None;
        self.show(compositor);
        self.publish(compositor);
        outcome
    }

    /// Leaves the watched process as it was found. Not from within its own source.
    pub(super) fn let_go(&mut self) -> Result<()> {
        let Some(watched) = self.watched.take() else { return Ok(()) };
        let Some(source) = watched.source else { return Ok(()) };
        let target = watched.pipeline.target();
        info!("no longer watching {} {}", target.comm, target.pid);
        self.handle.remove(source.token);
        Dispatcher::into_source_inner(source.dispatcher).detach()
    }

    /// What capture reports.
    fn captured(&mut self, compositor: &mut Compositor, event: CaptureEvent) {
        let Some(watched) = &mut self.watched else { return };
        let over = match event {
            CaptureEvent::Window(window) => {
                watched.pipeline.window(&window).err().map(|error| error.to_string())
            }
            CaptureEvent::Exited(reason) => Some(reason.to_string()),
            CaptureEvent::Failed(error) => Some(error.to_string()),
        };
        if let Some(reason) = over {
            warn!("no longer watching {}: {reason}", watched.pipeline.target().comm);
            watched.pipeline.end(reason);
            self.publish(compositor);
            self.drop_source();
        } else {
            self.publish_telemetry();
        }
        if self.frozen.is_none() {
            self.show(compositor);
        }
    }

    /// The process is gone; what was held of it is given up, once its source is no longer at work.
    fn drop_source(&mut self) {
        let (me, pid) = (self.me.clone(), self.watched.as_ref().map(Watched::pid));
        self.handle.insert_idle(move |_| {
            let Some(session) = me.upgrade() else { return };
            let session = &mut *session.borrow_mut();
            if let Some(watched) = session.watched.as_mut().filter(|watched| Some(watched.pid()) == pid)
                && watched.pipeline.ended().is_some()
                && let Some(source) = watched.source.take()
            {
                session.handle.remove(source.token);
                let monitor = Dispatcher::into_source_inner(source.dispatcher);
                watched.metrics = monitor.target_metrics();
                if let Err(error) = monitor.detach() {
                    warn!("the process is not wholly as it was: {error}");
                }
            }
        });
    }
}
