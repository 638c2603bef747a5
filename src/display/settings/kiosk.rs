//! A kiosk: which program is on which output, and what a person can do about it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::OutputIdentity;
use crate::display::hotkey::{Chord, Hotkeys};

/// What holds in a kiosk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct KioskSettings {
    /// This is one.
    pub enabled: bool,
    /// The only hotkey: it ends the session.
    pub leave: Chord,
    /// Ctrl+Alt+F1 to F12 go to another virtual terminal.
    pub vt_switch: bool,
    /// The outputs' programs; the first that fits an output is its own.
    pub program: Vec<KioskProgram>,
}

impl Default for KioskSettings {
    fn default() -> Self {
        Self { enabled: false, leave: Hotkeys::default().quit, vt_switch: false, program: Vec::new() }
    }
}

/// The program of some outputs. One that names nothing fits every output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct KioskProgram {
    /// The connector's name, e.g. "DP-1".
    pub connector: Option<String>,
    /// Who made the display.
    pub make: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its serial number.
    pub serial: Option<String>,
    /// The program and its arguments.
    #[serde(deserialize_with = "not_empty")]
    pub command: Vec<String>,
    /// What it finds in its environment besides the session's own.
    pub environment: BTreeMap<String, String>,
}

impl KioskProgram {
    /// Whether it is for that output.
    pub(crate) fn fits(&self, output: &OutputIdentity) -> bool {
        output.has([&self.connector, &self.make, &self.model, &self.serial])
    }
}

fn not_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let command = Vec::<String>::deserialize(deserializer)?;
    if command.first().is_none_or(|program| program.trim().is_empty()) {
        return Err(serde::de::Error::custom("a command is a program and its arguments, e.g. [\"foot\"]"));
    }
    Ok(command)
}
