//! The objects of xdg-shell are Smithay's, but for two things that it sees otherwise than the protocol: what
//! is something else already, or shows something, does not become a window; and a menu may hang on a point.

use smithay::backend::renderer::utils::with_renderer_surface_state;
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_popup::XdgPopup;
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_positioner::{self, XdgPositioner};
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_wm_base::{self, XdgWmBase};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, delegate_dispatch, delegate_global_dispatch,
};
use smithay::wayland::compositor::{BufferAssignment, SurfaceAttributes, get_role, with_states};
use smithay::wayland::shell::xdg::{
    XDG_POPUP_ROLE, XDG_TOPLEVEL_ROLE, XdgPositionerUserData, XdgShellState, XdgShellSurfaceUserData,
    XdgWmBaseUserData,
};

use super::numbers;
use crate::display::Compositor;

// What `delegate_xdg_shell!` would write, but for the two below and those in `numbers.rs`.
delegate_global_dispatch!(Compositor: [XdgWmBase: ()] => XdgShellState);
delegate_dispatch!(Compositor: [XdgPopup: XdgShellSurfaceUserData] => XdgShellState);

impl Dispatch<XdgWmBase, XdgWmBaseUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        shell: &XdgWmBase,
        request: xdg_wm_base::Request,
        data: &XdgWmBaseUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let xdg_wm_base::Request::GetXdgSurface { surface, .. } = &request {
            if is_something_else(surface) {
                return shell.post_error(xdg_wm_base::Error::Role, "the surface has another role");
            }
            if shows_something(surface) {
                let error = xdg_wm_base::Error::InvalidSurfaceState;
                return shell.post_error(error, "the surface has a buffer already");
            }
        }
        <XdgShellState as Dispatch<_, _, Self>>::request(
            compositor, client, shell, request, data, display, init,
        );
    }

    fn destroyed(compositor: &mut Self, client: ClientId, shell: &XdgWmBase, data: &XdgWmBaseUserData) {
        <XdgShellState as Dispatch<_, _, Self>>::destroyed(compositor, client, shell, data);
    }
}

impl Dispatch<XdgPositioner, XdgPositionerUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        positioner: &XdgPositioner,
        mut request: xdg_positioner::Request,
        data: &XdgPositionerUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        match &mut request {
            // Only less than nothing is an error.
            xdg_positioner::Request::SetAnchorRect { x, y, width, height } => {
                numbers::bring_near([x, y]);
                for length in [width, height] {
                    *length = if *length == 0 { 1 } else { *length };
                    numbers::bring_near([length]);
                }
            }
            xdg_positioner::Request::SetSize { width, height } => numbers::bring_near([width, height]),
            xdg_positioner::Request::SetOffset { x, y } => numbers::bring_near([x, y]),
            xdg_positioner::Request::SetParentSize { parent_width, parent_height } => {
                numbers::bound([parent_width, parent_height]);
            }
            _ => {}
        }
        <XdgShellState as Dispatch<_, _, Self>>::request(
            compositor, client, positioner, request, data, display, init,
        );
    }
}

/// A subsurface, a pointer's image, a layer surface.
fn is_something_else(surface: &WlSurface) -> bool {
    get_role(surface).is_some_and(|role| ![XDG_TOPLEVEL_ROLE, XDG_POPUP_ROLE].contains(&role))
}

/// It has a picture, or will have with its next commit.
fn shows_something(surface: &WlSurface) -> bool {
    let attached = with_states(surface, |states| {
        let mut attributes = states.cached_state.get::<SurfaceAttributes>();
        matches!(attributes.pending().buffer, Some(BufferAssignment::NewBuffer(_)))
    });
    attached || with_renderer_surface_state(surface, |state| state.buffer().is_some()).unwrap_or(false)
}
