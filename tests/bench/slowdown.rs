//! What watching costs real programs, at sixty windows a second with the default budget.
//!
//! `cargo bench --bench slowdown [-- NAME…] [ROUNDS]`. Each round runs the same work four times on the same running target, in turn: not
//! watched, watched within the budget, not watched again (the noise: what this machine makes of nothing), and watched with
//! every page in every window (what it would have cost). The work is repeated until it takes two seconds of processor time, after it
//! was done once under the same conditions; with every page watched it is done once. The factor is the processor time of the target, all its threads, for the
//! same work, against the round's two runs without us; so other programs on the machine do not count, and neither
//! does ours. The wall clock's factor stands beside it, in which both count.

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use memory_glass::capture::{GlassRamMonitor, Governing, MonitorConfig};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use support::Target;

/// A running target and the work that it can be made to do.
struct Load {
    name: &'static str,
    pid: u32,
    work: Box<dyn FnMut()>,
    /// How often it is done for one sample.
    times: usize,
    /// Kept so that it ends with the load.
    _server: Option<Server>,
}

struct Server(Child, tempfile::TempDir);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = &self.1;
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Watch {
    Not,
    Governed,
    Full,
}

struct Sample {
    processor: f64,
    wall: f64,
    monitor: f64,
    sampled: f64,
    estimate: f64,
}

fn processor_time(pid: u32) -> f64 {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32)).expect("it lives");
    clock_gettime(clock).expect("it lives").num_nanoseconds() as f64 / 1e9
}

fn own_time() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("ours").num_nanoseconds() as f64 / 1e9
}

/// Does the work once, to find out how often it must be done for a sample.
fn measure(load: &mut Load) {
    (load.work)();
    let before = processor_time(load.pid);
    (load.work)();
    let took = processor_time(load.pid) - before;
    load.times = (2.0 / took.max(0.01)).ceil() as usize;
}

/// Does the work, with a monitor beside it or without.
fn sample(load: &mut Load, watch: Watch) -> Sample {
    let config = match watch {
        Watch::Full => MonitorConfig { slowdown_budget: None, ..MonitorConfig::default() },
        _ => MonitorConfig::default(),
    };
    let stop = AtomicBool::new(false);
    let pid = load.pid;
    std::thread::scope(|scope| {
        let stop = &stop;
        let (ready, begin) = std::sync::mpsc::channel();
        let watching = (watch != Watch::Not).then(|| {
            scope.spawn(move || {
                let mut monitor = GlassRamMonitor::with_config(pid, config).expect("attached");
                ready.send(()).expect("it waits");
                let (begun, before) = (Instant::now(), own_time());
                let (mut windows, mut sampled, mut next) = (0u32, 0u32, Instant::now());
                while !stop.load(Ordering::Acquire) {
                    next = (next + config.window).max(Instant::now());
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                    monitor.scan().expect("it lives");
                    windows += 1;
                    sampled += u32::from(matches!(monitor.governing(), Governing::Sampling(_)));
                }
                let share = (own_time() - before) / begun.elapsed().as_secs_f64();
                let estimate = monitor.target_metrics().slow_down_factor;
                monitor.detach().expect("detached");
                (share, f64::from(sampled) / f64::from(windows.max(1)), estimate)
            })
        });
        if watching.is_some() {
            begin.recv().expect("it attaches");
        }
        // Once is enough of what takes up to fifty times as long.
        let times = if watch == Watch::Full { 1 } else { load.times };
        if watch != Watch::Full {
            (load.work)();
        }
        let (begun, before) = (Instant::now(), processor_time(pid));
        (0..times).for_each(|_| (load.work)());
        let (processor, wall) = (processor_time(pid) - before, begun.elapsed().as_secs_f64());
        let (processor, wall) = (processor / times as f64, wall / times as f64);
        stop.store(true, Ordering::Release);
        let (monitor, sampled, estimate) =
            watching.map_or((0.0, 0.0, 1.0), |thread| thread.join().expect("no panic"));
        Sample { processor, wall, monitor, sampled, estimate }
    })
}

fn own(name: &'static str, mib: usize, amount: usize) -> Load {
    let mut target = Target::start(&format!("load {name} {mib} {amount}"));
    target.line();
    let pid = target.pid();
    let work = Box::new(move || {
        target.say("go");
        assert_eq!(target.line(), "done");
    });
    Load { name, pid, work, times: 1, _server: None }
}

