//! The running totals behind [`GlassRamTelemetry`].

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::avalanche::AvalancheDetector;
use super::features::Features;
use super::history::{History, HistoryRow};
use super::phase::PhaseDetector;
use super::profile::profile;
use super::threads::{ThreadSample, ThreadTracker};
use super::touched::Touched;
use crate::capture::{PageRange, range};
use crate::map::AddressLayout;
use crate::sensing::Adjustment;

/// The state of the watch, as of the last window.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GlassRamTelemetry {
    /// Write faults per second: each page written in a window is one, and those count too that were not armed
    /// and are written on the map.
    pub fault_rate: f64,
    /// Threads of the target that ran in the last window: those whose CPU time moved.
    pub active_threads: u32,
    /// Whether writes are spreading to pages untouched before, far faster than they used to.
    pub memory_avalanche_detected: bool,
    /// Whether it was found within the last two seconds that the pattern of writes has changed.
    pub phase_transition_detected: bool,
    /// 1 − relative L1 error of the density map, 0..1; NaN (null in JSON) where too little was written to
    /// tell.
    pub reconstruction_accuracy: f32,
    /// The order of the map's Hilbert curve.
    pub hilbert_order: u32,
    /// Share of the writable pages whose writes the last window could see, percent: those that are watched,
    /// and were armed.
    pub sampling_rate: f64,
    /// The last change of the map's order or of the sampling rate, and why it was made; none until there was
    /// one.
    pub last_adjustment: Option<TimedAdjustment>,
}

/// An [`Adjustment`] with its time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TimedAdjustment {
    /// When, in seconds from the begin of the watch.
    pub at: f64,
    /// What was changed, and why.
    #[serde(flatten)]
    pub adjustment: Adjustment,
}

/// What one capture window showed.
#[derive(Debug, Clone, Copy)]
pub struct WindowFacts<'a> {
    /// The pages written in it, sorted and disjoint.
    pub written: &'a [PageRange],
    /// Pages that were not seen, and that are as likely as not to be written in a step of time: sorted,
    /// disjoint.
    pub believed: &'a [PageRange],
    /// Write faults: each page is one in each look that found it written, or is taken to be where it was not
    /// armed.
    pub faults: f64,
    /// The line that they lie on.
    pub layout: &'a AddressLayout,
    /// Whether that was laid out anew since the last window.
    pub relaid: bool,
    /// Who wrote, as far as it is known.
    pub threads: &'a [ThreadSample],
    /// How long it was.
    pub length: Duration,
    /// Pages of the target's writable regions, watched or not.
    pub writable_pages: u64,
    /// Watched pages that were not armed in it.
    pub unseen_pages: u64,
    /// Threads of the target that ran in it.
    pub active_threads: u32,
    /// Changes of the map's order and of the sampling rate that it led to.
    pub adjustments: &'a [Adjustment],
    /// The order of the map drawn from it.
    pub hilbert_order: u32,
    /// The accuracy stated for that map; NaN where it is not known.
    pub accuracy: f32,
}

/// Time over which rates are averaged: long enough to read, short enough to follow.
const RATE_SPAN: Duration = Duration::from_secs(1);
/// What patterns are told by and the history goes by; longer windows are steps of their own.
const STEP: Duration = Duration::from_millis(100);
/// The most rows that a silent window is in the history.
const STEPS: f64 = 64.0;
/// Rows that the length of a step is the mean of.
const LATELY: usize = 64;
/// How long a phase transition is news.
const NEWS: Duration = Duration::from_secs(2);
/// Adjustments that are kept.
const ADJUSTMENTS: usize = 64;

/// What was written since it began.
#[derive(Debug, Clone, Default)]
struct Step {
    from: Duration,
    length: Duration,
    /// Sorted, disjoint.
    written: Vec<PageRange>,
    /// How many of these pages had never been written.
    new: u64,
}

