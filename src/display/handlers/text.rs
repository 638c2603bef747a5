//! Text that does not come from the keys of a keyboard: input methods, and programs that type.

use smithay::desktop::{PopupKind, PopupManager};
use smithay::reexports::wayland_protocols_misc::zwp_input_method_v2::server::zwp_input_method_keyboard_grab_v2::ZwpInputMethodKeyboardGrabV2;
use smithay::reexports::wayland_protocols_misc::zwp_input_method_v2::server::zwp_input_method_manager_v2::ZwpInputMethodManagerV2;
use smithay::reexports::wayland_protocols_misc::zwp_input_method_v2::server::zwp_input_method_v2::ZwpInputMethodV2;
use smithay::reexports::wayland_protocols_misc::zwp_input_method_v2::server::zwp_input_popup_surface_v2::ZwpInputPopupSurfaceV2;
use smithay::reexports::wayland_protocols::wp::text_input::zv3::server::zwp_text_input_manager_v3::ZwpTextInputManagerV3;
use smithay::reexports::wayland_protocols::wp::text_input::zv3::server::zwp_text_input_v3::{
    self, ZwpTextInputV3,
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, delegate_dispatch, delegate_global_dispatch,
};
use smithay::utils::{Logical, Point, Rectangle, SERIAL_COUNTER};
use smithay::wayland::input_method::{
    InputMethodHandler, InputMethodKeyboardUserData, InputMethodManagerGlobalData, InputMethodManagerState,
    InputMethodPopupSurfaceUserData, InputMethodUserData, PopupSurface,
};
use smithay::wayland::text_input::{TextInputManagerState, TextInputUserData};
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

// What `delegate_text_input_manager!` would write, but for the last one.
delegate_global_dispatch!(Compositor: [ZwpTextInputManagerV3: ()] => TextInputManagerState);
delegate_dispatch!(Compositor: [ZwpTextInputManagerV3: ()] => TextInputManagerState);

impl Dispatch<ZwpTextInputV3, TextInputUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        field: &ZwpTextInputV3,
        request: zwp_text_input_v3::Request,
        data: &TextInputUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        // Smithay takes every number for one that it knows.
        let known = match &request {
            zwp_text_input_v3::Request::SetTextChangeCause { cause } => cause.into_result().is_ok(),
            zwp_text_input_v3::Request::SetContentType { hint, purpose } => {
                hint.into_result().is_ok() && purpose.into_result().is_ok()
            }
            _ => true,
        };
        if known {
            <TextInputManagerState as Dispatch<_, _, Self>>::request(
                compositor, client, field, request, data, display, init,
            );
        }
    }

    fn destroyed(compositor: &mut Self, id: ClientId, field: &ZwpTextInputV3, data: &TextInputUserData) {
        <TextInputManagerState as Dispatch<_, _, Self>>::destroyed(compositor, id, field, data);
    }
}

// What `delegate_input_method_manager!` would write, but for the manager's own requests.
delegate_global_dispatch!(Compositor: [ZwpInputMethodManagerV2: InputMethodManagerGlobalData] => InputMethodManagerState);
delegate_dispatch!(Compositor: [ZwpInputMethodV2: InputMethodUserData<Compositor>] => InputMethodManagerState);
delegate_dispatch!(Compositor: [ZwpInputMethodKeyboardGrabV2: InputMethodKeyboardUserData<Compositor>] => InputMethodManagerState);
delegate_dispatch!(Compositor: [ZwpInputPopupSurfaceV2: InputMethodPopupSurfaceUserData] => InputMethodManagerState);

impl Dispatch<ZwpInputMethodManagerV2, ()> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        manager: &ZwpInputMethodManagerV2,
        request: <ZwpInputMethodManagerV2 as Resource>::Request,
        data: &(),
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        <InputMethodManagerState as Dispatch<_, _, Self>>::request(
            compositor, client, manager, request, data, display, init,
        );
        // Text fields hear of an input method when they get the keyboard. The one that has it already gets it
        // again.
        if let Some(keyboard) = compositor.desk.seat.get_keyboard()
            && let Some(focus) = keyboard.current_focus()
            && !keyboard.is_grabbed()
        {
            keyboard.set_focus(compositor, None, SERIAL_COUNTER.next_serial());
            keyboard.set_focus(compositor, Some(focus), SERIAL_COUNTER.next_serial());
        }
    }
}
