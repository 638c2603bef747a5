//! A session as a person runs it, without a display: the real program, its control socket, and targets to
//! watch.

#![allow(dead_code)] // each test binary that includes this uses a part of it

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use memory_glass::ipc::{Event, Reply, Request, Response, State};
use memory_glass::system::exercise::Announcement;
use tempfile::TempDir;

/// Only there to end a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn glass() -> Command {
    Command::new(env!("CARGO_BIN_EXE_memory-glass"))
}

/// Waits until this holds.
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A session with directories of its own.
pub struct Session {
    child: Child,
    directory: TempDir,
}

impl Session {
    pub fn start(arguments: &[&str]) -> Session {
        Self::start_with("", arguments)
    }

    /// With this configuration, unless it is empty.
    pub fn start_with(config: &str, arguments: &[&str]) -> Session {
        Self::start_in(config, arguments, &[])
    }

    /// With these variables in its environment, too.
    pub fn start_in(config: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Session {
        let directory = tempfile::Builder::new().prefix("glass-session-").tempdir().expect("a directory");
        for name in ["run", "home"] {
            fs::create_dir(directory.path().join(name)).expect("made");
        }
        let path = directory.path().join("config/memory-glass/config.toml");
        if !config.is_empty() {
            fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs::write(path, config).expect("written");
        }
        let log = fs::File::create(directory.path().join("log")).expect("a log");
        let mut command = glass();
        command.arg("session").args(arguments);
        if !arguments.contains(&"--size") {
            command.args(["--size", "320x240"]);
        }
        if !arguments.contains(&"--backend") {
            command.args(["--backend", "headless"]);
        }
        environment(&mut command, directory.path());
        command.envs(variables.iter().copied());
        let child = command.stdin(Stdio::null()).stderr(log).spawn().expect("the session starts");
        let session = Session { child, directory };
        until("the session listens", || {
            assert!(session.directory.path().join("log").exists());
            UnixStream::connect(session.socket()).ok()
        });
        session
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/memory-glass.sock")
    }

    pub fn config_file(&self) -> PathBuf {
        self.path("config/memory-glass/config.toml")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).expect("the log")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `memory-glass msg …` as a person calls it.
    pub fn msg_output(&self, arguments: &[&str]) -> Output {
        let mut command = glass();
        command.arg("msg").args(arguments).current_dir(self.directory.path());
        environment(&mut command, self.directory.path());
        command.output().expect("it runs")
    }

    /// Its words; it has to succeed.
    pub fn msg(&self, arguments: &[&str]) -> String {
        let output = self.msg_output(arguments);
        assert!(output.status.success(), "{arguments:?}: {}\n{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// Its complaint; it has to fail, in one line.
    pub fn refused(&self, arguments: &[&str]) -> String {
        let output = self.msg_output(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
        let complaint = text(&output.stderr);
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        complaint
    }

    pub fn connect(&self) -> Connection {
        Connection::new(UnixStream::connect(self.socket()).expect("the session listens"))
    }

    pub fn state(&self) -> State {
        match self.connect().ask(&Request::State) {
            Ok(Response::State(state)) => *state,
            other => panic!("{other:?}"),
        }
    }

    /// It has ended by itself.
    pub fn wait(&mut self) -> ExitStatus {
        until("the session ends", || self.child.try_wait().expect("our own child"))
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_none()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// Nothing of the person's own session, but these directories.
pub fn environment(command: &mut Command, directory: &Path) {
    command.env("XDG_RUNTIME_DIR", directory.join("run"));
    command.env("XDG_CONFIG_HOME", directory.join("config"));
    command.env("HOME", directory.join("home"));
    for variable in ["WAYLAND_DISPLAY", "DISPLAY", "MEMORY_GLASS_SOCKET", "NOTIFY_SOCKET", "XDG_PICTURES_DIR"]
    {
        command.env_remove(variable);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A client of the control socket.
pub struct Connection {
    pub stream: UnixStream,
    lines: BufReader<UnixStream>,
}

impl Connection {
    pub fn new(stream: UnixStream) -> Connection {
        stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let lines = BufReader::new(stream.try_clone().expect("a second descriptor"));
        Connection { stream, lines }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the session reads");
    }

    /// Empty when the session has closed the connection.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("the session answers");
        line
    }

    pub fn reply(&mut self) -> Reply {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    pub fn ask(&mut self, request: &Request) -> Reply {
        self.write(format!("{}\n", serde_json::to_string(request).expect("JSON")).as_bytes());
        self.reply()
    }

    /// None from a session that hangs up instead of answering.
    pub fn try_ask(&mut self, request: &Request) -> Option<Reply> {
        let mut line = serde_json::to_string(request).expect("JSON");
        line.push('\n');
        self.stream.write_all(line.as_bytes()).ok()?;
        line.clear();
        self.lines.read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok()
    }

    pub fn event(&mut self) -> Event {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// The next event that is no telemetry, which comes by the clock.
    pub fn change(&mut self) -> Event {
        loop {
            match self.event() {
                Event::Telemetry(_) => {}
                event => return event,
            }
        }
    }
}

/// A process to watch, killed with the test.
pub struct Exercise {
    child: Child,
    pub announced: Announcement,
    _stdout: BufReader<ChildStdout>,
}

impl Exercise {
    pub fn start(pattern: &str, mib: u32) -> Exercise {
        let mut child = glass()
            .args(["exercise", "--pattern", pattern, "--mib", &mib.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the target starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it announces itself");
        let announced: Announcement = serde_json::from_str(&line).expect("in JSON");
        assert_eq!(announced.pid, child.id());
        Exercise { child, announced, _stdout: stdout }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("our own child");
    }

    /// Nothing of ours is in it, nothing traces it, and its memory is let go, which a keeper does in pieces.
    pub fn assert_as_found(&self) {
        let pid = self.pid();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
        assert!(status.contains("TracerPid:\t0\n"), "{status}");
        let left = fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("it lives")
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|link| link.to_string_lossy().contains("userfaultfd"));
        assert!(!left, "a userfaultfd is left in it");
        until("all of its mappings are let go", || (!self.is_registered()).then_some(()));
    }

    /// Some mapping of it is under watch: the kernel says "uw" for that.
    pub fn is_registered(&self) -> bool {
        let flags = fs::read_to_string(format!("/proc/{}/smaps", self.pid())).expect("it lives");
        flags
            .lines()
            .filter_map(|line| line.strip_prefix("VmFlags:"))
            .any(|flags| flags.split_whitespace().any(|flag| flag == "uw"))
    }
}

impl Drop for Exercise {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
