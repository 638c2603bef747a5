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

/// How many pages of `page_size` bytes lie in disjoint ranges.
pub fn pages(ranges: &[PageRange], page_size: u64) -> u64 {
    ranges.iter().map(|range| range.pages(page_size)).sum()
}

/// Those of `ranges`, sorted and disjoint, that have something in common with `place`.
pub(crate) fn overlapping(ranges: &[PageRange], place: PageRange) -> impl Iterator<Item = &PageRange> {
    let first = ranges.partition_point(|range| range.end <= place.start);
    ranges.iter().skip(first).take_while(move |range| range.start < place.end)
}

/// What of `from` lies in no range of `what`. Both are sorted and disjoint, and so is the answer.
pub fn subtract(from: &[PageRange], what: &[PageRange]) -> Vec<PageRange> {
    let mut left = Vec::with_capacity(from.len());
    let mut what = what.iter().peekable();
    for range in from {
        let mut start = range.start;
        while what.next_if(|other| other.end <= start).is_some() {}
        // A range that reaches over the end of this one may also take from the next, so it is only looked at.
        while let Some(other) = what.peek().filter(|other| other.start < range.end) {
            if other.start > start {
                left.push(PageRange::new(start, other.start));
            }
            start = start.max(other.end);
            if other.end > range.end {
                break;
            }
            what.next();
        }
        if start < range.end {
            left.push(PageRange::new(start, range.end));
        }
    }
    left
}

/// What lies in both. Both are sorted and disjoint, and so is the answer.
pub fn intersect(one: &[PageRange], other: &[PageRange]) -> Vec<PageRange> {
    let mut common = Vec::with_capacity(one.len().min(other.len()));
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        common.extend(a.intersection(b));
        if a.end <= b.end {
            one.next();
        } else {
            other.next();
        }
    }
    common
}

/// The part of the address space that one page table of the last level covers: what the kernel flushes at once.
const PIECE: u64 = 2 << 20;

/// How many such pieces sorted, disjoint ranges touch.
pub fn pieces(ranges: &[PageRange]) -> u64 {
    let mut behind = 0;
    let mut count = 0;
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let (first, last) = ((range.start / PIECE).max(behind), (range.end - 1) / PIECE);
        count += (last + 1).saturating_sub(first);
        behind = behind.max(last + 1);
    }
    count
}
