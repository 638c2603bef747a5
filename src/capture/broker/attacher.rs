//! How this program attaches: by a broker where there is one, else by itself.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::thread::CapabilitySet;
use tracing::{debug, info};

use super::credentials::Credentials;
use super::link::{self, Link};
use super::peer::{Rights, pid_of};
use super::wire::{Answer, MAX_PIDS, Request};
use super::{SecurityConfig, audit, proof};
use crate::capture::perf::Deaf;
use crate::capture::{CaptureError, ProcessAttach, ProcessAttachCapability as _, Rung, inject, may_watch};
use crate::{GlassRamError, Result};

/// Where the system's broker listens; `$MEMORY_GLASS_BROKER` names another place.
pub const SYSTEM_SOCKET: &str = "/run/memory-glass/broker.sock";
const SOCKET_VARIABLE: &str = "MEMORY_GLASS_BROKER";

/// Who attaches for this program, and what it is not to attach to.
#[derive(Debug, Clone, Default)]
pub struct Attacher {
    security: SecurityConfig,
    /// A broker does, for as long as one of these is left; without one we do, with the rights that we have.
    broker: Option<Arc<Mutex<Link>>>,
}

impl Attacher {
    /// The best way there is. Whoever may trace others makes a broker and gives that right up, for good: to
    /// be called before any thread is started. What is to be [`sandboxed`](SecurityConfig::sandboxed) is from
    /// then on.
    pub fn choose(security: SecurityConfig, rung: Option<Rung>) -> Result<Self> {
        let chosen = Self::find(security, rung)?;
        security.confine_session()?;
        Ok(chosen)
    }

