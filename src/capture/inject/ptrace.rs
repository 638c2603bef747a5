//! The few requests of ptrace(2) that the injection needs, and waiting for their effect.
//!
//! Runs in the helper, under its rules (no allocation, no locks, no panics).

use std::mem::zeroed;
use std::ptr;

use nix::libc::{self, c_int, c_long, user_regs_struct};

use super::helper::system_call;
use super::plan::Path;

/// What the status of a stop that we asked for, or of a job-control stop, carries in its upper half.
pub(super) const PTRACE_EVENT_STOP: c_int = 128;

/// Why a step with the thread failed.
#[derive(Clone, Copy)]
pub(super) enum Failed {
    /// It is gone, or being killed.
    Gone,
    /// It did not stop in time.
    Late,
    /// It stopped for something else, a fault in the call for instance.
    Otherwise(c_int),
}

/// What a stopped thread stands in.
pub(super) enum StopKind {
    /// The entry or the exit of a system call.
    Call,
    /// A stop that we asked for, or job control.
    Event,
    /// A signal is about to be delivered.
    Signal(c_int),
}

pub(super) fn stop_kind(status: c_int) -> StopKind {
    if status >> 16 == PTRACE_EVENT_STOP {
        StopKind::Event
    } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
        StopKind::Call
    } else {
        StopKind::Signal(libc::WSTOPSIG(status))
    }
}

/// Whether a signal waits that the thread would take at once: then the EINTR is that signal's, and stays. One
/// that does nothing (`harmless`, the one that we may have caused ourselves) is none.
pub(super) unsafe fn has_deliverable_signal(tid: c_int, mask: u64, harmless: c_int) -> bool {
    #[repr(C)]
    struct Peek {
        offset: u64,
        flags: u32,
        count: i32,
    }
    const SHARED: u32 = 1;
    for flags in [0, SHARED] {
        for offset in 0..128 {
            // SAFETY: all zero is a valid siginfo; the kernel fills at most the one that is asked for.
            unsafe {
                let mut info: libc::siginfo_t = zeroed();
                let peek = Peek { offset, flags, count: 1 };
                let asked = ptrace(
                    libc::PTRACE_PEEKSIGINFO,
                    tid,
                    ptr::from_ref(&peek) as c_long,
                    ptr::from_mut(&mut info) as c_long,
                );
                if !matches!(asked, Ok(1)) {
                    break;
                }
                let bit = 1u64.checked_shl((info.si_signo as u32).wrapping_sub(1)).unwrap_or(0);
                if bit & !mask != 0 && info.si_signo != harmless {
                    return true;
                }
            }
        }
    }
    false
}

pub(super) unsafe fn get_registers(
    thread: &Thread<'_>,
    registers: &mut user_regs_struct,
) -> Result<(), Failed> {
    // SAFETY: the kernel fills exactly this structure.
    unsafe { insist(thread, libc::PTRACE_GETREGS, 0, ptr::from_mut(registers) as c_long) }
}

pub(super) unsafe fn set_registers(thread: &Thread<'_>, registers: &user_regs_struct) -> Result<(), Failed> {
    // SAFETY: the kernel reads exactly this structure.
    unsafe { insist(thread, libc::PTRACE_SETREGS, 0, ptr::from_ref(registers) as c_long) }
}

/// A thread that we trace.
#[derive(Clone, Copy)]
pub(super) struct Thread<'a> {
    pub tid: c_int,
    /// Where the kernel says what becomes of it.
    pub status: &'a Path,
}

impl Thread<'_> {
    /// Whether it is beyond help: dead, or nobody's to trace any more. Everything else is a reason to go on.
    unsafe fn is_lost(&self) -> bool {
        // SAFETY: system calls on numbers, and on buffers of this stack that outlive them.
        unsafe {
            // Left to be taken: of a thread that is traced, stops are told of, too, whatever is asked for.
            let mut end: libc::siginfo_t = zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
            let into = ptr::from_mut(&mut end) as c_long;
            let process = libc::P_PID as c_long;
            let asked = system_call(libc::SYS_waitid, [process, self.tid.into(), into, flags.into(), 0, 0]);
            let ended = matches!(end.si_code, libc::CLD_EXITED | libc::CLD_KILLED | libc::CLD_DUMPED);
            if asked.is_ok() && end.si_signo == libc::SIGCHLD && ended {
                return true;
            }
            let mut text = [0; 2048];
            match read_file(self.status, &mut text) {
                Ok(length) => field(text.get(..length).unwrap_or_default(), b"TracerPid:") == Some(0),
                Err(errno) => matches!(errno, libc::ENOENT | libc::ESRCH),
            }
        }
    }
}

/// A step that has to be made, however often it fails: giving up would leave the thread with registers that
/// are not its own.
pub(super) unsafe fn insist(
    thread: &Thread<'_>,
    request: libc::c_uint,
    address: c_long,
    data: c_long,
) -> Result<(), Failed> {
    // SAFETY: what the request reads or writes is the caller's promise.
    unsafe {
        loop {
            if ptrace(request, thread.tid, address, data).is_ok() {
                return Ok(());
            }
            // Asked twice: what is asked may fail, too.
            if thread.is_lost() && thread.is_lost() {
                return Err(Failed::Gone);
            }
            pause(1_000_000);
        }
    }
}

