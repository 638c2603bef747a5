//! A recording taken through a plan and a solver, window by window, and scored against its truth.
//!
//! The plan learns only what its armed pages report, exactly as in live capture.

use std::time::{Duration, Instant};

use super::accuracy::{ESTIMATE_WINDOWS, Score};
use super::sampled::{HeldOut, SampledMap};
use super::solve::{Cells, Field, Samples, SolverKind};
use super::{AccuracyEstimate, BudgetPlan, MeasurementPlan, PageSet, SensingError, WriteTrace};

/// How to replay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplayOptions {
    /// Faults a window that may be spent on average, as a share of the pages.
    pub budget: f64,
    /// Who fills in what was not seen.
    pub solver: SolverKind,
    /// Score the map that is smoothed over windows with this half-life instead of each window's own.
    pub half_life: Option<Duration>,
    /// Whether a page that was armed and stayed silent is armed still in the next window, as in live capture, instead of
    /// being left to the plan.
    pub silent_stay_armed: bool,
    /// Cells of the map.
    pub cells: usize,
    /// Which samples are drawn.
    pub seed: u64,
}

/// What a replay gave.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplayReport {
    /// Of the map, pooled over all windows.
    pub map: Score,
    /// The same with a page a cell.
    pub pages: Score,
    /// The map in which every unseen page has its nearest sample's state, with the same samples.
    pub nearest: Score,
    /// Faults and written pages, sums over the windows.
    pub faults: u64,
    /// See `faults`.
    pub written: u64,
    /// The most faults of a window.
    pub most_faults: u64,
    /// Windows in which every page was armed.
    pub exact_windows: usize,
    /// The online estimate as of the last window.
    pub estimate: Option<AccuracyEstimate>,
    /// The online estimate against the truth, after every window from the sixteenth on.
    pub check: EstimateCheck,
    /// Time for choosing what to arm, learning, and solving; means over the windows, in milliseconds.
    pub plan_ms: f64,
    /// See `plan_ms`.
    pub learn_ms: f64,
    /// See `plan_ms`.
    pub solve_ms: f64,
}

/// How true the online estimate is: over each [`ESTIMATE_WINDOWS`] windows, against the accuracy page by page.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EstimateCheck {
    /// Times it was known, and times it was not.
    pub known: usize,
    /// See `known`.
    pub unknown: usize,
    /// The largest and the mean distance from the truth, 0..1.
    pub worst: f64,
    /// See `worst`.
    pub mean: f64,
    /// The mean of estimate less truth: what does not cancel out.
    pub bias: f64,
    /// The share of the known ones whose interval holds the truth, 0..1.
    pub coverage: f64,
}

/// Sees a window while a replay goes on: its number, the truth, what was armed, and the map.
pub type Onlooker<'a> = dyn FnMut(usize, &PageSet, &PageSet, &Field) + 'a;

