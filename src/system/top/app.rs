//! What the person does, and what comes of it.

use std::time::Duration;

use calloop::{Dispatcher, LoopHandle, RegistrationToken};
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::colors::ColorDepth;
use super::draw::{Over, Play, View};
use crate::Result;
use crate::capture::{
    self, Attacher, CaptureEvent, GlassRamMonitor, MonitorConfig, ProcessSummary, TargetMetrics,
    WindowSource, may_watch,
};
use crate::map::{HilbertConfig, MAX_ORDER, MIN_ORDER};
use crate::render::ColorPalette;
use crate::system::Pipeline;
use crate::system::snapshot::loop_failed;
use crate::system::words;

/// How far the arrow keys go in a recording.
const JUMP: Duration = Duration::from_secs(5);

/// The state of `top`.
pub(super) struct App {
    handle: LoopHandle<'static, App>,
    attacher: Attacher,
    /// How every target is watched.
    monitor: MonitorConfig,
    hilbert: HilbertConfig,
    palette: ColorPalette,
    depth: ColorDepth,
    watched: Option<Watched>,
    /// The picture that is held.
    held: Option<Box<View>>,
    over: Over,
    listed: Vec<ProcessSummary>,
    complaint: Option<String>,
    changed: bool,
    done: bool,
}

struct Watched {
    pipeline: Pipeline,
    source: Dispatcher<'static, WindowSource, App>,
    token: RegistrationToken,
}

impl App {
    pub fn new(
        handle: LoopHandle<'static, App>,
        attacher: Attacher,
        monitor: MonitorConfig,
        (hilbert, palette, depth): (HilbertConfig, ColorPalette, ColorDepth),
    ) -> Self {
        Self {
            handle,
            attacher,
            monitor,
            hilbert,
            palette,
            depth,
            watched: None,
            held: None,
            over: Over::Nothing,
            listed: Vec::new(),
            complaint: None,
            changed: true,
            done: false,
        }
    }

    pub fn quit(&mut self) {
        self.done = true;
    }

    pub fn done(&self) -> bool {
        self.done
    }

    /// Whether there is something new to be seen since this was asked last.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Shows these windows from now on; what was watched before is let go.
    pub fn watch(&mut self, mut source: WindowSource) -> Result<()> {
        let mut pipeline =
            Pipeline::new(source.target().clone(), source.rung(), self.hilbert.clone(), self.palette)?;
        if let Some(replay) = source.replay() {
            pipeline.bound()?;
            pipeline.restart(replay.position())?;
        }
        source.set_arming_policy(pipeline.arming_policy());
        let source = Dispatcher::new(source, |event, (), app: &mut App| app.captured(event));
        let token = self.handle.register_dispatcher(source.clone()).map_err(loop_failed)?;
        let let_go = self.let_go();
        self.watched = Some(Watched { pipeline, source, token });
        self.held = None;
        self.changed = true;
        let_go
    }

    /// Leaves the watched process as it was found.
    pub fn let_go(&mut self) -> Result<()> {
        let Some(watched) = self.watched.take() else { return Ok(()) };
        self.handle.remove(watched.token);
        Dispatcher::into_source_inner(watched.source).detach()
    }

    fn captured(&mut self, event: CaptureEvent) {
        let Some(watched) = &mut self.watched else { return };
        match event {
            CaptureEvent::Window(window) => {
                let stood = watched.pipeline.stands();
                if let Err(error) = watched.pipeline.window(&window) {
                    watched.pipeline.end(error.to_string());
                }
                // While nothing is written, time alone is no news.
                if stood.is_some() && watched.pipeline.stands() == stood {
                    return;
                }
            }
            // Not asked for.
            CaptureEvent::Forked(_) => {}
            CaptureEvent::Exited(reason) => watched.pipeline.end(reason.to_string()),
            CaptureEvent::Failed(error) => watched.pipeline.end(error.to_string()),
        }
        self.changed |= self.held.is_none();
    }

