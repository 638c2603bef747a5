//! The command line as plain typed data, and the one place that prints.

mod msg;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::Result;
use crate::capture::recording::{ReplayStart, RingLimits, SPEEDS};
use crate::capture::{MonitorConfig, Rung};
use crate::config::{Overrides, SecurityConfig};
use crate::display::{BackendKind, PlanePolicy};
use crate::ipc;
use crate::map::{HilbertConfig, MAX_ORDER, MIN_ORDER};
use crate::render::ColorPalette;
use crate::sensing::SolverKind;
use crate::system::{Subject, broker, doctor, evaluate, exercise, export, record, session, snapshot, top};

/// Live memory introspection on the screen itself: a map of where another process writes its memory.
#[derive(Debug, Parser)]
#[command(version, about, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,

    /// Without a command, the session is started.
    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the compositor: Wayland programs on the screen, the map beside them
    Session(SessionArgs),
    /// Watch a process for a while, without a display: one picture and one JSON line of telemetry
    Snapshot(SnapshotArgs),
    /// Show the map and the numbers in this terminal
    Top(TopArgs),
    /// Keep what a process writes in a file, which `replay` shows as if it were live
    Record(RecordArgs),
    /// Start the compositor with a recording in the place of a process
    Replay(ReplayArgs),
    /// Write a recording as a table: Apache Parquet, a row for each region and window
    Export(ExportArgs),
    /// Talk to the running session: what it shows, and what it is to show
    Msg(msg::MsgArgs),
    /// Say what this machine can and cannot do, each line with its reason and remedy
    Doctor(DoctorArgs),
    /// Attach for others who may not: the one part that needs privileges (see session/memory-glass-broker.service)
    Broker(BrokerArgs),
    /// Keep the broker's audit log: what comes in line by line is on the disk before it is answered
    #[command(hide = true)]
    AuditLog {
        /// The log
        path: PathBuf,
    },
    /// Replay recordings through the sensing: how good a map a budget of faults buys, against the truth
    Evaluate(EvaluateArgs),
    /// Write memory in a known pattern: something to try the map on, and to learn to read it
    Exercise(ExerciseArgs),
}

#[derive(Debug, Args)]
struct SessionArgs {
    /// Where to show it [default: inside a desktop → winit, a VT with a display → tty, otherwise headless]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// The process to watch: its number, or its name when only one has it
    #[arg(long, value_name = "PID|NAME")]
    target: Option<String>,
    /// A recording to show in the place of a process
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    replay: Option<PathBuf>,
    #[command(flatten)]
    start: StartArgs,
    /// A graphics card to use, e.g. /dev/dri/card1; may be given several times [default: every card of the seat]
    #[arg(long, value_name = "DEVICE")]
    card: Vec<PathBuf>,
    /// Where the map lies [default: as configured, beside]
    #[arg(long, value_enum)]
    placement: Option<ipc::Placement>,
    /// Never put the map on a plane of its own: always composite it
    #[arg(long)]
    no_planes: bool,
    /// Size of the headless output, pixels, or of the window
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1280x720", value_parser = parse_size)]
    size: (i32, i32),
    /// The configuration [default: $XDG_CONFIG_HOME/memory-glass/config.toml]
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Let the services of the person's systemd and D-Bus find the session
    #[arg(long)]
    export_environment: bool,
    /// How many headless outputs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    outputs: u32,
    /// Name of the Wayland socket [default: the first free wayland-N]
    #[arg(long, value_name = "NAME")]
    socket: Option<String>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// One program for each output, started again whenever it ends, and no hotkeys but the one that ends the session
    #[arg(long)]
    kiosk: bool,
    /// A program to start in the session; without --target, the map watches it. In a kiosk, the program of every output that
    /// the configuration has none for
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Where in a recording to begin, and how fast to go.
#[derive(Debug, Args)]
struct StartArgs {
    /// Where to begin in the recording, seconds
    #[arg(long, value_name = "S", value_parser = parse_position)]
    from: Option<Duration>,
    /// How fast to play it: 2 is twice as fast as it was
    #[arg(long, value_name = "FACTOR", value_parser = parse_speed)]
    speed: Option<f64>,
}

/// A process, or a recording of one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SubjectArgs {
    /// The process to watch: its number, or its name when only one has it
    #[arg(value_name = "PID|NAME")]
    target: Option<String>,
    /// A recording to take in the place of a process
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct TopArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    start: StartArgs,
    /// Colours that the terminal has [default: as $COLORTERM says, otherwise 256]
    #[arg(long, value_enum)]
    colors: Option<Colors>,
    #[command(flatten)]
    picture: PictureArgs,
}