/// The library's own function hides the results of some requests. One that fails is made once more: what
/// fails for good fails again.
pub(super) unsafe fn ptrace(
    request: libc::c_uint,
    tid: c_int,
    address: c_long,
    data: c_long,
) -> Result<c_long, c_int> {
    // SAFETY: what the request reads or writes is the caller's promise.
    let call = || unsafe { system_call(libc::SYS_ptrace, [request.into(), tid.into(), address, data, 0, 0]) };
    call().or_else(|_| call())
}

pub(super) unsafe fn read_memory(tid: c_int, address: u64, into: &mut [u8]) -> bool {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    let (local, remote) = (ptr::from_ref(&local) as c_long, ptr::from_ref(&remote) as c_long);
    // SAFETY: the kernel writes at most the length of `into`.
    let read = unsafe { system_call(libc::SYS_process_vm_readv, [tid.into(), local, 1, remote, 1, 0]) };
    read == Ok(into.len() as c_long)
}

/// Whether a stop of the thread is there to be fetched, and which. Asked twice for the same reason as above.
pub(super) unsafe fn poll_stop(tid: c_int, status: &mut c_int) -> Result<bool, c_int> {
    let flags = libc::WNOHANG | libc::__WALL;
    let status = ptr::from_mut(status) as c_long;
    // SAFETY: the kernel writes the status only.
    let call = || unsafe { system_call(libc::SYS_wait4, [tid.into(), status, flags.into(), 0, 0, 0]) };
    call().or_else(|_| call()).map(|answer| answer == c_long::from(tid))
}

/// Waits until the thread stops, until that point in time or, with none, as long as it takes. Sleeping, never
/// spinning: a tracer that burns its processor time on the processor of its tracee makes it stand still for
/// whole time slices.
pub(super) unsafe fn wait_for(thread: &Thread<'_>, end_ns: Option<u64>) -> Result<c_int, Failed> {
    // SAFETY: system calls on numbers, and on buffers of this stack that outlive them.
    unsafe {
        loop {
            let mut status = 0;
            match poll_stop(thread.tid, &mut status) {
                Ok(true) if libc::WIFSTOPPED(status) => return Ok(status),
                Ok(true) => return Err(Failed::Gone),
                Ok(false) | Err(libc::EINTR) => {}
                Err(_) if thread.is_lost() && thread.is_lost() => return Err(Failed::Gone),
                Err(_) => pause(1_000_000),
            }
            let left = end_ns.map_or(LONGEST_NAP_NS, |end| end.saturating_sub(now_ns()));
            if left == 0 {
                return Err(Failed::Late);
            }
            pause(left.min(LONGEST_NAP_NS));
        }
    }
}

/// A stop is announced by a signal; this is for the case that it is not.
const LONGEST_NAP_NS: u64 = 200_000_000;

/// Sleeps so long, or until a stop is announced. All signals are blocked, so an announcement is kept for us
/// even if it came before this.
unsafe fn pause(limit_ns: u64) {
    let announced = 1u64 << (libc::SIGCHLD - 1);
    let limit = libc::timespec {
        tv_sec: (limit_ns / 1_000_000_000) as i64,
        tv_nsec: (limit_ns % 1_000_000_000) as i64,
    };
    let (announced, limit) = (ptr::from_ref(&announced) as c_long, ptr::from_ref(&limit) as c_long);
    // SAFETY: the kernel reads a set of signals and a time of this stack.
    let _ = unsafe { system_call(libc::SYS_rt_sigtimedwait, [announced, 0, limit, 8, 0, 0]) };
}

/// The first part of a file: how many bytes of it there are.
pub(super) unsafe fn read_file(path: &Path, into: &mut [u8]) -> Result<usize, c_int> {
    // SAFETY: the path ends with a zero, and the kernel writes at most the length of `into`.
    unsafe {
        let path = path.as_ptr() as c_long;
        let flags = (libc::O_RDONLY | libc::O_CLOEXEC).into();
        let file = system_call(libc::SYS_openat, [libc::AT_FDCWD.into(), path, flags, 0, 0, 0])?;
        let read =
            system_call(libc::SYS_read, [file, into.as_mut_ptr() as c_long, into.len() as c_long, 0, 0, 0]);
        let _ = system_call(libc::SYS_close, [file, 0, 0, 0, 0, 0]);
        Ok(read? as usize)
    }
}

/// The number behind a name at the beginning of a line.
pub(super) fn field(text: &[u8], name: &[u8]) -> Option<u64> {
    let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
    number(line.split(|byte| byte.is_ascii_whitespace()).find(|word| !word.is_empty())?)
}

/// A word of decimal digits.
pub(super) fn number(word: &[u8]) -> Option<u64> {
    word.iter().try_fold(0u64, |number, byte| {
        byte.is_ascii_digit()
            .then(|| number.wrapping_mul(10).wrapping_add(u64::from(byte.wrapping_sub(b'0'))))
    })
}

pub(super) fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is written into this stack's timespec.
    let _ = unsafe {
        let clock = libc::CLOCK_MONOTONIC.into();
        system_call(libc::SYS_clock_gettime, [clock, ptr::from_mut(&mut time) as c_long, 0, 0, 0, 0])
    };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
