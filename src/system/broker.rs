//! `memory-glass broker`: where its clients come from, and where its files are.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

use crate::Result;
use crate::capture::broker::{BrokerError, BrokerOptions, Origin, serve, usual_audit_log};

pub use crate::capture::broker::DEFAULT_POLICY;

/// What the command line says.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; on systemd's socket when `None`.
    pub socket: Option<PathBuf>,
    /// Serve the other end of the standard input only.
    pub connected_on_stdin: bool,
    /// It may suspend the seccomp filter of a target, and has none itself.
    pub suspend_seccomp: bool,
    /// The policy file.
    pub policy: PathBuf,
    /// The audit log; the usual one when `None`.
    pub audit_log: Option<PathBuf>,
}

/// Serves until it is stopped, or until its only client is gone.
pub fn run(options: Options) -> Result<()> {
    let origin = match options.socket {
        _ if options.connected_on_stdin => {
            Origin::Connected(io::stdin().as_fd().try_clone_to_owned().map_err(BrokerError::Listen)?)
        }
        Some(path) => Origin::Listening(listen_at(&path).map_err(BrokerError::Listen)?),
        None => Origin::handed_over().map_err(BrokerError::Listen)?,
    };
    let audit_log = options.audit_log.unwrap_or_else(usual_audit_log);
    let suspends_seccomp = options.suspend_seccomp;
    serve(BrokerOptions { origin, policy: options.policy, audit_log, suspends_seccomp }, || {
        // Outside of a service there is nobody to tell.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    })
}

/// A socket that everybody may connect to: who they are, the kernel says, and what they may, the policy.
fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let listener = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    // What a broker that was killed left. Anything but a socket stays, and is in the way.
    if fs::symlink_metadata(path)
        .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()))
    {
        fs::remove_file(path)?;
    }
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
    listen(&listener, Backlog::new(16)?)?;
    Ok(listener)
}
