//! Which threads of the target ran in a window.
//!
//! `/proc/PID/task/TID/schedstat` (Documentation/scheduler/sched-stats.rst) has the time that a thread has spent on a
//! processor, in nanoseconds, as its first number: where it has moved since the last window, the thread ran.

use std::collections::HashMap;
use std::fs;

use super::target::proc_path;

/// The threads of one process, and how long each had run at the last look.
#[derive(Debug, Default)]
pub(super) struct RunningThreads {
    run_time: HashMap<u32, u64>,
}

impl RunningThreads {
    /// How many threads ran since the last call; threads that have ended meanwhile are not counted.
    pub fn since_last(&mut self, pid: u32) -> u32 {
        let mut now = HashMap::with_capacity(self.run_time.len());
        let mut active = 0;
        let tasks = fs::read_dir(proc_path(pid, "task")).into_iter().flatten().flatten();
        for task in tasks {
            let Some(tid) = task.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(statistics) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let Some(run_time) = statistics.split(' ').next().and_then(|time| time.parse().ok()) else {
                continue;
            };
            active += u32::from(self.run_time.get(&tid).is_none_or(|before| *before != run_time));
            now.insert(tid, run_time);
        }
        self.run_time = now;
        active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_runs_is_counted_and_one_that_waits_is_not() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let waiting = std::thread::spawn(move || stopped.recv());
        let mut threads = RunningThreads::default();
        let pid = std::process::id();
        let all = threads.since_last(pid);
        assert!(all >= 2, "at the first look every thread counts: {all}");
        // Only this thread is known to run now; the one that waits is known not to.
        let active = threads.since_last(pid);
        assert!((1..all).contains(&active), "{active} of {all}");
        drop(stop);
        assert!(waiting.join().unwrap().is_err());
    }
}
