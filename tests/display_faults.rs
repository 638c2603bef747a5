//! Every system call of a session fails once, at each place where it is called: the session goes on without,
//! or ends and says why; it never hangs, and the process that it watches never notices. strace makes them
//! fail.
//!
//! There are some hundreds of such places, each a session to be started under strace, so only some are tried:
//! `MEMORY_GLASS_FAULTS=1` takes every one.

mod session;
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use memory_glass::ipc::{Request, Response};
use session::{Connection, environment};
use support::assert_untouched;
use support::strace::{self, Place};
use support::work::Worker;
use tempfile::TempDir;

const GLASS: &str = env!("CARGO_BIN_EXE_memory-glass");
/// The most places of one call: what is called a hundred times is a loop, or the driver that Vulkan loads.
const PLACES: usize = 8;
/// How long one step of a session may take on a very busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What panics elsewhere, and not for want of care here: Smithay's thread that unmaps clients' pools, where
/// there can be no thread; and std's `Command::spawn` when the socket on which the child tells of its
/// execve(2) answers an error that the kernel has none of.
const UPSTREAM: &[&str] = &["smithay-0.7.0/src/wayland/shm/pool.rs:40", "the CLOEXEC pipe failed"];

/// A session under strace, with directories of its own.
struct Faulty {
    child: Child,
    folder: TempDir,
}

/// What came of it.
struct Outcome {
    status: ExitStatus,
    log: String,
    strace: String,
    /// It was asked for a picture of its screen, and made one or said why not.
    pictured: bool,
}

