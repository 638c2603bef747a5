//! A broker of the tests' own, and clients and targets of several users.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Target, status};

pub const GLASS: &str = env!("CARGO_BIN_EXE_memory-glass");
pub const NOBODY: u32 = 65_534;
/// A user of Debian's who runs nothing.
pub const GAMES: u32 = 5;

pub struct Broker {
    pub process: Child,
    pub folder: tempfile::TempDir,
}

impl Broker {
    /// A broker on a socket of its own, with this policy.
    pub fn start(policy: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        fs::write(folder.path().join("policy.toml"), policy).expect("written");
        let process = Self::spawn(&folder, Command::new(GLASS));
        let broker = Self { process, folder };
        broker.wait_until_it_answers();
        broker
    }

    /// As the system's service runs: a user of its own, with the capabilities that the unit grants and no
    /// other.
    pub fn start_as_the_service() -> Self {
        const USER: u32 = 64_990;
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        std::os::unix::fs::chown(folder.path(), Some(USER), Some(USER)).expect("root may");
        // Root's own, as the policy has to be.
        fs::write(folder.path().join("policy.toml"), "").expect("written");
        let unit = include_str!("../../session/memory-glass-broker.service");
        let granted = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).expect("there");
        let granted: Vec<String> = granted
            .split_whitespace()
            .map(|capability| format!("+{}", capability.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let granted = granted.join(",");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &USER.to_string(), "--regid", &USER.to_string(), "--clear-groups"]);
        command.arg(format!("--inh-caps=-all,{granted}")).arg(format!("--ambient-caps=-all,{granted}"));
        command.arg(format!("--bounding-set=-all,{granted}"));
        command.args(["--no-new-privs", "--", GLASS]);
        let broker = Self { process: Self::spawn(&folder, command), folder };
        broker.wait_until_it_answers();
        broker
    }

    fn spawn(folder: &tempfile::TempDir, mut broker: Command) -> Child {
        let log = fs::File::options().create(true).append(true).open(folder.path().join("broker.log"));
        broker
            .args(["broker", "--socket"])
            .arg(folder.path().join("socket"))
            .arg("--policy")
            .arg(folder.path().join("policy.toml"))
            .arg("--audit-log")
            .arg(folder.path().join("audit/log.jsonl"))
            .stderr(log.expect("made"))
            .spawn()
            .expect("started")
    }

    fn wait_until_it_answers(&self) {
        wait_until("the broker confines itself", || {
            self.socket().exists() && status(self.pid(), "Seccomp") == "2"
        });
    }

    /// Ends, and another one is there in its place.
    pub fn start_again(&mut self) {
        self.process.kill().and_then(|()| self.process.wait().map(drop)).expect("our own child");
        self.process = Self::spawn(&self.folder, Command::new(GLASS));
        self.wait_until_it_answers();
    }

    /// The processes of its clients.
    pub fn clerks(&self) -> Vec<u32> {
        let auditor = |pid: &u32| Some(*pid) == self.auditor();
        // Those that still run: one that has ended is waited for by the broker in a moment.
        let runs = |pid: &u32| !status(*pid, "State").starts_with('Z');
        children_of(self.pid()).into_iter().filter(|pid| !auditor(pid) && runs(pid)).collect()
    }

    /// The process that keeps its log, once that is confined.
    pub fn auditor(&self) -> Option<u32> {
        children_of(self.pid()).into_iter().find(|pid| status(*pid, "Name") == "glass-auditor")
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    pub fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.folder.path().join("audit/log.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// `memory-glass snapshot`, by this broker, as this user.
    pub fn snapshot_as(&self, user: u32, pid: u32) -> Output {
        self.client(user, &["snapshot", &pid.to_string(), "--seconds", "0.3", "--json"])
            .output()
            .expect("started")
    }

    pub fn client(&self, user: u32, arguments: &[&str]) -> Command {
        let mut command = as_user(user, GLASS);
        command.args(arguments).env("MEMORY_GLASS_BROKER", self.socket()).env_remove("XDG_RUNTIME_DIR");
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whose parent this is.
pub fn children_of(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let processes = fs::read_dir("/proc").expect("there is one").flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| status(*pid, "PPid") == parent)
        .collect()
}

/// Without any capability, as after a login.
pub fn as_user(user: u32, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    let user = user.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--", program]);
    command
}

pub fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An exercise of that user's.
pub fn target_of(user: u32) -> Target {
    let mut command = as_user(user, GLASS);
    command.args(["exercise", "--pattern", "block", "--mib", "4"]);
    let mut target = Target::start_quietly(&mut command);
    assert!(target.line().contains("\"pid\""));
    target
}

pub fn events(log: &[Value]) -> Vec<(&str, u64, u64)> {
    let number = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
    log.iter()
        .map(|line| {
            (
                line["event"].as_str().unwrap_or("?"),
                number(&line["peer"]["uid"]),
                number(&line["target"]["pid"]),
            )
        })
        .collect()
}

/// Waiting for a child whose standard output is piped.
pub trait Finish {
    fn wait_with_output_after(&mut self) -> Vec<u8>;
}

impl Finish for Child {
    fn wait_with_output_after(&mut self) -> Vec<u8> {
        use std::io::Read;
        let mut output = Vec::new();
        self.stdout.take().expect("piped").read_to_end(&mut output).expect("read");
        assert!(self.wait().expect("our own child").success());
        output
    }
}
