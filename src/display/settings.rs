//! What a person can set about the display while it runs: plain data, as it stands in the configuration file.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use smithay::input::keyboard::XkbConfig;

use super::Placement;
use super::hotkey::Hotkeys;

/// Everything that can change while the session runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// What the terminal's hotkey starts; `$TERMINAL` or foot when empty.
    pub terminal: Vec<String>,
    /// Which keys mean what to the compositor itself.
    pub hotkeys: Hotkeys,
    /// The keyboard.
    pub keyboard: Keyboard,
    /// Touchpads.
    pub touchpad: Touchpad,
    /// Mice, and all other pointers without a surface.
    pub mouse: Mouse,
    /// The pointer's image.
    pub cursor: CursorSettings,
    /// Rules for outputs; the first that fits holds.
    pub outputs: Vec<OutputRule>,
}

/// The layout, as xkeyboard-config(7) names it; what is empty is taken from the `XKB_DEFAULT_*` variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keyboard {
    /// Rules, e.g. "evdev".
    pub rules: String,
    /// Model, e.g. "pc105".
    pub model: String,
    /// Layouts, e.g. "us,de".
    pub layout: String,
    /// Variants of the layouts, e.g. ",neo".
    pub variant: String,
    /// Options, e.g. "grp:alt_shift_toggle,caps:escape".
    pub options: String,
    /// How long a key is held until it repeats, milliseconds.
    #[serde(deserialize_with = "within::<50, 10000, _>")]
    pub repeat_delay_ms: u32,
    /// Repetitions a second; none when 0.
    #[serde(deserialize_with = "within::<0, 500, _>")]
    pub repeat_rate: u32,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self {
            rules: String::new(),
            model: String::new(),
            layout: String::new(),
            variant: String::new(),
            options: String::new(),
            repeat_delay_ms: 400,
            repeat_rate: 30,
        }
    }
}

impl Keyboard {
    pub(crate) fn xkb(&self) -> XkbConfig<'_> {
        XkbConfig {
            rules: &self.rules,
            model: &self.model,
            layout: &self.layout,
            variant: &self.variant,
            options: (!self.options.is_empty()).then(|| self.options.clone()),
        }
    }

    /// Milliseconds until a key repeats, and repetitions a second.
    pub(crate) fn repeat(&self) -> (i32, i32) {
        (self.repeat_delay_ms.cast_signed(), self.repeat_rate.cast_signed())
    }
}

/// How the speed of a finger or a hand becomes that of the pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccelProfile {
    /// The faster, the further.
    Adaptive,
    /// Always the same.
    Flat,
}

/// Touchpads. What is `None` is as the device has it by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Touchpad {
    /// A tap is a click.
    pub tap: bool,
    /// A tap and then a movement drag.
    pub tap_and_drag: Option<bool>,
    /// The content follows the fingers.
    pub natural_scroll: Option<bool>,
    /// Nothing moves while the keyboard is used.
    pub disable_while_typing: Option<bool>,
    /// Left and right button change places.
    pub left_handed: Option<bool>,
    /// From -1, slowest, to 1, fastest.
    #[serde(deserialize_with = "speed")]
    pub accel_speed: Option<f64>,
    /// How speed is translated.
    pub accel_profile: Option<AccelProfile>,
}

impl Default for Touchpad {
    fn default() -> Self {
        Self {
            tap: true,
            tap_and_drag: None,
            natural_scroll: None,
            disable_while_typing: None,
            left_handed: None,
            accel_speed: None,
            accel_profile: None,
        }
    }
}

/// Mice. What is `None` is as the device has it by itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mouse {
    /// The content follows the wheel.
    pub natural_scroll: Option<bool>,
    /// Left and right button change places.
    pub left_handed: Option<bool>,
    /// Pressing left and right together is the middle button.
    pub middle_emulation: Option<bool>,
    /// From -1, slowest, to 1, fastest.
    #[serde(deserialize_with = "speed")]
    pub accel_speed: Option<f64>,
    /// How speed is translated.
    pub accel_profile: Option<AccelProfile>,
}

