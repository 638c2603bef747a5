//! Fingers: each is the client's that it came down on, until it is lifted.

use smithay::backend::input::{Event, InputBackend, TouchEvent};
use smithay::input::touch::{DownEvent, MotionEvent, UpEvent};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::SERIAL_COUNTER;

use crate::display::Compositor;

impl Compositor {
    pub(super) fn touch_down<B: InputBackend>(&mut self, event: &B::TouchDownEvent) {
        let (Some(touch), Some(location)) = (self.desk.seat.get_touch(), self.absolute::<B, _>(event)) else {
            return;
        };
        if self.overlay().is_some() {
            self.overlay_touched(event.slot(), location);
            return;
        }
        self.activate_at(location);
        let under = self.under(location);
        let serial = SERIAL_COUNTER.next_serial();
        let down = DownEvent { slot: event.slot(), location, serial, time: event.time_msec() };
        if let Some((surface, _)) = &under {
            self.desk.fingers.push((down.slot, surface.clone()));
        }
        touch.down(self, under, &down);
        self.pointer_hides_for_touch();
    }

    pub(super) fn touch_motion<B: InputBackend>(&mut self, event: &B::TouchMotionEvent) {
        let (Some(touch), Some(location)) = (self.desk.seat.get_touch(), self.absolute::<B, _>(event)) else {
            return;
        };
        self.overlay_dragged(event.slot(), location);
        let under = self.under(location);
        touch.motion(self, under, &MotionEvent { slot: event.slot(), location, time: event.time_msec() });
    }

    pub(super) fn touch_up<B: InputBackend>(&mut self, event: &B::TouchUpEvent) {
        let Some(touch) = self.desk.seat.get_touch() else { return };
        self.desk.fingers.retain(|(slot, _)| *slot != event.slot());
        self.overlay_released(event.slot());
        let serial = SERIAL_COUNTER.next_serial();
        touch.up(self, &UpEvent { slot: event.slot(), serial, time: event.time_msec() });
    }

    /// The surface is gone: for its client no finger is on it any more.
    pub(crate) fn lift_fingers(&mut self, surface: &WlSurface) {
        let Some(touch) = self.desk.seat.get_touch() else { return };
        let (gone, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.desk.fingers).into_iter().partition(|(_, on)| on == surface);
        self.desk.fingers = left;
        for (slot, _) in &gone {
            let (serial, time) = (SERIAL_COUNTER.next_serial(), self.desk.milliseconds());
            touch.up(self, &UpEvent { slot: *slot, serial, time });
        }
        if !gone.is_empty() {
            touch.frame(self);
        }
    }

    pub(super) fn touch_cancel(&mut self) {
        self.desk.fingers.clear();
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
