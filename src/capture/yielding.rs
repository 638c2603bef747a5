//! Noticing what the target cannot do while its memory is watched, so that it is let go (the table is in
//! `unwatched`).
//!
//! **A userfaultfd of its own.** See `descriptors`. Where these are hidden from all of us, only the kernel's
//! EBUSY to a registration of ours tells.
//!
//! **A thread that does not come out of the kernel.** The call that installs guard pages loops on our mark:
//! it never sleeps, is never seen inside a system call by /proc/PID/task/TID/syscall, and its time is the
//! kernel's nearly all. When a thread is like that in two readings after one another, the mappings in which
//! this can happen and where there are marks in place of pages are let go. If it then goes on as before, it
//! had another reason: they are watched again, and this thread is left out for a while.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use super::attach::ProcessAttach;
use super::descriptors::Descriptors;
use super::lost::LostFeature;
use super::programs::Programs;
use super::region::{MemoryRegion, RegionKind};
use super::target::{Status, proc_path, stat_fields};
use super::unwatched::Unwatched;
use super::vitals::Vitals;

/// Time between two readings of the threads' times, which move in steps of 10 ms.
const READING: Duration = Duration::from_millis(40);
/// Reading them takes at most this part of our time.
const SHARE: u32 = 50;
/// Kernel time in a reading, in hundredths of a second, from which on threads are looked at.
const SPINNING: u64 = 2;
/// Threads that are looked at.
const THREADS: usize = 1024;
/// Time for which a thread that spins for another reason is not suspected again.
const PARDON: Duration = Duration::from_secs(60);

/// What is left to the target.
#[derive(Debug)]
pub(super) struct Yielding {
    pid: u32,
    /// It has, or had, a userfaultfd of its own.
    own: bool,
    descriptors: Descriptors,
    programs: Programs,
    /// Mappings let go because of guard pages, by address.
    guarded: Vec<MemoryRegion>,
    spin: Spin,
}

#[derive(Debug)]
struct Spin {
    read: Instant,
    /// How long it took to read the times of the threads.
    took: Duration,
    kernel_time: u64,
    threads: HashMap<u32, Times>,
    trial: Option<Trial>,
    pardoned: HashMap<u32, Instant>,
}

/// Mappings that were let go to see whether these threads come out of the kernel then.
#[derive(Debug)]
struct Trial {
    threads: Vec<u32>,
    regions: Vec<MemoryRegion>,
}

#[derive(Debug, Clone, Copy)]
struct Times {
    user: u64,
    kernel: u64,
    slept: u64,
}

impl Yielding {
    pub fn to(target: &ProcessAttach) -> Self {
        let spin = Spin {
            read: Instant::now(),
            took: Duration::ZERO,
            kernel_time: u64::MAX,
            threads: HashMap::new(),
            trial: None,
            pardoned: HashMap::new(),
        };
        let mut descriptors = Descriptors::new();
        let own = descriptors.read(target) == Some(true);
        Self {
            pid: target.info.pid,
            own,
            descriptors,
            programs: target.programs.clone(),
            guarded: Vec::new(),
            spin,
        }
    }

    /// Why this mapping is to be left alone, if it is.
    pub fn leaves(&self, region: &MemoryRegion) -> Option<Unwatched> {
        if (self.own || self.programs.can()) && could_be_registered(region) {
            return Some(if self.own { Unwatched::OwnUserfaultfd } else { Unwatched::PossibleUserfaultfd });
        }
        let tried = self.spin.trial.as_ref().map_or(&[][..], |trial| &trial.regions);
        let found = is_among(region, &self.guarded) || is_among(region, tried);
        found.then_some(Unwatched::GuardPages)
    }

    /// The kernel says that another userfaultfd watches a mapping of the target. Whether this shows one of
    /// its own; it may be another watcher's, too.
    pub fn met_another(&mut self, target: &ProcessAttach) -> bool {
        let own = self.descriptors.read(target).unwrap_or(true);
        own && !std::mem::replace(&mut self.own, true)
    }

    /// What of this is not known or not as usual, and why. Names of files are said only where they may be.
    pub fn unknown(&self, anonymous: bool) -> Vec<LostFeature> {
        if self.own {
            return Vec::new();
        }
        let hidden = self.descriptors.are_hidden().then(|| LostFeature {
            what: "whether the target has a userfaultfd of its own",
            reason: "neither we nor the keeper may list its descriptors, and what it registers itself fails while it is \
                     watched: watch it as root"
                .into(),
        });
        let can = self.programs.which().map(|file| LostFeature {
            what: "what the target could register itself",
            reason: match anonymous {
                true => "one of its programs can make a userfaultfd: see --watch-own-userfaultfd".into(),
                false => format!("{file} can make a userfaultfd: see --watch-own-userfaultfd"),
            },
        });
        let unread = self.programs.unread().filter(|_| can.is_none()).map(|(files, first)| LostFeature {
            what: "whether the target can make a userfaultfd",
            reason: match anonymous {
                true => format!("{files} of its program files cannot be read"),
                false => format!("{files} of its program files cannot be read, {first}"),
            },
        });
        hidden.into_iter().chain(can).chain(unread).collect()
    }

