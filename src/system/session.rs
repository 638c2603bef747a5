//! The session: a compositor on the screen, and the map of a target in it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use calloop::EventLoop;
use calloop::signals::{Signal, Signals};
use tracing::{info, warn};

use super::Pipeline;
use super::target::resolve;
use crate::Result;
use crate::capture::{CaptureEvent, GlassRamMonitor};
use crate::display::{BackendKind, Compositor, CompositorConfig, DisplayError, Placement, PlanePolicy};
use crate::map::HilbertConfig;
use crate::render::{Caption, ColorPalette, Picture, RenderWorker};
use crate::sensing::DensityMap;

/// What the person asked for.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Where to show it; found out when `None`.
    pub backend: Option<BackendKind>,
    /// The process to watch: a number, or a name that one process has.
    pub target: Option<String>,
    /// The one graphics card to use.
    pub card: Option<PathBuf>,
    /// Where the map lies at the start.
    pub placement: Placement,
    /// Whether the map may have a plane of its own.
    pub planes: PlanePolicy,
    /// Size of the headless output, pixels.
    pub headless_size: (i32, i32),
    /// Name of the Wayland socket.
    pub socket_name: Option<String>,
    /// The orders that the map may take.
    pub hilbert: HilbertConfig,
    /// The colours of the map.
    pub palette: ColorPalette,
    /// A program to start in the session, watched when there is no `target`.
    pub command: Vec<String>,
}

/// Runs until the person quits or a signal ends it; the target is let go either way.
pub fn run(options: SessionOptions) -> Result<()> {
    let backend = options.backend.map_or_else(BackendKind::detect, Ok)?;
    let mut event_loop: EventLoop<'static, Compositor> =
        EventLoop::try_new().map_err(|error| setup("the event loop", &error))?;
    // Before any thread is started, so that every thread leaves these signals to the loop.
    let signals = Signals::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
        .map_err(|error| setup("the signal source", &error))?;
    // What can refuse is asked first, and the screen is taken last.
    let target = options.target.as_deref().map(resolve).transpose()?;
    let watched = target.map(|pid| watch(pid, &options)).transpose()?;
    let worker = RenderWorker::spawn()?;
    info!("map rendered by {}", worker.0.describe());

    let config = CompositorConfig {
        card: options.card.clone(),
        placement: options.placement,
        socket: options.socket_name.clone(),
        headless_size: options.headless_size,
        planes: options.planes,
        ..CompositorConfig::new(backend)
    };
    let mut compositor = Compositor::new(config, &mut event_loop, Some(worker))?;
    info!("Wayland programs find the session as WAYLAND_DISPLAY={}", compositor.socket_name());

    event_loop
        .handle()
        .insert_source(signals, |event, _, compositor| {
            info!("ending on {:?}", event.signal());
            compositor.stop();
        })
        .map_err(|error| setup("the signal source", &error))?;

    let started = match options.command.as_slice() {
        [] => None,
        command => Some(compositor.spawn(command)?),
    };
    let watched = match (watched, started) {
        (None, Some(pid)) => Some(watch(pid, &options)?),
        (watched, _) => watched,
    };
    match watched {
        Some((monitor, pipeline)) => insert(&event_loop, &mut compositor, monitor, pipeline)?,
        None => compositor.show(Arc::new(nothing(&options))),
    }
    event_loop
        .run(None::<Duration>, &mut compositor, |_| ())
        .map_err(|error| setup("the event loop", &error))?;
    Ok(())
}

fn watch(pid: u32, options: &SessionOptions) -> Result<(GlassRamMonitor, Pipeline)> {
    let monitor = GlassRamMonitor::new(pid)?;
    let target = monitor.target().clone();
    info!("watching {} {} by {}", target.comm, target.pid, monitor.rung());
    let pipeline = Pipeline::new(target, monitor.rung(), options.hilbert.clone(), options.palette)?;
    Ok((monitor, pipeline))
}

/// Lets the loop drive capture; each window becomes a picture on the screen.
fn insert(
    event_loop: &EventLoop<'static, Compositor>,
    compositor: &mut Compositor,
    monitor: GlassRamMonitor,
    mut pipeline: Pipeline,
) -> Result<()> {
    compositor.show(Arc::new(pipeline.picture()));
    event_loop
        .handle()
        .insert_source(monitor, move |event, _, compositor| {
            match event {
                CaptureEvent::Window(window) => {
                    if let Err(error) = pipeline.window(&window) {
                        warn!("{error}");
                        pipeline.end(error.to_string());
                    }
                }
                CaptureEvent::Exited(reason) => {
                    info!("no longer watching {}: {reason}", pipeline.target().comm);
                    pipeline.end(reason.to_string());
                }
                CaptureEvent::Failed(error) => {
                    warn!("no longer watching {}: {error}", pipeline.target().comm);
                    pipeline.end(error.to_string());
                }
            }
            compositor.show(Arc::new(pipeline.picture()));
        })
        .map_err(|error| setup("the capture source", &error.error))?;
    Ok(())
}

/// The picture of a session that watches nothing.
fn nothing(options: &SessionOptions) -> Picture {
    let order = options.hilbert.order_for(0);
    Picture {
        density: Arc::new(DensityMap::zeros((1 << order, 1 << order))),
        caption: Caption {
            target: "no target".into(),
            status: "start with --target PID to watch a process".into(),
            order,
            bytes_per_cell: 0.0,
            total_bytes: 0,
            half_life: super::pipeline::HALF_LIFE,
        },
        palette: options.palette,
    }
}

fn setup(what: &'static str, error: &dyn std::fmt::Display) -> DisplayError {
    DisplayError::Setup { what, reason: error.to_string() }
}
