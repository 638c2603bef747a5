//! memory.glass: live memory introspection on the screen itself.
//!
//! Data flows one way, one room a step:
//!
//! ```text
//!  a process ──► capture ──► map ──► sensing ──► telemetry ──► render ──► display
//!  (untouched)   which       page    samples     rates,        density    one CRTC: clients on the
//!                pages were  to      to a full   threads       to a       primary plane, the map on an
//!                written     Hilbert density                   GBM        overlay plane
//!                            cell    map                       dma-buf
//! ```
//!
//! A room never imports a later one; [`system`] is the only module that knows them all.

pub mod capture;
pub mod channel;
pub mod cli;
pub mod config;
pub mod display;
pub mod error;
pub mod ipc;
pub mod map;
pub mod plain;
pub mod render;
pub mod sensing;
mod standard_error;
pub mod system;
pub mod telemetry;
mod whole_file;

pub use error::{GlassRamError, Result};
