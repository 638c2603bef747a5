//! What lies over the map where both want the same place.

use smithay::desktop::Window;
use smithay::output::Output;

use crate::display::Placement;
use crate::display::desk::Desk;

impl Desk {
    /// A dialog, or whatever else floats, lies over the map of this output, unless that covers everything.
    pub(crate) fn floats_over_map(&self, window: &Window, output: &Output) -> bool {
        self.placement(output) != Placement::Full
            && self.windows.of(window).is_some_and(|placed| placed.floating() && !placed.fullscreen)
    }
}
