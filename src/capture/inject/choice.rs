//! Which thread makes the call, and when: the first that can be stopped without its noticing.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use tracing::warn;

use super::helper::Outcome;
use super::plan::{self, How, Plan};
use super::{Failure, Injected, refusal, try_thread};
use crate::capture::calls::{self, Surroundings};
use crate::capture::error::Held;
use crate::capture::threads::{Candidate, Moment, Walk};
use crate::capture::{CaptureError, MemoryRegion, frozen, sys, target};

/// How long a moment is waited for in which a thread can be stopped.
const PATIENCE: Duration = Duration::from_secs(5);
/// On a machine on which we hardly get a processor ourselves, longer: until so many attempts were made …
const ROUNDS: usize = 8;
/// … or so much time has passed.
const PATIENCE_AT_MOST: Duration = Duration::from_secs(20);
/// After so long a wait, a call whose limit can be corrected is interrupted, or one that leaves a trace.
const CORRECTED_AFTER: Duration = Duration::from_millis(500);
/// After so long a wait, it is said.
const SAID_AFTER: Duration = Duration::from_millis(800);
/// How long one thread is given to stop, or to come to user space where there are others.
const STOP: Duration = Duration::from_secs(1);
const FIRST: Duration = Duration::from_millis(10);
const SLICE: Duration = Duration::from_millis(100);
/// Between two looks, where there is nothing to be waited for but time.
const PAUSE: Duration = Duration::from_millis(3);
/// A thread is traced by one process at a time, and the kernel's answer is then the same as where it may not
/// be traced: asked so often, it is the latter.
const DENIALS: u32 = 5;

/// What the person wants of all attaches of this program.
static INTERRUPT_CALLS: AtomicBool = AtomicBool::new(false);

/// Whether this program attaches even where that makes a system call of the target end early or late.
/// Otherwise such an attach is refused ([`CaptureError::InCall`]).
pub fn interrupt_calls(allowed: bool) {
    INTERRUPT_CALLS.store(allowed, Ordering::Relaxed);
}

pub(in crate::capture) fn interrupts_calls() -> bool {
    INTERRUPT_CALLS.load(Ordering::Relaxed)
}

/// Makes the target create a userfaultfd, takes it over and closes the target's own copy.
pub(in crate::capture) fn userfaultfd_of(
    pid: u32,
    pidfd: BorrowedFd<'_>,
    regions: &[MemoryRegion],
) -> Result<Injected, CaptureError> {
    let through = target::living_thread(pid);
    // The descriptors of a first thread that has ended are gone; another's are the same.
    let of_thread = match through == pid {
        true => None,
        false => Some(sys::pidfd_of_thread(through).map_err(|errno| CaptureError::System {
            operation: "pidfd_open of a thread",
            pid,
            errno,
        })?),
    };
    let pidfd = of_thread.as_ref().map_or(pidfd, AsFd::as_fd);
    let instruction = plan::find_instruction(pid, through, regions)?;
    let around = Surroundings::new(pid, pidfd, regions);
    Search {
        pid,
        pidfd: pidfd.as_raw_fd(),
        instruction,
        interrupt_calls: interrupts_calls(),
        begun: Instant::now(),
        round: 0,
        catching: may_signal(pid),
        may_suspend: plan::may_suspend_seccomp(),
        denied: 0,
        unfit: Vec::new(),
        last: None,
        told: false,
    }
    .run(&around)
}

/// Whether an event of ours may signal a thread of the process: not those of another user, unless we are root
/// (`sigio_perm` in the kernel's fs/fcntl.c). The signal would be dropped without a word, and we would wait
/// for nothing.
fn may_signal(pid: u32) -> bool {
    let ours = [nix::unistd::getuid().as_raw(), nix::unistd::geteuid().as_raw()];
    let Ok(status) = target::Status::read(&target::memory_path(pid, "status")) else { return false };
    let users = status.field("Uid").unwrap_or_default().split_whitespace();
    let users: Vec<u32> = users.filter_map(|user| user.parse().ok()).collect();
    // Real, effective, saved, file system: the first and the third count.
    let theirs = [users.first(), users.get(2)];
    ours[1] == 0 || ours.iter().any(|own| theirs.contains(&Some(own)))
}

