//! Since when a thread sleeps.

use std::fs;
use std::time::Duration;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::capture::target::task_path;

/// The point in time, on the monotonic clock in nanoseconds, at which the thread last ran: the scheduler
/// writes down its processor's clock then. We ask the same clock by running there ourselves for a moment.
pub(crate) fn last_run(pid: u32, tid: u32, processor: usize) -> Option<u64> {
    let of_thread = || run_until(&fs::read_to_string(task_path(pid, tid, "sched")).ok()?);
    let ourselves = Pid::from_raw(0);
    let usual = sched_getaffinity(ourselves).ok()?;
    let mut there = CpuSet::new();
    there.set(processor).ok()?;
    sched_setaffinity(ourselves, &there).ok()?;
    // The clock is written down when a thread is given the processor: so give it up for a moment.
    std::thread::sleep(Duration::from_micros(50));
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).ok();
    let ours = fs::read_to_string("/proc/thread-self/sched").ok().and_then(|text| run_until(&text));
    let theirs = of_thread();
    let _ = sched_setaffinity(ourselves, &usual);
    let now = u64::try_from(now?.num_nanoseconds()).ok()?;
    now.checked_sub(ours?.checked_sub(theirs?)?)
}

/// `se.exec_start` in nanoseconds; it is written in milliseconds with six digits behind the point.
fn run_until(sched: &str) -> Option<u64> {
    let line = sched.lines().find(|line| line.starts_with("se.exec_start"))?;
    let (milliseconds, rest) = line.split(':').nth(1)?.trim().split_once('.')?;
    Some(milliseconds.parse::<u64>().ok()? * 1_000_000 + rest.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_known_to_have_slept_since() {
        assert_eq!(run_until("x (1)\nse.exec_start     :    12.000345\n"), Some(12_000_345));
        let (tell, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw() as u32).expect("heard");
            let _ = ended.recv();
        });
        let tid = told.recv().expect("told");
        let clock = || clock_gettime(ClockId::CLOCK_MONOTONIC).expect("read").num_nanoseconds() as u64;
        // It goes to sleep at some time before this.
        std::thread::sleep(Duration::from_millis(100));
        let asleep_by = clock();
        std::thread::sleep(Duration::from_millis(300));
        let stat = fs::read(task_path(std::process::id(), tid, "stat")).expect("it lives");
        let processor = crate::capture::target::stat_fields(&stat)[36].parse().expect("a number");
        match last_run(std::process::id(), tid, processor) {
            Some(since) => assert!(since < asleep_by + 20_000_000, "{since} {asleep_by}"),
            None => println!("skipped: this kernel does not tell when a thread last ran"),
        }
        drop(end);
        sleeper.join().expect("no panic");
    }
}
