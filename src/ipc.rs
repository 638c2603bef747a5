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

mod choice;
mod output;
mod state;

use serde::{Deserialize, Serialize};

pub use self::choice::{Look, Mode, Palette, Placement, Scale};
pub use self::output::{Frames, Latency, MapPath, Output, OutputState, Program};
pub use self::state::{ConfigState, Event, Keyboard, Overlay, State, Target, Window};

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
    /// The output's or span's map shows again what is configured for it, or the session's own target, and in its mode.
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
        /// On this output or span only; everywhere, whatever was said about single ones, when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
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
    /// How much slower the watched processes may become, until the configuration says otherwise.
    Budget {
        /// Percent of their own time, 1 to 1000; when left out, every page is seen in every window, whatever it costs them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        percent: Option<u32>,
    },
    /// Holds the picture still, or lets it go on. The process is watched all the while.
    Freeze {
        /// Still or not; the other of what it is when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        frozen: Option<bool>,
    },
    /// Writes a picture of an output: [`Response::Screenshot`].
    Screenshot {
        /// An absolute path; a new file in the person's folder for pictures when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// The output, by connector or by make, model and serial number; the one with the focus when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
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
    /// Keeps the map where the most is written, until it is zoomed or moved by hand; or no more.
    FollowHottest {
        /// Kept there or not; the other of what it is when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        follow: Option<bool>,
    },
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
    Telemetry(Option<Box<Telemetry>>),
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
    /// A watched process has forked it, and it is watched already.
    #[serde(default)]
    pub followed: bool,
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
    /// Pages written a second, each window's counted once; those that were not armed, as the map has them.
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
    /// Share of the writable pages whose writes the last window could see, percent.
    pub sampling_rate: f64,
    /// The last change of the map's order or of the sampling rate, and why it was made; null until there was one.
    #[serde(default)]
    pub last_adjustment: Option<String>,
    /// Estimated share of a processor that watching costs the process, percent.
    pub overhead_percent: f64,
    /// Estimated factor by which its work takes longer; null where it does too little for that to be known.
    #[serde(default)]
    pub slow_down_factor: Option<f64>,
    /// The interval that holds the true factor nine times in ten.
    #[serde(default)]
    pub slow_down_low: Option<f64>,
    /// Its upper end.
    #[serde(default)]
    pub slow_down_high: Option<f64>,
    /// The time that it loses, milliseconds a second.
    #[serde(default)]
    pub lost_ms_per_second: f64,
    /// Flushes of its address translations that arming causes a second.
    #[serde(default)]
    pub flushes_per_second: f64,
    /// Estimated memory that watching takes, MB.
    pub memory_overhead_mb: f64,
    /// Of the pages that are not armed, the share that the slowdown budget allows to be armed for the next window: 1 while all are.
    /// Null of a recording.
    #[serde(default)]
    pub armed_share: Option<f64>,
    /// What the watch goes without, each with its reason.
    #[serde(default)]
    pub lost: Vec<String>,
}
