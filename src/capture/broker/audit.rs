//! The audit log: who attached to what, when, by which rule, and who was refused.
//!
//! One JSON object a line. The broker, which may look into everything, may not open a file for writing; the log is kept by
//! an *auditor*, a process that has no privilege and nothing but the log ([`keep_audit_log`]). A line is on the disk before what it
//! tells of takes effect: the broker waits for the auditor's word, and without it attaches to nothing.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde::{Deserialize, Serialize};

use super::BrokerError;
use super::peer::Peer;

/// A log that has grown to this is put aside.
const ROTATE_AT: u64 = 8 << 20;
/// Logs that were put aside and are kept, the newest as `.1`.
const KEPT: u32 = 8;
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
    fn line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            time: String,
            #[serde(flatten)]
            record: &'a Record<'a>,
        }
        let line = Line { time: jiff::Timestamp::now().to_string(), record: self };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// The file, and those that were put aside.
#[derive(Debug)]
pub struct AuditLog {
    path: PathBuf,
    file: File,
    length: u64,
    rotate_at: u64,
}

impl AuditLog {
    /// Opens the log for appending; it and its folder are for their owner only.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::with_limit(path, ROTATE_AT)
    }

    fn with_limit(path: &Path, rotate_at: u64) -> io::Result<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let file = append(path)?;
        let length = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length, rotate_at })
    }

    /// Appends one line and returns when it is on the disk.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        if self.length >= self.rotate_at {
            self.rotate()?;
        }
        // In one call, so that a kill cannot leave half of it.
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.file.sync_data()?;
        self.length += line.len() as u64 + 1;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let aside = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..KEPT).rev() {
            match fs::rename(aside(number), aside(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, aside(1))?;
        self.file = append(&self.path)?;
        self.length = 0;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC;
    OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(flags).open(path)
}

/// The auditor's whole work: what comes in line by line is on the disk, and in the journal where there is one, before a byte
/// answers it. Returns when the broker is gone.
pub fn keep_audit_log(path: &Path, lines: impl Read, mut answers: impl Write) -> Result<(), BrokerError> {
    let failed = |error: io::Error| BrokerError::Audit { path: path.to_owned(), reason: error.to_string() };
    let mut log = AuditLog::open(path).map_err(failed)?;
    let journal = UnixDatagram::unbound().ok().filter(|socket| socket.connect(JOURNAL).is_ok());
    // The first word: the log can be kept.
    answers.write_all(b"+").and_then(|()| answers.flush()).map_err(failed)?;
    for line in io::BufReader::new(lines).lines() {
        let line = line.map_err(failed)?;
        let written = log.write(&line);
        if let Some(journal) = &journal {
            // A journal that is busy or gone is not waited for: the file is the log.
            let entry = format!("SYSLOG_IDENTIFIER=memory-glass-audit\nPRIORITY=5\nMESSAGE={line}\n");
            let _ = journal.send(entry.as_bytes());
        }
        let answer: &[u8] = if written.is_ok() { b"+" } else { b"-" };
        answers.write_all(answer).and_then(|()| answers.flush()).map_err(failed)?;
    }
    Ok(())
}

/// The auditor, as the broker has it.
#[derive(Debug)]
pub(super) struct Auditor {
    lines: ChildStdin,
    answers: ChildStdout,
    /// It has ended, and what it was given last may be lost.
    gone: bool,
    // Ends by itself when `lines` is closed.
    _process: Child,
}

impl Auditor {
    /// Starts it, before the broker confines itself.
    pub fn start(path: &Path) -> Result<Self, BrokerError> {
        let failed = |reason: String| BrokerError::Audit { path: path.to_owned(), reason };
        let mut process = Command::new("/proc/self/exe")
            .arg("audit-log")
            .arg(path)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        let (Some(lines), Some(mut answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(failed("no pipe to the auditor".into()));
        };
        if word(&mut answers) != Some(true) {
            return Err(failed("the auditor's own message is above".into()));
        }
        for end in [lines.as_fd(), answers.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|errno| failed(errno.to_string()))?;
        }
        Ok(Self { lines, answers, gone: false, _process: process })
    }

    /// Hands the record over. Where that is so, the auditor's word on it is one of those of [`heard`](Self::heard), in their order.
    ///
    /// It is not waited for: its pipe has room for one record of each client.
    pub fn record(&mut self, record: &Record<'_>) -> bool {
        let line = format!("{}\n", record.line());
        // Up to this length it is written whole or not at all (pipe(7)).
        !self.gone && line.len() <= nix::libc::PIPE_BUF && self.lines.write_all(line.as_bytes()).is_ok()
    }

    /// The words that have come, without waiting: whether each next record is on the disk. None when the auditor is gone.
    pub fn heard(&mut self) -> Option<Vec<bool>> {
        let mut words = [0; 64];
        match self.answers.read(&mut words) {
            Ok(count @ 1..) => return Some(words.iter().take(count).map(|word| *word == b'+').collect()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return Some(Vec::new());
            }
            Ok(_) | Err(_) => self.gone = true,
        }
        None
    }

    /// Readable when there is a word; none when none will come any more.
    pub fn words(&self) -> Option<BorrowedFd<'_>> {
        (!self.gone).then(|| self.answers.as_fd())
    }
}

fn word(answers: &mut impl Read) -> Option<bool> {
    let mut byte = [0];
    answers.read_exact(&mut byte).ok()?;
    Some(byte == *b"+")
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
    fn full_logs_are_put_aside_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit/log.jsonl");
        let mut log = AuditLog::with_limit(&path, 30).unwrap();
        for number in 0..40 {
            log.write(&format!("line {number:010}")).unwrap();
        }
        let read = |suffix: &str| fs::read_to_string(format!("{}{suffix}", path.display()));
        assert_eq!(read("").unwrap(), "line 0000000038\nline 0000000039\n");
        assert_eq!(read(".1").unwrap(), "line 0000000036\nline 0000000037\n");
        assert!(read(&format!(".{KEPT}")).is_ok() && read(&format!(".{}", KEPT + 1)).is_err());
        // Opened anew it goes on where it was.
        drop(log);
        AuditLog::with_limit(&path, 1000).unwrap().write("more").unwrap();
        assert_eq!(read("").unwrap(), "line 0000000038\nline 0000000039\nmore\n");
    }

    #[test]
    fn every_line_is_answered_after_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut answers = Vec::new();
        keep_audit_log(&path, &b"one\ntwo\n"[..], &mut answers).unwrap();
        assert_eq!(answers, b"+++");
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(keep_audit_log(&link, &b""[..], &mut Vec::new()).is_err(), "a link is not followed");
    }
}
