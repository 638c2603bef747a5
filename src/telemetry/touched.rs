//! Which pages were ever written.

use crate::capture::{PageRange, range};

/// The addresses that were written since the watch began.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    /// Sorted, disjoint, not touching each other.
    ranges: Vec<PageRange>,
}

impl Touched {
    /// Stretches that it is of.
    pub fn stretches(&self) -> usize {
        self.ranges.len()
    }

    /// Takes the written ranges of a window (sorted, disjoint), and answers with the parts that are new.
    pub fn window(&mut self, written: &[PageRange]) -> Vec<PageRange> {
        let mut new = Vec::new();
        for range in written {
            let mut from = range.start;
            let first = self.ranges.partition_point(|known| known.end <= range.start);
            for known in self.ranges[first..].iter().take_while(|known| known.start < range.end) {
                if from < known.start {
                    new.push(PageRange::new(from, known.start));
                }
                from = from.max(known.end);
            }
            if from < range.end {
                new.push(PageRange::new(from, range.end));
            }
        }
        if !new.is_empty() {
            self.ranges.extend_from_slice(&new);
            range::merge(&mut self.ranges);
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    const PAGE: u64 = 4096;

    proptest! {
        #[test]
        fn a_page_is_new_once(windows in prop::collection::vec(prop::collection::vec((0u64..200, 1u64..20), 0..10), 1..20)) {
            let (mut touched, mut known) = (Touched::default(), HashSet::new());
            for spans in windows {
                let mut written: Vec<PageRange> =
                    spans.iter().map(|(first, count)| PageRange::new(first * PAGE, (first + count) * PAGE)).collect();
                range::merge(&mut written);
                let pages = |ranges: &[PageRange]| -> HashSet<u64> {
                    ranges.iter().flat_map(|range| (range.start..range.end).step_by(PAGE as usize)).collect()
                };
                let new = touched.window(&written);
                prop_assert!(new.windows(2).all(|pair| pair[0].end <= pair[1].start));
                let expected: HashSet<u64> = pages(&written).difference(&known).copied().collect();
                prop_assert_eq!(pages(&new), expected);
                known.extend(pages(&written));
            }
        }
    }
}
