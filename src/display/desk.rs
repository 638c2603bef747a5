//! What the compositor has on its desk whatever the backend: clients' windows, outputs, the seat, the map.

use std::sync::Arc;
use std::time::Duration;

use calloop::channel::Sender;
use calloop::ping::Ping;
use calloop::{LoopHandle, LoopSignal};
use smithay::desktop::{PopupManager, Space, Window};
use smithay::input::{Seat, SeatState};
use smithay::output::Output;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::reexports::wayland_server::backend::GlobalId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Clock, Logical, Monotonic, Point};

use super::compositor::Notice;
use super::cursor::Cursor;
use super::handlers::Protocols;
use super::map_view::MapView;
use super::redraw::Redraw;
use super::settings::OutputIdentity;
use super::shell::Windows;
use super::{Compositor, CompositorConfig, DisplayError, FrameStatistics, Placement};
use crate::render::{Picture, RenderWorker};

/// Further than this from the pointer, nothing of its image is to be seen.
pub(crate) const POINTER_REACH: f64 = 256.0;

/// The backend-independent state.
pub(crate) struct Desk {
    pub(crate) display: DisplayHandle,
    pub(crate) handle: LoopHandle<'static, Compositor>,
    pub(crate) signal: LoopSignal,
    pub(crate) clock: Clock<Monotonic>,
    pub(crate) config: CompositorConfig,
    pub(crate) socket: String,
    pub(crate) protocols: Protocols,
    pub(crate) seat: Seat<Compositor>,
    pub(crate) cursor: Cursor,
    pub(crate) pointer_at: Point<f64, Logical>,
    pub(crate) drag_icon: Option<WlSurface>,
    pub(crate) space: Space<Window>,
    pub(crate) windows: Windows,
    pub(crate) wants_focus: Option<Option<Window>>,
    pub(crate) popups: PopupManager,
    pub(crate) outputs: Vec<OutputState>,
    pub(crate) worker: Option<RenderWorker>,
    pub(crate) picture: Option<Arc<Picture>>,
    pub(crate) target_ids: u64,
    pub(crate) wake: Ping,
    /// Whoever wants to know what the display does by itself.
    pub(crate) notices: Option<Sender<Notice>>,
    /// What programs find in their environment, besides the display.
    pub(crate) environment: Vec<(String, String)>,
}

/// One output, whatever drives it.
pub(crate) struct OutputState {
    pub(crate) output: Output,
    pub(crate) global: GlobalId,
    pub(crate) redraw: Redraw,
    pub(crate) map: MapView,
    pub(crate) frames: FrameStatistics,
}

impl Desk {
    pub(crate) fn new(
        display: DisplayHandle,
        handle: LoopHandle<'static, Compositor>,
        signal: LoopSignal,
        config: CompositorConfig,
        socket: String,
        wake: Ping,
    ) -> Result<Self, DisplayError> {
        let mut seat_state = SeatState::new();
        let mut seat = seat_state.new_wl_seat(&display, "seat0");
        let keyboard = &config.settings.keyboard;
        let (delay, rate) = keyboard.repeat();
        seat.add_keyboard(keyboard.xkb(), delay, rate).map_err(|_| DisplayError::Keyboard)?;
        seat.add_pointer();
        let protocols = Protocols::new(&display, seat_state);
        let cursor = Cursor::new(&config.settings.cursor);
        Ok(Self {
            display,
            handle,
            signal,
            clock: Clock::new(),
            config,
            socket,
            protocols,
            seat,
            cursor,
            pointer_at: Point::from((0.0, 0.0)),
            drag_icon: None,
            space: Space::default(),
            windows: Windows::default(),
            wants_focus: None,
            popups: PopupManager::default(),
            outputs: Vec::new(),
            worker: None,
            picture: None,
            target_ids: 0,
            wake,
            notices: None,
            environment: Vec::new(),
        })
    }

    /// An output appears, right of the others.
    pub(crate) fn add_output(&mut self, output: Output) {
        let global = output.create_global::<Compositor>(&self.display);
        let mut map = MapView::new(output.name());
        if let Some(picture) = &self.picture {
            map.show(picture.clone(), self.worker.as_ref());
        }
        self.outputs.push(OutputState {
            output,
            global,
            redraw: Redraw::default(),
            map,
            frames: FrameStatistics::default(),
        });
        // The order of names, not of appearance: an output that comes back is where it was.
        self.outputs.sort_by_key(|state| state.output.name());
        self.line_up();
    }

    /// An output is gone; its windows go to another one when the layout is made again.
    pub(crate) fn remove_output(&mut self, output: &Output) {
        let Some(at) = self.outputs.iter().position(|state| &state.output == output) else { return };
        let mut state = self.outputs.remove(at);
        state.map.close(self.worker.as_ref());
        self.space.unmap_output(output);
        // Clients that bind it in this very moment are not to be killed for it.
        self.display.disable_global::<Compositor>(state.global.clone());
        let display = self.display.clone();
        let timer = calloop::timer::Timer::from_duration(Duration::from_secs(10));
        let global = state.global;
        let removal = self.handle.insert_source(timer, move |_, _, _| {
            display.remove_global::<Compositor>(global.clone());
            calloop::timer::TimeoutAction::Drop
        });
        if let Err(error) = removal {
            tracing::debug!(%error, "an output's global stays, disabled");
        }
        self.line_up();
    }

