//! What is taken to be written where nobody looked.
//!
//! It is found anew ten times a second: patterns go by such steps, and to go over all pages for each picture
//! would cost more than the picture.

use std::time::Duration;

use crate::capture::{PageRange, Window, range};
use crate::map::AddressLayout;
use crate::sensing::PageActivity;

/// Time between two of them, less what a timer may be early.
const STEP: Duration = Duration::from_millis(95);

/// As of the last step.
#[derive(Debug, Default)]
pub(super) struct Believed {
    /// Pages that are as likely as not to be written within a step: sorted, disjoint.
    pages: Vec<PageRange>,
    /// Pages that are written in a window without being seen, as far as is to be expected.
    faults: f64,
    age: Duration,
}

impl Believed {
    /// Takes a window, after which this is known of the pages of the line.
    pub fn window(&mut self, window: &Window, activity: &PageActivity, line: &AddressLayout) {
        if window.unseen.is_empty() {
            *self = Self { age: STEP, ..Self::default() };
            return;
        }
        self.age += window.length;
        if self.age < STEP {
            return;
        }
        self.age = Duration::ZERO;
        let page_size = line.page_size();
        let addresses = activity.believed().filter_map(|place| line.address_of(place));
        self.pages = addresses.map(|start| PageRange::new(start, start + page_size)).collect();
        range::merge(&mut self.pages);
        self.faults = activity.expected_unseen();
    }

    pub fn pages(&self) -> &[PageRange] {
        &self.pages
    }

    pub fn faults(&self) -> f64 {
        self.faults
    }
}
