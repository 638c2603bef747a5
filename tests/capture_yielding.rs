//! What the target does with its own memory goes well, or is let go well, although it is watched.

#![allow(unsafe_code)]

mod support;

use std::time::{Duration, Instant};

use memory_glass::capture::{GlassRamMonitor, RegionKind, Unwatched, Window};
use support::{PAGE, Target, assert_untouched, exact, mappings, pages, window, within};

const LENGTH: u64 = 4 << 20;
const BLOCK: u64 = 2 << 20;

fn why(monitor: &GlassRamMonitor, address: u64) -> Option<Unwatched> {
    let of = |region: &memory_glass::capture::MemoryRegion| (region.start..region.end).contains(&address);
    monitor.unwatched_regions().iter().find(|unwatched| of(&unwatched.region)).map(|unwatched| unwatched.why)
}

/// A target with 4 MiB in small pages, all written.
fn target() -> (Target, u64) {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} {} 1", LENGTH / PAGE));
    (target, start)
}

#[test]
fn a_target_with_a_userfaultfd_of_its_own_can_use_it() {
    for before in [true, false] {
        let (mut target, start) = target();
        let mut uffd = before.then(|| target.ask("uffd"));
        let mut monitor = exact(target.pid());
        if !before {
            target.ask(&format!("write {start} 3 2"));
            assert_eq!(pages(&within(&window(&mut monitor), start, LENGTH), start), [0, 2, 4]);
            uffd = Some(target.ask("uffd"));
        }
        // Reading its descriptors may have to wait, if that took long the last time.
        let begun = Instant::now();
        let mut after = window(&mut monitor);
        while why(&monitor, start).is_none() && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
            after = window(&mut monitor);
        }
        assert!(after.writable_pages * PAGE >= LENGTH, "what is not watched is counted");
        assert_eq!(why(&monitor, start), Some(Unwatched::OwnUserfaultfd));
        let uffd = uffd.expect("opened");
        assert_eq!(target.ask(&format!("uffd-register {uffd} {start} {LENGTH}")), 0, "before: {before}");
        // What it could not register is watched on.
        assert!(monitor.regions().iter().any(|region| region.kind() == RegionKind::FilePrivate));
        let told = monitor.not_watched();
        assert!(
            told.iter().any(|told| told.bytes >= LENGTH && told.reason.contains("userfaultfd of its own"))
        );
        assert!(monitor.lost().iter().any(|lost| lost.reason.contains("userfaultfd of its own")));
        // Nor is new memory of its taken from it, although the descriptor may be closed by then.
        let new = target.ask(&format!("mmap {LENGTH}"));
        window(&mut monitor);
        assert_eq!(target.ask(&format!("uffd-register {uffd} {new} {LENGTH}")), 0);
        window(&mut monitor);
        monitor.detach().expect("detached");
    }
}

