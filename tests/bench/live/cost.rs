//! What the default session costs real programs, against what it says of it.
//!
//! The same work of the same running target, in turn: not watched, watched with the picture drawn, not
//! watched, watched without a picture, not watched, and so on. A ratio is a watched run against the mean of
//! the unwatched ones before and after it; the noise is how much two unwatched runs that follow one another
//! differ. Processor time is the target's, of all its threads.
//!
//! What is stated is judged by the runs of the default session, with its picture; how far it is off those
//! without one stands beside it.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::Options;
use super::bars::{Bars, Noise, Spread};
use super::programs::{Load, Loaded, PROGRAMS};
use super::session::{Program, Said, Session, processor_time};

/// How a run is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Watch {
    Not,
    /// As by default.
    Drawn,
    /// The map is nowhere on the screen.
    Undrawn,
}

/// One run of the work.
struct Run {
    watch: Watch,
    /// Seconds of processor time for the work once.
    processor: f64,
    /// Seconds of the clock.
    wall: f64,
    /// Processors that the session's processes have used.
    monitor: f64,
    /// What it said once a second.
    said: Vec<Said>,
    /// Interrupts for flushed translations a second, of all processors, where the kernel counts them.
    interrupts: Option<f64>,
}

/// Interrupts that processors have got so far to flush translations.
fn flush_interrupts() -> Option<f64> {
    let table = std::fs::read_to_string("/proc/interrupts").ok()?;
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix("TLB:"))?;
    Some(row.split_whitespace().map_while(|word| word.parse::<f64>().ok()).sum())
}

/// Asks the session once a second while the work is done.
fn asking<T>(session: Option<&Session>, work: impl FnOnce() -> T) -> (T, Vec<Said>) {
    std::thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let asking = session.map(|session| {
            scope.spawn(move || {
                let mut said = Vec::new();
                while stopped.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                    said.extend(session.said());
                }
                said
            })
        });
        let done = work();
        // At the end as well, of a run that was shorter than a second, too.
        let last = session.and_then(Session::said);
        drop(stop);
        let mut said = asking.map_or_else(Vec::new, |thread| thread.join().expect("no panic"));
        said.extend(last);
        (done, said)
    })
}

fn run(program: &Program, load: &mut Load, watch: Watch, settle: usize, times: usize) -> Run {
    let session = match watch {
        Watch::Not => None,
        Watch::Drawn => Some(Session::watch(program, load.pid, &[])),
        Watch::Undrawn => Some(Session::watch(program, load.pid, &["--placement", "off"])),
    };
    (0..settle).for_each(|_| (load.work)());
    let monitor = || session.as_ref().map_or(0.0, Session::processor_time);
    let now = |pid| processor_time(pid).expect("its time can be read as long as it is not reaped");
    let (interrupts, ours, processor, begun) = (flush_interrupts(), monitor(), now(load.pid), Instant::now());
    let ((processor, wall), said) = asking(session.as_ref(), || {
        (0..times).for_each(|_| (load.work)());
        (now(load.pid) - processor, begun.elapsed().as_secs_f64())
    });
    let interrupts = flush_interrupts().zip(interrupts).map(|(after, before)| (after - before) / wall);
    let ours = (monitor() - ours) / begun.elapsed().as_secs_f64();
    if let Some(session) = session {
        session.end();
    }
    let times = times as f64;
    Run { watch, processor: processor / times, wall: wall / times, monitor: ours, said, interrupts }
}

/// All runs of one program, unwatched ones at even places.
fn runs(options: &Options, loaded: &Loaded) -> Result<Vec<Run>, String> {
    let turns = [Watch::Drawn, Watch::Not, Watch::Undrawn, Watch::Not];
    let turns = std::iter::once(Watch::Not).chain(turns.into_iter().cycle().take(4 * options.rounds(3)));
    if loaded.once {
        return turns.map(|watch| Ok(run(&options.program, &mut (loaded.start)()?, watch, 0, 1))).collect();
    }
    let mut load = (loaded.start)()?;
    (load.work)();
    // Until its code is as good as it gets, of one that compiles while it runs.
    let now = || processor_time(load.pid).expect("it lives");
    let (begun, mut took) = (now(), 0.0_f64);
    while took == 0.0 || now() - begun < options.settle {
        let before = now();
        (load.work)();
        took = (now() - before).max(0.01);
    }
    let times = |seconds: f64| (seconds / took).ceil() as usize;
    let settle = |watch| if watch == Watch::Not { times(0.5) } else { times(options.settle) };
    Ok(turns
        .map(|watch| run(&options.program, &mut load, watch, settle(watch), times(options.seconds)))
        .collect())
}

