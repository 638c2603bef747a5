//! That `exact` is exact, and that no window is lost to a target of very many mappings.

use std::time::{Duration, Instant};

use memory_glass::capture::MonitorConfig;
use memory_glass::capture::range::intersect;

use super::Options;
use super::bars::{Bars, Spread};
use super::support::{self, PAGE, Target};
use super::watch::Watch;

/// Windows that must be exact.
const WINDOWS: usize = 2000;
/// The known writer's memory, pages.
const PAGES: u64 = (64 << 20) / PAGE;
/// Mappings, of which the kernel allows 65,530 by default.
const MAPPINGS: [usize; 3] = [1_000, 10_000, 64_000];
/// How long a target of many mappings is watched.
const TIME: Duration = Duration::from_secs(4);

/// Every window against what a known writer has written in it: some blocks and strides, others each time.
pub fn exact(_: &Options, bars: &mut Bars) {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {}", PAGES * PAGE));
    target.ask(&format!("small {start} {}", PAGES * PAGE));
    target.ask(&format!("write {start} {PAGES} 1"));
    let mut monitor = support::exact(target.pid());
    support::window(&mut monitor);
    let all = [memory_glass::capture::PageRange::new(start, start + PAGES * PAGE)];
    let mut random = fastrand::Rng::with_seed(1);
    let (mut wrong, mut took) = (0, Vec::new());
    for _ in 0..WINDOWS {
        let mut truth = Vec::new();
        for _ in 0..random.u32(1..4) {
            let (step, count) = (random.u64(1..9), random.u64(1..1500));
            let first = random.u64(..PAGES - step * count);
            target.ask(&format!("write {} {count} {step}", start + first * PAGE));
            truth.extend((0..count).map(|page| first + page * step));
        }
        truth.sort_unstable();
        truth.dedup();
        let begun = Instant::now();
        let window = support::window(&mut monitor);
        took.push(begun.elapsed().as_secs_f64() * 1e3);
        let seen = support::pages(&intersect(&window.written, &all), start);
        wrong += usize::from(seen != truth || !window.unseen.is_empty());
    }
    let took = Spread::of(took).expect("windows");
    println!(
        "\nEvery page in every window: {wrong} of {WINDOWS} differ from a known writer's; {took} ms each"
    );
    bars.at_most("exact: windows that differ", wrong as f64, 0.0, 0.0);
}

/// Windows and maps of targets with many mappings, by the default budget.
pub fn mappings(options: &Options, bars: &mut Bars) {
    println!("\nMany mappings: windows that were taken of those that were due in {} s", TIME.as_secs());
    let config: MonitorConfig = options.watched();
    for kind in ["private", "shared"] {
        for count in MAPPINGS {
            let name = format!("{count} {kind} mappings");
            let mut command = std::process::Command::new(std::env::current_exe().expect("its path"));
            let mut target =
                Target::start_quietly(command.env(support::ROLE, format!("crowded {count} {kind}")));
            let answer = target.line();
            if answer != "ready" {
                bars.skip(name, answer);
                continue;
            }
            let begun = Instant::now();
            let mut watch = Watch::of(target.pid(), config);
            let attached = begun.elapsed();
            let mut lengths = Vec::new();
            let windows = watch.run(TIME, |window, _| lengths.push(window.length.as_secs_f64() * 1e3));
            let due = (TIME.as_secs_f64() / watch.window().as_secs_f64()).floor();
            watch.end();
            let lengths = Spread::of(lengths).map_or_else(|| "–".into(), |lengths| lengths.words(1));
            println!(
                "{name:<24}{:>4} of {due:.0}, {} lost by us; a window {lengths} ms, {:.1} ms of processor \
                 time the dearest; attached in {:.0} ms",
                windows.taken,
                windows.lost,
                windows.dearest.as_secs_f64() * 1e3,
                attached.as_secs_f64() * 1e3
            );
            // By ourselves: where others have the processors, windows are longer for that.
            let all = (windows.taken + windows.lost) as f64;
            let kept = windows.taken as f64 / all.max(1.0);
            bars.at_least(format!("{name}: windows kept, share"), kept, 1.0, 0.0);
        }
    }
}
