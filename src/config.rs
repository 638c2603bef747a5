//! The configuration file as plain typed data. `session/config.toml` says what each option means.
//!
//! Read by [`crate::cli`], whose options win over it, and applied by [`crate::system::session`], again
//! whenever the file changes.

mod file;
mod security;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

pub use crate::capture::SecurityConfig;
use crate::capture::{MonitorConfig, Rung};
use crate::display::hotkey::Hotkeys;
use crate::display::settings::{
    CursorSettings, Keyboard, KioskProgram, KioskSettings, LayoutSettings, Mouse, OutputRule, PowerSettings,
    Settings, SpanRule, Tablet, TouchRule, Touchpad, expand_home, opacity, within,
};
use crate::ipc::{Look, Mode, Palette, Placement, Scale};
use crate::map::{HilbertConfig, InvalidOrder, MAX_ORDER, MIN_ORDER};

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The process to watch at the start: its number, or a name that one process has.
    pub target: Option<String>,
    /// What the map shows.
    pub mode: Mode,
    /// Where the map lies.
    pub placement: Placement,
    /// How much of a map that lies over the programs is to be seen, 0.1 to 1; all when left out.
    #[serde(deserialize_with = "opacity")]
    pub opacity: Option<f64>,
    /// The colours of the map.
    pub palette: Palette,
    /// How values become colours.
    pub scale: Scale,
    /// What is bright spreads.
    pub glow: bool,
    /// Cells go from one window to the next instead of jumping.
    pub animation: bool,
    /// Nothing moves by itself, whatever `animation` says.
    pub reduced_motion: bool,
    /// Mappings are outlined on the map, and named where there is room.
    pub outlines: bool,
    /// The order of the Hilbert curve; automatic when left out.
    #[serde(deserialize_with = "order")]
    pub order: Option<u32>,
    /// How writes are followed; the best way that the kernel has, when left out.
    pub rung: Option<Rung>,
    /// How much slower the target may become, percent of its own time; without a meaning where `exact` is set.
    #[serde(deserialize_with = "within::<1, 1000, _>")]
    pub slowdown_budget: u32,
    /// Whether every page is seen in every window, whatever it costs the target: then there is no budget.
    pub exact: bool,
    /// Whether the processes that a target forks are watched, too.
    pub follow_forks: bool,
    /// Whether programs that can make a userfaultfd of their own are watched until they are seen to have one.
    pub watch_own_userfaultfd: bool,
    /// Length of a capture window, milliseconds; a sixtieth of a second when left out, or a tenth where every page is seen.
    #[serde(deserialize_with = "window")]
    pub window_ms: Option<u32>,
    /// Time in which a cell that is written no more fades to a half, milliseconds.
    #[serde(deserialize_with = "within::<10, 600000, _>")]
    pub half_life_ms: u32,
    /// What the terminal's hotkey starts: the program and its arguments.
    pub terminal: Vec<String>,
    /// Where screenshots go that are asked for without a file name.
    pub screenshot_directory: Option<PathBuf>,
    /// Keys of the session itself.
    #[serde(deserialize_with = "Hotkeys::distinct")]
    pub hotkeys: Hotkeys,
    /// Whether X11 programs are served, where Xwayland is installed.
    pub xwayland: bool,
    /// The keyboard.
    pub keyboard: Keyboard,
    /// Touchpads.
    pub touchpad: Touchpad,
    /// Mice.
    pub mouse: Mouse,
    /// Rules for touch screens.
    pub touch: Vec<TouchRule>,
    /// Drawing tablets.
    pub tablet: Tablet,
    /// The pointer's image.
    pub cursor: CursorSettings,
    /// How windows are laid out.
    pub layout: LayoutSettings,
    /// When displays are switched off.
    pub power: PowerSettings,
    /// How careful the session is; read when it starts.
    pub security: SecurityConfig,
    /// What holds in a kiosk.
    pub kiosk: KioskSettings,
    /// Rules for outputs.
    pub output: Vec<OutputRule>,
    /// Outputs that share a map.
    pub span: Vec<SpanRule>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            target: None,
            mode: Mode::default(),
            placement: Placement::default(),
            opacity: None,
            palette: Palette::default(),
            scale: Scale::default(),
            glow: false,
            animation: true,
            reduced_motion: false,
            outlines: true,
            order: None,
            rung: None,
            slowdown_budget: 5,
            exact: false,
            follow_forks: false,
            watch_own_userfaultfd: false,
            window_ms: None,
            half_life_ms: 250,
            terminal: Vec::new(),
            screenshot_directory: None,
            hotkeys: Hotkeys::default(),
            xwayland: true,
            keyboard: Keyboard::default(),
            touchpad: Touchpad::default(),
            mouse: Mouse::default(),
            touch: Vec::new(),
            tablet: Tablet::default(),
            cursor: CursorSettings::default(),
            layout: LayoutSettings::default(),
            power: PowerSettings::default(),
            security: SecurityConfig::default(),
            kiosk: KioskSettings::default(),
            output: Vec::new(),
            span: Vec::new(),
        }
    }
}

