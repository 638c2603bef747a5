//! How this program attaches: by a broker where there is one, else by itself.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, socketpair, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use rustix::thread::CapabilitySet;
use tracing::{debug, info};

use super::wire::{self, Answer, MAX_FDS, MAX_PIDS, MAX_RANGES, Request, WireError};
use super::{BrokerError, SecurityConfig, confine};
use crate::capture::perf::{Deaf, EVENTS};
use crate::capture::{
    CaptureError, PageRange, ProcessAttach, ProcessAttachCapability as _, Rung, huge, inject, may_watch,
};
use crate::{GlassRamError, Result};

/// Where the system's broker listens; `$MEMORY_GLASS_BROKER` names another place.
pub const SYSTEM_SOCKET: &str = "/run/memory-glass/broker.sock";
const SOCKET_VARIABLE: &str = "MEMORY_GLASS_BROKER";

/// What a broker of our own finds in its environment.
const KEPT_VARIABLES: [&str; 5] = ["RUST_LOG", "RUST_BACKTRACE", "HOME", "XDG_STATE_HOME", "PATH"];

/// Attaching takes a second for each thread that does not stop, and there may be others before us.
const PATIENCE_SECONDS: i64 = 30;

/// Who attaches for this program, and what it is not to attach to.
#[derive(Debug, Clone, Default)]
pub struct Attacher {
    security: SecurityConfig,
    /// A broker does, for as long as one of these is left; without one we do, with the rights that we have.
    broker: Option<Arc<Mutex<Connection>>>,
}

/// The way to a broker.
#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    // One of our own ends by itself when the socket is closed.
    _process: Option<Child>,
}

impl Connection {
    fn receive(&self) -> Result<(Answer, Vec<OwnedFd>)> {
        match wire::receive(self.socket.as_fd(), MAX_FDS) {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(broken("it has ended")),
            Err(WireError::Socket(nix::errno::Errno::EAGAIN)) => Err(broken("it does not answer")),
            Err(error) => Err(broken(&error.to_string())),
        }
    }
}

impl Attacher {
    /// The best way there is. Whoever may trace others makes a broker and gives that right up, for good: to be called before
    /// any thread is started.
    pub fn choose(security: SecurityConfig, rung: Option<Rung>) -> Result<Self> {
        let alone = Self { security, broker: None };
        // A broker knows only the best rung; another one, asked for or all that there is, is done with the rights that are there.
        // What the kernel lacks, every broker lacks; what is forbidden here, the system's may still be allowed.
        let best = match rung {
            None => Rung::WpAsync.try_out(),
            Some(Rung::WpAsync) => Ok(()),
            Some(_) => return Ok(alone),
        };
        if matches!(best, Err(CaptureError::KernelTooOld { .. })) {
            return Ok(alone);
        }
        let permitted = rustix::thread::capabilities(None).map(|sets| sets.permitted);
        if permitted.is_ok_and(|permitted| permitted.contains(CapabilitySet::SYS_PTRACE)) {
            return if best.is_ok() { Ok(Self { security, ..Self::separate()? }) } else { Ok(alone) };
        }
        let path = std::env::var_os(SOCKET_VARIABLE).map_or(PathBuf::from(SYSTEM_SOCKET), PathBuf::from);
        match connect_to(&path) {
            Ok(socket) => {
                info!(broker = %path.display(), "attaching is done by the system's broker");
                Ok(Self { security, ..Self::with(socket, None) })
            }
            Err(errno) => {
                debug!(%errno, path = %path.display(), "no broker: what we may attach to, we attach to ourselves");
                Ok(alone)
            }
        }
    }

