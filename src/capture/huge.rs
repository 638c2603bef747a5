//! Huge pages: the first write to an armed one splits it, and detaching puts it together again.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::range::{self, PageRange};
use super::region::{MemoryRegion, RegionKind};
use super::scan::Pagemap;
use super::sys;

/// The huge page of x86-64's second level.
pub(super) const HUGE: u64 = 2 << 20;

/// Longest time that detaching spends on it: a rebuilt page costs about 0.15 ms, mostly copying.
const LIMIT: Duration = Duration::from_millis(500);

/// Pages that are put together in one call, some 5 ms' worth.
const AT_ONCE: usize = 32;

/// Notes that `found` was made of huge pages when it was armed.
pub(super) fn note(noted: &mut Vec<PageRange>, found: PageRange) {
    let whole = PageRange::new(found.start.next_multiple_of(HUGE), found.end / HUGE * HUGE);
    if whole.is_empty() {
        return;
    }
    noted.push(whole);
    range::merge(noted);
}

/// Makes huge pages of these whole ones again; how many bytes of them. One that cannot be is left as it is.
pub(super) fn collapse(pidfd: BorrowedFd<'_>, pages: &[PageRange]) -> u64 {
    let collapsed = |page: &&PageRange| sys::process_madvise_collapse(pidfd, &[**page]).is_ok();
    pages.iter().filter(collapsed).map(PageRange::len).sum()
}

/// Makes huge pages of those ranges again that were huge, are still private memory, are all there, and are in pieces. How
/// many bytes were put together. Best effort: it needs CAP_SYS_NICE, and a target that gave memory back in between keeps it so.
pub(super) fn restore(
    collapse: impl Fn(&[PageRange]) -> u64,
    pagemap: &mut Pagemap,
    table: &[MemoryRegion],
    noted: &[PageRange],
) -> u64 {
    let begun = Instant::now();
    let mut restored = 0;
    let mut ready = Vec::with_capacity(AT_ONCE);
    let private = |region: &&MemoryRegion| {
        matches!(region.kind(), RegionKind::Anonymous | RegionKind::Heap) && region.is_writable()
    };
    for region in table.iter().filter(private) {
        for common in noted.iter().filter_map(|noted| noted.intersection(&region.range())) {
            let mut at = common.start.next_multiple_of(HUGE);
            while at + HUGE <= common.end && begun.elapsed() <= LIMIT {
                let page = PageRange::new(at, at + HUGE);
                at += HUGE;
                // A missing page would be filled by collapsing: the target would own more memory than before.
                if pagemap.populated(page) == Ok((HUGE, false)) {
                    ready.push(page);
                }
                if ready.len() == AT_ONCE {
                    restored += collapse(&ready);
                    ready.clear();
                }
            }
        }
    }
    restored + collapse(&ready)
}
