//! The screen: a Wayland compositor that owns the display and shows the map on a plane of its own.
//!
//! In: pictures ([`Compositor::show`]), clients over the Wayland socket, keys and pointers. Out: frames.
//! Called by
//! [`crate::system`], whose event loop has [`Compositor`] as its data; nobody else imports this room.
//!
//! ```text
//!  Picture ─► RenderWorker ─► ring of three buffers ─┬─► overlay plane ─────────┐
//!             (render room)   (slots, map_view)      └─► texture, if refused ─┐ ├─► screen
//!  clients ─► handlers ─► desk (windows, seat) ─► stack ─► scene ─► renderer ─► primary plane
//! ```
//!
//! The compositor has one state, [`desk`](self), and a [`backend`](self) that shows it: `tty` drives DRM/KMS,
//! `nested` is a window of a desktop, `headless` composites into memory. Each output has a redraw state
//! machine (`redraw`) that a page flip or a timer moves on: at most one frame a vblank, none when nothing
//! changes. When only the map changes, only its plane is flipped.
//!
//! Any number of outputs on any number of cards make a wall: `setup` brings each in step with what a person
//! wants of it, `wall` is the geometry of that, `standby` switches displays off and on as `power` decides.

mod awaited;
mod backend;
mod clients;
mod compositor;
mod config;
mod confine;
mod cursor;
mod desk;
mod dispatch;
mod error;
mod focus;
mod foreign_memory;
mod gestures;
mod handlers;
pub mod hotkey;
mod input;
mod kiosk;
mod layers;
mod limits;
mod lock;
mod map_buffers;
mod map_view;
mod moments;
mod outputs;
mod overlay;
mod pacing;
mod placement;
mod popups;
mod power;
mod programs;
mod puppet;
mod redraw;
mod relay;
mod render_element;
mod scene;
mod screen_copy;
pub mod settings;
mod setup;
mod shares;
mod shell;
mod slots;
mod stack;
mod standby;
mod status;
pub mod survey;
mod tablet;
mod wall;
mod xwayland;

pub use compositor::{Compositor, Notice};
pub use config::{BackendKind, CompositorConfig, PlanePolicy};
pub use error::DisplayError;
pub use input::{KeyboardLayouts, MapCommand, MapPoint, MapPointer};
pub use kiosk::ProgramStatus;
pub use overlay::{Candidate, OverlayKind};
pub use placement::{Division, Placement};
pub use puppet::{Puppet, PuppetClient};
pub use shell::{Direction, MasterSide, WindowCommand, WindowStatus};
pub use status::{FrameStatistics, Latency, OutputStatus, PlaneUse, REFRESHES, Stages};
