//! What the audit log holds, whatever becomes of its keeper, of its file, and of who fills it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::{Broker, GLASS, NOBODY, as_user, children_of, events, target_of, wait_until};
use crate::support::{ROLE, Target, assert_untouched, status};

/// The auditor; it is known by its name once it has confined itself.
fn auditor(broker: &Broker) -> u32 {
    wait_until("there is an auditor", || broker.auditor().is_some_and(|pid| status(pid, "Seccomp") == "2"));
    broker.auditor().expect("seen just now")
}

fn end(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("it runs");
}

#[test]
fn the_auditor_has_its_file_and_nothing_else() {
    let broker = Broker::start("");
    for round in 0..2 {
        let pid = auditor(&broker);
        for capabilities in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
            assert_eq!(status(pid, capabilities), "0000000000000000", "{capabilities}");
        }
        assert_eq!(status(pid, "NoNewPrivs"), "1");
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).expect("we are root").flatten() {
            let leads = fs::read_link(entry.path()).expect("a link").to_string_lossy().into_owned();
            let own = broker.folder.path().join("audit").to_string_lossy().into_owned();
            let is_journal =
                leads.starts_with("socket:") && Path::new("/run/systemd/journal/socket").exists();
            assert!(leads.starts_with("pipe:") || leads.starts_with(&own) || is_journal, "{round}: {leads}");
        }
        // The next one is forked from a broker that has clients and has given everything up.
        let own = target_of(NOBODY);
        assert!(broker.snapshot_as(NOBODY, own.pid()).status.success());
        end(pid);
        wait_until("another one is there", || broker.auditor().is_some_and(|other| other != pid));
    }
}

#[test]
fn an_attach_waits_for_an_auditor_that_is_started_again() {
    let broker = Broker::start("");
    let own = target_of(NOBODY);
    for round in 1..=5 {
        let before = auditor(&broker);
        end(before);
        let report = broker.snapshot_as(NOBODY, own.pid());
        assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
        assert_ne!(auditor(&broker), before);
        let log = broker.log();
        let attached = events(&log).iter().filter(|event| event.0 == "attached").count();
        assert!(attached >= round, "{log:#?}");
    }
    assert_untouched(own.pid());
}

#[test]
fn without_an_audit_log_nothing_is_attached_to() {
    let mut broker = Broker::start("");
    let own = target_of(NOBODY);
    let audit = broker.folder.path().join("audit");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=4k", "tmpfs"]).arg(&audit).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: no file system can be mounted here");
        return;
    }
    broker.start_again();
    fs::write(audit.join("log.jsonl"), vec![b'\n'; 4096]).expect("it fits exactly");
    let refused = broker.snapshot_as(NOBODY, own.pid());
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    fs::write(audit.join("log.jsonl"), "").expect("room again");
    let again = broker.snapshot_as(NOBODY, own.pid());
    let unmounted = Command::new("umount").arg("-l").arg(&audit).status();
    assert!(!refused.status.success() && words.contains("audit log"), "{words}");
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(unmounted.expect("umount runs").success());
    assert_untouched(own.pid());
}

#[test]
fn a_line_that_was_torn_is_closed_before_the_next() {
    let mut broker = Broker::start("");
    let own = target_of(NOBODY);
    fs::write(broker.folder.path().join("audit/log.jsonl"), "{\"time\":\"2026").expect("written");
    broker.start_again();
    assert!(broker.snapshot_as(NOBODY, own.pid()).status.success());
    let text = fs::read_to_string(broker.folder.path().join("audit/log.jsonl")).expect("there is one");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("{\"time\":\"2026"));
    let whole: Vec<Value> = lines.map(|line| serde_json::from_str(line).expect("whole")).collect();
    assert!(whole.iter().any(|line| line["event"] == "attached"));
}

