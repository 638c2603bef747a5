//! Which thread of the target can be stopped without its noticing, and how.
//!
//! A thread that waits in a call which goes on exactly notices nothing and stops at once. Any other is left
//! alone until it is in user space, where there is nothing to interrupt: it is caught there.
//! [`calls`](super::calls) tells the two apart.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc;

use super::CaptureError;
use super::calls::{Call, Surroundings, Verdict};
use super::target::{Status, proc_path, stat_fields, task_path};

/// How long threads are looked at one after another. What was seen of the first is old by the end, and where
/// many threads want the processors, looking takes its time: we are only one more of them.
const LOOKING: Duration = Duration::from_millis(20);

/// Longest first part of `/proc/PID/task/TID/syscall` that is kept: a number and eight addresses.
pub(crate) const LINE: usize = 192;

/// Signals that do nothing to a thread that neither catches nor blocks them: one of them may tell us that a
/// thread is in user space, and should nobody be there to take it back, the kernel drops it. SIGCONT, the
/// fourth of the kind, would wake the process.
const HARMLESS: [libc::c_int; 3] = [libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD];

/// What a thread is at, as far as stopping it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// In a call that goes on exactly, or in a stop already.
    Free,
    /// In such a call once its limit is corrected: so many milliseconds from when it fell asleep.
    Limited(i32),
    /// In such a call, which leaves something in memory that would not be there otherwise.
    Traced,
    /// It runs, or waits for a processor.
    Running,
    /// In a call that would end otherwise.
    Busy { call: i64, why: &'static str },
    /// Asleep where no signal wakes it.
    Uninterruptible,
    /// It stands in a frozen control group that cannot be seen from here.
    Frozen,
}

/// A thread that may be stopped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub tid: i32,
    /// A seccomp filter watches its calls and must be suspended.
    pub seccomp: bool,
    pub moment: Moment,
    /// A signal that does nothing to it; 0 where there is none.
    pub signal: libc::c_int,
    /// Where it goes on when it leaves its call; 0 where that is not known.
    pub return_to: u64,
    /// The call answers EINTR, so the thread has to be held until it can be made again.
    pub answers_eintr: bool,
    /// The first part of what `/proc/PID/task/TID/syscall` said.
    pub line: [u8; LINE],
    /// The processor that it ran on last.
    pub processor: usize,
    /// How long it has run so far, in nanoseconds.
    pub ran_ns: u64,
    cost: u32,
}

/// A walk over the threads of a process, round and round.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    /// The thread that was looked at last.
    last: u32,
}

impl Walk {
    /// The next threads, cheapest first: up to one of which there is none better, or as many as can be looked
    /// at while what is seen is fresh, but at least one that is `usable` if there is any.
    pub fn next(
        &mut self,
        around: &Surroundings<'_>,
        usable: impl Fn(&Candidate) -> bool,
    ) -> Result<Vec<Candidate>, CaptureError> {
        let pid = around.pid;
        let tasks = fs::read_dir(proc_path(pid, "task")).map_err(|_| CaptureError::NoSuchProcess { pid })?;
        let mut tids: Vec<u32> =
            tasks.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        tids.sort_unstable();
        let first = tids.partition_point(|tid| *tid <= self.last);
        tids.rotate_left(first);
        let begun = Instant::now();
        let (mut threads, mut found) = (Vec::new(), false);
        for tid in tids {
            self.last = tid;
            let Some(thread) = candidate(around, tid) else { continue };
            let fits = usable(&thread);
            found |= fits;
            threads.push(thread);
            if fits && thread.cost == BEST || found && begun.elapsed() > LOOKING {
                break;
            }
        }
        threads.sort_unstable_by_key(|thread| (thread.cost, thread.tid));
        Ok(threads)
    }
}

fn candidate(around: &Surroundings<'_>, tid: u32) -> Option<Candidate> {
    let pid = around.pid;
    let status = Status::read(&task_path(pid, tid, "status")).ok()?;
    if matches!(status.state(), 'Z' | 'X' | 't') {
        return None;
    }
    let stat = fs::read(task_path(pid, tid, "stat")).unwrap_or_default();
    let fields = stat_fields(&stat);
    let field = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    if field(6).is_some_and(is_of_the_kernel) {
        return None;
    }
    let line = fs::read(task_path(pid, tid, "syscall")).unwrap_or_default();
    let text = String::from_utf8_lossy(&line);
    let call = Call::parse(&text);
    let moment = match status.state() {
        'T' => Moment::Free,
        'D' => Moment::Uninterruptible,
        _ if text.starts_with("running") || text.is_empty() => Moment::Running,
        _ if is_frozen(&task_path(pid, tid, "wchan")) => Moment::Frozen,
        _ => match call.map(|call| (call.number, around.judge(tid, &call))) {
            // It waits, but in no call: for a page that it wants.
            None | Some((_, Verdict::GoesOn)) => Moment::Free,
            Some((_, Verdict::Limited(limit))) => Moment::Limited(limit),
            Some((_, Verdict::LeavesTrace)) => Moment::Traced,
            Some((call, Verdict::Ends(why))) => Moment::Busy { call, why },
        },
    };
    // Suspending a filter needs more privilege, so a thread without one is always preferred.
    let seccomp = status.number("Seccomp").is_some_and(|mode| mode != 0);
    let mut kept = [0; LINE];
    kept.iter_mut().zip(&line).for_each(|(to, from)| *to = *from);
    let masked = call.is_some_and(|call| call.has_own_mask());
    Some(Candidate {
        tid: tid as i32,
        seccomp,
        moment,
        signal: if masked { 0 } else { harmless(&status) },
        return_to: call.map_or(0, |call| call.return_to),
        answers_eintr: call.is_some_and(|call| call.answers_eintr()),
        line: kept,
        processor: field(36).unwrap_or(0) as usize,
        ran_ns: ran_ns(&task_path(pid, tid, "schedstat")),
        cost: cost(moment, call) + if seccomp { 10_000 } else { 0 },
    })
}

