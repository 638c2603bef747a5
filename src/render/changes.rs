//! Which tiles of a map differ from another's.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::levels::in_parallel;
use crate::sensing::{DensityMap, MapTiles, tile_side};

/// A map, and what its maker knows of its tiles.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) map: Arc<DensityMap>,
    tiles: Option<Arc<MapTiles>>,
}

impl Known {
    pub(super) fn new(map: &Arc<DensityMap>, tiles: Option<&Arc<MapTiles>>) -> Known {
        // Those of another map say nothing of this one.
        Known { map: Arc::clone(map), tiles: tiles.filter(|tiles| tiles.is_of(map)).cloned() }
    }

    /// Nothing is known but the cells.
    pub(super) fn bare(map: &Arc<DensityMap>) -> Known {
        Known { map: Arc::clone(map), tiles: None }
    }
}

/// The tiles in which two square maps of one size differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Changed {
    /// Cells along the side of a tile.
    pub(super) step: usize,
    /// Tiles along the side of the map.
    pub(super) across: usize,
    /// Row after row.
    pub(super) tiles: Vec<usize>,
}

impl Changed {
    /// The cells that have changed, as few runs as that takes, of a map row after row; ascending.
    pub(super) fn runs(&self) -> Vec<Range<usize>> {
        let width = self.step * self.across;
        let mut runs: Vec<Range<usize>> = Vec::new();
        for tiles in self.tiles.chunk_by(|a, b| a / self.across == b / self.across) {
            let top = tiles[0] / self.across * self.step;
            for row in top..top + self.step {
                for tile in tiles {
                    let first = row * width + tile % self.across * self.step;
                    match runs.last_mut() {
                        Some(last) if last.end == first => last.end += self.step,
                        _ => runs.push(first..first + self.step),
                    }
                }
            }
        }
        runs
    }

    /// The runs of cells of one tile.
    pub(super) fn rows_of(&self, tile: usize) -> impl Iterator<Item = Range<usize>> {
        let width = self.step * self.across;
        let first = tile / self.across * self.step * width + tile % self.across * self.step;
        (0..self.step).map(move |row| first + row * width..first + row * width + self.step)
    }
}

/// What was compared for one frame: the same two maps are asked for by what draws and by what uploads.
#[derive(Default)]
pub(super) struct Comparisons(Vec<(Arc<DensityMap>, Arc<DensityMap>, Arc<Changed>)>);

impl Comparisons {
    /// What two square maps of one size differ in.
    pub(super) fn between(&mut self, old: &Known, new: &Known) -> Arc<Changed> {
        let same = |a: &Arc<DensityMap>, b: &Arc<DensityMap>| Arc::ptr_eq(a, b);
        if let Some((.., changed)) = self.0.iter().find(|(a, b, _)| same(a, &old.map) && same(b, &new.map)) {
            return Arc::clone(changed);
        }
        let changed = Arc::new(changed(old, new));
        self.0.push((Arc::clone(&old.map), Arc::clone(&new.map), Arc::clone(&changed)));
        changed
    }

    /// Lets go of the maps.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

/// A map's values row after row; it may have come here transposed or otherwise out of row order.
pub(super) fn in_rows(map: &DensityMap) -> Cow<'_, [f32]> {
    match map.as_slice() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(map.iter().copied().collect()),
    }
}

fn changed(old: &Known, new: &Known) -> Changed {
    said(old, new).unwrap_or_else(|| {
        let side = new.map.nrows();
        let step = tile_side(side);
        let across = side / step;
        let same = Arc::ptr_eq(&old.map, &new.map);
        let tiles =
            if same { Vec::new() } else { compared(&in_rows(&old.map), &in_rows(&new.map), step, across) };
        Changed { step, across, tiles }
    })
}

/// The tiles in which two maps of one size may differ, where their makers have said enough.
pub(super) fn said(old: &Known, new: &Known) -> Option<Changed> {
    let (old, numbers) = (old.tiles.as_ref()?, new.tiles.as_ref()?);
    let numbers = old.numbers().iter().zip(numbers.numbers()).enumerate();
    let tiles = numbers.filter(|(_, (old, new))| old != new).map(|(tile, _)| tile).collect();
    let side = new.map.nrows();
    let step = tile_side(side);
    (new.map.is_square() && side.is_multiple_of(step)).then_some(Changed { step, across: side / step, tiles })
}

