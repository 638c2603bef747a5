//! The children of the target, where the kernel does not let perf tell of forks, or has not told of one yet.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use super::target::proc_path;

/// Time between two looks; more where a look takes long, because the target has many threads.
const INTERVAL: Duration = Duration::from_millis(15);
/// The part of our time that looking may take.
const SHARE: u32 = 20;
/// With more than this, those that have ended are forgotten.
const MANY: usize = 4096;

/// Those that are known. A child that ended between two looks never is.
#[derive(Debug)]
pub(super) struct Children {
    known: BTreeSet<u32>,
    looked: Instant,
    took: Duration,
}

impl Children {
    /// Those that it has now.
    pub fn of(pid: u32) -> Self {
        let looked = Instant::now();
        Self { known: children(pid), looked, took: looked.elapsed() }
    }

    /// Those that came since the last look, by number.
    pub fn new_ones(&mut self, pid: u32) -> Vec<u32> {
        if self.looked.elapsed() < INTERVAL.max(self.took * SHARE) {
            return Vec::new();
        }
        self.look(pid)
    }

    /// Those that came since the last look, whenever that was: for when one is known to have come.
    pub fn look(&mut self, pid: u32) -> Vec<u32> {
        self.looked = Instant::now();
        let now = children(pid);
        self.took = self.looked.elapsed();
        let new = now.difference(&self.known).copied().collect();
        self.known = now;
        new
    }

    /// Somebody else has told of this one.
    pub fn know(&mut self, pid: u32, child: u32) {
        self.known.insert(child);
        if self.known.len() > MANY {
            self.known = children(pid);
        }
    }
}

fn children(pid: u32) -> BTreeSet<u32> {
    let tasks = fs::read_dir(proc_path(pid, "task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_that_there_is_a_child_finds_it_at_once() {
        let pid = std::process::id();
        let mut known = Children::of(pid);
        let start = || std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let (mut told, mut found) = (start(), start());
        known.know(pid, told.id());
        let new = known.look(pid);
        assert!(new.contains(&found.id()) && !new.contains(&told.id()), "{new:?}");
        assert!(!known.look(pid).contains(&found.id()));
        for child in [&mut told, &mut found] {
            child.kill().expect("ours");
            child.wait().expect("ours");
        }
    }

    #[test]
    fn a_child_is_new_once() {
        let mut known = Children::of(std::process::id());
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        std::thread::sleep(INTERVAL * 20);
        assert!(known.new_ones(std::process::id()).contains(&child.id()));
        std::thread::sleep(INTERVAL * 20);
        assert!(!known.new_ones(std::process::id()).contains(&child.id()));
        child.kill().expect("ours");
        child.wait().expect("ours");
    }
}
