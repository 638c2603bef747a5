//! Targets with many mappings: whether windows end in time, and hold what was written in them.
//!
//! `cargo bench --bench mappings [-- SECONDS]`: so many seconds for each line (2 unless said). Ends with status 1 where a
//! window is lost or wrong.

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
use support::{PAGE, Target, mappings, window};

/// Mappings that are written in each window.
const WRITTEN: u64 = 200;

fn main() -> ExitCode {
    let seconds = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(2);
    let only: Vec<String> = std::env::args().skip(1).collect();
    println!(
        "{:<40}{:>10}{:>8}{:>8}{:>12}{:>12}{:>12}{:>12}",
        "", "windows", "lost", "wrong", "capture, ms", "most", "map, ms", "most"
    );
    let mut bad = 0;
    for laid in Laid::ALL {
        for rows in [1_000, 10_000, 64_000] {
            for changing in [false, true] {
                for length in [100.0, 1000.0 / 60.0] {
                    let name = format!("{laid:?}-{rows}-{}-{length:.0}", if changing { "c" } else { "s" });
                    if !only.is_empty() && !only.iter().any(|only| name.starts_with(only.as_str())) {
                        continue;
                    }
                    bad += of(laid, rows, changing, length, seconds);
                }
            }
        }
    }
    if bad > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Windows of one target that are lost or wrong.
fn of(laid: Laid, rows: u64, changing: bool, length: f64, seconds: u64) -> u64 {
    let mut target = Target::start("obey");
    let count = rows / laid.rows();
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
    let table = mappings(target.pid());
    for _ in 0..3 {
        pipeline.window(&window(&mut monitor)).expect("taken");
    }
    let length = Duration::from_secs_f64(length / 1e3);
    let windows = (seconds as f64 / length.as_secs_f64()).round() as u64;
    let (mut lost, mut wrong) = (0, 0);
    let (mut capture, mut map) = (Vec::new(), Vec::new());
    let mut end = Instant::now() + length;
    for turn in 0..windows {
        let (first, step) = (turn % 7, count / WRITTEN);
        let half = count / 2;
        target.ask(&format!("touch {first} {} {step}", half.saturating_sub(first).div_ceil(step)));
        let behind = half + 4 + first;
        target.ask(&format!("touch {behind} {} {step}", (count - behind).div_ceil(step)));
        if changing {
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
        let written = (first..half).step_by(step as usize).chain((behind..count).step_by(step as usize));
        wrong += u64::from(!holds(&found, base, laid, written));
        end += length;
        while end < Instant::now() {
            (end, lost) = (end + length, lost + 1);
        }
    }
    let name = format!(
        "{laid:?}, {table} mappings, {:.0} ms{}",
        1e3 * length.as_secs_f64(),
        if changing { ", changing" } else { "" }
    );
    let ([capture, most_capture], [map, most_map]) = (of_times(capture), of_times(map));
    println!(
        "{name:<40}{windows:>10}{lost:>8}{wrong:>8}{capture:>12.2}{most_capture:>12.2}{map:>12.2}{most_map:>12.2}"
    );
    lost + wrong
}

/// Whether all of these mappings are in the window.
fn holds(window: &Window, base: u64, laid: Laid, mut written: impl Iterator<Item = u64>) -> bool {
    written.all(|at| {
        let page = base + at * laid.stride();
        let page = PageRange::new(page, page + PAGE);
        let behind = window.written.partition_point(|range| range.end <= page.start);
        window.written.get(behind).is_some_and(|range| range.intersection(&page) == Some(page))
    })
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
