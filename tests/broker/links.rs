//! A broker that goes away, for those who need it again; and children that are followed by it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Broker, GLASS, NOBODY, as_user, children_of, events, wait_until};
use crate::support::{Target, status};

/// Forks so many children as it is told, which write for so many seconds; says their numbers, and ends at the
/// end of its input.
const FORKER: &str = "import os, sys, time\n\
    print('ready', flush=True)\n\
    for line in sys.stdin:\n\
    \x20   count, seconds = line.split()\n\
    \x20   for _ in range(int(count)):\n\
    \x20       child = os.fork()\n\
    \x20       if child == 0:\n\
    \x20           until, held = time.time() + float(seconds), bytearray(1 << 20)\n\
    \x20           while time.time() < until:\n\
    \x20               held[::4096] = bytes(256)\n\
    \x20               time.sleep(0.01)\n\
    \x20           os._exit(0)\n\
    \x20       print(child, flush=True)\n\
    while True:\n\
    \x20   try: os.wait()\n\
    \x20   except ChildProcessError: break\n";

fn forker(mut command: Command) -> Target {
    let mut target = Target::start_quietly(command.args(["-c", FORKER]));
    assert_eq!(target.line(), "ready");
    target
}

fn recording(mut command: Command, pid: u32, folder: &Path) -> Child {
    command
        .args(["record", &pid.to_string(), "--follow-forks", "--json", "-o"])
        .arg(folder.join("forks.mgr"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started")
}

/// A forker of root's that is recorded, by a broker of its own.
fn recorded_by_root(folder: &Path) -> (Target, Child) {
    let target = forker(Command::new("/usr/bin/python3"));
    let mut command = Command::new(GLASS);
    command.env("XDG_RUNTIME_DIR", folder).env("XDG_STATE_HOME", folder);
    let record = recording(command, target.pid(), folder);
    wait_until("it watches", || folder.join("forks.mgr").exists());
    (target, record)
}

/// What it reports when the target has ended, and what it says beside.
fn report(record: Child, target: Target) -> (Value, String) {
    // Its input ends with it.
    let pid = Pid::from_raw(target.pid().cast_signed());
    kill(pid, Signal::SIGTERM).expect("it runs");
    let output = record.wait_with_output().expect("our own child");
    drop(target);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{words}");
    (serde_json::from_slice(&output.stdout).expect("JSON"), words)
}

fn followed(report: &Value) -> usize {
    report["followed"].as_array().map_or(0, Vec::len)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    folder
}

#[test]
fn a_client_finds_a_broker_that_was_started_again() {
    let mut broker = Broker::start("");
    let folder = folder();
    let mut target = forker(as_user(NOBODY, "/usr/bin/python3"));
    let record = recording(broker.client(NOBODY, &[]), target.pid(), folder.path());
    wait_until("it is attached to", || events(&broker.log()).iter().any(|event| event.0 == "attached"));
    let pagemap = format!("/proc/{}/pagemap", target.pid());
    wait_until("the client has it", || {
        let fds = fs::read_dir(format!("/proc/{}/fd", record.id())).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|link| link.to_string_lossy() == pagemap)
    });
    broker.start_again();
    target.say("1 4");
    let child: u64 = target.line().parse().expect("a number");
    wait_until("the child is attached to", || {
        events(&broker.log()).iter().any(|event| event.0 == "attached" && event.2 == child)
    });
    let (report, words) = report(record, target);
    assert_eq!((followed(&report), report["missed"].as_u64()), (1, Some(0)), "{words}");
}

#[test]
fn whose_own_broker_is_killed_watches_on_and_starts_another_where_it_may() {
    let folder = folder();
    let (mut target, record) = recorded_by_root(folder.path());
    let broker = children_of(record.id()).into_iter().find(|pid| status(*pid, "Seccomp") == "2");
    let broker = broker.expect("root has a broker of its own");
    kill(Pid::from_raw(broker.cast_signed()), Signal::SIGKILL).expect("it runs");
    target.say("1 4");
    let child = target.line();
    wait_until("the child is recorded", || folder.path().join(format!("forks.{child}.mgr")).exists());
    let (report, words) = report(record, target);
    assert_eq!((followed(&report), report["missed"].as_u64()), (1, Some(0)), "{words}");
}

/// More at once, and faster, than a user may ask of the system's broker.
#[test]
fn no_child_is_missed_without_a_word() {
    const CHILDREN: usize = 40;
    let folder = folder();
    let (mut target, record) = recorded_by_root(folder.path());
    target.say(&format!("{CHILDREN} 20"));
    let children: Vec<String> = (0..CHILDREN).map(|_| target.line()).collect();
    wait_until("they are recorded", || {
        children.iter().all(|child| folder.path().join(format!("forks.{child}.mgr")).exists())
    });
    // Ended before anybody can attach to them, or nearly.
    target.say(&format!("{CHILDREN} 0"));
    for _ in 0..CHILDREN {
        target.line();
    }
    std::thread::sleep(std::time::Duration::from_millis(500));
    for child in &children {
        kill(Pid::from_raw(child.parse().expect("a number")), Signal::SIGKILL).expect("it runs");
    }
    let (report, words) = report(record, target);
    let missed = report["missed"].as_u64().expect("a number") as usize;
    assert!(followed(&report) >= CHILDREN && !words.contains("requests a second"), "{words}");
    assert_eq!(followed(&report) + missed, 2 * CHILDREN, "{words}");
    assert_eq!(missed > 0, words.contains("are not recorded"), "{words}");
}
