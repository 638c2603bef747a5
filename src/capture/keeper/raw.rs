//! The kernel's door, without a library: the keeper has unmapped the thread's own storage, in which `errno` would be.

use std::arch::asm;

use nix::libc::{self, c_int, c_long};

/// A bare system call: its answer, or the error's number.
///
/// # Safety
///
/// What the call reads, writes or unmaps is the caller's promise.
pub(super) unsafe fn call(number: c_long, arguments: [u64; 6]) -> Result<u64, c_int> {
    let [a, b, c, d, e, f] = arguments;
    let answer: i64;
    // SAFETY: the kernel keeps every register but the three that are named; memory is the caller's promise.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    // The kernel's own range of errors.
    if (-4095..0).contains(&answer) { Err(answer.wrapping_neg() as c_int) } else { Ok(answer as u64) }
}

/// The end of the process.
pub(super) fn exit() -> ! {
    loop {
        // SAFETY: it ends this process, and nothing else.
        let _ = unsafe { call(libc::SYS_exit_group, [0; 6]) };
    }
}

/// Nanoseconds since some moment.
pub(super) fn now_ns() -> u64 {
    let mut time = [0u64; 2];
    // SAFETY: the kernel writes the time of day into these two words.
    let _ = unsafe {
        call(libc::SYS_clock_gettime, [libc::CLOCK_MONOTONIC as u64, time.as_mut_ptr() as u64, 0, 0, 0, 0])
    };
    let [seconds, nanoseconds] = time;
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

/// Sleeps for a while; a signal cannot end it, all are blocked.
pub(super) fn sleep_ns(length: u64) {
    let time = [length / 1_000_000_000, length % 1_000_000_000];
    // SAFETY: the kernel reads these two words.
    let _ = unsafe {
        let time = time.as_ptr() as u64;
        call(libc::SYS_clock_nanosleep, [libc::CLOCK_MONOTONIC as u64, 0, time, 0, 0, 0])
    };
}
