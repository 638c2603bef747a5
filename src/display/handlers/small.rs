//! Protocols that need little but to be there.

use smithay::desktop::utils::with_surfaces_surface_tree;
use smithay::output::Output;
use smithay::reexports::wayland_protocols_misc::server_decoration::server::org_kde_kwin_server_decoration::{
    Mode, OrgKdeKwinServerDecoration,
};
use smithay::reexports::wayland_server::WEnum;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::{send_surface_state, with_states};
use smithay::wayland::fractional_scale::{FractionalScaleHandler, with_fractional_scale};
use smithay::wayland::shell::kde::decoration::{KdeDecorationHandler, KdeDecorationState};
use smithay::wayland::shell::xdg::dialog::XdgDialogHandler;
use smithay::{
    delegate_alpha_modifier, delegate_content_type, delegate_fifo, delegate_fractional_scale,
    delegate_kde_decoration, delegate_presentation, delegate_single_pixel_buffer, delegate_xdg_dialog,
};

use crate::display::Compositor;
use crate::display::desk::Desk;

impl FractionalScaleHandler for Compositor {
    fn new_fractional_scale(&mut self, surface: WlSurface) {
        let root = self.desk.root_of(&surface);
        if let Some(output) = self.desk.output_of(&root) {
            let scale = output.current_scale().fractional_scale();
            with_states(&surface, |states| {
                with_fractional_scale(states, |state| state.set_preferred_scale(scale));
            });
        }
    }
}

impl KdeDecorationHandler for Compositor {
    fn kde_decoration_state(&self) -> &KdeDecorationState {
        &self.desk.protocols.kde_decoration
    }

    // Tiles have no frame, whatever the client would like.
    fn request_mode(
        &mut self,
        _surface: &WlSurface,
        decoration: &OrgKdeKwinServerDecoration,
        _mode: WEnum<Mode>,
    ) {
        decoration.mode(Mode::Server);
    }
}

// A dialog floats, modal or not.
impl XdgDialogHandler for Compositor {}

impl Desk {
    /// The output that a surface's root is on; for one that is not shown yet, the one it will most likely
    /// come to.
    pub(crate) fn output_of(&self, root: &WlSurface) -> Option<&Output> {
        self.outputs
            .iter()
            .map(|state| &state.output)
            .find(|output| self.roots_on(output).contains(root))
            .or_else(|| self.space.output_under(self.pointer_at).next())
            .or_else(|| self.outputs.first().map(|state| &state.output))
    }

    /// Tells everything on this output how large it is to draw itself. What is told already is not told
    /// again.
    pub(crate) fn tell_scale(&self, output: &Output) {
        let (scale, transform) = (output.current_scale(), output.current_transform());
        for root in self.roots_on(output) {
            with_surfaces_surface_tree(&root, |surface, states| {
                send_surface_state(surface, states, scale.integer_scale(), transform);
                with_fractional_scale(states, |state| state.set_preferred_scale(scale.fractional_scale()));
            });
        }
    }
}

delegate_presentation!(Compositor);
delegate_fractional_scale!(Compositor);
delegate_single_pixel_buffer!(Compositor);
delegate_alpha_modifier!(Compositor);
delegate_fifo!(Compositor);
delegate_content_type!(Compositor);
delegate_xdg_dialog!(Compositor);
delegate_kde_decoration!(Compositor);
