//! Control groups of a test, made where this machine lets us and removed with it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A group of its own in one hierarchy.
pub struct Group(PathBuf);

impl Group {
    /// In the hierarchy of version 2, or in that of this controller of version 1. None, with the reason on
    /// stdout, where there is none to be had.
    pub fn new(controller: Option<&str>) -> Option<Group> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let of = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            let &[_, point, kind, options, ..] = words.as_slice() else { return None };
            let right = match controller {
                None => kind == "cgroup2",
                Some(controller) => kind == "cgroup" && options.split(',').any(|option| option == controller),
            };
            right.then(|| PathBuf::from(point))
        };
        let Some(point) = mounts.lines().find_map(of) else {
            println!("skipped: no hierarchy of control groups ({controller:?}) is mounted here");
            return None;
        };
        let name = format!("mg-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = point.join(name);
        match fs::create_dir(&path) {
            Ok(()) => Some(Group(path)),
            Err(error) => {
                println!("skipped: no control group can be made here: {}: {error}", path.display());
                None
            }
        }
    }

    /// Writes one of its files; whether there is such a one.
    pub fn set(&self, file: &str, value: &str) -> bool {
        fs::write(self.0.join(file), value).is_ok()
    }

    pub fn add(&self, pid: u32) {
        assert!(self.set("cgroup.procs", &pid.to_string()), "{pid} into {}", self.0.display());
    }

    pub fn reads(&self, file: &str) -> String {
        fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.set("cgroup.freeze", "0");
        self.set("freezer.state", "THAWED");
        // Its processes are killed, but may not be gone yet.
        let patience = Instant::now();
        while fs::remove_dir(&self.0).is_err() && patience.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