fn order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within::<MIN_ORDER, MAX_ORDER, _>(deserializer).map(Some)
}

fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    within::<10, 60000, _>(deserializer).map(Some)
}

/// What was said on the command line: it wins over the file, also when that is read again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The process to watch at the start.
    pub target: Option<String>,
    /// Where the map lies.
    pub placement: Option<Placement>,
    /// The colours of the map.
    pub palette: Option<Palette>,
    /// The order of the Hilbert curve.
    pub order: Option<u32>,
    /// This is a kiosk, whatever the file says.
    pub kiosk: bool,
    /// The program of every output that has none in the file.
    pub kiosk_program: Vec<String>,
    /// How writes are followed.
    pub rung: Option<Rung>,
    /// How much slower the target may become, percent.
    pub slowdown_budget: Option<u32>,
    /// Every page is seen in every window, whatever the file says.
    pub exact: bool,
    /// Length of a capture window, milliseconds.
    pub window_ms: Option<u32>,
    /// The processes that a target forks are watched, too, whatever the file says.
    pub follow_forks: bool,
    /// Programs that can make a userfaultfd of their own are watched, too, whatever the file says.
    pub watch_own_userfaultfd: bool,
}

/// Where in a file something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// Line and column, from 1, where it is known.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    fn of_toml(error: &toml::de::Error, text: &str, path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            place: error.span().map(|span| place(text, span.start)),
            reason: with_suggestion(error.message()),
        }
    }
}

/// Where nothing may be done without knowing what the file says under `[security]`.
impl From<ConfigError> for crate::GlassRamError {
    fn from(error: ConfigError) -> Self {
        let feature = format!(
            "{error}; nothing is done while what it says under [security] is not known: correct it, or name another \
             file with --config"
        );
        Self::FeatureNotSupported { feature }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl Config {
    /// Reads what a file holds; `path` is for the error only.
    pub fn parse_bytes(bytes: &[u8], path: &Path) -> Result<Self, ConfigError> {
        Self::parse(file::utf8(bytes, path)?, path)
    }

    /// Reads the text of a file; `path` is for the error only.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let config = toml::from_str(text).map_err(|error| ConfigError::of_toml(&error, text, path))?;
        // Texts become names for libraries in C, and none of these can have one.
        let nul =
            toml::de::DeTable::parse(text).ok().and_then(|table| table.get_ref().values().find_map(nul_in));
        match nul {
            Some(at) => Err(ConfigError {
                path: path.to_owned(),
                place: Some(place(text, at)),
                reason: "a text holds \\u0000, which ends a name: leave it out".into(),
            }),
            None => Ok(config),
        }
    }

    /// The file's own options with those of the command line over them.
    pub fn overridden(mut self, by: &Overrides) -> Self {
        self.target = by.target.clone().or(self.target);
        self.placement = by.placement.unwrap_or(self.placement);
        self.palette = by.palette.unwrap_or(self.palette);
        self.order = by.order.or(self.order);
        self.kiosk.enabled |= by.kiosk;
        if !by.kiosk_program.is_empty() {
            let command = by.kiosk_program.clone();
            self.kiosk.program.push(KioskProgram { command, ..KioskProgram::default() });
        }
        self.rung = by.rung.or(self.rung);
        self.slowdown_budget = by.slowdown_budget.unwrap_or(self.slowdown_budget);
        self.exact = by.exact || self.exact && by.slowdown_budget.is_none();
        self.window_ms = by.window_ms.or(self.window_ms);
        self.follow_forks |= by.follow_forks;
        self.watch_own_userfaultfd |= by.watch_own_userfaultfd;
        self
    }

    /// `$XDG_CONFIG_HOME/memory-glass/config.toml`, or that in `~/.config`.
    pub fn usual_path() -> Option<PathBuf> {
        let absolute = |path: PathBuf| path.is_absolute().then_some(path);
        let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).and_then(absolute);
        let base = base.or_else(|| Some(std::env::home_dir()?.join(".config")))?;
        Some(base.join("memory-glass/config.toml"))
    }

