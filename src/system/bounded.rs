//! What a recording may have its pipeline take: whatever the file says, what is kept of its windows takes no
//! more than is stated.
//!
//! A process costs us a small part of the memory that it has itself. A file says in a few bytes that
//! terabytes were written, so what a window of it is going to take is reckoned before anything is made of it.

use super::Pipeline;
use crate::capture::recording::{MAX_MADE, RecordingError};
use crate::capture::{MemoryRegion, Window};
use crate::map::HilbertConfig;
use crate::sensing::PageActivity;
use crate::telemetry::ThreadSample;

/// The largest order that the map of a recording takes unless another is asked for: 16 MiB each time that it
/// is drawn.
const LARGEST_ORDER: u32 = 11;
/// What a mapping takes: its name apart, its place on the old line and the new one, and on the way from one
/// to the other.
const OF_REGION: usize = 384;
/// What a stretch takes that was not seen: its place on the line, as of this look and the one before.
const OF_STRETCH: usize = 64;

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

    /// What a window takes besides in which not all was seen.
    fn weight_of_unseen(&self, window: &Window) -> usize {
        if window.unseen.is_empty() {
            return 0;
        }
        let regions = window.regions.as_deref().unwrap_or(&self.mapped).len();
        let stretches = window.unseen.len().saturating_add(regions);
        let activity = self.reconstructor.activity();
        activity
            .weight_of_unseen(&window.written, self.target.page_size, regions)
            .saturating_add(stretches.saturating_mul(OF_STRETCH))
    }
}

fn weight_of_table(table: &[MemoryRegion]) -> usize {
    let names = table.iter().map(|region| region.pathname.as_ref().map_or(0, String::len)).sum::<usize>();
    table.len() * OF_REGION + names
}