/// [`top::ColorDepth`] as a word on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Colors {
    True,
    #[value(name = "256")]
    Indexed,
}

#[derive(Debug, Args)]
struct RecordArgs {
    /// The process to record: its number, or its name when only one has it
    #[arg(value_name = "PID|NAME")]
    target: String,
    /// The file to make
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How long to record, seconds [default: until the process ends, or Ctrl+C]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Keep the last part that takes so much, e.g. 64M: the file, and FILE.1, FILE.2 … with what is older
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    max_size: Option<u64>,
    /// Keep the last part that lasts so long, e.g. 90s, 30m or 12h
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    max_age: Option<Duration>,
    /// Length of a window, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=60_000))]
    window_ms: u32,
    /// Print exactly one JSON object on stdout instead of words
    #[arg(long)]
    json: bool,
    /// Keep other addresses than the true ones, and no names of files
    #[arg(long)]
    anonymize: bool,
}

#[derive(Debug, Args)]
struct ReplayArgs {
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    session: SessionArgs,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The table to write
    #[arg(short, long, value_name = "FILE.parquet")]
    output: PathBuf,
}

#[derive(Debug, Args)]
struct SnapshotArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    /// Where to begin in the recording, seconds
    #[arg(long, value_name = "S", value_parser = parse_position)]
    from: Option<Duration>,
    /// How long to watch, seconds [default: 3; of a recording, to its end]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,
    /// Where to write the picture
    #[arg(short, long, value_name = "FILE.png")]
    output: Option<PathBuf>,
    /// Size of the picture, pixels
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1280x800", value_parser = parse_size)]
    size: (i32, i32),
    /// Print exactly one JSON object on stdout instead of words
    #[arg(long)]
    json: bool,
    /// Show other addresses than the true ones, and no names of files
    #[arg(long)]
    anonymize: bool,
    /// Where to write the density map: float32, indexed [y][x], NumPy's format
    #[arg(long, value_name = "FILE.npy")]
    density: Option<PathBuf>,
    /// Where to write which addresses lie where on the curve, as JSON
    #[arg(long, value_name = "FILE.json")]
    layout: Option<PathBuf>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    picture: PictureArgs,
}

#[derive(Debug, Args)]
struct WatchArgs {
    /// How writes are followed [default: as configured, the best that the kernel has]
    #[arg(long, value_enum)]
    rung: Option<RungName>,
    /// Never stop the target, not even for a moment: the same as --rung soft-dirty
    #[arg(long, conflicts_with = "rung")]
    no_ptrace: bool,
    /// How much slower the target may become, percent [default: as configured; of a snapshot, every page is seen whatever it costs]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    slowdown_budget: Option<u32>,
}

/// [`Rung`] as a word on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RungName {
    WpAsync,
    WpSync,
    Missing,
    SoftDirty,
}

#[derive(Debug, Args)]
struct PictureArgs {
    /// Order of the Hilbert curve: the map has 2^K × 2^K cells [default: as configured, the largest with a page a cell]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(i64::from(MIN_ORDER)..=i64::from(MAX_ORDER)))]
    order: Option<u32>,
    /// Colours of the map [default: inferno; in a session, as configured]
    #[arg(long, value_enum)]
    palette: Option<ipc::Palette>,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Print one JSON object instead of words
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct BrokerArgs {
    /// Where to listen [default: on the socket that systemd hands over]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve the other end of the socket that is the standard input, and nobody else
    #[arg(long, conflicts_with = "socket", hide = true)]
    connected_on_stdin: bool,
    /// Who may watch whom; without this file everybody their own processes
    #[arg(long, value_name = "FILE.toml", default_value = broker::DEFAULT_POLICY)]
    policy: PathBuf,
    /// Who attached to what [default: /var/log/memory-glass/audit.jsonl, or in ~/.local/state/memory-glass for others than root]
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct EvaluateArgs {
    /// Recordings: of `memory-glass record`, or .npz with n_pages, window_start_ns, offsets and page_index
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Faults a window that may be spent on average, as a share of the pages
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    budget: f64,
    /// Who fills in what was not seen
    #[arg(long, value_enum, default_value_t = SolverName::Tv)]
    solver: SolverName,
    /// Score the picture that fades over windows, as it is shown, instead of each window alone
    #[arg(long)]
    smoothed: bool,
    /// Pages that were armed and stayed silent stay armed, as in live capture, and are not left to the plan
    #[arg(long)]
    silent_stay_armed: bool,
    /// Order of the map [default: the largest with a page a cell]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(i64::from(MIN_ORDER)..=i64::from(MAX_ORDER)))]
    order: Option<u32>,
    /// Which samples are drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Draw one window of each recording into this folder: truth, samples, reconstruction, error and confidence
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    /// Print one JSON object a file instead of words
    #[arg(long)]
    json: bool,
}

/// [`SolverKind`] as a word on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SolverName {
    Tv,
    FusedLasso,
    Markov,
    HaarFista,
}

#[derive(Debug, Args)]
struct ExerciseArgs {
    /// What to write
    #[arg(long, value_enum, default_value_t = exercise::Pattern::Mixed)]
    pattern: exercise::Pattern,
    /// How much memory to hold, MiB
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    mib: u32,
    /// How long to run, seconds [default: until it is stopped]
    #[arg(long, value_name = "S", value_parser = parse_seconds)]
    seconds: Option<Duration>,
}

/// [`BackendKind`] as a word on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Backend {
    Tty,
    Winit,
    Headless,
}

