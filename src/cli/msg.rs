//! `memory-glass msg`: one request to the running session, and its answer in words or in JSON.

mod words;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::de::DeserializeOwned;

use self::words::{event_words, words};
use super::print;
use super::values::{parse_position, parse_speed};
use crate::ipc::{
    Event, Mode, Overlay, Palette, Placement, ReplayAction, Reply, Request, SOCKET_NAME, SOCKET_VARIABLE,
    Scale,
};
use crate::plain::plain_values;
use crate::{GlassRamError, Result};

#[derive(Debug, Args)]
pub(super) struct MsgArgs {
    /// Print the session's answer as it is: one JSON value a line
    #[arg(long, global = true)]
    json: bool,
    /// The session's socket [default: $MEMORY_GLASS_SOCKET, otherwise $XDG_RUNTIME_DIR/memory-glass.sock]
    #[arg(id = "control-socket", long = "socket", global = true, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(subcommand)]
    message: Message,
}

#[derive(Debug, Subcommand)]
enum Message {
    /// Version of the session
    Version,
    /// What each output is doing, and how the map gets onto it
    Outputs,
    /// The processes that can be watched, your own first
    Targets {
        /// Also those that cannot, each with the reason
        #[arg(long)]
        all: bool,
    },
    /// What is watched and how it is shown
    State,
    /// Watch another process; the one before is left as it was found
    Watch {
        /// Its number, or its name when only one has it
        #[arg(value_name = "PID|NAME")]
        target: String,
        /// On the map of this output or span only
        #[arg(long, value_name = "NAME")]
        output: Option<String>,
    },
    /// Watch nothing
    Unwatch {
        /// This output's or span's map shows again what is configured for it, or what the others show
        #[arg(long, value_name = "NAME")]
        output: Option<String>,
    },
    /// What the map shows
    Mode {
        /// The new mode
        mode: Mode,
        /// On this output or span only
        #[arg(long, value_name = "NAME")]
        output: Option<String>,
    },
    /// Where the map lies
    Placement {
        /// The new placement
        placement: Placement,
        /// On this output or span only
        #[arg(long, value_name = "NAME")]
        output: Option<String>,
    },
    /// Switch displays on or off; programs on them keep their sizes
    Power {
        /// On or off
        state: Switch,
        /// This output or span, until it is said again [default: all, off until somebody uses the session]
        #[arg(long, value_name = "NAME")]
        output: Option<String>,
    },
    /// The colours of the map
    Palette {
        /// The new palette
        palette: Palette,
    },
    /// How the picture is drawn; what is left out stays as it is
    Look {
        /// What is bright spreads
        #[arg(long)]
        glow: Option<Switch>,
        /// Cells go from one window to the next instead of jumping
        #[arg(long)]
        animation: Option<Switch>,
        /// How values become colours
        #[arg(long)]
        scale: Option<Scale>,
    },
    /// How much slower the watched processes may become, until the configuration says otherwise
    #[group(id = "budget", required = true, multiple = false)]
    Budget {
        /// Percent of their own time
        #[arg(group = "budget", value_parser = clap::value_parser!(u32).range(1..=1000))]
        percent: Option<u32>,
        /// No budget: every page is seen in every window, whatever it costs them
        #[arg(long, group = "budget")]
        exact: bool,
    },
    /// Hold the picture still, or let it go on; the process is watched all the while
    Freeze {
        /// Still or not [default: the other of what it is]
        frozen: Option<Switch>,
    },
    /// Write a picture of an output, PNG
    Screenshot {
        /// Where to [default: a new file where the session puts its pictures]
        file: Option<PathBuf>,
        /// The output, by connector or by make, model and serial number [default: the one with the focus]
        #[arg(long)]
        output: Option<String>,
    },
    /// The addresses of the cells that were last surrounded on the map
    Selection,
    /// Show the whole of the target's memory again
    ZoomOut,
    /// Keep the map where the most is written, until it is zoomed or moved by hand; or no more
    FollowHottest {
        /// Kept there or not [default: the other of what it is]
        follow: Option<Switch>,
    },
    /// The numbers of the watched process
    Telemetry,
    /// Steer the recording that is shown
    #[command(subcommand)]
    Replay(Steering),
    /// The programs' windows
    Windows,
    /// Give a window the keyboard
    Focus {
        /// Its number, as `windows` lists it
        id: u32,
    },
    /// Ask a program to close a window
    Close(Which),
    /// Give a window the clients' part of its output alone, or no more
    Fullscreen {
        #[command(flatten)]
        which: Which,
        /// Fullscreen or not [default: the other of what it is]
        fullscreen: Option<Switch>,
    },
    /// Move a window to another output
    Move {
        #[command(flatten)]
        which: Which,
        /// The output's connector, e.g. DP-1
        output: String,
    },
    /// Another of the keyboard's layouts
    KeyboardLayout {
        /// Its number, from 0, or its name [default: the next one]
        layout: Option<String>,
    },
    /// Open the target picker on the screen, or close it
    Picker {
        /// Open or not
        #[arg(default_value = "on")]
        open: Switch,
    },
    /// Show the list of hotkeys on the screen, or close it
    Hotkeys {
        /// Shown or not
        #[arg(default_value = "on")]
        open: Switch,
    },
    /// Everything now, then each change, until one of both ends
    EventStream,
    /// Read the configuration again
    Reload,
    /// End the session
    Quit,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Steering {
    /// Where it is
    Status,
    /// It stands still
    Pause,
    /// It goes on; from its begin, when it is over
    Play,
    /// Play it faster or slower
    Speed {
        /// 2 is twice as fast as it was
        #[arg(value_name = "FACTOR", value_parser = parse_speed)]
        factor: f64,
    },
    /// Go somewhere else in it
    Seek {
        /// Seconds from its begin
        #[arg(value_name = "SECONDS", value_parser = parse_position)]
        position: std::time::Duration,
    },
}

/// One window.
#[derive(Debug, Clone, Copy, Args)]
struct Which {
    /// The window's number, as `windows` lists it [default: the one that has the keyboard]
    #[arg(long = "window", value_name = "ID")]
    id: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// Whether this command line, which may be wrong, asks for a session's answer as it is.
pub(super) fn wants_json(words: &[OsString]) -> bool {
    words.iter().skip(1).any(|word| word == "msg") && words.iter().any(|word| word == "--json")
}

/// Says what is wrong with the command line as the session would say it: in one line, without the usage that
/// follows.
pub(super) fn refuse(error: &clap::Error) {
    let text = error.render().to_string();
    let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let words = words.join(" ");
    let reply: Reply = Err(words.strip_prefix("error: ").unwrap_or(&words).to_owned());
    print::json(&serde_json::to_string(&reply).expect("strings are JSON"));
}

impl MsgArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        let json = self.json;
        let outcome = self.ask();
        // Whoever reads JSON reads why not there, too, as the session says it.
        if let Err(error) = &outcome
            && json
        {
            let reply: Reply = Err(error.to_string());
            print::json(&serde_json::to_string(&reply).expect("strings are JSON"));
            return Ok(ExitCode::FAILURE);
        }
        outcome.map(print::status)
    }

