//! Which window has the keyboard, if a window has it. Each output has its own focus, the window there that
//! was used last; the active output's has the keys.

use std::collections::HashSet;

use smithay::desktop::{Window, find_popup_root_surface};
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;

use crate::display::compositor::Notice;
use crate::display::desk::Desk;
use crate::display::outputs::key;

impl Desk {
    /// The output that keys and new windows go to.
    pub(crate) fn active_output(&self) -> Option<&Output> {
        let named = self.windows.active.as_ref();
        self.outputs
            .iter()
            .find(|state| named.is_some_and(|name| *name == state.identity.key()))
            .or(self.outputs.first())
            .map(|state| &state.output)
    }

    /// The keyboard goes to this window, and its output is the active one.
    pub(crate) fn focus(&mut self, window: Option<Window>) {
        let placed = window.as_ref().and_then(|window| self.windows.of(window));
        if let Some((id, shown)) = placed.map(|placed| (placed.id, placed.shown.clone())) {
            self.windows.use_now(id);
            if let Some(output) = shown {
                self.windows.active = Some(output);
            }
            // What floats or is fullscreen comes to the front.
            self.arrange_windows();
        }
        self.wish_focus(window);
    }

    /// This output is the active one, and the window there that was used last has the keyboard.
    pub(crate) fn activate_output(&mut self, output: &Output) {
        self.windows.active = Some(key(output));
        self.refocus();
    }

    /// The keyboard goes to the window of the active output that was used last.
    pub(crate) fn refocus(&mut self) {
        let active = self.active_output().map(key);
        let seen = self.seen();
        let last = self
            .windows
            .mapped()
            .filter(|placed| placed.shown == active && seen.contains(&placed.id))
            .max_by_key(|placed| placed.used)
            .map(|placed| placed.window.clone());
        self.wish_focus(last);
    }

    /// Whether something of this window can be seen: it is not behind a fullscreen one.
    pub(super) fn is_seen(&self, id: u32) -> bool {
        self.seen().contains(&id)
    }

    /// The windows of which something can be seen.
    pub(super) fn seen(&self) -> HashSet<u32> {
        let mut closed = HashSet::new();
        let mut seen = HashSet::new();
        // Front to back.
        for place in self.places(&self.screens(), None).into_iter().rev() {
            if !closed.contains(&place.screen) {
                seen.insert(place.id);
            }
            if place.layer == super::places::Layer::Fullscreen {
                closed.insert(place.screen);
            }
        }
        seen
    }

    /// Tells the clients which window is the active one.
    pub(crate) fn show_focus(&mut self, focused: Option<&WlSurface>) {
        // A menu has the keyboard in its window's name.
        let root = focused.and_then(|surface| self.popups.find_popup(surface));
        let root = root.and_then(|popup| find_popup_root_surface(&popup).ok());
        let focused = root.as_ref().or(focused);
        let before = self.windows.focused;
        self.windows.focused = None;
        for placed in self.windows.list.iter().filter(|placed| placed.mapped) {
            let active = focused.is_some_and(|surface| placed.is(surface));
            if active {
                self.windows.focused = Some(placed.id);
            }
            if placed.window.set_activated(active)
                && let Some(toplevel) = placed.window.toplevel()
                && toplevel.is_initial_configure_sent()
            {
                toplevel.send_pending_configure();
            }
        }
        if self.windows.focused != before {
            self.windows_changed();
        }
    }

    /// Windows have come, gone or changed.
    pub(crate) fn windows_changed(&self) {
        self.notify(Notice::Changed);
    }
}
