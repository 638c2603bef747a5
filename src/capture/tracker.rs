//! One of the ladder's rungs, at work on one target.

use std::sync::Arc;
use std::time::Duration;

use super::arming::ArmingPolicy;
use super::attach::ProcessAttach;
use super::governor::Governor;
use super::lost::LostFeature;
use super::probe::Rung;
use super::region::MemoryRegion;
use super::soft_dirty::SoftDirtyTracker;
use super::sync::{SyncMetrics, SyncTracker};
use super::tracking::{AsyncTracker, Look};
use super::unwatched::UnwatchedRegion;
use super::vitals::Vitals;
use super::watch::Stopped;

/// The rung that a target was attached for.
#[derive(Debug)]
pub(super) enum Tracker {
    Async(Box<AsyncTracker>),
    Sync(Box<SyncTracker>),
    SoftDirty(Box<SoftDirtyTracker>),
}

impl Tracker {
    pub fn begin(
        target: &mut ProcessAttach,
        governor: &mut Governor,
        policy: Box<dyn ArmingPolicy>,
        length: Duration,
    ) -> Result<Self, Stopped> {
        Ok(match target.rung() {
            Rung::WpAsync => Tracker::Async(Box::new(AsyncTracker::begin(target, governor, policy, length)?)),
            rung @ (Rung::WpSync | Rung::Missing) => {
                Tracker::Sync(Box::new(SyncTracker::begin(target, rung)?))
            }
            Rung::SoftDirty => Tracker::SoftDirty(Box::new(SoftDirtyTracker::begin(target)?)),
        })
    }

    pub fn look(
        &mut self,
        target: &mut ProcessAttach,
        governor: &mut Governor,
        length: Duration,
    ) -> Result<Look, Stopped> {
        match self {
            Tracker::Async(tracker) => tracker.look(target, governor, length),
            Tracker::Sync(tracker) => tracker.look(target),
            Tracker::SoftDirty(tracker) => tracker.look(target, governor),
        }
    }

    /// How long the next window is to be, where so much is wanted.
    pub fn period(&self, wanted: Duration) -> Duration {
        match self {
            Tracker::SoftDirty(tracker) => tracker.period(wanted),
            Tracker::Async(_) | Tracker::Sync(_) => wanted,
        }
    }

    pub fn regions(&self) -> Arc<[MemoryRegion]> {
        match self {
            Tracker::Async(tracker) => tracker.watch.regions(),
            Tracker::Sync(tracker) => tracker.regions(),
            Tracker::SoftDirty(tracker) => tracker.regions(),
        }
    }

    /// Writable mappings that are not watched.
    pub fn unwatched(&self) -> &[UnwatchedRegion] {
        match self {
            Tracker::Async(tracker) => tracker.watch.unwatched(),
            Tracker::Sync(tracker) => tracker.unwatched(),
            Tracker::SoftDirty(_) => &[],
        }
    }

    /// What is not known of the target that would matter to it.
    pub fn unknown(&self, anonymous: bool) -> Vec<LostFeature> {
        match self {
            Tracker::Async(tracker) => tracker.watch.unknown(anonymous),
            Tracker::Sync(tracker) => tracker.unknown(anonymous),
            Tracker::SoftDirty(_) => Vec::new(),
        }
    }

    /// Pages of all writable mappings, whether they could be watched or not.
    pub fn writable_pages(&self, page_size: u64) -> u64 {
        let regions = self.regions();
        let unwatched = self.unwatched().iter().map(|unwatched| &unwatched.region);
        let bytes = |region: &MemoryRegion| region.len();
        // Of whole pages all; a division for each of tens of thousands takes its time.
        (regions.iter().map(bytes).sum::<u64>() + unwatched.map(bytes).sum::<u64>()) / page_size.max(1)
    }

    pub fn vitals(&self) -> &Vitals {
        match self {
            Tracker::Async(tracker) => tracker.vitals(),
            Tracker::Sync(tracker) => tracker.vitals(),
            Tracker::SoftDirty(tracker) => tracker.vitals(),
        }
    }

    /// The latencies of single events, where there are any.
    pub fn sync_metrics(&self) -> Option<SyncMetrics> {
        match self {
            Tracker::Sync(tracker) => Some(tracker.metrics()),
            Tracker::Async(_) | Tracker::SoftDirty(_) => None,
        }
    }
}
