//! How true the shown map is under the default budget.
//!
//! Accuracy is the project's: 1 − Σ|x − x̂| / Σx over the cells, pooled over moments (`sensing::Score`). The
//! truth is reckoned here, and not by the code that makes the map: of a page of which every write is known,
//! the share p of the last spans of 1/60 s in which it was written, their weights halving every 250 ms, gives
//! its rate, λ = −60/s · ln(1 − p), and its brightness 1 − exp(−λ · 100 ms); a cell is the mean of its pages.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use memory_glass::capture::MonitorConfig;
use memory_glass::sensing::Score;

use super::Options;
use super::bars::{Bars, Spread};
use super::programs::redis;
use super::support::replayed::{self, Schedule};
use super::support::{PAGE, Target};
use super::watch::{Shown, Watch};

/// The recorded programs.
const RECORDED: [&str; 7] = ["redis", "python", "sqlite", "node", "xz", "phases", "cascade"];
/// As much of a recording as is played at most.
const SECONDS: u64 = 30;
/// A look, the time in which its weight halves, and the time that a brightness is about; seconds.
const LOOK: f64 = 1.0 / 60.0;
const HALF_LIFE: f64 = 0.25;
const SPAN: f64 = 0.1;
/// After so many half-lives a look counts for less than a thousandth.
const REMEMBERED: f64 = 10.0 * HALF_LIFE;
/// Time before the first moment, and between two.
const MOMENTS: (f64, f64) = (2.0, 0.25);
/// Less than so many pages' worth of brightness is no picture to be judged alone.
const WORTH_JUDGING: f32 = 4.0;

/// The brightness of each page at this moment, seconds from the begin. Before the begin nothing was written.
fn truth(schedule: &Schedule, moment: f64) -> Vec<f32> {
    let micros = |seconds: f64| (seconds.max(0.0) * 1e6) as u32;
    let writes = &schedule.writes;
    let first = writes.partition_point(|write| write.at <= micros(moment - REMEMBERED));
    let end = writes.partition_point(|write| write.at <= micros(moment));
    let keep = (-LOOK / HALF_LIFE).exp2();
    let mut written = vec![(0.0, usize::MAX); schedule.pages];
    for write in &writes[first..end] {
        let ago = ((moment - f64::from(write.at) / 1e6) / LOOK) as usize;
        let (share, last) = &mut written[write.page as usize];
        if *last != ago {
            *share += (1.0 - keep) * keep.powi(ago as i32);
            *last = ago;
        }
    }
    // 1 − exp(−λ · SPAN) with λ = −ln(1 − p) / LOOK.
    written.into_iter().map(|(share, _)| (1.0 - (1.0 - share.min(1.0)).powf(SPAN / LOOK)) as f32).collect()
}

/// The map beside the truth, of the cells that show nothing but pages of known writes.
fn beside(shown: &Shown, start: u64, pages: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut pairs = (Vec::new(), Vec::new());
    for (value, addresses) in shown.cells() {
        let known =
            |address: &Option<u64>| pages.get((address.as_ref()?.checked_sub(start)? / PAGE) as usize);
        let of_cell: Option<Vec<&f32>> = addresses.iter().map(known).collect();
        let Some(of_cell) = of_cell.filter(|pages| !pages.is_empty()) else { continue };
        pairs.0.push(of_cell.iter().copied().sum::<f32>() / of_cell.len() as f32);
        pairs.1.push(value);
    }
    pairs
}

/// One recording, played to a watch.
#[derive(Default)]
struct Played {
    pooled: Score,
    /// Sums over the cells of all moments: of the truth, and by how much it is passed and not reached.
    truth: f64,
    brighter: f64,
    darker: f64,
    /// Of each moment by itself.
    moments: Vec<f64>,
    /// How often the stated interval held a moment's accuracy, and of how many where it was stated.
    intervals: (usize, usize),
    looks: f64,
    late: u64,
}

