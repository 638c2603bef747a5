//! How soon a write is on the screen, and how still the session is while nothing is written.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Options;
use super::bars::Bars;
use super::programs::redis;
use super::seen;
use super::session::Session;
use super::support::{Target, status};

/// How long is looked at it.
const TIME: Duration = Duration::from_secs(20);
/// Time that a session has to begin.
const BEGIN: Duration = Duration::from_secs(5);
/// Time that redis works before its picture is taken.
const PICTURE: Duration = Duration::from_secs(8);
/// A write is to be seen with this picture after its window, of at least this share of the pictures.
const PICTURES: usize = 2;
const SHARE: f64 = 0.99;

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().map_or_else(Vec::new, |all| all.iter().filter_map(Value::as_u64).collect())
}

/// The distribution of what `msg outputs` says of the pictures' way, while a target writes all the time.
pub fn prompt(options: &Options, bars: &mut Bars) {
    println!("\nFrom the end of the window that a write was seen in to the screen, {} s", TIME.as_secs());
    for (name, role) in [("block", "load sweep 16 1000000"), ("random", "load rmw 64 1000000000")] {
        let mut target = Target::start(role);
        target.line();
        target.say("go");
        let session = Session::watch(&options.program, target.pid(), &[]);
        std::thread::sleep(BEGIN);
        let refreshes = |session: &Session| numbers(&session.output()["latency"]["refreshes"]);
        let (before, windows) = (refreshes(&session), session.said().map_or(0, |said| said.windows));
        std::thread::sleep(TIME);
        let (after, output) = (refreshes(&session), session.output());
        let windows = session.said().map_or(0, |said| said.windows) - windows;
        session.end();
        let came: Vec<u64> =
            after.iter().enumerate().map(|(at, now)| now - before.get(at).copied().unwrap_or(0)).collect();
        let all: u64 = came.iter().sum();
        let by = |pictures: usize| came.iter().take(pictures).sum::<u64>() as f64 / all.max(1) as f64;
        let latency = &output["latency"];
        let ms = |name: &str| latency[name].as_u64().unwrap_or(0) as f64 / 1e3;
        println!(
            "{name:<10}{all} pictures of {windows} windows ({:.1}/s), with refresh 1, 2, …: {came:?}; \
             {:.1} % by the second; median {:.1} ms, 99 % {:.1}, longest {:.1}",
            all as f64 / TIME.as_secs_f64(),
            100.0 * by(PICTURES),
            ms("p50_us"),
            ms("p99_us"),
            ms("max_us"),
        );
        if all == 0 {
            bars.not_said(format!("{name}: pictures on the screen"));
        } else {
            let what = format!("{name}: pictures that come by the second refresh after their window, share");
            bars.at_least(what, by(PICTURES), SHARE, 0.0);
        }
    }
    seen::seen(options, bars);
}

/// A picture of redis under load, after a while.
pub fn picture(options: &Options, file: &Path, bars: &mut Bars) {
    let mut load = match redis(&["-n", "60000"]) {
        Ok(load) => load,
        Err(why) => return bars.skip("a picture of redis", why),
    };
    let file = std::path::absolute(file).expect("a path");
    let arguments = ["--placement", "full", "--size", "640x400"];
    let session = Session::watch(&options.program, load.pid, &arguments);
    let begun = Instant::now();
    while begun.elapsed() < PICTURE {
        (load.work)();
    }
    // While it works on.
    std::thread::scope(|scope| {
        let taken = scope.spawn(|| {
            std::thread::sleep(PICTURE / 10);
            session.ask(&serde_json::json!({ "screenshot": { "path": file } }))
        });
        (load.work)();
        println!("{}", taken.join().expect("no panic"));
    });
    session.end();
}

/// Changes of the processor's context that a process waited for: how often it was woken.
fn wake_ups(processes: &[u32]) -> f64 {
    let threads = processes.iter().flat_map(|pid| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.filter_map(|task| task.file_name().to_str()?.parse::<u32>().ok())
    });
    threads.filter_map(|thread| status(thread, "voluntary_ctxt_switches").parse::<f64>().ok()).sum()
}

/// Frames and processor time while the target sleeps.
pub fn sleep(options: &Options, bars: &mut Bars) {
    println!("\nA target that sleeps, for {} s", TIME.as_secs());
    let mut target = Target::start("load idle 64 0");
    target.line();
    let session = Session::watch(&options.program, target.pid(), &[]);
    std::thread::sleep(BEGIN);
    let frames = |session: &Session| session.output()["frames"]["presented"].as_u64();
    let before = frames(&session);
    // The question has an answer, and what it woke is asleep again.
    std::thread::sleep(Duration::from_secs(1));
    let processes = session.processes();
    let (ours, woken, begun) = (session.processor_time(), wake_ups(&processes), Instant::now());
    std::thread::sleep(TIME);
    let seconds = begun.elapsed().as_secs_f64();
    let share = 100.0 * (session.processor_time() - ours) / seconds;
    let woken = (wake_ups(&processes) - woken) / seconds;
    let after = frames(&session);
    session.end();
    match after.zip(before) {
        Some((after, before)) => {
            let frames = after - before;
            println!("sleeping   {frames} frames, {share:.2} % of a core, {woken:.1} wake-ups a second");
            bars.at_most("sleeping target: frames", frames as f64, 0.0, 0.0);
        }
        None => bars.not_said("sleeping target: frames"),
    }
    bars.at_most("sleeping target: % of a core", share, 1.0, 0.0);
}
