//! A client that looks at the screen, as a viewer at another machine does, and writes down all that it is told.

#![allow(dead_code)] // each binary that includes this uses a part of it

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_output::WlOutput;
use wayland_client::protocol::wl_registry::WlRegistry;
use wayland_client::protocol::wl_shm::{Format, WlShm};
use wayland_client::protocol::wl_shm_pool::WlShmPool;
use wayland_client::{Connection, Dispatch, EventQueue, Proxy, QueueHandle, WEnum, delegate_noop};
use wayland_protocols::ext::image_capture_source::v1::client::ext_image_capture_source_v1::ExtImageCaptureSourceV1;
use wayland_protocols::ext::image_capture_source::v1::client::ext_output_image_capture_source_manager_v1::ExtOutputImageCaptureSourceManagerV1;
use wayland_protocols::ext::image_copy_capture::v1::client::{
    ext_image_copy_capture_frame_v1::{self, ExtImageCopyCaptureFrameV1},
    ext_image_copy_capture_manager_v1::{ExtImageCopyCaptureManagerV1, Options},
    ext_image_copy_capture_session_v1::{self, ExtImageCopyCaptureSessionV1},
};
use wayland_protocols_wlr::screencopy::v1::client::zwlr_screencopy_frame_v1::{self, ZwlrScreencopyFrameV1};
use wayland_protocols_wlr::screencopy::v1::client::zwlr_screencopy_manager_v1::ZwlrScreencopyManagerV1;

/// x, y, width, height.
pub type Area = (i64, i64, i64, i64);

/// What the compositor has said about pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Shm { format: Format, width: u32, height: u32, stride: u32 },
    Size(u32, u32),
    Done,
    Stopped,
    Damage(Area),
    Ready,
    Failed,
}

#[derive(Default)]
pub struct Heard {
    pub said: Vec<Said>,
}

pub struct Viewer {
    connection: Connection,
    queue: EventQueue<Heard>,
    pub heard: Heard,
    shm: WlShm,
    output: WlOutput,
    wlr: ZwlrScreencopyManagerV1,
    sources: ExtOutputImageCaptureSourceManagerV1,
    manager: ExtImageCopyCaptureManagerV1,
}

/// A buffer that can be read.
pub struct Shared {
    file: File,
    pub buffer: WlBuffer,
    width: u32,
    height: u32,
}

impl Shared {
    /// 0xRRGGBB.
    pub fn pixels(&self) -> Vec<u32> {
        let mut bytes = vec![0; (self.width * self.height * 4) as usize];
        self.file.read_exact_at(&mut bytes, 0).expect("the pixels");
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], 0])).collect()
    }
}

impl Viewer {
    pub fn connect(socket: &Path) -> Viewer {
        let stream = UnixStream::connect(socket).expect("the session listens");
        let connection = Connection::from_socket(stream).expect("a connection");
        let (globals, queue) = registry_queue_init::<Heard>(&connection).expect("the globals");
        let handle = queue.handle();
        Viewer {
            shm: globals.bind(&handle, 1..=1, ()).expect("wl_shm"),
            output: globals.bind(&handle, 1..=4, ()).expect("an output"),
            wlr: globals.bind(&handle, 3..=3, ()).expect("wlr-screencopy"),
            sources: globals.bind(&handle, 1..=1, ()).expect("capture sources"),
            manager: globals.bind(&handle, 1..=1, ()).expect("image copy capture"),
            connection,
            queue,
            heard: Heard::default(),
        }
    }

    /// One exchange with the compositor. Fails when it has disconnected us.
    pub fn turn(&mut self) -> Result<(), String> {
        self.queue.roundtrip(&mut self.heard).map(drop).map_err(|error| error.to_string())
    }

    /// What the compositor said when it disconnected us.
    pub fn protocol_error(&self) -> Option<(String, u32)> {
        self.connection.protocol_error().map(|error| (error.object_interface, error.code))
    }