/// The search for a thread and a moment.
struct Search {
    pid: u32,
    pidfd: i32,
    instruction: u64,
    interrupt_calls: bool,
    begun: Instant,
    round: usize,
    /// Threads can be caught in user space here.
    catching: bool,
    may_suspend: bool,
    /// How often the kernel did not let us trace one.
    denied: u32,
    /// Threads that cannot make the call.
    unfit: Vec<i32>,
    /// Why not the last of them.
    last: Option<CaptureError>,
    told: bool,
}

impl Search {
    fn run(mut self, around: &Surroundings<'_>) -> Result<Injected, CaptureError> {
        let mut walk = Walk::default();
        let mut seen: Vec<(i32, u64)> = Vec::new();
        loop {
            let threads = walk.next(around, |thread| self.may_be_tried(thread))?;
            let known = |tid| seen.iter().any(|(seen, _)| *seen == tid);
            let new: Vec<_> = threads.iter().filter(|thread| !known(thread.tid)).collect();
            seen.extend(new.into_iter().map(|thread| (thread.tid, thread.ran_ns)));
            self.tell(&threads);
            if let Some(group) = frozen::group_of(self.pid) {
                return Err(CaptureError::Frozen { pid: self.pid, group });
            }
            let usable = self.usable(&threads)?;
            let chosen = self.choose(&usable);
            if let Some((thread, how, limit)) = chosen {
                match try_thread(&self.plan(thread, how, limit)) {
                    Ok(injected) => return Ok(injected),
                    Err(Failure::Other(error)) => return Err(error),
                    Err(Failure::Said(outcome, errno)) => self.take_note(thread, outcome, errno)?,
                }
            }
            if self.begun.elapsed() >= PATIENCE && self.round >= ROUNDS
                || self.begun.elapsed() >= PATIENCE_AT_MOST
            {
                return Err(self.why_not(&seen, &threads));
            }
            if chosen.is_none() {
                std::thread::sleep(PAUSE);
            }
            self.round += 1;
        }
    }

    fn may_be_tried(&self, thread: &Candidate) -> bool {
        (self.may_suspend || !thread.seccomp) && !self.unfit.contains(&thread.tid)
    }

