//! Keys, pointer and touch: to the client that has the focus, or to the compositor itself when it is a hotkey.

use std::time::Duration;

use calloop::timer::{TimeoutAction, Timer};
use smithay::backend::input::{
    AbsolutePositionEvent, Axis, AxisSource, ButtonState, Event, InputBackend, InputEvent, KeyState,
    KeyboardKeyEvent, PointerAxisEvent, PointerButtonEvent, PointerMotionEvent, TouchEvent,
};
use smithay::desktop::{Window, WindowSurfaceType};
use smithay::input::keyboard::FilterResult;
use smithay::input::pointer::{AxisFrame, ButtonEvent, MotionEvent, RelativeMotionEvent};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point, SERIAL_COUNTER};
use tracing::{info, warn};

use super::cursor::Rest;
use super::hotkey::{Action, action};
use super::{Compositor, Notice};

impl Compositor {
    /// One event of any input device.
    pub(crate) fn input<B: InputBackend>(&mut self, event: InputEvent<B>) {
        match event {
            InputEvent::Keyboard { event } => self.key::<B>(&event),
            InputEvent::PointerMotion { event } => self.pointer_moved::<B>(&event),
            InputEvent::PointerMotionAbsolute { event } => {
                if let Some(to) = self.absolute::<B, _>(&event) {
                    self.pointer_to(to, event.time_msec());
                }
            }
            InputEvent::PointerButton { event } => self.button::<B>(&event),
            InputEvent::PointerAxis { event } => self.axis::<B>(&event),
            // A finger is a pointer with one button: enough for a touch screen on a wall.
            InputEvent::TouchDown { event } => {
                if let Some(to) = self.absolute::<B, _>(&event) {
                    self.pointer_to(to, event.time_msec());
                    self.finger(event.slot().into(), ButtonState::Pressed, event.time_msec());
                }
            }
            InputEvent::TouchMotion { event } => {
                if let Some(to) = self.absolute::<B, _>(&event)
                    && self.finger == Some(event.slot().into())
                {
                    self.pointer_to(to, event.time_msec());
                }
            }
            InputEvent::TouchUp { event } => {
                self.finger(event.slot().into(), ButtonState::Released, event.time_msec());
            }
            InputEvent::TouchCancel { event } => {
                self.finger(event.slot().into(), ButtonState::Released, event.time_msec());
            }
            _ => {}
        }
    }

    fn key<B: InputBackend>(&mut self, event: &B::KeyboardKeyEvent) {
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return };
        let (code, state) = (event.key_code(), event.state());
        let serial = SERIAL_COUNTER.next_serial();
        let time = event.time_msec();
        let hotkey = keyboard.input(self, code, state, serial, time, |compositor, modifiers, key| {
            if state == KeyState::Released {
                // The release of a key whose press a client never saw is not for it either.
                return match compositor.held_hotkeys.iter().position(|held| *held == code) {
                    Some(at) => {
                        compositor.held_hotkeys.swap_remove(at);
                        FilterResult::Intercept(None)
                    }
                    None => FilterResult::Forward,
                };
            }
            let hotkeys = &compositor.desk.config.settings.hotkeys;
            match action(hotkeys, modifiers, key.modified_sym(), key.raw_latin_sym_or_raw_current_sym()) {
                Some(action) => {
                    compositor.held_hotkeys.push(code);
                    FilterResult::Intercept(Some(action))
                }
                None => FilterResult::Forward,
            }
        });
        if let Some(Some(action)) = hotkey {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Quit => {
                info!("quit by hotkey");
                self.stop();
            }
            Action::Terminal => {
                let terminal = self.desk.config.settings.terminal();
                if let Err(error) = self.spawn(&terminal) {
                    warn!(%error, "no terminal");
                }
            }
            Action::NextPlacement => self.set_placement(self.desk.config.placement.next()),
            Action::NextPalette => self.desk.notify(Notice::NextPalette),
            Action::Freeze => self.desk.notify(Notice::Freeze),
            Action::Screenshot => self.desk.notify(Notice::Screenshot),
            Action::SwitchVt(vt) => self.backend.switch_vt(vt),
        }
    }

    fn pointer_moved<B: InputBackend>(&mut self, event: &B::PointerMotionEvent) {
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

    /// Absolute devices cover the first output.
    fn absolute<B: InputBackend, E: AbsolutePositionEvent<B>>(
        &self,
        event: &E,
    ) -> Option<Point<f64, Logical>> {
        let output = &self.desk.outputs.first()?.output;
        let geometry = self.desk.space.output_geometry(output)?;
        Some(event.position_transformed(geometry.size) + geometry.loc.to_f64())
    }

    pub(crate) fn pointer_to(&mut self, to: Point<f64, Logical>, time: u32) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        let from = std::mem::replace(&mut self.desk.pointer_at, to);
        let under = self.under(to);
        let motion = MotionEvent { location: to, serial: SERIAL_COUNTER.next_serial(), time };
        pointer.motion(self, under, &motion);
        pointer.frame(self);
        self.desk.queue_redraw_near(&[from, to]);
        self.pointer_used();
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

    fn button<B: InputBackend>(&mut self, event: &B::PointerButtonEvent) {
        self.press(event.button_code(), event.state(), event.time_msec());
    }

    /// A button at the pointer.
    pub(crate) fn press(&mut self, button: u32, state: ButtonState, time: u32) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        if state == ButtonState::Pressed && !pointer.is_grabbed() {
            let window = self.window_under(self.desk.pointer_at).map(|(window, _)| window);
            if window.is_some() {
                self.desk.focus(window);
                self.apply_focus();
            }
        }
        let serial = SERIAL_COUNTER.next_serial();
        pointer.button(self, &ButtonEvent { button, state, serial, time });
        pointer.frame(self);
    }

    fn finger(&mut self, slot: i32, state: ButtonState, time: u32) {
        const LEFT: u32 = 0x110;
        match (state, self.finger) {
            (ButtonState::Pressed, None) => self.finger = Some(slot),
            (ButtonState::Released, Some(first)) if first == slot => self.finger = None,
            _ => return,
        }
        self.press(LEFT, state, time);
    }

    fn axis<B: InputBackend>(&mut self, event: &B::PointerAxisEvent) {
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

    /// The surface at this point, and where it begins. The map takes no input, and what it hides is not clicked by accident.
    fn under(&self, at: Point<f64, Logical>) -> Option<(WlSurface, Point<f64, Logical>)> {
        let (window, place) = self.window_under(at)?;
        let (surface, offset) = window.surface_under(at - place.to_f64(), WindowSurfaceType::ALL)?;
        Some((surface, (offset + place).to_f64()))
    }

    fn window_under(&self, at: Point<f64, Logical>) -> Option<(Window, Point<i32, Logical>)> {
        let hidden = self.desk.outputs.iter().any(|state| {
            let Some(geometry) = self.desk.space.output_geometry(&state.output) else { return false };
            state.map.visible()
                && state.map.area().is_some_and(|mut area| {
                    area.loc += geometry.loc;
                    area.to_f64().contains(at)
                })
        });
        if hidden {
            return None;
        }
        self.desk.space.element_under(at).map(|(window, place)| (window.clone(), place))
    }
}
