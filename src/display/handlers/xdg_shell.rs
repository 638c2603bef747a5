//! Windows and their popups.

use smithay::delegate_xdg_decoration;
use smithay::desktop::PopupKind;
use smithay::input::Seat;
use smithay::output::Output;
use smithay::reexports::wayland_protocols::xdg::decoration::zv1::server::zxdg_toplevel_decoration_v1::Mode;
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel::{ResizeEdge, State};
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_wm_base;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_output::WlOutput;
use smithay::reexports::wayland_server::protocol::wl_seat::WlSeat;
use smithay::utils::Serial;
use smithay::wayland::shell::xdg::decoration::XdgDecorationHandler;
use smithay::wayland::shell::xdg::{
    PopupSurface, PositionerState, ToplevelSurface, XdgShellHandler, XdgShellState,
};
use tracing::{debug, warn};

use crate::display::Compositor;
use crate::display::clients::process_of;
use crate::display::limits::{self, Hanging};
use crate::display::shell::Held;

impl XdgShellHandler for Compositor {
    fn xdg_shell_state(&mut self) -> &mut XdgShellState {
        &mut self.desk.protocols.xdg_shell
    }

    fn new_toplevel(&mut self, surface: ToplevelSurface) {
        self.desk.new_window(surface);
    }

    fn toplevel_destroyed(&mut self, surface: ToplevelSurface) {
        if let Some((window, _)) = self.desk.windows.find(surface.wl_surface()) {
            self.desk.unlist_window(&window);
        }
        self.desk.unmap_window(surface.wl_surface(), true);
        // At the end of the turn otherwise.
        if !self.desk.is_unsettled() {
            self.apply_focus();
            self.refresh_pointer();
        }
    }

    fn fullscreen_request(&mut self, surface: ToplevelSurface, output: Option<WlOutput>) {
        let output = output.as_ref().and_then(Output::from_resource);
        self.desk.set_fullscreen(surface.wl_surface(), true, output.as_ref());
        answer(&surface);
    }

    fn unfullscreen_request(&mut self, surface: ToplevelSurface) {
        self.desk.set_fullscreen(surface.wl_surface(), false, None);
        answer(&surface);
    }

    fn maximize_request(&mut self, surface: ToplevelSurface) {
        // A tile is as large as it gets: only the client's own picture of it changes.
        surface.with_pending_state(|state| state.states.set(State::Maximized));
        answer(&surface);
    }

    fn unmaximize_request(&mut self, surface: ToplevelSurface) {
        surface.with_pending_state(|state| state.states.unset(State::Maximized));
        answer(&surface);
    }

    fn popup_destroyed(&mut self, _surface: PopupSurface) {
        self.refresh_pointer();
    }

    fn parent_changed(&mut self, _surface: ToplevelSurface) {
        self.desk.arrange_soon(false);
    }

    fn move_request(&mut self, surface: ToplevelSurface, _seat: WlSeat, serial: Serial) {
        self.hold_if_pressed(&surface, serial, Held::Move);
    }

    fn resize_request(&mut self, surface: ToplevelSurface, _seat: WlSeat, serial: Serial, edges: ResizeEdge) {
        self.hold_if_pressed(&surface, serial, Held::Resize(edges.into()));
    }

    fn new_popup(&mut self, surface: PopupSurface, positioner: PositionerState) {
        match limits::hanging(surface.wl_surface()) {
            Hanging::Fine => {}
            Hanging::Ring => {
                limits::take_down(surface.wl_surface());
                let error = xdg_wm_base::Error::InvalidPopupParent;
                return surface.wl_surface().post_error(error, "a popup cannot hang on itself");
            }
            Hanging::TooDeep => {
                let pid = surface.wl_surface().client().and_then(|client| process_of(&client));
                warn!(
                    pid,
                    levels = limits::POPUP_DEPTH,
                    "a client nests popups too deep, and what is beyond is not shown"
                );
                return surface.send_popup_done();
            }
        }
        surface.with_pending_state(|state| {
            state.geometry = positioner.get_geometry();
            state.positioner = positioner;
        });
        self.desk.constrain_popup(&surface);
        if self.desk.popups.track_popup(PopupKind::Xdg(surface)).is_err() {
            debug!("a popup was gone before it was there");
        }
    }

    fn reposition_request(&mut self, surface: PopupSurface, positioner: PositionerState, token: u32) {
        if limits::hanging(surface.wl_surface()) != Hanging::Fine {
            return;
        }
        surface.with_pending_state(|state| {
            state.geometry = positioner.get_geometry();
            state.positioner = positioner;
        });
        self.desk.constrain_popup(&surface);
        surface.send_repositioned(token);
    }

    fn grab(&mut self, surface: PopupSurface, seat: WlSeat, serial: Serial) {
        if limits::hanging(surface.wl_surface()) != Hanging::Fine {
            return surface.send_popup_done();
        }
        if let Some(seat) = Seat::<Compositor>::from_resource(&seat) {
            self.grab_popup(surface, &seat, serial);
        }
    }

    fn title_changed(&mut self, surface: ToplevelSurface) {
        self.relist(&surface);
    }

    fn app_id_changed(&mut self, surface: ToplevelSurface) {
        self.relist(&surface);
    }
}

impl Compositor {
    fn relist(&mut self, surface: &ToplevelSurface) {
        if let Some((window, true)) = self.desk.windows.find(surface.wl_surface()) {
            self.desk.list_window(&window);
            self.desk.windows_changed();
        }
    }
}

impl Compositor {
    /// A client may only have its window moved by a button that was pressed on it.
    fn hold_if_pressed(&mut self, toplevel: &ToplevelSurface, serial: Serial, held: Held) {
        let Some(pointer) = self.desk.seat.get_pointer().filter(|pointer| pointer.has_grab(serial)) else {
            return;
        };
        let Some(start) = pointer.grab_start_data() else { return };
        let surface = toplevel.wl_surface();
        let own = start.focus.as_ref().is_some_and(|(focus, _)| focus.id().same_client_as(&surface.id()));
        if own {
            self.hold_window(surface, held, start);
        }
    }
}

impl XdgDecorationHandler for Compositor {
    // Tiles have no frame, so the answer is always ours: the client draws none.
    fn new_decoration(&mut self, toplevel: ToplevelSurface) {
        decorate(&toplevel);
    }

    fn request_mode(&mut self, toplevel: ToplevelSurface, _mode: Mode) {
        decorate(&toplevel);
    }

    fn unset_mode(&mut self, toplevel: ToplevelSurface) {
        decorate(&toplevel);
    }
}

fn decorate(toplevel: &ToplevelSurface) {
    toplevel.with_pending_state(|state| state.decoration_mode = Some(Mode::ServerSide));
    if toplevel.is_initial_configure_sent() {
        toplevel.send_pending_configure();
    }
}

/// A request for another state is answered with a configure, also when nothing changes.
fn answer(toplevel: &ToplevelSurface) {
    if toplevel.is_initial_configure_sent() {
        toplevel.send_configure();
    }
}

delegate_xdg_decoration!(Compositor);
