//! Outputs that cannot be written: closed, full, or read by nobody any more. A status and at most a line,
//! never a panic, and never the session's end.

mod session;

use std::fs::File;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Output, Stdio};

use session::{Exercise, environment, glass, until};

/// The writing end of a pipe that nobody reads.
fn unread() -> Stdio {
    let (read, write) = std::io::pipe().expect("a pipe");
    drop(read);
    write.into()
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").expect("it is always there").into()
}

fn run(words: &[&str], stdout: Stdio) -> Output {
    glass().args(words).stdin(Stdio::null()).stdout(stdout).output().expect("it runs")
}

#[test]
fn a_stdout_that_cannot_be_written_is_a_status_and_at_most_a_line() {
    let target = Exercise::start("block", 4);
    let pid = target.pid().to_string();
    let commands: [&[&str]; 6] = [
        &["doctor"],
        &["doctor", "--json"],
        &["--help"],
        &["--version"],
        &["snapshot", &pid, "--seconds", "0.3"],
        &["snapshot", &pid, "--seconds", "0.3", "--json"],
    ];
    for words in commands {
        let output = run(words, unread());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?} unread: {said}");
        assert!(!said.contains("panicked") && !said.contains("stdout"), "{words:?} unread: {said}");
        let output = run(words, full());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words:?} full: {said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("memory-glass: stdout cannot be written"), "{words:?} full: {said}");
    }
    target.assert_as_found();
}

#[test]
fn an_error_that_cannot_be_said_is_still_a_status() {
    let words = ["record", "999999999", "-o", "/nonexistent/x"];
    for stderr in [unread(), full()] {
        let status = glass().args(words).stdout(Stdio::null()).stderr(stderr).status().expect("it runs");
        assert_eq!(status.code(), Some(1));
    }
    let usage = glass().arg("--nonsense").stderr(unread()).status().expect("it runs");
    assert_eq!(usage.code(), Some(2));
    // Without any of the three, what is opened first must not become stderr.
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" \"$@\" <&- >&- 2>&-", env!("CARGO_BIN_EXE_memory-glass")]);
    assert_eq!(closed.args(words).status().expect("it runs").code(), Some(1));
}

/// A session whose log goes there.
struct Logging {
    child: Child,
    directory: tempfile::TempDir,
}

impl Logging {
    fn start(log: Stdio, level: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("glass-log-").tempdir().expect("a directory");
        for name in ["run", "home"] {
            std::fs::create_dir(directory.path().join(name)).expect("made");
        }
        let mut command = glass();
        command.args(["session", "--backend", "headless", "--size", "320x240"]);
        environment(&mut command, directory.path());
        command.env("RUST_LOG", level).stdin(Stdio::null()).stderr(log);
        let child = command.process_group(0).spawn().expect("it starts");
        let logging = Self { child, directory };
        let socket = logging.directory.path().join("run/memory-glass.sock");
        until("the session listens", || UnixStream::connect(&socket).ok());
        logging
    }

    fn msg(&self, words: &[&str]) -> Output {
        let mut command = glass();
        command.arg("msg").args(words);
        environment(&mut command, self.directory.path());
        command.output().expect("it runs")
    }

    fn assert_works(mut self) {
        let target = Exercise::start("block", 4);
        for words in
            [&["watch", &target.pid().to_string()][..], &["state"], &["watch", "nobody-of-that-name"]]
        {
            let output = self.msg(words);
            let refused = words.contains(&"nobody-of-that-name");
            assert_eq!(output.status.success(), !refused, "{}", String::from_utf8_lossy(&output.stderr));
        }
        assert!(self.msg(&["quit"]).status.success());
        let status = until("it ends", || self.child.try_wait().expect("our own child"));
        assert!(status.success(), "{status}");
        target.assert_as_found();
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_session_outlives_the_reader_of_its_log() {
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let session = Logging::start(write.into(), "info");
    let mut some = [0; 64];
    assert!(read.read(&mut some).expect("it logs") > 0);
    drop(read);
    session.assert_works();
    Logging::start(full(), "info").assert_works();
}

#[test]
fn a_session_does_not_wait_for_a_reader_that_has_stopped() {
    let (read, write) = std::io::pipe().expect("a pipe");
    // Far more lines than a pipe holds.
    Logging::start(write.into(), "trace,wgpu_core=off,wgpu_hal=off,naga=off").assert_works();
    drop(read);
}
