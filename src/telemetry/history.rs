//! What was written along the line in the past, for as long as fits into a bounded memory.

use std::collections::VecDeque;
use std::time::Duration;

use ndarray::{Array2, Array3};

use crate::map::{HilbertCapability as _, HilbertSkilling};

/// The order of the curve whose cells a row has.
pub const HISTORY_ORDER: u32 = 5;
/// Cells of a row.
const CELLS: usize = 1 << (2 * HISTORY_ORDER);
/// What the rows may take, bytes: half an hour at ten a second.
const BYTES: usize = 36 << 20;
const ROWS: usize = BYTES / (CELLS * size_of::<u16>());

/// The numbers of one step of time: a window, or several that are shorter than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryRow {
    /// When it began.
    pub from: Duration,
    /// How long it was.
    pub length: Duration,
    /// Pages written in it.
    pub written: u64,
    /// Of these, pages that had never been written.
    pub new: u64,
    /// Counts how often the line was laid out anew: cells of rows with different numbers are not the same pages.
    pub line: u32,
}

/// The last windows, each with the share of every cell of the curve of [`HISTORY_ORDER`] that was written in it.
#[derive(Debug, Clone)]
pub struct History {
    rows: VecDeque<HistoryRow>,
    /// [`CELLS`] for each row, one after another.
    shares: VecDeque<u16>,
    line: u32,
}

impl Default for History {
    /// Addresses for all of it at once: the kernel gives a page when it is written, and has all of them back together.
    fn default() -> Self {
        Self { rows: VecDeque::with_capacity(ROWS), shares: VecDeque::with_capacity(ROWS * CELLS), line: 0 }
    }
}

impl History {
    /// Cells of a row: 4^[`HISTORY_ORDER`].
    pub const CELLS: usize = CELLS;

    /// Appends a window whose cells have these `shares`, 0..1, by their place on the curve; the oldest goes when it is full.
    pub(super) fn push(&mut self, row: HistoryRow, shares: &[f32]) {
        if self.rows.len() == ROWS {
            self.rows.pop_front();
            self.shares.drain(..CELLS);
        }
        let cells = shares.iter().copied().chain(std::iter::repeat(0.0)).take(CELLS);
        self.shares.extend(cells.map(|share| (share * f32::from(u16::MAX)).round() as u16));
        self.rows.push_back(HistoryRow { line: self.line, ..row });
    }

    /// Takes the newest row out again.
    pub(super) fn pop(&mut self) {
        if self.rows.pop_back().is_some() {
            self.shares.truncate(self.rows.len() * CELLS);
        }
    }

    /// The pages have other places from now on.
    pub(super) fn relaid(&mut self) {
        self.line += 1;
    }

    /// Windows that are remembered.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The windows, oldest first.
    pub fn rows(&self) -> impl DoubleEndedIterator<Item = &HistoryRow> + ExactSizeIterator {
        self.rows.iter()
    }

    /// The window that contains the instant `at`, or the last before it, by its index among [`Self::rows`].
    pub fn index_at(&self, at: Duration) -> Option<usize> {
        self.rows.partition_point(|row| row.from <= at).checked_sub(1)
    }

