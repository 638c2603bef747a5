//! The watched processes: beginning, windows, end, and the change to others.

use std::time::Instant;

use calloop::{Dispatcher, RegistrationToken};
use tracing::{info, warn};

use super::motion::Moving;
use super::state::Session;
use super::{playing, words};
use crate::Result;
use crate::capture::{
    CaptureEvent, ExitReason, GlassRamMonitor, MonitorConfig, ProcessAttach, Rung, TargetMetrics,
    WindowSource,
};
use crate::config::Config;
use crate::display::settings::OutputIdentity;
use crate::display::{Compositor, DisplayError};
use crate::ipc::{ReplayState, Target, Telemetry};
use crate::system::Pipeline;

/// A process under watch, or what is left of it when it has ended.
pub(super) struct Watched {
    pub(super) pipeline: Pipeline,
    pub(super) source: Option<Source>,
    /// When the last window came to its end.
    taken: Option<Instant>,
    /// As of the last look, for when the process is gone.
    metrics: TargetMetrics,
    /// How it is played, when it is a recording of the process.
    pub(super) play: Option<ReplayState>,
    /// Its map, on the way from one window to the next.
    pub(super) moving: Option<Moving>,
}

pub(super) struct Source {
    pub(super) dispatcher: Dispatcher<'static, WindowSource, Compositor>,
    token: RegistrationToken,
}

/// Whose map a process is to be watched for.
#[derive(Debug, Clone)]
pub(super) enum View {
    /// The session's own: every output that says nothing else.
    Main,
    /// These outputs.
    Outputs(Vec<OutputIdentity>),
    /// Those outputs whose rule has this word.
    Configured(String),
}

/// How processes are watched with this configuration.
pub(super) fn monitor_config(config: &Config) -> MonitorConfig {
    MonitorConfig {
        window: config.window(),
        slowdown_budget: config.slowdown_budget(),
        rung: config.rung,
        anonymize: config.security.anonymize_addresses,
        follow_forks: config.follow_forks,
        ..MonitorConfig::default()
    }
}

impl Watched {
    /// Is looked at as often, and may become as slow, as is configured now.
    pub(super) fn follow_budget(&self, old: &Config, new: &Config) {
        let Some(source) = &self.source else { return };
        let mut source = source.dispatcher.as_source_mut();
        if old.window() != new.window() {
            source.set_window(new.window());
        }
        if old.slowdown_budget() != new.slowdown_budget() {
            source.set_slowdown_budget(new.slowdown_budget());
        }
    }