impl Step {
    fn add(&mut self, window: &HistoryRow, written: &[PageRange]) {
        self.length += window.length;
        self.new += window.new;
        let before = !self.written.is_empty();
        self.written.extend_from_slice(written);
        if before && !written.is_empty() {
            range::merge(&mut self.written);
        }
    }
}

/// Keeps [`GlassRamTelemetry`] up to date, and what its detectors and the history know.
#[derive(Debug, Clone, Default)]
pub struct TelemetryRecorder {
    telemetry: GlassRamTelemetry,
    /// Written pages and length of each window of the last [`RATE_SPAN`].
    recent: VecDeque<(f64, Duration)>,
    windows: u64,
    /// Length of a step in which something was written.
    usual: Duration,
    /// The end of the last window.
    now: Duration,
    /// The step of time that is going on, and whether the history has a row of it already.
    step: Step,
    begun: bool,
    /// What was written in the one before.
    written: Vec<PageRange>,
    touched: Touched,
    avalanches: AvalancheDetector,
    phases: PhaseDetector,
    threads: ThreadTracker,
    history: History,
    adjustments: VecDeque<TimedAdjustment>,
}

impl TelemetryRecorder {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Nothing seen yet, by a watch that begins at `now` on its clock.
    pub fn starting_at(now: Duration) -> Self {
        Self { now, ..Self::default() }
    }

    /// Takes the facts of one window.
    pub fn window(&mut self, facts: &WindowFacts<'_>) {
        let WindowFacts { written, layout, length, .. } = *facts;
        let page_size = layout.page_size();
        let pages = |ranges: &[PageRange]| ranges.iter().map(|range| range.pages(page_size)).sum();
        let (from, to) = (self.now, self.now + length);
        self.windows += 1;
        self.now = to;
        let new = self.touched.window(written);
        let avalanche = self.avalanches.window(from, length, &new, page_size);
        if facts.relaid {
            self.phases.relaid();
            self.history.relaid();
        }
        let row = HistoryRow { from, length, written: pages(written), new: pages(&new), line: 0 };
        self.step(&row, facts);
        self.threads.window(facts.threads, layout.pages(), 1 << (2 * facts.hilbert_order));
        for &adjustment in facts.adjustments {
            if self.adjustments.len() == ADJUSTMENTS {
                self.adjustments.pop_front();
            }
            self.adjustments.push_back(TimedAdjustment { at: to.as_secs_f64(), adjustment });
        }
        let news = self.phases.changes().next_back().is_some_and(|change| change.detected + NEWS > to);
        self.telemetry = GlassRamTelemetry {
            fault_rate: self.rate(facts.faults, length),
            active_threads: facts.active_threads,
            memory_avalanche_detected: avalanche,
            phase_transition_detected: news,
            reconstruction_accuracy: facts.accuracy,
            hilbert_order: facts.hilbert_order,
            sampling_rate: percent(
                layout.live_pages().saturating_sub(facts.unseen_pages),
                facts.writable_pages,
            ),
            last_adjustment: self.adjustments.back().copied(),
        };
    }

    /// A window is a part of a step of time, or the whole of it: patterns and the history go by steps, so
    /// that they say the same however often is looked.
    fn step(&mut self, window: &HistoryRow, facts: &WindowFacts<'_>) {
        let layout = facts.layout;
        if std::mem::replace(&mut self.begun, true) {
            self.history.pop();
        } else {
            self.step = Step { from: window.from, ..Step::default() };
        }
        self.step.add(window, facts.written);
        // The next window would be more over it than this one is short of it.
        let ends = self.step.length + window.length.min(STEP) / 2 >= STEP;
        if ends && !facts.believed.is_empty() {
            self.step.written.extend_from_slice(facts.believed);
            range::merge(&mut self.step.written);
        }
        let Step { from, length, ref written, new } = self.step;
        let mut shares = [0.0; History::CELLS];
        profile(layout, written, &mut shares);
        let row =
            HistoryRow { from, length, written: range::pages(written, layout.page_size()), new, line: 0 };
        if !ends {
            return self.history.push(row, &shares);
        }
        for row in self.rows(row) {
            self.history.push(row, &shares);
        }
        let mut map = vec![0.0; PhaseDetector::CELLS];
        profile(layout, &self.step.written, &mut map);
        let features = Features::of(layout, &self.step.written, &self.written, length);
        self.phases.window(from, from + length, &features, map);
        self.written = std::mem::take(&mut self.step.written);
        self.begun = false;
    }

