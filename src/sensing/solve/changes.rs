//! What differs between the samples of two windows.

use super::super::PageSet;

/// The samples of a window that are not as they were in the one before, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SampleChanges {
    /// Places that are seen now, and were not seen before or in another state.
    pub new: Vec<usize>,
    /// Places that were seen before and are not seen now.
    pub gone: Vec<usize>,
}

impl SampleChanges {
    /// Finds them, where each window is its seen pages and the written ones among these.
    ///
    /// # Panics
    /// When the sets are of several lines.
    pub fn find(&mut self, before: (&PageSet, &PageSet), now: (&PageSet, &PageSet)) {
        assert!(before.0.pages() == now.0.pages(), "two windows of one line");
        self.new.clear();
        self.gone.clear();
        let words =
            before.0.words().iter().zip(before.1.words()).zip(now.0.words().iter().zip(now.1.words()));
        for (index, ((seen_before, written_before), (seen, written))) in words.enumerate() {
            let new = seen & (!seen_before | (written_before ^ written));
            let gone = seen_before & !seen;
            if new | gone != 0 {
                self.new.extend(PageSet::places_of_word(new, index));
                self.gone.extend(PageSet::places_of_word(gone, index));
            }
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.new.len() + self.gone.len()
    }
}
