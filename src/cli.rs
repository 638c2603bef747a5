//! The command line as plain typed data, and the one place that prints.

mod msg;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::Result;
use crate::config::{Overrides, SecurityConfig};
use crate::display::{BackendKind, PlanePolicy};
use crate::ipc;
use crate::map::{HilbertConfig, MAX_ORDER, MIN_ORDER};
use crate::render::ColorPalette;
use crate::sensing::SolverKind;
use crate::system::{broker, doctor, evaluate, exercise, session, snapshot};

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
    /// Where to show it [default: a VT with a display → tty, otherwise headless]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// The process to watch: its number, or its name when only one has it
    #[arg(long, value_name = "PID|NAME")]
    target: Option<String>,
    /// A graphics card to use, e.g. /dev/dri/card1; may be given several times [default: every card of the seat]
    #[arg(long, value_name = "DEVICE")]
    card: Vec<PathBuf>,
    /// Where the map lies [default: as configured, beside]
    #[arg(long, value_enum)]
    placement: Option<ipc::Placement>,
    /// Never put the map on a plane of its own: always composite it
    #[arg(long)]
    no_planes: bool,
    /// Size of the headless output, pixels
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
    picture: PictureArgs,
    /// A program to start in the session; without --target, the map watches it
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

#[derive(Debug, Args)]
struct SnapshotArgs {
    /// The process to watch: its number, or its name when only one has it
    #[arg(value_name = "PID|NAME")]
    target: String,
    /// How long to watch, seconds
    #[arg(long, value_name = "S", default_value = "3", value_parser = parse_seconds)]
    seconds: Duration,
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
    picture: PictureArgs,
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
    /// Recordings: .npz with n_pages, window_start_ns, offsets and page_index
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
    /// Order of the map [default: the largest with a page a cell]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(i64::from(MIN_ORDER)..=i64::from(MAX_ORDER)))]
    order: Option<u32>,
    /// Which samples are drawn
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
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
    Headless,
}

impl Cli {
    /// Sends the log to stderr, filtered by `RUST_LOG`; without that, what the person should know: warnings, and in the
    /// session what it does. The Vulkan loader talks through wgpu_hal whenever a driver is not there; what fails for us is
    /// an error of ours.
    pub fn start_log(&self) {
        let usual = match self.command {
            None
            | Some(Command::Session(_) | Command::Broker(BrokerArgs { connected_on_stdin: false, .. })) => {
                "info,wgpu_core=warn,wgpu_hal=off,naga=warn,smithay=warn"
            }
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
    session::run(session::SessionOptions {
        backend: args.backend.map(|backend| match backend {
            Backend::Tty => BackendKind::Tty,
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
        },
        export_environment: args.export_environment,
        command: args.command,
    })?;
    Ok(ExitCode::SUCCESS)
}

fn snapshot(args: SnapshotArgs) -> Result<ExitCode> {
    let report = snapshot::run(&snapshot::SnapshotOptions {
        target: args.target,
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
        hilbert,
        seed: args.seed,
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
        }
    }
}

fn parse_size(text: &str) -> Result<(i32, i32), String> {
    let size =
        text.split_once('x').and_then(|(width, height)| Some((width.parse().ok()?, height.parse().ok()?)));
    size.filter(|(width, height)| (64..=16_384).contains(width) && (64..=16_384).contains(height))
        .ok_or_else(|| "a size is WIDTHxHEIGHT in pixels, each from 64 to 16384, e.g. 1280x720".to_owned())
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
    fn without_a_command_the_session_is_meant() {
        let cli = Cli::parse_from(["memory-glass", "--target", "redis", "--", "foot", "-e", "top"]);
        assert!(cli.command.is_none());
        assert_eq!(cli.session.target.as_deref(), Some("redis"));
        assert_eq!(cli.session.command, ["foot", "-e", "top"]);
        assert!(Cli::try_parse_from(["memory-glass", "snapshot", "1", "--order", "13"]).is_err());
    }
}
