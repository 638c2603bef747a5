//! Layout, words and marks of one size of picture, as the shaders read them; kept as long as they are the same.

use super::layout::PictureLayout;
use super::legend::Legend;
use super::overlay;
use super::picture::{Caption, Picture};
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
        let (buffer, pixels) = match old {
            Some(old) => {
                let same = old.caption == picture.caption && old.legend == legend;
                (Some((old.buffer, same)), (old.marks == marks).then_some(old.pixels))
            }
            None => (None, None),
        };
        let buffer = match buffer {
            Some((buffer, true)) => buffer,
            other => {
                let words = sheet_words(&layout, &self.lettering.set(&picture.caption, &legend, &layout));
                let size = (words.len() * size_of::<u32>()) as u64;
                let buffer = match other {
                    Some((buffer, _)) if buffer.size() == size => buffer,
                    _ => storage(gpu, "sheet", size),
                };
                gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
                buffer
            }
        };
        let pixels = pixels.unwrap_or_else(|| {
            Pixels::new(gpu, overlay::pixels(picture, &legend, &layout, &mut self.lettering))
        });
        if self.kept.len() == SHEETS {
            self.kept.remove(0);
        }
        let caption = picture.caption.clone();
        self.kept.push(Sheet { layout, caption, legend, buffer, marks, pixels });
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
    let lead = layout.panel.x as usize % 4;
    let (mask, row) = (words.len(), tables.mask_row as usize);
    words.resize(mask + row * coverage.height as usize, 0);
    if coverage.width > 0 {
        // The leftmost of four pixels is the lowest byte, which in little endian is the first.
        let lines = bytemuck::cast_slice_mut::<u32, u8>(&mut words[mask..]).chunks_exact_mut(4 * row);
        for (line, ink) in lines.zip(coverage.values.chunks_exact(coverage.width as usize)) {
            line[lead..lead + ink.len()].copy_from_slice(ink);
        }
    }
    words
}