fn redis() -> Load {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("socket").to_string_lossy().into_owned();
    let server = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", &socket])
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let pid = server.id();
    let benchmark = move |requests: &str| {
        let done = Command::new("redis-benchmark")
            .args(["-s", &socket, "-t", "set", "-r", "100000", "-d", "1000", "-n", requests, "-q"])
            .stdout(Stdio::null())
            .status();
        assert!(done.expect("redis-benchmark is installed").success());
    };
    while !directory.path().join("socket").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    benchmark("200000");
    Load {
        name: "redis",
        pid,
        work: Box::new(move || benchmark("60000")),
        times: 1,
        _server: Some(Server(server, directory)),
    }
}

/// A program that is fed its work through its standard input, and says when it is done.
fn fed(name: &'static str, command: &mut Command, ready: String, work: String) -> Load {
    let mut target = Target::start_quietly(command);
    target.say(&ready);
    assert_eq!(target.line(), "ready");
    let pid = target.pid();
    let work = Box::new(move || {
        target.say(&work);
        assert_eq!(target.line(), "done");
    });
    Load { name, pid, work, times: 1, _server: None }
}

fn sqlite() -> Load {
    let ready = "create table t(a integer primary key, b text, c integer);\n\
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000) \
        insert into t select i, hex(randomblob(200)), i % 1000 from n;\ncreate index x on t(c);\n.print ready";
    let work = "update t set c = (c * 7 + a) % 1000 where a % 3 = 0;\n\
        update t set b = b || 'x' where c < 150;\nupdate t set b = rtrim(b, 'x') where c < 150;\n.print done";
    fed("sqlite", Command::new("sqlite3").arg(":memory:"), ready.into(), work.into())
}

fn python() -> Load {
    let program = "
import sys
table, rows = {}, [0] * 2000000
print('ready', flush=True)
for line in sys.stdin:
    if line.strip() != 'work': continue
    for i in range(600000):
        table[i % 100000] = [i] * 8
        rows[(i * 4099) % len(rows)] = i
    print('done', flush=True)
";
    fed("python3", Command::new("python3").args(["-c", program]), String::new(), "work".into())
}

/// Each compile is a process of its own, which waits for its source.
fn compile(watch: Watch, source: &str) -> Sample {
    let compiler = Command::new("gcc").arg("-print-prog-name=cc1").output().expect("gcc is installed").stdout;
    let compiler = String::from_utf8(compiler).expect("a path");
    let mut child = Command::new(compiler.trim())
        .args(["-quiet", "-O1", "-", "-o", "/dev/null"])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("cc1 is there");
    std::thread::sleep(Duration::from_millis(30));
    let mut input = child.stdin.take();
    let source = source.to_owned();
    let pid = child.id();
    // It is done when it is a zombie, whose time can still be read.
    let work = Box::new(move || {
        if let Some(mut input) = input.take() {
            input.write_all(source.as_bytes()).expect("it reads");
        }
        while !support::status(pid, "State").starts_with('Z') {
            std::thread::sleep(Duration::from_micros(500));
        }
    });
    let mut load = Load { name: "cc1", pid, work, times: 1, _server: None };
    let sample = sample_ending(&mut load, watch);
    assert!(child.wait().expect("our own child").success());
    sample
}

/// As `sample`, of a target that ends with its work.
fn sample_ending(load: &mut Load, watch: Watch) -> Sample {
    let pid = load.pid;
    let config = match watch {
        Watch::Full => MonitorConfig { slowdown_budget: None, ..MonitorConfig::default() },
        _ => MonitorConfig::default(),
    };
    std::thread::scope(|scope| {
        let (ready, begin) = std::sync::mpsc::channel();
        let watching = (watch != Watch::Not).then(|| {
            scope.spawn(move || {
                let mut monitor = GlassRamMonitor::with_config(pid, config).expect("attached");
                ready.send(()).expect("it waits");
                let (begun, before) = (Instant::now(), own_time());
                let (mut windows, mut sampled) = (0u32, 0u32);
                while let Ok(memory_glass::capture::CaptureEvent::Window(_)) = monitor.scan() {
                    windows += 1;
                    sampled += u32::from(matches!(monitor.governing(), Governing::Sampling(_)));
                    std::thread::sleep(config.window);
                }
                let share = (own_time() - before) / begun.elapsed().as_secs_f64();
                (
                    share,
                    f64::from(sampled) / f64::from(windows.max(1)),
                    monitor.target_metrics().slow_down_factor,
                )
            })
        });
        if watching.is_some() {
            begin.recv().expect("it attaches");
        }
        let (begun, before) = (Instant::now(), processor_time(pid));
        (load.work)();
        let (processor, wall) = (processor_time(pid) - before, begun.elapsed().as_secs_f64());
        let (monitor, sampled, estimate) =
            watching.map_or((0.0, 0.0, 1.0), |thread| thread.join().expect("no panic"));
        Sample { processor, wall, monitor, sampled, estimate }
    })
}

