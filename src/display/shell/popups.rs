//! Menus and the like stay on the clients' part of their window's output.

use smithay::desktop::{PopupKind, find_popup_root_surface, get_popup_toplevel_coords};
use smithay::wayland::shell::xdg::PopupSurface;

use crate::display::desk::Desk;

impl Desk {
    /// Keeps a popup on the clients' part of its window's output.
    pub(crate) fn constrain_popup(&self, popup: &PopupSurface) {
        let kind = PopupKind::Xdg(popup.clone());
        let Ok(root) = find_popup_root_surface(&kind) else { return };
        let Some((window, _)) = self.windows.find(&root) else { return };
        let Some(place) = self.space.element_location(&window) else { return };
        let shown = self.windows.of(&window).and_then(|placed| placed.shown.clone());
        let output = self
            .outputs
            .iter()
            .find(|state| Some(state.output.name()) == shown)
            .or(self.outputs.first())
            .map(|state| &state.output);
        let Some(mut target) = output.and_then(|output| self.clients_area(output)) else { return };
        target.loc -= get_popup_toplevel_coords(&kind) + place;
        popup
            .with_pending_state(|state| state.geometry = state.positioner.get_unconstrained_geometry(target));
    }
}
