//! A person's hands and a window manager's whim, for tests: events that take the same way as those of
//! devices, and a window at an exact place. The tests of this project use it, and wlcs, the conformance tests
//! of Wayland.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use smithay::backend::input::{
    AbsolutePositionEvent, ButtonState, Device, DeviceCapability, Event, InputBackend, InputEvent, KeyState,
    KeyboardKeyEvent, Keycode, PointerButtonEvent, PointerMotionAbsoluteEvent, PointerMotionEvent,
    TouchDownEvent, TouchEvent, TouchFrameEvent, TouchMotionEvent, TouchSlot, TouchUpEvent, UnusedEvent,
};
use smithay::reexports::wayland_server::Client;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point};

use super::clients::{self, ClientState};
use super::{Compositor, DisplayError};

/// Moves pointer, keys and fingers of a compositor. Points are of the desk's pixels.
pub struct Puppet<'a>(&'a mut Compositor);

/// A client that was let in by [`Puppet::connect`].
#[derive(Debug, Clone)]
pub struct PuppetClient(Client);

impl Compositor {
    /// Takes it by the hand.
    pub fn puppet(&mut self) -> Puppet<'_> {
        Puppet(self)
    }
}

impl Puppet<'_> {
    /// Lets a client in over this stream, as if it had come over the socket.
    pub fn connect(&mut self, stream: UnixStream) -> Result<PuppetClient, DisplayError> {
        clients::admit(&mut self.0.desk, stream, ClientState::default())
            .map(PuppetClient)
            .map_err(|error| DisplayError::Setup { what: "letting a client in", reason: error.to_string() })
    }

    /// The window of this client's surface floats with its corner here; a layer surface has its own there.
    /// Returns whether it is one or the other.
    pub fn place(&mut self, client: &PuppetClient, surface: u32, x: i32, y: i32) -> bool {
        let display = &self.0.desk.display;
        let Ok(surface) = client.0.object_from_protocol_id::<WlSurface>(display, surface) else {
            return false;
        };
        let at = Point::from((x, y));
        let there = self.0.desk.place_layer(&surface, at) || self.0.desk.float_window_at(&surface, at);
        self.0.refresh_pointer();
        there
    }

    /// A device appears that is a mouse, a keyboard and a touch screen.
    pub fn plug_in(&mut self) {
        self.input(InputEvent::DeviceAdded { device: Hand });
    }

    /// The pointer is moved to a point.
    pub fn move_to(&mut self, x: f64, y: f64) {
        let event = self.event(Absolute { at: Point::from((x, y)), slot: None.into() });
        self.input(InputEvent::PointerMotionAbsolute { event });
    }

    /// The pointer is moved by so much.
    pub fn move_by(&mut self, dx: f64, dy: f64) {
        let event = self.event(Relative(Point::from((dx, dy))));
        self.input(InputEvent::PointerMotion { event });
    }

    /// A button, by its code of `linux/input-event-codes.h`.
    pub fn button(&mut self, code: u32, pressed: bool) {
        let event = self.event(Switch { code, pressed });
        self.input(InputEvent::PointerButton { event });
    }

    /// A key, by its code of `linux/input-event-codes.h`.
    pub fn key(&mut self, code: u32, pressed: bool) {
        let event = self.event(Switch { code, pressed });
        self.input(InputEvent::Keyboard { event });
    }

    /// A finger comes down.
    pub fn touch_down(&mut self, finger: u32, x: f64, y: f64) {
        let event = self.event(Absolute { at: Point::from((x, y)), slot: Some(finger).into() });
        self.input(InputEvent::TouchDown { event });
        self.touch_frame();
    }

    /// A finger is moved.
    pub fn touch_move(&mut self, finger: u32, x: f64, y: f64) {
        let event = self.event(Absolute { at: Point::from((x, y)), slot: Some(finger).into() });
        self.input(InputEvent::TouchMotion { event });
        self.touch_frame();
    }

    /// A finger is lifted.
    pub fn touch_up(&mut self, finger: u32) {
        let event = self.event(Lifted(Some(finger).into()));
        self.input(InputEvent::TouchUp { event });
        self.touch_frame();
    }

    fn touch_frame(&mut self) {
        let event = self.event(Lifted(None.into()));
        self.input(InputEvent::TouchFrame { event });
    }

    fn event<T>(&self, what: T) -> Moment<T> {
        Moment { what, microseconds: u64::from(self.0.desk.milliseconds()) * 1000 }
    }

    fn input(&mut self, event: InputEvent<Hands>) {
        self.0.input(event);
    }
}

/// The backend of these events.
struct Hands;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Hand;

