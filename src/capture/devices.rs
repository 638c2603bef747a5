//! Mappings whose names say that they are a device's. Anybody may call a file so: the file itself is looked
//! at.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::programs::look_at;
use super::region::MemoryRegion;
use super::target::{memory_path, proc_path};

/// Files that are remembered.
const REMEMBERED: usize = 4096;

/// What was found of the files of one target.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// Whether each is an ordinary file, by device and inode.
    known: HashMap<(String, u64), bool>,
}

impl Devices {
    /// Whether a mapping that may be written to and has a device's name is one of an ordinary file.
    pub fn is_file(&mut self, pid: u32, region: &MemoryRegion) -> bool {
        let is_path = region.pathname.as_deref().is_some_and(|name| name.starts_with('/'));
        if !is_path || region.inode == 0 {
            return false;
        }
        let key = (region.device.clone(), region.inode);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        if self.known.len() >= REMEMBERED {
            self.known.clear();
        }
        let is_file = look(pid, region);
        self.known.insert(key, is_file);
        is_file
    }
}

fn look(pid: u32, region: &MemoryRegion) -> bool {
    let name = region.pathname.as_deref().unwrap_or_default();
    // Memory of a graphics driver is in a file of the kernel's own, which has no name and never had one.
    let has_name = |about: &Metadata| about.nlink() > 0 || name.starts_with("/dev/");
    let ways = [
        memory_path(pid, &format!("map_files/{:x}-{:x}", region.start, region.end)),
        proc_path(pid, "root").join(name.strip_prefix('/').unwrap_or(name)),
        PathBuf::from(name),
    ];
    ways.iter().any(|way| look_at(way, region.inode).is_ok_and(|(_, about)| has_name(&about)))
}
