//! Recorded windows of a program: which pages of the line were written in each.
//!
//! The form is NumPy's `.npz` with the arrays `window_start_ns` (int64, T), `page_index` (int32, the written places of
//! all windows one after another), `offsets` (int64, T + 1; window t has `page_index[offsets[t]..offsets[t + 1]]`) and
//! `n_pages` (int64, scalar); `vma_start` and `vma_end` are not needed here. Windows without a write may be left out.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Duration;

use ndarray::{Array0, Array1};
use ndarray_npy::NpzReader;

use super::{PageSet, SensingError};
use crate::capture::recording::Recording;
use crate::capture::{MemoryRegion, PageRange, range};
use crate::map::AddressLayout;

/// Windows of a program, each with the places on the line that were written in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteTrace {
    pages: usize,
    starts: Vec<Duration>,
    windows: Vec<PageSet>,
}

impl WriteTrace {
    /// A trace of `windows` on a line of `pages`, each with its start on a common clock.
    ///
    /// # Panics
    /// When a window is of another line.
    pub fn new(pages: usize, windows: impl IntoIterator<Item = (Duration, PageSet)>) -> Self {
        let (starts, windows): (Vec<_>, Vec<PageSet>) = windows.into_iter().unzip();
        assert!(windows.iter().all(|window| window.pages() == pages), "every window is of one line");
        Self { pages, starts, windows }
    }

    /// Reads the `.npz` form.
    pub fn read_npz(path: &Path) -> Result<Self, SensingError> {
        let unusable = |reason: String| SensingError::Trace { path: path.to_owned(), reason };
        let file = File::open(path).map_err(|error| unusable(error.to_string()))?;
        let mut npz = NpzReader::new(BufReader::new(file))
            .map_err(|error| unusable(format!("no NPZ file: {error}")))?;
        let missing =
            |name: &str, error: ndarray_npy::ReadNpzError| unusable(format!("array {name}: {error}"));
        let pages: Array0<i64> = npz.by_name("n_pages").map_err(|error| missing("n_pages", error))?;
        let starts: Array1<i64> =
            npz.by_name("window_start_ns").map_err(|error| missing("window_start_ns", error))?;
        let offsets: Array1<i64> = npz.by_name("offsets").map_err(|error| missing("offsets", error))?;
        let places: Array1<i32> = npz.by_name("page_index").map_err(|error| missing("page_index", error))?;
        let pages = usize::try_from(pages.into_scalar()).ok().filter(|pages| (1..=1 << 31).contains(pages));
        let pages = pages.ok_or_else(|| unusable("n_pages is not between 1 and 2^31".into()))?;
        if offsets.len() != starts.len() + 1 {
            return Err(unusable(format!(
                "{} windows need {} offsets, there are {}",
                starts.len(),
                starts.len() + 1,
                offsets.len()
            )));
        }
        let places = places.as_slice().expect("an array that was just read is contiguous");
        let mut windows = Vec::with_capacity(starts.len());
        for (index, bounds) in offsets.windows(2).into_iter().enumerate() {
            let bounds = usize::try_from(bounds[0]).ok().zip(usize::try_from(bounds[1]).ok());
            let written = bounds.and_then(|(from, to)| places.get(from..to));
            let written =
                written.ok_or_else(|| unusable(format!("window {index} has offsets out of range")))?;
            let mut window = PageSet::empty(pages);
            for place in written {
                match usize::try_from(*place).ok().filter(|place| *place < pages) {
                    Some(place) => window.insert(place),
                    None => return Err(unusable(format!("window {index} has page {place} of {pages}"))),
                }
            }
            windows.push(window);
        }
        let starts = starts.iter().map(|ns| Duration::from_nanos((*ns).max(0) as u64)).collect();
        Ok(Self { pages, starts, windows })
    }

    /// Takes a recording of `memory-glass record`. The line is made of all pages that were ever under watch, in address order.
    pub fn read_recording(path: &Path) -> Result<Self, SensingError> {
        let unusable = |reason: String| SensingError::Trace { path: path.to_owned(), reason };
        let recording = Recording::open(path).map_err(|error| unusable(error.to_string()))?;
        let mut regions: Vec<PageRange> = Vec::new();
        for window in recording.cursor_at(Duration::ZERO) {
            if let Some(table) = &window.regions {
                regions.extend(table.iter().map(MemoryRegion::range));
                range::merge(&mut regions);
            }
        }
        let page_size = recording.info().target.page_size;
        let line = AddressLayout::new(page_size, regions.iter().map(|region| region.start..region.end));
        let pages = usize::try_from(line.pages()).ok().filter(|pages| (1..=1 << 31).contains(pages));
        let pages = pages.ok_or_else(|| unusable("no pages were under watch".into()))?;
        let windows = recording.cursor_at(Duration::ZERO).map(|window| {
            let mut written = PageSet::empty(pages);
            for range in &window.written {
                for place in line.places(range.start..range.end).flatten() {
                    written.insert(place as usize);
                }
            }
            (recording.offset(&window), written)
        });
        Ok(Self::new(pages, windows))
    }

    /// Length of the line.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// What was written in each window.
    pub fn windows(&self) -> &[PageSet] {
        &self.windows
    }

    /// Length of a window: the median time between starts (100 ms where there are fewer than two). A pause in which
    /// nothing was written is no longer window.
    pub fn window_length(&self) -> Duration {
        let mut steps: Vec<_> = self.starts.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        steps.sort_unstable();
        match steps.get(steps.len() / 2) {
            Some(step) if !step.is_zero() => *step,
            _ => Duration::from_millis(100),
        }
    }
}
