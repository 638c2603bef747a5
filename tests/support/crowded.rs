//! A target of very many mappings, a few of which it writes all the time.

use std::time::Duration;

use nix::libc;

use super::programs;

const PAGE: usize = 4096;
/// Pages written in a round, and the time between two.
const ROUND: (usize, Duration) = (100, Duration::from_millis(10));

/// `COUNT KIND`: has so many mappings of a page each that the kernel does not join, all of them `shared`, or
/// every second one `private` and writable.
pub fn crowded(argument: &str) {
    let (count, kind) = argument.split_once(' ').expect("two words");
    let count: usize = count.parse().expect("a number");
    let shared = kind == "shared";
    let mut writable = Vec::new();
    for number in 0..count {
        let write = shared || number % 2 == 0;
        let rights = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let flags = libc::MAP_ANONYMOUS | if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        // SAFETY: a new mapping at an address of the kernel's choice, never given back.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), PAGE, rights, flags, -1, 0) };
        if at == libc::MAP_FAILED {
            programs::say(&format!("no mapping {number}: {}", std::io::Error::last_os_error()));
            return;
        }
        if write {
            // SAFETY: a page that was mapped just now.
            unsafe { at.cast::<u64>().write_volatile(1) };
            writable.push(at as usize);
        }
    }
    programs::ready();
    for start in (0..writable.len()).step_by(ROUND.0).cycle() {
        for at in writable.iter().skip(start).take(ROUND.0) {
            // SAFETY: pages that this process has mapped for itself, and that it alone writes.
            unsafe { (*at as *mut u64).write_volatile(start as u64) };
        }
        std::thread::sleep(ROUND.1);
    }
}
