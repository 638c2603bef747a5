//! How sure the map of a window is in which not every page was armed, cell by cell.
//!
//! Samples are taken and judged on the part of the line that was ever written; the map has the whole line.

use std::ops::Range;

use super::sampling::SampledWindow;
use crate::map::{HilbertCapability as _, HilbertSkilling};
use crate::sensing::{DensityMap, Field, sparse_map};

/// By cell, indexed `[y][x]`.
#[derive(Debug, Clone)]
pub(super) struct Confidence {
    /// 1 less how sure a cell is: a large map has few cells that are not sure, and takes memory for these only.
    doubt: DensityMap,
    /// It is how sure they are where next to nothing is known of the line.
    of_unknown: bool,
}

impl Confidence {
    /// Of the field that was solved for `shown`: for the cells of the map where the samples are of the whole line, and for
    /// pages where they are of a part.
    pub(super) fn of(field: &Field, shown: &SampledWindow, curve: &HilbertSkilling) -> Self {
        let side = curve.size() as usize;
        let mut doubt = sparse_map(side);
        let of_unknown = shown.part.is_some() && !shown.rest_is_silent;
        if shown.part.is_none() {
            for (d, sure) in field.confidence().enumerate().filter(|(_, sure)| *sure < 1.0) {
                let (x, y) = curve.d2xy(d as u32);
                doubt[[y as usize, x as usize]] = 1.0 - sure;
            }
            return Self { doubt, of_unknown };
        }
        let (on_line, cells) = (OnLine::of(shown), curve.cells());
        let mut cells_in_part = Vec::new();
        let unseen = |place: &usize| !shown.seen.contains(*place);
        let places = (0..shown.seen.pages()).filter(|place| of_unknown || unseen(place));
        for (place, on_line) in places.filter_map(|place| Some((place, on_line.place(place)?))) {
            for d in shown.line.cells_of_page(on_line, cells) {
                let (x, y) = curve.d2xy(d);
                let pages =
                    shown.line.pages_of_cell(d, cells).map_or(1, |pages| pages.end() - pages.start() + 1);
                // Pages of a cell are taken as independent given the samples.
                doubt[[y as usize, x as usize]] += field.variance[place] / (pages as f32).powi(2);
                cells_in_part.push((x, y));
            }
        }
        cells_in_part.sort_unstable();
        cells_in_part.dedup();
        for (x, y) in cells_in_part {
            let variance = &mut doubt[[y as usize, x as usize]];
            *variance = 2.0 * variance.clamp(0.0, 0.25).sqrt();
            if of_unknown {
                *variance = 1.0 - *variance;
            }
        }
        Self { doubt, of_unknown }
    }

    /// How sure a cell is, 0 (nothing known) to 1 (seen).
    pub(super) fn at(&self, (x, y): (u32, u32)) -> f32 {
        let value = self.doubt[[y as usize, x as usize]];
        if self.of_unknown { value } else { 1.0 - value }
    }

    pub(super) fn map(&self) -> DensityMap {
        if self.of_unknown { self.doubt.clone() } else { self.doubt.mapv(|doubt| 1.0 - doubt) }
    }
}

/// Where the places that a window's sets are of lie on the whole line.
pub(super) struct OnLine(Option<Vec<(Range<u64>, u64)>>);

impl OnLine {
    pub(super) fn of(shown: &SampledWindow) -> Self {
        Self(shown.part.as_ref().map(|part| {
            let mut moves = part.moves(&shown.line);
            moves.sort_unstable_by_key(|(from, _)| from.start);
            moves
        }))
    }

    pub(super) fn place(&self, place: usize) -> Option<u64> {
        let place = place as u64;
        let Some(moves) = &self.0 else { return Some(place) };
        let behind = moves.partition_point(|(from, _)| from.start <= place);
        let (from, to) = behind.checked_sub(1).map(|at| &moves[at]).filter(|(from, _)| place < from.end)?;
        Some(to + (place - from.start))
    }
}
