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

use serde::{Deserialize, Serialize};

use super::scan::{Pagemap, Question};
use super::soft_dirty::SoftDirty;
use super::uffd::{UffdFeatureFlags, UserfaultFd};
use super::{CaptureError, PageRange, sys};

/// How writes are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rung {
    /// The kernel resolves write faults by itself and `PAGEMAP_SCAN` reports them: every page exact, nothing ever waits (Linux 6.7).
    WpAsync,
    /// Each write to one of a few armed pages is an event that the target waits for, thread and order included (Linux 5.7).
    WpSync,
    /// Each first touch of a new page is an event that the target waits for (Linux 4.3).
    Missing,
    /// Soft-dirty bits of the page table, without userfaultfd and without a stop of the target (Linux 3.11, where built in).
    SoftDirty,
}

impl Rung {
    /// All rungs, best first.
    pub const LADDER: [Rung; 4] = [Rung::WpAsync, Rung::WpSync, Rung::Missing, Rung::SoftDirty];

    /// The best rung of the running kernel, tried out on ourselves. With none, why not the first.
    pub fn probe() -> Result<Self, CaptureError> {
        let first = Self::LADDER[0].try_out();
        match Self::LADDER.iter().find(|rung| rung.try_out().is_ok()) {
            Some(rung) => Ok(*rung),
            None => first.map(|()| Self::LADDER[0]),
        }
    }

    /// Whether the running kernel has it, tried out on ourselves.
    pub fn try_out(self) -> Result<(), CaptureError> {
        match self {
            Rung::WpAsync => supported().map(drop),
            Rung::WpSync => {
                handshake(UffdFeatureFlags::EVENTS.union(UffdFeatureFlags::PAGEFAULT_FLAG_WP), "5.7")
            }
            Rung::Missing => handshake(UffdFeatureFlags::THREAD_ID, "4.14"),
            Rung::SoftDirty => soft_dirty(),
        }
    }

    /// What is lost on it, against the best one. Empty for the best.
    pub fn lost(self) -> &'static str {
        match self {
            Rung::WpAsync => "",
            Rung::WpSync => {
                "all but a few pages drawn anew in each window, and the target waits at each event"
            }
            Rung::Missing => "every write but the first to each page, and the target waits at it",
            Rung::SoftDirty => {
                "writes between a look and its reset, threads of single writes, and short windows on busy targets"
            }
        }
    }

    /// Whether it needs a userfaultfd of the target, and so one stop of it.
    pub(super) fn needs_uffd(self) -> bool {
        self != Rung::SoftDirty
    }

    /// What its userfaultfd is asked for, the fullest set first.
    pub(super) fn features(self) -> &'static [UffdFeatureFlags] {
        const WP: UffdFeatureFlags = UffdFeatureFlags::EVENTS.union(UffdFeatureFlags::PAGEFAULT_FLAG_WP);
        const WP_SHARED: UffdFeatureFlags = WP.union(UffdFeatureFlags::WP_HUGETLBFS_SHMEM);
        match self {
            Rung::WpAsync => &[UffdFeatureFlags::ASYNC_RUNG],
            Rung::WpSync => &[WP_SHARED, WP],
            Rung::Missing => &[UffdFeatureFlags::EVENTS, UffdFeatureFlags::THREAD_ID],
            Rung::SoftDirty => &[],
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Rung::WpAsync => "wp-async",
            Rung::WpSync => "wp-sync",
            Rung::Missing => "missing",
            Rung::SoftDirty => "soft-dirty",
        })
    }
}

/// Whether the kernel could show reads as well: read-write protection is newer than every feature that this crate uses. Its reason
/// where it cannot.
pub fn reads() -> Result<(), String> {
    const NEWEST_KNOWN: u64 = sys::FEATURE_MOVE;
    let fd = sys::userfaultfd(libc::O_CLOEXEC | libc::O_NONBLOCK | sys::UFFD_USER_MODE_ONLY)
        .map_err(|errno| format!("userfaultfd(2): {}", errno.desc()))?;
    match sys::uffd_features(&fd) {
        Ok(features) if features > 2 * NEWEST_KNOWN - 1 => Ok(()),
        Ok(_) => Err(format!(
            "Linux {} has no read tracking (userfaultfd's read-write protection)",
            running_kernel()
        )),
        Err(errno) => Err(format!("UFFDIO_API: {}", errno.desc())),
    }
}

fn handshake(features: UffdFeatureFlags, required: &'static str) -> Result<(), CaptureError> {
    let pid = std::process::id();
    let missing = "userfaultfd with events and thread ids";
    // Forks of ours are events only for a root, and so they are for a target's.
    let fd = sys::userfaultfd(libc::O_CLOEXEC | libc::O_NONBLOCK).map_err(|errno| match errno {
        Errno::EPERM => {
            CaptureError::NotPermitted { pid, what: "userfaultfd(2) with faults of the kernel", errno }
        }
        Errno::ENOSYS => CaptureError::KernelTooOld { missing, required, detected: running_kernel() },
        errno => CaptureError::System { operation: "userfaultfd(2)", pid, errno },
    })?;
    UserfaultFd::handshake(fd, pid, features).map(drop).map_err(|errno| match errno {
        Errno::EINVAL => CaptureError::KernelTooOld { missing, required, detected: running_kernel() },
        Errno::EPERM => CaptureError::NotPermitted { pid, what: "fork events of a userfaultfd", errno },
        errno => CaptureError::System { operation: "UFFDIO_API", pid, errno },
    })
}

