//! A window of a running desktop, Wayland or X11: the same session for trying it at a desk.
//!
//! The desktop says when it wants the next frame, and is never sent one before: a window that is not seen
//! draws nothing. There is no display controller here, so the map is composited.

use std::time::{Duration, Instant};

use calloop::LoopHandle;
use smithay::backend::allocator::dmabuf::Dmabuf;
use smithay::backend::egl::EGLDevice;
use smithay::backend::renderer::damage::OutputDamageTracker;
use smithay::backend::renderer::gles::{GlesRenderer, GlesTexture};
use smithay::backend::renderer::{Bind, ImportDma};
use smithay::backend::winit::{self, WinitEvent, WinitGraphicsBackend};
use smithay::desktop::utils::OutputPresentationFeedback;
use smithay::output::{Mode, Output, PhysicalProperties, Subpixel};
use smithay::reexports::wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::Kind;
use smithay::reexports::winit::dpi::LogicalSize;
use smithay::reexports::winit::platform::wayland::WindowAttributesExtWayland;
use smithay::reexports::winit::window::Window;
use smithay::utils::{Monotonic, Physical, Size, Time, Transform};
use smithay::wayland::dmabuf::DmabufFeedbackBuilder;
use smithay::wayland::presentation::Refresh;
use tracing::{debug, info, warn};

use super::Backend;
use super::host::{HostEvent, HostEvents};
use crate::display::compositor::Notice;
use crate::display::desk::Desk;
use crate::display::error::chain;
use crate::display::pacing::interval;
use crate::display::redraw::Drawn;
use crate::display::scene::{self, BACKDROP, Purpose};
use crate::display::screen_copy::{self, Changed, CopyError, DmabufFormats, Job};
use crate::display::status::MapPath;
use crate::display::{Compositor, DisplayError};
use crate::render::Image;

const NAME: &str = "WINDOW-1";

/// Size, scale and turn of the output.
type Shape = (Size<i32, Physical>, f64, Transform);

/// The window.
pub(crate) struct Nested {
    output: Output,
    backend: WinitGraphicsBackend<GlesRenderer>,
    tracker: OutputDamageTracker,
    /// What the tracker was made for.
    shape: Shape,
    /// What the window shows is not known: all of it is drawn.
    stale: bool,
    frame: Option<(OutputPresentationFeedback, MapPath)>,
    sequence: u64,
    sent: Instant,
    copy_formats: Option<DmabufFormats>,
}

impl Nested {
    pub(crate) fn open(
        (width, height): (i32, i32),
        handle: &LoopHandle<'static, Compositor>,
    ) -> Result<Self, DisplayError> {
        let attributes = Window::default_attributes()
            .with_title("memory.glass")
            .with_name("memory-glass", "memory-glass")
            .with_inner_size(LogicalSize::new(f64::from(width), f64::from(height)));
        let (backend, events) = winit::init_from_attributes::<GlesRenderer>(attributes)
            .map_err(|error| DisplayError::Window { reason: chain(&error) })?;
        // The pointer is one of ours.
        backend.window().set_cursor_visible(false);
        let refresh =
            backend.window().current_monitor().and_then(|monitor| monitor.refresh_rate_millihertz());
        let refresh = refresh.and_then(|refresh| i32::try_from(refresh).ok()).unwrap_or(60_000);
        let output = Output::new(
            NAME.into(),
            PhysicalProperties {
                size: (0, 0).into(),
                subpixel: Subpixel::Unknown,
                make: "memory.glass".into(),
                model: "window".into(),
            },
        );
        set_size(&output, backend.window_size(), refresh);
        let shape = (backend.window_size(), backend.scale_factor(), Transform::Normal);
        handle
            .insert_source(HostEvents::new(events), |event, (), compositor: &mut Compositor| match event {
                HostEvent::Of(event) => compositor.window_event(event),
                HostEvent::Gone => compositor.host_is_gone(),
            })
            .map_err(|error| DisplayError::Setup {
                what: "watching the window",
                reason: error.to_string(),
            })?;
        Ok(Self {
            output,
            backend,
            tracker: tracker(shape),
            shape,
            stale: true,
            frame: None,
            sequence: 0,
            sent: Instant::now(),
            copy_formats: None,
        })
    }

