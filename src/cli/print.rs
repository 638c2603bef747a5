//! What the program says on stdout and stderr. Either may be closed, full, or a pipe that nobody reads: that
//! is an exit status, and never a panic.

use std::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

use crate::plain::{plain, plain_json, plain_lines};

/// Writes words to stdout, lines and all. False when they could not be, of which stderr has a line by then;
/// where nobody reads any more, as in `… | head`, there is nothing to say.
pub(super) fn words(text: &str) -> bool {
    raw(&plain_lines(text))
}

/// As [`words`], one JSON value on a line.
pub(super) fn json(value: &str) -> bool {
    raw(&format!("{}\n", plain_json(value)))
}

fn raw(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => true,
        Err(failed) => {
            if failed.kind() != ErrorKind::BrokenPipe {
                error(&format_args!("stdout cannot be written ({failed}): send it to a place that can"));
            }
            false
        }
    }
}

/// One line on stderr, if that can be had.
pub fn error(what: &dyn Display) {
    let line = format!("memory-glass: {}\n", plain(&what.to_string()));
    // There is no third place to say that this one is gone.
    let _ = std::io::stderr().lock().write_all(line.as_bytes());
}

/// The exit status of a command of which only the output could fail.
pub(super) fn status(printed: bool) -> ExitCode {
    if printed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
