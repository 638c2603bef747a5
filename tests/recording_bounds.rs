//! Recordings that say far more than they have bytes: no command takes more memory for one than is stated,
//! whatever it says, and it ends with a picture, a number, or a line that says why not.

mod session;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use memory_glass::capture::recording::{Recorder, RecordingError, Replay, ReplayStart, RingLimits};
use memory_glass::capture::{MemoryRegion, PageRange, Rung, TargetInfo, ThreadWrites, Window};
use session::{Session, glass};
use tempfile::{TempDir, tempdir};

const PAGE: u64 = 4096;
/// What is stated of a whole command, beside what it takes without a recording.
const STATED: u64 = 640 << 20;
/// What of this the reader takes.
const OF_READER: u64 = 322 << 20;

fn pages(first: u64, count: u64) -> PageRange {
    PageRange::new(first * PAGE, (first + count) * PAGE)
}

fn region(range: PageRange, name: Option<String>) -> MemoryRegion {
    MemoryRegion {
        start: range.start,
        end: range.end,
        permissions: "rw-p".into(),
        offset: 0,
        device: "00:00".into(),
        inode: 0,
        pathname: name,
    }
}

/// A window of a reservation of 64 TiB in which these pages were written.
fn window(origin: Instant, index: u64, written: Vec<PageRange>) -> Window {
    Window {
        index,
        started: origin + Duration::from_millis(100 * index),
        length: Duration::from_millis(100),
        written,
        unseen: Vec::new(),
        regions: (index == 0).then(|| vec![region(pages(1, 1 << 34), None)].into()),
        writable_pages: 1 << 34,
        active_threads: 1,
        threads: Vec::new(),
        forked: Vec::new(),
        events: Vec::new(),
        dropped: 0,
    }
}

/// So many pages, each `step` pages behind the one before.
fn strewn(first: u64, step: u64, count: u64) -> Vec<PageRange> {
    (0..count).map(|page| pages(first + step * page, 1)).collect()
}

/// Records windows of these, of which each costs a few bytes in the file for all that it says.
fn record(file: &Path, windows: impl Iterator<Item = Window>, origin: Instant) {
    let target = TargetInfo { pid: 1, comm: "heavy".into(), page_size: PAGE };
    let mut recorder =
        Recorder::create(file, &target, Rung::WpAsync, origin, RingLimits::default()).expect("it begins");
    for window in windows {
        recorder.window(&window).expect("it is written");
    }
    recorder.finish(None).expect("it ends");
    assert!(fs::metadata(file).expect("it is there").len() < 8 << 20);
}

/// One file for each thing of which a recording can say much.
fn recordings(folder: &Path) -> Vec<PathBuf> {
    let origin = Instant::now();
    let file = |name: &str, windows: &mut dyn Iterator<Item = Window>| {
        let path = folder.join(name);
        record(&path, windows, origin);
        path
    };
    let of = |index, written| window(origin, index, written);
    let threads = |index: u64| -> Vec<ThreadWrites> {
        let thread = |at: u64| ThreadWrites {
            tid: (index * 30_000 + at) as u32,
            name: format!("{index}-{at}-{}", "n".repeat(300)).into(),
            pages: vec![PAGE],
            faults: 1.0,
        };
        (0..30_000).map(thread).collect()
    };
    vec![
        file("as-much-as-a-window-may", &mut (0..3).map(|at| of(at, strewn(1, 2, 3 << 20)))),
        // As much as is taken in, and more and more of it.
        file("ever-other-pages", &mut (0..12).map(|at| of(at, strewn(1 + (at << 24), 64, 150_000)))),
        file("all-of-it", &mut (0..3).map(|at| of(at, vec![pages(1 + (at << 30), 1 << 30)]))),
        file("as-much-as-is-taken", &mut (0..2).map(|at| of(at, vec![pages(1, 20 << 20)]))),
        file(
            "half-unseen",
            &mut (0..3).map(|at| Window { unseen: strewn(2, 2, 200_000), ..of(at, strewn(1, 2, 200_000)) }),
        ),
        file(
            "unseen",
            &mut (0..3).map(|at| Window { unseen: vec![pages(9, 2 << 20)], ..of(at, vec![pages(1, 8)]) }),
        ),
        // Far apart, and then none of them was seen: more is kept of each than while all were.
        file(
            "written-and-then-unseen",
            &mut (0..5).map(|at| match at {
                4 => Window { unseen: vec![pages(1, 1 << 33)], ..of(at, Vec::new()) },
                _ => of(at, strewn(1 + (at << 24), 64, 150_000)),
            }),
        ),
        file(
            "tables",
            &mut (0..6).map(|at| {
                let table = (0..60_000).map(|one| region(pages(1 + at * 7 + 2 * one, 1), None)).collect();
                Window { regions: Some(table), ..of(at, strewn(1, 2, 60_000)) }
            }),
        ),
        file(
            "names-of-files",
            &mut (0..3).map(|at| {
                let name = |one: u64| Some(format!("/{at}/{one}/{}", "x".repeat(12_000)));
                let table = (0..1500).map(|one| region(pages(1 + 2 * one, 1), name(one))).collect();
                Window { regions: Some(table), ..of(at, strewn(1, 2, 1000)) }
            }),
        ),
        file("threads", &mut (0..6).map(|at| Window { threads: threads(at), ..of(at, vec![pages(1, 8)]) })),
        file(
            "faults-of-a-thread",
            &mut (0..3).map(|at| {
                let pages = (0..3 << 20).map(|page| page * PAGE).collect();
                let thread = ThreadWrites { tid: 1, name: "one".into(), pages, faults: 1e6 };
                Window { threads: vec![thread], ..of(at, vec![self::pages(1, 8)]) }
            }),
        ),
    ]
}

