//! Starts Xwayland on sockets at which programs are waiting already.
//!
//! Smithay 0.7 starts `Xwayland` from the `PATH`, on sockets of a display that it has just made, and takes no others. So what it
//! finds on the `PATH` is a script of ours, which adds ours.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::capture::shortage;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

const SCRIPT: &str = "#!/bin/sh
# The session is the first to go when memory is short, what it starts is not.
[ -z \"$MEMORY_GLASS_SCORE\" ] || echo \"$MEMORY_GLASS_SCORE\" 2> /dev/null > /proc/self/oom_score_adj
# Smithay gives Xwayland sockets that it has just made; those that X11 programs wait at are added.
exec \"$MEMORY_GLASS_XWAYLAND\" \"$@\" $MEMORY_GLASS_LISTEN
";

/// The script, in a folder of its own.
#[derive(Debug)]
pub(super) struct Launcher {
    folder: PathBuf,
    program: PathBuf,
}

/// Descriptors that the next program which is started has, too.
pub(super) struct Launch<'a> {
    launcher: &'a Launcher,
    listeners: &'a [UnixListener],
    ours: UnixStream,
    theirs: UnixStream,
}

impl Launcher {
    /// The script is the same for every session of a person, and stays for the next one.
    pub(super) fn new(program: PathBuf) -> io::Result<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").ok_or(io::ErrorKind::NotFound)?;
        let folder = Path::new(&runtime).join("memory-glass-xwayland");
        std::fs::create_dir_all(&folder)?;
        // In one step: another session may be starting it now.
        let draft = folder.join(format!(".{}", std::process::id()));
        std::fs::write(&draft, SCRIPT)?;
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o700))?;
        std::fs::rename(&draft, folder.join("Xwayland"))?;
        Ok(Self { folder, program })
    }

    /// From now on until [`Launch::started`], programs that are started inherit the sockets, and a lifeline: its other end is
    /// readable when the last process that has it is gone.
    pub(super) fn prepare<'a>(&'a self, listeners: &'a [UnixListener]) -> io::Result<Launch<'a>> {
        let (ours, theirs) = UnixStream::pair()?;
        let launch = Launch { launcher: self, listeners, ours, theirs };
        launch.inherit(FdFlag::empty())?;
        Ok(launch)
    }
}

impl Launch<'_> {
    fn inherit(&self, flags: FdFlag) -> io::Result<()> {
        let listeners = self.listeners.iter().map(AsFd::as_fd);
        for descriptor in listeners.chain([self.theirs.as_fd()]) {
            set(descriptor, flags)?;
        }
        Ok(())
    }

    /// What Xwayland is to find in its environment.
    pub(super) fn environment(&self) -> Vec<(&'static str, String)> {
        let listen: Vec<String> =
            self.listeners.iter().map(|listener| format!("-listenfd {}", listener.as_raw_fd())).collect();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        vec![
            (
                "PATH",
                format!("{}:{}", text(&self.launcher.folder), std::env::var("PATH").unwrap_or_default()),
            ),
            ("MEMORY_GLASS_XWAYLAND", text(&self.launcher.program)),
            ("MEMORY_GLASS_LISTEN", listen.join(" ")),
            ("MEMORY_GLASS_SCORE", shortage::original().unwrap_or_default().to_owned()),
        ]
    }

    /// Nobody else inherits anything; returns our end of the lifeline.
    pub(super) fn started(self) -> io::Result<UnixStream> {
        self.inherit(FdFlag::FD_CLOEXEC)?;
        Ok(self.ours)
    }
}

fn set(descriptor: BorrowedFd<'_>, flags: FdFlag) -> io::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFD(flags)).map(drop).map_err(io::Error::from)
}
