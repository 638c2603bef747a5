//! Lines, names and marks on the map, as data.

use std::sync::Arc;
use std::time::Duration;

/// A stretch of the curve that belongs together: a mapping of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedStretch {
    /// What it is, e.g. `[heap]`.
    pub name: String,
    /// The first cell along the curve.
    pub first: u32,
    /// The last one.
    pub last: u32,
}

/// What is known of the cell under the pointer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hover {
    /// The cell, (x, y).
    pub cell: (u32, u32),
    /// One fact a line.
    pub words: Vec<String>,
}

/// What a pinned cell did of late.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Which one.
    pub title: String,
    /// Its density, 0..1, the newest last.
    pub values: Vec<f32>,
    /// The time that they are of.
    pub span: Duration,
}

/// What is drawn over the map.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Marks {
    /// Mappings, outlined and named where there is room.
    pub stretches: Arc<[NamedStretch]>,
    /// Cells that somebody holds on to, (x, y).
    pub pins: Vec<(u32, u32)>,
    /// The cell under the pointer.
    pub hover: Option<Hover>,
    /// The line of a selection in progress, in shares of the map's side.
    pub lasso: Vec<(f32, f32)>,
    /// The last pin's history, for the panel.
    pub series: Option<Series>,
}
