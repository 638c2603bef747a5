//! The life of a window: made, configured, shown, taken away.

use smithay::desktop::Window;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::shell::xdg::ToplevelSurface;

use super::arrange::{Told, prepare};
use super::places::Layer;
use crate::display::clients::process_of;
use crate::display::desk::Desk;
use crate::display::outputs::key;

impl Desk {
    /// A client has made a toplevel; it gets its place when it has something to show.
    pub(crate) fn new_window(&mut self, toplevel: ToplevelSurface) {
        self.add_window(Window::new_wayland_window(toplevel));
    }

    pub(super) fn add_window(&mut self, window: Window) {
        let home = self.home_of_new(&window);
        self.windows.add(window, home);
    }

    /// The output that a new window opens on: the active one, in a kiosk that of its program.
    fn home_of_new(&self, window: &Window) -> String {
        let client = window.toplevel().and_then(|toplevel| toplevel.wl_surface().client());
        let wayland = client.and_then(|client| process_of(&client));
        let pid = wayland.or_else(|| window.x11_surface()?.pid()).filter(|_| self.is_kiosk());
        pid.and_then(|pid| self.kiosk.output_of(pid))
            .map(str::to_owned)
            .or_else(|| self.active_output().map(key))
            .unwrap_or_default()
    }

    /// The first configure of a window: the size that it will have.
    pub(crate) fn configure_new(&mut self, window: &Window) {
        self.home_with_parent(window);
        self.fill_kiosk(window);
        let Some(placed) = self.windows.of(window) else { return };
        let (id, floating) = (placed.id, placed.floating() && !placed.fullscreen);
        let place = self.places(&self.screens(), Some(id)).into_iter().find(|place| place.id == id);
        let fullscreen = place.is_some_and(|place| place.layer == Layer::Fullscreen);
        let told = Told {
            size: place.filter(|_| !floating).map(|place| place.area.size),
            fullscreen,
            tiled: !floating && !fullscreen,
            resizing: false,
        };
        if let Some(toplevel) = window.toplevel() {
            prepare(toplevel, told);
            toplevel.send_configure();
        }
        if let (Some(x11), Some(place)) = (window.x11_surface(), place) {
            super::x11::tell(x11, told, place.area.loc);
        }
    }

    /// A dialog opens where its window is.
    fn home_with_parent(&mut self, window: &Window) {
        let parent = self.windows.of(window).and_then(|placed| self.windows.parent_of(placed));
        let home = parent.map(|parent| parent.home.clone());
        if let Some(home) = home
            && let Some(placed) = self.windows.list.iter_mut().find(|placed| &placed.window == window)
        {
            placed.home = home;
        }
    }

    /// In a kiosk a program has its output alone; only its dialogs float.
    fn fill_kiosk(&mut self, window: &Window) {
        let placed = self.windows.list.iter().find(|placed| &placed.window == window);
        let alone = placed.map(|placed| self.windows.parent_of(placed).is_none());
        if self.is_kiosk()
            && let Some(alone) = alone
            && let Some(placed) = self.windows.list.iter_mut().find(|placed| &placed.window == window)
        {
            placed.fullscreen = alone;
        }
    }

    /// The window has its first picture.
    pub(crate) fn map_window(&mut self, window: &Window) {
        let Some(at) = self.windows.list.iter().position(|placed| &placed.window == window) else { return };
        // The order is that of appearance, not of creation.
        let mut placed = self.windows.list.remove(at);
        placed.mapped = true;
        let id = placed.id;
        self.windows.list.push(placed);
        self.arrange_windows();
        // What would be behind a fullscreen window does not get the keyboard, and no program that is started
        // again takes it away from another output.
        let active = self.active_output().map(key);
        let elsewhere = self.windows.get(id).is_some_and(|placed| placed.shown != active);
        if elsewhere && self.windows.focused.is_some() {
            self.windows.use_now(id);
        } else if self.is_seen(id) {
            self.focus(Some(window.clone()));
        }
        self.windows_changed();
    }

    /// The client took its picture away, or is gone.
    pub(crate) fn unmap_window(&mut self, surface: &WlSurface, gone: bool) {
        if let Some(at) = self.windows.list.iter().position(|placed| placed.is(surface)) {
            self.take_away(at, gone);
        }
    }

    pub(super) fn take_away(&mut self, at: usize, gone: bool) {
        let was_mapped = std::mem::take(&mut self.windows.list[at].mapped);
        if was_mapped {
            self.space.unmap_elem(&self.windows.list[at].window);
            let id = self.windows.list[at].id;
            self.windows.laid.retain(|(laid, _)| *laid != id);
            // Shown again, it is where it was, and as large as it likes.
            let placed = &mut self.windows.list[at];
            (placed.size, placed.resizing, placed.shown) = (None, None, None);
        }
        if gone {
            self.windows.list.remove(at);
        }
        if was_mapped {
            self.arrange_soon(true);
        }
    }
}
