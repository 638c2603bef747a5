//! The userfaultfd itself: handshake, registration, write protection.
//!
//! The `userfaultfd` crate does the registering; the handshake is ours, because the crate does not name the features that
//! make the asynchronous mode.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use userfaultfd::{Event, FaultKind, ReadWrite, RegisterMode, Uffd};

use super::{CaptureError, FaultEvent, PageRange, sys};
use crate::error::{GlassRamError, Result};

/// Features of a userfaultfd, as `UFFDIO_API` negotiates them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct UffdFeatureFlags(u64);

impl UffdFeatureFlags {
    /// Write-protect faults can be told from others.
    pub const PAGEFAULT_FLAG_WP: Self = Self(sys::FEATURE_PAGEFAULT_FLAG_WP);
    /// Write protection of shared memory and of hugetlb mappings.
    pub const WP_HUGETLBFS_SHMEM: Self = Self(sys::FEATURE_WP_HUGETLBFS_SHMEM);
    /// Pages that do not exist yet can be protected too.
    pub const WP_UNPOPULATED: Self = Self(sys::FEATURE_WP_UNPOPULATED);
    /// The kernel resolves write-protect faults by itself and remembers them in the page table.
    pub const WP_ASYNC: Self = Self(sys::FEATURE_WP_ASYNC);

    /// What the asynchronous rung asks for. No event feature is among them: an event that nobody reads would block the target.
    pub const ASYNC_RUNG: Self = Self(
        Self::PAGEFAULT_FLAG_WP.0 | Self::WP_HUGETLBFS_SHMEM.0 | Self::WP_UNPOPULATED.0 | Self::WP_ASYNC.0,
    );

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The bits as the kernel counts them.
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// What a registration is to report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UffdIoctlMode {
    /// Writes to protected pages.
    WriteProtect,
}

/// A range of addresses for the ioctls of a userfaultfd.
pub type UffdioRange = PageRange;

/// One event read from a userfaultfd.
pub type UffdMsg = FaultEvent;

/// The specification's capability, with owned descriptors in place of raw numbers.
pub trait UffdCapability: Sized {
    /// A userfaultfd of our own address space with these features.
    fn create(features: UffdFeatureFlags) -> Result<UserfaultFd>;
    /// Puts a range under the descriptor's watch.
    fn register(&self, range: UffdioRange, mode: UffdIoctlMode) -> Result<()>;
    /// Protects a range against writes, or takes the protection away.
    fn write_protect(&self, range: UffdioRange, enable: bool) -> Result<()>;
    /// The next queued event. The asynchronous mode queues none: EAGAIN.
    fn read_event(&self) -> Result<UffdMsg>;
}

/// A userfaultfd, of ourselves or of a target, with its handshake done.
#[derive(Debug)]
pub struct UserfaultFd {
    uffd: Uffd,
    pid: u32,
}

impl UserfaultFd {
    /// Does the handshake on a descriptor fresh from userfaultfd(2) in process `pid`.
    pub(crate) fn handshake(fd: OwnedFd, pid: u32, features: UffdFeatureFlags) -> Result<Self, Errno> {
        let mut api = sys::UffdioApi { api: sys::UFFD_API, features: features.bits(), ioctls: 0 };
        // SAFETY: `api` is the structure this ioctl reads and writes, and it outlives the call.
        unsafe { sys::ioctl_uffdio_api(fd.as_raw_fd(), &mut api) }?;
        // SAFETY: the descriptor is ours and is given away whole.
        let uffd = unsafe { Uffd::from_raw_fd(fd.into_raw_fd()) };
        Ok(Self { uffd, pid })
    }

    /// A descriptor whose handshake another process has done for us.
    pub(crate) fn adopt(fd: OwnedFd, pid: u32) -> Self {
        // SAFETY: the descriptor is ours and is given away whole.
        let uffd = unsafe { Uffd::from_raw_fd(fd.into_raw_fd()) };
        Self { uffd, pid }
    }

    /// Registers a range for write protection; the bare errno is what callers decide by.
    pub(crate) fn watch(&self, range: PageRange) -> Result<(), Errno> {
        let (start, len) = address(range);
        self.uffd.register_with_mode(start, len, RegisterMode::WRITE_PROTECT).map(drop).map_err(errno)
    }

