//! The windows of a process in a file.

use std::fmt;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use calloop::signals::{Signal, Signals};
use calloop::timer::{TimeoutAction, Timer};
use calloop::{Dispatcher, EventLoop};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::snapshot::loop_failed;
use super::target::resolve;
use super::words::bytes;
use crate::capture::recording::{Recorded, Recorder, RingLimits};
use crate::capture::{
    Attacher, CaptureEvent, ExitReason, GlassRamMonitor, MonitorConfig, SecurityConfig, TargetMetrics,
};
use crate::{GlassRamError, Result};

/// What to record, for how long, and where to.
#[derive(Debug, Clone)]
pub struct RecordOptions {
    /// A process number, or a name that one process has.
    pub target: String,
    /// The file to make.
    pub file: PathBuf,
    /// How long; until the process ends or a signal comes when `None`.
    pub duration: Option<Duration>,
    /// Length of a window.
    pub window: Duration,
    /// How much of the past to keep.
    pub limits: RingLimits,
    /// How careful to be.
    pub security: SecurityConfig,
}

/// What was recorded: what `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct RecordReport {
    /// The process that was recorded.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub comm: String,
    /// How it was watched.
    pub rung: String,
    /// The file.
    pub file: PathBuf,
    /// When it began: seconds since 1970.
    pub started: f64,
    /// Seconds recorded, dropped ones included.
    pub seconds: f64,
    /// Windows recorded, dropped ones included.
    pub windows: u64,
    /// Windows that the bounds have pushed out.
    pub dropped: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// What watching cost the target.
    #[serde(flatten)]
    pub target: TargetMetrics,
    /// Why recording ended early, if it did.
    pub ended: Option<String>,
}

/// What the loop works on.
struct Recording {
    recorder: Recorder,
    seconds: Duration,
    failed: Option<GlassRamError>,
    ended: Option<ExitReason>,
    done: bool,
    progress: ProgressBar,
}

impl Recording {
    fn event(&mut self, event: CaptureEvent) {
        match event {
            CaptureEvent::Window(window) => {
                self.seconds += window.length;
                self.failed = self.recorder.window(&window).err().map(GlassRamError::from);
                let Recorded { windows, bytes: size, .. } = self.recorder.recorded();
                self.progress.set_message(format!(
                    "{:.1} s, {windows} windows, {}",
                    self.seconds.as_secs_f64(),
                    bytes(size as f64)
                ));
            }
            CaptureEvent::Exited(reason) => self.ended = Some(reason),
            CaptureEvent::Failed(error) => self.failed = Some(error),
        }
        self.done |= self.failed.is_some() || self.ended.is_some();
    }
}

/// Records the target until the time is over, it ends, or SIGINT, SIGTERM or SIGHUP comes. What was recorded before a failure is
/// in the file.
pub fn run(options: &RecordOptions) -> Result<RecordReport> {
    let pid = resolve(&options.target)?;
    let mut event_loop: EventLoop<'_, Recording> = EventLoop::try_new().map_err(loop_failed)?;
    // Before any thread is started, so that every thread leaves these signals to the loop.
    let signals = Signals::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]).map_err(loop_failed)?;
    let attacher = Attacher::choose(options.security, None)?;
    let origin = Instant::now();
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let config = MonitorConfig {
        window: options.window,
        anonymize: options.security.anonymize_addresses,
        ..MonitorConfig::exact()
    };
    let monitor = GlassRamMonitor::watch(attacher.attach(pid)?, config)?;
    let (target, rung) = (monitor.target().clone(), monitor.rung());
    let recorder = Recorder::create(&options.file, &target, rung, origin, options.limits)?;
    let mut recording = Recording {
        recorder,
        seconds: Duration::ZERO,
        failed: None,
        ended: None,
        done: false,
        progress: progress(&target.comm, pid),
    };
    let handle = event_loop.handle();
    handle.insert_source(signals, |_, (), recording| recording.done = true).map_err(loop_failed)?;
    if let Some(duration) = options.duration {
        let timer = Timer::from_deadline(origin + duration);
        handle
            .insert_source(timer, |_, (), recording| {
                recording.done = true;
                TimeoutAction::Drop
            })
            .map_err(loop_failed)?;
    }
    let source = Dispatcher::new(monitor, |event, (), recording: &mut Recording| recording.event(event));
    let token = handle.register_dispatcher(source.clone()).map_err(loop_failed)?;
    while !recording.done {
        event_loop.dispatch(None, &mut recording).map_err(loop_failed)?;
    }
    recording.progress.finish_and_clear();
    handle.remove(token);
    let mut monitor = Dispatcher::into_source_inner(source);
    if recording.failed.is_none() && recording.ended.is_none() {
        // What was written since the last window is recorded, too.
        recording.event(monitor.scan()?);
    }
    let metrics = monitor.target_metrics();
    monitor.detach()?;
    if let Some(error) = recording.failed {
        return Err(error);
    }
    let recorded = recording.recorder.finish(recording.ended)?;
    Ok(RecordReport {
        pid,
        comm: target.comm,
        rung: rung.to_string(),
        file: options.file.clone(),
        started,
        seconds: recording.seconds.as_secs_f64(),
        windows: recorded.windows,
        dropped: recorded.dropped,
        bytes: recorded.bytes,
        target: metrics,
        ended: recording.ended.map(|reason| reason.to_string()),
    })
}

fn progress(comm: &str, pid: u32) -> ProgressBar {
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{prefix} {spinner} {msg}") {
        progress.set_style(style);
    }
    let stop = if std::io::stdin().is_terminal() { " (Ctrl+C ends it)" } else { "" };
    progress.set_prefix(format!("recording {comm} {pid}{stop}"));
    progress
}

impl fmt::Display for RecordReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, .. } = self;
        writeln!(
            f,
            "{} {}: {:.1} s in {} windows by {}",
            self.comm, self.pid, self.seconds, self.windows, self.rung
        )?;
        writeln!(f, "  wrote     {} ({})", self.file.display(), bytes(self.bytes as f64))?;
        if self.dropped > 0 {
            writeln!(f, "  dropped   the first {} windows, to keep within the bounds", self.dropped)?;
        }
        writeln!(
            f,
            "  its cost  {:.2} % of a processor (its own work takes {:.2}× the time), {:.1} MB; estimated",
            target.overhead_percent, target.slow_down_factor, target.memory_overhead_mb
        )?;
        if let Some(ended) = &self.ended {
            writeln!(f, "  ended     {ended}")?;
        }
        Ok(())
    }
}
