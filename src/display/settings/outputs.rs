//! What a person can set about outputs: which one is meant, its mode and place, and what its map shows. Plain data.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::display::Placement;
use crate::render::GlassRamVisualizationMode;

/// What holds for some outputs. One that names nothing fits every output.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
    /// Whether it is used at all.
    pub enabled: Option<bool>,
    /// Its resolution and rate, when it is not the one that the display prefers.
    pub mode: Option<ModeChoice>,
    /// Where its upper left corner is among the outputs, in logical pixels; right of the others when left out.
    pub position: Option<[i32; 2]>,
    /// Pixels of the display for one of a client, 0.5 to 8.
    #[serde(deserialize_with = "scale")]
    pub scale: Option<f64>,
    /// How the display is turned.
    pub transform: Option<Turn>,
    /// It shows what the output of this name shows.
    pub mirror: Option<String>,
    /// Whether the map is shown on it.
    pub map: Option<bool>,
    /// Where the map lies on it, when that is not the same as everywhere.
    pub placement: Option<Placement>,
    /// How much of the map is to be seen where it lies over the clients, 0.1 to 1.
    #[serde(deserialize_with = "opacity")]
    pub opacity: Option<f64>,
    /// The process that its map watches, when that is another one: its number, or a name that one process has.
    pub target: Option<String>,
    /// What its map shows, when that is not the same as everywhere.
    pub map_mode: Option<GlassRamVisualizationMode>,
}

/// Outputs that share one large map, each of which shows its part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SpanRule {
    /// Its name, for `--output`.
    pub name: String,
    /// Its outputs: connectors, or "make model serial".
    pub outputs: Vec<String>,
    /// The process that its map watches, when that is another one.
    pub target: Option<String>,
    /// What its map shows, when that is not the same as everywhere.
    pub map_mode: Option<GlassRamVisualizationMode>,
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
    /// Whether connector, make, model and serial number are these, as far as they are given.
    pub(crate) fn has(&self, wanted: [&Option<String>; 4]) -> bool {
        let own = [&self.connector, &self.make, &self.model, &self.serial];
        own.into_iter()
            .zip(wanted)
            .all(|(own, wanted)| wanted.as_ref().is_none_or(|wanted| wanted.eq_ignore_ascii_case(own)))
    }

    /// Whether a person means this output by this name: its connector, or make, model and serial number with blanks between.
    pub fn is_called(&self, name: &str) -> bool {
        let Self { connector, make, model, serial } = self;
        let own = [make, model, serial];
        let own: Vec<&str> = own.iter().flat_map(|part| part.split_whitespace()).collect();
        let given: Vec<&str> = name.split_whitespace().collect();
        let described = !own.is_empty() && own.join(" ").eq_ignore_ascii_case(&given.join(" "));
        described || name.eq_ignore_ascii_case(connector)
    }

    /// The same for one display wherever it is plugged in, as far as it says which one it is; otherwise its connector.
    pub fn key(&self) -> String {
        let Self { connector, make, model, serial } = self;
        if serial.is_empty() { connector.clone() } else { format!("{make} {model} {serial}") }
    }
}

impl OutputRule {
    /// Whether this rule is about that output.
    pub fn fits(&self, output: &OutputIdentity) -> bool {
        output.has([&self.connector, &self.make, &self.model, &self.serial])
    }

    /// Where the map lies, when `everywhere` holds for outputs without a rule.
    pub fn placement(&self, everywhere: Placement) -> Placement {
        match (self.map, everywhere) {
            // Off is what a person asks for who wants it nowhere.
            (Some(false), _) | (_, Placement::Off) => Placement::Off,
            _ => self.placement.unwrap_or(everywhere),
        }
    }
}

/// How a display is turned, counter-clockwise, as in the Wayland protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// As it is.
    #[default]
    #[serde(rename = "normal")]
    Normal,
    /// A quarter.
    #[serde(rename = "90")]
    Quarter,
    /// A half.
    #[serde(rename = "180")]
    Half,
    /// Three quarters.
    #[serde(rename = "270")]
    ThreeQuarters,
    /// Left and right change places.
    #[serde(rename = "flipped")]
    Flipped,
    /// Then a quarter.
    #[serde(rename = "flipped-90")]
    FlippedQuarter,
    /// Then a half.
    #[serde(rename = "flipped-180")]
    FlippedHalf,
    /// Then three quarters.
    #[serde(rename = "flipped-270")]
    FlippedThreeQuarters,
}

