//! One picture and one set of numbers, without a display.

use std::fmt;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use calloop::{Dispatcher, EventLoop};
use indicatif::{ProgressBar, ProgressStyle};
use ndarray_npy::WriteNpyExt as _;
use serde::Serialize;

use super::pipeline::accuracy_in_words;
use super::words::poor;
use super::{Pipeline, Subject, View, memory};
use crate::capture::recording::Replay;
use crate::capture::{
    Attacher, CaptureEvent, GlassRamMonitor, Governing, LostFeature, MonitorConfig, NotWatched,
    SecurityConfig, TargetMetrics, WindowSource, is_private,
};
use crate::map::HilbertConfig;
use crate::plain::Plain;
use crate::render::{ColorPalette, Gpu, MapTarget, Painter};
use crate::sensing::AccuracyEstimate;
use crate::telemetry::{Avalanche, GlassRamTelemetry, PhaseChange, TimedAdjustment};
use crate::whole_file::WholeFile;
use crate::{GlassRamError, Result};

/// What to watch, for how long, and what to write.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// A process, or a recording, which is gone through as fast as it can be.
    pub subject: Subject,
    /// How to watch a process.
    pub monitor: MonitorConfig,
    /// How long to watch; of a recording all that follows when `None`, of a process three seconds.
    pub duration: Option<Duration>,
    /// Where to write the picture, PNG.
    pub picture: Option<PathBuf>,
    /// Its size in pixels.
    pub size: (i32, i32),
    /// What the picture shows, and how.
    pub view: View,
    /// Where to write the density map, NPY.
    pub density: Option<PathBuf>,
    /// Where to write the layout, JSON.
    pub layout: Option<PathBuf>,
    /// The orders that the map may take.
    pub hilbert: HilbertConfig,
    /// The colours of the picture.
    pub palette: ColorPalette,
    /// How careful to be.
    pub security: SecurityConfig,
}

/// The numbers: what `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotReport {
    /// The process that was watched.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub comm: String,
    /// How it was watched.
    pub rung: String,
    /// Capture windows taken.
    pub windows: u64,
    /// Pages on the line.
    pub pages: u64,
    /// As of the last window.
    #[serde(flatten)]
    pub telemetry: GlassRamTelemetry,
    /// The accuracy with its 90 % interval; null where too little was written to tell.
    pub accuracy: Option<AccuracyEstimate>,
    /// When the pattern of writes changed.
    pub phases: Vec<PhaseReport>,
    /// Cascades of writes into memory untouched before.
    pub avalanches: Vec<AvalancheReport>,
    /// Changes of the map's order and of the sampling rate, and why they were made.
    pub adjustments: Vec<TimedAdjustment>,
    /// What watching cost the target.
    #[serde(flatten)]
    pub target: TargetMetrics,
    /// Flushes of the target's address translations that arming has caused a second.
    pub flushes_per_second: f64,
    /// What the watch went without, and why.
    pub lost: Vec<LostFeature>,
    /// Writable memory that was not watched at the end, and why.
    pub not_watched: Vec<NotWatched>,
    /// How the slowdown budget was held at the end.
    #[serde(skip)]
    pub governing: Option<Governing>,
    /// The same in a number: of the pages that were not armed, the share that was to be; null of a recording.
    pub armed_share: Option<f64>,
    /// Why watching ended early, if it did.
    #[serde(skip)]
    pub ended: Option<String>,
    /// What was written, in words.
    #[serde(skip)]
    pub files: Vec<PathBuf>,
}

/// A [`PhaseChange`] in numbers, its times in seconds from the begin of the watch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PhaseReport {
    /// When the new regime began.
    pub at: f64,
    /// The probability of the change, 0..1.
    pub confidence: f32,
}

/// An [`Avalanche`] in numbers, its times in seconds from the begin of the watch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AvalancheReport {
    /// When it began.
    pub start: f64,
    /// How long it lasted, or has lasted when it goes on.
    pub seconds: f64,
    /// Pages that it reached.
    pub pages: u64,
    /// The address that it began at.
    pub epicentre: u64,
}

impl From<&PhaseChange> for PhaseReport {
    fn from(change: &PhaseChange) -> Self {
        Self { at: change.at.as_secs_f64(), confidence: change.confidence }
    }
}

impl From<&Avalanche> for AvalancheReport {
    fn from(avalanche: &Avalanche) -> Self {
        Self {
            start: avalanche.start.as_secs_f64(),
            seconds: avalanche.duration().as_secs_f64(),
            pages: avalanche.size,
            epicentre: avalanche.epicentre,
        }
    }
}

/// How long a process is watched when nothing else is said.
const USUAL: Duration = Duration::from_secs(3);

