//! How much the threads of the target run.
//!
//! `/proc/PID/task/TID/schedstat` (Documentation/scheduler/sched-stats.rst) has the time that a thread has spent on a
//! processor, in nanoseconds, as its first number: where it has moved since the last look, the thread ran.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use super::target::proc_path;

/// Time between two looks: a look costs some microseconds a thread.
const INTERVAL: Duration = Duration::from_millis(100);

/// The share of the time that each thread ran, of those that ran at all.
#[derive(Debug, Clone, Default)]
pub(super) struct RunTimes(HashMap<u32, f64>);

impl RunTimes {
    /// How much of the time this thread runs, 0..1.
    pub fn of(&self, tid: u32) -> f64 {
        self.0.get(&tid).copied().unwrap_or(0.0)
    }

    /// Of the thread that runs most.
    pub fn busiest(&self) -> f64 {
        self.0.values().copied().fold(0.0, f64::max)
    }

    /// Processors that all threads together keep busy.
    pub fn running(&self) -> f64 {
        self.0.values().sum()
    }

    /// How many threads ran.
    pub fn count(&self) -> u32 {
        self.0.len() as u32
    }
}

#[cfg(test)]
impl<const N: usize> From<[(u32, f64); N]> for RunTimes {
    fn from(times: [(u32, f64); N]) -> Self {
        Self(times.into())
    }
}

/// The threads of one process, and how long each had run at the last look.
#[derive(Debug)]
pub(super) struct RunningThreads {
    run_time: HashMap<u32, u64>,
    looked: Instant,
    latest: RunTimes,
}

impl RunningThreads {
    /// Looks at the threads of `pid` for the first time.
    pub fn new(pid: u32) -> Self {
        Self { run_time: run_times(pid), looked: Instant::now(), latest: RunTimes::default() }
    }

    /// How much the threads ran between the last two looks, of which the later is at most a tenth of a second old. Threads that have
    /// ended meanwhile are not counted.
    pub fn latest(&mut self, pid: u32) -> &RunTimes {
        let passed = self.looked.elapsed();
        if passed >= INTERVAL {
            let now = run_times(pid);
            let share = |(&tid, &time): (&u32, &u64)| {
                let ran = time.saturating_sub(self.run_time.get(&tid).copied().unwrap_or(0));
                (ran > 0).then(|| (tid, (ran as f64 / passed.as_nanos().max(1) as f64).min(1.0)))
            };
            self.latest = RunTimes(now.iter().filter_map(share).collect());
            (self.run_time, self.looked) = (now, Instant::now());
        }
        &self.latest
    }
}

/// Nanoseconds that each thread has spent on a processor.
fn run_times(pid: u32) -> HashMap<u32, u64> {
    let tasks = fs::read_dir(proc_path(pid, "task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| {
            let tid = task.file_name().to_str()?.parse().ok()?;
            let statistics = fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((tid, statistics.split(' ').next()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_runs_is_counted_and_one_that_waits_is_not() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let waiting = std::thread::spawn(move || (nix::unistd::gettid().as_raw(), stopped.recv()));
        std::thread::sleep(Duration::from_millis(50));
        let pid = std::process::id();
        let mut threads = RunningThreads::new(pid);
        let all = run_times(pid).len() as u32;
        // The kernel brings the time of a running thread up to date once a tick.
        let begun = Instant::now();
        while begun.elapsed() < 2 * INTERVAL {}
        let own = nix::unistd::gettid().as_raw() as u32;
        let times = threads.latest(pid).clone();
        assert!((1..all).contains(&times.count()), "{} of {all}", times.count());
        assert!(times.of(own) > 0.0 && times.busiest() <= 1.0 && times.running() >= times.of(own));
        drop(stop);
        let (tid, ended) = waiting.join().unwrap();
        assert!(ended.is_err());
        assert_eq!(times.of(tid as u32), 0.0);
    }
}