    /// The orders that the map may take.
    pub fn hilbert(&self) -> Result<HilbertConfig, InvalidOrder> {
        self.order.map_or_else(|| Ok(HilbertConfig::default()), HilbertConfig::fixed)
    }

    /// How much slower the target may become, as a share of its time; `None` where every page is to be seen.
    pub fn slowdown_budget(&self) -> Option<f64> {
        (!self.exact).then(|| f64::from(self.slowdown_budget) / 100.0)
    }

    /// Length of a capture window.
    pub fn window(&self) -> Duration {
        let usual = if self.exact { MonitorConfig::exact() } else { MonitorConfig::default() };
        self.window_ms.map_or(usual.window, |length| Duration::from_millis(length.into()))
    }

    /// How the picture is drawn.
    pub fn look(&self) -> Look {
        Look { glow: self.glow, animation: self.animation && !self.reduced_motion, scale: self.scale }
    }

    /// What the display is told.
    pub fn display_settings(&self) -> Settings {
        Settings {
            terminal: self.terminal.clone(),
            hotkeys: self.hotkeys.clone(),
            keyboard: self.keyboard.clone(),
            touchpad: self.touchpad.clone(),
            mouse: self.mouse.clone(),
            touch: self.touch.clone(),
            tablet: self.tablet.clone(),
            cursor: self.cursor.clone(),
            layout: self.layout.clone(),
            kiosk: self.kiosk.clone(),
            outputs: self.output.clone(),
            spans: self.span.clone(),
            opacity: self.opacity,
            power: self.power.clone(),
        }
    }

    /// Where a screenshot without a name goes: as configured, else `$XDG_PICTURES_DIR`, `~/Pictures` or the
    /// current directory.
    pub fn screenshot_directory(&self) -> PathBuf {
        let configured = self.screenshot_directory.as_deref().map(expand_home);
        let named = || std::env::var_os("XDG_PICTURES_DIR").map(PathBuf::from);
        let usual = || std::env::home_dir().map(|home| home.join("Pictures"));
        configured
            .or_else(|| named().filter(|path| path.is_dir()))
            .or_else(|| usual().filter(|path| path.is_dir()))
            .unwrap_or_else(|| PathBuf::from("."))
    }
}

/// Where the first text with a NUL in it begins.
fn nul_in(value: &toml::Spanned<toml::de::DeValue<'_>>) -> Option<usize> {
    match value.get_ref() {
        toml::de::DeValue::String(text) => text.contains('\0').then(|| value.span().start),
        toml::de::DeValue::Array(values) => values.iter().find_map(nul_in),
        toml::de::DeValue::Table(values) => values.values().find_map(nul_in),
        _ => None,
    }
}

