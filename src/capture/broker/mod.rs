//! Attaching by a small process of its own, so that nothing else needs the right to trace others.
//!
//! **In**: process numbers, over a socket, from a program that has no privilege. **Out**: descriptors
//! ([`ProcessAttach`](super::ProcessAttach) is a bundle of them), or one line why not. **Called by**
//! `system`, which asks through an
//! [`Attacher`] and need not know who did it.
//!
//! ```text
//!  session, snapshot ──connect──► broker ──record──► auditor     who, to what, when, why refused: on disk first
//!  (no capability)                server   counts, by user; forks a process for each client
//!         │                         │ counter
//!         └──Request + proof──►   clerk    may this peer watch that process?  peer, credentials, policy
//!         ◄──Answer + descriptors──┘       attach, look again, hand over      CAP_SYS_PTRACE
//! ```
//!
//! There are two ways to have one. As a service of the system (`memory-glass-broker.service`) it serves
//! everybody, by what root has written into its [`Policy`]. A session that was started with the right itself
//! (as root, say) makes a broker of its own and gives the right up ([`Attacher::choose`]).
//!
//! **Who may** is what the kernel's own check of a debugger (`__ptrace_may_access`) would say of the peer:
//!
//! - One's own processes by the kernel's very answer. The client opens `/proc/PID/mem`, which asks the kernel whether the client may attach,
//!   every security module included, and shows the descriptor (`proof`). So Yama, Landlock domains, namespaces and missing capabilities
//!   count as they would without a broker.
//! - What the policy adds is root's word. A list of users is what the kernel would give a debugger of these users: users and groups all the
//!   same, no capability, the user namespace of the broker, and memory that is dumpable (`credentials`).
//! - Both are asked of the address space that is handed out: before it is opened, and after the injection; what was opened must be of
//!   what the process has even then (`clerk`).
//! - A root that may not trace others is a user like any other; who comes from another user or process namespace is not served (`peer`).
//!
//! A Landlock domain cannot be seen from outside. A confined program gets nothing by the first rule that it
//! would not get itself; what the policy gives to its user it gets as that user's other programs do. Who is
//! not to have that must not reach the socket.
//!
//! **One client never stops another.** Each is served by a process of its own, so one that asks for what
//! takes long, or does not read what it is sent, waits alone, and for a bounded time. What is limited is
//! limited by user (`allowance`). A client whose broker is gone connects again (`link`).
//!
//! The broker has only the capabilities that attaching takes, cannot get new ones, and a seccomp filter lets
//! it do nothing but what attaching takes (`confine`). It keeps nothing of a target: once an attachment is
//! handed over, its death or ours changes nothing for the target, nor for the other one of us.

//!
//! Where the kernel lets nobody attach who has a seccomp filter, because the target has one that must be
//! suspended (`PTRACE_O_SUSPEND_SECCOMP`), only root's own broker helps: root starts another one without a
//! filter, for that one attach and with no other client, and it ends with it. It has CAP_SYS_ADMIN beside
//! what attaching takes, which root could use anyway. The service never has either; who it serves is told to
//! do it as root.
//!
//! The log's keeper (`audit`) is forked from the broker with its file open, so that it can be started again
//! without the broker ever being able to open one. What it had not answered goes to the next, and an attach
//! waits for it.

mod allowance;
mod attacher;
mod audit;
mod clerk;
mod confine;
mod counter;
mod credentials;
mod link;
mod peer;
mod policy;
mod proof;
mod security;
mod server;
mod wire;

pub use attacher::{Attacher, SYSTEM_SOCKET};
pub(super) use audit::audited;
pub use audit::{AuditLog, usual_audit_log};
pub use peer::Peer;
pub use policy::{DEFAULT_POLICY, Policy, PolicyError, Rule, Targets};
pub use security::SecurityConfig;
pub use server::{BrokerOptions, Origin, serve};
pub(in crate::capture) use wire::Attached;
#[cfg(any(test, fuzzing))]
pub(crate) use wire::fuzz;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why there is no broker. What it refuses is a [`GlassRamError`](crate::GlassRamError), as if attached to
/// from here.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// The policy file is no policy.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// There is nowhere to write who attached to what, and without that nothing is attached to.
    #[error("the audit log {} cannot be kept ({reason}): name another file with --audit-log", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// What refused.
        reason: String,
    },
    /// Giving up what is not needed did not work.
    #[error("the broker cannot confine itself ({step}: {reason}), and does not run unconfined: {remedy}")]
    Confine {
        /// What was to be given up.
        step: &'static str,
        /// What refused.
        reason: String,
        /// What the person can do.
        remedy: &'static str,
    },
    /// Nobody can reach it.
    #[error("the broker cannot listen ({0}): start it by memory-glass-broker.socket, or say --socket PATH")]
    Listen(io::Error),
}

impl From<BrokerError> for crate::GlassRamError {
    fn from(error: BrokerError) -> Self {
        Self::FeatureNotSupported { feature: error.to_string() }
    }
}
