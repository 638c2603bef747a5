//! Fingers: each is the client's that it came down on, until it is lifted.

use smithay::backend::input::{Event, InputBackend, TouchEvent};
use smithay::input::touch::{DownEvent, MotionEvent, UpEvent};
use smithay::utils::SERIAL_COUNTER;

use crate::display::Compositor;

impl Compositor {
    pub(super) fn touch_down<B: InputBackend>(&mut self, event: &B::TouchDownEvent) {
        let (Some(touch), Some(location)) = (self.desk.seat.get_touch(), self.absolute::<B, _>(event)) else {
            return;
        };
        self.activate_at(location);
        let under = self.under(location);
        let serial = SERIAL_COUNTER.next_serial();
        let down = DownEvent { slot: event.slot(), location, serial, time: event.time_msec() };
        touch.down(self, under, &down);
        self.pointer_hides_for_touch();
    }

    pub(super) fn touch_motion<B: InputBackend>(&mut self, event: &B::TouchMotionEvent) {
        let (Some(touch), Some(location)) = (self.desk.seat.get_touch(), self.absolute::<B, _>(event)) else {
            return;
        };
        let under = self.under(location);
        touch.motion(self, under, &MotionEvent { slot: event.slot(), location, time: event.time_msec() });
    }

    pub(super) fn touch_up<B: InputBackend>(&mut self, event: &B::TouchUpEvent) {
        let Some(touch) = self.desk.seat.get_touch() else { return };
        let serial = SERIAL_COUNTER.next_serial();
        touch.up(self, &UpEvent { slot: event.slot(), serial, time: event.time_msec() });
    }

    pub(super) fn touch_cancel(&mut self) {
        if let Some(touch) = self.desk.seat.get_touch() {
            touch.cancel(self);
        }
    }

    pub(super) fn touch_frame(&mut self) {
        if let Some(touch) = self.desk.seat.get_touch() {
            touch.frame(self);
        }
    }
}