/// The pointer's image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct CursorSettings {
    /// The theme; `$XCURSOR_THEME` when left out.
    pub theme: Option<String>,
    /// Its size in pixels; `$XCURSOR_SIZE` or 24 when left out.
    #[serde(deserialize_with = "cursor_size")]
    pub size: Option<u32>,
    /// It disappears when it was not moved for so long; never when 0.
    #[serde(deserialize_with = "within::<0, 86400000, _>")]
    pub hide_after_ms: u32,
}

/// What holds for some outputs. One that names nothing fits every output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct OutputRule {
    /// The connector's name, e.g. "DP-1".
    pub connector: Option<String>,
    /// Who made the display.
    pub make: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// Whether the map is shown on it.
    pub map: Option<bool>,
    /// Where the map lies on it, when that is not the same as everywhere.
    pub placement: Option<Placement>,
}

/// How a display can be told from others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputIdentity {
    /// The connector's name.
    pub connector: String,
    /// Who made it.
    pub make: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
}

impl OutputRule {
    /// Whether this rule is about that output.
    pub fn fits(&self, output: &OutputIdentity) -> bool {
        let same = |wanted: &Option<String>, is: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(is))
        };
        same(&self.connector, &output.connector)
            && same(&self.make, &output.make)
            && same(&self.model, &output.model)
            && same(&self.serial, &output.serial)
    }
}

impl Settings {
    /// Where the map lies on this output, when `everywhere` holds for those without a rule.
    pub fn placement(&self, output: &OutputIdentity, everywhere: Placement) -> Placement {
        let Some(rule) = self.outputs.iter().find(|rule| rule.fits(output)) else { return everywhere };
        match (rule.map, everywhere) {
            // Off is what a person asks for who wants it nowhere.
            (Some(false), _) | (_, Placement::Off) => Placement::Off,
            _ => rule.placement.unwrap_or(everywhere),
        }
    }

    /// The command that opens a terminal.
    pub fn terminal(&self) -> Vec<String> {
        if !self.terminal.is_empty() {
            return self.terminal.clone();
        }
        let terminal = std::env::var("TERMINAL").ok().filter(|name| !name.trim().is_empty());
        vec![terminal.unwrap_or_else(|| "foot".into())]
    }
}

/// A directory that a person may write with a leading `~`.
pub fn expand_home(path: &std::path::Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

/// A whole number from `LOW` to `HIGH`.
pub(crate) fn within<'de, const LOW: u32, const HIGH: u32, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<u32, D::Error> {
    let number = i64::deserialize(deserializer)?;
    u32::try_from(number).ok().filter(|number| (LOW..=HIGH).contains(number)).ok_or_else(|| {
        serde::de::Error::custom(format!("{number} is out of bounds: from {LOW} to {HIGH} is allowed"))
    })
}

fn cursor_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within::<8, 256, _>(deserializer).map(Some)
}

fn speed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    let speed = f64::deserialize(deserializer)?;
    if (-1.0..=1.0).contains(&speed) {
        Ok(Some(speed))
    } else {
        Err(serde::de::Error::custom(format!("{speed} is out of bounds: from -1.0 to 1.0 is allowed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_holds() {
        let rule = |connector: Option<&str>, make: Option<&str>, map, placement| OutputRule {
            connector: connector.map(str::to_owned),
            make: make.map(str::to_owned),
            map,
            placement,
            ..OutputRule::default()
        };
        let settings = Settings {
            outputs: vec![
                rule(Some("DP-1"), Some("ACME"), Some(false), None),
                rule(Some("dp-1"), None, None, Some(Placement::Full)),
                rule(None, Some("Other"), Some(true), None),
            ],
            ..Settings::default()
        };
        let output = |connector: &str, make: &str| OutputIdentity {
            connector: connector.into(),
            make: make.into(),
            ..OutputIdentity::default()
        };
        let placement =
            |connector, make, everywhere| settings.placement(&output(connector, make), everywhere);
        assert_eq!(placement("DP-1", "Acme", Placement::Over), Placement::Off);
        assert_eq!(placement("DP-1", "Other", Placement::Over), Placement::Full);
        assert_eq!(placement("DP-1", "Other", Placement::Off), Placement::Off);
        assert_eq!(placement("DP-2", "Other", Placement::Over), Placement::Over);
        assert_eq!(placement("DP-3", "", Placement::Beside), Placement::Beside);
    }
}
