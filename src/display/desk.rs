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
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Clock, Logical, Monotonic, Point};

use super::compositor::Notice;
use super::cursor::Cursor;
use super::handlers::Protocols;
use super::outputs::OutputState;
use super::shell::Windows;
use super::{Compositor, CompositorConfig, DisplayError};
use crate::render::{Picture, RenderWorker};

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
    /// It was moved at least once: there is a pointer.
    pub(crate) pointer_known: bool,
    /// Something may have moved under it.
    pub(crate) pointer_stale: bool,
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
            pointer_known: false,
            pointer_stale: false,
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

    /// Tells whoever listens.
    pub(crate) fn notify(&self, notice: Notice) {
        if let Some(notices) = &self.notices {
            // Nobody listens any more when the session is ending.
            let _ = notices.send(notice);
        }
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
