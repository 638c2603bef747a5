//! Between two windows: cells go from what they were to what they are, frame by frame.
//!
//! Only where it is asked for, and only while something moves: without it the picture stands still from one window to the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use calloop::timer::{TimeoutAction, Timer};
use tracing::warn;

use super::state::Session;
use crate::display::Compositor;
use crate::render::{Motion, Picture, Scene};
use crate::sensing::DensityMap;

/// How long cells take. A shorter window cuts it short: the next motion begins where this one was going.
const LENGTH: Duration = Duration::from_millis(120);
/// From one frame to the next; the display leaves out what it has no time for.
const FRAME: Duration = Duration::from_millis(16);

/// A map on its way.
pub(super) struct Moving {
    since: Instant,
    before: Arc<DensityMap>,
}

impl Moving {
    /// From this map to the one that is there now.
    pub(super) fn from(before: Arc<DensityMap>) -> Self {
        Self { since: Instant::now(), before }
    }

    fn is_over(&self) -> bool {
        self.since.elapsed() >= LENGTH
    }

    /// Puts the picture where it is on its way.
    pub(super) fn place(&self, picture: &mut Picture) {
        if matches!(picture.scene, Scene::Heatmap) && self.before.dim() == picture.density.dim() {
            let share = self.since.elapsed().as_secs_f64() / LENGTH.as_secs_f64() * 256.0;
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
