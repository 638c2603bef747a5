//! The keeper's life: it gives up what it does not need, does what it is told, and at the end leaves the
//! target as it was.
//!
//! It comes out of a program that may have many threads, so nothing here allocates, locks, panics on purpose
//! or calls into a library.

use nix::libc::{self, c_int, c_void};

use super::kernel::{Kernel, Received};
use super::memory::{Memory, Plan};
use super::raw::{call, exit, now_ns};
use super::wire::{FAILED, HUGE, LET_GO, OWN, READY, RESTORED, UNWATCH, WATCH, is_range};
use super::{let_go, own, restore};
use crate::capture::PageRange;

/// What rebuilding huge pages of another process takes, CAP_SYS_PTRACE and CAP_SYS_NICE; and, with the first,
/// looking through the list of its descriptors, CAP_DAC_READ_SEARCH.
const NEEDED: u64 = 1 << 19 | 1 << 23 | 1 << 2;

/// The whole life of a keeper, on the memory that was made for it.
pub(super) extern "C" fn main(memory: *mut c_void) -> c_int {
    // SAFETY: who starts it gives it this mapping, a copy of which is its own; it has one thread.
    let memory = unsafe { &mut *memory.cast::<Memory>() };
    let kernel = memory.plan.kernel;
    // SAFETY: this process is a copy that runs nothing but this, on a stack within `memory`.
    match unsafe { settle(&memory.plan) } {
        // Nobody to watch for, and nothing is watched yet.
        Ok(pid) => {
            if kernel.send(&[READY, pid]).is_err() {
                exit();
            }
        }
        Err((step, errno)) => {
            let _ = kernel.send(&[FAILED, step, errno as u64]);
            exit();
        }
    }
    listen(memory, &kernel);
    let_go::all(memory);
    let _ = kernel.send(&[LET_GO]);
    restore::all(memory, |bytes| {
        let _ = kernel.send(&[RESTORED, bytes]);
    });
    exit();
}

/// Until the client is gone, says that it has finished, or says what is no message.
fn listen(memory: &mut Memory, kernel: &Kernel) {
    loop {
        let (ended, speaks) = kernel.wait();
        if ended {
            exit();
        }
        if !speaks {
            continue;
        }
        match kernel.receive(&mut memory.words) {
            Received::Words(count) => {
                if !hear(memory, kernel, count) {
                    return;
                }
            }
            Received::Nothing => {}
            Received::Nonsense | Received::Closed => return,
        }
    }
}

/// Does what one message says; whether the client stays.
fn hear(memory: &mut Memory, kernel: &Kernel, count: usize) -> bool {
    let Some(&kind) = memory.words.first() else { return false };
    let ranges = count.wrapping_sub(1) / 2;
    if let (OWN, 2, Some(&from)) = (kind, count, memory.words.get(1)) {
        let [found, next, seen] = own::look(memory, kernel, from);
        return kernel.send(&[OWN, found, next, seen]).is_ok();
    }
    // FINISH is among what ends it.
    if !matches!(kind, WATCH | UNWATCH | HUGE) || count.is_multiple_of(2) {
        return false;
    }
    for index in 0..ranges {
        let at = index.wrapping_mul(2).wrapping_add(1);
        let (Some(&start), Some(&end)) = (memory.words.get(at), memory.words.get(at.wrapping_add(1))) else {
            return false;
        };
        let answer = if is_range(start, end) {
            each(memory, kernel, kind, PageRange { start, end })
        } else {
            Err(libc::EINVAL)
        };
        // Never beyond what has been read already.
        if let Some(word) = memory.words.get_mut(index.wrapping_add(1)) {
            *word = answer.map_or_else(|errno| errno as u64, |()| 0);
        }
    }
    let answered = memory.words.get(..ranges.wrapping_add(1)).unwrap_or_default();
    kind == HUGE || kernel.send(answered).is_ok()
}

fn each(memory: &mut Memory, kernel: &Kernel, kind: u64, range: PageRange) -> Result<(), c_int> {
    match kind {
        WATCH => {
            if !has_room(memory) {
                return Err(libc::ENOMEM);
            }
            kernel.register(range)?;
            // What could not be let go of in pieces later is not kept.
            if !memory.watched.push(range) {
                let_go::of(kernel, range, &mut memory.runs, &mut let_go::Pace::default());
                return Err(libc::ENOMEM);
            }
            Ok(())
        }
        UNWATCH => {
            // What is taken out of the middle leaves two.
            if !has_room(memory) {
                return Err(libc::ENOMEM);
            }
            let_go::of(kernel, range, &mut memory.runs, &mut let_go::Pace::default());
            memory.watched.remove(range);
            Ok(())
        }
        // Best effort: without room, these are not put together again.
        _ => {
            memory.huge.push(range);
            Ok(())
        }
    }
}

