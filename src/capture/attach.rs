//! Attaching: from a process number to a bundle of open descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::warn;

use super::broker::{Attached, Attacher, audited};
use super::inject::{self, Stop};
use super::keeper::{self, Keeper};
use super::probe::Rung;
use super::programs::Programs;
use super::range::PageRange;
use super::region::MemoryRegion;
use super::scan::Pagemap;
use super::table::Maps;
use super::target::{self, Status, TargetInfo, errno, memory_path, open_proc};
use super::uffd::UserfaultFd;
use super::{CaptureError, ProcessAttachCapability};
use crate::error::Result;

/// What attaching cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachMetrics {
    /// The one stop of a thread of the target; none on the rung that goes without.
    pub stop: Option<Stop>,
    /// From the call of `attach` until the descriptors were ours, the target running again.
    pub total: Duration,
}

/// An attached process: descriptors, each checked for permission when it was opened, and what was learnt on
/// the way.
///
/// Nothing is armed yet and nothing traces the target any more; [`GlassRamMonitor`](super::GlassRamMonitor)
/// does the watching. The bundle is all that watching needs, so it may as well come from a more privileged
/// process.
#[derive(Debug)]
pub struct ProcessAttach {
    pub(super) info: TargetInfo,
    pub(super) pidfd: OwnedFd,
    rung: Rung,
    uffd: Held,
    pub(super) pagemap: Pagemap,
    pub(super) maps: Maps,
    regions: Vec<MemoryRegion>,
    metrics: AttachMetrics,
    children: Vec<ProcessAttach>,
    /// What the files of its programs say.
    pub(super) programs: Programs,
    /// Who did it, and can do what else takes privileges.
    pub(super) by: Attacher,
}

/// Who holds the userfaultfd.
#[derive(Debug)]
enum Held {
    /// A process of its own: asynchronously, one can watch without having it.
    Keeper(Keeper),
    /// We do: on the synchronous rungs, events are read from it.
    Us(UserfaultFd),
    /// Nobody, on the rung that goes without.
    Nobody,
}

impl ProcessAttach {
    /// Who the target is.
    pub fn info(&self) -> &TargetInfo {
        &self.info
    }

    /// What attaching cost the target and us.
    pub fn metrics(&self) -> AttachMetrics {
        self.metrics
    }

    /// Becomes readable when the target ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// The children that `handle_fork` attached to, taken out to be watched.
    pub fn take_children(&mut self) -> Vec<ProcessAttach> {
        std::mem::take(&mut self.children)
    }

