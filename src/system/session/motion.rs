//! Between two windows: cells go from what they were to what they are, frame by frame.
//!
//! Only where windows are longer than frames, and only while something moves: the maps of short windows are frames enough.

use std::sync::Arc;
use std::time::{Duration, Instant};

use calloop::timer::{TimeoutAction, Timer};
use tracing::warn;

use super::state::Session;
use crate::display::Compositor;
use crate::render::{Motion, Picture, Scene};
use crate::sensing::DensityMap;

/// How long cells take at the most; in shorter windows, as long as these are.
const LENGTH: Duration = Duration::from_millis(120);
/// Shorter windows are not bridged: what is in them would only be seen later.
const SHORT: Duration = Duration::from_millis(40);
/// From one frame to the next; the display leaves out what it has no time for.
const FRAME: Duration = Duration::from_millis(16);

/// A map on its way.
pub(super) struct Moving {
    since: Instant,
    length: Duration,
    before: Arc<DensityMap>,
}

impl Moving {
    /// From this map to the one that is there now, after a window of this length.
    pub(super) fn from(before: Arc<DensityMap>, window: Duration) -> Option<Self> {
        (window > SHORT).then(|| Self { since: Instant::now(), length: window.min(LENGTH), before })
    }

    fn is_over(&self) -> bool {
        self.since.elapsed() >= self.length
    }

    /// Puts the picture where it is on its way.
    pub(super) fn place(&self, picture: &mut Picture) {
        if matches!(picture.scene, Scene::Heatmap) && self.before.dim() == picture.density.dim() {
            let share = self.since.elapsed().as_secs_f64() / self.length.as_secs_f64() * 256.0;
            picture.motion =
                Some(Motion { before: Arc::clone(&self.before), share: share.min(256.0) as u16 });
        }
    }
}

impl Session {
    /// Goes on showing what moves until it has arrived.
    pub(super) fn animate(&mut self) {
        if std::mem::replace(&mut self.animating, true) {
            return;
        }
        let me = self.me.clone();
        let armed = self.handle.insert_source(Timer::from_duration(FRAME), move |_, (), compositor| {
            let Some(session) = me.upgrade() else { return TimeoutAction::Drop };
            let mut session = session.borrow_mut();
            if session.step(compositor) {
                return TimeoutAction::ToDuration(FRAME);
            }
            session.animating = false;
            TimeoutAction::Drop
        });
        if let Err(error) = armed {
            warn!(%error, "no timer: cells jump");
            self.animating = false;
        }
    }

    /// Shows one frame of what moves; false when nothing does any more.
    fn step(&mut self, compositor: &mut Compositor) -> bool {
        let still = self.frozen.is_some() || !self.look.animation;
        let mut moved = Vec::new();
        for watched in &mut self.watched {
            if watched.moving.is_some() {
                moved.push(watched.pid());
            }
            watched.moving = watched.moving.take().filter(|moving| !still && !moving.is_over());
        }
        if self.frozen.is_none() {
            for pid in &moved {
                self.show_view(compositor, Some(*pid));
            }
        }
        self.watched.iter().any(|watched| watched.moving.is_some())
    }
}