fn play(file: &Path, lazy: bool, config: MonitorConfig) -> Played {
    let schedule = Schedule::of(file, SECONDS);
    let how = if lazy { "lazy" } else { "busy" };
    let times = tempfile::NamedTempFile::new().expect("a file");
    let role = format!("replayed {how} {SECONDS} {} {}", times.path().display(), file.display());
    let mut target = Target::start(&role);
    let start: u64 = target.line().parse().expect("an address");
    let mut watch = Watch::of(target.pid(), config);
    watch.run(Duration::from_secs(1), |_, _| {});
    target.say("go");
    let begun: u64 = target.line().parse().expect("a time");
    // The same moment on the clock of the windows.
    let begun = Instant::now() - Duration::from_nanos(replayed::now() - begun);
    let mut played = Played::default();
    // Judged when it is over: the watch is to be held up by nothing.
    let (mut seen, mut next) = (Vec::new(), MOMENTS.0);
    let time = schedule.length.saturating_sub(begun.elapsed());
    let looks = watch.run(time, |window, watch| {
        let moment = (window.started + window.length).saturating_duration_since(begun).as_secs_f64();
        if moment >= next {
            next = moment + MOMENTS.1;
            seen.push((moment, watch.shown(), watch.accuracy()));
        }
    });
    watch.end();
    played.late = target.line().parse().expect("a time");
    let schedule = schedule.with_times(&std::fs::read(times.path()).expect("when it wrote"));
    for (moment, shown, stated) in seen {
        let (truth, shown) = beside(&shown, start, &truth(&schedule, moment));
        let mut score = Score::default();
        score.add(&truth, &shown);
        played.pooled.merge(&score);
        for (truth, shown) in truth.iter().zip(&shown) {
            let beyond = f64::from(shown - truth);
            played.truth += f64::from(*truth);
            played.brighter += beyond.max(0.0);
            played.darker += (-beyond).max(0.0);
        }
        if truth.iter().sum::<f32>() < WORTH_JUDGING {
            continue;
        }
        played.moments.push(score.accuracy());
        if let Some(stated) = stated {
            let held = (stated.low..=stated.high).contains(&score.accuracy());
            played.intervals.0 += usize::from(held);
            played.intervals.1 += 1;
        }
    }
    played.looks = looks.taken as f64 / time.as_secs_f64();
    played
}

/// The recorded programs, played in their time.
pub fn recorded(options: &Options, bars: &mut Bars) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    println!(
        "\nHow true the map is under the default budget: 1 − Σ|x − x̂| / Σx, pooled over moments, and of \
         single ones; the truth is known"
    );
    println!(
        "{:<10}{:>9}{:>24}{:>17}{:>14}{:>9}{:>10}",
        "", "pooled", "moments", "brighter, darker", "interval held", "looks/s", "late, ms"
    );
    let mut all = Vec::new();
    for name in RECORDED {
        let mut rounds = Vec::new();
        for _ in 0..options.rounds(1) {
            let file: PathBuf = folder.join(name).with_extension("mgr");
            rounds.push(play(&file, options.lazy, options.watched()));
        }
        let pooled = Spread::of(rounds.iter().map(|played| played.pooled.accuracy())).expect("a round");
        let moments = Spread::of(rounds.iter().flat_map(|played| played.moments.iter().copied()));
        let truth: f64 = rounds.iter().map(|played| played.truth).sum();
        let all_of = |of: fn(&Played) -> f64| rounds.iter().map(of).sum::<f64>() / truth.max(1.0);
        let sum = |of: fn(&Played) -> usize| rounds.iter().map(of).sum::<usize>();
        let (held, of) = (sum(|played| played.intervals.0), sum(|played| played.intervals.1));
        println!(
            "{name:<10}{:>9.4}{:>24}{:>17}{:>14}{:>9.1}{:>10.1}",
            pooled.median,
            moments.map_or_else(|| "–".into(), |moments| moments.words(3)),
            format!("{:.3} {:.3}", all_of(|played| played.brighter), all_of(|played| played.darker)),
            format!("{held}/{of}"),
            Spread::of(rounds.iter().map(|played| played.looks)).expect("a round").median,
            rounds.iter().map(|played| played.late).max().unwrap_or(0) as f64 / 1e3,
        );
        bars.at_least(format!("{name}: accuracy of the shown map"), pooled.median, 0.8, 0.0);
        all.push(pooled.median);
    }
    if let Some(all) = Spread::of(all) {
        println!("all        {all}");
        bars.at_least("recorded programs: accuracy of the shown map, median", all.median, 0.98, 0.0);
    }
}