/// The ratio of each watched run to the unwatched ones around it.
fn ratios(runs: &[Run], watch: Watch, of: fn(&Run) -> f64) -> Vec<f64> {
    let around = runs.windows(3).filter(|around| around[1].watch == watch);
    around.map(|around| 2.0 * of(&around[1]) / (of(&around[0]) + of(&around[2]))).collect()
}

/// What the session said during a run, in the middle.
fn middle(run: &Run, of: fn(&Said) -> Option<f64>) -> Option<f64> {
    Some(Spread::of(run.said.iter().filter_map(of))?.median)
}

/// What the session says in its runs, beside what is measured.
struct Stated {
    factor: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    /// By how much it says more than is measured.
    off: Option<f64>,
    /// In how many runs its interval holds what is measured.
    held: usize,
    of: usize,
}

fn stated(runs: &[Run], watch: Watch, noise: Noise) -> Stated {
    let said = |of: fn(&Said) -> Option<f64>| -> Vec<Option<f64>> {
        runs.iter().filter(|run| run.watch == watch).map(|run| middle(run, of)).collect()
    };
    let factors = said(|said| said.factor);
    let (lows, highs) = (said(|said| Some(said.interval?.0)), said(|said| Some(said.interval?.1)));
    let measured = ratios(runs, watch, |run| run.processor);
    let (mut held, mut off) = (0, Vec::new());
    for (run, measured) in measured.iter().enumerate() {
        off.extend(factors[run].map(|factor| factor - measured));
        held += usize::from(lows[run].zip(highs[run]).is_some_and(|(low, high)| {
            low - noise.counted() <= *measured && *measured <= high + noise.counted()
        }));
    }
    let median = |values: &[Option<f64>]| Some(Spread::of(values.iter().copied().flatten())?.median);
    Stated {
        factor: median(&factors),
        low: median(&lows),
        high: median(&highs),
        off: Spread::of(off).map(|off| off.median),
        held,
        of: measured.len(),
    }
}

/// How often a stated interval held what was measured, of how many runs.
#[derive(Default)]
struct Intervals {
    held: usize,
    of: usize,
}

fn dash(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".into(), |value| format!("{value:.decimals$}"))
}

