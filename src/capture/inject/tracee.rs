//! One thread of the target: how it is brought to a stop, and how it is let go.
//!
//! Until its registers are ours, every step may fail, and then it is let go untouched. From then on none may:
//! each is made as often as it takes, and waited for as long as it takes (a frozen group is thawed some day),
//! or until the thread is dead.
//!
//! Runs in the helper, under its rules (no allocation, no locks, no panics).

use std::mem::zeroed;
use std::ptr;

use nix::libc::{self, c_int, c_long, user_regs_struct};

use super::catch::Watch;
use super::helper::{Outcome, Report, system_call};
use super::plan::{How, Plan, SYSCALL};
use super::ptrace::{
    Failed, PTRACE_EVENT_STOP, StopKind, Thread, field, has_deliverable_signal, insist, now_ns, number,
    ptrace, read_file, read_memory, set_registers, stop_kind, wait_for,
};
use super::repair::{self, Descriptor};

const PTRACE_O_TRACESYSGOOD: c_long = 1;
const PTRACE_O_SUSPEND_SECCOMP: c_long = 1 << 21;
const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG: c_long = 0x4211;
const NT_PRSTATUS: c_long = 1;
/// Code segment of 64-bit user code.
const USER_CS: u64 = 0x33;

/// A thread that stands in a stop of ours.
pub(super) struct Tracee<'a> {
    pub plan: &'a Plan,
    pub thread: Thread<'a>,
    /// Registers to be restored.
    pub registers: user_regs_struct,
    /// Signal mask to be restored.
    mask: u64,
    /// It was in a job-control stop before us, and goes back to it.
    was_stopped: bool,
    /// Its registers and signal mask are ours at the moment.
    pub ours: bool,
    /// Its nice value to be restored, when it was put ahead.
    pub nice: Option<c_int>,
    /// Its seccomp filters do not see what we have it call.
    pub filters_suspended: bool,
    /// A signal that it is to have when it is let go.
    signal: c_int,
    repeated: bool,
}

/// Tries the whole injection on the thread of the plan. The descriptor is -1 unless the outcome is `DONE`.
pub(super) unsafe fn attempt(plan: &Plan) -> (Report, c_int) {
    let tid = plan.thread.tid;
    let failed = |outcome, errno| (Report::failed(outcome, errno, tid), -1);
    // SAFETY: system calls on numbers, and on buffers of this stack that outlive them.
    unsafe {
        let suspended = match seize(plan) {
            Ok(suspended) => suspended,
            Err(libc::ESRCH) => return failed(Outcome::CHANGED, libc::ESRCH),
            Err(errno) if plan.thread.seccomp => return failed(Outcome::SECCOMP, errno),
            Err(errno) => return failed(Outcome::NOT_PERMITTED, errno),
        };
        let mut requested = now_ns();
        let thread = Thread { tid, status: &plan.status };
        let status = match stop(plan, &thread, &mut requested) {
            Ok(status) => status,
            Err(outcome) => return failed(outcome, libc::ETIMEDOUT),
        };
        let stopped = now_ns();
        let Ok(mut tracee) = Tracee::standing(plan, thread, status, suspended) else {
            return failed(Outcome::CHANGED, libc::ESRCH);
        };
        let (mut report, fd) = match tracee.unfit() {
            Some(outcome) => (Report::failed(outcome, 0, tid), -1),
            None if tracee.finish_transfer() => tracee.inject(),
            // A signal of its own came first.
            None => (Report::failed(Outcome::MOVED, 0, tid), -1),
        };
        tracee.release();
        let end = now_ns();
        report.stopped_ns = end.saturating_sub(stopped);
        report.requested_ns = end.saturating_sub(requested);
        report.repeated_call = u32::from(tracee.repeated);
        (report, fd)
    }
}

/// Becomes its tracer, without a stop. Whether its seccomp filters are suspended: wherever that may be,
/// because another thread may install one in this one at any moment.
unsafe fn seize(plan: &Plan) -> Result<bool, c_int> {
    // SAFETY: numbers only.
    unsafe {
        let seize = |options| ptrace(libc::PTRACE_SEIZE, plan.thread.tid, 0, options).map(drop);
        if plan.may_suspend {
            match seize(PTRACE_O_TRACESYSGOOD | PTRACE_O_SUSPEND_SECCOMP) {
                Ok(()) => return Ok(true),
                // A kernel without it; a thread without a filter needs none.
                Err(errno @ (libc::EINVAL | libc::EPERM)) if plan.thread.seccomp => return Err(errno),
                Err(libc::EINVAL | libc::EPERM) => {}
                Err(errno) => return Err(errno),
            }
        }
        seize(PTRACE_O_TRACESYSGOOD).map(|()| false)
    }
}

