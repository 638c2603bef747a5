//! `memory-glass msg`: one request to the running session, and its answer in words or in JSON.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use crate::ipc::{
    Candidate, Event, Keyboard, Latency, Look, MapPath, Mode, Output, Overlay, Palette, Placement, Program,
    ReplayAction, ReplayState, Reply, Request, Response, SOCKET_NAME, SOCKET_VARIABLE, Scale, State, Target,
    Telemetry, Window,
};
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
    /// Hold the picture still, or let it go on; the process is watched all the while
    Freeze {
        /// Still or not [default: the other of what it is]
        frozen: Option<Switch>,
    },
    /// Write a picture of the first output, PNG
    Screenshot {
        /// Where to [default: a new file where the session puts its pictures]
        file: Option<PathBuf>,
    },
    /// The addresses of the cells that were last surrounded on the map
    Selection,
    /// Show the whole of the target's memory again
    ZoomOut,
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
        #[arg(value_name = "FACTOR", value_parser = super::parse_speed)]
        factor: f64,
    },
    /// Go somewhere else in it
    Seek {
        /// Seconds from its begin
        #[arg(value_name = "SECONDS", value_parser = super::parse_position)]
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

impl MsgArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        let json = self.json;
        let outcome = self.ask();
        // Whoever reads JSON reads why not there, too, as the session says it.
        if let Err(error) = &outcome
            && json
        {
            let reply: Reply = Err(error.to_string());
            print(&format!("{}\n", serde_json::to_string(&reply).expect("strings are JSON")));
            return Ok(ExitCode::FAILURE);
        }
        outcome.map(|()| ExitCode::SUCCESS)
    }

    fn ask(self) -> Result<()> {
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
        let reply: Reply = serde_json::from_str(&answer).map_err(|error| foreign(&error))?;
        let text = match reply {
            Err(reason) => return Err(refused(reason)),
            Ok(_) if self.json && request != Request::EventStream => format!("{answer}\n"),
            Ok(response) => words(&response, all),
        };
        if !print(&text) {
            return Ok(());
        }
        if request == Request::EventStream {
            for line in lines {
                let line = line.map_err(failed)?;
                let event: Event = serde_json::from_str(&line).map_err(|error| foreign(&error))?;
                let text = if self.json { format!("{line}\n") } else { event_words(&event) };
                if !print(&text) {
                    break;
                }
            }
        }
        Ok(())
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
            Message::Mode { mode } => Request::Mode { mode },
            Message::Placement { placement, output } => Request::Placement { placement, output },
            Message::Palette { palette } => Request::Palette { palette },
            Message::Look { glow, animation, scale } => {
                let on = |switch: Option<Switch>| switch.map(|state| state == Switch::On);
                Request::Look { glow: on(glow), animation: on(animation), scale }
            }
            Message::Freeze { frozen } => Request::Freeze { frozen: frozen.map(|state| state == Switch::On) },
            Message::Screenshot { file } => Request::Screenshot { path: file.map(whole_path).transpose()? },
            Message::Selection => Request::Selection,
            Message::ZoomOut => Request::ZoomOut,
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

/// False when nobody reads any more, as in `… | head`.
fn print(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

fn words(response: &Response, all: bool) -> String {
    match response {
        Response::Done => String::new(),
        Response::Version { version, protocol, pid } => {
            format!("memory-glass {version}, process {pid}, protocol {protocol}\n")
        }
        Response::Outputs(outputs) if outputs.is_empty() => "no output is connected\n".into(),
        Response::Outputs(outputs) => outputs.iter().map(output_words).collect(),
        Response::Targets(candidates) => target_words(candidates, all),
        Response::State(state) => state_words(state),
        Response::Windows { windows, .. } if windows.is_empty() => "no window is open\n".into(),
        Response::Windows { windows, focus } => {
            windows.iter().map(|window| window_words(window, *focus)).collect()
        }
        Response::Screenshot { path, width, height } => format!("{path} ({width}×{height})\n"),
        Response::Selection(ranges) if ranges.is_empty() => {
            "nothing is chosen: draw a line around cells with the left button held\n".into()
        }
        Response::Selection(ranges) => {
            ranges.iter().map(|range| format!("{:#x}-{:#x}\n", range.start, range.end)).collect()
        }
        Response::Telemetry(None) => "nothing is watched\n".into(),
        Response::Telemetry(Some(telemetry)) => telemetry_words(telemetry),
        Response::Replay(state) => replay_words(state),
    }
}

fn output_words(output: &Output) -> String {
    let Output { state, map, frames, latency } = output;
    let refresh = f64::from(state.refresh_mhz) / 1000.0;
    let map = match map {
        MapPath::OnPlane { plane } => format!("on plane {plane}"),
        MapPath::Composited { reason } => format!("composited: {reason}"),
        MapPath::Off => "off".into(),
    };
    let display: Vec<&str> = [&state.make, &state.model, &state.serial]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| text.as_str())
        .collect();
    let mut text = format!("{}  {}×{} at {refresh:.3} Hz", state.connector, state.width, state.height);
    if let Some(other) = &state.mirrors {
        let _ = write!(text, ", mirrors {other}");
    } else {
        let _ = write!(text, ", at {},{}", state.x, state.y);
    }
    if state.scale_thousandths != 1000 {
        let _ = write!(text, ", scale {}", f64::from(state.scale_thousandths) / 1000.0);
    }
    if state.transform != "normal" {
        let _ = write!(text, ", turned {}", state.transform);
    }
    if let Some(off) = &state.off {
        let _ = write!(text, ", {off}");
    }
    text.push('\n');
    if let Some(problem) = &state.problem {
        let _ = writeln!(text, "  problem  {problem}");
    }
    let _ = write!(
        text,
        "  display  {}\n  map      {} of {}, {map}\n  frames   {} shown, {} with the map on a plane, {} with it composited; \
         {} late, {} failed\n",
        display.join(" · "),
        word(state.placement),
        target(state.target.as_ref()),
        frames.presented,
        frames.map_on_plane,
        frames.map_composited,
        frames.missed,
        frames.failed,
    );
    if let Some(Latency { p50_us, p99_us, max_us, .. }) = latency {
        let ms = |us: &u64| *us as f64 / 1000.0;
        let _ = writeln!(
            text,
            "  latency  {:.1} ms, 99 of 100 within {:.1} ms, longest {:.1} ms, from the end of a window to the screen",
            ms(p50_us),
            ms(p99_us),
            ms(max_us)
        );
    }
    if let Some(program) = &state.program {
        text.push_str(&program_words(program));
    }
    text
}

fn program_words(program: &Program) -> String {
    let state = match (program.pid, &program.last_end) {
        (Some(pid), _) => format!("process {pid}"),
        (None, Some(end)) => format!("ended ({end})"),
        (None, None) => "not started".into(),
    };
    format!("  program  {}, {state}, started again {} times\n", program.command.join(" "), program.restarts)
}

fn window_words(window: &Window, focus: Option<u32>) -> String {
    let mut remarks = Vec::new();
    if Some(window.id) == focus {
        remarks.push("has the keyboard");
    }
    if window.fullscreen {
        remarks.push("fullscreen");
    }
    if window.floating {
        remarks.push("floats");
    }
    format!(
        "{:>4}  {:<12}  {}{}{}\n",
        window.id,
        window.output.as_deref().unwrap_or("nowhere"),
        if window.app_id.is_empty() { "?" } else { &window.app_id },
        if window.title.is_empty() { String::new() } else { format!("  {}", window.title) },
        if remarks.is_empty() { String::new() } else { format!("  ({})", remarks.join(", ")) },
    )
}

fn target_words(candidates: &[Candidate], all: bool) -> String {
    let mut text = String::new();
    for candidate in candidates.iter().filter(|candidate| all || candidate.refused.is_none()) {
        let mib = candidate.resident_bytes as f64 / f64::from(1 << 20);
        let _ = write!(text, "{:>8}  {:<15}  {mib:>9.1} MiB", candidate.pid, candidate.name);
        if let Some(reason) = &candidate.refused {
            let _ = write!(text, "  {reason}");
        }
        text.push('\n');
    }
    let refused = candidates.iter().filter(|candidate| candidate.refused.is_some()).count();
    if !all && refused > 0 {
        let _ = writeln!(text, "{refused} more cannot be watched: --all says why");
    }
    text
}

fn state_words(state: &State) -> String {
    let mut text = format!(
        "target     {}\nmap        {}, {}, {}{}\n",
        target(state.target.as_ref()),
        word(state.mode),
        word(state.placement),
        word(state.palette),
        if state.frozen { ", standing still" } else { "" },
    );
    for output in &state.outputs {
        let _ = writeln!(
            text,
            "output     {} {}×{}, map {}",
            output.connector,
            output.width,
            output.height,
            word(output.placement)
        );
    }
    for window in &state.windows {
        let _ = write!(text, "window {}", window_words(window, state.focus));
    }
    let _ = writeln!(text, "keyboard   {}", layout_words(&state.keyboard));
    let path = state.config.path.as_deref().unwrap_or("none");
    let _ = writeln!(text, "config     {path}");
    if let Some(error) = &state.config.error {
        let _ = writeln!(text, "           {error}");
    }
    text
}

fn layout_words(keyboard: &Keyboard) -> String {
    let active = usize::try_from(keyboard.active).ok().and_then(|at| keyboard.layouts.get(at));
    let name = active.map_or("?", String::as_str);
    match keyboard.layouts.len() {
        0 | 1 => name.to_owned(),
        count => format!("{name} ({} of {count})", keyboard.active + 1),
    }
}

fn telemetry_words(telemetry: &Telemetry) -> String {
    format!(
        "{}: {} windows over {} pages\n  written   {:.0} pages/s by {} threads\n  map       order {}, accuracy {}, \
         {:.1} % of the pages watched\n  its cost  {:.2} % of a processor (its own work takes {:.2}× the time), {:.1} MB; \
         estimated\n",
        target(Some(&telemetry.target)),
        telemetry.windows,
        telemetry.pages,
        telemetry.fault_rate,
        telemetry.active_threads,
        telemetry.hilbert_order,
        telemetry.reconstruction_accuracy.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share)),
        telemetry.sampling_rate,
        telemetry.overhead_percent,
        telemetry.slow_down_factor,
        telemetry.memory_overhead_mb,
    )
}

