//! Following a run of writes while it happens, where synchronous faults come one by one and in order.
//!
//! A writer that goes up the line faults on page after page. Once a run of L pages is seen, its next L / [`DIVISOR`]
//! pages are disarmed and taken for written; the first armed page behind them tells whether the run goes on. A run of L
//! pages then costs about D·(1 + ln(L/D)) faults with D the divisor, and its end is known within L/(2D) pages: half of
//! the last stretch is counted when nothing came after it. Several writers at once have a run each; writes in no order
//! start runs of one page, and nothing is disarmed for them.

use std::collections::HashMap;
use std::ops::Range;

use super::super::PageSet;

/// The share of a run's length that is skipped: 1/32.
const DIVISOR: usize = 32;

/// The runs of one window.
#[derive(Debug, Clone, Default)]
pub struct RunFollow {
    /// By the place at which a run is expected to go on: where it began.
    runs: HashMap<usize, usize>,
}

impl RunFollow {
    /// No runs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a fault at `place` on a line of `pages`; answers with the places to disarm, for this window.
    pub fn fault(&mut self, place: usize, pages: usize) -> Range<usize> {
        let began = self.runs.remove(&place).unwrap_or(place);
        let skip = ((place + 1 - began) / DIVISOR).min(pages - place - 1);
        self.runs.insert(place + 1 + skip, began);
        place + 1..place + 1 + skip
    }

    /// Ends the window: the pages that were written, from those that faulted (`seen`) and what the runs say of the
    /// skipped ones. A stretch after which the run did not go on counts by its first half.
    pub fn finish(&mut self, seen: &PageSet) -> PageSet {
        let mut written = seen.clone();
        for (expected, began) in self.runs.drain() {
            // Inside the run, every stretch is followed by a fault; only the last one is open.
            let last = (began..expected.min(seen.pages())).rev().find(|place| seen.contains(*place));
            if let Some(last) = last {
                let open = expected.min(seen.pages()) - last - 1;
                written.insert_range(began..last + 1 + open / 2);
            }
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `order` with every page armed; the faults, and the set that is made of them.
    fn follow(pages: usize, order: impl IntoIterator<Item = usize>) -> (usize, PageSet) {
        let (mut runs, mut disarmed, mut seen) =
            (RunFollow::new(), PageSet::empty(pages), PageSet::empty(pages));
        for place in order {
            if !disarmed.contains(place) && !seen.contains(place) {
                seen.insert(place);
                disarmed.insert_range(runs.fault(place, pages));
            }
        }
        (seen.count(), runs.finish(&seen))
    }

    #[test]
    fn a_long_run_costs_few_faults_and_its_end_is_known() {
        for length in [1, 31, 500, 5000, 20_000] {
            let (faults, written) = follow(40_000, 1000..1000 + length);
            let expected = PageSet::of(40_000, 1000..1000 + length);
            let wrong = written.difference(&expected).count() + expected.difference(&written).count();
            assert!(wrong <= length / 50, "{wrong} wrong of {length}");
            let bound = 32.0 * (2.0 + (1.0 + length as f64 / 32.0).ln());
            assert!((faults as f64) < bound, "{faults} faults for {length}");
        }
    }

    #[test]
    fn two_writers_are_followed_apart_and_no_order_is_exact() {
        let two = (0..3000).flat_map(|step| [100 + step, 20_000 + step]);
        let (faults, written) = follow(40_000, two);
        assert!(faults < 700 && written.count().abs_diff(6000) < 120, "{faults}, {}", written.count());
        let strewn: Vec<usize> = (0..3000).map(|step| step * 7919 % 39_989).collect();
        let (faults, written) = follow(40_000, strewn.iter().copied());
        assert_eq!(faults, 3000);
        assert_eq!(written, PageSet::of(40_000, strewn));
    }
}
