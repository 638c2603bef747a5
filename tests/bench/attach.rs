//! How long a thread of the target stands still at an attach, and how long the whole attach takes.
//!
//! `cargo bench --bench attach`: a hundred attaches each on a blocked, a running and an eight-thread target. "stopped" is what the
//! helper measures from the moment it sees the thread stand until it has let it go; "asked" begins with the request to stop,
//! and so bounds it from above; "seen by the target" is the longest gap between two readings of the clock in a target that
//! does nothing else, with the same hundred waits without an attach beside it, because the machine makes gaps as well.

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memory_glass::capture::{GlassRamMonitor, ProcessAttach, ProcessAttachCapability};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::Target;
use support::work::{Gaps, Worker};

const TIMES: usize = 100;

fn main() {
    println!("{TIMES} attaches each; median, 10th..90th of a hundred, worst; microseconds");
    let blocked = Target::start("obey");
    attach("blocked (read)", blocked.pid());
    let running = Worker::start(1, "not");
    attach("running, one thread", running.target.pid());
    drop(running);
    let eight = Worker::start(8, "not");
    attach("running, eight threads", eight.target.pid());
    drop(eight);
    let eight = Worker::start(8, "sleep");
    attach("eight threads, mostly asleep", eight.target.pid());
    eight.assert_right();
    drop(eight);

    let gaps = Gaps::start();
    let mut without = Vec::new();
    let mut with = Vec::new();
    for _ in 0..TIMES {
        gaps.reset();
        std::thread::sleep(Duration::from_millis(8));
        without.push(gaps.longest());
        gaps.reset();
        drop(ProcessAttach::attach(gaps.target.pid()).expect("attached"));
        with.push(gaps.longest());
    }
    println!("\nseen by a running target that only reads the clock");
    report("longest gap, undisturbed", without);
    report("longest gap, attached to", with);

    println!("\nthe whole way, registration, first arming and detaching included");
    let mut large = Target::start("obey");
    let start = large.ask(&format!("mmap {}", 256 << 20));
    large.ask(&format!("write {start} {} 1", (256 << 20) / support::PAGE));
    let (mut watch, mut scan, mut detach) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let begun = Instant::now();
        let mut monitor = GlassRamMonitor::new(large.pid()).expect("attached");
        watch.push(begun.elapsed());
        let begun = Instant::now();
        monitor.scan().expect("scanned");
        scan.push(begun.elapsed());
        let begun = Instant::now();
        monitor.detach().expect("detached");
        detach.push(begun.elapsed());
    }
    report("attach and arm 256 MiB", watch);
    report("one quiet window", scan);
    report("detach", detach);
    drop(large);
    followed();
}

/// From before a target forks until its child has a recording of its own, as `record --follow-forks` says it.
fn followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut target = Target::start("obey");
    let recorder = Command::new(env!("CARGO_BIN_EXE_memory-glass"))
        .args(["record", &target.pid().to_string(), "--follow-forks", "--json", "-o"])
        .arg(folder.path().join("run.mgr"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    // Until it listens.
    std::thread::sleep(Duration::from_secs(1));
    let mut forked = Vec::new();
    for _ in 0..TIMES / 2 {
        let begun = now();
        let child = target.ask("fork");
        std::thread::sleep(Duration::from_millis(150));
        target.ask(&format!("reap {child}"));
        forked.push((child, begun));
    }
    kill(Pid::from_raw(recorder.id().cast_signed()), Signal::SIGINT).expect("it runs");
    let output = recorder.wait_with_output().expect("ours");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let started = |child: u64| {
        let tape = told["followed"].as_array()?.iter().find(|tape| tape["pid"] == child)?;
        tape["started"].as_f64()
    };
    let times: Vec<Duration> = forked
        .iter()
        .filter_map(|&(child, begun)| Some(Duration::from_secs_f64((started(child)? - begun).max(0.0))))
        .collect();
    println!("\na fork that is followed: {} of {} children had a recording", times.len(), forked.len());
    report("fork until recorded", times);
}

fn attach(what: &str, pid: u32) {
    let (mut stopped, mut asked, mut total) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let begun = Instant::now();
        let attached = ProcessAttach::attach(pid).expect("attached");
        total.push(begun.elapsed());
        let stop = attached.metrics().stop.expect("this rung stops a thread");
        stopped.push(stop.stopped);
        asked.push(stop.requested);
        drop(attached);
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("\n{what}");
    report("thread stopped", stopped);
    report("thread asked to stop until let go", asked);
    report("whole attach", total);
}

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let micros = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    println!("  {what:<36}{:>9.0}{:>9.0}..{:<9.0}{:>9.0}", micros(50), micros(10), micros(90), micros(100));
}
