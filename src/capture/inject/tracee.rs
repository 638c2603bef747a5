//! One thread of the target, stopped: what is done to it and how it is let go.
//!
//! Runs in the helper, under its rules (no allocation, no locks, no panics).

use std::mem::zeroed;
use std::ptr;

use nix::libc::{self, c_int, c_long, user_regs_struct};

use super::helper::{Outcome, Report, system_call};
use super::plan::{Plan, SYSCALL};
use crate::capture::sys;

const PTRACE_O_TRACESYSGOOD: c_long = 1;
const PTRACE_O_SUSPEND_SECCOMP: c_long = 1 << 21;
const PTRACE_GET_RSEQ_CONFIGURATION: c_long = 0x420f;
const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG: c_long = 0x4211;
const PTRACE_EVENT_STOP: c_int = 128;
const NT_PRSTATUS: c_long = 1;
/// Code segment of 64-bit user code.
const USER_CS: u64 = 0x33;
/// How long one of our own steps may take once the thread is stopped. Far beyond any real step: giving up leaves the thread with
/// our registers, so this is only there not to wait for ever for a thread that is being killed.
const STEP_LIMIT_NS: u64 = 5_000_000_000;

/// Why a step with the thread failed.
#[derive(Clone, Copy)]
enum Failed {
    /// It is gone, or being killed.
    Gone,
    /// It did not stop in time.
    Late,
    /// It stopped for something else, a fault in the call for instance.
    Otherwise(c_int),
}

/// What a stopped thread stands in.
enum StopKind {
    /// The entry or the exit of a system call.
    Call,
    /// A stop that we asked for, or job control.
    Event,
    /// A signal is about to be delivered.
    Signal(c_int),
}

fn stop_kind(status: c_int) -> StopKind {
    if status >> 16 == PTRACE_EVENT_STOP {
        StopKind::Event
    } else if libc::WSTOPSIG(status) == libc::SIGTRAP | 0x80 {
        StopKind::Call
    } else {
        StopKind::Signal(libc::WSTOPSIG(status))
    }
}

/// A thread that stands in a stop of ours.
pub(super) struct Tracee {
    tid: c_int,
    /// Registers to be restored.
    registers: user_regs_struct,
    /// Signal mask to be restored.
    mask: u64,
    /// It was in a job-control stop before us, and goes back to it.
    was_stopped: bool,
    /// Its registers and signal mask are ours at the moment.
    ours: bool,
    repeated: bool,
}

/// Tries the whole injection on one thread. The descriptor is -1 unless the outcome is `DONE`.
pub(super) unsafe fn attempt(plan: &Plan, tid: c_int, seccomp: bool, limit_ns: u64) -> (Report, c_int) {
    // SAFETY: system calls on numbers, and on buffers of this stack that outlive them.
    unsafe {
        let options =
            if seccomp { PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP } else { PTRACE_O_TRACESYSGOOD };
        if let Err(errno) = ptrace(libc::PTRACE_SEIZE, tid, 0, options) {
            let outcome = match errno {
                libc::ESRCH => Outcome::CHANGED,
                _ if seccomp => Outcome::SECCOMP,
                _ => Outcome::NOT_PERMITTED,
            };
            return (Report::failed(outcome, errno, tid), -1);
        }
        let requested = now_ns();
        let (mut thread, stopped) = match stop(tid, limit_ns) {
            Ok(thread) => (thread, now_ns()),
            Err(Failed::Late) => return (Report::failed(Outcome::DID_NOT_STOP, libc::ETIMEDOUT, tid), -1),
            Err(_) => return (Report::failed(Outcome::CHANGED, libc::ESRCH, tid), -1),
        };
        let (mut report, fd) = match thread.unfit(plan) {
            Some(outcome) => (Report::failed(outcome, 0, tid), -1),
            None => thread.inject(plan),
        };
        thread.release();
        let end = now_ns();
        report.stopped_ns = end.saturating_sub(stopped);
        report.requested_ns = end.saturating_sub(requested);
        report.repeated_call = u32::from(thread.repeated);
        (report, fd)
    }
}

/// Asks a seized thread to stop and waits until it stands where it can be worked on.
unsafe fn stop(tid: c_int, limit_ns: u64) -> Result<Tracee, Failed> {
    // SAFETY: see `attempt`.
    unsafe {
        if ptrace(libc::PTRACE_INTERRUPT, tid, 0, 0).is_err() {
            return Err(Failed::Gone);
        }
        let mut status = wait_for(tid, limit_ns)?;
        // A signal may be about to be delivered first. It gets it; our own stop still stands behind it.
        let mut patience = 64;
        while status >> 16 != PTRACE_EVENT_STOP {
            patience -= 1;
            if patience == 0 {
                return Err(Failed::Late);
            }
            let _ = ptrace(libc::PTRACE_CONT, tid, 0, c_long::from(libc::WSTOPSIG(status)));
            status = wait_for(tid, limit_ns)?;
        }
        Tracee::standing(tid, status)
    }
}

