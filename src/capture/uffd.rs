//! The userfaultfd itself: handshake, registration, write protection.
//!
//! The `userfaultfd` crate does the registering; the handshake is ours, because the crate does not name the features that
//! make the asynchronous mode.

#![allow(unsafe_code)]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use userfaultfd::{Event, EventBuffer, FaultKind, ReadWrite, RegisterMode, Uffd};

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

    /// Faults carry the thread that took them.
    pub const THREAD_ID: Self = Self(sys::FEATURE_THREAD_ID);
    /// A fork is an event, and the child's memory comes with a descriptor of its own.
    pub const EVENT_FORK: Self = Self(sys::FEATURE_EVENT_FORK);
    /// mremap(2) is an event.
    pub const EVENT_REMAP: Self = Self(sys::FEATURE_EVENT_REMAP);
    /// MADV_DONTNEED and MADV_REMOVE are events.
    pub const EVENT_REMOVE: Self = Self(sys::FEATURE_EVENT_REMOVE);
    /// munmap(2) is an event.
    pub const EVENT_UNMAP: Self = Self(sys::FEATURE_EVENT_UNMAP);

    /// What every synchronous rung asks for.
    pub const EVENTS: Self = Self(
        Self::THREAD_ID.0
            | Self::EVENT_FORK.0
            | Self::EVENT_REMAP.0
            | Self::EVENT_REMOVE.0
            | Self::EVENT_UNMAP.0,
    );

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
    /// The first touch of pages that do not exist.
    Missing,
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
    /// The next queued event, EAGAIN when there is none; the asynchronous mode queues none at all.
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

    /// A descriptor whose handshake was done elsewhere.
    #[cfg(any(test, fuzzing))]
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

    /// Registers a range for the first touch of pages that do not exist.
    pub(crate) fn watch_missing(&self, range: PageRange) -> Result<(), Errno> {
        let (start, len) = address(range);
        self.uffd.register_with_mode(start, len, RegisterMode::MISSING).map(drop).map_err(errno)
    }

    /// Takes the protection of a range away and wakes who waits for it.
    pub(crate) fn unprotect(&self, range: PageRange) -> Result<(), Errno> {
        let (start, len) = address(range);
        self.uffd.remove_write_protection(start, len, true).map_err(errno)
    }

    /// Gives a range of missing pages what the kernel would have given: zeros. Wakes who waits for them.
    pub(crate) fn zero(&self, range: PageRange) -> Result<(), Errno> {
        let (start, len) = address(range);
        // SAFETY: pages of the target that do not exist become what they would have become without us.
        unsafe { self.uffd.zeropage(start, len, true) }.map(drop).map_err(errno)
    }

    /// Wakes who waits for a range, to look again.
    pub(crate) fn wake(&self, range: PageRange) -> Result<(), Errno> {
        let (start, len) = address(range);
        self.uffd.wake(start, len).map_err(errno)
    }

    /// A second descriptor of the same.
    pub(crate) fn try_clone(&self) -> Result<Self, Errno> {
        let fd = self.as_fd().try_clone_to_owned().map_err(super::target::errno)?;
        // SAFETY: the new descriptor is ours and is given away whole.
        let uffd = unsafe { Uffd::from_raw_fd(fd.into_raw_fd()) };
        Ok(Self { uffd, pid: self.pid })
    }

    /// Appends what is queued, as far as it fits into the buffer. A message of no known kind is passed over: a fault that comes after
    /// it waits for its answer, and a fork brings a descriptor.
    pub(crate) fn read_events(
        &self,
        buffer: &mut EventBuffer,
        events: &mut Vec<FaultEvent>,
    ) -> Result<(), Errno> {
        let read = self.uffd.read_events(buffer).map_err(errno)?;
        events.extend(read.flatten().map(|event| self.event(event)));
        Ok(())
    }

    /// An event in our words. The child of a fork comes with a descriptor, which is closed: the child is released.
    fn event(&self, event: Event) -> FaultEvent {
        match event {
            Event::Pagefault { kind, rw, addr, thread_id } => FaultEvent::PageFault {
                address: addr as u64,
                flags: u32::from(rw == ReadWrite::Write) | u32::from(kind == FaultKind::WriteProtected) << 1,
                thread_id: u32::try_from(thread_id.as_raw()).ok().filter(|tid| *tid != 0),
            },
            Event::Remap { from, to, len } => {
                FaultEvent::Remap { old_address: from as u64, new_address: to as u64, length: len as u64 }
            }
            Event::Remove { start, end } | Event::Unmap { start, end } => FaultEvent::Remove {
                address: start as u64,
                length: (end as u64).saturating_sub(start as u64),
            },
            // The child is not there yet: the fork waits for the event to be read.
            Event::Fork { .. } => FaultEvent::Fork { parent_pid: self.pid, child_pid: 0 },
        }
    }

    pub(crate) fn failed(&self, operation: &'static str, errno: Errno) -> GlassRamError {
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
            UffdIoctlMode::WriteProtect => self.watch(range),
            UffdIoctlMode::Missing => self.watch_missing(range),
        }
        .map_err(|errno| self.failed("UFFDIO_REGISTER", errno))
    }

    fn write_protect(&self, range: UffdioRange, enable: bool) -> Result<()> {
        let done = if enable { self.protect(range) } else { self.unprotect(range) };
        done.map_err(|errno| self.failed("UFFDIO_WRITEPROTECT", errno))
    }

    fn read_event(&self) -> Result<UffdMsg> {
        let event = self.uffd.read_event().map_err(|error| self.failed("reading an event", errno(error)))?;
        Ok(self.event(event.ok_or_else(|| self.failed("reading an event", Errno::EAGAIN))?))
    }
}

