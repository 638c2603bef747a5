//! Which key means what to the compositor itself. Pure: keysyms and modifiers in, an action out.

use smithay::input::keyboard::{Keysym, ModifiersState, keysyms};

/// What a hotkey asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End the session.
    Quit,
    /// Start a terminal.
    Terminal,
    /// The map goes to its next placement.
    NextPlacement,
    /// Another virtual terminal.
    SwitchVt(i32),
}

/// The action of this key press, if it is a hotkey. `modified` is the keysym that the layout gives with the modifiers held,
/// `plain` the one without them: Super+Shift+E must work on a layout where Shift makes another letter of it.
pub fn action(modifiers: &ModifiersState, modified: Keysym, plain: Option<Keysym>) -> Option<Action> {
    // The usual layouts map Ctrl+Alt+Fn to a keysym of its own.
    let first = keysyms::KEY_XF86Switch_VT_1;
    if (first..=keysyms::KEY_XF86Switch_VT_12).contains(&modified.raw()) {
        return i32::try_from(modified.raw() - first + 1).ok().map(Action::SwitchVt);
    }
    let key = plain.unwrap_or(modified).raw();
    if modifiers.ctrl && modifiers.alt && (keysyms::KEY_F1..=keysyms::KEY_F12).contains(&key) {
        return i32::try_from(key - keysyms::KEY_F1 + 1).ok().map(Action::SwitchVt);
    }
    if !modifiers.logo || modifiers.ctrl || modifiers.alt {
        return None;
    }
    match (modifiers.shift, key) {
        (true, keysyms::KEY_e | keysyms::KEY_E) => Some(Action::Quit),
        (false, keysyms::KEY_Return | keysyms::KEY_KP_Enter) => Some(Action::Terminal),
        (false, keysyms::KEY_o | keysyms::KEY_O) => Some(Action::NextPlacement),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn held(logo: bool, shift: bool, ctrl: bool, alt: bool) -> ModifiersState {
        ModifiersState {
            ctrl,
            alt,
            shift,
            logo,
            caps_lock: false,
            num_lock: false,
            iso_level3_shift: false,
            iso_level5_shift: false,
            serialized: smithay::input::keyboard::SerializedMods {
                depressed: 0,
                latched: 0,
                locked: 0,
                layout_effective: 0,
            },
        }
    }

    fn press(modifiers: ModifiersState, modified: u32, plain: u32) -> Option<Action> {
        action(&modifiers, Keysym::from(modified), Some(Keysym::from(plain)))
    }

    #[test]
    fn the_session_keys() {
        use keysyms::*;
        let logo = held(true, false, false, false);
        assert_eq!(press(held(true, true, false, false), KEY_E, KEY_e), Some(Action::Quit));
        assert_eq!(press(logo, KEY_Return, KEY_Return), Some(Action::Terminal));
        assert_eq!(press(logo, KEY_o, KEY_o), Some(Action::NextPlacement));
        // With caps lock the plain key still counts.
        assert_eq!(
            press(ModifiersState { caps_lock: true, ..logo }, KEY_O, KEY_o),
            Some(Action::NextPlacement)
        );
    }

    #[test]
    fn the_vt_keys_with_and_without_the_layouts_help() {
        use keysyms::*;
        let vt = held(false, false, true, true);
        for n in 0..12 {
            let expected = Some(Action::SwitchVt(n as i32 + 1));
            assert_eq!(press(vt, KEY_XF86Switch_VT_1 + n, KEY_F1 + n), expected);
            assert_eq!(press(vt, KEY_F1 + n, KEY_F1 + n), expected);
        }
    }

    #[test]
    fn clients_keep_their_own_keys() {
        use keysyms::*;
        assert_eq!(press(held(false, false, false, false), KEY_o, KEY_o), None);
        assert_eq!(press(held(false, true, false, false), KEY_E, KEY_e), None);
        assert_eq!(press(held(false, false, true, false), KEY_F1, KEY_F1), None);
        assert_eq!(press(held(true, false, false, false), KEY_e, KEY_e), None, "quitting needs Shift");
        assert_eq!(press(held(true, false, true, false), KEY_o, KEY_o), None);
    }
}
