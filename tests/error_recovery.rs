//! Each error of [`GlassRamError`] made for real, and what becomes of it: what the person reads, how the program ends, and what is
//! done without the thing that is missing.
//!
//! | error | what follows | where |
//! | --- | --- | --- |
//! | `KernelVersionTooOld` | the next rung, said in the log, the report and the session; with none left, a refusal | here |
//! | `FeatureNotSupported` | the watch without it, said as lost; a configuration that is broken: the last good one | here, `ipc_session.rs` |
//! | `ProcessNotFound` | a refusal; a session goes on with what it had | here, `capture_refusals.rs` |
//! | `PermissionDenied` | a refusal | here, `capture_refusals.rs`, `broker.rs` |
//! | `UffdError` | a refusal; the target as it was found | here, `capture_faults.rs` |
//! | `DmaBufAllocationFailed` | the map is uploaded and composited, said in `msg outputs` | `ipc_session.rs`; planes: `lab/scenarios/{composited,overlay}` |
//! | `ReconstructionFailed` | no map for these faults | `src/sensing/reconstruct.rs` |
//! | `VisualizationFailed` | numbers without a picture; no session without a device | here; a device that is lost: `render_worker.rs` |
//!
//! strace makes the calls fail.

#![allow(unsafe_code)]

mod session;
mod support;

use std::process::{Command, Output};
use std::time::Duration;

use memory_glass::capture::Rung;
use serde_json::Value;
use session::{Exercise, Session, until};
use support::work::Worker;
use support::{assert_untouched, strace};

const GLASS: &str = env!("CARGO_BIN_EXE_memory-glass");
/// How long one run may take on a very busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program's end, and what it has said.
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    fn report(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }

    /// Status 1, nothing on stdout, and a last line with all of this.
    fn assert_refused(&self, words: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(1), ""), "{}", self.stderr);
        let last = self.stderr.lines().last().expect("a reason");
        assert!(last.starts_with("memory-glass: "), "{}", self.stderr);
        words.iter().for_each(|word| assert!(last.contains(word), "no {word:?} in: {last}"));
    }
}

const SNAPSHOT: [&str; 5] = ["--seconds", "0.4", "--order", "4", "--json"];

/// A snapshot of this process in which these calls fail.
fn snapshot(pid: u32, options: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| std::fs::File::create(folder.path().join(name)).expect("created");
    let mut child = strace::command(&folder.path().join("log"), options, GLASS)
        .args(["snapshot", &pid.to_string()])
        .args(SNAPSHOT)
        .env("MEMORY_GLASS_BROKER", folder.path().join("no-broker"))
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .expect("strace is installed");
    let status = strace::end_of(&mut child, PATIENCE).expect("it hangs");
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("written");
    Outcome { code: status.code(), stdout: text("stdout"), stderr: text("stderr") }
}

