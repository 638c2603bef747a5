//! The windows of a process in a file.

use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use calloop::signals::{Signal, Signals};
use calloop::timer::{TimeoutAction, Timer};
use calloop::{Dispatcher, EventLoop, LoopHandle, RegistrationToken};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::follow::{FOLLOWED_AT_MOST, Followed, Follower};
use super::snapshot::loop_failed;
use super::target::resolve;
use super::words::bytes;
use crate::capture::recording::{Recorded, Recorder, RingLimits};
use crate::capture::{
    Attacher, CaptureEvent, ExitReason, GlassRamMonitor, LostFeature, MonitorConfig, NotWatched,
    ProcessAttach, Rung, SecurityConfig, TargetInfo, TargetMetrics, WindowSource, shortage,
};
use crate::channel::Event as ChannelEvent;
use crate::plain::Plain;
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
    /// How often to look, and how much that may cost the target: pages that are not armed for that are written down as unseen.
    pub monitor: MonitorConfig,
    /// How much of the past to keep.
    pub limits: RingLimits,
    /// How careful to be.
    pub security: SecurityConfig,
    /// Whether the processes that it forks are recorded, too, each in a file of its own beside.
    pub follow_forks: bool,
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
    /// What the recording goes without, and why.
    pub lost: Vec<LostFeature>,
    /// Writable memory that was not watched.
    pub not_watched: Vec<NotWatched>,
    /// Why recording ended early, if it did.
    pub ended: Option<String>,
    /// The processes that it has forked, where they were followed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub followed: Vec<RecordReport>,
    /// How many of the processes that it has forked were not recorded, where they were followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
}

/// One process and the file that its windows go to.
struct Tape {
    target: TargetInfo,
    rung: Rung,
    file: PathBuf,
    started: f64,
    recorder: Recorder,
    seconds: Duration,
    ended: Option<ExitReason>,
    source: Dispatcher<'static, WindowSource, Recording>,
    token: RegistrationToken,
}

/// What the loop works on.
struct Recording {
    handle: LoopHandle<'static, Recording>,
    options: RecordOptions,
    monitor: MonitorConfig,
    origin: Instant,
    follower: Option<Follower>,
    /// The target, and the processes that it has forked.
    tapes: Vec<Tape>,
    /// Processes that were forked and are not recorded, or not yet: then without a reason.
    unrecorded: BTreeMap<u32, Option<String>>,
    failed: Option<GlassRamError>,
    done: bool,
    progress: ProgressBar,
}

impl Recording {
    /// Records this process from now on.
    fn begin(&mut self, monitor: GlassRamMonitor, file: PathBuf) -> Result<()> {
        let (target, rung) = (monitor.target().clone(), monitor.rung());
        let recorder = Recorder::create(&file, &target, rung, self.origin, self.options.limits)?;
        let (at, started) = (self.tapes.len(), seconds_since_1970());
        let source = WindowSource::from(monitor);
        let source =
            Dispatcher::new(source, move |event, (), recording: &mut Recording| recording.event(at, event));
        let token = self.handle.register_dispatcher(source.clone()).map_err(loop_failed)?;
        let seconds = Duration::ZERO;
        self.unrecorded.remove(&target.pid);
        self.tapes.push(Tape { target, rung, file, started, recorder, seconds, ended: None, source, token });
        Ok(())
    }

    /// A process that the target has forked is attached to.
    fn follow(&mut self, attached: ProcessAttach) {
        let pid = attached.info().pid;
        match GlassRamMonitor::watch(attached, self.monitor) {
            Ok(monitor) => {
                let programs = self.tapes.iter().filter(|tape| tape.target.pid == pid).count();
                let file = beside(&self.options.file, pid, programs);
                if let Err(error) = self.begin(monitor, file) {
                    self.fail(error);
                }
            }
            // It is about to be another program, or has ended.
            Err(error) => {
                tracing::debug!(pid, %error, "a child is not watched yet");
                self.found(pid);
            }
        }
    }

    /// This process is to be recorded, from its birth or as another program.
    fn found(&mut self, pid: u32) {
        let living = self.tapes.iter().filter(|tape| tape.ended.is_none()).count();
        let Some(follower) = &self.follower else { return };
        let recorded = self.tapes.iter().any(|tape| tape.target.pid == pid);
        if living > FOLLOWED_AT_MOST {
            let reason = format!("{FOLLOWED_AT_MOST} processes are recorded already");
            tracing::warn!(pid, "not followed: {reason}");
            if !recorded {
                self.unrecorded.insert(pid, Some(reason));
            }
            return;
        }
        follower.found(pid);
        if !recorded {
            self.unrecorded.insert(pid, None);
        }
    }

