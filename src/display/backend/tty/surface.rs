//! One output of a card: frames onto its planes.

use std::time::Duration;

use smithay::backend::allocator::gbm::{GbmAllocator, GbmDevice};
use smithay::backend::allocator::{Format, Fourcc};
use smithay::backend::drm::compositor::{DrmCompositor, FrameFlags, PrimaryPlaneElement};
use smithay::backend::drm::exporter::gbm::GbmFramebufferExporter;
use smithay::backend::drm::{DrmDeviceFd, DrmEventMetadata, DrmEventTime, DrmNode, DrmSurface};
use smithay::backend::renderer::element::{RenderElementPresentationState, RenderingReason};
use smithay::backend::renderer::gles::GlesRenderer;
use smithay::desktop::utils::{OutputPresentationFeedback, surface_presentation_feedback_flags_from_states};
use smithay::output::Output;
use smithay::reexports::drm::control::{Device as _, Mode as DrmMode, connector, crtc, plane};
use smithay::reexports::wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::Kind;
use smithay::utils::{Buffer as BufferCoords, Monotonic, Size, Time};
use smithay::wayland::presentation::Refresh;
use tracing::{debug, trace, warn};

use crate::display::desk::Desk;
use crate::display::error::chain;
use crate::display::map_view::MapView;
use crate::display::pacing::{interval, next_vblank};
use crate::display::redraw::Drawn;
use crate::display::scene::{self, BACKDROP, Purpose};
use crate::display::status::MapPath;

type Frames =
    DrmCompositor<GbmAllocator<DrmDeviceFd>, GbmFramebufferExporter<DrmDeviceFd>, InFlight, DrmDeviceFd>;

/// Whether the map may go onto an overlay plane of this card.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlaneRule {
    Try,
    Never(&'static str),
}

/// What travels with a frame until it is on the screen.
struct InFlight {
    feedback: OutputPresentationFeedback,
    path: MapPath,
    /// The vblank it was drawn for.
    due: Option<Duration>,
    /// It was drawn with planes off, so that the next one may try them.
    fresh: bool,
}

/// One output of a card.
pub(super) struct Surface {
    output: Output,
    connector: connector::Handle,
    mode: DrmMode,
    frames: Frames,
    overlays: Vec<plane::Handle>,
    cursors: Vec<plane::Handle>,
    /// An overlay plane can be shown over what lies below with less than all of it.
    translucent: bool,
    plane_rule: PlaneRule,
    /// Nothing of ours is on the screen yet. A plane that is tried in the same commit as the mode is refused, and the refusal is
    /// remembered: the first frame is composited, then the planes are tried.
    fresh: bool,
    last_vblank: Option<Duration>,
}

