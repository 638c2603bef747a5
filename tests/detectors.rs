//! The detectors find what happens and cry no wolf, on traces of which the truth is known. `cargo bench --bench detectors` has the figures.

mod labelled;

use labelled::{Labelled, Outcome, Scores, score};

fn over(traces: impl IntoIterator<Item = Labelled>) -> (Outcome, Outcome) {
    let mut all = Scores::default();
    traces.into_iter().for_each(|trace| all.add(&score(&trace)));
    (all.phases, all.avalanches)
}

#[test]
fn changes_of_phase_are_found() {
    let (phases, _) = over((100..106).map(labelled::changing));
    assert!(phases.truths == 42 && phases.recall() >= 0.9, "{phases:?}");
    assert!(phases.false_rate() <= 0.5, "{phases:?}");
}

#[test]
fn a_program_that_goes_on_as_before_has_none() {
    let (phases, avalanches) = over((100..106).map(labelled::steady));
    assert!(phases.minutes > 11.0);
    assert!(phases.false_rate() <= 0.25, "{phases:?}");
    assert!(avalanches.false_rate() <= 0.25, "{avalanches:?}");
}

#[test]
fn cascades_are_found() {
    let (_, avalanches) = over((100..106).map(labelled::cascading));
    assert!(avalanches.truths == 36 && avalanches.recall() >= 0.95, "{avalanches:?}");
    assert!(avalanches.false_rate() <= 0.5, "{avalanches:?}");
}

#[test]
fn on_recorded_programs_too() {
    let traces = labelled::recorded();
    assert!(!traces.is_empty());
    let (phases, avalanches) = over(traces);
    assert!(phases.recall() >= 0.8 && phases.false_rate() <= 1.0, "{phases:?}");
    assert!(avalanches.recall() >= 0.8 && avalanches.false_rate() <= 1.0, "{avalanches:?}");
}
