//! wlr-screencopy, version 3: what grim and older viewers speak. One picture for each object.

use std::sync::atomic::{AtomicBool, Ordering};

use smithay::backend::allocator::Fourcc;
use smithay::output::Output;
use smithay::reexports::wayland_protocols_wlr::screencopy::v1::server::zwlr_screencopy_frame_v1::{
    self, ZwlrScreencopyFrameV1,
};
use smithay::reexports::wayland_protocols_wlr::screencopy::v1::server::zwlr_screencopy_manager_v1::{
    self, ZwlrScreencopyManagerV1,
};
use smithay::reexports::wayland_server::backend::{ClientId, GlobalId};
use smithay::reexports::wayland_server::protocol::wl_output::WlOutput;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource,
};
use smithay::utils::{Buffer as BufferCoords, Logical, Physical, Rectangle, Size};

use super::pixels::PIXEL;
use super::{Copy, Frame, Source};
use crate::display::Compositor;
use crate::display::clients::is_unconfined;

/// What is known of a picture when its object is made.
pub(crate) struct Wanted {
    manager: ZwlrScreencopyManagerV1,
    /// `None` when there is nothing to copy.
    source: Option<(Source, Rectangle<i32, BufferCoords>)>,
    used: AtomicBool,
}

pub(super) fn global(display: &DisplayHandle) -> GlobalId {
    display.create_global::<Compositor, ZwlrScreencopyManagerV1, ()>(3, ())
}

impl GlobalDispatch<ZwlrScreencopyManagerV1, ()> for Compositor {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        manager: New<ZwlrScreencopyManagerV1>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(manager, ());
    }

    fn can_view(client: Client, (): &()) -> bool {
        is_unconfined(&client)
    }
}

impl Dispatch<ZwlrScreencopyManagerV1, ()> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        manager: &ZwlrScreencopyManagerV1,
        request: zwlr_screencopy_manager_v1::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        use zwlr_screencopy_manager_v1::Request;
        let (frame, pointer, output, region) = match request {
            Request::CaptureOutput { frame, overlay_cursor, output } => (frame, overlay_cursor, output, None),
            Request::CaptureOutputRegion { frame, overlay_cursor, output, x, y, width, height } => {
                let region = Rectangle::new((x, y).into(), (width.max(0), height.max(0)).into());
                (frame, overlay_cursor, output, Some(region))
            }
            // `destroy`, and what later versions may bring.
            _ => return,
        };
        let source = compositor.wanted(&output, pointer != 0, region);
        let wanted =
            Wanted { manager: manager.clone(), source: source.clone(), used: AtomicBool::new(false) };
        let frame = init.init(frame, wanted);
        match source {
            Some((source, area)) => compositor.announce(&frame, &source, area),
            None => frame.failed(),
        }
    }

    fn destroyed(compositor: &mut Self, _: ClientId, manager: &ZwlrScreencopyManagerV1, (): &()) {
        compositor.copies.forget(&manager.id());
    }
}

impl Dispatch<ZwlrScreencopyFrameV1, Wanted> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        frame: &ZwlrScreencopyFrameV1,
        request: zwlr_screencopy_frame_v1::Request,
        wanted: &Wanted,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        use zwlr_screencopy_frame_v1::Request;
        let (buffer, with_damage) = match request {
            Request::Copy { buffer } => (buffer, false),
            Request::CopyWithDamage { buffer } => (buffer, true),
            _ => return,
        };
        if wanted.used.swap(true, Ordering::Relaxed) {
            frame.post_error(zwlr_screencopy_frame_v1::Error::AlreadyUsed, "one copy for each object");
            return;
        }
        let Some((source, area)) = wanted.source.clone() else { return };
        // Looks of one manager belong together; with the manager gone, this look is the only one.
        let manager = &wanted.manager;
        let watcher = if manager.is_alive() { manager.id() } else { frame.id() };
        compositor.request_copy(Copy {
            frame: Frame::Wlr { frame: frame.clone(), with_damage },
            watcher,
            source,
            area,
            buffer,
            only_if_changed: with_damage,
        });
    }

    fn destroyed(compositor: &mut Self, _: ClientId, frame: &ZwlrScreencopyFrameV1, _: &Wanted) {
        compositor.copies.forget(&frame.id());
    }
}

impl Compositor {
    fn wanted(
        &self,
        output: &WlOutput,
        pointer: bool,
        region: Option<Rectangle<i32, Logical>>,
    ) -> Option<(Source, Rectangle<i32, BufferCoords>)> {
        let output = Output::from_resource(output)?;
        let source = Source::output_screen(output.downgrade()).painted(pointer);
        source.output(&self.desk)?;
        let size = output.current_mode()?.size;
        let turn = output.current_transform().invert();
        let scene: Size<i32, Physical> = turn.transform_size(size);
        let area = match region {
            None => Rectangle::from_size(scene),
            Some(region) => {
                let scale = output.current_scale().fractional_scale();
                let region = region.to_f64().to_physical(scale).to_i32_round();
                region.intersection(Rectangle::from_size(scene)).filter(|area| !area.is_empty())?
            }
        };
        let area = turn.transform_rect_in(area, &scene);
        let area = Rectangle::new((area.loc.x, area.loc.y).into(), (area.size.w, area.size.h).into());
        Some((source, area))
    }

    /// Which buffers may be used for this picture.
    fn announce(
        &mut self,
        frame: &ZwlrScreencopyFrameV1,
        source: &Source,
        area: Rectangle<i32, BufferCoords>,
    ) {
        let (width, height) = (area.size.w.unsigned_abs(), area.size.h.unsigned_abs());
        frame.buffer(source.what.shm(), width, height, width * PIXEL as u32);
        if frame.version() < 3 {
            return;
        }
        let whole = source.size(&mut self.desk) == Some(area.size);
        let gpu = source.output(&self.desk).and_then(|output| self.backend.copy_formats(&output));
        if whole && gpu.is_some_and(|gpu| gpu.formats.iter().any(|format| format.code == Fourcc::Xrgb8888)) {
            frame.linux_dmabuf(Fourcc::Xrgb8888 as u32, width, height);
        }
        frame.buffer_done();
    }
}
