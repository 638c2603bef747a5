//! Colours for 0..1.

/// A perceptually uniform palette of 256 sRGB colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ColorPalette {
    /// Blue over green to yellow; safe for colour-blind eyes.
    #[default]
    Viridis,
    /// Black over red to pale yellow.
    Inferno,
}
