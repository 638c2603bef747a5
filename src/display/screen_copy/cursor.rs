//! The pointer for viewers that draw it themselves: its image, and where it is.

use std::sync::atomic::{AtomicBool, Ordering};

use smithay::input::pointer::CursorImageStatus;
use smithay::desktop::utils::bbox_from_surface_tree;
use smithay::output::Output;
use smithay::reexports::wayland_protocols::ext::image_copy_capture::v1::server::ext_image_copy_capture_cursor_session_v1::{
    self, ExtImageCopyCaptureCursorSessionV1,
};
use smithay::reexports::wayland_server::backend::ClientId;
use smithay::reexports::wayland_server::{Client, DataInit, Dispatch, DisplayHandle, Resource};
use smithay::utils::{Buffer as BufferCoords, IsAlive, Physical, Point, Size};

use super::{Source, What};
use crate::display::Compositor;
use crate::display::desk::Desk;
use crate::display::scene::hot_spot;

/// How the pointer looks on an output.
pub(super) struct Look {
    /// Of its image.
    pub(super) size: Size<i32, BufferCoords>,
    /// The pixel of the image that points.
    pub(super) hot_spot: Point<i32, Physical>,
}

/// `None` while there is no pointer to be seen.
pub(super) fn look(desk: &mut Desk, output: &Output) -> Option<Look> {
    let scale = output.current_scale().fractional_scale();
    if desk.cursor.resting() {
        return None;
    }
    let (size, hot_spot) = match &desk.cursor.status {
        CursorImageStatus::Hidden => return None,
        CursorImageStatus::Named(icon) => {
            let icon = *icon;
            let image = desk.cursor.named(icon);
            (image.size, image.hot_spot)
        }
        CursorImageStatus::Surface(surface) if surface.alive() => {
            let bounds = bbox_from_surface_tree(surface, (0, 0));
            (bounds.size, hot_spot(surface))
        }
        CursorImageStatus::Surface(_) => return None,
    };
    let size = size.to_f64().to_physical(scale).to_i32_ceil::<i32>();
    let hot_spot = hot_spot.to_f64().to_physical(scale).to_i32_round();
    (size.w > 0 && size.h > 0).then(|| Look { size: Size::from((size.w, size.h)), hot_spot })
}

/// A client that follows the pointer on an output, or on a window.
pub(super) struct CursorSession {
    object: ExtImageCopyCaptureCursorSessionV1,
    source: Source,
    /// Position and hot spot that the client was told, while the pointer is on the output.
    told: Option<(Point<i32, Physical>, Point<i32, Physical>)>,
}

/// Kept with the object.
pub(crate) struct CursorSessionData {
    source: Option<Source>,
    used: AtomicBool,
}

impl CursorSessionData {
    pub(super) fn new(output: Option<&Source>) -> Self {
        let source = output.map(|source| Source { what: What::Pointer, ..source.clone() });
        Self { source, used: AtomicBool::new(false) }
    }
}

impl CursorSession {
    pub(super) fn new(object: ExtImageCopyCaptureCursorSessionV1, data: &CursorSessionData) -> Option<Self> {
        Some(Self { object, source: data.source.clone()?, told: None })
    }

    /// Tells what has changed since the client was told last.
    pub(super) fn update(&mut self, desk: &mut Desk) {
        let now = self.source.output(desk).and_then(|output| {
            let look = look(desk, &output)?;
            let (geometry, scale) = self.source.place(desk)?;
            let at = desk.pointer_at - geometry.loc.to_f64();
            let position: Point<i32, Physical> = at.to_physical(scale).to_i32_floor();
            let inside = geometry.to_f64().contains(desk.pointer_at);
            inside.then_some((position, look.hot_spot))
        });
        match (self.told, now) {
            (None, None) => {}
            (Some(_), None) => self.object.leave(),
            (told, Some((position, hot_spot))) => {
                if told.is_none() {
                    self.object.enter();
                }
                if told.is_none_or(|(old, _)| old != position) {
                    self.object.position(position.x, position.y);
                }
                if told.is_none_or(|(_, old)| old != hot_spot) {
                    self.object.hotspot(hot_spot.x, hot_spot.y);
                }
            }
        }
        self.told = now;
    }
}

impl Dispatch<ExtImageCopyCaptureCursorSessionV1, CursorSessionData> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        object: &ExtImageCopyCaptureCursorSessionV1,
        request: ext_image_copy_capture_cursor_session_v1::Request,
        data: &CursorSessionData,
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        use ext_image_copy_capture_cursor_session_v1::{Error, Request};
        if let Request::GetCaptureSession { session } = request {
            let again = data.used.swap(true, Ordering::Relaxed);
            compositor.start_session(session, data.source.clone(), init);
            if again {
                object.post_error(Error::DuplicateSession, "one session for each object");
            }
        }
    }

    fn destroyed(
        compositor: &mut Self,
        _: ClientId,
        object: &ExtImageCopyCaptureCursorSessionV1,
        _: &CursorSessionData,
    ) {
        compositor.copies.cursors.retain(|session| session.object.id() != object.id());
    }
}
