//! Swipes, pinches and holds on a touchpad: they are the client's under the pointer.

use smithay::backend::input::{
    Event, GestureBeginEvent, GestureEndEvent, GesturePinchUpdateEvent, GestureSwipeUpdateEvent,
    InputBackend, InputEvent,
};
use smithay::input::pointer::{
    GestureHoldBeginEvent, GestureHoldEndEvent, GesturePinchBeginEvent, GesturePinchEndEvent,
    GesturePinchUpdateEvent as PinchUpdate, GestureSwipeBeginEvent, GestureSwipeEndEvent,
    GestureSwipeUpdateEvent as SwipeUpdate,
};
use smithay::utils::SERIAL_COUNTER;

use super::Compositor;

impl Compositor {
    /// Forwards an event of a touchpad; every other kind is left alone.
    pub(crate) fn gesture<B: InputBackend>(&mut self, event: &InputEvent<B>) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        let serial = SERIAL_COUNTER.next_serial();
        match event {
            InputEvent::GestureSwipeBegin { event } => {
                let (time, fingers) = (event.time_msec(), event.fingers());
                pointer.gesture_swipe_begin(self, &GestureSwipeBeginEvent { serial, time, fingers });
            }
            InputEvent::GestureSwipeUpdate { event } => {
                let (time, delta) = (event.time_msec(), event.delta());
                pointer.gesture_swipe_update(self, &SwipeUpdate { time, delta });
            }
            InputEvent::GestureSwipeEnd { event } => {
                let (time, cancelled) = (event.time_msec(), event.cancelled());
                pointer.gesture_swipe_end(self, &GestureSwipeEndEvent { serial, time, cancelled });
            }
            InputEvent::GesturePinchBegin { event } => {
                let (time, fingers) = (event.time_msec(), event.fingers());
                pointer.gesture_pinch_begin(self, &GesturePinchBeginEvent { serial, time, fingers });
            }
            InputEvent::GesturePinchUpdate { event } => {
                let (time, delta) = (event.time_msec(), event.delta());
                let (scale, rotation) = (event.scale(), event.rotation());
                pointer.gesture_pinch_update(self, &PinchUpdate { time, delta, scale, rotation });
            }
            InputEvent::GesturePinchEnd { event } => {
                let (time, cancelled) = (event.time_msec(), event.cancelled());
                pointer.gesture_pinch_end(self, &GesturePinchEndEvent { serial, time, cancelled });
            }
            InputEvent::GestureHoldBegin { event } => {
                let (time, fingers) = (event.time_msec(), event.fingers());
                pointer.gesture_hold_begin(self, &GestureHoldBeginEvent { serial, time, fingers });
            }
            InputEvent::GestureHoldEnd { event } => {
                let (time, cancelled) = (event.time_msec(), event.cancelled());
                pointer.gesture_hold_end(self, &GestureHoldEndEvent { serial, time, cancelled });
            }
            _ => {}
        }
    }
}
