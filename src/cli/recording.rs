//! `memory-glass record` and `memory-glass export`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::subject::{AttachArgs, BudgetArgs, ConfigArgs};
use super::values::{parse_age, parse_bytes, parse_seconds};
use super::{print, print_report};
use crate::Result;
use crate::capture::recording::RingLimits;
use crate::system::{export, record};

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// The process to record: its number, or its name when only one has it
    #[arg(value_name = "PID|NAME")]
    target: String,
    #[command(flatten)]
    attach: AttachArgs,
    #[command(flatten)]
    config: ConfigArgs,
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
    #[command(flatten)]
    budget: BudgetArgs,
    /// Record the processes that it forks, too, and the programs that these execute: FILE.PID with the same
    /// ending for each
    #[arg(long)]
    follow_forks: bool,
    /// Print exactly one JSON object on stdout instead of words
    #[arg(long)]
    json: bool,
    /// Keep other addresses than the true ones, and no names of files
    #[arg(long)]
    anonymize: bool,
}

impl RecordArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        self.attach.apply();
        let report = record::run(&record::RecordOptions {
            target: self.target,
            file: self.output,
            duration: self.seconds,
            monitor: self.budget.monitor(),
            limits: RingLimits { max_bytes: self.max_size, max_age: self.max_age },
            security: self.config.security(self.anonymize)?,
            follow_forks: self.follow_forks,
        })?;
        Ok(print_report(&report, self.json))
    }
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// The recording
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The table to write
    #[arg(short, long, value_name = "FILE.parquet")]
    output: PathBuf,
}

impl ExportArgs {
    pub(super) fn run(&self) -> Result<ExitCode> {
        Ok(print::status(print::words(&export::run(&self.file, &self.output)?.to_string())))
    }
}
