//! The session: a compositor on the screen, and the map of a target in it.
//!
//! ```text
//!  command line ┐                                 ┌─ watching: capture windows ─► pictures ─► compositor
//!  config file ─┴─► state (what is in force) ─────┤
//!  hotkeys ─► notices ─► state                    └─ control: requests in, replies and events out
//! ```
//!
//! Everything is a source of one loop. What takes longer than a frame runs on a thread of its own (`jobs`).

mod control;
mod environment;
mod file;
mod forks;
mod jobs;
mod lines;
mod looking;
mod motion;
mod playing;
mod requests;
mod socket;
mod state;
mod views;
mod watching;
mod words;

#[cfg(any(test, fuzzing))]
pub(crate) use self::lines::fuzz;

pub(in crate::system) use self::words::{color_scale, mode};

use std::path::PathBuf;
use std::time::Duration;

use calloop::EventLoop;
use calloop::signals::{Signal, Signals};
use tracing::{info, warn};

use self::file::ConfigFile;
use self::state::Session;
use self::watching::View;
use super::memory;
use super::target::resolve;
use crate::Result;
use crate::capture::recording::{Replay, ReplayStart};
use crate::capture::{Attacher, GlassRamMonitor, WindowSource, birth, shortage};
use crate::config::{Config, Overrides};
use crate::display::{BackendKind, Compositor, CompositorConfig, DisplayError, PlanePolicy};
use crate::render::RenderWorker;

/// What the person asked for.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Where to show it; found out when `None`.
    pub backend: Option<BackendKind>,
    /// The only graphics cards to use; all of the seat's when empty.
    pub cards: Vec<PathBuf>,
    /// Whether the map may have a plane of its own.
    pub planes: PlanePolicy,
    /// Size of a headless output, pixels, or of the window.
    pub headless_size: (i32, i32),
    /// How many headless outputs.
    pub headless_outputs: u32,
    /// Name of the Wayland socket.
    pub socket_name: Option<String>,
    /// The configuration file; the usual one when `None`.
    pub config: Option<PathBuf>,
    /// What wins over that file.
    pub overrides: Overrides,
    /// A recording to show instead of a target, and where to begin in it.
    pub replay: Option<(PathBuf, ReplayStart)>,
    /// Whether the services of the person's systemd and D-Bus are to find the session.
    pub export_environment: bool,
    /// A program to start in the session, watched when there is no target.
    pub command: Vec<String>,
}

/// Runs until the person quits or a signal ends it; the target is let go either way.
pub fn run(options: SessionOptions) -> Result<()> {
    memory::give_back();
    let backend = options.backend.unwrap_or_else(BackendKind::detect);
    let mut event_loop: EventLoop<'static, Compositor> =
        EventLoop::try_new().map_err(|error| setup("the event loop", &error))?;
    // Before any thread is started, so that every thread leaves these signals to the loop.
    let signals = Signals::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP])
        .map_err(|error| setup("the signal source", &error))?;
    // What can refuse is asked first, and the screen is taken last.
    let mut file = ConfigFile::new(options.config.clone());
    let (config, broken) = configuration(&mut file, &options)?;
    // Before any other thread is started, because it is for threads that are started later, too.
    let attacher = Attacher::choose(config.security, watching::monitor_config(&config).rung)?;
    shortage::first_to_go();
    let source = first_source(&attacher, &options, &config)?;
    let worker = RenderWorker::spawn()?;
    info!("map rendered by {}", worker.0.describe());

    let display = CompositorConfig {
        cards: options.cards,
        placement: words::display_placement(config.placement),
        socket: options.socket_name,
        headless_size: options.headless_size,
        headless_outputs: options.headless_outputs,
        planes: options.planes,
        xwayland: config.xwayland,
        settings: config.display_settings(),
        ..CompositorConfig::new(backend)
    };
    let mut compositor = Compositor::new(display, &mut event_loop, Some(worker))?;
    info!("Wayland programs find the session as WAYLAND_DISPLAY={}", compositor.socket_name());
    event_loop
        .handle()
        .insert_source(signals, |event, _, compositor| {
            info!("ending on {:?}", event.signal());
            compositor.stop();
        })
        .map_err(|error| setup("the signal source", &error))?;

    let handle = event_loop.handle();
    let session =
        Session::start(handle, &mut compositor, attacher.clone(), file, options.overrides, config, broken)?;
    if options.export_environment {
        environment::export(&compositor);
    }
    compositor.start_kiosk();
    let source = match (source, options.command.as_slice()) {
        (source, []) => source,
        (None, command) => {
            Some(start_watched(&mut compositor, &attacher, command, &session.borrow().config)?.into())
        }
        (source, command) => {
            compositor.spawn(command)?;
            source
        }
    };
    match source {
        Some(source) => session.borrow_mut().watch_with(&mut compositor, source, &View::Main)?,
        None => session.borrow().show(&mut compositor),
    }
    session.borrow_mut().watch_configured(&compositor);
    environment::notify(sd_notify::NotifyState::Ready);
    let outcome = event_loop.run(None::<Duration>, &mut compositor, |_| ());
    environment::notify(sd_notify::NotifyState::Stopping);
    session.borrow_mut().let_all_go()?;
    outcome.map_err(|error| setup("the event loop", &error))?;
    compositor.failure().map_or(Ok(()), |failure| Err(failure.into()))
}

