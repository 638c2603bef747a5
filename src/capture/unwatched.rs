//! Writable memory that is not watched, and why.
//!
//! A registered mapping is another one to the kernel than it was before, and a few calls of the target tell the difference:
//!
//! | the target | on a registered mapping | what is done |
//! | --- | --- | --- |
//! | registers it with a userfaultfd of its own | EBUSY | where a file of its program shows that it can make one (`programs`), what it could register is not watched, unless that is asked for; and as soon as such a descriptor is seen among its files (`descriptors`), or in the kernel's answer to a registration of ours, it is let go in any case, for as long as the watch lasts |
//! | puts a guard region (MADV_GUARD_INSTALL) into shared memory or a private mapping of a file | the kernel gives the page back, finds our mark in its place, and tries again for ever | a thread that runs in the kernel and does nothing else is noticed; such mappings are let go, and the call returns |
//! | maps small neighbours one after another | a new one does not join one that is registered | after a few, a new piece is registered only when it is worth a mapping of its own, and none where the target has half of the mappings that it may have, or got a sixteenth of them by us (`registration`) |
//! | moves several mappings by one mremap(2) (Linux 6.17), or one and a younger neighbour that would have been one with it | EFAULT | nothing tells of it before or after: it goes on failing, as do all such calls on memory under any userfaultfd |
//! | MADV_COLLAPSE of armed pages | EINVAL | as above; the kernel's own collapsing passes them over, too |
//!
//! What is let go is told as not watched, with its size and the reason.

use std::fmt;

use nix::errno::Errno;
use serde::Serialize;

use super::region::{MemoryRegion, RegionKind};

/// Why a writable mapping is not watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unwatched {
    /// The kernel's answer to its registration.
    Refused(Errno),
    /// The target has, or had, a userfaultfd of its own: it could not register this memory if we had.
    OwnUserfaultfd,
    /// A program of the target can make a userfaultfd, which could not register this memory if we had.
    PossibleUserfaultfd,
    /// A call of the target that installs guard pages did not return while this was watched.
    GuardPages,
    /// Part of memory that grows piece by piece: registered now, it would never join what is before it.
    Growing,
    /// The same, whatever the size of the piece: the target has many mappings for what the kernel lets it
    /// have, or got them by us.
    Crowded,
    /// Device memory, or an object of the kernel: what is written there is in no page of the target's own.
    Device,
}

impl fmt::Display for Unwatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Errno::EBUSY) => f.write_str("another userfaultfd watches it already"),
            Self::Refused(errno) => write!(f, "the kernel refuses: {}", errno.desc()),
            Self::OwnUserfaultfd => {
                f.write_str("the target has a userfaultfd of its own, which could not register what we watch")
            }
            Self::PossibleUserfaultfd => f.write_str(
                "the program can make a userfaultfd of its own, which could not register what we watch; \
                 --watch-own-userfaultfd watches it until it is seen to have one",
            ),
            Self::GuardPages => f.write_str(
                "the target installs guard pages in it, which does not end as long as it is watched (a limit of the kernel)",
            ),
            Self::Crowded => f.write_str(
                "the target has many of the mappings that it may have (vm.max_map_count), and would get more by being watched here",
            ),
            Self::Device => f.write_str("device memory or an object of the kernel: writes to it leave no trace"),
            Self::Growing => {
                f.write_str("it grows in small pieces, and would become too many mappings if each was watched at once")
            }
        }
    }
}

/// A writable mapping that is not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnwatchedRegion {
    /// The mapping.
    pub region: MemoryRegion,
    /// Why.
    pub why: Unwatched,
}

/// How much writable memory is not watched for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotWatched {
    /// What it is for, in the words of [`RegionKind`](super::RegionKind).
    pub kind: String,
    /// Why, in words.
    pub reason: String,
    /// How many mappings.
    pub mappings: u64,
    /// Their size.
    pub bytes: u64,
}

impl fmt::Display for NotWatched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, reason, mappings, bytes } = self;
        let (kib, s) = (bytes.div_ceil(1024), if *mappings == 1 { "" } else { "s" });
        write!(f, "{kib} KiB in {mappings} {kind} mapping{s}: {reason}")
    }
}

/// Sums of what is not watched, by kind and reason, the largest first.
pub(super) fn summary(unwatched: &[UnwatchedRegion]) -> Vec<NotWatched> {
    let mut sums: Vec<(Unwatched, RegionKind, u64, u64)> = Vec::new();
    for UnwatchedRegion { region, why } in unwatched {
        let at = sums.iter().position(|sum| (sum.0, sum.1) == (*why, region.kind()));
        match at.and_then(|at| sums.get_mut(at)) {
            Some((_, _, mappings, bytes)) => (*mappings, *bytes) = (*mappings + 1, *bytes + region.len()),
            None => sums.push((*why, region.kind(), 1, region.len())),
        }
    }
    sums.sort_unstable_by_key(|(_, _, _, bytes)| std::cmp::Reverse(*bytes));
    let told = |(why, kind, mappings, bytes): (Unwatched, RegionKind, u64, u64)| NotWatched {
        kind: kind.to_string(),
        reason: why.to_string(),
        mappings,
        bytes,
    };
    sums.into_iter().map(told).collect()
}
