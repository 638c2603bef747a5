//! Which key means what to the compositor itself. Pure: keysyms and modifiers in, an action out.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use smithay::input::keyboard::{Keysym, ModifiersState, keysyms, xkb};

use super::input::MapCommand;
use super::shell::{Direction, WindowCommand};
use crate::render::GlassRamVisualizationMode;

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
    /// The map shows this.
    Mode(GlassRamVisualizationMode),
    /// What is bright spreads, or not.
    Glow,
    /// Cells move, or jump.
    Animation,
    /// The other scale of colours.
    Scale,
    /// Another part of the map.
    LookAt(MapCommand),
    /// The picture stands still, or goes on.
    Freeze,
    /// A picture of the screen is written.
    Screenshot,
    /// The target picker opens, or closes.
    Picker,
    /// The list of hotkeys opens, or closes.
    Help,
    /// The keyboard's next layout.
    NextKeyboardLayout,
    /// Hotkeys go to the program that has asked for them, or come back.
    HandOver,
    /// Something with windows.
    Window(WindowCommand),
    /// Another virtual terminal.
    SwitchVt(i32),
}

/// A hotkey as it is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The keys; none when it is switched off.
    pub chord: Chord,
    /// What they do.
    pub action: Action,
    /// The same in words, for the list of hotkeys.
    pub words: &'static str,
}

