//! Keys: hotkeys, and everything else to the client; and the keyboard's layouts.

use std::time::Duration;

use calloop::RegistrationToken;
use calloop::timer::{TimeoutAction, Timer};
use smithay::backend::input::{Event, InputBackend, KeyState, KeyboardKeyEvent, Keycode};
use smithay::input::keyboard::{FilterResult, Keysym, Layout, ModifiersState};
use smithay::utils::SERIAL_COUNTER;
use tracing::warn;

use crate::display::hotkey::{Action, Hotkeys, action};
use crate::display::overlay::PickerKey;
use crate::display::settings::Keyboard;
use crate::display::{Compositor, DisplayError, Notice};

/// What is known of the keyboard.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    /// Hotkeys that are held down: their release is not for clients.
    held: Vec<Keycode>,
    /// The layout that was told last.
    told: u32,
    /// The names of the layouts.
    layouts: Vec<String>,
    /// The key of an overlay that is held down, and the timer that repeats it.
    repeated: Option<(Keycode, RegistrationToken)>,
}

/// What a key press is, when it is not for a client.
enum Means {
    Action(Action),
    Overlay(PickerKey),
    Nothing,
}

/// A key press in an overlay.
fn overlay_key(modifiers: &ModifiersState, key: Keysym) -> Option<PickerKey> {
    Some(match key {
        Keysym::Escape => PickerKey::Escape,
        Keysym::Return | Keysym::KP_Enter => PickerKey::Enter,
        Keysym::Up | Keysym::KP_Up => PickerKey::Up,
        Keysym::Down | Keysym::KP_Down | Keysym::Tab => PickerKey::Down,
        Keysym::ISO_Left_Tab => PickerKey::Up,
        Keysym::Page_Up | Keysym::KP_Page_Up => PickerKey::PageUp,
        Keysym::Page_Down | Keysym::KP_Page_Down => PickerKey::PageDown,
        Keysym::Home | Keysym::KP_Home => PickerKey::First,
        Keysym::End | Keysym::KP_End => PickerKey::Last,
        Keysym::BackSpace if modifiers.ctrl => PickerKey::EraseAll,
        Keysym::BackSpace => PickerKey::Erase,
        Keysym::u if modifiers.ctrl => PickerKey::EraseAll,
        _ if modifiers.ctrl || modifiers.alt || modifiers.logo => return None,
        _ => {
            let text = key.key_char().filter(|letter| !letter.is_control())?;
            PickerKey::Text(text.to_string())
        }
    })
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
        let handed_over = self.hotkeys_are_handed_over();
        let own = |action: &Action| !handed_over || matches!(action, Action::HandOver | Action::SwitchVt(_));
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
            let sym = key.modified_sym();
            let action = compositor.action(modifiers, sym, key.raw_latin_sym_or_raw_current_sym());
            let means = match action.filter(own) {
                Some(action) => Some(Means::Action(action)),
                None if compositor.overlay().is_some() => {
                    Some(overlay_key(modifiers, sym).map_or(Means::Nothing, Means::Overlay))
                }
                None => None,
            };
            match means {
                Some(means) => {
                    compositor.keys.held.push(code);
                    FilterResult::Intercept(Some(means))
                }
                None => {
                    compositor.pointer_hides_for_typing(sym);
                    FilterResult::Forward
                }
            }
        });
        if state == KeyState::Released && self.keys.repeated.as_ref().is_some_and(|(held, _)| *held == code) {
            self.release_repeated_key();
        }
        match hotkey.flatten() {
            Some(Means::Action(action)) => self.act(action),
            Some(Means::Overlay(key)) => {
                self.repeat_key(code, &key);
                self.overlay_key(key);
            }
            Some(Means::Nothing) | None => {}
        }
        self.tell_layout();
    }

    /// The keyboard is somebody else's: what is held down is let go, for we shall not be told.
    pub(crate) fn release_keys(&mut self) {
        self.keys.held.clear();
        self.release_repeated_key();
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return };
        let time = Duration::from(self.desk.clock.now()).as_millis() as u32;
        for key in keyboard.pressed_keys() {
            let serial = SERIAL_COUNTER.next_serial();
            keyboard
                .input::<(), _>(self, key, KeyState::Released, serial, time, |_, _, _| FilterResult::Forward);
        }
    }

    /// What this key press is to the compositor itself.
    fn action(&self, modifiers: &ModifiersState, modified: Keysym, plain: Option<Keysym>) -> Option<Action> {
        let settings = &self.desk.config.settings;
        let action = if settings.kiosk.enabled {
            action(&Hotkeys::only_quit(settings.kiosk.leave), modifiers, modified, plain)
        } else {
            action(&settings.hotkeys, modifiers, modified, plain)
        };
        // Nothing of the session is to be had through its lock, and ending it could open a shell.
        action.filter(|action| !self.desk.lock.is_on() || matches!(action, Action::SwitchVt(_)))
    }

    /// A key of an overlay repeats as it does in a client, which would do that by itself.
    fn repeat_key(&mut self, code: Keycode, key: &PickerKey) {
        self.release_repeated_key();
        let (delay, rate) = self.desk.config.settings.keyboard.repeat();
        if rate <= 0 || matches!(key, PickerKey::Enter | PickerKey::Escape) {
            return;
        }
        let (delay, rate) = (Duration::from_millis(delay.max(0).unsigned_abs().into()), rate.unsigned_abs());
        let key = key.clone();
        let timer = Timer::from_duration(delay);
        let repeating = self.desk.handle.insert_source(timer, move |_, (), compositor: &mut Compositor| {
            compositor.overlay_key(key.clone());
            TimeoutAction::ToDuration(Duration::from_secs(1) / rate)
        });
        match repeating {
            Ok(token) => self.keys.repeated = Some((code, token)),
            Err(error) => warn!(%error, "no timer: a key does not repeat"),
        }
    }

    pub(crate) fn release_repeated_key(&mut self) {
        if let Some((_, token)) = self.keys.repeated.take() {
            self.desk.handle.remove(token);
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
    pub fn keyboard_layouts(&self) -> KeyboardLayouts {
        let active = self.desk.seat.get_keyboard().map(|keyboard| keyboard.modifier_state());
        KeyboardLayouts {
            names: self.keys.layouts.clone(),
            active: active.map_or(0, |modifiers| modifiers.serialized.layout_effective),
        }
    }

    fn name_layouts(&mut self) {
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return };
        self.keys.layouts = keyboard.with_xkb_state(self, |context| {
            let Ok(xkb) = context.xkb().lock() else { return Vec::new() };
            xkb.layouts().map(|layout| xkb.layout_name(layout).to_owned()).collect()
        });
    }

    /// Puts this layout in force. Returns whether there is one of that number.
    pub fn set_keyboard_layout(&mut self, number: u32) -> bool {
        let there = usize::try_from(number).is_ok_and(|at| at < self.keys.layouts.len());
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
        self.name_layouts();
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return };
        let mut modifiers = keyboard.modifier_state();
        modifiers.num_lock = settings.num_lock;
        modifiers.caps_lock = settings.caps_lock;
        keyboard.set_modifier_state(modifiers);
        self.backend.set_leds(keyboard.led_state());
    }
}
