//! What the target does to its own memory and life while it is watched.

#![allow(unsafe_code)]

mod support;

use std::time::{Duration, Instant};

use memory_glass::GlassRamError;
use memory_glass::capture::{
    CaptureEvent, ExitReason, GlassRamMonitor, MonitorConfig, PageRange, ProcessAttach, RegionKind, Rung,
    Window,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::work::Worker;
use support::{PAGE, Target, assert_untouched, exact, pages, status, window, within};

const LENGTH: u64 = 4 << 20;
const PAGES: u64 = LENGTH / PAGE;

/// A watched target with 4 MiB in small pages, all written, and one window behind it.
fn watched() -> (Target, GlassRamMonitor, u64) {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} {PAGES} 1"));
    let mut monitor = exact(target.pid());
    assert!(window(&mut monitor).regions.is_some(), "the first window names the regions");
    (target, monitor, start)
}

/// The pages of the range that the next window names.
fn written(monitor: &mut GlassRamMonitor, start: u64, length: u64) -> Vec<u64> {
    pages(&within(&window(monitor), start, length), start)
}

fn covers(window: &Window, start: u64) -> bool {
    let regions = window.regions.as_ref().expect("the regions have changed");
    regions.iter().any(|region| (region.start..region.end).contains(&start))
}

#[test]
fn a_new_mapping_is_found_with_what_was_written_to_it_before_it_was() {
    let (mut target, mut monitor, _) = watched();
    let new = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {new} {LENGTH}"));
    target.ask(&format!("write {new} 10 2"));
    let first = window(&mut monitor);
    assert!(covers(&first, new));
    assert_eq!(pages(&within(&first, new, LENGTH), new), (0..10).map(|page| page * 2).collect::<Vec<_>>());
    target.ask(&format!("write {new} 3 1"));
    assert_eq!(written(&mut monitor, new, LENGTH), [0, 1, 2]);
}

#[test]
fn an_unmapped_part_disappears_and_the_rest_stays_exact() {
    let (mut target, mut monitor, start) = watched();
    target.ask(&format!("munmap {} {}", start + 100 * PAGE, 50 * PAGE));
    target.ask(&format!("write {} 5 1", start + 200 * PAGE));
    let after = window(&mut monitor);
    assert!(!covers(&after, start + 120 * PAGE) && covers(&after, start + 200 * PAGE));
    assert_eq!(pages(&within(&after, start, LENGTH), start), [200, 201, 202, 203, 204]);
}

#[test]
fn a_mapping_replaced_in_its_place_is_followed() {
    let (mut target, mut monitor, start) = watched();
    let at = start + 300 * PAGE;
    target.ask(&format!("munmap {at} {}", 20 * PAGE));
    assert_eq!(target.ask(&format!("mmap-at {at} {}", 20 * PAGE)), at);
    target.ask(&format!("write {at} 4 5"));
    assert_eq!(written(&mut monitor, at, 20 * PAGE), [0, 5, 10, 15]);
    target.ask(&format!("write {at} 2 1"));
    assert_eq!(written(&mut monitor, at, 20 * PAGE), [0, 1]);
    // The whole mapping at once: its place in the table looks as before.
    target.ask(&format!("mmap-at {start} {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} 3 7"));
    assert_eq!(written(&mut monitor, start, LENGTH), [0, 7, 14]);
}

#[test]
fn the_growing_heap_is_followed() {
    let (mut target, mut monitor, _) = watched();
    let end = target.ask(&format!("brk {}", 64 * PAGE)).next_multiple_of(PAGE);
    target.ask(&format!("write {end} 10 3"));
    let grown = window(&mut monitor);
    assert!(covers(&grown, end));
    assert_eq!(pages(&within(&grown, end, 40 * PAGE), end), (0..10).map(|page| page * 3).collect::<Vec<_>>());
    target.ask(&format!("write {end} 2 1"));
    assert_eq!(written(&mut monitor, end, 40 * PAGE), [0, 1]);
    assert!(monitor.regions().iter().any(|region| region.kind() == RegionKind::Heap));
}