    /// When the last window came to its end.
    pub(super) fn taken(&self) -> Option<Instant> {
        self.taken
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
            recorded: self.play.is_some(),
        }
    }

    /// Not from within its own source.
    pub(super) fn telemetry(&self) -> Telemetry {
        let numbers = self.pipeline.telemetry();
        let source = self.source.as_ref();
        let known = |number: f64| Some(number).filter(|number| !number.is_nan());
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
            reconstruction_accuracy: Some(numbers.reconstruction_accuracy)
                .filter(|accuracy| !accuracy.is_nan()),
            hilbert_order: numbers.hilbert_order,
            sampling_rate: numbers.sampling_rate,
            last_adjustment: numbers.last_adjustment.map(|last| last.adjustment.to_string()),
            overhead_percent: metrics.overhead_percent,
            slow_down_factor: known(metrics.slow_down_factor),
            slow_down_low: known(metrics.slow_down_low),
            slow_down_high: known(metrics.slow_down_high),
            lost_ms_per_second: metrics.lost_ms_per_second,
            flushes_per_second: source
                .and_then(|source| source.dispatcher.as_source_ref().fault_metrics())
                .map_or(0.0, |ours| ours.flushes_per_second),
            memory_overhead_mb: metrics.memory_overhead_mb,
            armed_share: source
                .and_then(|source| source.dispatcher.as_source_ref().governing())
                .map(|governing| governing.share()),
            lost: source
                .map(|source| source.dispatcher.as_source_ref().lost())
                .unwrap_or_default()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

impl Session {
    /// Watches this process from now on. The one before is let go only when nothing can refuse any more.
    pub(super) fn watch(
        &mut self,
        compositor: &mut Compositor,
        attached: ProcessAttach,
        view: &View,
    ) -> Result<()> {
        let monitor = GlassRamMonitor::watch(attached, monitor_config(&self.config))?;
        self.watch_with(compositor, monitor.into(), view)
    }

    /// As [`Self::watch`], with windows from wherever they come.
    pub(super) fn watch_with(
        &mut self,
        compositor: &mut Compositor,
        source: WindowSource,
        view: &View,
    ) -> Result<()> {
        let pid = source.target().pid;
        self.watch_beside(source)?;
        self.look_at(compositor, pid, view);
        Ok(())
    }

    /// Takes these windows from now on, whether they are shown or not.
    pub(super) fn watch_beside(&mut self, mut source: WindowSource) -> Result<()> {
        let hilbert = self.config.hilbert()?;
        let target = source.target().clone();
        let rung = source.rung();
        let play = source.replay().map(playing::state);
        let palette = words::color_palette(self.palette);
        let mut pipeline = Pipeline::new(target.clone(), rung, hilbert.clone(), palette)?;
        pipeline.reshape(hilbert, self.half_life())?;
        if let Some(replay) = source.replay() {
            pipeline.bound()?;
            pipeline.restart(replay.position())?;
        }
        source.set_arming_policy(pipeline.arming_policy());
        let metrics = source.target_metrics();
        let (me, pid) = (self.me.clone(), target.pid);
        let dispatcher = Dispatcher::new(source, move |event, _, compositor: &mut Compositor| {
            if let Some(session) = me.upgrade() {
                session.borrow_mut().captured(compositor, pid, event);
            }
        });
        let token = self
            .handle
            .register_dispatcher(dispatcher.clone())
            .map_err(|error| DisplayError::Setup { what: "the capture source", reason: error.to_string() })?;
        info!("watching {} {} by {rung}", target.comm, target.pid);
        // What is left of an earlier process of that number, or a recording of it.
        if let Err(error) = self.let_go(pid) {
            warn!("the process that was watched before is not wholly as it was: {error}");
        }
        let source = Some(Source { dispatcher, token });
        let mut watched = Watched { pipeline, source, taken: None, metrics, play: None, moving: None };
        play.into_iter().for_each(|play| watched.played(play));
        self.watched.push(watched);
        Ok(())
    }

    /// This process is watched: its map is shown where it was asked for.
    pub(super) fn look_at(&mut self, compositor: &mut Compositor, pid: u32, view: &View) {
        match view {
            View::Main => self.views.main = Some(pid),
            View::Outputs(outputs) => self.views.assign(outputs, pid),
            View::Configured(word) => self.views.found(word, pid),
        }
        self.views_changed(compositor);
    }

    /// What outputs show may be something else now.
    pub(super) fn views_changed(&mut self, compositor: &mut Compositor) {
        self.let_go_unwanted();
        compositor.set_watched(self.views.main);
        self.frozen = None;
        self.dress();
        self.show(compositor);
        self.publish(compositor);
    }

    /// The session has no target of its own any more.
    pub(super) fn unwatch(&mut self, compositor: &mut Compositor) -> Result<()> {
        let pid = self.views.main.take();
        let unwanted = pid.filter(|pid| !self.wanted().contains(pid));
        let outcome = unwanted.map_or(Ok(()), |pid| self.let_go(pid));
        self.views_changed(compositor);
        outcome
    }

    /// Leaves every process as it was found.
    pub(super) fn let_all_go(&mut self) -> Result<()> {
        let pids: Vec<u32> = self.watched.iter().map(Watched::pid).collect();
        // Each is tried, whatever becomes of the others.
        let outcomes: Vec<Result<()>> = pids.into_iter().map(|pid| self.let_go(pid)).collect();
        outcomes.into_iter().collect()
    }

    /// Leaves a watched process as it was found. Not from within its own source.
    pub(super) fn let_go(&mut self, pid: u32) -> Result<()> {
        let Some(at) = self.watched.iter().position(|watched| watched.pid() == pid) else { return Ok(()) };
        let watched = self.watched.remove(at);
        let Some(source) = watched.source else { return Ok(()) };
        let target = watched.pipeline.target();
        info!("no longer watching {} {}", target.comm, target.pid);
        self.handle.remove(source.token);
        let source = Dispatcher::into_source_inner(source.dispatcher);
        match source.rung() {
            // Its keeper lets go by itself, and no picture waits for that.
            Rung::WpAsync => Ok(()),
            _ => source.detach(),
        }
    }

    /// What capture reports.
    fn captured(&mut self, compositor: &mut Compositor, pid: u32, event: CaptureEvent) {
        let Some(watched) = self.watched.iter_mut().find(|watched| watched.pid() == pid) else { return };
        let (mut executed, mut elsewhere, mut still) = (false, false, false);
        let over = match event {
            CaptureEvent::Window(window) => {
                // What comes out of a file is no news of that moment.
                watched.taken = watched.play.is_none().then(|| window.started + window.length);
                let (before, part) = (watched.pipeline.shown_density(), watched.zoom());
                let stood = watched.pipeline.stands();
                let outcome = watched.pipeline.window(&window);
                elsewhere = watched.zoom() != part;
                still = stood.is_some() && watched.pipeline.stands() == stood && !elsewhere;
                // Cells of another part of memory do not come from those that were shown.
                let moves = self.look.animation && !elsewhere && !still;
                watched.moving = moves.then(|| Moving::from(before, window.length)).flatten();
                let position_ms = watched.pipeline.recorder().now().as_millis() as u64;
                if let Some(play) = watched.play {
                    watched.played(ReplayState { position_ms, over: false, ..play });
                }
                outcome.err().map(|error| error.to_string())
            }
            CaptureEvent::Forked(child) => return self.found(child),
            CaptureEvent::Exited(reason) => {
                executed = reason == ExitReason::Executed;
                Some(reason.to_string())
            }
            CaptureEvent::Failed(error) => Some(error.to_string()),
        };
        if let Some(reason) = over {
            // A recording goes on after a window that could not be taken.
            if watched.pipeline.ended() != Some(reason.as_str()) {
                warn!("no longer watching {}: {reason}", watched.pipeline.target().comm);
            }
            watched.pipeline.end(reason);
            let recorded = watched.play.is_some();
            self.publish(compositor);
            // A recording stays, so that it can be gone back in.
            if !recorded {
                self.drop_source(pid);
                let followed = self.views.followed.contains(&pid);
                self.unfollow(pid);
                if followed && executed {
                    self.found(pid);
                }
            }
        } else if self.views.main == Some(pid) {
            self.publish_telemetry();
            if elsewhere {
                self.publish(compositor);
            }
        }
        self.note_cost(pid);
        // While nothing is written, time alone is no news.
        if self.frozen.is_none() && !still {
            self.show_view(compositor, Some(pid));
            if self.look.animation {
                self.animate();
            }
        }
    }

    /// What watching costs the process is said with its next picture: the source, which knows it, is at work.
    fn note_cost(&self, pid: u32) {
        let me = self.me.clone();
        self.handle.insert_idle(move |_| {
            let Some(session) = me.upgrade() else { return };
            let session = &mut *session.borrow_mut();
            if let Some(watched) = session.watched.iter_mut().find(|watched| watched.pid() == pid)
                && watched.play.is_none()
                && let Some(source) = &watched.source
            {
                let metrics = source.dispatcher.as_source_ref().target_metrics();
                watched.pipeline.set_cost(Some(metrics));
            }
        });
    }

    /// The process is gone; what was held of it is given up, once its source is no longer at work.
    fn drop_source(&mut self, pid: u32) {
        let me = self.me.clone();
        self.handle.insert_idle(move |_| {
            let Some(session) = me.upgrade() else { return };
            let session = &mut *session.borrow_mut();
            if let Some(watched) = session.watched.iter_mut().find(|watched| watched.pid() == pid)
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
