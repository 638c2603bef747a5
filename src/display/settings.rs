//! What a person can set about the display while it runs: plain data, as it stands in the configuration file.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::hotkey::Hotkeys;
use super::{MasterSide, Placement};

mod input;

pub use input::{
    AccelProfile, ClickMethod, CursorSettings, Keyboard, Mouse, ScrollMethod, Tablet, TapButtons, TouchRule,
    Touchpad,
};

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
    /// Rules for touch screens; the first that fits holds.
    pub touch: Vec<TouchRule>,
    /// Drawing tablets.
    pub tablet: Tablet,
    /// The pointer's image.
    pub cursor: CursorSettings,
    /// How windows are laid out.
    pub layout: LayoutSettings,
    /// Rules for outputs; the first that fits holds.
    pub outputs: Vec<OutputRule>,
}

/// How windows are laid out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LayoutSettings {
    /// Pixels between two windows.
    #[serde(deserialize_with = "within::<0, 500, _>")]
    pub gaps: u32,
    /// The master window's share, 0.1..0.9.
    #[serde(deserialize_with = "ratio")]
    pub master_ratio: f64,
    /// Where the master window is.
    pub master_side: MasterSide,
    /// The window under the pointer gets the keyboard without a click.
    pub focus_follows_pointer: bool,
}

impl Default for LayoutSettings {
    fn default() -> Self {
        Self { gaps: 0, master_ratio: 0.5, master_side: MasterSide::Auto, focus_follows_pointer: false }
    }
}

fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let ratio = f64::deserialize(deserializer)?;
    if (0.1..=0.9).contains(&ratio) {
        Ok(ratio)
    } else {
        Err(serde::de::Error::custom(format!("{ratio} is out of bounds: from 0.1 to 0.9 is allowed")))
    }
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

impl OutputIdentity {
    /// Whether this is "make model serial" of it, as `memory-glass msg outputs` lists them.
    pub(crate) fn describes(&self, name: &str) -> bool {
        let words = [&self.make, &self.model, &self.serial];
        let own: Vec<&str> = words.iter().flat_map(|part| part.split_whitespace()).collect();
        let given: Vec<&str> = name.split_whitespace().collect();
        !own.is_empty() && own.join(" ").eq_ignore_ascii_case(&given.join(" "))
    }
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

    /// What holds for a touch screen of this name.
    pub(crate) fn touch_rule(&self, device: &str) -> Option<&TouchRule> {
        self.touch.iter().find(|rule| rule.fits(device))
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