#[test]
fn a_moved_mapping_is_followed_at_its_new_place() {
    let (mut target, mut monitor, start) = watched();
    let place = target.ask(&format!("mmap {LENGTH}"));
    window(&mut monitor);
    assert_eq!(target.ask(&format!("move {start} {LENGTH} {place}")), place);
    let moved = window(&mut monitor);
    assert!(!covers(&moved, start) && covers(&moved, place));
    // The kernel forgot the marks with the move, so everything counts as written at its new place, once.
    assert_eq!(within(&moved, place, LENGTH).len(), 1);
    target.ask(&format!("write {place} 5 9"));
    assert_eq!(written(&mut monitor, place, LENGTH), [0, 9, 18, 27, 36]);
}

#[test]
fn a_mapping_that_grows_is_followed() {
    let (mut target, mut monitor, start) = watched();
    let start = target.ask(&format!("mremap {start} {LENGTH} {}", 2 * LENGTH));
    window(&mut monitor);
    target.ask(&format!("small {start} {}", 2 * LENGTH));
    window(&mut monitor);
    target.ask(&format!("write {start} 2 {PAGES}"));
    assert_eq!(written(&mut monitor, start, 2 * LENGTH), [0, PAGES]);
}

#[test]
fn memory_given_back_and_written_anew_is_reported_page_by_page() {
    let (mut target, mut monitor, start) = watched();
    target.ask(&format!("dontneed {start} {}", 100 * PAGE));
    assert_eq!(written(&mut monitor, start, LENGTH), [0; 0], "giving back is not writing");
    target.ask(&format!("write {start} 4 11"));
    assert_eq!(written(&mut monitor, start, LENGTH), [0, 11, 22, 33]);
}

#[test]
fn the_first_touch_of_fresh_memory_counts_only_if_it_writes() {
    let (mut target, mut monitor, _) = watched();
    let fresh = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {fresh} {LENGTH}"));
    assert_eq!(written(&mut monitor, fresh, LENGTH), [0; 0]);
    target.ask(&format!("read {fresh} 100 1"));
    assert_eq!(written(&mut monitor, fresh, LENGTH), [0; 0], "a read maps the zero page");
    target.ask(&format!("write {fresh} 3 70"));
    assert_eq!(written(&mut monitor, fresh, LENGTH), [0, 70, 140]);
}

#[test]
fn reading_a_private_file_is_not_writing() {
    let (mut target, mut monitor, _) = watched();
    let file = target.ask(&format!("mmap-self {}", 64 * PAGE));
    target.ask(&format!("read {file} 64 1"));
    assert_eq!(written(&mut monitor, file, 64 * PAGE), [0; 0]);
    target.ask(&format!("write {file} 3 10"));
    assert_eq!(written(&mut monitor, file, 64 * PAGE), [0, 10, 20]);
    target.ask(&format!("write {file} 1 1"));
    assert_eq!(written(&mut monitor, file, 64 * PAGE), [0]);
}

#[test]
fn reading_shared_memory_for_the_first_time_is_not_writing() {
    let mut target = Target::start("obey");
    let shared = target.ask(&format!("mmap-shared {}", 256 * PAGE));
    target.ask(&format!("write {shared} 16 1"));
    let mut monitor = exact(target.pid());
    assert_eq!(written(&mut monitor, shared, 256 * PAGE), [0; 0]);
    target.ask(&format!("read {shared} 128 1"));
    assert_eq!(written(&mut monitor, shared, 256 * PAGE), [0; 0]);
    target.ask(&format!("write {shared} 4 50"));
    assert_eq!(written(&mut monitor, shared, 256 * PAGE), [0, 50, 100, 150]);
    // A shared mapping that appears later.
    let later = target.ask(&format!("mmap-shared {}", 256 * PAGE));
    target.ask(&format!("write {later} 2 1"));
    assert_eq!(written(&mut monitor, later, 256 * PAGE), [0, 1]);
    target.ask(&format!("read {later} 128 1"));
    assert_eq!(written(&mut monitor, later, 256 * PAGE), [0; 0]);
    target.ask(&format!("write {later} 1 1"));
    assert_eq!(written(&mut monitor, later, 256 * PAGE), [0]);
}

