//! Memory avalanches: writes that spread to pages untouched before, far faster than the target used to.

use std::collections::VecDeque;
use std::time::Duration;

use crate::capture::PageRange;

/// How many median absolute deviations over its median the new-page rate must be. 6 is about four standard deviations
/// of a normal distribution.
const DEVIATIONS: f64 = 6.0;
/// Rates remembered, in windows.
const MEMORY: usize = 128;
/// Windows, and time, before the first verdict: the start of a watch, when every page is new, is no avalanche.
const LEARN: usize = 8;
/// See [`LEARN`].
const LEARN_TIME: Duration = Duration::from_millis(1500);
/// Below this rate, in pages a second, nothing cascades: a median of zero would make any page an avalanche.
const FLOOR: f64 = 256.0;
/// An avalanche goes on while the rate is over this share of what it takes to begin,
const GOES_ON: f64 = 0.5;
/// and pauses of this length do not end it.
const PAUSE: Duration = Duration::from_millis(250);
/// Ranges of a front that are kept; the front of a larger avalanche is known up to there.
const FRONT: usize = 1 << 14;
/// Avalanches that are kept.
const KEPT: usize = 256;

/// A cascade of writes to pages that were never written before.
#[derive(Debug, Clone, PartialEq)]
pub struct Avalanche {
    /// When it began.
    pub start: Duration,
    /// When it ended; `None` while it goes on.
    pub end: Option<Duration>,
    /// The last window in which it grew ended then.
    pub grew: Duration,
    /// Pages that it reached.
    pub size: u64,
    /// The middle one of the pages that it reached first, by its address.
    pub epicentre: u64,
    /// The most pages a second.
    pub peak_rate: f64,
    /// Which pages it reached when, in the order of time.
    pub front: Vec<FrontStep>,
}

impl Avalanche {
    /// How long it lasted, or has lasted so far.
    pub fn duration(&self) -> Duration {
        self.end.unwrap_or(self.grew).saturating_sub(self.start)
    }
}

/// What an avalanche reached in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrontStep {
    /// The window's begin.
    pub at: Duration,
    /// The pages, sorted and disjoint.
    pub pages: Vec<PageRange>,
}

/// How large and how long avalanches were. Entry i of each counts those from 2^i up to 2^(i+1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AvalancheStatistics {
    /// Avalanches that have ended.
    pub count: u64,
    /// By size, in pages.
    pub sizes: [u64; 32],
    /// By duration, in milliseconds.
    pub durations: [u64; 32],
}

impl AvalancheStatistics {
    fn add(&mut self, avalanche: &Avalanche) {
        let class = |value: u128| value.max(1).ilog2().min(31) as usize;
        self.count += 1;
        self.sizes[class(avalanche.size.into())] += 1;
        self.durations[class(avalanche.duration().as_millis())] += 1;
    }
}

/// Finds avalanches as windows come.
#[derive(Debug, Clone, Default)]
pub struct AvalancheDetector {
    /// New pages per second of windows without an avalanche.
    usual: VecDeque<f64>,
    learnt: Duration,
    current: Option<Avalanche>,
    ended: VecDeque<Avalanche>,
    statistics: AvalancheStatistics,
}

impl AvalancheDetector {
    /// Takes a window that began at `at`, in which the pages of `new` (sorted, disjoint) were written for the first time; true
    /// while an avalanche is going on.
    pub fn window(&mut self, at: Duration, length: Duration, new: &[PageRange], page_size: u64) -> bool {
        if length.is_zero() {
            return self.current.is_some();
        }
        let pages: u64 = new.iter().map(|range| range.pages(page_size)).sum();
        let rate = pages as f64 / length.as_secs_f64();
        let threshold = self.threshold();
        let end = at + length;
        if let Some(current) = &mut self.current {
            if rate > threshold * GOES_ON {
                current.grow(at, end, new, pages, rate);
                return true;
            }
            if end.saturating_sub(current.grew) < PAUSE {
                return true;
            }
            self.end();
        } else if self.usual.len() >= LEARN && self.learnt >= LEARN_TIME && rate > threshold {
            let mut avalanche = Avalanche {
                start: at,
                end: None,
                grew: at,
                size: 0,
                epicentre: middle(new, pages, page_size),
                peak_rate: 0.0,
                front: Vec::new(),
            };
            avalanche.grow(at, end, new, pages, rate);
            self.current = Some(avalanche);
            return true;
        }
        // The cascade itself must not become what is usual, or it would end by being long.
        self.learnt += length;
        self.usual.push_back(rate);
        if self.usual.len() > MEMORY {
            self.usual.pop_front();
        }
        false
    }