    /// The shares of row `index`, 0..1, by place on the curve.
    pub fn shares(&self, index: usize) -> impl Iterator<Item = f32> + '_ {
        let row = if index < self.rows.len() { index * CELLS..(index + 1) * CELLS } else { 0..0 };
        self.shares.range(row).copied().map(share)
    }

    /// The map of row `index`, indexed `[y][x]`.
    pub fn map(&self, index: usize) -> Array2<f32> {
        let curve = HilbertSkilling::new(HISTORY_ORDER);
        let size = curve.size() as usize;
        let mut map = Array2::zeros((size, size));
        for (d, share) in self.shares(index).enumerate() {
            let (x, y) = curve.d2xy(d as u32);
            map[[y as usize, x as usize]] = share;
        }
        map
    }

    /// Space × time, indexed `[row][cell]`: `rows` steps of time between `from` and `to`, each the mean over its windows; what no
    /// window falls into repeats the one before.
    pub fn waterfall(&self, from: Duration, to: Duration, rows: usize) -> Array2<f32> {
        let mut picture = Array2::zeros((rows, CELLS));
        for (step, mut row) in picture.outer_iter_mut().enumerate() {
            let (first, last) = self.span(from, to, step, rows);
            for index in first..last {
                let weight = 1.0 / (last - first) as f32;
                row.iter_mut().zip(self.shares(index)).for_each(|(mean, share)| *mean += weight * share);
            }
        }
        picture
    }

    /// The curve's plane × time, indexed `[time][y][x]`, as [`Self::waterfall`] is.
    pub fn volume(&self, from: Duration, to: Duration, depth: usize) -> Array3<f32> {
        let curve = HilbertSkilling::new(HISTORY_ORDER);
        let size = curve.size() as usize;
        let mut volume = Array3::zeros((depth, size, size));
        for (step, row) in self.waterfall(from, to, depth).outer_iter().enumerate() {
            for (d, share) in row.iter().enumerate() {
                let (x, y) = curve.d2xy(d as u32);
                volume[[step, y as usize, x as usize]] = *share;
            }
        }
        volume
    }

    /// The rows that one of `steps` of the time between `from` and `to` is made of.
    fn span(&self, from: Duration, to: Duration, step: usize, steps: usize) -> (usize, usize) {
        let all = to.saturating_sub(from).as_secs_f64();
        let at = |step: usize| from + Duration::from_secs_f64(all * step as f64 / steps.max(1) as f64);
        let first = self.rows.partition_point(|row| row.from < at(step));
        let last = self.rows.partition_point(|row| row.from < at(step + 1));
        if first < last { (first, last) } else { (first.saturating_sub(1), first) }
    }
}

fn share(scaled: u16) -> f32 {
    f32::from(scaled) / f32::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_millis(100);

    fn row(index: u32) -> HistoryRow {
        HistoryRow { from: LENGTH * index, length: LENGTH, written: u64::from(index), new: 0, line: 0 }
    }

    /// In window n cell n is written.
    fn moving(windows: u32) -> History {
        let mut history = History::default();
        for index in 0..windows {
            let mut shares = vec![0.0; CELLS];
            shares[index as usize % CELLS] = 1.0;
            history.push(row(index), &shares);
        }
        history
    }

    #[test]
    fn the_oldest_windows_go_when_it_is_full() {
        let history = moving(ROWS as u32 + 100);
        assert_eq!(history.len(), ROWS);
        assert_eq!(history.rows().next().map(|row| row.written), Some(100));
        assert_eq!(history.shares(0).position(|share| share == 1.0), Some(100));
        assert_eq!(history.index_at(LENGTH * 150), Some(50));
        assert_eq!(history.index_at(Duration::ZERO), None);
    }

    #[test]
    fn the_waterfall_is_the_mean_over_time_and_the_volume_its_cells_in_the_plane() {
        let history = moving(40);
        let picture = history.waterfall(Duration::ZERO, LENGTH * 40, 10);
        for ((step, cell), share) in picture.indexed_iter() {
            let expected = if cell / 4 == step && cell < 40 { 0.25 } else { 0.0 };
            assert!((share - expected).abs() < 1e-4, "step {step}, cell {cell}: {share}");
        }
        // More steps than windows: each is repeated.
        let fine = history.waterfall(Duration::ZERO, LENGTH * 4, 8);
        assert_eq!(
            fine.outer_iter().map(|row| row.iter().position(|share| *share > 0.5)).collect::<Vec<_>>(),
            [Some(0), Some(0), Some(1), Some(1), Some(2), Some(2), Some(3), Some(3)]
        );
        let volume = history.volume(Duration::ZERO, LENGTH * 40, 40);
        let curve = HilbertSkilling::new(HISTORY_ORDER);
        for step in 0..40 {
            let (x, y) = curve.d2xy(step);
            assert!(volume[[step as usize, y as usize, x as usize]] > 0.99);
        }
        assert_eq!(history.map(7).iter().filter(|share| **share > 0.0).count(), 1);
    }
}
