//! `memory-glass evaluate`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::print_report;
use super::subject::ConfigArgs;
use crate::Result;
use crate::map::{HilbertConfig, MAX_ORDER, MIN_ORDER};
use crate::sensing::SolverKind;
use crate::system::evaluate;

#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Recordings: of `memory-glass record --exact`, or .npz with n_pages, window_start_ns, offsets and page_index
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
    /// Draw one window of each recording into this folder: truth, samples, reconstruction, error and
    /// confidence
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
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

impl EvaluateArgs {
    pub(super) fn run(&self) -> Result<ExitCode> {
        self.config.security(false)?.confine_session()?;
        let hilbert = match self.order {
            Some(order) => HilbertConfig::fixed(order)?,
            None => HilbertConfig::default(),
        };
        let options = evaluate::EvaluateOptions {
            budget: self.budget,
            solver: match self.solver {
                SolverName::Tv => SolverKind::Tv,
                SolverName::FusedLasso => SolverKind::FusedLasso,
                SolverName::Markov => SolverKind::Markov,
                SolverName::HaarFista => SolverKind::HaarFista,
            },
            smoothed: self.smoothed,
            silent_stay_armed: self.silent_stay_armed,
            hilbert,
            seed: self.seed,
            pictures: self.pictures.clone(),
        };
        for file in &self.files {
            let report = evaluate::run(file, &options)?;
            if print_report(&report, self.json) == ExitCode::FAILURE {
                return Ok(ExitCode::FAILURE);
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