    fn find(security: SecurityConfig, rung: Option<Rung>) -> Result<Self> {
        let alone = Self { security, broker: None };
        // A broker knows only the best rung; another one, asked for or all that there is, is done with the
        // rights that are there. What the kernel lacks, every broker lacks; what is forbidden here, the
        // system's may still be allowed.
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
            return if best.is_ok() { Ok(Self::by(security, Link::separate()?)) } else { Ok(alone) };
        }
        let path = std::env::var_os(SOCKET_VARIABLE).map_or(PathBuf::from(SYSTEM_SOCKET), PathBuf::from);
        match Link::to(&path) {
            Ok(link) => {
                info!(broker = %path.display(), "attaching is done by the system's broker");
                Ok(Self::by(security, link))
            }
            Err(errno) => {
                debug!(%errno, path = %path.display(), "no broker: what we may attach to, we attach to ourselves");
                Ok(alone)
            }
        }
    }

    fn by(security: SecurityConfig, link: Link) -> Self {
        Self { security, broker: Some(Arc::new(Mutex::new(link))) }
    }

    /// Whether what is shown of a target is to have other addresses than the true ones.
    pub fn anonymizes(&self) -> bool {
        self.security.anonymize_addresses
    }

    /// As `attach`, on this rung, if one is named. The broker knows only the best.
    pub fn attach_by(&self, pid: u32, rung: Option<Rung>) -> Result<ProcessAttach> {
        match rung {
            None | Some(Rung::WpAsync) => self.attach(pid),
            Some(rung) if self.broker.is_none() => {
                self.allows_alone(pid)?;
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
            self.allows_alone(pid)?;
            return ProcessAttach::attach(pid);
        }
        self.security.check(pid)?;
        let request = Request::Attach { pid, interrupt_calls: inject::interrupts_calls() };
        let mut answered = self.ask_about(&request, &[], pid)?;
        if matches!(&answered.0, Answer::Refused { error, .. } if *error == CaptureError::Seccomp { pid }.into())
            && let Some(suspending) = self.ask_suspending(&request)
        {
            answered = suspending?;
        }
        match answered {
            (Answer::Attached(facts), fds) if facts.pid == pid => {
                ProcessAttach::from_parts(facts, fds, self.clone())
            }
            (Answer::Refused { error, .. }, _) => Err(error),
            _ => Err(link::nonsense()),
        }
    }

    fn allows_alone(&self, pid: u32) -> Result<()> {
        let allowed = self.security.check_alone(pid);
        Ok(allowed.inspect_err(|error| audit::refused(pid, &error.to_string()))?)
    }

    /// What forbids watching each of these processes, in their order; nothing is touched.
    pub fn may_watch(&self, pids: &[u32]) -> Vec<Option<String>> {
        if self.broker.is_none() {
            let may = |pid: &u32| {
                self.security.check_alone(*pid).map_err(Into::into).and_then(|()| may_watch(*pid))
            };
            return pids.iter().map(|pid| may(pid).err().map(|error| error.to_string())).collect();
        }
        // What is our own the broker lets us have for what the kernel says to us. About the others it is
        // asked.
        let me = Rights::ours();
        let own = |pid: u32| {
            Credentials::of(pid).is_ok_and(|target| target.belong_to(&me)) && may_watch(pid).is_ok()
        };
        let others: Vec<u32> = pids.iter().copied().filter(|pid| !own(*pid)).collect();
        let answers: Vec<Option<String>> =
            others.chunks(MAX_PIDS).flat_map(|pids| self.ask_may(pids)).collect();
        let mut answers = others.into_iter().zip(answers).peekable();
        let word = |pid: &u32| {
            let (_, answer) = answers.next_if(|(other, _)| other == pid)?;
            if *pid == std::process::id() {
                return Some(CaptureError::Ourselves { pid: *pid }.to_string());
            }
            answer
        };
        pids.iter().map(word).collect()
    }

    fn ask_may(&self, pids: &[u32]) -> Vec<Option<String>> {
        match self.ask(&Request::MayWatch { pids: pids.to_vec() }, &[]) {
            Ok((Answer::MayWatch(words), _)) if words.len() == pids.len() => words,
            Ok((Answer::Refused { error, .. }, _)) | Err(error) => {
                vec![Some(error.to_string()); pids.len()]
            }
            Ok(_) => vec![Some(link::nonsense().to_string()); pids.len()],
        }
    }

    /// The events of the page faults of each thread of that process, by processor, opened by the broker; none
    /// where there is no broker.
    pub(in crate::capture) fn listen(
        &self,
        pidfd: BorrowedFd<'_>,
    ) -> Option<std::result::Result<Vec<Vec<OwnedFd>>, Deaf>> {
        self.broker.as_ref()?;
        let answer = self.ask_about(&Request::Listen, &[pidfd], of(pidfd));
        Some(match answer {
            Ok((Answer::Listening { events }, fds)) if link::total(&events) == fds.len() => {
                let mut fds = fds.into_iter();
                Ok(events.into_iter().map(|count| fds.by_ref().take(count).collect()).collect())
            }
            Ok((Answer::Refused { error, .. }, _)) | Err(error) => Err(Deaf::Refused(error.to_string())),
            Ok(_) => Err(Deaf::Refused(link::nonsense().to_string())),
        })
    }

    /// Asks about one process, and shows that the kernel lets us attach to it, where it does.
    fn ask_about(
        &self,
        request: &Request,
        fds: &[BorrowedFd<'_>],
        pid: u32,
    ) -> Result<(Answer, Vec<OwnedFd>)> {
        let shown = proof::of(pid);
        let fds: Vec<BorrowedFd<'_>> = fds.iter().copied().chain(shown.as_ref().map(AsFd::as_fd)).collect();
        self.ask(request, &fds)
    }

    fn ask_suspending(&self, request: &Request) -> Option<Result<(Answer, Vec<OwnedFd>)>> {
        let link = self.broker.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        link.ask_suspending(request, &[])
    }

    fn ask(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<(Answer, Vec<OwnedFd>)> {
        let Some(link) = &self.broker else { return Err(link::nonsense()) };
        link.lock().unwrap_or_else(PoisonError::into_inner).ask(request, fds)
    }
}

/// The process of a pidfd; one that has ended has no number, and nothing can be shown for it.
fn of(pidfd: BorrowedFd<'_>) -> u32 {
    pid_of(pidfd).unwrap_or_default()
}