#[test]
fn refusals_of_one_user_are_not_written_without_end() {
    let broker = Broker::start("");
    let (own, roots) = (target_of(NOBODY), target_of(0));
    let script = "import json, socket, sys, time\n\
        refused = 0\n\
        request = json.dumps({'attach': {'pid': int(sys.argv[2]), 'interrupt_calls': False}}).encode()\n\
        broker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        broker.connect(sys.argv[1])\n\
        while refused < 120:\n\
        \x20   broker.send(request)\n\
        \x20   answer = json.loads(broker.recv(65536))\n\
        \x20   wait = answer['refused'].get('again_ms')\n\
        \x20   refused += wait is None\n\
        \x20   time.sleep((wait or 0) / 1000)";
    let mut flood = as_user(NOBODY, "/usr/bin/python3");
    let flood = flood.args(["-c", script]).arg(broker.socket()).arg(roots.pid().to_string()).output();
    let flood = flood.expect("python3 is there");
    assert!(flood.status.success(), "{}", String::from_utf8_lossy(&flood.stderr));
    let log = broker.log();
    let refused = events(&log).iter().filter(|event| event.0 == "refused").count();
    assert!((10..100).contains(&refused), "{refused} of 120 are written one by one");
    wait_until("the user may ask again", || broker.snapshot_as(NOBODY, own.pid()).status.success());
    assert!(events(&broker.log()).iter().any(|event| event.0 == "attached"));
}

#[test]
fn who_attaches_without_a_broker_has_it_in_a_log_of_their_own() {
    if Path::new("/run/systemd/journal/socket").exists() {
        println!("skipped: this machine has a journal, where it is written");
        return;
    }
    let own = target_of(NOBODY);
    let state = tempfile::tempdir().expect("a folder");
    chown(state.path(), Some(NOBODY), Some(NOBODY)).expect("we are root");
    for rung in ["wp-async", "missing"] {
        let mut command = as_user(NOBODY, GLASS);
        command.args(["snapshot", &own.pid().to_string(), "--seconds", "0.2", "--rung", rung]);
        command.env("XDG_STATE_HOME", state.path()).env("MEMORY_GLASS_BROKER", "/nonexistent");
        let output = command.output().expect("started");
        let path = state.path().join("memory-glass/audit.jsonl");
        let text = fs::read_to_string(&path).expect("there is one");
        let last: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        let expected = if output.status.success() { "attached" } else { "failed" };
        assert_eq!(last["event"], expected, "{rung}: {text}");
        assert_eq!((&last["target"]["pid"], &last["peer"]["uid"]), (&own.pid().into(), &NOBODY.into()));
        assert_eq!(fs::metadata(&path).expect("there is one").permissions().mode() & 0o777, 0o600);
    }
    // And a program that uses the library, by its shortest way.
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let program = folder.path().join("program");
    fs::copy(std::env::current_exe().expect("it has a path"), &program).expect("copied");
    let mut command = as_user(NOBODY, &program.to_string_lossy());
    command.env(ROLE, format!("attach-once {}", own.pid())).env("XDG_STATE_HOME", state.path());
    assert!(command.output().expect("started").status.success());
    let log = fs::read_to_string(state.path().join("memory-glass/audit.jsonl")).expect("there is one");
    assert_eq!(log.lines().filter(|line| line.contains("\"event\":\"attach\"")).count(), 3, "{log}");
}

#[test]
fn root_watches_what_runs_under_a_seccomp_filter_and_its_broker_keeps_its_own() {
    let filtered = Target::start("filtered");
    assert_eq!(status(filtered.pid(), "Seccomp"), "2");
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(GLASS);
    command.args(["record", &filtered.pid().to_string(), "--seconds", "60", "-o"]);
    let mut record = command.arg(folder.path().join("recording")).spawn().expect("started");
    wait_until("it records", || folder.path().join("recording").exists());
    // The one without a filter was there for the attach; what stays is confined.
    wait_until("nobody who could suspend a filter is left", || {
        let brokers = children_of(record.id());
        brokers.len() == 1 && brokers.iter().all(|pid| status(*pid, "Seccomp") == "2")
    });
    kill(Pid::from_raw(record.id().cast_signed()), Signal::SIGINT).expect("it runs");
    assert!(record.wait().expect("our own child").success());
    assert_eq!(status(filtered.pid(), "Seccomp"), "2");
    assert_untouched(filtered.pid());
}