/// Of one program: prints its row and judges it; its processor ratio.
fn report(bars: &mut Bars, intervals: &mut Intervals, loaded: &Loaded, runs: &[Run]) -> Option<f64> {
    let name = loaded.name;
    let unwatched: Vec<&Run> = runs.iter().filter(|run| run.watch == Watch::Not).collect();
    let noise_of = |of: fn(&Run) -> f64| Noise::of(&unwatched.iter().map(|run| of(run)).collect::<Vec<_>>());
    let (noise, wall_noise) = (noise_of(|run| run.processor), noise_of(|run| run.wall));
    let measured = ratios(runs, Watch::Drawn, |run| run.processor);
    let cost = Spread::of(measured.iter().copied())?;
    let undrawn = Spread::of(ratios(runs, Watch::Undrawn, |run| run.processor))?;
    let wall = Spread::of(ratios(runs, Watch::Drawn, |run| run.wall))?;
    let drawn: Vec<&Run> = runs.iter().filter(|run| run.watch == Watch::Drawn).collect();

    bars.at_most(format!("{name}: processor time, median"), cost.median, 1.05, noise.usual);
    bars.at_most(format!("{name}: processor time, worst"), cost.most, 1.08, noise.largest);
    // Drawing takes a processor where there is no GPU; where none is left, the clock says nothing of us.
    let spare = std::thread::available_parallelism().is_ok_and(|all| all.get() > loaded.threads);
    if spare {
        bars.at_most(format!("{name}: wall time, median"), wall.median, 1.05, wall_noise.usual);
        bars.at_most(format!("{name}: wall time, worst"), wall.most, 1.08, wall_noise.largest);
    }

    let [of_drawn, of_undrawn] = [Watch::Drawn, Watch::Undrawn].map(|watch| stated(runs, watch, noise));
    match of_drawn.off {
        Some(off) => bars.at_most(format!("{name}: stated cost, off by"), off.abs(), 0.03, noise.usual),
        None => bars.not_said(format!("{name}: slow-down")),
    }
    intervals.held += of_drawn.held;
    intervals.of += of_drawn.of;

    let flushes = Spread::of(drawn.iter().filter_map(|run| middle(run, |said| said.flushes)));
    let interrupts = |runs: &[&Run]| Spread::of(runs.iter().filter_map(|run| run.interrupts));
    let caused = interrupts(&drawn)
        .zip(interrupts(&unwatched))
        .map(|(watched, alone)| (watched.median - alone.median).max(0.0));
    match (flushes, caused) {
        (Some(flushes), _) => bars.at_most(format!("{name}: flushes a second"), flushes.median, 1000.0, 0.0),
        (None, Some(caused)) => {
            bars.at_most(format!("{name}: interrupts by flushes a second"), caused, 1000.0, 0.0);
        }
        (None, None) => bars.not_said(format!("{name}: flushes a second")),
    }
    let monitor =
        |watch| Spread::of(runs.iter().filter(|run| run.watch == watch).map(|run| 100.0 * run.monitor));
    let (alone, drawing) = (monitor(Watch::Undrawn)?, monitor(Watch::Drawn)?);
    bars.at_most(format!("{name}: monitor without drawing, % of a core"), alone.median, 5.0, 0.0);

    let Stated { factor, low, high, .. } = of_drawn;
    let said = format!("{} [{}..{}]", dash(factor, 3), dash(low, 3), dash(high, 3));
    let wall = if spare { format!("{:.3}", wall.median) } else { format!("({:.3})", wall.median) };
    println!(
        "{name:<10}{cost:>21}{:>7.3}{:>7.3}{:>9}{wall:>9}{said:>22}{:>8}{:>8}{:>6}{:>9}{:>9}{:>7.1}{:>7.1}",
        noise.usual,
        noise.largest,
        format!("{:.3}", undrawn.median),
        dash(of_drawn.off, 3),
        dash(of_undrawn.off, 3),
        format!("{}/{}", of_drawn.held, of_drawn.of),
        dash(flushes.map(|flushes| flushes.median), 0),
        dash(caused, 0),
        alone.median,
        drawing.median,
    );
    Some(cost.median)
}

/// Prints a row for each program, and judges them all.
pub fn cost(options: &Options, bars: &mut Bars) {
    println!(
        "\nWhat watching costs: {} rounds; ratios of the target's processor time for the same work to not \
         watched, median (least..most);\nnoise: how two unwatched runs differ, usual and largest; a bar is \
         missed by what is beyond the noise, of which 5 points count at most",
        options.rounds(3)
    );
    println!(
        "{:<10}{:>21}{:>14}{:>9}{:>9}{:>22}{:>8}{:>8}{:>6}{:>9}{:>9}{:>14}",
        "",
        "processor time",
        "noise",
        "undrawn",
        "wall",
        "stated",
        "off by",
        "undrawn",
        "held",
        "flushes",
        "by irq",
        "our core, %"
    );
    let (mut medians, mut intervals) = (Vec::new(), Intervals::default());
    for loaded in PROGRAMS.iter().filter(|loaded| options.wants_program(loaded.name)) {
        match runs(options, loaded) {
            Ok(runs) => medians.extend(report(bars, &mut intervals, loaded, &runs)),
            Err(why) => bars.skip(loaded.name, why),
        }
    }
    if let Some(all) = Spread::of(medians) {
        println!(
            "all        {all}; a wall time in brackets is not judged: there is no processor to spare for it"
        );
        let held = intervals.held as f64 / intervals.of as f64;
        println!(
            "the stated interval held the measured ratio in {} of {} runs",
            intervals.held, intervals.of
        );
        bars.at_least("stated interval holds the measured cost, share of the runs", held, 0.9, 0.0);
    }
}
