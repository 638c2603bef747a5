//! What the compositor has on its desk whatever the backend: clients' windows, outputs, the seat, the map.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use calloop::ping::Ping;
use calloop::{LoopHandle, LoopSignal, RegistrationToken};
use smithay::backend::input::TouchSlot;
use smithay::desktop::{PopupGrab, PopupManager, Space, Window};
use smithay::input::keyboard::xkb;
use smithay::input::{Seat, SeatState};
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Clock, Logical, Monotonic, Point};

use super::compositor::Notice;
use super::cursor::{Cursor, DragIcon};
use super::dispatch::{self, SharedRelays};
use super::focus::Focus;
use super::handlers::Protocols;
use super::input::MapPoint;
use super::kiosk::Kiosk;
use super::lock::Lock;
use super::outputs::{ByHand, OutputState};
use super::overlay::Overlay;
use super::programs::Programs;
use super::shell::Windows;
use super::xwayland::Xwayland;
use super::{Compositor, CompositorConfig, DisplayError};
use crate::channel::Sender;
use crate::render::text::Lettering;
use crate::render::{Picture, RenderWorker};

/// The backend-independent state.
pub(crate) struct Desk {
    pub(crate) display: DisplayHandle,
    pub(crate) handle: LoopHandle<'static, Compositor>,
    pub(crate) signal: LoopSignal,
    /// What lies between each client and the Wayland library.
    pub(crate) relays: SharedRelays,
    /// Why the loop was ended, if nobody wanted that.
    pub(crate) failure: Option<DisplayError>,
    pub(crate) clock: Clock<Monotonic>,
    pub(crate) config: CompositorConfig,
    pub(crate) socket: String,
    pub(crate) protocols: Protocols,
    pub(crate) seat: Seat<Compositor>,
    pub(crate) cursor: Cursor,
    pub(crate) pointer_at: Point<f64, Logical>,
    /// Where the pointer is on the map, if it is there, and whether its button went down there.
    pub(crate) map_point: Option<MapPoint>,
    pub(crate) map_held: bool,
    /// It was moved at least once: there is a pointer.
    pub(crate) pointer_known: bool,
    /// The surface that it was over when clients last heard of it, and where that was.
    pub(crate) pointer_over: Option<(WlSurface, Point<f64, Logical>)>,
    pub(crate) drag_icon: Option<DragIcon>,
    /// The fingers that are down, and the surfaces that they came down on.
    pub(crate) fingers: Vec<(TouchSlot, WlSurface)>,
    pub(crate) space: Space<Window>,
    pub(crate) windows: Windows,
    pub(crate) focus: Focus,
    pub(crate) lock: Lock,
    pub(crate) popups: PopupManager,
    /// The menu that holds pointer and keyboard, or the last one that did.
    pub(crate) menu: Option<PopupGrab<Compositor>>,
    pub(crate) outputs: Vec<OutputState>,
    /// Surfaces with pictures that are meant for a moment to come.
    pub(crate) timed: Vec<WlSurface>,
    /// By [`OutputIdentity::key`](super::settings::OutputIdentity::key).
    pub(crate) by_hand: HashMap<String, ByHand>,
    /// When somebody used the session last.
    pub(crate) last_used: Instant,
    /// Somebody has switched all displays off.
    pub(crate) off_by_hand: bool,
    /// For the next time that displays switch by themselves.
    pub(crate) power_timer: Option<RegistrationToken>,
    pub(crate) kiosk: Kiosk,
    pub(crate) programs: Programs,
    /// What we draw over everything ourselves.
    pub(crate) overlay: Option<Overlay>,
    /// The fonts for that, from the first time on.
    pub(crate) lettering: Option<Lettering>,
    /// A timer asks for the processes.
    pub(crate) listing: bool,
    /// Of a row, that a wheel has turned so far.
    pub(crate) overlay_scroll: f64,
    /// Where a finger came down on the overlay.
    pub(crate) touched_at: Point<f64, Logical>,
    /// The process that is watched.
    pub(crate) watched: Option<u32>,
    pub(crate) worker: Option<RenderWorker>,
    pub(crate) picture: Option<Arc<Picture>>,
    pub(crate) target_ids: u64,
    pub(crate) wake: Ping,
    /// Whoever wants to know what the display does by itself.
    pub(crate) notices: Option<Sender<Notice>>,
    /// What programs find in their environment, besides the display.
    pub(crate) environment: Vec<(String, String)>,
    /// `None` where there are no X11 programs.
    pub(crate) xwayland: Option<Xwayland>,
    /// The types of what Wayland clients have copied, for the clipboard and as primary selection.
    pub(crate) copied: (Option<Vec<String>>, Option<Vec<String>>),
}

/// libxkbcommon makes no context where none of its folders can be read, and Smithay would use it all the
/// same.
fn keymaps_are_there() -> bool {
    !xkb::Context::new(xkb::CONTEXT_NO_FLAGS).get_raw_ptr().is_null()
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
        if !keymaps_are_there() {
            return Err(DisplayError::Keyboard);
        }
        seat.add_keyboard(keyboard.xkb(), delay, rate).map_err(|_| DisplayError::Keyboard)?;
        seat.add_pointer();
        let protocols = Protocols::new(&display, &handle, seat_state);
        let cursor = Cursor::new(&config.settings.cursor);
        Ok(Self {
            display,
            handle,
            signal,
            relays: dispatch::relays()?,
            failure: None,
            clock: Clock::new(),
            config,
            socket,
            protocols,
            seat,
            cursor,
            pointer_at: Point::from((0.0, 0.0)),
            map_point: None,
            map_held: false,
            pointer_known: false,
            pointer_over: None,
            drag_icon: None,
            fingers: Vec::new(),
            space: Space::default(),
            windows: Windows::default(),
            focus: Focus::default(),
            lock: Lock::default(),
            popups: PopupManager::default(),
            menu: None,
            outputs: Vec::new(),
            timed: Vec::new(),
            by_hand: HashMap::new(),
            last_used: Instant::now(),
            off_by_hand: false,
            power_timer: None,
            kiosk: Kiosk::default(),
            programs: Programs::default(),
            overlay: None,
            lettering: None,
            listing: false,
            overlay_scroll: 0.0,
            touched_at: Point::from((0.0, 0.0)),
            watched: None,
            worker: None,
            picture: None,
            target_ids: 0,
            wake,
            notices: None,
            environment: Vec::new(),
            xwayland: None,
            copied: (None, None),
        })
    }

    /// The time as input events have it.
    pub(crate) fn milliseconds(&self) -> u32 {
        Duration::from(self.clock.now()).as_millis() as u32
    }

    /// Tells whoever listens.
    pub(crate) fn notify(&self, notice: Notice) {
        if let Some(notices) = &self.notices {
            // Nobody listens any more when the session is ending.
            let _ = notices.send(notice);
        }
    }
}
