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
        /// The number of the framebuffer that the plane shows.
        framebuffer: u32,
        /// The inode of the dma-buf that the GPU has drawn into for it.
        dma_buf: Option<u64>,
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
            PlaneUse::OnPlane { plane, .. } => write!(f, "on plane {plane}"),
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

/// From the end of a capture window until it is on the screen: times over the last thousand pictures, refreshes over all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// Pictures that were measured.
    pub pictures: u64,
    /// Half of them took no longer.
    pub median: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
    /// Where the time went, a median for each.
    pub stages: Stages,
    /// How many pictures came with the first refresh of the output after the end of their window, with the second, and so on; the
    /// last is those that came later than that.
    pub refreshes: [u64; REFRESHES],
}

/// How many refreshes are told apart.
pub const REFRESHES: usize = 8;

/// The stages of a picture's way to the screen. Together they are its latency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stages {
    /// From the end of the window until the GPU is given the picture: the scan, what is made of it, and what was before it.
    pub prepared: Duration,
    /// Until the GPU has drawn it.
    pub drawn: Duration,
    /// Until the frame that has it is handed to the display.
    pub committed: Duration,
    /// Until that frame is on the screen.
    pub shown: Duration,
}

impl Stages {
    /// The latency.
    pub fn total(&self) -> Duration {
        self.prepared + self.drawn + self.committed + self.shown
    }

    fn each(&self) -> [Duration; 4] {
        [self.prepared, self.drawn, self.committed, self.shown]
    }
}

/// The last of these times.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies {
    last: VecDeque<Stages>,
    refreshes: [u64; REFRESHES],
}

impl Latencies {
    const KEPT: usize = 1000;

    /// A picture has reached the screen of an output that is refreshed so often.
    pub(crate) fn add(&mut self, stages: Stages, refresh: Duration) {
        if self.last.len() == Self::KEPT {
            self.last.pop_front();
        }
        self.last.push_back(stages);
        let refreshes = stages.total().as_nanos().div_ceil(refresh.as_nanos().max(1)).max(1);
        let at = usize::try_from(refreshes - 1).unwrap_or(usize::MAX).min(REFRESHES - 1);
        self.refreshes[at] += 1;
    }

    pub(crate) fn summary(&self) -> Option<Latency> {
        let sorted = |value: &dyn Fn(&Stages) -> Duration| {
            let mut sorted: Vec<Duration> = self.last.iter().map(value).collect();
            sorted.sort_unstable();
            sorted
        };
        // The smallest value that so many of a hundred do not exceed.
        let percentile = |sorted: &[Duration], of_100: usize| {
            sorted.get((sorted.len() * of_100).div_ceil(100).saturating_sub(1)).copied()
        };
        let totals = sorted(&Stages::total);
        let [prepared, drawn, committed, shown] =
            [0, 1, 2, 3].map(|at| percentile(&sorted(&|stages| stages.each()[at]), 50).unwrap_or_default());
        Some(Latency {
            pictures: self.refreshes.iter().sum(),
            median: percentile(&totals, 50)?,
            p99: percentile(&totals, 99)?,
            max: percentile(&totals, 100)?,
            stages: Stages { prepared, drawn, committed, shown },
            refreshes: self.refreshes,
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
            let stages = Stages { prepared: ms(1), drawn: ms(number - 1), ..Stages::default() };
            latencies.add(stages, ms(200));
        }
        // 101 to 1100 are left; of the refreshes nothing is forgotten.
        let summary = Latency {
            pictures: 1100,
            median: ms(600),
            p99: ms(1090),
            max: ms(1100),
            stages: Stages { prepared: ms(1), drawn: ms(599), ..Stages::default() },
            refreshes: [200, 200, 200, 200, 200, 100, 0, 0],
        };
        assert_eq!(latencies.summary(), Some(summary));
        latencies.add(Stages { shown: ms(60_000), ..Stages::default() }, ms(200));
        latencies.add(Stages::default(), ms(200));
        assert_eq!(
            latencies.summary().map(|summary| (summary.refreshes[0], summary.refreshes[7])),
            Some((201, 1))
        );
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