    /// All of it in a form that a socket carries: the facts, and the descriptors in the order that
    /// `from_parts` takes. None on other rungs than the asynchronous: a userfaultfd is not handed over.
    pub(super) fn to_parts(&self) -> Option<(Attached, [BorrowedFd<'_>; 4])> {
        let AttachMetrics { stop, total } = self.metrics;
        let (stop, Held::Keeper(keeper)) = (stop?, &self.uffd) else { return None };
        let facts = Attached {
            pid: self.info.pid,
            comm: self.info.comm.clone(),
            page_size: self.info.page_size,
            stopped_thread: stop.thread,
            stopped_ns: stop.stopped.as_nanos() as u64,
            requested_ns: stop.requested.as_nanos() as u64,
            repeated_call: stop.repeated_call,
            user_mode_only: stop.user_mode_only,
            total_ns: total.as_nanos() as u64,
            programs: self.programs.tell(&self.regions),
        };
        Some((facts, [self.pidfd.as_fd(), keeper.as_fd(), self.pagemap.as_fd(), self.maps.file().as_fd()]))
    }

    /// What another process has attached to for us.
    pub(super) fn from_parts(facts: Attached, fds: Vec<OwnedFd>, by: Attacher) -> Result<Self> {
        let pid = facts.pid;
        let [pidfd, keeper, pagemap, maps] = <[OwnedFd; 4]>::try_from(fds).map_err(|fds| {
            tracing::warn!(pid, descriptors = fds.len(), "an attachment of four descriptors was expected");
            CaptureError::Changed { pid }
        })?;
        let mut maps = Maps::of(maps.into());
        maps.read().map_err(|errno| CaptureError::System {
            operation: "reading the memory map",
            pid,
            errno,
        })?;
        let regions = maps.regions(pid)?.to_vec();
        let stop = Stop {
            thread: facts.stopped_thread,
            stopped: Duration::from_nanos(facts.stopped_ns),
            requested: Duration::from_nanos(facts.requested_ns),
            repeated_call: facts.repeated_call,
            user_mode_only: facts.user_mode_only,
        };
        Ok(Self {
            info: TargetInfo { pid, comm: facts.comm, page_size: facts.page_size },
            // The only one that is handed over.
            rung: Rung::WpAsync,
            pidfd,
            uffd: Held::Keeper(Keeper::of(keeper, pid)),
            pagemap: Pagemap::new(pagemap.into()),
            maps,
            programs: Programs::told(facts.programs, &regions),
            regions,
            metrics: AttachMetrics { stop: Some(stop), total: Duration::from_nanos(facts.total_ns) },
            children: Vec::new(),
            by,
        })
    }

    /// Whether the target has ended.
    pub(super) fn has_ended(&self) -> bool {
        ended(self.pidfd.as_fd())
    }

    /// As `attach`, on this rung and no other.
    pub fn attach_by(pid: u32, rung: Rung) -> Result<Self> {
        audited(pid, &format!("{rung}, without a broker"), || Self::attach_unwritten(pid, rung))
    }

    /// As `attach_by`, for who writes it down.
    pub(super) fn attach_unwritten(pid: u32, rung: Rung) -> Result<Self> {
        // While a process executes another program, what was gathered is of the old one or the new one is not
        // mapped yet. That lasts a moment; the next look is of the new program.
        for _ in 0..3 {
            match Self::open(pid, rung) {
                Err(CaptureError::Changed { .. } | CaptureError::NoSyscallInstruction { .. }) => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                other => return Ok(other?),
            }
        }
        Ok(Self::open(pid, rung)?)
    }

    /// How its writes are to be followed.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// The userfaultfd, on the rungs where we have it.
    pub(super) fn uffd(&self) -> Option<&UserfaultFd> {
        match &self.uffd {
            Held::Us(uffd) => Some(uffd),
            Held::Keeper(_) | Held::Nobody => None,
        }
    }

    /// Its keeper, on the asynchronous rung.
    pub(super) fn keeper(&self) -> Option<&Keeper> {
        match &self.uffd {
            Held::Keeper(keeper) => Some(keeper),
            Held::Us(_) | Held::Nobody => None,
        }
    }

    /// Whether huge pages that watching splits are put together again at the end.
    pub(super) fn set_restoring(&mut self, restores: bool) {
        if let Held::Keeper(keeper) = &mut self.uffd {
            keeper.set_restoring(restores);
        }
    }

    /// Puts ranges under the watch of the userfaultfd: the kernel's answer to each. One call for many is much
    /// faster than many.
    ///
    /// # Errors
    ///
    /// [`CaptureError::KeeperDied`] where there is nobody to do it.
    pub(super) fn watch_all(
        &self,
        ranges: &[PageRange],
    ) -> std::result::Result<Vec<std::result::Result<(), Errno>>, CaptureError> {
        Ok(match &self.uffd {
            Held::Keeper(keeper) => keeper.watch(ranges)?,
            Held::Us(uffd) => ranges.iter().map(|range| uffd.watch(*range)).collect(),
            Held::Nobody => vec![Err(Errno::EOPNOTSUPP); ranges.len()],
        })
    }

    /// Takes a range out of the watch.
    pub(super) fn unwatch(&self, range: PageRange) -> std::result::Result<(), Errno> {
        match &self.uffd {
            Held::Keeper(keeper) => {
                keeper.unwatch(&[range]).map_err(|_| Errno::EPIPE)?.pop().unwrap_or(Err(Errno::EPIPE))
            }
            Held::Us(uffd) => uffd.unwatch(range),
            Held::Nobody => Err(Errno::EOPNOTSUPP),
        }
    }

    /// Says where huge pages are that are about to be armed, so that they are put together again whatever
    /// becomes of us.
    pub(super) fn note_huge(&self, ranges: &[PageRange]) -> std::result::Result<(), CaptureError> {
        match self.keeper() {
            Some(keeper) if !ranges.is_empty() => keeper.note_huge(ranges),
            _ => Ok(()),
        }
    }

    fn open(pid: u32, rung: Rung) -> std::result::Result<Self, CaptureError> {
        let begun = Instant::now();
        rung.try_out()?;
        let mut info = target::inspect(pid)?;
        let pidfd = super::sys::pidfd_open(pid).map_err(|errno| match errno {
            Errno::ESRCH | Errno::EINVAL => CaptureError::NoSuchProcess { pid },
            errno => CaptureError::System { operation: "pidfd_open", pid, errno },
        })?;
        let mut maps = Maps::open(pid)?;
        let pagemap = Pagemap::new(open_proc(pid, "pagemap")?);
        maps.read().map_err(|errno| CaptureError::System {
            operation: "reading the memory map",
            pid,
            errno,
        })?;
        let regions = maps.regions(pid)?.to_vec();
        if regions.is_empty() {
            // The memory that the table is bound to is gone: another program has its own by now.
            let executed = has_memory(pid);
            return Err(if executed {
                CaptureError::Changed { pid }
            } else {
                CaptureError::NoSuchProcess { pid }
            });
        }
        let mut programs = Programs::default();
        let (mut uffd, mut stop) = (Held::Nobody, None);
        if rung.needs_uffd() {
            programs.read(pid, &regions, false);
            let injected = inject::userfaultfd_of(pid, pidfd.as_fd(), &regions)?;
            // The kernel's own accesses would fail instead of waiting.
            if rung != Rung::WpAsync && injected.stop.user_mode_only {
                return Err(CaptureError::UserModeOnly { pid });
            }
            stop = Some(injected.stop);
            let negotiated = negotiate(injected.uffd, pid, rung)?;
            uffd = if rung == Rung::WpAsync {
                let (uffd, pagemap) = (negotiated.into(), pagemap.as_fd());
                // Without it, whether the target has a userfaultfd of its own is not known, which is said.
                let descriptors = open_proc(pid, "fd").ok();
                let descriptors = descriptors.as_ref().map(AsFd::as_fd);
                let keeper = keeper::start(uffd, pidfd.as_fd(), pagemap, descriptors, pid, regions.len());
                Held::Keeper(keeper.map_err(|error| match error {
                    // A target that ends takes its keeper along.
                    CaptureError::KeeperDied { .. } if ended(pidfd.as_fd()) => {
                        CaptureError::NoSuchProcess { pid }
                    }
                    error => error,
                })?)
            } else {
                Held::Us(negotiated)
            };
        }
        // A process that was executing a program when we came had the new memory before it had the new name.
        if let Ok(status) = Status::of(pid) {
            info.comm = status.name();
        }
        let metrics = AttachMetrics { stop, total: begun.elapsed() };
        Ok(Self {
            info,
            rung,
            pidfd,
            uffd,
            pagemap,
            maps,
            regions,
            metrics,
            children: Vec::new(),
            programs,
            by: Attacher::default(),
        })
    }
}

impl ProcessAttachCapability for ProcessAttach {
    /// On the best rung that there is: where that is not the best of all, the log says what is lost, and why.
    /// It is written down, as are all attaches.
    fn attach(pid: u32) -> Result<Self> {
        let rung = Rung::probe()?;
        if let (false, Err(reason)) = (rung == Rung::WpAsync, Rung::WpAsync.try_out()) {
            warn!("{reason}; falling back to {rung}, on which are lost: {}", rung.lost());
        }
        Self::attach_by(pid, rung)
    }

