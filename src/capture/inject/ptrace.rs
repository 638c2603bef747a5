//! The few requests of ptrace(2) that the injection needs, and waiting for their effect.
//!
//! Runs in the helper, under its rules (no allocation, no locks, no panics).

use std::mem::zeroed;
use std::ptr;

use nix::libc::{self, c_int, c_long, user_regs_struct};

use super::helper::system_call;

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

/// Whether a signal waits that the thread would take at once: then the EINTR is that signal's, and stays.
pub(super) unsafe fn has_deliverable_signal(tid: c_int, mask: u64) -> bool {
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
                if bit & !mask != 0 {
                    return true;
                }
            }
        }
    }
    false
}

pub(super) unsafe fn get_registers(tid: c_int, registers: &mut user_regs_struct) -> Result<(), Failed> {
    // SAFETY: the kernel fills exactly this structure.
    unsafe { ptrace(libc::PTRACE_GETREGS, tid, 0, ptr::from_mut(registers) as c_long) }
        .map(drop)
        .map_err(|_| Failed::Gone)
}

pub(super) unsafe fn set_registers(tid: c_int, registers: &user_regs_struct) -> Result<(), Failed> {
    // SAFETY: the kernel reads exactly this structure.
    unsafe { ptrace(libc::PTRACE_SETREGS, tid, 0, ptr::from_ref(registers) as c_long) }
        .map(drop)
        .map_err(|_| Failed::Gone)
}

/// The library's own function hides the results of some requests. One that fails is made once more: giving up between two steps leaves
/// the thread with registers that are not its own, and what fails for good fails again.
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

/// Waits until the thread stops, at most this long. Sleeping, never spinning: a tracer that burns its processor time on the
/// processor of its tracee makes it stand still for whole time slices.
pub(super) unsafe fn wait_for(tid: c_int, limit_ns: u64) -> Result<c_int, Failed> {
    let end = now_ns().saturating_add(limit_ns);
    // SAFETY: system calls on numbers, and on buffers of this stack that outlive them.
    unsafe {
        loop {
            let mut status = 0;
            match poll_stop(tid, &mut status) {
                Ok(true) if libc::WIFSTOPPED(status) => return Ok(status),
                Ok(true) => return Err(Failed::Gone),
                Ok(false) | Err(libc::EINTR) => {}
                Err(_) => return Err(Failed::Gone),
            }
            let left = end.saturating_sub(now_ns());
            if left == 0 {
                return Err(Failed::Late);
            }
            // All signals are blocked, so the announcement of the stop is kept for us even if it came before this.
            let announced = 1u64 << (libc::SIGCHLD - 1);
            let limit = libc::timespec {
                tv_sec: (left / 1_000_000_000) as i64,
                tv_nsec: (left % 1_000_000_000) as i64,
            };
            let (announced, limit) = (ptr::from_ref(&announced) as c_long, ptr::from_ref(&limit) as c_long);
            let _ = system_call(libc::SYS_rt_sigtimedwait, [announced, 0, limit, 8, 0, 0]);
        }
    }
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
