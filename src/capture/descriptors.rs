//! Whether the target holds a userfaultfd of its own.
//!
//! Its descriptors are read by ourselves where the kernel lets us, else by the keeper, which was given their
//! list when the target was attached to and has the right to read it; so it is known through a broker as
//! well, and when that has ended. The number of descriptors anybody may ask for, which costs a microsecond:
//! where it has changed since, and once a second otherwise, they are read.
//!
//! Another watcher's attaching puts a userfaultfd among them, too, for the moment in which it traces the
//! target. So one counts that is there while nobody traces the target, and still is right after that.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use super::attach::ProcessAttach;
use super::target::{Status, memory_path, proc_path};

/// Descriptors are read at least this often …
const AGE: Duration = Duration::from_secs(1);
/// … and reading them, where it takes longer than this, takes at most this part of our time.
const CHEAP: Duration = Duration::from_millis(1);
const SHARE: u32 = 50;

/// Another watcher has attached by then.
const ATTACHING: Duration = Duration::from_millis(500);

/// What is known of the target's descriptors.
#[derive(Debug)]
pub(super) struct Descriptors {
    count: u64,
    read: Instant,
    took: Duration,
    /// When it had one while it was traced.
    traced: Option<Instant>,
    /// Nobody of us may look at them.
    hidden: bool,
}

impl Descriptors {
    /// None is read yet.
    pub fn new() -> Self {
        Self { count: 0, read: Instant::now(), took: Duration::ZERO, traced: None, hidden: false }
    }

    /// Whether nobody of us may look at them.
    pub fn are_hidden(&self) -> bool {
        self.hidden
    }

    /// As `read`, where they have changed or it was long ago.
    pub fn look(&mut self, target: &ProcessAttach) -> bool {
        if self.took > CHEAP && self.read.elapsed() < self.took * SHARE {
            return false;
        }
        let count = count(target.info.pid);
        let changed = count != self.count || count == 0;
        self.count = count;
        (changed && !self.hidden || self.read.elapsed() >= AGE) && self.read(target) == Some(true)
    }

    /// Whether one of them is a userfaultfd of its own; nothing where that is not known.
    pub fn read(&mut self, target: &ProcessAttach) -> Option<bool> {
        let begun = Instant::now();
        let found = read(target);
        (self.read, self.took, self.hidden) = (begun, begun.elapsed(), found.is_none());
        if found != Some(true) {
            self.traced = None;
            return found;
        }
        if is_traced(target.info.pid) {
            // It lasts longer than any attaching does: a debugger's.
            return Some(self.traced.get_or_insert(begun).elapsed() >= ATTACHING);
        }
        self.traced = None;
        // A watcher that traced it when we looked has taken its own along.
        read(target)
    }
}

/// How many there are: Linux 6.2 and later tell.
fn count(pid: u32) -> u64 {
    let of = |path| fs::metadata(path).map_or(0, |fds| fds.size());
    // Those of the first thread have a number as long as it lives.
    Some(of(proc_path(pid, "fd"))).filter(|count| *count > 0).unwrap_or_else(|| of(memory_path(pid, "fd")))
}

fn read(target: &ProcessAttach) -> Option<bool> {
    by_ourselves(target.info.pid).or_else(|| {
        let (found, seen) = target.keeper()?.sees_userfaultfd().ok()??;
        // The list of a thread that has ended is empty.
        (found || seen > 0 || count(target.info.pid) == 0).then_some(found)
    })
}

fn by_ourselves(pid: u32) -> Option<bool> {
    for fd in fs::read_dir(memory_path(pid, "fd")).ok()? {
        match fs::read_link(fd.ok()?.path()) {
            Ok(link) if link.as_os_str() == "anon_inode:[userfaultfd]" => return Some(true),
            Err(error) if error.kind() != ErrorKind::NotFound => return None,
            // Another thing, or closed meanwhile.
            _ => {}
        }
    }
    Some(false)
}

/// Whether one of its threads is being traced.
fn is_traced(pid: u32) -> bool {
    let tasks = fs::read_dir(proc_path(pid, "task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| Status::read(&task.path().join("status")).ok())
        .any(|status| status.number("TracerPid").is_some_and(|tracer| tracer != 0))
}
