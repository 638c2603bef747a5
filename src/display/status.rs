//! What each output is doing, for people and for `doctor`.

use std::fmt;

use std::collections::VecDeque;
use std::time::Duration;

use super::Placement;
use super::kiosk::ProgramStatus;
use super::settings::{OutputIdentity, Turn};

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
    /// Its upper left corner on the desk, logical pixels.
    pub position: (i32, i32),
    /// Its pixels for a logical one.
    pub scale: f64,
    /// How it is turned.
    pub turn: Turn,
    /// The output that it mirrors.
    pub mirrors: Option<String>,
    /// Why it is switched off.
    pub off: Option<String>,
    /// Why something that a person has set is not in force.
    pub problem: Option<String>,
    /// How the map gets onto the screen.
    pub map: PlaneUse,
    /// What was shown so far.
    pub frames: FrameStatistics,
    /// From the end of a capture window until the map that shows it is on the screen.
    pub latency: Option<Latency>,
    /// In a kiosk, its program.
    pub program: Option<ProgramStatus>,
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
    /// By how many vblanks, together.
    pub late: u64,
    /// Frames that the card or the renderer refused.
    pub failed: u64,
}

/// From the end of a capture window until it is on the screen, over the last thousand pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Pictures that were measured, the older ones included.
    pub pictures: u64,
    /// Half of them took no longer.
    pub median: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// The last of these times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    last: VecDeque<Duration>,
    pictures: u64,
}

impl Latencies {
    const KEPT: usize = 1000;

    /// A picture has reached the screen so long after its window.
    pub(crate) fn add(&mut self, latency: Duration) {
        if self.last.len() == Self::KEPT {
            self.last.pop_front();
        }
        self.last.push_back(latency);
        self.pictures += 1;
    }

    pub(crate) fn summary(&self) -> Option<Latency> {
        let mut sorted: Vec<Duration> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        // The smallest value that so many of a hundred do not exceed.
        let percentile =
            |of_100: usize| sorted.get((sorted.len() * of_100).div_ceil(100).saturating_sub(1)).copied();
        Some(Latency {
            pictures: self.pictures,
            median: percentile(50)?,
            p99: percentile(99)?,
            max: percentile(100)?,
        })
    }
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
        self.late += late;
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
    fn latencies_are_those_of_the_last_pictures() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.summary(), None);
        let ms = Duration::from_millis;
        for number in 1..=1100 {
            latencies.add(ms(number));
        }
        // 101 to 1100 are left.
        let summary = Latency { pictures: 1100, median: ms(600), p99: ms(1090), max: ms(1100) };
        assert_eq!(latencies.summary(), Some(summary));
    }

    #[test]
    fn frames_are_counted_by_path() {
        let mut frames = FrameStatistics::default();
        frames.presented(MapPath::Plane, 0);
        frames.presented(MapPath::Plane, 2);
        frames.presented(MapPath::Composited, 0);
        frames.presented(MapPath::Absent, 0);
        assert_eq!(
            frames,
            FrameStatistics {
                presented: 4,
                map_on_plane: 2,
                map_composited: 1,
                missed: 1,
                late: 2,
                failed: 0
            }
        );
    }
}
