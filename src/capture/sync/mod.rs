//! The synchronous rungs: every fault of an armed page is an event that the target waits for.
//!
//! They cost a target hundreds of times what the asynchronous rung costs, so they arm little and let go
//! early: in each window only so many pages ([`ARMED`]) are armed, drawn anew, and after so many events
//! ([`EVENTS`]) everything is released until the next one. What they have that the asynchronous rung lacks is
//! the single event: its thread, its order, its time.
//!
//! * **write-protect** ([`Rung::WpSync`]): writes to the pages that were drawn;
//! * **missing** ([`Rung::Missing`]): the first touch of pages that did not exist, and, where that was a read, the first write
//!   after it ([`read_first`]).
//!
//! A [`Reader`] thread answers every event at once; whoever looks at the windows is never waited for. Should
//! the whole monitor stand still, the [`watchdog`] releases the target within its bound. The events that the
//! kernel makes the target wait for besides faults (fork, mremap, madvise, munmap) are read first, before any
//! fault is resolved, because page operations fail while one is unread.

#![allow(unsafe_code)]

mod draw;
mod fault_reader;
mod read_first;
mod reader;
mod watchdog;

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::attach::ProcessAttach;
use super::governor::Spent;
use super::lost::LostFeature;
use super::probe::Rung;
use super::range::{self, PageRange};
use super::region::{MemoryRegion, RegionKind};
use super::tracking::Look;
use super::uffd::UserfaultFd;
use super::unwatched::{Unwatched, UnwatchedRegion};
use super::watch::{Stopped, refuse_second};
use super::yielding::Yielding;
use super::{CaptureError, FaultEvent};
use draw::Draw;
pub use fault_reader::FaultReader;
use read_first::ReadFirst;
use reader::Reader;
pub(super) use reader::SyncMetrics;
use watchdog::Watchdog;

/// Pages that are armed in a window.
const ARMED: usize = 256;
/// Events in a window after which the rest of it is let go.
const EVENTS: u32 = 128;
/// Draws for one page that exists, before fewer are armed.
const DRAWS: usize = 8;
/// The longest that a fault may wait for a monitor that stands still.
const BOUND: Duration = Duration::from_millis(10);

/// A synchronous rung on one target.
#[derive(Debug)]
pub(super) struct SyncTracker {
    rung: Rung,
    regions: Arc<[MemoryRegion]>,
    unwatched: Vec<UnwatchedRegion>,
    yielding: Yielding,
    /// Before the reader, so that it is gone when the reader lets go.
    watchdog: Watchdog,
    reader: Reader,
    pages: File,
    random: fastrand::Rng,
    draw: Draw,
    armed: Vec<PageRange>,
    read_first: ReadFirst,
    table_read: Instant,
    table_size: Option<(u64, u64)>,
    vitals: super::vitals::Vitals,
}

impl SyncTracker {
    pub fn begin(target: &mut ProcessAttach, rung: Rung) -> Result<Self, Stopped> {
        let pid = target.info.pid;
        let failed = |operation| move |errno| Stopped::Failed(CaptureError::System { operation, pid, errno });
        let uffd = target.uffd().ok_or(Errno::EBADF).map_err(failed("watching by a userfaultfd"))?;
        let watchdog = Watchdog::start(uffd.as_fd(), BOUND).map_err(failed("starting the watchdog"))?;
        let uffd = uffd.try_clone().map_err(failed("duplicating the userfaultfd"))?;
        let reader = Reader::start(uffd, rung, EVENTS, watchdog.beat())
            .map_err(failed("starting the event reader"))?;
        let vitals = super::vitals::Vitals::open(pid).map_err(Stopped::Failed)?;
        let mut tracker = Self {
            rung,
            regions: Arc::default(),
            unwatched: Vec::new(),
            yielding: Yielding::to(target),
            watchdog,
            reader,
            pages: super::target::open_proc(pid, "pagemap").map_err(Stopped::Failed)?,
            random: fastrand::Rng::new(),
            draw: Draw::default(),
            armed: Vec::new(),
            read_first: ReadFirst::default(),
            table_read: Instant::now(),
            table_size: vitals.size(),
            vitals,
        };
        tracker.rebuild(target)?;
        refuse_second(&tracker.regions, &tracker.unwatched, pid)?;
        tracker.arm(target, true);
        Ok(tracker)
    }

