//! The windows of X11 programs: what they ask for, and what becomes of it.

use std::os::fd::OwnedFd;

use smithay::delegate_xwayland_shell;
use smithay::desktop::Window;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Rectangle};
use smithay::wayland::selection::SelectionTarget;
use smithay::wayland::xwayland_shell::{XWaylandShellHandler, XWaylandShellState};
use smithay::xwayland::xwm::{Reorder, ResizeEdge, WmWindowProperty, X11Window, XwmId};
use smithay::xwayland::{X11Surface, X11Wm, XwmHandler};
use tracing::debug;

use crate::display::Compositor;
use crate::display::error::chain;

impl XWaylandShellHandler for Compositor {
    fn xwayland_shell_state(&mut self) -> &mut XWaylandShellState {
        &mut self.desk.protocols.xwayland_shell
    }

    fn surface_associated(&mut self, _: XwmId, _: WlSurface, window: X11Surface) {
        // A menu that was mapped before it had a surface is drawn now.
        debug!(window = window.window_id(), "an X11 window has its surface");
        self.desk.queue_redraw_all();
    }
}

impl XwmHandler for Compositor {
    fn xwm_state(&mut self, id: XwmId) -> &mut X11Wm {
        match self.desk.xwayland.as_mut().and_then(|xwayland| xwayland.manager_of(id)) {
            Some(manager) => manager,
            // Asked by the manager's own events; it is kept until `disconnected`, which is the last of them.
            None => unreachable!("events of an X11 manager that is gone"),
        }
    }

    fn disconnected(&mut self, id: XwmId) {
        if let Some(xwayland) = &mut self.desk.xwayland {
            xwayland.forget_manager(id);
        }
    }

    fn new_window(&mut self, _: XwmId, _: X11Surface) {}

    fn new_override_redirect_window(&mut self, _: XwmId, _: X11Surface) {}

    fn map_window_request(&mut self, _: XwmId, window: X11Surface) {
        if let Err(error) = window.set_mapped(true) {
            debug!(error = chain(&error), "an X11 window cannot be mapped");
            return;
        }
        self.desk.new_x11_window(window);
    }

    fn mapped_override_redirect_window(&mut self, _: XwmId, window: X11Surface) {
        let at = window.geometry().loc;
        let window = Window::new_x11_window(window);
        self.desk.space.map_element(window.clone(), at, false);
        if let Some(xwayland) = &mut self.desk.xwayland {
            xwayland.unmanaged.push(window);
        }
        self.desk.queue_redraw_all();
    }

    fn unmapped_window(&mut self, _: XwmId, window: X11Surface) {
        if !window.is_override_redirect()
            && let Err(error) = window.set_mapped(false)
        {
            debug!(error = chain(&error), "an X11 window is gone already");
        }
        self.x11_window_gone(&window);
    }

    fn destroyed_window(&mut self, _: XwmId, window: X11Surface) {
        self.x11_window_gone(&window);
    }

    fn configure_request(
        &mut self,
        _: XwmId,
        window: X11Surface,
        x: Option<i32>,
        y: Option<i32>,
        w: Option<u32>,
        h: Option<u32>,
        _: Option<Reorder>,
    ) {
        // Where a window is, and how large a tile is, is the layout's business: the answer is what holds.
        let mut wanted = window.geometry();
        if !self.desk.is_placed_x11(&window) {
            // Not shown yet: it may say where and how large it would like to be.
            wanted.loc = (x.unwrap_or(wanted.loc.x), y.unwrap_or(wanted.loc.y)).into();
        }
        if !self.desk.is_tiled_x11(&window) {
            let length = |asked: Option<u32>, now: i32| {
                asked.and_then(|asked| i32::try_from(asked).ok()).unwrap_or(now).clamp(1, i32::from(i16::MAX))
            };
            wanted.size = (length(w, wanted.size.w), length(h, wanted.size.h)).into();
        }
        if let Err(error) = window.configure(wanted) {
            debug!(error = chain(&error), "an X11 window cannot be configured");
        }
        self.desk.arrange_windows();
    }

    fn configure_notify(
        &mut self,
        _: XwmId,
        window: X11Surface,
        geometry: Rectangle<i32, Logical>,
        _: Option<X11Window>,
    ) {
        let Some(xwayland) = &self.desk.xwayland else { return };
        let moved =
            xwayland.unmanaged.iter().find(|unmanaged| unmanaged.x11_surface() == Some(&window)).cloned();
        if let Some(moved) = moved {
            self.desk.space.map_element(moved, geometry.loc, false);
            self.desk.queue_redraw_all();
        }
    }

    fn property_notify(&mut self, _: XwmId, window: X11Surface, property: WmWindowProperty) {
        if matches!(property, WmWindowProperty::Title | WmWindowProperty::Class) {
            self.desk.list_x11_window(&window);
        }
        if matches!(
            property,
            WmWindowProperty::TransientFor | WmWindowProperty::NormalHints | WmWindowProperty::WindowType
        ) && self.desk.is_placed_x11(&window)
        {
            self.desk.arrange_windows();
        }
    }

    fn fullscreen_request(&mut self, _: XwmId, window: X11Surface) {
        self.desk.set_x11_fullscreen(&window, true);
    }

    fn unfullscreen_request(&mut self, _: XwmId, window: X11Surface) {
        self.desk.set_x11_fullscreen(&window, false);
    }

    fn resize_request(&mut self, _: XwmId, window: X11Surface, _: u32, edge: ResizeEdge) {
        self.hold_x11_window(&window, Some(edge));
    }

    fn move_request(&mut self, _: XwmId, window: X11Surface, _: u32) {
        self.hold_x11_window(&window, None);
    }

    fn allow_selection_access(&mut self, _: XwmId, _: SelectionTarget) -> bool {
        // As among Wayland clients: who has the keyboard may paste.
        self.desk
            .seat
            .get_keyboard()
            .and_then(|keyboard| keyboard.current_focus())
            .is_some_and(|focus| focus.x11().is_some())
    }

    fn send_selection(&mut self, _: XwmId, target: SelectionTarget, mime_type: String, fd: OwnedFd) {
        self.paste_to_x11(target, mime_type, fd);
    }

    fn new_selection(&mut self, _: XwmId, target: SelectionTarget, mime_types: Vec<String>) {
        self.offer_from_x11(target, mime_types);
    }

    fn cleared_selection(&mut self, _: XwmId, target: SelectionTarget) {
        self.cleared_by_x11(target);
    }
}

impl Compositor {
    fn x11_window_gone(&mut self, gone: &X11Surface) {
        let unmanaged = self.desk.xwayland.as_mut().and_then(|xwayland| {
            let is = |window: &Window| window.x11_surface() == Some(gone);
            let at = xwayland.unmanaged.iter().position(is)?;
            Some(xwayland.unmanaged.remove(at))
        });
        if let Some(window) = unmanaged {
            self.desk.space.unmap_elem(&window);
            self.desk.queue_redraw_all();
        } else {
            self.desk.remove_x11_window(gone);
        }
    }
}

delegate_xwayland_shell!(Compositor);
