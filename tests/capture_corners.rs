//! Memory that is written when nobody expects it, or where nobody can see it.

#![allow(unsafe_code)]

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use memory_glass::capture::LostFeature;
use nix::libc;
use support::{PAGE, Target, assert_untouched, exact, pages, window, within};

const PAGES: u64 = 256;
const LENGTH: u64 = PAGES * PAGE;

/// Writes one byte of every seventh page of another process.
fn write_from_outside(pid: u32, start: u64) -> Vec<u64> {
    let written: Vec<u64> = (0..PAGES).step_by(7).collect();
    for page in &written {
        let byte = 1_u8;
        let ours = libc::iovec { iov_base: (&raw const byte).cast_mut().cast(), iov_len: 1 };
        let theirs = libc::iovec { iov_base: (start + page * PAGE) as *mut _, iov_len: 1 };
        // SAFETY: reads one byte of ours; the other side is the target's.
        let done =
            unsafe { libc::process_vm_writev(pid as i32, &raw const ours, 1, &raw const theirs, 1, 0) };
        assert_eq!(done, 1, "{}", std::io::Error::last_os_error());
    }
    written
}

#[test]
fn a_target_that_sleeps_and_is_written_by_others_is_seen_in_every_window() {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} {PAGES} 1"));
    let mut monitor = exact(target.pid());
    // Until it is known to be silent.
    for _ in 0..3 {
        window(&mut monitor);
    }
    let expected = write_from_outside(target.pid(), start);
    let patience = Instant::now();
    loop {
        let found = pages(&within(&window(&mut monitor), start, LENGTH), start);
        if found == expected {
            break;
        }
        assert!(found.is_empty(), "all or nothing of it: {found:?}");
        assert!(patience.elapsed() < Duration::from_secs(30), "writes of others are never seen");
        std::thread::sleep(Duration::from_millis(10));
    }
    for at in 0..20 {
        let expected = write_from_outside(target.pid(), start);
        let found = pages(&within(&window(&mut monitor), start, LENGTH), start);
        assert_eq!(found, expected, "window {at}");
        assert_eq!(within(&window(&mut monitor), start, LENGTH), [], "window {at}: nobody has written");
    }
    drop(monitor);
    assert_untouched(target.pid());
}

/// The right to write is taken away again before anybody looks at the table of mappings.
#[test]
fn what_may_be_written_for_a_moment_only_is_watched() {
    for (kind, protected_before) in
        [("mmap", true), ("mmap", false), ("mmap-shared", true), ("mmap-shared", false), ("mmap-self", false)]
    {
        let mut target = Target::start("obey");
        let start = target.ask(&format!("{kind} {LENGTH}"));
        target.ask(&format!("small {start} {LENGTH}"));
        target.ask(&format!("fill {start} {PAGES}"));
        target.ask(&format!("write {start} {PAGES} 1"));
        if protected_before {
            target.ask(&format!("patch {start} {PAGES}"));
        }
        let mut monitor = exact(target.pid());
        window(&mut monitor);
        for at in 0..5 {
            assert_eq!(target.ask(&format!("patch {start} {PAGES}")), 0);
            let found = pages(&within(&window(&mut monitor), start, LENGTH), start);
            assert_eq!(found, (0..PAGES).step_by(2).collect::<Vec<_>>(), "{kind}, window {at}");
            // The table is read again meanwhile.
            std::thread::sleep(Duration::from_millis(120));
            assert_eq!(
                within(&window(&mut monitor), start, LENGTH),
                [],
                "{kind}, window {at}: nothing was written"
            );
        }
        drop(monitor);
        assert_untouched(target.pid());
    }
}

#[test]
fn a_file_is_watched_whatever_its_name_and_what_cannot_be_seen_is_named() {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap-named {LENGTH}"));
    if start == 0 {
        eprintln!("skipped: no file can be made in /dev");
        return;
    }
    target.ask(&format!("write {start} {PAGES} 1"));
    let mut monitor = exact(target.pid());
    window(&mut monitor);
    target.ask(&format!("write {start} {} 3", PAGES / 3));
    let found = pages(&within(&window(&mut monitor), start, LENGTH), start);
    assert_eq!(found, (0..PAGES / 3).map(|page| 3 * page).collect::<Vec<_>>());
    assert!(monitor.unwatched_regions().iter().all(|left| left.region.start != start));
    let pinned = |lost: Vec<LostFeature>| {
        lost.into_iter().filter(|lost| lost.what == "writes into pinned memory").collect::<Vec<_>>()
    };
    assert!(pinned(monitor.lost()).is_empty());
    let buffer = target.ask(&format!("mmap {LENGTH}"));
    if target.ask(&format!("pin {buffer} {LENGTH}")) != 0 {
        eprintln!("skipped: io_uring is not to be had here");
        return;
    }
    let lost = pinned(monitor.lost());
    assert!(lost.len() == 1 && lost[0].reason.starts_with("1024 KiB are pinned"), "{lost:?}");
    drop(monitor);
    let directory = tempfile::tempdir().expect("made");
    let recorded = Command::new(env!("CARGO_BIN_EXE_memory-glass"))
        .args(["record", &target.pid().to_string(), "--seconds", "0.3", "--json", "-o"])
        .arg(directory.path().join("corners.mgr"))
        .output()
        .expect("run");
    let words = String::from_utf8_lossy(&recorded.stdout);
    assert!(words.contains("1024 KiB are pinned"), "{words}{}", String::from_utf8_lossy(&recorded.stderr));
}
