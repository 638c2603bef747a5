//! `memory-glass record` and what is made of its files, as a person calls it: on real processes, and killed at any instant.

mod session;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use memory_glass::capture::recording::{Recorder, Recording, RingLimits};
use memory_glass::capture::{ExitReason, Window};
use memory_glass::map::HilbertConfig;
use memory_glass::render::ColorPalette;
use memory_glass::sensing::{DensityMap, WriteTrace};
use memory_glass::system::Pipeline;
use ndarray_npy::ReadNpyExt as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use serde_json::Value;
use session::{Exercise, Session, glass, until};
use tempfile::tempdir;

/// What a command says that has to succeed.
fn said(output: Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn refused(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
    let complaint = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    complaint
}

fn record(target: &Exercise, file: &Path, seconds: &str) -> Value {
    let mut command = glass();
    let pid = target.pid().to_string();
    command.args(["record", &pid, "--exact", "--seconds", seconds, "--window-ms", "50", "--json"]);
    let text = said(command.arg("-o").arg(file).output().expect("it runs"));
    assert_eq!(text.lines().count(), 1, "exactly one object: {text}");
    serde_json::from_str(&text).expect("JSON")
}

fn start_recording(target: &Exercise, file: &Path, more: &[&str]) -> Child {
    let mut command = glass();
    command.args(["record", &target.pid().to_string(), "--window-ms", "10"]).args(more).arg("-o").arg(file);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
}

fn windows(recording: &Recording) -> Vec<Window> {
    recording.cursor_at(Duration::ZERO).collect()
}

/// Python itself: what the PATH has may be a script that comes to it by several programs.
fn python() -> String {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    said(output.expect("python3 is there")).trim().to_owned()
}

/// A shell that forks: first nothing, then programs one after the other, each of which writes.
fn forking_shell(programs: u32) -> Child {
    let program = "import time\nfor i in range(8): rows = [i] * 200000; time.sleep(0.05)";
    let script =
        format!("sleep 0.7; for i in $(seq {programs}); do {} -c '{program}' || exit 9; done", python());
    Command::new("sh").args(["-c", &script]).spawn().expect("sh is there")
}

#[test]
fn what_a_process_forks_is_recorded_beside_it_where_it_is_followed() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("shell.mgr");
    let mut target = forking_shell(2);
    let mut command = glass();
    command.args(["record", &target.id().to_string(), "--window-ms", "50", "--follow-forks", "--json"]);
    let report: Value =
        serde_json::from_str(&said(command.arg("-o").arg(&file).output().expect("it runs"))).expect("JSON");
    assert!(target.wait().expect("ours").success(), "it is not disturbed");
    let followed = report["followed"].as_array().expect("some were followed");
    let is_python = |one: &&Value| one["comm"].as_str().is_some_and(|comm| comm.starts_with("python"));
    let pythons: Vec<&Value> = followed.iter().filter(is_python).collect();
    assert_eq!(pythons.len(), 2, "{report}");
    for one in pythons {
        let file = Path::new(one["file"].as_str().expect("a path"));
        let recording = Recording::open(file).expect("it reads back");
        assert_eq!(u64::from(recording.info().target.pid), one["pid"].as_u64().expect("a number"));
        assert!(windows(&recording).iter().any(|window| !window.written.is_empty()), "it wrote");
    }
    assert!(Recording::open(&file).is_ok(), "the shell's own");
}

#[test]
fn whoever_follows_forks_may_be_killed_at_any_instant_of_it() {
    for after in [650, 705, 710, 720, 740, 780, 900] {
        let directory = tempdir().unwrap();
        let mut target = forking_shell(2);
        let mut recorder = glass()
            .args(["record", &target.id().to_string(), "--window-ms", "10", "--follow-forks", "-o"])
            .arg(directory.path().join("shell.mgr"))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        std::thread::sleep(Duration::from_millis(after));
        kill(Pid::from_raw(recorder.id() as i32), Signal::SIGKILL).expect("it ran");
        recorder.wait().expect("ours");
        assert!(target.wait().expect("ours").success(), "killed after {after} ms");
    }
}