/// Watches the target, writes what was asked for, detaches.
pub fn run(options: &SnapshotOptions) -> Result<SnapshotReport> {
    // Before the GPU's driver starts threads of its own.
    memory::give_back();
    let attacher = Attacher::choose(options.security, options.monitor.rung)?;
    // Whatever could refuse is asked before the target is touched.
    let gpu = options.picture.is_some().then(Gpu::new).transpose()?;
    let config = MonitorConfig { anonymize: options.security.anonymize_addresses, ..options.monitor };
    let source = options.subject.open(&attacher, config)?;
    let pid = source.target().pid;
    // As its recording is. Of a recording: if we are root, who may have recorded anybody.
    let private = match &source {
        WindowSource::Live(..) => is_private(pid),
        WindowSource::Replay(_) => nix::unistd::geteuid().is_root(),
    };
    let mut pipeline =
        Pipeline::new(source.target().clone(), source.rung(), options.hilbert.clone(), options.palette)?;
    *pipeline.view_mut() = options.view.clone();
    let mut seen = Seen::default();
    let pipeline = match source {
        WindowSource::Live(monitor, _) => {
            let watched = watch(*monitor, pipeline, options.duration.unwrap_or(USUAL))?;
            let (mut pipeline, of_monitor) = watched;
            pipeline.set_cost(Some(of_monitor.metrics));
            seen = of_monitor;
            pipeline
        }
        WindowSource::Replay(replay) => play(*replay, pipeline, options)?,
    };
    if pipeline.windows() == 0 {
        if let Subject::Recording(path, _) = &options.subject {
            let feature = format!("{} has no window after that: begin earlier (--from)", path.display());
            return Err(GlassRamError::FeatureNotSupported { feature });
        }
        return Err(GlassRamError::ProcessNotFound { pid });
    }
    let mut files = Vec::new();
    if let (Some(path), Some(gpu)) = (&options.picture, &gpu) {
        let (width, height) = options.size;
        let mut target = MapTarget::offscreen(gpu, width.unsigned_abs(), height.unsigned_abs())?;
        Painter::new(gpu)?.draw(&pipeline.picture(), &mut target)?;
        let image = target.read()?;
        if private { image.write_private_png(path) } else { image.write_png(path) }?;
        files.push(path.clone());
    }
    if let Some(path) = &options.density {
        let density = pipeline.density();
        write_whole(path, private, |file| density.write_npy(file))?;
        files.push(path.clone());
    }
    if let Some(path) = &options.layout {
        write_whole(path, private, |file| serde_json::to_writer(file, &pipeline.layout()))?;
        files.push(path.clone());
    }
    let recorder = pipeline.recorder();
    let avalanches = recorder.avalanches();
    Ok(SnapshotReport {
        pid,
        comm: pipeline.target().comm.clone(),
        rung: pipeline.rung().to_string(),
        windows: pipeline.windows(),
        pages: pipeline.layout().pages,
        telemetry: pipeline.telemetry().clone(),
        accuracy: pipeline.accuracy(),
        phases: recorder.phases().changes().map(PhaseReport::from).collect(),
        avalanches: avalanches.ended().chain(avalanches.current()).map(AvalancheReport::from).collect(),
        adjustments: recorder.adjustments().copied().collect(),
        target: seen.metrics,
        flushes_per_second: seen.flushes_per_second,
        lost: seen.lost,
        not_watched: seen.not_watched,
        governing: seen.governing,
        armed_share: seen.governing.map(|governing: Governing| governing.share()),
        ended: pipeline.ended().map(str::to_owned),
        files,
    })
}

/// What a monitor has to say at the end of a watch.
#[derive(Default)]
struct Seen {
    metrics: TargetMetrics,
    flushes_per_second: f64,
    governing: Option<Governing>,
    lost: Vec<LostFeature>,
    not_watched: Vec<NotWatched>,
}

/// What the loop works on.
struct Watch {
    pipeline: Pipeline,
    failed: Option<GlassRamError>,
    progress: ProgressBar,
    done: bool,
}

/// A bar of so much time.
fn progress(time: Duration, does: &str, pipeline: &Pipeline) -> ProgressBar {
    let progress = ProgressBar::new(time.as_millis() as u64);
    if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {msg}") {
        progress.set_style(style);
    }
    progress.set_prefix(format!("{does} {} {}", Plain(&pipeline.target().comm), pipeline.target().pid));
    progress
}

/// Feeds the pipeline from a recording, from where it stands for the asked time.
fn play(mut replay: Replay, mut pipeline: Pipeline, options: &SnapshotOptions) -> Result<Pipeline> {
    let from = match &options.subject {
        Subject::Recording(_, start) => start.from,
        Subject::Process(_) => Duration::ZERO,
    };
    let end = options.duration.map_or(replay.length(), |duration| from + duration);
    pipeline.bound()?;
    pipeline.restart(replay.position())?;
    let progress = progress(end, "replaying", &pipeline);
    while replay.position() < end
        && let CaptureEvent::Window(window) = replay.scan()
    {
        pipeline.window(&window)?;
        progress.set_position(replay.position().as_millis() as u64);
    }
    progress.finish_and_clear();
    Ok(pipeline)
}

