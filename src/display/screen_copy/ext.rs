//! ext-image-copy-capture, version 1: what newer viewers speak. A session looks at one source, picture after picture.

use std::sync::{Mutex, PoisonError};

use smithay::output::Output;
use smithay::reexports::wayland_protocols::ext::image_capture_source::v1::server::ext_image_capture_source_v1::{
    self, ExtImageCaptureSourceV1,
};
use smithay::reexports::wayland_protocols::ext::image_capture_source::v1::server::ext_output_image_capture_source_manager_v1::{
    self, ExtOutputImageCaptureSourceManagerV1,
};
use smithay::reexports::wayland_protocols::ext::image_copy_capture::v1::server::ext_image_copy_capture_frame_v1::{
    self, ExtImageCopyCaptureFrameV1, FailureReason,
};
use smithay::reexports::wayland_protocols::ext::image_copy_capture::v1::server::ext_image_copy_capture_manager_v1::{
    self, ExtImageCopyCaptureManagerV1, Options,
};
use smithay::reexports::wayland_protocols::ext::image_copy_capture::v1::server::ext_image_copy_capture_session_v1::{
    self, ExtImageCopyCaptureSessionV1,
};
use smithay::reexports::wayland_server::backend::{ClientId, GlobalId};
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource, WEnum,
};
use smithay::utils::{Buffer as BufferCoords, Rectangle, Size};

use super::cursor::{CursorSession, CursorSessionData};
use super::{Copy, Frame, Source, What};
use crate::display::Compositor;
use crate::display::backend::Backend;
use crate::display::clients::is_unconfined;
use crate::display::desk::Desk;

/// A client looking at a source.
pub(super) struct Session {
    object: ExtImageCopyCaptureSessionV1,
    source: Source,
    /// The size that the client was told to make its buffers of.
    told: Option<Size<i32, BufferCoords>>,
    stopped: bool,
    /// At most one at a time.
    frame: Option<ExtImageCopyCaptureFrameV1>,
}

/// Kept with a frame.
pub(crate) struct FrameData {
    session: ExtImageCopyCaptureSessionV1,
    source: Option<Source>,
    state: Mutex<FrameState>,
}

#[derive(Default)]
struct FrameState {
    buffer: Option<WlBuffer>,
    captured: bool,
}

pub(super) fn globals(display: &DisplayHandle) -> [GlobalId; 2] {
    [
        display.create_global::<Compositor, ExtOutputImageCaptureSourceManagerV1, ()>(1, ()),
        display.create_global::<Compositor, ExtImageCopyCaptureManagerV1, ()>(1, ()),
    ]
}

impl Session {
    /// Tells what buffers have to be like, when that is another now, or that there is nothing to look at any more.
    fn update(&mut self, backend: &Backend, desk: &mut Desk) {
        let Some(output) = self.source.output(desk) else {
            if !std::mem::replace(&mut self.stopped, true) {
                self.object.stopped();
            }
            return;
        };
        // A pointer that is not to be seen just now has had an image, and will have one again.
        let size = self.source.size(desk).or(self.told).unwrap_or((24, 24).into());
        if self.told.replace(size) == Some(size) {
            return;
        }
        self.object.buffer_size(size.w.unsigned_abs(), size.h.unsigned_abs());
        self.object.shm_format(self.source.what.shm());
        let gpu = backend.copy_formats(&output).filter(|_| self.source.what != What::Pointer);
        if let Some(gpu) = gpu {
            self.object.dmabuf_device(gpu.device.to_ne_bytes().to_vec());
            let code = self.source.what.fourcc();
            let modifiers: Vec<u8> = gpu
                .formats
                .iter()
                .filter(|format| format.code == code)
                .flat_map(|format| u64::from(format.modifier).to_ne_bytes())
                .collect();
            if !modifiers.is_empty() {
                self.object.dmabuf_format(code as u32, modifiers);
            }
        }
        self.object.done();
    }
}

impl Compositor {
    /// Everything that clients are told of what they look at, before they are given pictures of it.
    pub(super) fn update_capture_sessions(&mut self) {
        for session in &mut self.copies.sessions {
            session.update(&self.backend, &mut self.desk);
        }
        for cursor in &mut self.copies.cursors {
            cursor.update(&mut self.desk);
        }
    }

    pub(super) fn start_session(
        &mut self,
        session: New<ExtImageCopyCaptureSessionV1>,
        source: Option<Source>,
        init: &mut DataInit<'_, Self>,
    ) {
        let object = init.init(session, source.clone());
        match source {
            Some(source) => {
                let mut session = Session { object, source, told: None, stopped: false, frame: None };
                session.update(&self.backend, &mut self.desk);
                self.copies.sessions.push(session);
            }
            // It was gone before.
            None => object.stopped(),
        }
    }

