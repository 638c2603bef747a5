//! The colours that a terminal has.

use ratatui::style::Color;

/// What a terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorDepth {
    /// Any of 16 million colours.
    True,
    /// xterm's 256: a cube of 6 × 6 × 6, and 24 greys.
    Indexed,
    /// None: values are told apart by how much of a character is ink.
    None,
}

/// Characters with ever more ink; only what is nothing has none.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];

/// How a value from 0 to 1 looks without colours.
pub(super) fn shade(value: f32) -> char {
    if value > 0.0 { SHADES[1 + ((value * 4.0) as usize).min(3)] } else { SHADES[0] }
}

/// The steps of the cube's edges.
const CUBE: [u8; 6] = [0, 95, 135, 175, 215, 255];

impl ColorDepth {
    /// None where the person wants none (`NO_COLOR`, see no-color.org); otherwise as `COLORTERM` says, which
    /// terminals with true colour set.
    pub fn of_environment() -> Self {
        if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
            return Self::None;
        }
        match std::env::var("COLORTERM").as_deref() {
            Ok("truecolor" | "24bit") => Self::True,
            _ => Self::Indexed,
        }
    }

    /// The colour `0xRRGGBB`, or the one next to it that there is.
    pub fn color(self, rgb: u32) -> Color {
        let [_, red, green, blue] = rgb.to_be_bytes();
        match self {
            Self::True => Color::Rgb(red, green, blue),
            Self::Indexed => Color::Indexed(nearest([red, green, blue])),
            Self::None => Color::Reset,
        }
    }
}

/// The index of the nearest of the 240 colours that every terminal has the same of.
fn nearest(wanted: [u8; 3]) -> u8 {
    let edge =
        |value: u8| (0..6u8).min_by_key(|step| CUBE[usize::from(*step)].abs_diff(value)).unwrap_or_default();
    let steps = wanted.map(edge);
    let cube = 16 + 36 * steps[0] + 6 * steps[1] + steps[2];
    let mean = wanted.iter().map(|value| u32::from(*value)).sum::<u32>() / 3;
    let grey_step = (mean.saturating_sub(3) / 10).min(23) as u8;
    let grey = [8 + 10 * grey_step; 3];
    let distance = |color: [u8; 3]| -> u32 {
        color.iter().zip(wanted).map(|(have, want)| u32::from(have.abs_diff(want)).pow(2)).sum()
    };
    if distance(grey) < distance(steps.map(|step| CUBE[usize::from(step)])) { 232 + grey_step } else { cube }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_get_darker_and_only_nothing_has_none() {
        let shades = [0.0, 0.001, 0.3, 0.6, 0.9, 1.0].map(shade);
        assert_eq!(shades, [' ', '░', '▒', '▓', '█', '█']);
    }

    #[test]
    fn the_nearest_of_the_256_is_taken() {
        let indexed = |rgb| ColorDepth::Indexed.color(rgb);
        assert_eq!(indexed(0x000000), Color::Indexed(16));
        assert_eq!(indexed(0xffffff), Color::Indexed(231));
        assert_eq!(indexed(0x5f87af), Color::Indexed(16 + 36 + 12 + 3));
        assert_eq!(indexed(0x767676), Color::Indexed(243));
        assert_eq!(indexed(0x121212), Color::Indexed(233));
        assert_eq!(ColorDepth::True.color(0x123456), Color::Rgb(0x12, 0x34, 0x56));
    }
}
