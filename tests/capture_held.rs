//! Threads that do not run when they are to be stopped, or stop running in the middle of it: they are refused
//! untouched, or held as long as it takes, and go on as they were.

#![allow(unsafe_code)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use memory_glass::capture::{GlassRamMonitor, ProcessAttach, ProcessAttachCapability};
use nix::libc;
use support::groups::Group;
use support::work::Worker;
use support::{Target, assert_untouched, status};

fn refusal(pid: u32) -> String {
    ProcessAttach::attach(pid).expect_err("it must be refused").to_string()
}

/// Whatever helpers are left have let go, and it goes on as it was.
fn assert_unharmed(worker: &Worker) {
    let patience = Instant::now();
    while status(worker.target.pid(), "TracerPid") != "0" {
        assert!(patience.elapsed() < Duration::from_secs(30), "it is still held");
        std::thread::sleep(Duration::from_millis(2));
    }
    worker.assert_alive();
    worker.assert_right();
    assert_untouched(worker.target.pid());
}

fn frozen_is_refused(group: &Group, freeze: (&str, &str), thaw: (&str, &str), frozen: &dyn Fn() -> bool) {
    for wait in ["sleep", "not"] {
        let worker = Worker::start(2, wait);
        group.add(worker.target.pid());
        assert!(group.set(freeze.0, freeze.1));
        let patience = Instant::now();
        while !frozen() {
            assert!(patience.elapsed() < Duration::from_secs(20), "the group does not freeze");
            std::thread::sleep(Duration::from_millis(1));
        }
        let text = refusal(worker.target.pid());
        assert!(text.contains("frozen control group") && text.contains("thaw"), "{text}");
        assert!(group.set(thaw.0, thaw.1));
        assert_unharmed(&worker);
        GlassRamMonitor::new(worker.target.pid())
            .expect("thawed, it is attached to")
            .detach()
            .expect("detached");
    }
}

#[test]
fn a_frozen_group() {
    if let Some(group) = Group::new(None) {
        let frozen = || group.reads("cgroup.events").contains("frozen 1");
        frozen_is_refused(&group, ("cgroup.freeze", "1"), ("cgroup.freeze", "0"), &frozen);
    }
}

#[test]
fn a_group_of_the_older_freezer() {
    if let Some(group) = Group::new(Some("freezer")) {
        let frozen = || group.reads("freezer.state").trim() == "FROZEN";
        frozen_is_refused(&group, ("freezer.state", "FROZEN"), ("freezer.state", "THAWED"), &frozen);
    }
}

/// Frozen and thawed at any instant of an attach.
#[test]
fn a_group_that_freezes_meanwhile() {
    let Some(group) = Group::new(None) else { return };
    let worker = Worker::start(2, "sleep");
    let pid = worker.target.pid();
    group.add(pid);
    let attaching = std::thread::spawn(move || {
        let mut words = Vec::new();
        for _ in 0..60 {
            match GlassRamMonitor::new(pid) {
                Ok(monitor) => monitor.detach().expect("detached"),
                Err(error) => words.push(error.to_string()),
            }
        }
        words
    });
    let mut pause = 100;
    while !attaching.is_finished() {
        assert!(group.set("cgroup.freeze", "1"));
        std::thread::sleep(Duration::from_millis(2));
        assert!(group.set("cgroup.freeze", "0"));
        pause = (pause * 7 + 311) % 9000;
        std::thread::sleep(Duration::from_micros(pause));
    }
    for words in attaching.join().expect("no panic") {
        let known = ["frozen control group", "already traced", "is held by", "could be stopped"];
        assert!(known.iter().any(|known| words.contains(known)), "{words}");
    }
    assert_unharmed(&worker);
}

/// Frozen for longer than the one who asks waits, with its registers in our hands: he is told so, and it gets
/// them back at the thaw.
#[test]
fn a_group_that_is_frozen_between_two_steps_and_stays_so() {
    let Some(group) = Group::new(None) else { return };
    let worker = Worker::start(1, "sleep");
    let pid = worker.target.pid();
    group.add(pid);
    let patience = Instant::now();
    // It takes some luck to meet it in the middle.
    while patience.elapsed() < Duration::from_secs(60) {
        let attach = std::thread::spawn(move || GlassRamMonitor::new(pid).map(drop));
        while status(pid, "TracerPid") == "0" && !attach.is_finished() {
            std::hint::spin_loop();
        }
        assert!(group.set("cgroup.freeze", "1"));
        std::thread::sleep(Duration::from_millis(20));
        let held = status(pid, "TracerPid") != "0";
        if held {
            let words = attach.join().expect("no panic").expect_err("it is frozen").to_string();
            let told =
                words.contains("is held by the attach helper") || words.contains("frozen control group");
            assert!(told || words.contains("could be stopped"), "{words}");
            assert!(group.set("cgroup.freeze", "0"));
            assert_unharmed(&worker);
            return;
        }
        assert!(group.set("cgroup.freeze", "0"));
        let _ = attach.join().expect("no panic");
    }
    assert_unharmed(&worker);
    println!("skipped: no attach was met in the middle");
}

