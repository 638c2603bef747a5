//! How good a map a budget of faults buys for a recorded program.

mod panels;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::memory;
use super::pipeline::HALF_LIFE;
use crate::capture::recording::Recording;
use crate::map::HilbertConfig;
use crate::plain::Plain;
use crate::render::ColorPalette;
use crate::sensing::{AccuracyEstimate, Cells, ReplayOptions, Score, SolverKind, WriteTrace, replay};
use crate::{GlassRamError, Result};

/// What to try.
#[derive(Debug, Clone)]
pub struct EvaluateOptions {
    /// Faults a window that may be spent on average, as a share of the pages.
    pub budget: f64,
    /// Who fills in what was not seen.
    pub solver: SolverKind,
    /// Whether the picture that fades over windows is scored, instead of each window alone.
    pub smoothed: bool,
    /// Whether pages that were armed and stayed silent stay armed, as in live capture.
    pub silent_stay_armed: bool,
    /// The orders that the map may take.
    pub hilbert: HilbertConfig,
    /// Which samples are drawn.
    pub seed: u64,
    /// A folder for a picture of one window of each recording: the one with the median error of those that
    /// were sampled.
    pub pictures: Option<PathBuf>,
}

/// The numbers: what `--json` prints, a line a file. Accuracies and shares are 0..1, pooled over the windows.
#[derive(Debug, Clone, Serialize)]
pub struct EvaluateReport {
    /// The recording.
    pub file: PathBuf,
    /// Pages of the line.
    pub pages: usize,
    /// Windows replayed; none is left out.
    pub windows: usize,
    /// Length of a window, milliseconds.
    pub window_ms: f64,
    /// Order of the map.
    pub order: u32,
    /// Who filled in what was not seen.
    pub solver: String,
    /// What was to be spent.
    pub budget: f64,
    /// Whether the picture that fades over windows was scored.
    pub smoothed: bool,
    /// 1 − relative L1 error of the map.
    pub accuracy: f64,
    /// Bray–Curtis similarity of the map.
    pub bray_curtis: f64,
    /// The accuracy with a page a cell.
    pub page_accuracy: f64,
    /// The accuracy of the map in which each page that was not seen has its nearest sample's state, same
    /// samples.
    pub nearest_accuracy: f64,
    /// Faults spent over pages, mean of the windows: not more than `budget` but for a debt at the end.
    pub faults_per_page: f64,
    /// The same of the dearest window.
    pub most_faults_per_page: f64,
    /// Faults spent over pages written.
    pub faults_per_written: f64,
    /// Pages written over pages, mean of the windows.
    pub written_per_page: f64,
    /// The share of the windows in which every page was armed.
    pub exact_windows: f64,
    /// The online estimate of a window's `page_accuracy`, over the last 16 windows; null when evidence is
    /// thin.
    pub estimate: Option<AccuracyEstimate>,
    /// The estimate against the truth, over all stretches of 16 windows: largest and mean distance.
    pub estimate_worst_error: f64,
    /// See `estimate_worst_error`.
    pub estimate_mean_error: f64,
    /// The mean of estimate less truth.
    pub estimate_bias: f64,
    /// The share of the stretches whose 90 % interval holds the truth.
    pub estimate_coverage: f64,
    /// The share of the stretches in which the estimate is known.
    pub estimate_known: f64,
    /// Milliseconds a window: to choose what to arm, to learn from it, to reconstruct.
    pub plan_ms: f64,
    /// See `plan_ms`.
    pub learn_ms: f64,
    /// See `plan_ms`.
    pub solve_ms: f64,
}

/// Draws a window of a recording; the same samples are drawn again.
fn draw(
    trace: &WriteTrace,
    how: &ReplayOptions,
    shown: usize,
    order: u32,
    path: &Path,
    folder: &Path,
) -> Result<()> {
    let name = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let mut image = None;
    replay(trace, how, &mut |window, truth, armed, field| {
        if window != shown {
            return;
        }
        let mut score = Score::default();
        let (mut shares, cells) = (Vec::new(), Cells::new(trace.pages(), how.cells));
        cells.shares(truth, &mut shares);
        score.add(&shares, &field.density);
        let (pages, faults) = (trace.pages() as f64, truth.intersection(armed).count() as f64);
        let title = format!(
            "{name}, window {} of {}: {} pages of 4 KiB, {:.1} to a cell\n{:.1} % of them written, {:.1} % faulted (budget {:.1} %), \
             accuracy of the map {:.1} %",
            window + 1,
            trace.windows().len(),
            trace.pages(),
            pages / how.cells as f64,
            100.0 * truth.count() as f64 / pages,
            100.0 * faults / pages,
            100.0 * how.budget,
            100.0 * score.accuracy()
        );
        let panels = panels::Panels { title: &title, truth, armed, field, order };
        image = Some(panels.draw(ColorPalette::default()));
    })?;
    let image = image.expect("the second replay has the windows of the first");
    let file = folder.join(format!("{name}.png"));
    // Of whom root may have recorded.
    if nix::unistd::geteuid().is_root() { image.write_private_png(file) } else { image.write_png(file) }?;
    Ok(())
}