/// One line a hotkey: its name in the configuration, what it does, its usual keys, and the same in words, which are the
/// field's documentation and the line in the list of hotkeys.
macro_rules! hotkeys {
    ($(#[doc = $words:literal] $name:ident: $action:expr, $keys:literal;)*) => {
        /// The keys of the session itself. Those for virtual terminals, Ctrl+Alt+F1 to F12, are always the same.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
        pub struct Hotkeys {
            $(#[doc = $words] pub $name: Chord,)*
        }

        impl Default for Hotkeys {
            fn default() -> Self {
                let chord = |keys: &str| Chord::try_from(keys.to_owned()).expect("the usual keys are keys");
                Self { $($name: chord($keys),)* }
            }
        }

        impl Hotkeys {
            /// No key does anything.
            fn none() -> Self {
                Self { $($name: Chord(None),)* }
            }

            /// All of them, in the order of the list.
            pub fn all(&self) -> Vec<Bound> {
                vec![$(Bound { chord: self.$name, action: $action, words: $words.trim_ascii() },)*]
            }
        }
    };
}

hotkeys! {
    /// placement of the map: beside, over, full, off
    placement: Action::NextPlacement, "Super+O";
    /// colours of the map
    palette: Action::NextPalette, "Super+P";
    /// heat map
    mode_heatmap: Action::Mode(GlassRamVisualizationMode::Heatmap), "Super+1";
    /// thread kinetic energy
    mode_kinetic: Action::Mode(GlassRamVisualizationMode::ThreadKineticEnergy), "Super+2";
    /// phase transition
    mode_phase: Action::Mode(GlassRamVisualizationMode::PhaseTransition), "Super+3";
    /// memory avalanche
    mode_avalanche: Action::Mode(GlassRamVisualizationMode::MemoryAvalanche), "Super+4";
    /// time series
    mode_time_series: Action::Mode(GlassRamVisualizationMode::TimeSeries), "Super+5";
    /// volume
    mode_volume: Action::Mode(GlassRamVisualizationMode::Volumetric), "Super+6";
    /// glow, or none
    glow: Action::Glow, "Super+G";
    /// cells move, or jump
    animation: Action::Animation, "Super+A";
    /// linear or logarithmic colours
    scale: Action::Scale, "Super+L";
    /// whole map
    whole_map: Action::LookAt(MapCommand::Whole), "Super+0";
    /// look into the map
    zoom_in: Action::LookAt(MapCommand::ZoomIn), "Super+I";
    /// and out of it again
    zoom_out: Action::LookAt(MapCommand::ZoomOut), "Super+U";
    /// along memory, to lower addresses
    pan_back: Action::LookAt(MapCommand::Back), "Super+Comma";
    /// along memory, to higher addresses
    pan_forward: Action::LookAt(MapCommand::Forward), "Super+Period";
    /// stay where the most is written, or no more
    follow_hottest: Action::LookAt(MapCommand::FollowHottest), "Super+W";
    /// hold the picture still, or let it go on
    freeze: Action::Freeze, "Super+Space";
    /// picture of the screen
    screenshot: Action::Screenshot, "Super+S";
    /// terminal
    terminal: Action::Terminal, "Super+Return";
    /// watch another process
    picker: Action::Picker, "Super+T";
    /// list of hotkeys
    help: Action::Help, "Super+H";
    /// next window
    focus_next: Action::Window(WindowCommand::FocusNext), "Super+Tab";
    /// previous window
    focus_previous: Action::Window(WindowCommand::FocusPrevious), "Super+Shift+Tab";
    /// window or output at the left
    focus_left: Action::Window(WindowCommand::Focus(Direction::Left)), "Super+Left";
    /// window or output at the right
    focus_right: Action::Window(WindowCommand::Focus(Direction::Right)), "Super+Right";
    /// window or output above
    focus_up: Action::Window(WindowCommand::Focus(Direction::Up)), "Super+Up";
    /// window or output below
    focus_down: Action::Window(WindowCommand::Focus(Direction::Down)), "Super+Down";
    /// window to the output at the left
    move_left: Action::Window(WindowCommand::MoveTo(Direction::Left)), "Super+Shift+Left";
    /// window to the output at the right
    move_right: Action::Window(WindowCommand::MoveTo(Direction::Right)), "Super+Shift+Right";
    /// window to the output above
    move_up: Action::Window(WindowCommand::MoveTo(Direction::Up)), "Super+Shift+Up";
    /// window to the output below
    move_down: Action::Window(WindowCommand::MoveTo(Direction::Down)), "Super+Shift+Down";
    /// change places with the master window
    swap_master: Action::Window(WindowCommand::SwapMaster), "Super+Shift+Return";
    /// larger master window
    grow_master: Action::Window(WindowCommand::Grow), "Super+Ctrl+Right";
    /// smaller master window
    shrink_master: Action::Window(WindowCommand::Shrink), "Super+Ctrl+Left";
    /// fullscreen
    fullscreen: Action::Window(WindowCommand::Fullscreen), "Super+F";
    /// let the window float, or tile it
    float: Action::Window(WindowCommand::Float), "Super+V";
    /// close the window
    close: Action::Window(WindowCommand::Close), "Super+Q";
    /// next keyboard layout
    keyboard_layout: Action::NextKeyboardLayout, "Super+Shift+Space";
    /// hotkeys to the program that wants them, or back
    hand_over: Action::HandOver, "Super+Escape";
    /// end the session
    quit: Action::Quit, "Super+Shift+E";
}

impl Hotkeys {
    /// No key does anything, except that this one ends the session.
    pub(crate) fn only_quit(quit: Chord) -> Self {
        Self { quit, ..Self::none() }
    }

    /// As it stands in a file: no two actions may have the same keys.
    pub(crate) fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hotkeys = Self::deserialize(deserializer)?;
        let all = hotkeys.all();
        for (at, Bound { chord, .. }) in all.iter().enumerate() {
            if chord.0.is_some() && all[..at].iter().any(|earlier| earlier.chord == *chord) {
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

/// Small letters for capital ones, one Return and one Tab.
fn plain_key(key: u32) -> u32 {
    match key {
        keysyms::KEY_A..=keysyms::KEY_Z => key + (keysyms::KEY_a - keysyms::KEY_A),
        keysyms::KEY_KP_Enter => keysyms::KEY_Return,
        // Shift makes another symbol of it.
        keysyms::KEY_ISO_Left_Tab => keysyms::KEY_Tab,
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
    hotkeys.all().into_iter().find(|bound| bound.chord.0 == Some(held)).map(|bound| bound.action)
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
        assert_eq!(press(logo, KEY_0, KEY_0), Some(Action::LookAt(MapCommand::Whole)));
        assert_eq!(press(logo, KEY_w, KEY_w), Some(Action::LookAt(MapCommand::FollowHottest)));
        assert_eq!(press(logo, KEY_period, KEY_period), Some(Action::LookAt(MapCommand::Forward)));
        let window = |command| Some(Action::Window(command));
        assert_eq!(press(logo, KEY_Tab, KEY_Tab), window(WindowCommand::FocusNext));
        let shifted = held(true, true, false, false);
        assert_eq!(press(shifted, KEY_ISO_Left_Tab, KEY_Tab), window(WindowCommand::FocusPrevious));
        assert_eq!(press(shifted, KEY_Left, KEY_Left), window(WindowCommand::MoveTo(Direction::Left)));
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

    #[test]
    fn every_hotkey_has_keys_of_its_own_and_words() {
        let all = Hotkeys::default().all();
        for (at, bound) in all.iter().enumerate() {
            assert!(bound.chord != Chord(None) && !bound.words.is_empty(), "{bound:?}");
            assert!(all[..at].iter().all(|other| other.chord != bound.chord), "{bound:?}");
        }
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