    /// Outputs stand side by side, tops aligned.
    pub(crate) fn line_up(&mut self) {
        let mut x = 0;
        for state in &self.outputs {
            let at = Point::from((x, 0));
            self.space.map_output(&state.output, at);
            state.output.change_current_state(None, None, None, Some(at));
            x += self.space.output_geometry(&state.output).map_or(0, |geometry| geometry.size.w);
        }
        self.pointer_at = self.confine(self.pointer_at, self.pointer_at);
    }

    /// The state of this output.
    pub(crate) fn output_state(&mut self, output: &Output) -> Option<&mut OutputState> {
        self.outputs.iter_mut().find(|state| &state.output == output)
    }

    /// Where the map lies on this output.
    pub(crate) fn placement(&self, output: &Output) -> Placement {
        self.config.settings.placement(&identity(output), self.config.placement)
    }

    /// Tells whoever listens.
    pub(crate) fn notify(&self, notice: Notice) {
        if let Some(notices) = &self.notices {
            // Nobody listens any more when the session is ending.
            let _ = notices.send(notice);
        }
    }

    /// Something on this output changed.
    pub(crate) fn queue_redraw(&mut self, output: &Output) {
        let wake = self.wake.clone();
        if let Some(state) = self.output_state(output)
            && state.redraw.queue()
        {
            wake.ping();
        }
    }

    /// Something changed that may be on any output.
    pub(crate) fn queue_redraw_all(&mut self) {
        for state in &mut self.outputs {
            if state.redraw.queue() {
                self.wake.ping();
            }
        }
    }

    /// The pointer moved: outputs that its image may reach into.
    pub(crate) fn queue_redraw_near(&mut self, points: &[Point<f64, Logical>]) {
        let near: Vec<Output> = self
            .outputs
            .iter()
            .filter(|state| {
                self.space.output_geometry(&state.output).is_some_and(|geometry| {
                    let mut reach = geometry.to_f64();
                    reach.loc -= Point::from((POINTER_REACH, POINTER_REACH));
                    reach.size += (2.0 * POINTER_REACH, 2.0 * POINTER_REACH).into();
                    points.iter().any(|point| reach.contains(*point))
                })
            })
            .map(|state| state.output.clone())
            .collect();
        for output in near {
            self.queue_redraw(&output);
        }
    }

    /// Keeps a point on the outputs: where it is if there is one, else at the edge of the one it came from.
    pub(crate) fn confine(&self, to: Point<f64, Logical>, from: Point<f64, Logical>) -> Point<f64, Logical> {
        let inside = |point: Point<f64, Logical>| {
            self.outputs.iter().filter_map(|state| self.space.output_geometry(&state.output)).find(
                |geometry| {
                    let geometry = geometry.to_f64();
                    geometry.contains(point)
                },
            )
        };
        if inside(to).is_some() {
            return to;
        }
        let first = self.outputs.first().and_then(|state| self.space.output_geometry(&state.output));
        let Some(geometry) = inside(from).or(first) else { return to };
        let (left, top) = (f64::from(geometry.loc.x), f64::from(geometry.loc.y));
        let (right, bottom) = (left + f64::from(geometry.size.w - 1), top + f64::from(geometry.size.h - 1));
        Point::from((to.x.max(left).min(right), to.y.max(top).min(bottom)))
    }

    /// The frame is on the screen: clients may draw their next one.
    pub(crate) fn send_frame_callbacks(&self, output: &Output) {
        let now = self.clock.now();
        for window in self.space.elements_for_output(output) {
            window.send_frame(output, now, Some(Duration::ZERO), |_, _| Some(output.clone()));
        }
        // A window that has no place yet still has to be able to draw its first picture.
        for window in self.windows.unmapped() {
            window.send_frame(output, now, Some(Duration::ZERO), |_, _| Some(output.clone()));
        }
        let pointer = match &self.cursor.status {
            smithay::input::pointer::CursorImageStatus::Surface(surface) => Some(surface),
            _ => None,
        };
        for surface in pointer.into_iter().chain(&self.drag_icon) {
            smithay::desktop::utils::send_frames_surface_tree(
                surface,
                output,
                now,
                Some(Duration::ZERO),
                |_, _| Some(output.clone()),
            );
        }
    }
}

/// What tells this output from others.
pub(crate) fn identity(output: &Output) -> OutputIdentity {
    let physical = output.physical_properties();
    let serial = output.user_data().get::<SerialNumber>().map(|serial| serial.0.clone());
    OutputIdentity {
        connector: output.name(),
        make: physical.make,
        model: physical.model,
        serial: serial.unwrap_or_default(),
    }
}

/// Kept with an output whose display has said it.
pub(crate) struct SerialNumber(pub(crate) String);
