//! The seat: who has the keyboard, and what the pointer looks like.

use smithay::backend::input::TabletToolDescriptor;
use smithay::input::keyboard::LedState;
use smithay::input::pointer::CursorImageStatus;
use smithay::input::{Seat, SeatHandler, SeatState};
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::selection::data_device::set_data_device_focus;
use smithay::wayland::selection::primary_selection::set_primary_focus;
use smithay::wayland::tablet_manager::TabletSeatHandler;
use smithay::{delegate_cursor_shape, delegate_seat, delegate_tablet_manager};

use crate::display::Compositor;
use crate::display::xwayland::KeyboardFocus;

impl SeatHandler for Compositor {
    type KeyboardFocus = KeyboardFocus;
    type PointerFocus = WlSurface;
    type TouchFocus = WlSurface;

    fn seat_state(&mut self) -> &mut SeatState<Self> {
        &mut self.desk.protocols.seat
    }

    fn focus_changed(&mut self, seat: &Seat<Self>, focused: Option<&KeyboardFocus>) {
        let focused = focused.map(KeyboardFocus::surface);
        let client = focused.and_then(Resource::client);
        set_data_device_focus(&self.desk.display, seat, client.clone());
        set_primary_focus(&self.desk.display, seat, client);
        self.desk.show_focus(focused);
    }

    fn led_state_changed(&mut self, _seat: &Seat<Self>, leds: LedState) {
        self.backend.set_leds(leds);
    }

    fn cursor_image(&mut self, _seat: &Seat<Self>, image: CursorImageStatus) {
        self.desk.cursor.status = image;
        self.desk.queue_redraw_all();
    }
}

impl TabletSeatHandler for Compositor {
    // A tool moves the pointer, and looks as its client wants it.
    fn tablet_tool_image(&mut self, _tool: &TabletToolDescriptor, image: CursorImageStatus) {
        self.desk.cursor.status = image;
        self.desk.queue_redraw_all();
    }
}

delegate_seat!(Compositor);
delegate_cursor_shape!(Compositor);
delegate_tablet_manager!(Compositor);
