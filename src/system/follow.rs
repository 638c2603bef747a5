//! The processes that a target forks, attached to on a thread of their own, so that no loop waits.
//!
//! A child may not be there to be attached to at once: after vfork(2) it runs in its parent's memory until it executes a program, and
//! while it does that it has two programs or none. So who cannot be attached to is tried again for a while.

use std::collections::HashMap;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use super::snapshot::loop_failed;
use crate::capture::{Attacher, ProcessAttach, Rung};
use crate::channel::{self, Channel};
use crate::{GlassRamError, Result};

/// Processes that are followed at the same time; what is forked beyond them runs unwatched.
pub(super) const FOLLOWED_AT_MOST: usize = 64;

/// Between two attempts, at first; each pause is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(2);
/// How long it is tried.
const PATIENCE: Duration = Duration::from_secs(2);

/// Attaches to what it is told of. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Follower {
    found: Sender<u32>,
}

/// A process that is to be attached to.
#[derive(Debug, Clone, Copy)]
struct Due {
    since: Instant,
    at: Option<Instant>,
    pause: Duration,
}

impl Follower {
    /// Starts the thread. What it has attached to comes out of the channel.
    pub fn start(attacher: Attacher, rung: Option<Rung>) -> Result<(Self, Channel<Box<ProcessAttach>>)> {
        let (found, finding) = mpsc::channel();
        let (attached, channel) = channel::channel().map_err(loop_failed)?;
        std::thread::Builder::new()
            .name("follower".into())
            .spawn(move || follow(&attacher, rung, &finding, &attached))
            .map_err(|error| GlassRamError::FeatureNotSupported {
                feature: format!(
                    "no thread to follow forks ({error}): raise the limit on tasks (`ulimit -u`)"
                ),
            })?;
        Ok((Self { found }, channel))
    }

    /// This process is to be watched: a child, one that has executed another program, or one that could not be watched yet.
    pub fn found(&self, pid: u32) {
        // The thread ends only after this.
        let _ = self.found.send(pid);
    }
}

fn follow(
    attacher: &Attacher,
    rung: Option<Rung>,
    finding: &Receiver<u32>,
    attached: &channel::Sender<Box<ProcessAttach>>,
) {
    let mut known: HashMap<u32, Due> = HashMap::new();
    loop {
        let now = Instant::now();
        known.retain(|_, due| now - due.since < PATIENCE);
        let next = known.values().filter_map(|due| due.at).min();
        let wait = next.map_or(PATIENCE, |at| at.saturating_duration_since(now));
        match finding.recv_timeout(wait) {
            Ok(pid) => {
                let new = Due { since: now, at: None, pause: PAUSE };
                let due = known.entry(pid).or_insert(new);
                // One that is found again could not be watched, or is another program now.
                due.at = Some(if due.pause == PAUSE { now } else { now + due.pause });
                due.pause *= 2;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = Instant::now();
        let mut due: Vec<u32> =
            known.iter().filter(|(_, due)| due.at.is_some_and(|at| at <= now)).map(|(pid, _)| *pid).collect();
        due.sort_unstable();
        for pid in due {
            let Some(due) = known.get_mut(&pid) else { continue };
            due.at = None;
            match attacher.attach_by(pid, rung) {
                Ok(process) => {
                    if attached.send(Box::new(process)).is_err() {
                        // Nobody listens any more: what was attached to is let go here.
                        return;
                    }
                }
                Err(GlassRamError::ProcessNotFound { .. } | GlassRamError::PermissionDenied { .. }) => {
                    known.remove(&pid);
                }
                Err(error) => {
                    tracing::debug!(pid, %error, "a child is not attached to yet");
                    due.at = Some(now + due.pause);
                    due.pause *= 2;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use calloop::EventLoop;

    use super::*;
    use crate::capture::SecurityConfig;
    use crate::channel::Event;

    #[test]
    fn what_lives_is_attached_to_and_what_is_gone_is_forgotten() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("started");
        let mut gone = Command::new("true").spawn().expect("started");
        gone.wait().expect("ours");
        let attacher = Attacher::choose(
            SecurityConfig { require_root: false, ..SecurityConfig::default() },
            Some(Rung::WpSync),
        );
        let attacher = attacher.expect("without a broker");
        let (follower, channel) = Follower::start(attacher, None).expect("started");
        let mut event_loop: EventLoop<'_, Vec<u32>> = EventLoop::try_new().expect("made");
        let take = |event, (): &mut (), found: &mut Vec<u32>| {
            if let Event::Msg(process) = event {
                let process: Box<ProcessAttach> = process;
                found.push(process.info().pid);
            }
        };
        event_loop.handle().insert_source(channel, take).expect("inserted");
        follower.found(gone.id());
        follower.found(child.id());
        let mut found = Vec::new();
        let begun = Instant::now();
        while found.is_empty() && begun.elapsed() < Duration::from_secs(20) {
            event_loop.dispatch(Duration::from_millis(10), &mut found).expect("dispatched");
        }
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert_eq!(found, [child.id()]);
    }
}
