//! What a picture leaves out so that it stands still while nothing happens.

use std::time::Duration;

use super::words::POOR;

/// So long nothing was written when a target is called idle. By then what was written before has to have faded, too.
const IDLE: Duration = Duration::from_secs(1);
/// The share by which a mean has to move before another number is shown.
const CLEARLY: f64 = 0.15;
/// What a window leaves of the mean of those before it.
const KEPT: f64 = 0.95;

/// By so much the accuracy of a poor map has to be better before it is called poor no more.
const AGAIN: f64 = 0.05;

/// How long nothing was written, and how often is looked: the second changes with every late window, and is shown when it changes for good.
#[derive(Debug, Default, Clone)]
pub(super) struct Quiet {
    silent: Duration,
    /// Seconds of a window in which there was something to look for, their mean.
    length: Option<f64>,
    /// As it is shown.
    shown: Option<f64>,
    /// Too little of the map is right.
    poor: bool,
}

impl Quiet {
    /// Takes a window of this length, in which there was something to be seen or was not.
    pub(super) fn window(&mut self, something: bool, length: Duration) {
        if something {
            self.silent = Duration::ZERO;
        } else {
            self.silent = self.silent.saturating_add(length);
        }
        // Of a target that sleeps, windows are longer.
        if self.silent > IDLE || length.is_zero() {
            return;
        }
        let length = length.as_secs_f64();
        let mean = self.length.map_or(length, |mean| mean * KEPT + length * (1.0 - KEPT));
        self.length = Some(mean);
        if self.shown.is_none_or(|shown| (mean / shown - 1.0).abs() > CLEARLY) {
            self.shown = Some(mean);
        }
    }

    /// Takes the accuracy of the map; a dash is no complaint.
    pub(super) fn accuracy(&mut self, value: Option<f64>) {
        let enough = if self.poor { POOR + AGAIN } else { POOR };
        self.poor = value.is_some_and(|value| value < enough);
    }

    /// So little of the map is right that it has to be said.
    pub(super) fn is_poor(&self) -> bool {
        self.poor
    }

    /// Nothing was written for a while.
    pub(super) fn is_idle(&self) -> bool {
        self.silent >= IDLE
    }

    /// How often is looked, in words.
    pub(super) fn looks(&self) -> String {
        match self.shown.map(|length| 1.0 / length) {
            None => "–".into(),
            Some(rate) if rate < 9.5 => format!("{rate:.1}/s"),
            Some(rate) => format!("{rate:.0}/s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_windows_change_no_number_and_slower_ones_do() {
        let mut quiet = Quiet::default();
        let mut window = |micros| {
            quiet.window(true, Duration::from_micros(micros));
            quiet.looks()
        };
        assert_eq!(window(16_667), "60/s");
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..5000 {
            // Up to a fifth of a window late, the next one as much shorter; now and then a whole one is left out.
            let late = random.u64(0..3300);
            assert_eq!(window(16_667 + late), "60/s");
            assert_eq!(window(if random.u64(0..50) == 0 { 33_333 } else { 16_667 - late }), "60/s");
        }
        for _ in 0..200 {
            window(100_000);
        }
        assert!(["10/s", "11/s"].contains(&window(100_000).as_str()));
        assert!(!quiet.is_idle());
    }

    #[test]
    fn a_poor_map_is_called_so_and_not_by_turns() {
        let mut quiet = Quiet::default();
        let said = [0.71, 0.69, 0.71, 0.74, 0.76, 0.71].map(|value| {
            quiet.accuracy(Some(value));
            quiet.is_poor()
        });
        assert_eq!(said, [false, true, true, true, false, false]);
        quiet.accuracy(Some(0.1));
        quiet.accuracy(None);
        assert!(!quiet.is_poor(), "nobody knows");
    }

    #[test]
    fn idle_is_who_has_written_nothing_for_a_while() {
        let mut quiet = Quiet::default();
        for _ in 0..60 {
            assert!(!quiet.is_idle());
            quiet.window(false, Duration::from_micros(16_667));
        }
        quiet.window(false, Duration::from_millis(250));
        assert!(quiet.is_idle());
        for _ in 0..100 {
            quiet.window(false, Duration::from_millis(250));
        }
        assert_eq!(quiet.looks(), "60/s", "nobody has asked for fewer");
        quiet.window(true, Duration::from_micros(16_667));
        assert!(!quiet.is_idle());
    }
}
