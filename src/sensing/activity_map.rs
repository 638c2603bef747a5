//! From pages to cells: the density map, and how far it may be from the one of exact watching.

use super::{DensityMap, sparse_map};
use crate::map::{AddressLayout, HilbertCapability as _, HilbertSkilling};

/// The mean distance from its mean of what is distributed normally, in standard deviations: √(2/π).
const MEAN_DEVIATION: f32 = 0.797_884_6;

/// A map, and what is not known of it.
#[derive(Debug, Clone)]
pub struct ActivityMap {
    /// Each cell the mean over its pages.
    pub density: DensityMap,
    /// The variance of each cell, and what it sums up to; none where every page was armed all the time.
    pub doubt: Option<Doubt>,
}

/// How far a map may be from the one that would be shown if every page were armed all the time.
#[derive(Debug, Clone)]
pub struct Doubt {
    /// The variance of each cell, indexed as the map is.
    pub variance: DensityMap,
    /// The sum over all cells of the error that is to be expected where the pages of a cell have nothing to
    /// do with each other.
    error_alone: f64,
    /// The same where they are written together.
    error_together: f64,
    /// The sum over all cells of what is shown.
    pub shown: f64,
}

impl Doubt {
    fn none(size: usize) -> Self {
        Self { variance: sparse_map(size), error_alone: 0.0, error_together: 0.0, shown: 0.0 }
    }

    /// The error of the whole map that is to be expected, and the least and the most that it may be. What the
    /// variances come to is an upper bound: on recorded programs (`tests/live_traces.rs`) the error was
    /// between a quarter and nine tenths of it.
    pub fn error(&self) -> (f64, f64, f64) {
        let (alone, together) = (self.error_alone, self.error_together);
        (0.5 * (alone * together).sqrt(), 0.2 * alone, 0.9 * together)
    }
}

/// The map of pages with their places on the line, ascending, and what is shown of them.
pub(super) fn density(
    layout: &AddressLayout,
    curve: &HilbertSkilling,
    pages: impl Iterator<Item = (u64, f32)>,
) -> DensityMap {
    let mut density = sparse_map(curve.size() as usize);
    each_cell(
        layout,
        curve,
        pages,
        |sum: &mut f32, shown| *sum += shown,
        |at, pages, sum| {
            // Rounding may leave a full cell a few ulps over one.
            density[at] = (sum / pages).min(1.0);
        },
    );
    density
}

/// The same with the variance of what is shown, beside `unknown` pages of which nothing is known.
pub(super) fn with_doubt(
    layout: &AddressLayout,
    curve: &HilbertSkilling,
    pages: impl Iterator<Item = (u64, (f32, f32))>,
    unknown: u64,
) -> ActivityMap {
    let size = curve.size() as usize;
    let (mut density, mut doubt, mut shown) = (sparse_map(size), None, 0.0);
    each_cell(layout, curve, pages, Cell::add, |at, pages, cell: Cell| {
        density[at] = (cell.sum / pages).min(1.0);
        shown += f64::from(cell.sum / pages);
        if cell.variance > 0.0 {
            let doubt = doubt.get_or_insert_with(|| Doubt::none(size));
            let variance = cell.variance / (pages * pages);
            doubt.variance[at] = variance;
            doubt.error_alone += f64::from((MEAN_DEVIATION * variance.sqrt()).min(cell.deviation / pages));
            doubt.error_together += f64::from(cell.deviation / pages);
        }
    });
    if unknown > 0 {
        let doubt = doubt.get_or_insert_with(|| Doubt::none(size));
        // Pages of which nothing is known are dark on the map, and as bright as the others in truth, for all
        // that is known.
        let known = layout.live_pages().saturating_sub(unknown).max(1);
        let dark = shown * unknown as f64 / known as f64;
        doubt.error_alone += dark;
        doubt.error_together += dark;
    }
    if let Some(doubt) = &mut doubt {
        doubt.shown = shown;
    }
    ActivityMap { density, doubt }
}

/// Sums up the pages of each cell, and gives the sum with the cell's place on the map, `[y, x]`, and its
/// pages.
fn each_cell<Page: Copy, Sum: Default>(
    layout: &AddressLayout,
    curve: &HilbertSkilling,
    pages: impl Iterator<Item = (u64, Page)>,
    add: impl Fn(&mut Sum, Page),
    mut put: impl FnMut([usize; 2], f32, Sum),
) {
    let cells = curve.cells();
    let mut full = |d, pages, sum| {
        let (x, y) = curve.d2xy(d);
        put([y as usize, x as usize], pages, sum);
    };
    // The cell that is being summed up: its place on the curve, its last page, its pages, and the sum.
    let mut cell: Option<(u32, u64, f32, Sum)> = None;
    for (place, page) in pages {
        // Most pages are of the cell of the page before.
        if let Some((_, _, _, sum)) = cell.as_mut().filter(|cell| place <= cell.1) {
            add(sum, page);
            continue;
        }
        for d in layout.cells_of_page(place, cells) {
            let Some(places) = layout.pages_of_cell(d, cells) else { continue };
            let mut sum = Sum::default();
            add(&mut sum, page);
            let pages = (places.end() - places.start() + 1) as f32;
            if let Some((d, _, pages, sum)) = cell.replace((d, *places.end(), pages, sum)) {
                full(d, pages, sum);
            }
        }
    }
    if let Some((d, _, pages, sum)) = cell {
        full(d, pages, sum);
    }
}

/// Sums over the pages of a cell.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    sum: f32,
    variance: f32,
    /// Of their mean distances from what is shown.
    deviation: f32,
}

impl Cell {
    fn add(&mut self, (mean, variance): (f32, f32)) {
        self.sum += mean;
        self.variance += variance;
        // Of what is either bright or dark, the mean distance from the mean is no more than that.
        self.deviation += (MEAN_DEVIATION * variance.sqrt()).min(2.0 * mean * (1.0 - mean));
    }
}