/// Feeds the pipeline from `monitor` for `duration`, then detaches.
fn watch(mut monitor: GlassRamMonitor, pipeline: Pipeline, duration: Duration) -> Result<(Pipeline, Seen)> {
    monitor.set_arming_policy(pipeline.arming_policy());
    let progress = progress(duration, "watching", &pipeline);
    let mut watch = Watch { pipeline, failed: None, progress, done: false };

    let mut event_loop: EventLoop<'_, Watch> = EventLoop::try_new().map_err(loop_failed)?;
    let source = Dispatcher::new(monitor, |event, _, watch: &mut Watch| match event {
        CaptureEvent::Window(window) => {
            watch.failed = watch.pipeline.window(&window).err();
            watch.done |= watch.failed.is_some();
            let rate = watch.pipeline.telemetry().fault_rate;
            watch.progress.set_message(format!("{rate:.0} pages/s written"));
        }
        // Not asked for.
        CaptureEvent::Forked(_) => {}
        CaptureEvent::Exited(reason) => {
            watch.pipeline.end(reason.to_string());
            watch.done = true;
        }
        CaptureEvent::Failed(error) => {
            watch.failed = Some(error);
            watch.done = true;
        }
    });
    let token = event_loop.handle().register_dispatcher(source.clone()).map_err(loop_failed)?;
    let started = Instant::now();
    while !watch.done
        && let Some(left) = duration.checked_sub(started.elapsed()).filter(|left| !left.is_zero())
    {
        event_loop.dispatch(Some(left), &mut watch).map_err(loop_failed)?;
        watch.progress.set_position(started.elapsed().as_millis() as u64);
    }
    watch.progress.finish_and_clear();
    event_loop.handle().remove(token);
    let mut monitor = Dispatcher::into_source_inner(source);
    // A time shorter than a window is one.
    if watch.pipeline.windows() == 0
        && !watch.done
        && let CaptureEvent::Window(window) = monitor.scan()?
    {
        watch.pipeline.window(&window)?;
    }
    let seen = Seen {
        metrics: monitor.target_metrics(),
        flushes_per_second: monitor.fault_metrics().flushes_per_second,
        governing: Some(monitor.governing()),
        lost: monitor.lost(),
        not_watched: monitor.not_watched(),
    };
    monitor.detach()?;
    match watch.failed {
        Some(error) => Err(error),
        None => Ok((watch.pipeline, seen)),
    }
}

pub(super) fn loop_failed(error: impl fmt::Display) -> GlassRamError {
    GlassRamError::FeatureNotSupported {
        feature: format!("the event loop failed ({error}): look for a limit on open files (`ulimit -n`)"),
    }
}

/// The file is there whole, or not at all.
fn write_whole<E: fmt::Display>(
    path: &Path,
    private: bool,
    write: impl FnOnce(&mut BufWriter<WholeFile>) -> Result<(), E>,
) -> Result<()> {
    let file = WholeFile::begin(path).map_err(|error| cannot_write(path, &error))?;
    let mut file = BufWriter::new(if private { file.for_its_owner() } else { file });
    write(&mut file).map_err(|error| cannot_write(path, &error))?;
    let kept = file.into_inner().map_err(std::io::IntoInnerError::into_error).and_then(WholeFile::keep);
    kept.map_err(|error| cannot_write(path, &error))
}

fn cannot_write(path: &Path, error: &dyn fmt::Display) -> GlassRamError {
    GlassRamError::FeatureNotSupported {
        feature: format!("{} cannot be written ({error}): choose a place that can", path.display()),
    }
}

impl fmt::Display for SnapshotReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { telemetry, target, .. } = self;
        writeln!(
            f,
            "{} {}: {} windows over {} pages by {}",
            Plain(&self.comm),
            self.pid,
            self.windows,
            self.pages,
            self.rung
        )?;
        writeln!(
            f,
            "  written   {:.0} pages/s by {} threads, as of the last second",
            telemetry.fault_rate, telemetry.active_threads
        )?;
        writeln!(
            f,
            "  map       order {}, accuracy {}, {:.1} % of the pages watched",
            telemetry.hilbert_order,
            accuracy_in_words(self.accuracy),
            telemetry.sampling_rate
        )?;
        if let Some(poor) = poor(self.accuracy.map(|accuracy| accuracy.value)) {
            writeln!(f, "  poor      {poor}")?;
        }
        for change in &self.phases {
            writeln!(f, "  phase     changed at {:.1} s", change.at)?;
        }
        for AvalancheReport { start, seconds, pages, epicentre } in &self.avalanches {
            writeln!(f, "  avalanche at {start:.1} s, {pages} pages in {seconds:.1} s from {epicentre:#x}")?;
        }
        for TimedAdjustment { at, adjustment } in &self.adjustments {
            writeln!(f, "  adjusted  {adjustment} at {at:.1} s")?;
        }
        writeln!(f, "  its cost  {target}")?;
        if let Some(governing) = &self.governing {
            writeln!(f, "  armed     {governing}")?;
        }
        for lost in &self.lost {
            writeln!(f, "  without   {}", Plain(lost))?;
        }
        if let Some(ended) = &self.ended {
            writeln!(f, "  ended     {}", Plain(ended))?;
        }
        for file in &self.files {
            writeln!(f, "  wrote     {}", Plain(file.display()))?;
        }
        Ok(())
    }
}
