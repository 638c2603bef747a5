//! The programs that a session has started end with it: those with windows because their display is gone, the
//! others because they are told to.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use tracing::warn;

/// How long they have to end by themselves once they are asked; then they are ended.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks at whether they have.
const LOOK: Duration = Duration::from_millis(10);

/// Those that run. Each is the first of a process group of its own. However a session comes to its end, it
/// drops this.
#[derive(Debug, Default)]
pub(crate) struct Programs(BTreeSet<i32>);

impl Programs {
    /// This one was started.
    pub(crate) fn add(&mut self, pid: u32) {
        self.0.extend(i32::try_from(pid));
    }

    /// It has ended, and its number may become another's.
    pub(crate) fn forget(&mut self, pid: u32) {
        if let Ok(pid) = i32::try_from(pid) {
            self.0.remove(&pid);
        }
    }

    fn signal(&self, signal: Signal) {
        for pid in &self.0 {
            // It may have ended by itself at this moment.
            let _gone = killpg(Pid::from_raw(*pid), signal);
        }
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        // One that is stopped could not.
        self.signal(Signal::SIGCONT);
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.0.retain(|pid| is_there(Pid::from_raw(*pid)));
            if self.0.is_empty() {
                return;
            }
            if Instant::now() >= deadline {
                warn!(programs = ?self.0, "programs of the session were asked to end, did not, and are ended");
                self.signal(Signal::SIGKILL);
                return;
            }
            sleep(LOOK);
        }
    }
}

/// Whether anything of this program runs: itself, or what it has started in its process group.
fn is_there(program: Pid) -> bool {
    // As long as it is not reaped, it counts.
    let _not_yet = waitpid(program, Some(WaitPidFlag::WNOHANG));
    killpg(program, None) != Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn start(script: &str) -> Child {
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a shell");
        // It has said one line: its traps are set.
        let mut line = String::new();
        let said = child.stdout.take().expect("piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line).expect("a line");
        child
    }

    #[test]
    fn programs_end_with_what_they_have_started_and_those_that_have_ended_are_let_be() {
        let polite = start("sleep 1000 & echo; wait");
        let stubborn = start("trap '' TERM; echo; while :; do sleep 1; done");
        let stopped = start("echo; kill -STOP $$; sleep 1000");
        let mut other = start("echo; exec sleep 1000");
        let mut programs = Programs::default();
        let ids = [polite.id(), stubborn.id(), stopped.id(), other.id()];
        ids.iter().for_each(|pid| programs.add(*pid));
        programs.forget(other.id());
        drop(programs);
        for (mut child, reaped) in [(polite, true), (stubborn, false), (stopped, true)] {
            let ended = child.wait();
            if reaped {
                assert!(ended.is_err(), "{ended:?}");
            } else {
                assert_eq!(ended.expect("killed").signal(), Some(Signal::SIGKILL as i32));
            }
        }
        assert!(other.try_wait().expect("asked").is_none());
        other.kill().expect("killed");
        other.wait().expect("reaped");
    }
}
