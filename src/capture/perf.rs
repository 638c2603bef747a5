//! What perf tells of the target without ever stopping it: which thread took a fault where, and what became of its threads.
//! (Of its mappings, the table tells; records of them would cost the target a path name at every mmap(2) and brk(2).)
//!
//! The page-fault software event (perf_event_open(2)) is opened on each thread, on each processor, because only such events are
//! passed on to threads that are born later and still have a ring to write to; all events of a processor share its ring.
//! One fault in [`PERIOD`] of each thread is a sample. (A rate in its place would adapt to a thread, and a thread that lives shortly
//! would end before; and a sample costs little beside the faults it stands for.) A target with so many threads that this would
//! need too many descriptors is watched through events of whole processors.
//!
//! What does not fit into a ring is lost, never waited for. So the records are hints for the lifecycle; /proc has the truth.

#![allow(unsafe_code)]

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use perf_event_open_sys as sys;
use sys::bindings::{self, perf_event_attr, perf_event_mmap_page};
use thiserror::Error;

use super::target::proc_path;

/// Faults of a thread that a sample stands for. Prime, so that it does not fall into step with strides.
const PERIOD: u64 = 31;
/// Bytes of a ring: what an unprivileged user may lock, and some 1500 samples.
const RING: usize = 64 << 10;
/// Events at most; with more threads times processors than that, processors are watched whole.
pub(super) const EVENTS: usize = 512;
const PAGE: usize = 4096;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// A thread took a fault, the last of so many.
    Fault { tid: u32, address: u64, faults: u64 },
    /// A process has forked.
    Forked { child: u32 },
    /// A thread was born.
    Born,
    /// A thread has another name; with `exec`, its process has executed another program.
    Named { tid: u32, name: String, exec: bool },
    /// A thread has ended.
    Ended,
    /// So many records did not fit.
    Lost(u64),
}

/// What is sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sampled {
    /// One page fault in [`PERIOD`], with its address.
    Faults,
    /// One moment in every `every` nanoseconds of processor time, with the kernel's part of the stack.
    Moments { every: u64 },
}

/// The page faults of one target, and what becomes of its threads.
#[derive(Debug)]
pub(super) struct Perf {
    pid: u32,
    events: Events,
}

/// Events of all threads of a target.
#[derive(Debug)]
pub(super) struct Events {
    rings: Vec<Ring>,
    /// Open for as long as the rings are read.
    _events: Vec<OwnedFd>,
}

impl Perf {
    /// Begins to record. Why not where it is not permitted.
    pub fn open(pid: u32) -> Result<Self, Deaf> {
        let processors = online();
        let threads = threads(pid);
        let whole = threads.len() * processors.len() > EVENTS;
        let targets = if whole { vec![-1] } else { threads };
        Self::of(pid, open_events(&targets, &processors, Sampled::Faults)?)
    }

    /// Begins to record what somebody with more privileges has opened with [`events_of`].
    pub fn of(pid: u32, events: Vec<Vec<OwnedFd>>) -> Result<Self, Deaf> {
        Ok(Self { pid, events: Events::of(events)? })
    }

    /// Takes what was recorded since the last call.
    pub fn drain(&mut self, mut each: impl FnMut(Record)) {
        let pid = self.pid;
        self.events.drain(|kind, misc, body| {
            if let Some(record) = parse(pid, kind, misc, body) {
                each(record);
            }
        });
    }
}

impl Events {
    /// Begins to sample every thread of this process, once in `every` nanoseconds of its processor time.
    pub fn of_moments(pid: u32, every: u64) -> Result<Self, Deaf> {
        let (processors, threads) = (online(), threads(pid));
        if threads.len() * processors.len() > EVENTS {
            return Err(Deaf::Threads);
        }
        Self::of(open_events(&threads, &processors, Sampled::Moments { every })?)
    }

