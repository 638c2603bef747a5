//! What a plan knows of one page, and of the samples beside it.

use super::belief::{self, Neighbour, Situation};
use super::mixer;

/// What is supposed of a new page.
const RATE_NEW: f32 = 0.05;
/// A sample's weight in the running share of the samples on one side of a page.
const BESIDE: f32 = 1.0 / 8.0;
/// Pages of a tile; the share of written samples near a page is that of its tile and [`TILES`] to either side.
pub(super) const TILE: usize = 64;
const TILES: usize = 2;

/// A page's last states, newest lowest, the windows since it was last seen, and how often it was written in the long run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page {
    pub states: u8,
    pub age: u8,
    pub class: u8,
    pub situation: Situation,
    pub rate: f32,
}

impl Default for Page {
    fn default() -> Self {
        Self { states: 0, age: 0, class: 0, situation: 0, rate: RATE_NEW }
    }
}

impl Page {
    pub fn kind(self) -> usize {
        usize::from(self.states & 1)
    }

    pub fn weight_set(self) -> u8 {
        mixer::weight_set(self.states, belief::age_class(self.age))
    }
}

/// The samples of one kind on one side of a page.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Side {
    pub nearest: Option<(u32, bool)>,
    pub share: Option<f32>,
}

impl Side {
    pub fn neighbour(&self, place: usize) -> Option<Neighbour> {
        self.nearest.map(|(at, written)| Neighbour { written, distance: at.abs_diff(place as u32) })
    }

    pub fn pass(&mut self, place: usize, written: bool) {
        let state = f32::from(u8::from(written));
        self.nearest = Some((place as u32, written));
        self.share = Some(self.share.map_or(state, |share| share + BESIDE * (state - share)));
    }

    /// The share on both sides.
    pub fn both(&self, other: &Self) -> Option<f32> {
        match (self.share, other.share) {
            (Some(one), Some(two)) => Some(0.5 * (one + two)),
            (one, two) => one.or(two),
        }
    }
}

/// The share of written ones among the samples near `place`, without its own (`own`: its state, if it is one).
pub(super) fn near_share(tiles: &[[u32; 2]], place: usize, own: Option<bool>) -> Option<f32> {
    let tile = place / TILE;
    let (mut silent, mut written) = (0u32, 0u32);
    for near in &tiles[tile.saturating_sub(TILES)..(tile + TILES + 1).min(tiles.len())] {
        silent += near[0];
        written += near[1];
    }
    match own {
        Some(true) => written -= 1,
        Some(false) => silent -= 1,
        None => {}
    }
    (silent + written > 0).then(|| written as f32 / (silent + written) as f32)
}
