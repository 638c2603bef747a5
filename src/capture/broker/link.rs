//! The client's way to a broker, which may go away and come back.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket, socketpair};
use rustix::thread::CapabilitySet;
use tracing::{info, warn};

use super::wire::{self, Answer, MAX_FDS, Request, WireError};
use super::{BrokerError, confine};
use crate::capture::perf::EVENTS;
use crate::{GlassRamError, Result};

/// What a broker of our own finds in its environment.
const KEPT_VARIABLES: [&str; 5] = ["RUST_LOG", "RUST_BACKTRACE", "HOME", "XDG_STATE_HOME", "PATH"];

/// Attaching takes a second for each thread that does not stop, and there may be others before us.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long we do as a broker says that asks us to come again later.
const TURN_PATIENCE: Duration = Duration::from_secs(5);
/// Between attempts to connect to a broker that has gone, at first; each pause is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(50);
const ATTEMPTS: u32 = 5;
/// A broker that was not there is not looked for again before this.
const ABSENCE: Duration = Duration::from_secs(2);

/// The way to a broker.
#[derive(Debug)]
pub(super) struct Link {
    way: Way,
    /// None while there is none at the other end, as far as is known.
    socket: Option<OwnedFd>,
    absent_since: Option<Instant>,
}

#[derive(Debug)]
enum Way {
    /// The system's, which listens here.
    System(PathBuf),
    /// One of our own. It ends by itself when the socket is closed.
    Own(Child),
}

/// Why a question had no answer.
#[derive(Debug)]
struct Broken(String);

impl From<WireError> for Broken {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Socket(Errno::EPIPE | Errno::ECONNRESET) => Self("it has ended".into()),
            WireError::NotTaken => Self("it does not answer".into()),
            error => Self(error.to_string()),
        }
    }
}

impl Link {
    /// To the broker that listens here.
    pub fn to(path: &Path) -> nix::Result<Self> {
        let socket = connect_to(path)?;
        Ok(Self { way: Way::System(path.to_owned()), socket: Some(socket), absent_since: None })
    }

    /// Starts a broker with our rights, and gives them up.
    pub fn separate() -> Result<Self, BrokerError> {
        let (socket, process) = start(&[])?;
        let link = Self { way: Way::Own(process), socket: Some(socket), absent_since: None };
        // It answers once it has confined itself; if it cannot, it says why on stderr, and ends.
        let asked = link.once(&Request::MayWatch { pids: Vec::new() }, &[]);
        asked.map_err(|Broken(reason)| not_started(reason, "what it says above is why"))?;
        if nix::unistd::geteuid().is_root() {
            // Root's other rights are what a seat without logind takes. This one is the broker's.
            let now = rustix::thread::capabilities(None)
                .map_err(|errno| not_started(errno.to_string(), "see what it says above"))?;
            confine::give_up_capabilities(now.permitted - CapabilitySet::SYS_PTRACE)?;
        } else {
            confine::give_up_capabilities(CapabilitySet::empty())?;
        }
        info!("attaching is done by a broker of our own; we have given the right to trace others up");
        Ok(link)
    }

