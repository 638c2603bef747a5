//! Everything that a keeper asks of the kernel once it is confined; the seccomp filter knows the same list.

use nix::libc::{self, c_int};

use super::memory::RUNS;
use super::raw::{call, exit};
use super::wire::MAX_WORDS;
use crate::capture::PageRange;
use crate::capture::sys::{self, MADV_COLLAPSE, PAGEMAP_SCAN, PageRegion, PmScanArg, UFFDIO_UNREGISTER};

/// The request number of UFFDIO_REGISTER.
pub(super) const UFFDIO_REGISTER: u64 = 0xc020_aa00;
/// The one mode in which anything is registered here: write protection, on a descriptor that was made
/// asynchronous.
const MODE_WRITE_PROTECT: u64 = 1 << 1;

/// The descriptors of a keeper.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    pub socket: c_int,
    pub uffd: c_int,
    pub pidfd: c_int,
    pub pagemap: c_int,
    /// The folder that lists the target's descriptors, -1 where it could not be opened.
    pub descriptors: c_int,
}

/// What came over the socket.
pub(super) enum Received {
    /// So many words.
    Words(usize),
    /// Nothing after all.
    Nothing,
    /// Something that is no message.
    Nonsense,
    /// The other end is closed.
    Closed,
}

impl Kernel {
    /// Puts a range under asynchronous write protection.
    pub fn register(&self, range: PageRange) -> Result<(), c_int> {
        let mut argument = [range.start, range.len(), MODE_WRITE_PROTECT, 0];
        self.uffd_ioctl(UFFDIO_REGISTER, &mut argument)
    }

    /// Lets go of a range; the kernel lifts its protection with it.
    pub fn unregister(&self, range: PageRange) -> Result<(), c_int> {
        self.uffd_ioctl(UFFDIO_UNREGISTER, &mut [range.start, range.len(), 0, 0])
    }

    fn uffd_ioctl(&self, request: u64, argument: &mut [u64; 4]) -> Result<(), c_int> {
        // SAFETY: the kernel reads and writes at most four words.
        let answer = unsafe {
            call(libc::SYS_ioctl, [self.uffd as u64, request, argument.as_mut_ptr() as u64, 0, 0, 0])
        };
        answer.map(drop)
    }

    /// Closes the userfaultfd: what is still registered is let go of.
    pub fn close_uffd(&self) {
        // SAFETY: nothing uses it any more.
        let _ = unsafe { call(libc::SYS_close, [self.uffd as u64, 0, 0, 0, 0, 0]) };
    }

    /// Looks at the page table: how many runs were found, and how far was looked. A process without memory
    /// any more ends this one.
    pub fn scan(
        &self,
        range: PageRange,
        asked: PmScanArg,
        runs: &mut [PageRegion; RUNS],
    ) -> Result<(usize, u64), c_int> {
        let mut argument = PmScanArg {
            size: size_of::<PmScanArg>() as u64,
            start: range.start,
            end: range.end,
            vec: runs.as_mut_ptr() as u64,
            vec_len: RUNS as u64,
            ..asked
        };
        // SAFETY: the kernel reads and writes this structure, and at most so many runs as it says.
        let answer = unsafe {
            let argument = std::ptr::from_mut(&mut argument) as u64;
            call(libc::SYS_ioctl, [self.pagemap as u64, PAGEMAP_SCAN, argument, 0, 0, 0])
        };
        match answer {
            Ok(found) => Ok(((found as usize).min(RUNS), argument.walk_end)),
            Err(libc::ESRCH) => exit(),
            Err(errno) => Err(errno),
        }
    }

    /// Whether the address space is still the target's. One that is gone ends this process, as the
    /// descriptors would be another program's.
    pub fn is_still_there(&self, runs: &mut [PageRegion; RUNS]) -> bool {
        let first_page = PageRange { start: 0, end: 4096 };
        self.scan(first_page, PmScanArg { return_mask: sys::PAGE_IS_PRESENT, ..super::let_go::NOTHING }, runs)
            .is_ok()
    }