#[test]
fn what_the_kernel_writes_for_the_target_counts_too() {
    let (mut target, mut monitor, start) = watched();
    assert_eq!(target.ask(&format!("fill {} 8", start + 16 * PAGE)), 8 * PAGE);
    assert_eq!(written(&mut monitor, start, LENGTH), (16..24).collect::<Vec<_>>());
}

#[test]
fn a_fork_disturbs_neither_side_and_the_child_can_be_watched_too() {
    let (mut target, mut monitor, start) = watched();
    let child = target.ask("fork") as u32;
    let forked = window(&mut monitor).forked;
    assert!(forked == [child] || !monitor.lost().is_empty(), "{forked:?}, not {child}");
    target.ask(&format!("write {start} 5 3"));
    assert_eq!(written(&mut monitor, start, LENGTH), [0, 3, 6, 9, 12], "copy on write is writing");
    let mut of_child = monitor.handle_fork(child).expect("attached to the child");
    assert_eq!(of_child.target().pid, child);
    assert_eq!(written(&mut of_child, start, LENGTH), [0; 0]);
    of_child.detach().expect("detached");
    assert_untouched(child);
    assert_eq!(target.ask(&format!("reap {child}")), u64::from(child));
    assert_untouched(target.pid());
}

#[test]
fn a_fork_that_is_followed_is_told_at_once_and_before_its_window() {
    let (mut target, monitor, _) = watched();
    drop(monitor);
    let window = Duration::from_secs(5);
    for follow_forks in [true, false] {
        let config = MonitorConfig { window, follow_forks, ..MonitorConfig::exact() };
        let monitor = GlassRamMonitor::with_config(target.pid(), config).expect("attached");
        let mut events = calloop::EventLoop::<Vec<CaptureEvent>>::try_new().expect("a loop");
        events.handle().insert_source(monitor, |event, _, seen| seen.push(event)).expect("inserted");
        let child = target.ask("fork") as u32;
        let (mut seen, begun) = (Vec::new(), Instant::now());
        while seen.is_empty() && begun.elapsed() < Duration::from_secs(20) {
            events.dispatch(Duration::from_millis(10), &mut seen).expect("dispatched");
        }
        match (follow_forks, seen.first()) {
            (true, Some(CaptureEvent::Forked(told))) => assert_eq!(*told, child),
            (false, Some(CaptureEvent::Window(window))) => assert_eq!(window.forked, [child]),
            other => panic!("{other:?}"),
        }
        drop(events);
        assert_eq!(target.ask(&format!("reap {child}")), u64::from(child));
    }
    assert_untouched(target.pid());
}

