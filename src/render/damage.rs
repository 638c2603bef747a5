//! Which part of a picture has to be drawn again.

use std::ops::Range;

use super::changes::{Changed, Comparisons};
use super::layout::{PictureLayout, Rect};
use super::picture::Picture;
use super::scene::Scene;
use super::sheet::first_pixel;

/// Tiles along a side of the map.
const TILES: usize = 16;

/// What a buffer holds.
pub(super) struct Shown {
    pub(super) picture: Picture,
    pub(super) layout: PictureLayout,
}

/// What of a picture is drawn.
pub(super) struct Damage {
    /// What lies around map and panel.
    pub(super) surroundings: bool,
    pub(super) panel: bool,
    /// Tiles of the map, in cells.
    pub(super) tiles: Vec<Tile>,
}

/// Cells of the map, as columns and rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tile {
    pub(super) columns: Range<u32>,
    pub(super) rows: Range<u32>,
}

impl Tile {
    fn whole(layout: &PictureLayout) -> Tile {
        Tile { columns: 0..layout.cells, rows: 0..layout.cells }
    }
}

impl Damage {
    /// What makes `picture` of what the buffer holds.
    pub(super) fn between(
        shown: Option<&Shown>,
        picture: &Picture,
        layout: &PictureLayout,
        comparisons: &mut Comparisons,
    ) -> Damage {
        let whole = vec![Tile::whole(layout)];
        let Some(old) = shown.filter(|old| old.layout == *layout) else {
            return Damage { surroundings: true, panel: true, tiles: whole };
        };
        let panel = old.picture.caption != picture.caption
            || old.picture.palette != picture.palette
            || old.picture.scale != picture.scale
            || !old.picture.scene.is(&picture.scene);
        // Glow spreads, and the cells of other scenes are made from more than the density.
        let plain = matches!(picture.scene, Scene::Heatmap)
            && !picture.glow
            && old.picture.is_dressed_like(picture)
            && picture.motion.as_ref().is_none_or(|motion| motion.share >= 256);
        let tiles = if plain && old.picture.density.dim() == picture.density.dim() {
            tiles(&comparisons.between(&old.picture.known(), &picture.known()))
        } else {
            whole
        };
        Damage { surroundings: false, panel, tiles }
    }

    /// The whole map is drawn; what lies in the panel may be blended over it once more.
    pub(super) fn is_whole(&self, layout: &PictureLayout) -> bool {
        self.tiles.iter().any(|tile| *tile == Tile::whole(layout))
    }

    /// Draws all of the map.
    pub(super) fn draw_whole_map(&mut self, layout: &PictureLayout) {
        self.tiles = vec![Tile::whole(layout)];
    }

    /// The pixels, for what is blended over them; the surroundings have nothing over them.
    pub(super) fn pixels(&self, layout: &PictureLayout) -> Drawn {
        let mut drawn = Drawn {
            panel: if self.panel { layout.panel } else { Rect::default() },
            map: layout.map,
            columns: vec![0; layout.map.width as usize],
            rows: vec![0; layout.map.width as usize],
            tiles: [0; TILES],
        };
        let step = (layout.cells as usize).div_ceil(TILES).max(1) as u32;
        for tile in &self.tiles {
            let [columns, rows] = [&tile.columns, &tile.rows].map(|cells| pixels_of(layout, cells));
            // A tile that is the whole map stands for all of them.
            let whole = tile.columns.end - tile.columns.start > step;
            let bit = |cell: u32| if whole { u16::MAX } else { 1 << (cell / step) };
            let mark = |line: &mut [u16], pixels: Range<u32>, bit: u16| {
                line[pixels.start as usize..pixels.end as usize].iter_mut().for_each(|bits| *bits |= bit);
            };
            mark(&mut drawn.columns, columns, bit(tile.columns.start));
            mark(&mut drawn.rows, rows, bit(tile.rows.start));
            for (row, tiles) in drawn.tiles.iter_mut().enumerate() {
                if bit(tile.rows.start) >> row & 1 == 1 {
                    *tiles |= bit(tile.columns.start);
                }
            }
        }
        drawn
    }

    /// The tiles as shaders/heatmap.wgsl reads them.
    pub(super) fn words(&self, layout: &PictureLayout) -> Vec<[u32; 4]> {
        let crowded = layout.cells > layout.map.width;
        let words = |tile: &Tile| {
            let columns = pixels_of(layout, &tile.columns);
            let rows = if crowded { pixels_of(layout, &tile.rows) } else { tile.rows.clone() };
            [columns.start, columns.end, rows.start, rows.end]
        };
        self.tiles.iter().map(words).collect()
    }
}

