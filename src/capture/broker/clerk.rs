//! The process of one client: hears its requests, asks the policy, has it written down, attaches, looks
//! again, hands over.
//!
//! What a client does to it, by asking for what takes long or by not reading what it asked for, it does to
//! itself alone.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{debug, warn};

use super::audit::Event;
use super::counter::{Ask, Counter, Note, Word};
use super::credentials::Credentials;
use super::peer::{Caller, has_ended, pid_of};
use super::wire::{self, Answer, MAX_FDS, MAX_MESSAGE, MAX_PIDS, Request, WireError};
use super::{Policy, proof};
use crate::capture::region::{MemoryRegion, parse_maps};
use crate::capture::target::memory_path;
use crate::capture::{CaptureError, ProcessAttach, Rung, inject, keeper, perf, processes, sys};
use crate::{GlassRamError, Result};

/// How long a client may leave an answer unread.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether keepers have ended.
const LOOKING_IN: Duration = Duration::from_secs(2);
/// So many processes that are asked about weigh as much as one request.
const PIDS_A_WEIGHT: usize = 64;
/// Room in a message beside what it lists.
const FRAME: usize = 256;

/// One client.
pub(super) struct Clerk {
    client: OwnedFd,
    caller: Caller,
    policy: Policy,
    counter: Counter,
    /// Until then its user has asked enough.
    resting: Option<(Instant, String)>,
}

/// What a client has shown to be let attach to: a process by its number.
#[derive(Clone, Copy)]
struct About<'a> {
    pid: u32,
    shown: Option<BorrowedFd<'a>>,
}

impl Clerk {
    pub fn new(client: OwnedFd, caller: Caller, policy: Policy, counter: Counter) -> Self {
        Self { client, caller, policy, counter, resting: None }
    }

    /// Serves until the client is gone, is dismissed, or the broker is gone.
    pub fn serve(mut self) {
        while self.wait() && self.hear() {}
        debug!(peer = ?self.caller.peer(), "a client is gone");
    }

    /// Waits for a request; whether there is somebody left to work for.
    fn wait(&self) -> bool {
        let of = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds = [of(self.client.as_fd()), of(self.counter.as_fd())];
        loop {
            // Keepers end while nobody asks for anything.
            let patience = if keeper::look_in() {
                PollTimeout::try_from(LOOKING_IN).unwrap_or(PollTimeout::MAX)
            } else {
                PollTimeout::NONE
            };
            match poll(&mut fds, patience) {
                Ok(0) => {}
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => {
                    warn!(%errno, "a client cannot be waited for");
                    return false;
                }
            }
        }
        // The broker says nothing unasked: it is gone.
        !fds[1].any().unwrap_or(true)
    }

    /// Answers one request; whether the client stays.
    fn hear(&mut self) -> bool {
        let (request, fds) = match wire::receive::<Request>(self.client.as_fd(), 2) {
            Ok(Some(message)) => message,
            Ok(None) => return false,
            Err(error) => {
                warn!(%error, peer = ?self.caller.peer(), "a client is dismissed");
                let feature = format!("{error}: speak the protocol of this version");
                self.answer(&Answer::refused(GlassRamError::FeatureNotSupported { feature }), &[]);
                return false;
            }
        };
        if let Some(refusal) = self.held_back(&request) {
            return self.answer(&refusal, &[]);
        }
        match request {
            Request::MayWatch { pids } => self.answer_in_parts(self.may_watch(&pids)),
            Request::Listen => match self.listen(self.about(&fds)) {
                Ok(events) => self.hand_over(&events),
                Err(error) => self.answer(&Answer::refused(error), &[]),
            },
            Request::Attach { pid, interrupt_calls } => {
                let about = About { pid, shown: fds.first().map(AsFd::as_fd) };
                let attached = match self.counter.ask(&Ask::Attach) {
                    Some(Word::Yes) => self.attach(about, interrupt_calls),
                    Some(Word::Later { reason, again_ms }) => {
                        return self.answer(&later(&reason, again_ms), &[]);
                    }
                    Some(Word::No) | None => Err(unwritten()),
                };
                let stays = match &attached {
                    Ok(attached) => match attached.to_parts() {
                        Some((facts, fds)) => self.answer(&Answer::Attached(facts), &fds),
                        None => self.answer(&Answer::refused(CaptureError::Changed { pid }), &[]),
                    },
                    Err(error) => self.answer(&Answer::refused(error.clone()), &[]),
                };
                // What is not handed over is let go first.
                drop(attached);
                self.counter.tell(&Ask::Done);
                stays
            }
        }
    }

