//! All the memory that a keeper has: one mapping, made before it is started, all zero but for its plan.

use nix::libc;

use super::kernel::Kernel;
use super::list::List;
use super::wire::MAX_WORDS;
use crate::capture::sys::PageRegion;

/// Runs of pages that one look at the page table answers with.
pub(super) const RUNS: usize = 512;
/// Parts of the address space that a keeper needs, at most.
pub(super) const KEPT: usize = 32;
/// Bytes of the list of the target's descriptors that are read at once: some thousand of them.
pub(super) const ENTRIES: usize = 32 << 10;
/// Steps of the seccomp filter, at most.
pub(super) const STEPS: usize = 256;

/// What is written by who starts it.
#[repr(C)]
pub(super) struct Plan {
    pub kernel: Kernel,
    /// What stays mapped: sorted, disjoint.
    pub kept: [(u64, u64); KEPT],
    pub kept_count: usize,
    /// Ranges that are watched at the same time, at most.
    pub most: usize,
    pub program: [libc::sock_filter; STEPS],
    pub program_length: u16,
}

/// A stack. What runs on it keeps no large objects there.
#[repr(C, align(16))]
pub(super) struct Stack([u8; 64 << 10]);

/// The mapping.
#[repr(C)]
pub(super) struct Memory {
    pub plan: Plan,
    /// The keeper's process number, or what clone(2) has answered instead.
    pub started: i64,
    /// When it was last looked for ranges that are gone.
    pub forgot_ns: u64,
    /// The message that is read or written.
    pub words: [u64; MAX_WORDS],
    pub runs: [PageRegion; RUNS],
    /// A part of the list of the target's descriptors.
    pub entries: [u8; ENTRIES],
    /// What is watched.
    pub watched: List,
    /// Where huge pages were.
    pub huge: List,
    /// Which of them are to be tried again.
    pub left: List,
    pub starter_stack: Stack,
    pub keeper_stack: Stack,
}
