//! What a window takes in memory, as it is counted: a file says much in few bytes, and none of it may cost
//! more than is stated.

use super::codec::MAX_THREADS;
use super::error::Damaged;
use super::numbers::MAX_TEXT;
use crate::capture::{MemoryRegion, PageRange, ThreadWrites, Window};

/// The most that a window may take once it is read, bytes: four million ranges, or a table of 150,000
/// regions.
pub const MAX_DECODED: usize = 64 << 20;
/// The most that what is made of a recording may take beside its reader, bytes: a map and its past, a trace,
/// rows of a table.
pub const MAX_MADE: usize = 256 << 20;
/// What an allocation takes besides its content.
const ALLOCATION: usize = 32;

/// What is left of the memory that one window may take.
#[derive(Debug)]
pub(super) struct Budget(usize);

impl Budget {
    pub fn of_window() -> Self {
        Self(MAX_DECODED)
    }

    /// Takes what is about to be allocated.
    pub fn take(&mut self, bytes: usize) -> Result<(), Damaged> {
        self.0 = self.0.checked_sub(bytes).ok_or(Damaged("a window takes more memory than any may"))?;
        Ok(())
    }
}

pub(super) fn spans(count: usize) -> usize {
    count.saturating_mul(size_of::<PageRange>())
}

pub(super) fn thread(name: &str, pages: usize) -> usize {
    size_of::<ThreadWrites>() + name.len() + pages.saturating_mul(size_of::<u64>()) + 2 * ALLOCATION
}

/// The table itself, which is copied once while it is made.
pub(super) fn regions(count: usize) -> usize {
    count.saturating_mul(2 * size_of::<MemoryRegion>())
}

pub(super) fn texts(permissions: &str, device: &str, name: &str) -> usize {
    permissions.len() + device.len() + name.len() + 3 * ALLOCATION
}

/// What all of `window` takes, with this table of regions.
pub(super) fn window(window: &Window, table: Option<&[MemoryRegion]>) -> usize {
    let threads = window.threads.iter().map(|thread| self::thread(&thread.name, thread.pages.len()));
    let names = table.unwrap_or_default().iter().map(|region| {
        texts(&region.permissions, &region.device, region.pathname.as_deref().unwrap_or_default())
    });
    spans(window.written.len() + window.unseen.len())
        + threads.sum::<usize>()
        + regions(table.map_or(0, <[MemoryRegion]>::len))
        + names.sum::<usize>()
}

/// Whether a reader would take it.
pub(super) fn fits(window: &Window, table: Option<&[MemoryRegion]>) -> bool {
    self::window(window, table) <= MAX_DECODED
        && window.threads.len() <= MAX_THREADS
        && names_fit(window, table)
}

fn names_fit(window: &Window, table: Option<&[MemoryRegion]>) -> bool {
    let regions = table.unwrap_or_default().iter();
    let mut names = regions
        .filter_map(|region| region.pathname.as_deref())
        .chain(window.threads.iter().map(|one| &*one.name));
    names.all(|name| name.len() <= MAX_TEXT)
}
