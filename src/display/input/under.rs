//! What is at a point of the screen.

use smithay::desktop::{Window, WindowSurfaceType};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point};

use crate::display::Compositor;

impl Compositor {
    /// The surface at this point, and where it begins. The map takes no input, and what it hides is not clicked by accident.
    pub(crate) fn under(&self, at: Point<f64, Logical>) -> Option<(WlSurface, Point<f64, Logical>)> {
        let (window, place) = self.window_under(at)?;
        let (surface, offset) = window.surface_under(at - place.to_f64(), WindowSurfaceType::ALL)?;
        Some((surface, (offset + place).to_f64()))
    }

    /// The window at this point, and where its surface begins.
    pub(crate) fn window_under(&self, at: Point<f64, Logical>) -> Option<(Window, Point<i32, Logical>)> {
        if self.map_under(at) {
            return None;
        }
        self.desk.space.element_under(at).map(|(window, place)| (window.clone(), place))
    }

    /// Whether the map is at this point.
    fn map_under(&self, at: Point<f64, Logical>) -> bool {
        self.desk.outputs.iter().any(|state| {
            let Some(geometry) = self.desk.space.output_geometry(&state.output) else { return false };
            state.map.visible()
                && state.map.area().is_some_and(|mut area| {
                    area.loc += geometry.loc;
                    area.to_f64().contains(at)
                })
        })
    }
}