/// Which of its ioctls is a process' first handshake with a userfaultfd.
fn handshake(pid: u32) -> usize {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut child = strace::command(&log, &["-e", "trace=ioctl"], GLASS)
        .args(["snapshot", &pid.to_string()])
        .args(SNAPSHOT)
        .env("MEMORY_GLASS_BROKER", folder.path().join("no-broker"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("strace is installed");
    strace::end_of(&mut child, PATIENCE).expect("it hangs");
    let log = std::fs::read_to_string(log).expect("written");
    let main = log.split(' ').next().expect("a first line");
    let of_main = log.lines().filter(|line| line.split(' ').next() == Some(main) && line.contains("ioctl("));
    1 + of_main.take_while(|line| !line.contains("UFFDIO_API")).count()
}

/// The rung that is left when the first `gone` are not there.
fn rung_after(gone: usize) -> Option<Rung> {
    Rung::LADDER.into_iter().skip(gone).find(|rung| rung.try_out().is_ok())
}

/// The kernel refuses handshakes as one does that is too old for them: one rung after the other.
#[test]
fn a_kernel_without_a_rung_is_watched_by_the_next_one() {
    let worker = Worker::start(2, "sleep");
    let pid = worker.target.pid();
    let first = handshake(pid);
    for gone in 1..=3 {
        let outcome = snapshot(pid, &["-e", &strace::inject("ioctl", "EINVAL", first, first + gone - 1)]);
        match rung_after(gone) {
            Some(rung) => {
                let report = outcome.report();
                assert_eq!(report["rung"], rung.to_string(), "{gone} gone: {}", outcome.stderr);
                let lost = report["lost"].as_array().expect("a list");
                let said = lost.iter().any(|lost| lost["what"] == rung.lost());
                assert!(said, "{gone} gone: {lost:?}");
                let warned = format!("falling back to {rung}, on which are lost: {}", rung.lost());
                assert!(outcome.stderr.contains(&warned), "{}", outcome.stderr);
            }
            None => outcome.assert_refused(&["this needs Linux 6.7", "boot a newer kernel"]),
        }
        worker.assert_alive();
        worker.assert_right();
        assert_untouched(pid);
    }
}

/// As in a container whose filter does not know the call.
#[test]
fn where_userfaultfd_is_forbidden_the_rung_without_it_is_left() {
    let worker = Worker::start(1, "sleep");
    let pid = worker.target.pid();
    let outcome = snapshot(pid, &["-e", "inject=userfaultfd:error=EPERM"]);
    if Rung::SoftDirty.try_out().is_ok() {
        assert_eq!(outcome.report()["rung"], "soft-dirty");
        assert!(outcome.stderr.contains("userfaultfd(2) failed"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("falling back to soft-dirty"), "{}", outcome.stderr);
    } else {
        outcome.assert_refused(&["userfaultfd(2)", "memory-glass doctor"]);
    }
    worker.assert_alive();
    assert_untouched(pid);
}

/// A session on such a kernel says it to whoever asks.
#[test]
fn a_session_on_a_lower_rung_says_what_is_lost() {
    let worker = Worker::start(1, "sleep");
    let pid = worker.target.pid();
    let rung = [Rung::WpSync, Rung::SoftDirty].into_iter().find(|rung| rung.try_out().is_ok());
    let Some(rung) = rung else { return eprintln!("this kernel has none") };
    let session = Session::start(&["--target", &pid.to_string(), "--rung", &rung.to_string()]);
    until("a window", || {
        let telemetry: Value = serde_json::from_str(&session.msg(&["--json", "telemetry"])).expect("JSON");
        let telemetry = &telemetry["Ok"]["telemetry"];
        let lost = telemetry["lost"].as_array()?;
        assert_eq!(telemetry["rung"], rung.to_string());
        assert!(lost.iter().any(|lost| lost.as_str().is_some_and(|lost| lost.contains(rung.lost()))));
        Some(())
    });
    let words = session.msg(&["telemetry"]);
    assert!(words.contains(rung.lost()), "{words}");
    drop(session);
    worker.assert_alive();
}

/// perf is what names threads; without it, everything else is there.
#[test]
fn without_perf_the_threads_are_lost_and_nothing_else() {
    let worker = Worker::start(2, "sleep");
    let outcome = snapshot(worker.target.pid(), &["-e", "inject=perf_event_open:error=EACCES"]);
    let report = outcome.report();
    let lost = report["lost"].as_array().expect("a list");
    assert!(
        lost.iter().any(|lost| lost["what"].as_str().is_some_and(|what| what.contains("threads"))),
        "{lost:?}"
    );
    assert!(report["windows"].as_u64() > Some(0) && report["fault_rate"].as_f64() > Some(0.0), "{report}");
    assert_untouched(worker.target.pid());
}

#[test]
fn a_process_that_is_not_there_changes_nothing_in_a_session() {
    let mut gone = Exercise::start("idle", 1);
    gone.kill();
    let pid = gone.pid().to_string();
    let output = Command::new(GLASS).args(["snapshot", &pid]).output().expect("started");
    Outcome::of(&output).assert_refused(&[&format!("there is no process {pid}"), "ps -e"]);

    let output = Command::new(GLASS)
        .args(["session", "--backend", "headless", "--target", &pid])
        .output()
        .expect("started");
    Outcome::of(&output).assert_refused(&[&format!("there is no process {pid}")]);

    let target = Exercise::start("block", 4);
    let mut session = Session::start(&["--target", &target.pid().to_string()]);
    let complaint = session.refused(&["watch", &pid]);
    assert!(complaint.contains(&format!("there is no process {pid}")), "{complaint}");
    let watched = session.state().target.expect("still");
    assert!(watched.pid == target.pid() && watched.ended.is_none() && session.is_running());
}

/// A snapshot of a process, in which a step of attaching fails: the process, which does not notice, and what came of it.
fn snapshot_that_fails(injected: &str) -> (u32, Outcome) {
    let worker = Worker::start(2, "sleep");
    let pid = worker.target.pid();
    let outcome = snapshot(pid, &["-e", injected]);
    worker.assert_alive();
    worker.assert_right();
    assert_untouched(pid);
    (pid, outcome)
}

#[test]
fn a_process_that_may_not_be_traced_is_left_alone() {
    let (pid, outcome) = snapshot_that_fails("inject=ptrace:error=EPERM");
    outcome.assert_refused(&[&format!("process {pid} may not be attached to"), "CAP_SYS_PTRACE"]);
}

/// The target has its userfaultfd already when we cannot take it: that is closed again.
#[test]
fn a_step_of_attaching_that_fails_is_named_and_undone() {
    let (_, outcome) = snapshot_that_fails("inject=pidfd_getfd:error=EMFILE");
    outcome.assert_refused(&["pidfd_getfd", "errno 24", "memory-glass doctor"]);
}

fn without_vulkan(arguments: &[&str]) -> Outcome {
    let output = Command::new(GLASS)
        .args(arguments)
        .env("VK_ICD_FILENAMES", "/nonexistent.json")
        .env("VK_DRIVER_FILES", "/nonexistent.json")
        .output()
        .expect("started");
    Outcome::of(&output)
}

#[test]
fn without_a_device_that_draws_there_are_numbers_but_no_session() {
    let target = Exercise::start("block", 4);
    let pid = target.pid().to_string();
    let numbers = without_vulkan(&["snapshot", &pid, "--seconds", "0.4", "--json"]).report();
    assert!(numbers["fault_rate"].as_f64() > Some(0.0), "{numbers}");
    let session = without_vulkan(&["session", "--backend", "headless", "--target", &pid]);
    session.assert_refused(&["no Vulkan device", "install mesa-vulkan-drivers"]);
    target.assert_as_found();
}

#[test]
fn without_keyboard_maps_there_is_no_session_and_the_package_is_named() {
    let mut command = Command::new(GLASS);
    command.args(["session", "--backend", "headless"]).env("XKB_CONFIG_ROOT", "/nonexistent");
    let home = tempfile::tempdir().expect("a folder");
    // Where libxkbcommon looks first.
    command
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path())
        .env("XKB_CONFIG_EXTRA_PATH", home.path());
    let outcome = Outcome::of(&command.env("XDG_RUNTIME_DIR", home.path()).output().expect("started"));
    outcome.assert_refused(&["no keyboard map", "install xkb-data"]);
}

#[test]
fn a_full_disk_is_said() {
    let target = Exercise::start("block", 4);
    let output = Command::new(GLASS)
        .args(["snapshot", &target.pid().to_string(), "--seconds", "0.2", "--density", "/dev/full"])
        .output()
        .expect("started");
    let outcome = Outcome::of(&output);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("/dev/full") && outcome.stderr.contains("No space left"),
        "{}",
        outcome.stderr
    );
    target.assert_as_found();
}
