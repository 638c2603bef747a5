//! `memory-glass snapshot`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::print_report;
use super::subject::{AttachArgs, ConfigArgs, PictureArgs, SubjectArgs, WatchArgs};
use super::values::{parse_position, parse_seconds, parse_size};
use crate::Result;
use crate::capture::MonitorConfig;
use crate::capture::recording::ReplayStart;
use crate::ipc;
use crate::system::{View, snapshot};

#[derive(Debug, Args)]
pub(super) struct SnapshotArgs {
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
    /// What the picture shows
    #[arg(long, value_enum, default_value = "heatmap")]
    mode: ipc::Mode,
    /// How values become colours
    #[arg(long, value_enum, default_value = "linear")]
    scale: ipc::Scale,
    /// What is bright spreads
    #[arg(long)]
    glow: bool,
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
    attach: AttachArgs,
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    picture: PictureArgs,
}

impl SnapshotArgs {
    pub(super) fn run(self) -> Result<ExitCode> {
        self.attach.apply();
        let start = ReplayStart { from: self.from.unwrap_or_default(), ..ReplayStart::default() };
        let report = snapshot::run(&snapshot::SnapshotOptions {
            subject: self.subject.subject(start),
            monitor: MonitorConfig { rung: self.watch.rung(), ..self.watch.budget.monitor() },
            duration: self.seconds,
            picture: self.output,
            size: self.size,
            view: View::of(self.mode, self.scale, self.glow),
            density: self.density,
            layout: self.layout,
            hilbert: self.picture.hilbert()?,
            palette: self.picture.palette(),
            security: self.config.security(self.anonymize)?,
        })?;
        Ok(print_report(&report, self.json))
    }
}
