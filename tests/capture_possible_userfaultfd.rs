//! A program that can make a userfaultfd, as its file shows, has the use of it whenever it likes.
//!
//! This test binary is such a program: it plays the targets, and the next function is in it.

#![allow(unsafe_code)]

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use memory_glass::capture::{self, RegionKind, Unwatched};
use nix::libc;
use support::{PAGE, Target, exact, pages, window, within};

const LENGTH: u64 = 4 << 20;

/// Makes a userfaultfd as programs do.
#[inline(never)]
fn make_userfaultfd() -> bool {
    // SAFETY: the call takes one integer, and its descriptor is closed.
    unsafe {
        let made = libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | 1);
        made >= 0 && libc::close(made as i32) == 0
    }
}

/// Opens one, registers memory, and closes it: the kernel's answers to so many registrations while the other
/// program runs.
fn register_now_and_then(target: &mut Target, start: u64, running: impl FnMut() -> bool) -> Vec<u64> {
    let mut running = running;
    let mut answers = Vec::new();
    while running() {
        let uffd = target.ask("uffd");
        answers.push(target.ask(&format!("uffd-register {uffd} {start} {LENGTH}")));
        assert_eq!(target.ask(&format!("close {uffd}")), 0);
        std::thread::sleep(Duration::from_millis(50));
    }
    answers
}

/// 4 MiB in small pages, all written.
fn with_memory(target: &mut Target) -> u64 {
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} {} 1", LENGTH / PAGE));
    start
}

/// Has the program look at a target that registers memory all the time.
fn assert_never_refused(mut target: Target) {
    let start = with_memory(&mut target);
    let mut watch = Command::new(env!("CARGO_BIN_EXE_memory-glass"))
        .args(["snapshot", &target.pid().to_string(), "--seconds", "2", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let answers =
        register_now_and_then(&mut target, start, || watch.try_wait().expect("our own child").is_none());
    assert!(answers.len() > 3 && answers.iter().all(|answer| *answer == 0), "{answers:?}");
    let output = watch.wait_with_output().expect("our own child");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let told = report["not_watched"].to_string();
    assert!(
        told.contains("can make a userfaultfd of its own") && told.contains("--watch-own-userfaultfd"),
        "{report}"
    );
}

#[test]
fn what_it_registers_for_a_moment_is_never_refused() {
    assert!(make_userfaultfd(), "this kernel has them");
    assert_never_refused(Target::start("obey"));
}

/// Its file has no name that we could open: only who attaches sees it.
#[test]
fn nor_where_it_is_in_a_mount_namespace_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--",
        "sh",
        "-c",
        "mount -t tmpfs none \"$1\" && cp \"$0\" \"$1/program\" && exec \"$1/program\"",
    ]);
    command
        .arg(std::env::current_exe().expect("it has a path"))
        .arg(folder.path())
        .env(support::ROLE, "obey");
    let mut target = Target::start_quietly(&mut command);
    if target.line() != "ready" {
        println!("skipped: no mount namespace can be made here");
        return;
    }
    assert_never_refused(target);
}

#[test]
fn it_is_watched_where_that_is_asked_for_and_until_it_has_one() {
    let mut target = Target::start("obey");
    let start = with_memory(&mut target);
    {
        let mut monitor = exact(target.pid());
        window(&mut monitor);
        let left = monitor
            .unwatched_regions()
            .iter()
            .find(|left| (left.region.start..left.region.end).contains(&start));
        assert_eq!(left.map(|left| left.why), Some(Unwatched::PossibleUserfaultfd));
        // What it could not register is watched.
        assert!(monitor.regions().iter().any(|region| region.kind() == RegionKind::FilePrivate));
        assert!(monitor.lost().iter().any(|lost| lost.reason.contains("capture_possible_userfaultfd")));
    }
    capture::watch_own_userfaultfd(true);
    let mut monitor = exact(target.pid());
    target.ask(&format!("write {start} 3 2"));
    assert_eq!(pages(&within(&window(&mut monitor), start, LENGTH), start), [0, 2, 4]);
    let uffd = target.ask("uffd");
    let begun = Instant::now();
    while target.ask(&format!("uffd-register {uffd} {start} {LENGTH}")) != 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it has one, and is refused");
        window(&mut monitor);
        std::thread::sleep(Duration::from_millis(10));
    }
    let left =
        monitor.unwatched_regions().iter().find(|left| (left.region.start..left.region.end).contains(&start));
    assert_eq!(left.map(|left| left.why), Some(Unwatched::OwnUserfaultfd));
}
