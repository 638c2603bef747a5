//! Protocols that need nothing but to be there.

use smithay::output::Scale;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::buffer::BufferHandler;
use smithay::wayland::compositor::with_states;
use smithay::wayland::fractional_scale::{FractionalScaleHandler, with_fractional_scale};
use smithay::wayland::shm::{ShmHandler, ShmState};
use smithay::{
    delegate_fractional_scale, delegate_presentation, delegate_shm, delegate_single_pixel_buffer,
    delegate_viewporter,
};

use crate::display::Compositor;

impl ShmHandler for Compositor
where
    Compositor: BufferHandler,
{
    fn shm_state(&self) -> &ShmState {
        &self.desk.protocols.shm
    }
}

impl FractionalScaleHandler for Compositor {
    fn new_fractional_scale(&mut self, surface: WlSurface) {
        let scale = self
            .desk
            .outputs
            .first()
            .map_or(Scale::Integer(1), |state| state.output.current_scale())
            .fractional_scale();
        with_states(&surface, |states| {
            with_fractional_scale(states, |state| state.set_preferred_scale(scale));
        });
    }
}

delegate_shm!(Compositor);
delegate_viewporter!(Compositor);
delegate_presentation!(Compositor);
delegate_fractional_scale!(Compositor);
delegate_single_pixel_buffer!(Compositor);
