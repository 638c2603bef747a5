//! The synchronous event path: from a store of the target until it goes on, against the barest loop that does the same.
//!
//! `cargo bench --bench events [-- SECONDS]`: a target stores into armed pages, over and over, one and four threads at a time. The
//! barest loop reads the descriptor, unprotects the page, and nothing else, in the same process as ours (a thread that blocks
//! in read(2)). Ours is the crate's reader, as the synchronous rung uses it: events are typed, counted, timed and kept.
//! Both run in turn, five times, on the same target. "kernel to consumer" is from the target's reading of the clock, right before its store,
//! until the reader has the event.

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memory_glass::capture::{
    FaultEvent, PageRange, UffdCapability, UffdFeatureFlags, UffdIoctlMode, UserfaultFd,
};
use nix::libc;
use support::PAGE;

const PAGES: u64 = 512;
const TURNS: usize = 5;

/// What one run of one reader gave.
struct Run {
    /// Store to resume, nanoseconds.
    stores: Histogram<u64>,
    /// Kernel to consumer, nanoseconds; of ours only.
    latency: Histogram<u64>,
    events: u64,
    took: Duration,
}

/// When each writer last read the clock before a store, nanoseconds, by its page's slot.
type Clocks = Arc<Vec<AtomicU64>>;

fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is written into this stack's timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("bounds")
}

fn run(threads: u64, seconds: f64, ours: bool) -> Run {
    let features = UffdFeatureFlags::PAGEFAULT_FLAG_WP.union(UffdFeatureFlags::THREAD_ID);
    let uffd = UserfaultFd::create(features).expect("created");
    let length = (threads * PAGES * PAGE) as usize;
    // SAFETY: new memory at an address of the kernel's choice.
    let start = unsafe {
        libc::mmap(std::ptr::null_mut(), length, 3, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0) as u64
    };
    // SAFETY: our own mapping.
    unsafe { libc::madvise(start as *mut _, length, libc::MADV_NOHUGEPAGE) };
    // SAFETY: each page is within the mapping above, which stays for as long as the program runs.
    let write = |page: u64| unsafe { ((start + page * PAGE) as *mut u64).write_volatile(page) };
    (0..threads * PAGES).for_each(write);
    let all = PageRange::new(start, start + length as u64);
    uffd.register(all, UffdIoctlMode::WriteProtect).expect("registered");

    let clocks: Clocks = Arc::new((0..threads).map(|_| AtomicU64::new(0)).collect());
    let stop = Arc::new(AtomicBool::new(false));
    let uffd = Arc::new(uffd);
    let reader = {
        let (uffd, stop, clocks) = (Arc::clone(&uffd), Arc::clone(&stop), Arc::clone(&clocks));
        std::thread::spawn(move || {
            if ours { read_ours(&uffd, &stop, &clocks, start) } else { read_barely(&uffd, &stop) }
        })
    };
    let begun = Instant::now();
    let writers: Vec<_> = (0..threads)
        .map(|writer| {
            let (uffd, clocks) = (Arc::clone(&uffd), Arc::clone(&clocks));
            std::thread::spawn(move || {
                let own = PageRange::new(start + writer * PAGES * PAGE, start + (writer + 1) * PAGES * PAGE);
                let mut stores = histogram();
                while begun.elapsed().as_secs_f64() < seconds {
                    uffd.write_protect(own, true).expect("armed");
                    for page in 0..PAGES {
                        let before = now();
                        clocks[writer as usize].store(before, Ordering::Release);
                        // SAFETY: the writer's own page.
                        unsafe { ((own.start + page * PAGE) as *mut u64).write_volatile(before) };
                        stores.record(now() - before).expect("in bounds");
                    }
                }
                stores
            })
        })
        .collect();
    let mut stores = histogram();
    for writer in writers {
        stores.add(writer.join().expect("no panic")).expect("same bounds");
    }
    let took = begun.elapsed();
    stop.store(true, Ordering::Release);
    // One event more wakes the reader.
    uffd.write_protect(PageRange::new(start, start + PAGE), true).expect("armed");
    write(0);
    let latency = reader.join().expect("no panic");
    // SAFETY: the last use of our own mapping.
    unsafe { libc::munmap(start as *mut _, length) };
    Run { events: stores.len(), stores, latency, took }
}