#[test]
fn what_is_recorded_is_what_every_reader_of_it_shows() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("block.mgr");
    let target = Exercise::start("block", 16);
    let report = record(&target, &file, "2");
    target.assert_as_found();
    assert_eq!(report["pid"], target.pid());
    assert_eq!(report["bytes"].as_u64(), Some(fs::metadata(&file).unwrap().len()));

    let recording = Recording::open(&file).unwrap();
    let windows = windows(&recording);
    assert_eq!(report["windows"].as_u64(), Some(windows.len() as u64));
    assert_eq!((recording.damage(), recording.outcome()), (None, Some(ExitReason::Replayed)));
    let info = recording.info();
    assert_eq!(info.target.pid, target.pid());
    // The second quarter of 4096 pages, all of it, whenever it had its turn on the processor; little else.
    let page_size = info.target.page_size;
    let written =
        |window: &Window| -> u64 { window.written.iter().map(|range| range.pages(page_size)).sum() };
    assert!(windows[1..].iter().all(|window| written(window) < 1100));
    let whole: Vec<&Window> = windows[1..].iter().filter(|window| written(window) >= 1024).collect();
    assert!(whole.len() * 2 > windows.len(), "{} of {} windows", whole.len(), windows.len());

    // The same map whether the windows come out of the file here or through `snapshot`.
    let mut pipeline =
        Pipeline::new(info.target.clone(), info.rung, HilbertConfig::default(), ColorPalette::default())
            .unwrap();
    for window in &windows {
        pipeline.window(window).unwrap();
    }
    let density = directory.path().join("density.npy");
    let mut command = glass();
    command.arg("snapshot").arg("--replay").arg(&file).arg("--json").arg("--density").arg(&density);
    let snapshot: Value = serde_json::from_str(&said(command.output().unwrap())).unwrap();
    assert_eq!(snapshot["windows"].as_u64(), Some(windows.len() as u64));
    assert_eq!(snapshot["comm"], info.target.comm);
    let density = DensityMap::read_npy(File::open(density).unwrap()).unwrap();
    assert_eq!(&density, pipeline.density().as_ref());

    // And as a trace for `evaluate`.
    let trace = WriteTrace::read_recording(&file).unwrap();
    assert_eq!(trace.windows().len(), windows.len());
    assert!(trace.windows()[whole[0].index as usize].count() >= 1024);
    let evaluation = said(glass().arg("evaluate").arg(&file).arg("--json").output().unwrap());
    let evaluation: Value = serde_json::from_str(&evaluation).unwrap();
    assert_eq!(evaluation["windows"].as_u64(), Some(windows.len() as u64));

    // A recording within a budget knows what it did not see, and is no truth to be measured against.
    let partly = directory.path().join("partly.mgr");
    let mut recorder =
        Recorder::create(&partly, &info.target, info.rung, Instant::now(), RingLimits::default()).unwrap();
    let unseen = windows[1].written.clone();
    recorder.window(&windows[0]).unwrap();
    recorder.window(&Window { unseen, written: Vec::new(), ..windows[1].clone() }).unwrap();
    recorder.finish(None).unwrap();
    let complaint = refused(glass().arg("evaluate").arg(&partly).output().unwrap());
    assert!(complaint.contains("in 1 of its 2 windows") && complaint.contains("--exact"), "{complaint}");

    // Nothing is written over.
    let complaint = refused(
        glass().args(["record", &target.pid().to_string()]).arg("-o").arg(&file).output().expect("it runs"),
    );
    assert!(complaint.contains("is there already"), "{complaint}");
}

#[test]
fn an_exported_table_has_a_row_for_each_region_and_window() {
    let directory = tempdir().unwrap();
    let (file, table) = (directory.path().join("a.mgr"), directory.path().join("a.parquet"));
    let target = Exercise::start("stride", 16);
    record(&target, &file, "1.5");
    let text = said(glass().arg("export").arg(&file).arg("-o").arg(&table).output().unwrap());
    let recording = Recording::open(&file).unwrap();
    let info = recording.info();
    let mut expected = Vec::new();
    let mut regions: std::sync::Arc<[_]> = std::sync::Arc::default();
    for window in windows(&recording) {
        regions = window.regions.clone().unwrap_or(regions);
        for region in regions.iter() {
            let written: u64 = window
                .written
                .iter()
                .filter_map(|range| range.intersection(&region.range()))
                .map(|both| both.pages(info.target.page_size))
                .sum();
            expected.push((window.index, region.clone(), written, window.active_threads, window.length));
        }
    }
    assert!(text.contains(&format!("{} rows", expected.len())), "{text}");

    let reader = SerializedFileReader::new(File::open(&table).unwrap()).unwrap();
    let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), expected.len());
    let mut last = i64::MIN;
    for (row, (window, region, written, threads, length)) in rows.iter().zip(&expected) {
        let time = row.get_long(0).unwrap();
        assert!(time >= last);
        last = time;
        assert_eq!(row.get_ulong(1).unwrap(), *window);
        assert_eq!(row.get_long(2).unwrap(), length.as_nanos() as i64);
        assert_eq!((row.get_ulong(3).unwrap(), row.get_ulong(4).unwrap()), (region.start, region.end));
        assert_eq!(row.get_string(5).unwrap(), &region.kind().to_string());
        assert_eq!(row.get_string(6).ok().cloned(), region.pathname);
        assert_eq!(row.get_long(7).unwrap(), *written as i64);
        let pages = region.pages(info.target.page_size) as i64;
        assert_eq!((row.get_long(8).unwrap(), row.get_long(9).unwrap()), (pages, pages));
        assert_eq!(row.get_int(10).unwrap(), *threads as i32);
    }
    let started = info.started.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as i64;
    let first = rows[0].get_long(0).unwrap();
    assert!((first - started).abs() < 1_000_000_000, "the first window is where the recording began");
    let complaint = refused(glass().arg("export").arg(&table).arg("-o").arg("/dev/null/x").output().unwrap());
    assert!(complaint.contains("is no recording"), "{complaint}");
}

