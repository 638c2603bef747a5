//! What the tests of the render room share: maps that look like programs, captions, and the reference of the stage.
#![allow(dead_code)]

use std::sync::Arc;
use std::time::Duration;

use memory_glass::render::layout::{PictureLayout, Rect};
use memory_glass::render::text::Coverage;
use memory_glass::render::{Caption, ColorPalette, Gpu, Image, Picture};
use memory_glass::sensing::DensityMap;

/// The device, or a reason that names the package.
pub fn gpu() -> Gpu {
    Gpu::new().unwrap_or_else(|error| panic!("{error}"))
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
