//! What is said about an output.

use serde::{Deserialize, Serialize};

use super::{Mode, Placement, Target};

/// What events say about an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputState {
    /// The connector's name, e.g. "DP-1".
    pub connector: String,
    /// Who made the display, as far as it says so.
    pub make: String,
    /// Its model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames in a thousand seconds.
    pub refresh_mhz: u32,
    /// Where the map lies on it.
    pub placement: Placement,
    /// Where its left edge is among the outputs, logical pixels.
    #[serde(default)]
    pub x: i32,
    /// Where its upper edge is.
    #[serde(default)]
    pub y: i32,
    /// Its pixels for a thousand logical ones.
    #[serde(default)]
    pub scale_thousandths: u32,
    /// How it is turned, as in the configuration.
    #[serde(default)]
    pub transform: String,
    /// The output that it mirrors.
    #[serde(default)]
    pub mirrors: Option<String>,
    /// Why it is switched off.
    #[serde(default)]
    pub off: Option<String>,
    /// Why something that is configured for it is not in force.
    #[serde(default)]
    pub problem: Option<String>,
    /// The process that its map shows.
    #[serde(default)]
    pub target: Option<Target>,
    /// What its map shows of it.
    #[serde(default)]
    pub mode: Mode,
    /// In a kiosk, its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Program>,
}

/// In a kiosk, the program of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its process number, while it runs.
    pub pid: Option<u32>,
    /// How often it was started again because it had ended.
    pub restarts: u32,
    /// How it ended last, e.g. "exit status: 1".
    pub last_end: Option<String>,
}

/// One output in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// What events say about it, too.
    #[serde(flatten)]
    pub state: OutputState,
    /// How the map gets onto the screen at this moment.
    pub map: MapPath,
    /// What was shown so far.
    pub frames: Frames,
    /// From the end of a capture window until the map that shows it is on the screen; nothing until there is one.
    #[serde(default)]
    pub latency: Option<Latency>,
}

/// From the end of a capture window until the map that shows it is on the screen: times over the last thousand pictures, refreshes
/// over all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Pictures that were measured.
    pub pictures: u64,
    /// Half of them took no longer, microseconds.
    pub p50_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
    /// Half of them took no longer from the end of the window until the GPU was given the picture, microseconds.
    #[serde(default)]
    pub prepared_us: u64,
    /// From there until the GPU had drawn it.
    #[serde(default)]
    pub drawn_us: u64,
    /// From there until a frame with it was handed to the display.
    #[serde(default)]
    pub committed_us: u64,
    /// From there until that frame was on the screen.
    #[serde(default)]
    pub shown_us: u64,
    /// How many pictures came with the first refresh of the output after the end of their window, with the second, and so on; the
    /// last number is of those that came later.
    #[serde(default)]
    pub refreshes: Vec<u64>,
}

/// How the map gets onto the screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapPath {
    /// The display controller reads it from its own buffer.
    OnPlane {
        /// The plane's number in the kernel.
        plane: u32,
        /// The number of the framebuffer that the plane shows at this moment.
        #[serde(default)]
        framebuffer: Option<u32>,
        /// The inode of the dma-buf that the GPU has drawn into for it: that of the framebuffer's memory.
        #[serde(default)]
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

/// Counts since the output appeared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frames {
    /// Frames that reached the screen.
    pub presented: u64,
    /// Of these, frames with the map on a plane.
    pub map_on_plane: u64,
    /// Of these, frames with the map composited.
    pub map_composited: u64,
    /// Frames that reached the screen later than they were drawn for.
    pub missed: u64,
    /// By how many refreshes, together.
    #[serde(default)]
    pub late: u64,
    /// Frames that the card or the renderer refused.
    pub failed: u64,
}