/// A mode that a person asks for: one of the display's own, or one with every timing written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum ModeChoice {
    /// "1920x1080" or "1920x1080@59.94": the nearest of the display's own modes.
    Listed {
        /// Pixels across.
        width: u16,
        /// Pixels down.
        height: u16,
        /// Frames in a thousand seconds; the most that there are when left out.
        refresh_mhz: Option<u32>,
    },
    /// As xorg.conf(5) writes it.
    Custom(Modeline),
}

/// All timings of a mode, in pixels and lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modeline {
    /// The pixel clock, kHz.
    pub clock_khz: u32,
    /// Visible, start of the sync pulse, its end, and all of it.
    pub horizontal: [u16; 4],
    /// The same down.
    pub vertical: [u16; 4],
    /// The horizontal sync pulse is positive.
    pub positive_hsync: bool,
    /// The vertical one is.
    pub positive_vsync: bool,
}

impl Modeline {
    /// Frames in a thousand seconds.
    pub fn refresh_mhz(&self) -> u32 {
        let pixels = (u64::from(self.horizontal[3]) * u64::from(self.vertical[3])).max(1);
        u32::try_from((u64::from(self.clock_khz) * 1_000_000 + pixels / 2) / pixels).unwrap_or(u32::MAX)
    }
}

const MODE_HELP: &str = "a mode is WIDTHxHEIGHT, WIDTHxHEIGHT@HZ, or a modeline such as \
    \"173.00 1920 2048 2248 2576 1080 1083 1088 1120 -hsync +vsync\"";

impl TryFrom<String> for ModeChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is no mode: {MODE_HELP}");
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        if let [word] = words[..] {
            let (size, rate) = word.split_once('@').map_or((word, None), |(size, rate)| (size, Some(rate)));
            let (width, height) = size.split_once('x').ok_or_else(wrong)?;
            let refresh_mhz = rate.map(|rate| thousandths(rate).ok_or_else(wrong)).transpose()?;
            let number = |word: &str| word.parse().ok().filter(|number| *number > 0).ok_or_else(wrong);
            return Ok(ModeChoice::Listed { width: number(width)?, height: number(height)?, refresh_mhz });
        }
        let [clock, numbers @ ..] = &words[..] else { return Err(wrong()) };
        let mut line = Modeline {
            clock_khz: thousandths(clock).ok_or_else(wrong)?,
            horizontal: [0; 4],
            vertical: [0; 4],
            positive_hsync: false,
            positive_vsync: false,
        };
        let (timings, flags) = numbers.split_at_checked(8).ok_or_else(wrong)?;
        for (at, word) in timings.iter().enumerate() {
            let number = word.parse().map_err(|_| wrong())?;
            if at < 4 { line.horizontal[at] = number } else { line.vertical[at - 4] = number }
        }
        for flag in flags {
            match flag.to_ascii_lowercase().as_str() {
                "+hsync" => line.positive_hsync = true,
                "-hsync" => line.positive_hsync = false,
                "+vsync" => line.positive_vsync = true,
                "-vsync" => line.positive_vsync = false,
                _ => return Err(wrong()),
            }
        }
        let rises = |[visible, start, end, total]: [u16; 4]| {
            visible > 0 && visible <= start && start < end && end <= total
        };
        if !rises(line.horizontal) || !rises(line.vertical) || line.clock_khz == 0 {
            return Err(format!("\"{text}\" is no mode: its timings do not follow one another; {MODE_HELP}"));
        }
        Ok(ModeChoice::Custom(line))
    }
}

/// "59.94" as 59940.
fn thousandths(text: &str) -> Option<u32> {
    let number: f64 = text.parse().ok()?;
    let thousandths = (number * 1000.0).round();
    (thousandths >= 1.0 && thousandths <= f64::from(u32::MAX)).then_some(thousandths as u32)
}

