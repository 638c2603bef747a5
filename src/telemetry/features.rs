//! Four numbers that say how a window's writes are distributed.

use crate::capture::PageRange;
use crate::map::AddressLayout;
use std::time::Duration;

/// The time that [`Features::rate`] is about.
const UNIT: f64 = 0.1;

/// The write distribution of one window. What a window without a write has no value for is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Features {
    /// log2 of one more than the pages written in 100 ms.
    pub rate: f64,
    /// The mean place of the written pages, 0..1 along the line.
    pub centroid: Option<f64>,
    /// The standard deviation of their places, 0..0.5 of the line.
    pub spread: Option<f64>,
    /// The share that they and those of the window before have in common (Jaccard 1901), 0..1.
    pub overlap: Option<f64>,
}

impl Features {
    /// Of a window in which `written` was written (sorted, disjoint), after one with `before`.
    pub fn of(layout: &AddressLayout, written: &[PageRange], before: &[PageRange], length: Duration) -> Self {
        let pages = layout.pages().max(1) as f64;
        let (mut count, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for range in written {
            for places in layout.places(range.start..range.end) {
                // Of a run of n places around m: their sum is n·m, that of their squares n·m² + n·(n² − 1)/12.
                let n = (places.end - places.start) as f64;
                let middle = places.start as f64 + (n - 1.0) / 2.0;
                count += n;
                sum += n * middle;
                squares += n * middle * middle + n * (n * n - 1.0) / 12.0;
            }
        }
        let rate = (1.0 + count * UNIT / length.as_secs_f64().max(1e-3)).log2();
        if count == 0.0 {
            return Self { rate, ..Self::default() };
        }
        let mean = sum / count;
        let variance = (squares / count - mean * mean).max(0.0);
        let common = common(written, before);
        let all = total(written) + total(before) - common;
        Self {
            rate,
            centroid: Some((mean + 0.5) / pages),
            spread: Some(variance.sqrt() / pages),
            overlap: (!before.is_empty()).then(|| common as f64 / all as f64),
        }
    }

    /// In the order of the detector: rate, centroid, spread, overlap.
    pub(super) fn values(&self) -> [Option<f64>; 4] {
        [Some(self.rate), self.centroid, self.spread, self.overlap]
    }
}

fn total(ranges: &[PageRange]) -> u64 {
    ranges.iter().map(PageRange::len).sum()
}

/// Bytes that are in both.
fn common(a: &[PageRange], b: &[PageRange]) -> u64 {
    let (mut i, mut j, mut bytes) = (0, 0, 0);
    while let (Some(left), Some(right)) = (a.get(i), b.get(j)) {
        bytes += left.intersection(right).map_or(0, |both| both.len());
        if left.end < right.end {
            i += 1;
        } else {
            j += 1;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn pages(first: u64, count: u64) -> PageRange {
        PageRange::new(first * PAGE, (first + count) * PAGE)
    }

    #[test]
    fn a_window_is_described_by_where_and_how_much() {
        let layout = AddressLayout::new(PAGE, std::iter::once(0..1000 * PAGE));
        let before = [pages(0, 100), pages(500, 100)];
        let features =
            Features::of(&layout, &[pages(50, 50), pages(550, 100)], &before, Duration::from_millis(50));
        assert_eq!(features.rate, 301f64.log2());
        let places = || (50..100).chain(550..650).map(f64::from);
        let mean = places().sum::<f64>() / 150.0;
        let deviation = (places().map(|place| (place - mean).powi(2)).sum::<f64>() / 150.0).sqrt();
        assert!((features.centroid.unwrap() - (mean + 0.5) / 1000.0).abs() < 1e-9);
        assert!((features.spread.unwrap() - deviation / 1000.0).abs() < 1e-9);
        assert_eq!(features.overlap, Some(100.0 / 250.0));
    }

    #[test]
    fn silence_has_no_place() {
        let layout = AddressLayout::new(PAGE, std::iter::once(0..1000 * PAGE));
        let features = Features::of(&layout, &[], &[pages(1, 1)], Duration::from_millis(100));
        assert_eq!(features, Features::default());
    }
}
