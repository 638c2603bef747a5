//! Page ranges: the sorted, disjoint spans in which a window says what was written.

/// A span of whole pages, `start` included, `end` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageRange {
    /// First address.
    pub start: u64,
    /// First address behind the span.
    pub end: u64,
}

impl PageRange {
    /// A range from `start` up to `end`.
    pub fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// Length in bytes; 0 when the bounds are crossed.
    pub fn len(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether no byte lies in it.
    pub fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Length in pages of `page_size` bytes.
    pub fn pages(&self, page_size: u64) -> u64 {
        self.len() / page_size.max(1)
    }

    /// What both ranges have in common, if anything.
    pub fn intersection(&self, other: &PageRange) -> Option<PageRange> {
        let common = PageRange::new(self.start.max(other.start), self.end.min(other.end));
        (!common.is_empty()).then_some(common)
    }
}

/// Sorts the ranges and joins those that touch or overlap; empty ones vanish.
pub fn merge(ranges: &mut Vec<PageRange>) {
    ranges.retain(|range| !range.is_empty());
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let joined = next.start <= kept.end;
        if joined {
            kept.end = kept.end.max(next.end);
        }
        joined
    });
}

/// The part of `whole` that none of `taken` covers; both sorted and disjoint, and so is the answer.
pub fn subtract(whole: &[PageRange], taken: &[PageRange]) -> Vec<PageRange> {
    let mut left = Vec::with_capacity(whole.len());
    let mut from = 0;
    for range in whole {
        let mut start = range.start;
        // Ranges are in order on both sides: what ends before this one begins is never needed again.
        while taken.get(from).is_some_and(|hole| hole.end <= range.start) {
            from += 1;
        }
        for hole in taken.iter().skip(from).take_while(|hole| hole.start < range.end) {
            if hole.start > start {
                left.push(PageRange::new(start, hole.start));
            }
            start = start.max(hole.end);
        }
        if start < range.end {
            left.push(PageRange::new(start, range.end));
        }
    }
    left
}
