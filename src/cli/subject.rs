//! What several commands ask for: which process or recording, how it is watched, and how the map looks.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{parse_position, parse_speed};
use crate::Result;
use crate::capture::recording::ReplayStart;
use crate::capture::{self, MonitorConfig, Rung};
use crate::config::{Config, SecurityConfig};
use crate::ipc;
use crate::map::{HilbertConfig, MAX_ORDER, MIN_ORDER};
use crate::render::ColorPalette;
use crate::system::Subject;

/// A process, or a recording of one.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct SubjectArgs {
    /// The process to watch: its number, or its name when only one has it
    #[arg(value_name = "PID|NAME")]
    target: Option<String>,
    /// A recording to take in the place of a process
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,
}

impl SubjectArgs {
    pub(super) fn subject(&self, start: ReplayStart) -> Subject {
        match (&self.replay, &self.target) {
            (Some(file), _) => Subject::Recording(file.clone(), start),
            (None, target) => Subject::Process(target.clone().unwrap_or_default()),
        }
    }
}

/// Where in a recording to begin, and how fast to go.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// Where to begin in the recording, seconds
    #[arg(long, value_name = "S", value_parser = parse_position)]
    from: Option<Duration>,
    /// How fast to play it: 2 is twice as fast as it was
    #[arg(long, value_name = "FACTOR", value_parser = parse_speed)]
    speed: Option<f64>,
}

impl StartArgs {
    pub(super) fn replay_start(&self) -> ReplayStart {
        let usual = ReplayStart::default();
        ReplayStart { from: self.from.unwrap_or(usual.from), speed: self.speed.unwrap_or(usual.speed) }
    }
}

#[derive(Debug, Args)]
pub(super) struct WatchArgs {
    /// How writes are followed [default: as configured, the best that the kernel has]
    #[arg(long, value_enum)]
    rung: Option<RungName>,
    /// Never stop the target, not even for a moment: the same as --rung soft-dirty
    #[arg(long, conflicts_with = "rung")]
    no_ptrace: bool,
    #[command(flatten)]
    pub(super) budget: BudgetArgs,
}

impl WatchArgs {
    pub(super) fn rung(&self) -> Option<Rung> {
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

/// How often to look, and how much that may cost the target: the same words for everything that watches.
#[derive(Debug, Args)]
pub(super) struct BudgetArgs {
    /// How much slower the target may become, percent [default: 5; in a session, as configured]
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) slowdown_budget: Option<u32>,
    /// No budget: every page is seen in every window, whatever it costs the target
    #[arg(long, conflicts_with = "slowdown_budget")]
    pub(super) exact: bool,
    /// Length of a window, milliseconds [default: a sixtieth of a second, with --exact a tenth; in a session,
    /// as configured]
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u32).range(10..=60_000))]
    pub(super) window_ms: Option<u32>,
}

impl BudgetArgs {
    /// Where no configuration has a word in it.
    pub(super) fn monitor(&self) -> MonitorConfig {
        let usual = if self.exact { MonitorConfig::exact() } else { MonitorConfig::default() };
        let budget = self.slowdown_budget.map(|percent| f64::from(percent) / 100.0);
        let window = self.window_ms.map(|length| Duration::from_millis(length.into()));
        MonitorConfig {
            window: window.unwrap_or(usual.window),
            slowdown_budget: budget.or(usual.slowdown_budget),
            ..usual
        }
    }
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
pub(super) struct AttachArgs {
    /// Attach even where a system call of the target ends early or late by it; otherwise that is refused
    /// after a wait of 5 s
    #[arg(long)]
    interrupt_calls: bool,
    /// Watch a program, too, that can make a userfaultfd of its own (virtual machines, checkpointing): what
    /// it registers fails until it is seen to have one
    #[arg(long)]
    pub(super) watch_own_userfaultfd: bool,
}

impl AttachArgs {
    /// For all attaches and watches of this program.
    pub(super) fn apply(&self) {
        capture::interrupt_calls(self.interrupt_calls);
        capture::watch_own_userfaultfd(self.watch_own_userfaultfd);
    }
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// The configuration, whose [security] holds here, too [default:
    /// $XDG_CONFIG_HOME/memory-glass/config.toml]
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
}

impl ConfigArgs {
    /// How careful to be: as configured, and with what was asked for beside.
    pub(super) fn security(&self, anonymize: bool) -> Result<SecurityConfig> {
        let configured = Config::security_of(self.config.as_deref())?;
        Ok(SecurityConfig { anonymize_addresses: configured.anonymize_addresses | anonymize, ..configured })
    }
}

#[derive(Debug, Args)]
pub(super) struct PictureArgs {
    /// Order of the Hilbert curve: the map has 2^K × 2^K cells [default: as configured, the largest with a
    /// page a cell]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(i64::from(MIN_ORDER)..=i64::from(MAX_ORDER)))]
    pub(super) order: Option<u32>,
    /// Colours of the map [default: inferno; in a session, as configured]
    #[arg(long, value_enum)]
    pub(super) palette: Option<ipc::Palette>,
}

impl PictureArgs {
    pub(super) fn hilbert(&self) -> Result<HilbertConfig> {
        Ok(match self.order {
            Some(order) => HilbertConfig::fixed(order)?,
            None => HilbertConfig::default(),
        })
    }

    pub(super) fn palette(&self) -> ColorPalette {
        match self.palette.unwrap_or_default() {
            ipc::Palette::Viridis => ColorPalette::Viridis,
            ipc::Palette::Inferno => ColorPalette::Inferno,
            ipc::Palette::Cividis => ColorPalette::Cividis,
            ipc::Palette::Contrast => ColorPalette::Contrast,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Words {
        #[command(flatten)]
        budget: BudgetArgs,
    }

    #[test]
    fn sixty_looks_a_second_within_five_percent_unless_something_else_is_said() {
        let watched = |words: &[&str]| {
            let words = Words::try_parse_from(["it"].iter().chain(words)).expect("they are right");
            let MonitorConfig { window, slowdown_budget, .. } = words.budget.monitor();
            (window.as_micros(), slowdown_budget)
        };
        assert_eq!(watched(&[]), (16_666, Some(0.05)));
        assert_eq!(watched(&["--slowdown-budget", "2", "--window-ms", "50"]), (50_000, Some(0.02)));
        assert_eq!(watched(&["--exact"]), (100_000, None));
        assert_eq!(watched(&["--exact", "--window-ms", "20"]), (20_000, None));
    }
}
