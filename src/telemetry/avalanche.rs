//! Memory avalanches: writes that spread to pages untouched before, far faster than the target used to.

use std::collections::VecDeque;
use std::time::Duration;

/// How many median absolute deviations over its median the new-page rate must be. 6 is about four standard deviations
/// of a normal distribution.
const DEVIATIONS: f64 = 6.0;
/// Rates remembered, in windows; fewer than [`LEARN`] say nothing about what is usual.
const MEMORY: usize = 128;
/// Windows before the first verdict: the start of a watch, when every page is new, is no avalanche.
const LEARN: usize = 16;
/// Below this rate, in pages a second, nothing cascades: a median of zero would make any page an avalanche.
const FLOOR: f64 = 256.0;

/// Says for each window whether an avalanche is going on.
#[derive(Debug, Clone, Default)]
pub struct AvalancheDetector {
    /// New pages per second of windows without an avalanche.
    usual: VecDeque<f64>,
}

impl AvalancheDetector {
    /// Takes a window in which `new_pages` were written for the first time; true while an avalanche is going on.
    pub fn window(&mut self, new_pages: u64, length: Duration) -> bool {
        if length.is_zero() {
            return false;
        }
        let rate = new_pages as f64 / length.as_secs_f64();
        let cascades = self.usual.len() >= LEARN && rate > self.threshold();
        // The cascade itself must not become what is usual, or it would end by being long.
        if !cascades {
            self.usual.push_back(rate);
            if self.usual.len() > MEMORY {
                self.usual.pop_front();
            }
        }
        cascades
    }

    fn threshold(&self) -> f64 {
        let middle = median(self.usual.iter().copied());
        let deviation = median(self.usual.iter().map(|rate| (rate - middle).abs()));
        (middle + DEVIATIONS * deviation).max(FLOOR)
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(100);

    #[test]
    fn a_cascade_is_seen_while_it_lasts_and_not_after() {
        let mut detector = AvalancheDetector::default();
        for step in 0..64 {
            assert!(!detector.window(10 + step % 5, WINDOW), "steady growth is no avalanche");
        }
        for _ in 0..200 {
            assert!(detector.window(5000, WINDOW), "however long it lasts");
        }
        assert!(!detector.window(12, WINDOW));
    }

    #[test]
    fn the_first_windows_and_single_pages_are_no_avalanche() {
        let mut detector = AvalancheDetector::default();
        for _ in 0..LEARN {
            assert!(!detector.window(100_000, WINDOW));
        }
        let mut quiet = AvalancheDetector::default();
        for _ in 0..100 {
            assert!(!quiet.window(0, WINDOW));
        }
        assert!(!quiet.window(1, WINDOW), "one page after long silence");
    }
}
