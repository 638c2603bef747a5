//! Target programs for the capture tests, and what the tests ask about them from outside.
//!
//! A target is the test binary itself, started with an environment variable: a function that runs before `main` sees it,
//! plays the target in the only thread there is, and never returns. So the tests need no compiler and no second program.

#![allow(dead_code)] // each test binary that includes this uses a part of it
#![allow(unsafe_code)] // targets are made of the kernel's own calls

pub mod blocked;
pub mod churn;
pub mod crowded;
pub mod groups;
pub mod laid;
pub mod limited;
pub mod load;
pub mod odd;
pub mod programs;
pub mod redis;
pub mod replayed;
pub mod reserve;
pub mod strace;
pub mod vforked;
pub mod work;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use memory_glass::capture::{CaptureEvent, GlassRamMonitor, MonitorConfig, PageRange, Rung, Window};

/// Names the program that a started test binary is to play.
pub const ROLE: &str = "MEMORY_GLASS_TEST_TARGET";

pub const PAGE: u64 = 4096;

/// A running target with its standard input and output.
pub struct Target {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Target {
    /// Starts a program of `programs` and waits until it says that it is ready.
    pub fn start(role: &str) -> Target {
        let mut target = Self::start_quietly(
            Command::new(std::env::current_exe().expect("the test binary has a path")).env(ROLE, role),
        );
        assert_eq!(target.line(), "ready");
        target
    }

    /// As `start`, in a process group of its own.
    pub fn start_group(role: &str) -> Target {
        let mut command = Command::new(std::env::current_exe().expect("the test binary has a path"));
        let mut target = Self::start_quietly(command.env(ROLE, role).process_group(0));
        assert_eq!(target.line(), "ready");
        target
    }

    /// Starts any program with pipes.
    pub fn start_quietly(command: &mut Command) -> Target {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the target starts");
        let to = child.stdin.take().expect("piped");
        let from = BufReader::new(child.stdout.take().expect("piped"));
        Target { child, to, from }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("the target still speaks");
        line.trim_end().to_owned()
    }

    pub fn say(&mut self, text: &str) {
        writeln!(self.to, "{text}").expect("the target still listens");
    }

    /// Has the obedient target do one thing; its answer is a number.
    pub fn ask(&mut self, command: &str) -> u64 {
        self.say(command);
        let answer = self.line();
        answer.parse().unwrap_or_else(|_| panic!("`{command}` was answered with `{answer}`"))
    }

    pub fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().expect("our own child")
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A field of `/proc/PID/status`.
pub fn status(pid: u32, field: &str) -> String {
    status_of(&format!("/proc/{pid}/status"), field)
}

pub fn status_of(path: &str, field: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap_or_default();
    line.trim().to_owned()
}

/// Nothing of ours is in the process: no tracer, no userfaultfd.
pub fn assert_untouched(pid: u32) {
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).expect("the target lives").flatten() {
        let path = task.path().join("status");
        assert_eq!(
            status_of(&path.to_string_lossy(), "TracerPid"),
            "0",
            "{} is still traced",
            path.display()
        );
    }
    assert_eq!(userfaultfds(pid), 0, "a userfaultfd is left in process {pid}");
}

pub fn userfaultfds(pid: u32) -> usize {
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("the target lives");
    fds.flatten()
        .filter(|fd| {
            std::fs::read_link(fd.path()).is_ok_and(|link| link.to_string_lossy().contains("userfaultfd"))
        })
        .count()
}

/// How many mappings a process has.
pub fn mappings(pid: u32) -> usize {
    std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the target lives").lines().count()
}

/// Watches a process with every page seen in every window.
pub fn exact(pid: u32) -> GlassRamMonitor {
    GlassRamMonitor::with_config(pid, MonitorConfig::exact()).expect("attached")
}

/// The next window of a target that still runs.
pub fn window(monitor: &mut GlassRamMonitor) -> Window {
    match monitor.scan().expect("the scan works") {
        CaptureEvent::Window(window) => window,
        other => panic!("no window but {other:?}"),
    }
}

/// What of a window lies in this range.
pub fn within(window: &Window, start: u64, length: u64) -> Vec<PageRange> {
    let range = PageRange::new(start, start + length);
    window.written.iter().filter_map(|written| written.intersection(&range)).collect()
}

/// Ranges as page numbers from `start` on.
pub fn pages(ranges: &[PageRange], start: u64) -> Vec<u64> {
    ranges.iter().flat_map(|range| (range.start - start) / PAGE..(range.end - start) / PAGE).collect()
}

/// A monitor to be killed: attaches to the process, watches it for a while, detaches, and does it again.
fn monitor(pid: &str) {
    let pid = pid.parse().expect("a process number");
    programs::ready();
    loop {
        let Ok(mut monitor) = GlassRamMonitor::new(pid) else { continue };
        for _ in 0..3 {
            let _ = monitor.scan();
        }
        let _ = monitor.detach();
    }
}

/// Attaches once, and says what came of it.
fn attach_once(pid: &str) {
    match GlassRamMonitor::new(pid.parse().expect("a process number")) {
        Ok(_) => programs::say("attached"),
        Err(error) => programs::say(&error.to_string()),
    }
}

/// A monitor that watches the process for some windows, lets it go, and ends.
fn monitor_once(pid: &str) {
    programs::ready();
    let mut monitor = attached_in_time(pid, MonitorConfig::default());
    for _ in 0..3 {
        monitor.scan().expect("scanned");
    }
    monitor.detach().expect("detached");
}

/// A monitor that watches the process until it is killed.
fn monitor_steady(pid: &str) {
    let mut monitor = attached_in_time(pid, MonitorConfig::exact());
    monitor.scan().expect("scanned");
    programs::ready();
    loop {
        let _ = monitor.scan();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// A monitor on the synchronous rung, to be stopped and killed: watches the process until then.
fn monitor_sync(pid: &str) {
    let mut monitor =
        attached_in_time(pid, MonitorConfig { rung: Some(Rung::WpSync), ..MonitorConfig::exact() });
    programs::ready();
    loop {
        let _ = monitor.scan();
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Attaches, as soon as what a killed monitor has left (its helper, which finishes, and its watchdog, which notices) is gone.
fn attached_in_time(pid: &str, config: MonitorConfig) -> GlassRamMonitor {
    let pid = pid.parse().expect("a process number");
    let patience = std::time::Instant::now();
    loop {
        match GlassRamMonitor::with_config(pid, config) {
            Ok(monitor) => return monitor,
            Err(error) => {
                let error = error.to_string();
                let passing = error.contains("already traced") || error.contains("watched already");
                assert!(passing && patience.elapsed().as_secs() < 10, "{error}");
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }
}

/// As another user: what attaching says.
fn unprivileged(pid: &str) {
    // SAFETY: numbers only; this process has one thread.
    unsafe {
        assert_eq!(nix::libc::setgid(65534), 0);
        assert_eq!(nix::libc::setuid(65534), 0);
        // As any program that this user starts; the change of the user has cleared it.
        nix::libc::prctl(nix::libc::PR_SET_DUMPABLE, 1);
    }
    programs::ready();
    match GlassRamMonitor::new(pid.parse().expect("a process number")) {
        Ok(_) => programs::say("attached"),
        Err(error) => programs::say(&error.to_string()),
    }
}
