//! Whether a process lies in a frozen control group (`docker pause`, `systemctl freeze`, the older freezer).
//!
//! A frozen thread can be stopped by a tracer, but what it is told to do it does only when it is thawed. So
//! it is not touched.

use std::fs;
use std::path::{Path, PathBuf};

use super::target::proc_path;

/// A hierarchy of control groups as it is mounted here.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The group that is seen at the mount point.
    root: PathBuf,
    point: PathBuf,
    /// The one hierarchy of version 2, or that of the older freezer.
    unified: bool,
}

/// The frozen group that the process is in, if it is in one: itself or one above it.
pub(super) fn group_of(pid: u32) -> Option<String> {
    let groups = fs::read_to_string(proc_path(pid, "cgroup")).ok()?;
    let mounts = mounts(&fs::read_to_string("/proc/self/mountinfo").ok()?);
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let unified = number == "0" && controllers.is_empty();
        if !unified && !controllers.split(',').any(|name| name == "freezer") {
            return None;
        }
        mounts.iter().filter(|mount| mount.unified == unified).find_map(|mount| mount.frozen(Path::new(path)))
    })
}

/// The hierarchies that have something to say here, of a `mountinfo` (proc_pid_mountinfo(5)).
fn mounts(table: &str) -> Vec<Mount> {
    let mount = |line: &str| {
        let (before, behind) = line.split_once(" - ")?;
        let mut behind = behind.split(' ');
        let (kind, _, options) = (behind.next()?, behind.next()?, behind.next()?);
        let unified = kind == "cgroup2";
        let freezer = kind == "cgroup" && options.split(',').any(|option| option == "freezer");
        if !unified && !freezer {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        Some(Mount { root: unescaped(fields.next()?), point: unescaped(fields.next()?), unified })
    };
    table.lines().filter_map(mount).collect()
}

/// Blanks and the like are written as three octal digits behind a backslash.
fn unescaped(field: &str) -> PathBuf {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escape, character)| text.replace(escape, character))
        .into()
}

impl Mount {
    /// The frozen one among the group and those above it, as far as they are seen here.
    fn frozen(&self, group: &Path) -> Option<String> {
        let below = group.strip_prefix(&self.root).ok()?;
        let mut at = self.point.join(below);
        loop {
            if if self.unified { frozen_unified(&at) } else { frozen_legacy(&at) } {
                return Some(at.display().to_string());
            }
            if at == self.point || !at.pop() {
                return None;
            }
        }
    }
}

/// Told to freeze, or frozen already by one above that is not seen here.
fn frozen_unified(group: &Path) -> bool {
    let told = fs::read_to_string(group.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1");
    told || fs::read_to_string(group.join("cgroup.events"))
        .is_ok_and(|text| text.lines().any(|line| line == "frozen 1"))
}

fn frozen_legacy(group: &Path) -> bool {
    let reads = |name: &str, frozen: &dyn Fn(&str) -> bool| {
        fs::read_to_string(group.join(name)).is_ok_and(|text| frozen(text.trim()))
    };
    reads("freezer.state", &|state| state != "THAWED")
        || reads("freezer.self_freezing", &|text| text == "1")
        || reads("freezer.parent_freezing", &|text| text == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_hierarchy_are_found_wherever_they_are_mounted() {
        let table = "25 1 0:22 / /proc rw - proc proc rw\n\
                     30 29 0:26 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
                     33 29 0:29 /docker/7 /mnt/with\\040blank rw - cgroup cgroup rw,freezer\n\
                     34 29 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let found = mounts(table);
        let mount =
            |root: &str, point: &str, unified| Mount { root: root.into(), point: point.into(), unified };
        assert_eq!(
            found,
            [mount("/", "/sys/fs/cgroup/unified", true), mount("/docker/7", "/mnt/with blank", false)]
        );
    }

    #[test]
    fn a_group_is_frozen_with_the_one_above_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let below = folder.path().join("above/below");
        fs::create_dir_all(&below).expect("made");
        let mount = Mount { root: "/".into(), point: folder.path().into(), unified: true };
        assert_eq!(mount.frozen(Path::new("/above/below")), None);
        fs::write(folder.path().join("above/cgroup.freeze"), "1\n").expect("written");
        assert_eq!(
            mount.frozen(Path::new("/above/below")),
            Some(folder.path().join("above").display().to_string())
        );
        assert_eq!(mount.frozen(Path::new("/other")), None);
    }

    #[test]
    fn the_older_freezer_says_it_in_three_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let mount = Mount { root: "/".into(), point: folder.path().join("x"), unified: false };
        fs::create_dir_all(folder.path().join("x/y")).expect("made");
        fs::write(folder.path().join("x/y/freezer.state"), "THAWED\n").expect("written");
        assert_eq!(mount.frozen(Path::new("/y")), None);
        fs::write(folder.path().join("x/y/freezer.state"), "FREEZING\n").expect("written");
        assert!(mount.frozen(Path::new("/y")).is_some());
    }
}
