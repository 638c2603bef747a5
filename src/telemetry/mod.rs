//! Numbers about the target, window by window.
//!
//! In come the written pages of each window, the line that they lie on, and the accuracy that [`crate::sensing`] states for its map; out
//! go [`GlassRamTelemetry`], which the picture's caption, the JSON line of `snapshot` and the log show, and what the modes of
//! the picture draw:
//!
//! ```text
//!  written pages ─┬─► touched    pages never written before ─► avalanche   cascades of them           Avalanche
//!                 ├─► features   four numbers a window ─► bocpd ─► phase   changes of the pattern     PhaseChange
//!                 └─► history    shares along the line, for so long as fits                           History
//!  thread samples ──► threads    centre of writing, speed, kinetic energy                             ThreadMotion
//! ```
//!
//! Times are counted from the begin of the watch. [`crate::system`] feeds it.

mod avalanche;
mod bocpd;
mod features;
mod history;
mod phase;
mod profile;
mod recorder;
mod threads;
mod touched;

pub use avalanche::{Avalanche, AvalancheDetector, AvalancheStatistics, FrontStep};
pub use features::Features;
pub use history::{HISTORY_ORDER, History, HistoryRow};
pub use phase::{PhaseChange, PhaseDetector, REGIME_ORDER, Regime};
pub use profile::profile;
pub use recorder::{GlassRamTelemetry, TelemetryRecorder, TimedAdjustment, WindowFacts};
pub use threads::{ThreadMotion, ThreadSample, ThreadTracker, kinetic_energy};
pub use touched::Touched;
