//! The command line as plain typed data, and the one place that prints.

mod evaluate;
mod log;
mod machine;
mod msg;
pub mod print;
mod recording;
mod session;
mod snapshot;
mod subject;
mod top;
mod values;

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use self::evaluate::EvaluateArgs;
use self::machine::{BrokerArgs, DoctorArgs, ExerciseArgs};
use self::msg::MsgArgs;
use self::recording::{ExportArgs, RecordArgs};
use self::session::{ReplayArgs, SessionArgs};
use self::snapshot::SnapshotArgs;
use self::top::TopArgs;
use crate::Result;
use crate::plain;

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
    Msg(MsgArgs),
    /// Say what this machine can and cannot do, each line with its reason and remedy
    Doctor(DoctorArgs),
    /// Attach for others who may not: the one part that needs privileges (see
    /// session/memory-glass-broker.service)
    Broker(BrokerArgs),
    /// Replay recordings through the sensing: how good a map a budget of faults buys, against the truth
    Evaluate(EvaluateArgs),
    /// Write memory in a known pattern: something to try the map on, and to learn to read it
    Exercise(ExerciseArgs),
}

impl Cli {
    /// Reads the command line. Where it is wrong, the program ends with the reason and status 2; a machine
    /// that wants a session's answer in JSON gets the reason so, too.
    pub fn read() -> Self {
        let words: Vec<_> = std::env::args_os().collect();
        Self::try_parse_from(&words).unwrap_or_else(|error| {
            if error.use_stderr() && msg::wants_json(&words) {
                msg::refuse(&error);
            }
            std::process::exit(usage(&error, &words))
        })
    }

    /// Sends the log to stderr, filtered by `RUST_LOG`; without that, what the person should know: warnings,
    /// and in the session what it does. The Vulkan loader talks through wgpu_hal whenever a driver is not
    /// there; what fails for us is an error of ours. And calloop warns where two things befall a source at
    /// once, and the first is its end.
    pub fn start_log(&self) {
        let usual = match self.command {
            None
            | Some(
                Command::Session(_)
                | Command::Replay(_)
                | Command::Broker(BrokerArgs { connected_on_stdin: false, .. }),
            ) => "info,wgpu_core=warn,wgpu_hal=off,naga=warn,smithay=warn,calloop=error",
            Some(_) => "warn,wgpu_hal=off,calloop=error",
        };
        let colours = std::io::stderr().is_terminal();
        let filter = tracing_subscriber::EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual));
        // Smithay takes the name of an X11 program's message for UTF-8 when it writes it down, and panics
        // where it is none. And a desktop that is gone is told some thousand times a second by the library,
        // and once by us.
        let never = ["smithay::xwayland::xwm=info", "wayland_backend=off"];
        let never = never.into_iter().filter_map(|directive| directive.parse().ok());
        let filter = never.fold(filter, tracing_subscriber::EnvFilter::add_directive);
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            // A log that nobody takes is not told to stderr, which is where it would have gone.
            .log_internal_errors(false)
            .with_writer(log::Log { colours })
            .with_ansi(colours)
            .init();
    }

    /// Does what the command line says.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            None => self.session.run(),
            Some(Command::Session(args)) => args.run(),
            Some(Command::Snapshot(args)) => args.run(),
            Some(Command::Top(args)) => args.run(),
            Some(Command::Record(args)) => args.run(),
            Some(Command::Replay(args)) => args.run(),
            Some(Command::Export(args)) => args.run(),
            Some(Command::Msg(args)) => args.run(),
            Some(Command::Doctor(args)) => args.run(),
            Some(Command::Evaluate(args)) => args.run(),
            Some(Command::Broker(args)) => args.run(),
            Some(Command::Exercise(args)) => args.run(),
        }
    }
}

/// Says what is wrong with the command line, or what was asked of it, and with which status the program ends.
fn usage(error: &clap::Error, words: &[std::ffi::OsString]) -> i32 {
    let hostile = words.iter().any(|word| plain::plain(&word.to_string_lossy()) != word.to_string_lossy());
    if error.use_stderr() {
        // Styles, where stderr shows some; but a word that came from elsewhere is repeated as one that can be
        // seen.
        let text = error.render().to_string();
        let _ = if hostile {
            std::io::stderr().lock().write_all(plain::plain_lines(&text).as_bytes())
        } else {
            error.print()
        };
        return error.exit_code();
    }
    match error.print() {
        Ok(()) => error.exit_code(),
        Err(failed) => {
            if failed.kind() != std::io::ErrorKind::BrokenPipe {
                print::error(&format_args!(
                    "stdout cannot be written ({failed}): send it to a place that can"
                ));
            }
            1
        }
    }
}

/// What came of a command, on stdout: one JSON object, or words. The command has failed where they could not
/// be written.
fn print_report(report: &(impl Serialize + Display), json: bool) -> ExitCode {
    print::status(if json {
        print::json(&serde_json::to_string(report).expect("numbers and strings are JSON"))
    } else {
        print::words(&report.to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
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
    fn a_budget_or_everything() {
        for command in [&["session"][..], &["snapshot", "1"], &["top", "1"], &["record", "1", "-o", "f"]] {
            let parse =
                |more: &[&str]| Cli::try_parse_from(["memory-glass"].iter().chain(command).chain(more));
            assert!(parse(&["--exact", "--window-ms", "50"]).is_ok(), "{command:?}");
            assert!(parse(&["--slowdown-budget", "10"]).is_ok(), "{command:?}");
            assert!(parse(&["--exact", "--slowdown-budget", "10"]).is_err(), "{command:?}");
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
