//! Attaching to many mappings, following forks, memory, and what a window costs as the target grows.
//!
//! `cargo bench --bench capture [-- MIB]`: targets up to so many MiB (4096 unless said; the machine must have them).

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

use std::time::Instant;

use memory_glass::capture::region::parse_maps;
use memory_glass::capture::{GlassRamMonitor, MonitorConfig, ProcessAttach, ProcessAttachCapability};
use support::{PAGE, Target, exact, status_of, window};

const TIMES: usize = 21;

fn main() {
    let largest = std::env::args().filter_map(|word| word.parse::<u64>().ok()).next().unwrap_or(4096);
    println!("{TIMES} times each; median, least..most");
    mappings();
    forks();
    growth(largest);
}

fn report(what: &str, unit: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    println!(
        "  {what:<52}{:>10.3} {unit}   {:.3}..{:.3}",
        values[values.len() / 2],
        values[0],
        values[values.len() - 1]
    );
}

fn ms(of: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    of();
    begun.elapsed().as_secs_f64() * 1e3
}

fn mappings() {
    for count in [1_000, 10_000] {
        let mut target = Target::start("obey");
        target.ask(&format!("many {count}"));
        let path = format!("/proc/{}/maps", target.pid());
        let text = std::fs::read(&path).expect("it lives");
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        println!("\n{lines} mappings, every second one writable");
        report(
            "read the table (the barest way)",
            "ms",
            (0..TIMES).map(|_| ms(|| drop(std::fs::read(&path)))).collect(),
        );
        report(
            "read and parse it (≤ 10 ms for 1 000, ≤ 100 for 10 000)",
            "ms",
            (0..TIMES)
                .map(|_| {
                    ms(|| {
                        let table =
                            parse_maps(&std::fs::read(&path).expect("it lives")).expect("well formed");
                        assert_eq!(table.len(), lines);
                    })
                })
                .collect(),
        );
        let (mut stop, mut total, mut whole) = (vec![], vec![], vec![]);
        for _ in 0..TIMES {
            let attached = ProcessAttach::attach(target.pid()).expect("attached");
            total.push(attached.metrics().total.as_secs_f64() * 1e3);
            stop.push(attached.metrics().stop.expect("one stop").requested.as_secs_f64() * 1e3);
            whole.push(ms(|| {
                drop(GlassRamMonitor::watch(attached, MonitorConfig::default()).expect("watched"));
            }));
        }
        report("stop of the target (worst < 5 ms)", "ms", stop);
        report("attach, whole (< 100 ms)", "ms", total);
        report("register, arm, and let go again", "ms", whole);
    }
}

fn forks() {
    println!("\nfork followed (< 50 ms): from the child's being there to its first armed page");
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {}", 64 << 20));
    target.ask(&format!("write {start} {} 1", (64 << 20) / PAGE));
    let mut monitor = exact(target.pid());
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let child = target.ask("fork") as u32;
        times.push(ms(|| drop(monitor.handle_fork(child).expect("attached to the child"))));
        target.ask(&format!("reap {child}"));
        window(&mut monitor);
    }
    report("a child of 64 MiB", "ms", times);
}

fn kib(path: &str, field: &str) -> f64 {
    status_of(path, field).split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0.0)
}

/// One window's cost, idle and busy, on targets of growing size; and the memory that watching takes, theirs and ours.
fn growth(largest: u64) {
    println!("\ncost of a window as the target grows (processor time of ours)");
    println!(
        "  {:>8}{:>14}{:>22}{:>22}{:>14}{:>14}",
        "MiB", "idle, µs", "1 000 pages hot, µs", "all looked at, µs", "its tables", "ours, MiB"
    );
    let mut size = 256;
    while size <= largest {
        let mut target = Target::start("obey");
        let pages = size << 20 >> 12;
        let start = target.ask(&format!("mmap {}", size << 20));
        target.ask(&format!("small {start} {}", size << 20));
        target.ask(&format!("write {start} {pages} 1"));
        let theirs = format!("/proc/{}/status", target.pid());
        let (tables, own) = (kib(&theirs, "VmPTE"), kib("/proc/self/status", "VmRSS"));
        let mut monitor = exact(target.pid());
        let mut cost = |before: &mut dyn FnMut(&mut Target)| {
            let mut times: Vec<f64> = (0..TIMES)
                .map(|_| {
                    before(&mut target);
                    1e3 * ms(|| drop(window(&mut monitor)))
                })
                .collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        let idle = cost(&mut |_| {});
        let hot = cost(&mut |target| {
            target.ask(&format!("write {start} 1000 1"));
        });
        let far = cost(&mut |target| {
            target.ask(&format!("write {start} 1000 {}", pages / 1000));
        });
        println!(
            "  {size:>8}{idle:>14.1}{hot:>22.1}{far:>22.1}{:>11.1} MiB{:>10.1}",
            (kib(&theirs, "VmPTE") - tables) / 1024.0,
            (kib("/proc/self/status", "VmRSS") - own) / 1024.0
        );
        size *= 2;
    }
    println!(
        "  memory in all must be < 50 MiB for a target of 8 GiB; \"all looked at\" is 1 000 pages scattered over all of it"
    );
}