/// A thousandth of a processor: each step waits for its turn, and the last is made like the first.
#[test]
fn a_target_that_is_given_hardly_any_processor() {
    let Some(group) = Group::new(Some("cpu")).or_else(|| Group::new(None)) else { return };
    let limited = group.set("cpu.cfs_quota_us", "1000") || group.set("cpu.max", "1000 100000");
    if !limited {
        println!("skipped: the cpu controller is not to be had here");
        return;
    }
    for wait in ["sleep", "not"] {
        let worker = Worker::start(1, wait);
        group.add(worker.target.pid());
        for _ in 0..3 {
            match GlassRamMonitor::new(worker.target.pid()) {
                Ok(monitor) => monitor.detach().expect("detached"),
                Err(error) => println!("refused: {error}"),
            }
        }
        assert!(group.set("cpu.cfs_quota_us", "-1") || group.set("cpu.max", "max"));
        assert_unharmed(&worker);
        assert!(group.set("cpu.cfs_quota_us", "1000") || group.set("cpu.max", "1000 100000"));
    }
}

/// Behind a real-time task that never rests (for three seconds, after which the kernel ends it).
#[test]
fn a_target_behind_a_real_time_task() {
    let worker = Worker::start(1, "sleep");
    let pid = worker.target.pid();
    // SAFETY: numbers, and structures of this stack that the calls read.
    let pin = |pid: i32| unsafe {
        let mut last: libc::cpu_set_t = std::mem::zeroed();
        let count = libc::sysconf(libc::_SC_NPROCESSORS_ONLN) as usize;
        libc::CPU_SET(count - 1, &mut last);
        (count > 1 && libc::sched_setaffinity(pid, size_of_val(&last), &last) == 0).then_some(())
    };
    if pin(pid as i32).is_none() {
        println!("skipped: there is only one processor, or none to be chosen");
        return;
    }
    let mut spinner = Target::start("real-time 3");
    if spinner.line() != "real-time" {
        println!("skipped: real-time policies are not allowed here");
        return;
    }
    let before = nice_and_policy(pid);
    while !spinner.has_ended() {
        match GlassRamMonitor::new(pid) {
            Ok(monitor) => monitor.detach().expect("detached"),
            Err(error) => println!("refused: {error}"),
        }
    }
    assert_unharmed(&worker);
    assert_eq!(nice_and_policy(pid), before);
}

/// Nice value and policy: fields 19 and 41 of `stat`.
fn nice_and_policy(pid: u32) -> [String; 2] {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the target lives");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [16, 38].map(|field| fields[field].to_owned())
}

