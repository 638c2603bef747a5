//! Programs whose system calls fail: strace answers for the kernel.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// `program` and all that it starts under strace, which writes to `log`; in a process group of its own.
pub fn command(log: &Path, options: &[&str], program: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o"]).arg(log).args(options).arg(program);
    command.stdin(Stdio::null()).process_group(0);
    command
}

/// What `-e` wants, so that the calls `first` to `last` of each thread fail.
pub fn inject(call: &str, error: &str, first: usize, last: usize) -> String {
    format!("inject={call}:error={error}:when={first}..{last}")
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