    fn regions(&self) -> &[MemoryRegion] {
        &self.regions
    }

    fn writable_regions(&self) -> Vec<&MemoryRegion> {
        self.regions.iter().filter(|region| region.is_watchable()).collect()
    }

    fn handle_fork(&mut self, child_pid: u32) -> Result<()> {
        let child = match self.rung {
            Rung::WpAsync => self.by.attach(child_pid)?,
            rung => Self::attach_by(child_pid, rung)?,
        };
        self.children.push(child);
        Ok(())
    }
}

/// The handshake, with the fullest set of features that the kernel has. A refused one leaves the descriptor
/// as it was.
fn negotiate(fd: OwnedFd, pid: u32, rung: Rung) -> std::result::Result<UserfaultFd, CaptureError> {
    let failed = |errno| CaptureError::System { operation: "UFFDIO_API", pid, errno };
    let mut refused = Errno::EINVAL;
    for features in rung.features() {
        let fd = fd.try_clone().map_err(|error| failed(errno(error)))?;
        match UserfaultFd::handshake(fd, pid, *features) {
            Ok(uffd) => return Ok(uffd),
            Err(errno) => refused = errno,
        }
    }
    Err(failed(refused))
}

/// Whether the process that a pidfd stands for has ended.
fn ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
}

/// Whether the process has an address space right now. After an exec it has a new one; while it ends it has
/// none. Its size may be read without the right to look into it.
pub(super) fn has_memory(pid: u32) -> bool {
    let sizes = std::fs::read_to_string(memory_path(pid, "statm")).unwrap_or_default();
    sizes.split_whitespace().next().is_some_and(|pages| pages != "0")
}
