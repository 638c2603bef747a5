//! Which key means what to the compositor itself. Pure: keysyms and modifiers in, an action out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use smithay::input::keyboard::{Keysym, ModifiersState, keysyms, xkb};

/// What a hotkey asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End the session.
    Quit,
    /// Start a terminal.
    Terminal,
    /// The map goes to its next placement.
    NextPlacement,
    /// The map gets its next palette.
    NextPalette,
    /// The picture stands still, or goes on.
    Freeze,
    /// A picture of the screen is written.
    Screenshot,
    /// Another virtual terminal.
    SwitchVt(i32),
}

/// The keys of the session itself. Those for virtual terminals, Ctrl+Alt+F1 to F12, are always the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hotkeys {
    /// [`Action::Quit`].
    pub quit: Chord,
    /// [`Action::Terminal`].
    pub terminal: Chord,
    /// [`Action::NextPlacement`].
    pub placement: Chord,
    /// [`Action::NextPalette`].
    pub palette: Chord,
    /// [`Action::Freeze`].
    pub freeze: Chord,
    /// [`Action::Screenshot`].
    pub screenshot: Chord,
}

impl Default for Hotkeys {
    fn default() -> Self {
        let logo =
            |shift: bool, key: u32| Chord(Some(Keys { logo: true, shift, ctrl: false, alt: false, key }));
        Self {
            quit: logo(true, keysyms::KEY_e),
            terminal: logo(false, keysyms::KEY_Return),
            placement: logo(false, keysyms::KEY_o),
            palette: logo(false, keysyms::KEY_p),
            freeze: logo(false, keysyms::KEY_space),
            screenshot: logo(false, keysyms::KEY_s),
        }
    }
}

impl Hotkeys {
    fn all(&self) -> [(Chord, Action); 6] {
        [
            (self.quit, Action::Quit),
            (self.terminal, Action::Terminal),
            (self.placement, Action::NextPlacement),
            (self.palette, Action::NextPalette),
            (self.freeze, Action::Freeze),
            (self.screenshot, Action::Screenshot),
        ]
    }

    /// As it stands in a file: no two actions may have the same keys.
    pub(crate) fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hotkeys = Self::deserialize(deserializer)?;
        let all = hotkeys.all();
        for (at, (chord, _)) in all.iter().enumerate() {
            if chord.0.is_some() && all[..at].iter().any(|(earlier, _)| earlier == chord) {
                return Err(serde::de::Error::custom(format!(
                    "{chord} is there twice: give each action keys of its own, or \"\" for none"
                )));
            }
        }
        Ok(hotkeys)
    }
}

/// A key with the modifiers that have to be held, or none at all. Written "Super+Shift+E".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Chord(Option<Keys>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Keys {
    logo: bool,
    shift: bool,
    ctrl: bool,
    alt: bool,
    /// Without any modifier, so that a letter is a small one.
    key: u32,
}

impl TryFrom<String> for Chord {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self(None));
        }
        let (modifiers, name) = match text.rsplit_once('+') {
            Some((modifiers, name)) => (modifiers, name.trim()),
            None => ("", text.trim()),
        };
        let mut keys = Keys { logo: false, shift: false, ctrl: false, alt: false, key: 0 };
        for word in modifiers.split('+').map(str::trim).filter(|word| !word.is_empty()) {
            let modifier = match word.to_ascii_lowercase().as_str() {
                "super" | "logo" | "mod4" => &mut keys.logo,
                "shift" => &mut keys.shift,
                "ctrl" | "control" => &mut keys.ctrl,
                "alt" | "mod1" => &mut keys.alt,
                _ => return Err(format!("\"{word}\" is no modifier: Super, Ctrl, Alt and Shift are")),
            };
            *modifier = true;
        }
        let key = xkb::keysym_from_name(name, xkb::KEYSYM_CASE_INSENSITIVE).raw();
        if key == keysyms::KEY_NoSymbol {
            return Err(format!("\"{name}\" is no key: `xkbcli list` and `wev` tell the names of keys"));
        }
        if !(keys.logo || keys.ctrl || keys.alt) {
            return Err(format!(
                "\"{text}\" would be taken from every program: add Super, Ctrl or Alt to it"
            ));
        }
        keys.key = plain_key(key);
        Ok(Self(Some(keys)))
    }
}

impl From<Chord> for String {
    fn from(chord: Chord) -> Self {
        chord.to_string()
    }
}

