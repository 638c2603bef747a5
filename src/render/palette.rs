//! Colours for 0..1.
//!
//! Viridis and inferno are by Nathaniel J. Smith and Stéfan van der Walt, made for matplotlib 1.5 and dedicated to the
//! public domain (CC0): equal steps of the value look like equal steps, in grey too
//! (<https://bids.github.io/colormap/>, <https://matplotlib.org/stable/users/explain/colors/colormaps.html>). Cividis is
//! by Jamie Nuñez, Christopher Anderton and Ryan Renslow (PLoS ONE 13(7): e0199239, 2018), made to look the same to eyes
//! with and without red-green blindness.

use std::sync::LazyLock;

use super::palette_tables::{CIVIDIS, INFERNO, VIRIDIS};

/// A perceptually uniform palette of 256 sRGB colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ColorPalette {
    /// Violet over green to yellow; safe for colour-blind eyes.
    #[default]
    Viridis,
    /// Black over red to pale yellow.
    Inferno,
    /// Blue over grey to yellow; the same to colour-blind eyes.
    Cividis,
    /// Black to white, and nothing else: the most contrast that a screen has.
    Contrast,
}

/// Black to white in equal steps of lightness (CIELAB L*).
static CONTRAST: LazyLock<[u32; 256]> = LazyLock::new(|| {
    std::array::from_fn(|step| {
        let lightness = step as f64 / 255.0 * 100.0;
        let linear = if lightness > 8.0 { ((lightness + 16.0) / 116.0).powi(3) } else { lightness / 903.3 };
        let grey =
            if linear <= 0.003_130_8 { 12.92 * linear } else { 1.055 * linear.powf(1.0 / 2.4) - 0.055 };
        0x01_0101 * (grey * 255.0).round() as u32
    })
});

impl ColorPalette {
    /// Every palette.
    pub const ALL: [Self; 4] = [Self::Viridis, Self::Inferno, Self::Cividis, Self::Contrast];

    /// The 256 colours as `0xRRGGBB`, from 0 to 1. A value v has colour ⌊256·v⌋, and 1 the last.
    pub fn colors(self) -> &'static [u32; 256] {
        match self {
            ColorPalette::Viridis => &VIRIDIS,
            ColorPalette::Inferno => &INFERNO,
            ColorPalette::Cividis => &CIVIDIS,
            ColorPalette::Contrast => &CONTRAST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L* of CIELAB for an sRGB colour.
    fn lightness(color: u32) -> f64 {
        let linear = |shift: u32| {
            let v = f64::from((color >> shift) & 0xff) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        };
        let y = 0.2126 * linear(16) + 0.7152 * linear(8) + 0.0722 * linear(0);
        if y > 0.008_856 { 116.0 * y.cbrt() - 16.0 } else { 903.3 * y }
    }

    #[test]
    fn the_published_corner_colours() {
        let ends = |palette: ColorPalette| [0, 127, 128, 255].map(|i| format!("{:06x}", palette.colors()[i]));
        assert_eq!(ends(ColorPalette::Viridis), ["440154", "21908d", "21918c", "fde725"]);
        assert_eq!(ends(ColorPalette::Inferno), ["000004", "ba3655", "bc3754", "fcffa4"]);
        assert_eq!(ends(ColorPalette::Cividis), ["00224e", "7c7b78", "7d7c78", "fee838"]);
        assert_eq!(ends(ColorPalette::Contrast), ["000000", "767676", "777777", "ffffff"]);
    }

    #[test]
    fn more_is_always_lighter_and_in_even_steps() {
        for palette in ColorPalette::ALL {
            let steps: Vec<f64> =
                palette.colors().windows(2).map(|pair| lightness(pair[1]) - lightness(pair[0])).collect();
            let mean = steps.iter().sum::<f64>() / 255.0;
            // They are even in CAM02-UCS; L* agrees with that within a factor of two. Over 16 steps the rounding to 8 bits
            // is small.
            for run in steps.chunks_exact(16) {
                let here = run.iter().sum::<f64>() / 16.0;
                assert!(here > 0.5 * mean && here < 2.0 * mean, "{palette:?}: {here} against {mean}");
            }
        }
    }
}