    fn missed(&mut self, pid: u32, reason: String) {
        tracing::debug!(pid, %reason, "a child is not recorded");
        if let Some(unrecorded) = self.unrecorded.get_mut(&pid) {
            *unrecorded = Some(reason);
        }
        self.look_for_the_end();
    }

    /// It is over when every process has ended and none is about to be attached to.
    fn look_for_the_end(&mut self) {
        self.done |= self.tapes.iter().all(|tape| tape.ended.is_some())
            && self.unrecorded.values().all(Option::is_some);
    }

    fn event(&mut self, at: usize, event: CaptureEvent) {
        let Some(tape) = self.tapes.get_mut(at) else { return };
        match event {
            CaptureEvent::Window(window) => {
                tape.seconds += window.length;
                if let Err(error) = tape.recorder.window(&window) {
                    self.fail(error.into());
                }
                self.report_progress();
            }
            CaptureEvent::Forked(child) => self.found(child),
            CaptureEvent::Exited(reason) => {
                tape.ended = Some(reason);
                let pid = tape.target.pid;
                if at > 0 && reason == ExitReason::Executed {
                    self.found(pid);
                }
            }
            CaptureEvent::Failed(error) => self.fail(error),
        }
        self.look_for_the_end();
    }

    /// Ends the recording. The first failure is the one that is told: what goes on beside it may still go well.
    fn fail(&mut self, error: GlassRamError) {
        self.failed.get_or_insert(error);
        self.done = true;
    }

    fn report_progress(&self) {
        let Some(seconds) = self.tapes.first().map(|tape| tape.seconds.as_secs_f64()) else { return };
        let recorded = self.tapes.iter().map(|tape| tape.recorder.recorded());
        let (windows, size) =
            recorded.fold((0, 0), |sum, Recorded { windows, bytes, .. }| (sum.0 + windows, sum.1 + bytes));
        let others = match self.tapes.len() {
            0 | 1 => String::new(),
            tapes => format!(", {tapes} processes"),
        };
        self.progress
            .set_message(format!("{seconds:.1} s, {windows} windows, {}{others}", bytes(size as f64)));
    }
}

fn seconds_since_1970() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The file of a process that was forked: `FILE.PID.EXTENSION`, and `FILE.PID-2.EXTENSION` for its second program.
fn beside(file: &Path, pid: u32, programs: usize) -> PathBuf {
    let mut name = file.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{pid}"));
    if programs > 0 {
        name.push(format!("-{}", programs + 1));
    }
    if let Some(extension) = file.extension() {
        name.push(".");
        name.push(extension);
    }
    file.with_file_name(name)
}

/// Records the target until the time is over, it ends, or SIGINT, SIGTERM or SIGHUP comes. What was recorded before a failure is
/// in the file. Where forks are followed it ends when all of the processes have.
pub fn run(options: &RecordOptions) -> Result<RecordReport> {
    let pid = resolve(&options.target)?;
    let mut event_loop: EventLoop<'static, Recording> = EventLoop::try_new().map_err(loop_failed)?;
    // Before any thread is started, so that every thread leaves these signals to the loop.
    let signals = Signals::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]).map_err(loop_failed)?;
    let attacher = Attacher::choose(options.security, None)?;
    shortage::first_to_go();
    let origin = Instant::now();
    let config = MonitorConfig {
        anonymize: options.security.anonymize_addresses,
        follow_forks: options.follow_forks,
        ..options.monitor
    };
    let monitor = GlassRamMonitor::watch(attacher.attach(pid)?, config)?;
    let handle = event_loop.handle();
    let mut recording = Recording {
        handle: handle.clone(),
        options: options.clone(),
        monitor: config,
        origin,
        follower: None,
        tapes: Vec::new(),
        unrecorded: BTreeMap::new(),
        failed: None,
        done: false,
        progress: progress(&monitor.target().comm, pid),
    };
    if options.follow_forks {
        let (follower, attached) = Follower::start(attacher, None)?;
        recording.follower = Some(follower);
        let take = |event, (): &mut (), recording: &mut Recording| match event {
            ChannelEvent::Msg(Followed::Attached(attached)) => recording.follow(*attached),
            ChannelEvent::Msg(Followed::Missed { pid, reason }) => recording.missed(pid, reason),
            ChannelEvent::Closed => {}
        };
        handle.insert_source(attached, take).map_err(loop_failed)?;
    }
    recording.begin(monitor, options.file.clone())?;
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
    while !recording.done {
        event_loop.dispatch(None, &mut recording).map_err(loop_failed)?;
    }
    recording.progress.finish_and_clear();
    let failed = recording.failed.take();
    let mut reports = Vec::new();
    for tape in recording.tapes {
        handle.remove(tape.token);
        reports.push(finish(tape, failed.is_none()));
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let mut reports = reports.into_iter().collect::<Result<Vec<RecordReport>>>()?;
    let followed = reports.split_off(1);
    let Some(first) = reports.pop() else { unreachable!("the target is recorded from the start") };
    let missed = options.follow_forks.then_some(recording.unrecorded.len() as u64);
    if let Some((pid, reason)) = recording.unrecorded.first_key_value() {
        let reason = reason.as_deref().unwrap_or("the recording ended before");
        let count = recording.unrecorded.len();
        tracing::warn!("{count} of the forked processes are not recorded, the first of them {pid}: {reason}");
    }
    Ok(RecordReport { followed, missed, ..first })
}