    /// Write-protects a range, markers for pages that do not exist yet included.
    pub(crate) fn protect(&self, range: PageRange) -> Result<(), Errno> {
        let (start, len) = address(range);
        self.uffd.write_protect(start, len).map_err(errno)
    }

    /// Ends the watch over a range; the kernel lifts its protection with it.
    pub(crate) fn unwatch(&self, range: PageRange) -> Result<(), Errno> {
        let (start, len) = address(range);
        self.uffd.unregister(start, len).map_err(errno)
    }

    fn failed(&self, operation: &'static str, errno: Errno) -> GlassRamError {
        CaptureError::System { operation, pid: self.pid, errno }.into()
    }
}

impl UffdCapability for UserfaultFd {
    fn create(features: UffdFeatureFlags) -> Result<UserfaultFd> {
        let pid = std::process::id();
        let failed = |operation, errno| CaptureError::System { operation, pid, errno };
        let fd = sys::userfaultfd(libc::O_CLOEXEC | libc::O_NONBLOCK | sys::UFFD_USER_MODE_ONLY)
            .map_err(|errno| failed("userfaultfd(2)", errno))?;
        Ok(Self::handshake(fd, pid, features).map_err(|errno| failed("UFFDIO_API", errno))?)
    }

    fn register(&self, range: UffdioRange, mode: UffdIoctlMode) -> Result<()> {
        match mode {
            UffdIoctlMode::WriteProtect => {
                self.watch(range).map_err(|errno| self.failed("UFFDIO_REGISTER", errno))
            }
        }
    }

    fn write_protect(&self, range: UffdioRange, enable: bool) -> Result<()> {
        let (start, len) = address(range);
        let done = if enable {
            self.uffd.write_protect(start, len)
        } else {
            self.uffd.remove_write_protection(start, len, true)
        };
        done.map_err(|error| self.failed("UFFDIO_WRITEPROTECT", errno(error)))
    }

    fn read_event(&self) -> Result<UffdMsg> {
        let event = self.uffd.read_event().map_err(|error| self.failed("reading an event", errno(error)))?;
        match event.ok_or_else(|| self.failed("reading an event", Errno::EAGAIN))? {
            Event::Pagefault { kind, rw, addr, .. } => Ok(FaultEvent::PageFault {
                address: addr as u64,
                flags: u32::from(rw == ReadWrite::Write) | u32::from(kind == FaultKind::WriteProtected) << 1,
                thread_id: None,
            }),
            Event::Remap { from, to, len } => {
                Ok(FaultEvent::Remap { old_address: from as u64, new_address: to as u64, length: len as u64 })
            }
            Event::Remove { start, end } | Event::Unmap { start, end } => {
                Ok(FaultEvent::Remove { address: start as u64, length: end as u64 - start as u64 })
            }
            // Never asked for in the handshake; the message carries no process number to build the event from.
            Event::Fork { .. } => Err(self.failed("reading an event", Errno::EOPNOTSUPP)),
        }
    }
}

impl AsFd for UserfaultFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.uffd.as_fd()
    }
}

impl From<UserfaultFd> for OwnedFd {
    fn from(uffd: UserfaultFd) -> OwnedFd {
        // SAFETY: the crate's object gives its descriptor away, so this is the only owner.
        unsafe { OwnedFd::from_raw_fd(uffd.uffd.into_raw_fd()) }
    }
}

/// The crate wants the target's addresses as pointers; it never follows them.
fn address(range: PageRange) -> (*mut libc::c_void, usize) {
    (range.start as *mut libc::c_void, range.len() as usize)
}

/// The crate speaks an older nix; its numbers are the kernel's all the same.
fn errno(error: userfaultfd::Error) -> Errno {
    match error {
        userfaultfd::Error::SystemError(errno)
        | userfaultfd::Error::CopyFailed(errno)
        | userfaultfd::Error::ZeropageFailed(errno) => Errno::from_raw(errno as i32),
        _ => Errno::EIO,
    }
}
