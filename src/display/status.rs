//! What each output is doing, for people and for `doctor`.

use std::fmt;

use super::Placement;
use super::settings::OutputIdentity;

/// One output.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputStatus {
    /// Its connector, e.g. "DP-1", and what the display says of itself.
    pub identity: OutputIdentity,
    /// Where the map lies on it.
    pub placement: Placement,
    /// Pixels across and down.
    pub resolution: (i32, i32),
    /// Frames a second.
    pub refresh_hz: f64,
    /// How the map gets onto the screen.
    pub map: PlaneUse,
    /// What was shown so far.
    pub frames: FrameStatistics,
}

/// How the map gets onto the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaneUse {
    /// The display controller reads it from its own buffer.
    OnPlane {
        /// The plane's number in the kernel.
        plane: u32,
    },
    /// It is drawn into the frame of the clients.
    Composited {
        /// Why.
        reason: String,
    },
    /// There is nothing of it on this output.
    Off,
}

impl fmt::Display for PlaneUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlaneUse::OnPlane { plane } => write!(f, "on plane {plane}"),
            PlaneUse::Composited { reason } => write!(f, "composited: {reason}"),
            PlaneUse::Off => f.write_str("off"),
        }
    }
}

/// Counts since the output appeared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameStatistics {
    /// Frames that reached the screen.
    pub presented: u64,
    /// Of these, frames with the map on a plane.
    pub map_on_plane: u64,
    /// Of these, frames with the map composited.
    pub map_composited: u64,
    /// Frames that reached the screen later than the vblank they were drawn for.
    pub missed: u64,
    /// Frames that the card or the renderer refused.
    pub failed: u64,
}

/// What one frame did with the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MapPath {
    Plane,
    Composited,
    Absent,
}

impl FrameStatistics {
    /// A frame has reached the screen. `late` is how many vblanks it came after its own.
    pub(crate) fn presented(&mut self, path: MapPath, late: u64) {
        self.presented += 1;
        self.missed += u64::from(late > 0);
        match path {
            MapPath::Plane => self.map_on_plane += 1,
            MapPath::Composited => self.map_composited += 1,
            MapPath::Absent => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_by_path() {
        let mut frames = FrameStatistics::default();
        frames.presented(MapPath::Plane, 0);
        frames.presented(MapPath::Plane, 2);
        frames.presented(MapPath::Composited, 0);
        frames.presented(MapPath::Absent, 0);
        assert_eq!(
            frames,
            FrameStatistics { presented: 4, map_on_plane: 2, map_composited: 1, missed: 1, failed: 0 }
        );
    }
}
