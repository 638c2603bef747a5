//! Which system calls go on exactly as they would have after a thread was interrupted in them.
//!
//! A stop ends the call that a thread waits in, and what follows is the call's own affair: some are restarted
//! by the kernel with the time that is left, some answer how far they came, some answer EINTR, some begin
//! their time limit anew. A program that is never sent a signal need not be prepared for any of it. So this
//! is a list of what is known to go on exactly, by the call's number and arguments and what its descriptor
//! is; everything else is left alone until the thread has left it.
//!
//! **In**: what `/proc/PID/task/TID/syscall` says. **Out**: a [`Verdict`]. [`fds`] looks at descriptors,
//! [`names`] has the words.

mod asleep;
mod fds;
mod names;

use std::fs;
use std::os::fd::BorrowedFd;

use nix::libc::{self, c_long};

use super::MemoryRegion;
use super::sys::SYS_IO_PGETEVENTS;
use super::target::task_path;
pub(crate) use asleep::last_run;
use fds::{Descriptors, Kind};
pub(crate) use names::name;

const SYS_FUTEX_WAITV: c_long = 449;
const SYS_FUTEX_WAIT: c_long = 455;
const SYS_RESTART: c_long = libc::SYS_restart_syscall;

/// What becomes of a call when its thread is stopped in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes on as if nothing had been.
    GoesOn,
    /// It goes on once its limit, a register of this many milliseconds, is shortened by the time that has
    /// passed.
    Limited(i32),
    /// It goes on, but something of it is to be seen in memory that would not be there otherwise.
    LeavesTrace,
    /// It would end otherwise than it would have: why.
    Ends(&'static str),
}

/// A call that a thread waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub number: c_long,
    arguments: [u64; 6],
    /// Where the thread goes on after it.
    pub return_to: u64,
}

impl Call {
    /// What `/proc/PID/task/TID/syscall` says of a thread that waits. None for one that runs or waits outside
    /// any call.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let number: c_long = words.next()?.parse().ok().filter(|number| *number >= 0)?;
        let mut rest = words.map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
        let mut arguments = [0; 6];
        for argument in &mut arguments {
            *argument = rest.next()??;
        }
        let (_stack, return_to) = (rest.next()??, rest.next()??);
        Some(Self { number, arguments, return_to })
    }

    /// Whether it answers EINTR when it is interrupted, so that it has to be made once more for the thread.
    pub fn answers_eintr(&self) -> bool {
        matches!(
            self.number,
            libc::SYS_epoll_wait
                | libc::SYS_epoll_pwait
                | libc::SYS_epoll_pwait2
                | libc::SYS_semop
                | libc::SYS_semtimedop
                | libc::SYS_rt_sigtimedwait
                | libc::SYS_io_getevents
                | SYS_IO_PGETEVENTS
                | libc::SYS_io_uring_enter
                | libc::SYS_read
                | libc::SYS_readv
        )
    }

    /// Whether it waits under a signal mask of its own: what the thread blocks otherwise is not to be seen
    /// then.
    pub fn has_own_mask(&self) -> bool {
        match self.number {
            libc::SYS_rt_sigsuspend | libc::SYS_rt_sigtimedwait => true,
            libc::SYS_ppoll => self.arguments[3] != 0,
            libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => self.arguments[4] != 0,
            libc::SYS_pselect6 | SYS_IO_PGETEVENTS => self.arguments[5] != 0,
            libc::SYS_io_uring_enter => self.arguments[4] != 0,
            // Which call it was is not to be seen.
            SYS_RESTART => true,
            _ => false,
        }
    }
}

/// The threads' surroundings, for looking up what their calls' arguments stand for.
pub(crate) struct Surroundings<'a> {
    pub pid: u32,
    pub regions: &'a [MemoryRegion],
    pub descriptors: Descriptors<'a>,
}

impl<'a> Surroundings<'a> {
    pub fn new(pid: u32, pidfd: BorrowedFd<'a>, regions: &'a [MemoryRegion]) -> Self {
        Self { pid, regions, descriptors: Descriptors { pid, pidfd } }
    }

