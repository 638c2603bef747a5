//! The set of mappings under watch, kept in step with the target's own table.

use std::sync::Arc;

use nix::errno::Errno;

use super::attach::ProcessAttach;
use super::range::{self, PageRange};
use super::region::{MemoryRegion, RegionKind};
use super::scan::{Found, Question};
use super::{CaptureError, huge};

/// Address space of shared mappings in which pages that do not exist yet are marked, too. The marks cost the target one
/// five-hundredth of it in page tables.
const MARKED_AT_MOST: u64 = 8 << 30;

/// A writable mapping that the kernel would not let us watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRegion {
    /// The mapping.
    pub region: MemoryRegion,
    /// The kernel's answer to its registration.
    pub errno: Errno,
}

/// The address space that was watched is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Why a pass over the set stopped.
#[derive(Debug)]
pub(super) enum Stopped {
    Gone,
    Failed(CaptureError),
}

impl From<Gone> for Stopped {
    fn from(_: Gone) -> Self {
        Stopped::Gone
    }
}

/// What is watched.
#[derive(Debug, Default)]
pub(super) struct WatchSet {
    regions: Arc<[MemoryRegion]>,
    refused: Vec<RefusedRegion>,
    /// Where huge pages were seen before our arming split them.
    huge: Vec<PageRange>,
    marked: u64,
}

impl WatchSet {
    pub fn regions(&self) -> Arc<[MemoryRegion]> {
        Arc::clone(&self.regions)
    }

    pub fn refused(&self) -> &[RefusedRegion] {
        &self.refused
    }

    /// Pages of all writable mappings, whether they could be watched or not.
    pub fn writable_pages(&self, page_size: u64) -> u64 {
        let refused = self.refused.iter().map(|refused| &refused.region);
        self.regions.iter().chain(refused).map(|region| region.pages(page_size)).sum()
    }

    pub fn huge(&self) -> &[PageRange] {
        &self.huge
    }

    /// Arms everything for the first time. What was written before is of no window.
    pub fn arm(&mut self, target: &mut ProcessAttach) -> Result<(), Stopped> {
        // The table that the attach has read; the reading in `reconcile` only tells what is different from it.
        self.rebuild(target).map_err(Stopped::Failed)?;
        self.reconcile(target)?;
        for region in Arc::clone(&self.regions).iter() {
            // Marks on every page of a shared mapping, so that its first read is not taken for a write.
            if self.question(region) == Question::SharedWithMarkers
                && target.uffd.protect(region.range()).is_ok()
            {
                self.marked += region.len();
            }
        }
        let mut before = Vec::new();
        self.collect(target, &mut before)
    }

    /// Registers what is new in the target's table and forgets what is gone; whether anything changed.
    pub fn reconcile(&mut self, target: &mut ProcessAttach) -> Result<bool, Stopped> {
        let pid = target.info.pid;
        let failed = |operation| move |errno| Stopped::Failed(CaptureError::System { operation, pid, errno });
        let mut changed = false;
        // Registering lets the kernel join a new mapping with its neighbour, so the table is read again after it. Twice is
        // enough for a table that holds still, and one that does not is caught up with in the next window.
        for _ in 0..2 {
            if !target.maps.read().map_err(failed("reading the memory map"))? {
                break;
            }
            if target.maps.is_gone() {
                return Err(Stopped::Gone);
            }
            changed |= self.rebuild(target).map_err(Stopped::Failed)?;
        }
        Ok(changed)
    }

    fn rebuild(&mut self, target: &ProcessAttach) -> Result<bool, CaptureError> {
        let table = target.maps.parse(target.info.pid)?;
        let known =
            |region: &MemoryRegion| self.regions.binary_search_by_key(&region.start, |known| known.start);
        let mut watched = Vec::with_capacity(self.regions.len() + 8);
        let mut refused = Vec::new();
        for region in table.into_iter().filter(MemoryRegion::is_watchable) {
            if known(&region).ok().and_then(|at| self.regions.get(at)) == Some(&region) {
                watched.push(region);
            } else if let Some(known) = self.refused.iter().find(|refused| refused.region == region) {
                refused.push(known.clone());
            } else {
                match target.uffd.watch(region.range()) {
                    Ok(()) => watched.push(region),
                    Err(errno) => {
                        tracing::debug!(%region, %errno, "mapping not watched");
                        refused.push(RefusedRegion { region, errno });
                    }
                }
            }
        }
        self.refused = refused;
        let changed = *self.regions != *watched;
        if changed {
            self.regions = watched.into();
        }
        Ok(changed)
    }

    /// Appends what was written since the last pass, and arms it again.
    pub fn collect(
        &mut self,
        target: &mut ProcessAttach,
        written: &mut Vec<PageRange>,
    ) -> Result<(), Stopped> {
        for region in Arc::clone(&self.regions).iter() {
            self.collect_one(target, region, written)?;
        }
        range::merge(written);
        Ok(())
    }

    fn collect_one(
        &mut self,
        target: &mut ProcessAttach,
        region: &MemoryRegion,
        written: &mut Vec<PageRange>,
    ) -> Result<(), Stopped> {
        let question = if region.is_shared() { Question::Shared } else { Question::Private };
        let note_huge = region.kind() != RegionKind::HugeTlb && !region.is_shared();
        let pid = target.info.pid;
        let huge = &mut self.huge;
        let mut found = |found: Found| {
            written.push(found.range);
            if found.huge && note_huge {
                huge::note(huge, found.range);
            }
        };
        let mut answer = target.pagemap.written(region.range(), question, &mut found);
        if answer == Err(Errno::EPERM) {
            // Another mapping took this place, or mremap(2) moved one here: it is not registered, so it is new.
            match target.uffd.watch(region.range()) {
                Ok(()) => answer = target.pagemap.written(region.range(), question, &mut found),
                // It has changed once more; the next reading of the table will say how.
                Err(Errno::ESRCH) => answer = Err(Errno::ESRCH),
                Err(_) => answer = Ok(()),
            }
        }
        match answer {
            Ok(()) | Err(Errno::EPERM) => Ok(()),
            Err(Errno::ESRCH) => Err(Stopped::Gone),
            Err(errno) => {
                Err(Stopped::Failed(CaptureError::System { operation: "PAGEMAP_SCAN", pid, errno }))
            }
        }
    }

    fn question(&self, region: &MemoryRegion) -> Question {
        match region.is_shared() {
            false => Question::Private,
            true if self.marked + region.len() <= MARKED_AT_MOST => Question::SharedWithMarkers,
            true => Question::Shared,
        }
    }
}
