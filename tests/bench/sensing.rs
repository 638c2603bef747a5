//! What a map costs: the solvers, and the plan with its solver window by window.
//!
//! `cargo bench --bench sensing`. Truth is runs of about 80 written pages 800 apart, four pages a cell, every tenth page
//! sampled at random. The baseline is a plain fill by the nearest sample, written here in the simplest way that is quick:
//! two bitmaps in, densities out.

use std::hint::black_box;
use std::time::{Duration, Instant};

use memory_glass::map::HilbertConfig;
use memory_glass::sensing::{
    AccuracyEstimate, BudgetPlan, Cells, Field, HaarFista, MeasurementPlan as _, OrderControl, PageSet,
    RateControl, SampleChanges, Samples, SamplingConfig, Solver as _, SolverKind, Tv,
};

const PAGES_A_CELL: usize = 4;

/// xorshift64*, so that every run draws the same.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn length(&mut self, mean: f64) -> usize {
        1 + (-self.unit().max(1e-9).ln() * mean) as usize
    }
}

/// Written runs of mean length `run`, `gap` apart.
fn runs(random: &mut Random, pages: usize, run: f64, gap: f64) -> PageSet {
    let mut set = PageSet::empty(pages);
    let mut at = random.length(gap);
    while at < pages {
        let end = (at + random.length(run)).min(pages);
        set.insert_range(at..end);
        at = end + random.length(gap);
    }
    set
}

/// Median, fastest and 90th percentile of 15 times, in microseconds.
fn time(mut work: impl FnMut()) -> [f64; 3] {
    let begun = Instant::now();
    work();
    let rounds = (Duration::from_millis(5).as_secs_f64() / begun.elapsed().as_secs_f64().max(1e-8)) as usize;
    let rounds = rounds.clamp(1, 20_000);
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let begun = Instant::now();
            (0..rounds).for_each(|_| work());
            begun.elapsed().as_secs_f64() / rounds as f64 * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    [times[7], times[0], times[13]]
}

fn report(name: &str, [median, least, most]: [f64; 3], baseline: f64) {
    println!("  {name:<42} {median:>11.1} µs [{least:.1}–{most:.1}]  {:>8.2}×", median / baseline);
}

/// Each page its nearest sample's state: sample by sample, runs written as differences of cells.
fn plain_nearest(seen: &[u64], written: &[u64], out: &mut [f32]) {
    out.fill(0.0);
    let pages = seen.len() * 64;
    let share = 1.0 / PAGES_A_CELL as f32;
    let mut add = |from: usize, to: usize| {
        if from >= to {
            return;
        }
        let (first, last) = (from / PAGES_A_CELL, (to - 1) / PAGES_A_CELL);
        if first == last {
            out[first] += (to - from) as f32 * share;
        } else {
            out[first] += ((first + 1) * PAGES_A_CELL - from) as f32 * share;
            out[first + 1..last].fill(1.0);
            out[last] += (to - last * PAGES_A_CELL) as f32 * share;
        }
    };
    let (mut last, mut began): (Option<usize>, Option<usize>) = (None, None);
    for (index, (&looked, &hit)) in seen.iter().zip(written).enumerate() {
        let mut left = looked;
        while left != 0 {
            let bit = left.trailing_zeros() as usize;
            left &= left - 1;
            let place = index * 64 + bit;
            let edge = last.map_or(0, |last| (last + place).div_ceil(2));
            match (began, hit >> bit & 1 == 1) {
                (None, true) => began = Some(edge),
                (Some(from), false) => {
                    add(from, edge);
                    began = None;
                }
                _ => {}
            }
            last = Some(place);
        }
    }
    if let Some(from) = began {
        add(from, pages);
    }
}

/// One sample in a hundred changes, and then is as before: against the whole fill.
fn refills(random: &mut Random, [seen, written]: [&PageSet; 2], cells: &Cells, whole: f64, baseline: f64) {
    let pages = cells.pages();
    let turned = |places: &[usize]| {
        let mut other = written.clone();
        for &place in places {
            if written.contains(place) { other.remove(place) } else { other.insert(place) }
        }
        other
    };
    let strewn: Vec<usize> = seen.iter().filter(|_| random.unit() < 0.01).collect();
    // As many in stretches of 80 pages, as where a run of writes begins or ends.
    let stretch = |start: usize| (start..(start + 80).min(pages)).filter(|place| seen.contains(*place));
    let in_runs: Vec<usize> =
        (0..pages).step_by(80).filter(|_| random.unit() < 0.01).flat_map(stretch).collect();
    // Half as many go, and come three pages further on.
    let mut elsewhere = seen.clone();
    let mut found = written.clone();
    for place in seen.iter().filter(|place| place + 3 < pages && random.unit() < 0.005) {
        elsewhere.remove(place);
        elsewhere.insert(place + 3);
        if written.contains(place) {
            found.remove(place);
            found.insert(place + 3);
        }
    }
    for (name, seen_then, written_then) in [
        ("turn, strewn", seen, turned(&strewn)),
        ("turn, in runs", seen, turned(&in_runs)),
        ("go and come, strewn", &elsewhere, found),
    ] {
        let windows = [(seen, written), (seen_then, &written_then)];
        let mut changes = [SampleChanges::default(), SampleChanges::default()];
        changes[0].find(windows[1], windows[0]);
        changes[1].find(windows[0], windows[1]);
        let (mut tv, mut density, mut touched) = (Tv::new(), Vec::new(), Vec::new());
        tv.fill(seen, written, cells, &mut density);
        let mut now = 0;
        let part = time(|| {
            now = 1 - now;
            let (seen, written) = windows[now];
            tv.refill(seen, written, &changes[now], cells, &mut density, &mut touched);
            black_box((&density, &touched));
        });
        report(&format!("tv, {} samples {name}", changes[1].count()), part, baseline);
        println!("    a whole fill takes {:.1}× the time of that", whole / part[0]);
    }
}

