//! What the person who starts memory.glass allows it.

use serde::{Deserialize, Serialize};

use super::credentials::Credentials;
use super::peer::Rights;
use crate::capture::CaptureError;

/// How careful a session is. It can only be more careful than the kernel and root's [`Policy`](super::Policy) are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct SecurityConfig {
    /// What is not wholly one's own (same user and group, not set-uid, without capabilities) takes root's word: root itself, or its
    /// policy by the broker. Otherwise whatever the kernel allows may be attached to.
    pub require_root: bool,
    /// Whether a running process may be stopped, for about a tenth of a millisecond, to attach to it.
    pub allow_ptrace: bool,
    /// Nothing in the session can gain privileges: not it, and not the programs in it (no set-uid, so no `sudo`).
    pub sandboxed: bool,
    /// The map, the numbers and the files show other addresses than the true ones, and no names of files.
    pub anonymize_addresses: bool,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        Self { require_root: true, allow_ptrace: true, sandboxed: false, anonymize_addresses: false }
    }
}

impl SecurityConfig {
    /// Whether this program itself may attach to that process, before anybody else is asked.
    pub(super) fn check(&self, pid: u32) -> Result<(), CaptureError> {
        if !self.allow_ptrace {
            return Err(CaptureError::PtraceForbidden { pid });
        }
        Ok(())
    }

    /// The same where there is no broker whose policy would say it.
    pub(super) fn check_alone(&self, pid: u32) -> Result<(), CaptureError> {
        self.check(pid)?;
        let me = Rights::ours();
        let user = me.peer.uid;
        let allowed = !self.require_root || user == 0 || Credentials::of(pid)?.belong_to(&me);
        if allowed { Ok(()) } else { Err(CaptureError::NotAllowed { pid, user }) }
    }

    /// Carries `sandboxed` out, for this process and all that it starts. There is no way back.
    pub fn confine_session(&self) -> crate::Result<()> {
        if self.sandboxed {
            rustix::thread::set_no_new_privs(true).map_err(|errno| super::BrokerError::Confine {
                step: "no new privileges",
                reason: errno.to_string(),
                remedy: "set `sandboxed = false` in [security]",
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_only_ever_more_careful() {
        let own = std::process::id();
        let config = SecurityConfig::default();
        assert_eq!(config.check(own), Ok(()));
        let strict = SecurityConfig { allow_ptrace: false, ..config };
        assert_eq!(strict.check(own), Err(CaptureError::PtraceForbidden { pid: own }));
        assert_eq!(strict.check_alone(own), strict.check(own));
        assert!(config.check_alone(u32::MAX).is_err() || nix::unistd::geteuid().is_root());
    }
}