    /// The threads that may be tried at all.
    fn usable<'a>(&self, threads: &'a [Candidate]) -> Result<Vec<&'a Candidate>, CaptureError> {
        let pid = self.pid;
        let usable: Vec<_> = threads.iter().filter(|thread| self.may_be_tried(thread)).collect();
        if usable.is_empty() {
            return Err(match &self.last {
                Some(error) => error.clone(),
                None if threads.is_empty() => CaptureError::NoSuchProcess { pid },
                None => CaptureError::Seccomp { pid },
            });
        }
        if usable.iter().all(|thread| thread.moment == Moment::Frozen) {
            return Err(CaptureError::Frozen { pid, group: "a group that is not seen from here".into() });
        }
        Ok(usable)
    }

    /// The thread to be tried now, how, and for how long.
    fn choose<'a>(&self, threads: &[&'a Candidate]) -> Option<(&'a Candidate, How, Duration)> {
        let waited = self.begun.elapsed();
        let of = |wanted: fn(&Moment) -> bool| threads.iter().copied().find(|thread| wanted(&thread.moment));
        if let Some(thread) = of(|moment| *moment == Moment::Free) {
            return Some((thread, How::InItsCall, STOP));
        }
        if waited >= CORRECTED_AFTER
            && let Some(thread) = of(|moment| matches!(moment, Moment::Traced | Moment::Limited(_)))
        {
            return Some((thread, How::InItsCall, STOP));
        }
        if self.interrupt_calls
            && let Some(thread) = of(|moment| !matches!(moment, Moment::Uninterruptible | Moment::Frozen))
        {
            return Some((thread, How::Anywhere, STOP));
        }
        let caught =
            |thread: &&Candidate| self.catching && thread.signal != 0 && thread.moment != Moment::Frozen;
        let watched: Vec<_> = threads.iter().copied().filter(caught).collect();
        if !watched.is_empty() {
            let left = PATIENCE.saturating_sub(waited).max(SLICE);
            let thread = watched[self.round % watched.len()];
            // Whoever waits for a processor gets it, after all others that want it.
            let longest = match thread.moment {
                Moment::Running => STOP,
                _ if watched.len() == 1 => STOP,
                _ => SLICE,
            };
            // It may have gone into a call in which it can be stopped, so the first attempts are short.
            let longest = longest.min(FIRST * 2_u32.saturating_pow(self.round as u32));
            let until_corrected = CORRECTED_AFTER.saturating_sub(waited);
            let limited = of(|moment| matches!(moment, Moment::Traced | Moment::Limited(_))).is_some();
            let limit =
                if limited && !until_corrected.is_zero() { longest.min(until_corrected) } else { longest };
            return Some((thread, How::InUserSpace, limit.min(left).max(PAUSE)));
        }
        // It may be in a call after all, which is put right then as far as that goes.
        of(|moment| *moment == Moment::Running).map(|thread| (thread, How::Anywhere, STOP))
    }

    fn plan(&self, thread: &Candidate, how: How, limit: Duration) -> Plan {
        let limit_ns = limit.as_nanos() as u64;
        let mut plan = Plan::new(self.pid, self.pidfd, self.instruction, *thread, how, limit_ns);
        if let Moment::Limited(_) = thread.moment {
            // Where it is not known, the limit begins anew: only as asked for.
            plan.asleep_since_ns =
                calls::last_run(self.pid, thread.tid as u32, thread.processor).unwrap_or(0);
            if plan.asleep_since_ns == 0 && how == How::InItsCall && !self.interrupt_calls {
                plan.how = How::InUserSpace;
            }
        }
        plan
    }

    /// What an attempt that brought nothing means for the next ones.
    fn take_note(&mut self, thread: &Candidate, outcome: Outcome, errno: Errno) -> Result<(), CaptureError> {
        match outcome {
            Outcome::MOVED | Outcome::NOT_CAUGHT | Outcome::DID_NOT_STOP => Ok(()),
            Outcome::NO_CATCHING => {
                self.catching = false;
                Ok(())
            }
            // Of this thread, maybe not of another.
            Outcome::SECCOMP | Outcome::DISPATCH | Outcome::CHANGED => {
                self.unfit.push(thread.tid);
                let error = refusal(self.pid, outcome, errno);
                // A later thread's excuse does not replace an earlier, more telling one.
                if self.last.is_none() || outcome != Outcome::CHANGED {
                    self.last = Some(error);
                }
                Ok(())
            }
            // A thread that is at its end may not be traced any more.
            Outcome::NOT_PERMITTED if !self.lives(thread) => Err(refusal(self.pid, Outcome::CHANGED, errno)),
            // The helper of another attach, whose monitor may have died, traces it for a moment.
            Outcome::NOT_PERMITTED if self.denied < DENIALS => {
                self.denied += 1;
                std::thread::sleep(PAUSE * self.denied);
                Ok(())
            }
            outcome => {
                // A debugger's name is worth more than the kernel's number.
                target::inspect(self.pid)?;
                Err(refusal(self.pid, outcome, errno))
            }
        }
    }

    fn lives(&self, thread: &Candidate) -> bool {
        let status = target::Status::read(&target::task_path(self.pid, thread.tid as u32, "status"));
        status.is_ok_and(|status| !matches!(status.state(), 'Z' | 'X') && status.field("VmSize").is_some())
    }

    fn tell(&mut self, threads: &[Candidate]) {
        if self.told || self.begun.elapsed() < SAID_AFTER {
            return;
        }
        self.told = true;
        let at = threads.first().map_or_else(String::new, |thread| match thread.moment {
            Moment::Busy { call, why } => {
                format!(": thread {} is in {}, and {why}", thread.tid, calls::name(call))
            }
            _ => String::new(),
        });
        warn!(
            "waiting for up to {} s until a thread of process {} can be stopped without its noticing{at}",
            PATIENCE.as_secs(),
            self.pid
        );
    }

    /// Why no thread could be stopped.
    fn why_not(&self, seen: &[(i32, u64)], last: &[Candidate]) -> CaptureError {
        let pid = self.pid;
        let rests = |thread: &Candidate| seen.contains(&(thread.tid, thread.ran_ns));
        if let Some(thread) = last.iter().find(|thread| !matches!(thread.moment, Moment::Uninterruptible)) {
            if thread.moment == Moment::Running && rests(thread) {
                return CaptureError::DidNotStop { pid, why: Held::Starved };
            }
            let (call, why) = match thread.moment {
                Moment::Busy { call, why } => (calls::name(call).into_owned(), why),
                Moment::Limited(_) => ("epoll_wait".into(), "its time limit would begin anew"),
                _ => ("the kernel nearly all the time".into(), "a call might end early"),
            };
            return CaptureError::InCall { pid, tid: thread.tid as u32, call, why };
        }
        CaptureError::DidNotStop { pid, why: Held::Uninterruptible }
    }
}