/// Line and column of a byte, both from 1, the column in characters.
fn place(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

/// "unknown field `plaette`, expected one of `target`, `palette`" is a long list to search: the nearest is
/// named first.
fn with_suggestion(message: &str) -> String {
    let message = message.trim().replace('\n', " ");
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let [unknown, known @ ..] = words.as_slice() else { return message };
    if !message.starts_with("unknown ") {
        return message;
    }
    let nearest = known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(unknown, word), word))
        .min()
        .filter(|(distance, _)| *distance <= unknown.chars().count() / 2);
    match nearest {
        Some((_, word)) => {
            let what = message.split('`').next().unwrap_or_default().trim();
            format!("{what} `{unknown}`: did you mean `{word}`?")
        }
        None => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, Path::new("c.toml")).expect_err(text).to_string()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(Config::parse("", Path::new("c.toml")), Ok(Config::default()));
    }

    #[test]
    fn errors_name_line_and_column_and_what_was_meant() {
        assert_eq!(
            error("placement = \"over\"\nplaette = \"viridis\"\n"),
            "c.toml:2:1: unknown field `plaette`: did you mean `palette`?"
        );
        assert_eq!(
            error("palette = \"virids\""),
            "c.toml:1:11: unknown variant `virids`: did you mean `viridis`?"
        );
        assert_eq!(
            error("# é\n\nwindow-ms = 5"),
            "c.toml:3:13: 5 is out of bounds: from 10 to 60000 is allowed"
        );
        assert_eq!(
            error("[mouse]\naccel-speed = 2.0"),
            "c.toml:2:15: 2 is out of bounds: from -1.0 to 1.0 is allowed"
        );
        assert!(
            error("[hotkeys]\nquit = \"Super+Nonsense\"").starts_with("c.toml:2:8: \"Nonsense\" is no key")
        );
        assert!(error("[hotkeys]\nquit = \"Super+O\"").contains("Super+O is there twice"));
        assert!(error("[[output]]\nconector = \"DP-1\"").contains("did you mean `connector`?"));
        let nul = "c.toml:3:11: a text holds \\u0000, which ends a name: leave it out";
        assert_eq!(error("# é\n[keyboard]\n layout = \"us\\u0000de\""), nul);
        assert!(error("terminal = [\"foot\", \"a\\u0000\"]").starts_with("c.toml:1:21: "));
        assert!(error("[[output]]\nconnector = \"D\\u0000\"").starts_with("c.toml:2:13: "));
        let bytes = Config::parse_bytes(b"palette = \"inferno\"\n# \xff", Path::new("c.toml"));
        let said = bytes.expect_err("not UTF-8").to_string();
        assert_eq!(said, "c.toml:2:3: this is not UTF-8: save the file as that");
        let broken = error("placement = \"over\"\npalette =\n");
        assert!(broken.starts_with("c.toml:2:") && !broken.contains('\n'), "{broken}");
    }

    #[test]
    fn the_command_line_wins() {
        let file = Config::parse("target = \"redis\"\npalette = \"viridis\"\norder = 7", Path::new("c.toml"));
        let by = Overrides { target: Some("12".into()), order: Some(9), ..Overrides::default() };
        let config = file.expect("it is right").overridden(&by);
        assert_eq!(
            (config.target.as_deref(), config.palette, config.order),
            (Some("12"), Palette::Viridis, Some(9))
        );
    }

    #[test]
    fn sixty_looks_a_second_within_five_percent_unless_everything_is_asked_for() {
        let parse = |text: &str| Config::parse(text, Path::new("c.toml")).expect(text);
        let watched = |config: &Config| (config.window().as_micros(), config.slowdown_budget());
        assert_eq!(watched(&Config::default()), (16_666, Some(0.05)));
        assert_eq!(watched(&parse("exact = true\nslowdown-budget = 7")), (100_000, None));
        assert_eq!(watched(&parse("exact = true\nwindow-ms = 20")), (20_000, None));
        // What is said on the command line is meant, whatever the file asks for.
        let budget = Overrides { slowdown_budget: Some(2), ..Overrides::default() };
        assert_eq!(watched(&parse("exact = true").overridden(&budget)), (16_666, Some(0.02)));
        let exact = Overrides { exact: true, ..Overrides::default() };
        assert_eq!(watched(&parse("slowdown-budget = 2").overridden(&exact)), (100_000, None));
    }

    #[test]
    fn cells_move_unless_motion_is_to_be_reduced() {
        let parse = |text: &str| Config::parse(text, Path::new("c.toml")).expect(text);
        assert!(Config::default().look().animation);
        assert!(!parse("reduced-motion = true").look().animation);
    }
}