    /// Offers clients GPU buffers, where the desktop's driver has some.
    pub(super) fn start(&mut self, desk: &mut Desk) -> Vec<Output> {
        let renderer = self.backend.renderer();
        let node = EGLDevice::device_for_display(renderer.egl_context().display())
            .ok()
            .and_then(|device| device.try_get_render_node().ok().flatten());
        let formats = renderer.dmabuf_formats();
        if let Some(node) = node {
            self.copy_formats = Bind::<Dmabuf>::supported_formats(renderer)
                .map(|formats| DmabufFormats { device: node.dev_id(), formats });
            match DmabufFeedbackBuilder::new(node.dev_id(), formats).build() {
                Ok(feedback) => {
                    let _global = desk
                        .protocols
                        .dmabuf
                        .create_global_with_default_feedback::<Compositor>(&desk.display, &feedback);
                }
                Err(error) => warn!(%error, "clients get no GPU buffers"),
            }
        } else {
            debug!("the desktop's driver has no render node: clients get no GPU buffers");
        }
        vec![self.output.clone()]
    }

    pub(super) fn draw(&mut self, desk: &mut Desk, output: &Output) -> Drawn {
        let size = self.backend.window_size();
        if size.w <= 0 || size.h <= 0 {
            return Drawn::Skipped;
        }
        let shape = (size, output.current_scale().fractional_scale(), output.current_transform());
        if self.shape != shape {
            (self.shape, self.tracker, self.stale) = (shape, tracker(shape), true);
        }
        let scene = scene::build(desk, self.backend.renderer(), output, Purpose::Screen { planes: false });
        let age = if self.stale { 0 } else { self.backend.buffer_age().unwrap_or(0) };
        let damage = {
            let (renderer, mut window) = match self.backend.bind() {
                Ok(bound) => bound,
                Err(error) => return failed(desk, output, &chain(&error)),
            };
            match self.tracker.render_output(renderer, &mut window, age, &scene.elements, BACKDROP) {
                Ok(result) => result.damage.cloned(),
                Err(error) => return failed(desk, output, &chain(&error)),
            }
        };
        let Some(damage) = damage else { return Drawn::Empty };
        if let Err(error) = self.backend.submit(Some(&damage)) {
            return failed(desk, output, &chain(&error));
        }
        self.stale = false;
        let feedback = desk.take_presentation_feedback(output, |_, _| Kind::empty());
        let path = if scene.has_map { MapPath::Composited } else { MapPath::Absent };
        self.frame = Some((feedback, path));
        self.sent = Instant::now();
        if let Some(state) = desk.output_state(output) {
            state.map.queued(scene.slot);
        }
        // Answered when the desktop wants the next frame.
        self.backend.window().request_redraw();
        Drawn::Flip
    }

    /// The frame counts as shown.
    fn presented(&mut self, desk: &mut Desk) {
        let Some((mut feedback, path)) = self.frame.take() else { return };
        self.sequence += 1;
        let now: Time<Monotonic> = desk.clock.now();
        feedback.presented(now, Refresh::fixed(interval(&self.output)), self.sequence, Kind::empty());
        let Desk { outputs, worker, .. } = desk;
        if let Some(state) = outputs.iter_mut().find(|state| state.output == self.output) {
            state.presented(path, now.into(), 0, now.into(), worker.as_ref());
        }
    }

    /// Pixels for a unit of the desktop.
    pub(super) fn scale(&self) -> f64 {
        self.backend.scale_factor()
    }

    pub(super) fn import_dmabuf(&mut self, dmabuf: &Dmabuf) -> Result<(), String> {
        self.backend.renderer().import_dmabuf(dmabuf, None).map(drop).map_err(|error| chain(&error))
    }

    pub(super) fn screenshot(&mut self, desk: &mut Desk, output: &Output) -> Result<Image, DisplayError> {
        screen_copy::take::<_, GlesTexture>(desk, self.backend.renderer(), output)
    }