/// The most that any child of this process, which is ended by now, has had in memory at a time.
fn children_peak() -> u64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    usage.expect("it is told").max_rss().unsigned_abs() * 1024
}

fn folder() -> TempDir {
    tempdir().expect("a folder")
}

/// Runs it on each of the files: an answer, or one line.
fn holds_to_what_is_stated(command: impl Fn(&Path, &Path) -> Command) {
    let folder = folder();
    for (at, file) in recordings(folder.path()).iter().enumerate() {
        let output = command(file, &folder.path().join(format!("out-{at}"))).output().expect("it runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        let answered = output.status.success() || complaint.lines().count() == 1;
        assert!(matches!(output.status.code(), Some(0 | 1)) && answered, "{file:?}: {complaint}");
        let peak = children_peak();
        println!("{file:?}: {} MiB so far, {complaint}", peak >> 20);
        assert!(peak < STATED, "{file:?}: {} MiB", peak >> 20);
    }
}

#[test]
fn a_snapshot_of_whatever_a_file_says() {
    holds_to_what_is_stated(|file, out| {
        let mut command = glass();
        command.arg("snapshot").arg("--replay").arg(file).arg("--density").arg(out);
        command
    });
}

#[test]
fn an_evaluation_of_whatever_a_file_says() {
    holds_to_what_is_stated(|file, _| {
        let mut command = glass();
        command.arg("evaluate").arg(file);
        command
    });
}

#[test]
fn a_table_of_whatever_a_file_says() {
    holds_to_what_is_stated(|file, out| {
        let mut command = glass();
        command.arg("export").arg(file).arg("-o").arg(out);
        command
    });
}

fn peak_of(session: &Session) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", session.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it is there");
    let kib: u64 = line.trim_end_matches("kB").trim().parse().expect("a number");
    kib << 10
}

#[test]
fn a_session_that_goes_to_and_fro_in_whatever_a_file_says() {
    let folder = folder();
    let idle = {
        let session = Session::start(&[]);
        session.state();
        peak_of(&session)
    };
    // Each takes a session of its own, with a driver's start.
    for file in recordings(folder.path()).iter().filter(|file| {
        ["as-much-as-a-window-may", "ever-other-pages", "threads"].iter().any(|name| file.ends_with(name))
    }) {
        let session = Session::start(&["--replay", file.to_str().expect("UTF-8"), "--speed", "100"]);
        for position in ["0.25", "5"] {
            // What it describes may be more than may be shown, which is an answer.
            let output = session.msg_output(&["replay", "seek", position]);
            assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        }
        assert!(session.state().target.expect("it is shown").recorded);
        let peak = peak_of(&session);
        assert!(peak < idle + STATED, "{file:?}: {} MiB, {} idle", peak >> 20, idle >> 20);
    }
}

/// Windows of 24 MiB each in memory, all of them in the run-up of a seek.
#[test]
fn whatever_a_file_says_a_reader_holds_no_more_than_is_stated() {
    const VARIABLE: &str = "GLASS_HEAVY_RECORDING";
    const WINDOWS: u64 = 24;
    const RANGES: u64 = 3 << 19;
    if let Some(file) = std::env::var_os(VARIABLE) {
        let mut replay = Replay::open(Path::new(&file), ReplayStart::default()).expect("it can be read");
        let run_up = replay.seek(Duration::from_secs(3));
        assert!(run_up[0].regions.is_some() && run_up.len() >= 2 && run_up.len() < 4, "{}", run_up.len());
        assert_eq!(run_up.last().expect("some").index, WINDOWS - 1);
        assert!(run_up.iter().all(|window| window.written.len() as u64 == RANGES));
        return;
    }
    let folder = folder();
    let file = folder.path().join("heavy.mgr");
    let origin = Instant::now();
    record(&file, (0..WINDOWS).map(|at| window(origin, at, strewn(1, 2, RANGES))), origin);
    // What a reader would not take is not written.
    let target = TargetInfo { pid: 1, comm: "heavy".into(), page_size: PAGE };
    let (other, limits) = (folder.path().join("refused.mgr"), RingLimits::default());
    let mut recorder = Recorder::create(&other, &target, Rung::WpAsync, origin, limits).expect("it begins");
    let refused = recorder.window(&window(origin, 0, strewn(1, 2, 5 << 20)));
    assert!(matches!(refused, Err(RecordingError::TooLarge { .. })), "{refused:?}");
    let long = region(pages(1, 8), Some("x".repeat(20_000)));
    let refused =
        recorder.window(&Window { regions: Some(vec![long].into()), ..window(origin, 0, Vec::new()) });
    assert!(matches!(refused, Err(RecordingError::TooLarge { .. })), "{refused:?}");
    let name = "whatever_a_file_says_a_reader_holds_no_more_than_is_stated";
    let before = children_peak();
    let mut reader = Command::new(std::env::current_exe().expect("known"));
    let reader = reader.args(["--exact", name]).env(VARIABLE, &file).output().expect("it runs");
    assert!(reader.status.success(), "{}", String::from_utf8_lossy(&reader.stdout));
    let peak = children_peak().max(before);
    assert!(peak < OF_READER, "{} MiB", peak >> 20);
}
