//! Address spaces as sanitizers and garbage collectors have them: terabytes of reservations, of which hardly
//! any is touched. What is watched, recorded and shown follows what was touched, and so does the monitor's
//! own memory.

#![allow(unsafe_code)] // wait4(2) says what a process took

mod session;
mod support;

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use memory_glass::capture::recording::Recording;
use memory_glass::ipc::{Request, Response};
use memory_glass::map::{AddressLayout, LayoutFile};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use session::{Session, glass, until};
use support::reserve::STREWN;
use support::{PAGE, Target};

/// As much as a program finds in one piece, whatever else it has mapped.
const TIB: u64 = 64;

/// The target, and where what it has reserved begins.
fn reserved(tib: u64) -> (Target, u64) {
    let mut target = Target::start(&format!("reserve {tib}"));
    let start = target.line().parse().expect("an address");
    (target, start)
}

/// What a command printed, and the most memory that it took, KiB.
#[allow(clippy::zombie_processes)] // wait4(2) waits for it, and says what it took
fn peak(command: &mut Command) -> (String, u64) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut text = [String::new(), String::new()];
    let [stdout, stderr] = &mut text;
    child.stdout.take().expect("piped").read_to_string(stdout).expect("text");
    child.stderr.take().expect("piped").read_to_string(stderr).expect("text");
    // SAFETY: all zero is a value of it, and both live until after the call.
    let (status, usage) = unsafe {
        let (mut status, mut usage) = (0, std::mem::zeroed::<libc::rusage>());
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, &mut usage), child.id() as i32);
        (status, usage)
    };
    let [stdout, stderr] = text;
    assert_eq!(status, 0, "{command:?}: {stderr}");
    (stdout, usage.ru_maxrss as u64)
}

/// What the allocator's ways and the tables of a larger map may make of nothing is far less than a MiB for
/// each TiB.
fn assert_small(what: &str, with: u64, without: u64) {
    let most = without + TIB * 64;
    assert!(with < most, "{what} takes {with} KiB with {TIB} TiB reserved, {without} KiB without");
}

fn record(target: &Target, file: &Path) -> u64 {
    let mut command = glass();
    command
        .args(["record", &target.pid().to_string(), "--exact", "--seconds", "1.5", "--json", "-o"])
        .arg(file);
    peak(&mut command).1
}

/// Some mapping of it is under watch: the kernel says "uw" for that.
fn is_watched(pid: u32) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).expect("it lives");
    let mut flags = maps.lines().filter_map(|line| line.strip_prefix("VmFlags:"));
    flags.any(|flags| flags.split_whitespace().any(|flag| flag == "uw"))
}

#[test]
fn a_snapshot_is_of_what_is_touched_and_takes_memory_for_that_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let layout = directory.path().join("layout.json");
    for exact in [true, false] {
        let peaks = [0, TIB].map(|tib| {
            let (target, start) = reserved(tib);
            let mut command = glass();
            command.args(["snapshot", &target.pid().to_string(), "--seconds", "2", "--json", "--layout"]);
            command.arg(&layout);
            command.args(exact.then_some("--exact"));
            let (report, peak) = peak(&mut command);
            let report: Value = serde_json::from_str(&report).expect("JSON");
            let file: LayoutFile =
                serde_json::from_reader(std::fs::File::open(&layout).expect("written")).expect("JSON");
            let line = AddressLayout::from_file(&file);
            assert_eq!(
                line.places(start..start + (tib << 40)).map(|places| places.end - places.start).sum::<u64>(),
                tib << 28
            );
            assert_eq!(report["pages"].as_u64(), Some(line.pages()));
            assert!(report["pages"].as_u64() > Some(tib << 28) && report["fault_rate"].as_f64() > Some(1.0));
            if exact {
                // A page a cell for what is touched and 64 times as much, and at least a million cells; a map that takes longer than a
                // sixtieth of a second may get fewer, and says so.
                assert_eq!(report["hilbert_order"], if tib > 0 { 10 } else { 5 });
                assert_eq!(report["accuracy"]["value"], 1.0, "all of it is seen");
            }
            support::assert_untouched(target.pid());
            peak
        });
        assert_small("a snapshot", peaks[1], peaks[0]);
    }
}