fn solvers(order: u32) {
    let count = 1usize << (2 * order);
    let pages = count * PAGES_A_CELL;
    let mut random = Random(88_172_645_463_325_252);
    let truth = runs(&mut random, pages, 80.0, 800.0);
    let seen = PageSet::of(pages, (0..pages).filter(|_| random.unit() < 0.1));
    let written = truth.intersection(&seen);
    let cells = Cells::new(pages, count);
    println!("order {order}: {pages} pages, {} samples, {} of them written", seen.count(), written.count());

    let mut plain = vec![0.0f32; count];
    let baseline = time(|| {
        plain_nearest(seen.words(), written.words(), &mut plain);
        black_box(&plain);
    });
    report("plain nearest fill (baseline)", baseline, baseline[0]);
    let (mut tv, mut density) = (Tv::new(), Vec::new());
    let whole = time(|| {
        tv.fill(&seen, &written, &cells, &mut density);
        black_box(&density);
    });
    report("tv", whole, baseline[0]);

    refills(&mut random, [&seen, &written], &cells, whole[0], baseline[0]);

    let mut copy = vec![0.0f32; count];
    let took = time(|| {
        copy.copy_from_slice(&plain);
        black_box(&copy);
    });
    report("memcpy of the map", took, baseline[0]);

    // Page by page these take seconds there, and no map of that order is drawn of a line so long.
    if order == 12 {
        return;
    }
    let samples = Samples::alone(&seen, &written);
    let mut field = Field::default();
    for kind in [SolverKind::Tv, SolverKind::FusedLasso, SolverKind::Markov] {
        let mut solver = kind.solver();
        let took = time(|| {
            solver.solve(&samples, &cells, &mut field);
            black_box(&field);
        });
        report(&format!("{kind} with variance"), took, baseline[0]);
    }
    let mut fista = HaarFista::with_iterations(30);
    let took = time(|| {
        fista.solve(&samples, &cells, &mut field);
        black_box(&field);
    });
    report("haar-fista, 30 iterations", took, baseline[0]);
}

/// The plan and its solver on a program of which about a quarter of the pages is written, four times the budget.
fn windows(pages: usize) {
    let mut random = Random(1);
    let truths: Vec<PageSet> = (0..4).map(|_| runs(&mut random, pages, 40.0, 120.0)).collect();
    let budget = 0.06;
    let mut plan = BudgetPlan::new(pages, budget, 1).expect("a budget in range");
    let order = (1..=12u32).rev().find(|order| 1usize << (2 * order) <= pages).unwrap_or(1);
    let cells = Cells::new(pages, 1 << (2 * order));
    let (standing, mut tv, mut field) = (PageSet::empty(pages), Tv::new(), Field::default());
    let (mut armed, mut written) = (PageSet::empty(pages), PageSet::empty(pages));
    let mut times: [Vec<f64>; 3] = Default::default();
    // As many as a few seconds allow.
    let (mut spent, rounds) = (0, if pages > 1 << 18 { 12 } else { 40 });
    for round in 0..rounds {
        let begun = Instant::now();
        plan.set_budget(budget);
        armed.clone_from(plan.arm(&standing));
        times[0].push(begun.elapsed().as_secs_f64() * 1e6);
        written.clone_from(&truths[round * 4 / rounds].intersection(&armed));
        let begun = Instant::now();
        plan.observe(&armed, &written);
        times[1].push(begun.elapsed().as_secs_f64() * 1e6);
        let samples = Samples { prior: Some(plan.prior()), ..Samples::alone(&armed, &written) };
        let begun = Instant::now();
        tv.solve(&samples, &cells, &mut field);
        times[2].push(begun.elapsed().as_secs_f64() * 1e6);
        spent += written.count();
    }
    let share = 100.0 * spent as f64 / (rounds * pages) as f64;
    println!("a window of {pages} pages, order {order}, {share:.1} % of the pages in faults; no baseline");
    for (name, times) in ["adjust rates and choose", "learn", "reconstruct"].iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let [median, least, most] = [times.len() / 2, 0, times.len() * 9 / 10].map(|at| times[at]);
        println!("  {name:<42} {median:>11.1} µs [{least:.1}–{most:.1}]");
    }
}

/// What adapting the order and the rate takes a window, and choosing what is armed at the rate as it is.
fn adjustment() {
    let (mut order, mut rate) =
        (OrderControl::new(HilbertConfig::default()), RateControl::new(SamplingConfig::default()));
    let mut window = 0u64;
    let took = time(|| {
        window += 1;
        // Around a bound of the order and of the goal, so that both have something to do.
        let value = 0.97 + 0.03 * (window % 64) as f64 / 64.0;
        let pages = 60_000 + window % 16_384;
        let estimate = AccuracyEstimate { value, low: value - 0.002, high: value + 0.002 };
        black_box((
            order.line(pages),
            order.window(Duration::from_millis(2), Duration::from_millis(100), pages),
            rate.window(Some(estimate), 0.5),
        ));
    });
    println!("adjustment of order and rate, a window");
    report("order and rate (the goal is 1 ms)", took, 1000.0);
}

fn main() {
    println!("median [fastest–90th percentile] of 15, and the ratio to the baseline of the same run");
    [8, 10, 12].into_iter().for_each(solvers);
    adjustment();
    [1 << 16, 1 << 20].into_iter().for_each(windows);
}