    /// Length of the steps of time that the history goes by: a tenth of a second, or a window where that is
    /// longer.
    pub fn step_length(&self) -> Duration {
        let last = self.history.rows().rev().skip(usize::from(self.begun)).take(LATELY);
        let (sum, count) = last.fold((Duration::ZERO, 0), |(sum, count), row| (sum + row.length, count + 1));
        if count == 0 { STEP } else { sum / count }
    }

    /// A step as rows of the history. A target that sleeps has longer windows, and rows are steps of time:
    /// one in which nothing was written is as many as there were, had it been awake.
    fn rows(&mut self, row: HistoryRow) -> impl Iterator<Item = HistoryRow> + use<> {
        if row.written > 0 || self.usual.is_zero() || row.length < self.usual {
            self.usual = row.length;
        }
        let steps = match row.written {
            0 if !self.usual.is_zero() => {
                (row.length.as_secs_f64() / self.usual.as_secs_f64()).round().clamp(1.0, STEPS) as u32
            }
            _ => 1,
        };
        let length = row.length / steps;
        (0..steps).map(move |step| HistoryRow { from: row.from + length * step, length, ..row })
    }

    fn rate(&mut self, written: f64, length: Duration) -> f64 {
        self.recent.push_back((written, length));
        let mut span: Duration = self.recent.iter().map(|(_, length)| *length).sum();
        while let Some((_, oldest)) = self.recent.front()
            && span - *oldest >= RATE_SPAN
        {
            span -= *oldest;
            self.recent.pop_front();
        }
        let written: f64 = self.recent.iter().map(|(pages, _)| pages).sum();
        if span.is_zero() { 0.0 } else { written / span.as_secs_f64() }
    }

    /// What it keeps of addresses takes so much memory, bytes, while a window with so many written stretches
    /// is taken.
    pub fn weight_with(&self, written: usize) -> usize {
        // Those known, which are copied while they grow; those of the window that are new, and all of it
        // until the next.
        size_of::<PageRange>()
            * (3 * (self.touched.stretches() + written) + 2 * written + self.step.written.len())
    }

    /// The state as of the last window.
    pub fn telemetry(&self) -> &GlassRamTelemetry {
        &self.telemetry
    }

    /// Windows taken so far.
    pub fn windows(&self) -> u64 {
        self.windows
    }

    /// The end of the last window, from the begin of the watch.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The changes of the pattern of writes.
    pub fn phases(&self) -> &PhaseDetector {
        &self.phases
    }

    /// The cascades of writes to untouched pages.
    pub fn avalanches(&self) -> &AvalancheDetector {
        &self.avalanches
    }

    /// The last changes of the map's order and of the sampling rate, the newest last.
    pub fn adjustments(&self) -> impl Iterator<Item = &TimedAdjustment> {
        self.adjustments.iter()
    }

    /// Where the threads write.
    pub fn threads(&self) -> &ThreadTracker {
        &self.threads
    }

