//! Which process is meant by what the person typed.

use crate::capture::{self, ProcessSummary};
use crate::{GlassRamError, Result};

/// The number of the process that `word` means: a number, or a name that exactly one process has.
pub fn resolve(word: &str) -> Result<u32> {
    if let Ok(pid) = word.parse() {
        return Ok(pid);
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
