//! What a descriptor of the target is, as far as a call that waits on it depends on it.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;

use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::time::TimeValLike;

use crate::capture::sys;
use crate::capture::target::{proc_path, task_path};

/// Of what kind a descriptor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Pipe,
    /// eventfd, timerfd, signalfd, inotify, fanotify, userfaultfd.
    Events,
    Socket,
    Terminal,
    /// On a file system of this machine.
    File,
    Other,
}

/// The descriptors of a process.
pub(crate) struct Descriptors<'a> {
    pub pid: u32,
    /// Of a thread of it that lives.
    pub pidfd: BorrowedFd<'a>,
}

impl Descriptors<'_> {
    pub(super) fn kind(&self, tid: u32, fd: u64) -> Kind {
        let fd = fd as u32;
        let link = fs::read_link(task_path(self.pid, tid, &format!("fd/{fd}"))).unwrap_or_default();
        let link = link.to_string_lossy();
        match &*link {
            name if name.starts_with("pipe:") => Kind::Pipe,
            name if name.starts_with("socket:") => Kind::Socket,
            "anon_inode:[eventfd]" | "anon_inode:[timerfd]" | "anon_inode:[signalfd]" => Kind::Events,
            "anon_inode:inotify" | "anon_inode:[fanotify]" | "anon_inode:[userfaultfd]" => Kind::Events,
            name if name.starts_with("/dev/pts/") || name.starts_with("/dev/tty") => Kind::Terminal,
            "/dev/console" => Kind::Terminal,
            name if name.starts_with('/') => self.kind_of_file(tid, fd),
            _ => Kind::Other,
        }
    }

    /// A file is only asked when no other machine or program answers for it: that might take for ever.
    fn kind_of_file(&self, tid: u32, fd: u32) -> Kind {
        const LOCAL: [&str; 11] = [
            "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "ramfs", "rootfs", "overlay", "devtmpfs",
        ];
        let mount =
            fs::read_to_string(task_path(self.pid, tid, &format!("fdinfo/{fd}"))).ok().and_then(|info| {
                Some(info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().to_owned())
            });
        let Some(mount) = mount else { return Kind::Other };
        let table = fs::read_to_string(task_path(self.pid, tid, "mountinfo"))
            .or_else(|_| fs::read_to_string(proc_path(self.pid, "mountinfo")))
            .unwrap_or_default();
        let of_mount = |line: &&str| line.split(' ').next() == Some(mount.as_str());
        let system = table.lines().find(of_mount).and_then(|line| line.split_once(" - "));
        let system = system.and_then(|(_, behind)| behind.split(' ').next()).unwrap_or_default();
        if !LOCAL.contains(&system) {
            return Kind::Other;
        }
        match fs::metadata(task_path(self.pid, tid, &format!("fd/{fd}"))) {
            Ok(file) if file.file_type().is_fifo() => Kind::Pipe,
            Ok(file) if file.is_file() => Kind::File,
            _ => Kind::Other,
        }
    }

    /// Whether a call that waits on the socket has no time limit by its options, and nothing in its hands
    /// while it waits.
    pub fn socket_goes_on(&self, fd: u64, limit: libc::c_int) -> bool {
        let Ok(socket) = sys::pidfd_getfd(self.pidfd, fd as i32) else { return false };
        let family = sys::socket_number(socket.as_fd(), libc::SO_DOMAIN);
        let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
        let unlimited = match limit {
            libc::SO_SNDTIMEO => getsockopt(&socket, sockopt::SendTimeout),
            _ => getsockopt(&socket, sockopt::ReceiveTimeout),
        };
        family.is_ok_and(|family| known.contains(&family))
            && unlimited.is_ok_and(|limit| limit.num_microseconds() == 0)
            && sys::socket_number(socket.as_fd(), libc::SO_RCVLOWAT).is_ok_and(|least| least <= 1)
    }

    /// Whether a read from the terminal waits for a line, or for one byte and no longer than it takes.
    pub fn terminal_waits_for_one(&self, fd: u64) -> bool {
        let terminal = sys::pidfd_getfd(self.pidfd, fd as i32);
        let settings = terminal.and_then(|terminal| sys::terminal(terminal.as_fd()));
        settings.is_ok_and(|settings| {
            settings.c_lflag & libc::ICANON != 0
                || settings.c_cc[libc::VMIN] <= 1 && settings.c_cc[libc::VTIME] == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn descriptors_of_each_kind_are_told_apart() {
        let pid = std::process::id();
        let pidfd = sys::pidfd_open(pid).expect("opened");
        let descriptors = Descriptors { pid, pidfd: pidfd.as_fd() };
        let kind = |fd: &dyn AsRawFd| descriptors.kind(pid, fd.as_raw_fd() as u64);
        let (read, _write) = nix::unistd::pipe().expect("made");
        assert_eq!(kind(&read), Kind::Pipe);
        let (one, other) = std::os::unix::net::UnixStream::pair().expect("made");
        assert_eq!(kind(&one), Kind::Socket);
        let goes_on = |fd: &dyn AsRawFd| descriptors.socket_goes_on(fd.as_raw_fd() as u64, libc::SO_RCVTIMEO);
        assert!(goes_on(&one));
        other.set_read_timeout(Some(std::time::Duration::from_secs(3))).expect("set");
        assert!(!goes_on(&other), "it has a limit");
        let file = tempfile::tempfile().expect("made");
        assert!(matches!(kind(&file), Kind::File | Kind::Other), "by the file system of this machine");
        let zero = fs::File::open("/dev/zero").expect("opened");
        assert_eq!(kind(&zero), Kind::Other);
        let proc = fs::File::open("/proc/self/maps").expect("opened");
        assert_eq!(kind(&proc), Kind::Other);
    }
}
