//! Windows name exactly the pages that were written, for programs whose every write is known.

#![allow(unsafe_code)]

mod support;

use memory_glass::capture::GlassRamMonitor;
use support::{PAGE, Target, assert_untouched, exact, pages, window, within};

const LENGTH: u64 = 64 << 20;
const PAGES: u64 = LENGTH / PAGE;

/// A watched target with 64 MiB, every page of which it has written before.
fn watched() -> (Target, GlassRamMonitor, u64) {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} {PAGES} 1"));
    let monitor = exact(target.pid());
    (target, monitor, start)
}

#[test]
fn a_block_is_reported_whole_and_nothing_else() {
    let (mut target, mut monitor, start) = watched();
    assert_eq!(
        within(&window(&mut monitor), start, LENGTH),
        [],
        "what was written before the attach is of no window"
    );
    target.ask(&format!("write {} 1000 1", start + 5000 * PAGE));
    let first = window(&mut monitor);
    assert_eq!(pages(&within(&first, start, LENGTH), start), (5000..6000).collect::<Vec<_>>());
    assert_eq!(within(&window(&mut monitor), start, LENGTH), [], "a page is reported once for one write");
    assert_untouched(target.pid());
}

#[test]
fn a_stride_is_reported_page_by_page() {
    let (mut target, mut monitor, start) = watched();
    window(&mut monitor);
    for _ in 0..2 {
        target.ask(&format!("write {start} {} 3", PAGES / 3));
        let found = pages(&within(&window(&mut monitor), start, LENGTH), start);
        assert_eq!(found, (0..PAGES / 3).map(|page| page * 3).collect::<Vec<_>>());
    }
}

#[test]
fn a_moving_front_is_followed() {
    let (mut target, mut monitor, start) = watched();
    window(&mut monitor);
    for step in 0..20 {
        target.ask(&format!("write {} 300 1", start + step * 700 * PAGE));
        let found = pages(&within(&window(&mut monitor), start, LENGTH), start);
        assert_eq!(found, (step * 700..step * 700 + 300).collect::<Vec<_>>(), "step {step}");
    }
    drop(monitor);
    assert_untouched(target.pid());
}