    pub fn regions(&self) -> Arc<[MemoryRegion]> {
        Arc::clone(&self.regions)
    }

    pub fn unwatched(&self) -> &[UnwatchedRegion] {
        &self.unwatched
    }

    /// What is not known of the target that would matter to it.
    pub fn unknown(&self, anonymous: bool) -> Vec<LostFeature> {
        self.yielding.unknown(anonymous)
    }

    pub fn vitals(&self) -> &super::vitals::Vitals {
        &self.vitals
    }

    pub fn metrics(&self) -> SyncMetrics {
        self.reader.metrics()
    }

    /// Ends a window: what its events said, and what is armed for the next one.
    pub fn look(&mut self, target: &mut ProcessAttach) -> Result<Look, Stopped> {
        let page_size = target.info.page_size;
        let taken = self.reader.take();
        let released = self.watchdog.has_released();
        // What was let go half way was seen for a part of the window only.
        let mut seen = if taken.exhausted || released { Vec::new() } else { std::mem::take(&mut self.armed) };
        let page_of = |address: u64| {
            let page = address / page_size * page_size;
            PageRange::new(page, page + page_size)
        };
        let touched = |write: bool| {
            taken.events.iter().filter_map(move |event| match event {
                FaultEvent::PageFault { address, flags, .. } if (flags & 1 != 0) == write => {
                    Some(page_of(*address))
                }
                _ => None,
            })
        };
        let mut written: Vec<PageRange> = touched(true).collect();
        if self.rung == Rung::Missing {
            self.read_first.note(touched(false));
            written.append(&mut self.read_first.written(&self.pages, page_size));
            seen.extend_from_slice(self.read_first.untouched());
        }
        range::merge(&mut written);
        let whole: Vec<PageRange> = self.regions.iter().map(MemoryRegion::range).collect();
        seen.extend_from_slice(&written);
        range::merge(&mut seen);
        // Of pages that existed before it the missing rung learns nothing.
        let unseen = range::subtract(&whole, &seen);
        let moved = taken.events.iter().any(|event| !matches!(event, FaultEvent::PageFault { .. }));
        let mut changed = false;
        let size = self.vitals.size();
        if self.yielding.looks_for_own(target)
            || moved
            || released
            || size != self.table_size
            || self.table_read.elapsed() > Duration::from_millis(100)
        {
            changed = self.rebuild(target)?;
            (self.table_size, self.table_read) = (size, Instant::now());
        }
        // The watchdog has ended every registration, and a share of the missing rung ends with them, too.
        if released || self.rung == Rung::Missing && taken.exhausted {
            self.register_all(target);
        }
        self.arm(target, changed);
        self.reader.begin_window();
        // A waiting thread is put to sleep and woken, besides the time that the answer takes.
        let wait = self.reader.metrics().mean + Duration::from_micros(10);
        let spent = Spent { waited: wait * taken.waited_faults as u32, ..Spent::default() };
        Ok(Look {
            changed,
            written,
            unseen,
            spent,
            events: taken.events,
            dropped: taken.dropped + u64::from(released),
        })
    }

