//! What concerns the machine and not a target: `memory-glass doctor`, `broker` and `exercise`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::print_report;
use super::values::parse_seconds;
use crate::Result;
use crate::system::{broker, doctor, exercise};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Print one JSON object instead of words
    #[arg(long)]
    json: bool,
}

impl DoctorArgs {
    pub(super) fn run(&self) -> Result<ExitCode> {
        let findings = doctor::examine();
        let printed = print_report(&findings, self.json);
        Ok(if findings.session_can_run() { printed } else { ExitCode::FAILURE })
    }
}

#[derive(Debug, Args)]
pub(super) struct BrokerArgs {
    /// Where to listen [default: on the socket that systemd hands over]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Serve the other end of the socket that is the standard input, and nobody else
    #[arg(long, conflicts_with = "socket", hide = true)]
    pub(super) connected_on_stdin: bool,
    /// Suspend the seccomp filter of a target, without one of its own: for root alone
    #[arg(long, requires = "connected_on_stdin", hide = true)]
    suspend_seccomp: bool,
    /// Who may watch whom; without this file everybody their own processes
    #[arg(long, value_name = "FILE.toml", default_value = broker::DEFAULT_POLICY)]
    policy: PathBuf,
    /// Who attached to what [default: /var/log/memory-glass/audit.jsonl, or in ~/.local/state/memory-glass
    /// for others than root]
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,
}

impl BrokerArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        broker::run(broker::Options {
            socket: self.socket,
            connected_on_stdin: self.connected_on_stdin,
            suspend_seccomp: self.suspend_seccomp,
            policy: self.policy,
            audit_log: self.audit_log,
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, Args)]
pub(super) struct ExerciseArgs {
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

impl ExerciseArgs {
    pub(super) fn run(&self) -> Result<ExitCode> {
        exercise::run(self.pattern, self.mib, self.seconds)?;
        Ok(ExitCode::SUCCESS)
    }
}
