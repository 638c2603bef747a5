//! The objects of `wl_compositor` are Smithay's, within bounds: a tree of subsurfaces that is too deep or too
//! large is not built, and regions do not grow without end.

use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::protocol::wl_callback::WlCallback;
use smithay::reexports::wayland_server::protocol::wl_compositor::WlCompositor;
use smithay::reexports::wayland_server::protocol::wl_region::{self, WlRegion};
use smithay::reexports::wayland_server::protocol::wl_subcompositor::{self, WlSubcompositor};
use smithay::reexports::wayland_server::protocol::wl_subsurface::{self, WlSubsurface};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, delegate_dispatch, delegate_global_dispatch,
};
use smithay::wayland::compositor::{
    CompositorState, RegionUserData, SubsurfaceUserData, get_parent, get_role, give_role,
};
use tracing::warn;

use super::numbers;
use crate::display::Compositor;
use crate::display::clients::process_of;
use crate::display::limits;

// What `delegate_compositor!` would write, but for those below and in `numbers.rs`.
delegate_global_dispatch!(Compositor: [WlCompositor: ()] => CompositorState);
delegate_global_dispatch!(Compositor: [WlSubcompositor: ()] => CompositorState);
delegate_dispatch!(Compositor: [WlCompositor: ()] => CompositorState);
delegate_dispatch!(Compositor: [WlCallback: ()] => CompositorState);

const ROLE: &str = "subsurface";

/// A subsurface beyond the bounds: it is there for its client, and is not shown.
pub(super) struct Beyond;

impl Dispatch<WlSubcompositor, ()> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        subcompositor: &WlSubcompositor,
        request: wl_subcompositor::Request,
        data: &(),
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        let request = match request {
            wl_subcompositor::Request::GetSubsurface { id, surface, parent } => {
                // What is an error of the protocol stays Smithay's to say.
                let free = surface != parent
                    && get_parent(&surface).is_none()
                    && get_role(&surface).is_none_or(|role| role == ROLE);
                let fits = || {
                    limits::may_nest(&surface, &parent)
                        && limits::counts_of(client).is_none_or(limits::Counts::add_subsurface)
                };
                if free && !fits() {
                    let pid = process_of(client);
                    warn!(
                        pid,
                        levels = limits::SUBSURFACE_DEPTH,
                        most = limits::SUBSURFACES,
                        "a client has subsurfaces too deep or too many, and what is beyond is not shown"
                    );
                    let _same = give_role(&surface, ROLE);
                    init.init(id, Beyond);
                    return;
                }
                wl_subcompositor::Request::GetSubsurface { id, surface, parent }
            }
            other => other,
        };
        <CompositorState as Dispatch<_, _, Self>>::request(
            compositor,
            client,
            subcompositor,
            request,
            data,
            display,
            init,
        );
    }
}

impl Dispatch<WlSubsurface, Beyond> for Compositor {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &WlSubsurface,
        _: wl_subsurface::Request,
        _: &Beyond,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        // Whatever is asked, nobody sees it.
    }
}

impl Dispatch<WlSubsurface, SubsurfaceUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        subsurface: &WlSubsurface,
        mut request: wl_subsurface::Request,
        data: &SubsurfaceUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_subsurface::Request::SetPosition { x, y } = &mut request {
            numbers::bring_near([x, y]);
        }
        <CompositorState as Dispatch<_, _, Self>>::request(
            compositor, client, subsurface, request, data, display, init,
        );
    }

    fn destroyed(compositor: &mut Self, id: ClientId, subsurface: &WlSubsurface, data: &SubsurfaceUserData) {
        if let Some(client) = subsurface.client()
            && let Some(counts) = limits::counts_of(&client)
        {
            counts.drop_subsurface();
        }
        <CompositorState as Dispatch<_, _, Self>>::destroyed(compositor, id, subsurface, data);
    }
}

impl Dispatch<WlRegion, RegionUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        region: &WlRegion,
        mut request: wl_region::Request,
        data: &RegionUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        numbers::bound_region(&mut request);
        let grows = matches!(request, wl_region::Request::Add { .. } | wl_region::Request::Subtract { .. });
        if grows && limits::counts_of(client).is_some_and(|counts| !counts.add_rectangle(region.id())) {
            return limits::refuse(client, display, "rectangles in one region", limits::RECTANGLES);
        }
        <CompositorState as Dispatch<_, _, Self>>::request(
            compositor, client, region, request, data, display, init,
        );
    }

    fn destroyed(compositor: &mut Self, id: ClientId, region: &WlRegion, data: &RegionUserData) {
        if let Some(client) = region.client()
            && let Some(counts) = limits::counts_of(&client)
        {
            counts.drop_region(&region.id());
        }
        <CompositorState as Dispatch<_, _, Self>>::destroyed(compositor, id, region, data);
    }
}