#[test]
fn a_recorder_that_is_killed_leaves_all_windows_but_the_last_and_the_target_as_it_was() {
    let directory = tempdir().unwrap();
    let mut target = Exercise::start("mixed", 16);
    for (round, millis) in [30, 120, 250, 333, 512, 700].into_iter().enumerate() {
        let file = directory.path().join(format!("{round}.mgr"));
        let ring: &[&str] = if round % 2 == 0 { &[] } else { &["--max-size", "64K"] };
        let mut recorder = start_recording(&target, &file, ring);
        until("a window", || fs::metadata(&file).ok().filter(|file| file.len() > 300));
        std::thread::sleep(Duration::from_millis(millis));
        recorder.kill().expect("SIGKILL");
        recorder.wait().expect("our own child");
        let recording = Recording::open(&file).unwrap_or_else(|error| panic!("after {millis} ms: {error}"));
        let windows = windows(&recording);
        assert!(recording.damage().is_some(), "it did not end properly");
        assert!(windows.windows(2).all(|pair| pair[0].index + 1 == pair[1].index), "none is missing");
        assert!(windows[0].regions.is_some());
        // What the file has in whole records is all there: the end of the last window is that of the index.
        let last = windows.last().expect("at least one");
        assert_eq!(recording.offset(last) + last.length, recording.end());
        let on_disk: u64 = fs::read_dir(directory.path())
            .unwrap()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{round}.mgr")))
            .map(|entry| entry.metadata().unwrap().len())
            .sum();
        assert!(ring.is_empty() || on_disk <= 64 << 10, "{on_disk} bytes");
    }
    target.assert_as_found();
    target.kill();
}

#[test]
fn a_signal_and_the_targets_end_close_a_recording_properly() {
    let directory = tempdir().unwrap();
    let (asked, ended) = (directory.path().join("asked.mgr"), directory.path().join("ended.mgr"));
    let mut target = Exercise::start("block", 4);
    let mut recorder = start_recording(&target, &asked, &[]);
    until("a window", || fs::metadata(&asked).ok().filter(|file| file.len() > 300));
    kill(Pid::from_raw(recorder.id() as i32), Signal::SIGTERM).unwrap();
    assert!(recorder.wait().unwrap().success());
    let recording = Recording::open(&asked).unwrap();
    assert_eq!((recording.damage(), recording.outcome()), (None, Some(ExitReason::Replayed)));
    target.assert_as_found();

    let mut recorder = start_recording(&target, &ended, &[]);
    until("a window", || fs::metadata(&ended).ok().filter(|file| file.len() > 300));
    target.kill();
    assert!(recorder.wait().unwrap().success());
    let recording = Recording::open(&ended).unwrap();
    assert_eq!((recording.damage(), recording.outcome()), (None, Some(ExitReason::Ended)));
}

#[test]
fn a_session_plays_a_recording_and_can_be_steered_in_it() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("front.mgr");
    let target = Exercise::start("front", 16);
    record(&target, &file, "3");
    let file = file.to_str().unwrap();
    let session = Session::start(&["--replay", file, "--speed", "0.5"]);
    let state = session.state().target.expect("it is shown");
    assert_eq!((state.pid, state.recorded, state.ended), (target.pid(), true, None));
    let status = || -> Value {
        let answer: Value = serde_json::from_str(&session.msg(&["--json", "replay", "status"])).unwrap();
        answer["Ok"]["replay"].clone()
    };
    assert_eq!(status()["speed_percent"], 50);
    let length = status()["length_ms"].as_u64().unwrap();
    // Attaching is part of the three seconds.
    assert!((1500..4000).contains(&length), "{length}");
    until("it moves", || status()["position_ms"].as_u64().filter(|position| *position > 200));
    session.msg(&["replay", "pause"]);
    let held = status();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(status(), held, "it stands still");
    assert_eq!(held["paused"], true);
    let words = session.msg(&["replay", "seek", "1.2"]);
    assert!(words.starts_with("1.") && words.contains("paused"), "{words}");
    // The numbers are those of the last windows before it, though no window was waited for.
    let telemetry: Value = serde_json::from_str(&session.msg(&["--json", "telemetry"])).unwrap();
    assert!(telemetry["Ok"]["telemetry"]["fault_rate"].as_f64().unwrap() > 0.0);
    session.msg(&["replay", "speed", "100"]);
    session.msg(&["replay", "play"]);
    let ended = until("its end", || session.state().target.unwrap().ended);
    assert_eq!(ended, "the recording is over");
    assert_eq!(status()["over"], true);
    // Played again, it begins anew.
    session.msg(&["replay", "speed", "1"]);
    session.msg(&["replay", "play"]);
    assert_eq!(session.state().target.unwrap().ended, None);
    assert!(status()["position_ms"].as_u64().unwrap() < length);
    // A process can be watched instead, the recorded one as well.
    session.msg(&["watch", &target.pid().to_string()]);
    assert!(!session.state().target.unwrap().recorded && target.is_registered());
    let complaint = session.refused(&["replay", "pause"]);
    assert!(complaint.contains("no recording is shown"), "{complaint}");
    session.msg(&["unwatch"]);
    target.assert_as_found();
}
