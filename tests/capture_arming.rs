//! Under a budget some pages are left unarmed: what a window says of the others is exact.

#![allow(unsafe_code)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use memory_glass::capture::range::{intersect, merge};
use memory_glass::capture::{
    Arming, ArmingPolicy, GlassRamMonitor, MonitorConfig, PageRange, SweepArming, Window, WindowEnd,
};
use support::{PAGE, Target, assert_untouched, pages, window};

const LENGTH: u64 = 64 << 20;
const PAGES: u64 = LENGTH / PAGE;

/// A target with 64 MiB, every page of which it has written before, watched within this budget.
fn watched(slowdown: f64) -> (Target, GlassRamMonitor, u64) {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} {PAGES} 1"));
    let config = MonitorConfig {
        slowdown_budget: Some(slowdown),
        window: Duration::from_millis(100),
        ..MonitorConfig::default()
    };
    let monitor = GlassRamMonitor::with_config(target.pid(), config).expect("attached");
    (target, monitor, start)
}

fn of(ranges: &[PageRange], start: u64) -> BTreeSet<u64> {
    let all = [PageRange::new(start, start + LENGTH)];
    pages(&intersect(ranges, &all), start).into_iter().collect()
}

/// The window says of each page whether it was written, or that it does not know.
fn assert_true(window: &Window, start: u64, written: &BTreeSet<u64>) {
    let (seen, unseen) = (of(&window.written, start), of(&window.unseen, start));
    assert!(seen.is_disjoint(&unseen), "a page cannot be seen and unseen");
    assert!(
        seen.is_subset(written),
        "reported but not written: {:?}",
        seen.difference(written).take(5).collect::<Vec<_>>()
    );
    let missed: Vec<_> =
        written.iter().filter(|page| !seen.contains(page) && !unseen.contains(page)).take(5).collect();
    assert!(missed.is_empty(), "written, armed and not reported: {missed:?}");
}

#[test]
fn what_is_seen_is_exact_and_what_is_not_is_named() {
    // So little that most of what is written cannot be armed again.
    let (mut target, mut monitor, start) = watched(0.005);
    monitor.set_arming_policy(Box::new(SweepArming::default()));
    let (mut seen, mut unseen) = (BTreeSet::new(), 0);
    let begun = std::time::Instant::now();
    // A debt of the first window is paid back with time.
    let mut round = 0;
    while round < 40 || seen.is_empty() && begun.elapsed().as_secs() < 60 {
        let first = 100 * (round % 3);
        target.ask(&format!("write {} 6000 2", start + first * PAGE));
        let window = window(&mut monitor);
        let truth: BTreeSet<u64> = (0..6000).map(|page| first + page * 2).collect();
        assert_true(&window, start, &truth);
        seen.extend(of(&window.written, start));
        unseen += of(&window.unseen, start).len();
        round += 1;
    }
    assert!(unseen > 0, "the budget never bound");
    assert!(!seen.is_empty(), "nothing was ever seen");
    // Pages that nobody writes become known, one way or another.
    target.ask(&format!("write {start} 1 1"));
    assert_untouched(target.pid());
}

#[test]
fn without_pressure_everything_is_armed_again() {
    let (mut target, mut monitor, start) = watched(0.000_5);
    monitor.set_slowdown_budget(Some(0.05));
    // A quiet target is armed bit by bit until nothing is unknown.
    let patience = std::time::Instant::now();
    while !window(&mut monitor).unseen.is_empty() {
        assert!(patience.elapsed().as_secs() < 60, "a silent target is never wholly armed");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    target.ask(&format!("write {} 2 7", start + 1000 * PAGE));
    let exact = window(&mut monitor);
    assert!(exact.unseen.is_empty());
    assert_eq!(of(&exact.written, start), BTreeSet::from([1000, 1007]));
}

/// Arms one half of the memory whenever it is asked.
#[derive(Debug)]
struct Half {
    start: u64,
}

impl ArmingPolicy for Half {
    fn arm(&mut self, end: &WindowEnd<'_>) -> Arming {
        let mut due = [end.written, end.unseen].concat();
        merge(&mut due);
        assert!(end.regions.iter().any(|region| region.start <= self.start && self.start < region.end));
        Arming::Pages(vec![PageRange::new(0, self.start + LENGTH / 2)])
    }
}

#[test]
fn a_policy_of_anothers_decides_what_is_armed() {
    let (mut target, mut monitor, start) = watched(0.000_5);
    monitor.set_arming_policy(Box::new(Half { start }));
    window(&mut monitor);
    for _ in 0..5 {
        target.ask(&format!("write {start} {PAGES} 1"));
        let window = window(&mut monitor);
        assert_true(&window, start, &(0..PAGES).collect());
    }
    let last = {
        target.ask(&format!("write {start} {PAGES} 1"));
        window(&mut monitor)
    };
    assert_eq!(of(&last.written, start), (0..PAGES / 2).collect());
    assert_eq!(of(&last.unseen, start), (PAGES / 2..PAGES).collect());
    monitor.detach().expect("detached");
    assert_untouched(target.pid());
}