/// Whether one more range may be watched. Those that the target has unmapped since are forgotten for it; as
/// that is a look at each, not more often than once a second.
fn has_room(memory: &mut Memory) -> bool {
    const AGAIN_NS: u64 = 1_000_000_000;
    let full = |memory: &Memory| memory.watched.len() >= memory.plan.most;
    if full(memory) && now_ns().saturating_sub(memory.forgot_ns) > AGAIN_NS {
        memory.watched.compact();
        if full(memory) {
            let_go::forget_gone(memory);
        }
        memory.forgot_ns = now_ns();
    }
    !full(memory)
}

/// Gives up everything that is not needed: its process number, or the step that failed and its error.
///
/// # Safety
///
/// In a copied process with one thread, on a stack within the memory that `plan` keeps.
unsafe fn settle(plan: &Plan) -> Result<u64, (u64, c_int)> {
    let failed = |step: u64| move |errno: c_int| (step, errno);
    // SAFETY: numbers, and buffers of this stack that outlive the calls; what is closed and unmapped is this
    // process' own copy.
    unsafe {
        let pid = call(libc::SYS_getpid, [0; 6]).unwrap_or_default();
        // What is only better: a session, a name and a folder of its own. And it is worth nothing to who
        // wants memory.
        let _ = call(libc::SYS_setsid, [0; 6]);
        let name = c"mg-keeper".as_ptr() as u64;
        let _ = call(libc::SYS_prctl, [libc::PR_SET_NAME as u64, name, 0, 0, 0, 0]);
        let _ = call(libc::SYS_chdir, [c"/".as_ptr() as u64, 0, 0, 0, 0, 0]);
        not_first_victim();

        close_all_but(&plan.kernel).map_err(failed(0))?;
        unmap_all_but(plan);
        give_up_capabilities().map_err(failed(1))?;
        call(libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 0, 0, 0, 0, 0]).map_err(failed(2))?;
        call(libc::SYS_prctl, [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0]).map_err(failed(3))?;
        let program = libc::sock_fprog { len: plan.program_length, filter: plan.program.as_ptr().cast_mut() };
        let program = std::ptr::from_ref(&program) as u64;
        let mode = u64::from(libc::SECCOMP_SET_MODE_FILTER);
        call(libc::SYS_seccomp, [mode, 0, program, 0, 0, 0]).map_err(failed(4))?;
        Ok(pid)
    }
}

/// Its end would free next to nothing, and cost the target its huge pages; so it does not go first, whatever
/// its client has chosen.
unsafe fn not_first_victim() {
    // SAFETY: see `settle`.
    unsafe {
        let name = c"/proc/self/oom_score_adj".as_ptr() as u64;
        let opened = call(libc::SYS_openat, [libc::AT_FDCWD as u64, name, libc::O_WRONLY as u64, 0, 0, 0]);
        if let Ok(file) = opened {
            let _ = call(libc::SYS_write, [file, b"0".as_ptr() as u64, 1, 0, 0, 0]);
        }
    }
}

unsafe fn close_all_but(kernel: &Kernel) -> Result<(), c_int> {
    let mut kept = [kernel.socket, kernel.uffd, kernel.pidfd, kernel.pagemap, kernel.descriptors];
    kept.sort_unstable();
    let mut from = 0u64;
    for fd in kept.into_iter().filter(|fd| *fd >= 0) {
        let fd = fd as u64;
        if from < fd {
            // SAFETY: closing by number what this process does not use.
            unsafe { call(libc::SYS_close_range, [from, fd.wrapping_sub(1), 0, 0, 0, 0])? };
        }
        from = fd.wrapping_add(1);
    }
    // SAFETY: as above.
    unsafe { call(libc::SYS_close_range, [from, u64::from(u32::MAX), 0, 0, 0, 0]) }.map(drop)
}

/// Best effort: what stays is a copy that costs memory, and nothing else.
unsafe fn unmap_all_but(plan: &Plan) {
    /// Below it nothing is mapped (vm.mmap_min_addr), and above the last page neither.
    const SPACE: (u64, u64) = (0x1_0000, 0x7fff_ffff_f000);
    let mut from = SPACE.0;
    for &(start, end) in plan.kept.iter().take(plan.kept_count).chain(&[(SPACE.1, SPACE.1)]) {
        if from < start {
            // SAFETY: nothing that runs from here on lies outside of what the plan keeps.
            let _ = unsafe { call(libc::SYS_munmap, [from, start.wrapping_sub(from), 0, 0, 0, 0]) };
        }
        from = from.max(end);
    }
}

unsafe fn give_up_capabilities() -> Result<(), c_int> {
    /// `_LINUX_CAPABILITY_VERSION_3`: sets of 64 in two halves, each effective, permitted, inheritable.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let mut sets = [0u32; 6];
    // SAFETY: the kernel reads two words of the header, and reads or writes six of the sets.
    unsafe {
        let (header, sets_at) = (header.as_ptr() as u64, sets.as_mut_ptr() as u64);
        call(libc::SYS_capget, [header, sets_at, 0, 0, 0, 0])?;
        let [_, permitted, _, ..] = sets;
        let kept = permitted & NEEDED as u32;
        sets = [kept, kept, 0, 0, 0, 0];
        call(libc::SYS_capset, [header, sets.as_ptr() as u64, 0, 0, 0, 0]).map(drop)
    }
}
