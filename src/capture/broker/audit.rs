//! The audit log: who attached to what, when, by which rule, and who was refused.
//!
//! One JSON object a line ([`log`]). The broker, which may look into everything, may not open a file for
//! writing; the log is kept by an *auditor* ([`auditor`]), a process that has no privilege and nothing but
//! the log. A line is on the disk before what it tells of takes effect: the broker waits for the auditor's
//! word, and without it attaches to nothing. Who attaches without a broker writes into a log of their own
//! ([`own`]).

mod auditor;
mod log;
mod own;
mod shares;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;

use nix::libc::PIPE_BUF;
use nix::sys::socket::{MsgFlags, send};
use serde::{Deserialize, Serialize};

use super::peer::Peer;
pub(super) use auditor::Auditor;
pub use log::AuditLog;
pub(in crate::capture) use own::audited;
pub(super) use own::refused;
pub use own::usual_audit_log;

/// Where journald listens (systemd's "Native Journal Protocol").
const JOURNAL: &str = "/run/systemd/journal/socket";

/// What was asked and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Record<'a> {
    pub event: Event,
    pub peer: Peer,
    pub target: Target<'a>,
    /// Which rule allows it, or why it is refused.
    pub reason: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// It is allowed and about to be done.
    Attach,
    /// It was done, and is handed over.
    Attached,
    /// It is allowed to hear of a process's page faults, and about to.
    Listen,
    /// It was allowed, and could not be done.
    Failed,
    /// It is not allowed.
    Refused,
    /// Somebody asks too often; what they ask beyond is not written one by one.
    Limited,
    /// What there was more of than one user may have written down for ever.
    Summary,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Target<'a> {
    pub pid: u32,
    /// Its name and user, where they could be found out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

impl Record<'_> {
    /// One line of JSON that one write to a pipe takes (pipe(7)), the line's end included.
    fn line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            time: String,
            #[serde(flatten)]
            record: &'a Record<'a>,
        }
        let mut record = self.clone();
        loop {
            let line = Line { time: jiff::Timestamp::now().to_string(), record: &record };
            let line = escaped(&serde_json::to_string(&line).unwrap_or_default());
            let Some((middle, _)) = record.reason.char_indices().nth(record.reason.chars().count() / 2)
            else {
                return line;
            };
            if line.len() < PIPE_BUF {
                return line;
            }
            record.reason = &record.reason[..middle];
        }
    }
}

/// JSON lets much through raw that a terminal obeys or that changes what others see; it can all be said in
/// its escapes.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for char in json.chars() {
        let invisible = matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
        if char.is_control() || invisible {
            for unit in char.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            escaped.push(char);
        }
    }
    escaped
}

/// The system's journal, where there is one.
#[derive(Debug)]
struct Journal(UnixDatagram);

impl Journal {
    fn find() -> Option<Self> {
        let socket = UnixDatagram::unbound().ok()?;
        socket.connect(JOURNAL).ok()?;
        Some(Self(socket))
    }

    /// Whether it has taken a line.
    fn takes(&self, line: &str) -> bool {
        let entry = format!("SYSLOG_IDENTIFIER=memory-glass-audit\nPRIORITY=5\nMESSAGE={line}\n");
        // One that is busy is not waited for.
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        send(self.0.as_raw_fd(), entry.as_bytes(), flags).is_ok()
    }
}

impl AsFd for Journal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(reason: &str) -> Record<'_> {
        Record {
            event: Event::Refused,
            peer: Peer { pid: 1, uid: 2, gid: 3 },
            target: Target { pid: 7, comm: Some("a\n\"b"), uid: None },
            reason,
        }
    }

    #[test]
    fn a_record_is_one_line_whatever_the_target_is_called() {
        let line = record("no").line();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["event"], "refused");
        assert_eq!(value["target"]["comm"], "a\n\"b");
        assert!(value["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn nothing_in_a_record_is_obeyed_by_a_terminal_and_each_is_one_write() {
        let name = "\u{9b}31m\u{7f}\u{202e}x";
        let reason = "\u{85}".repeat(500) + &"\u{e0001}".repeat(500);
        let record = Record { target: Target { pid: 7, comm: Some(name), uid: None }, ..record(&reason) };
        let line = record.line();
        assert!(line.is_ascii() && !line.contains(|char: char| char.is_control()), "{line}");
        assert!(line.len() < PIPE_BUF, "{}", line.len());
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["target"]["comm"], name);
        assert!(value["reason"].as_str().is_some_and(|kept| kept.len() > 100 && reason.starts_with(kept)));
    }
}
