//! Where windows go, and which of them has the keyboard.
//!
//! ```text
//!  a client's toplevel ─► mapping ─► windows (data, in order) ─┬─► places (pure) ─► arrange ─► space, configures
//!  hotkeys, msg, clicks ─► commands ─────────────────────────┘        ▲
//!                          focus ◄─ what was used last           tiling (pure)
//! ```
//!
//! Every output has one master tile and a stack beside it, dialogs float above them, and a fullscreen window has the clients' part
//! of the output alone. A window belongs to a display, wherever that is plugged in: when it is unplugged the window is a guest on another
//! one, behind the windows that live there, and goes home when the output is back. Each output remembers its focus, because each
//! window knows when it was used last.

mod arrange;
mod commands;
mod focus;
mod grabs;
mod mapping;
mod over_map;
mod places;
mod status;
mod tiling;
mod windows;
mod x11;

pub use commands::{Direction, WindowCommand};
pub(crate) use grabs::Held;
pub use status::WindowStatus;
pub use tiling::MasterSide;
pub(crate) use windows::Windows;
