//! What was measured, whether it is within its bar, and what the benchmark ends with.

use std::fmt;
use std::process::ExitCode;

/// The middle of some values, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// `None` of no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, least, most })
    }
}

impl Spread {
    /// Median (least..most), with so many decimals.
    pub fn words(&self, decimals: usize) -> String {
        let Self { median, least, most } = self;
        format!("{median:.decimals$} ({least:.decimals$}..{most:.decimals$})")
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.words(3))
    }
}

/// Noise beyond this makes a bar no lower: on such a machine, nothing can be shown.
const MOST_NOISE: f64 = 0.05;

/// How two unwatched runs of the same work differ: the noise that a bar is taken beside.
#[derive(Debug, Clone, Copy, Default)]
pub struct Noise {
    /// The median difference, a share of 1.
    pub usual: f64,
    /// The largest.
    pub largest: f64,
}

impl Noise {
    /// What of the usual one counts.
    pub fn counted(self) -> f64 {
        self.usual.min(MOST_NOISE)
    }

    /// Of runs in the order in which they were made.
    pub fn of(runs: &[f64]) -> Noise {
        let differences = runs.windows(2).map(|pair| (pair[1] / pair[0]).ln().abs().exp() - 1.0);
        Spread::of(differences)
            .map_or_else(Noise::default, |noise| Noise { usual: noise.median, largest: noise.most })
    }
}

/// The bars so far.
#[derive(Debug, Default)]
pub struct Bars {
    held: usize,
    missed: Vec<String>,
    within_noise: Vec<String>,
    skipped: Vec<String>,
}

impl Bars {
    /// The value must not pass the bar by more than the noise.
    pub fn at_most(&mut self, what: impl fmt::Display, value: f64, bar: f64, noise: f64) {
        self.judge(format!("{what}: {value:.3}, at most {bar}"), value - bar, noise);
    }

    /// The value must not stay behind the bar by more than the noise.
    pub fn at_least(&mut self, what: impl fmt::Display, value: f64, bar: f64, noise: f64) {
        self.judge(format!("{what}: {value:.3}, at least {bar}"), bar - value, noise);
    }

    fn judge(&mut self, words: String, beyond: f64, noise: f64) {
        let noise = noise.min(MOST_NOISE);
        if beyond <= 0.0 {
            self.held += 1;
        } else if beyond <= noise {
            self.within_noise.push(format!("{words} (noise {noise:.3})"));
        } else if noise > 0.0 {
            self.missed.push(format!("{words} beside a noise of {noise:.3}"));
        } else {
            self.missed.push(words);
        }
    }

    /// What the program must say and does not.
    pub fn not_said(&mut self, what: impl fmt::Display) {
        self.missed.push(format!("{what}: not said"));
    }

    /// What could not be measured on this machine.
    pub fn skip(&mut self, what: impl fmt::Display, why: impl fmt::Display) {
        println!("{what}: skipped: {why}");
        self.skipped.push(format!("{what}: {why}"));
    }

    /// Says how it went; status 1 where a bar was missed.
    pub fn end(self) -> ExitCode {
        let Self { held, missed, within_noise, skipped } = self;
        println!("\n{held} bars held, {} within the noise, {} missed", within_noise.len(), missed.len());
        for (word, lines) in
            [("skipped", skipped), ("within the noise", within_noise), ("missed", missed.clone())]
        {
            for line in lines {
                println!("  {word}: {line}");
            }
        }
        if missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
