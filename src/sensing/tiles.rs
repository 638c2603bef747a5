//! Which tiles of a map are the same as another map's, without a look at their cells.
//!
//! A map of order 12 is 64 MiB, and comparing two of them takes longer than drawing one. Who makes a map
//! knows which of its cells it has written: each tile gets a number, and no number is given to two tiles that
//! differ. So any two maps can be compared, whichever lie between them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::DensityMap;

/// The most cells along the side of a tile.
const LARGEST: usize = 64;
/// Small maps have so many tiles along a side.
const FEWEST: usize = 16;

/// Cells along the side of a tile of a map with so many cells along its side.
pub fn tile_side(side: usize) -> usize {
    (side / FEWEST).clamp(1, LARGEST)
}

/// The next number that no tile has had.
static NEXT: AtomicU64 = AtomicU64::new(1);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A number for each tile of one map, row after row; 0 for one whose cells are all zero.
#[derive(Debug, Clone)]
pub struct MapTiles {
    /// Kept so that the map's address is never another map's.
    of: Weak<DensityMap>,
    side: usize,
    numbers: Vec<u64>,
}

impl MapTiles {
    /// Of a map whose cells are all zero in those tiles that are not `warm`, as [`survey`] says of them.
    pub fn of(map: &Arc<DensityMap>, warm: &[bool]) -> MapTiles {
        let side = map.nrows();
        let tiles = side.div_ceil(tile_side(side)).pow(2);
        let number = |tile| if warm.get(tile).is_none_or(|warm| *warm) { next() } else { 0 };
        MapTiles { of: Arc::downgrade(map), side, numbers: (0..tiles).map(number).collect() }
    }

    /// Of a map that differs from this one's in these cells (x, y) at the most.
    pub fn after(
        &self,
        map: &Arc<DensityMap>,
        changed: impl IntoIterator<Item = (usize, usize)>,
    ) -> MapTiles {
        if map.dim() != (self.side, self.side) {
            return MapTiles::of(map, &[]);
        }
        let (step, last) = (tile_side(self.side), self.side.saturating_sub(1));
        let across = self.side.div_ceil(step);
        let mut numbers = self.numbers.clone();
        let mut new = vec![false; numbers.len()];
        for (x, y) in changed {
            let tile = y.min(last) / step * across + x.min(last) / step;
            if let Some(new) = new.get_mut(tile).filter(|new| !**new) {
                *new = true;
                numbers[tile] = next();
            }
        }
        MapTiles { of: Arc::downgrade(map), side: self.side, numbers }
    }

    /// They are this map's.
    pub fn is_of(&self, map: &Arc<DensityMap>) -> bool {
        Weak::as_ptr(&self.of) == Arc::as_ptr(map)
    }

    /// The numbers, row after row of tiles.
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }
}

/// How many cells of a square map are over a threshold, and which of its tiles have a cell that is not zero.
pub fn survey(map: &DensityMap, threshold: f32) -> (usize, Vec<bool>) {
    let side = map.nrows();
    let step = tile_side(side);
    let across = side.div_ceil(step);
    let mut warm = vec![false; across * across];
    let Some(cells) = map.as_slice().filter(|_| map.is_square() && side > 0) else {
        warm.fill(true);
        return (map.iter().filter(|share| **share > threshold).count(), warm);
    };
    let mut active = 0;
    for (y, row) in cells.chunks_exact(side).enumerate() {
        for (run, warm) in row.chunks(step).zip(&mut warm[y / step * across..]) {
            let (mut any, mut over) = (0u32, 0u32);
            for share in run {
                any |= share.to_bits();
                over += u32::from(*share > threshold);
            }
            *warm |= any != 0;
            active += over as usize;
        }
    }
    (active, warm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(side: usize, hot: &[(usize, usize)]) -> Arc<DensityMap> {
        let mut map = DensityMap::zeros((side, side));
        for (x, y) in hot {
            map[[*y, *x]] = 0.5;
        }
        Arc::new(map)
    }

    #[test]
    fn a_survey_counts_and_tells_cold_tiles() {
        for side in [1, 2, 16, 64, 256, 2048] {
            let hot = [(0, 0), (side - 1, side / 2)];
            let map = map(side, &hot);
            let (active, warm) = survey(&map, 0.1);
            assert_eq!(active, map.iter().filter(|share| **share > 0.1).count());
            let across = side / tile_side(side);
            assert_eq!(warm.len(), across * across);
            for (tile, warm) in warm.iter().enumerate() {
                let within =
                    |(x, y): &(usize, usize)| y / tile_side(side) * across + x / tile_side(side) == tile;
                assert_eq!(*warm, hot.iter().any(within), "side {side}, tile {tile}");
            }
            // Column after column in memory.
            let turned = map.t().as_standard_layout().into_owned().reversed_axes();
            assert_eq!(survey(&turned, 0.1).0, active);
        }
    }

    #[test]
    fn only_tiles_that_cannot_differ_share_a_number() {
        let (first, second) = (map(64, &[(3, 3)]), map(64, &[(3, 3), (63, 0)]));
        let warm = survey(&first, 0.0).1;
        let of_first = MapTiles::of(&first, &warm);
        let after = of_first.after(&second, [(63, 0), (62, 1)]);
        let differs = |a: &MapTiles, b: &MapTiles| {
            (0..256).filter(|tile| a.numbers()[*tile] != b.numbers()[*tile]).collect::<Vec<_>>()
        };
        assert_eq!(differs(&of_first, &after), [15]);
        // Another count of the same map: what is zero is known to be the same, and nothing else.
        assert_eq!(differs(&of_first, &MapTiles::of(&first, &warm)), [0]);
        assert_eq!(differs(&after, &of_first.after(&second, [(63, 0)])), [15]);
        assert!(after.is_of(&second) && !after.is_of(&first));
        // Of another size, nothing is.
        let other = map(32, &[]);
        let known = after.numbers().iter().max().expect("tiles");
        assert!(of_first.after(&other, []).numbers().iter().all(|number| number > known));
    }
}