/// The configuration to start with, and what is wrong with the file, if anything. A file that was asked for
/// has to be there; a broken one does not keep a person from their screen, on which the error can be
/// corrected, as long as it is known how careful they want the session to be.
fn configuration(file: &mut ConfigFile, options: &SessionOptions) -> Result<(Config, Option<String>)> {
    if let Some(path) = &options.config
        && !path.exists()
    {
        return Err(crate::GlassRamError::FeatureNotSupported {
            feature: format!("there is no configuration {}: name one that exists", path.display()),
        });
    }
    let (config, broken) = match file.read() {
        Ok(config) => (config, None),
        Err(error) => {
            let Some(security) = file.security() else { return Err(error.into()) };
            let config = Config { security: security?, ..Config::default() };
            warn!("{error}; starting with the defaults, and reading it again when it is saved");
            (config, Some(error.to_string()))
        }
    };
    let config = config.overridden(&options.overrides);
    crate::capture::watch_own_userfaultfd(config.watch_own_userfaultfd);
    Ok((config, broken))
}

/// The recording to show, or the process to watch, from the start. One that was asked for on the command line
/// has to be there; one that the file names may come later.
fn first_source(
    attacher: &Attacher,
    options: &SessionOptions,
    config: &Config,
) -> Result<Option<WindowSource>> {
    if let Some((file, start)) = &options.replay {
        return Ok(Some(Replay::open(file, *start)?.into()));
    }
    let Some(word) = config.target.as_deref() else { return Ok(None) };
    match resolve(word).and_then(|pid| attach(attacher, pid, config)) {
        Ok(monitor) => Ok(Some(monitor.into())),
        Err(error) if options.overrides.target.is_some() => Err(error),
        Err(error) => {
            warn!("the configured target is not watched: {error}");
            Ok(None)
        }
    }
}

/// Starts a program and watches it from its first instruction.
fn start_watched(
    compositor: &mut Compositor,
    attacher: &Attacher,
    command: &[String],
    config: &Config,
) -> Result<GlassRamMonitor> {
    let pid = compositor.spawn_prepared(command, birth::hold)?;
    let settled = birth::settle(pid).map_err(|error| setup("the watched program", &error));
    let monitor = attach(attacher, pid, config);
    // Whatever came of it, the program is not left stopped.
    birth::let_run(pid).map_err(|error| setup("the watched program", &error))?;
    settled?;
    monitor
}

fn attach(attacher: &Attacher, pid: u32, config: &Config) -> Result<GlassRamMonitor> {
    GlassRamMonitor::watch(attacher.attach_by(pid, config.rung)?, watching::monitor_config(config))
}

fn setup(what: &'static str, error: &dyn std::fmt::Display) -> DisplayError {
    DisplayError::Setup { what, reason: error.to_string() }
}
