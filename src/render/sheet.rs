//! Layout, words and marks of one size of picture, as the shaders read them; kept as long as they are the same.

use std::ops::Range;

use super::layout::PictureLayout;
use super::legend::Legend;
use super::overlay;
use super::picture::{Caption, Picture};
use super::pieces::Panel;
use super::text::{Coverage, Lettering};
use super::upload::storage;
use super::{Gpu, RenderError};

/// How many sizes of picture keep their words; more than there are outputs on most desks.
const SHEETS: usize = 4;

/// Everything of a picture that is not its map.
pub(super) struct Sheet {
    pub(super) layout: PictureLayout,
    caption: Caption,
    legend: Legend,
    panel: Panel,
    /// The shader's `sheet`.
    pub(super) buffer: wgpu::Buffer,
    marks: overlay::Key,
    /// What is blended over the picture.
    pub(super) pixels: Pixels,
}

/// A list of pixels, and the same on the GPU.
pub(super) struct Pixels {
    pub(super) list: Vec<[u32; 2]>,
    /// None for no pixels.
    pub(super) buffer: Option<wgpu::Buffer>,
}

impl Pixels {
    fn new(gpu: &Gpu, list: Vec<[u32; 2]>) -> Pixels {
        let buffer = (!list.is_empty()).then(|| {
            let buffer = storage(gpu, "marks", list.len() as u64 * 8);
            gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&list));
            buffer
        });
        Pixels { list, buffer }
    }
}

/// The sheets used last.
pub(super) struct Sheets {
    lettering: Lettering,
    /// The most recently used last.
    kept: Vec<Sheet>,
}

impl Sheets {
    pub(super) fn new() -> Sheets {
        Sheets { lettering: Lettering::new(), kept: Vec::new() }
    }

    /// Whether the last uploads have arrived is not known.
    pub(super) fn forget(&mut self) {
        self.kept.clear();
    }

    /// The sheet of this picture at this size, which is the last of the list from then on.
    pub(super) fn of(
        &mut self,
        gpu: &Gpu,
        picture: &Picture,
        (width, height): (u32, u32),
    ) -> Result<&Sheet, RenderError> {
        let legend = Legend::of(picture);
        let layout = PictureLayout::with(width, height, picture.caption.order, legend.parts())?;
        let marks = overlay::Key::of(picture, &legend);
        let at = self.kept.iter().position(|sheet| sheet.layout == layout);
        let old = at.map(|at| self.kept.remove(at));
        let (mut panel, pixels) = match old {
            Some(old) => {
                let same = old.caption == picture.caption && old.legend == legend;
                (Some((old.panel, old.buffer, same)), (old.marks == marks).then_some(old.pixels))
            }
            None => (None, None),
        };
        if let Some((panel, buffer, false)) = &mut panel {
            let pieces = self.lettering.pieces(&picture.caption, &legend, &layout);
            let mask = Tables::of(&layout).mask;
            for rows in panel.update(&mut self.lettering, pieces) {
                let words = mask_words(&layout, panel.coverage(), rows.clone());
                let first = u64::from(mask + rows.start * Tables::of(&layout).mask_row);
                gpu.queue.write_buffer(buffer, 4 * first, bytemuck::cast_slice(&words));
            }
        }
        let (panel, buffer) = match panel {
            Some((panel, buffer, _)) => (panel, buffer),
            None => {
                let pieces = self.lettering.pieces(&picture.caption, &legend, &layout);
                let panel = Panel::new(&mut self.lettering, layout.panel, pieces);
                let words = sheet_words(&layout, panel.coverage());
                let buffer = storage(gpu, "sheet", (words.len() * size_of::<u32>()) as u64);
                gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
                (panel, buffer)
            }
        };
        let pixels = pixels.unwrap_or_else(|| {
            Pixels::new(gpu, overlay::pixels(picture, &legend, &layout, &mut self.lettering))
        });
        if self.kept.len() == SHEETS {
            self.kept.remove(0);
        }
        let caption = picture.caption.clone();
        self.kept.push(Sheet { layout, caption, legend, panel, buffer, marks, pixels });
        Ok(&self.kept[self.kept.len() - 1])
    }
}

/// Where the tables of a sheet begin, in words.
pub(super) struct Tables {
    pub(super) edges: u32,
    pub(super) mask: u32,
    /// Words from a row of the mask to the next.
    pub(super) mask_row: u32,
}

impl Tables {
    pub(super) fn of(layout: &PictureLayout) -> Tables {
        let edges = layout.map.width + 1;
        let has_edges = layout.cells <= layout.map.width;
        let panel = layout.panel;
        // Groups of four pixels, counted from the left edge of the picture.
        let groups = if panel.is_empty() { 0 } else { panel.right().div_ceil(4) - panel.x / 4 };
        Tables { edges, mask: edges + if has_edges { layout.cells + 1 } else { 0 }, mask_row: groups }
    }
}

/// The first pixel that shows cell c: the first i with ⌊i·n/s⌋ ≥ c.
pub(super) fn first_pixel(layout: &PictureLayout, cell: u32) -> u32 {
    (u64::from(cell) * u64::from(layout.map.width)).div_ceil(u64::from(layout.cells)) as u32
}

/// The shader's `sheet`.
fn sheet_words(layout: &PictureLayout, coverage: &Coverage) -> Vec<u32> {
    let tables = Tables::of(layout);
    let mut words = layout.first_cells();
    if tables.mask > tables.edges {
        words.extend((0..=layout.cells).map(|cell| first_pixel(layout, cell)));
    }
    words.extend(mask_words(layout, coverage, 0..coverage.height));
    words
}

/// Rows of the mask of a panel.
fn mask_words(layout: &PictureLayout, coverage: &Coverage, rows: Range<u32>) -> Vec<u32> {
    let lead = layout.panel.x as usize % 4;
    let (row, width) = (Tables::of(layout).mask_row as usize, coverage.width as usize);
    let mut words = vec![0; row * rows.len()];
    if width > 0 {
        // The leftmost of four pixels is the lowest byte, which in little endian is the first.
        let lines = bytemuck::cast_slice_mut::<u32, u8>(&mut words).chunks_exact_mut(4 * row);
        let inks = coverage.values[rows.start as usize * width..].chunks_exact(width);
        for (line, ink) in lines.zip(inks) {
            line[lead..lead + width].copy_from_slice(ink);
        }
    }
    words
}
