//! The latency tail of a redis under load, before, during and after a thousand attaches and detaches.
//!
//! `cargo bench --bench redis_tail [-- TIMES]`. redis-benchmark measures each request; its runs are repeated for as long as the attaches
//! take. Beside it, the same length of time without an attach: the machine makes tails, too.

#[path = "../support/redis.rs"]
mod redis;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memory_glass::capture::GlassRamMonitor;
use redis::Redis;

/// Requests a second, and latencies in milliseconds: median, 99 %, longest.
fn load(redis: &Redis) -> [f64; 4] {
    let output = Command::new("redis-benchmark")
        .args([
            "-s",
            &redis.socket,
            "-t",
            "set",
            "-r",
            "100000",
            "-d",
            "100",
            "-c",
            "10",
            "-n",
            "20000",
            "--csv",
        ])
        .output()
        .expect("redis-benchmark is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().last().unwrap_or_default();
    let n: Vec<f64> = line.split(',').filter_map(|word| word.trim_matches('"').parse().ok()).collect();
    let &[rate, _, _, p50, _, p99, longest] = n.as_slice() else { panic!("odd answer: {text}") };
    [rate, p50, p99, longest]
}

fn report(what: &str, runs: &[[f64; 4]]) {
    let column = |index: usize| {
        let mut values: Vec<f64> = runs.iter().map(|run| run[index]).collect();
        values.sort_by(f64::total_cmp);
        (values[values.len() / 2], values[0], values[values.len() - 1])
    };
    print!("{what:<12}{:>5} runs", runs.len());
    for (name, index) in [("requests/s", 0), ("p50 ms", 1), ("p99 ms", 2), ("longest ms", 3)] {
        let (middle, least, most) = column(index);
        print!("   {name} {middle:.2} ({least:.2}..{most:.2})");
    }
    println!();
}

fn main() {
    let times: usize = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1000);
    let redis = Redis::start();
    load(&redis);
    let pid = redis.pid();
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    let during: Vec<[f64; 4]> = std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            let mut runs = Vec::new();
            while !stop.load(Ordering::Acquire) {
                runs.push(load(&redis));
            }
            runs
        });
        for _ in 0..times {
            let mut monitor = GlassRamMonitor::new(pid).expect("attached");
            monitor.scan().expect("scanned");
            monitor.detach().expect("detached");
        }
        stop.store(true, Ordering::Release);
        loading.join().expect("no panic")
    });
    let took = begun.elapsed();
    let alone = |limit: Duration| {
        let begun = Instant::now();
        let mut runs = Vec::new();
        while begun.elapsed() < limit {
            runs.push(load(&redis));
        }
        runs
    };
    println!("{times} attaches, each with a window, and detaches in {:.1} s", took.as_secs_f64());
    report("during", &during);
    report("after", &alone(took));
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count();
    println!("redis has {fds} descriptors, as many as before: {}", fds < 20);
    let fresh = Redis::start();
    load(&fresh);
    let begun = Instant::now();
    let mut runs = Vec::new();
    while begun.elapsed() < took {
        runs.push(load(&fresh));
    }
    report("never", &runs);
}
