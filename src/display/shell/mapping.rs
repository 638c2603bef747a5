//! The life of a window: made, configured, shown, taken away.

use smithay::desktop::Window;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::shell::xdg::ToplevelSurface;

use super::arrange::{Told, prepare};
use super::places::Layer;
use crate::display::desk::Desk;
use crate::display::outputs::key;

impl Desk {
    /// A client has made a toplevel; it gets its place when it has something to show.
    pub(crate) fn new_window(&mut self, toplevel: ToplevelSurface) {
        self.add_window(Window::new_wayland_window(toplevel));
    }

    pub(super) fn add_window(&mut self, window: Window) {
        let home = self.home_of_new();
        self.windows.add(window, home);
    }

    /// The output that a new window opens on.
    fn home_of_new(&self) -> String {
        self.active_output().map(key).unwrap_or_default()
    }

    /// The first configure of a window: the size that it will have.
    pub(crate) fn configure_new(&mut self, window: &Window) {
        self.home_with_parent(window);
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

    /// The window has its first picture.
    pub(crate) fn map_window(&mut self, window: &Window) {
        let Some(at) = self.windows.list.iter().position(|placed| &placed.window == window) else { return };
        // The order is that of appearance, not of creation.
        let mut placed = self.windows.list.remove(at);
        placed.mapped = true;
        let id = placed.id;
        self.windows.list.push(placed);
        self.arrange_windows();
        // What would be behind a fullscreen window does not get the keyboard.
        if self.is_seen(id) {
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
            // Shown again, it is where it was, and as large as it likes.
            let placed = &mut self.windows.list[at];
            (placed.size, placed.resizing, placed.shown) = (None, None, None);
        }
        if gone {
            self.windows.list.remove(at);
        }
        if was_mapped {
            self.arrange_windows();
            self.refocus();
            self.windows_changed();
        }
    }
}
