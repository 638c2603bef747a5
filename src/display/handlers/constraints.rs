//! Pointers that a client holds in place, or in a region. What they are held by is in `confine.rs`.

use smithay::input::pointer::PointerHandle;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point};
use smithay::wayland::pointer_constraints::{PointerConstraintsHandler, with_pointer_constraint};
use smithay::{delegate_pointer_constraints, delegate_pointer_gestures, delegate_relative_pointer};

use crate::display::Compositor;

impl PointerConstraintsHandler for Compositor {
    fn new_constraint(&mut self, _surface: &WlSurface, _pointer: &PointerHandle<Self>) {
        self.activate_constraint();
    }

    /// Where a client that holds the pointer has drawn one of its own: there it is when it is let go.
    fn cursor_position_hint(
        &mut self,
        surface: &WlSurface,
        pointer: &PointerHandle<Self>,
        location: Point<f64, Logical>,
    ) {
        let active = with_pointer_constraint(surface, pointer, |constraint| {
            constraint.is_some_and(|constraint| constraint.is_active())
        });
        let Some(under) = self.desk.under(self.desk.pointer_at).filter(|under| under.surface == *surface)
        else {
            return;
        };
        let to = under.place + location;
        if active && self.desk.under(to).is_some_and(|there| there.surface == *surface) {
            let from = std::mem::replace(&mut self.desk.pointer_at, to);
            pointer.set_location(to);
            self.desk.queue_redraw_near(&[from, to]);
        }
    }
}

delegate_pointer_constraints!(Compositor);
delegate_relative_pointer!(Compositor);
delegate_pointer_gestures!(Compositor);
