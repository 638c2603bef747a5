//! How often the detectors of phases and avalanches are right, on traces of which the truth is known.
//!
//! `cargo bench --bench detectors`. Recall is the share of what happened that was found, within a second of when it happened;
//! a false alarm is a report near nothing. Beside the detector of phases stands the simplest that there is: a threshold on the change of the rate
//! of writes from one second to the next.

#[path = "../labelled/mod.rs"]
mod labelled;

use std::time::{Duration, Instant};

use labelled::{Labelled, Outcome, Scores};

const SEEDS: u64 = 24;

fn main() {
    println!(
        "{:<22} {:>7}   {:>6} {:>7} {:>9} {:>7}   {:>7} {:>9}   {:>8} {:>7} {:>9}",
        "trace",
        "minutes",
        "phases",
        "recall",
        "false/min",
        "delay s",
        "simple",
        "false/min",
        "cascades",
        "recall",
        "false/min"
    );
    type Make = fn(u64) -> Labelled;
    let families: [(&str, Make); 3] =
        [("changing", labelled::changing), ("steady", labelled::steady), ("cascading", labelled::cascading)];
    let mut all = Scores::default();
    let (mut spent, mut windows) = (Duration::ZERO, 0);
    let mut take = |name: &str, traces: &[Labelled]| {
        let mut scores = Scores::default();
        for trace in traces {
            let began = Instant::now();
            scores.add(&labelled::score(trace));
            spent += began.elapsed();
            windows += trace.windows.len();
        }
        row(name, &scores);
        all.add(&scores);
    };
    for (name, make) in families {
        let traces: Vec<Labelled> = (0..SEEDS).map(make).collect();
        take(&format!("{name} ×{SEEDS}"), &traces);
    }
    for trace in labelled::recorded() {
        take(&trace.name.clone(), std::slice::from_ref(&trace));
    }
    row("all", &all);
    println!("{:.0} µs a window for both and the history", spent.as_secs_f64() * 1e6 / windows as f64);
}

fn row(name: &str, scores: &Scores) {
    let Scores { phases, simple, avalanches } = scores;
    let recall = |outcome: &Outcome| match outcome.truths {
        0 => "–".to_owned(),
        _ => format!("{:.1} %", 100.0 * outcome.recall()),
    };
    println!(
        "{name:<22} {:>7.1}   {:>6} {:>7} {:>9.2} {:>7.2}   {:>7} {:>9.2}   {:>8} {:>7} {:>9}",
        phases.minutes,
        phases.truths,
        recall(phases),
        phases.false_rate(),
        phases.mean_delay(),
        recall(simple),
        simple.false_rate(),
        avalanches.truths,
        recall(avalanches),
        if avalanches.minutes > 0.0 { format!("{:.2}", avalanches.false_rate()) } else { "–".into() },
    );
}
