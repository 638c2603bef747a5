//! A target that never stands still.

use nix::libc::{self, c_int};

use super::{PAGE, programs};

const PAGES: usize = 64;
/// Rounds until it executes itself anew.
const ROUNDS: u32 = 8;

/// Maps, writes, forks, unmaps, moves, gives back, and after some rounds executes itself anew, as fast as it can. A line a round
/// says whether everything in it was as it has to be.
pub fn churn() -> ! {
    if std::env::var_os("AGAIN").is_none() {
        programs::ready();
        // SAFETY: there is one thread only.
        unsafe { std::env::set_var("AGAIN", "1") };
    }
    for _ in 0..ROUNDS {
        // SAFETY: the round uses only what it has mapped itself.
        programs::say(if unsafe { round() } { "right" } else { "wrong" });
    }
    let name = [c"churn".as_ptr(), std::ptr::null()];
    // SAFETY: a list that ends with a null pointer.
    unsafe { libc::execv(c"/proc/self/exe".as_ptr(), name.as_ptr()) };
    panic!("it cannot be executed anew");
}

unsafe fn round() -> bool {
    let page = PAGE as usize;
    let words = |start: *mut u8| move |at: usize| start.wrapping_add(at * page).cast::<u64>();
    // SAFETY: every access is to the part that is mapped at the time.
    unsafe {
        let rw = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let start = libc::mmap(std::ptr::null_mut(), PAGES * page, rw, flags, -1, 0).cast::<u8>();
        let word = words(start);
        (0..PAGES).for_each(|at| word(at).write_volatile(at as u64));
        let child = libc::fork();
        if child == 0 {
            let right = (0..PAGES).all(|at| word(at).read_volatile() == at as u64);
            (0..PAGES).for_each(|at| word(at).write_volatile(7));
            libc::_exit(c_int::from(!right));
        }
        libc::munmap(start.cast(), PAGES / 2 * page);
        let moved = libc::mremap(
            start.add(PAGES / 2 * page).cast(),
            PAGES / 2 * page,
            PAGES * page,
            libc::MREMAP_MAYMOVE,
        );
        let word = words(moved.cast());
        let mut right = (0..PAGES / 2).all(|at| word(at).read_volatile() == (at + PAGES / 2) as u64);
        libc::madvise(moved, PAGES * page, libc::MADV_DONTNEED);
        right &= (0..PAGES).all(|at| word(at).read_volatile() == 0);
        libc::munmap(moved, PAGES * page);
        let mut status = 1;
        libc::waitpid(child, &mut status, 0);
        right && status == 0
    }
}