#[test]
fn a_recording_can_be_read_played_exported_and_evaluated() {
    let directory = tempfile::tempdir().expect("a directory");
    let peaks = [0, TIB].map(|tib| {
        let (target, start) = reserved(tib);
        let file = directory.path().join(format!("{tib}.mgr"));
        let mut peaks = vec![record(&target, &file)];
        let recording = Recording::open(&file).expect("it can be read");
        assert_eq!(recording.damage(), None);
        let windows: Vec<_> = recording.cursor_at(Duration::ZERO).collect();
        if tib > 0 {
            // Every page that is written, and no other, whatever lies between them.
            let between = (tib << 40) / STREWN / PAGE * PAGE;
            let expected: Vec<u64> = (0..STREWN).flat_map(|at| [at * between, at * between + PAGE]).collect();
            let mut seen: Vec<u64> = windows
                .iter()
                .flat_map(|window| support::pages(&support::within(window, start, tib << 40), start))
                .map(|page| page * PAGE)
                .collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, expected);
        }
        let path = |name: &str| directory.path().join(format!("{tib}.{name}"));
        let mut commands = [glass(), glass(), glass()];
        commands[0].args(["snapshot", "--json", "--replay"]).arg(&file);
        commands[1].arg("export").arg(&file).arg("-o").arg(path("parquet"));
        commands[2].args(["evaluate", "--json"]).arg(&file);
        peaks.extend(commands.iter_mut().map(|command| peak(command).1));
        peaks
    });
    for (what, (with, without)) in
        ["record", "replay", "export", "evaluate"].iter().zip(peaks[1].iter().zip(&peaks[0]))
    {
        assert_small(what, *with, *without);
    }
}

/// In a terminal of its own, which script(1) makes.
#[test]
fn top_takes_no_more_memory_for_what_is_reserved() {
    let peaks = [0, TIB].map(|tib| {
        let (target, _) = reserved(tib);
        let top = format!("exec {} top {}", env!("CARGO_BIN_EXE_memory-glass"), target.pid());
        let mut script = Command::new("script");
        script
            .args(["-qfec", &format!("stty rows 24 cols 80; {top}"), "/dev/null"])
            .env("TERM", "xterm-256color");
        let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut output = script.stdout.take().expect("piped");
        // What is drawn is not of interest; what is not read would hold it up.
        std::thread::spawn(move || while output.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {});
        let pid = until("it watches", || {
            let children = format!("/proc/{0}/task/{0}/children", script.id());
            let pid: u32 = std::fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()?;
            is_watched(target.pid()).then_some(pid)
        });
        std::thread::sleep(Duration::from_secs(2));
        let most = support::status(pid, "VmHWM");
        kill(Pid::from_raw(pid as i32), Signal::SIGTERM).expect("it runs");
        assert!(script.wait().expect("our own child").success());
        most.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
    });
    assert_small("top", peaks[1], peaks[0]);
}

fn score(pid: u32) -> Option<i32> {
    std::fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?.trim().parse().ok()
}

#[test]
fn whoever_watches_is_the_first_to_go_when_memory_is_short() {
    let (target, _) = reserved(TIB);
    let before = score(target.pid());
    let directory = tempfile::tempdir().expect("a directory");
    let pid = target.pid().to_string();
    let file = directory.path().join("a.mgr");
    let commands: [&[&str]; 2] =
        [&["snapshot", &pid], &["record", &pid, "-o", file.to_str().expect("a name")]];
    for words in commands {
        let mut command = glass();
        command.args(words).args(["--seconds", "60"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        until("it says so", || (score(child.id()) == Some(1000)).then_some(()));
        until("it watches", || is_watched(target.pid()).then_some(()));
        assert_eq!((score(child.id()), score(target.pid())), (Some(1000), before));
        child.kill().and_then(|()| child.wait()).expect("our own child");
    }
}

#[test]
fn what_a_session_starts_is_as_safe_as_the_session_was() {
    let own = score(std::process::id()).expect("ours");
    let session = Session::start(&["--size", "320x240", "--backend", "headless", "--", "sleep", "1000"]);
    until("it says so", || (score(session.pid()) == Some(1000)).then_some(()));
    let children = format!("/proc/{0}/task/{0}/children", session.pid());
    let sleeper = until("the program runs", || {
        let children = std::fs::read_to_string(&children).ok()?;
        let mut children = children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok());
        children.find(|pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == "sleep")
        })
    });
    assert_eq!(score(sleeper), Some(own));
}

#[test]
fn a_session_shows_a_target_that_has_reserved_terabytes() {
    let (target, _) = reserved(TIB);
    let session = Session::start(&["--target", &target.pid().to_string()]);
    until("what it writes is seen", || match session.connect().ask(&Request::Telemetry) {
        Ok(Response::Telemetry(Some(telemetry))) => (telemetry.fault_rate > 1.0).then_some(()),
        Ok(Response::Telemetry(None)) => None,
        other => panic!("{other:?}"),
    });
}
