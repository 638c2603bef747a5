//! Which processes there are, and which of them may be watched.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::target::{Status, inspect, memory_path, open_proc, proc_path};
use crate::Result;

/// CAP_SYS_PTRACE's place in a set of capabilities (capabilities(7)).
const CAP_SYS_PTRACE: u32 = 19;

/// A process by its number and name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSummary {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 bytes, as the kernel has it.
    pub comm: String,
    /// The user whose rights it has.
    pub uid: u32,
    /// Its memory that is in use, bytes; nothing where it has none of its own, as a thread of the kernel or a
    /// zombie.
    pub resident_bytes: Option<u64>,
}

/// Every process that is running now, by number; those that end meanwhile are left out.
pub fn processes() -> impl Iterator<Item = ProcessSummary> {
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.into_iter().filter_map(|pid| {
        let status = Status::of(pid).ok()?;
        // Real, effective, saved, file system.
        let uid = status.field("Uid")?.split_whitespace().nth(1)?.parse().ok()?;
        let resident_bytes = status.number("VmRSS").map(|kib| kib << 10);
        Some(ProcessSummary { pid, comm: status.name(), uid, resident_bytes })
    })
}

/// Whether what is learnt of this process is for our own eyes only: we are root, or it is another user's, or
/// nobody knows any more whose.
pub fn is_private(pid: u32) -> bool {
    let us = nix::unistd::geteuid();
    // What is not dumpable is root's.
    us.is_root() || fs::metadata(memory_path(pid, "maps")).map_or(true, |file| file.uid() != us.as_raw())
}

/// The process that a thread, or the process itself, of this number belongs to.
pub fn process_of_thread(number: u32) -> Option<u32> {
    // It is there for threads, too, though it is not listed.
    Status::read(&proc_path(number, "status")).ok()?.field("Tgid")?.trim().parse().ok()
}

/// What forbids watching this process, found without touching it.
pub fn may_watch(pid: u32) -> Result<()> {
    inspect(pid)?;
    // Opening this file asks for the right to attach, Yama's rules included. It is not read.
    open_proc(pid, "mem")?;
    Ok(())
}

/// Whether we may look into processes of others: CAP_SYS_PTRACE is effective.
pub fn may_trace_anyone() -> bool {
    let effective = Status::of(std::process::id())
        .ok()
        .and_then(|status| u64::from_str_radix(status.field("CapEff")?, 16).ok());
    effective.is_some_and(|set| set & (1 << CAP_SYS_PTRACE) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_among_the_processes() {
        let own = processes().find(|process| process.pid == std::process::id()).expect("we run");
        let comm = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(own.comm, comm.trim_end());
        assert!(own.resident_bytes.is_some_and(|bytes| bytes > 0));
        assert_eq!(own.uid, nix::unistd::geteuid().as_raw());
        assert!(processes().is_sorted_by_key(|process| process.pid));
    }

    #[test]
    fn we_and_what_is_not_there_cannot_be_watched() {
        assert!(may_watch(std::process::id()).is_err());
        assert!(may_watch(u32::MAX).is_err());
    }
}
