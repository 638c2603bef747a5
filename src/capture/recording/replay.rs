//! A recording as a source of windows, at the pace at which they came or at another.

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use calloop::ping::{Ping, PingSource, make_ping};
use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventSource, Poll, PostAction, Readiness, Token, TokenFactory};

use super::error::RecordingError;
use super::header::RecordingInfo;
use super::reader::{Place, Recording};
use super::weight::{self, MAX_DECODED};
use crate::capture::{CaptureEvent, ExitReason, Window};

/// The speeds that a replay can have, as factors.
pub const SPEEDS: std::ops::RangeInclusive<f64> = 0.01..=1000.0;
/// How much before the wanted instant a replay begins, so that what fades over windows is as it was: sixteen
/// half-lives of the usual map.
const RUN_UP: Duration = Duration::from_secs(4);
/// As good as: 34 years.
const NEVER: Duration = Duration::from_secs(1 << 30);
/// Windows reported before others of the loop have their turn.
const AT_ONCE: usize = 64;

/// Where a replay begins, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReplayStart {
    /// Counted from the recording's begin.
    pub from: Duration,
    /// A factor: 2 is twice as fast as it was. Brought into [`SPEEDS`].
    pub speed: f64,
}

impl Default for ReplayStart {
    fn default() -> Self {
        Self { from: Duration::ZERO, speed: 1.0 }
    }
}

/// A recording that is played.
///
/// As a calloop source it reports each window when it ended, as the monitor does; after the last one that the
/// recording is over, and stays, so that it can be sought back. Positions are counted from the recording's
/// begin.
pub struct Replay {
    recording: Recording,
    place: Place,
    next: Option<Window>,
    /// The end of the last window that was reported.
    position: Duration,
    speed: f64,
    paused: bool,
    over: bool,
    /// An instant, and the position that belongs to it.
    anchor: (Instant, Duration),
    timer: Timer,
    /// Tells the loop that the timer has another deadline.
    wake: (Ping, PingSource),
}

impl fmt::Debug for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay")
            .field("info", self.info())
            .field("position", &self.position)
            .field("speed", &self.speed)
            .field("paused", &self.paused)
            .finish_non_exhaustive()
    }
}

impl Replay {
    /// Opens the recording at `path` and stands at the wanted instant. The windows of the run-up come first,
    /// at once.
    pub fn open(path: &Path, options: ReplayStart) -> Result<Self, RecordingError> {
        let recording = Recording::open(path)?;
        let wake = make_ping().map_err(RecordingError::io(path, "replayed"))?;
        let mut replay = Self {
            recording,
            place: Place::new(0),
            next: None,
            position: Duration::ZERO,
            speed: options.speed.clamp(*SPEEDS.start(), *SPEEDS.end()),
            paused: false,
            over: false,
            anchor: (Instant::now(), Duration::ZERO),
            timer: Timer::immediate(),
            wake,
        };
        replay.stand_before(options.from);
        Ok(replay)
    }

    /// Who was recorded.
    pub fn info(&self) -> &RecordingInfo {
        self.recording.info()
    }

    /// Where it is.
    pub fn position(&self) -> Duration {
        self.position
    }

    /// How long it is.
    pub fn length(&self) -> Duration {
        self.recording.end().saturating_sub(self.recording.begin())
    }

    /// How fast it is played.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Whether it stands still.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether its last window was reported.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Plays so many times as fast as it was from now on, within [`SPEEDS`].
    pub fn set_speed(&mut self, speed: f64) {
        self.anchor_here();
        self.speed = speed.clamp(*SPEEDS.start(), *SPEEDS.end());
        self.reschedule();
    }

    /// Stands still, or goes on.
    pub fn set_paused(&mut self, paused: bool) {
        self.anchor_here();
        self.paused = paused;
        self.reschedule();
    }

    /// Goes to `position`. The answer is what was written shortly before it: whoever shows the recording
    /// forgets all it has seen, takes these windows at once, and is where it would be had it seen everything.
    /// Where windows are very large, there are fewer of them: all together take no more than one may
    /// ([`MAX_DECODED`]).
    pub fn seek(&mut self, position: Duration) -> Vec<Window> {
        let position = position.min(self.length());
        self.stand_before(position);
        let mut windows = RunUp::default();
        while let Some(window) = self.take_until(position) {
            windows.push(window);
        }
        self.reschedule();
        windows.kept.into()
    }

