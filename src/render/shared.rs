//! Memory that the CPU and any device can reach: a dma-buf of our own.
//!
//! It comes from /dev/udmabuf, which makes one of ordinary memory, or where that is missing from a card's dumb buffers.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use drm::buffer::DrmFourcc;
use drm::control::Device as _;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// `struct udmabuf_create` of linux/udmabuf.h.
#[repr(C)]
struct UdmabufCreate {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

/// `struct dma_buf_export_sync_file` and `…_import_…` of linux/dma-buf.h.
#[repr(C)]
struct SyncFile {
    flags: u32,
    fd: i32,
}

mod request {
    #![allow(missing_docs)]
    nix::ioctl_write_ptr!(udmabuf_create, b'u', 0x42, super::UdmabufCreate);
    nix::ioctl_write_ptr!(sync, b'b', 0, u64);
    nix::ioctl_readwrite!(export_sync_file, b'b', 2, super::SyncFile);
    nix::ioctl_write_ptr!(import_sync_file, b'b', 3, super::SyncFile);
}

/// Of linux/dma-buf.h.
const READ: u64 = 1;
const WRITE: u64 = 2;
const END: u64 = 4;

/// A dma-buf and the bytes from one row to the next.
pub(super) struct Allocated {
    pub(super) fd: OwnedFd,
    pub(super) stride: u32,
}

/// Makes a dma-buf of rows of `width` pixels of 4 bytes; the error says what each way answered.
pub(super) fn allocate(width: u32, height: u32) -> Result<Allocated, String> {
    // Rows begin at multiples of 256 bytes: every driver takes that.
    let stride = (width * 4).next_multiple_of(256);
    let size = (u64::from(stride) * u64::from(height)).next_multiple_of(page_size());
    let udmabuf = match from_memory(size) {
        Ok(fd) => return Ok(Allocated { fd, stride }),
        Err(error) => error,
    };
    let mut reasons = format!("/dev/udmabuf: {udmabuf}");
    for number in 0..8 {
        let path = format!("/dev/dri/card{number}");
        match File::options().read(true).write(true).open(&path).and_then(|card| dumb(card, width, height)) {
            Ok(allocated) => return Ok(allocated),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => reasons.push_str(&format!("; {path}: {error}")),
        }
    }
    Err(reasons)
}

pub(super) fn page_size() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096, |size| size as u64)
}

/// A dma-buf of ordinary memory.
pub(super) fn from_memory(size: u64) -> io::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open("/dev/udmabuf")?;
    let memory = memfd_create(c"memory.glass", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC)?;
    let memory = File::from(memory);
    memory.set_len(size)?;
    fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK))?;
    let create = UdmabufCreate { memfd: memory.as_raw_fd() as u32, flags: 1, offset: 0, size };
    // SAFETY: the argument is the struct that this request takes, and the kernel only reads it.
    let fd = unsafe { request::udmabuf_create(device.as_raw_fd(), &raw const create) }?;
    // SAFETY: the request returns a new descriptor, which nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

struct Card(File);

