//! The monitor as a calloop source: a window per period, the end of the target at once, and its children, where they are followed.

use std::time::{Duration, Instant};

use calloop::timer::TimeoutAction;
use calloop::{EventSource, Poll, PostAction, Readiness, Token, TokenFactory};

use super::listening::BIRTHS;
use super::monitor::GlassRamMonitor;
use super::window::{CaptureEvent, ExitReason};

impl GlassRamMonitor {
    /// Lets the window go on for another period, where that is what has come. Whether it was.
    pub(super) fn go_on(&mut self, readiness: Readiness, token: Token) -> std::io::Result<bool> {
        let (mut due, period) = (false, self.period());
        self.timer.process_events(readiness, token, |deadline, _| {
            due = true;
            next(deadline, period)
        })?;
        Ok(due)
    }
}

/// Deadlines that have passed already are left out: one late window, then a whole period again.
fn next(deadline: Instant, period: Duration) -> TimeoutAction {
    let (next, now) = (deadline + period, Instant::now());
    TimeoutAction::ToInstant(if next > now { next } else { now + period })
}

impl EventSource for GlassRamMonitor {
    type Event = CaptureEvent;
    type Metadata = ();
    type Ret = ();
    type Error = std::io::Error;

    fn process_events<F>(
        &mut self,
        readiness: Readiness,
        token: Token,
        mut callback: F,
    ) -> std::io::Result<PostAction>
    where
        F: FnMut(CaptureEvent, &mut ()),
    {
        let mut ended = false;
        self.end.process_events(readiness, token, |_, _| {
            ended = true;
            Ok(PostAction::Continue)
        })?;
        if ended {
            callback(CaptureEvent::Exited(ExitReason::Ended), &mut ());
            return Ok(PostAction::Remove);
        }

        let mut listened = false;
        if let Some(births) = &mut self.births {
            births.process_events(readiness, token, |_, _| {
                listened = true;
                TimeoutAction::ToDuration(BIRTHS)
            })?;
        }
        if listened {
            self.born().into_iter().for_each(|child| callback(CaptureEvent::Forked(child), &mut ()));
            return Ok(PostAction::Continue);
        }

        let mut due = None;
        let period = self.period();
        self.timer.process_events(readiness, token, |deadline, _| {
            due = Some(deadline);
            next(deadline, period)
        })?;
        if due.is_none() {
            return Ok(PostAction::Continue);
        }
        let event = self.scan().unwrap_or_else(CaptureEvent::Failed);
        let last = !matches!(event, CaptureEvent::Window(_));
        callback(event, &mut ());
        Ok(if last { PostAction::Remove } else { PostAction::Continue })
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.timer.register(poll, factory)?;
        self.births.iter_mut().try_for_each(|births| births.register(poll, factory))?;
        self.end.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.timer.reregister(poll, factory)?;
        self.births.iter_mut().try_for_each(|births| births.reregister(poll, factory))?;
        self.end.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.timer.unregister(poll)?;
        self.births.iter_mut().try_for_each(|births| births.unregister(poll))?;
        self.end.unregister(poll)
    }
}