    pub(super) fn copy(
        &mut self,
        desk: &mut Desk,
        output: &Output,
        job: Job<'_>,
    ) -> Result<Option<Changed>, CopyError> {
        screen_copy::copy::<_, GlesTexture>(desk, self.backend.renderer(), output, job)
    }

    pub(super) fn copy_formats(&self) -> Option<DmabufFormats> {
        self.copy_formats.clone()
    }
}

/// A window's buffer has its first row at the bottom: the picture is mirrored, and turned as the output is.
fn tracker((size, scale, turn): Shape) -> OutputDamageTracker {
    let turn = match turn {
        Transform::Normal => Transform::Flipped180,
        Transform::_90 => Transform::Flipped270,
        Transform::_180 => Transform::Flipped,
        Transform::_270 => Transform::Flipped90,
        Transform::Flipped => Transform::_180,
        Transform::Flipped90 => Transform::_270,
        Transform::Flipped180 => Transform::Normal,
        Transform::Flipped270 => Transform::_90,
    };
    OutputDamageTracker::new(size, scale, turn)
}

fn set_size(output: &Output, size: Size<i32, Physical>, refresh: i32) {
    let mode = Mode { size, refresh };
    output.set_preferred(mode);
    output.change_current_state(Some(mode), None, None, None);
}

impl Compositor {
    fn window_event(&mut self, event: WinitEvent) {
        match event {
            WinitEvent::Input(event) => self.input(event),
            WinitEvent::Resized { size, scale_factor: _ } => self.window_resized(size),
            WinitEvent::Redraw => self.window_wants_frame(),
            WinitEvent::Focus(false) => self.release_keys(),
            WinitEvent::Focus(true) => {}
            WinitEvent::CloseRequested => {
                info!("the window is closed");
                self.stop();
            }
        }
    }

    /// The desktop has ended, or has closed the connection.
    fn host_is_gone(&mut self) {
        self.end_with(DisplayError::DesktopGone);
    }

    fn window_resized(&mut self, size: Size<i32, Physical>) {
        let Backend::Nested(nested) = &mut self.backend else { return };
        if size.w <= 0 || size.h <= 0 {
            return;
        }
        let output = nested.output.clone();
        let refresh = output.current_mode().map_or(60_000, |mode| mode.refresh);
        for mode in output.modes().into_iter().filter(|mode| mode.size != size) {
            output.delete_mode(mode);
        }
        set_size(&output, size, refresh);
        self.set_up_outputs();
        self.desk.notify(Notice::Changed);
    }

    /// The desktop is ready for the next frame, or has lost the last one.
    fn window_wants_frame(&mut self) {
        let Backend::Nested(nested) = &mut self.backend else { return };
        let output = nested.output.clone();
        if nested.frame.is_none() {
            nested.stale = true;
            self.desk.queue_redraw(&output);
            return;
        }
        // Some desktops (X11) are always ready at once.
        let left = interval(&output).saturating_sub(nested.sent.elapsed());
        if left < Duration::from_millis(1) {
            return self.window_presented();
        }
        let timer = calloop::timer::Timer::from_duration(left);
        let armed = self.desk.handle.insert_source(timer, |_, (), compositor: &mut Compositor| {
            compositor.window_presented();
            calloop::timer::TimeoutAction::Drop
        });
        if armed.is_err() {
            self.window_presented();
        }
    }

    fn window_presented(&mut self) {
        let Backend::Nested(nested) = &mut self.backend else { return };
        if nested.frame.is_none() {
            return;
        }
        nested.presented(&mut self.desk);
        let output = nested.output.clone();
        self.vblank(&output);
    }
}

fn failed(desk: &mut Desk, output: &Output, reason: &str) -> Drawn {
    if let Some(state) = desk.output_state(output) {
        state.frames.failed += 1;
        if state.frames.failed == 1 {
            warn!(output = output.name(), reason, "a frame could not be drawn");
        }
    }
    Drawn::Failed
}
