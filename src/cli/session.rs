//! `memory-glass session`, which is also what is meant without a command, and `memory-glass replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::subject::{AttachArgs, PictureArgs, StartArgs, WatchArgs};
use super::values::parse_size;
use crate::Result;
use crate::config::Overrides;
use crate::display::{BackendKind, PlanePolicy};
use crate::ipc;
use crate::system::session;

#[derive(Debug, Args)]
pub(super) struct SessionArgs {
    /// Where to show it [default: inside a desktop → winit, a VT with a display → tty, otherwise headless]
    #[arg(long, value_enum)]
    backend: Option<Backend>,
    /// The process to watch: its number, or its name when only one has it
    #[arg(long, value_name = "PID|NAME")]
    pub(super) target: Option<String>,
    /// A recording to show in the place of a process
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    replay: Option<PathBuf>,
    #[command(flatten)]
    start: StartArgs,
    /// A graphics card to use, e.g. /dev/dri/card1; may be given several times. A link as in /dev/dri/by-path
    /// is followed anew when a card is plugged in [default: every card of the seat]
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
    attach: AttachArgs,
    /// Watch the processes that the target forks, too, and the programs that these execute: the picker and
    /// `msg watch` show each at once
    #[arg(long)]
    follow_forks: bool,
    #[command(flatten)]
    picture: PictureArgs,
    /// One program for each output, started again whenever it ends, and no hotkeys but the one that ends the
    /// session
    #[arg(long)]
    kiosk: bool,
    /// A program to start in the session; without --target, the map watches it. In a kiosk, the program of
    /// every output that the configuration has none for
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

/// [`BackendKind`] as a word on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Backend {
    Tty,
    Winit,
    Headless,
}

impl SessionArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        self.attach.apply();
        let (kiosk_program, command) =
            if self.kiosk { (self.command, Vec::new()) } else { (Vec::new(), self.command) };
        session::run(session::SessionOptions {
            backend: self.backend.map(|backend| match backend {
                Backend::Tty => BackendKind::Tty,
                Backend::Winit => BackendKind::Winit,
                Backend::Headless => BackendKind::Headless,
            }),
            cards: self.card,
            planes: if self.no_planes { PlanePolicy::Never } else { PlanePolicy::Auto },
            headless_size: self.size,
            headless_outputs: self.outputs,
            socket_name: self.socket,
            config: self.config,
            overrides: Overrides {
                target: self.target,
                placement: self.placement,
                palette: self.picture.palette,
                order: self.picture.order,
                kiosk: self.kiosk,
                kiosk_program,
                rung: self.watch.rung(),
                slowdown_budget: self.watch.budget.slowdown_budget,
                exact: self.watch.budget.exact,
                window_ms: self.watch.budget.window_ms,
                follow_forks: self.follow_forks,
                watch_own_userfaultfd: self.attach.watch_own_userfaultfd,
            },
            replay: self.replay.map(|file| (file, self.start.replay_start())),
            export_environment: self.export_environment,
            command,
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    session: SessionArgs,
}

impl ReplayArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        SessionArgs { replay: Some(self.file), ..self.session }.run()
    }
}