impl AsFd for UserfaultFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.uffd.as_fd()
    }
}

impl From<UserfaultFd> for OwnedFd {
    fn from(uffd: UserfaultFd) -> OwnedFd {
        // The crate's own `into_raw_fd` closes what it gives away.
        let uffd = std::mem::ManuallyDrop::new(uffd.uffd);
        // SAFETY: the crate's object is never dropped, so this is the only owner.
        unsafe { OwnedFd::from_raw_fd(uffd.as_raw_fd()) }
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

/// Reads `bytes` as if they were the messages of a userfaultfd.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    use nix::fcntl::OFlag;

    /// include/uapi/linux/userfaultfd.h: the size of a message, the number of the one about a fork, and where the child's
    /// descriptor stands in that.
    const MESSAGE: usize = 32;
    const FORK: u8 = 0x13;
    const CHILD: std::ops::Range<usize> = 8..12;

    // As much as a pipe takes at once. The kernel gives no half messages, and here one would lose the descriptors of the others.
    let mut bytes = bytes[..bytes.len().min(1 << 16) / MESSAGE * MESSAGE].to_vec();
    for message in bytes.chunks_exact_mut(MESSAGE).filter(|message| message[0] == FORK) {
        // The kernel hands a descriptor over with it, so there has to be one.
        let child = std::fs::File::open("/dev/null").expect("it is always there").into_raw_fd();
        message[CHILD].copy_from_slice(&child.to_ne_bytes());
    }
    let (read, write) = nix::unistd::pipe2(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC).expect("a pipe");
    nix::unistd::write(&write, &bytes).expect("it fits");
    drop(write);
    let uffd = UserfaultFd::adopt(read, 1);
    let (mut buffer, mut events) = (EventBuffer::new(64), Vec::new());
    for _ in 0..bytes.len().div_ceil(MESSAGE) {
        let _ = uffd.read_events(&mut buffer, &mut events);
    }
    assert!(events.len() <= bytes.len() / MESSAGE);
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// A message: its kind, and three words.
    fn message(kind: u8, words: [u64; 3]) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0] = kind;
        for (place, word) in bytes[8..].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn a_descriptor_that_is_given_away_is_open() {
        let uffd = UserfaultFd::create(UffdFeatureFlags::ASYNC_RUNG).expect("created");
        let owned = OwnedFd::from(uffd);
        let link = std::fs::read_link(format!("/proc/self/fd/{}", owned.as_raw_fd())).expect("open");
        assert!(link.to_string_lossy().contains("userfaultfd"), "{}", link.display());
    }

    #[test]
    fn a_message_that_nobody_knows_loses_none_of_the_others() {
        let (mut released, child) = std::io::pipe().expect("a pipe");
        let child = OwnedFd::from(child).into_raw_fd();
        let queued = [
            message(0x7f, [0; 3]),
            message(0x12, [0, 0x7000, 9]),
            message(0x13, [u64::from(child.cast_unsigned()), 0, 0]),
        ];
        let (read, write) = nix::unistd::pipe().expect("a pipe");
        nix::unistd::write(&write, queued.as_flattened()).expect("it fits");
        let uffd = UserfaultFd::adopt(read, 1);
        let (mut buffer, mut events) = (EventBuffer::new(8), Vec::new());
        uffd.read_events(&mut buffer, &mut events).expect("read");
        let fault = FaultEvent::PageFault { address: 0x7000, flags: 0, thread_id: Some(9) };
        assert_eq!(events, [fault, FaultEvent::Fork { parent_pid: 1, child_pid: 0 }]);
        assert_eq!(released.read(&mut [0; 1]).expect("read"), 0, "the child's descriptor is closed");
    }
}
