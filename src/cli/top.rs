//! `memory-glass top`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::subject::{AttachArgs, BudgetArgs, ConfigArgs, PictureArgs, StartArgs, SubjectArgs};
use crate::Result;
use crate::system::top;

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    subject: SubjectArgs,
    #[command(flatten)]
    start: StartArgs,
    #[command(flatten)]
    budget: BudgetArgs,
    #[command(flatten)]
    attach: AttachArgs,
    #[command(flatten)]
    config: ConfigArgs,
    /// Colours that the terminal has [default: none under $NO_COLOR, as $COLORTERM says, otherwise 256]
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
    None,
}

impl TopArgs {
    pub(super) fn run(&self) -> Result<ExitCode> {
        self.attach.apply();
        top::run(&top::TopOptions {
            subject: self.subject.subject(self.start.replay_start()),
            monitor: self.budget.monitor(),
            hilbert: self.picture.hilbert()?,
            palette: self.picture.palette(),
            security: self.config.security(false)?,
            depth: self.colors.map(|colors| match colors {
                Colors::True => top::ColorDepth::True,
                Colors::Indexed => top::ColorDepth::Indexed,
                Colors::None => top::ColorDepth::None,
            }),
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
