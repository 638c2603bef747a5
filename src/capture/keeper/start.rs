//! Starting a keeper: everything that it will need is gathered while memory can still be allocated, and then
//! copied with the process.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::client::Keeper;
use super::kernel::Kernel;
use super::memory::{KEPT, Memory, STEPS};
use super::{filter, raw, reap, serve};
use crate::capture::{CaptureError, sys};

/// How the kernel lists it.
const NAME: &str = "mg-keeper";

/// Hands the userfaultfd of a target over to a process of its own, and says how to reach that. The descriptor
/// is not ours any more.
pub(in crate::capture) fn start(
    uffd: OwnedFd,
    pidfd: BorrowedFd<'_>,
    pagemap: BorrowedFd<'_>,
    descriptors: Option<BorrowedFd<'_>>,
    pid: u32,
    mappings: usize,
) -> Result<Keeper, CaptureError> {
    let failed = |step| move |errno| CaptureError::KeeperFailed { pid, step, errno };
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(failed("making a socket pair for it"))?;
    let fds = Kernel {
        socket: theirs.as_raw_fd(),
        uffd: uffd.as_raw_fd(),
        pidfd: pidfd.as_raw_fd(),
        pagemap: pagemap.as_raw_fd(),
        descriptors: descriptors.map_or(-1, |descriptors| descriptors.as_raw_fd()),
    };
    let arena = Arena::with_plan(fds, most_ranges(mappings)).map_err(failed("preparing its memory"))?;
    reap::await_end(arena.run().map_err(failed("starting it"))?);
    // From here on it is the only one who has them.
    drop((theirs, uffd));
    Keeper::meet(ours, pid)
}

/// How many ranges may be watched at the same time, of a target with so many mappings. Each that ends within
/// a mapping makes two of it, and a target with as many as it may have gets no more memory: at most two
/// thirds of what is left are spent. As many as it has may always be watched.
fn most_ranges(mappings: usize) -> usize {
    mappings.max(sys::max_map_count().saturating_sub(mappings) / 3)
}

/// Whether a keeper runs besides this one: one that lets go of a target is soon gone.
pub(in crate::capture) fn another_is_there(own: Option<u32>) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|entry| {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        number.is_some_and(|number| Some(number) != own)
            && std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|name| name.trim_end() == NAME)
    })
}

/// The memory of a keeper, before it is one.
struct Arena(NonNull<Memory>);

impl Arena {
    fn with_plan(fds: Kernel, most: usize) -> Result<Self, Errno> {
        let program = filter::program(&fds).map_err(|_| Errno::EINVAL)?;
        let arena = Self::new()?;
        // SAFETY: the mapping is as large as `Memory`, aligned, all zero, which is a valid one, and nobody
        // else's.
        let memory = unsafe { &mut *arena.0.as_ptr() };
        let plan = &mut memory.plan;
        (plan.kernel, plan.most) = (fds, most);
        if program.len() > STEPS {
            return Err(Errno::E2BIG);
        }
        for (place, step) in plan.program.iter_mut().zip(&program) {
            *place = libc::sock_filter { code: step.code, jt: step.jt, jf: step.jf, k: step.k };
        }
        plan.program_length = program.len() as u16;
        let kept = needed(arena.range());
        plan.kept_count = kept.len().min(KEPT);
        for (place, range) in plan.kept.iter_mut().zip(kept) {
            *place = range;
        }
        Ok(arena)
    }

    fn new() -> Result<Self, Errno> {
        let length = size_of::<Memory>();
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new private mapping at an address of the kernel's choice disturbs nothing.
        let at = unsafe {
            let rights = libc::PROT_READ | libc::PROT_WRITE;
            let at = libc::mmap(ptr::null_mut(), length, rights, flags, -1, 0);
            if at == libc::MAP_FAILED {
                return Err(Errno::last());
            }
            // A huge page of it would be mostly empty. A kernel without them refuses.
            let _ = libc::madvise(at, length, libc::MADV_NOHUGEPAGE);
            at
        };
        NonNull::new(at.cast()).map(Self).ok_or(Errno::ENOMEM)
    }

    fn range(&self) -> (u64, u64) {
        let start = self.0.as_ptr() as u64;
        (start, (start + size_of::<Memory>() as u64).next_multiple_of(4096))
    }

