//! The default file is the documentation: it says what is, and leaves nothing out.

use std::collections::BTreeSet;
use std::path::Path;

use memory_glass::config::{Config, SecurityConfig};
use memory_glass::display::settings::{
    AccelProfile, ClickMethod, CursorSettings, Keyboard, KioskProgram, KioskSettings, LayoutSettings, Mouse,
    OutputRule, PowerSettings, ScrollMethod, Settings, SpanRule, Tablet, TapButtons, TouchRule, Touchpad,
    Turn,
};
use memory_glass::display::{MasterSide, Placement};
use memory_glass::ipc;
use memory_glass::render::GlassRamVisualizationMode;

const DEFAULT_FILE: &str = include_str!("../session/config.toml");

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("session/config.toml")).unwrap_or_else(|error| panic!("{error}"))
}

/// Lines such as `#order = 8` and `#[[output]]`, without the `#`; what has a blank after it is prose.
fn with_examples() -> String {
    let uncomment = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
            rest.to_owned()
        }
        _ => line.to_owned(),
    };
    DEFAULT_FILE.lines().map(uncomment).collect::<Vec<String>>().join("\n")
}

/// Every option with a value. Whoever adds an option has to name it here: there is no `..` on purpose.
fn everything() -> Config {
    let Settings { hotkeys, .. } = Settings::default();
    Config {
        target: Some("redis-server".into()),
        mode: ipc::Mode::Volume,
        placement: ipc::Placement::Over,
        opacity: Some(0.75),
        palette: ipc::Palette::Viridis,
        scale: ipc::Scale::Logarithmic,
        glow: true,
        outlines: false,
        animation: false,
        reduced_motion: true,
        order: Some(8),
        rung: Some(memory_glass::capture::Rung::WpAsync),
        slowdown_budget: 10,
        exact: true,
        follow_forks: true,
        watch_own_userfaultfd: true,
        window_ms: Some(50),
        half_life_ms: 500,
        terminal: vec!["foot".into()],
        screenshot_directory: Some("/tmp".into()),
        hotkeys,
        xwayland: false,
        keyboard: Keyboard {
            rules: "evdev".into(),
            model: "pc105".into(),
            layout: "de".into(),
            variant: "neo".into(),
            options: "caps:escape".into(),
            repeat_delay_ms: 300,
            repeat_rate: 40,
            num_lock: true,
            caps_lock: true,
        },
        touchpad: Touchpad {
            off: true,
            off_with_mouse: true,
            tap: false,
            tap_buttons: Some(TapButtons::LeftMiddleRight),
            tap_and_drag: Some(true),
            drag_lock: Some(true),
            natural_scroll: Some(true),
            disable_while_typing: Some(false),
            left_handed: Some(true),
            middle_emulation: Some(true),
            click_method: Some(ClickMethod::Clickfinger),
            scroll_method: Some(ScrollMethod::Edge),
            scroll_button: Some(274),
            accel_speed: Some(0.5),
            accel_profile: Some(AccelProfile::Flat),
        },
        mouse: Mouse {
            off: true,
            natural_scroll: Some(true),
            left_handed: Some(false),
            middle_emulation: Some(true),
            scroll_method: Some(ScrollMethod::OnButtonDown),
            scroll_button: Some(273),
            scroll_button_lock: Some(true),
            accel_speed: Some(-0.25),
            accel_profile: Some(AccelProfile::Adaptive),
        },
        touch: vec![TouchRule {
            device: Some("ELAN".into()),
            output: Some("DP-1".into()),
            calibration: Some([-1.0, 0.0, 1.0, 0.0, -1.0, 1.0]),
            off: true,
        }],
        tablet: Tablet {
            output: Some("DP-2".into()),
            left_handed: Some(true),
            calibration: Some([1.0, 0.0, 0.0, 0.0, 1.0, 0.5]),
        },
        cursor: CursorSettings {
            theme: Some("Adwaita".into()),
            size: Some(48),
            hide_after_ms: 3000,
            hide_when_typing: true,
        },
        layout: LayoutSettings {
            gaps: 8,
            master_ratio: 0.6,
            master_side: MasterSide::Right,
            focus_follows_pointer: true,
        },
        kiosk: KioskSettings {
            enabled: true,
            leave: "Ctrl+Alt+BackSpace".to_owned().try_into().expect("keys"),
            vt_switch: true,
            program: vec![KioskProgram {
                connector: Some("DP-1".into()),
                make: Some("ACME".into()),
                model: Some("Wall".into()),
                serial: Some("1".into()),
                command: vec!["foot".into()],
                environment: [("MOZ_ENABLE_WAYLAND".to_owned(), "1".to_owned())].into(),
            }],
        },
        power: PowerSettings {
            idle_off_s: 600,
            off: vec!["22:00-06:30".to_owned().try_into().expect("a period")],
        },
        security: SecurityConfig {
            require_root: false,
            allow_ptrace: false,
            sandboxed: true,
            anonymize_addresses: true,
        },
        output: vec![OutputRule {
            connector: Some("DP-1".into()),
            make: Some("ACME".into()),
            model: Some("Wall".into()),
            serial: Some("1".into()),
            enabled: Some(false),
            mode: Some("1920x1080@60".to_owned().try_into().expect("a mode")),
            position: Some([-1920, 0]),
            scale: Some(1.5),
            transform: Some(Turn::Quarter),
            mirror: Some("DP-2".into()),
            map: Some(false),
            placement: Some(Placement::Full),
            opacity: Some(0.5),
            target: Some("postgres".into()),
            map_mode: Some(GlassRamVisualizationMode::TimeSeries),
        }],
        span: vec![SpanRule {
            name: "wall".into(),
            outputs: vec!["DP-1".into(), "DP-2".into()],
            target: Some("redis-server".into()),
            map_mode: Some(GlassRamVisualizationMode::ThreadKineticEnergy),
        }],
    }
}

/// "keyboard.layout" for every value in there.
fn options(text: &str) -> BTreeSet<String> {
    fn walk(value: &toml::Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    walk(value, &format!("{path}{key}."), found);
                }
            }
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                items.iter().for_each(|item| walk(item, path, found));
            }
            _ => {
                found.insert(path.trim_end_matches('.').to_owned());
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(&toml::Value::Table(toml::from_str(text).expect("TOML")), "", &mut found);
    found
}

#[test]
fn the_default_file_is_the_default() {
    assert_eq!(parse(DEFAULT_FILE), Config::default());
}

#[test]
fn every_option_is_in_the_default_file_and_every_example_in_it_is_right() {
    let examples = with_examples();
    parse(&examples);
    let known = options(&toml::to_string(&everything()).expect("TOML"));
    assert_eq!(options(&examples), known);
}

#[test]
fn what_is_written_is_what_is_read() {
    let text = toml::to_string(&everything()).expect("TOML");
    assert_eq!(parse(&text), everything());
    let text = toml::to_string(&Config::default()).expect("TOML");
    assert_eq!(parse(&text), Config::default());
}
