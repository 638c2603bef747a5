//! Places and sizes that clients say. The wire carries any number, and Smithay adds them up: what is beyond
//! every screen is brought to where it is beyond every screen still, and a size of less than nothing is
//! refused, or counts as nothing where the protocol has no error for it.

use smithay::reexports::wayland_protocols::wp::viewporter::server::wp_viewport::{self, WpViewport};
use smithay::reexports::wayland_protocols::wp::viewporter::server::wp_viewporter::WpViewporter;
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_surface::{self, XdgSurface};
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel::{self, XdgToplevel};
use smithay::reexports::wayland_protocols_wlr::layer_shell::v1::server::zwlr_layer_shell_v1::ZwlrLayerShellV1;
use smithay::reexports::wayland_protocols_wlr::layer_shell::v1::server::zwlr_layer_surface_v1::{
    self, ZwlrLayerSurfaceV1,
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_region;
use smithay::reexports::wayland_server::protocol::wl_surface::{self, WlSurface};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, delegate_dispatch, delegate_global_dispatch,
};
use smithay::wayland::compositor::{CompositorState, SurfaceUserData};
use smithay::wayland::shell::wlr_layer::{
    WlrLayerShellGlobalData, WlrLayerShellState, WlrLayerSurfaceUserData,
};
use smithay::wayland::shell::xdg::{XdgShellState, XdgShellSurfaceUserData, XdgSurfaceUserData};
use smithay::wayland::viewporter::{ViewportState, ViewporterState};

use crate::display::Compositor;

/// Farther than any screen reaches, and near enough that some hundred of them can be added up and multiplied
/// by a scale.
const FAR: i32 = 1 << 22;

/// Brings coordinates there.
pub(super) fn bring_near<const N: usize>(coordinates: [&mut i32; N]) {
    for coordinate in coordinates {
        *coordinate = (*coordinate).clamp(-FAR, FAR);
    }
}

/// The same for lengths, which are never less than nothing.
pub(super) fn bound<const N: usize>(lengths: [&mut i32; N]) {
    for length in lengths {
        *length = (*length).clamp(0, FAR);
    }
}

/// The rectangle of a request to change a region.
pub(super) fn bound_region(request: &mut wl_region::Request) {
    if let wl_region::Request::Add { x, y, width, height }
    | wl_region::Request::Subtract { x, y, width, height } = request
    {
        bring_near([x, y]);
        bound([width, height]);
    }
}

delegate_global_dispatch!(Compositor: [WpViewporter: ()] => ViewporterState);
delegate_dispatch!(Compositor: [WpViewporter: ()] => ViewporterState);
delegate_global_dispatch!(Compositor: [ZwlrLayerShellV1: WlrLayerShellGlobalData] => WlrLayerShellState);
delegate_dispatch!(Compositor: [ZwlrLayerShellV1: ()] => WlrLayerShellState);

impl Dispatch<WlSurface, SurfaceUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        surface: &WlSurface,
        mut request: wl_surface::Request,
        data: &SurfaceUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        match &mut request {
            wl_surface::Request::Attach { x, y, .. } | wl_surface::Request::Offset { x, y } => {
                bring_near([x, y]);
            }
            wl_surface::Request::Damage { x, y, width, height }
            | wl_surface::Request::DamageBuffer { x, y, width, height } => {
                bring_near([x, y]);
                bound([width, height]);
            }
            wl_surface::Request::SetBufferScale { scale } => *scale = (*scale).min(FAR),
            _ => {}
        }
        <CompositorState as Dispatch<_, _, Self>>::request(
            compositor, client, surface, request, data, display, init,
        );
    }

    fn destroyed(compositor: &mut Self, client: ClientId, surface: &WlSurface, data: &SurfaceUserData) {
        <CompositorState as Dispatch<_, _, Self>>::destroyed(compositor, client, surface, data);
    }
}

impl Dispatch<WpViewport, ViewportState> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        viewport: &WpViewport,
        mut request: wp_viewport::Request,
        data: &ViewportState,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wp_viewport::Request::SetDestination { width, height } = &mut request {
            // Less than nothing is an error, and minus one a word of the protocol.
            for length in [width, height] {
                *length = (*length).min(FAR);
            }
        }
        <ViewportState as Dispatch<_, _, Self>>::request(
            compositor, client, viewport, request, data, display, init,
        );
    }
}

impl Dispatch<XdgSurface, XdgSurfaceUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        surface: &XdgSurface,
        mut request: xdg_surface::Request,
        data: &XdgSurfaceUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let xdg_surface::Request::SetWindowGeometry { x, y, width, height } = &mut request {
            if *width <= 0 || *height <= 0 {
                return surface.post_error(xdg_surface::Error::InvalidSize, "a window is of a size");
            }
            bring_near([x, y]);
            bound([width, height]);
        }
        <XdgShellState as Dispatch<_, _, Self>>::request(
            compositor, client, surface, request, data, display, init,
        );
    }

    fn destroyed(compositor: &mut Self, client: ClientId, surface: &XdgSurface, data: &XdgSurfaceUserData) {
        <XdgShellState as Dispatch<_, _, Self>>::destroyed(compositor, client, surface, data);
    }
}

impl Dispatch<XdgToplevel, XdgShellSurfaceUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        toplevel: &XdgToplevel,
        mut request: xdg_toplevel::Request,
        data: &XdgShellSurfaceUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let xdg_toplevel::Request::SetMinSize { width, height }
        | xdg_toplevel::Request::SetMaxSize { width, height } = &mut request
        {
            if *width < 0 || *height < 0 {
                let error = xdg_toplevel::Error::InvalidSize;
                return toplevel.post_error(error, "a window is not of less than no size");
            }
            bound([width, height]);
        }
        <XdgShellState as Dispatch<_, _, Self>>::request(
            compositor, client, toplevel, request, data, display, init,
        );
    }

    fn destroyed(
        compositor: &mut Self,
        client: ClientId,
        toplevel: &XdgToplevel,
        data: &XdgShellSurfaceUserData,
    ) {
        <XdgShellState as Dispatch<_, _, Self>>::destroyed(compositor, client, toplevel, data);
    }
}

impl Dispatch<ZwlrLayerSurfaceV1, WlrLayerSurfaceUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        layer: &ZwlrLayerSurfaceV1,
        mut request: zwlr_layer_surface_v1::Request,
        data: &WlrLayerSurfaceUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        match &mut request {
            zwlr_layer_surface_v1::Request::SetSize { width, height } => {
                if i32::try_from(*width).is_err() || i32::try_from(*height).is_err() {
                    let error = zwlr_layer_surface_v1::Error::InvalidSize;
                    return layer.post_error(error, "there is no screen of that size");
                }
                for length in [width, height] {
                    *length = (*length).min(FAR.unsigned_abs());
                }
            }
            zwlr_layer_surface_v1::Request::SetExclusiveZone { zone } => bring_near([zone]),
            zwlr_layer_surface_v1::Request::SetMargin { top, right, bottom, left } => {
                bring_near([top, right, bottom, left]);
            }
            _ => {}
        }
        <WlrLayerShellState as Dispatch<_, _, Self>>::request(
            compositor, client, layer, request, data, display, init,
        );
    }

    fn destroyed(
        compositor: &mut Self,
        client: ClientId,
        layer: &ZwlrLayerSurfaceV1,
        data: &WlrLayerSurfaceUserData,
    ) {
        <WlrLayerShellState as Dispatch<_, _, Self>>::destroyed(compositor, client, layer, data);
    }
}