/// Resets the bits of all our own memory, once: nobody else of ours uses them.
fn soft_dirty() -> Result<(), CaptureError> {
    static TRIED: OnceLock<Result<(), CaptureError>> = OnceLock::new();
    let pid = std::process::id();
    let failed =
        |errno| CaptureError::System { operation: "trying soft-dirty bits on ourselves", pid, errno };
    let attempt = || {
        let scratch = Scratch::with_stride(1).map_err(failed)?;
        scratch.write_each_page();
        let mut bits = SoftDirty::open(pid)?;
        bits.reset().map_err(failed)?;
        scratch.write(7);
        let mut written = Vec::new();
        bits.written(scratch.range(), sys::page_size(), &mut written).map_err(failed)?;
        let at = scratch.range().start + 7 * sys::page_size();
        if written == [PageRange::new(at, at + sys::page_size())] {
            Ok(())
        } else {
            Err(CaptureError::KernelTooOld {
                missing: "soft-dirty tracking (CONFIG_MEM_SOFT_DIRTY)",
                required: "3.11, built with it",
                detected: running_kernel(),
            })
        }
    };
    TRIED.get_or_init(attempt).clone()
}

/// What the trial showed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Supported {
    /// What one asynchronous write fault costs the thread that takes it, measured here.
    pub fault_cost: Duration,
}

/// A fault leaves the target's caches colder than it found them, and its predictors confused: what it costs real programs in all, over
/// its own time in a loop (redis, sqlite and python3 in tests/bench/live.rs).
const AFTERMATH: f64 = 3.0;

/// What one fault costs, where it could be measured; otherwise what it costs on slow machines.
pub(super) fn fault_cost() -> Duration {
    supported().map_or(Duration::from_micros(2), |supported| supported.fault_cost.mul_f64(AFTERMATH))
}

/// Tries the asynchronous rung on a scratch mapping of ours; once per process, because kernels do not change under it.
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

    // Far apart: the pages of a target's faults are seldom neighbours, and their entries not in the caches.
    let scratch = Scratch::with_stride(16).map_err(failed("mapping scratch memory"))?;
    scratch.write_each_page();
    uffd.watch(scratch.range()).map_err(failed("UFFDIO_REGISTER"))?;
    let mut costs = [Duration::ZERO; ROUNDS];
    for cost in &mut costs {
        pagemap.arm(scratch.range(), Question::Anonymous).map_err(|errno| match errno {
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
    /// Bytes from one page that is used to the next.
    stride: usize,
}

impl Scratch {
    /// Its length in pages.
    pub const PAGES: usize = 512;

    /// Pages side by side.
    #[cfg(test)]
    pub fn new() -> nix::Result<Self> {
        Self::with_stride(1)
    }

    /// Of so many pages one is used.
    fn with_stride(pages: usize) -> nix::Result<Self> {
        let page =
            nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?.map_or(4096, |size| size as usize);
        let stride = pages * page;
        let length = NonZeroUsize::new(Self::PAGES * stride).ok_or(Errno::EINVAL)?;
        // SAFETY: a new private mapping at an address of the kernel's choice disturbs nothing.
        let start = unsafe {
            mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)?
        };
        let scratch = Self { start, stride };
        // A kernel without huge pages refuses, and then has none to avoid.
        // SAFETY: advice about our own new mapping.
        let _ = unsafe { madvise(start, length.get(), MmapAdvise::MADV_NOHUGEPAGE) };
        Ok(scratch)
    }

    pub fn range(&self) -> PageRange {
        let start = self.start.as_ptr() as u64;
        PageRange::new(start, start + (Self::PAGES * self.stride) as u64)
    }

    #[cfg(test)]
    pub fn page(&self) -> usize {
        self.stride
    }

    /// In an order that no prefetcher foresees.
    pub fn write_each_page(&self) {
        (0..Self::PAGES).for_each(|turn| self.write(turn * 197 % Self::PAGES));
    }

    /// Stores into one page of it.
    pub fn write(&self, page: usize) {
        let offset = page.min(Self::PAGES - 1) * self.stride;
        // SAFETY: within the mapping, which nobody else knows of. Volatile, because the store itself is what is wanted.
        unsafe { self.start.cast::<u8>().add(offset).write_volatile(1) };
    }

    /// Gives all its pages back.
    #[cfg(test)]
    pub fn give_back(&self) {
        // SAFETY: our own mapping, of whose content nothing is expected.
        let _ = unsafe { madvise(self.start, Self::PAGES * self.stride, MmapAdvise::MADV_DONTNEED) };
    }

    /// Loads from one page of it.
    #[cfg(test)]
    pub fn read(&self, page: usize) {
        let offset = page.min(Self::PAGES - 1) * self.stride;
        // SAFETY: as above.
        unsafe { self.start.cast::<u8>().add(offset).read_volatile() };
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and the last use of it.
        let _ = unsafe { munmap(self.start, Self::PAGES * self.stride) };
    }
}