impl Faulty {
    fn start(options: &[String], arguments: &[&str]) -> Faulty {
        let folder = tempfile::Builder::new().prefix("glass-faults-").tempdir().expect("a directory");
        for name in ["run", "home"] {
            fs::create_dir(folder.path().join(name)).expect("made");
        }
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let mut command = strace::command(&folder.path().join("strace"), options, GLASS);
        command.args(arguments);
        environment(&mut command, folder.path());
        command
            .env("XDG_STATE_HOME", folder.path())
            .env("MEMORY_GLASS_BROKER", folder.path().join("no-broker"));
        let child = command.stdout(Stdio::null()).stderr(log).spawn().expect("strace is installed");
        Faulty { child, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// The control socket, as long as the session lives and has one.
    fn connect(&mut self) -> Option<Connection> {
        let begin = Instant::now();
        while !self.ended() && begin.elapsed() < PATIENCE {
            if let Ok(stream) = UnixStream::connect(self.path("run/memory-glass.sock")) {
                return Some(Connection::new(stream));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// Its answer, also where it loses the connection at first; none from one that ends, or has no socket.
    fn ask(&mut self, request: &Request) -> Option<Result<Response, String>> {
        for _ in 0..4 {
            if let Some(reply) = self.connect()?.try_ask(request) {
                return Some(reply);
            }
        }
        None
    }

    /// A client comes, the map is shown, a picture is asked for, and it is to end.
    fn exercise(mut self) -> Result<Outcome, String> {
        let _ = self.ask(&Request::State);
        let mut client = self.client();
        let begin = Instant::now();
        // Until the map has something to show. What is refused stays refused.
        while let Some(Ok(Response::Telemetry(numbers))) = self.ask(&Request::Telemetry) {
            if numbers.is_none_or(|numbers| numbers.windows >= 2) || begin.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let path = self.path("screen.png");
        let asked = Request::Screenshot { path: Some(path.to_string_lossy().into_owned()), output: None };
        // An answer that says why there is none is one, too.
        let pictured = matches!(self.ask(&asked), Some(Ok(Response::Screenshot { .. }) | Err(_)));
        if self.ask(&Request::Quit).is_none() && !self.ended() {
            // Without a socket it ends as any program does.
            self.interrupt();
        }
        let status = strace::end_of(&mut self.child, PATIENCE);
        if let Some(client) = &mut client {
            let _ = client.kill();
            let _ = client.wait();
        }
        let text = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        let (log, strace) = (text("log"), text("strace"));
        let status = status.ok_or_else(|| format!("hangs: {log}"))?;
        Ok(Outcome { status, log, strace, pictured })
    }

    fn interrupt(&self) {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        for pid in fs::read_to_string(children).unwrap_or_default().split_whitespace() {
            let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a number"));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT);
        }
    }

    /// A program that draws, where the session has a place for it.
    fn client(&self) -> Option<Child> {
        let place = self.path("run").join("faults");
        place.exists().then(|| {
            Command::new("weston-simple-shm")
                .env("XDG_RUNTIME_DIR", self.path("run"))
                .env("WAYLAND_DISPLAY", "faults")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("weston-simple-shm (package weston)")
        })
    }
}

fn all_places(arguments: &[&str]) -> Vec<Place> {
    let whole = Faulty::start(&[], arguments).exercise().expect("undisturbed");
    assert!(whole.status.success() && whole.pictured, "undisturbed: {}", whole.log);
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("strace");
    let none: [&str; 0] = [];
    let mut version = strace::command(&log, &none, GLASS);
    assert!(version.arg("--version").stdout(Stdio::null()).status().expect("strace is installed").success());
    let start = strace::counts(&fs::read_to_string(&log).expect("strace wrote it"));
    strace::places(&start, &strace::counts(&whole.strace), PLACES)
}

/// What is wrong with what came of it, if anything.
fn fault(outcome: &Outcome) -> Option<String> {
    let Outcome { status, log, pictured, .. } = outcome;
    if UPSTREAM.iter().any(|place| log.contains(place)) {
        return None;
    }
    // Rust's own end when there is no memory left, and the loader's when a library is not to be had.
    let unable = status.signal() == Some(6) && log.contains("memory allocation")
        || log.contains("error while loading shared libraries");
    let said = unable || log.lines().any(|line| line.starts_with("memory-glass: "));
    if log.contains("panicked") {
        Some(format!("panics: {log}"))
    } else if !status.success() && !said {
        Some(format!("{status} without a word: {log}"))
    } else if status.success() && !pictured && !["WARN", "ERROR"].iter().any(|level| log.contains(level)) {
        Some(format!("has no picture to show, and does not say why: {log}"))
    } else {
        None
    }
}

fn unharmed(worker: &Worker) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        worker.assert_alive();
        worker.assert_right();
        assert_untouched(worker.target.pid());
    }))
    .is_ok()
}

#[test]
fn whichever_call_of_a_session_fails_it_goes_on_or_says_why_not_and_the_target_runs_on() {
    let mut worker = Worker::start(2, "sleep");
    let session = |pid: &str| {
        ["session", "--backend", "headless", "--size", "160x120", "--socket", "faults", "--target", pid]
            .map(str::to_owned)
    };
    let mut arguments = session(&worker.target.pid().to_string());
    let places = all_places(&arguments.each_ref().map(String::as_str));
    let calls: BTreeSet<&str> = places.iter().map(|place| place.call).collect();
    assert!(places.len() > 150 && calls.len() > 35, "{} places of {} calls", places.len(), calls.len());
    let (mut reached, mut on, mut faults) = (0, 0, Vec::new());
    let tried: Vec<&Place> = places.iter().step_by(strace::step(4)).collect();
    for place in &tried {
        let outcome = Faulty::start(&place.options(), &arguments.each_ref().map(String::as_str)).exercise();
        match outcome {
            Ok(outcome) => {
                // Which thread does what is not the same in every run.
                reached += usize::from(outcome.strace.contains("(INJECTED)"));
                on += usize::from(outcome.status.success());
                faults.extend(fault(&outcome).map(|what| format!("{place:?} {what}")));
            }
            Err(hangs) => faults.push(format!("{place:?} {hangs}")),
        }
        if !unharmed(&worker) {
            faults.push(format!("{place:?} leaves the target other than it was"));
            worker = Worker::start(2, "sleep");
            arguments = session(&worker.target.pid().to_string());
        }
    }
    println!(
        "{} of {} places of {} calls: {reached} reached, {on} went on, {} did not and said why",
        tried.len(),
        places.len(),
        calls.len(),
        tried.len() - on - faults.len()
    );
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), tried.len(), faults.join("\n"));
    assert!(reached * 2 > tried.len(), "only {reached} of {} places were reached", tried.len());
}