impl fmt::Display for Chord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(keys) = self.0 else { return Ok(()) };
        for (held, name) in
            [(keys.logo, "Super+"), (keys.ctrl, "Ctrl+"), (keys.alt, "Alt+"), (keys.shift, "Shift+")]
        {
            if held {
                f.write_str(name)?;
            }
        }
        let name = xkb::keysym_get_name(Keysym::from(keys.key));
        let mut letters = name.chars();
        match (letters.next(), letters.as_str()) {
            (Some(first), rest) => write!(f, "{}{rest}", first.to_uppercase()),
            (None, _) => Ok(()),
        }
    }
}

/// Small letters for capital ones, and one Return.
fn plain_key(key: u32) -> u32 {
    match key {
        keysyms::KEY_A..=keysyms::KEY_Z => key + (keysyms::KEY_a - keysyms::KEY_A),
        keysyms::KEY_KP_Enter => keysyms::KEY_Return,
        _ => key,
    }
}

/// The action of this key press, if it is a hotkey. `modified` is the keysym that the layout gives with the modifiers held,
/// `plain` the one without them: Super+Shift+E must work on a layout where Shift makes another letter of it.
pub fn action(
    hotkeys: &Hotkeys,
    modifiers: &ModifiersState,
    modified: Keysym,
    plain: Option<Keysym>,
) -> Option<Action> {
    // The usual layouts map Ctrl+Alt+Fn to a keysym of its own.
    let first = keysyms::KEY_XF86Switch_VT_1;
    if (first..=keysyms::KEY_XF86Switch_VT_12).contains(&modified.raw()) {
        return i32::try_from(modified.raw() - first + 1).ok().map(Action::SwitchVt);
    }
    let key = plain.unwrap_or(modified).raw();
    if modifiers.ctrl && modifiers.alt && (keysyms::KEY_F1..=keysyms::KEY_F12).contains(&key) {
        return i32::try_from(key - keysyms::KEY_F1 + 1).ok().map(Action::SwitchVt);
    }
    let held = Keys {
        logo: modifiers.logo,
        shift: modifiers.shift,
        ctrl: modifiers.ctrl,
        alt: modifiers.alt,
        key: plain_key(key),
    };
    hotkeys.all().into_iter().find(|(chord, _)| chord.0 == Some(held)).map(|(_, action)| action)
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
        action(&Hotkeys::default(), &modifiers, Keysym::from(modified), Some(Keysym::from(plain)))
    }

    #[test]
    fn the_session_keys() {
        use keysyms::*;
        let logo = held(true, false, false, false);
        assert_eq!(press(held(true, true, false, false), KEY_E, KEY_e), Some(Action::Quit));
        assert_eq!(press(logo, KEY_Return, KEY_Return), Some(Action::Terminal));
        assert_eq!(press(logo, KEY_o, KEY_o), Some(Action::NextPlacement));
        assert_eq!(press(logo, KEY_KP_Enter, KEY_KP_Enter), Some(Action::Terminal));
        assert_eq!(press(logo, KEY_p, KEY_p), Some(Action::NextPalette));
        assert_eq!(press(logo, KEY_space, KEY_space), Some(Action::Freeze));
        assert_eq!(press(logo, KEY_s, KEY_s), Some(Action::Screenshot));
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

    fn chord(text: &str) -> Result<Chord, String> {
        Chord::try_from(text.to_owned())
    }

    #[test]
    fn chords_are_read_as_they_are_written() {
        for text in
            ["Super+Shift+E", "Super+Return", "Super+Space", "Ctrl+Alt+F13", "Super+Ctrl+Alt+Shift+Print", ""]
        {
            assert_eq!(chord(text).expect("a chord").to_string(), text);
        }
        assert_eq!(chord("logo + SHIFT + e"), chord("Super+Shift+E"));
        assert_eq!(chord("Super+KP_Enter"), chord("Super+Return"));
        for wrong in ["E", "Shift+E", "Super+", "Super+Nonsense", "Hyper+E", "+"] {
            assert!(chord(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn hotkeys_can_be_moved_and_switched_off() {
        use keysyms::*;
        let hotkeys = Hotkeys {
            quit: chord("Ctrl+Alt+Delete").expect("a chord"),
            freeze: chord("").expect("none"),
            ..Hotkeys::default()
        };
        let press = |modifiers, key| action(&hotkeys, &modifiers, Keysym::from(key), Some(Keysym::from(key)));
        assert_eq!(press(held(false, false, true, true), KEY_Delete), Some(Action::Quit));
        assert_eq!(press(held(true, true, false, false), KEY_e), None);
        assert_eq!(press(held(true, false, false, false), KEY_space), None);
        assert_eq!(press(held(false, false, true, true), KEY_F2), Some(Action::SwitchVt(2)));
    }
}