/// Time that a map is averaged over, and that a watch has to settle before.
const AVERAGED: Duration = Duration::from_secs(4);
const SETTLED: Duration = Duration::from_secs(2);
/// Pages that are taken together: about a cell of a map of 16,384.
const TOGETHER: u64 = 4;

/// The mean of the maps of four seconds by address, of all one: a watch that slows the target shows lower
/// rates.
fn mean_map(pid: u32, config: MonitorConfig) -> HashMap<u64, f64> {
    let mut watch = Watch::of(pid, config);
    watch.run(SETTLED, |_, _| {});
    let (mut map, mut next) = (HashMap::new(), Instant::now());
    watch.run(AVERAGED, |_, watch| {
        if Instant::now() < next {
            return;
        }
        next = Instant::now() + Duration::from_millis(50);
        for (value, addresses) in watch.shown().cells().filter(|(value, _)| *value > 0.0) {
            let addresses: Vec<u64> = addresses.into_iter().flatten().collect();
            for address in &addresses {
                *map.entry(address / (TOGETHER * PAGE)).or_default() += f64::from(value);
            }
        }
    });
    watch.end();
    let all: f64 = map.values().sum();
    map.values_mut().for_each(|value| *value /= all);
    map
}

/// 1 − Σ|x − x̂| / Σx of two maps of the same sum, 1.
fn likeness(one: &HashMap<u64, f64>, other: &HashMap<u64, f64>) -> f64 {
    let value = |map: &HashMap<u64, f64>, at| map.get(at).copied().unwrap_or(0.0);
    let both = one.keys().chain(other.keys().filter(|at| !one.contains_key(at)));
    1.0 - both.map(|at| (value(one, at) - value(other, at)).abs()).sum::<f64>()
}

/// The default map of redis against the exact ones before and after it, beside how alike two exact ones are.
pub fn ceiling(options: &Options, bars: &mut Bars) {
    println!(
        "\nThe default map of redis against exact ones, each the mean of four seconds: the ceiling is how \
         alike two exact ones are that follow one another"
    );
    let exact = MonitorConfig { slowdown_budget: None, ..options.watched() };
    for (name, how) in [("redis", &["-n", "60000"][..]), ("pipelined", &["-n", "300000", "-P", "16"])] {
        let mut load = match redis(how) {
            Ok(load) => load,
            Err(why) => {
                bars.skip(format!("{name}: ceiling"), why);
                continue;
            }
        };
        let pid = load.pid;
        let (mut ceilings, mut reached) = (Vec::new(), Vec::new());
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| {
                for _ in 0..options.rounds(3) {
                    let [first, second, ours, third] =
                        [exact, exact, options.watched(), exact].map(|config| mean_map(pid, config));
                    ceilings.push(likeness(&first, &second));
                    reached.push((likeness(&second, &ours) + likeness(&third, &ours)) / 2.0);
                }
            });
            // The load stays with this thread.
            while !watching.is_finished() {
                (load.work)();
            }
        });
        let (ceiling, ours) = (Spread::of(ceilings.iter().copied()), Spread::of(reached.iter().copied()));
        let share = Spread::of(reached.iter().zip(&ceilings).map(|(ours, ceiling)| ours / ceiling));
        if let (Some(ceiling), Some(ours), Some(share)) = (ceiling, ours, share) {
            println!("{name:<10} ceiling {ceiling}, ours {ours}, of the ceiling {share}");
            bars.at_least(format!("{name}: share of the ceiling"), share.median, 0.95, 0.0);
        }
    }
}
