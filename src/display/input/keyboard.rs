//! Keys: hotkeys, and everything else to the client; and the keyboard's layouts.

use std::time::Duration;

use smithay::backend::input::{Event, InputBackend, KeyState, KeyboardKeyEvent, Keycode};
use smithay::input::keyboard::{FilterResult, Layout};
use smithay::utils::SERIAL_COUNTER;

use crate::display::hotkey::{Action, action};
use crate::display::settings::Keyboard;
use crate::display::{Compositor, DisplayError, Notice};

/// What is known of the keyboard.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Hotkeys that are held down: their release is not for clients.
    held: Vec<Keycode>,
    /// The layout that was told last.
    told: u32,
}

/// The keyboard's layouts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyboardLayouts {
    /// Their names, as "English (US)".
    pub names: Vec<String>,
    /// Which of them is in force.
    pub active: u32,
}

impl Compositor {
    pub(super) fn key<B: InputBackend>(&mut self, event: &B::KeyboardKeyEvent) {
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return };
        let (code, state) = (event.key_code(), event.state());
        let serial = SERIAL_COUNTER.next_serial();
        let time = event.time_msec();
        let hotkey = keyboard.input(self, code, state, serial, time, |compositor, modifiers, key| {
            if state == KeyState::Released {
                // The release of a key whose press a client never saw is not for it either.
                return match compositor.keys.held.iter().position(|held| *held == code) {
                    Some(at) => {
                        compositor.keys.held.swap_remove(at);
                        FilterResult::Intercept(None)
                    }
                    None => FilterResult::Forward,
                };
            }
            let hotkeys = &compositor.desk.config.settings.hotkeys;
            match action(hotkeys, modifiers, key.modified_sym(), key.raw_latin_sym_or_raw_current_sym()) {
                // Nothing of the session is to be had through its lock, and ending it could open a shell.
                Some(action) if !compositor.desk.lock.is_on() || matches!(action, Action::SwitchVt(_)) => {
                    compositor.keys.held.push(code);
                    FilterResult::Intercept(Some(action))
                }
                _ => {
                    compositor.pointer_hides_for_typing(key.modified_sym());
                    FilterResult::Forward
                }
            }
        });
        if let Some(Some(action)) = hotkey {
            self.act(action);
        }
        self.tell_layout();
    }

    /// The keyboard is somebody else's: what is held down is let go, for we shall not be told.
    pub(crate) fn release_keys(&mut self) {
        self.keys.held.clear();
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return };
        let time = Duration::from(self.desk.clock.now()).as_millis() as u32;
        for key in keyboard.pressed_keys() {
            let serial = SERIAL_COUNTER.next_serial();
            keyboard
                .input::<(), _>(self, key, KeyState::Released, serial, time, |_, _, _| FilterResult::Forward);
        }
    }

    /// The keys that switch layouts are the keymap's own: whether they did is seen afterwards.
    fn tell_layout(&mut self) {
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return };
        let now = keyboard.modifier_state().serialized.layout_effective;
        if std::mem::replace(&mut self.keys.told, now) != now {
            self.desk.notify(Notice::Changed);
        }
    }

    /// The keyboard's layouts, and which is in force.
    pub fn keyboard_layouts(&mut self) -> KeyboardLayouts {
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return KeyboardLayouts::default() };
        keyboard.with_xkb_state(self, |context| {
            let Ok(xkb) = context.xkb().lock() else { return KeyboardLayouts::default() };
            KeyboardLayouts {
                names: xkb.layouts().map(|layout| xkb.layout_name(layout).to_owned()).collect(),
                active: xkb.active_layout().0,
            }
        })
    }

    /// Puts this layout in force. Returns whether there is one of that number.
    pub fn set_keyboard_layout(&mut self, number: u32) -> bool {
        let there = usize::try_from(number).is_ok_and(|at| at < self.keyboard_layouts().names.len());
        if there && let Some(keyboard) = self.desk.seat.get_keyboard() {
            keyboard.with_xkb_state(self, |mut context| context.set_layout(Layout(number)));
            self.tell_layout();
        }
        there
    }

    /// Puts the next layout in force.
    pub fn next_keyboard_layout(&mut self) {
        if let Some(keyboard) = self.desk.seat.get_keyboard() {
            keyboard.with_xkb_state(self, |mut context| context.cycle_next_layout());
            self.tell_layout();
        }
    }

    /// Another keymap, or other ways to repeat. Refused, everything stays as it is.
    pub(crate) fn set_keyboard(&mut self, settings: &Keyboard, old: &Keyboard) -> Result<(), DisplayError> {
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return Ok(()) };
        if !settings.same_keymap(old) {
            keyboard.set_xkb_config(self, settings.xkb()).map_err(|_| DisplayError::Keyboard)?;
            self.keys.told = 0;
            self.lock_keys(settings);
            self.desk.notify(Notice::Changed);
        }
        let (delay, rate) = settings.repeat();
        keyboard.change_repeat_info(rate, delay);
        Ok(())
    }

    /// Num lock and caps lock as they are to be at the start, and their lamps with them.
    pub(crate) fn lock_keys(&mut self, settings: &Keyboard) {
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return };
        let mut modifiers = keyboard.modifier_state();
        modifiers.num_lock = settings.num_lock;
        modifiers.caps_lock = settings.caps_lock;
        keyboard.set_modifier_state(modifiers);
        self.backend.set_leds(keyboard.led_state());
    }
}
