//! The kernel interfaces that no crate of ours names: userfaultfd's newer features, `PAGEMAP_SCAN`, pidfds.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;

/// `struct uffdio_api`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct UffdioApi {
    pub api: u64,
    pub features: u64,
    pub ioctls: u64,
}

/// The one version of the userfaultfd interface.
pub(crate) const UFFD_API: u64 = 0xAA;
/// Flag of userfaultfd(2): faults from the kernel side are not to be handed to user space. Asynchronous write
/// protection never hands any, so it loses nothing by it.
pub(crate) const UFFD_USER_MODE_ONLY: i32 = 1;

pub(crate) const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
pub(crate) const FEATURE_EVENT_FORK: u64 = 1 << 1;
pub(crate) const FEATURE_EVENT_REMAP: u64 = 1 << 2;
pub(crate) const FEATURE_EVENT_REMOVE: u64 = 1 << 3;
pub(crate) const FEATURE_EVENT_UNMAP: u64 = 1 << 6;
pub(crate) const FEATURE_THREAD_ID: u64 = 1 << 8;
pub(crate) const FEATURE_WP_HUGETLBFS_SHMEM: u64 = 1 << 12;
pub(crate) const FEATURE_WP_UNPOPULATED: u64 = 1 << 13;
pub(crate) const FEATURE_WP_ASYNC: u64 = 1 << 15;
pub(crate) const FEATURE_MOVE: u64 = 1 << 16;

/// The request number of UFFDIO_UNREGISTER, for a process that may use nothing but system calls.
pub(crate) const UFFDIO_UNREGISTER: u64 = 0x8010_aa01;
/// The request number of UFFDIO_WAKE.
pub(crate) const UFFDIO_WAKE: u64 = 0x8010_aa02;

/// The size of a base page in bytes.
pub(crate) fn page_size() -> u64 {
    static SIZE: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *SIZE.get_or_init(|| {
        let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
        size.map_or(4096, |size| size as u64)
    })
}

nix::ioctl_readwrite!(
    /// The handshake of a new userfaultfd.
    ioctl_uffdio_api, 0xAA, 0x3F, UffdioApi
);

/// The ioctls that attaching takes; watching takes more.
pub(crate) const ATTACH_IOCTLS: &[u64] = &[nix::request_code_readwrite!(0xAA, 0x3F, size_of::<UffdioApi>())];

/// `struct page_region`: a run of pages with the same categories.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PageRegion {
    pub start: u64,
    pub end: u64,
    pub categories: u64,
}

/// `struct pm_scan_arg`.
#[repr(C)]
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct PmScanArg {
    pub size: u64,
    pub flags: u64,
    pub start: u64,
    pub end: u64,
    pub walk_end: u64,
    pub vec: u64,
    pub vec_len: u64,
    pub max_pages: u64,
    pub category_inverted: u64,
    pub category_mask: u64,
    pub category_anyof_mask: u64,
    pub return_mask: u64,
}

const _: () = assert!(size_of::<PmScanArg>() == 96 && size_of::<PageRegion>() == 24);

/// Write-protect what matched, in the same step that reports it.
pub(crate) const PM_SCAN_WP_MATCHING: u64 = 1 << 0;
/// Fail with EPERM where a mapping is not registered for asynchronous write protection.
pub(crate) const PM_SCAN_CHECK_WPASYNC: u64 = 1 << 1;

/// The mapping is under asynchronous write protection, by whomever.
pub(crate) const PAGE_IS_WPALLOWED: u64 = 1 << 0;
pub(crate) const PAGE_IS_WRITTEN: u64 = 1 << 1;
pub(crate) const PAGE_IS_FILE: u64 = 1 << 2;
pub(crate) const PAGE_IS_PRESENT: u64 = 1 << 3;
pub(crate) const PAGE_IS_SWAPPED: u64 = 1 << 4;
pub(crate) const PAGE_IS_PFNZERO: u64 = 1 << 5;
pub(crate) const PAGE_IS_HUGE: u64 = 1 << 6;
/// A page that nobody may touch (MADV_GUARD_INSTALL); since Linux 6.15.
pub(crate) const PAGE_IS_GUARD: u64 = 1 << 8;

/// The request number of PAGEMAP_SCAN.
pub(crate) const PAGEMAP_SCAN: u64 = nix::request_code_readwrite!(b'f', 16, size_of::<PmScanArg>());

nix::ioctl_readwrite!(
    /// Reports, and on request write-protects, the pages of a range that match.
    ioctl_pagemap_scan, b'f', 16, PmScanArg
);

/// io_pgetevents(2), which the libc crate does not number here.
pub(crate) const SYS_IO_PGETEVENTS: libc::c_long = 333;

/// Advice of madvise(2): make the range huge pages again, now.
pub(crate) const MADV_COLLAPSE: i32 = 25;

/// A file descriptor that stands for the process.
pub(crate) fn pidfd_open(pid: u32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes two integers; a non-negative answer is a new descriptor that nobody else owns.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// A file descriptor that stands for one thread (Linux 6.9).
pub(crate) fn pidfd_of_thread(tid: u32) -> nix::Result<OwnedFd> {
    const PIDFD_THREAD: libc::c_int = libc::O_EXCL;
    // SAFETY: as above.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_open, tid as libc::pid_t, PIDFD_THREAD))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// A descriptor of another process, as one of ours.
pub(crate) fn pidfd_getfd(pidfd: BorrowedFd<'_>, fd: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes three integers; a non-negative answer is a new descriptor that nobody else owns.
    unsafe {
        let fd = Errno::result(libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), fd, 0))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// An option of a socket that is one number.
pub(crate) fn socket_number(socket: BorrowedFd<'_>, option: libc::c_int) -> nix::Result<i32> {
    let mut number: libc::c_int = 0;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of the number.
    Errno::result(unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw mut number).cast(),
            &raw mut length,
        )
    })?;
    Ok(number)
}

/// How a terminal is set.
pub(crate) fn terminal(fd: BorrowedFd<'_>) -> nix::Result<libc::termios> {
    // SAFETY: all zero is a valid set of settings, and the kernel fills at most one.
    unsafe {
        let mut settings: libc::termios = std::mem::zeroed();
        Errno::result(libc::tcgetattr(fd.as_raw_fd(), &raw mut settings))?;
        Ok(settings)
    }
}

/// How many mappings a process may have.
pub(crate) fn max_map_count() -> usize {
    const USUAL: usize = 65_530;
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok();
    limit.and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL)
}

/// userfaultfd(2) for our own address space.
pub(crate) fn userfaultfd(flags: i32) -> nix::Result<OwnedFd> {
    // SAFETY: the call takes one integer; a non-negative answer is a new descriptor that nobody else owns.
    unsafe {
        // The number comes from memory, so that our own exercise, a target of this same program, is not one
        // that makes such descriptors (`programs`): it never does.
        let fd = Errno::result(libc::syscall(std::hint::black_box(libc::SYS_userfaultfd), flags))?;
        Ok(OwnedFd::from_raw_fd(fd as RawFd))
    }
}

/// All features that the kernel has.
pub(crate) fn uffd_features(fd: &OwnedFd) -> nix::Result<u64> {
    let mut api = UffdioApi { api: UFFD_API, features: 0, ioctls: 0 };
    // SAFETY: `api` is the structure this ioctl reads and writes, and it outlives the call.
    unsafe { ioctl_uffdio_api(fd.as_raw_fd(), &mut api) }?;
    Ok(api.features)
}
