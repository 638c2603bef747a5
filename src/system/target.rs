//! What is meant by what the person typed: a process, or a recording of one.

use std::path::PathBuf;

use crate::capture::recording::{Replay, ReplayStart};
use crate::capture::{
    self, Attacher, GlassRamMonitor, MonitorConfig, ProcessSummary, WindowSource, shortage,
};
use crate::{GlassRamError, Result};

/// What is to be looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A process number, or a name that one process has.
    Process(String),
    /// A recording, and where to begin in it.
    Recording(PathBuf, ReplayStart),
}

impl Subject {
    /// Attaches to the process, or opens the recording.
    pub(super) fn open(&self, attacher: &Attacher, config: MonitorConfig) -> Result<WindowSource> {
        Ok(match self {
            Self::Process(word) => {
                shortage::first_to_go();
                GlassRamMonitor::watch(attacher.attach_by(resolve(word)?, config.rung)?, config)?.into()
            }
            Self::Recording(path, start) => Replay::open(path, *start)?.into(),
        })
    }
}

/// The number of the process that `word` means: a number, or a name that exactly one process has.
pub fn resolve(word: &str) -> Result<u32> {
    if let Ok(pid) = word.parse() {
        return match capture::process_of_thread(pid) {
            Some(process) if process != pid => Err(GlassRamError::FeatureNotSupported {
                feature: format!("{pid} is a thread of process {process}: give the number of the process"),
            }),
            _ => Ok(pid),
        };
    }
    let named: Vec<ProcessSummary> = capture::processes()
        .filter(|process| process.comm == word && process.pid != std::process::id())
        .collect();
    match named.as_slice() {
        [only] => Ok(only.pid),
        [] => Err(GlassRamError::FeatureNotSupported {
            feature: format!(
                "no process is named \"{word}\": give its number, or its name as `ps -e` shows it"
            ),
        }),
        several => {
            let pids: Vec<String> = several.iter().map(|process| process.pid.to_string()).collect();
            Err(GlassRamError::FeatureNotSupported {
                feature: format!(
                    "{} processes are named \"{word}\": give one of {}",
                    several.len(),
                    pids.join(", ")
                ),
            })
        }
    }
}
