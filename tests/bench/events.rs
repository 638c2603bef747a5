//! The synchronous event path: from a store of the target until it goes on, against the barest loop that does the same.
//!
//! `cargo bench --bench events [-- SECONDS]`: a target stores into armed pages, over and over, one and four threads at a time. The
//! barest loop polls and reads the descriptor, unprotects the page, and nothing else. Ours is the crate's `FaultReader`, as the
//! synchronous rungs use it, with a consumer that notes the time of each event and keeps it. Both are threads of this process that come ahead
//! of ordinary ones, on the first processor; the writers share the others, because it matters more than anything else whether a
//! woken processor had fallen asleep. They run in turn, nine times, on the same target. "kernel to consumer" is from the
//! target's reading of the clock, right before its store, until the consumer has the event; stores during which the writer itself lost
//! its processor (getrusage(2) tells) are counted apart, because what they waited for was not the event.

#![allow(unsafe_code)]

#[path = "../support/mod.rs"]
mod support;

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use memory_glass::capture::{
    FaultEvent, FaultReader, PageRange, UffdCapability, UffdFeatureFlags, UffdIoctlMode, UserfaultFd,
};
use nix::libc;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use support::PAGE;

const PAGES: u64 = 512;
const TURNS: usize = 9;

/// What one run of one reader gave.
struct Run {
    /// Store to resume, nanoseconds.
    stores: Histogram<u64>,
    /// Kernel to consumer, nanoseconds; of ours only.
    latency: Histogram<u64>,
    /// Events that are not in it, because their writer was preempted.
    preempted: u64,
    took: Duration,
}

/// One store: when the clock was read before it, its page, and whether the writer lost its processor meanwhile.
struct Store {
    before: u64,
    page: u64,
    preempted: bool,
}

/// Every event that the consumer has had: its page, and when.
type Consumed = Arc<Mutex<Vec<(u64, u64)>>>;

fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is written into this stack's timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 3).expect("bounds")
}

/// This thread, and those that it starts, run on these processors from now on.
fn stay_on(processors: impl Iterator<Item = usize>) {
    let mut set = CpuSet::new();
    processors.for_each(|processor| set.set(processor).expect("in bounds"));
    sched_setaffinity(Pid::from_raw(0), &set).expect("they are there");
}

fn preemptions() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).expect("ours").involuntary_context_switches()
}

fn run(processors: usize, threads: u64, seconds: f64, ours: bool) -> Run {
    let features = UffdFeatureFlags::PAGEFAULT_FLAG_WP.union(UffdFeatureFlags::THREAD_ID);
    let uffd = Arc::new(UserfaultFd::create(features).expect("created"));
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

    let stop = Arc::new(AtomicBool::new(false));
    let consumed: Consumed = Consumed::default();
    stay_on(0..1);
    let reader = ours.then(|| {
        let consumed = Arc::clone(&consumed);
        let consumer = move |events: &[FaultEvent], _| {
            let (mut consumed, now) = (consumed.lock().expect("no panic"), now());
            consumed.extend(events.iter().filter_map(|event| match event {
                FaultEvent::PageFault { address, .. } => Some((address / PAGE * PAGE, now)),
                _ => None,
            }));
        };
        FaultReader::start(Arc::clone(&uffd), UffdIoctlMode::WriteProtect, consumer).expect("started")
    });
    let bare = (!ours).then(|| {
        let (uffd, stop) = (Arc::clone(&uffd), Arc::clone(&stop));
        std::thread::spawn(move || read_barely(&uffd, &stop))
    });
    stay_on(1.min(processors - 1)..processors);
    let begun = Instant::now();
    let writers: Vec<_> = (0..threads)
        .map(|writer| {
            let uffd = Arc::clone(&uffd);
            let first = start + writer * PAGES * PAGE;
            std::thread::spawn(move || write_all(&uffd, first, begun, seconds))
        })
        .collect();
    let mut stores = histogram();
    let mut written = Vec::new();
    for writer in writers {
        let (own, all) = writer.join().expect("no panic");
        stores.add(own).expect("same bounds");
        written.push(all);
    }
    let took = begun.elapsed();
    stop.store(true, Ordering::Release);
    if let Some(bare) = bare {
        // One event more wakes it.
        uffd.write_protect(PageRange::new(start, start + PAGE), true).expect("armed");
        write(0);
        bare.join().expect("no panic");
    }
    drop(reader);
    let (mut latency, mut preempted) = (histogram(), 0);
    let consumed = consumed.lock().expect("no panic");
    for (writer, stores) in (0..).zip(&written).filter(|_| ours) {
        let own = start + writer * PAGES * PAGE..start + (writer + 1) * PAGES * PAGE;
        // An event may come twice, when a thread is woken before its page is free.
        let mut events: Vec<&(u64, u64)> = consumed.iter().filter(|event| own.contains(&event.0)).collect();
        events.dedup_by_key(|event| event.0);
        assert_eq!(events.len(), stores.len(), "each store is an event");
        for (event, store) in events.iter().zip(stores) {
            assert_eq!(event.0, store.page, "in their order");
            if store.preempted {
                preempted += 1;
            } else {
                latency.record((event.1 - store.before).clamp(1, 60_000_000_000)).expect("in bounds");
            }
        }
    }
    // SAFETY: the last use of our own mapping.
    unsafe { libc::munmap(start as *mut _, length) };
    Run { stores, latency, preempted, took }
}

