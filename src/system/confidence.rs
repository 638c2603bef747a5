//! How sure the shown map is where not every page was armed all the time, cell by cell and as a whole.

use std::sync::Arc;

use crate::sensing::{AccuracyEstimate, DensityMap, Doubt};

/// Cells' worth of what is shown, below which there is no map whose accuracy could be told.
const LEAST_SHOWN: f64 = 0.5;

/// By cell, indexed `[y][x]`.
#[derive(Debug, Clone)]
pub(super) struct Confidence {
    doubt: Arc<Doubt>,
}

impl Confidence {
    pub(super) fn of(doubt: Arc<Doubt>) -> Self {
        Self { doubt }
    }

    /// How sure a cell is, 0 (nothing known) to 1 (seen).
    pub(super) fn at(&self, (x, y): (u32, u32)) -> f32 {
        sure(self.doubt.variance[[y as usize, x as usize]])
    }

    pub(super) fn map(&self) -> DensityMap {
        self.doubt.variance.mapv(sure)
    }

    /// The accuracy of the whole map: 1 less the error that is to be expected, as a part of what is shown.
    pub(super) fn accuracy(&self) -> Option<AccuracyEstimate> {
        let (shown, (error, least, most)) = (self.doubt.shown, self.doubt.error());
        let accuracy = |error: f64| (1.0 - error / shown).max(0.0);
        (shown >= LEAST_SHOWN).then(|| AccuracyEstimate {
            value: accuracy(error),
            low: accuracy(most),
            high: accuracy(least),
        })
    }
}

fn sure(variance: f32) -> f32 {
    1.0 - 2.0 * variance.clamp(0.0, 0.25).sqrt()
}
