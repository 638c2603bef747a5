//! The broker that listens: who comes gets a process of their own, and this one counts and has it written down.
//!
//! It waits for nobody: each client is served by a process that is forked for it (`clerk`), after everything has been given up that is not
//! needed, and what these ask of it (`counter`) it answers at once, or when the auditor has.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, accept4, getsockopt, socketpair, sockopt};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, fork};
use tracing::{debug, info, warn};

use super::allowance::{Accounts, Limited};
use super::audit::{Auditor, Event, Record, Target};
use super::clerk::{Clerk, later};
use super::counter::{Ask, Counter, Note, Word};
use super::peer::{Caller, Peer};
use super::wire::{self, Answer};
use super::{BrokerError, Policy, confine};
use crate::capture::{probe, sys};
use crate::{GlassRamError, Result};

/// How long a descriptor of somebody else's may keep this process from its work: not at all.
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

/// Where clients come from.
#[derive(Debug)]
pub enum Origin {
    /// A listening socket: anybody who can reach it, until the broker is stopped.
    Listening(OwnedFd),
    /// One connected socket: its other end, until that is closed. That is who has started the broker, to do for it what it has then
    /// given up the right to do; it is not limited.
    Connected(OwnedFd),
}

impl Origin {
    /// The one listening socket that systemd hands over (sd_listen_fds(3)).
    pub fn handed_over() -> std::io::Result<Self> {
        let failed = |reason: &str| std::io::Error::new(std::io::ErrorKind::NotFound, reason.to_owned());
        let raw = sd_notify::listen_fds()?.next().ok_or_else(|| failed("systemd handed no socket over"))?;
        let socket = owned(raw);
        match getsockopt(&socket, sockopt::AcceptConn) {
            Ok(true) => Ok(Self::Listening(socket)),
            _ => Err(failed("what systemd handed over does not listen")),
        }
    }
}

/// What a broker is started with.
#[derive(Debug)]
pub struct BrokerOptions {
    /// Where clients come from.
    pub origin: Origin,
    /// The policy file; it need not exist.
    pub policy: PathBuf,
    /// The audit log; it is made where there is none.
    pub audit_log: PathBuf,
    /// Whether seccomp filters of targets are suspended, which the kernel lets only those do who have none themselves.
    pub suspends_seccomp: bool,
}

/// A client's process, as the broker has it.
struct Desk {
    number: u64,
    peer: Peer,
    limited: bool,
    attaching: bool,
    process: Pid,
    pidfd: OwnedFd,
    /// None once it has closed its end.
    counter: Option<OwnedFd>,
}

struct Broker {
    policy: Policy,
    /// Records are for the process of a client; those for nobody are the broker's own.
    auditor: Auditor<Option<u64>>,
    desks: Vec<Desk>,
    accounts: Accounts,
    desks_so_far: u64,
}

/// Confines this process and serves until there is nobody left to serve. `ready` is called when it answers.
pub fn serve(options: BrokerOptions, ready: impl FnOnce()) -> Result<()> {
    let policy = Policy::read(&options.policy).map_err(BrokerError::from)?;
    let auditor = Auditor::start(&options.audit_log)?;
    // What it finds out about this kernel it finds out on itself, which nobody can look into any more afterwards.
    probe::supported()?;
    confine::confine(options.suspends_seccomp)?;
    let mut broker =
        Broker { policy, auditor, desks: Vec::new(), accounts: Accounts::default(), desks_so_far: 0 };
    let listener = match options.origin {
        Origin::Listening(listener) => {
            // Who knocks and goes away again is not waited for.
            fcntl(&listener, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
                .map_err(|errno| BrokerError::Listen(errno.into()))?;
            Some(listener)
        }
        Origin::Connected(socket) => {
            if let Some(clerk) = broker.open_desk(socket, true) {
                drop(broker);
                clerk.serve();
                return Ok(());
            }
            None
        }
    };
    info!(rules = broker.policy.allow.len(), "the broker answers");
    ready();
    while listener.is_some() || !broker.desks.is_empty() {
        let due = broker.wait(listener.as_ref()).map_err(BrokerError::Listen)?;
        if due.auditor {
            broker.audited();
        }
        for number in due.desks {
            broker.hear(number);
        }
        if due.knocks
            && let Some(client) = listener.as_ref().and_then(admit)
            && let Some(clerk) = broker.open_desk(client, false)
        {
            // From here on this is the client's process, which has nothing of the broker's or of other clients'.
            drop(broker);
            drop(listener);
            clerk.serve();
            return Ok(());
        }
    }
    Ok(())
}

/// Who wants something.
struct Due {
    knocks: bool,
    auditor: bool,
    desks: Vec<u64>,
}

fn admit(listener: &OwnedFd) -> Option<OwnedFd> {
    match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        Ok(raw) => Some(owned(raw)),
        Err(errno) => {
            debug!(%errno, "nobody there after all");
            None
        }
    }
}