    fn of(events: Vec<Vec<OwnedFd>>) -> Result<Self, Deaf> {
        let mut rings = Vec::new();
        for events in &events {
            let Some((first, others)) = events.split_first() else { continue };
            rings.push(Ring::new(first)?);
            for event in others {
                // SAFETY: an ioctl on two descriptors of ours.
                let answer = unsafe { sys::ioctls::SET_OUTPUT(event.as_raw_fd(), first.as_raw_fd()) };
                Errno::result(answer)?;
            }
        }
        Ok(Self { rings, _events: events.into_iter().flatten().collect() })
    }

    /// Takes what was recorded since the last call: kind, flags and body of each record.
    pub fn drain(&mut self, mut each: impl FnMut(u32, u16, &[u8])) {
        self.rings.iter_mut().for_each(|ring| ring.drain(&mut each));
    }
}

/// Why a target cannot be heard.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Deaf {
    #[error(
        "perf events are not permitted (kernel.perf_event_paranoid is {level}): grant CAP_PERFMON, or run as root"
    )]
    NotPermitted { level: String },
    #[error("too many open files: raise `ulimit -n`")]
    Files,
    #[error("more than {EVENTS} events would be needed, one for each thread on each processor")]
    Threads,
    #[error("perf_event_open(2): {}", .0.desc())]
    System(Errno),
    /// The broker's own words.
    #[error("{0}")]
    Refused(String),
}

impl From<Errno> for Deaf {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EACCES | Errno::EPERM => {
                let level = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
                Self::NotPermitted { level: level.trim().to_owned() }
            }
            Errno::EMFILE | Errno::ENFILE => Self::Files,
            errno => Self::System(errno),
        }
    }
}

/// Whether threads of others may be sampled; tried on ourselves.
pub fn may_sample_threads() -> Result<(), String> {
    Perf::open(std::process::id()).map(drop).map_err(|deaf| deaf.to_string())
}

/// The events of each thread of a process, by processor, to be handed to somebody who may know of this process and of no other one.
pub(super) fn events_of(pid: u32) -> Result<Vec<Vec<OwnedFd>>, Deaf> {
    let (processors, before) = (online(), threads(pid));
    if before.len() * processors.len() > EVENTS {
        return Err(Deaf::Threads);
    }
    let events = open_events(&before, &processors, Sampled::Faults)?;
    // The number of a thread that ended may have gone to one of another process before it was opened.
    let after = threads(pid);
    if before.iter().any(|thread| !after.contains(thread)) {
        return Err(Deaf::System(Errno::ESRCH));
    }
    Ok(events)
}

fn open_events(targets: &[i32], processors: &[i32], sampled: Sampled) -> Result<Vec<Vec<OwnedFd>>, Deaf> {
    let of_processor = |&processor: &i32| {
        let opened = targets.iter().filter_map(|&target| match open_event(target, processor, sampled) {
            // The thread has ended meanwhile.
            Err(Errno::ESRCH) => None,
            event => Some(event.map_err(Deaf::from)),
        });
        opened.collect()
    };
    processors.iter().map(of_processor).collect()
}

/// The processors that are switched on: "0-3,6" in the kernel's words.
fn online() -> Vec<i32> {
    let text = fs::read_to_string("/sys/devices/system/cpu/online").unwrap_or_default();
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<i32>().ok()?..=last.parse().ok()?)
    };
    let found: Vec<i32> = text.trim().split(',').filter_map(range).flatten().collect();
    if found.is_empty() { vec![0] } else { found }
}