/// A recording that was made within a budget has no truth for the pages that were not armed.
fn knows_the_truth(path: &Path) -> Result<()> {
    if !Recording::is_one(path) {
        return Ok(());
    }
    let recording = Recording::open(path)?;
    let (mut windows, mut partly) = (0u64, 0u64);
    for window in recording.cursor_at(Duration::ZERO) {
        windows += 1;
        partly += u64::from(!window.unseen.is_empty());
    }
    if partly == 0 {
        return Ok(());
    }
    let feature = format!(
        "{} does not know what was written: in {partly} of its {windows} windows some pages were not looked at, to keep the \
         target's slowdown small; record it with --exact",
        path.display()
    );
    Err(GlassRamError::FeatureNotSupported { feature })
}

/// Replays the recording at `path`.
pub fn run(path: &Path, options: &EvaluateOptions) -> Result<EvaluateReport> {
    memory::give_back();
    knows_the_truth(path)?;
    let trace =
        if Recording::is_one(path) { WriteTrace::read_recording(path)? } else { WriteTrace::read_npz(path)? };
    let order = options.hilbert.order_for(trace.pages() as u64);
    let how = ReplayOptions {
        budget: options.budget,
        solver: options.solver,
        silent_stay_armed: options.silent_stay_armed,
        half_life: options.smoothed.then_some(HALF_LIFE),
        cells: 1 << (2 * order),
        seed: options.seed,
    };
    let cells = Cells::new(trace.pages(), how.cells);
    let (mut errors, mut shares) = (Vec::new(), Vec::new());
    let replayed = replay(&trace, &how, &mut |window, truth, armed, field| {
        if options.pictures.is_some() && armed.count() < truth.pages() {
            cells.shares(truth, &mut shares);
            let error: f32 = shares.iter().zip(&field.density).map(|(x, y)| (x - y).abs()).sum();
            errors.push((window, error));
        }
    })?;
    if let Some(folder) = &options.pictures {
        errors.sort_by(|a, b| a.1.total_cmp(&b.1));
        // A recording of which every window is exact has no samples to show.
        if let Some((median, _)) = errors.get(errors.len() / 2) {
            draw(&trace, &how, *median, order, path, folder)?;
        }
    }
    let (pages, windows) = (trace.pages() as f64, trace.windows().len().max(1) as f64);
    let stretches = (replayed.check.known + replayed.check.unknown).max(1) as f64;
    Ok(EvaluateReport {
        file: path.to_owned(),
        pages: trace.pages(),
        windows: trace.windows().len(),
        window_ms: trace.window_length().as_secs_f64() * 1e3,
        order,
        solver: options.solver.to_string(),
        budget: options.budget,
        smoothed: options.smoothed,
        accuracy: replayed.map.accuracy(),
        bray_curtis: replayed.map.bray_curtis(),
        page_accuracy: replayed.pages.accuracy(),
        nearest_accuracy: replayed.nearest.accuracy(),
        faults_per_page: replayed.faults as f64 / pages / windows,
        most_faults_per_page: replayed.most_faults as f64 / pages,
        faults_per_written: replayed.faults as f64 / (replayed.written as f64).max(1.0),
        written_per_page: replayed.written as f64 / pages / windows,
        exact_windows: replayed.exact_windows as f64 / windows,
        estimate: replayed.estimate,
        estimate_worst_error: replayed.check.worst,
        estimate_mean_error: replayed.check.mean,
        estimate_bias: replayed.check.bias,
        estimate_coverage: replayed.check.coverage,
        estimate_known: replayed.check.known as f64 / stretches,
        plan_ms: replayed.plan_ms,
        learn_ms: replayed.learn_ms,
        solve_ms: replayed.solve_ms,
    })
}

impl fmt::Display for EvaluateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| 100.0 * share;
        writeln!(
            f,
            "{}: {} windows of {:.0} ms over {} pages, order {}, {}",
            Plain(self.file.display()),
            self.windows,
            self.window_ms,
            self.pages,
            self.order,
            self.solver
        )?;
        writeln!(
            f,
            "  accuracy  {:.2} % (Bray–Curtis {:.2} %; a page a cell {:.2} %; nearest sample {:.2} %)",
            percent(self.accuracy),
            percent(self.bray_curtis),
            percent(self.page_accuracy),
            percent(self.nearest_accuracy)
        )?;
        writeln!(
            f,
            "  faults    {:.2} % of the pages a window (budget {:.2} %, dearest window {:.1} %), {:.1} % of the written",
            percent(self.faults_per_page),
            percent(self.budget),
            percent(self.most_faults_per_page),
            percent(self.faults_per_written)
        )?;
        match self.estimate {
            Some(estimate) => writeln!(
                f,
                "  estimate  {:.2} % ({:.2}–{:.2} %) now; off by at most {:.2} points, interval right {:.0} % of the time",
                percent(estimate.value),
                percent(estimate.low),
                percent(estimate.high),
                percent(self.estimate_worst_error),
                percent(self.estimate_coverage)
            )?,
            None => writeln!(f, "  estimate  – (too few held-out samples were written)")?,
        }
        writeln!(
            f,
            "  time      {:.2} ms to plan, {:.2} ms to learn, {:.2} ms to reconstruct a window",
            self.plan_ms, self.learn_ms, self.solve_ms
        )
    }
}