/// The barest loop: a message is read, its page unprotected.
fn read_barely(uffd: &UserfaultFd, stop: &AtomicBool) -> Histogram<u64> {
    const UFFDIO_WRITEPROTECT: u64 = 0xc018_aa06;
    let fd = uffd.as_fd().as_raw_fd();
    let mut message = [0u64; 4];
    loop {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: structures of this stack, of the kernel's layout.
        unsafe {
            libc::poll(&mut poll, 1, -1);
            while libc::read(fd, message.as_mut_ptr().cast(), 32) == 32 {
                let range = [message[2] / PAGE * PAGE, PAGE, 0];
                libc::ioctl(fd, UFFDIO_WRITEPROTECT, range.as_ptr());
            }
        }
        if stop.load(Ordering::Acquire) {
            return histogram();
        }
    }
}

/// The same through the crate: typed events, each timed and kept.
fn read_ours(uffd: &UserfaultFd, stop: &AtomicBool, clocks: &Clocks, start: u64) -> Histogram<u64> {
    let owned: OwnedFd = uffd.as_fd().try_clone_to_owned().expect("duplicated");
    let mut latency = histogram();
    let mut kept: Vec<FaultEvent> = Vec::new();
    loop {
        let mut poll = libc::pollfd { fd: owned.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure of this stack.
        unsafe { libc::poll(&mut poll, 1, -1) };
        while let Ok(event) = uffd.read_event() {
            let FaultEvent::PageFault { address, .. } = event else { continue };
            let writer = (address - start) / (PAGES * PAGE);
            let since = now().saturating_sub(clocks[writer as usize].load(Ordering::Acquire));
            let page = address / PAGE * PAGE;
            uffd.write_protect(PageRange::new(page, page + PAGE), false).expect("released");
            latency.record(since.clamp(1, 60_000_000_000)).expect("in bounds");
            kept.push(event);
            if kept.len() == 128 {
                kept.clear();
            }
        }
        if stop.load(Ordering::Acquire) {
            return latency;
        }
    }
}

fn main() {
    let seconds: f64 = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1.0);
    println!(
        "{TURNS} turns of {seconds} s each, in turn; the machine has {} processors",
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    for threads in [1, 4] {
        let (mut bare_medians, mut our_medians, mut bare_rates, mut our_rates) =
            (vec![], vec![], vec![], vec![]);
        let mut latency = histogram();
        for _ in 0..TURNS {
            for ours in [false, true] {
                let run = run(threads, seconds, ours);
                let median = run.stores.value_at_quantile(0.5) as f64 / 1e3;
                let rate = run.events as f64 / run.took.as_secs_f64();
                let (medians, rates) = if ours {
                    (&mut our_medians, &mut our_rates)
                } else {
                    (&mut bare_medians, &mut bare_rates)
                };
                medians.push(median);
                rates.push(rate);
                if ours {
                    latency.add(run.latency).expect("same bounds");
                }
            }
        }
        println!("\n{threads} writing thread{}", if threads == 1 { "" } else { "s" });
        let bare = report("store to resume, barest loop, µs", &mut bare_medians);
        let ours = report("store to resume, ours, µs", &mut our_medians);
        println!("  {:<44}{:>10.3}   (≤ 1.10)", "ratio", ours / bare);
        let bare = report("events a second, barest loop", &mut bare_rates);
        let ours = report("events a second, ours", &mut our_rates);
        println!("  {:<44}{:>10.3}   (≥ 0.9; > 10 000/s)", "ratio", ours / bare);
        println!("  kernel to consumer, {} events, ms (mean < 1, peak < 5)", latency.len());
        println!("    mean {:.4}", latency.mean() / 1e6);
        for quantile in [0.5, 0.9, 0.99, 0.999, 0.9999, 1.0] {
            println!(
                "    {:>8} {:.4}",
                format!("{} %", quantile * 100.0),
                latency.value_at_quantile(quantile) as f64 / 1e6
            );
        }
    }
}

fn report(what: &str, values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let median = values[values.len() / 2];
    println!("  {what:<44}{median:>10.2}   {:.2}..{:.2}", values[0], values[values.len() - 1]);
    median
}