fn threads(pid: u32) -> Vec<i32> {
    let tasks = fs::read_dir(proc_path(pid, "task")).into_iter().flatten().flatten();
    tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

fn open_event(target: i32, processor: i32, sampled: Sampled) -> Result<OwnedFd, Errno> {
    let mut attributes = perf_event_attr::default();
    attributes.type_ = bindings::PERF_TYPE_SOFTWARE;
    attributes.size = size_of::<perf_event_attr>() as u32;
    // Never PERF_SAMPLE_PERIOD: beside a period that is fixed, it has the kernel make each fault a sample
    // (`perf_swevent_event`).
    match sampled {
        Sampled::Faults => {
            attributes.config = u64::from(bindings::PERF_COUNT_SW_PAGE_FAULTS);
            attributes.sample_type = u64::from(bindings::PERF_SAMPLE_TID | bindings::PERF_SAMPLE_ADDR);
            attributes.__bindgen_anon_1.sample_period = PERIOD;
            attributes.set_task(1);
            attributes.set_comm(1);
            attributes.set_comm_exec(1);
        }
        Sampled::Moments { every } => {
            attributes.config = u64::from(bindings::PERF_COUNT_SW_CPU_CLOCK);
            attributes.sample_type = u64::from(bindings::PERF_SAMPLE_CALLCHAIN);
            attributes.__bindgen_anon_1.sample_period = every;
            attributes.set_exclude_callchain_user(1);
        }
    }
    attributes.set_inherit(u64::from(target > 0));
    attributes.set_inherit_thread(u64::from(target > 0));
    attributes.set_exclude_hv(1);
    let open = |attributes: &mut perf_event_attr| {
        // SAFETY: the structure is of the size that it says, and the kernel only reads it; a non-negative answer is a new
        // descriptor that nobody else owns.
        unsafe {
            let flags = u64::from(bindings::PERF_FLAG_FD_CLOEXEC);
            let fd = Errno::result(sys::perf_event_open(attributes, target, processor, -1, flags as _))?;
            Ok(OwnedFd::from_raw_fd(fd))
        }
    };
    match open(&mut attributes) {
        // Without privileges only faults of user space may be recorded.
        Err(Errno::EACCES | Errno::EPERM) if sampled == Sampled::Faults => {
            attributes.set_exclude_kernel(1);
            open(&mut attributes)
        }
        answer => answer,
    }
}

/// What the record is to us; none for what we do not read, and what is of another process.
fn parse(pid: u32, kind: u32, misc: u16, body: &[u8]) -> Option<Record> {
    let word = |at: usize| Some(u32::from_ne_bytes(body.get(at..at + 4)?.try_into().ok()?));
    let long = |at: usize| Some(u64::from_ne_bytes(body.get(at..at + 8)?.try_into().ok()?));
    let process = word(0)?;
    match kind {
        bindings::PERF_RECORD_SAMPLE if process == pid => {
            Some(Record::Fault { tid: word(4)?, address: long(8)?, faults: PERIOD })
        }
        // pid, ppid, tid, ptid
        bindings::PERF_RECORD_FORK if process == pid => Some(Record::Born),
        bindings::PERF_RECORD_FORK if word(4)? == pid => Some(Record::Forked { child: process }),
        bindings::PERF_RECORD_EXIT if process == pid => Some(Record::Ended),
        bindings::PERF_RECORD_COMM if process == pid => {
            let name = body.get(8..)?.split(|byte| *byte == 0).next()?;
            let exec = u32::from(misc) & bindings::PERF_RECORD_MISC_COMM_EXEC != 0;
            Some(Record::Named { tid: word(4)?, name: String::from_utf8_lossy(name).into_owned(), exec })
        }
        bindings::PERF_RECORD_LOST => Some(Record::Lost(long(8)?)),
        _ => None,
    }
}

/// One processor's ring: the kernel writes at its head, we read up to there and move the tail.
#[derive(Debug)]
struct Ring {
    page: NonNull<perf_event_mmap_page>,
    record: Vec<u8>,
}

// SAFETY: the mapping belongs to this object alone, and its counters are only touched atomically.
unsafe impl Send for Ring {}

impl Ring {
    fn new(event: &OwnedFd) -> Result<Self, Errno> {
        // SAFETY: a new mapping of an event of ours at an address of the kernel's choice.
        let page = unsafe {
            libc::mmap(
                ptr::null_mut(),
                PAGE + RING,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                event.as_raw_fd(),
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        Ok(Self { page: NonNull::new(page.cast()).ok_or(Errno::EINVAL)?, record: Vec::new() })
    }

    fn drain(&mut self, mut each: impl FnMut(u32, u16, &[u8])) {
        // SAFETY: both counters lie in the mapped page; the kernel writes the one and reads the other, atomically.
        let (head, tail) = unsafe {
            let page = self.page.as_ptr();
            (AtomicU64::from_ptr(&raw mut (*page).data_head), AtomicU64::from_ptr(&raw mut (*page).data_tail))
        };
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        while at < end {
            let mut header = [0; 8];
            self.copy(at, &mut header);
            let [kind @ .., _, _, _, _] = header;
            let [_, _, _, _, misc @ .., _, _] = header;
            let [.., low, high] = header;
            let size = usize::from(u16::from_ne_bytes([low, high]));
            if size < header.len() {
                break;
            }
            let mut record = std::mem::take(&mut self.record);
            record.resize(size, 0);
            self.copy(at, &mut record);
            each(u32::from_ne_bytes(kind), u16::from_ne_bytes(misc), record.get(8..).unwrap_or_default());
            self.record = record;
            at += size as u64;
        }
        tail.store(end, Ordering::Release);
    }

    /// Copies from a place that counts from the beginning of time, around the end of the ring where need be.
    fn copy(&self, at: u64, into: &mut [u8]) {
        let start = at as usize % RING;
        let first = into.len().min(RING - start);
        // SAFETY: the ring lies behind the first page of the mapping and is RING bytes long; the kernel does not write
        // between tail and head.
        unsafe {
            let ring = self.page.as_ptr().cast::<u8>().add(PAGE);
            ptr::copy_nonoverlapping(ring.add(start), into.as_mut_ptr(), first);
            ptr::copy_nonoverlapping(ring, into.as_mut_ptr().add(first), into.len() - first);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and the last use of it.
        unsafe { libc::munmap(self.page.as_ptr().cast(), PAGE + RING) };
    }
}

/// Reads `bytes` as if they were a record of the kernel's.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let [kind, misc, body @ ..] = bytes {
        let _ = parse(7, u32::from(*kind), u16::from(*misc) << 6, body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(words: &[u32], name: &str) -> Vec<u8> {
        let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        body.extend(name.bytes().chain([0; 8]));
        body
    }

    #[test]
    fn records_are_told_apart_and_those_of_others_left_out() {
        let fork = bindings::PERF_RECORD_FORK;
        assert_eq!(parse(7, fork, 0, &body(&[9, 7, 9, 7], "")), Some(Record::Forked { child: 9 }));
        assert_eq!(parse(7, fork, 0, &body(&[7, 7, 8, 7], "")), Some(Record::Born));
        assert_eq!(parse(7, fork, 0, &body(&[4, 3, 4, 3], "")), None);
        assert_eq!(parse(7, bindings::PERF_RECORD_EXIT, 0, &body(&[7, 7, 8, 7], "")), Some(Record::Ended));
        let exec = bindings::PERF_RECORD_MISC_COMM_EXEC as u16;
        assert_eq!(
            parse(7, bindings::PERF_RECORD_COMM, exec, &body(&[7, 8], "sleep")),
            Some(Record::Named { tid: 8, name: "sleep".into(), exec: true })
        );
        let sample = body(&[7, 8, 0x1000, 0x7f00], "");
        let fault = Record::Fault { tid: 8, address: 0x7f00_0000_1000, faults: PERIOD };
        assert_eq!(parse(7, bindings::PERF_RECORD_SAMPLE, 0, &sample), Some(fault));
        for kind in 0..20 {
            for length in 0..12 {
                let _ = parse(7, kind, 0, &vec![7; length]);
            }
        }
    }

    #[test]
    fn the_online_processors_are_those_of_the_machine() {
        let count = std::thread::available_parallelism().expect("known").get();
        assert!(online().len() >= count);
    }
}
