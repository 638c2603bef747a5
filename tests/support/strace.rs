//! Programs whose system calls fail: strace answers for the kernel.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// `program` and all that it starts under strace, which writes to `log`; in a process group of its own.
pub fn command(log: &Path, options: &[impl AsRef<OsStr>], program: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(log).args(options).arg(program);
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// What `-e` wants, so that the calls `first` to `last` of each thread fail.
pub fn inject(call: &str, error: &str, first: usize, last: usize) -> String {
    format!("inject={call}:error={error}:when={first}..{last}")
}

/// A call, and what it may fail with: of the errors that its manual page names.
pub type Call = (&'static str, &'static [&'static str]);

/// A place: the `nth` time that a thread makes this call.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    pub call: &'static str,
    pub nth: usize,
    pub error: &'static str,
}

impl Place {
    /// The options that make it fail and write down only that call.
    pub fn options(&self) -> [String; 4] {
        let Place { call, nth, error } = self;
        ["-e".into(), format!("trace={call}"), "-e".into(), inject(call, error, *nth, *nth)]
    }
}

/// How often each call is made by the thread that makes it most, as a log of strace has it.
pub fn counts(log: &str) -> BTreeMap<String, usize> {
    let mut each: BTreeMap<(String, String), usize> = BTreeMap::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        if let Some((call, _)) = rest.trim_start().split_once('(') {
            *each.entry((thread.into(), call.into())).or_default() += 1;
        }
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in each {
        let entry = most.entry(call).or_insert(0);
        *entry = count.max(*entry);
    }
    most
}

/// The places of these calls beyond those of `start`, at most so many of each.
pub fn places(
    calls: &[Call],
    start: &BTreeMap<String, usize>,
    all: &BTreeMap<String, usize>,
    most: usize,
) -> Vec<Place> {
    let count = |of: &BTreeMap<String, usize>, call| of.get(call).copied().unwrap_or(0);
    let places = calls.iter().flat_map(|&(call, errors)| {
        let nth = (count(start, call) + 1..=count(all, call)).take(most);
        nth.map(move |nth| Place { call, nth, error: errors[nth % errors.len()] })
    });
    places.collect()
}

/// Every how manieth place is to be tried: the environment says it, or else this.
pub fn step(otherwise: usize) -> usize {
    std::env::var("MEMORY_GLASS_FAULTS").map_or(otherwise, |step| step.parse().expect("a number"))
}

/// Waits for the end of a program that is the leader of its group. None if it has none in time: then the whole group is killed.
pub fn end_of(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status);
        }
        if begin.elapsed() > patience {
            kill(child);
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends it with all that it has started.
pub fn kill(child: &mut Child) {
    let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
    let _ = child.wait();
}
