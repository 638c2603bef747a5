//! What is said on the control socket of a running session: plain data, and nothing else of the crate.
//!
//! The socket is `$XDG_RUNTIME_DIR/memory-glass.sock` (a second session has `memory-glass-2.sock`, and so on); programs that a
//! session has started find it in `$MEMORY_GLASS_SOCKET`. Only its owner may connect.
//!
//! Everything is JSON, one value a line. A client writes [`Request`]s and gets one [`Reply`] for each, in the same order:
//!
//! ```text
//! → "outputs"
//! ← {"Ok":{"outputs":[{"connector":"DP-1", …}]}}
//! → {"watch":{"target":"redis-server"}}
//! ← {"Err":"no process is named \"redis-server\": give its number, or its name as `ps -e` shows it"}
//! ```
//!
//! After [`Request::EventStream`] the client gets an [`Event`] a line, first the whole [`State`], then each change of it;
//! [`State::apply`] keeps a copy up to date. It may go on to write requests; replies are told from events by their `Ok` or `Err`.
//!
//! The session puts bounds on what it holds for a client: [`MAX_LINE`], [`MAX_UNREAD`] and [`MAX_CLIENTS`]. Whoever passes one is told
//! why, where it still listens, and disconnected. Unknown fields are to be ignored by clients: later versions add some.

use serde::{Deserialize, Serialize};

/// The version of what is described here; it changes when something is taken away or means something else.
pub const PROTOCOL: u32 = 1;
/// The longest line that a client may write, bytes.
pub const MAX_LINE: usize = 64 << 10;
/// Whoever has so many bytes left to read gets nothing more, and is disconnected.
pub const MAX_UNREAD: usize = 1 << 20;
/// Clients at the same time.
pub const MAX_CLIENTS: usize = 32;
/// The environment variable that names the socket.
pub const SOCKET_VARIABLE: &str = "MEMORY_GLASS_SOCKET";
/// The socket's name in `$XDG_RUNTIME_DIR`.
pub const SOCKET_NAME: &str = "memory-glass.sock";