fn source() -> String {
    let mut text = String::from("typedef struct { int a, b; double c; } s;\n");
    for n in 0..1500 {
        text += &format!(
            "static int f{n}(s *p, int n) {{ int r = 0; for (int i = 0; i < n; i++) {{ r += p[i].a * {n} + p[i].b; \
             if (r & {}) p[i].c += r / 3.0; else p[i].b ^= r; }} return r; }}\nint g{n}(s *p) {{ return f{n}(p, {}) + {n}; }}\n",
            n % 63 + 1,
            n % 17 + 3
        );
    }
    text
}

fn median(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[values.len() / 2], values[0], values[values.len() - 1])
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let rounds = words.iter().filter_map(|word| word.parse::<usize>().ok()).next().unwrap_or(3);
    let names: Vec<&String> = words.iter().filter(|word| word.parse::<usize>().is_err()).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| *wanted == name);
    println!(
        "{rounds} rounds; factors of processor time against not watched, median (least..most); ≤ 1.05 wanted, at most 1.10"
    );
    println!(
        "{:<10}{:>24}{:>24}{:>9}{:>24}{:>10}{:>9}{:>10}",
        "", "5 % budget", "noise", "wall", "every page", "estimate", "sampled", "our CPU"
    );
    let mut all = Vec::new();
    let loads: [(&str, &dyn Fn() -> Load); 6] = [
        ("redis", &redis),
        ("sqlite", &sqlite),
        ("python3", &python),
        ("rmw", &|| own("rmw", 256, 20_000_000)),
        ("zipf", &|| own("zipf", 256, 4_000_000)),
        ("stencil", &|| own("stencil", 256, 24)),
    ];
    for (name, start) in loads {
        if wanted(name) {
            let mut load = start();
            measure(&mut load);
            let rounds: Vec<[Sample; 4]> = (0..rounds)
                .map(|_| {
                    [Watch::Not, Watch::Governed, Watch::Not, Watch::Full]
                        .map(|watch| sample(&mut load, watch))
                })
                .collect();
            all.push(report(load.name, &rounds));
        }
    }
    if wanted("cc1") {
        let source = source();
        let rounds: Vec<[Sample; 4]> = (0..rounds)
            .map(|_| {
                [Watch::Not, Watch::Governed, Watch::Not, Watch::Full].map(|watch| compile(watch, &source))
            })
            .collect();
        all.push(report("cc1", &rounds));
    }
    let (middle, _, worst) = median(all.into_iter());
    println!("median {middle:.3}, worst {worst:.3}");
}

fn report(name: &str, rounds: &[[Sample; 4]]) -> f64 {
    let factor = |of: fn(&[Sample; 4]) -> f64| {
        let (middle, least, most) = median(rounds.iter().map(of));
        format!("{middle:.3} ({least:.3}..{most:.3})")
    };
    fn base(round: &[Sample; 4]) -> f64 {
        (round[0].processor + round[2].processor) / 2.0
    }
    let of = |value: fn(&[Sample; 4]) -> f64| median(rounds.iter().map(value)).0;
    println!(
        "{name:<10}{:>24}{:>24}{:>9.3}{:>24}{:>10.3}{:>8.0}%{:>9.1}%",
        factor(|round| round[1].processor / base(round)),
        factor(|round| round[2].processor / round[0].processor),
        of(|round| 2.0 * round[1].wall / (round[0].wall + round[2].wall)),
        factor(|round| round[3].processor / base(round)),
        of(|round| round[1].estimate),
        of(|round| 100.0 * round[1].sampled),
        of(|round| 100.0 * round[1].monitor),
    );
    of(|round| round[1].processor / base(round))
}
