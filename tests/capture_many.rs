//! Targets with tens of thousands of mappings: a window holds what was written in it, however they lie.

#![allow(unsafe_code)]

mod support;

use std::time::{Duration, Instant};

use memory_glass::capture::{GlassRamMonitor, PageRange, Window};
use nix::sys::uio::{RemoteIoVec, process_vm_writev};
use nix::unistd::Pid;
use support::laid::Laid;
use support::{PAGE, Target, exact, window};

/// Rows of the table of mappings: more than are gone over whole each time.
const ROWS: u64 = 20_000;

/// How long a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);

struct Many {
    target: Target,
    laid: Laid,
    count: u64,
    base: u64,
}

impl Many {
    fn start(laid: Laid) -> Self {
        let mut target = Target::start("obey");
        let count = ROWS / laid.rows();
        let kind = Laid::ALL.iter().position(|known| *known == laid).expect("one of them");
        let base = target.ask(&format!("lay {kind} {count}"));
        Self { target, laid, count, base }
    }

    fn touch(&mut self, first: u64, count: u64, step: u64) {
        self.target.ask(&format!("touch {first} {count} {step}"));
    }

    fn page(&self, at: u64) -> PageRange {
        let start = self.base + at * self.laid.stride();
        PageRange::new(start, start + PAGE)
    }

    /// Whether this one is in the window.
    fn is_in(&self, window: &Window, at: u64) -> bool {
        let page = self.page(at);
        let behind = window.written.partition_point(|range| range.end <= page.start);
        window.written.get(behind).is_some_and(|range| range.intersection(&page) == Some(page))
    }

    /// Those of the mappings that are in the window.
    fn all_in(&self, window: &Window) -> Vec<u64> {
        (0..self.count).filter(|at| self.is_in(window, *at)).collect()
    }

    /// Has this one written until a window shows it.
    fn is_seen_in_time(&mut self, monitor: &mut GlassRamMonitor, at: u64) {
        let begun = Instant::now();
        loop {
            self.touch(at, 1, 1);
            let found = window(monitor);
            if self.is_in(&found, at) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "{:?}: mapping {at} is never seen", self.laid);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn windows_hold_what_was_written_in_tens_of_thousands_of_mappings() {
    for laid in Laid::ALL {
        let mut many = Many::start(laid);
        let mut monitor = exact(many.target.pid());
        // What came before, and marks in shared memory.
        for _ in 0..3 {
            window(&mut monitor);
        }
        for turn in 0..40 {
            // Near each other, and all over.
            let (count, step) = if turn % 4 == 3 { (60, many.count / 60 - 1) } else { (60, 1) };
            let first = turn * 131 % (many.count - count * step);
            many.touch(first, count, step);
            let found = window(&mut monitor);
            let expected: Vec<u64> = (0..count).map(|at| first + at * step).collect();
            assert_eq!(many.all_in(&found), expected, "{laid:?}, window {turn}");
        }
        drop(monitor);
    }
}

#[test]
fn a_mapping_that_takes_anothers_place_among_them_is_watched_in_time() {
    for laid in Laid::ALL {
        let mut many = Many::start(laid);
        let mut monitor = exact(many.target.pid());
        window(&mut monitor);
        for at in [7, many.count / 2, many.count - 3] {
            many.target.ask(&format!("lay-again {at}"));
            many.is_seen_in_time(&mut monitor, at);
            many.is_seen_in_time(&mut monitor, at);
        }
        // One that goes, and comes back.
        let at = many.count / 3;
        many.target.ask(&format!("take-away {at}"));
        window(&mut monitor);
        many.target.ask(&format!("lay-again {at}"));
        many.is_seen_in_time(&mut monitor, at);
    }
}

#[test]
fn what_others_write_into_one_of_them_is_found_soon() {
    for laid in [Laid::Shared, Laid::Guarded] {
        let mut many = Many::start(laid);
        let mut monitor = exact(many.target.pid());
        for _ in 0..5 {
            many.touch(100, 20, 1);
            window(&mut monitor);
        }
        for at in [5, many.count / 2, many.count - 9] {
            let page = many.page(at);
            let remote = [RemoteIoVec { base: page.start as usize, len: 8 }];
            let pid = Pid::from_raw(many.target.pid() as i32);
            let written = process_vm_writev(pid, &[std::io::IoSlice::new(&[1; 8])], &remote);
            assert_eq!(written.expect("our own child"), 8);
            let begun = Instant::now();
            // The target goes on meanwhile.
            loop {
                many.touch(100, 20, 1);
                let found = window(&mut monitor);
                if many.is_in(&found, at) {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{laid:?}: mapping {at} is never seen");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
