//! What the running kernel can do, tried on ourselves before any target is touched.

#![allow(unsafe_code)]

use std::fmt;
use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, munmap};

use super::scan::{Pagemap, Question};
use super::uffd::{UffdFeatureFlags, UserfaultFd};
use super::{CaptureError, PageRange, sys};

/// How writes are followed, best first. The ladder has more rungs than this crate stands on yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rung {
    /// The kernel resolves write faults by itself and `PAGEMAP_SCAN` reports them: every page exact, nothing ever waits (Linux 6.7).
    WpAsync,
}

impl Rung {
    /// The best rung of the running kernel, tried out on ourselves.
    pub fn probe() -> Result<Self, CaptureError> {
        supported().map(|_| Rung::WpAsync)
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Rung::WpAsync => "wp-async",
        })
    }
}

/// What the trial showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Supported {
    /// What one asynchronous write fault costs the thread that takes it, measured here.
    pub fault_cost: Duration,
}

/// Tries the rung on a scratch mapping of ours; once per process, because kernels do not change under it.
pub(super) fn supported() -> Result<Supported, CaptureError> {
    static TRIED: OnceLock<Result<Supported, CaptureError>> = OnceLock::new();
    TRIED.get_or_init(try_on_ourselves).clone()
}

const REQUIRED: &str = "6.7";
const ROUNDS: usize = 7;

fn try_on_ourselves() -> Result<Supported, CaptureError> {
    let pid = std::process::id();
    let failed = |operation| move |errno| CaptureError::System { operation, pid, errno };
    let too_old =
        |missing| CaptureError::KernelTooOld { missing, required: REQUIRED, detected: running_kernel() };

    let fd =
        sys::userfaultfd(libc::O_CLOEXEC | libc::O_NONBLOCK | sys::UFFD_USER_MODE_ONLY).map_err(|errno| {
            match errno {
                // Unknown call, or (before 5.11) unknown flag.
                Errno::ENOSYS | Errno::EINVAL => too_old("userfaultfd with asynchronous write protection"),
                errno => CaptureError::System { operation: "userfaultfd(2)", pid, errno },
            }
        })?;
    let uffd =
        UserfaultFd::handshake(fd, pid, UffdFeatureFlags::ASYNC_RUNG).map_err(|errno| match errno {
            Errno::EINVAL => too_old("asynchronous write protection (UFFD_FEATURE_WP_ASYNC)"),
            errno => CaptureError::System { operation: "UFFDIO_API", pid, errno },
        })?;
    let file = File::open("/proc/self/pagemap")
        .map_err(super::target::errno)
        .map_err(failed("opening /proc/self/pagemap"))?;
    let mut pagemap = Pagemap::new(file);

    let scratch = Scratch::new().map_err(failed("mapping scratch memory"))?;
    scratch.write_each_page();
    uffd.watch(scratch.range()).map_err(failed("UFFDIO_REGISTER"))?;
    let mut costs = [Duration::ZERO; ROUNDS];
    for cost in &mut costs {
        pagemap.arm(scratch.range(), Question::Private).map_err(|errno| match errno {
            Errno::ENOTTY | Errno::EINVAL => too_old("PAGEMAP_SCAN"),
            errno => CaptureError::System { operation: "PAGEMAP_SCAN", pid, errno },
        })?;
        let begun = Instant::now();
        scratch.write_each_page();
        let armed = begun.elapsed();
        // The same stores once more, unarmed now: what they cost anyway.
        let begun = Instant::now();
        scratch.write_each_page();
        *cost = armed.saturating_sub(begun.elapsed()) / Scratch::PAGES as u32;
    }
    costs.sort_unstable();
    Ok(Supported { fault_cost: costs[ROUNDS / 2] })
}

/// What `uname -r` says.
fn running_kernel() -> String {
    nix::sys::utsname::uname()
        .map_or_else(|_| "unknown".into(), |name| name.release().to_string_lossy().into_owned())
}

/// Memory of our own, in small pages, unmapped at the end.
pub(super) struct Scratch {
    start: NonNull<libc::c_void>,
    page: usize,
}

impl Scratch {
    /// Its length in pages.
    pub const PAGES: usize = 512;

    pub fn new() -> nix::Result<Self> {
        let page =
            nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.map_or(4096, |size| size as usize);
        let length = NonZeroUsize::new(Self::PAGES * page).ok_or(Errno::EINVAL)?;
        // SAFETY: a new private mapping at an address of the kernel's choice disturbs nothing.
        let start = unsafe {
            mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)?
        };
        let scratch = Self { start, page };
        // A kernel without huge pages refuses, and then has none to avoid.
        // SAFETY: advice about our own new mapping.
        let _ = unsafe { madvise(start, length.get(), MmapAdvise::MADV_NOHUGEPAGE) };
        Ok(scratch)
    }

    pub fn range(&self) -> PageRange {
        let start = self.start.as_ptr() as u64;
        PageRange::new(start, start + (Self::PAGES * self.page) as u64)
    }

    #[cfg(test)]
    pub fn page(&self) -> usize {
        self.page
    }

    pub fn write_each_page(&self) {
        (0..Self::PAGES).for_each(|page| self.write(page));
    }

    /// Stores into one page of it.
    pub fn write(&self, page: usize) {
        let offset = page.min(Self::PAGES - 1) * self.page;
        // SAFETY: within the mapping, which nobody else knows of. Volatile, because the store itself is what is wanted.
        unsafe { self.start.cast::<u8>().add(offset).write_volatile(1) };
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and the last use of it.
        let _ = unsafe { munmap(self.start, Self::PAGES * self.page) };
    }
}