/// Brings a seized thread to a stop in which it can be worked on: the status of that.
unsafe fn stop(plan: &Plan, thread: &Thread<'_>, requested: &mut u64) -> Result<c_int, Outcome> {
    // SAFETY: see `attempt`.
    unsafe {
        // From here on it is caught as soon as it leaves its call. If it is still in it when looked at now,
        // it is never interrupted in another.
        let watch = Watch::begin(plan);
        let mut end = Some(now_ns().saturating_add(plan.limit_ns));
        if plan.how == How::InUserSpace {
            if watch.is_none() {
                return Err(Outcome::NO_CATCHING);
            }
        } else {
            let mut line = [0; 192];
            let read = read_file(&plan.syscall, &mut line);
            if plan.how == How::InItsCall && (read.is_err() || line != plan.thread.line) {
                return Err(Outcome::MOVED);
            }
            *requested = now_ns();
            if ptrace(libc::PTRACE_INTERRUPT, thread.tid, 0, 0).is_err() {
                return Err(Outcome::CHANGED);
            }
            if plan.thread.answers_eintr {
                // It would see the EINTR that is ours.
                end = None;
            }
        }
        let status = loop {
            match wait_for(thread, end) {
                Ok(status) => match stop_kind(status) {
                    StopKind::Event => break status,
                    StopKind::Signal(signal) => {
                        if watch.as_ref().is_some_and(|watch| watch.sent(signal)) {
                            break status;
                        }
                        // A signal of its own is delivered first; our stop still stands behind it.
                        let _ = ptrace(libc::PTRACE_CONT, thread.tid, 0, c_long::from(signal));
                    }
                    StopKind::Call => drop(ptrace(libc::PTRACE_CONT, thread.tid, 0, 0)),
                },
                Err(Failed::Late) if plan.how == How::InUserSpace => return Err(Outcome::NOT_CAUGHT),
                Err(Failed::Late) => return Err(Outcome::DID_NOT_STOP),
                Err(_) => return Err(Outcome::CHANGED),
            }
        };
        if plan.how == How::InUserSpace {
            *requested = now_ns();
        }
        if let Some(watch) = watch {
            watch.end();
        }
        Ok(status)
    }
}

impl<'a> Tracee<'a> {
    unsafe fn standing(
        plan: &'a Plan,
        thread: Thread<'a>,
        status: c_int,
        filters_suspended: bool,
    ) -> Result<Self, Failed> {
        // SAFETY: all zero is a valid set of registers; the kernel fills it.
        unsafe {
            let announced = status >> 16 == PTRACE_EVENT_STOP;
            let mut tracee = Tracee {
                plan,
                thread,
                registers: zeroed(),
                mask: 0,
                was_stopped: announced && libc::WSTOPSIG(status) != libc::SIGTRAP,
                ours: false,
                nice: None,
                filters_suspended,
                signal: 0,
                repeated: false,
            };
            let mut part = libc::iovec {
                iov_base: ptr::from_mut(&mut tracee.registers).cast(),
                iov_len: size_of::<user_regs_struct>(),
            };
            // Without them it cannot be let go properly either, should its call have to be made once more.
            insist(&thread, libc::PTRACE_GETREGSET, NT_PRSTATUS, ptr::from_mut(&mut part) as c_long)?;
            insist(&thread, libc::PTRACE_GETSIGMASK, 8, ptr::from_mut(&mut tracee.mask) as c_long)?;
            // A 32-bit thread fills less of it.
            if part.iov_len != size_of::<user_regs_struct>() {
                tracee.registers.cs = 0;
            }
            Ok(tracee)
        }
    }

    /// What forbids a call by this thread, seen only now that it stands still.
    unsafe fn unfit(&self) -> Option<Outcome> {
        // SAFETY: see `attempt`.
        unsafe {
            let plan = self.plan;
            if self.registers.cs != USER_CS {
                return Some(Outcome::THIRTY_TWO_BIT);
            }
            // Its number may be another thread's by now, and a filter or another program may have come since
            // it was looked at.
            let mut text = [0; 4096];
            let length = read_file(&plan.status, &mut text).unwrap_or(0);
            let text = text.get(..length).unwrap_or_default();
            if field(text, b"Tgid:") != Some(u64::from(plan.pid))
                || self.has_ended()
                || self.is_of_the_kernel()
            {
                return Some(Outcome::CHANGED);
            }
            if !self.filters_suspended && field(text, b"Seccomp:") != Some(0) {
                return Some(Outcome::SECCOMP);
            }
            // A thread that redirects its calls would not make ours but handle it as a signal.
            let mut dispatch = [0u64; 4];
            let asked = ptrace(
                PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG as _,
                self.thread.tid,
                size_of_val(&dispatch) as c_long,
                dispatch.as_mut_ptr() as c_long,
            );
            if asked.is_ok() && dispatch[0] != 0 {
                return Some(Outcome::DISPATCH);
            }
            let mut code = [0u8; 2];
            if !read_memory(self.thread.tid, plan.instruction, &mut code) || code != SYSCALL {
                return Some(Outcome::CHANGED);
            }
            None
        }
    }