fn replay_words(state: &ReplayState) -> String {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    format!(
        "{:.1} s of {:.1} s, {}× as fast as it was{}\n",
        seconds(state.position_ms),
        seconds(state.length_ms),
        f64::from(state.speed_percent) / 100.0,
        match state {
            ReplayState { over: true, .. } => ", over",
            ReplayState { paused: true, .. } => ", paused",
            _ => "",
        }
    )
}

fn look_words(look: Look) -> String {
    let mut words = format!("{} scale", word(look.scale));
    for (on, name) in [(look.glow, "glow"), (look.animation, "animation")] {
        if on {
            let _ = write!(words, ", {name}");
        }
    }
    words
}

fn event_words(event: &Event) -> String {
    match event {
        Event::State(state) => state_words(state),
        Event::Target(new) => format!("target     {}\n", target(new.as_ref())),
        Event::Mode(mode) => format!("mode       {}\n", word(*mode)),
        Event::Placement(placement) => format!("placement  {}\n", word(*placement)),
        Event::Palette(palette) => format!("palette    {}\n", word(*palette)),
        Event::Look(look) => format!("look       {}\n", look_words(*look)),
        Event::Frozen(frozen) => format!("frozen     {}\n", if *frozen { "yes" } else { "no" }),
        Event::Outputs(outputs) => {
            let names: Vec<&str> = outputs.iter().map(|output| output.connector.as_str()).collect();
            format!("outputs    {}\n", if names.is_empty() { "none".into() } else { names.join(", ") })
        }
        Event::Windows(windows) => format!("windows    {}\n", windows.len()),
        Event::Focus(focus) => format!("focus      {}\n", focus.map_or("none".into(), |id| id.to_string())),
        Event::Keyboard(keyboard) => format!("keyboard   {}\n", layout_words(keyboard)),
        Event::Overlay(None) => "overlay    none\n".into(),
        Event::Overlay(Some(Overlay::Picker)) => "overlay    picker\n".into(),
        Event::Overlay(Some(Overlay::Hotkeys)) => "overlay    hotkeys\n".into(),
        Event::Config(config) => {
            format!("config     {}\n", config.error.as_deref().unwrap_or("read, and in force"))
        }
        Event::Telemetry(telemetry) => format!(
            "telemetry  {} pages/s written, {} threads\n",
            telemetry.fault_rate.round(),
            telemetry.active_threads
        ),
    }
}

fn target(target: Option<&Target>) -> String {
    match target {
        None => "none".into(),
        Some(Target { pid, name, rung, ended: None, recorded: false }) => format!("{name} {pid} by {rung}"),
        Some(Target { pid, name, rung, ended: None, recorded: true }) => {
            format!("{name} {pid} by {rung}, recorded")
        }
        Some(Target { pid, name, ended: Some(reason), .. }) => format!("{name} {pid}: {reason}"),
    }
}

/// As it is written on the command line.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