    /// These mappings are what there is. Programs that are new among them are read; what was let go and is
    /// not among them is forgotten.
    pub fn follow(&mut self, table: &[MemoryRegion]) {
        if !self.own {
            self.programs.read(self.pid, table, true);
        }
        self.guarded.retain(|guarded| is_among(guarded, table));
    }

    /// Whether the target has a userfaultfd of its own since the last look, or more may be known of its
    /// programs: then other mappings may have to be left alone.
    pub fn looks_for_own(&mut self, target: &ProcessAttach) -> bool {
        let own = !self.own && self.descriptors.look(target);
        self.own |= own;
        own || !self.own && self.programs.are_due()
    }

    /// Whether other mappings are to be left alone than before, because of a thread that does not come out of
    /// the kernel. `marked` says of a mapping whether there are marks in place of pages.
    pub fn looks_for_spinning(
        &mut self,
        vitals: &Vitals,
        regions: &[MemoryRegion],
        marked: impl FnMut(&MemoryRegion) -> bool,
    ) -> bool {
        if self.spin.read.elapsed() < READING.max(self.spin.took * SHARE) {
            return false;
        }
        let kernel_time = vitals.kernel_time().unwrap_or(0);
        let spent = kernel_time.saturating_sub(self.spin.kernel_time);
        (self.spin.read, self.spin.kernel_time) = (Instant::now(), kernel_time);
        if spent < SPINNING && self.spin.trial.is_none() {
            self.spin.threads.clear();
            return false;
        }
        let before = std::mem::replace(&mut self.spin.threads, running_threads(self.pid));
        self.spin.took = self.spin.read.elapsed();
        let mut spinning = Vec::new();
        for (tid, now) in &self.spin.threads {
            if before.get(tid).is_some_and(|before| now.spun_since(before)) {
                spinning.push(*tid);
            }
        }
        if let Some(trial) = self.spin.trial.take() {
            return self.end(trial, &spinning);
        }
        self.spin.pardoned.retain(|_, since| since.elapsed() < PARDON);
        spinning.retain(|tid| !self.spin.pardoned.contains_key(tid));
        if spinning.is_empty() {
            return false;
        }
        let may_loop =
            |region: &&MemoryRegion| matches!(region.kind(), RegionKind::Shared | RegionKind::FilePrivate);
        let mut marked = marked;
        let regions: Vec<MemoryRegion> =
            regions.iter().filter(may_loop).filter(|region| marked(region)).cloned().collect();
        if regions.is_empty() {
            return false;
        }
        self.spin.trial = Some(Trial { threads: spinning, regions });
        true
    }

    /// Ends a trial: the mappings are let go for good, or watched again.
    fn end(&mut self, trial: Trial, spinning: &[u32]) -> bool {
        let still = trial.threads.iter().any(|tid| spinning.contains(tid));
        if still {
            let now = Instant::now();
            self.spin.pardoned.extend(trial.threads.iter().map(|tid| (*tid, now)));
        } else {
            tracing::info!(
                pid = self.pid,
                "a call that installs guard pages has returned, now that its memory is let go"
            );
            self.guarded.extend(trial.regions);
            self.guarded.sort_unstable_by_key(|region| region.start);
        }
        still
    }
}

impl Times {
    /// Whether the thread has not slept since and was in the kernel nearly all of the time that it ran.
    fn spun_since(&self, before: &Times) -> bool {
        let (user, kernel) =
            (self.user.saturating_sub(before.user), self.kernel.saturating_sub(before.kernel));
        self.slept == before.slept && kernel >= SPINNING && user * 3 <= kernel
    }
}

/// The times of those threads that run or want to.
fn running_threads(pid: u32) -> HashMap<u32, Times> {
    const STATE: usize = 0;
    const USER: usize = 11;
    const KERNEL: usize = 12;
    let tasks = fs::read_dir(proc_path(pid, "task")).into_iter().flatten().flatten().take(THREADS);
    let times = |task: fs::DirEntry| {
        let stat = stat_fields(&fs::read(task.path().join("stat")).ok()?);
        let number = |at: usize| stat.get(at)?.parse().ok();
        if stat.get(STATE)? != "R" {
            return None;
        }
        let slept = Status::read(&task.path().join("status")).ok()?.number("voluntary_ctxt_switches")?;
        let tid = task.file_name().to_str()?.parse().ok()?;
        Some((tid, Times { user: number(USER)?, kernel: number(KERNEL)?, slept }))
    };
    tasks.filter_map(times).collect()
}

/// Whether a userfaultfd of the target, one that is not asynchronous, could take this mapping.
fn could_be_registered(region: &MemoryRegion) -> bool {
    let in_memory =
        |name: &str| ["/memfd:", "/dev/shm/", "/dev/hugepages/"].iter().any(|of| name.starts_with(of));
    region.kind() != RegionKind::FilePrivate || region.pathname.as_deref().is_some_and(in_memory)
}

/// Whether one of these, by address, is this mapping or a part of it, or has it for a part.
fn is_among(region: &MemoryRegion, all: &[MemoryRegion]) -> bool {
    let first = all.partition_point(|other| other.end <= region.start);
    let same = |other: &MemoryRegion| {
        (region.inode, &region.device, region.is_shared()) == (other.inode, &other.device, other.is_shared())
    };
    all.iter().skip(first).take_while(|other| other.start < region.end).any(same)
}
