//! The control socket in the file system: for its owner only, one for each session, and gone with it.

use std::fs::{self, File, TryLockError};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::libc;
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};

use crate::display::DisplayError;
use crate::ipc::SOCKET_NAME;

/// Sessions of one person at the same time.
const SESSIONS: u32 = 32;

/// The listening socket's place. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Held as long as the session lives: whoever gets it may take a socket of that name away.
    _lock: File,
}

impl Place {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // It may have been removed already, with the directory.
        let _ = fs::remove_file(&self.path);
    }
}

/// Listens under the first free name in `$XDG_RUNTIME_DIR`.
pub(super) fn open() -> Result<(UnixListener, Place), DisplayError> {
    let failed = |path: &Path, reason: String| DisplayError::Socket {
        name: path.to_string_lossy().into_owned(),
        reason,
    };
    let Some(directory) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) else {
        return Err(failed(Path::new(SOCKET_NAME), "there is no directory for it".into()));
    };
    open_in(&directory).map_err(|(path, reason)| failed(&path, reason))
}

fn open_in(directory: &Path) -> Result<(UnixListener, Place), (PathBuf, String)> {
    let mut path = directory.join(SOCKET_NAME);
    for number in 2..=SESSIONS + 1 {
        let at = |error: &dyn std::fmt::Display| (path.clone(), error.to_string());
        let lock_path = path.with_extension("sock.lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(lock_path)
            .map_err(|error| at(&error))?;
        match lock.try_lock() {
            Ok(()) => {
                // Nobody has the lock, so what is there was left by a session that was killed.
                let _ = fs::remove_file(&path);
                let listener = listen_at(&path).map_err(|errno| at(&errno.desc()))?;
                return Ok((listener, Place { path, _lock: lock }));
            }
            Err(TryLockError::WouldBlock) => {
                path = directory.join(SOCKET_NAME.replace(".sock", &format!("-{number}.sock")));
            }
            Err(TryLockError::Error(error)) => return Err(at(&error)),
        }
    }
    Err((path, format!("{SESSIONS} sessions are running already")))
}

fn listen_at(path: &Path) -> nix::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // Before the name exists: there is no moment in which others could connect.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(16)?)?;
    Ok(UnixListener::from(socket))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn each_session_has_a_socket_of_its_own_that_is_for_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        // What a killed session leaves.
        drop(UnixListener::bind(directory.path().join(SOCKET_NAME)).unwrap());
        let (_first, place) = open_in(directory.path()).unwrap();
        let (_second, other) = open_in(directory.path()).unwrap();
        assert_eq!(place.path().file_name().unwrap(), SOCKET_NAME);
        assert_eq!(other.path().file_name().unwrap(), "memory-glass-2.sock");
        for place in [&place, &other] {
            let mode = fs::metadata(place.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            UnixStream::connect(place.path()).unwrap();
        }
        let path = place.path().to_owned();
        drop(place);
        assert!(!path.exists());
        let (_third, place) = open_in(directory.path()).unwrap();
        assert_eq!(place.path(), path);
        assert!(open_in(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn what_a_link_in_its_place_points_to_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let victim = directory.path().join("victim");
        fs::write(&victim, "whole").unwrap();
        let link = |name: &str| std::os::unix::fs::symlink(&victim, directory.path().join(name)).unwrap();
        link(SOCKET_NAME);
        let (_listener, place) = open_in(directory.path()).unwrap();
        assert!(!fs::symlink_metadata(place.path()).unwrap().is_symlink());
        link("memory-glass-2.sock.lock");
        let (path, reason) = open_in(directory.path()).unwrap_err();
        assert!(path.ends_with("memory-glass-2.sock") && reason.contains("symbolic links"), "{reason}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "whole");
    }
}
