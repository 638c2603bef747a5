//! Attaching by a small process of its own, so that nothing else needs the right to trace others.
//!
//! **In**: process numbers, over a socket, from a program that has no privilege. **Out**: descriptors
//! ([`ProcessAttach`](super::ProcessAttach) is a bundle of them), or one line why not. **Called by** `system`, which asks through an
//! [`Attacher`] and need not know who did it.
//!
//! ```text
//!  session, snapshot ──Request──► broker ──record──► auditor     who, to what, when, why refused: on disk first
//!  (no capability)   ◄──Answer──  CAP_SYS_PTRACE     (no capability)
//!                     + descriptors  │ policy: may this user watch that process?
//!                                    └ attach, look again, hand over
//! ```
//!
//! There are two ways to have one. As a service of the system (`memory-glass-broker.service`) it serves everybody, by what root
//! has written into its [`Policy`]. A session that was started with the right itself (as root, say) makes a broker of its own and
//! gives the right up ([`Attacher::choose`]).
//!
//! The broker has only the capabilities that attaching takes, cannot get new ones, and a seccomp filter lets it do nothing but
//! what attaching takes (`confine`). It keeps nothing of a target: once an attachment is handed over, its death or ours
//! changes nothing for the target, nor for the other one of us.

mod attacher;
mod audit;
mod confine;
mod peer;
mod policy;
mod security;
mod server;
mod wire;

pub use attacher::{Attacher, SYSTEM_SOCKET};
pub use audit::{AuditLog, keep_audit_log};
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

/// Why there is no broker. What it refuses is a [`GlassRamError`](crate::GlassRamError), as if attached to from here.
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
