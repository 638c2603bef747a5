//! What a recording may have its pipeline take: whatever the file says, what is kept of its windows takes no
//! more than is stated.
//!
//! A process costs us a small part of the memory that it has itself. A file says in a few bytes that
//! terabytes were written, so what a window of it is going to take is reckoned before anything is made of it.

use super::Pipeline;
use crate::capture::recording::{MAX_MADE, RecordingError};
use crate::capture::{MemoryRegion, PageRange, Window, range};
use crate::map::HilbertConfig;
use crate::sensing::PageActivity;
use crate::telemetry::ThreadSample;

/// The largest order that the map of a recording takes unless another is asked for: 16 MiB each time that it
/// is drawn.
const LARGEST_ORDER: u32 = 11;
/// What a mapping takes: its name apart, its place on the old line and the new one, and on the way from one
/// to the other.
const OF_REGION: usize = 384;
/// What a page takes of which it is not known whether it was written: for what is believed of it, and the
/// ways to a map.
const OF_PAGE: usize = 48;
/// What a stretch of such pages, or one beside them, takes.
const OF_STRETCH: usize = 192;
/// Pages that come together ([`TouchedLine`](crate::map::TouchedLine)).
const TOGETHER: u64 = 8;
/// A line of so many pages is taken whole, whatever was written of it.
const WHOLE: u64 = 1 << 18;

impl Pipeline {
    /// Takes no more memory than what is made of a recording may: a window that would take more is refused.
    pub(super) fn bound(&mut self) -> crate::Result<()> {
        self.bounded = true;
        self.reshape(self.hilbert.clone(), self.reconstructor.half_life())
    }

    /// The orders that its map takes.
    pub(super) fn orders(&self, asked: HilbertConfig) -> HilbertConfig {
        if !self.bounded {
            return asked;
        }
        let max_order = asked.max_order.min(LARGEST_ORDER.max(asked.min_order));
        HilbertConfig { max_order, ..asked }
    }

    /// Whether this window may be taken.
    pub(super) fn affords(&self, window: &Window) -> Result<(), RecordingError> {
        if !self.bounded {
            return Ok(());
        }
        let bytes = self.weight_with(window);
        if bytes <= MAX_MADE { Ok(()) } else { Err(RecordingError::TooMuch { bytes, most: MAX_MADE }) }
    }

    /// What is kept, and what this window adds to it at most, bytes.
    fn weight_with(&self, window: &Window) -> usize {
        let page_size = self.target.page_size;
        let kept = self.reconstructor.activity().weight();
        let table = window.regions.as_deref();
        // Where the line changes, what is known of its pages is copied to their new places.
        let copied = if table.is_some() { kept } else { 0 };
        let samples = window.threads.iter().map(|thread| thread.pages.len()).sum::<usize>();
        [
            kept,
            copied,
            PageActivity::weight_of_new(&window.written, page_size, table.unwrap_or(&self.mapped).len()),
            self.recorder.weight_with(window.written.len()),
            weight_of_table(table.unwrap_or(&self.mapped)),
            samples.saturating_mul(3 * size_of::<ThreadSample>()),
            self.weight_of_unseen(window),
        ]
        .into_iter()
        .fold(0, usize::saturating_add)
    }

    /// What the map of a window takes in which not all was seen: page by page for what was written, and for
    /// what was seen or what was not, whichever is less.
    fn weight_of_unseen(&self, window: &Window) -> usize {
        if window.unseen.is_empty() {
            return 0;
        }
        let page_size = self.target.page_size;
        let regions = window.regions.as_deref().unwrap_or(&self.mapped);
        let line: u64 = regions.iter().map(|region| region.pages(page_size)).fold(0, u64::saturating_add);
        let stretches = window.written.len() + window.unseen.len() + regions.len();
        let seen = line
            .saturating_sub(range::pages(&window.unseen, page_size))
            .saturating_add(2 * TOGETHER * stretches as u64);
        let unseen = with_their_neighbours(&window.unseen, page_size);
        let written = with_their_neighbours(&window.written, page_size);
        // More than half of a line that is touched is all of it.
        let part = (2 * written.saturating_add(unseen.min(seen))).max(WHOLE.min(line));
        usize::try_from(part)
            .unwrap_or(usize::MAX)
            .saturating_mul(OF_PAGE)
            .saturating_add(stretches.saturating_mul(OF_STRETCH))
    }
}

fn weight_of_table(table: &[MemoryRegion]) -> usize {
    let names = table.iter().map(|region| region.pathname.as_ref().map_or(0, String::len)).sum::<usize>();
    table.len() * OF_REGION + names
}

/// The pages of these stretches, which are sorted, and those that come together with them.
fn with_their_neighbours(ranges: &[PageRange], page_size: u64) -> u64 {
    let (mut blocks, mut last) = (0u64, None);
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        let block = |address: u64| address / page_size / TOGETHER;
        let (first, end) = (block(range.start), block(range.end - 1));
        blocks += end - first + u64::from(last != Some(first));
        last = Some(end);
    }
    blocks.saturating_mul(TOGETHER)
}
