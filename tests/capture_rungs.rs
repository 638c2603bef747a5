//! Every rung of the ladder that this kernel has, really run.

#![allow(unsafe_code)]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use memory_glass::GlassRamError;
use memory_glass::capture::range::intersect;
use memory_glass::capture::{
    FaultEvent, GlassRamMonitor, MonitorConfig, PageRange, Rung, UffdCapability, UffdFeatureFlags,
    UffdIoctlMode, UserfaultFd,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{PAGE, Target, assert_untouched, pages, status, userfaultfds, window, within};

const PAGES: u64 = 512;
const LENGTH: u64 = PAGES * PAGE;

/// A target with 2 MiB in small pages, all written, watched on this rung; none where the kernel lacks it.
fn watched(rung: Rung) -> Option<(Target, GlassRamMonitor, u64)> {
    if let Err(error) = rung.try_out() {
        eprintln!("not on this machine: {error}");
        return None;
    }
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} {PAGES} 1"));
    let config = MonitorConfig { rung: Some(rung), ..MonitorConfig::exact() };
    let monitor = GlassRamMonitor::with_config(target.pid(), config).expect("attached");
    assert_eq!(monitor.rung(), rung);
    assert_eq!(
        monitor.lost().is_empty(),
        rung == Rung::WpAsync,
        "what is lost is said: {:?}",
        monitor.lost()
    );
    Some((target, monitor, start))
}

/// Faults wait for the monitor on these rungs, and where it gets no processor in time the target is let go
/// and the window says so (`dropped`). On a busy machine it is tried again; an attempt says whether it was
/// left alone.
fn until_undisturbed(attempt: impl Fn() -> bool) {
    assert!((0..50).any(|_| attempt()), "in fifty attempts the monitor never had a processor in time");
}

fn of(ranges: &[PageRange], start: u64) -> BTreeSet<u64> {
    pages(&intersect(ranges, &[PageRange::new(start, start + LENGTH)]), start).into_iter().collect()
}

#[test]
fn a_rung_that_the_kernel_lacks_is_refused_with_the_reason() {
    for rung in Rung::LADDER {
        let target = Target::start("obey");
        let config = MonitorConfig { rung: Some(rung), ..MonitorConfig::exact() };
        match (rung.try_out(), GlassRamMonitor::with_config(target.pid(), config)) {
            (Ok(()), Ok(monitor)) => assert_eq!(monitor.rung(), rung),
            (Err(reason), Err(error)) => {
                assert_eq!(error, GlassRamError::from(reason), "the same reason");
            }
            (tried, attached) => panic!("{rung}: {tried:?} but {attached:?}"),
        }
        assert_untouched(target.pid());
    }
    assert_eq!(
        Rung::probe().expect("one of them"),
        Rung::LADDER.into_iter().find(|rung| rung.try_out().is_ok()).unwrap()
    );
}

/// Each event is a write to a page that was armed, by the thread that made it.
#[test]
fn synchronous_write_protection_reports_single_writes_with_their_threads() {
    let Some((mut target, mut monitor, start)) = watched(Rung::WpSync) else { return };
    let (mut events, mut seen_silent) = (0, 0);
    for round in 0..60 {
        // Every second page in turn, so that half of what is armed stays silent.
        target.ask(&format!("write {} {} 2", start + round % 2 * PAGE, PAGES / 2));
        let window = window(&mut monitor);
        let truth: BTreeSet<u64> = (0..PAGES / 2).map(|page| round % 2 + page * 2).collect();
        let (written, unseen) = (of(&window.written, start), of(&window.unseen, start));
        assert!(written.is_subset(&truth), "round {round}: reported but not written");
        let missed = truth.iter().filter(|page| !written.contains(page) && !unseen.contains(page)).count();
        assert_eq!(missed, 0, "round {round}: armed, written and not reported");
        seen_silent += (0..PAGES).filter(|page| !unseen.contains(page) && !written.contains(page)).count();
        for event in &window.events {
            let FaultEvent::PageFault { address, flags, thread_id } = event else { continue };
            assert_eq!(*flags, 3, "a write, to a protected page");
            assert_eq!(*thread_id, Some(target.pid()), "the target has one thread");
            if (start..start + LENGTH).contains(address) {
                assert!(truth.contains(&((address - start) / PAGE)));
                events += 1;
            }
        }
    }
    assert!(events > 0 && seen_silent > 0, "{events} events, {seen_silent} silent pages");
    let metrics = monitor.fault_metrics();
    assert!(metrics.average_latency_ms > 0.0 && metrics.peak_latency_ms >= metrics.average_latency_ms);
    monitor.detach().expect("detached");
    assert_untouched(target.pid());
    assert_eq!(target.ask(&format!("read {start} 1 1")), 31);
}

