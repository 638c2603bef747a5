//! The pipeline: the only module that knows every room.
//!
//! [`Pipeline`] takes the capture windows of one target through map, sensing and telemetry to a
//! [`Picture`](crate::render::Picture). [`session`] feeds it from the event loop of a compositor and shows the pictures;
//! [`snapshot`] feeds it for some seconds and writes the last one. [`record`] keeps the windows in a file instead, which all of them
//! take in the place of a process. [`GlassRamSystem`] is the same for a program that
//! uses the crate.

mod believed;
mod bounded;
pub mod broker;
mod confidence;
pub mod doctor;
pub mod evaluate;
pub mod exercise;
pub mod export;
mod facade;
mod follow;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod hottest;
mod memory;
mod picture;
mod pipeline;
mod quiet;
pub mod record;
mod scenes;
pub mod session;
pub mod snapshot;
mod target;
pub mod top;
mod view;
mod words;
mod zoom;

pub(crate) use words::poor;

pub use facade::{GlassRamCapability, GlassRamSystem};
pub use pipeline::Pipeline;
pub use target::Subject;
pub use view::{Gesture, PointerAt, View};
