//! The log's way to stderr: whoever reads it can end, stop reading, or have a terminal that obeys what it is
//! sent, and none of that is the program's end.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::fmt::MakeWriter;

use crate::plain::plain;
use crate::standard_error;

/// A pipe that is ready takes so many bytes without waiting (PIPE_BUF).
const AT_ONCE: usize = 4096;
/// How long a line waits for its reader, milliseconds. Once one has waited in vain, no other does until the
/// reader is back.
const PATIENCE: u16 = 100;

/// Makes the writers of single lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    /// Whether the lines are coloured.
    pub colours: bool,
}

/// One event: what is written at a time becomes one line.
#[derive(Debug)]
pub(super) struct Line(Log);

/// What became of the lines before.
static STATE: Mutex<State> = Mutex::new(State { lost: 0, torn: false });

struct State {
    /// Lines that nobody took, since the last one that somebody did.
    lost: u64,
    /// The last of them was begun.
    torn: bool,
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(*self)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = one_line(text.trim_end_matches('\n'), self.0.colours);
        let mut state = STATE.lock().unwrap_or_else(PoisonError::into_inner);
        state.say(io::stderr().as_fd(), &line);
        // Nobody could do anything about a line that is lost.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn say(&mut self, to: impl AsFd, line: &str) {
        let before = match (self.torn, self.lost) {
            (_, 0) => String::new(),
            (torn, lost) => {
                format!("{}{lost} lines of the log were not read in time\n", if torn { "\n" } else { "" })
            }
        };
        let text = format!("{before}{line}\n");
        let patience = if self.lost == 0 { PATIENCE } else { 0 };
        match send(to.as_fd(), text.as_bytes(), patience) {
            Ok(()) => *self = State { lost: 0, torn: false },
            Err(written) => {
                standard_error::keep_usable();
                self.lost += 1;
                // Of what was owed nothing else is known to be whole.
                self.torn |= written > 0;
            }
        }
    }
}

/// Writes all of it, or says how much was. Waits for whoever reads, but not for long.
fn send(to: std::os::fd::BorrowedFd<'_>, bytes: &[u8], patience: u16) -> Result<(), usize> {
    let mut written = 0;
    while written < bytes.len() {
        let mut ready = [PollFd::new(to, PollFlags::POLLOUT)];
        match poll(&mut ready, PollTimeout::from(patience)) {
            Err(Errno::EINTR) => continue,
            Ok(1..) if ready[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT)) => {}
            _ => return Err(written),
        }
        let end = bytes.len().min(written + AT_ONCE);
        match nix::unistd::write(to, &bytes[written..end]) {
            Ok(count @ 1..) => written += count,
            Err(Errno::EINTR) => {}
            _ => return Err(written),
        }
    }
    Ok(())
}

/// The text of an event with what others have named written out; the log's own colours stay.
fn one_line(text: &str, colours: bool) -> String {
    if !colours {
        return plain(text).into_owned();
    }
    let mut line = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, length)) = colour(rest) {
        line.push_str(&plain(&rest[..start]));
        line.push_str(&rest[start..start + length]);
        rest = &rest[start + length..];
    }
    line.push_str(&plain(rest));
    line
}

/// Where the next colour is: `ESC [`, numbers, `m`. The subscriber has already escaped any that stood in a
/// value.
fn colour(text: &str) -> Option<(usize, usize)> {
    text.match_indices("\u{1b}[").find_map(|(start, head)| {
        let numbers = text[start + head.len()..].find(|next: char| !next.is_ascii_digit() && next != ';')?;
        let length = head.len() + numbers + 1;
        text.get(start..start + length)?.ends_with('m').then_some((start, length))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_line_is_one_line_and_keeps_only_the_logs_own_colours() {
        assert_eq!(one_line("a\nb\u{1b}]0;x\u{7}", false), "a\\nb\\x1b]0;x\\x07");
        assert_eq!(
            one_line("\u{1b}[32m INFO\u{1b}[0m x\u{1b}[2Jy", true),
            "\u{1b}[32m INFO\u{1b}[0m x\\x1b[2Jy"
        );
    }

    #[test]
    fn a_reader_that_stops_is_not_waited_for_and_is_told_what_it_missed() {
        let (mut read, write) = io::pipe().expect("made");
        let mut state = State { lost: 0, torn: false };
        let long = "x".repeat(1000);
        let mut said = 0;
        while state.lost < 50 {
            state.say(&write, &long);
            said += 1;
        }
        let mut buffer = vec![0; 1 << 20];
        let first = read.read(&mut buffer).expect("read");
        state.say(&write, "again");
        assert_eq!(state.lost, 0, "of {said} lines {first} bytes were read");
        drop(write);
        let mut rest = String::new();
        read.read_to_string(&mut rest).expect("read");
        assert!(rest.ends_with("50 lines of the log were not read in time\nagain\n"), "{rest}");
    }

    #[test]
    fn a_reader_that_is_gone_is_no_failure() {
        let (read, write) = io::pipe().expect("made");
        drop(read);
        let mut state = State { lost: 0, torn: false };
        state.say(&write, "nobody");
        assert_eq!(state.lost, 1);
    }
}