    /// Whether the process that was looked at is at its end.
    unsafe fn has_ended(&self) -> bool {
        let mut ended = libc::pollfd { fd: self.plan.pidfd, events: libc::POLLIN, revents: 0 };
        let (fds, at_once) = (ptr::from_mut(&mut ended) as c_long, 0);
        // SAFETY: one structure of this stack.
        unsafe { system_call(libc::SYS_poll, [fds, 1, at_once, 0, 0, 0]) == Ok(1) }
    }

    /// Threads of io_uring and vhost stop, but never make a call of ours.
    unsafe fn is_of_the_kernel(&self) -> bool {
        /// PF_IO_WORKER, PF_USER_WORKER, PF_KTHREAD.
        const WORKERS: u64 = 0x10 | 0x4000 | 0x0020_0000;
        let mut text = [0; 1024];
        // SAFETY: see `attempt`.
        let length = unsafe { read_file(&self.plan.stat, &mut text) }.unwrap_or(0);
        let text = text.get(..length).unwrap_or_default();
        // The name before it may hold anything.
        let behind = text.rsplit(|byte| *byte == b')').next().unwrap_or_default();
        let flags = behind.split(|byte| *byte == b' ').nth(7).and_then(number);
        flags.is_none_or(|flags| flags & WORKERS != 0)
    }

    /// Where the stop ended a transfer early, has the thread make the rest of it. False when a signal of its
    /// own came meanwhile, which it is to have at once.
    unsafe fn finish_transfer(&mut self) -> bool {
        // SAFETY: see `attempt`.
        unsafe {
            if self.registers.orig_rax as i64 >= 0 && self.registers.rax as i64 > 0 {
                let descriptor = Descriptor::of(self.plan, &self.registers);
                while let Some(rest) = repair::rest_of_transfer(&self.registers, descriptor) {
                    self.ours = true;
                    match self.make(&rest, true) {
                        Ok(more) if more > 0 => {
                            self.registers.rax = self.registers.rax.wrapping_add(more as u64);
                        }
                        Err(Failed::Otherwise(signal)) => {
                            self.signal = signal;
                            return false;
                        }
                        _ => break,
                    }
                }
            }
            true
        }
    }

    /// Puts everything back and lets the thread go, restarting what was interrupted.
    pub unsafe fn release(&mut self) {
        // SAFETY: see `attempt`.
        unsafe {
            // The kernel restarts interrupted calls only on its way out of a stop like the one we came by, so
            // go back to one. Where nothing is to be restarted, every stop will do, and the one we are in is
            // over soonest.
            if self.ours
                && self.kernel_restarts()
                && insist(&self.thread, libc::PTRACE_INTERRUPT, 0, 0).is_ok()
            {
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
                repair::shorten_limit(self.plan, &mut registers);
                registers.rip = registers.rip.wrapping_sub(2);
                registers.rax = registers.orig_rax;
                registers.orig_rax = u64::MAX;
                self.repeated = true;
            }
            self.restore_nice();
            if self.ours || self.repeated {
                let _ = set_registers(&self.thread, &registers);
            }
            if self.ours {
                let mask = ptr::from_ref(&self.mask) as c_long;
                let _ = insist(&self.thread, libc::PTRACE_SETSIGMASK, 8, mask);
            }
            let _ = insist(&self.thread, libc::PTRACE_DETACH, 0, c_long::from(self.signal));
        }
    }

    /// Whether the thread was in a call that the kernel starts again by itself: ERESTARTSYS, ERESTARTNOINTR,
    /// ERESTARTNOHAND, ERESTART_RESTARTBLOCK, which no program ever sees.
    fn kernel_restarts(&self) -> bool {
        self.registers.orig_rax as i64 >= 0 && matches!(self.registers.rax as i64, -512 | -513 | -514 | -516)
    }

    /// Whether the thread was in a call that answered EINTR only because of us, and that does nothing twice
    /// when it is repeated.
    unsafe fn must_repeat(&self) -> bool {
        const EINTR: u64 = (-(libc::EINTR as i64)) as u64;
        // SAFETY: see `attempt`.
        self.registers.rax == EINTR
            && !self.was_stopped
            && repair::answers_eintr(self.registers.orig_rax as i64)
            && unsafe { !has_deliverable_signal(self.thread.tid, self.mask, self.plan.thread.signal) }
    }
}
