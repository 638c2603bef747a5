//! Pages whose first touch was a read, on the missing rung.
//!
//! Such a page becomes the zero page, and no event tells of the write that replaces it later. The page table does: the zero page is
//! nobody's own (bit 56 of its `pagemap` entry, which needs no privilege; Documentation/admin-guide/mm/pagemap.rst), a written one is.
//! One that was written and shared with a forked child within the same window is only told apart when the child lets go of it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::super::range::{self, PageRange};

/// Pages that are followed at once; the writes to further ones are not known.
const FOLLOWED: u64 = 16 << 10;
/// Entries that are read in one call.
const AT_ONCE: u64 = 512;

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const EXCLUSIVE: u64 = 1 << 56;

/// The pages that are followed.
#[derive(Debug, Default)]
pub(super) struct ReadFirst(Vec<PageRange>);

impl ReadFirst {
    /// These pages have been read for the first time.
    pub fn note(&mut self, pages: impl Iterator<Item = PageRange>) {
        self.0.extend(pages);
        range::merge(&mut self.0);
    }

    /// Those that are zero pages still, as far as anybody knows: sorted, disjoint.
    pub fn untouched(&self) -> &[PageRange] {
        &self.0
    }

    /// Those that were written since the last call; they are followed no longer, and neither are those that are gone.
    pub fn written(&mut self, pagemap: &File, page_size: u64) -> Vec<PageRange> {
        let (mut written, mut left, mut room) = (Vec::new(), Vec::new(), FOLLOWED);
        let mut entries = [0; AT_ONCE as usize * 8];
        for range in std::mem::take(&mut self.0) {
            for start in (range.start..range.end).step_by((AT_ONCE * page_size) as usize) {
                let pages = ((range.end - start) / page_size).min(AT_ONCE);
                let entries = &mut entries[..pages as usize * 8];
                // A mapping that is gone has no entries.
                if pagemap.read_exact_at(entries, start / page_size * 8).is_err() {
                    continue;
                }
                for (page, entry) in (start..).step_by(page_size as usize).zip(entries.chunks_exact(8)) {
                    let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
                    let page = PageRange::new(page, page + page_size);
                    if entry & SWAPPED != 0 || entry & PRESENT != 0 && entry & EXCLUSIVE != 0 {
                        written.push(page);
                    } else if entry & PRESENT != 0 && room > 0 {
                        left.push(page);
                        room -= 1;
                    }
                }
            }
        }
        range::merge(&mut left);
        range::merge(&mut written);
        self.0 = left;
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::probe::Scratch;

    #[test]
    fn a_page_that_is_read_is_followed_until_it_is_written_or_gone() {
        let scratch = Scratch::new().expect("mapped");
        let pagemap = File::open("/proc/self/pagemap").expect("opened");
        let size = scratch.page() as u64;
        let start = scratch.range().start;
        let page = |page: u64| PageRange::new(start + page * size, start + (page + 1) * size);
        (0..5).for_each(|page| scratch.read(page));
        let mut followed = ReadFirst::default();
        // The last of them does not exist.
        followed.note((0..6).map(page));
        assert_eq!(followed.written(&pagemap, size), []);
        assert_eq!(followed.untouched(), [PageRange::new(start, start + 5 * size)]);
        scratch.write(1);
        scratch.write(4);
        assert_eq!(followed.written(&pagemap, size), [page(1), page(4)]);
        assert_eq!(followed.written(&pagemap, size), [], "each once");
        drop(scratch);
        assert_eq!(followed.written(&pagemap, size), []);
        assert_eq!(followed.untouched(), []);
    }
}