    /// Follows the table of mappings.
    fn rebuild(&mut self, target: &mut ProcessAttach) -> Result<bool, Stopped> {
        let pid = target.info.pid;
        let failed = |operation| move |errno| Stopped::Failed(CaptureError::System { operation, pid, errno });
        target.maps.read().map_err(failed("reading the memory map"))?;
        if target.maps.is_gone() {
            return Err(Stopped::Gone);
        }
        let table = target.maps.regions(pid).map_err(Stopped::Failed)?.to_vec();
        let mut watched = Vec::new();
        self.yielding.follow(&table);
        self.unwatched.clear();
        for region in table.into_iter().filter(MemoryRegion::is_watchable) {
            if watched.len() == watchdog::RANGES {
                self.unwatched.push(UnwatchedRegion { region, why: Unwatched::Refused(Errno::ENOSPC) });
                continue;
            }
            let known = self.regions.binary_search_by_key(&region.start, |known| known.start);
            let known = known.ok().and_then(|at| self.regions.get(at)) == Some(&region);
            if let Some(why) = self.yielding.leaves(&region) {
                if known && let Err(errno) = target.unwatch(region.range()) {
                    tracing::debug!(%errno, "letting go of a mapping");
                }
                self.unwatched.push(UnwatchedRegion { region, why });
                continue;
            }
            if known {
                watched.push(region);
                continue;
            }
            match self.register(target, &region) {
                Ok(()) => watched.push(region),
                Err(errno) => self.unwatched.push(UnwatchedRegion { region, why: Unwatched::Refused(errno) }),
            }
        }
        let changed = *self.regions != *watched;
        self.regions = watched.into();
        if changed {
            self.watchdog.ranges(&self.regions.iter().map(MemoryRegion::range).collect::<Vec<_>>());
        }
        Ok(changed)
    }

    fn register(&self, target: &ProcessAttach, region: &MemoryRegion) -> Result<(), Errno> {
        // The thread that runs right now lives on its stack, and would wait at every step.
        if region.kind() == RegionKind::Stack {
            return Err(Errno::EOPNOTSUPP);
        }
        let uffd = target.uffd().ok_or(Errno::EBADF)?;
        match self.rung {
            Rung::Missing if region.kind() != RegionKind::Anonymous && region.kind() != RegionKind::Heap => {
                Err(Errno::EOPNOTSUPP)
            }
            Rung::Missing => uffd.watch_missing(region.range()),
            _ => uffd.watch(region.range()),
        }
    }

    fn register_all(&self, target: &ProcessAttach) {
        for region in self.regions.iter() {
            // One that is gone by now is left out when the table is read.
            let _ = self.register(target, region);
        }
    }

    /// Lets go of what was armed and arms other pages, drawn from those that exist.
    fn arm(&mut self, target: &mut ProcessAttach, changed: bool) {
        if self.rung == Rung::Missing {
            self.reader.armed(&self.regions.iter().map(MemoryRegion::range).collect::<Vec<_>>());
            return;
        }
        self.draw.look(&mut target.pagemap, &self.regions, changed, target.info.page_size);
        let Some(uffd) = target.uffd() else { return };
        release(uffd, &self.armed);
        self.armed = self.draw(target.info.page_size);
        self.armed.retain(|range| uffd.protect(*range).is_ok());
        self.reader.armed(&self.armed);
    }

    fn draw(&mut self, page_size: u64) -> Vec<PageRange> {
        const PRESENT: u64 = 1 << 63;
        let pages = self.draw.pages();
        let mut drawn = Vec::with_capacity(ARMED);
        for _ in 0..(if pages > 0 { ARMED * DRAWS } else { 0 }) {
            let Some(at) = self.draw.page(self.random.u64(..pages), page_size) else { continue };
            let mut entry = [0; 8];
            let read = self.pages.read_exact_at(&mut entry, at / page_size * 8);
            if read.is_ok() && u64::from_ne_bytes(entry) & PRESENT != 0 {
                drawn.push(PageRange::new(at, at + page_size));
            }
            if drawn.len() >= ARMED {
                break;
            }
        }
        range::merge(&mut drawn);
        drawn
    }
}

/// Takes the protection away. A range that is gone needs none.
fn release(uffd: &UserfaultFd, ranges: &[PageRange]) {
    for range in ranges {
        let _ = uffd.unprotect(*range);
    }
}
