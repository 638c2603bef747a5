//! Windows say who wrote, and what the monitor goes without is said.

#![allow(unsafe_code)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use memory_glass::capture::range::intersect;
use memory_glass::capture::{GlassRamMonitor, Governing, MonitorConfig, PageRange, Window};
use support::work::Worker;
use support::{PAGE, Target, assert_untouched, exact, window};

fn threads_of(pid: u32) -> BTreeSet<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// What is said of threads holds together with the rest of the window.
fn assert_consistent(window: &Window) {
    for thread in &window.threads {
        assert!(!thread.pages.is_empty() && thread.faults >= 1.0, "{thread:?}");
        for &page in &thread.pages {
            let page = [PageRange::new(page, page + PAGE)];
            assert_eq!(intersect(&window.written, &page), page, "attributed but not written");
        }
    }
}

#[test]
fn each_of_many_threads_is_named_for_what_it_wrote() {
    const THREADS: u32 = 200;
    let worker = Worker::start(THREADS, "sleep");
    let pid = worker.target.pid();
    let mut monitor = exact(pid);
    if !monitor.lost().is_empty() {
        eprintln!("{:?}", monitor.lost());
        return;
    }
    let mut pages: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    let patience = Instant::now();
    while pages.len() < THREADS as usize && patience.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
        let window = window(&mut monitor);
        assert_consistent(&window);
        for thread in window.threads {
            pages.entry(thread.tid).or_default().extend(thread.pages);
        }
    }
    let alive = threads_of(pid);
    assert!(pages.keys().all(|tid| alive.contains(tid)), "only threads of the target");
    assert_eq!(pages.len(), THREADS as usize, "every thread writes, so every one is sampled sooner or later");
    monitor.detach().expect("detached");
    assert_untouched(pid);
    worker.assert_alive();
    worker.assert_right();
}

#[test]
fn a_thread_that_is_born_writes_and_dies_between_two_windows_is_seen() {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {}", 4096 * PAGE));
    target.ask(&format!("small {start} {}", 4096 * PAGE));
    target.ask(&format!("write {start} 4096 1"));
    let mut monitor = exact(target.pid());
    if !monitor.lost().is_empty() {
        eprintln!("{:?}", monitor.lost());
        return;
    }
    window(&mut monitor);
    // Faults are sampled, but each of these threads has four thousand of them.
    for _ in 0..20 {
        let tid = target.ask(&format!("thread {start} 4096 1")) as u32;
        let window = window(&mut monitor);
        assert_consistent(&window);
        assert!(!threads_of(target.pid()).contains(&tid));
        let thread = window.threads.iter().find(|thread| thread.tid == tid).expect("it has written");
        assert_eq!(&*thread.name, "short-lived", "its name outlives it");
        let there = thread.pages.iter().filter(|page| (start..start + 4096 * PAGE).contains(page)).count();
        assert!(there > 10, "{there} samples of its four thousand faults");
        // A sample stands for the faults since the one before it, on each processor; some are of its stack.
        assert!((3000.0..4500.0).contains(&thread.faults), "{} faults are estimated", thread.faults);
        assert!(
            there as f64 <= thread.faults / 20.0,
            "{there} samples: few faults are sampled, the others cost nothing"
        );
    }
}

/// Sixty windows a second on a target that writes all it has, all the time: the budget holds, by our own account.
#[test]
fn the_governor_leaves_pages_out_when_a_target_writes_everything() {
    let mut target = Target::start("obey");
    const PAGES: u64 = (128 << 20) / PAGE;
    let start = target.ask(&format!("mmap {}", PAGES * PAGE));
    target.ask(&format!("small {start} {}", PAGES * PAGE));
    target.ask(&format!("write {start} {PAGES} 1"));
    let mut monitor = GlassRamMonitor::new(target.pid()).expect("attached");
    assert_ne!(monitor.governing(), Governing::Unlimited);
    target.say(&format!("thread {start} {PAGES} 100000"));
    let patience = Instant::now();
    let unseen = loop {
        std::thread::sleep(MonitorConfig::default().window);
        let window = window(&mut monitor);
        assert_consistent(&window);
        if matches!(monitor.governing(), Governing::Sampling(_)) && !window.unseen.is_empty() {
            break window.unseen;
        }
        assert!(
            patience.elapsed() < Duration::from_secs(60),
            "the budget must bind: {:?}",
            monitor.governing()
        );
    };
    assert!(
        unseen.iter().any(|range| (start..start + PAGES * PAGE).contains(&range.start)),
        "what is hot is left out"
    );
    loop {
        let cost = monitor.target_metrics();
        if cost.overhead_percent > 0.0 && cost.slow_down_factor > 1.0 {
            break;
        }
        assert!(patience.elapsed() < Duration::from_secs(60), "a busy target's slow-down is known: {cost:?}");
        std::thread::sleep(MonitorConfig::default().window);
        window(&mut monitor);
    }
    monitor.set_slowdown_budget(None);
    window(&mut monitor);
    assert_eq!(monitor.governing(), Governing::Unlimited);
    assert_eq!(window(&mut monitor).unseen, [], "without a budget everything is armed again");
    target.kill();
}
