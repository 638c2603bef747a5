//! All that events are about, and how an event changes it.

use serde::{Deserialize, Serialize};

use super::{AddressRange, Look, Mode, OutputState, Palette, Placement, Telemetry};

/// What has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Everything; always the first event.
    State(Box<State>),
    /// Another process is watched, or none, or the watched one has ended.
    Target(Option<Target>),
    /// The map shows something else.
    Mode(Mode),
    /// The map was moved.
    Placement(Placement),
    /// The map has other colours.
    Palette(Palette),
    /// The picture is drawn in another way.
    Look(Look),
    /// The picture stands still, or goes on.
    Frozen(bool),
    /// The map shows another part of the target's memory, from the first address to the last, or all of it.
    Zoom(Option<AddressRange>),
    /// The map is kept where the most is written, or no more.
    FollowingHottest(bool),
    /// Outputs have come, gone or changed.
    Outputs(Vec<OutputState>),
    /// Windows have come, gone or changed.
    Windows(Vec<Window>),
    /// Another window has the keyboard, or none.
    Focus(Option<u32>),
    /// The keyboard has other layouts, or another of them is in force.
    Keyboard(Keyboard),
    /// The target picker or the list of hotkeys is open, or neither.
    Overlay(Option<Overlay>),
    /// The configuration was read again, or could not be.
    Config(ConfigState),
    /// The numbers of the watched process, about once a second while it is watched. Not part of [`State`].
    Telemetry(Telemetry),
}

/// All that events are about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The watched process.
    pub target: Option<Target>,
    /// What the map shows.
    pub mode: Mode,
    /// Where the map lies.
    pub placement: Placement,
    /// The colours of the map.
    pub palette: Palette,
    /// How the picture is drawn.
    #[serde(default)]
    pub look: Look,
    /// Whether the picture stands still.
    pub frozen: bool,
    /// The part of the target's memory that the map shows, from the first address to the last; nothing while that is all.
    #[serde(default)]
    pub zoom: Option<AddressRange>,
    /// Whether the map is kept where the most is written.
    #[serde(default)]
    pub following_hottest: bool,
    /// The outputs, by name.
    pub outputs: Vec<OutputState>,
    /// The windows that show something, in the order in which they are tiled.
    #[serde(default)]
    pub windows: Vec<Window>,
    /// The number of the window that has the keyboard.
    #[serde(default)]
    pub focus: Option<u32>,
    /// The keyboard's layouts.
    #[serde(default)]
    pub keyboard: Keyboard,
    /// What the session draws over everything.
    #[serde(default)]
    pub overlay: Option<Overlay>,
    /// The configuration.
    pub config: ConfigState,
}

impl State {
    /// Brings this state up to date.
    pub fn apply(&mut self, event: Event) {
        match event {
            Event::State(state) => *self = *state,
            Event::Target(target) => self.target = target,
            Event::Mode(mode) => self.mode = mode,
            Event::Placement(placement) => self.placement = placement,
            Event::Palette(palette) => self.palette = palette,
            Event::Look(look) => self.look = look,
            Event::Frozen(frozen) => self.frozen = frozen,
            Event::Zoom(zoom) => self.zoom = zoom,
            Event::FollowingHottest(following) => self.following_hottest = following,
            Event::Outputs(outputs) => self.outputs = outputs,
            Event::Windows(windows) => self.windows = windows,
            Event::Focus(focus) => self.focus = focus,
            Event::Keyboard(keyboard) => self.keyboard = keyboard,
            Event::Overlay(overlay) => self.overlay = overlay,
            Event::Config(config) => self.config = config,
            Event::Telemetry(_) => {}
        }
    }

    /// The events that lead from this state to `newer`.
    pub fn changes(&self, newer: &State) -> Vec<Event> {
        let mut events = Vec::new();
        let mut note = |changed: bool, event: &dyn Fn() -> Event| {
            if changed {
                events.push(event());
            }
        };
        note(self.outputs != newer.outputs, &|| Event::Outputs(newer.outputs.clone()));
        note(self.target != newer.target, &|| Event::Target(newer.target.clone()));
        note(self.mode != newer.mode, &|| Event::Mode(newer.mode));
        note(self.placement != newer.placement, &|| Event::Placement(newer.placement));
        note(self.palette != newer.palette, &|| Event::Palette(newer.palette));
        note(self.look != newer.look, &|| Event::Look(newer.look));
        note(self.frozen != newer.frozen, &|| Event::Frozen(newer.frozen));
        note(self.zoom != newer.zoom, &|| Event::Zoom(newer.zoom));
        note(self.following_hottest != newer.following_hottest, &|| {
            Event::FollowingHottest(newer.following_hottest)
        });
        note(self.windows != newer.windows, &|| Event::Windows(newer.windows.clone()));
        note(self.focus != newer.focus, &|| Event::Focus(newer.focus));
        note(self.keyboard != newer.keyboard, &|| Event::Keyboard(newer.keyboard.clone()));
        note(self.overlay != newer.overlay, &|| Event::Overlay(newer.overlay));
        note(self.config != newer.config, &|| Event::Config(newer.config.clone()));
        events
    }
}

/// A watched process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// How it is watched, e.g. "wp-async".
    pub rung: String,
    /// Why it is watched no more; its last picture stays.
    pub ended: Option<String>,
    /// It is not the process that is shown, but a recording of it.
    #[serde(default)]
    pub recorded: bool,
}

/// A window of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its number in this session; it is given to no other.
    pub id: u32,
    /// Its title, as the program has it.
    pub title: String,
    /// The program's own identification, as "foot".
    pub app_id: String,
    /// The program's process number.
    pub pid: Option<u32>,
    /// The connector of the output that it is on.
    pub output: Option<String>,
    /// It has the clients' part of its output alone.
    pub fullscreen: bool,
    /// It is no tile.
    pub floating: bool,
}

/// The keyboard's layouts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyboard {
    /// Their names, as "English (US)".
    pub layouts: Vec<String>,
    /// Which of them is in force, from 0.
    pub active: u32,
}

/// What the session draws over everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlay {
    /// The target picker.
    Picker,
    /// The list of hotkeys.
    Hotkeys,
}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigState {
    /// The file; it need not exist.
    pub path: Option<String>,
    /// How often it was read successfully, the start included.
    pub loaded: u32,
    /// Why the file as it is now is not in force: the last good one is.
    pub error: Option<String>,
}
