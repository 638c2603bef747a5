//! Text that does not come from the keys of a keyboard: input methods, and programs that type.

use smithay::desktop::{PopupKind, PopupManager};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point, Rectangle};
use smithay::wayland::input_method::{InputMethodHandler, PopupSurface};
use smithay::{
    delegate_input_method_manager, delegate_text_input_manager, delegate_virtual_keyboard_manager,
};
use tracing::debug;

use crate::display::Compositor;

impl InputMethodHandler for Compositor {
    fn new_popup(&mut self, surface: PopupSurface) {
        below_the_text(&surface);
        if self.desk.popups.track_popup(PopupKind::from(surface)).is_err() {
            debug!("an input method's popup was gone before it was there");
        }
        self.desk.queue_redraw_all();
    }

    fn dismiss_popup(&mut self, surface: PopupSurface) {
        if let Some(parent) = surface.get_parent() {
            // Refused only when the parent is gone, and the popup with it.
            let _gone = PopupManager::dismiss_popup(&parent.surface, &PopupKind::from(surface.clone()));
        }
        self.desk.queue_redraw_all();
    }

    fn popup_repositioned(&mut self, surface: PopupSurface) {
        below_the_text(&surface);
        self.desk.queue_redraw_all();
    }

    fn parent_geometry(&self, parent: &WlSurface) -> Rectangle<i32, Logical> {
        self.desk.windows.find(parent).map(|(window, _)| window.geometry()).unwrap_or_default()
    }
}

/// The list of candidates does not hide what it is about.
fn below_the_text(popup: &PopupSurface) {
    let text = popup.text_input_rectangle();
    popup.set_location(Point::from((text.loc.x, text.loc.y + text.size.h)));
}

delegate_text_input_manager!(Compositor);
delegate_input_method_manager!(Compositor);
delegate_virtual_keyboard_manager!(Compositor);
