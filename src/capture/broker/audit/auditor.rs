//! The process that keeps the log: what comes in line by line is on the disk, and in the journal where there is one, before a byte
//! answers it.
//!
//! It is forked, with everything open that it needs, so the broker can start it again when it has given up all else. One that dies
//! takes no line with it: what it has not answered goes to the next, and who waits for it waits a little longer.

#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pipe2};
use tracing::warn;

use super::{AuditLog, Journal, Record};
use crate::capture::broker::{BrokerError, confine};

/// So many that die one after the other without a word are no accident; the next record has another one tried.
const DEATHS: u32 = 3;

/// The auditor, as the broker has it. `W` is for whom a record is.
#[derive(Debug)]
pub(in crate::capture::broker) struct Auditor<W> {
    path: PathBuf,
    log: AuditLog,
    journal: Option<Journal>,
    process: Option<Process>,
    /// What it was given and has not answered.
    pending: VecDeque<(W, String)>,
    deaths: u32,
}

#[derive(Debug)]
struct Process {
    pid: Pid,
    // It ends by itself when this is closed.
    lines: File,
    answers: File,
}

impl<W> Auditor<W> {
    /// Opens the log and starts the process; nothing is opened later.
    pub fn start(path: &Path) -> Result<Self, BrokerError> {
        let failed =
            |error: io::Error| BrokerError::Audit { path: path.to_owned(), reason: error.to_string() };
        let mut log = AuditLog::open(path).map_err(failed)?;
        log.prepare().map_err(failed)?;
        let journal = Journal::find();
        let (path, pending) = (path.to_owned(), VecDeque::new());
        let mut auditor = Self { path, log, journal, process: None, pending, deaths: 0 };
        auditor.begin().map_err(failed)?;
        Ok(auditor)
    }

    fn begin(&mut self) -> io::Result<()> {
        let (theirs, lines) = pipe2(OFlag::O_CLOEXEC)?;
        let (answers, to_us) = pipe2(OFlag::O_CLOEXEC)?;
        for end in [lines.as_fd(), answers.as_fd()] {
            fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        // SAFETY: the broker has one thread, so no lock is held by another one, and the child may call all that this process may.
        match unsafe { fork() }? {
            ForkResult::Child => {
                let needed = [theirs.as_fd(), to_us.as_fd()].into_iter().chain(self.log.fds());
                let needed = needed.chain(self.journal.as_ref().map(AsFd::as_fd));
                let needed: Vec<RawFd> = needed.map(|fd| fd.as_raw_fd()).collect();
                close_all_but(needed);
                let kept = confine::confine_auditor().is_ok().then(|| {
                    keep(&mut self.log, self.journal.as_ref(), File::from(theirs), File::from(to_us))
                });
                // SAFETY: it ends here, and nothing of the broker's is cleaned up by it.
                unsafe { libc::_exit(i32::from(!matches!(kept, Some(Ok(()))))) }
            }
            ForkResult::Parent { child } => {
                let (lines, answers) = (File::from(lines), File::from(answers));
                self.process = Some(Process { pid: child, lines, answers });
                Ok(())
            }
        }
    }

    /// Hands a record over; whether that can be done at all. The auditor's word on it is one of those of [`heard`](Self::heard).
    ///
    /// It is not waited for: its pipe has room for one record of each client.
    pub fn record(&mut self, whose: W, record: &Record<'_>) -> bool {
        if self.process.is_none() && !self.begin_again() {
            return false;
        }
        let line = record.line() + "\n";
        let Some(process) = &self.process else { return false };
        match (&process.lines).write_all(line.as_bytes()) {
            Ok(()) => {}
            // Its end is heard of in a moment, and then the next one gets it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(_) => return false,
        }
        self.pending.push_back((whose, line));
        true
    }

    /// The words that have come, without waiting: for whom, and whether it is on the disk.
    pub fn heard(&mut self) -> Vec<(W, bool)> {
        let Some(process) = &self.process else { return Vec::new() };
        let mut words = [0; 64];
        match (&process.answers).read(&mut words) {
            Ok(count @ 1..) => {
                self.deaths = 0;
                let count = count.min(self.pending.len());
                let answered = self.pending.drain(..count).map(|(whose, _)| whose);
                answered.zip(words).map(|(whose, word)| (whose, word == b'+')).collect()
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Vec::new()
            }
            Ok(_) | Err(_) => {
                self.bury();
                if self.begin_again() {
                    return Vec::new();
                }
                // None of what is not answered is known to be written.
                self.pending.drain(..).map(|(whose, _)| (whose, false)).collect()
            }
        }
    }

    /// Readable when there is a word, or the auditor has died; none when there is none.
    pub fn words(&self) -> Option<BorrowedFd<'_>> {
        self.process.as_ref().map(|process| process.answers.as_fd())
    }

    fn bury(&mut self) {
        if let Some(process) = self.process.take() {
            // Our own child, not waited for yet: the number is its.
            let _ = kill(process.pid, Signal::SIGKILL);
            while waitpid(process.pid, None) == Err(Errno::EINTR) {}
        }
    }

    /// Another one in its place, which gets what is not answered. Whether there is one.
    fn begin_again(&mut self) -> bool {
        self.deaths += 1;
        if self.deaths > DEATHS {
            self.deaths = 0;
            return false;
        }
        warn!(log = %self.path.display(), "the auditor has ended; another one is started");
        if let Err(error) = self.begin() {
            warn!(%error, "the audit log cannot be kept");
            return false;
        }
        let Some(process) = &self.process else { return false };
        // What does not get through is heard of as its end.
        self.pending.iter().all(|(_, line)| (&process.lines).write_all(line.as_bytes()).is_ok());
        true
    }
}

/// Its whole work. Returns when the broker is gone.
fn keep(
    log: &mut AuditLog,
    journal: Option<&Journal>,
    lines: impl Read,
    mut answers: impl Write,
) -> io::Result<()> {
    for line in io::BufReader::new(lines).lines() {
        let line = line?;
        let written = log.write(&line);
        if let Some(journal) = journal {
            // The file is the log.
            journal.takes(&line);
        }
        answers.write_all(if written.is_ok() { b"+" } else { b"-" })?;
    }
    Ok(())
}

/// Sockets of clients and the rest of what a broker has are not the auditor's.
fn close_all_but(mut needed: Vec<RawFd>) {
    needed.sort_unstable();
    let mut from = 0;
    for fd in needed.iter().filter_map(|fd| u32::try_from(*fd).ok()).chain([u32::MAX]) {
        if from < fd {
            let last = if fd == u32::MAX { fd } else { fd - 1 };
            // SAFETY: the owners of what is closed are the broker's, and nothing of them is used or dropped in this process.
            unsafe { libc::syscall(libc::SYS_close_range, from, last, 0) };
        }
        from = fd.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_answered_after_it_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut answers = Vec::new();
        keep(&mut AuditLog::open(&path).unwrap(), None, &b"one\ntwo\n"[..], &mut answers).unwrap();
        assert_eq!(answers, b"++");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(AuditLog::open(&link).is_err(), "a link is not followed");
    }
}