    /// The process of a request that comes with its pidfd, and what is shown for it.
    fn about<'a>(&self, fds: &'a [OwnedFd]) -> Option<(BorrowedFd<'a>, About<'a>)> {
        let pidfd = fds.first()?.as_fd();
        Some((pidfd, About { pid: pid_of(pidfd)?, shown: fds.get(1).map(AsFd::as_fd) }))
    }

    /// The refusal, where its user has asked enough for now.
    fn held_back(&mut self, request: &Request) -> Option<Answer> {
        if self.caller.started_us() {
            return None;
        }
        if let Some((until, reason)) = self.resting.take() {
            let left = until.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                let refusal = later(&reason, left.as_millis() as u64 + 1);
                self.resting = Some((until, reason));
                return Some(refusal);
            }
        }
        let (pid, pids) = match request {
            Request::Attach { pid, .. } => (*pid, 0),
            Request::MayWatch { pids } => (0, pids.len()),
            Request::Listen => (0, 0),
        };
        let weight = 1.0 + (pids / PIDS_A_WEIGHT) as f64;
        match self.counter.ask(&Ask::Request { weight, pid }) {
            Some(Word::Yes) => None,
            Some(Word::Later { reason, again_ms }) => {
                let refusal = later(&reason, again_ms);
                self.resting = Some((Instant::now() + Duration::from_millis(again_ms), reason));
                Some(refusal)
            }
            Some(Word::No) | None => Some(Answer::refused(unwritten())),
        }
    }

    fn may_watch(&self, pids: &[u32]) -> Vec<Option<String>> {
        let may = |pid: &u32| {
            let allowed = self.look(About { pid: *pid, shown: None });
            allowed.and_then(|_| processes::may_watch(*pid)).err().map(|error| error.to_string())
        };
        pids.iter().take(MAX_PIDS).map(may).collect()
    }

    /// What the policy says.
    fn look(&self, about: About<'_>) -> Result<(Credentials, &'static str)> {
        let rights = self.caller.rights()?;
        let target = Credentials::of(about.pid)?;
        let proven = about.shown.is_some_and(|shown| proof::holds(shown, about.pid));
        let rule = self.policy.decide(&rights, proven, about.pid, &target)?;
        Ok((target, rule))
    }

    fn attach(&self, about: About<'_>, interrupt_calls: bool) -> Result<ProcessAttach> {
        let pid = about.pid;
        // As long as this is open and its process has not ended, the number means no other one.
        let pidfd = sys::pidfd_open(pid).map_err(|_| CaptureError::NoSuchProcess { pid })?;
        let (target, rule) = self.allow(Event::Attach, about)?;
        // To end a call of a process early is more than to watch it: only who may do that anyway may have it
        // done.
        inject::interrupt_calls(interrupt_calls && !rule.starts_with("policy"));
        let outcome = ProcessAttach::attach_unwritten(pid, Rung::WpAsync)
            .and_then(|attached| self.still_of(about, pidfd.as_fd(), attached));
        match &outcome {
            Ok(_) => self.note(Event::Attached, pid, Some(&target), rule),
            Err(error) => self.note(Event::Failed, pid, Some(&target), &error.to_string()),
        };
        outcome
    }

    /// The attachment, where what it was opened on is what is allowed even now.
    ///
    /// A process never returns to an address space that it has left. It was allowed before anything was
    /// opened, and is after; so what was opened is of the address space that it has now, or of one that it
    /// had in between, a set-uid program's say, and has left. The latter is gone, or is somebody else's who
    /// shared it: it does not lie where the one that it has now does.
    fn still_of(
        &self,
        about: About<'_>,
        pidfd: BorrowedFd<'_>,
        mut attached: ProcessAttach,
    ) -> Result<ProcessAttach> {
        self.still(about, pidfd)?;
        let changed = CaptureError::Changed { pid: about.pid };
        attached.maps.read().map_err(|_| changed.clone())?;
        let now = std::fs::read(memory_path(about.pid, "maps")).map_err(|_| changed.clone())?;
        let now = parse_maps(&now).map_err(|_| changed.clone())?;
        let same = !attached.maps.is_gone() && laid_out(attached.maps.regions(about.pid)?) == laid_out(&now);
        if same { Ok(attached) } else { Err(changed.into()) }
    }

    /// Events of the page faults of each of its threads, by processor: what may be watched may be heard, too.
    fn listen(&self, named: Option<(BorrowedFd<'_>, About<'_>)>) -> Result<Vec<Vec<OwnedFd>>> {
        let (pidfd, about) = named.ok_or(GlassRamError::ProcessNotFound { pid: 0 })?;
        let (target, _) = self.allow(Event::Listen, about)?;
        let opened = perf::events_of(about.pid)
            .map_err(|deaf| GlassRamError::FeatureNotSupported { feature: deaf.to_string() })
            .and_then(|events| self.still(about, pidfd).map(|()| events));
        opened.inspect_err(|error| {
            self.note(Event::Failed, about.pid, Some(&target), &error.to_string());
        })
    }

    /// What the policy says, which is on the disk before it takes effect.
    fn allow(&self, event: Event, about: About<'_>) -> Result<(Credentials, &'static str)> {
        let (target, rule) = self.look(about).inspect_err(|error| {
            self.note(Event::Refused, about.pid, None, &error.to_string());
        })?;
        if !self.note(event, about.pid, Some(&target), rule) {
            return Err(unwritten());
        }
        Ok((target, rule))
    }

    /// Whether it is allowed even now. It may have become another program meanwhile, a set-uid one say: then
    /// nothing is handed over, and dropping what was opened ends it.
    fn still(&self, about: About<'_>, pidfd: BorrowedFd<'_>) -> Result<()> {
        self.look(about)?;
        if has_ended(pidfd) {
            return Err(CaptureError::NoSuchProcess { pid: about.pid }.into());
        }
        Ok(())
    }

    /// Whether it is on the disk.
    fn note(&self, event: Event, pid: u32, target: Option<&Credentials>, reason: &str) -> bool {
        let written = self.counter.ask(&Ask::Note(Note::new(event, pid, target, reason)));
        if written != Some(Word::Yes) {
            warn!("the audit log cannot be written");
        }
        written == Some(Word::Yes)
    }

    /// Sends events, in as many messages as it takes; whether the client still listens.
    fn hand_over(&self, events: &[Vec<OwnedFd>]) -> bool {
        let said = Answer::Listening { events: events.iter().map(Vec::len).collect() };
        let fds: Vec<BorrowedFd<'_>> = events.iter().flatten().map(AsFd::as_fd).collect();
        if fds.is_empty() {
            return self.answer(&said, &[]);
        }
        fds.chunks(MAX_FDS).all(|fds| self.answer(&said, fds))
    }

    /// Sends words, in as many messages as it takes; whether the client still listens.
    fn answer_in_parts(&self, words: Vec<Option<String>>) -> bool {
        parts(words, MAX_MESSAGE - FRAME).into_iter().all(|part| self.answer(&Answer::MayWatch(part), &[]))
    }

    /// Whether the client still listens.
    fn answer(&self, answer: &Answer, fds: &[BorrowedFd<'_>]) -> bool {
        // Who has started us harms nobody by being slow.
        let patience = (!self.caller.started_us()).then_some(PATIENCE);
        match wire::send(self.client.as_fd(), answer, fds, patience) {
            Ok(()) => true,
            Err(WireError::Socket(_)) => false,
            Err(error) => {
                warn!(%error, peer = ?self.caller.peer(), socket = self.client.as_raw_fd(), "an answer was not sent");
                false
            }
        }
    }
}

