//! Popups: they stay on their part of the screen, and a menu keeps pointer and keyboard until it is done.

use smithay::desktop::{
    PopupKeyboardGrab, PopupKind, PopupPointerGrab, PopupUngrabStrategy, WindowSurfaceType,
    find_popup_root_surface, get_popup_toplevel_coords, layer_map_for_output,
};
use smithay::input::Seat;
use smithay::input::pointer::Focus;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point, Rectangle, SERIAL_COUNTER, Serial};
use smithay::wayland::shell::wlr_layer::KeyboardInteractivity;
use smithay::wayland::shell::xdg::PopupSurface;

use super::Compositor;
use super::desk::Desk;

impl Desk {
    /// Keeps a popup on the clients' part of its window's output, or on the output of its layer surface.
    pub(crate) fn constrain_popup(&self, popup: &PopupSurface) {
        let kind = PopupKind::Xdg(popup.clone());
        let Ok(root) = find_popup_root_surface(&kind) else { return };
        let Some((place, mut room)) = self.window_room(&root).or_else(|| self.layer_room(&root)) else {
            return;
        };
        room.loc -= get_popup_toplevel_coords(&kind) + place;
        popup.with_pending_state(|state| state.geometry = state.positioner.get_unconstrained_geometry(room));
    }

    /// Where this window is on the desk, and the room that its popups have.
    fn window_room(&self, root: &WlSurface) -> Option<(Point<i32, Logical>, Rectangle<i32, Logical>)> {
        let (window, _) = self.windows.find(root)?;
        let place = self.space.element_location(&window)?;
        let shown = self.windows.shown_on(&window);
        let here = self.outputs.iter().find(|state| Some(state.identity.key()) == shown);
        let output = &here.or(self.outputs.first())?.output;
        Some((place, self.clients_area(output)?))
    }

    fn layer_room(&self, root: &WlSurface) -> Option<(Point<i32, Logical>, Rectangle<i32, Logical>)> {
        self.outputs.iter().find_map(|state| {
            let geometry = self.space.output_geometry(&state.output)?;
            let map = layer_map_for_output(&state.output);
            let layer = map.layer_for_surface(root, WindowSurfaceType::TOPLEVEL)?;
            Some((map.layer_geometry(layer)?.loc + geometry.loc, geometry))
        })
    }

    /// Whether this surface, or the window that it belongs to, may have the keyboard.
    fn takes_keyboard(&self, root: &WlSurface) -> bool {
        let layer = self.outputs.iter().find_map(|state| {
            let map = layer_map_for_output(&state.output);
            map.layer_for_surface(root, WindowSurfaceType::TOPLEVEL).cloned()
        });
        layer.is_none_or(|layer| layer.cached_state().keyboard_interactivity != KeyboardInteractivity::None)
    }
}

impl Compositor {
    /// Ends whatever menu there is, with all that is nested in it: something more important has come.
    pub(crate) fn dismiss_menu(&mut self) {
        let Some(mut grab) = self.desk.menu.take().filter(|grab| !grab.has_ended()) else { return };
        grab.ungrab(PopupUngrabStrategy::All);
        let (parent, serial) = (grab.previous_serial().unwrap_or(grab.serial()), grab.serial());
        if let Some(keyboard) = self.desk.seat.get_keyboard()
            && (keyboard.has_grab(serial) || keyboard.has_grab(parent))
        {
            keyboard.unset_grab(self);
        }
        if let Some(pointer) = self.desk.seat.get_pointer()
            && (pointer.has_grab(serial) || pointer.has_grab(parent))
        {
            pointer.unset_grab(self, SERIAL_COUNTER.next_serial(), self.desk.milliseconds());
        }
    }

    /// A menu wants pointer and keyboard until it is dismissed. Refused, it is dismissed at once.
    pub(crate) fn grab_popup(&mut self, popup: PopupSurface, seat: &Seat<Self>, serial: Serial) {
        let kind = PopupKind::Xdg(popup.clone());
        let Ok(root) = find_popup_root_surface(&kind) else { return };
        if self.desk.lock.is_on() {
            popup.send_popup_done();
            return;
        }
        let keyboard = seat.get_keyboard().filter(|_| self.desk.takes_keyboard(&root));
        let Ok(mut grab) = self.desk.popups.grab_popup(root.into(), kind, seat, serial) else {
            popup.send_popup_done();
            return;
        };
        // A grab of another kind, a drag for one, goes on undisturbed.
        let parent = grab.previous_serial().unwrap_or(serial);
        let pointer = seat.get_pointer();
        let busy = keyboard.as_ref().is_some_and(|keyboard| {
            keyboard.is_grabbed() && !keyboard.has_grab(serial) && !keyboard.has_grab(parent)
        }) || pointer.as_ref().is_some_and(|pointer| {
            pointer.is_grabbed() && !pointer.has_grab(serial) && !pointer.has_grab(parent)
        });
        if busy {
            grab.ungrab(PopupUngrabStrategy::All);
            return;
        }
        self.desk.menu = Some(grab.clone());
        if let Some(keyboard) = keyboard {
            keyboard.set_focus(self, grab.current_grab(), serial);
            keyboard.set_grab(self, PopupKeyboardGrab::new(&grab), serial);
        }
        if let Some(pointer) = pointer {
            pointer.set_grab(self, PopupPointerGrab::new(&grab), serial, Focus::Keep);
        }
    }
}
