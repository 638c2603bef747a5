//! Numbers about the target, window by window.
//!
//! In come the capture windows and the accuracy that [`crate::sensing`] states for its map; out goes
//! [`GlassRamTelemetry`], which the picture's caption, the JSON line of `snapshot` and the log show. [`crate::system`]
//! feeds it.

mod avalanche;
mod recorder;

pub use recorder::{GlassRamTelemetry, TelemetryRecorder, WindowFacts};
