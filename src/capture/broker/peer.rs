//! Who asks: the process at the other end of the socket, and what the kernel lets it do.
//!
//! A user's number is not enough. The process is held by a pidfd (`SO_PEERPIDFD`), so its number cannot become another one's; one
//! that lives in other user or process namespaces means other users and processes by its numbers, and is nobody here; and a
//! root that may not trace others is a user like any other.

use std::fs;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Group, Uid, User};
use serde::Serialize;
use thiserror::Error;

use super::credentials::four;
use crate::GlassRamError;
use crate::capture::target::{Status, proc_path};

/// CAP_SYS_PTRACE in a set of capabilities (capabilities(7)).
const SYS_PTRACE: u64 = 1 << 19;

/// The process at the other end, as the kernel noted it when the socket was connected (unix(7), `SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Peer {
    /// Its number. For the log only: it may be another process by now.
    pub pid: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Peer {
    /// Whether its user is of this group, by the system's own lists.
    pub(super) fn is_in(self, group: &str) -> bool {
        let Ok(Some(group)) = Group::from_name(group) else { return false };
        let named = || User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        group.gid.as_raw() == self.gid
            || named().is_some_and(|user| user.gid == group.gid || group.mem.contains(&user.name))
    }

    /// Its user's name, if it has one.
    pub(super) fn user(self) -> Option<String> {
        User::from_uid(Uid::from_raw(self.uid)).ok().flatten().map(|user| user.name)
    }
}

/// Why somebody is not served at all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Stranger {
    #[error("the process that connected has ended: connect from the one that asks")]
    Ended,
    #[error("it runs in another {0} namespace than the broker: ask from outside the container or sandbox")]
    Namespace(&'static str),
    #[error(
        "the kernel does not say who connected ({0}): it takes Linux 6.5 and a /proc that shows all processes"
    )]
    Unknown(String),
}

impl From<Stranger> for GlassRamError {
    fn from(stranger: Stranger) -> Self {
        Self::FeatureNotSupported { feature: format!("the attach broker does not serve this: {stranger}") }
    }
}

/// A peer, held.
#[derive(Debug)]
pub(super) struct Caller {
    peer: Peer,
    process: OwnedFd,
    /// It has started this broker to do what it then gave up the right to do.
    started_us: bool,
}

/// What the kernel lets a peer do to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rights {
    pub peer: Peer,
    /// It may trace whom it likes.
    pub traces_anyone: bool,
    /// Its real, effective, saved and file system users and groups are all the one that it connected as.
    pub whole: bool,
    /// The capabilities that it has and uses.
    pub capabilities: u64,
}

impl Caller {
    /// The peer of a connected socket.
    pub fn of(socket: BorrowedFd<'_>, started_us: bool) -> Result<Self, Stranger> {
        let unknown = |errno: nix::errno::Errno| Stranger::Unknown(errno.to_string());
        let credentials = getsockopt(&socket, sockopt::PeerCredentials).map_err(unknown)?;
        let peer =
            Peer { pid: credentials.pid().cast_unsigned(), uid: credentials.uid(), gid: credentials.gid() };
        let process = getsockopt(&socket, sockopt::PeerPidfd).map_err(|errno| match errno {
            // Reaped before it was asked for.
            nix::errno::Errno::ESRCH | nix::errno::Errno::EINVAL | nix::errno::Errno::ENODATA => {
                Stranger::Ended
            }
            errno => unknown(errno),
        })?;
        let caller = Self { peer, process, started_us };
        caller.rights()?;
        Ok(caller)
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    pub fn started_us(&self) -> bool {
        self.started_us
    }

    /// What it may do now. It may have executed another program since it connected, a set-uid one say: what such a program may do
    /// beyond what the peer could when it connected counts for nothing.
    pub fn rights(&self) -> Result<Rights, Stranger> {
        let peer = self.peer;
        if self.started_us && peer.uid == 0 {
            return Ok(Rights { peer, traces_anyone: true, whole: true, capabilities: u64::MAX });
        }
        let pid = pid_of(self.process.as_fd()).ok_or(Stranger::Ended)?;
        for namespace in ["user", "pid"] {
            match shares_namespace(pid, namespace) {
                Some(true) => {}
                Some(false) => return Err(Stranger::Namespace(namespace)),
                None if has_ended(self.process.as_fd()) => return Err(Stranger::Ended),
                None => return Err(Stranger::Unknown(format!("its {namespace} namespace"))),
            }
        }
        let status = Status::of(pid).map_err(|errno| Stranger::Unknown(errno.to_string()))?;
        // Until here the number was its own.
        if has_ended(self.process.as_fd()) {
            return Err(Stranger::Ended);
        }
        let set = |field| u64::from_str_radix(status.field(field)?, 16).ok();
        let capabilities = set("CapPrm").zip(set("CapEff")).map_or(0, |(permitted, used)| permitted & used);
        let whole =
            four(&status, "Uid") == Some([peer.uid; 4]) && four(&status, "Gid") == Some([peer.gid; 4]);
        let traces_anyone = whole && peer.uid == 0 && capabilities & SYS_PTRACE != 0;
        Ok(Rights { peer, traces_anyone, whole, capabilities })
    }
}

impl Rights {
    /// Our own.
    pub fn ours() -> Self {
        let effective = rustix::thread::capabilities(None).map_or(0, |sets| sets.effective.bits());
        let peer = Peer {
            pid: std::process::id(),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        };
        let traces_anyone = effective & SYS_PTRACE != 0;
        Self { peer, traces_anyone, whole: true, capabilities: effective }
    }
}

/// Whether a process is in our own namespace of this kind; none where that cannot be seen.
pub(super) fn shares_namespace(pid: u32, kind: &str) -> Option<bool> {
    // What the link leads to is the namespace itself, and has a number of its own.
    let identity = |path: std::path::PathBuf| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let theirs = identity(proc_path(pid, "ns").join(kind))?;
    Some(theirs == identity(std::path::Path::new("/proc/self/ns").join(kind))?)
}

/// The number of the process that a pidfd stands for, as the kernel says it (pidfd_open(2)); nothing once it has ended.
pub(super) fn pid_of(pidfd: BorrowedFd<'_>) -> Option<u32> {
    let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = facts.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
    (pid != 0).then_some(pid)
}

pub(super) fn has_ended(pidfd: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
}

#[cfg(test)]
mod tests {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn who_made_a_pair_is_its_peer_and_has_its_own_rights() {
        let (near, _far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .expect("a pair");
        let caller = Caller::of(near.as_fd(), false).expect("we live, here");
        assert_eq!(caller.peer().pid, std::process::id());
        let (rights, ours) = (caller.rights().expect("we live"), Rights::ours());
        assert_eq!((rights.peer, rights.whole), (ours.peer, true));
        assert_eq!(rights.traces_anyone, ours.traces_anyone && ours.peer.uid == 0);
        // What a broker was started for by root it does, though root has given the right up.
        let ours = Caller::of(near.as_fd(), true).expect("we live").rights().expect("we live");
        assert_eq!(ours.traces_anyone, ours.peer.uid == 0 || rights.traces_anyone);
    }

    #[test]
    fn who_has_ended_is_nobody() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("started");
        let process = crate::capture::sys::pidfd_open(child.id()).expect("it runs");
        let peer = Peer { pid: child.id(), uid: 12_345, gid: 12_345 };
        let caller = Caller { peer, process, started_us: false };
        // It is not what its socket says it is: of another user.
        assert!(!caller.rights().expect("it runs").whole);
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert_eq!(caller.rights(), Err(Stranger::Ended));
    }
}
