//! The `memory-glass` binary: reads the command line, does what it says, and ends with one line and a status
//! when that fails: 1 for a failure, 2 for wrong usage.

use std::process::ExitCode;

use memory_glass::cli::{Cli, print};

fn main() -> ExitCode {
    let cli = Cli::read();
    cli.start_log();
    match cli.run() {
        Ok(code) => code,
        Err(error) => {
            print::error(&error);
            ExitCode::FAILURE
        }
    }
}