impl Tracee {
    /// A thread that did not stop in time but has by now.
    pub unsafe fn stopped_late(tid: c_int) -> Option<Tracee> {
        // SAFETY: see `attempt`.
        unsafe {
            let mut status = 0;
            if !matches!(poll_stop(tid, &mut status), Ok(true)) || !libc::WIFSTOPPED(status) {
                return None;
            }
            if status >> 16 != PTRACE_EVENT_STOP {
                // About to receive a signal: hand it over with the letting go.
                let _ = ptrace(libc::PTRACE_DETACH, tid, 0, c_long::from(libc::WSTOPSIG(status)));
                return None;
            }
            Tracee::standing(tid, status).ok()
        }
    }

    unsafe fn standing(tid: c_int, status: c_int) -> Result<Tracee, Failed> {
        // SAFETY: all zero is a valid set of registers; the kernel fills it.
        unsafe {
            let mut thread = Tracee {
                tid,
                registers: zeroed(),
                mask: 0,
                was_stopped: libc::WSTOPSIG(status) != libc::SIGTRAP,
                ours: false,
                repeated: false,
            };
            let mut part = libc::iovec {
                iov_base: ptr::from_mut(&mut thread.registers).cast(),
                iov_len: size_of::<user_regs_struct>(),
            };
            let got = ptrace(libc::PTRACE_GETREGSET, tid, NT_PRSTATUS, ptr::from_mut(&mut part) as c_long);
            // A 32-bit thread fills less of it; what is zero then shows in the code segment.
            let masked = ptrace(libc::PTRACE_GETSIGMASK, tid, 8, ptr::from_mut(&mut thread.mask) as c_long);
            if got.is_err() || masked.is_err() {
                return Err(Failed::Gone);
            }
            if part.iov_len != size_of::<user_regs_struct>() {
                thread.registers.cs = 0;
            }
            Ok(thread)
        }
    }

    /// What forbids a call by this thread, seen only now that it stands still.
    unsafe fn unfit(&self, plan: &Plan) -> Option<Outcome> {
        // SAFETY: see `attempt`.
        unsafe {
            if self.registers.cs != USER_CS {
                return Some(Outcome::THIRTY_TWO_BIT);
            }
            // A thread that redirects its calls would not make ours but handle it as a signal.
            let mut dispatch = [0u64; 4];
            let asked = ptrace(
                PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG as _,
                self.tid,
                size_of_val(&dispatch) as c_long,
                dispatch.as_mut_ptr() as c_long,
            );
            if asked.is_ok() && dispatch[0] != 0 {
                return Some(Outcome::DISPATCH);
            }
            // Another program may have been executed since the address was looked up.
            let mut code = [0u8; 2];
            if !read_memory(self.tid, plan.instruction, &mut code) || code != SYSCALL {
                return Some(Outcome::CHANGED);
            }
            None
        }
    }

    /// The injection itself. From its first step until `release` the registers of the thread are ours.
    unsafe fn inject(&mut self, plan: &Plan) -> (Report, c_int) {
        // SAFETY: see `attempt`.
        unsafe {
            self.leave_restartable_sequence();
            self.ours = true;
            let all = u64::MAX;
            let tid = self.tid;
            let failed = |outcome, errno| (Report::failed(outcome, errno, tid), -1);
            if ptrace(libc::PTRACE_SETSIGMASK, self.tid, 8, ptr::from_ref(&all) as c_long).is_err() {
                return failed(Outcome::CHANGED, libc::ESRCH);
            }
            let mut flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
            let mut made = self.call(plan, libc::SYS_userfaultfd, i64::from(flags));
            if let Ok(answer) = made
                && answer == -i64::from(libc::EPERM)
            {
                flags |= sys::UFFD_USER_MODE_ONLY;
                made = self.call(plan, libc::SYS_userfaultfd, i64::from(flags));
            }
            let fd = match made {
                Ok(fd) if fd >= 0 => fd,
                Ok(errno) => return failed(Outcome::CALL_REFUSED, errno.wrapping_neg() as i32),
                Err(Failed::Otherwise(signal)) => return failed(Outcome::UNEXPECTED, signal),
                Err(_) => return failed(Outcome::CHANGED, libc::ESRCH),
            };
            let taken = system_call(libc::SYS_pidfd_getfd, [plan.pidfd.into(), fd, 0, 0, 0, 0]);
            let errno = taken.err().unwrap_or(0);
            // The copy must not stay, whatever came of ours.
            let closed = self.call(plan, libc::SYS_close, fd);
            let mut report = Report::failed(Outcome::DONE, errno, self.tid);
            report.user_mode_only = u32::from(flags & sys::UFFD_USER_MODE_ONLY != 0);
            if taken.is_err() {
                report.outcome = Outcome::NOT_TAKEN;
            } else if !matches!(closed, Ok(0)) {
                report.outcome = Outcome::CHANGED;
            }
            match taken {
                Ok(taken) if report.outcome == Outcome::DONE => (report, taken as c_int),
                _ => (report, -1),
            }
        }
    }