#[allow(unsafe_code)]
fn owned(raw: i32) -> OwnedFd {
    // SAFETY: a number that accept4(2) has just returned, or that systemd has given us for our own, is nobody else's.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// A second process like this one.
#[allow(unsafe_code)]
fn fork_here() -> nix::Result<ForkResult> {
    // SAFETY: the broker has one thread, so no lock is held by another one, and all that it may call it may go on calling.
    unsafe { fork() }
}

fn tell(client: BorrowedFd<'_>, answer: &Answer) {
    // Who does not even take this has no more to hear.
    let _ = wire::send(client, answer, &[], AT_ONCE);
}

impl Broker {
    fn wait(&self, listener: Option<&OwnedFd>) -> std::io::Result<Due> {
        let of = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds: Vec<PollFd<'_>> = self.auditor.words().map(of).into_iter().collect();
        let audited = !fds.is_empty();
        let mut whose = Vec::new();
        for desk in &self.desks {
            for fd in [Some(&desk.pidfd), desk.counter.as_ref()].into_iter().flatten() {
                fds.push(of(fd.as_fd()));
                whose.push(desk.number);
            }
        }
        fds.extend(listener.map(|listener| of(listener.as_fd())));
        loop {
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        let mut due = fds.iter().map(|fd| fd.any().unwrap_or(true));
        let auditor = audited && due.next().unwrap_or(false);
        let mut desks: Vec<u64> =
            whose.into_iter().zip(due.by_ref()).filter_map(|(number, due)| due.then_some(number)).collect();
        desks.dedup();
        Ok(Due { knocks: due.next().unwrap_or(false), auditor, desks })
    }

    /// A client gets its process. In that process, and only there, the answer is what serves it.
    fn open_desk(&mut self, client: OwnedFd, started_us: bool) -> Option<Clerk> {
        let caller = match Caller::of(client.as_fd(), started_us) {
            Ok(caller) => caller,
            Err(stranger) => {
                warn!(%stranger, "a client is not served");
                tell(client.as_fd(), &Answer::refused(stranger));
                return None;
            }
        };
        let peer = caller.peer();
        if !started_us && let Err(limited) = self.accounts.enter(peer.uid, Instant::now()) {
            tell(client.as_fd(), &later(&limited.reason, milliseconds(&limited)));
            self.note_limited(peer, 0, &limited);
            return None;
        }
        let number = self.desks_so_far;
        self.desks_so_far += 1;
        match self.start_desk(number, peer, started_us) {
            Ok(Some(counter)) => Some(Clerk::new(client, caller, self.policy.clone(), counter)),
            Ok(None) => {
                debug!(?peer, "a client");
                None
            }
            Err(errno) => {
                warn!(%errno, "a client gets no process");
                let feature = format!("no process for another client ({errno}): ask again in a moment");
                tell(client.as_fd(), &Answer::refused(GlassRamError::FeatureNotSupported { feature }));
                if !started_us {
                    self.accounts.leave(peer.uid, Instant::now());
                }
                None
            }
        }
    }

    fn start_desk(&mut self, number: u64, peer: Peer, started_us: bool) -> nix::Result<Option<Counter>> {
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        match fork_here()? {
            ForkResult::Child => Ok(Some(Counter::new(theirs))),
            ForkResult::Parent { child } => {
                // Our own child, not waited for yet: the number is its.
                let pidfd = sys::pidfd_open(child.as_raw().cast_unsigned())?;
                self.desks.push(Desk {
                    number,
                    peer,
                    limited: !started_us,
                    attaching: false,
                    process: child,
                    pidfd,
                    counter: Some(ours),
                });
                Ok(None)
            }
        }
    }

    /// Answers one question of a client's process, or takes note of its end.
    fn hear(&mut self, number: u64) {
        let now = Instant::now();
        let Some(at) = self.desks.iter().position(|desk| desk.number == number) else { return };
        let Some(desk) = self.desks.get_mut(at) else { return };
        let asked = desk.counter.as_ref().map(|counter| {
            let asks = PollFd::new(counter.as_fd(), PollFlags::POLLIN);
            let due = poll(&mut [asks], PollTimeout::ZERO).is_ok_and(|ready| ready > 0);
            due.then(|| wire::receive::<Ask>(counter.as_fd(), 0))
        });
        match asked.flatten() {
            Some(Ok(Some((ask, _)))) => return self.answer(at, ask, now),
            // It is about to end, or speaks nonsense: then nothing that it does counts any more.
            Some(Ok(None) | Err(_)) => desk.counter = None,
            None => {}
        }
        let ended = waitpid(desk.process, Some(WaitPidFlag::WNOHANG));
        if matches!(ended, Ok(nix::sys::wait::WaitStatus::StillAlive)) {
            return;
        }
        let desk = self.desks.remove(at);
        if desk.limited {
            if desk.attaching {
                self.accounts.end(desk.peer.uid, now);
            }
            self.accounts.leave(desk.peer.uid, now);
        }
    }

    fn answer(&mut self, at: usize, ask: Ask, now: Instant) {
        let Some(desk) = self.desks.get_mut(at) else { return };
        let (peer, user) = (desk.peer, desk.peer.uid);
        let (allowed, about) = match ask {
            Ask::Request { weight, pid } if desk.limited => (self.accounts.ask(user, weight, now), pid),
            Ask::Attach if desk.limited && !desk.attaching => {
                let begun = self.accounts.begin(user, now);
                desk.attaching = begun.is_ok();
                (begun, 0)
            }
            Ask::Request { .. } | Ask::Attach => (Ok(()), 0),
            Ask::Done => {
                if std::mem::take(&mut desk.attaching) {
                    self.accounts.end(user, now);
                }
                return;
            }
            Ask::Note(note) => {
                let (number, limited) = (desk.number, desk.limited);
                let Some(note) = self.as_allowed(note, peer, limited, now) else {
                    return self.say(number, &Word::Yes);
                };
                if !self.record(Some(number), peer, &note) {
                    self.say(number, &Word::No);
                }
                return;
            }
        };
        let number = desk.number;
        match allowed {
            Ok(()) => self.say(number, &Word::Yes),
            Err(limited) => {
                let again_ms = milliseconds(&limited);
                self.note_limited(peer, about, &limited);
                self.say(number, &Word::Later { reason: limited.reason, again_ms });
            }
        }
    }

    fn say(&mut self, number: u64, word: &Word) {
        let Some(desk) = self.desks.iter_mut().find(|desk| desk.number == number) else { return };
        let Some(counter) = &desk.counter else { return };
        // It waits for this one word. If it does not, it is not as it should be.
        if wire::send(counter.as_fd(), word, &[], AT_ONCE).is_err() {
            desk.counter = None;
        }
    }

    /// One word in the log for each flood.
    fn note_limited(&mut self, peer: Peer, pid: u32, limited: &Limited) {
        if limited.newly {
            let note = Note::new(Event::Limited, pid, None, "asks too often");
            if let Some(note) = self.as_allowed(note, peer, true, Instant::now()) {
                self.record(None, peer, &note);
            }
        }
    }

    /// The note as it is to be written; none where it is a refusal and enough of this user's have been.
    fn as_allowed(&mut self, note: Note, peer: Peer, limited: bool, now: Instant) -> Option<Note> {
        if !limited || !matches!(note.event, Event::Refused | Event::Limited) {
            return Some(note);
        }
        match self.accounts.line(peer.uid, now)? {
            0 => Some(note),
            more => {
                let reason = format!("{} ({more} more were refused to user {})", note.reason, peer.uid);
                Some(Note { reason, ..note })
            }
        }
    }

    /// Whether the auditor has it to write down; then its word is passed on when it comes.
    fn record(&mut self, whose: Option<u64>, peer: Peer, note: &Note) -> bool {
        let target = Target { pid: note.pid, comm: note.comm.as_deref(), uid: note.uid };
        let record = Record { event: note.event, peer, target, reason: &note.reason };
        let handed = self.auditor.record(whose, &record);
        if !handed {
            warn!("the audit log cannot be written");
        }
        handed
    }

    /// Passes the auditor's words on.
    fn audited(&mut self) {
        for (whose, written) in self.auditor.heard() {
            if let Some(number) = whose {
                self.say(number, if written { &Word::Yes } else { &Word::No });
            }
        }
    }
}

fn milliseconds(limited: &Limited) -> u64 {
    limited.again.as_millis() as u64 + 1
}