/// What a client can ask for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Who answers: [`Response::Version`].
    Version,
    /// What each output is doing: [`Response::Outputs`].
    Outputs,
    /// The processes that could be watched: [`Response::Targets`].
    Targets,
    /// All that events are about: [`Response::State`].
    State,
    /// Watches this process from now on; the one before is let go, as it was found. Refused, everything stays as it is.
    Watch {
        /// A process number, or a name that one process has.
        target: String,
        /// On the map of this output or span only; everywhere that says nothing else when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// The output's or span's map shows again what is configured for it, or the session's own target.
    Follow {
        /// The output or span.
        output: String,
    },
    /// Switches displays on or off. They stay outputs, and programs on them keep their sizes.
    Power {
        /// On or off.
        on: bool,
        /// This output or span, until it is said again; all of them when left out, off until somebody uses the session.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// Lets the watched process go.
    Unwatch,
    /// What the map shows.
    Mode {
        /// The new mode.
        mode: Mode,
    },
    /// Where the map lies.
    Placement {
        /// The new placement.
        placement: Placement,
        /// On this output or span only; everywhere, whatever was said about single ones, when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// The colours of the map.
    Palette {
        /// The new palette.
        palette: Palette,
    },
    /// How the picture is drawn; what is left out stays as it is.
    Look {
        /// What is bright spreads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        glow: Option<bool>,
        /// Cells go from one window to the next instead of jumping.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        animation: Option<bool>,
        /// How values become colours.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale: Option<Scale>,
    },
    /// Holds the picture still, or lets it go on. The process is watched all the while.
    Freeze {
        /// Still or not; the other of what it is when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        frozen: Option<bool>,
    },
    /// Writes a picture of the first output: [`Response::Screenshot`].
    Screenshot {
        /// An absolute path; a new file in the person's folder for pictures when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// The numbers of the watched process: [`Response::Telemetry`].
    Telemetry,
    /// Steers the recording that is shown: [`Response::Replay`].
    Replay {
        /// What to do.
        action: ReplayAction,
    },
    /// The programs' windows: [`Response::Windows`].
    Windows,
    /// This window gets the keyboard.
    FocusWindow {
        /// Its number.
        id: u32,
    },
    /// The program is asked to close a window; it may ask back.
    CloseWindow {
        /// Its number; the one that has the keyboard when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
    },
    /// A window gets the clients' part of its output alone, or no more.
    FullscreenWindow {
        /// Its number; the one that has the keyboard when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        /// Fullscreen or not; the other of what it is when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fullscreen: Option<bool>,
    },
    /// A window moves to another output.
    MoveWindow {
        /// Its number; the one that has the keyboard when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u32>,
        /// The output's connector.
        output: String,
    },
    /// Another of the keyboard's layouts.
    KeyboardLayout {
        /// Its number, from 0, or its name; the next one when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        layout: Option<String>,
    },
    /// Opens what the session draws over everything, or closes it.
    Overlay {
        /// What is to be open; nothing when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        overlay: Option<Overlay>,
    },
    /// The addresses of the cells that were last surrounded on the map: [`Response::Selection`].
    Selection,
    /// Shows the whole of the target's memory again.
    ZoomOut,
    /// From now on, also send [`Event`]s.
    EventStream,
    /// Reads the configuration again.
    Reload,
    /// Ends the session.
    Quit,
}

/// The answer to a [`Request`]: what was asked for, or one line that says why not and what to do.
pub type Reply = Result<Response, String>;

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Response {
    /// It is done.
    Done,
    /// Who answers.
    Version {
        /// The program's version.
        version: String,
        /// [`PROTOCOL`].
        protocol: u32,
        /// The session's process number.
        pid: u32,
    },
    /// Every output.
    Outputs(Vec<Output>),
    /// Every process: one's own first, each by number.
    Targets(Vec<Candidate>),
    /// All that events are about.
    State(Box<State>),
    /// Every window, as in [`State`].
    Windows {
        /// In the order in which they are tiled.
        windows: Vec<Window>,
        /// The number of the one that has the keyboard.
        focus: Option<u32>,
    },
    /// A picture was written.
    Screenshot {
        /// Where.
        path: String,
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
    /// Ranges of addresses, in their order.
    Selection(Vec<AddressRange>),
    /// As of the last window; nothing when nothing is watched.
    Telemetry(Option<Telemetry>),
    /// How the recording is played.
    Replay(ReplayState),
}

/// What can be done with a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplayAction {
    /// Nothing.
    Status,
    /// It stands still.
    Pause,
    /// It goes on; from its begin, when it is over.
    Play,
    /// Plays faster or slower.
    Speed {
        /// 100 is as it was; from 1 to 100000.
        percent: u32,
    },
    /// Goes somewhere else.
    Seek {
        /// Milliseconds from its begin; past its end is its end.
        position_ms: u64,
    },
}

/// How a recording is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayState {
    /// Milliseconds from its begin.
    pub position_ms: u64,
    /// Milliseconds in all.
    pub length_ms: u64,
    /// 100 is as it was.
    pub speed_percent: u32,
    /// It stands still.
    pub paused: bool,
    /// Its last window was shown.
    pub over: bool,
}

/// Addresses of the watched process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressRange {
    /// The first.
    pub start: u64,
    /// The first after it.
    pub end: u64,
}

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

/// In a kiosk, the program of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its process number, while it runs.
    pub pid: Option<u32>,
    /// How often it was started again because it had ended.
    pub restarts: u32,
    /// How it ended last, e.g. "exit status: 1".
    pub last_end: Option<String>,
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

/// A process that could be watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its number.
    pub pid: u32,
    /// Its name, as the kernel has it.
    pub name: String,
    /// It belongs to the person whose session this is.
    pub own: bool,
    /// Its memory that is in use, bytes.
    pub resident_bytes: u64,
    /// Why it cannot be watched.
    pub refused: Option<String>,
}

