//! What the process of one client and the broker that listens say to each other: what has to be counted by user, and what has to be
//! written down. Who the client is, the broker knows itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use serde::{Deserialize, Serialize};

use super::audit::Event;
use super::credentials::Credentials;
use super::wire;

/// How long the broker may take: it writes to a disk before it answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest reason, characters: with all that escaping them may take, a record stays one write to a pipe.
const MAX_REASON: usize = 500;

/// What the process of a client asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Ask {
    /// May this request be answered?
    Request {
        /// How heavy it is.
        weight: f64,
        /// The process that it is about, for the log.
        pid: u32,
    },
    /// May another attach be done for this user?
    Attach,
    /// It is done; nothing is answered.
    Done,
    /// This is to be on the disk.
    Note(Note),
}

/// What a record has beside its time and its peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub event: Event,
    pub pid: u32,
    pub comm: Option<String>,
    pub uid: Option<u32>,
    pub reason: String,
}

impl Note {
    pub fn new(event: Event, pid: u32, target: Option<&Credentials>, reason: &str) -> Self {
        Self {
            event,
            pid,
            comm: target.map(|target| target.comm.clone()),
            uid: target.map(|target| target.uids[1]),
            reason: reason.chars().take(MAX_REASON).collect(),
        }
    }
}

/// What the broker answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    Yes,
    /// What was to be written down is not.
    No,
    Later {
        reason: String,
        again_ms: u64,
    },
}

/// The client's process's way to the broker.
#[derive(Debug)]
pub(super) struct Counter(OwnedFd);

impl Counter {
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// The broker's answer; none when it is gone, or does not answer: then nothing more may be asked, as answers would be of earlier
    /// questions.
    pub fn ask(&self, ask: &Ask) -> Option<Word> {
        let until = Instant::now() + PATIENCE;
        wire::send(self.0.as_fd(), ask, &[], Some(PATIENCE)).ok()?;
        wire::wait(self.0.as_fd(), PollFlags::POLLIN, Some(until)).ok()?;
        wire::receive::<Word>(self.0.as_fd(), 0).ok()?.map(|(word, _)| word)
    }

    /// Tells the broker what it does not answer.
    pub fn tell(&self, ask: &Ask) {
        // A broker that is gone is noticed where it is waited for.
        let _ = wire::send(self.0.as_fd(), ask, &[], Some(PATIENCE));
    }
}

impl AsFd for Counter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