impl Device for Hand {
    fn id(&self) -> String {
        "puppet".into()
    }

    fn name(&self) -> String {
        "puppet".into()
    }

    fn has_capability(&self, capability: DeviceCapability) -> bool {
        matches!(capability, DeviceCapability::Keyboard | DeviceCapability::Pointer | DeviceCapability::Touch)
    }

    fn usb_id(&self) -> Option<(u32, u32)> {
        None
    }

    fn syspath(&self) -> Option<PathBuf> {
        None
    }
}

/// Something that happens at a time.
struct Moment<T> {
    what: T,
    microseconds: u64,
}

struct Relative(Point<f64, Logical>);

struct Absolute {
    at: Point<f64, Logical>,
    slot: TouchSlot,
}

struct Switch {
    code: u32,
    pressed: bool,
}

struct Lifted(TouchSlot);

impl<T> Event<Hands> for Moment<T> {
    fn time(&self) -> u64 {
        self.microseconds
    }

    fn device(&self) -> Hand {
        Hand
    }
}

impl PointerMotionEvent<Hands> for Moment<Relative> {
    fn delta_x(&self) -> f64 {
        self.what.0.x
    }

    fn delta_y(&self) -> f64 {
        self.what.0.y
    }

    fn delta_x_unaccel(&self) -> f64 {
        self.what.0.x
    }

    fn delta_y_unaccel(&self) -> f64 {
        self.what.0.y
    }
}

impl PointerMotionAbsoluteEvent<Hands> for Moment<Absolute> {}

impl AbsolutePositionEvent<Hands> for Moment<Absolute> {
    fn x(&self) -> f64 {
        self.what.at.x
    }

    fn y(&self) -> f64 {
        self.what.at.y
    }

    // The point is one of the desk already, whatever the device covers.
    fn x_transformed(&self, _width: i32) -> f64 {
        self.what.at.x
    }

    fn y_transformed(&self, _height: i32) -> f64 {
        self.what.at.y
    }
}

impl TouchEvent<Hands> for Moment<Absolute> {
    fn slot(&self) -> TouchSlot {
        self.what.slot
    }
}

impl TouchDownEvent<Hands> for Moment<Absolute> {}

impl TouchMotionEvent<Hands> for Moment<Absolute> {}

impl TouchEvent<Hands> for Moment<Lifted> {
    fn slot(&self) -> TouchSlot {
        self.what.0
    }
}

impl TouchUpEvent<Hands> for Moment<Lifted> {}

impl TouchFrameEvent<Hands> for Moment<Lifted> {}

impl PointerButtonEvent<Hands> for Moment<Switch> {
    fn button_code(&self) -> u32 {
        self.what.code
    }

    fn state(&self) -> ButtonState {
        if self.what.pressed { ButtonState::Pressed } else { ButtonState::Released }
    }
}

impl KeyboardKeyEvent<Hands> for Moment<Switch> {
    fn key_code(&self) -> Keycode {
        // What XKB adds to the kernel's codes.
        (self.what.code + 8).into()
    }

    fn state(&self) -> KeyState {
        if self.what.pressed { KeyState::Pressed } else { KeyState::Released }
    }

    fn count(&self) -> u32 {
        u32::from(self.what.pressed)
    }
}

impl InputBackend for Hands {
    type Device = Hand;
    type KeyboardKeyEvent = Moment<Switch>;
    type PointerAxisEvent = UnusedEvent;
    type PointerButtonEvent = Moment<Switch>;
    type PointerMotionEvent = Moment<Relative>;
    type PointerMotionAbsoluteEvent = Moment<Absolute>;
    type GestureSwipeBeginEvent = UnusedEvent;
    type GestureSwipeUpdateEvent = UnusedEvent;
    type GestureSwipeEndEvent = UnusedEvent;
    type GesturePinchBeginEvent = UnusedEvent;
    type GesturePinchUpdateEvent = UnusedEvent;
    type GesturePinchEndEvent = UnusedEvent;
    type GestureHoldBeginEvent = UnusedEvent;
    type GestureHoldEndEvent = UnusedEvent;
    type TouchDownEvent = Moment<Absolute>;
    type TouchUpEvent = Moment<Lifted>;
    type TouchMotionEvent = Moment<Absolute>;
    type TouchCancelEvent = UnusedEvent;
    type TouchFrameEvent = Moment<Lifted>;
    type TabletToolAxisEvent = UnusedEvent;
    type TabletToolProximityEvent = UnusedEvent;
    type TabletToolTipEvent = UnusedEvent;
    type TabletToolButtonEvent = UnusedEvent;
    type SwitchToggleEvent = UnusedEvent;
    type SpecialEvent = UnusedEvent;
}