    pub fn buffer(&self, width: u32, height: u32) -> Shared {
        let file = tempfile::tempfile().expect("a file");
        let size = width * height * 4;
        file.set_len(size.into()).expect("its size");
        let handle = self.queue.handle();
        let pool = self.shm.create_pool(file.as_fd(), size as i32, &handle, ());
        let (w, h) = (width as i32, height as i32);
        let buffer = pool.create_buffer(0, w, h, w * 4, Format::Xrgb8888, &handle, ());
        pool.destroy();
        Shared { file, buffer, width, height }
    }

    pub fn wlr_frame(&self, region: Option<(i32, i32, i32, i32)>) -> ZwlrScreencopyFrameV1 {
        let handle = self.queue.handle();
        match region {
            None => self.wlr.capture_output(0, &self.output, &handle, ()),
            Some((x, y, w, h)) => self.wlr.capture_output_region(0, &self.output, x, y, w, h, &handle, ()),
        }
    }

    pub fn session(&self) -> ExtImageCopyCaptureSessionV1 {
        let handle = self.queue.handle();
        let source = self.sources.create_source(&self.output, &handle, ());
        let session = self.manager.create_session(&source, Options::empty(), &handle, ());
        source.destroy();
        session
    }

    pub fn frame(&self, session: &ExtImageCopyCaptureSessionV1) -> ExtImageCopyCaptureFrameV1 {
        session.create_frame(&self.queue.handle(), ())
    }

    /// Until this was said. The time limit is only there to end a test that hangs.
    pub fn until(&mut self, said: &Said) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.heard.said.contains(said) {
            assert!(Instant::now() < deadline, "{said:?} was not said, but {:?}", self.heard.said);
            self.turn().expect("still connected");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// All that was said since this was asked last.
    pub fn take(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.heard.said)
    }
}

impl Dispatch<WlRegistry, GlobalListContents> for Heard {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: <WlRegistry as Proxy>::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

impl Dispatch<ZwlrScreencopyFrameV1, ()> for Heard {
    fn event(
        heard: &mut Self,
        _: &ZwlrScreencopyFrameV1,
        event: zwlr_screencopy_frame_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        use zwlr_screencopy_frame_v1::Event;
        heard.said.push(match event {
            Event::Buffer { format: WEnum::Value(format), width, height, stride } => {
                Said::Shm { format, width, height, stride }
            }
            Event::BufferDone => Said::Done,
            Event::Damage { x, y, width, height } => {
                Said::Damage((x.into(), y.into(), width.into(), height.into()))
            }
            Event::Ready { .. } => Said::Ready,
            Event::Failed => Said::Failed,
            _ => return,
        });
    }
}

impl Dispatch<ExtImageCopyCaptureSessionV1, ()> for Heard {
    fn event(
        heard: &mut Self,
        _: &ExtImageCopyCaptureSessionV1,
        event: ext_image_copy_capture_session_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        use ext_image_copy_capture_session_v1::Event;
        heard.said.push(match event {
            Event::BufferSize { width, height } => Said::Size(width, height),
            Event::Done => Said::Done,
            Event::Stopped => Said::Stopped,
            _ => return,
        });
    }
}

impl Dispatch<ExtImageCopyCaptureFrameV1, ()> for Heard {
    fn event(
        heard: &mut Self,
        _: &ExtImageCopyCaptureFrameV1,
        event: ext_image_copy_capture_frame_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        use ext_image_copy_capture_frame_v1::Event;
        heard.said.push(match event {
            Event::Damage { x, y, width, height } => {
                Said::Damage((x.into(), y.into(), width.into(), height.into()))
            }
            Event::Ready => Said::Ready,
            Event::Failed { .. } => Said::Failed,
            _ => return,
        });
    }
}

delegate_noop!(Heard: ignore WlShm);
delegate_noop!(Heard: ignore WlShmPool);
delegate_noop!(Heard: ignore WlBuffer);
delegate_noop!(Heard: ignore WlOutput);
delegate_noop!(Heard: ignore ZwlrScreencopyManagerV1);
delegate_noop!(Heard: ignore ExtOutputImageCaptureSourceManagerV1);
delegate_noop!(Heard: ignore ExtImageCaptureSourceV1);
delegate_noop!(Heard: ignore ExtImageCopyCaptureManagerV1);
