//! The heat-map stage against a reference on the CPU, pixel by pixel: every cell, every colour of the bar, every letter.

mod render;

use std::sync::{Arc, OnceLock};

use memory_glass::render::layout::PictureLayout;
use memory_glass::render::{
    ColorPalette, Gpu, Image, MapTarget, Marks, NamedStretch, Painter, Part, RenderError,
};
use memory_glass::sensing::DensityMap;
use proptest::prelude::*;
use render::{Noise, assert_same, drawn, gpu, picture, program, reference};

const PALETTES: [ColorPalette; 4] = ColorPalette::ALL;

fn noise(order: u32, seed: u64) -> DensityMap {
    let mut noise = Noise(seed | 1);
    DensityMap::from_shape_simple_fn((1 << order, 1 << order), || noise.unit())
}

#[test]
fn every_pixel_is_the_references_at_every_order_that_fits() {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stage");
    // Cells larger than pixels, as large, smaller; landscape, portrait, square; widths that are no multiple of anything.
    for (width, height) in [(640, 480), (333, 517), (701, 700), (64, 64), (16, 16), (1024, 40)] {
        let mut target = MapTarget::offscreen(&gpu, width, height).expect("a target");
        for order in 1..=10 {
            for palette in PALETTES {
                let picture = picture(noise(order, u64::from(order * width)), palette);
                painter.draw(&picture, &mut target).expect("a frame");
                let what = format!("{width}×{height}, order {order}, {palette:?}");
                assert_same(&target.read().expect("pixels"), &reference(&picture, width, height), &what);
            }
        }
    }
}

#[test]
fn the_largest_map_is_right_on_the_largest_screen() {
    let gpu = gpu();
    let picture = picture(program(12), ColorPalette::Viridis);
    assert_same(&drawn(&gpu, &picture, 4096, 4096), &reference(&picture, 4096, 4096), "4096×4096, order 12");
    assert_same(&drawn(&gpu, &picture, 640, 480), &reference(&picture, 640, 480), "640×480, order 12");
}

proptest! {
    // A frame and its reference take a few milliseconds each.
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_picture_is_the_references(
        width in 16..400u32, height in 16..400u32, order in 1..=9u32, seed: u64, palette in 0..4usize,
        name in "\\PC{0,40}", status in "\\PC{0,60}",
    ) {
        // Opened once for all cases, and never dropped.
        static GPU: OnceLock<Gpu> = OnceLock::new();
        let mut picture = picture(noise(order, seed), PALETTES[palette]);
        picture.caption.target = name;
        picture.caption.status = status;
        let image = drawn(GPU.get_or_init(gpu), &picture, width, height);
        assert_same(&image, &reference(&picture, width, height), "a random picture");
    }
}

#[test]
fn every_bit_pattern_of_a_density_has_its_colour() {
    let gpu = gpu();
    // All colour steps, their neighbours among the floats, and everything that is no share at all.
    let mut values: Vec<f32> = (0..=256u16).map(|step| f32::from(step) / 256.0).collect();
    for step in 1..=256u16 {
        let bits = (f32::from(step) / 256.0).to_bits();
        values.extend([f32::from_bits(bits - 1), f32::from_bits(bits + 1)]);
    }
    values.extend([
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        -0.0,
        -1.0,
        1.5,
        f32::MAX,
        f32::MIN,
    ]);
    values.extend([f32::MIN_POSITIVE, f32::MIN_POSITIVE / 2.0, f32::from_bits(1), f32::EPSILON]);
    let mut noise = Noise(3);
    while values.len() < 32 * 32 {
        values.push(f32::from_bits(noise.next() as u32));
    }
    values.truncate(32 * 32);
    let density = DensityMap::from_shape_vec((32, 32), values).expect("32 × 32 values");
    for palette in PALETTES {
        let picture = picture(density.clone(), palette);
        assert_same(&drawn(&gpu, &picture, 320, 200), &reference(&picture, 320, 200), "odd values");
    }
}

#[test]
fn one_hot_cell_among_sixteen_million_is_seen() {
    let gpu = gpu();
    let layout = PictureLayout::new(320, 240, 12).expect("a layout");
    let mut painter = Painter::new(&gpu).expect("the stage");
    let mut target = MapTarget::offscreen(&gpu, 320, 240).expect("a target");
    let mut noise = Noise(11);
    for _ in 0..4 {
        let mut density = DensityMap::zeros((4096, 4096));
        density[[noise.below(4096) as usize, noise.below(4096) as usize]] = 1.0;
        let picture = picture(density, ColorPalette::Viridis);
        painter.draw(&picture, &mut target).expect("a frame");
        let image = target.read().expect("pixels");
        let hot = 0xff00_0000 | ColorPalette::Viridis.colors()[255];
        let on_map = |at: usize| layout.map.contains(at as u32 % 320, at as u32 / 320);
        let seen = (0..image.pixels.len()).filter(|&at| on_map(at) && image.pixels[at] == hot).count();
        assert_eq!(seen, 1);
    }
}