    /// What becomes of the call when it is interrupted.
    pub fn judge(&self, tid: u32, call: &Call) -> Verdict {
        use Verdict::{Ends, GoesOn};
        const ANEW: &str = "its time limit would begin anew";
        const SHORT: &str = "it would end early, with a part of what was asked for";
        const UNKNOWN: &str = "it is not known to go on as it was";
        const REGISTERED_RING: u64 = 16;
        let [a, b, c, d, e, _] = call.arguments;
        let when = |exact, otherwise| if exact { GoesOn } else { Ends(otherwise) };
        match call.number {
            // The kernel goes on with the point in time that it ends at, or with all of it where it has none.
            SYS_RESTART
            | libc::SYS_poll
            | libc::SYS_pause
            | libc::SYS_rt_sigsuspend
            | libc::SYS_wait4
            | libc::SYS_waitid
            | libc::SYS_msgrcv
            | libc::SYS_msgsnd
            | libc::SYS_mq_timedreceive
            | libc::SYS_mq_timedsend
            | SYS_FUTEX_WAITV
            | SYS_FUTEX_WAIT => GoesOn,
            libc::SYS_futex => when(futex_goes_on(b), "it may answer EAGAIN"),
            libc::SYS_nanosleep => self.sleep(b),
            libc::SYS_clock_nanosleep => {
                if b & libc::TIMER_ABSTIME as u64 != 0 {
                    GoesOn
                } else {
                    self.sleep(d)
                }
            }
            libc::SYS_ppoll => self.with_rest(tid, c),
            libc::SYS_select | libc::SYS_pselect6 => self.with_rest(tid, e),
            // Without a limit they are made once more.
            libc::SYS_epoll_wait | libc::SYS_epoll_pwait => match d as i32 {
                ..0 => GoesOn,
                limit => Verdict::Limited(limit),
            },
            libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => when(d == 0, ANEW),
            libc::SYS_semop => GoesOn,
            libc::SYS_rt_sigtimedwait => when(c == 0, ANEW),
            libc::SYS_io_getevents | SYS_IO_PGETEVENTS if b as i64 > 1 => Ends(SHORT),
            libc::SYS_io_getevents | SYS_IO_PGETEVENTS => when(e == 0, ANEW),
            // Nothing to hand in, and no structure with a limit (IORING_ENTER_EXT_ARG): only the flag that it
            // waits.
            libc::SYS_io_uring_enter => when(b == 0 && d & !REGISTERED_RING == 1, ANEW),
            libc::SYS_read | libc::SYS_readv => self.read(tid, a),
            libc::SYS_recvfrom => self.receive(tid, a, d),
            libc::SYS_recvmsg => self.receive(tid, a, c),
            libc::SYS_accept | libc::SYS_accept4 => self.socket(tid, a, libc::SO_RCVTIMEO),
            libc::SYS_connect => self.socket(tid, a, libc::SO_SNDTIMEO),
            libc::SYS_flock => self.lock(tid, a),
            libc::SYS_fcntl if matches!(b as i32, libc::F_SETLKW | libc::F_OFD_SETLKW) => self.lock(tid, a),
            libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_pwrite64
            | libc::SYS_pwritev
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg
            | libc::SYS_recvmmsg
            | libc::SYS_sendfile
            | libc::SYS_splice
            | libc::SYS_vmsplice
            | libc::SYS_tee
            | libc::SYS_copy_file_range
            | libc::SYS_getrandom => Ends(SHORT),
            _ => Ends(UNKNOWN),
        }
    }

    /// A sleep goes on by itself, but first writes how long it still is to where the program asked for that,
    /// which nobody reads who was not interrupted. Where it cannot write, it answers EFAULT.
    fn sleep(&self, rest: u64) -> Verdict {
        match rest {
            0 => Verdict::GoesOn,
            _ if self.is_writable(rest) => Verdict::LeavesTrace,
            _ => Verdict::Ends("it would answer EFAULT, because it cannot write the rest of its time"),
        }
    }

    fn is_writable(&self, address: u64) -> bool {
        let holds = |region: &&MemoryRegion| (region.start..region.end).contains(&address);
        self.regions.iter().find(holds).is_some_and(MemoryRegion::is_writable)
    }

    /// Calls that are made again with the rest of their limit, which the kernel writes where the limit was.
    /// Where it cannot, or is asked not to, they answer EINTR.
    fn with_rest(&self, tid: u32, limit: u64) -> Verdict {
        const STICKY_TIMEOUTS: u32 = 0x0400_0000;
        let sticky = || {
            let personality = fs::read_to_string(task_path(self.pid, tid, "personality")).ok();
            let bits = personality.and_then(|text| u32::from_str_radix(text.trim(), 16).ok());
            bits.is_none_or(|bits| bits & STICKY_TIMEOUTS != 0)
        };
        if limit == 0 || self.is_writable(limit) && !sticky() {
            Verdict::GoesOn
        } else {
            Verdict::Ends("its time limit cannot be shortened by what has passed, so it would answer EINTR")
        }
    }

    fn read(&self, tid: u32, fd: u64) -> Verdict {
        match self.descriptors.kind(tid, fd) {
            // They wait only as long as they have nothing, and so have nothing to lose.
            Kind::Pipe | Kind::Events => Verdict::GoesOn,
            Kind::Socket => self.socket(tid, fd, libc::SO_RCVTIMEO),
            Kind::Terminal if self.descriptors.terminal_waits_for_one(fd) => Verdict::GoesOn,
            Kind::Terminal => {
                Verdict::Ends("its terminal's time limit would begin anew, or it would end early")
            }
            Kind::File | Kind::Other => Verdict::Ends("what it reads from is not known to go on"),
        }
    }

