//! The pointer: to the client under it, unless the compositor takes hold of a window with it.

use std::time::Duration;

use calloop::timer::{TimeoutAction, Timer};
use smithay::backend::input::{
    Axis, AxisSource, ButtonState, Event, InputBackend, PointerAxisEvent, PointerButtonEvent,
    PointerMotionEvent,
};
use smithay::input::keyboard::Keysym;
use smithay::input::pointer::{AxisFrame, ButtonEvent, MotionEvent, RelativeMotionEvent};
use smithay::utils::{Logical, Point, SERIAL_COUNTER};
use tracing::warn;

use crate::display::Compositor;
use crate::display::cursor::Rest;

const LEFT_BUTTON: u32 = 0x110;
const RIGHT_BUTTON: u32 = 0x111;

impl Compositor {
    pub(super) fn pointer_moved<B: InputBackend>(&mut self, event: &B::PointerMotionEvent) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        let from = self.desk.pointer_at;
        let to = self.desk.confine(from + event.delta(), from);
        let under = self.under(to);
        let relative = RelativeMotionEvent {
            delta: event.delta(),
            delta_unaccel: event.delta_unaccel(),
            utime: event.time(),
        };
        pointer.relative_motion(self, under, &relative);
        self.pointer_to(to, event.time_msec());
    }

    pub(crate) fn pointer_to(&mut self, to: Point<f64, Logical>, time: u32) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        self.pointer_used();
        let Some(to) = self.desk.constrain(&pointer, to) else {
            // Held in place: how it was moved is told by the relative motion alone.
            pointer.frame(self);
            return;
        };
        let from = std::mem::replace(&mut self.desk.pointer_at, to);
        self.desk.pointer_known = true;
        self.pointer_over_map(to);
        let under = self.under(to);
        self.desk.pointer_over.clone_from(&under);
        let motion = MotionEvent { location: to, serial: SERIAL_COUNTER.next_serial(), time };
        pointer.motion(self, under, &motion);
        pointer.frame(self);
        self.activate_constraint();
        if self.overlay().is_some() {
            self.overlay_pointed(to);
        } else if self.desk.config.settings.layout.focus_follows_pointer && !pointer.is_grabbed() {
            self.focus_under_pointer();
        }
        self.desk.queue_redraw_near(&[from, to]);
    }

    /// Something has moved under a pointer that stands still.
    pub(crate) fn refresh_pointer(&mut self) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        if !self.desk.pointer_known || pointer.is_grabbed() {
            return;
        }
        let location = self.desk.pointer_at;
        let under = self.under(location);
        let told = pointer.current_focus();
        if under != self.desk.pointer_over || under.as_ref().map(|(surface, _)| surface) != told.as_ref() {
            self.desk.pointer_over.clone_from(&under);
            let time = self.desk.milliseconds();
            let motion = MotionEvent { location, serial: SERIAL_COUNTER.next_serial(), time };
            pointer.motion(self, under, &motion);
            pointer.frame(self);
            self.activate_constraint();
        }
    }

    /// The window under the pointer gets the keyboard, if it has not.
    fn focus_under_pointer(&mut self) {
        let Some(window) = self.window_under(self.desk.pointer_at) else { return };
        if !self.desk.is_focused(&window) {
            self.desk.focus(Some(window));
        }
    }

    /// A click or a finger at this point: what is there gets the keyboard, its output is the active one.
    pub(crate) fn activate_at(&mut self, at: Point<f64, Logical>) {
        if let Some(under) = self.desk.under(at) {
            self.desk.focus_owner(under.owner);
            self.apply_focus();
            return;
        }
        let output = self.desk.space.output_under(at).next().cloned();
        if let Some(output) = output.filter(|output| self.desk.active_output() != Some(output)) {
            self.desk.activate_output(&output);
        }
    }

    pub(super) fn super_is_held(&self) -> bool {
        self.desk.seat.get_keyboard().is_some_and(|keyboard| keyboard.modifier_state().logo)
    }

    /// Somebody types: a pointer in the middle of the words is in the way, if so configured.
    pub(super) fn pointer_hides_for_typing(&mut self, key: Keysym) {
        if self.desk.config.settings.cursor.hide_when_typing && !key.is_modifier_key() {
            self.hide_pointer();
        }
    }

    /// A finger shows by itself where it is.
    pub(super) fn pointer_hides_for_touch(&mut self) {
        self.hide_pointer();
    }

    fn hide_pointer(&mut self) {
        if self.desk.cursor.hide() {
            self.desk.queue_redraw_near(&[self.desk.pointer_at]);
        }
    }

    /// The pointer is seen, and for how long from now.
    pub(crate) fn pointer_used(&mut self) {
        if let Some(after) = self.desk.cursor.used() {
            self.arm_pointer_timer(after);
        }
    }

    fn arm_pointer_timer(&mut self, after: Duration) {
        let timer = Timer::from_duration(after);
        let armed = self.desk.handle.insert_source(timer, |_, (), compositor: &mut Compositor| {
            match compositor.desk.cursor.rested() {
                Rest::Hidden => {
                    compositor.desk.queue_redraw_near(&[compositor.desk.pointer_at]);
                    TimeoutAction::Drop
                }
                Rest::Wait(left) => TimeoutAction::ToDuration(left),
                Rest::Never => TimeoutAction::Drop,
            }
        });
        if let Err(error) = armed {
            warn!(%error, "no timer: the pointer stays");
        }
    }

    pub(super) fn button<B: InputBackend>(&mut self, event: &B::PointerButtonEvent) {
        self.press(event.button_code(), event.state(), event.time_msec());
    }

    /// A button at the pointer.
    pub(crate) fn press(&mut self, button: u32, state: ButtonState, time: u32) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        // What was pressed before an overlay opened is released where it was pressed.
        if self.overlay().is_some() && state == ButtonState::Pressed {
            self.overlay_buttons.push(button);
            if button == LEFT_BUTTON {
                self.overlay_clicked(self.desk.pointer_at);
            }
            return;
        }
        if let Some(at) = self.overlay_buttons.iter().position(|held| *held == button) {
            self.overlay_buttons.swap_remove(at);
            return;
        }
        // A press makes a grab of its own, which lasts until the release.
        let pressed = state == ButtonState::Pressed;
        if button == LEFT_BUTTON && !(pressed && pointer.is_grabbed()) {
            self.map_pressed(pressed);
        }
        if state == ButtonState::Pressed && !pointer.is_grabbed() {
            let holds = match button {
                LEFT_BUTTON | RIGHT_BUTTON if self.super_is_held() && !self.desk.is_kiosk() => {
                    self.hold_window_under_pointer(button, button == RIGHT_BUTTON)
                }
                _ => false,
            };
            if !holds {
                self.activate_at(self.desk.pointer_at);
            }
        }
        let (serial, menu) = (SERIAL_COUNTER.next_serial(), pointer.is_grabbed());
        pointer.button(self, &ButtonEvent { button, state, serial, time });
        pointer.frame(self);
        if state == ButtonState::Pressed && menu && !pointer.has_grab(serial) && !pointer.is_grabbed() {
            // The click that dismissed a menu is one on what is under it, too.
            self.activate_at(self.desk.pointer_at);
        }
        // A window that was held is let go.
        self.refresh_pointer();
    }

    pub(super) fn axis<B: InputBackend>(&mut self, event: &B::PointerAxisEvent) {
        if self.overlay().is_some() {
            // A click of the wheel is 120 steps, or 15 units.
            let steps = event.amount_v120(Axis::Vertical).map(|steps| steps / 120.0);
            let clicks = steps.or_else(|| event.amount(Axis::Vertical).map(|units| units / 15.0));
            self.overlay_scrolled(clicks.unwrap_or(0.0));
            return;
        }
        let clicks = |axis| {
            event.amount_v120(axis).map_or_else(|| event.amount(axis).unwrap_or(0.0) / 15.0, |v| v / 120.0)
        };
        if self.map_scrolled(clicks(Axis::Horizontal), clicks(Axis::Vertical)) {
            return;
        }
        let mut frame = AxisFrame::new(event.time_msec()).source(event.source());
        for axis in [Axis::Horizontal, Axis::Vertical] {
            let steps = event.amount_v120(axis);
            // A wheel that reports only its clicks moves 15 units a click, as everywhere.
            let amount =
                event.amount(axis).unwrap_or_else(|| steps.map_or(0.0, |steps| steps * 15.0 / 120.0));
            if amount != 0.0 {
                frame = frame.relative_direction(axis, event.relative_direction(axis)).value(axis, amount);
                if let Some(steps) = steps {
                    frame = frame.v120(axis, steps as i32);
                }
            }
            if event.source() == AxisSource::Finger && event.amount(axis) == Some(0.0) {
                frame = frame.stop(axis);
            }
        }
        self.scroll(frame);
    }

    /// Scrolls what is under the pointer.
    pub(crate) fn scroll(&mut self, frame: AxisFrame) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        pointer.axis(self, frame);
        pointer.frame(self);
    }
}