    /// Whether the answer was printed.
    fn ask(self) -> Result<bool> {
        let all = matches!(self.message, Message::Targets { all: true });
        let request = self.message.request()?;
        let path = socket(self.socket)?;
        let failed = |error: std::io::Error| refused(explain(&path, &error));
        let mut stream = UnixStream::connect(&path).map_err(failed)?;
        let mut line = serde_json::to_string(&request).expect("strings are JSON");
        line.push('\n');
        stream.write_all(line.as_bytes()).map_err(failed)?;
        let mut lines = BufReader::new(stream).lines();
        let answer = lines.next().unwrap_or(Err(ErrorKind::UnexpectedEof.into())).map_err(failed)?;
        let printed = match shown::<Reply>(&answer)? {
            Err(reason) => return Err(refused(reason)),
            Ok(_) if self.json && request != Request::EventStream => print::json(&answer),
            Ok(response) => print::words(&words(&response, all)),
        };
        if !printed {
            return Ok(false);
        }
        if request == Request::EventStream {
            for line in lines {
                let line = line.map_err(failed)?;
                let event: Event = shown(&line)?;
                if !(if self.json { print::json(&line) } else { print::words(&event_words(&event)) }) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

impl Message {
    fn request(self) -> Result<Request> {
        Ok(match self {
            Message::Version => Request::Version,
            Message::Outputs => Request::Outputs,
            Message::Targets { .. } => Request::Targets,
            Message::State => Request::State,
            Message::Watch { target, output } => Request::Watch { target, output },
            Message::Unwatch { output: None } => Request::Unwatch,
            Message::Unwatch { output: Some(output) } => Request::Follow { output },
            Message::Power { state, output } => Request::Power { on: state == Switch::On, output },
            Message::Mode { mode, output } => Request::Mode { mode, output },
            Message::Placement { placement, output } => Request::Placement { placement, output },
            Message::Palette { palette } => Request::Palette { palette },
            Message::Look { glow, animation, scale } => {
                let on = |switch: Option<Switch>| switch.map(|state| state == Switch::On);
                Request::Look { glow: on(glow), animation: on(animation), scale }
            }
            Message::Budget { percent, exact: _ } => Request::Budget { percent },
            Message::Freeze { frozen } => Request::Freeze { frozen: frozen.map(|state| state == Switch::On) },
            Message::Screenshot { file, output } => {
                Request::Screenshot { path: file.map(whole_path).transpose()?, output }
            }
            Message::Selection => Request::Selection,
            Message::ZoomOut => Request::ZoomOut,
            Message::FollowHottest { follow } => {
                Request::FollowHottest { follow: follow.map(|state| state == Switch::On) }
            }
            Message::Telemetry => Request::Telemetry,
            Message::Replay(steering) => Request::Replay { action: steering.action() },
            Message::Windows => Request::Windows,
            Message::Focus { id } => Request::FocusWindow { id },
            Message::Close(which) => Request::CloseWindow { id: which.id },
            Message::Fullscreen { which, fullscreen } => Request::FullscreenWindow {
                id: which.id,
                fullscreen: fullscreen.map(|state| state == Switch::On),
            },
            Message::Move { which, output } => Request::MoveWindow { id: which.id, output },
            Message::KeyboardLayout { layout } => Request::KeyboardLayout { layout },
            Message::Picker { open } => overlay(open, Overlay::Picker),
            Message::Hotkeys { open } => overlay(open, Overlay::Hotkeys),
            Message::EventStream => Request::EventStream,
            Message::Reload => Request::Reload,
            Message::Quit => Request::Quit,
        })
    }
}

impl Steering {
    fn action(self) -> ReplayAction {
        match self {
            Steering::Status => ReplayAction::Status,
            Steering::Pause => ReplayAction::Pause,
            Steering::Play => ReplayAction::Play,
            Steering::Speed { factor } => ReplayAction::Speed { percent: (factor * 100.0).round() as u32 },
            Steering::Seek { position } => ReplayAction::Seek { position_ms: position.as_millis() as u64 },
        }
    }
}

fn overlay(open: Switch, which: Overlay) -> Request {
    Request::Overlay { overlay: (open == Switch::On).then_some(which) }
}

/// The session is somewhere else: it has to be told the whole path.
fn whole_path(file: PathBuf) -> Result<String> {
    let path = std::path::absolute(&file)
        .map_err(|error| refused(format!("{} is no path ({error}): give another", file.display())))?;
    path.into_os_string()
        .into_string()
        .map_err(|name| refused(format!("{} is not UTF-8: give another name", name.display())))
}

fn socket(given: Option<PathBuf>) -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    given
        .or_else(|| variable(SOCKET_VARIABLE))
        .or_else(|| Some(variable("XDG_RUNTIME_DIR")?.join(SOCKET_NAME)))
        .ok_or_else(|| {
            refused("neither XDG_RUNTIME_DIR nor MEMORY_GLASS_SOCKET is set: give --socket".into())
        })
}

fn explain(path: &std::path::Path, error: &std::io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!(
                "no session listens at {path}: start one with `memory-glass`, or name another with --socket"
            )
        }
        ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => {
            format!("the session at {path} ended without an answer: its log says why")
        }
        _ => format!("the session at {path} cannot be talked to: {error}"),
    }
}

fn refused(feature: String) -> GlassRamError {
    GlassRamError::FeatureNotSupported { feature }
}

fn foreign(error: &serde_json::Error) -> GlassRamError {
    refused(format!(
        "the session speaks another version ({error}): use the `memory-glass` that it was started with"
    ))
}

/// What the session says, with the names that others have given as they can be shown: a line of it is a line
/// on the terminal.
fn shown<T: DeserializeOwned>(line: &str) -> Result<T> {
    let mut value = serde_json::from_str(line).map_err(|error| foreign(&error))?;
    plain_values(&mut value);
    serde_json::from_value(value).map_err(|error| foreign(&error))
}
