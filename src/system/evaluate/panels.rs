//! One window of a recording as a picture: truth, samples, reconstruction, error and confidence side by side.

use std::sync::Arc;

use cosmic_text::{Attrs, Buffer, Color, Family, FontSystem, Metrics, Shaping, SwashCache, fontdb};

use crate::map::{HilbertCapability as _, HilbertSkilling};
use crate::render::{ColorPalette, Image};
use crate::sensing::{Cells, Field, PageSet};

/// Pixels of a map's side, and between and around maps.
const SIDE: usize = 256;
const GAP: usize = 16;
/// Lines of words above the maps, and under them a bar and its numbers.
const LINE: usize = 18;
const HEAD: usize = 4 * LINE;
const FOOT: usize = 44;
const BAR: usize = 10;
const BACKGROUND: u32 = 0xff10_1014;
const INK: u32 = 0xffd8_d8d8;
/// Not armed; armed and silent; armed and written.
const UNSEEN: u32 = 0xff20_2026;
const SILENT: u32 = 0xff3d_6a8a;
const WRITTEN: u32 = 0xffff_c24d;

/// What a window was and what was made of it.
#[derive(Debug)]
pub struct Panels<'a> {
    /// Which window of which recording, and how it was bought: two lines.
    pub title: &'a str,
    /// The pages that were written.
    pub truth: &'a PageSet,
    /// The pages that were armed.
    pub armed: &'a PageSet,
    /// The map of it.
    pub field: &'a Field,
    /// The order of that map.
    pub order: u32,
}

impl Panels<'_> {
    /// Draws them. Every map has the curve's orientation: the lowest page at the top left, the highest at the top right.
    pub fn draw(&self, palette: ColorPalette) -> Image {
        let colors = palette.colors();
        let shade = |share: f32| colors[(share.clamp(0.0, 1.0) * 255.0).round() as usize];
        let gray = |share: f32| {
            let level = (share.clamp(0.0, 1.0) * 255.0).round() as u32;
            0xff00_0000 | level << 16 | level << 8 | level
        };
        let mut sheet = Sheet::new();
        sheet.words(self.title, GAP, LINE / 2, 14.0);
        let cells = Cells::new(self.truth.pages(), 1 << (2 * self.order));
        let mut truth = Vec::new();
        cells.shares(self.truth, &mut truth);
        let density = &self.field.density;
        let confidence: Vec<f32> = self.field.confidence().collect();
        let samples = |d: usize| {
            let pages = cells.pages_of(d);
            let armed = self.armed.count_in(pages.clone());
            let written =
                pages.filter(|page| self.armed.contains(*page) && self.truth.contains(*page)).count();
            match (armed, written) {
                (0, _) => UNSEEN,
                (_, 0) => SILENT,
                _ => WRITTEN,
            }
        };
        let maps: [(&str, &dyn Fn(usize) -> u32); 5] = [
            ("written, all of it", &|d| shade(truth[d])),
            ("samples", &samples),
            ("reconstruction", &|d| shade(density[d])),
            ("error", &|d| difference(density[d] - truth[d])),
            ("confidence", &|d| gray(confidence[d])),
        ];
        for (index, (name, color)) in maps.into_iter().enumerate() {
            let left = GAP + index * (SIDE + GAP);
            sheet.words(name, left, HEAD - LINE, 13.0);
            sheet.map(left, self.order, color);
            match index {
                0 | 2 => sheet.bar(left, ["0", "share of pages", "1"], &shade),
                1 => sheet.keys(left, [(UNSEEN, "not armed"), (SILENT, "silent"), (WRITTEN, "written")]),
                3 => sheet.bar(left, ["−1 missed", "0", "invented 1"], &|at| difference(2.0 * at - 1.0)),
                _ => sheet.bar(left, ["0", "1 − 2σ", "1"], &gray),
            }
        }
        sheet.image
    }
}