/// Waits until the kernel says of this mapping, or of any, that a userfaultfd watches it.
fn wait_until_watched(pid: u32, address: Option<u64>) {
    let begun = Instant::now();
    let is_watched = || {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap_or_default();
        let mut here = false;
        text.lines().any(|line| {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let number = |text| u64::from_str_radix(text, 16).ok();
            if let Some((start, end)) = range.and_then(|(start, end)| number(start).zip(number(end))) {
                here = address.is_none_or(|address| (start..end).contains(&address));
            }
            here && line.starts_with("VmFlags:") && line.split_whitespace().any(|flag| flag == "uw")
        })
    };
    while !is_watched() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is not watched");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Has the target register memory until the kernel takes it.
fn register_again_and_again(target: &mut Target, uffd: u64, start: u64) {
    let begun = Instant::now();
    while target.ask(&format!("uffd-register {uffd} {start} {LENGTH}")) != 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is refused as long as it is watched");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The program gives up the right to list the target's descriptors, where it runs as root: others must do it
/// for it.
#[test]
fn the_program_notices_a_userfaultfd_that_is_held_or_comes_while_it_watches() {
    std::thread::scope(|scope| {
        for before in [true, false] {
            scope.spawn(move || {
                let (mut target, start) = target();
                let held = before.then(|| target.ask("uffd"));
                let watch = std::process::Command::new(env!("CARGO_BIN_EXE_memory-glass"))
                    .args(["snapshot", &target.pid().to_string(), "--seconds", "8", "--json"])
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .expect("started");
                match held {
                    Some(uffd) => {
                        wait_until_watched(target.pid(), None);
                        assert_eq!(target.ask(&format!("uffd-register {uffd} {start} {LENGTH}")), 0);
                    }
                    None => {
                        wait_until_watched(target.pid(), Some(start));
                        let uffd = target.ask("uffd");
                        register_again_and_again(&mut target, uffd, start);
                    }
                }
                let output = watch.wait_with_output().expect("our own child");
                let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
                let told = report["not_watched"].as_array().expect("a list");
                let own = |told: &&serde_json::Value| {
                    told["reason"]
                        .as_str()
                        .is_some_and(|reason| reason.contains("has a userfaultfd of its own"))
                };
                let bytes: u64 = told.iter().filter(own).filter_map(|told| told["bytes"].as_u64()).sum();
                assert!(bytes >= LENGTH, "before: {before}: {report}");
            });
        }
    });
}

#[test]
fn a_call_that_installs_guard_pages_in_shared_memory_returns() {
    let (mut target, start) = target();
    let shared = target.ask(&format!("mmap-shared {LENGTH}"));
    target.ask(&format!("write {shared} {} 1", LENGTH / PAGE));
    let probe = target.ask(&format!("mmap-shared {PAGE}"));
    match target.ask(&format!("guard {probe} 1")) {
        0 => {}
        errno => {
            println!("skipped: this kernel has no guard pages in shared memory (error {errno})");
            return;
        }
    }
    let mut monitor = exact(target.pid());
    window(&mut monitor);
    target.say(&format!("guard {} 8", shared + 16 * PAGE));
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| target.line());
        let begun = Instant::now();
        while !answer.is_finished() && begun.elapsed() < Duration::from_secs(60) {
            window(&mut monitor);
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(answer.is_finished(), "the call spins as long as it is watched");
        answer.join().expect("it answers")
    });
    assert_eq!(answer, "0");
    // Whether the call was the reason is known a moment later.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(200) {
        window(&mut monitor);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(why(&monitor, shared), Some(Unwatched::GuardPages));
    assert!(monitor.not_watched().iter().any(|told| told.reason.contains("guard pages")));
    target.ask(&format!("write {start} 3 5"));
    assert_eq!(
        pages(&within(&window(&mut monitor), start, LENGTH), start),
        [0, 5, 10],
        "the rest is watched on"
    );
    // Another mapping in its place is another one.
    target.ask(&format!("munmap {shared} {LENGTH}"));
    window(&mut monitor);
    assert_eq!(target.ask(&format!("mmap-at {shared} {LENGTH}")), shared);
    target.ask(&format!("write {shared} 2 3"));
    assert_eq!(pages(&within(&window(&mut monitor), shared, LENGTH), shared), [0, 3]);
}

#[test]
fn guard_pages_from_before_stay_what_they_are_and_are_removed_at_once() {
    let (mut target, private) = target();
    let shared = target.ask(&format!("mmap-shared {LENGTH}"));
    target.ask(&format!("write {shared} {} 1", LENGTH / PAGE));
    let efault = nix::libc::EFAULT as u64;
    let guarded = |start: u64| start + 64 * PAGE;
    let mut kinds = vec![private];
    if target.ask(&format!("guard {} 16", guarded(private))) != 0 {
        println!("skipped: this kernel has no guard pages");
        return;
    }
    if target.ask(&format!("guard {} 16", guarded(shared))) == 0 {
        kinds.push(shared);
    }
    let mut monitor = exact(target.pid());
    for start in kinds {
        for _ in 0..3 {
            target.ask(&format!("write {start} 2 1"));
            assert_eq!(pages(&within(&window(&mut monitor), start, LENGTH), start), [0, 1]);
            assert_eq!(target.ask(&format!("readable {}", guarded(start))), efault);
        }
        // The call returns, although nobody looks, and the pages can be used and are seen.
        assert_eq!(target.ask(&format!("unguard {} 8", guarded(start))), 0);
        assert_eq!(target.ask(&format!("readable {}", guarded(start))), 0);
        window(&mut monitor);
        target.ask(&format!("write {} 8 1", guarded(start)));
        assert_eq!(pages(&within(&window(&mut monitor), start, LENGTH), start), (64..72).collect::<Vec<_>>());
        assert_eq!(target.ask(&format!("readable {}", guarded(start) + 8 * PAGE)), efault);
    }
    assert!(monitor.not_watched().iter().all(|told| !told.reason.contains("guard pages")));
    monitor.detach().expect("detached");
    assert_eq!(target.ask(&format!("readable {}", guarded(private) + 8 * PAGE)), efault);
    assert_untouched(target.pid());
}

#[test]
fn guard_pages_in_private_memory_are_no_written_ones() {
    let (mut target, start) = target();
    let mut monitor = exact(target.pid());
    window(&mut monitor);
    let errno = target.ask(&format!("guard {} 16", start + 8 * PAGE));
    if errno != 0 {
        println!("skipped: this kernel has no guard pages (error {errno})");
        return;
    }
    target.ask(&format!("write {start} 2 1"));
    assert_eq!(pages(&within(&window(&mut monitor), start, LENGTH), start), [0, 1]);
}

