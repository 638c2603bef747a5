//! What a person can set about the display while it runs: plain data, as it stands in the configuration file.

mod input;
mod kiosk;
mod outputs;

use std::path::PathBuf;

pub(crate) use outputs::opacity;
pub use outputs::{ModeChoice, Modeline, OutputIdentity, OutputRule, SpanRule, Turn};
use serde::{Deserialize, Deserializer, Serialize};

use super::MasterSide;
use super::hotkey::Hotkeys;
pub use super::power::{Period, PowerSettings};

pub use input::{
    AccelProfile, ClickMethod, CursorSettings, Keyboard, Mouse, ScrollMethod, Tablet, TapButtons, TouchRule,
    Touchpad,
};
pub use kiosk::{KioskProgram, KioskSettings};

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
    /// What holds in a kiosk.
    pub kiosk: KioskSettings,
    /// Rules for outputs; the first that fits holds.
    pub outputs: Vec<OutputRule>,
    /// Outputs that share a map.
    pub spans: Vec<SpanRule>,
    /// How much of the map is to be seen where it lies over the clients, 0.1 to 1; all when left out.
    pub opacity: Option<f64>,
    /// When displays are switched off.
    pub power: PowerSettings,
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

impl Settings {
    /// The rule for this output: the first that fits, or one that says nothing.
    pub fn rule(&self, output: &OutputIdentity) -> OutputRule {
        self.outputs.iter().find(|rule| rule.fits(output)).cloned().unwrap_or_default()
    }

    /// The span that this output belongs to.
    pub fn span(&self, output: &OutputIdentity) -> Option<&SpanRule> {
        self.spans.iter().find(|span| span.outputs.iter().any(|name| output.is_called(name)))
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
    use crate::display::Placement;

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
            |connector, make, everywhere| settings.rule(&output(connector, make)).placement(everywhere);
        assert_eq!(placement("DP-1", "Acme", Placement::Over), Placement::Off);
        assert_eq!(placement("DP-1", "Other", Placement::Over), Placement::Full);
        assert_eq!(placement("DP-1", "Other", Placement::Off), Placement::Off);
        assert_eq!(placement("DP-2", "Other", Placement::Over), Placement::Over);
        assert_eq!(placement("DP-3", "", Placement::Beside), Placement::Beside);
    }
}
