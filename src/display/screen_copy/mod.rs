//! Pictures of the screen for other programs: screenshots, recorders, and viewers at other machines.
//!
//! In: requests of two protocols, [`wlr`] (wlr-screencopy) and [`ext`] (ext-image-copy-capture), from clients that are not
//! confined. Out: what an output shows, map and (if asked for) pointer included, in the client's buffer; or one window, wherever it
//! is and whatever lies over it.
//!
//! ```text
//!  wlr ─┐                                  ┌─ nothing has changed: it goes on waiting
//!  ext ─┴─► Copy, waiting ─► picture (drawn ┴─ once more, beside the screen) ─► copied ─► frame on the screen ─► ready
//! ```
//!
//! A copy draws nothing on the screen and asks for no frame: it is made when the screen is what the desk is, and one that
//! waits for a change is only looked at when something has changed. The map stays on its plane meanwhile.

mod cursor;
mod ext;
mod picture;
mod pixels;
mod window;
mod wlr;

use std::collections::HashMap;
use std::time::Duration;

use smithay::output::{Output, WeakOutput};
use smithay::reexports::wayland_protocols::ext::image_copy_capture::v1::server::ext_image_copy_capture_frame_v1::{
    ExtImageCopyCaptureFrameV1, FailureReason,
};
use smithay::reexports::wayland_protocols_wlr::screencopy::v1::server::zwlr_screencopy_frame_v1::{
    self, ZwlrScreencopyFrameV1,
};
use smithay::reexports::wayland_server::backend::{GlobalId, ObjectId};
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::{DisplayHandle, Resource};
use smithay::utils::{Buffer as BufferCoords, Logical, Rectangle, Size};
use tracing::debug;

use super::Compositor;
use super::desk::Desk;
pub(crate) use picture::{Changed, CopyError, DmabufFormats, Job, Seen, copy, take};

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    of: Of,
    what: What,
}

/// Whose picture.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Of {
    Output(WeakOutput),
    /// The window of this number.
    Window(u32),
}

/// What of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum What {
    /// All that an output shows, with or without the pointer.
    Screen { pointer: bool },
    /// All of a window, with or without the pointer.
    Window { id: u32, pointer: bool },
    /// The pointer's image alone.
    Pointer,
}

impl Source {
    fn output_screen(output: WeakOutput) -> Self {
        Self { of: Of::Output(output), what: What::Screen { pointer: false } }
    }

    fn window(id: u32) -> Self {
        Self { of: Of::Window(id), what: What::Window { id, pointer: false } }
    }

    /// The same with the pointer painted, or not.
    fn painted(self, pointer: bool) -> Self {
        let what = match self.of {
            Of::Output(_) => What::Screen { pointer },
            Of::Window(id) => What::Window { id, pointer },
        };
        Self { what, ..self }
    }

    /// The output whose renderer makes the picture, as long as there is something to be seen.
    fn output(&self, desk: &Desk) -> Option<Output> {
        match &self.of {
            Of::Output(output) => {
                let output = output.upgrade()?;
                desk.outputs.iter().any(|state| state.output == output).then_some(output)
            }
            Of::Window(id) => window::output(desk, *id),
        }
    }

    /// Where it begins on the desk, how large it is there, and its pixels for a logical one.
    fn place(&self, desk: &Desk) -> Option<(Rectangle<i32, Logical>, f64)> {
        let output = self.output(desk)?;
        let scale = output.current_scale().fractional_scale();
        let place = match &self.of {
            Of::Output(_) => desk.space.output_geometry(&output)?,
            Of::Window(id) => window::place(desk, *id)?,
        };
        Some((place, scale))
    }

    /// Its size in the client's buffer.
    fn size(&self, desk: &mut Desk) -> Option<Size<i32, BufferCoords>> {
        let output = self.output(desk)?;
        match self.what {
            What::Screen { .. } => output.current_mode().map(|mode| Size::from((mode.size.w, mode.size.h))),
            What::Window { id, .. } => window::size(desk, &output, id),
            What::Pointer => cursor::look(desk, &output).map(|look| look.size),
        }
    }
}

/// Who looks at what: what has changed is what has changed since it was looked at last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Watcher {
    owner: ObjectId,
    output: String,
    what: What,
}

/// The client's object that is told.
#[derive(Debug, Clone)]
enum Frame {
    Wlr { frame: ZwlrScreencopyFrameV1, with_damage: bool },
    Ext(ExtImageCopyCaptureFrameV1),
}

/// Why there is no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Unknown,
    Buffer,
    Stopped,
}

impl Frame {
    fn is_alive(&self) -> bool {
        match self {
            Frame::Wlr { frame, .. } => frame.is_alive(),
            Frame::Ext(frame) => frame.is_alive(),
        }
    }

    fn ready(&self, changed: &Changed, time: Duration) {
        let seconds = time.as_secs();
        let (high, low) = ((seconds >> 32) as u32, seconds as u32);
        match self {
            Frame::Wlr { frame, with_damage } => {
                frame.flags(zwlr_screencopy_frame_v1::Flags::empty());
                for rectangle in changed.rectangles.iter().filter(|_| *with_damage) {
                    let (at, size) = (rectangle.loc, rectangle.size);
                    let number = |value: i32| value.max(0).unsigned_abs();
                    frame.damage(number(at.x), number(at.y), number(size.w), number(size.h));
                }
                frame.ready(high, low, time.subsec_nanos());
            }
            Frame::Ext(frame) => {
                frame.transform(changed.transform.into());
                for rectangle in &changed.rectangles {
                    frame.damage(rectangle.loc.x, rectangle.loc.y, rectangle.size.w, rectangle.size.h);
                }
                frame.presentation_time(high, low, time.subsec_nanos());
                frame.ready();
            }
        }
    }

