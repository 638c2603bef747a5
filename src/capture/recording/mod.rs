//! Recordings: what capture reports, in a file, and out of it again as if it were live.
//!
//! **In**: the [`Window`](super::Window)s of a monitor ([`Recorder`]). **Out**: the same windows, one after
//! another ([`Recording`], [`Cursor`]) or at their own pace ([`Replay`], a calloop source as the monitor is).
//!
//! A file is a magic number and a sequence of records. A record is its kind, its length, the CRC-32 of both
//! and of its content (`frame`), and the content:
//!
//! ```text
//!  ┌───────┬────────┬───────┬──────┬──────┬──────┬───────┬──────┬───
//!  │ magic │ header │ chunk │ data │ data │ data │ chunk │ data │ …      end, when the target or the person ended it
//!  └───────┴────────┴───────┴──────┴──────┴──────┴───────┴──────┴───
//!            who      when    └─ one zstd stream ─┘   anew
//! ```
//!
//! A data record is one window, and the next piece of its chunk's zstd stream, flushed at its end: a file
//! that is cut anywhere reads back up to the last whole record. A chunk begins a new stream with a window
//! that has the whole table of regions (a key frame), so reading can begin at any chunk: that is what seeking
//! does, and why a bounded recording can drop old ones. Within a window everything is a list of sections with
//! a tag and a length each (`codec`); readers pass over tags that they do not know.
//!
//! A bounded recording is a ring of files (`segments`): `FILE` is being written, `FILE.1`, `FILE.2` … are
//! full; the oldest is removed. Each is a recording of its own. No byte is ever written twice, so there is no
//! instant at which being killed loses more than the window that was being written.
//!
//! Whoever reads trusts nothing: lengths are checked against what is there, decompressed sizes against [`MAX_WINDOW`], and what is made of
//! them against [`MAX_DECODED`] (`weight`), before it is allocated. So whatever a file says, a reader never holds more than 322 MiB:
//! the window that was read last and the one that follows (twice `MAX_DECODED`), as much again of those before it in the run-up of a
//! seek (one `MAX_DECODED`: where they are larger, the run-up is shorter), and a record on its way (130 MiB: 33 as it
//! is in the file, 64 for what it is unpacked into, 1 of zstd's own, and 32 of an index). What a recorder would not read back, it does
//! not write.
//!
//! What is made of the windows (the map and its past, a trace for `evaluate`, rows of a table) is bounded by [`MAX_MADE`], before it is
//! made: [`RecordingError::TooMuch`]. So no command takes more than **640 MiB** for a recording beside what it takes without one.

mod codec;
mod error;
mod frame;
mod header;
mod numbers;
mod reader;
mod replay;
mod segments;
mod weight;
mod writer;

pub use error::RecordingError;
pub use frame::MAX_WINDOW;
pub use header::RecordingInfo;
pub use reader::{Cursor, Recording};
pub use replay::{Replay, ReplayStart, SPEEDS};
pub use segments::RingLimits;
pub use weight::{MAX_DECODED, MAX_MADE};
pub use writer::{Recorded, Recorder};

#[cfg(test)]
mod tests;