#[test]
fn a_reservation_that_is_made_writable_bit_by_bit_stays_one_mapping() {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("reserve {}", 64 << 20));
    target.ask(&format!("commit {start} {}", 4 * PAGE));
    target.ask(&format!("write {start} 4 1"));
    let mut monitor = exact(target.pid());
    window(&mut monitor);
    let before = mappings(target.pid());
    for step in 1..60 {
        let next = start + step * 4 * PAGE;
        assert_eq!(target.ask(&format!("commit {next} {}", 4 * PAGE)), 0);
        target.ask(&format!("write {next} 4 1"));
        let found = within(&window(&mut monitor), next, 4 * PAGE);
        assert_eq!(pages(&found, next), [0, 1, 2, 3]);
    }
    let after = mappings(target.pid());
    assert!(after <= before + 2, "{before} mappings became {after}");
    monitor.detach().expect("detached");
    assert_untouched(target.pid());
}

#[test]
fn neighbours_that_come_one_after_another_do_not_become_a_mapping_each() {
    const PIECES: u64 = 400;
    let mut target = Target::start("obey");
    let start = target.ask(&format!("reserve {}", 64 << 20));
    let mut monitor = exact(target.pid());
    window(&mut monitor);
    let before = mappings(target.pid());
    let mut growing = false;
    for piece in 0..PIECES {
        let at = start + piece * PAGE;
        assert_eq!(target.ask(&format!("mmap-at {at} {PAGE}")), at);
        target.ask(&format!("write {at} 1 1"));
        window(&mut monitor);
        growing |= why(&monitor, at) == Some(Unwatched::Growing);
    }
    let after = mappings(target.pid());
    assert!(after < before + 100, "{before} mappings became {after} by {PIECES} neighbours");
    assert!(growing, "what is not watched is named");
    let watched: u64 = monitor
        .regions()
        .iter()
        .filter_map(|region| {
            region.range().intersection(&memory_glass::capture::PageRange::new(start, start + PIECES * PAGE))
        })
        .map(|range| range.pages(PAGE))
        .sum();
    assert!(watched > PIECES * 9 / 10, "{watched} of {PIECES} pages are watched");
}

#[test]
fn many_allocating_threads_have_as_many_mappings_as_unwatched() {
    let count = |watch: bool| {
        let mut target = Target::start("obey");
        let pid = target.pid();
        let mut monitor = watch.then(|| exact(pid));
        target.say("arenas 100 40");
        std::thread::scope(|scope| {
            let answer = scope.spawn(|| target.line());
            while !answer.is_finished() {
                if let Some(monitor) = &mut monitor {
                    window(monitor);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        mappings(pid)
    };
    let (unwatched, watched) = (count(false), count(true));
    println!("{unwatched} mappings unwatched, {watched} watched");
    assert!(watched < unwatched * 3 / 2, "{watched} mappings, unwatched {unwatched}");
}

fn page_tables(pid: u32) -> u64 {
    let kib = support::status(pid, "VmPTE");
    kib.trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn untouched_shared_memory_gets_no_page_tables() {
    const GIB: u64 = 1 << 30;
    let mut target = Target::start("obey");
    let shared = target.ask(&format!("mmap-shared {}", 4 * GIB));
    for gib in 0..4 {
        target.ask(&format!("write {} 2 1", shared + gib * GIB + GIB / 2));
    }
    let before = page_tables(target.pid());
    let mut monitor = exact(target.pid());
    for _ in 0..3 {
        window(&mut monitor);
    }
    let after = page_tables(target.pid());
    assert!(after <= before + 160, "{before} KiB of page tables became {after}");
    target.ask(&format!("write {} 1 1", shared + GIB / 2 + 5 * PAGE));
    assert_eq!(pages(&within(&window(&mut monitor), shared, 4 * GIB), shared), [GIB / 2 / PAGE + 5]);
    monitor.detach().expect("detached");
    assert!(page_tables(target.pid()) <= before + 160);
}

#[test]
fn reading_through_shared_memory_is_never_shown_as_writing() {
    let mut target = Target::start("obey");
    let shared = target.ask(&format!("mmap-shared {}", 64 * BLOCK));
    let mut monitor = exact(target.pid());
    window(&mut monitor);
    let unseen = |window: &Window| {
        let all = memory_glass::capture::PageRange::new(shared, shared + 64 * BLOCK);
        let within = window.unseen.iter().filter_map(|range| range.intersection(&all));
        within.map(|range| range.pages(PAGE)).sum::<u64>()
    };
    let (mut unknown, step) = (0, 256);
    for turn in 0..64 {
        target.ask(&format!("read {} {step} 1", shared + turn * step * PAGE));
        let window = window(&mut monitor);
        assert_eq!(within(&window, shared, 64 * BLOCK), []);
        unknown += unseen(&window);
    }
    assert!(unknown < 4 * 512, "{unknown} pages of a stream were not known");
    // And where it was read, writing is seen to the page.
    target.ask(&format!("write {} 4 100", shared + 3 * PAGE));
    assert_eq!(pages(&within(&window(&mut monitor), shared, 64 * BLOCK), shared), [3, 103, 203, 303]);
    monitor.detach().expect("detached");
    assert_untouched(target.pid());
}