#[test]
fn an_exec_ends_the_watch_and_says_so() {
    let (mut target, mut monitor, _) = watched();
    target.say("exec");
    let patience = Instant::now();
    while status(target.pid(), "Name") != "sleep" {
        assert!(patience.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(monitor.scan().expect("scanned"), CaptureEvent::Exited(ExitReason::Executed));
    drop(monitor);
    assert_untouched(target.pid());
    drop(GlassRamMonitor::new(target.pid()).expect("the new program can be attached to"));
}

/// Whoever follows forks would give it up.
#[test]
fn a_process_that_is_executing_another_program_is_not_taken_for_one_that_has_ended() {
    let script = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(script.path(), "exec sh \"$0\"").expect("written");
    let mut restless = std::process::Command::new("sh").arg(script.path()).spawn().expect("sh is there");
    let pid = restless.id();
    for _ in 0..500 {
        match ProcessAttach::attach_by(pid, Rung::WpAsync) {
            Err(error @ GlassRamError::ProcessNotFound { .. }) => panic!("it lives: {error}"),
            attached => drop(attached),
        }
    }
    assert!(restless.try_wait().expect("ours").is_none(), "it goes on");
    restless.kill().expect("ours");
    restless.wait().expect("ours");
    assert!(matches!(
        ProcessAttach::attach_by(pid, Rung::WpAsync),
        Err(GlassRamError::ProcessNotFound { .. })
    ));
}

#[test]
fn an_exit_ends_the_watch_and_says_so() {
    let (mut target, mut monitor, _) = watched();
    target.say("exit");
    target.wait();
    assert_eq!(monitor.scan().expect("scanned"), CaptureEvent::Exited(ExitReason::Ended));
    monitor.detach().expect("nothing left to detach from");
}

#[test]
fn a_stopped_target_stays_stopped() {
    let worker = Worker::start(4, "sleep");
    let pid = worker.target.pid();
    let signal = |signal| kill(Pid::from_raw(pid as i32), signal).expect("sent");
    signal(Signal::SIGSTOP);
    let state = |wanted: char| {
        let patience = Instant::now();
        while !status(pid, "State").starts_with(wanted) {
            assert!(patience.elapsed() < Duration::from_secs(20), "{}", status(pid, "State"));
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    state('T');
    let mut monitor = exact(pid);
    state('T');
    let before = worker.rounds();
    window(&mut monitor);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(worker.rounds(), before, "it ran while it was stopped");
    monitor.detach().expect("detached");
    assert_untouched(pid);
    state('T');
    signal(Signal::SIGCONT);
    worker.assert_alive();
    worker.assert_right();
}

#[test]
fn huge_pages_are_whole_again_after_the_watch() {
    const HUGE: u64 = 2 << 20;
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {}", 9 * HUGE)).next_multiple_of(HUGE);
    target.ask(&format!("huge {start} {}", 8 * HUGE));
    target.ask(&format!("write {start} {} 1", 8 * HUGE / PAGE));
    let rollup = format!("/proc/{}/smaps_rollup", target.pid());
    let huge = || support::status_of(&rollup, "AnonHugePages");
    let kib = |text: &str| -> u64 { text.trim_end_matches(" kB").parse().expect("a number") };
    let before = huge();
    if before == "0 kB" {
        eprintln!("this machine makes no huge pages: nothing to see");
        return;
    }
    let mut monitor = exact(target.pid());
    window(&mut monitor);
    target.ask(&format!("write {} 3 {}", start + 5 * PAGE, HUGE / PAGE));
    // Exact to the page although the pages are huge.
    assert_eq!(written(&mut monitor, start, 8 * HUGE), [5, 5 + 512, 5 + 1024]);
    assert_eq!(kib(&before) - kib(&huge()), 3 * HUGE / 1024, "only those that were written are split");
    window(&mut monitor);
    assert_eq!(kib(&before) - kib(&huge()), 3 * HUGE / 1024, "and no more of them later");
    monitor.detach().expect("detached");
    assert_eq!(huge(), before);
}

/// Pages of a pool are written as a whole, as far as anyone can see.
#[test]
fn a_page_of_a_hugetlb_pool_counts_as_written_whole() {
    const HUGE: u64 = 2 << 20;
    let free = support::status_of("/proc/meminfo", "HugePages_Free");
    if free.parse::<u64>().is_ok_and(|free| free < 4) {
        eprintln!("this machine has no pool of huge pages: nothing to see");
        return;
    }
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap-hugetlb {}", 4 * HUGE));
    target.ask(&format!("write {start} 4 512"));
    let mut monitor = exact(target.pid());
    let first = window(&mut monitor);
    let region = first.regions.iter().flat_map(|regions| regions.iter()).find(|region| region.start == start);
    assert_eq!(region.expect("watched").kind(), RegionKind::HugeTlb);
    assert_eq!(within(&window(&mut monitor), start, 4 * HUGE), []);
    target.ask(&format!("write {} 1 1", start + HUGE + 7 * PAGE));
    let second = PageRange::new(start + HUGE, start + 2 * HUGE);
    assert_eq!(within(&window(&mut monitor), start, 4 * HUGE), [second]);
    assert_eq!(within(&window(&mut monitor), start, 4 * HUGE), []);
    monitor.detach().expect("detached");
    assert_untouched(target.pid());
}

/// A program that gets another user's rights takes none of ours along: the watch ends, and says so.
#[test]
fn an_exec_of_a_set_uid_program_ends_the_watch_and_says_so() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if nix::unistd::geteuid().as_raw() != 0 {
        eprintln!("only root makes programs set-uid root");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("sleep");
    std::fs::copy("/bin/sleep", &program).expect("copied");
    let rights = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("ours");
    };
    rights(directory.path(), 0o755);
    rights(&program, 0o4755);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "read line; exec \"$0\" 60"]).arg(&program).uid(65534).gid(65534);
    let mut target = Target::start_quietly(&mut shell);
    let patience = Instant::now();
    while status(target.pid(), "State").starts_with('R') {
        assert!(patience.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut monitor = exact(target.pid());
    window(&mut monitor);
    assert!(status(target.pid(), "Uid").starts_with("65534\t65534"));
    target.say("go");
    while status(target.pid(), "Name") != "sleep" {
        assert!(patience.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(status(target.pid(), "Uid").starts_with("65534\t0"), "it has another user's rights now");
    assert_eq!(monitor.scan().expect("scanned"), CaptureEvent::Exited(ExitReason::Executed));
    drop(monitor);
    assert_untouched(target.pid());
}

#[test]
fn as_an_event_source_it_reports_windows_and_the_end() {
    let (mut target, monitor, _) = watched();
    drop(monitor);
    let config = MonitorConfig { window: Duration::from_millis(5), ..MonitorConfig::exact() };
    let monitor = GlassRamMonitor::with_config(target.pid(), config).expect("attached");
    let mut events = calloop::EventLoop::<Vec<CaptureEvent>>::try_new().expect("a loop");
    events.handle().insert_source(monitor, |event, _, seen| seen.push(event)).expect("inserted");
    let mut seen = Vec::new();
    while seen.len() < 5 {
        events.dispatch(None, &mut seen).expect("dispatched");
    }
    // A loop that was held up gets one window for the whole time, not one for each missed period.
    std::thread::sleep(Duration::from_millis(60));
    let held_up = seen.len();
    events.dispatch(Duration::ZERO, &mut seen).expect("dispatched");
    assert_eq!(seen.len(), held_up + 1);
    let windows: Vec<&Window> = seen
        .iter()
        .map(|event| match event {
            CaptureEvent::Window(window) => window,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(windows[held_up].length >= Duration::from_millis(60));
    for (index, pair) in (1..).zip(windows.windows(2)) {
        assert_eq!(pair[1].index, index);
        assert_eq!(
            pair[0].started + pair[0].length,
            pair[1].started,
            "windows follow one another without a gap"
        );
    }
    target.say("exit");
    while matches!(seen.last(), Some(CaptureEvent::Window(_))) {
        events.dispatch(None, &mut seen).expect("dispatched");
    }
    assert_eq!(seen.last(), Some(&CaptureEvent::Exited(ExitReason::Ended)));
}

#[test]
fn the_cost_is_estimated_from_the_faults() {
    let (mut target, mut monitor, start) = watched();
    for _ in 0..20 {
        target.ask(&format!("write {start} {PAGES} 1"));
        window(&mut monitor);
    }
    let cost = monitor.target_metrics();
    assert!(cost.overhead_percent > 0.0 && cost.lost_ms_per_second > 0.0, "{cost:?}");
    // A target that mostly waits is slowed down in its own work by more than what a processor loses, if it is
    // known by how much.
    let factor = cost.slow_down_factor;
    assert!(factor.is_nan() || cost.overhead_percent / 100.0 <= factor - 1.0, "{cost:?}");
    assert!(factor.is_nan() || cost.slow_down_low <= factor && factor <= cost.slow_down_high, "{cost:?}");
    let ours = monitor.fault_metrics();
    assert!(ours.events_per_second > 0.0 && ours.peak_latency_ms >= ours.average_latency_ms, "{ours:?}");
}

#[test]
fn a_second_monitor_is_refused_in_so_many_words_and_the_first_goes_on() {
    let (mut target, mut monitor, start) = watched();
    let refused = GlassRamMonitor::new(target.pid()).expect_err("one is there already").to_string();
    assert!(refused.contains("watched already"), "{refused}");
    target.ask(&format!("write {start} 3 2"));
    assert_eq!(written(&mut monitor, start, LENGTH), [0, 2, 4]);
    drop(monitor);
    drop(exact(target.pid()));
    assert_untouched(target.pid());
}

#[test]
fn a_debugger_may_come_and_go_while_we_watch() {
    let (mut target, mut monitor, start) = watched();
    let pid = Pid::from_raw(target.pid() as i32);
    nix::sys::ptrace::attach(pid).expect("nobody traces it");
    nix::sys::wait::waitpid(pid, None).expect("it stops");
    window(&mut monitor);
    nix::sys::ptrace::cont(pid, None).expect("it goes on");
    target.ask(&format!("write {start} 4 3"));
    assert_eq!(written(&mut monitor, start, LENGTH), [0, 3, 6, 9]);
    kill(pid, Signal::SIGSTOP).expect("sent");
    nix::sys::wait::waitpid(pid, None).expect("it stops");
    monitor.detach().expect("detached while it is traced");
    nix::sys::ptrace::detach(pid, None).expect("let go");
    assert_untouched(target.pid());
    assert_eq!(target.ask(&format!("read {start} 1 1")), 2);
}

#[test]
fn a_child_that_borrows_the_memory_until_it_executes_disturbs_nothing() {
    let (mut target, mut monitor, start) = watched();
    target.ask(&format!("write {start} 2 5"));
    assert_eq!(target.ask("spawn"), 0, "the child has run and ended well");
    let window = window(&mut monitor);
    assert_eq!(pages(&within(&window, start, LENGTH), start), [0, 5]);
    assert!(window.forked.len() == 1 || !monitor.lost().is_empty(), "{:?}", window.forked);
    target.ask(&format!("write {start} 1 1"));
    assert_eq!(written(&mut monitor, start, LENGTH), [0]);
}

/// From inside its container it has another number; from here it is a process like any other.
#[test]
fn a_process_in_a_container_is_watched_by_its_number_out_here() {
    let mut unshare = std::process::Command::new("unshare");
    unshare.args(["--pid", "--mount-proc", "--fork", "--kill-child"]);
    unshare.args(["sh", "-c", "echo $$; while :; do a=$a.; [ ${#a} -gt 99999 ] && a=; done"]);
    if nix::unistd::geteuid().as_raw() != 0 {
        eprintln!("only root makes containers here");
        return;
    }
    let mut outer = Target::start_quietly(&mut unshare);
    assert_eq!(outer.line(), "1", "its own number of itself");
    let children = format!("/proc/{0}/task/{0}/children", outer.pid());
    let inner = std::fs::read_to_string(children).expect("the kernel lists children");
    let inner: u32 = inner.trim().parse().expect("one child");
    let mut monitor = exact(inner);
    let patience = Instant::now();
    while window(&mut monitor).written.is_empty() {
        assert!(patience.elapsed() < Duration::from_secs(20), "a shell that works writes");
        std::thread::sleep(Duration::from_millis(10));
    }
    monitor.detach().expect("detached");
    assert_untouched(inner);
}

#[test]
fn a_program_is_watched_from_its_first_instruction() {
    use memory_glass::capture::birth;
    let mut command = std::process::Command::new("sleep");
    command.arg("60");
    birth::hold(&mut command);
    let mut child = command.spawn().expect("started");
    birth::settle(child.id()).expect("it is loaded");
    assert!(status(child.id(), "State").starts_with('T'));
    assert_eq!(status(child.id(), "TracerPid"), "0");
    let mut monitor = exact(child.id());
    let stack = |window: &Window| {
        let stack = monitor_stack(window);
        stack.map(|(start, end)| !within(window, start, end - start).is_empty())
    };
    assert_eq!(stack(&window(&mut monitor)), Some(false), "not one instruction has run");
    birth::let_run(child.id()).expect("it goes on");
    let patience = Instant::now();
    loop {
        std::thread::sleep(Duration::from_millis(5));
        // What the loader writes: its own data, and the stack.
        if !window(&mut monitor).written.is_empty() {
            break;
        }
        assert!(patience.elapsed() < Duration::from_secs(20), "the loader writes");
    }
    monitor.detach().expect("detached");
    assert!(!status(child.id(), "State").starts_with('T'));
    assert_untouched(child.id());
    child.kill().expect("ours");
    child.wait().expect("ours");
}

fn monitor_stack(window: &Window) -> Option<(u64, u64)> {
    let regions = window.regions.as_ref()?;
    let stack = regions.iter().find(|region| region.kind() == RegionKind::Stack)?;
    Some((stack.start, stack.end))
}