    fn receive(&self, tid: u32, fd: u64, flags: u64) -> Verdict {
        if flags & libc::MSG_WAITALL as u64 != 0 {
            return Verdict::Ends("it would end early, with a part of what was asked for");
        }
        self.socket(tid, fd, libc::SO_RCVTIMEO)
    }

    fn socket(&self, tid: u32, fd: u64, limit: libc::c_int) -> Verdict {
        match self.descriptors.kind(tid, fd) {
            Kind::Socket => match self.descriptors.socket_goes_on(fd, limit) {
                true => Verdict::GoesOn,
                false => Verdict::Ends("its socket's time limit would begin anew, or it would end early"),
            },
            _ => Verdict::Ends("its socket cannot be looked at"),
        }
    }

    fn lock(&self, tid: u32, fd: u64) -> Verdict {
        match self.descriptors.kind(tid, fd) {
            Kind::File => Verdict::GoesOn,
            _ => Verdict::Ends("its file system is not known to go on waiting"),
        }
    }
}

/// The operations of futex(2) that wait, but for the one that answers EAGAIN when it is interrupted at the
/// wrong moment.
fn futex_goes_on(operation: u64) -> bool {
    const LOCK_PI2: i32 = 13;
    let command = operation as i32 & libc::FUTEX_CMD_MASK;
    matches!(command, libc::FUTEX_WAIT | libc::FUTEX_WAIT_BITSET | libc::FUTEX_LOCK_PI | LOCK_PI2)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn judged(line: &str) -> Verdict {
        let pid = std::process::id();
        let pidfd = crate::capture::sys::pidfd_open(pid).expect("opened");
        let region = |start, end, permissions: &str| MemoryRegion {
            start,
            end,
            permissions: permissions.into(),
            offset: 0,
            device: "00:00".into(),
            inode: 0,
            pathname: None,
        };
        let regions = [region(0x1000, 0x2000, "rw-p"), region(0x2000, 0x3000, "r--p")];
        let call = Call::parse(line).expect("a call");
        Surroundings::new(pid, pidfd.as_fd(), &regions).judge(pid, &call)
    }

    #[test]
    fn running_and_waiting_outside_a_call_are_no_calls() {
        assert_eq!(Call::parse("running\n"), None);
        assert_eq!(Call::parse("-1 0x7ffd 0x7f12\n"), None);
        let call = Call::parse("1 0x1 0x7f1f 0x100000 0x0 0xff 0x0 0x7ffd 0x7f12\n").expect("one");
        assert_eq!((call.number, call.return_to), (1, 0x7f12));
    }

    #[test]
    fn a_limit_counts_where_it_is() {
        let ends = |line| matches!(judged(line), Verdict::Ends(_));
        assert_eq!(judged("232 0x4 0x7f 0x1 0xffffffff 0x0 0x0 0x1 0x2"), Verdict::GoesOn);
        assert_eq!(judged("232 0x4 0x7f 0x1 0xbb8 0x0 0x0 0x1 0x2"), Verdict::Limited(3000));
        assert_eq!(judged("271 0x1 0x1 0x0 0x0 0x8 0x0 0x1 0x2"), Verdict::GoesOn);
        assert_eq!(judged("271 0x1 0x1 0x1800 0x0 0x8 0x0 0x1 0x2"), Verdict::GoesOn);
        assert!(ends("271 0x1 0x1 0x2800 0x0 0x8 0x0 0x1 0x2"), "read-only");
        assert!(ends("271 0x1 0x1 0x4000 0x0 0x8 0x0 0x1 0x2"), "not mapped");
        assert!(ends("128 0x1 0x0 0x1800 0x8 0x0 0x0 0x1 0x2"), "sigtimedwait");
        assert_eq!(
            judged("230 0x1 0x1 0x1800 0x1800 0x0 0x0 0x1 0x2"),
            Verdict::GoesOn,
            "until a point in time"
        );
        assert_eq!(judged("35 0x1800 0x1800 0x0 0x0 0x0 0x0 0x1 0x2"), Verdict::LeavesTrace);
        assert!(ends("35 0x1800 0x2800 0x0 0x0 0x0 0x0 0x1 0x2"), "it cannot write the rest");
    }

    #[test]
    fn transfers_are_never_interrupted_and_neither_is_what_nobody_knows() {
        for number in [libc::SYS_write, libc::SYS_sendfile, libc::SYS_getrandom, libc::SYS_close, 9999] {
            let line = format!("{number} 0x1 0x1 0x1 0x1 0x1 0x1 0x1 0x1");
            assert!(matches!(judged(&line), Verdict::Ends(_)), "{number}");
        }
    }
}
