//! The monitor may be killed at any instant: the target runs on, right and untouched.

#![allow(unsafe_code)]

mod support;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use support::work::Worker;
use support::{Target, status_of, userfaultfds};

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

/// Kills `times` monitors of one worker, each after a random time of up to twelve milliseconds: an attach takes about five, three
/// windows and a detach one more, so every stage is hit.
fn survive(threads: u32, wait: &str, times: u32, seed: u64) {
    let worker = Worker::start(threads, wait);
    let pid = worker.target.pid();
    let mut random = Random(seed);
    for time in 0..times {
        let mut monitor = Target::start_group(&format!("monitor {pid}"));
        std::thread::sleep(Duration::from_micros(random.below(12_000)));
        let victim = Pid::from_raw(monitor.pid() as i32);
        if time % 2 == 0 { kill(victim, Signal::SIGKILL) } else { killpg(victim, Signal::SIGKILL) }
            .expect("it ran");
        monitor.wait();
        until_let_go(pid);
        worker.assert_alive();
        worker.assert_right();
        assert_eq!(userfaultfds(pid), 0, "a userfaultfd is left (seed {seed}, time {time})");
    }
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
fn of_a_running_target() {
    survive(1, "not", 50, 0x5eed_0001);
}

#[test]
fn of_a_target_that_mostly_waits() {
    survive(1, "sleep", 50, 0x5eed_0002);
}

#[test]
fn of_a_target_in_calls_that_do_not_restart_by_themselves() {
    survive(1, "epoll", 50, 0x5eed_0003);
}

#[test]
fn of_a_target_with_many_threads() {
    survive(8, "sleep", 50, 0x5eed_0004);
}
