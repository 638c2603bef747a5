//! A target that reserves address space by the terabyte and touches hardly any of it, as sanitizers and garbage collectors do.

use std::time::Duration;

use nix::libc;

use super::programs;

/// Pages that are written, far from each other.
pub const STREWN: u64 = 61;

/// `reserve TIB`: writes pages that are strewn over so much memory, and next to each other in some that is ordinary, all the time.
pub fn reserve(argument: &str) {
    let length: u64 = argument.parse::<u64>().expect("a number") << 40;
    let ordinary = map(4 << 20);
    let reserved = if length > 0 { map(length) } else { ordinary };
    let between = length / STREWN / super::PAGE * super::PAGE;
    programs::ready();
    programs::say(&reserved.to_string());
    for round in 0u64.. {
        for at in 0..STREWN {
            // Each has a neighbour that is written every other time.
            let strewn = reserved + at * between + round % 2 * super::PAGE;
            for page in [strewn, ordinary + (at * super::PAGE)] {
                // SAFETY: writable memory of our own.
                unsafe { (page as *mut u64).write_volatile(round) };
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn map(length: u64) -> u64 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: new memory at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), length as usize, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
    };
    assert_ne!(start, libc::MAP_FAILED, "no {length} bytes of address space");
    start as u64
}
