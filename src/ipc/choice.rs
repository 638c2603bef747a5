//! What a person chooses about the map.

use serde::{Deserialize, Serialize};

/// What the map shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// How much of each cell is written
    #[default]
    Heatmap,
    /// Which thread writes where, and how fast it moves
    Kinetic,
    /// How the pattern of writes differs from before its last change
    Phase,
    /// How writes spread to pages untouched before
    Avalanche,
    /// Where on the line of pages was written when
    TimeSeries,
    /// The map over time, as a body
    Volume,
}

/// How a value becomes a step of the palette.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// Equal steps of the value
    #[default]
    Linear,
    /// Equal factors of the value, from 1/256 to 1
    Logarithmic,
}

/// How the picture is drawn, whatever it shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// What is bright spreads.
    pub glow: bool,
    /// Cells go from one window to the next instead of jumping.
    pub animation: bool,
    /// How values become colours.
    pub scale: Scale,
}

/// Where the map lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// A part of the output is the map's, the rest is the clients'
    #[default]
    Beside,
    /// Over the clients' lower right
    Over,
    /// The map alone
    Full,
    /// No map
    Off,
}

/// The colours of the map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Palette {
    /// Violet over green to yellow; safe for colour-blind eyes
    Viridis,
    /// Black over red to pale yellow
    #[default]
    Inferno,
    /// Blue over grey to yellow; the same to colour-blind eyes
    Cividis,
    /// Black to white: the most contrast that a screen has
    Contrast,
}
