//! Targets whose threads are not what one expects.

use std::time::Duration;

use nix::libc;

use super::programs;

/// Installs a filter in all its threads after so many microseconds, from a thread that is not the first.
pub fn filter_later(microseconds: &str) {
    let delay = Duration::from_micros(microseconds.parse().expect("a number"));
    programs::ready();
    std::thread::spawn(move || {
        std::thread::sleep(delay);
        programs::filtered(libc::SECCOMP_FILTER_FLAG_TSYNC as libc::c_long);
        loop {
            std::thread::sleep(Duration::from_secs(1000));
        }
    });
    programs::echo();
}

/// Spins on the last processor under a real-time policy. The kernel ends it after so many seconds: nobody
/// else may come to.
pub fn real_time(seconds: &str) {
    programs::ready();
    // SAFETY: numbers, and structures of this stack that the calls read.
    unsafe {
        let mut last: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(libc::sysconf(libc::_SC_NPROCESSORS_ONLN) as usize - 1, &mut last);
        libc::alarm(seconds.parse().expect("a number"));
        let urgent = libc::sched_param { sched_priority: 50 };
        let pinned = libc::sched_setaffinity(0, size_of_val(&last), &last) == 0;
        let allowed = pinned && libc::sched_setscheduler(0, libc::SCHED_FIFO, &urgent) == 0;
        programs::say(if allowed { "real-time" } else { "not allowed" });
        if allowed {
            loop {
                std::hint::spin_loop();
            }
        }
    }
}

/// Ends its first thread; another one writes on.
pub fn without_leader() {
    std::thread::spawn(|| {
        let mut block = vec![0u8; 1 << 20];
        for round in 0.. {
            block.fill(std::hint::black_box(round as u8));
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    programs::ready();
    // SAFETY: ends this thread alone, which holds nothing.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Has the kernel poll a ring on a thread of its own.
pub fn io_uring_poller() {
    const SQPOLL: u32 = 2;
    // `struct io_uring_params` is 120 bytes; the flags are its third number, how long the poller stays awake
    // its fifth.
    let mut parameters = [0u32; 30];
    (parameters[2], parameters[4]) = (SQPOLL, 1_000_000);
    programs::ready();
    // SAFETY: the structure is of the size that the kernel reads and writes.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 8, parameters.as_mut_ptr()) };
    programs::say(if ring >= 0 { "polling" } else { "not allowed" });
    programs::echo();
}