/// Lets a process go, and closes its file.
fn finish(tape: Tape, whole: bool) -> Result<RecordReport> {
    let Tape { target, rung, file, started, mut recorder, mut seconds, mut ended, source, token: _ } = tape;
    let mut monitor = Dispatcher::into_source_inner(source);
    if whole && ended.is_none() {
        // What was written since the last window is recorded, too.
        match monitor.scan()? {
            CaptureEvent::Window(window) => {
                seconds += window.length;
                recorder.window(&window)?;
            }
            CaptureEvent::Exited(reason) => ended = Some(reason),
            CaptureEvent::Forked(_) => {}
            CaptureEvent::Failed(error) => return Err(error),
        }
    }
    let metrics = monitor.target_metrics();
    let (lost, not_watched) = (monitor.lost(), monitor.not_watched());
    monitor.detach()?;
    let recorded = recorder.finish(ended)?;
    Ok(RecordReport {
        pid: target.pid,
        comm: target.comm,
        rung: rung.to_string(),
        file,
        started,
        seconds: seconds.as_secs_f64(),
        windows: recorded.windows,
        dropped: recorded.dropped,
        bytes: recorded.bytes,
        target: metrics,
        lost,
        not_watched,
        ended: ended.map(|reason| reason.to_string()),
        followed: Vec::new(),
        missed: None,
    })
}

fn progress(comm: &str, pid: u32) -> ProgressBar {
    let progress = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{prefix} {spinner} {msg}") {
        progress.set_style(style);
    }
    let stop = if std::io::stdin().is_terminal() { " (Ctrl+C ends it)" } else { "" };
    progress.set_prefix(format!("recording {} {pid}{stop}", Plain(comm)));
    progress
}

impl fmt::Display for RecordReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, .. } = self;
        writeln!(
            f,
            "{} {}: {:.1} s in {} windows by {}",
            Plain(&self.comm),
            self.pid,
            self.seconds,
            self.windows,
            self.rung
        )?;
        writeln!(f, "  wrote     {} ({})", Plain(self.file.display()), bytes(self.bytes as f64))?;
        if self.dropped > 0 {
            writeln!(f, "  dropped   the first {} windows, to keep within the bounds", self.dropped)?;
        }
        writeln!(f, "  its cost  {target}")?;
        for lost in &self.lost {
            writeln!(f, "  without   {}", Plain(lost))?;
        }
        if let Some(ended) = &self.ended {
            writeln!(f, "  ended     {}", Plain(ended))?;
        }
        if let Some(missed @ 1..) = self.missed {
            writeln!(f, "  missed    {missed} of the processes that it has forked")?;
        }
        for followed in &self.followed {
            write!(f, "{followed}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_a_child_stands_beside_the_one_of_its_parent() {
        let name = |file: &str, programs| beside(Path::new(file), 7, programs).display().to_string();
        assert_eq!(name("/tmp/make.mgr", 0), "/tmp/make.7.mgr");
        assert_eq!(name("make", 1), "make.7-2");
    }
}
