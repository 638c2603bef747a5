//! What the tests of the render room share: maps that look like programs, captions, and the reference of the stage.
#![allow(dead_code)] // each test binary that includes this uses a part of it

use std::sync::Arc;
use std::time::Duration;

use memory_glass::render::layout::PictureLayout;
use memory_glass::render::scene::{
    AvalancheField, KineticField, MovingThread, Orbit, PhaseField, Scene, StripWindow, ThreadWrite,
    UNREACHED, Volume, Waterfall,
};
use memory_glass::render::text::Lettering;
use memory_glass::render::{
    BACKGROUND, Caption, ColorPalette, ColorScale, GlassRamVisualizationMode, Gpu, INK, Image, Legend,
    MapTarget, Painter, Picture, ramps,
};
use memory_glass::sensing::DensityMap;
use ndarray::Array3;

/// The device, or a reason that names the package.
pub fn gpu() -> Gpu {
    Gpu::new().unwrap_or_else(|error| panic!("{error}"))
}

/// Draws one picture offscreen and reads it back.
pub fn drawn(gpu: &Gpu, picture: &Picture, width: u32, height: u32) -> Image {
    let mut target = MapTarget::offscreen(gpu, width, height).expect("a target");
    Painter::new(gpu).and_then(|mut painter| painter.draw(picture, &mut target)).expect("a frame");
    target.read().expect("the picture")
}