    /// What comes next, at once.
    pub fn scan(&mut self) -> CaptureEvent {
        match self.next.take() {
            Some(window) => {
                self.position = self.end_of(&window);
                self.next = self.recording.next_at(&mut self.place);
                CaptureEvent::Window(window)
            }
            None => {
                self.over = true;
                CaptureEvent::Exited(self.recording.outcome().unwrap_or(ExitReason::Replayed))
            }
        }
    }

    /// Reads from the chunk that the run-up to `position` begins in.
    fn stand_before(&mut self, position: Duration) {
        let position = position.min(self.length());
        let from = self.recording.begin() + position.saturating_sub(RUN_UP);
        self.place = self.recording.place_at(from);
        self.next = self.recording.next_at(&mut self.place);
        self.position = self
            .next
            .as_ref()
            .map_or(position, |window| self.recording.offset(window).saturating_sub(self.recording.begin()));
        self.over = false;
        self.anchor = (Instant::now(), position);
    }

    /// The next window if it ends not after `position`.
    fn take_until(&mut self, position: Duration) -> Option<Window> {
        let due = self.next.as_ref().is_some_and(|next| self.end_of(next) <= position);
        match due.then(|| self.scan()) {
            Some(CaptureEvent::Window(window)) => Some(window),
            _ => None,
        }
    }

    fn end_of(&self, window: &Window) -> Duration {
        (self.recording.offset(window) + window.length).saturating_sub(self.recording.begin())
    }

    /// The position that is played at this moment, which is inside the next window.
    fn playing(&self) -> Duration {
        let (instant, position) = self.anchor;
        if self.paused || self.over {
            return position;
        }
        position + instant.elapsed().mul_f64(self.speed)
    }

    fn anchor_here(&mut self) {
        self.anchor = (Instant::now(), self.playing());
    }

    fn deadline(&self) -> Option<Instant> {
        if self.paused || self.over {
            return None;
        }
        let (instant, position) = self.anchor;
        let end = self.next.as_ref().map_or(position, |next| self.end_of(next));
        let wait = Duration::try_from_secs_f64(end.saturating_sub(position).as_secs_f64() / self.speed);
        instant.checked_add(wait.ok()?)
    }

    /// The timer's deadline is another one from now on.
    fn reschedule(&mut self) {
        self.wake.0.ping();
    }
}

/// The newest windows of many, as many as may be held at once.
#[derive(Default)]
struct RunUp {
    kept: VecDeque<Window>,
    bytes: usize,
}

impl RunUp {
    fn push(&mut self, window: Window) {
        self.bytes += weight_of(&window);
        self.kept.push_back(window);
        while self.bytes > MAX_DECODED
            && self.kept.len() > 1
            && let Some(oldest) = self.kept.pop_front()
        {
            self.bytes -= weight_of(&oldest);
            // The first of them has the regions.
            if let Some(next) = self.kept.front_mut()
                && let (Some(table), None) = (oldest.regions, &next.regions)
            {
                self.bytes -= weight_of(next);
                next.regions = Some(table);
                self.bytes += weight_of(next);
            }
        }
    }
}

fn weight_of(window: &Window) -> usize {
    weight::window(window, window.regions.as_deref())
}

impl EventSource for Replay {
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
        let mut woken = false;
        self.wake.1.process_events(readiness, token, |(), ()| woken = true).map_err(std::io::Error::other)?;
        let mut due = false;
        self.timer.process_events(readiness, token, |_, ()| {
            due = true;
            TimeoutAction::Drop
        })?;
        if !woken && !due {
            return Ok(PostAction::Continue);
        }
        for _ in 0..AT_ONCE {
            if self.deadline().is_none_or(|deadline| deadline > Instant::now()) {
                break;
            }
            let event = self.scan();
            callback(event, &mut ());
        }
        // Registering again is what arms a timer anew.
        self.timer.set_deadline(self.deadline().unwrap_or_else(|| Instant::now() + NEVER));
        Ok(PostAction::Reregister)
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.wake.1.register(poll, factory)?;
        self.timer.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.wake.1.reregister(poll, factory)?;
        self.timer.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.wake.1.unregister(poll)?;
        self.timer.unregister(poll)
    }
}