    /// The last windows.
    pub fn history(&self) -> &History {
        &self.history
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn layout() -> AddressLayout {
        AddressLayout::new(PAGE, std::iter::once(0..900 * PAGE))
    }

    fn pages(first: u64, count: u64) -> PageRange {
        PageRange::new(first * PAGE, (first + count) * PAGE)
    }

    fn facts<'a>(layout: &'a AddressLayout, written: &'a [PageRange], millis: u64) -> WindowFacts<'a> {
        WindowFacts {
            written,
            believed: &[],
            faults: written.iter().map(|range| range.pages(PAGE)).sum::<u64>() as f64,
            layout,
            relaid: false,
            threads: &[],
            length: Duration::from_millis(millis),
            writable_pages: 1000,
            unseen_pages: 0,
            active_threads: 3,
            adjustments: &[],
            hilbert_order: 5,
            accuracy: 1.0,
        }
    }

    #[test]
    fn patterns_and_the_history_are_the_same_however_often_is_looked() {
        let layout = layout();
        let run = |windows: u64| {
            let mut recorder = TelemetryRecorder::new();
            for step in 0..200u64 {
                // A stretch that is written wholly in each step, a sixth of it at a time, and that goes
                // elsewhere once.
                let (first, count) = if step < 100 { (60, 60) } else { (560, 240) };
                for part in 0..windows {
                    let each = count / windows;
                    let written = [pages(first + part * each, each)];
                    let length = Duration::from_millis(100) / windows as u32;
                    recorder.window(&WindowFacts { length, ..facts(&layout, &written, 0) });
                }
            }
            recorder
        };
        let (seldom, often) = (run(1), run(6));
        assert_eq!((seldom.history().len(), often.history().len()), (200, 200));
        for at in [0, 99, 150] {
            assert!(seldom.history().shares(at).eq(often.history().shares(at)), "row {at}");
        }
        assert!(often.step_length().abs_diff(STEP) < Duration::from_millis(1));
        let changes = |recorder: &TelemetryRecorder| -> Vec<u128> {
            recorder.phases().changes().map(|change| change.at.as_millis().div_ceil(100)).collect()
        };
        assert_eq!(changes(&often), changes(&seldom));
        assert_eq!(changes(&often).len(), 1);
    }

    #[test]
    fn rows_of_the_history_are_steps_of_time_however_long_a_silent_window_is() {
        let layout = layout();
        let mut recorder = TelemetryRecorder::new();
        let written = [pages(3, 1)];
        for (millis, wrote) in
            [(100, true), (100, false), (1250, false), (1300, true), (100, true), (205, false)]
        {
            recorder.window(&facts(&layout, if wrote { &written } else { &[] }, millis));
        }
        let rows: Vec<_> = recorder.history().rows().collect();
        // The fourth is not known to be silent in any part of it; from then on that is the usual length,
        // until it is shorter again.
        assert_eq!(rows.len(), 1 + 1 + 13 + 1 + 1 + 2);
        assert!(rows.windows(2).all(|pair| {
            let end = pair[0].from + pair[0].length;
            pair[1].from.abs_diff(end) < Duration::from_micros(1)
        }));
        assert_eq!(recorder.windows(), 6);
    }

    #[test]
    fn pages_that_the_map_alone_has_as_written_count_too() {
        let layout = layout();
        let mut recorder = TelemetryRecorder::new();
        let sampled = WindowFacts { unseen_pages: 300, faults: 24.5, ..facts(&layout, &[], 100) };
        recorder.window(&sampled);
        assert_eq!(recorder.telemetry().fault_rate, 245.0);
    }

    #[test]
    fn the_fault_rate_is_that_of_the_last_second() {
        let (mut recorder, layout) = (TelemetryRecorder::new(), layout());
        recorder.window(&facts(&layout, &[pages(0, 10)], 100));
        assert_eq!(recorder.telemetry().fault_rate, 100.0);
        for _ in 0..50 {
            recorder.window(&facts(&layout, &[pages(0, 20)], 100));
        }
        assert_eq!(recorder.telemetry().fault_rate, 200.0);
        recorder.window(&facts(&layout, &[], 5000));
        assert_eq!(recorder.telemetry().fault_rate, 0.0, "a window longer than the span stands alone");
        assert_eq!((recorder.windows(), recorder.now()), (52, Duration::from_millis(10_100)));
        assert_eq!(recorder.history().len(), 51 + 50, "and is as many rows as there were else");
    }

    #[test]
    fn what_the_window_says_is_passed_on() {
        let (mut recorder, layout) = (TelemetryRecorder::new(), layout());
        recorder.window(&facts(&layout, &[pages(0, 1)], 100));
        let telemetry = recorder.telemetry();
        assert_eq!((telemetry.active_threads, telemetry.hilbert_order), (3, 5));
        assert_eq!(telemetry.sampling_rate, 90.0);
        assert_eq!(telemetry.reconstruction_accuracy, 1.0);
        recorder.window(&WindowFacts { unseen_pages: 400, ..facts(&layout, &[], 100) });
        assert_eq!(recorder.telemetry().sampling_rate, 50.0, "what is not armed is not seen");
    }

    #[test]
    fn the_reason_of_each_adjustment_is_kept_with_its_time() {
        use crate::sensing::{Adjusted, AdjustmentReason};
        let (mut recorder, layout) = (TelemetryRecorder::new(), layout());
        recorder.window(&facts(&layout, &[], 100));
        assert_eq!(recorder.telemetry().last_adjustment, None);
        let finer =
            Adjustment { adjusted: Adjusted::Order { from: 4, to: 5 }, reason: AdjustmentReason::MorePages };
        recorder.window(&WindowFacts { adjustments: &[finer], ..facts(&layout, &[], 100) });
        recorder.window(&facts(&layout, &[], 100));
        assert_eq!(
            recorder.telemetry().last_adjustment,
            Some(TimedAdjustment { at: 0.2, adjustment: finer })
        );
        let json = serde_json::to_value(recorder.telemetry()).unwrap();
        assert_eq!(
            json["last_adjustment"],
            serde_json::json!({"at": 0.2, "what": "order", "from": 4, "to": 5, "reason": "more_pages"})
        );
        for _ in 0..2 * ADJUSTMENTS {
            recorder.window(&WindowFacts { adjustments: &[finer], ..facts(&layout, &[], 100) });
        }
        assert_eq!(recorder.adjustments().count(), ADJUSTMENTS);
    }

    #[test]
    fn a_change_of_phase_is_news_for_two_seconds_and_kept_with_both_regimes() {
        let (mut recorder, layout) = (TelemetryRecorder::new(), layout());
        let mut news = 0;
        for window in 0..200 {
            let written = if window < 100 { pages(100, 50) } else { pages(600, 200) };
            recorder.window(&facts(&layout, &[written], 100));
            news += u32::from(recorder.telemetry().phase_transition_detected);
        }
        assert_eq!(news, 20);
        let changes: Vec<_> = recorder.phases().changes().collect();
        assert_eq!(changes.len(), 1);
        let change = changes[0];
        assert_eq!(change.at, Duration::from_secs(10));
        assert!(change.detected - change.at <= Duration::from_secs(1) && change.confidence > 0.95);
        let share = |map: &[f32], page: u64| map[(page * PhaseDetector::CELLS as u64 / 900) as usize];
        assert!(share(&change.before.map, 120) > 0.99 && share(&change.after.map, 120) < 0.01);
        assert!(share(&change.before.map, 700) < 0.01 && share(&change.after.map, 700) > 0.99);
        let difference = change.difference();
        assert!(difference.iter().any(|more| *more > 0.99) && difference.iter().any(|less| *less < -0.99));
        assert_eq!(recorder.phases().regime().from, Duration::from_secs(10));
    }

    #[test]
    fn a_front_that_goes_round_is_one_phase() {
        let (mut recorder, layout) = (TelemetryRecorder::new(), layout());
        for window in 0..600u64 {
            recorder.window(&facts(&layout, &[pages(window * 17 % 880, 17)], 100));
        }
        assert_eq!(recorder.phases().changes().count(), 0);
    }
}
