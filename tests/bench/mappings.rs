//! Targets with many mappings: whether windows end in time, and hold what was written in them.
//!
//! `cargo bench --bench mappings [-- SECONDS]`: so many seconds for each line (2 unless said). Ends with
//! status 1 where a window is lost or wrong.

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use memory_glass::capture::{GlassRamMonitor, MonitorConfig, PageRange, Window};
use memory_glass::map::HilbertConfig;
use memory_glass::render::ColorPalette;
use memory_glass::system::Pipeline;
use nix::time::{ClockId, clock_gettime};
use support::laid::Laid;
use support::{PAGE, Target, window};

/// Mappings that are written in each window.
const WRITTEN: u64 = 200;

/// Which mappings a target writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// Two fronts, each a little further in each window.
    Near,
    /// As near, while mappings come, go and are replaced.
    Changing,
    /// All over. The kernel takes 0.2 µs for each mapping that is looked at, so the whole of them does not go
    /// into a sixtieth of a second.
    Scattered,
}

impl Writes {
    /// In this window, of so many: where each begins, how many, and every which.
    fn of(self, turn: u64, count: u64) -> [(u64, u64, u64); 2] {
        let half = count / 2;
        let (written, step) = match self {
            Writes::Scattered => (WRITTEN / 2, (half - 16) / (WRITTEN / 2)),
            _ => (WRITTEN.min(half / 2) / 2, 1),
        };
        let room = half - 8 - written * step + 1;
        let first = turn * 37 % room.max(1);
        [(first, written, step), (half + 4 + first, written, step)]
    }
}

fn main() -> ExitCode {
    let seconds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(2);
    let only = std::env::args().skip(1).find(|word| word.starts_with(char::is_uppercase)).unwrap_or_default();
    println!(
        "{:<50}{:>8}{:>6}{:>7}{:>12}{:>12}{:>12}{:>12}",
        "", "windows", "lost", "wrong", "capture, ms", "most", "map, ms", "most"
    );
    let mut bad = 0;
    for laid in Laid::ALL {
        for rows in [1_000, 10_000, 64_000] {
            for writes in [Writes::Near, Writes::Changing, Writes::Scattered] {
                let lengths: &[f64] =
                    if writes == Writes::Scattered { &[100.0] } else { &[100.0, 1e3 / 60.0] };
                for length in lengths {
                    let name = format!("{laid:?}, {rows} mappings, {writes:?}, {length:.1} ms");
                    if name.starts_with(&only) {
                        bad += of(laid, rows / laid.rows(), writes, *length, seconds, &name);
                    }
                }
            }
        }
    }
    if bad > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Windows of one target that are lost or wrong.
fn of(laid: Laid, count: u64, writes: Writes, length: f64, seconds: u64, name: &str) -> u64 {
    let mut target = Target::start("obey");
    let kind = Laid::ALL.iter().position(|known| *known == laid).expect("one of them");
    let base = target.ask(&format!("lay {kind} {count}"));
    let config = MonitorConfig::exact();
    let mut monitor = GlassRamMonitor::with_config(target.pid(), config).expect("attached");
    let mut pipeline = Pipeline::new(
        monitor.target().clone(),
        monitor.rung(),
        HilbertConfig::default(),
        ColorPalette::default(),
    )
    .expect("a pipeline");
    for _ in 0..3 {
        pipeline.window(&window(&mut monitor)).expect("taken");
    }
    let length = Duration::from_secs_f64(length / 1e3);
    let windows = (seconds as f64 / length.as_secs_f64()).round() as u64;
    let (mut lost, mut wrong) = (0, 0);
    let (mut capture, mut map) = (Vec::new(), Vec::new());
    let mut end = Instant::now() + length;
    for turn in 0..windows {
        let written = writes.of(turn, count);
        for (first, count, step) in written {
            target.ask(&format!("touch {first} {count} {step}"));
        }
        if writes == Writes::Changing {
            target.ask(&format!("lay-again {}", count / 2 + turn / 2 % 3));
            target.ask(&format!("{} {}", ["take-away", "lay-again"][turn as usize % 2], count / 2 + 3));
        }
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        let begun = cpu();
        let found = window(&mut monitor);
        let taken = cpu();
        pipeline.window(&found).expect("taken");
        capture.push(taken - begun);
        map.push(cpu() - taken);
        let mut written =
            written.into_iter().flat_map(|(first, count, step)| (0..count).map(move |at| first + at * step));
        wrong += u64::from(!written.all(|at| holds(&found, base + at * laid.stride())));
        end += length;
        while end < Instant::now() {
            (end, lost) = (end + length, lost + 1);
        }
    }
    let ([capture, most_capture], [map, most_map]) = (of_times(capture), of_times(map));
    println!(
        "{name:<50}{windows:>8}{lost:>6}{wrong:>7}{capture:>12.2}{most_capture:>12.2}{map:>12.2}{most_map:>12.2}"
    );
    lost + wrong
}

/// Whether the page at this address is in the window.
fn holds(window: &Window, address: u64) -> bool {
    let page = PageRange::new(address, address + PAGE);
    let behind = window.written.partition_point(|range| range.end <= page.start);
    window.written.get(behind).is_some_and(|range| range.intersection(&page) == Some(page))
}

/// Processor time of this thread in milliseconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock that each has");
    time.tv_sec() as f64 * 1e3 + time.tv_nsec() as f64 / 1e6
}

/// Median and most.
fn of_times(mut times: Vec<f64>) -> [f64; 2] {
    times.sort_by(f64::total_cmp);
    [times[times.len() / 2], times[times.len() - 1]]
}
