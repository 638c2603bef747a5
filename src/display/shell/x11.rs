//! Windows of X11 programs among the others. They are told where they are, not only how large, and ask for it in other ways.

use smithay::desktop::Window;
use smithay::reexports::wayland_server::Resource;
use smithay::utils::{Logical, Point, Rectangle, Size};
use smithay::xwayland::X11Surface;
use smithay::xwayland::xwm::{ResizeEdge, WmWindowType};

use super::arrange::Told;
use super::grabs::{Edges, Held};
use super::windows::Placed;
use crate::display::Compositor;
use crate::display::desk::Desk;

/// A dialog, a tool, or a window that has one size only, is not tiled.
pub(super) fn floats_by_itself(window: &X11Surface) -> bool {
    let one_size = match (window.min_size(), window.max_size()) {
        (Some(min), Some(max)) => min == max && min.w > 0 && min.h > 0,
        _ => false,
    };
    let kind = matches!(
        window.window_type(),
        Some(
            WmWindowType::Dialog
                | WmWindowType::Utility
                | WmWindowType::Splash
                | WmWindowType::Toolbar
                | WmWindowType::Menu
                | WmWindowType::Notification
        )
    );
    window.is_transient_for().is_some() || window.is_popup() || kind || one_size
}

/// Tells the window what it does not know yet.
pub(super) fn tell(window: &X11Surface, told: Told, at: Point<i32, Logical>) {
    let now = window.geometry();
    // A window that has never said how large it is gets a size that can be seen.
    let own = if now.size.w > 1 && now.size.h > 1 { now.size } else { Size::from((400, 300)) };
    let place = Rectangle::new(at, told.size.unwrap_or(own));
    // Errors here are windows that are gone, which the manager is told as well.
    if window.is_fullscreen() != told.fullscreen {
        let _gone = window.set_fullscreen(told.fullscreen);
    }
    if place != now {
        let _gone = window.configure(place);
    }
}

impl Desk {
    /// An X11 program wants to show a window.
    pub(crate) fn new_x11_window(&mut self, surface: X11Surface) {
        if self.x11_window(&surface).is_some() {
            return;
        }
        let fullscreen = surface.is_fullscreen();
        let window = Window::new_x11_window(surface);
        self.add_window(window.clone());
        if let Some(placed) = self.windows.list.iter_mut().find(|placed| placed.window == window) {
            placed.fullscreen = fullscreen;
        }
        self.configure_new(&window);
    }

    /// The window is gone, or not to be seen any more.
    pub(crate) fn remove_x11_window(&mut self, surface: &X11Surface) {
        let at = self.windows.list.iter().position(|placed| placed.window.x11_surface() == Some(surface));
        if let Some(at) = at {
            self.remove_x11_at(at);
        }
    }

    fn remove_x11_at(&mut self, at: usize) {
        let window = self.windows.list[at].window.clone();
        self.unlist_window(&window);
        self.take_away(at, true);
    }

    /// Their server is gone.
    pub(crate) fn remove_x11_windows(&mut self) {
        while let Some(at) = self.windows.list.iter().position(|placed| placed.window.is_x11()) {
            self.remove_x11_at(at);
        }
    }

    /// It is shown, so that its place is the layout's business.
    pub(crate) fn is_placed_x11(&self, surface: &X11Surface) -> bool {
        self.x11_window(surface).is_some_and(|placed| placed.mapped)
    }

    /// Its size is the layout's business, too.
    pub(crate) fn is_tiled_x11(&self, surface: &X11Surface) -> bool {
        self.x11_window(surface).is_some_and(|placed| !placed.floating() || placed.fullscreen)
    }

    pub(crate) fn set_x11_fullscreen(&mut self, surface: &X11Surface, fullscreen: bool) {
        if let Some(id) = self.x11_window(surface).map(|placed| placed.id) {
            self.set_window_fullscreen(id, fullscreen);
        }
    }

    /// It says something else of itself.
    pub(crate) fn list_x11_window(&mut self, surface: &X11Surface) {
        if let Some(window) =
            self.x11_window(surface).filter(|placed| placed.mapped).map(|p| p.window.clone())
        {
            self.list_window(&window);
            self.windows_changed();
        }
    }

    fn x11_window(&self, surface: &X11Surface) -> Option<&Placed> {
        self.windows.list.iter().find(|placed| placed.window.x11_surface() == Some(surface))
    }
}

impl Compositor {
    /// An X11 program wants its window to be moved or resized with the pointer, whose button is down on it.
    pub(crate) fn hold_x11_window(&mut self, window: &X11Surface, edge: Option<ResizeEdge>) {
        let (Some(surface), Some(pointer)) = (window.wl_surface(), self.desk.seat.get_pointer()) else {
            return;
        };
        let Some(start) = pointer.grab_start_data() else { return };
        let own = start.focus.as_ref().is_some_and(|(focus, _)| focus.id().same_client_as(&surface.id()));
        if own {
            self.hold_window(&surface, edge.map_or(Held::Move, |edge| Held::Resize(edges(edge))), start);
        }
    }
}

fn edges(edge: ResizeEdge) -> Edges {
    match edge {
        ResizeEdge::Top => Edges::TOP,
        ResizeEdge::Bottom => Edges::BOTTOM,
        ResizeEdge::Left => Edges::LEFT,
        ResizeEdge::Right => Edges::RIGHT,
        ResizeEdge::TopLeft => Edges::TOP.with(Edges::LEFT),
        ResizeEdge::TopRight => Edges::TOP.with(Edges::RIGHT),
        ResizeEdge::BottomLeft => Edges::BOTTOM.with(Edges::LEFT),
        ResizeEdge::BottomRight => Edges::BOTTOM.with(Edges::RIGHT),
    }
}
