//! A client that looks at windows.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use nix::sys::memfd::{MFdFlags, memfd_create};
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_shm::{Format, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, delegate_noop};
use wayland_protocols::ext::foreign_toplevel_list::v1::client::ext_foreign_toplevel_handle_v1::ExtForeignToplevelHandleV1;
use wayland_protocols::ext::image_capture_source::v1::client::ext_foreign_toplevel_image_capture_source_manager_v1::ExtForeignToplevelImageCaptureSourceManagerV1;
use wayland_protocols::ext::image_capture_source::v1::client::ext_image_capture_source_v1::ExtImageCaptureSourceV1;
use wayland_protocols::ext::image_copy_capture::v1::client::ext_image_copy_capture_frame_v1::{
    self, ExtImageCopyCaptureFrameV1,
};
use wayland_protocols::ext::image_copy_capture::v1::client::ext_image_copy_capture_manager_v1::{
    ExtImageCopyCaptureManagerV1, Options,
};
use wayland_protocols::ext::image_copy_capture::v1::client::ext_image_copy_capture_session_v1::{
    self, ExtImageCopyCaptureSessionV1,
};

use super::events::hear;
use super::{Heard, Program, Said};

/// Memory that the compositor writes pictures into.
pub struct Shared {
    pub buffer: WlBuffer,
    size: (u32, u32),
    memory: File,
}

impl Shared {
    pub fn pixels(&self) -> Vec<u32> {
        let mut bytes = vec![0; (self.size.0 * self.size.1 * 4) as usize];
        self.memory.read_exact_at(&mut bytes, 0).expect("as long as it was made");
        bytes.chunks_exact(4).map(|pixel| u32::from_le_bytes(pixel.try_into().expect("four"))).collect()
    }
}

impl Program {
    /// A session that looks at this window.
    pub fn look_at(&self, window: &ExtForeignToplevelHandleV1) -> ExtImageCopyCaptureSessionV1 {
        let sources: ExtForeignToplevelImageCaptureSourceManagerV1 = self.bind(1);
        let source = sources.create_source(window, &self.handle, ());
        let captures: ExtImageCopyCaptureManagerV1 = self.bind(1);
        captures.create_session(&source, Options::empty(), &self.handle, ())
    }

    /// Asks for one picture in this memory.
    pub fn capture(
        &self,
        session: &ExtImageCopyCaptureSessionV1,
        into: &Shared,
    ) -> ExtImageCopyCaptureFrameV1 {
        let frame = session.create_frame(&self.handle, ());
        frame.attach_buffer(&into.buffer);
        frame.damage_buffer(0, 0, into.size.0 as i32, into.size.1 as i32);
        frame.capture();
        frame
    }

    pub fn shared(&self, size: (u32, u32)) -> Shared {
        let (width, height) = (size.0 as i32, size.1 as i32);
        let memory = File::from(memfd_create(c"picture", MFdFlags::MFD_CLOEXEC).expect("memory"));
        memory.set_len(u64::from(size.0 * size.1 * 4)).expect("as long as it is to be");
        let shm: WlShm = self.bind(1);
        let pool = shm.create_pool(memory.as_fd(), width * height * 4, &self.handle, ());
        let buffer = pool.create_buffer(0, width, height, width * 4, Format::Argb8888, &self.handle, ());
        Shared { buffer, size, memory }
    }
}

hear!(ExtImageCopyCaptureSessionV1, (), |heard, _proxy, _data|
    ext_image_copy_capture_session_v1::Event::BufferSize { width, height } => {
        heard.said.push(Said::CaptureSize(width, height));
    },
    ext_image_copy_capture_session_v1::Event::Stopped => heard.said.push(Said::CaptureStopped),
);
hear!(ExtImageCopyCaptureFrameV1, (), |heard, _proxy, _data|
    ext_image_copy_capture_frame_v1::Event::Ready => heard.said.push(Said::CaptureReady),
    ext_image_copy_capture_frame_v1::Event::Failed { .. } => heard.said.push(Said::CaptureFailed),
);
delegate_noop!(Heard: ignore WlShm);
delegate_noop!(Heard: ignore WlShmPool);
delegate_noop!(Heard: ignore ExtForeignToplevelImageCaptureSourceManagerV1);
delegate_noop!(Heard: ignore ExtImageCaptureSourceV1);
delegate_noop!(Heard: ignore ExtImageCopyCaptureManagerV1);