/// Its first thread has ended, another works on: that one is attached through.
#[test]
fn a_process_whose_first_thread_has_ended() {
    let mut target = Target::start("without-leader");
    let pid = target.pid();
    while !status(pid, "State").starts_with('Z') {
        std::thread::yield_now();
    }
    let mut monitor = support::exact(pid);
    assert!(monitor.attach_metrics().stop.is_some_and(|stop| stop.thread != pid));
    let mut written = 0;
    let patience = Instant::now();
    while written == 0 && patience.elapsed() < Duration::from_secs(20) {
        written += support::window(&mut monitor).written.len();
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(written > 0, "its writes are seen");
    monitor.detach().expect("detached");
    target.kill();
}

/// A filter that kills for userfaultfd(2), installed in all threads at some instant of an attach.
#[test]
fn a_filter_that_is_installed_meanwhile() {
    for delay in [0, 200, 500, 1000, 2000, 4000, 8000, 16_000] {
        let mut target = Target::start(&format!("filter-later {delay}"));
        let pid = target.pid();
        let mut attaches = 0;
        while attaches < 5 || status(pid, "Seccomp") != "2" {
            attaches += 1;
            match GlassRamMonitor::new(pid) {
                Ok(monitor) => monitor.detach().expect("detached"),
                Err(error) => assert!(error.to_string().contains("seccomp"), "{error}"),
            }
        }
        assert_eq!(status(pid, "Seccomp"), "2", "after {delay} µs");
        assert_eq!(target.ask(""), 1, "it lives and listens, after {delay} µs");
    }
}

/// A thread of the kernel's own that shares the target's memory (io_uring's poller) is never asked.
#[test]
fn a_target_with_a_worker_of_the_kernel() {
    let mut target = Target::start("io-uring-poller");
    if target.line() != "polling" {
        println!("skipped: io_uring is not allowed here");
        return;
    }
    let pid = target.pid();
    for _ in 0..10 {
        let monitor = GlassRamMonitor::new(pid).expect("attached");
        assert_eq!(monitor.attach_metrics().stop.map(|stop| stop.thread), Some(pid));
        monitor.detach().expect("detached");
    }
    assert_untouched(pid);
    assert_eq!(target.ask(""), 1);
}

/// Each step of the helper takes long: three tenths of a second (MEMORY_GLASS_STEP_SECONDS says how many
/// seconds instead). The target is held as long as that, and is as it was.
#[test]
fn each_step_of_the_helper_may_take_long() {
    let seconds: f64 = std::env::var("MEMORY_GLASS_STEP_SECONDS")
        .map_or(0.3, |text| text.parse().expect("a number of seconds"));
    faulty(&[
        ("ptrace", format!("delay_enter={}", seconds * 1e6)),
        ("wait4", format!("delay_exit={}", seconds * 1e6)),
    ]);
}

/// And each fails, once or several times in a row.
#[test]
fn each_step_of_the_helper_may_fail() {
    faulty(&[
        ("ptrace", "error=ESRCH".into()),
        ("ptrace", "error=EIO".into()),
        ("wait4", "error=ECHILD".into()),
        ("pidfd_getfd", "error=EMFILE".into()),
    ]);
}

/// Attaches under strace, which disturbs one call (and the two that follow) at each place in turn.
fn faulty(faults: &[(&str, String)]) {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    for (call, fault) in faults {
        // Some of these are in the library, and not all are reached by each.
        for first in 1..=24 {
            let worker = Worker::start(1, "sleep");
            let pid = worker.target.pid();
            let last = if fault.starts_with("error") { first + 2 } else { first };
            let folder = tempfile::tempdir().expect("a folder");
            let log = folder.path().join("log");
            let mut attach = Command::new("strace");
            attach.args(["-f", "-qq", "-o"]).arg(&log).arg("-e").arg(format!("trace={call}"));
            attach.arg("-e").arg(format!("inject={call}:{fault}:when={first}..{last}"));
            attach.arg(std::env::current_exe().expect("the test binary has a path"));
            let mut monitor = Target::start_quietly(attach.env(support::ROLE, format!("attach-once {pid}")));
            let words = monitor.line();
            monitor.wait();
            assert_unharmed(&worker);
            if !std::fs::read_to_string(&log)
                .is_ok_and(|log| log.contains("(INJECTED)") || log.contains("DELAYED"))
            {
                break;
            }
            println!("{call} {fault} at {first}: {words}");
        }
    }
}

/// The processes that this one has started.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Its helper has been started, and has not come to the target yet.
#[test]
fn whose_monitor_is_gone_before_it_has_begun_is_not_touched() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped: strace is not installed");
        return;
    }
    let worker = Worker::start(1, "sleep");
    let pid = worker.target.pid();
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut attach = Command::new("strace");
    attach.args(["-f", "-qq", "-e", "trace=setsid,ptrace", "-o"]).arg(&log);
    // The first call of a helper, and nobody else's.
    attach.args(["-e", "inject=setsid:delay_enter=3000000"]);
    attach.arg(std::env::current_exe().expect("the test binary has a path"));
    let mut monitor = Target::start_quietly(attach.env(support::ROLE, format!("attach-once {pid}")));
    let patience = Instant::now();
    let own = loop {
        let own = children(monitor.pid()).first().copied();
        if own.is_some_and(|own| !children(own).is_empty()) {
            break own.expect("it is there");
        }
        assert!(patience.elapsed() < Duration::from_secs(60), "it starts no helper");
        std::thread::sleep(Duration::from_millis(1));
    };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(own.cast_signed()), nix::sys::signal::Signal::SIGKILL)
        .expect("it runs");
    // strace ends when the last one has.
    monitor.wait();
    let calls = std::fs::read_to_string(&log).expect("strace wrote it");
    assert!(calls.contains("setsid") && !calls.contains("PTRACE_SEIZE"), "{calls}");
    assert_unharmed(&worker);
}

/// A thread that is killed while it is held is dead, and nothing waits for it.
#[test]
fn a_target_that_is_killed_at_any_instant() {
    for delay in (0..60).map(|turn| turn * 97 % 3000) {
        let mut target = Target::start("work 2 sleep");
        let pid = target.pid();
        let attach = std::thread::spawn(move || GlassRamMonitor::new(pid).map(drop));
        while status(pid, "TracerPid") == "0" && !attach.is_finished() {
            std::hint::spin_loop();
        }
        std::thread::sleep(Duration::from_micros(delay / 20));
        target.kill();
        let _ = attach.join().expect("no panic");
    }
}