    /// Starts the keeper. All signals are blocked across it, and stay so in the keeper.
    fn run(&self) -> Result<Pid, Errno> {
        let mut before = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
        let memory = self.0.as_ptr();
        // SAFETY: the starter shares our memory and this thread waits for its end, as posix_spawn(3) does it.
        // It runs on a stack of its own, and makes two system calls. No exit signal: nobody else's wait for
        // children meets it.
        let starter = unsafe {
            let stack = (&raw mut (*memory).starter_stack).add(1).cast();
            Errno::result(libc::clone(starter, stack, libc::CLONE_VM | libc::CLONE_VFORK, memory.cast()))
        };
        if let Ok(starter) = starter {
            let _ = waitpid(Pid::from_raw(starter), Some(WaitPidFlag::__WALL));
        }
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
        starter?;
        // SAFETY: the starter has ended; nobody else knows of the mapping.
        let started = unsafe { (&raw const (*memory).started).read_volatile() };
        if started > 0 {
            Ok(Pid::from_raw(started as i32))
        } else {
            Err(Errno::from_raw(started.unsigned_abs() as i32))
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and the last use of it; the keeper has a copy.
        let _ = unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<Memory>()) };
    }
}

/// Makes the keeper, a child of ours as it is one itself, and ends. As it shares its memory only with who
/// waits for it, the kernel forgets in it what the thread had registered (rseq(2)), and so in its copy.
extern "C" fn starter(memory: *mut c_void) -> c_int {
    let memory = memory.cast::<Memory>();
    // SAFETY: the mapping is there as long as this process; the keeper gets a copy of it, and a stack in it
    // that nobody else uses.
    unsafe {
        let stack = (&raw mut (*memory).keeper_stack).add(1).cast();
        let keeper = libc::clone(serve::main, stack, libc::CLONE_PARENT, memory.cast());
        let errno = i64::from(*libc::__errno_location());
        (&raw mut (*memory).started).write_volatile(if keeper < 0 { -errno } else { i64::from(keeper) });
    }
    raw::exit()
}

/// What of the address space a keeper runs by: its memory, this program's own code, and the library's for
/// copying bytes.
fn needed(arena: (u64, u64)) -> Vec<(u64, u64)> {
    struct Search {
        anchors: [u64; 2],
        found: Vec<(u64, u64)>,
    }
    unsafe extern "C" fn look(info: *mut libc::dl_phdr_info, _: usize, search: *mut c_void) -> c_int {
        // SAFETY: the library gives its own description of an object, and our own search back.
        let (info, search) = unsafe { (&*info, &mut *search.cast::<Search>()) };
        // SAFETY: so many headers are there.
        let headers = unsafe { std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()) };
        let loaded = headers.iter().filter(|header| header.p_type == libc::PT_LOAD);
        let parts = loaded.map(|header| {
            let start = info.dlpi_addr + header.p_vaddr;
            (start & !4095, (start + header.p_memsz).next_multiple_of(4096))
        });
        let whole = parts.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
        if let Some((start, end)) = whole
            && search.anchors.iter().any(|at| (start..end).contains(at))
        {
            search.found.push((start, end));
        }
        0
    }
    // The kernel's own page; it may be sealed (mseal(2)), and then nothing around it could be unmapped
    // together with it. SAFETY: asks the library for one number.
    let vdso = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
    let mut search = Search {
        anchors: [serve::main as *const () as u64, libc::memcpy as *const () as u64],
        found: vec![arena],
    };
    if vdso != 0 {
        const AROUND: u64 = 64 << 10;
        search.found.push((vdso.saturating_sub(AROUND), vdso + AROUND));
    }
    // SAFETY: the callback gets what it expects, during this call only.
    unsafe { libc::dl_iterate_phdr(Some(look), ptr::from_mut(&mut search).cast()) };
    search.found.sort_unstable();
    search.found
}

impl Keeper {
    /// Hears that the keeper is confined, which it is before it does anything.
    fn meet(socket: OwnedFd, pid: u32) -> Result<Self, CaptureError> {
        let mut keeper = Self::of(socket, pid);
        keeper.hear_of_it()?;
        Ok(keeper)
    }
}

impl AsFd for Keeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket()
    }
}