    /// Makes the thread do one call and stops it behind it.
    unsafe fn call(&self, plan: &Plan, number: c_long, argument: i64) -> Result<i64, Failed> {
        let mut registers = self.registers;
        registers.rip = plan.instruction;
        registers.rax = number as u64;
        // Not inside a call any more, so that the kernel restarts none with these registers.
        registers.orig_rax = u64::MAX;
        registers.rdi = argument as u64;
        registers.rsi = 0;
        registers.rdx = 0;
        // SAFETY: see `attempt`.
        unsafe {
            set_registers(self.tid, &registers)?;
            let mut inside = false;
            let mut signal = 0;
            loop {
                let status = self.resume(libc::PTRACE_SYSCALL, signal)?;
                signal = 0;
                match stop_kind(status) {
                    StopKind::Call if inside => break,
                    StopKind::Call => inside = true,
                    // A job-control stop or its end was announced: go on.
                    StopKind::Event => {}
                    // The one signal that no mask holds back. It takes effect: the other threads stop now, this one when we let go.
                    StopKind::Signal(libc::SIGSTOP) => signal = libc::SIGSTOP,
                    // With every other signal blocked only a fault of the instruction itself gets here.
                    StopKind::Signal(signal) => return Err(Failed::Otherwise(signal)),
                }
            }
            get_registers(self.tid, &mut registers)?;
        }
        Ok(registers.rax as i64)
    }

    /// Lets the thread go on until its next stop.
    unsafe fn resume(&self, how: libc::c_uint, signal: c_int) -> Result<c_int, Failed> {
        // SAFETY: see `attempt`.
        unsafe {
            ptrace(how, self.tid, 0, c_long::from(signal)).map_err(|_| Failed::Gone)?;
            wait_for(self.tid, STEP_LIMIT_NS)
        }
    }

    /// A thread inside a restartable sequence is taken out of it the way the kernel itself would, to its abort handler: our
    /// call makes the kernel forget the sequence, which must not go on unguarded afterwards.
    unsafe fn leave_restartable_sequence(&mut self) {
        #[repr(C)]
        struct Configuration {
            area: u64,
            size: u32,
            signature: u32,
            flags: u32,
            padding: u32,
        }
        /// Offset of `rseq_cs` in `struct rseq`.
        const RSEQ_CS: u64 = 8;
        // SAFETY: see `attempt`.
        unsafe {
            let mut configuration: Configuration = zeroed();
            let asked = ptrace(
                PTRACE_GET_RSEQ_CONFIGURATION as _,
                self.tid,
                size_of::<Configuration>() as c_long,
                ptr::from_mut(&mut configuration) as c_long,
            );
            if asked.is_err() || configuration.area == 0 {
                return;
            }
            let mut pointer = [0u8; 8];
            let mut section = [0u8; 32];
            if !read_memory(self.tid, configuration.area.wrapping_add(RSEQ_CS), &mut pointer) {
                return;
            }
            let address = u64::from_ne_bytes(pointer);
            if address == 0 || !read_memory(self.tid, address, &mut section) {
                return;
            }
            let word = |at: usize| {
                let mut bytes = [0u8; 8];
                for (to, from) in bytes.iter_mut().zip(section.iter().skip(at)) {
                    *to = *from;
                }
                u64::from_ne_bytes(bytes)
            };
            let (start, length, abort) = (word(8), word(16), word(24));
            if self.registers.rip.wrapping_sub(start) < length {
                self.registers.rip = abort;
            }
        }
    }