/// Replays `trace`.
pub fn replay(
    trace: &WriteTrace,
    options: &ReplayOptions,
    onlooker: &mut Onlooker<'_>,
) -> Result<ReplayReport, SensingError> {
    let pages = trace.pages();
    let cells = Cells::new(pages, options.cells);
    let lines = Cells::new(pages, pages);
    let mut plan = BudgetPlan::new(pages, options.budget, options.seed)?;
    let (mut sampled, mut baseline) = (SampledMap::new(options.solver), SolverKind::Tv.solver());
    let mut smooth =
        options.half_life.map(|half_life| [(); 5].map(|()| Smoothed::new(trace.window_length(), half_life)));
    let mut report = ReplayReport {
        map: Score::default(),
        pages: Score::default(),
        nearest: Score::default(),
        faults: 0,
        written: 0,
        most_faults: 0,
        exact_windows: 0,
        estimate: None,
        check: EstimateCheck::default(),
        plan_ms: 0.0,
        learn_ms: 0.0,
        solve_ms: 0.0,
    };
    let mut standing = PageSet::empty(pages);
    let (mut errors, mut covered) = (Vec::new(), 0usize);
    let mut plain: Vec<Score> = Vec::new();
    let (mut truth_cells, mut truth_pages, mut own_pages, mut near) =
        (Vec::new(), Vec::new(), Vec::new(), Field::default());
    for (index, truth) in trace.windows().iter().enumerate() {
        let began = Instant::now();
        let armed = plan.arm(&standing).clone();
        let planned = Instant::now();
        let written = truth.intersection(&armed);
        plan.observe(&armed, &written);
        if options.silent_stay_armed {
            standing = armed.difference(&written);
        }
        let learned = Instant::now();
        let averaged = options.half_life.is_some();
        let samples = Samples { seen: &armed, written: &written, prior: Some(plan.prior()), averaged };
        sampled.solve(&samples, &cells);
        report.solve_ms += learned.elapsed().as_secs_f64() * 1e3;
        report.learn_ms += (learned - planned).as_secs_f64() * 1e3;
        report.plan_ms += (planned - began).as_secs_f64() * 1e3;

        let held_out = HeldOut {
            places: plan.held_out(),
            strata: plan.strata(),
            chance: |place: usize| plan.held_out_chance(place),
        };
        sampled.test(&samples, &cells, &held_out);

        cells.shares(truth, &mut truth_cells);
        lines.shares(truth, &mut truth_pages);
        own_pages.clear();
        own_pages.extend((0..pages).map(|place| sampled.page(place, &samples, &cells)));
        let field = sampled.field();
        let mut alone = Score::default();
        alone.add(&truth_pages, &own_pages);
        plain.push(alone);
        baseline.solve(&Samples::alone(&armed, &written), &cells, &mut near);
        if let Some(smooth) = &mut smooth {
            let [truth_map, map, nearest, truth_line, line] = smooth;
            let shown = truth_map.step(&truth_cells);
            report.map.add(shown, map.step(&field.density));
            report.nearest.add(shown, nearest.step(&near.density));
            report.pages.add(truth_line.step(&truth_pages), line.step(&own_pages));
        } else {
            report.map.add(&truth_cells, &field.density);
            report.nearest.add(&truth_cells, &near.density);
            report.pages.merge(&alone);
        }
        report.faults += written.count() as u64;
        report.written += truth.count() as u64;
        report.most_faults = report.most_faults.max(written.count() as u64);
        report.exact_windows += usize::from(armed.count() == pages);
        report.estimate = sampled.estimate();
        if let Some(first) = (index + 1).checked_sub(ESTIMATE_WINDOWS) {
            match sampled.estimate() {
                None => report.check.unknown += 1,
                Some(estimate) => {
                    let mut pooled = Score::default();
                    plain[first..].iter().for_each(|window| pooled.merge(window));
                    let truth = pooled.accuracy();
                    errors.push(estimate.value - truth);
                    // A whole interval of rounding must not decide.
                    covered += usize::from(estimate.low - 1e-9 <= truth && truth <= estimate.high + 1e-9);
                }
            }
        }
        onlooker(index, truth, &armed, field);
    }
    let windows = trace.windows().len().max(1) as f64;
    for time in [&mut report.plan_ms, &mut report.learn_ms, &mut report.solve_ms] {
        *time /= windows;
    }
    report.check.known = errors.len();
    if !errors.is_empty() {
        report.check.worst = errors.iter().map(|error| error.abs()).fold(0.0, f64::max);
        report.check.mean = errors.iter().map(|error| error.abs()).sum::<f64>() / errors.len() as f64;
        report.check.bias = errors.iter().sum::<f64>() / errors.len() as f64;
        report.check.coverage = covered as f64 / errors.len() as f64;
    }
    Ok(report)
}

/// An exponentially weighted mean over windows, as of [`super::PageActivity`].
struct Smoothed {
    keep: f32,
    weight: f32,
    sums: Vec<f32>,
    mean: Vec<f32>,
}

impl Smoothed {
    fn new(window: Duration, half_life: Duration) -> Self {
        let keep = (-window.as_secs_f64() / half_life.as_secs_f64()).exp2() as f32;
        Self { keep, weight: 0.0, sums: Vec::new(), mean: Vec::new() }
    }

    fn step(&mut self, window: &[f32]) -> &[f32] {
        self.sums.resize(window.len(), 0.0);
        self.weight = self.weight * self.keep + 1.0 - self.keep;
        for (sum, value) in self.sums.iter_mut().zip(window) {
            *sum = *sum * self.keep + (1.0 - self.keep) * value;
        }
        self.mean.clear();
        self.mean.extend(self.sums.iter().map(|sum| sum / self.weight));
        &self.mean
    }
}