    /// Starts a broker with our rights, and gives them up.
    fn separate() -> Result<Self, BrokerError> {
        let failed = |error: std::io::Error| BrokerError::Confine {
            step: "starting a broker",
            reason: error.to_string(),
            remedy: "see what it says above",
        };
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
                .map_err(|errno| failed(errno.into()))?;
        let process = Command::new("/proc/self/exe")
            .arg0("memory-glass")
            .args(["broker", "--connected-on-stdin"])
            // Nothing decides about it but us; what it says of itself goes where our log goes.
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| KEPT_VARIABLES.iter().any(|kept| name == kept)))
            .stdin(theirs)
            .spawn()
            .map_err(failed)?;
        let attacher = Self::with(ours, Some(process));
        // It answers once it has confined itself; if it cannot, it says why on stderr, and ends.
        attacher.ask(&Request::MayWatch { pids: Vec::new() }).map_err(|error| BrokerError::Confine {
            step: "starting a broker",
            reason: error.to_string(),
            remedy: "what it says above is why",
        })?;
        if nix::unistd::geteuid().is_root() {
            // Root's other rights are what a seat without logind takes. This one is the broker's.
            let now = rustix::thread::capabilities(None).map_err(|errno| failed(errno.into()))?;
            confine::give_up_capabilities(now.permitted - CapabilitySet::SYS_PTRACE)?;
        } else {
            confine::give_up_capabilities(CapabilitySet::empty())?;
        }
        info!("attaching is done by a broker of our own; we have given the right to trace others up");
        Ok(attacher)
    }

    fn with(socket: OwnedFd, process: Option<Child>) -> Self {
        let patience = TimeVal::seconds(PATIENCE_SECONDS);
        let _ = setsockopt(&socket, sockopt::ReceiveTimeout, &patience);
        let connection = Connection { socket, _process: process };
        Self { security: SecurityConfig::default(), broker: Some(Arc::new(Mutex::new(connection))) }
    }

    /// As `attach`, on this rung, if one is named. The broker knows only the best.
    pub fn attach_by(&self, pid: u32, rung: Option<Rung>) -> Result<ProcessAttach> {
        match rung {
            None | Some(Rung::WpAsync) => self.attach(pid),
            Some(rung) if self.broker.is_none() => {
                self.security.check_alone(pid)?;
                ProcessAttach::attach_by(pid, rung)
            }
            Some(rung) => Err(GlassRamError::FeatureNotSupported {
                feature: format!(
                    "the attach broker attaches by wp-async only, not by {rung}: leave the rung out"
                ),
            }),
        }
    }

    /// Attaches to a process.
    pub fn attach(&self, pid: u32) -> Result<ProcessAttach> {
        // The broker knows only itself as itself.
        if pid == std::process::id() {
            return Err(CaptureError::Ourselves { pid }.into());
        }
        if self.broker.is_none() {
            self.security.check_alone(pid)?;
            return ProcessAttach::attach(pid);
        }
        self.security.check(pid)?;
        match self.ask(&Request::Attach { pid, interrupt_calls: inject::interrupts_calls() })? {
            (Answer::Attached(facts), fds) if facts.pid == pid => {
                ProcessAttach::from_parts(facts, fds, self.clone())
            }
            (Answer::Refused(error), _) => Err(error),
            _ => Err(broken("it answered something else")),
        }
    }

    /// What forbids watching each of these processes, in their order; nothing is touched.
    pub fn may_watch(&self, pids: &[u32]) -> Vec<Option<String>> {
        if self.broker.is_none() {
            let may = |pid: &u32| {
                self.security.check_alone(*pid).map_err(Into::into).and_then(|()| may_watch(*pid))
            };
            return pids.iter().map(|pid| may(pid).err().map(|error| error.to_string())).collect();
        }
        let mut words: Vec<Option<String>> =
            pids.chunks(MAX_PIDS).flat_map(|pids| self.ask_may(pids)).collect();
        for (pid, word) in pids.iter().zip(&mut words).filter(|(pid, _)| **pid == std::process::id()) {
            *word = Some(CaptureError::Ourselves { pid: *pid }.to_string());
        }
        words
    }

    fn ask_may(&self, pids: &[u32]) -> Vec<Option<String>> {
        match self.ask(&Request::MayWatch { pids: pids.to_vec() }) {
            Ok((Answer::MayWatch(words), _)) if words.len() == pids.len() => words,
            Ok((Answer::Refused(error), _)) | Err(error) => vec![Some(error.to_string()); pids.len()],
            Ok(_) => vec![Some(broken("it answered something else").to_string()); pids.len()],
        }
    }

    /// Puts these whole huge pages of that process together again; how many bytes of them. Best effort: what cannot be is left.
    pub(in crate::capture) fn collapse(&self, pidfd: BorrowedFd<'_>, pages: &[PageRange]) -> u64 {
        if self.broker.is_none() {
            return huge::collapse(pidfd, pages);
        }
        let asked = |pages: &[PageRange]| {
            let ranges = pages.iter().map(|page| (page.start, page.end)).collect();
            match self.ask_about(&Request::Collapse { ranges }, &[pidfd]) {
                Ok((Answer::Collapsed { bytes }, _)) => bytes,
                _ => 0,
            }
        };
        pages.chunks(MAX_RANGES).map(asked).sum()
    }

    /// The events of the page faults of each thread of that process, by processor, opened by the broker; none where there is no broker.
    pub(in crate::capture) fn listen(
        &self,
        pidfd: BorrowedFd<'_>,
    ) -> Option<std::result::Result<Vec<Vec<OwnedFd>>, Deaf>> {
        self.broker.as_ref()?;
        let answer = self.ask_about(&Request::Listen, &[pidfd]);
        Some(match answer {
            Ok((Answer::Listening { events }, fds)) if total(&events) == fds.len() => {
                let mut fds = fds.into_iter();
                Ok(events.into_iter().map(|count| fds.by_ref().take(count).collect()).collect())
            }
            Ok((Answer::Refused(error), _)) | Err(error) => Err(Deaf::Refused(error.to_string())),
            Ok(_) => Err(Deaf::Refused(broken("it answered something else").to_string())),
        })
    }

    fn ask(&self, request: &Request) -> Result<(Answer, Vec<OwnedFd>)> {
        self.ask_about(request, &[])
    }

    fn ask_about(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(Answer, Vec<OwnedFd>)> {
        let Some(connection) = &self.broker else { return Err(broken("there is none")) };
        let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        wire::send(connection.socket.as_fd(), request, fds).map_err(|error| broken(&error.to_string()))?;
        let (answer, mut fds) = connection.receive()?;
        // The only answer that may not fit into one message.
        if let Answer::Listening { events } = &answer {
            let expected = total(events).min(EVENTS);
            while fds.len() < expected {
                match connection.receive()? {
                    (Answer::Listening { .. }, more) if !more.is_empty() => fds.extend(more),
                    _ => return Err(broken("it answered something else")),
                }
            }
        }
        Ok((answer, fds))
    }
}

/// How many there are in all. Whatever was said, it does not wrap around.
fn total(events: &[usize]) -> usize {
    events.iter().fold(0, |sum: usize, count| sum.saturating_add(*count))
}

fn broken(reason: &str) -> GlassRamError {
    GlassRamError::FeatureNotSupported {
        feature: format!(
            "the attach broker cannot be used ({reason}): start the session again, or memory-glass-broker.service"
        ),
    }
}

fn connect_to(path: &Path) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}
