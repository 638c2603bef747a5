//! Huge pages: the first write to an armed one splits it. Which were there is known before they are armed, so that they can be put
//! together again whatever happens meanwhile (`keeper`).

use nix::errno::Errno;

use super::range::{self, PageRange};
use super::scan::Pagemap;

/// The huge page of x86-64's second level.
pub(super) const HUGE: u64 = 2 << 20;

/// What is known of the blocks that may be huge pages.
#[derive(Debug, Default)]
pub(super) struct HugeBlocks {
    /// Those that were, at some time.
    noted: Vec<PageRange>,
    /// Those that had small pages when they were looked at. They need no second look: what becomes huge later is told by the scan
    /// that finds it written, if only after it is armed.
    small: Vec<PageRange>,
}

impl HugeBlocks {
    /// Looks at the whole blocks of these ranges that were not looked at before: those that are huge, and were not known to be.
    pub fn look(&mut self, pagemap: &mut Pagemap, ranges: &[PageRange]) -> Result<Vec<PageRange>, Errno> {
        let whole: Vec<PageRange> = ranges.iter().filter_map(|range| whole_blocks(*range)).collect();
        let unknown = range::subtract(&range::subtract(&whole, &self.noted), &self.small);
        let (mut huge, mut small) = (Vec::new(), Vec::new());
        for range in unknown.into_iter().filter_map(whole_blocks) {
            pagemap.existing(range, |run, is_huge| {
                if is_huge {
                    huge.push(run);
                } else {
                    small.push(PageRange::new(run.start / HUGE * HUGE, run.end.next_multiple_of(HUGE)));
                }
            })?;
        }
        add(&mut self.small, small);
        Ok(self.note(huge))
    }

    /// These were found to be of huge pages: the blocks of them that were not known to be.
    pub fn note(&mut self, found: Vec<PageRange>) -> Vec<PageRange> {
        let mut whole: Vec<PageRange> = found.into_iter().filter_map(whole_blocks).collect();
        range::merge(&mut whole);
        let new = range::subtract(&whole, &self.noted);
        add(&mut self.noted, new.clone());
        new
    }
}

fn add(known: &mut Vec<PageRange>, more: Vec<PageRange>) {
    if !more.is_empty() {
        known.extend(more);
        range::merge(known);
    }
}

fn whole_blocks(range: PageRange) -> Option<PageRange> {
    let whole = PageRange::new(range.start.next_multiple_of(HUGE), range.end / HUGE * HUGE);
    (!whole.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_block_is_noted_once_and_only_whole() {
        let mut blocks = HugeBlocks::default();
        let found = |from: u64, to: u64| vec![PageRange::new(from * HUGE / 2, to * HUGE / 2)];
        assert_eq!(blocks.note(found(1, 7)), found(2, 6));
        assert_eq!(blocks.note(found(2, 4)), []);
        assert_eq!(blocks.note(found(0, 9)), [found(0, 2), found(6, 8)].concat());
        assert_eq!(blocks.note(found(1, 2)), []);
    }
}
