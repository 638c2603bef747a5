//! The safety storm: whatever becomes of the monitor, at whatever instant, the target runs on, right and untouched.
//!
//! MEMORY_GLASS_STORM is how often the monitor meets its fate in all (300 unless said; the full storm is 2000). Every fate is drawn from
//! SIGKILL, SIGKILL of its whole group, SIGSTOP and then SIGKILL, SIGTERM, and an orderly detach.

#![allow(unsafe_code)]

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use support::blocked::Ended;
use support::work::Worker;
use support::{Target, status, status_of, userfaultfds};

/// Fates that the tests below share out between them.
const SHARES: u64 = 300;

/// This part of the storm, at its size.
fn times(share: u64) -> u64 {
    let storm = std::env::var("MEMORY_GLASS_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(SHARES);
    (share * storm / SHARES).max(1)
}

/// A small generator, so that a failing run can be repeated: xorshift of Marsaglia.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// One monitor comes, and meets a fate after up to twelve milliseconds: an attach takes about five, three windows and a detach
/// one more, so every stage is hit. `alive` is asked whenever nothing of ours may hold the target.
fn fate(pid: u32, random: &mut Random, alive: &dyn Fn()) {
    let fate = random.below(5);
    let role = if fate == 4 { "monitor-once" } else { "monitor" };
    let mut monitor = Target::start_group(&format!("{role} {pid}"));
    let victim = Pid::from_raw(monitor.pid() as i32);
    if fate == 4 {
        assert!(monitor.wait().success(), "it detaches and ends by itself");
    } else {
        std::thread::sleep(Duration::from_micros(random.below(12_000)));
    }
    match fate {
        0 => kill(victim, Signal::SIGKILL).expect("it ran"),
        1 => killpg(victim, Signal::SIGKILL).expect("it ran"),
        2 => {
            kill(victim, Signal::SIGSTOP).expect("it ran");
            // Stopped, it holds nothing that the target needs: the helper of an attach goes on.
            until_let_go(pid);
            alive();
            kill(victim, Signal::SIGKILL).expect("it is there");
        }
        3 => kill(victim, Signal::SIGTERM).expect("it ran"),
        _ => {}
    }
    monitor.wait();
    until_let_go(pid);
    alive();
    assert_eq!(userfaultfds(pid), 0, "a userfaultfd is left (fate {fate})");
}

fn survive(threads: u32, wait: &str, share: u64, seed: u64) {
    let worker = Worker::start(threads, wait);
    let mut random = Random(seed);
    for _ in 0..times(share) {
        fate(worker.target.pid(), &mut random, &|| {
            worker.assert_alive();
            worker.assert_right();
        });
    }
}

/// A target that waits in a call waits on through the storm, and its call ends as if there had been none.
fn wait_on(calls: &[&str], share: u64, seed: u64) {
    let mut random = Random(seed);
    for call in calls {
        let undisturbed = {
            let mut target = Target::start(&format!("blocked {call}"));
            end(&mut target)
        };
        let mut target = Target::start(&format!("blocked {call}"));
        let pid = target.pid();
        for _ in 0..times(share) {
            fate(pid, &mut random, &|| {
                let state = status(pid, "State");
                assert!(!state.starts_with(['Z', 'X']), "{call}: {state}");
            });
        }
        assert_eq!(end(&mut target), undisturbed, "{call} after the storm");
    }
}

fn end(target: &mut Target) -> Ended {
    // It may just be on its way back into the call, which must not find its event before.
    std::thread::sleep(Duration::from_millis(20));
    target.say("go on");
    let ended = Ended::parse(&target.line());
    assert!(ended.released && ended.same_mask, "{ended:?}");
    target.say("end");
    assert!(target.wait().success());
    ended
}

/// The helper outlives its monitor for a moment; after that nothing holds or traces a thread.
fn until_let_go(pid: u32) {
    let patience = Instant::now();
    loop {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the target lives");
        let held = tasks.flatten().any(|task| {
            let status = task.path().join("status").to_string_lossy().into_owned();
            status_of(&status, "TracerPid") != "0"
                || status_of(&status, "State").to_lowercase().starts_with('t')
        });
        if !held {
            return;
        }
        assert!(patience.elapsed() < Duration::from_secs(5), "a thread of the target is still held");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn a_running_target() {
    survive(1, "not", 40, 0x5eed_0001);
}

#[test]
fn a_target_that_mostly_waits() {
    survive(1, "sleep", 40, 0x5eed_0002);
}

#[test]
fn a_target_in_calls_that_do_not_restart_by_themselves() {
    survive(1, "epoll", 40, 0x5eed_0003);
}

#[test]
fn a_target_with_sixty_four_threads_that_mostly_wait() {
    survive(64, "sleep", 40, 0x5eed_0004);
}

#[test]
fn a_target_with_sixty_four_threads_in_calls_that_do_not_restart_by_themselves() {
    survive(64, "epoll", 40, 0x5eed_0005);
}

#[test]
fn targets_that_wait_for_descriptors() {
    let calls = [
        "read",
        "epoll_wait",
        "epoll_pwait",
        "poll",
        "poll-limit",
        "ppoll",
        "select",
        "pselect",
        "accept",
        "recv",
    ];
    wait_on(&calls, 6, 0x5eed_0006);
}

#[test]
fn targets_that_wait_for_others() {
    wait_on(&["futex", "sigsuspend", "pause", "sigtimedwait", "wait4", "semop", "msgrcv"], 6, 0x5eed_0007);
}
