//! Files that clients hand over to be read or mapped. A client may cut one short while it is read, and one
//! behind which a program stands (FUSE) may never answer: what is read is copied first, and such files are
//! not touched.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;

use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{SFlag, fstat};
use nix::sys::statfs::fstatfs;

/// File systems of the kernel's own: memory, and local disks. From `linux/magic.h`.
const LOCAL: [libc::c_long; 8] = [
    0x0102_1994, // tmpfs, and every memfd
    0x8584_58f6, // ramfs
    0x9584_58f6, // hugetlbfs
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // Btrfs
    0xf2f5_2010, // F2FS
    0x2fc1_2fc1, // ZFS
];

/// Whether the kernel alone answers for what is in this file: it can be mapped without waiting for another
/// program.
///
/// # Errors
/// Why not.
pub(crate) fn answers_by_itself(file: BorrowedFd<'_>) -> Result<(), String> {
    let status = fstat(file).map_err(|error| format!("the descriptor cannot be looked at: {error}"))?;
    if SFlag::from_bits_truncate(status.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err("the descriptor is no file".into());
    }
    let system = fstatfs(file).map_err(|error| format!("the file's system is unknown: {error}"))?;
    let kind = system.filesystem_type().0 as libc::c_long;
    if LOCAL.contains(&kind) {
        return Ok(());
    }
    Err(format!("the file is on a file system of kind {kind:#x}, which may not answer; use memfd_create(2)"))
}

/// The first bytes of a client's file, copied: whatever the client does to it from now on changes nothing.
///
/// # Errors
/// The file is shorter, larger than `most`, or not the kernel's own.
pub(crate) fn copy(file: OwnedFd, length: usize, most: usize) -> io::Result<Vec<u8>> {
    if length == 0 || length > most {
        return Err(io::Error::other(format!("{length} bytes are said, of 1 to {most} that are allowed")));
    }
    answers_by_itself(file.as_fd()).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    File::from(file).read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// A file in memory of our own with these bytes.
///
/// # Errors
/// The kernel's, when there is no memory or no descriptor left.
pub(crate) fn in_memory(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    let file = memfd_create(name, MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> OwnedFd {
        in_memory("test", bytes).expect("a memfd")
    }

    #[test]
    fn only_what_is_there_is_copied() {
        assert_eq!(copy(file(b"keys"), 4, 100).expect("there"), b"keys");
        assert_eq!(copy(file(b"keys"), 2, 100).expect("there"), b"ke");
        for (bytes, length) in [(&b""[..], 4), (b"keys", 5), (b"keys", 0), (b"keys", 101), (b"", usize::MAX)]
        {
            let error = copy(file(bytes), length, 100).expect_err("refused");
            assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn pipes_devices_and_the_kernels_own_files_are_not_read() {
        let (reader, _writer) = nix::unistd::pipe().expect("a pipe");
        assert!(answers_by_itself(reader.as_fd()).is_err());
        for path in ["/dev/null", "/proc/self/maps", "/tmp"] {
            let file = File::open(path).expect("opened");
            assert!(answers_by_itself(file.as_fd()).is_err(), "{path}");
        }
        assert_eq!(answers_by_itself(file(b"").as_fd()), Ok(()));
    }
}
