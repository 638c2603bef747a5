//! `[security]`: every command that watches obeys it, and what is not understood is never taken for leave.

mod session;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use session::{Exercise, Session, glass, until};

/// What the commands that watch say with this configuration.
fn told(config: &str, target: &Exercise, as_argument: bool) -> Vec<(&'static str, Output)> {
    let directory = tempfile::tempdir().expect("a directory");
    for name in ["run", "home", "config/memory-glass"] {
        fs::create_dir_all(directory.path().join(name)).expect("made");
    }
    let usual = directory.path().join("config/memory-glass/config.toml");
    let path = if as_argument { directory.path().join("other.toml") } else { usual };
    fs::write(&path, config).expect("written");
    let pid = target.pid().to_string();
    let recording = directory.path().join("recording").to_string_lossy().into_owned();
    let commands = [
        ("snapshot", vec!["snapshot", &pid, "--seconds", "0.2"]),
        ("record", vec!["record", &pid, "--seconds", "0.2", "-o", &recording]),
        ("session", vec!["session", "--backend", "headless", "--target", &pid]),
    ];
    let run = |(name, words): (&'static str, Vec<&str>)| {
        let mut command = glass();
        session::environment(command.args(words), directory.path());
        if as_argument {
            command.arg("--config").arg(&path);
        }
        (name, command.output().expect("it runs"))
    };
    commands.into_iter().map(run).collect()
}

#[test]
fn what_is_forbidden_stays_so_whatever_else_is_wrong_in_the_file() {
    let target = Exercise::start("block", 4);
    for (broken, as_argument) in [("", false), ("plaette = \"viridis\"\n", false), ("palette = 7\n", true)] {
        let config = format!("{broken}[security]\nallow-ptrace = false\n");
        for (command, output) in told(&config, &target, as_argument) {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{command}: {words}");
            assert!(words.contains("`allow-ptrace = false` forbids"), "{command}: {words}");
        }
    }
    target.assert_as_found();
}

#[test]
fn what_is_not_understood_is_no_leave() {
    let target = Exercise::start("block", 4);
    for config in [
        "[security]\nalow-ptrace = false\n",
        "[securty]\nallow-ptrace = false\n",
        "palette =\n[security]\nallow-ptrace = false\n",
    ] {
        for (command, output) in told(config, &target, false) {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{command}: {words}");
            assert!(words.contains("config.toml") && words.contains("[security]"), "{command}: {words}");
        }
    }
    let mut evaluate = glass();
    evaluate.args(["evaluate", "--config", "/nonexistent.toml", "/dev/null"]);
    let words = String::from_utf8_lossy(&evaluate.output().expect("it runs").stderr).into_owned();
    assert!(words.contains("/nonexistent.toml: there is no such file"), "{words}");
    target.assert_as_found();
}

#[test]
fn a_recording_is_its_owners_only_from_the_first_byte() {
    let target = Exercise::start("block", 4);
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let line = format!("umask 0; exec \"$0\" record {} --seconds 0.3 -o {}", target.pid(), at("recording"));
    let mut shell = std::process::Command::new("sh");
    let status = shell.args(["-c", &line]).arg(env!("CARGO_BIN_EXE_memory-glass")).status().expect("sh");
    assert!(status.success());
    let mode = |path: &str| fs::metadata(path).expect("there is one").permissions().mode() & 0o777;
    assert_eq!(mode(&at("recording")), 0o600);
    let mut export = glass();
    let export = export.args(["export", &at("recording"), "-o", &at("table.parquet")]).output();
    assert!(export.expect("it runs").status.success());
    assert_eq!(mode(&at("table.parquet")), 0o600);
}

#[test]
fn a_program_of_a_session_has_no_right_of_the_sessions() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root has rights that it could lend");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("status");
    // As root it executes one more program, which root's programs otherwise have all rights by.
    let line = format!("cat /proc/self/status > {0}.new; mv {0}.new {0}", file.display());
    let _session = Session::start(&["--", "sh", "-c", &line]);
    let status = until("the program runs", || fs::read_to_string(Path::new(&file)).ok());
    for field in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let set = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":"));
        assert_eq!(set.map(str::trim), Some("0000000000000000"), "{field}");
    }
}
