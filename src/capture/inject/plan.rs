//! What the helper must know, gathered while nothing is stopped and memory can still be allocated.

use std::io::IoSliceMut;
use std::os::fd::RawFd;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::capture::target::Status;
use crate::capture::threads::{self, Candidate};
use crate::capture::{CaptureError, MemoryRegion};

/// Threads that are tried before giving up.
pub(super) const TRIED: usize = 8;

/// The two bytes of the instruction.
pub(super) const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Everything the helper works from: plain numbers, copied with the fork.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub pidfd: RawFd,
    pub socket: RawFd,
    /// Address of a `syscall` instruction in the target.
    pub instruction: u64,
    /// Threads to try, in this order.
    pub threads: [Option<Candidate>; TRIED],
}

pub(super) fn make(
    pid: u32,
    pidfd: RawFd,
    socket: RawFd,
    regions: &[MemoryRegion],
) -> Result<Plan, CaptureError> {
    let instruction = find_instruction(pid, regions)?;
    let candidates = threads::candidates(pid)?;
    // Only a root that is not itself filtered may suspend a filter; without that right, such a thread is not touched.
    let may_suspend = may_suspend_seccomp();
    let usable = || candidates.iter().filter(|thread| may_suspend || !thread.seccomp);
    if usable().next().is_none() {
        return Err(if candidates.is_empty() {
            CaptureError::NoSuchProcess { pid }
        } else {
            CaptureError::Seccomp { pid }
        });
    }
    let mut tried = [None; TRIED];
    for (place, thread) in tried.iter_mut().zip(usable()) {
        *place = Some(*thread);
    }
    Ok(Plan { pidfd, socket, instruction, threads: tried })
}

fn may_suspend_seccomp() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let Ok(own) = Status::of(std::process::id()) else { return false };
    let effective = own.field("CapEff").and_then(|set| u64::from_str_radix(set, 16).ok());
    effective.is_some_and(|set| set & CAP_SYS_ADMIN != 0)
        && own.number("Seccomp").is_none_or(|mode| mode == 0)
}

/// The vdso has the instruction in every process; other code is searched where a target has none mapped.
fn find_instruction(pid: u32, regions: &[MemoryRegion]) -> Result<u64, CaptureError> {
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
            match process_vm_readv(Pid::from_raw(pid as i32), &mut [IoSliceMut::new(buffer)], &[remote]) {
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