impl From<ModeChoice> for String {
    fn from(choice: ModeChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for ModeChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModeChoice::Listed { width, height, refresh_mhz: None } => write!(f, "{width}x{height}"),
            ModeChoice::Listed { width, height, refresh_mhz: Some(rate) } => {
                write!(f, "{width}x{height}@{}.{:03}", rate / 1000, rate % 1000)
            }
            ModeChoice::Custom(line) => {
                write!(f, "{}.{:03}", line.clock_khz / 1000, line.clock_khz % 1000)?;
                line.horizontal.iter().chain(&line.vertical).try_for_each(|number| write!(f, " {number}"))?;
                let sign = |positive| if positive { '+' } else { '-' };
                write!(f, " {}hsync {}vsync", sign(line.positive_hsync), sign(line.positive_vsync))
            }
        }
    }
}

fn bounded<'de, D: Deserializer<'de>>(deserializer: D, low: f64, high: f64) -> Result<Option<f64>, D::Error> {
    let number = f64::deserialize(deserializer)?;
    if (low..=high).contains(&number) {
        return Ok(Some(number));
    }
    Err(serde::de::Error::custom(format!("{number} is out of bounds: from {low} to {high} is allowed")))
}

fn scale<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    bounded(deserializer, 0.5, 8.0)
}

/// Of the map, 0.1 to 1.
pub(crate) fn opacity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    bounded(deserializer, 0.1, 1.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mode(text: &str) -> Result<ModeChoice, String> {
        ModeChoice::try_from(text.to_owned())
    }

    #[test]
    fn modes_are_read_as_people_write_them() {
        let listed = |width, height, refresh_mhz| Ok(ModeChoice::Listed { width, height, refresh_mhz });
        assert_eq!(mode("1920x1080"), listed(1920, 1080, None));
        assert_eq!(mode(" 2560x1440@59.951 "), listed(2560, 1440, Some(59_951)));
        let line = "173.00  1920 2048 2248 2576  1080 1083 1088 1120 -hsync +vsync";
        let Ok(ModeChoice::Custom(read)) = mode(line) else { panic!("{:?}", mode(line)) };
        assert_eq!((read.clock_khz, read.refresh_mhz()), (173_000, 59_963));
        assert!(!read.positive_hsync && read.positive_vsync);
        for wrong in
            ["", "1920", "1920x", "0x1080", "1920x1080@", "1920x1080@x", "1920x1080i", "173.00 1920 2048"]
        {
            assert!(mode(wrong).is_err_and(|error| error.contains("is no mode")), "{wrong}");
        }
        assert!(
            mode("173.00 1920 1900 2248 2576 1080 1083 1088 1120").is_err(),
            "the pulse starts in the picture"
        );
    }

    #[test]
    fn a_display_is_told_by_its_serial_number_or_else_by_its_connector() {
        let mut output = OutputIdentity {
            connector: "DP-1".into(),
            make: "DEL".into(),
            model: "U2720Q".into(),
            serial: "7".into(),
        };
        assert!(output.is_called("dp-1") && output.is_called("DEL u2720q 7") && !output.is_called("DEL"));
        assert_eq!(output.key(), "DEL U2720Q 7");
        output.serial.clear();
        assert_eq!(output.key(), "DP-1");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            clock in 1..u32::MAX, steps in prop::array::uniform8(1..4000u16), signs in any::<[bool; 2]>()
        ) {
            let sums = |from: usize| {
                let mut sum = 0;
                std::array::from_fn(|at| { sum += steps[from + at]; sum })
            };
            let line = Modeline {
                clock_khz: clock, horizontal: sums(0), vertical: sums(4),
                positive_hsync: signs[0], positive_vsync: signs[1],
            };
            let choice = ModeChoice::Custom(line);
            prop_assert_eq!(mode(&choice.to_string()), Ok(choice));
            let listed = ModeChoice::Listed { width: steps[0], height: steps[1], refresh_mhz: Some(clock) };
            prop_assert_eq!(mode(&listed.to_string()), Ok(listed));
        }

        #[test]
        fn no_text_is_a_panic(text in ".*") {
            let _ = mode(&text);
        }
    }
}
