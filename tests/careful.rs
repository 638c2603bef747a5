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

/// A map of a process says as much of it as a recording does.
#[test]
fn what_root_makes_is_roots_only_and_what_a_user_makes_of_their_own_is_as_they_will() {
    use std::os::unix::fs::chown;
    use std::process::Command;
    const NOBODY: u32 = 65_534;
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root, to be two users");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let target = Exercise::start("block", 4);
    let record = glass()
        .args(["record", &target.pid().to_string(), "--seconds", "0.3", "-o"])
        .arg(at("recording"))
        .status();
    assert!(record.expect("it runs").success());
    let mode = |name: &str| fs::metadata(at(name)).expect("there is one").permissions().mode() & 0o777;
    // What was there before is no leave either.
    fs::write(at("map.json"), "").expect("written");
    fs::set_permissions(at("map.json"), fs::Permissions::from_mode(0o666)).expect("set");
    for subject in [vec![target.pid().to_string()], vec!["--replay".into(), text(&at("recording"))]] {
        let mut snapshot = glass();
        snapshot.arg("snapshot").args(subject).args(["--seconds", "0.2", "--size", "320x240", "-o"]);
        snapshot.arg(at("map.png")).arg("--density").arg(at("map.npy")).arg("--layout").arg(at("map.json"));
        assert!(snapshot.status().expect("it runs").success());
        for name in ["map.png", "map.npy", "map.json"] {
            assert_eq!(mode(name), 0o600, "{name}");
            fs::remove_file(at(name)).expect("it is there");
        }
    }
    chown(directory.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
    chown(at("recording"), Some(NOBODY), Some(NOBODY)).expect("root may");
    let line = format!(
        "umask 027; exec {} snapshot --replay {} --density {}",
        env!("CARGO_BIN_EXE_memory-glass"),
        text(&at("recording")),
        text(&at("own.npy"))
    );
    let user = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--", "sh", "-c", &line];
    let output = Command::new("setpriv").args(user).output().expect("setpriv is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(mode("own.npy"), 0o640);
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// A session reads its file again whenever it is saved, half written and mistyped as well.
#[test]
fn a_session_never_becomes_looser_by_a_file_that_it_does_not_understand() {
    let target = Exercise::start("block", 4);
    let session = Session::start_with("[security]\nallow-ptrace = false\n", &[]);
    let pid = target.pid().to_string();
    let forbidden = |what: &str| {
        let words = session.refused(&["watch", &pid]);
        assert!(words.contains("`allow-ptrace = false` forbids"), "{what}: {words}");
    };
    forbidden("from the start");
    for broken in [
        "[security]\nalow-ptrace = true\n",
        "[security\n",
        "[security]\nallow-ptrace = \"true\"\n",
        "palette =\n[security]\nallow-ptrace = true\n",
        "[securty]\nallow-ptrace = true\n",
    ] {
        fs::write(session.config_file(), broken).expect("written");
        let words = session.refused(&["reload"]);
        assert!(words.contains("config.toml"), "{broken:?}: {words}");
        forbidden(broken);
    }
    fs::remove_file(session.config_file()).expect("it was there");
    session.refused(&["reload"]);
    forbidden("without a file");
    // Nor by one that it does: what was in force from the start stays so.
    fs::write(session.config_file(), "[security]\nallow-ptrace = true\n").expect("written");
    session.msg(&["reload"]);
    forbidden("a file that allows it");
    target.assert_as_found();
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