/// Where the kernel has put its own pages into an address space: at random when a program is executed, and
/// there they stay.
fn laid_out(regions: &[MemoryRegion]) -> Vec<(u64, &str)> {
    let own = |region: &MemoryRegion| matches!(region.pathname.as_deref(), Some("[vdso]" | "[vvar]"));
    let own = regions.iter().filter(|region| own(region));
    own.map(|region| (region.start, region.pathname.as_deref().unwrap_or_default())).collect()
}

/// Splits a list so that each part takes at most so many bytes as JSON; one empty part where there is nothing
/// to list.
fn parts(words: Vec<Option<String>>, most: usize) -> Vec<Vec<Option<String>>> {
    let mut parts = vec![Vec::new()];
    let mut length = 0;
    for word in words {
        let of_this = 1 + serde_json::to_string(&word).map_or(0, |text| text.len());
        if length + of_this > most {
            parts.push(Vec::new());
            length = 0;
        }
        length += of_this;
        if let Some(part) = parts.last_mut() {
            part.push(word);
        }
    }
    parts
}

pub(super) fn later(reason: &str, again_ms: u64) -> Answer {
    let feature = format!("{reason}: ask again in a moment");
    Answer::Refused { error: GlassRamError::FeatureNotSupported { feature }, again_ms: Some(again_ms) }
}

fn unwritten() -> GlassRamError {
    let feature =
        "the audit log cannot be written, and nothing is attached to without it: see the broker's log";
    GlassRamError::FeatureNotSupported { feature: feature.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_into_one_message_comes_in_several_and_whole() {
        let word = |length: usize| Some("\"".repeat(length));
        let words: Vec<Option<String>> = (0..1024).map(|n| if n % 3 == 0 { None } else { word(n) }).collect();
        let split = parts(words.clone(), MAX_MESSAGE - FRAME);
        assert!(split.len() > 5);
        for part in &split {
            let text = serde_json::to_vec(&Answer::MayWatch(part.clone())).expect("JSON");
            assert!(!part.is_empty() && text.len() <= MAX_MESSAGE, "{}", text.len());
        }
        assert_eq!(split.concat(), words);
        assert_eq!(parts(Vec::new(), 100), [Vec::new()]);
    }
}