/// Which pixels are drawn again, quickly told.
pub(super) struct Drawn {
    panel: Rect,
    map: Rect,
    /// The columns of tiles that each column of pixels belongs to, a bit each; and the same for rows.
    columns: Vec<u16>,
    rows: Vec<u16>,
    /// The columns of tiles that are drawn, for each row of tiles.
    tiles: [u16; TILES],
}

impl Drawn {
    /// This pixel is drawn again.
    pub(super) fn contains(&self, x: u32, y: u32) -> bool {
        if !self.map.contains(x, y) {
            return self.panel.contains(x, y);
        }
        let (column, row) = ((x - self.map.x) as usize, (y - self.map.y) as usize);
        let rows = self.rows[row];
        (0..TILES).any(|tile| rows >> tile & 1 == 1 && self.tiles[tile] & self.columns[column] != 0)
    }
}

/// The pixels along the map that show these cells, and no others where cells are no smaller than pixels.
fn pixels_of(layout: &PictureLayout, cells: &Range<u32>) -> Range<u32> {
    let (n, s) = (u64::from(layout.cells), u64::from(layout.map.width));
    if n <= s {
        return first_pixel(layout, cells.start)..first_pixel(layout, cells.end);
    }
    let first = u64::from(cells.start) * s / n;
    let last = (u64::from(cells.end) * s).div_ceil(n);
    first as u32..last.min(s) as u32
}

/// The same as tiles of the picture, which are no smaller.
fn tiles(changed: &Changed) -> Vec<Tile> {
    let step = (changed.step * changed.across).div_ceil(TILES).max(1);
    let mut differs = [[false; TILES]; TILES];
    for tile in &changed.tiles {
        let (row, column) = (tile / changed.across, tile % changed.across);
        differs[row * changed.step / step][column * changed.step / step] = true;
    }
    let cells = |tile: usize| (tile * step) as u32..((tile + 1) * step) as u32;
    let of_row = |(row, line): (usize, &[bool; TILES])| {
        let columns = (0..TILES).filter(|column| line[*column]);
        columns.map(|column| Tile { columns: cells(column), rows: cells(row) }).collect::<Vec<_>>()
    };
    differs.iter().enumerate().flat_map(of_row).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::changes::Known;
    use super::*;
    use crate::sensing::DensityMap;

    fn changed(old: &DensityMap, new: &DensityMap) -> Vec<Tile> {
        let known = |map: &DensityMap| Known::bare(&Arc::new(map.clone()));
        tiles(&Comparisons::default().between(&known(old), &known(new)))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_pixel_of_a_changed_cell_is_drawn_again(
            side in 16..700u32, order in 1..=10u32, x in 0..1024u32, y in 0..1024u32,
        ) {
            let layout = PictureLayout::new(side, side, order).expect("a layout");
            let n = layout.cells;
            let (x, y) = (x % n, y % n);
            let old = DensityMap::zeros((n as usize, n as usize));
            let mut new = old.clone();
            new[[y as usize, x as usize]] = 0.5;
            let tiles = changed(&old, &new);
            prop_assert_eq!(tiles.len(), 1);
            let damage = Damage { surroundings: false, panel: false, tiles };
            let drawn = damage.pixels(&layout);
            let words = damage.words(&layout)[0];
            let shows = |cell: u32| {
                let spans = layout.first_cells();
                let shown = |span: &[u32]| (span[0]..span[1].max(span[0] + 1)).contains(&cell);
                (0..).zip(spans.windows(2)).filter(|(_, span)| shown(span)).map(|(pixel, _)| pixel).collect::<Vec<u32>>()
            };
            for (column, row) in shows(x).into_iter().flat_map(|column| shows(y).into_iter().map(move |row| (column, row))) {
                prop_assert!(drawn.contains(layout.map.x + column, layout.map.y + row), "{} {}", column, row);
                prop_assert!((words[0]..words[1]).contains(&column));
            }
            prop_assert!(!drawn.contains(layout.map.right(), layout.map.y));
        }
    }

    #[test]
    fn a_map_that_is_the_same_has_no_changed_tile() {
        let map = DensityMap::from_elem((64, 64), f32::NAN);
        assert!(changed(&map, &map.clone()).is_empty());
        let mut other = map.clone();
        other[[63, 0]] = 0.0;
        other[[0, 63]] = 0.0;
        let tiles = changed(&map, &other);
        assert_eq!(tiles, [Tile { columns: 60..64, rows: 0..4 }, Tile { columns: 0..4, rows: 60..64 }]);
    }
}
