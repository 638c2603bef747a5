//! A session as a person starts it, of any build of the program: asked by its socket, in plain JSON, and
//! looked at from outside.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde_json::Value;

/// Only there to end a benchmark that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which program is measured, and how it is configured.
#[derive(Debug, Clone)]
pub struct Program {
    pub binary: PathBuf,
    /// Another length of a window than the default.
    pub window_ms: Option<u32>,
}

/// What the session says of the watch at one moment. A number that it does not know, or that this build has
/// no word for, is `None`.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    pub windows: u64,
    /// How much longer the target's own work takes.
    pub factor: Option<f64>,
    /// The interval that is to hold it nine times in ten.
    pub interval: Option<(f64, f64)>,
    /// Flushes of the target's translations a second.
    pub flushes: Option<f64>,
}

impl Said {
    fn of(telemetry: &Value) -> Said {
        let number = |name: &str| telemetry[name].as_f64();
        Said {
            windows: telemetry["windows"].as_u64().unwrap_or(0),
            factor: number("slow_down_factor"),
            interval: number("slow_down_low").zip(number("slow_down_high")),
            flushes: number("flushes_per_second"),
        }
    }
}

/// A running session with directories of its own.
pub struct Session {
    child: Child,
    directory: tempfile::TempDir,
    binary: PathBuf,
    /// Processes of the same program that were there before.
    others: BTreeSet<u32>,
}

impl Session {
    /// Watches this process in the default way, with these arguments beside, and returns when the first
    /// windows are over.
    pub fn watch(program: &Program, pid: u32, arguments: &[&str]) -> Session {
        let session = Self::start(program, pid, arguments);
        session
            .until("windows", |session| session.said().is_some_and(|said| said.windows >= 3).then_some(()));
        session
    }

    fn start(program: &Program, pid: u32, arguments: &[&str]) -> Session {
        let directory = tempfile::Builder::new().prefix("glass-bench-").tempdir().expect("a directory");
        for name in ["run", "home", "config/memory-glass"] {
            fs::create_dir_all(directory.path().join(name)).expect("made");
        }
        if let Some(window) = program.window_ms {
            let config = directory.path().join("config/memory-glass/config.toml");
            fs::write(config, format!("window-ms = {window}\n")).expect("written");
        }
        let others = processes_of(&program.binary);
        let log = fs::File::create(directory.path().join("log")).expect("a log");
        let mut command = Command::new(&program.binary);
        command.args(["session", "--backend", "headless", "--target", &pid.to_string()]).args(arguments);
        for (variable, name) in [("XDG_RUNTIME_DIR", "run"), ("XDG_CONFIG_HOME", "config"), ("HOME", "home")]
        {
            command.env(variable, directory.path().join(name));
        }
        for variable in ["WAYLAND_DISPLAY", "DISPLAY", "MEMORY_GLASS_SOCKET", "NOTIFY_SOCKET"] {
            command.env_remove(variable);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.unwrap_or_else(|error| panic!("{}: {error}", program.binary.display()));
        let session = Session { child, directory, binary: program.binary.clone(), others };
        session.until("the session listens", |session| UnixStream::connect(session.socket()).ok());
        session
    }

    fn socket(&self) -> PathBuf {
        self.run_file("memory-glass.sock")
    }

    /// Where such a file of its directory for sockets is.
    pub fn run_file(&self, name: &str) -> PathBuf {
        self.directory.path().join("run").join(name)
    }

    fn until<T>(&self, what: &str, mut condition: impl FnMut(&Session) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(value) = condition(self) {
                return value;
            }
            let log = || fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < PATIENCE, "{what}: not in a minute\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The answer to a request; null where there is none.
    pub fn ask(&self, request: &Value) -> Value {
        let answer = || -> Option<Value> {
            let mut stream = UnixStream::connect(self.socket()).ok()?;
            stream.set_read_timeout(Some(PATIENCE)).ok()?;
            stream.write_all(format!("{request}\n").as_bytes()).ok()?;
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).ok()?;
            serde_json::from_str(&line).ok()
        };
        answer().map_or(Value::Null, |answer| answer["Ok"].clone())
    }

    /// What is said of the watch; `None` once it is over.
    pub fn said(&self) -> Option<Said> {
        let telemetry = self.ask(&"telemetry".into())["telemetry"].clone();
        (telemetry.is_object() && telemetry["ended"].is_null()).then(|| Said::of(&telemetry))
    }

    /// Its one output.
    pub fn output(&self) -> Value {
        self.ask(&"outputs".into())["outputs"][0].clone()
    }

    /// The processes that it consists of: itself, its broker, its keepers.
    pub fn processes(&self) -> Vec<u32> {
        processes_of(&self.binary).difference(&self.others).copied().collect()
    }

    /// Their processor time so far, seconds.
    pub fn processor_time(&self) -> f64 {
        self.processes().into_iter().filter_map(processor_time).sum()
    }

    /// Ends it, and returns when nothing of it is left: the target is as it was found.
    pub fn end(mut self) {
        self.ask(&"quit".into());
        self.until_ended();
    }

    fn until_ended(&mut self) {
        let begun = Instant::now();
        while self.child.try_wait().expect("our own child").is_none() || !self.processes().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "the session does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time of a process, of all its threads, seconds; of one that has ended and waits to be
/// reaped, too.
pub fn processor_time(pid: u32) -> Option<f64> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32)).ok()?;
    Some(clock_gettime(clock).ok()?.num_nanoseconds() as f64 / 1e9)
}

/// The processes that execute this file.
fn processes_of(binary: &Path) -> BTreeSet<u32> {
    let Ok(binary) = fs::canonicalize(binary) else { return BTreeSet::new() };
    let numbers = fs::read_dir("/proc").expect("/proc").flatten();
    numbers
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == binary))
        .collect()
}
