//! One window as it draws itself, wherever it is and whatever lies over it: what a program is given that shares a window rather than
//! the screen. The windows are those of ext-foreign-toplevel-list.

use smithay::backend::renderer::{ImportAll, ImportDma, ImportMem, Renderer};
use smithay::output::Output;
use smithay::reexports::wayland_protocols::ext::image_capture_source::v1::server::ext_foreign_toplevel_image_capture_source_manager_v1::{
    self, ExtForeignToplevelImageCaptureSourceManagerV1,
};
use smithay::reexports::wayland_server::backend::GlobalId;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New,
};
use smithay::utils::{Buffer as BufferCoords, Logical, Point, Rectangle, Size};
use smithay::wayland::foreign_toplevel_list::ForeignToplevelHandle;

use super::Source;
use crate::display::Compositor;
use crate::display::clients::is_unconfined;
use crate::display::desk::Desk;
use crate::display::outputs::Shown;
use crate::display::render_element::SceneElement;
use crate::display::scene::{push_pieces, push_pointer_image};
use crate::display::stack::{Owner, window_pieces};

/// The output that a window is drawn for.
pub(super) fn output(desk: &Desk, id: u32) -> Option<Output> {
    let window = desk.windows.shown(id)?;
    let here = desk.space.outputs_for_element(window).into_iter().next();
    here.or_else(|| desk.outputs.first().map(|state| state.output.clone()))
}

/// Where it lies on the desk; nowhere while something hides all of it.
pub(super) fn place(desk: &Desk, id: u32) -> Option<Rectangle<i32, Logical>> {
    desk.space.element_geometry(desk.windows.shown(id)?)
}

/// Its size in the client's buffer.
pub(super) fn size(desk: &Desk, output: &Output, id: u32) -> Option<Size<i32, BufferCoords>> {
    let scale = output.current_scale().fractional_scale();
    let size = desk.windows.shown(id)?.geometry().size.to_f64().to_physical(scale).to_i32_ceil::<i32>();
    (size.w > 0 && size.h > 0).then(|| Size::from((size.w, size.h)))
}

/// The window with its menus, and with the pointer if that is on it.
pub(super) fn elements<R>(
    desk: &mut Desk,
    renderer: &mut R,
    output: &Output,
    id: u32,
    pointer: bool,
) -> Option<Vec<SceneElement<R>>>
where
    R: Renderer + ImportAll + ImportMem + ImportDma,
    R::TextureId: Clone + Send + 'static,
    R::Error: 'static,
{
    let window = desk.windows.shown(id)?.clone();
    let scale = output.current_scale().fractional_scale();
    let mut elements = Vec::new();
    let under = desk.under(desk.pointer_at).map(|under| under.owner);
    if let Some(place) = place(desk, id).filter(|_| pointer && under == Some(Owner::Window(window.clone()))) {
        let at = desk.pointer_at - place.loc.to_f64();
        push_pointer_image(&mut elements, desk, renderer, at, scale.into());
    }
    let shown = Shown {
        source: output.clone(),
        geometry: Rectangle::from_size(window.geometry().size),
        scale,
        origin: Point::default(),
    };
    push_pieces(&mut elements, &window_pieces(&window), renderer, &shown);
    Some(elements)
}

pub(super) fn global(display: &DisplayHandle) -> GlobalId {
    display.create_global::<Compositor, ExtForeignToplevelImageCaptureSourceManagerV1, ()>(1, ())
}

impl GlobalDispatch<ExtForeignToplevelImageCaptureSourceManagerV1, ()> for Compositor {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        manager: New<ExtForeignToplevelImageCaptureSourceManagerV1>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(manager, ());
    }

    fn can_view(client: Client, (): &()) -> bool {
        is_unconfined(&client)
    }
}

impl Dispatch<ExtForeignToplevelImageCaptureSourceManagerV1, ()> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        _: &ExtForeignToplevelImageCaptureSourceManagerV1,
        request: ext_foreign_toplevel_image_capture_source_manager_v1::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        use ext_foreign_toplevel_image_capture_source_manager_v1::Request;
        if let Request::CreateSource { source, toplevel_handle } = request {
            let listed = ForeignToplevelHandle::from_resource(&toplevel_handle);
            let id = listed.and_then(|handle| compositor.desk.listed_window(&handle));
            init.init(source, id.map(Source::window));
        }
    }
}