/// The tiles that differ. Bits are compared: a NaN is the same as itself.
fn compared(old: &[f32], new: &[f32], step: usize, across: usize) -> Vec<usize> {
    let width = step * across;
    let found = Mutex::new(Vec::new());
    in_parallel(new.len(), (0..across).collect(), |row_of_tiles: usize| {
        let mut here = vec![false; across];
        for row in row_of_tiles * step..(row_of_tiles + 1) * step {
            if here.iter().all(|differs| *differs) {
                break;
            }
            let line = row * width..(row + 1) * width;
            let (old, new): (&[u32], &[u32]) =
                (bytemuck::cast_slice(&old[line.clone()]), bytemuck::cast_slice(&new[line]));
            // Most rows of most maps are the same.
            if old == new {
                continue;
            }
            let tiles = old.chunks_exact(step).zip(new.chunks_exact(step));
            for (differs, (old, new)) in here.iter_mut().zip(tiles) {
                *differs = *differs || old != new;
            }
        }
        let tiles = (0..across).filter(|tile| here[*tile]).map(|tile| row_of_tiles * across + tile);
        found.lock().unwrap_or_else(PoisonError::into_inner).extend(tiles);
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_unstable();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tiles_that_differ_are_found() {
        for side in [2, 8, 64, 256, 1024] {
            let old = DensityMap::from_shape_fn((side, side), |(y, x)| (y * side + x) as f32);
            let of = |map: &DensityMap| Known::bare(&Arc::new(map.clone()));
            assert!(changed(&of(&old), &of(&old)).tiles.is_empty());
            let mut new = old.clone();
            for (y, x) in [(0, side - 1), (side / 2, 0), (side / 2 + 1, 1), (side - 1, side - 1)] {
                new[[y.min(side - 1), x]] = f32::NAN;
            }
            let found = changed(&of(&old), &of(&new));
            let across = found.across;
            let mut expected = vec![across - 1, across / 2 * across, across * across - 1];
            if found.step == 1 && side > 2 {
                expected.push((across / 2 + 1) * across + 1);
            }
            if side == 2 {
                expected.push(3);
            }
            expected.sort_unstable();
            expected.dedup();
            assert_eq!(found.tiles, expected, "side {side}");
            assert!(changed(&of(&new), &of(&new)).tiles.is_empty(), "a NaN is itself");
            // The same numbers, column after column in memory.
            let turned = old.t().as_standard_layout().into_owned().reversed_axes();
            assert!(!turned.is_standard_layout() && changed(&of(&old), &of(&turned)).tiles.is_empty());
        }
    }

    #[test]
    fn runs_are_the_cells_of_the_tiles() {
        let changed = Changed { step: 4, across: 16, tiles: vec![3, 4, 17, 255] };
        let runs = changed.runs();
        assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{runs:?}");
        let cells: Vec<usize> = runs.into_iter().flatten().collect();
        let mut expected: Vec<usize> =
            (0..4096).filter(|cell| changed.tiles.contains(&(cell / 64 / 4 * 16 + cell % 64 / 4))).collect();
        expected.sort_unstable();
        assert_eq!(cells, expected);
        let mut of_tiles: Vec<usize> =
            changed.tiles.iter().flat_map(|tile| changed.rows_of(*tile)).flatten().collect();
        of_tiles.sort_unstable();
        assert_eq!(of_tiles, expected);
    }

    #[test]
    fn numbers_of_another_map_are_not_believed() {
        let (one, other) = (Arc::new(DensityMap::zeros((64, 64))), Arc::new(DensityMap::ones((64, 64))));
        let tiles = Arc::new(MapTiles::of(&one, &[]));
        let same = changed(&Known::new(&one, Some(&tiles)), &Known::new(&other, Some(&tiles)));
        assert_eq!(same.tiles.len(), 256);
    }
}
