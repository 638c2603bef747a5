//! Whose a target is: what the kernel's own check of a debugger compares (`__ptrace_may_access`, ptrace(2)).
//!
//! The check has three parts: the three users and groups of the process; whether its *address space* is
//! dumpable; and the capabilities that it could use. The second protects memory that has been in other hands:
//! the kernel takes the mark away whenever a process that has this address space changes its user, so a vfork
//! child that has put root's user off still stands in memory that is not dumpable. The mark shows in the
//! owner of the files of `/proc/PID` that show memory. The folder itself does not tell: it belongs to the
//! user in any case.

use std::fs;
use std::os::unix::fs::MetadataExt;

use super::peer::{Rights, shares_namespace};
use crate::capture::CaptureError;
use crate::capture::target::{Status, memory_path};

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
    /// Whether the kernel gives its memory to its user: not, when it was set-uid or has made itself
    /// undumpable.
    pub dumpable: bool,
    /// Whether its users and capabilities mean what ours mean.
    pub here: bool,
}

impl Credentials {
    pub fn of(pid: u32) -> Result<Self, CaptureError> {
        let none = || CaptureError::NoSuchProcess { pid };
        // Of a thread that lives: the first may have ended, and has nothing any more then.
        let status = Status::read(&memory_path(pid, "status")).map_err(|_| none())?;
        let uids = four(&status, "Uid").ok_or_else(none)?;
        let gids = four(&status, "Gid").ok_or_else(none)?;
        let permitted = status.field("CapPrm").and_then(|set| u64::from_str_radix(set, 16).ok());
        let here = shares_namespace(pid, "user") == Some(true);
        // After its user, as the kernel does it: who puts privileges off becomes undumpable before it is of
        // another user. By its name, because only then the owner is found out anew.
        let owner = fs::metadata(memory_path(pid, "maps")).map_err(|_| none())?.uid();
        Ok(Self {
            comm: status.name(),
            uids,
            gids,
            permitted: permitted.ok_or_else(none)?,
            dumpable: owner == uids[1],
            here,
        })
    }

    /// Whether this is wholly that user's own process: what the kernel asks of a debugger without privileges.
    pub fn belong_to(&self, rights: &Rights) -> bool {
        rights.whole
            && self.uids == [rights.peer.uid; 4]
            && self.gids == [rights.peer.gid; 4]
            && self.dumpable
            // Capabilities are compared where they can be root's; of others none may be there.
            && (self.permitted == 0 || rights.peer.uid == 0 && self.permitted & !rights.capabilities == 0)
    }

    /// Whether this is wholly some one user's: what the kernel would give that user's debugger.
    pub fn are_of_one_user(&self) -> bool {
        let alike = |ids: &[u32; 4]| ids.iter().all(|id| id == &ids[1]);
        alike(&self.uids) && alike(&self.gids) && self.dumpable && self.permitted == 0 && self.here
    }
}

/// A field of four numbers: real, effective, saved, file system.
pub(super) fn four(status: &Status, field: &str) -> Option<[u32; 4]> {
    let numbers = status.field(field)?.split_whitespace().map(|number| number.parse().ok());
    numbers.collect::<Option<Vec<u32>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::super::peer::Peer;
    use super::*;

    #[test]
    fn our_own_process_is_ours_and_no_one_elses() {
        let own = Credentials::of(std::process::id()).expect("we run");
        let me = Rights::ours();
        assert!(own.dumpable && own.here);
        assert!(Credentials { permitted: 0, ..own.clone() }.belong_to(&me));
        for other in [Peer { uid: me.peer.uid + 1, ..me.peer }, Peer { gid: me.peer.gid + 1, ..me.peer }] {
            assert!(!own.belong_to(&Rights { peer: other, ..me }));
        }
        let peer = Peer { uid: 1000, gid: 1000, pid: 1 };
        let someone = Rights { peer, traces_anyone: false, whole: true, capabilities: 0 };
        let theirs = Credentials { uids: [1000; 4], gids: [1000; 4], permitted: 0, ..own };
        assert!(theirs.belong_to(&someone) && theirs.are_of_one_user());
        assert!(!theirs.belong_to(&Rights { whole: false, ..someone }));
        for not in [
            Credentials { uids: [1000, 0, 0, 0], ..theirs.clone() },
            Credentials { uids: [1000, 1000, 0, 1000], ..theirs.clone() },
            Credentials { gids: [1000, 42, 42, 42], ..theirs.clone() },
            Credentials { permitted: 1, ..theirs.clone() },
            Credentials { dumpable: false, ..theirs.clone() },
        ] {
            assert!(!not.belong_to(&someone) && !not.are_of_one_user(), "{not:?}");
        }
        assert!(!Credentials { here: false, ..theirs.clone() }.are_of_one_user());
        // A root that has few capabilities gets what has no more.
        let root = Rights { peer: Peer { uid: 0, gid: 0, pid: 1 }, capabilities: 0b11, ..someone };
        let roots = Credentials { uids: [0; 4], gids: [0; 4], ..theirs };
        assert!(Credentials { permitted: 0b10, ..roots.clone() }.belong_to(&root));
        assert!(!Credentials { permitted: 0b100, ..roots }.belong_to(&root));
        assert!(Credentials::of(u32::MAX).is_err());
    }

    /// Alone in its process under nextest, so nobody else is made undumpable.
    #[test]
    fn what_has_made_itself_undumpable_is_not_its_users() {
        let dumpable = || Credentials::of(std::process::id()).expect("we run").dumpable;
        assert!(dumpable());
        nix::sys::prctl::set_dumpable(false).expect("may");
        // Root's is root's with or without the mark: there the kernel asks for root's capabilities.
        assert_eq!(dumpable(), nix::unistd::geteuid().is_root());
        nix::sys::prctl::set_dumpable(true).expect("may");
        assert!(dumpable());
    }
}
