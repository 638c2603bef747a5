//! The broker: hears requests, asks the policy, has it written down, attaches, looks again, hands over.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockFlag, accept4, getsockopt, sockopt};
use tracing::{debug, info, warn};

use super::audit::{Auditor, Event, Record, Target};
use super::peer::{Credentials, Peer};
use super::wire::{self, Answer, MAX_FDS, MAX_PIDS, MAX_RANGES, Request, WireError};
use super::{BrokerError, Policy, confine};
use crate::capture::{CaptureError, PageRange, ProcessAttach, Rung, huge, perf, probe, processes, sys};
use crate::{GlassRamError, Result};

/// Clients at the same time.
const MAX_CLIENTS: usize = 32;
/// What a client may ask at once after a pause, and how much of that comes back in a second.
const BURST: f64 = 20.0;
const PER_SECOND: f64 = 5.0;

/// Where clients come from.
#[derive(Debug)]
pub enum Origin {
    /// A listening socket: anybody who can reach it, until the broker is stopped.
    Listening(OwnedFd),
    /// One connected socket: its other end, until that is closed.
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
}

struct Client {
    socket: OwnedFd,
    peer: Peer,
    allowance: f64,
    since: Instant,
    limited: bool,
}

struct Broker {
    policy: Policy,
    auditor: Auditor,
}

/// Confines this process and serves until there is nobody left to serve. `ready` is called when it answers.
pub fn serve(options: BrokerOptions, ready: impl FnOnce()) -> Result<()> {
    let policy = Policy::read(&options.policy).map_err(BrokerError::from)?;
    let auditor = Auditor::start(&options.audit_log)?;
    // What it finds out about this kernel it finds out on itself, which nobody can look into any more afterwards.
    probe::supported()?;
    confine::confine()?;
    let mut broker = Broker { policy, auditor };
    let mut clients = Vec::new();
    let listener = match options.origin {
        Origin::Listening(listener) => Some(listener),
        Origin::Connected(socket) => {
            clients.extend(Client::new(socket));
            None
        }
    };
    info!(rules = broker.policy.allow.len(), "the broker answers");
    ready();
    while listener.is_some() || !clients.is_empty() {
        let (knocks, due) = wait(listener.as_ref(), &clients).map_err(BrokerError::Listen)?;
        if knocks && let Some(listener) = &listener {
            clients.extend(admit(listener, clients.len()));
        }
        let mut index = 0;
        clients.retain_mut(|client| {
            index += 1;
            !due.get(index - 1).copied().unwrap_or(false) || broker.hear(client)
        });
    }
    Ok(())
}

/// Waits until somebody wants something: whether there is a new client, and which of the others speak.
fn wait(listener: Option<&OwnedFd>, clients: &[Client]) -> std::io::Result<(bool, Vec<bool>)> {
    let sockets = listener.into_iter().chain(clients.iter().map(|client| &client.socket));
    let mut fds: Vec<PollFd<'_>> =
        sockets.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
    loop {
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let mut due = fds.iter().map(|fd| fd.any().unwrap_or(true));
    let knocks = listener.is_some() && due.next().unwrap_or(false);
    Ok((knocks, due.collect()))
}

fn admit(listener: &OwnedFd, clients: usize) -> Option<Client> {
    let socket = match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        Ok(raw) => owned(raw),
        Err(errno) => {
            debug!(%errno, "nobody there after all");
            return None;
        }
    };
    if clients >= MAX_CLIENTS {
        let feature = format!("the broker has {MAX_CLIENTS} clients already: close one");
        let _ =
            wire::send(socket.as_fd(), &Answer::Refused(GlassRamError::FeatureNotSupported { feature }), &[]);
        return None;
    }
    Client::new(socket)
}

