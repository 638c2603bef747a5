//! Every system call of a capture fails once, at each place where it is called: memory.glass ends by itself
//! and says why, or does without; and the target never notices. strace makes them fail.
//!
//! There are some hundreds of such places, each a program to be started under strace. Every second is taken;
//! `MEMORY_GLASS_FAULTS=1` takes all of them, `MEMORY_GLASS_FAULTS=3` a third.

mod support;

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use support::assert_untouched;
use support::strace::{self, Place};
use support::work::Worker;

const GLASS: &str = env!("CARGO_BIN_EXE_memory-glass");
/// The most places of one call: what is called a hundred times is a loop that meets the same failure again.
const PLACES: usize = 24;
/// How long one run may take on a very busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct Outcome {
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// Runs memory-glass under strace. Whatever is left of it when its time is over is killed, and the test
/// fails.
fn under_strace(folder: &Path, options: &[String], arguments: &[String]) -> Outcome {
    let file = |name: &str| std::fs::File::create(folder.join(name)).expect("created");
    let mut child = strace::command(&folder.join("log"), options, GLASS)
        .args(arguments)
        .env("XDG_STATE_HOME", folder)
        .env("MEMORY_GLASS_BROKER", folder.join("no-broker"))
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .expect("strace is installed");
    let status = strace::end_of(&mut child, PATIENCE)
        .unwrap_or_else(|| panic!("{options:?}: it hangs; see {}", folder.display()));
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    Outcome { status, stdout: text("stdout"), stderr: text("stderr") }
}

/// All places: what a snapshot calls beyond what any program of ours calls before it begins.
fn places(folder: &Path, arguments: &[String]) -> Vec<Place> {
    let whole = under_strace(folder, &[], arguments);
    assert!(whole.status.success(), "undisturbed: {}", whole.stderr);
    let counts = || strace::counts(&std::fs::read_to_string(folder.join("log")).expect("strace wrote it"));
    let asked = counts();
    under_strace(folder, &[], &["--version".to_owned()]);
    strace::places(&counts(), &asked, PLACES)
}

#[test]
fn whichever_call_fails_there_is_an_end_and_a_message_and_the_target_runs_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut worker = Worker::start(2, "sleep");
    let mut pid = worker.target.pid().to_string();
    let snapshot =
        |pid: &str| ["snapshot", pid, "--seconds", "0.2", "--order", "4", "--json"].map(str::to_owned);
    let places = places(folder.path(), &snapshot(&pid));
    let calls: BTreeSet<&str> = places.iter().map(|place| place.call).collect();
    assert!(places.len() > 150 && calls.len() > 25, "{} places of {} calls", places.len(), calls.len());
    let step = strace::step(2);
    let (mut tried, mut without, mut refused, mut faults) = (0, 0, 0, Vec::new());
    for place in places.iter().step_by(step) {
        let outcome = under_strace(folder.path(), &place.options(), &snapshot(&pid));
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        // Which thread does what is not the same in every run.
        if log.contains("(INJECTED)") {
            tried += 1;
        }
        // Rust's own end when there is no memory left.
        let no_memory = outcome.status.signal() == Some(6) && outcome.stderr.contains("memory allocation");
        let said = outcome.stderr.lines().any(|line| line.starts_with("memory-glass: ")) || no_memory;
        if outcome.stderr.contains("panicked") {
            faults.push(format!("{place:?} panics: {}", outcome.stderr));
        } else if outcome.status.success() {
            without += 1;
            if serde_json::from_str::<serde_json::Value>(&outcome.stdout).is_err() {
                faults.push(format!("{place:?}: no answer and no error: {:?}", outcome.stdout));
            }
        } else {
            refused += 1;
            if !said {
                faults.push(format!("{place:?}: {} without a word: {:?}", outcome.status, outcome.stderr));
            }
        }
        let unharmed = std::panic::catch_unwind(|| {
            worker.assert_alive();
            worker.assert_right();
            assert_untouched(worker.target.pid());
        });
        if unharmed.is_err() {
            faults.push(format!("{place:?} leaves the target other than it was: {}", outcome.stderr));
            // The next ones are to have one that is whole.
            worker = Worker::start(2, "sleep");
            pid = worker.target.pid().to_string();
        }
    }
    println!("{} places: {tried} calls failed: {without} did without, {refused} said why not", places.len());
    assert!(faults.is_empty(), "{} of {tried}:\n{}", faults.len(), faults.join("\n"));
    assert!(tried * 2 > places.len() / step, "only {tried} of {} places were reached", places.len() / step);
}
