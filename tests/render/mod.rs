//! What the tests of the render room share: maps that look like programs, captions, and the reference of the stage.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use memory_glass::render::layout::PictureLayout;
use memory_glass::render::text::Lettering;
use memory_glass::render::{BACKGROUND, Caption, ColorPalette, Gpu, Heatmap, INK, Image, MapTarget, Picture};
use memory_glass::sensing::DensityMap;

/// The device, or a reason that names the package.
pub fn gpu() -> Gpu {
    Gpu::new().unwrap_or_else(|error| panic!("{error}"))
}

/// Draws one picture offscreen and reads it back.
pub fn drawn(gpu: &Gpu, picture: &Picture, width: u32, height: u32) -> Image {
    let mut target = MapTarget::offscreen(gpu, width, height).expect("a target");
    Heatmap::new(gpu).and_then(|mut heatmap| heatmap.draw(picture, &mut target)).expect("a frame");
    target.read().expect("the picture")
}

/// What the stage must give, worked out pixel by pixel in floating point and from the definitions: the share of the map
/// that a pixel covers, the value as a number, the words from the lettering.
pub fn reference(picture: &Picture, width: u32, height: u32) -> Image {
    let layout = PictureLayout::new(width, height, picture.caption.order).expect("a layout");
    let coverage = Lettering::new().set(&picture.caption, &layout);
    let under = cells_under(layout.map.width as usize, picture.density.nrows());
    let color =
        |share: f64| 0xff00_0000 | picture.palette.colors()[((share * 256.0).floor() as usize).min(255)];
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| {
        if layout.map.contains(x, y) {
            let (left, right) = under[(x - layout.map.x) as usize];
            let (top, bottom) = under[(y - layout.map.y) as usize];
            let mut most = 0.0;
            for row in top..bottom {
                for column in left..right {
                    let value = f64::from(picture.density[[row, column]]);
                    most = if value.is_nan() { most } else { value.clamp(0.0, 1.0).max(most) };
                }
            }
            color(most)
        } else if layout.bar.contains(x, y) {
            color(f64::from(x - layout.bar.x) / f64::from(layout.bar.width))
        } else if layout.panel.contains(x, y) {
            let at = (y - layout.panel.y) * layout.panel.width + (x - layout.panel.x);
            let share = f64::from(coverage.values[at as usize]) / 255.0;
            let channel = |shift: u32| {
                let of = |color: u32| f64::from((color >> shift) & 0xff);
                // Half a step never occurs: 255 is odd.
                ((of(BACKGROUND) * (1.0 - share) + of(INK) * share).round() as u32) << shift
            };
            0xff00_0000 | channel(16) | channel(8) | channel(0)
        } else {
            BACKGROUND
        }
    });
    Image { width, height, pixels: pixels.collect() }
}

/// The cells that each of `s` pixels shows: those whose far edge lies in it; where none does, the one it lies in.
fn cells_under(s: usize, n: usize) -> Vec<(usize, usize)> {
    let mut spans = vec![(usize::MAX, 0); s];
    for cell in 0..n {
        let span = &mut spans[((cell + 1) * s).div_ceil(n) - 1];
        *span = (span.0.min(cell), cell + 1);
    }
    if n <= s {
        for (i, span) in spans.iter_mut().enumerate() {
            *span = (i * n / s, i * n / s + 1);
        }
    }
    spans
}

/// Fails with the first wrong pixel and how many there are.
pub fn assert_same(actual: &Image, expected: &Image, what: &str) {
    assert_eq!((actual.width, actual.height), (expected.width, expected.height), "{what}");
    let wrong: Vec<usize> =
        (0..expected.pixels.len()).filter(|&at| actual.pixels[at] != expected.pixels[at]).collect();
    if let Some(&at) = wrong.first() {
        let (x, y) = (at % expected.width as usize, at / expected.width as usize);
        panic!(
            "{what}: {} of {} pixels are wrong, the first at ({x}, {y}): {:08x} instead of {:08x}",
            wrong.len(),
            expected.pixels.len(),
            actual.pixels[at],
            expected.pixels[at]
        );
    }
}

pub fn caption(order: u32) -> Caption {
    Caption {
        target: "redis-server 1234".into(),
        status: "wp-async · 100 ms windows · 1 234 pages written/s · accuracy 100 %".into(),
        order,
        bytes_per_cell: 4096.0,
        total_bytes: 4096 << (2 * order),
        half_life: Duration::from_millis(250),
    }
}

pub fn picture(density: DensityMap, palette: ColorPalette) -> Picture {
    let order = density.nrows().max(2).ilog2();
    Picture { density: Arc::new(density), caption: caption(order), palette }
}

/// The cell of a place on the Hilbert curve (the textbook's loop; the map room has the real one).
pub fn cell(order: u32, mut d: u64) -> (usize, usize) {
    let (mut x, mut y) = (0u64, 0u64);
    for level in 0..order {
        let s = 1 << level;
        let rx = 1 & (d / 2);
        let ry = 1 & (d ^ rx);
        if ry == 0 {
            if rx == 1 {
                (x, y) = (s - 1 - x, s - 1 - y);
            }
            (x, y) = (y, x);
        }
        x += s * rx;
        y += s * ry;
        d /= 4;
    }
    (x as usize, y as usize)
}

/// A map such as a database makes: a hot arena, a log written front to back with its fading tail, a strided table, and
/// single pages here and there.
pub fn program(order: u32) -> DensityMap {
    let n = 1usize << order;
    let cells = (n * n) as u64;
    let mut noise = Noise(7);
    let mut line = vec![0f32; cells as usize];
    for (d, value) in line.iter_mut().enumerate() {
        let at = d as f64 / cells as f64;
        *value = if at < 0.11 {
            // Hot, with holes of cold.
            if noise.below(9) > 1 { 0.75 + 0.25 * noise.unit() } else { 0.1 * noise.unit() }
        } else if (0.20..0.42).contains(&at) {
            // The front is at 0.42; what was written before fades.
            (0.5f64.powf((0.42 - at) / 0.05)) as f32
        } else if (0.55..0.68).contains(&at) {
            if d % 8 == 0 { 0.6 } else { 0.0 }
        } else if at > 0.93 {
            0.35 * noise.unit()
        } else if noise.below(900) == 0 {
            1.0
        } else {
            0.0
        };
    }
    let mut map = DensityMap::zeros((n, n));
    for (d, value) in line.into_iter().enumerate() {
        let (x, y) = cell(order, d as u64);
        map[[y, x]] = value;
    }
    map
}

/// A small generator of its own, so that pictures stay the same for ever.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }

    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }
}