/// What events say about an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputState {
    /// The connector's name, e.g. "DP-1".
    pub connector: String,
    /// Who made the display, as far as it says so.
    pub make: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames in a thousand seconds.
    pub refresh_mhz: u32,
    /// Where the map lies on it.
    pub placement: Placement,
    /// Where its left edge is among the outputs, logical pixels.
    #[serde(default)]
    pub x: i32,
    /// Where its upper edge is.
    #[serde(default)]
    pub y: i32,
    /// Its pixels for a thousand logical ones.
    #[serde(default)]
    pub scale_thousandths: u32,
    /// How it is turned, as in the configuration.
    #[serde(default)]
    pub transform: String,
    /// The output that it mirrors.
    #[serde(default)]
    pub mirrors: Option<String>,
    /// Why it is switched off.
    #[serde(default)]
    pub off: Option<String>,
    /// Why something that is configured for it is not in force.
    #[serde(default)]
    pub problem: Option<String>,
    /// The process that its map shows.
    #[serde(default)]
    pub target: Option<Target>,
    /// In a kiosk, its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
}

/// One output in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What events say about it, too.
    #[serde(flatten)]
    pub state: OutputState,
    /// How the map gets onto the screen at this moment.
    pub map: MapPath,
    /// What was shown so far.
    pub frames: Frames,
    /// From the end of a capture window until the map that shows it is on the screen; nothing until there is one.
    #[serde(default)]
    pub latency: Option<Latency>,
}

/// Times from the end of a capture window until the map that shows it is on the screen, over the last thousand pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Pictures that were measured, the older ones included.
    pub pictures: u64,
    /// Half of them took no longer, microseconds.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

/// How the map gets onto the screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapPath {
    /// The display controller reads it from its own buffer.
    OnPlane {
        /// The plane's number in the kernel.
        plane: u32,
    },
    /// It is drawn into the frame of the clients.
    Composited {
        /// Why.
        reason: String,
    },
    /// There is nothing of it on this output.
    Off,
}

/// Counts since the output appeared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// Frames that reached the screen.
    pub presented: u64,
    /// Of these, frames with the map on a plane.
    pub map_on_plane: u64,
    /// Of these, frames with the map composited.
    pub map_composited: u64,
    /// Frames that reached the screen later than they were drawn for.
    pub missed: u64,
    /// By how many refreshes, together.
    #[serde(default)]
    pub late: u64,
    /// Frames that the card or the renderer refused.
    pub failed: u64,
}

/// The numbers of the watched process, as of the last window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Telemetry {
    /// The process.
    #[serde(flatten)]
    pub target: Target,
    /// Windows since the watch began.
    pub windows: u64,
    /// Pages on the map.
    pub pages: u64,
    /// Pages written a second, each window's counted once.
    pub fault_rate: f64,
    /// Threads that ran in the last window.
    pub active_threads: u32,
    /// Writes are spreading to pages untouched before, far faster than they used to.
    pub memory_avalanche_detected: bool,
    /// The pattern of writes has changed.
    pub phase_transition_detected: bool,
    /// 1 − relative L1 error of the map, 0..1; null where too little was written to tell.
    pub reconstruction_accuracy: Option<f32>,
    /// The order of the map's Hilbert curve.
    pub hilbert_order: u32,
    /// Share of the pages that are watched, percent.
    pub sampling_rate: f64,
    /// Estimated share of a processor that watching costs the process, percent.
    pub overhead_percent: f64,
    /// Estimated factor by which its work takes longer.
    pub slow_down_factor: f64,
    /// Estimated memory that watching takes, MB.
    pub memory_overhead_mb: f64,
}

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
