//! The call that the target makes for us, and what surrounds it.
//!
//! Runs in the helper, under its rules (no allocation, no locks, no panics).

use std::mem::zeroed;
use std::ptr;

use nix::libc::{self, c_int, c_long, user_regs_struct};

use super::helper::{Outcome, Report, system_call};
use super::ptrace::{
    Failed, StopKind, field, get_registers, insist, ptrace, read_file, read_memory, set_registers, stop_kind,
    wait_for,
};
use super::tracee::Tracee;
use crate::capture::sys;

const PTRACE_GET_RSEQ_CONFIGURATION: c_long = 0x420f;

impl Tracee<'_> {
    /// The injection itself. From its first step until `release` the registers of the thread are ours.
    pub unsafe fn inject(&mut self) -> (Report, c_int) {
        // SAFETY: system calls on numbers, and on buffers of this stack that outlive them.
        unsafe {
            self.leave_restartable_sequence();
            self.ours = true;
            self.put_ahead();
            let all = u64::MAX;
            let tid = self.thread.tid;
            let failed = |outcome, errno| (Report::failed(outcome, errno, tid), -1);
            if insist(&self.thread, libc::PTRACE_SETSIGMASK, 8, ptr::from_ref(&all) as c_long).is_err() {
                return failed(Outcome::CHANGED, libc::ESRCH);
            }
            let mut flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
            let mut made = self.call(libc::SYS_userfaultfd, i64::from(flags));
            if let Ok(answer) = made
                && answer == -i64::from(libc::EPERM)
            {
                flags |= sys::UFFD_USER_MODE_ONLY;
                made = self.call(libc::SYS_userfaultfd, i64::from(flags));
            }
            let fd = match made {
                Ok(fd) if fd >= 0 => fd,
                // What the call that a filter would have met is replaced by answers.
                Ok(answer) if answer == -i64::from(libc::EBADF) => {
                    return failed(Outcome::SECCOMP, libc::EPERM);
                }
                Ok(errno) => return failed(Outcome::CALL_REFUSED, errno.wrapping_neg() as i32),
                Err(Failed::Otherwise(signal)) => return failed(Outcome::UNEXPECTED, signal),
                Err(_) => return failed(Outcome::CHANGED, libc::ESRCH),
            };
            let taken = system_call(libc::SYS_pidfd_getfd, [self.plan.pidfd.into(), fd, 0, 0, 0, 0]);
            let errno = taken.err().unwrap_or(0);
            // The copy must not stay, whatever came of ours.
            let closed = self.call(libc::SYS_close, fd);
            let mut report = Report::failed(Outcome::DONE, errno, tid);
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
    unsafe fn call(&self, number: c_long, argument: i64) -> Result<i64, Failed> {
        let mut registers = self.registers;
        registers.rip = self.plan.instruction;
        registers.rax = number as u64;
        // Not inside a call any more, so that the kernel restarts none with these registers.
        registers.orig_rax = u64::MAX;
        registers.rdi = argument as u64;
        registers.rsi = 0;
        registers.rdx = 0;
        // SAFETY: as above.
        unsafe { self.make(&registers, false) }
    }

    /// Has the thread make the call that these registers are for. `interruptible`: a signal of its own ends
    /// it, and is told.
    pub unsafe fn make(&self, registers: &user_regs_struct, interruptible: bool) -> Result<i64, Failed> {
        let mut registers = *registers;
        // SAFETY: as above.
        unsafe {
            set_registers(&self.thread, &registers)?;
            let mut inside = false;
            let mut signal = 0;
            loop {
                let status = self.resume(libc::PTRACE_SYSCALL, signal)?;
                signal = 0;
                match stop_kind(status) {
                    StopKind::Call if inside => break,
                    StopKind::Call => {
                        inside = true;
                        if !interruptible && self.meets_a_filter() {
                            self.replace_call(&mut registers)?;
                        }
                    }
                    // A job-control stop or its end was announced: go on.
                    StopKind::Event => {}
                    StopKind::Signal(signal) if interruptible => return Err(Failed::Otherwise(signal)),
                    // The one signal that no mask holds back. It takes effect: the other threads stop now,
                    // this one when we let go.
                    StopKind::Signal(libc::SIGSTOP) => signal = libc::SIGSTOP,
                    // With every other signal blocked only a fault of the instruction itself gets here.
                    StopKind::Signal(signal) => return Err(Failed::Otherwise(signal)),
                }
            }
            get_registers(&self.thread, &mut registers)?;
        }
        Ok(registers.rax as i64)
    }

    /// Whether a seccomp filter, installed by another thread just now, is about to see the call.
    unsafe fn meets_a_filter(&self) -> bool {
        if self.filters_suspended {
            return false;
        }
        let mut text = [0; 4096];
        // SAFETY: as above.
        let length = unsafe { read_file(self.thread.status, &mut text) }.unwrap_or(0);
        field(text.get(..length).unwrap_or_default(), b"Seccomp:").is_some_and(|mode| mode != 0)
    }

    /// Makes of the call that is being entered one that no filter forbids and that does nothing: a read from
    /// no descriptor.
    unsafe fn replace_call(&self, registers: &mut user_regs_struct) -> Result<(), Failed> {
        // SAFETY: as above.
        unsafe {
            get_registers(&self.thread, registers)?;
            // The one that is there to be closed is.
            if registers.orig_rax as i64 == libc::SYS_close {
                return Ok(());
            }
            registers.orig_rax = libc::SYS_read as u64;
            registers.rdi = u64::MAX;
            set_registers(&self.thread, registers)
        }
    }

    /// Puts the thread ahead of others of its class for our few steps. Each of them has to be given a
    /// processor, and on a busy machine would stand in line for it for whole time slices, with our registers.
    /// Only the nice value: under a real-time policy it might run less, behind one that never rests.
    unsafe fn put_ahead(&mut self) {
        const BEST: c_int = -20;
        // SAFETY: numbers only.
        unsafe {
            let tid = self.thread.tid.into();
            let process = libc::PRIO_PROCESS.into();
            let ordinary = system_call(libc::SYS_sched_getscheduler, [tid, 0, 0, 0, 0, 0]) == Ok(0);
            let Ok(now) = system_call(libc::SYS_getpriority, [process, tid, 0, 0, 0, 0]) else { return };
            // The call counts from 40 down to 1.
            let nice = (20 as c_int).wrapping_sub(now as c_int);
            if ordinary
                && nice > BEST
                && system_call(libc::SYS_setpriority, [process, tid, BEST.into(), 0, 0, 0]).is_ok()
            {
                self.nice = Some(nice);
            }
        }
    }

    pub unsafe fn restore_nice(&mut self) {
        if let Some(nice) = self.nice.take() {
            let arguments = [libc::PRIO_PROCESS.into(), self.thread.tid.into(), nice.into(), 0, 0, 0];
            // It may fail for a moment, as may everything; a thread that is gone has no nice value.
            for _ in 0..1000 {
                // SAFETY: numbers only.
                match unsafe { system_call(libc::SYS_setpriority, arguments) } {
                    Ok(_) | Err(libc::ESRCH) => break,
                    Err(_) => {}
                }
            }
        }
    }

    /// Lets the thread go on until its next stop, however long that takes.
    pub unsafe fn resume(&self, how: libc::c_uint, signal: c_int) -> Result<c_int, Failed> {
        // SAFETY: as above.
        unsafe {
            insist(&self.thread, how, 0, c_long::from(signal))?;
            wait_for(&self.thread, None)
        }
    }

    /// A thread inside a restartable sequence is taken out of it the way the kernel itself would, to its
    /// abort handler: our call makes the kernel forget the sequence, which must not go on unguarded
    /// afterwards.
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
        // SAFETY: as above.
        unsafe {
            let mut configuration: Configuration = zeroed();
            let asked = ptrace(
                PTRACE_GET_RSEQ_CONFIGURATION as _,
                self.thread.tid,
                size_of::<Configuration>() as c_long,
                ptr::from_mut(&mut configuration) as c_long,
            );
            if asked.is_err() || configuration.area == 0 {
                return;
            }
            let mut pointer = [0u8; 8];
            let mut section = [0u8; 32];
            if !read_memory(self.thread.tid, configuration.area.wrapping_add(RSEQ_CS), &mut pointer) {
                return;
            }
            let address = u64::from_ne_bytes(pointer);
            if address == 0 || !read_memory(self.thread.tid, address, &mut section) {
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
}
