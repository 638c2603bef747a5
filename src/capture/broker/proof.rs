//! The kernel's own word: a descriptor that the peer could open itself.
//!
//! Opening `/proc/PID/mem` asks the kernel whether this process may attach to that one
//! (`PTRACE_MODE_ATTACH_FSCREDS`): users, capabilities, namespaces, whether the memory is dumpable, and every
//! security module, Yama and Landlock included, much of which nobody else can find out about a peer. So who
//! wants to watch a process as its own shows that descriptor. It is never read: who could open it could read
//! that memory without anybody's help, and needs no more than that to be let watch it.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::stat::fstat;

use crate::capture::target::memory_path;

/// Above every address that a process can have on this processor.
const NOWHERE: i64 = 0x7fff_ffff_ffff_f000;

/// Our own, of this process; none where the kernel refuses.
pub(super) fn of(pid: u32) -> Option<File> {
    File::open(memory_path(pid, "mem")).ok()
}

/// Whether this is one, of the process that has this number now, and of memory that still is in use.
pub(super) fn holds(shown: BorrowedFd<'_>, pid: u32) -> bool {
    let Ok(expected) = fs::metadata(memory_path(pid, "mem")) else { return false };
    // As long as it is open, the file of another process with the same number has another inode; that of
    // another /proc, which may number processes otherwise, is on another device.
    let same =
        fstat(shown).is_ok_and(|found| (found.st_dev, found.st_ino) == (expected.dev(), expected.ino()));
    // Where there is no memory an attempt to read fails; after an exec or the end it reaches an end of file,
    // and where it was not opened (O_PATH) but only named, it is no descriptor to read from.
    same && nix::sys::uio::pread(shown.as_fd(), &mut [0], NOWHERE) == Err(Errno::EIO)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;
    use crate::capture::target::proc_path;

    #[test]
    fn only_what_the_kernel_has_opened_of_this_very_memory_is_one() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let mut other = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let shown = of(child.id()).expect("ours");
        assert!(holds(shown.as_fd(), child.id()));
        assert!(!holds(shown.as_fd(), other.id()));
        let named = fs::OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_PATH)
            .open(proc_path(child.id(), "mem"))
            .expect("anybody may");
        assert!(!holds(named.as_fd(), child.id()));
        let another = File::open(proc_path(child.id(), "maps")).expect("ours");
        assert!(!holds(another.as_fd(), child.id()));
        for child in [&mut child, &mut other] {
            child.kill().expect("ours");
        }
        // Its memory is gone before it is reaped.
        other.wait().expect("ours");
        child.wait().expect("ours");
        assert!(!holds(shown.as_fd(), child.id()));
    }

    /// A process keeps its number when it executes another program, and what was shown is of the memory
    /// before.
    #[test]
    fn it_ends_with_the_program() {
        use std::io::Write;
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line; exec sleep 60"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("started");
        let shown = of(child.id()).expect("ours");
        assert!(holds(shown.as_fd(), child.id()));
        child.stdin.take().expect("piped").write_all(b"\n").expect("it reads");
        while !fs::read(proc_path(child.id(), "comm")).is_ok_and(|comm| comm == b"sleep\n") {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert!(!holds(shown.as_fd(), child.id()));
        child.kill().expect("ours");
        child.wait().expect("ours");
    }
}
