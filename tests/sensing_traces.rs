//! What the sensing says of its own accuracy, against the truth: on recorded programs, and on writers that are drawn at random.

use std::path::Path;
use std::time::Duration;

use memory_glass::sensing::{
    EstimateCheck, PageSet, ReplayOptions, ReplayReport, SolverKind, WriteTrace, replay,
};

/// As live capture does, and as the plan would have it.
const ARMING: [bool; 2] = [true, false];

fn options(budget: f64, silent_stay_armed: bool, pages: usize, seed: u64) -> ReplayOptions {
    let order = (4..=12u32).rev().find(|order| 1usize << (2 * order) <= pages).unwrap_or(4);
    ReplayOptions {
        budget,
        solver: SolverKind::Tv,
        half_life: None,
        silent_stay_armed,
        cells: 1 << (2 * order),
        seed,
    }
}

fn run(trace: &WriteTrace, budget: f64, silent_stay_armed: bool, seed: u64) -> ReplayReport {
    let how = options(budget, silent_stay_armed, trace.pages(), seed);
    replay(trace, &how, &mut |_, _, _, _| {}).expect("a budget in range")
}

/// How often intervals held the truth, of all that were stated.
fn coverage(checks: &[EstimateCheck]) -> f64 {
    let known: f64 = checks.iter().map(|check| check.known as f64).sum();
    checks.iter().map(|check| check.coverage * check.known as f64).sum::<f64>() / known
}

#[test]
fn recorded_programs_have_the_accuracy_that_is_stated() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let mut checks = Vec::new();
    for name in ["node", "python", "redis", "sqlite", "xz", "phases", "cascade"] {
        let trace =
            WriteTrace::read_recording(&folder.join(name).with_extension("mgr")).expect("a recording");
        for (budget, stay) in [0.025, 0.1].into_iter().flat_map(|budget| ARMING.map(|stay| (budget, stay))) {
            let report = run(&trace, budget, stay, 1);
            let windows = trace.windows().len() as f64;
            let spent = report.faults as f64 / windows / trace.pages() as f64;
            let (own, nearest) = (report.pages.accuracy(), report.nearest.accuracy());
            println!(
                "{name} at {budget}, silent pages stay armed: {stay}: {:.2} % (nearest {:.2} %), {:.2} % of the pages in faults; \
                 estimate off by {:.2} points at most, {:.2} in the mean, interval right {:.0} % of {}",
                100.0 * own,
                100.0 * nearest,
                100.0 * spent,
                100.0 * report.check.worst,
                100.0 * report.check.mean,
                100.0 * report.check.coverage,
                report.check.known,
            );
            assert!(own >= nearest - 0.005, "{name}: {own} with the plan, {nearest} by the nearest sample");
            assert!(report.check.mean < 0.025, "{name}: {:?}", report.check);
            if report.check.known > 0 {
                checks.push(report.check);
            }
        }
    }
    let coverage = coverage(&checks);
    println!("interval right {:.1} % of the time", 100.0 * coverage);
    assert!(coverage >= 0.88, "{coverage}");
}

/// xorshift64*, so that every run draws the same.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Runs of mean length `run`, a quarter of the line in all, of which each is written in a window with chance `steady` if it was in the
/// one before.
fn runs(pages: usize, windows: usize, run: f64, steady: f64, seed: u64) -> WriteTrace {
    let mut random = Random(seed * 2 + 1);
    let mut bounds = vec![0];
    while bounds.last().is_some_and(|last| *last < pages) {
        let length = 1 + (-random.unit().max(1e-9).ln() * run) as usize;
        bounds.push((bounds[bounds.len() - 1] + length).min(pages));
    }
    let mut states: Vec<bool> = bounds.iter().map(|_| random.unit() < 0.25).collect();
    let windows = (0..windows).map(|window| {
        for state in &mut states {
            if random.unit() > steady {
                *state = random.unit() < 0.25;
            }
        }
        let mut written = PageSet::empty(pages);
        for (pair, _) in bounds.windows(2).zip(&states).filter(|(_, state)| **state) {
            written.insert_range(pair[0]..pair[1]);
        }
        (Duration::from_millis(100) * window as u32, written)
    });
    WriteTrace::new(pages, windows.collect::<Vec<_>>())
}

#[test]
fn writers_of_runs_long_and_short_steady_and_not_have_it_too() {
    let mut all = Vec::new();
    for (run_length, steady) in [(2.0, 0.5), (2.0, 0.95), (20.0, 0.5), (20.0, 0.95), (200.0, 0.8)] {
        let mut checks = Vec::new();
        for seed in 1..=3 {
            let trace = runs(20_000, 40, run_length, steady, seed);
            checks.extend(ARMING.map(|stay| run(&trace, 0.05, stay, seed).check));
        }
        let (coverage, bias) =
            (coverage(&checks), checks.iter().map(|check| check.bias).sum::<f64>() / checks.len() as f64);
        println!(
            "runs of {run_length} pages, {:.0} % steady: interval right {:.1} % of the time, bias {:.2} points",
            100.0 * steady,
            100.0 * coverage,
            100.0 * bias
        );
        assert!(coverage >= 0.8, "{run_length} {steady}: {coverage}");
        assert!(bias.abs() < 0.01, "{run_length} {steady}: {bias}");
        all.extend(checks);
    }
    let coverage = coverage(&all);
    println!("interval right {:.1} % of the time", 100.0 * coverage);
    assert!(coverage >= 0.88, "{coverage}");
}
