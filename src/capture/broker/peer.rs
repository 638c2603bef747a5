//! Who is who: the user at the other end of the socket, and whose process a target is.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Group, Uid, User};
use serde::Serialize;

use crate::capture::CaptureError;
use crate::capture::target::{Status, proc_path};

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
    /// The peer of a connected socket.
    pub(super) fn of(socket: BorrowedFd<'_>) -> nix::Result<Self> {
        let credentials = getsockopt(&socket.as_fd(), sockopt::PeerCredentials)?;
        Ok(Self { pid: credentials.pid().cast_unsigned(), uid: credentials.uid(), gid: credentials.gid() })
    }

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

/// What of a target's credentials decides about who may look into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub comm: String,
    /// Real, effective, saved, file system.
    pub uids: [u32; 4],
    /// The same of its group.
    pub gids: [u32; 4],
    /// The capabilities that it could use.
    pub permitted: u64,
    /// Whether the kernel gives its files in /proc to its user: not, when it was set-uid or has made itself undumpable
    /// (proc(5), `/proc/PID`).
    pub dumpable: bool,
}

impl Credentials {
    pub fn of(pid: u32) -> Result<Self, CaptureError> {
        let none = || CaptureError::NoSuchProcess { pid };
        let status = Status::of(pid).map_err(|_| none())?;
        let four = |field| {
            let numbers = status.field(field)?.split_whitespace().map(|number| number.parse().ok());
            numbers.collect::<Option<Vec<u32>>>()?.try_into().ok()
        };
        let uids: [u32; 4] = four("Uid").ok_or_else(none)?;
        let gids: [u32; 4] = four("Gid").ok_or_else(none)?;
        let permitted = status.field("CapPrm").and_then(|set| u64::from_str_radix(set, 16).ok());
        // The directory itself always belongs to the process's user when it is dumpable, and to root when it is not.
        let owner = fs::metadata(proc_path(pid, "")).map_err(|_| none())?.uid();
        Ok(Self {
            comm: status.name(),
            uids,
            gids,
            permitted: permitted.ok_or_else(none)?,
            dumpable: owner == uids[1],
        })
    }

    /// Whether this is wholly that user's own process: what the kernel asks of a debugger without privileges (ptrace(2), "Ptrace
    /// access mode checking").
    pub fn belong_to(&self, peer: Peer) -> bool {
        self.uids == [peer.uid; 4]
            && self.gids == [peer.gid; 4]
            && self.dumpable
            && (self.permitted == 0 || peer.uid == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_ours_and_no_one_elses() {
        let own = Credentials::of(std::process::id()).expect("we run");
        let me = Peer { pid: 1, uid: nix::unistd::getuid().as_raw(), gid: nix::unistd::getgid().as_raw() };
        assert!(own.dumpable);
        assert!(Credentials { permitted: 0, ..own.clone() }.belong_to(me));
        for other in [Peer { uid: me.uid + 1, ..me }, Peer { gid: me.gid + 1, ..me }] {
            assert!(!own.belong_to(other));
        }
        let someone = Peer { uid: 1000, gid: 1000, pid: 1 };
        let theirs = Credentials { uids: [1000; 4], gids: [1000; 4], permitted: 0, ..own };
        assert!(theirs.belong_to(someone));
        for not in [
            Credentials { uids: [1000, 0, 0, 0], ..theirs.clone() },
            Credentials { uids: [1000, 1000, 0, 1000], ..theirs.clone() },
            Credentials { gids: [1000, 42, 42, 42], ..theirs.clone() },
            Credentials { permitted: 1, ..theirs.clone() },
            Credentials { dumpable: false, ..theirs },
        ] {
            assert!(!not.belong_to(someone), "{not:?}");
        }
        assert!(Credentials::of(u32::MAX).is_err());
    }
}
