//! What the target does besides writing, as far as it can be heard without stopping it: which thread took
//! which fault, and which processes it forks.

use std::time::Duration;

use super::ProcessAttach;
use super::children::Children;
use super::faults::{Fault, ThreadFaults};
use super::perf::{Deaf, Perf, Record};

/// Time between two times that it is listened for children that are to be followed.
pub(super) const BIRTHS: Duration = Duration::from_millis(10);

/// What was heard of one target.
#[derive(Debug)]
pub(super) struct Listening {
    pid: u32,
    perf: Result<Perf, Deaf>,
    children: Children,
    /// Children that were found before perf told of them.
    found: Vec<u32>,
    samples: Vec<Fault>,
    /// Children of the current window.
    forked: Vec<u32>,
    /// Children that `births` has not named yet, where they are followed.
    untold: Option<Vec<u32>>,
}

impl Listening {
    /// Listens with our own rights where they suffice, else with those of who attached to it.
    pub fn to(target: &ProcessAttach, follow_forks: bool) -> Self {
        let pid = target.info.pid;
        let perf = Perf::open(pid).or_else(|deaf| match target.by.listen(target.pidfd()) {
            Some(heard) => heard.and_then(|events| Perf::of(pid, events)),
            None => Err(deaf),
        });
        if let Err(reason) = &perf {
            tracing::info!(pid, %reason, "who writes is not known");
        }
        Self {
            pid,
            perf,
            children: Children::of(pid),
            found: Vec::new(),
            samples: Vec::new(),
            forked: Vec::new(),
            untold: follow_forks.then(Vec::new),
        }
    }

    /// Why faults are not heard of, where that is so.
    pub fn deaf(&self) -> Option<String> {
        self.perf.as_ref().err().map(Deaf::to_string)
    }

    /// Takes what was said since the last call; names go to `threads`.
    fn listen(&mut self, threads: &mut ThreadFaults) {
        let already = self.forked.len();
        let (samples, forked, found) = (&mut self.samples, &mut self.forked, &mut self.found);
        match &mut self.perf {
            Ok(perf) => perf.drain(|record| match record {
                Record::Fault { tid, address, faults } => samples.push(Fault { tid, address, faults }),
                Record::Forked { child } => match found.iter().position(|found| *found == child) {
                    Some(at) => drop(found.swap_remove(at)),
                    None => {
                        self.children.know(self.pid, child);
                        forked.push(child);
                    }
                },
                Record::Named { tid, name, .. } => threads.named(tid, &name),
                Record::Lost(records) => tracing::debug!(records, "perf records lost"),
                // The table and the list of threads have the truth.
                Record::Born | Record::Ended => {}
            }),
            Err(_) => forked.extend(self.children.new_ones(self.pid)),
        }
        if let Some(untold) = &mut self.untold {
            untold.extend(self.forked.iter().skip(already));
        }
    }

    /// The sampled faults of the window that ends now, and the children that were born in it.
    pub fn window(&mut self, threads: &mut ThreadFaults) -> (Vec<Fault>, Vec<u32>) {
        self.listen(threads);
        (std::mem::take(&mut self.samples), std::mem::take(&mut self.forked))
    }

    /// Children that the target has and nobody has told of, when there must be one: the kernel's event of a
    /// fork comes before its record, and records get lost.
    pub fn find_children(&mut self) -> Vec<u32> {
        // A child that is being linked in, or one that ends meanwhile, may hide others in the list
        // (proc_pid_children(5)).
        const TRIES: usize = 3;
        let mut tries = (0..TRIES).map(|_| self.children.look(self.pid));
        let new = tries.find(|new| !new.is_empty()).unwrap_or_default();
        if self.perf.is_ok() {
            self.found.extend(&new);
        }
        if let Some(untold) = &mut self.untold {
            untold.extend(&new);
        }
        new
    }

    /// The children that this has not told of before.
    pub fn births(&mut self, threads: &mut ThreadFaults) -> Vec<u32> {
        self.listen(threads);
        self.untold.as_mut().map(std::mem::take).unwrap_or_default()
    }
}