/// From blue (missed) by black to red (invented).
fn difference(error: f32) -> u32 {
    let level = (error.abs().min(1.0) * 255.0).round() as u32;
    let half = level / 3;
    if error > 0.0 {
        0xff00_0000 | level << 16 | half << 8 | half
    } else {
        0xff00_0000 | half << 16 | half << 8 | level
    }
}

/// The picture while it is drawn.
struct Sheet {
    image: Image,
    fonts: FontSystem,
    glyphs: SwashCache,
}

impl Sheet {
    fn new() -> Self {
        let (width, height) = (5 * SIDE + 6 * GAP, HEAD + SIDE + FOOT);
        let image =
            Image { width: width as u32, height: height as u32, pixels: vec![BACKGROUND; width * height] };
        let mut fonts = fontdb::Database::new();
        fonts.load_font_source(fontdb::Source::Binary(Arc::new(epaint_default_fonts::HACK_REGULAR)));
        // The locale chooses among fallback fonts only, and there are none.
        let fonts = FontSystem::new_with_locale_and_db("en-US".into(), fonts);
        Self { image, fonts, glyphs: SwashCache::new() }
    }

    fn set(&mut self, x: usize, y: usize, color: u32) {
        let width = self.image.width as usize;
        if x < width && y < self.image.height as usize {
            self.image.pixels[y * width + x] = color;
        }
    }

    fn map(&mut self, left: usize, order: u32, color: &dyn Fn(usize) -> u32) {
        let curve = HilbertSkilling::new(order);
        let size = curve.size() as usize;
        for y in 0..SIDE {
            for x in 0..SIDE {
                let d = curve.xy2d((x * size / SIDE) as u32, (y * size / SIDE) as u32);
                self.set(left + x, HEAD + y, color(d as usize));
            }
        }
    }

    fn bar(&mut self, left: usize, labels: [&str; 3], color: &dyn Fn(f32) -> u32) {
        let top = HEAD + SIDE + 6;
        for x in 0..SIDE {
            let shade = color(x as f32 / (SIDE - 1) as f32);
            (0..BAR).for_each(|y| self.set(left + x, top + y, shade));
        }
        for (place, label) in labels.into_iter().enumerate() {
            let width = (label.chars().count() as f32 * 6.7) as usize;
            let x = left + (SIDE.saturating_sub(width)) * place / 2;
            self.words(label, x, top + BAR + 4, 11.0);
        }
    }

    fn keys(&mut self, left: usize, keys: [(u32, &str); 3]) {
        let top = HEAD + SIDE + 6;
        for (place, (color, label)) in keys.into_iter().enumerate() {
            let x = left + place * SIDE / 3;
            for (dx, dy) in (0..BAR).flat_map(|dx| (0..BAR).map(move |dy| (dx, dy))) {
                self.set(x + dx, top + dy, color);
            }
            self.words(label, x, top + BAR + 4, 11.0);
        }
    }

    fn words(&mut self, text: &str, left: usize, top: usize, size: f32) {
        let mut buffer = Buffer::new(&mut self.fonts, Metrics::new(size, size * 1.25));
        buffer.set_size(None, None);
        let attributes = Attrs::new().family(Family::Name("Hack"));
        buffer.set_text(text, &attributes, Shaping::Advanced, None);
        buffer.shape_until_scroll(&mut self.fonts, false);
        let ink = Color::rgb((INK >> 16) as u8, (INK >> 8) as u8, INK as u8);
        let width = self.image.width as i32;
        let image = &mut self.image;
        buffer.draw(&mut self.fonts, &mut self.glyphs, ink, |x, y, _, _, color| {
            let (x, y) = (left as i32 + x, top as i32 + y);
            if (0..width).contains(&x) && (0..image.height as i32).contains(&y) {
                let pixel = &mut image.pixels[(y * width + x) as usize];
                let mix = |shift: u32| {
                    let (under, over) = (*pixel >> shift & 0xff, INK >> shift & 0xff);
                    let mixed = under * (255 - u32::from(color.a())) + over * u32::from(color.a());
                    (mixed / 255) << shift
                };
                *pixel = 0xff00_0000 | mix(16) | mix(8) | mix(0);
            }
        });
    }
}