impl AsFd for Card {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl drm::Device for Card {}
impl drm::control::Device for Card {}

fn dumb(card: File, width: u32, height: u32) -> io::Result<Allocated> {
    let card = Card(card);
    let buffer = card.create_dumb_buffer((width, height), DrmFourcc::Xrgb8888, 32)?;
    let stride = drm::buffer::Buffer::pitch(&buffer);
    let handle = drm::buffer::Buffer::handle(&buffer);
    // O_CLOEXEC and O_RDWR.
    let fd = card.buffer_to_prime_fd(handle, 0o2_000_002);
    // The dma-buf holds the memory; the card's own handle is not needed any more.
    card.destroy_dumb_buffer(buffer)?;
    Ok(Allocated { fd: fd?, stride })
}

/// The CPU's view of a dma-buf.
pub(super) struct Mapping {
    address: NonNull<u8>,
    length: NonZeroUsize,
}

// SAFETY: the mapping belongs to this value alone, and is memory like any other.
unsafe impl Send for Mapping {}

impl Mapping {
    pub(super) fn of(fd: impl AsFd, length: usize) -> io::Result<Mapping> {
        let length = NonZeroUsize::new(length).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice; the file is at least so long, or writing faults as
        // it would on any mapping of a file that others may cut, which a dma-buf cannot be.
        let address = unsafe {
            mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, fd, 0)
        }?;
        Ok(Mapping { address: address.cast(), length })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for reading as long as this lives; devices write only between syncs, which the caller keeps.
        unsafe { std::slice::from_raw_parts(self.address.as_ptr(), self.length.get()) }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, for writing too, and this is the only view of ours.
        unsafe { std::slice::from_raw_parts_mut(self.address.as_ptr(), self.length.get()) }
    }

    pub(super) fn address(&self) -> usize {
        self.address.as_ptr() as usize
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `of` with this length, and nothing refers to it any more.
        let unmapped = unsafe { munmap(self.address.cast(), self.length.get()) };
        debug_assert!(unmapped.is_ok());
    }
}

/// Whose turn it is on a dma-buf.
///
/// The kernel keeps the fences of every device with the buffer itself; this is a handle to them.
#[derive(Debug)]
pub struct DmaFence(OwnedFd);

impl DmaFence {
    /// The fences of this dma-buf.
    pub fn of(buffer: impl AsFd) -> io::Result<DmaFence> {
        Ok(DmaFence(buffer.as_fd().try_clone_to_owned()?))
    }

    /// Waits for devices that use the buffer; then the CPU may write. [`Self::end_cpu_write`] must follow.
    pub fn begin_cpu_write(&self) -> io::Result<()> {
        self.sync(WRITE)
    }

    /// What the CPU has written is seen by devices from now on.
    pub fn end_cpu_write(&self) -> io::Result<()> {
        self.sync(WRITE | END)
    }

    /// Waits for devices that write; then the CPU may read.
    pub fn begin_cpu_read(&self) -> io::Result<()> {
        self.sync(READ)
    }

    /// The CPU has read.
    pub fn end_cpu_read(&self) -> io::Result<()> {
        self.sync(READ | END)
    }

    /// A sync_file that becomes readable when whoever writes the buffer now is done.
    pub fn writers(&self) -> io::Result<OwnedFd> {
        let mut file = SyncFile { flags: READ as u32, fd: -1 };
        // SAFETY: the argument is the struct that this request takes, ours alone.
        unsafe { request::export_sync_file(self.0.as_raw_fd(), &raw mut file) }?;
        // SAFETY: the kernel has put a new descriptor there.
        Ok(unsafe { OwnedFd::from_raw_fd(file.fd) })
    }

    /// Whoever writes the buffer after this waits until `reader` has signalled.
    pub fn add_reader(&self, reader: impl AsFd) -> io::Result<()> {
        let file = SyncFile { flags: READ as u32, fd: reader.as_fd().as_raw_fd() };
        // SAFETY: the argument is the struct that this request takes, and the kernel only reads it.
        unsafe { request::import_sync_file(self.0.as_raw_fd(), &raw const file) }?;
        Ok(())
    }

    /// Waits at most so long for [`Self::writers`]; false when that was not enough.
    pub(super) fn wait(&self, timeout_ms: u32) -> io::Result<bool> {
        let writers = self.writers()?;
        let mut polled = [PollFd::new(writers.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout_ms).unwrap_or(PollTimeout::MAX);
        Ok(poll(&mut polled, timeout)? > 0)
    }

    fn sync(&self, flags: u64) -> io::Result<()> {
        loop {
            // SAFETY: struct dma_buf_sync is one word of flags, which the kernel only reads.
            match unsafe { request::sync(self.0.as_raw_fd(), &raw const flags) } {
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