/// What is only reserved is not drawn from.
#[test]
fn synchronous_write_protection_finds_the_pages_of_a_huge_reservation() {
    let Some((mut target, monitor, start)) = watched(Rung::WpSync) else { return };
    drop(monitor);
    let reserved = target.ask(&format!("mmap-noreserve {}", 1u64 << 40));
    let config = MonitorConfig { rung: Some(Rung::WpSync), ..MonitorConfig::exact() };
    let mut monitor = GlassRamMonitor::with_config(target.pid(), config).expect("attached");
    assert!(monitor.regions().iter().any(|region| (region.start..region.end).contains(&reserved)));
    let mut found = 0;
    for _ in 0..200 {
        target.ask(&format!("write {start} {PAGES} 1"));
        found += of(&window(&mut monitor).written, start).len();
        if found > 0 {
            return;
        }
    }
    panic!("nothing was seen of {PAGES} pages in 200 windows");
}

/// A monitor that stands still does not hold the target beyond its bound; one that is killed does not at all.
#[test]
fn a_stopped_monitor_lets_the_target_go_in_time_and_a_dead_one_at_once() {
    let Some((mut target, monitor, start)) = watched(Rung::WpSync) else { return };
    drop(monitor);
    let pid = target.pid();
    for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
        let mut monitor = Target::start(&format!("monitor-sync {pid}"));
        let victim = Pid::from_raw(monitor.pid() as i32);
        std::thread::sleep(Duration::from_millis(20));
        kill(victim, signal).expect("it ran");
        if signal == Signal::SIGSTOP {
            let patience = Instant::now();
            while !status(monitor.pid(), "State").starts_with('T') {
                assert!(patience.elapsed().as_secs() < 20);
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // Every page, and a fork and an unmapping, which wait for the monitor as well.
        for _ in 0..3 {
            target.ask(&format!("write {start} {PAGES} 1"));
        }
        let child = target.ask("fork");
        target.ask(&format!("reap {child}"));
        let other = target.ask(&format!("mmap {LENGTH}"));
        target.ask(&format!("munmap {other} {LENGTH}"));
        let _ = kill(victim, Signal::SIGKILL);
        monitor.wait();
        assert_eq!(target.ask(&format!("write {start} {PAGES} 1")), 0);
        assert_eq!(userfaultfds(pid), 0);
    }
    // 1 at the start, and 4 writes a round.
    assert_eq!(target.ask(&format!("read {start} 1 1")), 9);
}

#[test]
fn what_the_target_does_to_its_mappings_are_events() {
    until_undisturbed(|| {
        let Some((mut target, mut monitor, start)) = watched(Rung::WpSync) else { return true };
        let (mut events, mut dropped) = (Vec::new(), 0);
        let mut look = |monitor: &mut GlassRamMonitor| {
            let window = window(monitor);
            dropped += window.dropped;
            events.extend(window.events);
        };
        let child = target.ask("fork");
        look(&mut monitor);
        target.ask(&format!("dontneed {start} {}", 16 * PAGE));
        let moved = target.ask(&format!("mremap {start} {LENGTH} {}", 2 * LENGTH));
        look(&mut monitor);
        target.ask(&format!("munmap {moved} {}", 2 * LENGTH));
        look(&mut monitor);
        target.ask(&format!("reap {child}"));
        assert_untouched(target.pid());
        if dropped > 0 {
            return false;
        }
        let fork = FaultEvent::Fork { parent_pid: target.pid(), child_pid: child as u32 };
        assert!(events.contains(&fork), "{events:?}");
        let removed = |event: &FaultEvent| matches!(event, FaultEvent::Remove { address, length } if *address == start && *length == 16 * PAGE);
        assert!(events.iter().any(removed), "{events:?}");
        if moved != start {
            let remap = |event: &FaultEvent| matches!(event, FaultEvent::Remap { old_address, new_address, .. } if *old_address == start && *new_address == moved);
            assert!(events.iter().any(remap), "{events:?}");
        }
        let unmapped =
            |event: &FaultEvent| matches!(event, FaultEvent::Remove { address, .. } if *address == moved);
        assert!(events.iter().any(unmapped), "{events:?}");
        true
    });
}

#[test]
fn the_missing_rung_reports_the_first_touch_of_new_pages() {
    until_undisturbed(|| {
        let Some((mut target, mut monitor, _)) = watched(Rung::Missing) else { return true };
        let fresh = target.ask(&format!("mmap {LENGTH}"));
        target.ask(&format!("small {fresh} {LENGTH}"));
        // The mapping is watched from the next window on.
        let before = window(&mut monitor);
        let whole = PageRange::new(fresh, fresh + LENGTH);
        assert!(monitor.regions().iter().any(|region| region.range().intersection(&whole) == Some(whole)));
        let mut dropped = before.dropped;
        let mut look = |target: &mut Target, command: &str| {
            target.ask(command);
            let window = window(&mut monitor);
            dropped += window.dropped;
            window
        };
        let (written, read) = (format!("write {fresh} 20 3"), format!("read {} 20 3", fresh + PAGE));
        let first = look(&mut target, &written);
        let reading = look(&mut target, &read);
        let again = look(&mut target, &written);
        let after_reading = look(&mut target, &format!("write {} 20 3", fresh + PAGE));
        if dropped > 0 {
            return false;
        }
        let every_third = |from: u64| (0..20).map(|page| from + page * 3).collect::<BTreeSet<_>>();
        assert_eq!(of(&first.written, fresh), every_third(0));
        assert_eq!(of(&reading.written, fresh), BTreeSet::new(), "a page that is read is not written");
        assert!(of(&reading.unseen, fresh).is_disjoint(&every_third(1)), "and that is known");
        let reads = |event: &&FaultEvent| matches!(event, FaultEvent::PageFault { flags: 0, .. });
        assert_eq!(reading.events.iter().filter(reads).count(), 20, "{:?}", reading.events);
        assert_eq!(of(&again.written, fresh), BTreeSet::new(), "only the first touch is seen");
        assert!(of(&again.unseen, fresh).is_superset(&every_third(0)), "and that is said");
        assert_eq!(of(&after_reading.written, fresh), every_third(1), "the first write after a read is seen");
        assert_eq!(target.ask(&format!("read {fresh} 1 1")), 2);
        // More than a window's share: the target is let go, and is right.
        target.ask(&format!("write {fresh} {PAGES} 1"));
        let burst = window(&mut monitor);
        let (seen, unseen) = (of(&burst.written, fresh), of(&burst.unseen, fresh));
        assert!(
            (0..PAGES).all(|page| seen.contains(&page) != unseen.contains(&page)),
            "written or not known"
        );
        assert_eq!(target.ask(&format!("read {fresh} 1 1")), 3);
        assert_untouched(target.pid());
        true
    });
}

#[test]
fn soft_dirty_bits_report_what_was_written_and_the_target_is_never_stopped() {
    let Some((mut target, mut monitor, start)) = watched(Rung::SoftDirty) else { return };
    assert_eq!(monitor.attach_metrics().stop, None);
    window(&mut monitor);
    for step in 0..5 {
        target.ask(&format!("write {} 10 7", start + step * 80 * PAGE));
        let found = pages(&within(&window(&mut monitor), start, LENGTH), start);
        assert_eq!(found, (0..10).map(|page| step * 80 + page * 7).collect::<Vec<_>>());
    }
    monitor.detach().expect("detached");
    assert_untouched(target.pid());
}

/// The specification's capability, on memory of our own.
#[test]
fn a_userfaultfd_of_our_own_reads_its_events() {
    let features = UffdFeatureFlags::PAGEFAULT_FLAG_WP.union(UffdFeatureFlags::THREAD_ID);
    let uffd = UserfaultFd::create(features).expect("created");
    // SAFETY: new memory of ours; the thread below is the only one that writes to it.
    let memory = unsafe {
        let flags = nix::libc::MAP_PRIVATE | nix::libc::MAP_ANONYMOUS;
        nix::libc::mmap(std::ptr::null_mut(), LENGTH as usize, 3, flags, -1, 0)
    };
    assert_ne!(memory, nix::libc::MAP_FAILED);
    let start = memory as u64;
    // SAFETY: each page is within the mapping above, which stays until the test ends.
    let write = move |page: u64| unsafe { ((start + page * PAGE) as *mut u64).write_volatile(page) };
    (0..PAGES).for_each(write);
    let range = PageRange::new(start, start + LENGTH);
    uffd.register(range, UffdIoctlMode::WriteProtect).expect("registered");
    uffd.write_protect(range, true).expect("armed");
    assert!(uffd.read_event().is_err(), "nothing has happened yet");
    let writer = std::thread::spawn(move || {
        let tid = nix::unistd::gettid().as_raw() as u32;
        for page in [3, 500, 77] {
            write(page);
        }
        tid
    });
    let mut events = Vec::new();
    while events.len() < 3 {
        let Ok(event) = uffd.read_event() else {
            std::thread::sleep(Duration::from_micros(50));
            continue;
        };
        let FaultEvent::PageFault { address, .. } = event else { panic!("{event:?}") };
        let page = address / PAGE * PAGE;
        uffd.write_protect(PageRange::new(page, page + PAGE), false).expect("released");
        events.push(event);
    }
    let tid = writer.join().expect("no panic");
    let expected = [3, 500, 77].map(|page| FaultEvent::PageFault {
        address: start + page * PAGE,
        flags: 3,
        thread_id: Some(tid),
    });
    assert_eq!(events, expected);
}
