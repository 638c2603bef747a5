//! One thread of the target, stopped: what is done to it and how it is let go.
//!
//! Runs in the helper, under its rules (no allocation, no locks, no panics).

use std::mem::zeroed;
use std::ptr;

use nix::libc::{self, c_int, c_long, user_regs_struct};

use super::helper::{Outcome, Report, system_call};
use super::plan::{Plan, SYSCALL};
use super::ptrace::{
    Failed, PTRACE_EVENT_STOP, StopKind, get_registers, has_deliverable_signal, now_ns, poll_stop, ptrace,
    read_memory, set_registers, stop_kind, wait_for,
};
use crate::capture::sys;

const PTRACE_O_TRACESYSGOOD: c_long = 1;
const PTRACE_O_SUSPEND_SECCOMP: c_long = 1 << 21;
const PTRACE_GET_RSEQ_CONFIGURATION: c_long = 0x420f;
const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG: c_long = 0x4211;
const NT_PRSTATUS: c_long = 1;
/// Code segment of 64-bit user code.
const USER_CS: u64 = 0x33;
/// How long one of our own steps may take once the thread is stopped. Far beyond any real step: giving up leaves the thread with
/// our registers, so this is only there not to wait for ever for a thread that is being killed.
const STEP_LIMIT_NS: u64 = 5_000_000_000;

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
    /// Its scheduling policy to be restored, when it was raised.
    policy: Option<c_long>,
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
                policy: None,
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
            self.raise_priority();
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

    /// Puts the thread ahead of others for our few steps. Each of them has to be given a processor, and on a busy machine would
    /// stand in line for it for whole time slices, with our registers. The plain call, not the one with attributes, because
    /// it keeps the nice value and leaves the time slice as it is.
    unsafe fn raise_priority(&mut self) {
        const KEEP_OVER_FORK: c_long = libc::SCHED_RESET_ON_FORK as c_long;
        const FIFO: c_long = libc::SCHED_FIFO as c_long;
        // SAFETY: numbers, and a structure of this stack that the call reads.
        unsafe {
            let Ok(policy) = system_call(libc::SYS_sched_getscheduler, [self.tid.into(), 0, 0, 0, 0, 0])
            else {
                return;
            };
            let kept = policy & KEEP_OVER_FORK;
            let ordinary =
                matches!((policy ^ kept) as c_int, libc::SCHED_OTHER | libc::SCHED_BATCH | libc::SCHED_IDLE);
            if ordinary && self.set_scheduler(FIFO | kept, 1) {
                self.policy = Some(policy);
            }
        }
    }

    unsafe fn restore_priority(&mut self) {
        if let Some(policy) = self.policy.take() {
            // SAFETY: as above.
            unsafe { self.set_scheduler(policy, 0) };
        }
    }

    unsafe fn set_scheduler(&self, policy: c_long, priority: c_int) -> bool {
        let priority = libc::sched_param { sched_priority: priority };
        let priority = ptr::from_ref(&priority) as c_long;
        // SAFETY: as above.
        unsafe {
            system_call(libc::SYS_sched_setscheduler, [self.tid.into(), policy, priority, 0, 0, 0]).is_ok()
        }
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
            // The kernel restarts interrupted calls only on its way out of a stop like the one we came by, so go back to one. Where
            // nothing is to be restarted, every stop will do, and the one we are in is over soonest.
            if self.ours && self.kernel_restarts() && ptrace(libc::PTRACE_INTERRUPT, self.tid, 0, 0).is_ok() {
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
            self.restore_priority();
            let _ = ptrace(libc::PTRACE_DETACH, self.tid, 0, 0);
        }
    }

    /// Whether the thread was in a call that the kernel starts again by itself: ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND,
    /// ERESTART_RESTARTBLOCK, which no program ever sees.
    fn kernel_restarts(&self) -> bool {
        self.registers.orig_rax as i64 >= 0 && matches!(self.registers.rax as i64, -512 | -513 | -514 | -516)
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
