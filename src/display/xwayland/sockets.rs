//! The sockets of an X display: where X11 programs look for their server.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use nix::sys::signal::kill;
use nix::unistd::Pid;

const FOLDER: &str = "/tmp/.X11-unix";
/// Display numbers that are tried.
const NUMBERS: u32 = 64;

/// A display number that is ours, and who listens there.
#[derive(Debug)]
pub(super) struct Sockets {
    number: u32,
    lock: PathBuf,
    path: PathBuf,
    /// One in the file system, for programs in other network namespaces; one in the abstract namespace, for the rest.
    listeners: Vec<UnixListener>,
}

impl Sockets {
    /// The first display number that nobody has.
    pub(super) fn open() -> io::Result<Self> {
        // Usually there from the boot on; the sticky bit keeps others from taking away what is ours.
        match DirBuilder::new().mode(0o1777).create(FOLDER) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for number in 0..NUMBERS {
            let lock = PathBuf::from(format!("/tmp/.X{number}-lock"));
            if !take(&lock)? {
                continue;
            }
            let path = Path::new(FOLDER).join(format!("X{number}"));
            match bind(&path) {
                Ok(listeners) => return Ok(Self { number, lock, path, listeners }),
                Err(error) => {
                    let _ours = std::fs::remove_file(&lock);
                    last = error;
                }
            }
        }
        Err(last)
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn listeners(&self) -> &[UnixListener] {
        &self.listeners
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for path in [&self.path, &self.lock] {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::debug!(path = %path.display(), %error, "an X11 file stays behind");
            }
        }
    }
}

fn bind(path: &Path) -> io::Result<Vec<UnixListener>> {
    // Whoever listens there without a lock is left alone; otherwise a socket that is there belongs to nobody.
    let name = SocketAddr::from_abstract_name(path.as_os_str().as_encoded_bytes())?;
    let abstract_one = UnixListener::bind_addr(&name)?;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    Ok(vec![UnixListener::bind(path)?, abstract_one])
}

/// Takes the lock file, which says who has the number: ten digits and a newline, as every X server writes it. Returns whether it is
/// ours; the lock of a process that is gone is taken over.
fn take(lock: &Path) -> io::Result<bool> {
    for _ in 0..2 {
        match OpenOptions::new().write(true).create_new(true).mode(0o444).open(lock) {
            Ok(mut file) => {
                writeln!(file, "{:>10}", std::process::id())?;
                return Ok(true);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let dead = owner(lock).is_some_and(|pid| kill(pid, None) == Err(nix::errno::Errno::ESRCH));
        if !dead || std::fs::remove_file(lock).is_err() {
            return Ok(false);
        }
    }
    Ok(false)
}

fn owner(lock: &Path) -> Option<Pid> {
    let mut text = String::new();
    File::open(lock).ok()?.take(16).read_to_string(&mut text).ok()?;
    let pid = text.trim().parse::<i32>().ok().filter(|pid| *pid > 0)?;
    Some(Pid::from_raw(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_taken_once_and_that_of_the_dead_is_taken_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let lock = directory.path().join(".X5-lock");
        assert!(take(&lock).expect("written"));
        assert_eq!(owner(&lock), Some(Pid::this()));
        assert!(!take(&lock).expect("asked"), "its owner lives");
        std::fs::remove_file(&lock).expect("removed");
        // Larger than any process number that the kernel gives.
        std::fs::write(&lock, format!("{:>10}\n", i32::MAX)).expect("written");
        assert!(take(&lock).expect("written"));
        assert_eq!(owner(&lock), Some(Pid::this()));
        for nonsense in ["", "nobody\n", "0\n", "-1\n"] {
            std::fs::remove_file(&lock).expect("removed");
            std::fs::write(&lock, nonsense).expect("written");
            assert!(!take(&lock).expect("asked"), "{nonsense:?} is somebody's, for all we know");
        }
    }

    #[test]
    fn a_display_has_both_its_sockets_and_takes_them_away() {
        let sockets = Sockets::open().expect("a free display");
        let other = Sockets::open().expect("another one");
        assert_ne!(sockets.number(), other.number());
        assert_eq!(sockets.listeners().len(), 2);
        let (path, lock) = (sockets.path.clone(), sockets.lock.clone());
        assert!(path.exists() && lock.exists());
        std::os::unix::net::UnixStream::connect(&path).expect("somebody listens");
        drop(sockets);
        assert!(!path.exists() && !lock.exists());
    }
}
