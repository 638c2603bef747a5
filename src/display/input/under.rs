//! What is at a point of the screen, as input has it.

use smithay::desktop::Window;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point};

use crate::display::Compositor;
use crate::display::stack::Owner;

impl Compositor {
    /// The surface at this point, and where it begins.
    pub(crate) fn under(&self, at: Point<f64, Logical>) -> Option<(WlSurface, Point<f64, Logical>)> {
        if self.overlay().is_some() {
            return None;
        }
        self.desk.under(at).map(|under| (under.surface, under.place))
    }

    /// The window at this point.
    pub(crate) fn window_under(&self, at: Point<f64, Logical>) -> Option<Window> {
        // An overlay has everything, wherever it lies.
        if self.overlay().is_some() {
            return None;
        }
        match self.desk.under(at)?.owner {
            Owner::Window(window) => Some(window),
            Owner::Layer(_) | Owner::Lock => None,
        }
    }
}