    /// What the terminal reports.
    pub fn input(&mut self, event: Event) {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(key),
            Event::Resize(..) => self.changed = true,
            _ => {}
        }
    }

    fn key(&mut self, key: KeyEvent) {
        self.changed = true;
        self.complaint = None;
        if key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.quit();
        }
        let outcome = match &self.over {
            Over::Targets(..) => self.choose(key.code),
            Over::Help => {
                self.over = Over::Nothing;
                Ok(())
            }
            Over::Nothing => self.command(key.code),
        };
        self.complaint = outcome.err().map(|error| error.to_string());
    }

    fn command(&mut self, key: KeyCode) -> Result<()> {
        match key {
            KeyCode::Char('q') | KeyCode::Esc => self.quit(),
            KeyCode::Char('p') => self.set_palette(next(self.palette)),
            KeyCode::Char(' ') => self.hold(),
            KeyCode::Char('+' | '=') => return self.set_order(1),
            KeyCode::Char('-' | '−') => return self.set_order(-1),
            KeyCode::Char('0') => return self.reshape(HilbertConfig::default()),
            KeyCode::Char('t') => self.list(),
            KeyCode::Char('?' | 'h') => self.over = Over::Help,
            KeyCode::Left => return self.jump(|at| at.saturating_sub(JUMP)),
            KeyCode::Right => return self.jump(|at| at + JUMP),
            KeyCode::Char('[') => self.speed(0.5),
            KeyCode::Char(']') => self.speed(2.0),
            _ => {}
        }
        Ok(())
    }

    fn set_palette(&mut self, palette: ColorPalette) {
        self.palette = palette;
        if let Some(watched) = &mut self.watched {
            watched.pipeline.set_palette(palette);
        }
        if let Some(held) = &mut self.held {
            held.palette = palette;
        }
    }

    /// Holds the picture, or lets it go on. A recording stops with it.
    fn hold(&mut self) {
        self.held = if self.held.is_some() { None } else { Some(Box::new(self.live())) };
        let paused = self.held.is_some();
        self.steer(|replay| replay.set_paused(paused));
    }

    fn set_order(&mut self, step: i32) -> Result<()> {
        let Some(watched) = &self.watched else { return Ok(()) };
        let order = watched.pipeline.telemetry().hilbert_order.saturating_add_signed(step);
        self.reshape(HilbertConfig::fixed(order.clamp(MIN_ORDER, MAX_ORDER))?)
    }

    fn reshape(&mut self, hilbert: HilbertConfig) -> Result<()> {
        self.hilbert = hilbert.clone();
        let Some(watched) = &mut self.watched else { return Ok(()) };
        watched.pipeline.reshape(hilbert, crate::system::pipeline::HALF_LIFE)
    }

    /// Does something with the recording, if it is one.
    fn steer<T>(&mut self, action: impl FnOnce(&mut capture::recording::Replay) -> T) -> Option<T> {
        let watched = self.watched.as_ref()?;
        watched.source.as_source_mut().replay_mut().map(action)
    }

    fn speed(&mut self, factor: f64) {
        self.steer(|replay| replay.set_speed(replay.speed() * factor));
    }

    fn jump(&mut self, to: impl FnOnce(Duration) -> Duration) -> Result<()> {
        let sought = self.steer(|replay| {
            let windows = replay.seek(to(replay.position()));
            (replay.position(), windows)
        });
        let (Some((position, windows)), Some(watched)) = (sought, &mut self.watched) else { return Ok(()) };
        watched
            .pipeline
            .restart(position.saturating_sub(windows.iter().map(|window| window.length).sum()))?;
        for window in &windows {
            watched.pipeline.window(window)?;
        }
        if self.held.is_some() {
            self.held = Some(Box::new(self.live()));
        }
        Ok(())
    }

    /// Lists the processes that can be watched, one's own first.
    fn list(&mut self) {
        let own = nix::unistd::geteuid().as_raw();
        let mut processes: Vec<ProcessSummary> = capture::processes()
            .filter(|process| process.resident_bytes.is_some() && may_watch(process.pid).is_ok())
            .collect();
        processes.sort_by_key(|process| (process.uid != own, std::cmp::Reverse(process.resident_bytes)));
        let lines = processes.iter().map(|process| {
            let resident = words::bytes(process.resident_bytes.unwrap_or_default() as f64);
            format!("{:>8}  {:<16} {resident:>10}", process.pid, process.comm)
        });
        self.over = Over::Targets(lines.collect(), 0);
        self.listed = processes;
    }

    fn choose(&mut self, key: KeyCode) -> Result<()> {
        let Over::Targets(lines, chosen) = &mut self.over else { return Ok(()) };
        let last = lines.len().saturating_sub(1);
        match key {
            KeyCode::Up | KeyCode::Char('k') => *chosen = chosen.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => *chosen = (*chosen + 1).min(last),
            KeyCode::PageUp => *chosen = chosen.saturating_sub(10),
            KeyCode::PageDown => *chosen = (*chosen + 10).min(last),
            KeyCode::Home => *chosen = 0,
            KeyCode::End => *chosen = last,
            KeyCode::Esc | KeyCode::Char('q' | 't') => self.over = Over::Nothing,
            KeyCode::Enter => {
                let pid = self.listed.get(*chosen).map(|process| process.pid);
                self.over = Over::Nothing;
                if let Some(pid) = pid {
                    let attached = self.attacher.attach(pid)?;
                    return self.watch(GlassRamMonitor::watch(attached, self.monitor)?.into());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What is to be seen now. Not from within a source.
    pub fn view(&self) -> View {
        let mut view = self.held.as_deref().cloned().unwrap_or_else(|| self.live());
        view.held = self.held.is_some();
        view.over = self.over.clone();
        view.complaint = self.complaint.clone();
        view
    }

    fn live(&self) -> View {
        let Some(watched) = &self.watched else {
            unreachable!("something is watched from the start to the end")
        };
        let Watched { pipeline, source, .. } = watched;
        let source = source.as_source_ref();
        let recorder = pipeline.recorder();
        let avalanches = recorder.avalanches();
        let metrics: TargetMetrics = source.target_metrics();
        let changes = recorder.phases().changes();
        let phases = (changes.len(), changes.last().map(|change| recorder.now().saturating_sub(change.at)));
        let picture = pipeline.picture();
        View {
            density: picture.density,
            palette: self.palette,
            depth: self.depth,
            caption: picture.caption,
            rung: pipeline.rung().to_string(),
            telemetry: pipeline.telemetry().clone(),
            slow_down: metrics.slow_down(),
            poor: pipeline.is_poor(),
            phases,
            avalanches: (avalanches.statistics().count, avalanches.current().map(|now| now.size)),
            play: source.replay().map(|replay| Play {
                position: replay.position(),
                length: replay.length(),
                speed: replay.speed(),
            }),
            held: false,
            ended: pipeline.ended().map(str::to_owned),
            complaint: None,
            over: Over::Nothing,
        }
    }
}

fn next(palette: ColorPalette) -> ColorPalette {
    match palette {
        ColorPalette::Inferno => ColorPalette::Viridis,
        ColorPalette::Viridis => ColorPalette::Cividis,
        ColorPalette::Cividis => ColorPalette::Contrast,
        ColorPalette::Contrast => ColorPalette::Inferno,
    }
}
