//! Attaches without a broker: to the journal, or, where there is none, into the person's own log.
//!
//! Whoever attaches with their own rights could as well write nothing, so where it cannot be written it is
//! said, and no more.

use std::path::PathBuf;

use tracing::{debug, warn};

use super::{AuditLog, Event, Journal, Record, Target};
use crate::Result;
use crate::capture::broker::counter::Note;
use crate::capture::broker::credentials::Credentials;
use crate::capture::broker::peer::Rights;

/// Root's log is where logs are, that of others in their state.
pub fn usual_audit_log() -> PathBuf {
    let folder = if nix::unistd::geteuid().is_root() {
        PathBuf::from("/var/log")
    } else {
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        state.unwrap_or_else(|| std::env::home_dir().unwrap_or_default().join(".local/state"))
    };
    folder.join("memory-glass/audit.jsonl")
}

/// Does it, and writes down before that it is going to be done, and afterwards what came of it.
pub(in crate::capture) fn audited<T>(pid: u32, how: &str, attach: impl FnOnce() -> Result<T>) -> Result<T> {
    let target = Credentials::of(pid).ok();
    let note = |event, reason: &str| note(&Note::new(event, pid, target.as_ref(), reason));
    note(Event::Attach, how);
    let outcome = attach();
    match &outcome {
        Ok(_) => note(Event::Attached, how),
        Err(error) => note(Event::Failed, &error.to_string()),
    }
    outcome
}

/// A refusal of our own.
pub(in crate::capture::broker) fn refused(pid: u32, reason: &str) {
    note(&Note::new(Event::Refused, pid, Credentials::of(pid).ok().as_ref(), reason));
}

fn note(note: &Note) {
    let target = Target { pid: note.pid, comm: note.comm.as_deref(), uid: note.uid };
    let peer = Rights::ours().peer;
    let line = Record { event: note.event, peer, target, reason: &note.reason }.line();
    if Journal::find().is_some_and(|journal| journal.takes(&line)) {
        return;
    }
    let path = usual_audit_log();
    if let Err(error) = AuditLog::open(&path).and_then(|mut log| log.write(&line)) {
        let path = path.display();
        // Said once for what is attached to; who is refused hears that, and nothing else.
        if note.event == Event::Attach {
            warn!(%error, %path, "what is attached to is not written down");
        } else {
            debug!(%error, %path, "not written down");
        }
    }
}