    fn capture(&mut self, frame: &ExtImageCopyCaptureFrameV1, data: &FrameData, buffer: WlBuffer) {
        let session = self.copies.sessions.iter().find(|session| session.object == data.session);
        let size = session.and_then(|session| session.told);
        match (&data.source, size) {
            (Some(source), Some(size)) => {
                let watcher = data.session.id();
                self.request_copy(Copy {
                    frame: Frame::Ext(frame.clone()),
                    watcher,
                    source: source.clone(),
                    area: Rectangle::from_size(size),
                    buffer,
                    // The first look is never a wait: everything is new to it.
                    only_if_changed: true,
                });
            }
            _ => frame.failed(FailureReason::Stopped),
        }
    }
}

impl GlobalDispatch<ExtOutputImageCaptureSourceManagerV1, ()> for Compositor {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        manager: New<ExtOutputImageCaptureSourceManagerV1>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(manager, ());
    }

    fn can_view(client: Client, (): &()) -> bool {
        is_unconfined(&client)
    }
}

impl Dispatch<ExtOutputImageCaptureSourceManagerV1, ()> for Compositor {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &ExtOutputImageCaptureSourceManagerV1,
        request: ext_output_image_capture_source_manager_v1::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let ext_output_image_capture_source_manager_v1::Request::CreateSource { source, output } = request
        {
            let output = Output::from_resource(&output);
            init.init(source, output.map(|output| Source::output_screen(output.downgrade())));
        }
    }
}

impl Dispatch<ExtImageCaptureSourceV1, Option<Source>> for Compositor {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &ExtImageCaptureSourceV1,
        _: ext_image_capture_source_v1::Request,
        _: &Option<Source>,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
    }
}

impl GlobalDispatch<ExtImageCopyCaptureManagerV1, ()> for Compositor {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        manager: New<ExtImageCopyCaptureManagerV1>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(manager, ());
    }

    fn can_view(client: Client, (): &()) -> bool {
        is_unconfined(&client)
    }
}

impl Dispatch<ExtImageCopyCaptureManagerV1, ()> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        manager: &ExtImageCopyCaptureManagerV1,
        request: ext_image_copy_capture_manager_v1::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        use ext_image_copy_capture_manager_v1::{Error, Request};
        let known = |source: &ExtImageCaptureSourceV1| source.data::<Option<Source>>().cloned().flatten();
        match request {
            Request::CreateSession { session, source, options } => {
                let WEnum::Value(options) = options else {
                    compositor.start_session(session, None, init);
                    return manager.post_error(Error::InvalidOption, "an option that is not there");
                };
                let pointer = options.contains(Options::PaintCursors);
                let source = known(&source).map(|source| source.painted(pointer));
                compositor.start_session(session, source, init);
            }
            Request::CreatePointerCursorSession { session, source, pointer: _ } => {
                let source = known(&source);
                let object = init.init(session, CursorSessionData::new(source.as_ref()));
                let session = object
                    .data::<CursorSessionData>()
                    .and_then(|data| CursorSession::new(object.clone(), data));
                compositor.copies.cursors.extend(session);
                // Where the pointer is now.
                compositor.desk.wake.ping();
            }
            _ => {}
        }
    }
}

impl Dispatch<ExtImageCopyCaptureSessionV1, Option<Source>> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        object: &ExtImageCopyCaptureSessionV1,
        request: ext_image_copy_capture_session_v1::Request,
        source: &Option<Source>,
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        use ext_image_copy_capture_session_v1::{Error, Request};
        if let Request::CreateFrame { frame } = request {
            let data = FrameData {
                session: object.clone(),
                source: source.clone(),
                state: Mutex::new(FrameState::default()),
            };
            let frame = init.init(frame, data);
            let session = compositor.copies.sessions.iter_mut().find(|session| session.object == *object);
            let Some(session) = session else { return };
            if session.frame.as_ref().is_some_and(Resource::is_alive) {
                object.post_error(Error::DuplicateFrame, "the frame before is still there");
            } else {
                session.frame = Some(frame);
            }
        }
    }

    fn destroyed(
        compositor: &mut Self,
        _: ClientId,
        object: &ExtImageCopyCaptureSessionV1,
        _: &Option<Source>,
    ) {
        compositor.copies.sessions.retain(|session| session.object.id() != object.id());
        compositor.copies.forget(&object.id());
    }
}

impl Dispatch<ExtImageCopyCaptureFrameV1, FrameData> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        frame: &ExtImageCopyCaptureFrameV1,
        request: ext_image_copy_capture_frame_v1::Request,
        data: &FrameData,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        use ext_image_copy_capture_frame_v1::{Error, Request};
        let mut state = data.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(request, Request::Destroy) {
            return;
        }
        if state.captured {
            return frame.post_error(Error::AlreadyCaptured, "the frame has been captured");
        }
        match request {
            Request::AttachBuffer { buffer } => state.buffer = Some(buffer),
            // What is copied is always the whole picture, so what the client has damaged does not matter.
            Request::DamageBuffer { x, y, width, height } if x < 0 || y < 0 || width <= 0 || height <= 0 => {
                frame.post_error(Error::InvalidBufferDamage, "damage outside of the buffer");
            }
            Request::Capture => {
                let Some(buffer) = state.buffer.take() else {
                    return frame.post_error(Error::NoBuffer, "no buffer is attached");
                };
                state.captured = true;
                drop(state);
                compositor.capture(frame, data, buffer);
            }
            _ => {}
        }
    }
}