    /// Puts everything back and lets the thread go, restarting what was interrupted.
    pub unsafe fn release(&mut self) {
        // SAFETY: see `attempt`.
        unsafe {
            // The kernel restarts interrupted calls only on its way out of a stop like the one we came by, so go back to one.
            if self.ours && ptrace(libc::PTRACE_INTERRUPT, self.tid, 0, 0).is_ok() {
                let mut signal = 0;
                while let Ok(status) = self.resume(libc::PTRACE_CONT, signal) {
                    match stop_kind(status) {
                        StopKind::Signal(libc::SIGSTOP) => signal = libc::SIGSTOP,
                        StopKind::Event => break,
                        _ => signal = 0,
                    }
                }
            }
            let mut registers = self.registers;
            if self.must_repeat() {
                registers.rip = registers.rip.wrapping_sub(2);
                registers.rax = registers.orig_rax;
                registers.orig_rax = u64::MAX;
                self.repeated = true;
            }
            let _ = set_registers(self.tid, &registers);
            let _ = ptrace(libc::PTRACE_SETSIGMASK, self.tid, 8, ptr::from_ref(&self.mask) as c_long);
            let _ = ptrace(libc::PTRACE_DETACH, self.tid, 0, 0);
        }
    }

    /// Whether the thread was in a call that answered EINTR only because of us, and that does nothing twice when it is repeated.
    unsafe fn must_repeat(&self) -> bool {
        const EINTR: u64 = (-(libc::EINTR as i64)) as u64;
        // SAFETY: see `attempt`.
        self.registers.rax == EINTR
            && !self.was_stopped
            && answers_eintr(self.registers.orig_rax as i64)
            && unsafe { !has_deliverable_signal(self.tid, self.mask) }
    }
}

/// Calls that the kernel never restarts by itself after a stop: some always, the socket calls when a time limit is set on
/// them. All of them have done nothing yet when they answer EINTR.
fn answers_eintr(call: i64) -> bool {
    matches!(
        call,
        libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_semop
            | libc::SYS_semtimedop
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_msgrcv
            | libc::SYS_msgsnd
            | libc::SYS_io_getevents
            | sys::SYS_IO_PGETEVENTS
            | libc::SYS_io_uring_enter
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_recvmmsg
            | libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg
    )
}

/// Whether a signal waits that the thread would take at once: then the EINTR is that signal's, and stays.
unsafe fn has_deliverable_signal(tid: c_int, mask: u64) -> bool {
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

unsafe fn get_registers(tid: c_int, registers: &mut user_regs_struct) -> Result<(), Failed> {
    // SAFETY: the kernel fills exactly this structure.
    unsafe { ptrace(libc::PTRACE_GETREGS, tid, 0, ptr::from_mut(registers) as c_long) }
        .map(drop)
        .map_err(|_| Failed::Gone)
}

unsafe fn set_registers(tid: c_int, registers: &user_regs_struct) -> Result<(), Failed> {
    // SAFETY: the kernel reads exactly this structure.
    unsafe { ptrace(libc::PTRACE_SETREGS, tid, 0, ptr::from_ref(registers) as c_long) }
        .map(drop)
        .map_err(|_| Failed::Gone)
}

/// The library's own function hides the results of some requests.
unsafe fn ptrace(request: libc::c_uint, tid: c_int, address: c_long, data: c_long) -> Result<c_long, c_int> {
    // SAFETY: what the request reads or writes is the caller's promise.
    unsafe { system_call(libc::SYS_ptrace, [request.into(), tid.into(), address, data, 0, 0]) }
}

unsafe fn read_memory(tid: c_int, address: u64, into: &mut [u8]) -> bool {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: into.len() };
    let (local, remote) = (ptr::from_ref(&local) as c_long, ptr::from_ref(&remote) as c_long);
    // SAFETY: the kernel writes at most the length of `into`.
    let read = unsafe { system_call(libc::SYS_process_vm_readv, [tid.into(), local, 1, remote, 1, 0]) };
    read == Ok(into.len() as c_long)
}

/// Whether a stop of the thread is there to be fetched, and which.
unsafe fn poll_stop(tid: c_int, status: &mut c_int) -> Result<bool, c_int> {
    let flags = libc::WNOHANG | libc::__WALL;
    // SAFETY: the kernel writes the status only.
    unsafe {
        system_call(libc::SYS_wait4, [tid.into(), ptr::from_mut(status) as c_long, flags.into(), 0, 0, 0])
            .map(|answer| answer == c_long::from(tid))
    }
}

/// Waits until the thread stops, at most this long. Sleeping, never spinning: a tracer that burns its processor time on the
/// processor of its tracee makes it stand still for whole time slices.
unsafe fn wait_for(tid: c_int, limit_ns: u64) -> Result<c_int, Failed> {
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

fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is written into this stack's timespec.
    let _ = unsafe {
        let clock = libc::CLOCK_MONOTONIC.into();
        system_call(libc::SYS_clock_gettime, [clock, ptr::from_mut(&mut time) as c_long, 0, 0, 0, 0])
    };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}