/// Stores into each of its pages in turn, armed anew each time, for so many seconds.
fn write_all(uffd: &UserfaultFd, first: u64, begun: Instant, seconds: f64) -> (Histogram<u64>, Vec<Store>) {
    let (mut stores, mut all) = (histogram(), Vec::new());
    let mut preempted_before = preemptions();
    while begun.elapsed().as_secs_f64() < seconds {
        uffd.write_protect(PageRange::new(first, first + PAGES * PAGE), true).expect("armed");
        for page in (0..PAGES).map(|page| first + page * PAGE) {
            let before = now();
            // SAFETY: the writer's own page.
            unsafe { (page as *mut u64).write_volatile(before) };
            stores.record(now() - before).expect("in bounds");
            let preempted = preemptions();
            all.push(Store { before, page, preempted: preempted != preempted_before });
            preempted_before = preempted;
        }
    }
    (stores, all)
}

/// The barest loop: a message is read, its page unprotected.
fn read_barely(uffd: &UserfaultFd, stop: &AtomicBool) {
    const UFFDIO_WRITEPROTECT: u64 = 0xc018_aa06;
    let fd = uffd.as_fd().as_raw_fd();
    let first = libc::sched_param { sched_priority: 1 };
    // SAFETY: a structure of this stack; 0 is this thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &first) };
    let mut message = [0u64; 4];
    while !stop.load(Ordering::Acquire) {
        let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        // SAFETY: structures of this stack, of the kernel's layout.
        unsafe {
            libc::poll(&mut poll, 1, -1);
            while libc::read(fd, message.as_mut_ptr().cast(), 32) == 32 {
                let range = [message[2] / PAGE * PAGE, PAGE, 0];
                libc::ioctl(fd, UFFDIO_WRITEPROTECT, range.as_ptr());
            }
        }
    }
}

fn main() {
    let seconds: f64 = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1.0);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!("{TURNS} turns of {seconds} s each, in turn; the machine has {processors} processors");
    for threads in [1, 4] {
        let (mut bare_medians, mut our_medians, mut bare_rates, mut our_rates) =
            (vec![], vec![], vec![], vec![]);
        let (mut latency, mut preempted) = (histogram(), 0);
        for _ in 0..TURNS {
            for ours in [false, true] {
                let run = run(processors, threads, seconds, ours);
                let median = run.stores.value_at_quantile(0.5) as f64 / 1e3;
                let rate = run.stores.len() as f64 / run.took.as_secs_f64();
                let (medians, rates) = if ours {
                    (&mut our_medians, &mut our_rates)
                } else {
                    (&mut bare_medians, &mut bare_rates)
                };
                medians.push(median);
                rates.push(rate);
                if ours {
                    latency.add(run.latency).expect("same bounds");
                    preempted += run.preempted;
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
        println!(
            "  kernel to consumer, {} events ({preempted} more of preempted writers), ms (mean < 1, peak < 5)",
            latency.len()
        );
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
