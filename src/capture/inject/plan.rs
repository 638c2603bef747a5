//! What the helper must know, gathered while nothing is stopped and memory can still be allocated.

use std::io::IoSliceMut;
use std::os::fd::RawFd;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use perf_event_open_sys::bindings::{
    HW_BREAKPOINT_X, PERF_COUNT_SW_CPU_CLOCK, PERF_TYPE_BREAKPOINT, PERF_TYPE_SOFTWARE, perf_event_attr,
};

use crate::capture::target::Status;
use crate::capture::threads::Candidate;
use crate::capture::{CaptureError, MemoryRegion};

/// The two bytes of the instruction.
pub(super) const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// How often a running thread is looked at while it is to be caught, in nanoseconds of its own time. No
/// divisor of a round number, so that it does not keep step with what the thread does.
const LOOK_NS: u64 = 47_300;

/// A path in /proc, ended by a zero.
pub(super) type Path = [u8; 64];

/// How a thread is brought to a stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It is interrupted, if it is still in the call that it was seen in.
    InItsCall,
    /// It is caught as soon as it is in user space.
    InUserSpace,
    /// It is interrupted wherever it is.
    Anywhere,
}

/// Everything the helper works from: plain numbers, copied with the fork.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub pid: u32,
    /// Of a thread of the target that lives: its descriptors are taken through it.
    pub pidfd: RawFd,
    pub socket: RawFd,
    /// Address of a `syscall` instruction in the target.
    pub instruction: u64,
    pub thread: Candidate,
    pub how: How,
    /// How long it is given to stop.
    pub limit_ns: u64,
    /// When its call began, on the monotonic clock, where its limit is to be corrected.
    pub asleep_since_ns: u64,
    /// Seccomp filters may be suspended.
    pub may_suspend: bool,
    /// Files of the thread in /proc.
    pub status: Path,
    pub stat: Path,
    pub syscall: Path,
    /// Tell when the thread comes to an address, or runs in user space.
    pub breakpoint: perf_event_attr,
    pub clock: perf_event_attr,
}

impl Plan {
    pub fn new(pid: u32, pidfd: RawFd, instruction: u64, thread: Candidate, how: How, limit_ns: u64) -> Self {
        let path = |name: &str| {
            let mut path = [0; 64];
            let text = format!("/proc/{pid}/task/{}/{name}", thread.tid);
            path.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
            path
        };
        let mut clock = event();
        clock.type_ = PERF_TYPE_SOFTWARE;
        clock.config = u64::from(PERF_COUNT_SW_CPU_CLOCK);
        clock.__bindgen_anon_1.sample_period = LOOK_NS;
        let mut breakpoint = event();
        breakpoint.type_ = PERF_TYPE_BREAKPOINT;
        breakpoint.bp_type = HW_BREAKPOINT_X;
        breakpoint.__bindgen_anon_3.bp_addr = thread.return_to;
        // Of an instruction it is the size of a word.
        breakpoint.__bindgen_anon_4.bp_len = 8;
        breakpoint.__bindgen_anon_1.sample_period = 1;
        Self {
            pid,
            pidfd,
            socket: -1,
            instruction,
            thread,
            how,
            limit_ns,
            asleep_since_ns: 0,
            may_suspend: may_suspend_seccomp(),
            status: path("status"),
            stat: path("stat"),
            syscall: path("syscall"),
            breakpoint,
            clock,
        }
    }
}

/// An event of user space only.
fn event() -> perf_event_attr {
    let mut event = perf_event_attr::default();
    event.size = size_of::<perf_event_attr>() as u32;
    event.set_exclude_kernel(1);
    event.set_exclude_hv(1);
    event.__bindgen_anon_2.wakeup_events = 1;
    event
}

/// Only a root that is not itself filtered may suspend a filter; without that right, such a thread is not
/// touched.
pub(super) fn may_suspend_seccomp() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let Ok(own) = Status::of(std::process::id()) else { return false };
    let effective = own.field("CapEff").and_then(|set| u64::from_str_radix(set, 16).ok());
    effective.is_some_and(|set| set & CAP_SYS_ADMIN != 0)
        && own.number("Seccomp").is_none_or(|mode| mode == 0)
}

/// The vdso has the instruction in every process; other code is searched where a target has none mapped.
/// `through` is a thread that lives.
pub(super) fn find_instruction(
    pid: u32,
    through: u32,
    regions: &[MemoryRegion],
) -> Result<u64, CaptureError> {
    let is_vdso = |region: &&MemoryRegion| region.pathname.as_deref() == Some("[vdso]");
    let usable = |region: &&MemoryRegion| {
        region.is_executable()
            && region.permissions.starts_with('r')
            && region.pathname.as_deref() != Some("[vsyscall]")
    };
    let vdso = regions.iter().filter(usable).filter(is_vdso);
    let others = regions.iter().filter(usable).filter(|region| !is_vdso(region));
    let mut chunk = vec![0u8; 256 << 10];
    for region in vdso.chain(others) {
        let mut at = region.start;
        while at < region.end {
            let length = (region.end - at).min(chunk.len() as u64) as usize;
            let remote = RemoteIoVec { base: at as usize, len: length };
            let Some(buffer) = chunk.get_mut(..length) else { break };
            let thread = Pid::from_raw(through as i32);
            match process_vm_readv(thread, &mut [IoSliceMut::new(buffer)], &[remote]) {
                Ok(read) => {
                    let found = chunk.iter().take(read).zip(chunk.iter().take(read).skip(1));
                    if let Some(offset) = found.into_iter().position(|(a, b)| [*a, *b] == SYSCALL) {
                        return Ok(at + offset as u64);
                    }
                    if read < length {
                        break;
                    }
                }
                Err(errno @ nix::errno::Errno::EPERM) => {
                    return Err(CaptureError::NotPermitted { pid, what: "process_vm_readv", errno });
                }
                Err(_) => break,
            }
            // One byte of overlap, so that an instruction across the border is found.
            at += (length as u64 - 1).max(1);
        }
    }
    Err(CaptureError::NoSyscallInstruction { pid })
}
