//! The pointer over the map. No client is there; the session is told, which knows what the map shows.

use smithay::utils::{Logical, Point};

use crate::display::{Compositor, Notice};

/// Where the pointer is on the map's picture, in pixels of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapPoint {
    /// Of the whole picture, across and down.
    pub whole: (u32, u32),
    /// The pointer.
    pub at: (u32, u32),
}

/// What the pointer does over the map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MapPointer {
    /// It has moved, or left the map.
    Moved(Option<MapPoint>),
    /// Its left button went down or came up.
    Pressed {
        /// Down or up.
        down: bool,
        /// Super is held: the map is to be moved.
        moving: bool,
    },
    /// Its wheel was turned so many clicks, downwards and to the right.
    Scrolled {
        /// Downwards.
        down: f64,
        /// To the right.
        right: f64,
    },
}

/// What a key does with the map that is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapCommand {
    /// Look into a quarter of it.
    ZoomIn,
    /// Look at four times as much.
    ZoomOut,
    /// Towards lower addresses.
    Back,
    /// Towards higher addresses.
    Forward,
    /// All of it.
    Whole,
    /// It stays where the most is written, or no more.
    FollowHottest,
}

impl Compositor {
    /// The point of the map's picture that lies here, where nothing lies over it. Behind a lock there is no map.
    fn map_point(&self, at: Point<f64, Logical>) -> Option<MapPoint> {
        if self.desk.lock.is_on() || self.desk.under(at).is_some() {
            return None;
        }
        self.desk.outputs.iter().find_map(|state| {
            let geometry = self.desk.space.output_geometry(&state.output)?;
            let local = at - geometry.loc.to_f64();
            geometry.to_f64().contains(at).then(|| state.map.point(local)).flatten()
        })
    }

    /// The pointer is where it was, but the map may be covered now: what was held of it is let go.
    pub(crate) fn leave_covered_map(&mut self) {
        self.pointer_over_map(self.desk.pointer_at);
        if self.desk.map_point.is_none() && self.desk.map_held {
            self.map_pressed(false);
        }
    }

    /// Tells the session where the pointer is on the map, while it is there and once when it has left.
    pub(super) fn pointer_over_map(&mut self, at: Point<f64, Logical>) {
        let point = self.map_point(at);
        if point != self.desk.map_point {
            self.desk.map_point = point;
            self.desk.notify(Notice::Map(MapPointer::Moved(point)));
        }
    }

    /// Tells the session of a button over the map, and of its release wherever that is.
    pub(super) fn map_pressed(&mut self, down: bool) {
        let ours = if down { self.desk.map_point.is_some() } else { self.desk.map_held };
        if ours {
            self.desk.map_held = down;
            let moving = self.super_is_held();
            self.desk.notify(Notice::Map(MapPointer::Pressed { down, moving }));
        }
    }

    /// Tells the session of the wheel over the map; true when it was there.
    pub(super) fn map_scrolled(&mut self, right: f64, down: f64) -> bool {
        let over = self.desk.map_point.is_some();
        if over {
            self.desk.notify(Notice::Map(MapPointer::Scrolled { down, right }));
        }
        over
    }
}
