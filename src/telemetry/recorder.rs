//! The running totals behind [`GlassRamTelemetry`].

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::avalanche::AvalancheDetector;

/// The state of the watch, as of the last window.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GlassRamTelemetry {
    /// Write faults per second: each page written in a window is one.
    pub fault_rate: f64,
    /// Threads of the target that ran in the last window: those whose CPU time moved.
    pub active_threads: u32,
    /// Whether writes are spreading to pages untouched before, far faster than they used to.
    pub memory_avalanche_detected: bool,
    /// Whether the pattern of writes changed. No detector runs yet: always false.
    pub phase_transition_detected: bool,
    /// 1 − relative L1 error of the density map, 0..1.
    pub reconstruction_accuracy: f32,
    /// The order of the map's Hilbert curve.
    pub hilbert_order: u32,
    /// Share of the pages that are watched, percent.
    pub sampling_rate: f64,
}

/// What one capture window showed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WindowFacts {
    /// Pages written in it.
    pub written_pages: u64,
    /// Pages among them that had not been written since the watch began.
    pub new_pages: u64,
    /// How long it was.
    pub length: Duration,
    /// Pages that were watched, and pages that the target's writable regions have.
    pub watched_pages: u64,
    /// Pages of the target's writable regions, watched or not.
    pub writable_pages: u64,
    /// Threads of the target that ran in it.
    pub active_threads: u32,
    /// The order of the map drawn from it.
    pub hilbert_order: u32,
    /// The accuracy stated for that map.
    pub accuracy: f32,
}

/// Time over which rates are averaged: long enough to read, short enough to follow.
const RATE_SPAN: Duration = Duration::from_secs(1);

/// Keeps [`GlassRamTelemetry`] up to date.
#[derive(Debug, Clone, Default)]
pub struct TelemetryRecorder {
    telemetry: GlassRamTelemetry,
    /// Written pages and length of each window of the last [`RATE_SPAN`].
    recent: VecDeque<(u64, Duration)>,
    windows: u64,
    avalanche: AvalancheDetector,
}

impl TelemetryRecorder {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the facts of one window.
    pub fn window(&mut self, facts: &WindowFacts) {
        self.windows += 1;
        self.recent.push_back((facts.written_pages, facts.length));
        let mut span: Duration = self.recent.iter().map(|(_, length)| *length).sum();
        while let Some((_, oldest)) = self.recent.front()
            && span - *oldest >= RATE_SPAN
        {
            span -= *oldest;
            self.recent.pop_front();
        }
        let written: u64 = self.recent.iter().map(|(pages, _)| pages).sum();
        self.telemetry = GlassRamTelemetry {
            fault_rate: if span.is_zero() { 0.0 } else { written as f64 / span.as_secs_f64() },
            active_threads: facts.active_threads,
            memory_avalanche_detected: self.avalanche.window(facts.new_pages, facts.length),
            phase_transition_detected: false,
            reconstruction_accuracy: facts.accuracy,
            hilbert_order: facts.hilbert_order,
            sampling_rate: percent(facts.watched_pages, facts.writable_pages),
        };
    }

    /// The state as of the last window.
    pub fn telemetry(&self) -> &GlassRamTelemetry {
        &self.telemetry
    }

    /// Windows taken so far.
    pub fn windows(&self) -> u64 {
        self.windows
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(written_pages: u64, millis: u64) -> WindowFacts {
        WindowFacts {
            written_pages,
            new_pages: 0,
            length: Duration::from_millis(millis),
            watched_pages: 900,
            writable_pages: 1000,
            active_threads: 3,
            hilbert_order: 5,
            accuracy: 1.0,
        }
    }

    #[test]
    fn the_fault_rate_is_that_of_the_last_second() {
        let mut recorder = TelemetryRecorder::new();
        recorder.window(&facts(10, 100));
        assert_eq!(recorder.telemetry().fault_rate, 100.0);
        for _ in 0..50 {
            recorder.window(&facts(20, 100));
        }
        assert_eq!(recorder.telemetry().fault_rate, 200.0);
        recorder.window(&facts(0, 5000));
        assert_eq!(recorder.telemetry().fault_rate, 0.0, "a window longer than the span stands alone");
        assert_eq!(recorder.windows(), 52);
    }

    #[test]
    fn what_the_window_says_is_passed_on() {
        let mut recorder = TelemetryRecorder::new();
        recorder.window(&facts(1, 100));
        let telemetry = recorder.telemetry();
        assert_eq!((telemetry.active_threads, telemetry.hilbert_order), (3, 5));
        assert_eq!(telemetry.sampling_rate, 90.0);
        assert_eq!(telemetry.reconstruction_accuracy, 1.0);
    }
}
