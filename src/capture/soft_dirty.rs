//! The rung without userfaultfd and without a stop of the target: soft-dirty bits (Documentation/admin-guide/mm/soft-dirty.rst).
//!
//! Writing 4 to `/proc/PID/clear_refs` arms every page of the target, and bit 55 of its `pagemap` entries says which were
//! written since. All or nothing, so the budget is held by the length of the windows instead; and two things are lost: a write between
//! the look and the reset is seen by nobody, and whoever else resets the bits (a second monitor, CRIU) takes ours.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::CaptureError;
use super::attach::ProcessAttach;
use super::governor::{Governor, Spent};
use super::range::{self, PageRange};
use super::region::MemoryRegion;
use super::target::{errno, memory_path, open_proc};
use super::tracking::Look;
use super::vitals::Vitals;
use super::watch::Stopped;

/// Pages whose entries are read in one call.
const PAGES: usize = 16 << 10;
const SOFT_DIRTY: u64 = 1 << 55;
const SWAPPED: u64 = 1 << 62;
const PRESENT: u64 = 1 << 63;

/// Soft-dirty bits of one target.
#[derive(Debug)]
pub(super) struct SoftDirtyTracker {
    bits: SoftDirty,
    regions: Arc<[MemoryRegion]>,
    vitals: Vitals,
    /// What a window must at least last for the budget to hold.
    least: Duration,
}

impl SoftDirtyTracker {
    pub fn begin(target: &mut ProcessAttach) -> Result<Self, Stopped> {
        let pid = target.info.pid;
        let bits = SoftDirty::open(pid).map_err(Stopped::Failed)?;
        let vitals = Vitals::open(pid).map_err(Stopped::Failed)?;
        let mut tracker = Self { bits, regions: Arc::default(), vitals, least: Duration::ZERO };
        tracker.rebuild(target)?;
        tracker.bits.reset().map_err(|errno| stopped(pid, errno))?;
        Ok(tracker)
    }

    pub fn regions(&self) -> Arc<[MemoryRegion]> {
        Arc::clone(&self.regions)
    }

    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// The length that the next window should have.
    pub fn period(&self, wanted: Duration) -> Duration {
        wanted.max(self.least)
    }

    /// Ends a window.
    pub fn look(&mut self, target: &mut ProcessAttach, governor: &Governor) -> Result<Look, Stopped> {
        let pid = target.info.pid;
        let changed = self.rebuild(target)?;
        let mut written = Vec::new();
        let mut there = Vec::new();
        for region in self.regions.iter() {
            there.clear();
            // Terabytes may be reserved, and an entry is read for each page: for those that are there, where the kernel says
            // which these are (6.7).
            if target.pagemap.there(region.range(), &mut there).is_err() {
                there = vec![region.range()];
            }
            for range in &there {
                // A mapping that is gone by now has no entries.
                match self.bits.written(*range, target.info.page_size, &mut written) {
                    Ok(()) | Err(Errno::EIO) => {}
                    Err(errno) => return Err(stopped(pid, errno)),
                }
            }
        }
        self.bits.reset().map_err(|errno| stopped(pid, errno))?;
        range::merge(&mut written);
        let spent = Spent {
            faults: range::pages(&written, target.info.page_size),
            flushes: range::pieces(&written),
            ..Spent::default()
        };
        self.least = governor.length_for(&spent);
        Ok(Look { changed, written, spent, ..Look::default() })
    }

    fn rebuild(&mut self, target: &mut ProcessAttach) -> Result<bool, Stopped> {
        let pid = target.info.pid;
        target.maps.read().map_err(|errno| stopped(pid, errno))?;
        if target.maps.is_gone() {
            return Err(Stopped::Gone);
        }
        let table = target.maps.regions(pid).map_err(Stopped::Failed)?;
        let watched: Vec<MemoryRegion> = table
            .iter()
            .filter(|region| region.is_watchable() || region.is_between_writes())
            .cloned()
            .collect();
        let changed = *self.regions != *watched;
        if changed {
            self.regions = watched.into();
        }
        Ok(changed)
    }
}

fn stopped(pid: u32, errno: Errno) -> Stopped {
    match errno {
        Errno::ESRCH => Stopped::Gone,
        errno => Stopped::Failed(CaptureError::System { operation: "reading soft-dirty bits", pid, errno }),
    }
}

/// The two files of one process.
#[derive(Debug)]
pub(super) struct SoftDirty {
    pagemap: File,
    clear: File,
    entries: Vec<u8>,
}

impl SoftDirty {
    pub fn open(pid: u32) -> Result<Self, CaptureError> {
        let clear =
            OpenOptions::new().write(true).open(memory_path(pid, "clear_refs")).map_err(
                |error| match errno(error) {
                    errno @ (Errno::EACCES | Errno::EPERM) => {
                        CaptureError::NotPermitted { pid, what: "resetting its soft-dirty bits", errno }
                    }
                    errno => CaptureError::System { operation: "opening clear_refs", pid, errno },
                },
            )?;
        Ok(Self { pagemap: open_proc(pid, "pagemap")?, clear, entries: Vec::new() })
    }

    pub fn reset(&mut self) -> Result<(), Errno> {
        self.clear.write_all(b"4\n").map_err(errno)
    }

    /// Appends the pages of the range that were written since the last reset.
    pub fn written(
        &mut self,
        range: PageRange,
        page_size: u64,
        written: &mut Vec<PageRange>,
    ) -> Result<(), Errno> {
        let mut at = range.start;
        while at < range.end {
            let pages = ((range.end - at) / page_size).min(PAGES as u64);
            self.entries.resize(pages as usize * 8, 0);
            self.pagemap.read_exact_at(&mut self.entries, at / page_size * 8).map_err(errno)?;
            for (page, entry) in (at..).step_by(page_size as usize).zip(self.entries.chunks_exact(8)) {
                let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
                if entry & SOFT_DIRTY == 0 || entry & (PRESENT | SWAPPED) == 0 {
                    continue;
                }
                match written.last_mut() {
                    Some(last) if last.end == page => last.end += page_size,
                    _ => written.push(PageRange::new(page, page + page_size)),
                }
            }
            at += pages * page_size;
        }
        Ok(())
    }
}