/// Threads of the kernel that share the memory of a process: of io_uring and vhost. They never come to user
/// space.
fn is_of_the_kernel(flags: u64) -> bool {
    const PF_IO_WORKER: u64 = 0x10;
    const PF_USER_WORKER: u64 = 0x4000;
    const PF_KTHREAD: u64 = 0x0020_0000;
    flags & (PF_IO_WORKER | PF_USER_WORKER | PF_KTHREAD) != 0
}

/// A thread of a frozen group sleeps where signals are taken, whatever call it was in.
fn is_frozen(wchan: &Path) -> bool {
    fs::read_to_string(wchan).is_ok_and(|place| matches!(place.as_str(), "get_signal" | "do_freezer_trap"))
}

fn harmless(status: &Status) -> libc::c_int {
    let set = |name| status.field(name).and_then(|set| u64::from_str_radix(set, 16).ok());
    let (Some(blocked), Some(caught)) = (set("SigBlk"), set("SigCgt")) else { return 0 };
    let free = |signal: &libc::c_int| (blocked | caught) & 1 << (signal - 1) == 0;
    HARMLESS.into_iter().find(free).unwrap_or(0)
}

fn ran_ns(schedstat: &Path) -> u64 {
    let text = fs::read_to_string(schedstat).unwrap_or_default();
    text.split_ascii_whitespace().next().and_then(|ran| ran.parse().ok()).unwrap_or(0)
}

/// What the kernel restarts costs least.
const BEST: u32 = 5;

/// Which of several is taken first.
fn cost(moment: Moment, call: Option<Call>) -> u32 {
    match moment {
        Moment::Free if call.is_some_and(|call| call.answers_eintr()) => 8,
        Moment::Free => BEST,
        Moment::Running => 20,
        Moment::Traced => 40,
        Moment::Limited(_) => 50,
        Moment::Busy { .. } => 60,
        Moment::Uninterruptible => 500,
        Moment::Frozen => 1000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_go_on_come_before_running_and_those_before_calls_that_end() {
        let futex = cost(Moment::Free, Call::parse("202 0x7f 0x0 0x1 0x0 0x0 0x0 0x7ffd 0x7f12"));
        let epoll = cost(Moment::Free, Call::parse("232 0x4 0x7f 0x1 0xffffffff 0x0 0x0 0x7ffd 0x7f12"));
        let running = cost(Moment::Running, None);
        assert!(futex < epoll && epoll < running && running < cost(Moment::Limited(7), None));
        assert!(running < cost(Moment::Busy { call: 1, why: "" }, None));
    }

    #[test]
    fn a_walk_takes_the_best_at_once_and_comes_to_every_thread() {
        const WAITING: usize = 4;
        let (tell, told) = std::sync::mpsc::channel();
        let waiting: Vec<_> = (0..WAITING)
            .map(|_| {
                let tell = tell.clone();
                std::thread::spawn(move || {
                    tell.send(nix::unistd::gettid().as_raw()).expect("listened to");
                    std::thread::park();
                })
            })
            .collect();
        let tids: Vec<i32> = told.iter().take(WAITING).collect();
        let pid = std::process::id();
        let pidfd = crate::capture::sys::pidfd_open(pid).expect("ourselves");
        let around = Surroundings::new(pid, std::os::fd::AsFd::as_fd(&pidfd), &[]);
        let mut walk = Walk::default();
        let mut met = Vec::new();
        let patience = Instant::now();
        // Those of the test's own runner are met, too.
        while !tids.iter().all(|tid| met.contains(tid)) && patience.elapsed() < Duration::from_secs(30) {
            let threads = walk.next(&around, |thread| tids.contains(&thread.tid)).expect("there");
            let best: Vec<_> =
                threads.iter().filter(|thread| tids.contains(&thread.tid) && thread.cost == BEST).collect();
            assert!(best.len() <= 1, "one that is as good as any is enough");
            met.extend(best.iter().map(|thread| thread.tid));
        }
        assert!(tids.iter().all(|tid| met.contains(tid)), "{met:?} of {tids:?}");
        for thread in waiting {
            thread.thread().unpark();
            thread.join().expect("parked");
        }
    }

    #[test]
    fn workers_of_the_kernel_are_known_by_their_flags() {
        assert!(is_of_the_kernel(0x40_4050) && is_of_the_kernel(0x4000) && is_of_the_kernel(0x0020_8040));
        assert!(!is_of_the_kernel(0x40_0000));
    }
}