    fn end(&mut self) {
        let Some(mut avalanche) = self.current.take() else { return };
        avalanche.end = Some(avalanche.grew);
        self.statistics.add(&avalanche);
        if self.ended.len() == KEPT {
            self.ended.pop_front();
        }
        self.ended.push_back(avalanche);
    }

    /// The avalanche that is going on.
    pub fn current(&self) -> Option<&Avalanche> {
        self.current.as_ref()
    }

    /// Those that have ended, oldest first; at most 256.
    pub fn ended(&self) -> impl DoubleEndedIterator<Item = &Avalanche> + ExactSizeIterator {
        self.ended.iter()
    }

    /// How large and how long all were.
    pub fn statistics(&self) -> &AvalancheStatistics {
        &self.statistics
    }

    fn threshold(&self) -> f64 {
        let middle = median(self.usual.iter().copied());
        let deviation = median(self.usual.iter().map(|rate| (rate - middle).abs()));
        (middle + DEVIATIONS * deviation).max(FLOOR)
    }
}

impl Avalanche {
    fn grow(&mut self, at: Duration, end: Duration, new: &[PageRange], pages: u64, rate: f64) {
        self.grew = end;
        self.size += pages;
        self.peak_rate = self.peak_rate.max(rate);
        let known: usize = self.front.iter().map(|step| step.pages.len()).sum();
        if known + new.len() <= FRONT {
            self.front.push(FrontStep { at, pages: new.to_vec() });
        }
    }
}

/// The address of the middle one of these pages.
fn middle(ranges: &[PageRange], pages: u64, page_size: u64) -> u64 {
    let mut left = pages / 2;
    for range in ranges {
        let here = range.pages(page_size);
        if left < here {
            return range.start + left * page_size;
        }
        left -= here;
    }
    0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_millis(100);
    const PAGE: u64 = 4096;

    /// A target whose new pages are always the next ones.
    #[derive(Default)]
    struct Target {
        detector: AvalancheDetector,
        page: u64,
        windows: u32,
    }

    impl Target {
        fn window(&mut self, pages: u64) -> bool {
            let new = [PageRange::new(self.page * PAGE, (self.page + pages) * PAGE)];
            self.page += pages;
            self.windows += 1;
            let new = if pages == 0 { &[] } else { &new[..] };
            self.detector.window(WINDOW * (self.windows - 1), WINDOW, new, PAGE)
        }
    }

    #[test]
    fn a_cascade_is_seen_while_it_lasts_and_described_afterwards() {
        let mut target = Target::default();
        for step in 0..64 {
            assert!(!target.window(10 + step % 5), "steady growth is no avalanche");
        }
        let first = target.page;
        for _ in 0..200 {
            assert!(target.window(5000), "however long it lasts");
        }
        assert!(target.window(0), "a short pause does not end it");
        assert!(target.window(4000));
        while target.window(12) {}
        assert_eq!(target.detector.current(), None);
        let avalanche = target.detector.ended().next().expect("it has ended");
        assert_eq!((avalanche.start, avalanche.end), (WINDOW * 64, Some(WINDOW * 266)));
        assert_eq!((avalanche.size, avalanche.peak_rate), (200 * 5000 + 4000, 50_000.0));
        assert_eq!(avalanche.epicentre, (first + 2500) * PAGE);
        assert_eq!(avalanche.front.len(), 201);
        assert_eq!(avalanche.front[3].at, WINDOW * 67);
        let statistics = target.detector.statistics();
        assert_eq!((statistics.count, statistics.sizes[19], statistics.durations[14]), (1, 1, 1));
    }

    #[test]
    fn the_first_windows_and_single_pages_are_no_avalanche() {
        let mut target = Target::default();
        for _ in 0..15 {
            assert!(!target.window(100_000));
        }
        let mut quiet = Target::default();
        for _ in 0..100 {
            assert!(!quiet.window(0));
        }
        assert!(!quiet.window(1), "one page after long silence");
    }
}