#[test]
fn parts_put_together_are_the_whole() {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stage");
    // Cells larger than pixels and smaller, words beside the map and below it, and a strip that shows no map at all.
    for (order, (width, height), (column, row)) in
        [(4, (640, 300), (320, 150)), (9, (300, 420), (31, 333)), (7, (512, 256), (511 - 40, 16))]
    {
        let mut picture = picture(program(order), ColorPalette::Viridis);
        let mut whole = reference(&picture, width, height);
        if order == 4 {
            // What spreads, and what is blended over the map.
            picture.glow = true;
            let stretches = [NamedStretch { name: "[heap]".into(), first: 3, last: 99 }].into();
            picture.marks = Arc::new(Marks { stretches, pins: vec![(7, 8)], ..Marks::default() });
            whole = drawn(&gpu, &picture, width, height);
        }
        let mut joined = Image { width, height, pixels: vec![0; (width * height) as usize] };
        for (x, y, w, h) in [
            (0, 0, column, row),
            (column, 0, width - column, row),
            (0, row, column, height - row),
            (column, row, width - column, height - row),
        ] {
            let mut target = MapTarget::offscreen(&gpu, w, h).expect("a target");
            target.show_part(Part { whole: (width, height), at: (x, y) }).expect("a part");
            painter.draw(&picture, &mut target).expect("a frame");
            let part = target.read().expect("pixels");
            for (line, pixels) in part.pixels.chunks_exact(w as usize).enumerate() {
                let at = ((y as usize + line) * width as usize) + x as usize;
                joined.pixels[at..at + w as usize].copy_from_slice(pixels);
            }
        }
        assert_same(&joined, &whole, &format!("order {order}"));
    }
    let mut target = MapTarget::offscreen(&gpu, 64, 64).expect("a target");
    assert!(target.show_part(Part { whole: (20_000, 64), at: (0, 0) }).is_err());
}

#[test]
fn a_map_that_lies_otherwise_in_memory_is_drawn_the_same() {
    let gpu = gpu();
    let straight = picture(program(5), ColorPalette::Viridis);
    let mut turned = straight.clone();
    // The same values, column after column in memory.
    turned.density = Arc::new(straight.density.t().as_standard_layout().into_owned().reversed_axes());
    assert!(!turned.density.is_standard_layout());
    assert_same(&drawn(&gpu, &turned, 200, 200), &drawn(&gpu, &straight, 200, 200), "column order");
}

#[test]
fn what_is_kept_between_frames_never_shows_in_the_wrong_one() {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stage");
    let mut targets: Vec<MapTarget> = [(320, 240), (240, 320), (320, 240), (100, 100), (500, 300), (64, 400)]
        .map(|(width, height)| MapTarget::offscreen(&gpu, width, height).expect("a target"))
        .into();
    let mut noise = Noise(5);
    // Two maps, two captions, two palettes and six targets in any order: each frame is as if it were the first.
    for frame in 0..40 {
        let order = 3 + noise.below(3) as u32;
        let mut picture = picture(program(order), PALETTES[noise.below(2) as usize]);
        picture.caption.status = format!("frame {}", frame / (1 + noise.below(3)));
        let target = &mut targets[noise.below(6) as usize];
        painter.draw(&picture, target).expect("a frame");
        let (width, height) = target.resolution();
        assert_same(
            &target.read().expect("pixels"),
            &reference(&picture, width, height),
            &format!("frame {frame}"),
        );
    }
}

#[test]
fn maps_and_targets_that_do_not_fit_are_errors() {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stage");
    let mut target = MapTarget::offscreen(&gpu, 64, 64).expect("a target");
    let good = picture(program(4), ColorPalette::Viridis);
    for (rows, columns, order) in
        [(16, 16, 5), (16, 8, 4), (0, 0, 4), (15, 15, 4), (16, 16, 0), (1, 1, 0), (16, 16, 13)]
    {
        let mut bad = good.clone();
        bad.density = Arc::new(DensityMap::zeros((rows, columns)));
        bad.caption.order = order;
        let error = painter.draw(&bad, &mut target).expect_err("no such map");
        assert!(matches!(error, RenderError::Density { .. }), "{rows}×{columns}, order {order}: {error}");
        assert!(!error.to_string().contains('\n'));
    }
    for (width, height) in [(0, 0), (0, 64), (64, 0), (8, 64), (20_000, 64), (u32::MAX, u32::MAX)] {
        let error = MapTarget::offscreen(&gpu, width, height).err().expect("no such picture");
        assert!(matches!(error, RenderError::TargetSize { .. }), "{width}×{height}: {error}");
    }
    // None of that harms the next good picture.
    painter.draw(&good, &mut target).expect("a frame");
    assert_same(&target.read().expect("pixels"), &reference(&good, 64, 64), "after errors");
}

#[test]
fn metrics_are_what_happened() {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stage");
    let mut target = MapTarget::offscreen(&gpu, 320, 240).expect("a target");
    let picture = picture(program(6), ColorPalette::Viridis);
    let begun = std::time::Instant::now();
    let first = painter.draw(&picture, &mut target).expect("a frame");
    assert_eq!((first.fps, first.resolution, first.zero_copy), (0.0, (320, 240), false));
    let mut spent = first.frame_time_ms;
    for _ in 0..5 {
        let metrics = painter.draw(&picture, &mut target).expect("a frame");
        spent += metrics.frame_time_ms;
        // Frames one after another cannot come faster than the longest of them allows, nor slower than all the time.
        assert!(metrics.fps > 0.0 && metrics.fps * metrics.frame_time_ms <= 5.0 * 1e3);
    }
    assert!(spent <= begun.elapsed().as_secs_f64() * 1e3);
}
