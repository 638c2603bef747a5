//! Noticing what the target cannot do while its memory is watched, so that it is let go (the table is in `unwatched`).
//!
//! **A userfaultfd of its own.** The number of the target's descriptors is asked for at each look, which costs a
//! microsecond; where it has changed, and now and then otherwise, the descriptors are read. Where that is not permitted, only the kernel's
//! EBUSY to a registration of ours tells. Another watcher's attaching puts a userfaultfd among its descriptors, too, for the
//! moment in which it traces the target; that one is not counted.
//!
//! **A thread that does not come out of the kernel.** The call that installs guard pages loops on our mark: it never sleeps, is
//! never seen inside a system call by /proc/PID/task/TID/syscall, and its time is the kernel's nearly all. When a thread is like that
//! in two readings after one another, the mappings in which this can happen and where there are marks in place of pages are
//! let go. If it then goes on as before, it had another reason: they are watched again, and this thread is left
//! out for a while.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::region::{MemoryRegion, RegionKind};
use super::target::{Status, memory_path, proc_path, stat_fields};
use super::unwatched::Unwatched;
use super::vitals::Vitals;

/// Descriptors are read at least this often …
const DESCRIPTORS_AGE: Duration = Duration::from_secs(1);
/// … and reading them, or the threads, where it takes longer than this, takes at most this part of our time.
const CHEAP: Duration = Duration::from_millis(1);
const SHARE: u32 = 50;

/// Another watcher has attached by then.
const ATTACHING: Duration = Duration::from_millis(500);

/// Time between two readings of the threads' times, which move in steps of 10 ms.
const READING: Duration = Duration::from_millis(40);
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
    /// When it had one while it was traced.
    traced: Option<Instant>,
    descriptors: u64,
    read: Instant,
    took: Duration,
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
    pub fn to(pid: u32) -> Self {
        let now = Instant::now();
        let spin = Spin {
            read: now,
            took: Duration::ZERO,
            kernel_time: u64::MAX,
            threads: HashMap::new(),
            trial: None,
            pardoned: HashMap::new(),
        };
        let mut yielding = Self {
            pid,
            own: false,
            traced: None,
            descriptors: 0,
            read: now,
            took: Duration::ZERO,
            guarded: Vec::new(),
            spin,
        };
        yielding.own = yielding.read_descriptors();
        yielding
    }

    /// Why this mapping is to be left alone, if it is.
    pub fn leaves(&self, region: &MemoryRegion) -> Option<Unwatched> {
        if self.own && could_be_registered(region) {
            return Some(Unwatched::OwnUserfaultfd);
        }
        let tried = self.spin.trial.as_ref().map_or(&[][..], |trial| &trial.regions);
        let found = is_among(region, &self.guarded) || is_among(region, tried);
        found.then_some(Unwatched::GuardPages)
    }

    /// The kernel says that another userfaultfd watches a mapping of the target. Whether this shows one of its own; it may be another
    /// watcher's, too.
    pub fn met_another(&mut self) -> bool {
        let readable = fs::read_dir(memory_path(self.pid, "fd")).is_ok();
        let own = if readable { self.read_descriptors() } else { true };
        own && !std::mem::replace(&mut self.own, true)
    }

    /// These mappings are what there is; what was let go and is not among them is forgotten.
    pub fn keep(&mut self, table: &[MemoryRegion]) {
        self.guarded.retain(|guarded| is_among(guarded, table));
    }

    /// Looks at the target. Whether other mappings are to be left alone than before. `marked` says of a mapping whether there are marks in
    /// place of pages.
    pub fn look(
        &mut self,
        vitals: &Vitals,
        regions: &[MemoryRegion],
        marked: impl FnMut(&MemoryRegion) -> bool,
    ) -> bool {
        let own = !self.own && self.descriptors_changed() && self.read_descriptors();
        self.own |= own;
        self.spins(vitals, regions, marked) || own
    }

    fn descriptors_changed(&mut self) -> bool {
        if self.took > CHEAP && self.read.elapsed() < self.took * SHARE {
            return false;
        }
        // Since Linux 6.2 this is how many there are.
        let count = fs::metadata(memory_path(self.pid, "fd")).map_or(0, |fds| fds.size());
        let changed = count != self.descriptors || count == 0;
        self.descriptors = count;
        changed || self.read.elapsed() >= DESCRIPTORS_AGE
    }

    /// Whether one of the descriptors is a userfaultfd of its own.
    fn read_descriptors(&mut self) -> bool {
        let begun = Instant::now();
        let fds = fs::read_dir(memory_path(self.pid, "fd")).into_iter().flatten().flatten();
        let found = fds
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|link| link.as_os_str() == "anon_inode:[userfaultfd]");
        (self.read, self.took) = (begun, begun.elapsed());
        if found && is_traced(self.pid) {
            // It lasts longer than any attaching does: a debugger's.
            return self.traced.get_or_insert(begun).elapsed() >= ATTACHING;
        }
        self.traced = None;
        found
    }

    fn spins(
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

/// Whether one of its threads is being traced.
fn is_traced(pid: u32) -> bool {
    let tasks = fs::read_dir(proc_path(pid, "task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| Status::read(&task.path().join("status")).ok())
        .any(|status| status.number("TracerPid").is_some_and(|tracer| tracer != 0))
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