impl Surface {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        output: Output,
        connector: connector::Handle,
        mode: DrmMode,
        surface: DrmSurface,
        allocator: GbmAllocator<DrmDeviceFd>,
        gbm: &GbmDevice<DrmDeviceFd>,
        node: DrmNode,
        formats: impl IntoIterator<Item = Format>,
        cursor_size: Size<u32, BufferCoords>,
        plane_rule: PlaneRule,
    ) -> Result<Self, String> {
        let handles = |planes: &[smithay::backend::drm::PlaneInfo]| {
            planes.iter().map(|plane| plane.handle).collect::<Vec<_>>()
        };
        let overlays = handles(&surface.planes().overlay);
        let cursors = handles(&surface.planes().cursor);
        let translucent = overlays.iter().any(|plane| has_property(&surface, *plane, b"alpha"));
        debug!(
            output = output.name(),
            overlays = overlays.len(),
            cursors = cursors.len(),
            "planes of this output"
        );
        let exporter = GbmFramebufferExporter::new(gbm.clone(), Some(node));
        let frames = DrmCompositor::new(
            &output,
            surface,
            None,
            allocator,
            exporter,
            [Fourcc::Xrgb8888, Fourcc::Argb8888],
            formats,
            cursor_size,
            Some(gbm.clone()),
        )
        .map_err(|error| chain(&error))?;
        Ok(Self {
            output,
            connector,
            mode,
            frames,
            overlays,
            cursors,
            translucent,
            plane_rule,
            fresh: true,
            last_vblank: None,
        })
    }

    /// Shows frames in this mode from the next one on.
    pub(super) fn use_mode(&mut self, mode: DrmMode) -> Result<(), String> {
        if mode == self.mode {
            return Ok(());
        }
        self.frames.use_mode(mode).map_err(|error| {
            let (width, height) = mode.size();
            format!("the card refuses {width}x{height} at {} Hz: {}", mode.vrefresh(), chain(&error))
        })?;
        self.mode = mode;
        self.output.change_current_state(Some(mode.into()), None, None, None);
        self.fresh = true;
        self.last_vblank = None;
        Ok(())
    }

    /// Switches the display off with all its planes, or lets the next frame switch it on.
    pub(super) fn set_power(&mut self, on: bool) -> Result<(), String> {
        self.fresh = true;
        self.last_vblank = None;
        if on { Ok(()) } else { self.frames.clear().map_err(|error| chain(&error)) }
    }

    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    pub(super) fn connector(&self) -> connector::Handle {
        self.connector
    }

    /// Draws a frame and sends it to the screen.
    pub(super) fn draw(&mut self, desk: &mut Desk, renderer: &mut GlesRenderer) -> Drawn {
        let output = self.output.clone();
        let try_planes = self.plane_rule == PlaneRule::Try && !self.overlays.is_empty();
        let scene = scene::build(desk, renderer, &output, Purpose::Screen { planes: try_planes });
        let flags = if self.fresh {
            FrameFlags::empty()
        } else {
            // The primary plane is never given to a client: then a map that comes and goes would move it to and fro.
            FrameFlags::ALLOW_OVERLAY_PLANE_SCANOUT | FrameFlags::ALLOW_CURSOR_PLANE_SCANOUT
        };
        let rendered = self.frames.render_frame(renderer, &scene.elements, BACKDROP, flags);
        let result = match rendered {
            Ok(result) => result,
            Err(error) => return failed(desk, &output, &chain(&error)),
        };
        if result.is_empty {
            return Drawn::Empty;
        }
        // Where the driver takes no fence for the primary plane, its pixels have to be there before the flip.
        if result.needs_sync()
            && let PrimaryPlaneElement::Swapchain(element) = &result.primary_element
            && let Err(error) = element.sync.wait()
        {
            return failed(desk, &output, &chain(&error));
        }
        let Some(state) = desk.output_state(&output) else { return Drawn::Skipped };
        let mut path = MapPath::Absent;
        if scene.has_map {
            path = MapPath::Composited;
            let presented =
                result.states.element_render_state(state.map.id().clone()).map(|s| s.presentation_state);
            if presented == Some(RenderElementPresentationState::ZeroCopy) {
                path = MapPath::Plane;
                state.map.plane_answer(None);
            } else if !self.fresh {
                let reason = match presented {
                    Some(RenderElementPresentationState::Rendering { reason }) => reason,
                    _ => None,
                };
                let reason = self.refusal(reason, &state.map);
                state.map.plane_answer(Some(reason.to_owned()));
            }
        }
        let feedback = desk.take_presentation_feedback(&output, |surface, _| {
            surface_presentation_feedback_flags_from_states(surface, &result.states)
        });
        drop(result);
        let now = Duration::from(desk.clock.now());
        let in_flight = InFlight {
            feedback,
            path,
            due: next_vblank(self.last_vblank, now, interval(&output)),
            fresh: self.fresh,
        };
        if let Err(error) = self.frames.queue_frame(in_flight) {
            if path == MapPath::Plane
                && let Some(state) = desk.output_state(&output)
            {
                state.map.plane_failed(&chain(&error));
            }
            return failed(desk, &output, &chain(&error));
        }
        trace!(output = output.name(), ?path, "frame queued");
        if let Some(state) = desk.output_state(&output) {
            state.map.queued(scene.slot);
        }
        Drawn::Flip
    }

    fn refusal(&self, reason: Option<RenderingReason>, map: &MapView) -> &'static str {
        match (self.plane_rule, reason) {
            (PlaneRule::Never(reason), _) => reason,
            (PlaneRule::Try, _) if self.overlays.is_empty() => {
                "the card has no overlay plane for this output"
            }
            (PlaneRule::Try, _) if !map.may_have_plane() => {
                "the card has refused a frame with the map on a plane"
            }
            (PlaneRule::Try, _) if map.opacity() < 1.0 && !self.translucent => {
                "its overlay planes have no alpha property, and the map is to be seen through"
            }
            (PlaneRule::Try, Some(RenderingReason::FormatUnsupported)) => {
                "no overlay plane takes linear XRGB8888 buffers"
            }
            (PlaneRule::Try, Some(RenderingReason::ScanoutFailed)) => {
                "the card refuses an overlay plane of this size and place"
            }
            (PlaneRule::Try, None) => "no overlay plane is free, or something is drawn above the map",
        }
    }

    /// The frame that was sent is on the screen. Returns whether the planes are still to be tried.
    pub(super) fn presented(&mut self, desk: &mut Desk, metadata: Option<&DrmEventMetadata>) -> bool {
        let mut in_flight = match self.frames.frame_submitted() {
            Ok(Some(in_flight)) => in_flight,
            // The answer to a frame from before the session was lost.
            Ok(None) => return false,
            Err(error) => {
                warn!(output = self.output.name(), error = chain(&error), "a frame was lost");
                return false;
            }
        };
        let (time, hardware) = match metadata.map(|metadata| &metadata.time) {
            Some(DrmEventTime::Monotonic(time)) if !time.is_zero() => (*time, true),
            _ => (Duration::from(desk.clock.now()), false),
        };
        let sequence = metadata.map_or(0, |metadata| u64::from(metadata.sequence));
        let frame = interval(&self.output);
        let mut kind = Kind::Vsync;
        if hardware {
            kind |= Kind::HwClock | Kind::HwCompletion;
        }
        in_flight.feedback.presented(Time::<Monotonic>::from(time), Refresh::fixed(frame), sequence, kind);
        self.last_vblank = Some(time);
        let late = in_flight
            .due
            .map_or(0, |due| (time + frame / 2).saturating_sub(due).as_nanos() / frame.as_nanos().max(1));
        let now = Duration::from(desk.clock.now());
        let Desk { outputs, worker, .. } = desk;
        if let Some(state) = outputs.iter_mut().find(|state| state.output == self.output) {
            state.presented(in_flight.path, time, late as u64, now, worker.as_ref());
        }
        let was_fresh = in_flight.fresh && self.fresh;
        if was_fresh {
            self.fresh = false;
        }
        was_fresh
    }

    /// The session is back, or the mode is new: nothing is known of what is on the screen.
    pub(super) fn start_over(&mut self) {
        if let Err(error) = self.frames.reset_state() {
            warn!(output = self.output.name(), error = chain(&error), "the output's state cannot be read");
        }
        // A flip that was under way when the session went is not answered any more.
        if let Err(error) = self.frames.frame_submitted() {
            debug!(output = self.output.name(), error = chain(&error), "an old frame is dropped");
        }
        self.fresh = true;
        self.last_vblank = None;
    }

    /// Switches overlay and cursor planes off.
    pub(super) fn planes_off(&self) {
        let surface = self.frames.surface();
        for plane in self.overlays.iter().chain(&self.cursors) {
            let ours = surface.get_plane(*plane).is_ok_and(|info| info.crtc() == Some(surface.crtc()));
            if ours && let Err(error) = surface.clear_plane(*plane) {
                debug!(output = self.output.name(), error = chain(&error), "a plane stays on");
            }
        }
    }

    /// The overlay plane in use, and the framebuffer on it: only the map is ever put on one.
    pub(super) fn map_plane(&self) -> Option<(u32, u32)> {
        let surface = self.frames.surface();
        let crtc: crtc::Handle = surface.crtc();
        self.overlays.iter().find_map(|plane| {
            let info = surface.get_plane(*plane).ok().filter(|info| info.crtc() == Some(crtc))?;
            Some((u32::from(*plane), u32::from(info.framebuffer()?)))
        })
    }
}

fn has_property(surface: &DrmSurface, plane: plane::Handle, name: &[u8]) -> bool {
    surface.get_properties(plane).is_ok_and(|properties| {
        properties
            .iter()
            .any(|(handle, _)| surface.get_property(*handle).is_ok_and(|info| info.name().to_bytes() == name))
    })
}

fn failed(desk: &mut Desk, output: &Output, reason: &str) -> Drawn {
    if let Some(state) = desk.output_state(output) {
        state.frames.failed += 1;
        // A card that refuses every frame refuses ten a second: say it, but not each time.
        if state.frames.failed.is_power_of_two() {
            warn!(output = output.name(), reason, failed = state.frames.failed, "a frame was refused");
        }
    }
    Drawn::Failed
}