    /// The answer. A broker that has gone is connected to again, or started again where we still may, and asked once more; one that is asked
    /// too often is asked later.
    pub fn ask(&mut self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(Answer, Vec<OwnedFd>)> {
        let (begun, mut again) = (Instant::now(), true);
        loop {
            if self.socket.is_none() {
                self.connect_again()?;
            }
            match self.once(request, fds) {
                Ok((Answer::Refused { again_ms: Some(ms), .. }, _))
                    if begun.elapsed() + Duration::from_millis(ms) < TURN_PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(ms));
                }
                Ok(answered) => return Ok(answered),
                Err(Broken(reason)) => {
                    // What it may still say would be taken for the answer to another question.
                    self.socket = None;
                    if !again {
                        return Err(self.broken(&reason));
                    }
                    again = false;
                    warn!(%reason, "the attach broker is lost");
                }
            }
        }
    }

    fn once(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> std::result::Result<(Answer, Vec<OwnedFd>), Broken> {
        let Some(socket) = &self.socket else { return Err(Broken("it has ended".into())) };
        let socket = socket.as_fd();
        let until = Instant::now() + PATIENCE;
        match wire::send(socket, request, fds, Some(PATIENCE)) {
            // Who is turned away at the door is told why before it is closed.
            Ok(()) | Err(WireError::Socket(Errno::EPIPE | Errno::ECONNRESET)) => {}
            Err(error) => return Err(error.into()),
        }
        let (mut answer, mut fds) = receive(socket, until)?;
        // The answers that may not fit into one message.
        match (&mut answer, request) {
            (Answer::Listening { events }, Request::Listen) => {
                let expected = total(events).min(EVENTS);
                while fds.len() < expected {
                    match receive(socket, until)? {
                        (Answer::Listening { .. }, more) if !more.is_empty() => fds.extend(more),
                        _ => return Err(Broken(NONSENSE.into())),
                    }
                }
            }
            (Answer::MayWatch(words), Request::MayWatch { pids }) => {
                while words.len() < pids.len() {
                    match receive(socket, until)? {
                        (Answer::MayWatch(more), _) if !more.is_empty() => words.extend(more),
                        _ => return Err(Broken(NONSENSE.into())),
                    }
                }
            }
            _ => {}
        }
        Ok((answer, fds))
    }

    /// The answer of another broker of our own, made for this one question, which may suspend the seccomp filter of a target; none
    /// where we have no broker of our own, or may not start such a one.
    pub fn ask_suspending(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
    ) -> Option<Result<(Answer, Vec<OwnedFd>)>> {
        if matches!(self.way, Way::System(_)) || !may_still(CapabilitySet::SYS_ADMIN) {
            return None;
        }
        let (socket, process) = match start(&["--suspend-seccomp"]) {
            Ok(started) => started,
            Err(error) => return Some(Err(error.into())),
        };
        let mut once = Self { way: Way::Own(process), socket: Some(socket), absent_since: None };
        let answered = once.once(request, fds).map_err(|Broken(reason)| once.broken(&reason));
        // It ends when there is nobody to serve any more.
        once.socket = None;
        if let Way::Own(process) = &mut once.way {
            let _ = process.wait();
        }
        Some(answered)
    }

    fn connect_again(&mut self) -> Result<()> {
        if self.absent_since.is_some_and(|since| since.elapsed() < ABSENCE) {
            return Err(self.broken("it has ended"));
        }
        let connected = match &mut self.way {
            Way::System(path) => connect_patiently(path).map_err(|errno| errno.to_string()),
            Way::Own(process) if may_still(CapabilitySet::SYS_PTRACE) => restart(process),
            // Without its socket it ends by itself, or has already.
            Way::Own(process) => {
                let _ = process.try_wait();
                Err("it has ended".into())
            }
        };
        match connected {
            Ok(socket) => {
                info!("there is an attach broker again");
                self.socket = Some(socket);
                self.absent_since = None;
                Ok(())
            }
            Err(reason) => {
                self.absent_since = Some(Instant::now());
                Err(self.broken(&reason))
            }
        }
    }

    fn broken(&self, reason: &str) -> GlassRamError {
        let remedy = match &self.way {
            Way::System(_) => "start memory-glass-broker.socket, and ask again",
            Way::Own(_) => {
                "the right to attach was given up to it, and what is watched already goes on; for more, start memory-glass again"
            }
        };
        GlassRamError::FeatureNotSupported {
            feature: format!("the attach broker cannot be used ({reason}): {remedy}"),
        }
    }
}

const NONSENSE: &str = "it answered something else";

/// It answers what was not asked.
pub(super) fn nonsense() -> GlassRamError {
    GlassRamError::FeatureNotSupported {
        feature: format!(
            "the attach broker cannot be used ({NONSENSE}): use the broker of the same version as this program"
        ),
    }
}

/// How many there are in all. Whatever was said, it does not wrap around.
pub(super) fn total(events: &[usize]) -> usize {
    events.iter().fold(0, |sum: usize, count| sum.saturating_add(*count))
}

fn receive(socket: BorrowedFd<'_>, until: Instant) -> std::result::Result<(Answer, Vec<OwnedFd>), Broken> {
    wire::wait(socket, PollFlags::POLLIN, Some(until))?;
    wire::receive(socket, MAX_FDS)?.ok_or_else(|| Broken("it has ended".into()))
}

fn connect_to(path: &Path) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// A service that is started again is away for a moment.
fn connect_patiently(path: &Path) -> nix::Result<OwnedFd> {
    let mut pause = PAUSE;
    for _ in 1..ATTEMPTS {
        match connect_to(path) {
            Err(Errno::ECONNREFUSED | Errno::ENOENT | Errno::EAGAIN) => std::thread::sleep(pause),
            other => return other,
        }
        pause *= 2;
    }
    connect_to(path)
}

/// A broker of our own, and the socket to it.
fn start(more: &[&str]) -> Result<(OwnedFd, Child), BrokerError> {
    let failed = |reason: String| not_started(reason, "see what it says above");
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| failed(errno.to_string()))?;
    let process = Command::new("/proc/self/exe")
        .arg0("memory-glass")
        .args(["broker", "--connected-on-stdin"])
        .args(more)
        // Nothing decides about it but us; what it says of itself goes where our log goes.
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| KEPT_VARIABLES.iter().any(|kept| name == kept)))
        .stdin(theirs)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    Ok((ours, process))
}

fn not_started(reason: String, remedy: &'static str) -> BrokerError {
    BrokerError::Confine { step: "starting a broker", reason, remedy }
}

/// Whether a program that we execute would have the right that we have given up: root's have all that the bounding set still has, unless
/// nothing may be gained any more (capabilities(7)).
fn may_still(right: CapabilitySet) -> bool {
    nix::unistd::geteuid().is_root()
        && rustix::thread::no_new_privs().is_ok_and(|forbidden| !forbidden)
        && rustix::thread::capability_is_in_bounding_set(right).is_ok_and(|there| there)
}

fn restart(process: &mut Child) -> std::result::Result<OwnedFd, String> {
    let (socket, started) = start(&[]).map_err(|error| error.to_string())?;
    let mut before = std::mem::replace(process, started);
    // It has nobody to serve any more, and is not left as a zombie.
    let _ = before.kill();
    let _ = before.wait();
    Ok(socket)
}
