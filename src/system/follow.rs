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

/// What became of a process that is to be followed.
#[derive(Debug)]
pub(super) enum Followed {
    /// It is attached to.
    Attached(Box<ProcessAttach>),
    /// It is not, and will not be tried again.
    Missed {
        /// The process.
        pid: u32,
        /// Why.
        reason: String,
    },
}

/// Attaches to what it is told of. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Follower {
    found: Sender<u32>,
}

/// A process that is to be attached to.
#[derive(Debug, Clone)]
struct Due {
    since: Instant,
    at: Option<Instant>,
    pause: Duration,
    /// Why it could not be attached to yet.
    reason: Option<String>,
}

impl Follower {
    /// Starts the thread. What became of each process comes out of the channel.
    pub fn start(attacher: Attacher, rung: Option<Rung>) -> Result<(Self, Channel<Followed>)> {
        let (found, finding) = mpsc::channel();
        let (followed, channel) = channel::channel().map_err(loop_failed)?;
        std::thread::Builder::new()
            .name("follower".into())
            .spawn(move || follow(&attacher, rung, &finding, &followed))
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
    followed: &channel::Sender<Followed>,
) {
    let mut known: HashMap<u32, Due> = HashMap::new();
    loop {
        let now = Instant::now();
        let missed = |(pid, due): (u32, Due)| {
            due.reason.is_none_or(|reason| followed.send(Followed::Missed { pid, reason }).is_ok())
        };
        // Nobody listens any more where it cannot be said.
        if !known.extract_if(|_, due| now - due.since >= PATIENCE).all(missed) {
            return;
        }
        let next = known.values().filter_map(|due| due.at).min();
        let wait = next.map_or(PATIENCE, |at| at.saturating_duration_since(now));
        match finding.recv_timeout(wait) {
            Ok(pid) => {
                let new = Due { since: now, at: None, pause: PAUSE, reason: None };
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
            let told = match attacher.attach_by(pid, rung) {
                Ok(process) => {
                    due.reason = None;
                    // Where nobody listens any more, what was attached to is let go here.
                    followed.send(Followed::Attached(Box::new(process)))
                }
                Err(
                    error @ (GlassRamError::ProcessNotFound { .. } | GlassRamError::PermissionDenied { .. }),
                ) => {
                    known.remove(&pid);
                    followed.send(Followed::Missed { pid, reason: error.to_string() })
                }
                Err(error) => {
                    tracing::debug!(pid, %error, "a child is not attached to yet");
                    due.at = Some(now + due.pause);
                    due.pause *= 2;
                    due.reason = Some(error.to_string());
                    Ok(())
                }
            };
            if told.is_err() {
                return;
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
        let mut event_loop: EventLoop<'_, Vec<Result<u32, u32>>> = EventLoop::try_new().expect("made");
        let take = |event, (): &mut (), found: &mut Vec<Result<u32, u32>>| match event {
            Event::Msg(Followed::Attached(process)) => found.push(Ok(process.info().pid)),
            Event::Msg(Followed::Missed { pid, reason }) => {
                assert!(reason.contains(&pid.to_string()), "{reason}");
                found.push(Err(pid));
            }
            Event::Closed => {}
        };
        event_loop.handle().insert_source(channel, take).expect("inserted");
        follower.found(gone.id());
        follower.found(child.id());
        let mut found = Vec::new();
        let begun = Instant::now();
        while found.len() < 2 && begun.elapsed() < Duration::from_secs(20) {
            event_loop.dispatch(Duration::from_millis(10), &mut found).expect("dispatched");
        }
        child.kill().expect("ours");
        child.wait().expect("ours");
        assert_eq!(found, [Err(gone.id()), Ok(child.id())]);
    }
}
