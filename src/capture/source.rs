//! Where windows come from: a process that is watched, or a recording of one.

use std::time::{Duration, Instant};

use calloop::{EventSource, Poll, PostAction, Readiness, Token, TokenFactory};

use super::recording::Replay;
use super::rest::Rest;
use super::vitals;
use super::{
    ArmingPolicy, CaptureEvent, FaultMetrics, GlassRamMonitor, Governing, LostFeature, NotWatched, Rung,
    TargetInfo, TargetMetrics,
};
use crate::error::Result;

/// A source of [`CaptureEvent`]s, for those who do not care which.
#[derive(Debug)]
pub enum WindowSource {
    /// A process under watch, whose windows are longer while it sleeps.
    Live(Box<GlassRamMonitor>, Rest),
    /// A recording that is played.
    Replay(Box<Replay>),
}

impl From<GlassRamMonitor> for WindowSource {
    fn from(monitor: GlassRamMonitor) -> Self {
        Self::Live(Box::new(monitor), Rest::default())
    }
}

impl From<Replay> for WindowSource {
    fn from(replay: Replay) -> Self {
        Self::Replay(Box::new(replay))
    }
}

impl WindowSource {
    /// Who is, or was, watched.
    pub fn target(&self) -> &TargetInfo {
        match self {
            Self::Live(monitor, _) => monitor.target(),
            Self::Replay(replay) => &replay.info().target,
        }
    }

    /// How writes are, or were, followed.
    pub fn rung(&self) -> Rung {
        match self {
            Self::Live(monitor, _) => monitor.rung(),
            Self::Replay(replay) => replay.info().rung,
        }
    }

    /// What watching costs the target: nothing, when it is a recording.
    pub fn target_metrics(&self) -> TargetMetrics {
        match self {
            Self::Live(monitor, _) => monitor.target_metrics(),
            Self::Replay(_) => TargetMetrics::default(),
        }
    }

    /// What watching costs us; of a recording, nothing is known.
    pub fn fault_metrics(&self) -> Option<FaultMetrics> {
        match self {
            Self::Live(monitor, _) => Some(monitor.fault_metrics()),
            Self::Replay(_) => None,
        }
    }

    /// How the slowdown budget is held; of a recording, nothing is known.
    pub fn governing(&self) -> Option<Governing> {
        match self {
            Self::Live(monitor, _) => Some(monitor.governing()),
            Self::Replay(_) => None,
        }
    }

    /// What the watch goes without, and why.
    pub fn lost(&self) -> Vec<LostFeature> {
        match self {
            Self::Live(monitor, _) => monitor.lost(),
            Self::Replay(_) => Vec::new(),
        }
    }

    /// Writable memory that is not watched, and why.
    pub fn not_watched(&self) -> Vec<NotWatched> {
        match self {
            Self::Live(monitor, _) => monitor.not_watched(),
            Self::Replay(_) => Vec::new(),
        }
    }

    /// Windows are so long from the next one on. Those of a recording are as they were recorded.
    pub fn set_window(&mut self, window: Duration) {
        if let Self::Live(monitor, _) = self {
            monitor.set_window(window);
        }
    }

    /// What is armed from the next window on is for this policy to choose. A recording's choices are made.
    pub fn set_arming_policy(&mut self, policy: Box<dyn ArmingPolicy>) {
        if let Self::Live(monitor, _) = self {
            monitor.set_arming_policy(policy);
        }
    }

    /// The target may become so much slower from now on.
    pub fn set_slowdown_budget(&mut self, budget: Option<f64>) {
        if let Self::Live(monitor, _) = self {
            monitor.set_slowdown_budget(budget);
        }
    }

    /// The recording, if it is one.
    pub fn replay(&self) -> Option<&Replay> {
        match self {
            Self::Live(..) => None,
            Self::Replay(replay) => Some(replay),
        }
    }

    /// The recording, if it is one, to be steered.
    pub fn replay_mut(&mut self) -> Option<&mut Replay> {
        match self {
            Self::Live(..) => None,
            Self::Replay(replay) => Some(replay),
        }
    }

    /// What comes next, at once: the window that has lasted until now, or the next of the recording.
    pub fn scan(&mut self) -> Result<CaptureEvent> {
        match self {
            Self::Live(monitor, rest) => Ok(match monitor.scan()? {
                CaptureEvent::Window(window) => CaptureEvent::Window(rest.looked(window, Instant::now())),
                event => event,
            }),
            Self::Replay(replay) => Ok(replay.scan()),
        }
    }

    /// Ends it; a process that was watched is as it was before.
    pub fn detach(self) -> Result<()> {
        match self {
            Self::Live(monitor, _) => monitor.detach(),
            Self::Replay(_) => Ok(()),
        }
    }
}

/// The windows of a process under watch, none while it sleeps but a few a second.
fn live(
    monitor: &mut GlassRamMonitor,
    rest: &mut Rest,
    (readiness, token): (Readiness, Token),
    mut callback: impl FnMut(CaptureEvent, &mut ()),
) -> std::io::Result<PostAction> {
    let pid = monitor.target().pid;
    // On the synchronous rungs the target waits for its windows: it does not run for that reason.
    let waits = matches!(monitor.rung(), Rung::WpSync | Rung::Missing);
    if !waits
        && rest.may_go_on(Instant::now(), || vitals::processor_time(pid))
        && monitor.go_on(readiness, token)?
    {
        return Ok(PostAction::Continue);
    }
    monitor.process_events(readiness, token, |event, data| match event {
        CaptureEvent::Window(window) => {
            let (before, window) = rest.ended(window, Instant::now());
            before
                .into_iter()
                .chain([window])
                .for_each(|window| callback(CaptureEvent::Window(window), data));
        }
        event => callback(event, data),
    })
}

impl EventSource for WindowSource {
    type Event = CaptureEvent;
    type Metadata = ();
    type Ret = ();
    type Error = std::io::Error;

    fn process_events<F>(
        &mut self,
        readiness: Readiness,
        token: Token,
        callback: F,
    ) -> std::io::Result<PostAction>
    where
        F: FnMut(CaptureEvent, &mut ()),
    {
        match self {
            Self::Live(monitor, rest) => live(monitor, rest, (readiness, token), callback),
            Self::Replay(replay) => replay.process_events(readiness, token, callback),
        }
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        match self {
            Self::Live(monitor, _) => monitor.register(poll, factory),
            Self::Replay(replay) => replay.register(poll, factory),
        }
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        match self {
            Self::Live(monitor, _) => monitor.reregister(poll, factory),
            Self::Replay(replay) => replay.reregister(poll, factory),
        }
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        match self {
            Self::Live(monitor, _) => monitor.unregister(poll),
            Self::Replay(replay) => replay.unregister(poll),
        }
    }
}