#[allow(unsafe_code)]
fn owned(raw: i32) -> OwnedFd {
    // SAFETY: a number that accept4(2) has just returned, or that systemd has given us for our own, is nobody else's.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

impl Client {
    fn new(socket: OwnedFd) -> Option<Self> {
        let peer = Peer::of(socket.as_fd())
            .inspect_err(|errno| warn!(%errno, "a client does not say who it is"))
            .ok()?;
        debug!(?peer, "a client");
        Some(Self { socket, peer, allowance: BURST, since: Instant::now(), limited: false })
    }

    fn may_ask(&mut self) -> bool {
        let now = Instant::now();
        let back = (now - self.since).as_secs_f64() * PER_SECOND;
        self.allowance = (self.allowance + back).min(BURST);
        self.since = now;
        let may = self.allowance >= 1.0;
        if may {
            self.allowance -= 1.0;
        }
        may
    }
}

impl Broker {
    /// Answers one request; whether the client stays.
    fn hear(&mut self, client: &mut Client) -> bool {
        let (request, fds) = match wire::receive::<Request>(client.socket.as_fd(), 1) {
            Ok(Some(message)) => message,
            Ok(None) => return false,
            Err(error) => {
                warn!(%error, peer = ?client.peer, "a client is dismissed");
                let feature = format!("{error}: speak the protocol of this version");
                answer(client, &Answer::Refused(GlassRamError::FeatureNotSupported { feature }), &[]);
                return false;
            }
        };
        if !client.may_ask() {
            if !client.limited {
                client.limited = true;
                let pid = match &request {
                    Request::Attach { pid, .. } => *pid,
                    Request::MayWatch { .. } | Request::Listen | Request::Collapse { .. } => 0,
                };
                self.note(Event::Limited, client.peer, pid, None, "asks too often");
            }
            let feature = format!("more than {PER_SECOND} requests a second: ask again in a moment");
            return answer(client, &Answer::Refused(GlassRamError::FeatureNotSupported { feature }), &[]);
        }
        // Until it has been quiet for a while, it is the same flood.
        client.limited &= client.allowance < BURST / 2.0;
        match request {
            Request::MayWatch { pids } => {
                let words = pids.into_iter().take(MAX_PIDS).map(|pid| {
                    let may = self.look(client.peer, pid).map(drop);
                    may.and_then(|()| processes::may_watch(pid)).err().map(|error| error.to_string())
                });
                answer(client, &Answer::MayWatch(words.collect()), &[])
            }
            Request::Collapse { ranges } => {
                let bytes = fds.first().map_or(0, |pidfd| self.collapse(client.peer, pidfd.as_fd(), &ranges));
                answer(client, &Answer::Collapsed { bytes }, &[])
            }
            Request::Listen => match self.listen(client.peer, fds.first()) {
                Ok(events) => hand_over(client, &events),
                Err(error) => answer(client, &Answer::Refused(error), &[]),
            },
            Request::Attach { pid, interrupt_calls } => {
                match self.attach(client.peer, pid, interrupt_calls) {
                    Ok(attached) => match attached.to_parts() {
                        Some((facts, fds)) => answer(client, &Answer::Attached(facts), &fds),
                        None => answer(client, &Answer::Refused(CaptureError::Changed { pid }.into()), &[]),
                    },
                    Err(error) => answer(client, &Answer::Refused(error), &[]),
                }
            }
        }
    }

    /// What the policy says.
    fn look(&self, peer: Peer, pid: u32) -> Result<(Credentials, &'static str)> {
        let target = Credentials::of(pid)?;
        let rule = self.policy.decide(peer, pid, &target)?;
        Ok((target, rule))
    }

    fn attach(&mut self, peer: Peer, pid: u32, interrupt_calls: bool) -> Result<ProcessAttach> {
        crate::capture::interrupt_calls(interrupt_calls);
        // As long as this is open and its process has not ended, the number means no other one.
        let pidfd = sys::pidfd_open(pid).map_err(|_| CaptureError::NoSuchProcess { pid })?;
        let (target, rule) = self.allow(Event::Attach, peer, pid)?;
        let outcome = ProcessAttach::attach_by(pid, Rung::WpAsync)
            .and_then(|attached| self.still(peer, pid, pidfd.as_fd()).map(|()| attached));
        match &outcome {
            Ok(_) => self.note(Event::Attached, peer, pid, Some(&target), rule),
            Err(error) => self.note(Event::Failed, peer, pid, Some(&target), &error.to_string()),
        };
        outcome
    }

    /// Events of the page faults of each of its threads, by processor: what may be watched may be heard, too.
    fn listen(&mut self, peer: Peer, pidfd: Option<&OwnedFd>) -> Result<Vec<Vec<OwnedFd>>> {
        let named = pidfd.and_then(|pidfd| Some((pidfd.as_fd(), pid_of(pidfd.as_fd())?)));
        let (pidfd, pid) = named.ok_or(GlassRamError::ProcessNotFound { pid: 0 })?;
        let (target, _) = self.allow(Event::Listen, peer, pid)?;
        let opened = perf::events_of(pid)
            .map_err(|deaf| GlassRamError::FeatureNotSupported { feature: deaf.to_string() })
            .and_then(|events| self.still(peer, pid, pidfd).map(|()| events));
        opened.inspect_err(|error| {
            self.note(Event::Failed, peer, pid, Some(&target), &error.to_string());
        })
    }

    /// What the policy says, which is on the disk before it takes effect.
    fn allow(&mut self, event: Event, peer: Peer, pid: u32) -> Result<(Credentials, &'static str)> {
        let (target, rule) = self.look(peer, pid).inspect_err(|error| {
            self.note(Event::Refused, peer, pid, None, &error.to_string());
        })?;
        if !self.note(event, peer, pid, Some(&target), rule) {
            let feature = "the audit log cannot be written, and nothing is attached to without it: see the broker's log";
            return Err(GlassRamError::FeatureNotSupported { feature: feature.into() });
        }
        Ok((target, rule))
    }

    /// Whether it is allowed even now. It may have become another program meanwhile, a set-uid one say: then nothing is handed over,
    /// and dropping what was opened ends it.
    fn still(&self, peer: Peer, pid: u32, pidfd: BorrowedFd<'_>) -> Result<()> {
        self.look(peer, pid)?;
        if has_ended(pidfd) {
            return Err(CaptureError::NoSuchProcess { pid }.into());
        }
        Ok(())
    }

    /// Puts huge pages together again that watching has split; what may be watched may have that back, too.
    fn collapse(&self, peer: Peer, pidfd: BorrowedFd<'_>, ranges: &[(u64, u64)]) -> u64 {
        let allowed = pid_of(pidfd).is_some_and(|pid| self.look(peer, pid).is_ok());
        let whole = |&&(start, end): &&(u64, u64)| {
            start < end && start.is_multiple_of(huge::HUGE) && end.is_multiple_of(huge::HUGE)
        };
        if !allowed {
            return 0;
        }
        let ranges = ranges.iter().take(MAX_RANGES).filter(whole);
        let pages: Vec<PageRange> = ranges.map(|&(start, end)| PageRange::new(start, end)).collect();
        huge::collapse(pidfd, &pages)
    }

    fn note(
        &mut self,
        event: Event,
        peer: Peer,
        pid: u32,
        target: Option<&Credentials>,
        reason: &str,
    ) -> bool {
        let target = Target {
            pid,
            comm: target.map(|target| target.comm.as_str()),
            uid: target.map(|target| target.uids[1]),
        };
        let written = self.auditor.record(&Record { event, peer, target, reason });
        if !written {
            warn!("the audit log cannot be written");
        }
        written
    }
}

/// Sends events, in as many messages as it takes; whether the client still listens.
fn hand_over(client: &Client, events: &[Vec<OwnedFd>]) -> bool {
    let said = Answer::Listening { events: events.iter().map(Vec::len).collect() };
    let fds: Vec<BorrowedFd<'_>> = events.iter().flatten().map(AsFd::as_fd).collect();
    if fds.is_empty() {
        return answer(client, &said, &[]);
    }
    fds.chunks(MAX_FDS).all(|fds| answer(client, &said, fds))
}

/// The number of the process that a pidfd stands for, as the kernel says it (pidfd_open(2)); nothing once it has ended.
fn pid_of(pidfd: BorrowedFd<'_>) -> Option<u32> {
    let facts = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    facts.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()
}

fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
}

/// Whether the client still listens.
fn answer(client: &Client, answer: &Answer, fds: &[BorrowedFd<'_>]) -> bool {
    match wire::send(client.socket.as_fd(), answer, fds) {
        Ok(()) => true,
        Err(WireError::Socket(_)) => false,
        Err(error) => {
            warn!(%error, "an answer was not sent");
            false
        }
    }
}