    /// Reads a part of the list of descriptors from here on: how many bytes of it.
    pub fn list_descriptors(&self, from: u64, entries: &mut [u8]) -> Result<usize, c_int> {
        // SAFETY: the position is of our own descriptor; the kernel writes at most the length of `entries`.
        let length = unsafe {
            call(libc::SYS_lseek, [self.descriptors as u64, from, libc::SEEK_SET as u64, 0, 0, 0])?;
            let (at, room) = (entries.as_mut_ptr() as u64, entries.len() as u64);
            call(libc::SYS_getdents64, [self.descriptors as u64, at, room, 0, 0, 0])?
        };
        Ok((length as usize).min(entries.len()))
    }

    /// What one descriptor stands for: the length of the words. `name` is its number, with a zero behind it.
    pub fn read_descriptor(&self, name: &[u8], words: &mut [u8]) -> Result<usize, c_int> {
        if name.last() != Some(&0) {
            return Err(libc::EINVAL);
        }
        // SAFETY: the kernel reads up to the zero, and writes at most the length of `words`.
        let length = unsafe {
            let (at, room) = (words.as_mut_ptr() as u64, words.len() as u64);
            call(libc::SYS_readlinkat, [self.descriptors as u64, name.as_ptr() as u64, at, room, 0, 0])?
        };
        Ok((length as usize).min(words.len()))
    }

    /// Makes huge pages of these whole ones again.
    pub fn collapse(&self, range: PageRange) -> Result<(), c_int> {
        let vector = [range.start, range.len()];
        // SAFETY: the vector names memory of the other process; the kernel reads the two words of it.
        let answer = unsafe {
            let vector = vector.as_ptr() as u64;
            call(libc::SYS_process_madvise, [self.pidfd as u64, vector, 1, MADV_COLLAPSE as u64, 0, 0])
        };
        answer.map(drop)
    }

    /// Whether the target has ended.
    pub fn has_ended(&self) -> bool {
        self.poll(0).0
    }

    /// Waits until the target ends or the client wants something: which of them.
    pub fn wait(&self) -> (bool, bool) {
        self.poll(-1)
    }

    fn poll(&self, milliseconds: i64) -> (bool, bool) {
        let asked = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut fds = [asked(self.pidfd), asked(self.socket)];
        // SAFETY: the kernel reads and writes two entries.
        let answer =
            unsafe { call(libc::SYS_poll, [fds.as_mut_ptr() as u64, 2, milliseconds as u64, 0, 0, 0]) };
        let [target, client] = fds;
        match answer {
            Ok(_) => (target.revents != 0, client.revents != 0),
            Err(_) => (false, false),
        }
    }

    /// Takes the next message. Descriptors that come along are closed by the kernel, as there is no room for
    /// them.
    pub fn receive(&self, words: &mut [u64; MAX_WORDS]) -> Received {
        let flags = (libc::MSG_DONTWAIT | libc::MSG_TRUNC) as u64;
        // SAFETY: the kernel writes at most the length of `words`.
        let answer = unsafe {
            let room = size_of_val(words) as u64;
            call(libc::SYS_recvfrom, [self.socket as u64, words.as_mut_ptr() as u64, room, flags, 0, 0])
        };
        match answer {
            Ok(0) => Received::Closed,
            Ok(length) if length % 8 == 0 && length as usize <= size_of_val(words) => {
                Received::Words(length as usize / 8)
            }
            Ok(_) => Received::Nonsense,
            // An end that was closed with answers unread is told first; what it had said before is still
            // there.
            Err(libc::EAGAIN | libc::EINTR | libc::ECONNRESET) => Received::Nothing,
            Err(_) => Received::Closed,
        }
    }

    /// Says something. A client that does not take its answers is none.
    pub fn send(&self, words: &[u64]) -> Result<(), c_int> {
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u64;
        // SAFETY: the kernel reads the words.
        let answer = unsafe {
            let length = size_of_val(words) as u64;
            call(libc::SYS_sendto, [self.socket as u64, words.as_ptr() as u64, length, flags, 0, 0])
        };
        answer.map(drop)
    }
}