/// What the stages must give, worked out pixel by pixel in floating point and from the definitions: the share of the map
/// that a pixel covers, the value as a number, the words from the lettering. Without glow, marks and volumes.
pub fn reference(picture: &Picture, width: u32, height: u32) -> Image {
    let legend = Legend::of(picture);
    let layout = PictureLayout::with(width, height, picture.caption.order, legend.parts()).expect("a layout");
    let coverage = Lettering::new().set(&picture.caption, &legend, &layout);
    let under = cells_under(layout.map.width as usize, picture.density.nrows());
    let ramps = ramps(&picture.scene, picture.palette);
    let two_sided = matches!(picture.scene, Scene::Phases(_));
    let cells = values(picture);
    let side = picture.density.nrows();
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| {
        if layout.map.contains(x, y) {
            let (left, right) = under[(x - layout.map.x) as usize];
            let (top, bottom) = under[(y - layout.map.y) as usize];
            let covered = (top..bottom).flat_map(|row| (left..right).map(move |column| row * side + column));
            let (value, ramp) = covered
                .map(|cell| cells[cell])
                .fold((0.0, 0), |most, cell| if (cell.0, cell.1) > most { cell } else { most });
            ramps[ramp][step(value, picture.scale)]
        } else if layout.bar.contains(x, y) {
            let share = f64::from(x - layout.bar.x) / f64::from(layout.bar.width);
            let step = (share * 256.0).floor() as usize;
            match (two_sided, step) {
                (true, 0..128) => ramps[1][255 - 2 * step],
                (true, _) => ramps[0][2 * step - 255],
                (false, _) => ramps[0][step],
            }
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

/// The step of the palette for a value in 0..1.
fn step(value: f64, scale: ColorScale) -> usize {
    let step = match scale {
        ColorScale::Linear => value * 256.0,
        ColorScale::Logarithmic if value < 1.0 / 256.0 => 0.0,
        ColorScale::Logarithmic => {
            // Straight between powers of two.
            let octave = value.log2().floor();
            32.0 * (8.0 + octave + value / octave.exp2() - 1.0)
        }
    };
    (step.floor() as usize).min(255)
}

/// What each cell shows, 0..1, and its ramp.
fn values(picture: &Picture) -> Vec<(f64, usize)> {
    let share = |value: f32| if value.is_nan() { 0.0 } else { f64::from(value).clamp(0.0, 1.0) };
    // In the stages of modes a share is a whole number of 65536ths, and what is less than one of them is none.
    let whole = |value: f32| (share(value) * 65536.0).floor().min(65535.0);
    let level = |level: f64| level / 65536.0;
    let cells = picture.density.iter();
    match (&picture.scene, &picture.motion) {
        (Scene::Heatmap, Some(motion)) if motion.share < 256 => motion
            .before
            .iter()
            .zip(cells)
            .map(|(old, new)| {
                let t = f64::from(motion.share);
                (level(((whole(*old) * (256.0 - t) + whole(*new) * t) / 256.0).floor()), 0)
            })
            .collect(),
        (Scene::Heatmap | Scene::Volume(_), _) => cells.map(|value| (share(*value), 0)).collect(),
        (Scene::Phases(field), _) => field
            .before
            .iter()
            .zip(field.after.iter())
            .map(|(old, new)| {
                let change = whole(*new) - whole(*old);
                (level(change.abs()), usize::from(change < 0.0))
            })
            .collect(),
        (Scene::Avalanche(field), _) => field
            .ages
            .iter()
            .zip(cells)
            .map(|(age, quiet)| match *age {
                UNREACHED => (level((whole(*quiet) / 4.0).floor()), 1),
                age => (level(65535.0 - (f64::from(age.min(65535)) * 2048.0).min(49151.0)), 0),
            })
            .collect(),
        (Scene::Waterfall(field), _) => field
            .lines
            .indexed_iter()
            .map(|((row, _), value)| match field.cursor {
                Some(cursor) if cursor as usize == row => (level(whole(*value).max(16384.0)), 1),
                _ => (level(whole(*value)), 0),
            })
            .collect(),
        (Scene::Kinetic(field), _) => {
            let mut values = vec![(0.0, 0); picture.density.len()];
            let scales = field.scales();
            for write in &field.writes {
                let thread = usize::from(write.thread);
                let energy = (f64::from(write.mass) * f64::from(scales[thread]) / 65536.0).floor();
                let here = (level(energy), thread.min(8));
                let cell = &mut values[write.cell as usize];
                if here > *cell {
                    *cell = here;
                }
            }
            values
        }
    }
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
        numbers: [
            ("pages/s written", "1 234"),
            ("accuracy", "95 % (93–97)"),
            ("pages sampled", "12.5 %"),
            ("slowdown", "≈ 1.02×"),
            ("threads", "6"),
            ("rung", "wp-async"),
            ("looks", "60/s"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .into(),
        status: "order 7 → 8 (more pages)".into(),
        order,
        bytes_per_cell: 4096.0,
        total_bytes: 4096 << (2 * order),
        half_life: Duration::from_millis(250),
    }
}

pub fn picture(density: DensityMap, palette: ColorPalette) -> Picture {
    let order = density.nrows().max(2).ilog2();
    Picture::new(Arc::new(density), caption(order), palette)
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

/// How much of the place `at` (0..1) of the line a program writes in window `t`: an arena that is always hot, a log whose
/// front moves and starts again, a table in strides, and from window 60 on another phase with a second arena.
pub fn written(at: f64, t: usize, noise: &mut Noise) -> f32 {
    let front = 0.20 + 0.22 * (t % 50) as f64 / 50.0;
    if at < 0.11 {
        if noise.below(9) > 1 { 0.7 + 0.3 * noise.unit() } else { 0.1 * noise.unit() }
    } else if (front - 0.02..front).contains(&at) {
        1.0
    } else if (0.55..0.68).contains(&at) && t >= 60 {
        if (at * 4096.0) as u64 % 8 < 3 { 0.7 } else { 0.05 * noise.unit() }
    } else if at > 0.9 && t < 60 {
        0.45 * noise.unit()
    } else if noise.below(700) == 0 {
        1.0
    } else {
        0.0
    }
}

/// The map of that program in window `t`.
fn window(order: u32, t: usize) -> DensityMap {
    let n = 1usize << order;
    let mut noise = Noise(100 + t as u64);
    let mut map = DensityMap::zeros((n, n));
    for d in 0..n * n {
        let (x, y) = cell(order, d as u64);
        map[[y, x]] = written(d as f64 / (n * n) as f64, t, &mut noise);
    }
    map
}

/// That program as each mode draws it.
pub fn scene(mode: GlassRamVisualizationMode, order: u32) -> Scene {
    let n = 1u32 << order;
    let length = Duration::from_millis(100);
    let at = |place: f64| {
        let (x, y) = cell(order, (place * f64::from(n * n)) as u64);
        y as u32 * n + x as u32
    };
    match mode {
        GlassRamVisualizationMode::ThreadKineticEnergy => {
            let names = ["main", "net-io", "log-writer", "gc", "worker-0", "worker-1"];
            let speeds = [2.0, 14.0, 40.0, 25.0, 18.0, 30.0];
            let places = [(0.0, 0.05), (0.05, 0.11), (0.3, 0.42), (0.55, 0.62), (0.62, 0.68), (0.9, 1.0)];
            let mut noise = Noise(41);
            let threads = names
                .iter()
                .zip(speeds)
                .zip(1234..)
                .map(|((name, velocity), tid)| MovingThread { name: (*name).into(), tid, velocity })
                .collect();
            let mut writes = Vec::new();
            for (thread, (from, to)) in (0..).zip(places) {
                let cells = ((to - from) * f64::from(n * n)) as u32;
                for step in 0..cells {
                    let share = f64::from(step) / f64::from(cells);
                    // Newer writes of the log's thread are the heavier ones.
                    let mass = if thread == 2 { share * share } else { f64::from(noise.unit()) };
                    let (cell, mass) = (at(from + share * (to - from)), (mass * 65535.0) as u16);
                    writes.push(ThreadWrite { cell, mass, thread });
                }
            }
            Scene::Kinetic(Arc::new(KineticField { threads, writes }))
        }
        GlassRamVisualizationMode::PhaseTransition => {
            let mean = |from: usize| {
                let sum = (from..from + 30)
                    .map(|t| window(order, t))
                    .fold(DensityMap::zeros((1, 1)), |a, b| if a.len() == 1 { b } else { a + b });
                Arc::new(sum / 30.0)
            };
            let strip = (0..120)
                .map(|t| StripWindow {
                    activity: if t < 60 { 0.55 } else { 0.8 } + 0.1 * (t as f32 * 0.7).sin(),
                    change: (t == 60).then_some(0.98),
                })
                .collect();
            let (span, since) = (Duration::from_secs(12), Some(Duration::from_secs(6)));
            Scene::Phases(Arc::new(PhaseField { before: mean(10), after: mean(80), strip, span, since }))
        }
        GlassRamVisualizationMode::MemoryAvalanche => {
            // It begins at 0.45 and goes both ways along the line, faster upwards.
            let mut ages = vec![UNREACHED; (n * n) as usize];
            for d in 0..n * n {
                let distance = f64::from(d) / f64::from(n * n) - 0.45;
                let reach = if distance > 0.0 { distance / 0.27 } else { -distance / 0.12 };
                if reach < 1.0 {
                    ages[at(f64::from(d) / f64::from(n * n)) as usize] = 24 - (reach * 24.0) as u32;
                }
            }
            let ended = (0..40u64)
                .map(|one| (1 << (one * one / 150), Duration::from_millis(one % 7 * 100 + 100)))
                .collect();
            let (x, y) = cell(order, (0.45 * f64::from(n * n)) as u64);
            let epicentre = Some((x as u32, y as u32));
            Scene::Avalanche(Arc::new(AvalancheField { ages, epicentre, active: true, ended }))
        }
        GlassRamVisualizationMode::TimeSeries => {
            let side = n as usize;
            let lines = DensityMap::from_shape_fn((side, side), |(row, column)| {
                let mut noise = Noise((row * side + column) as u64 * 77 + 1);
                noise.next();
                written(column as f64 / side as f64, side - 1 - row, &mut noise)
            });
            let cursor = Some(n / 3);
            Scene::Waterfall(Arc::new(Waterfall { lines: Arc::new(lines), cursor, window: length }))
        }
        GlassRamVisualizationMode::Volumetric => {
            let mut boxes = Array3::zeros((64, 32, 32));
            for (t, mut layer) in boxes.outer_iter_mut().enumerate() {
                layer.assign(&window(5, 119 - t));
            }
            let (boxes, orbit) = (Arc::new(boxes), Orbit::default());
            Scene::Volume(Arc::new(Volume { boxes, orbit, window: length }))
        }
        _ => Scene::Heatmap,
    }
}