    fn failed(&self, failure: Failure) {
        match (self, failure) {
            (Frame::Wlr { frame, .. }, Failure::Buffer) => {
                frame.post_error(
                    zwlr_screencopy_frame_v1::Error::InvalidBuffer,
                    "the buffer is not as it was announced",
                );
            }
            (Frame::Wlr { frame, .. }, _) => frame.failed(),
            (Frame::Ext(frame), Failure::Unknown) => frame.failed(FailureReason::Unknown),
            (Frame::Ext(frame), Failure::Buffer) => frame.failed(FailureReason::BufferConstraints),
            (Frame::Ext(frame), Failure::Stopped) => frame.failed(FailureReason::Stopped),
        }
    }
}

/// One picture that is asked for.
#[derive(Debug, Clone)]
struct Copy {
    frame: Frame,
    watcher: ObjectId,
    source: Source,
    area: Rectangle<i32, BufferCoords>,
    buffer: WlBuffer,
    only_if_changed: bool,
}

/// Every picture that is asked for, and who looks at what.
pub(crate) struct Copies {
    seen: HashMap<Watcher, Seen>,
    waiting: Vec<Copy>,
    /// Copied; the clients are told when the same is on the screen.
    copied: Vec<(Copy, Changed)>,
    sessions: Vec<ext::Session>,
    cursors: Vec<cursor::CursorSession>,
    _globals: [GlobalId; 4],
}

impl Copies {
    pub(crate) fn new(display: &DisplayHandle) -> Self {
        let [sources, manager] = ext::globals(display);
        let windows = window::global(display);
        Self {
            seen: HashMap::new(),
            waiting: Vec::new(),
            copied: Vec::new(),
            sessions: Vec::new(),
            cursors: Vec::new(),
            _globals: [wlr::global(display), sources, windows, manager],
        }
    }

    /// Nobody looks through this object any more.
    fn forget(&mut self, owner: &ObjectId) {
        self.seen.retain(|watcher, _| watcher.owner != *owner);
    }
}

impl Compositor {
    /// A picture is asked for. It is made at the end of this turn of the loop, or later.
    fn request_copy(&mut self, copy: Copy) {
        self.copies.waiting.push(copy);
        self.desk.wake.ping();
    }

    /// Makes the pictures whose time it is. Once per turn of the loop in which something changed, after everything is drawn.
    pub(crate) fn serve_copies(&mut self) {
        self.update_capture_sessions();
        self.finish_copies();
        for copy in std::mem::take(&mut self.copies.waiting) {
            self.serve(copy);
        }
    }

    fn serve(&mut self, copy: Copy) {
        if !copy.frame.is_alive() {
            return;
        }
        let Some(output) = copy.source.output(&self.desk) else { return copy.frame.failed(Failure::Stopped) };
        if !copy.buffer.is_alive() {
            return copy.frame.failed(Failure::Unknown);
        }
        let Some(redraw) = self.desk.output_state(&output).map(|state| state.redraw) else { return };
        if matches!(copy.source.of, Of::Window(_)) && self.desk.lock.is_on() {
            // What is locked away is not to be had by another way.
            return copy.frame.failed(Failure::Unknown);
        }
        let away = !self.backend.is_active();
        if away && !copy.only_if_changed {
            // The screen is somebody else's.
            return copy.frame.failed(Failure::Unknown);
        }
        if away || redraw.behind() {
            return self.copies.waiting.push(copy);
        }
        let watcher = Watcher { owner: copy.watcher.clone(), output: output.name(), what: copy.source.what };
        let job = Job {
            what: copy.source.what,
            area: copy.area,
            buffer: &copy.buffer,
            only_if_changed: copy.only_if_changed,
            seen: self.copies.seen.entry(watcher).or_default(),
        };
        match self.backend.copy(&mut self.desk, &output, job) {
            Ok(None) => self.copies.waiting.push(copy),
            Ok(Some(changed)) if redraw.in_flight() => self.copies.copied.push((copy, changed)),
            Ok(Some(changed)) => copy.frame.ready(&changed, self.presented_at(&output)),
            Err(CopyError::Buffer) => copy.frame.failed(Failure::Buffer),
            Err(CopyError::Failed(reason)) => {
                debug!(output = output.name(), reason, "no picture of the screen");
                copy.frame.failed(Failure::Unknown);
            }
        }
    }

    /// Tells those whose picture is on the screen by now.
    pub(crate) fn finish_copies(&mut self) {
        for (copy, changed) in std::mem::take(&mut self.copies.copied) {
            let state = copy
                .source
                .output(&self.desk)
                .and_then(|output| self.desk.output_state(&output).map(|state| (state.redraw, output)));
            match state {
                Some((redraw, _)) if redraw.in_flight() => self.copies.copied.push((copy, changed)),
                Some((_, output)) => copy.frame.ready(&changed, self.presented_at(&output)),
                None => copy.frame.failed(Failure::Stopped),
            }
        }
    }

    /// When the newest frame of this output came onto the screen.
    fn presented_at(&mut self, output: &Output) -> Duration {
        let now = Duration::from(self.desk.clock.now());
        self.desk.output_state(output).and_then(|state| state.presented_at).unwrap_or(now)
    }
}