impl Cli {
    /// Sends the log to stderr, filtered by `RUST_LOG`; without that, what the person should know: warnings, and in the
    /// session what it does. The Vulkan loader talks through wgpu_hal whenever a driver is not there; what fails for us is
    /// an error of ours.
    pub fn start_log(&self) {
        let usual = match self.command {
            None
            | Some(
                Command::Session(_)
                | Command::Replay(_)
                | Command::Broker(BrokerArgs { connected_on_stdin: false, .. }),
            ) => "info,wgpu_core=warn,wgpu_hal=off,naga=warn,smithay=warn",
            Some(_) => "warn,wgpu_hal=off",
        };
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual));
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .init();
    }

    /// Does what the command line says.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            None => session(self.session),
            Some(Command::Session(args)) => session(args),
            Some(Command::Snapshot(args)) => snapshot(args),
            Some(Command::Top(args)) => show_top(&args),
            Some(Command::Record(args)) => record(args),
            Some(Command::Replay(args)) => session(SessionArgs { replay: Some(args.file), ..args.session }),
            Some(Command::Export(args)) => {
                print!("{}", export::run(&args.file, &args.output)?);
                Ok(ExitCode::SUCCESS)
            }
            Some(Command::Msg(args)) => args.run(),
            Some(Command::Doctor(args)) => doctor(&args),
            Some(Command::Evaluate(args)) => evaluate(&args),
            Some(Command::Broker(args)) => {
                broker::run(broker::Options {
                    socket: args.socket,
                    connected_on_stdin: args.connected_on_stdin,
                    policy: args.policy,
                    audit_log: args.audit_log,
                })?;
                Ok(ExitCode::SUCCESS)
            }
            Some(Command::AuditLog { path }) => {
                broker::keep_audit_log(&path)?;
                Ok(ExitCode::SUCCESS)
            }
            Some(Command::Exercise(args)) => {
                exercise::run(args.pattern, args.mib, args.seconds)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn session(args: SessionArgs) -> Result<ExitCode> {
    let (kiosk_program, command) =
        if args.kiosk { (args.command, Vec::new()) } else { (Vec::new(), args.command) };
    session::run(session::SessionOptions {
        backend: args.backend.map(|backend| match backend {
            Backend::Tty => BackendKind::Tty,
            Backend::Winit => BackendKind::Winit,
            Backend::Headless => BackendKind::Headless,
        }),
        cards: args.card,
        planes: if args.no_planes { PlanePolicy::Never } else { PlanePolicy::Auto },
        headless_size: args.size,
        headless_outputs: args.outputs,
        socket_name: args.socket,
        config: args.config,
        overrides: Overrides {
            target: args.target,
            placement: args.placement,
            palette: args.picture.palette,
            order: args.picture.order,
            kiosk: args.kiosk,
            kiosk_program,
            rung: args.watch.rung(),
            slowdown_budget: args.watch.slowdown_budget,
        },
        replay: args.replay.map(|file| (file, args.start.replay_start())),
        export_environment: args.export_environment,
        command,
    })?;
    Ok(ExitCode::SUCCESS)
}

fn snapshot(args: SnapshotArgs) -> Result<ExitCode> {
    let start = ReplayStart { from: args.from.unwrap_or_default(), ..ReplayStart::default() };
    let report = snapshot::run(&snapshot::SnapshotOptions {
        subject: args.subject.subject(start),
        monitor: MonitorConfig {
            rung: args.watch.rung(),
            slowdown_budget: args.watch.slowdown_budget.map(|percent| f64::from(percent) / 100.0),
            ..MonitorConfig::exact()
        },
        duration: args.seconds,
        picture: args.output,
        size: args.size,
        density: args.density,
        layout: args.layout,
        hilbert: args.picture.hilbert()?,
        palette: args.picture.palette(),
        security: SecurityConfig { anonymize_addresses: args.anonymize, ..SecurityConfig::default() },
    })?;
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("numbers and strings are JSON"));
    } else {
        print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

fn show_top(args: &TopArgs) -> Result<ExitCode> {
    top::run(&top::TopOptions {
        subject: args.subject.subject(args.start.replay_start()),
        hilbert: args.picture.hilbert()?,
        palette: args.picture.palette(),
        depth: args.colors.map(|colors| match colors {
            Colors::True => top::ColorDepth::True,
            Colors::Indexed => top::ColorDepth::Indexed,
        }),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn record(args: RecordArgs) -> Result<ExitCode> {
    let report = record::run(&record::RecordOptions {
        target: args.target,
        file: args.output,
        duration: args.seconds,
        window: Duration::from_millis(args.window_ms.into()),
        limits: RingLimits { max_bytes: args.max_size, max_age: args.max_age },
        security: SecurityConfig { anonymize_addresses: args.anonymize, ..SecurityConfig::default() },
    })?;
    if args.json {
        println!("{}", serde_json::to_string(&report).expect("numbers and strings are JSON"));
    } else {
        print!("{report}");
    }
    Ok(ExitCode::SUCCESS)
}

fn doctor(args: &DoctorArgs) -> Result<ExitCode> {
    let findings = doctor::examine();
    if args.json {
        println!("{}", serde_json::to_string(&findings).expect("booleans and strings are JSON"));
    } else {
        print!("{findings}");
    }
    Ok(if findings.session_can_run() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn evaluate(args: &EvaluateArgs) -> Result<ExitCode> {
    let hilbert = match args.order {
        Some(order) => HilbertConfig::fixed(order)?,
        None => HilbertConfig::default(),
    };
    let options = evaluate::EvaluateOptions {
        budget: args.budget,
        solver: match args.solver {
            SolverName::Tv => SolverKind::Tv,
            SolverName::FusedLasso => SolverKind::FusedLasso,
            SolverName::Markov => SolverKind::Markov,
            SolverName::HaarFista => SolverKind::HaarFista,
        },
        smoothed: args.smoothed,
        silent_stay_armed: args.silent_stay_armed,
        hilbert,
        seed: args.seed,
        pictures: args.pictures.clone(),
    };
    for file in &args.files {
        let report = evaluate::run(file, &options)?;
        if args.json {
            println!("{}", serde_json::to_string(&report).expect("numbers and strings are JSON"));
        } else {
            print!("{report}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl StartArgs {
    fn replay_start(&self) -> ReplayStart {
        let usual = ReplayStart::default();
        ReplayStart { from: self.from.unwrap_or(usual.from), speed: self.speed.unwrap_or(usual.speed) }
    }
}

impl WatchArgs {
    fn rung(&self) -> Option<Rung> {
        if self.no_ptrace {
            return Some(Rung::SoftDirty);
        }
        self.rung.map(|rung| match rung {
            RungName::WpAsync => Rung::WpAsync,
            RungName::WpSync => Rung::WpSync,
            RungName::Missing => Rung::Missing,
            RungName::SoftDirty => Rung::SoftDirty,
        })
    }
}

impl SubjectArgs {
    fn subject(&self, start: ReplayStart) -> Subject {
        match (&self.replay, &self.target) {
            (Some(file), _) => Subject::Recording(file.clone(), start),
            (None, target) => Subject::Process(target.clone().unwrap_or_default()),
        }
    }
}

impl PictureArgs {
    fn hilbert(&self) -> Result<HilbertConfig> {
        Ok(match self.order {
            Some(order) => HilbertConfig::fixed(order)?,
            None => HilbertConfig::default(),
        })
    }

    fn palette(&self) -> ColorPalette {
        match self.palette.unwrap_or_default() {
            ipc::Palette::Viridis => ColorPalette::Viridis,
            ipc::Palette::Inferno => ColorPalette::Inferno,
            ipc::Palette::Cividis => ColorPalette::Cividis,
            ipc::Palette::Contrast => ColorPalette::Contrast,
        }
    }
}

fn parse_size(text: &str) -> Result<(i32, i32), String> {
    let size =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    size.filter(|(width, height)| (64..=16_384).contains(width) && (64..=16_384).contains(height))
        .ok_or_else(|| "a size is WIDTHxHEIGHT in pixels, each from 64 to 16384, e.g. 1280x720".to_owned())
}

/// A place in a recording: as a time, and 0 is one.
fn parse_position(text: &str) -> Result<Duration, String> {
    if text.parse() == Ok(0.0) { Ok(Duration::ZERO) } else { parse_seconds(text) }
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| SPEEDS.contains(speed));
    speed.ok_or_else(|| format!("a speed is a factor from {} to {}, e.g. 2", SPEEDS.start(), SPEEDS.end()))
}

/// A number with a unit behind it, as one of `units` has it.
fn parse_with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = text[digits.len()..].to_ascii_lowercase();
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    digits.parse().ok().map(|value: f64| value * factor).filter(|value| value.is_finite())
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    const KIB: f64 = 1024.0;
    let units = [("", 1.0), ("k", KIB), ("m", KIB * KIB), ("g", KIB * KIB * KIB)];
    let bytes = parse_with_unit(text, &units).filter(|bytes| (64.0 * KIB..=1e15).contains(bytes));
    bytes
        .map(|bytes| bytes as u64)
        .ok_or_else(|| "a size is a number with K, M or G, at least 64K".to_owned())
}

fn parse_age(text: &str) -> Result<Duration, String> {
    let units = [("", 1.0), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let seconds = parse_with_unit(text, &units).filter(|seconds| (1.0..=1e9).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "a time is a number with s, m or h, at least one second".to_owned())
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "a time is a number of seconds, e.g. 2.5".to_owned())?;
    if seconds.is_finite() && seconds > 0.0 && seconds <= 1e6 {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("a time is more than 0 and at most 1000000 seconds".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn sizes_and_times_are_checked() {
        assert_eq!(parse_size("640x480"), Ok((640, 480)));
        for wrong in ["", "640", "x480", "640x", "-640x480", "10x10", "99999x99999", "640x480x1"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_seconds("2.5"), Ok(Duration::from_millis(2500)));
        for wrong in ["", "0", "-1", "inf", "NaN", "1e9", "soon"] {
            assert!(parse_seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn bounds_positions_and_speeds_are_checked() {
        assert_eq!((parse_bytes("64M"), parse_bytes("1.5g")), (Ok(64 << 20), Ok(3 << 29)));
        assert_eq!(
            (parse_age("90"), parse_age("1.5h")),
            (Ok(Duration::from_secs(90)), Ok(Duration::from_secs(5400)))
        );
        assert_eq!((parse_position("0"), parse_speed("0.5")), (Ok(Duration::ZERO), Ok(0.5)));
        for wrong in ["", "M", "1", "-1M", "64X", "infM", "1e300G"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "h", "-5m", "5d"] {
            assert!(parse_age(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "0", "-1", "NaN", "2000"] {
            assert!(parse_speed(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_subject_is_a_process_or_a_recording() {
        let parse = |words: &[&str]| Cli::try_parse_from(["memory-glass"].iter().chain(words));
        assert!(parse(&["snapshot", "1"]).is_ok() && parse(&["snapshot", "--replay", "f"]).is_ok());
        assert!(parse(&["top", "1"]).is_ok() && parse(&["top", "--replay", "f", "--from", "3"]).is_ok());
        assert!(parse(&["top"]).is_err() && parse(&["top", "1", "--replay", "f"]).is_err());
        assert!(parse(&["replay", "f", "--speed", "4", "--placement", "full"]).is_ok());
        assert!(parse(&["--target", "1", "--replay", "f"]).is_err());
    }

    #[test]
    fn without_a_command_the_session_is_meant() {
        let cli = Cli::parse_from(["memory-glass", "--target", "redis", "--", "foot", "-e", "top"]);
        assert!(cli.command.is_none());
        assert_eq!(cli.session.target.as_deref(), Some("redis"));
        assert_eq!(cli.session.command, ["foot", "-e", "top"]);
        assert!(Cli::try_parse_from(["memory-glass", "snapshot", "1", "--order", "13"]).is_err());
    }
}
