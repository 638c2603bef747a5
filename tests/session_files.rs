//! Installing and uninstalling, into a directory of the test's own, and whether systemd takes the units.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn script(name: &str, destination: &Path, arguments: &[&str]) -> Output {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("session").join(name))
        .args(arguments)
        .env("DESTDIR", destination)
        .output()
        .expect("it runs")
}

fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every file below, with its mode.
fn files(directory: &Path) -> BTreeSet<(PathBuf, u32)> {
    let mut found = BTreeSet::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next).expect("a directory").flatten() {
            let metadata = entry.metadata().expect("it is there");
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(directory).expect("it is below").to_owned();
                found.insert((path, metadata.permissions().mode() & 0o7777));
            }
        }
    }
    found
}

const BINARY: &str = env!("CARGO_BIN_EXE_memory-glass");

#[test]
fn what_is_installed_is_uninstalled_and_both_can_be_repeated() {
    let root = tempfile::tempdir().expect("a directory");
    let foreign = root.path().join("opt/glass/share/wayland-sessions/other.desktop");
    std::fs::create_dir_all(foreign.parent().expect("it has one")).expect("made");
    std::fs::write(&foreign, "").expect("written");
    let before = files(root.path());

    let arguments = ["--prefix", "/opt/glass", "--binary", BINARY];
    succeeds(&script("install", root.path(), &arguments));
    let installed = files(root.path());
    succeeds(&script("install", root.path(), &arguments));
    assert_eq!(files(root.path()), installed);
    let expected = [
        ("bin/memory-glass", 0o755),
        ("bin/memory-glass-session", 0o755),
        ("lib/systemd/system/memory-glass-broker.service", 0o644),
        ("lib/systemd/system/memory-glass-broker.socket", 0o644),
        ("lib/systemd/system/memory-glass-kiosk@.service", 0o644),
        ("lib/sysusers.d/memory-glass.conf", 0o644),
        ("lib/systemd/user/memory-glass-shutdown.target", 0o644),
        ("lib/systemd/user/memory-glass.service", 0o644),
        ("share/doc/memory-glass/config.toml", 0o644),
        ("share/doc/memory-glass/policy.toml", 0o644),
        ("share/wayland-sessions/memory-glass.desktop", 0o644),
        ("share/xdg-desktop-portal/memory-glass-portals.conf", 0o644),
    ];
    let expected = expected.map(|(path, mode)| (Path::new("opt/glass").join(path), mode));
    assert_eq!(&installed - &before, BTreeSet::from(expected));
    // They name each other where they will be, and not where they are now.
    for (path, _) in &installed - &before {
        if path.ends_with("memory-glass") {
            continue;
        }
        let text = std::fs::read_to_string(root.path().join(&path)).expect("text");
        let here = root.path().to_string_lossy().into_owned();
        assert!(!text.contains('@') || !text.contains("dir@"), "{}: {text}", path.display());
        assert!(!text.contains(&here), "{}: {text}", path.display());
    }

    for _ in 0..2 {
        succeeds(&script("uninstall", root.path(), &["--prefix", "/opt/glass"]));
        assert_eq!(files(root.path()), before);
    }
    assert_eq!(script("install", root.path(), &["--nonsense"]).status.code(), Some(2));
    assert_eq!(script("install", root.path(), &["--prefix", "relative"]).status.code(), Some(2));
    assert_eq!(files(root.path()), before);
}

#[test]
fn the_start_script_is_a_script_and_the_units_are_units() {
    let root = tempfile::tempdir().expect("a directory");
    // systemd looks whether the program is there, so the prefix is where it really is.
    let prefix = root.path().join("glass");
    let prefix_text = prefix.to_str().expect("UTF-8");
    succeeds(&script("install", Path::new(""), &["--prefix", prefix_text, "--binary", BINARY]));
    let shell =
        Command::new("sh").arg("-n").arg(prefix.join("bin/memory-glass-session")).output().expect("sh");
    succeeds(&shell);
    let systemd = prefix.join("lib/systemd");
    for (scope, units) in [
        ("--user", &["user/memory-glass.service", "user/memory-glass-shutdown.target"][..]),
        (
            "--system",
            &[
                "system/memory-glass-kiosk@.service",
                "system/memory-glass-broker.socket",
                "system/memory-glass-broker.service",
            ],
        ),
    ] {
        let mut command = Command::new("systemd-analyze");
        command.args([scope, "verify", "--man=no"]).args(units.iter().map(|unit| systemd.join(unit)));
        let output = match command.env("XDG_RUNTIME_DIR", root.path()).output() {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => panic!("{error}"),
        };
        // Of the machine's other units it may complain as it likes.
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let ours: Vec<&str> = text.lines().filter(|line| line.contains("memory-glass")).collect();
        assert!(ours.is_empty(), "{ours:#?}");
    }
    // What is shared by everybody is bounded, and its end is nobody else's.
    let broker = std::fs::read_to_string(systemd.join("system/memory-glass-broker.service")).expect("text");
    for bound in [
        "SystemCallFilter=",
        "MemoryMax=",
        "TasksMax=",
        "Restart=on-failure",
        "KillMode=process",
        "OOMPolicy=continue",
    ] {
        assert!(broker.lines().any(|line| line.starts_with(bound)), "{bound}");
    }
    // Portals look for a file of this name because the desktop calls itself so.
    let portals = prefix.join("share/xdg-desktop-portal/memory-glass-portals.conf");
    assert!(std::fs::read_to_string(portals).expect("text").contains("\n[preferred]\n"));
    let desktop =
        std::fs::read_to_string(prefix.join("share/wayland-sessions/memory-glass.desktop")).expect("text");
    assert!(desktop.contains(&format!("\nExec={prefix_text}/bin/memory-glass-session\n")), "{desktop}");
}
