//! Every mode's stage against its reference on the CPU: bit for bit where it computes on integers, which all do but the
//! volume's; that one within a bound that is stated there.

mod render;

use std::sync::Arc;
use std::time::Duration;

use memory_glass::render::scene::{
    AvalancheField, HUES, KineticField, MovingThread, Orbit, PhaseField, Scene, StripWindow, ThreadWrite,
    UNREACHED, Volume, Waterfall,
};
use memory_glass::render::{
    AdvancedVisualizationCapability, ColorPalette, ColorScale, GlassRamVisualizationMode, Gpu, Hover, Image,
    MapTarget, Marks, Motion, NamedStretch, Painter, Picture, PictureLayout, Series, VisualizationCapability,
    Visualizer,
};
use memory_glass::sensing::DensityMap;
use ndarray::Array3;
use render::{Noise, assert_same, drawn, gpu, picture, program, reference};

fn noise(order: u32, seed: u64) -> DensityMap {
    let mut noise = Noise(seed | 1);
    // A third of the cells cold, and of the others some very small, for the logarithmic scale.
    DensityMap::from_shape_simple_fn((1 << order, 1 << order), || match noise.below(3) {
        0 => 0.0,
        1 => noise.unit() * noise.unit() * noise.unit() * noise.unit(),
        _ => noise.unit(),
    })
}

fn kinetic(order: u32, seed: u64) -> Scene {
    let mut noise = Noise(seed | 1);
    let cells = 1u64 << (2 * order);
    let threads: Vec<MovingThread> = (0..12)
        .map(|at| MovingThread {
            name: format!("worker-{at}"),
            tid: 1000 + at,
            velocity: 40.0 * noise.unit(),
        })
        .collect();
    let writes = (0..3 * cells.min(4000))
        .map(|_| ThreadWrite {
            cell: noise.below(cells) as u32,
            mass: noise.below(65536) as u16,
            thread: noise.below(12) as u16,
        })
        .collect();
    Scene::Kinetic(Arc::new(KineticField { threads, writes }))
}

fn phases(order: u32, seed: u64) -> Scene {
    let strip = (0..60)
        .map(|at| StripWindow {
            activity: if at < 40 { 0.3 } else { 0.9 },
            change: (at == 40).then_some(0.97),
        })
        .collect();
    Scene::Phases(Arc::new(PhaseField {
        before: Arc::new(noise(order, seed)),
        after: Arc::new(noise(order, seed + 100)),
        strip,
        span: Duration::from_secs(6),
        since: Some(Duration::from_secs(2)),
    }))
}

fn avalanche(order: u32, seed: u64) -> Scene {
    let mut noise = Noise(seed | 1);
    let ages = (0..1u32 << (2 * order))
        .map(|_| match noise.below(4) {
            0 => noise.below(60) as u32,
            1 => 70_000 + noise.below(1 << 30) as u32,
            _ => UNREACHED,
        })
        .collect();
    let ended = [(3, 1), (5, 2), (4, 1), (900, 12), (70_000, 40)];
    let ended = ended.map(|(pages, tenths)| (pages, Duration::from_millis(100 * tenths))).to_vec();
    Scene::Avalanche(Arc::new(AvalancheField { ages, epicentre: Some((1, 1)), active: true, ended }))
}

fn waterfall(order: u32, seed: u64) -> Scene {
    let cursor = seed.is_multiple_of(2).then_some((1 << order) / 3);
    let lines = Arc::new(noise(order, seed));
    Scene::Waterfall(Arc::new(Waterfall { lines, cursor, window: Duration::from_millis(100) }))
}

fn volume(boxes: usize, layers: usize, seed: u64, orbit: Orbit) -> Scene {
    let mut noise = Noise(seed | 1);
    let boxes = Array3::from_shape_simple_fn((layers, boxes, boxes), || {
        if noise.below(5) == 0 { noise.unit() } else { 0.0 }
    });
    Scene::Volume(Arc::new(Volume { boxes: Arc::new(boxes), orbit, window: Duration::from_millis(100) }))
}

/// Without what is blended over the map: that has a test of its own.
fn bare(order: u32, seed: u64, scene: Scene) -> Picture {
    let mut picture = picture(noise(order, seed), ColorPalette::ALL[seed as usize % 4]);
    picture.scene = scene;
    picture
}

#[test]
fn every_integer_stage_is_its_reference() {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stages");
    for (width, height) in [(320, 240), (333, 517), (64, 64), (700, 500)] {
        let mut target = MapTarget::offscreen(&gpu, width, height).expect("a target");
        for order in [1, 2, 5, 8, 9] {
            for make in [kinetic, phases, avalanche, waterfall] {
                for scale in [ColorScale::Linear, ColorScale::Logarithmic] {
                    let seed = u64::from(order + width);
                    let mut picture = bare(order, seed, make(order, seed));
                    picture.scale = scale;
                    painter.draw(&picture, &mut target).expect("a frame");
                    let what =
                        format!("{width}×{height}, order {order}, {:?}, {scale:?}", picture.scene.mode());
                    let seen = target.read().expect("pixels");
                    let mut expected = reference(&picture, width, height);
                    // Swatches and the epicentre's frame are blended over it.
                    keep_marks(&picture, &mut expected, &seen);
                    assert_same(&seen, &expected, &what);
                }
            }
        }
    }
}

/// Takes over what marks of a scene's own cover, which is little.
fn keep_marks(picture: &Picture, expected: &mut Image, seen: &Image) {
    let legend = memory_glass::render::Legend::of(picture);
    let layout = PictureLayout::with(seen.width, seen.height, picture.caption.order, legend.parts())
        .expect("a layout");
    let mut over: Vec<_> = layout.names.clone();
    if let Scene::Avalanche(_) = picture.scene {
        over.push(layout.map);
    }
    let before = expected.clone();
    let mut taken = 0;
    for at in 0..seen.pixels.len() {
        let (x, y) = (at as u32 % seen.width, at as u32 / seen.width);
        let name = layout.names.iter().any(|name| name.contains(x, y) && x < name.x + layout.em);
        let ring = matches!(picture.scene, Scene::Avalanche(_))
            && layout.map.contains(x, y)
            && x < layout.map.x + layout.map.width / layout.cells * 2 + 2 * layout.em + 2
            && y < layout.map.y + layout.map.width / layout.cells * 2 + 2 * layout.em + 2;
        if (name || ring) && before.pixels[at] != seen.pixels[at] {
            expected.pixels[at] = seen.pixels[at];
            taken += 1;
        }
    }
    let most = 9 * layout.em * layout.em
        + 16 * (layout.map.width / layout.cells + 3 * layout.em) * (1 + layout.em / 12);
    assert!(taken <= most, "marks cover {taken} pixels, at most {most} are theirs");
}

#[test]
fn motion_goes_from_the_old_map_to_the_new() {
    let gpu = gpu();
    let (old, new) = (Arc::new(noise(6, 1)), noise(6, 2));
    for scale in [ColorScale::Linear, ColorScale::Logarithmic] {
        for share in [0, 1, 100, 128, 255, 256] {
            let mut picture = picture(new.clone(), ColorPalette::Inferno);
            picture.scale = scale;
            picture.motion = Some(Motion { before: Arc::clone(&old), share });
            let what = format!("{share} of 256, {scale:?}");
            assert_same(&drawn(&gpu, &picture, 200, 150), &reference(&picture, 200, 150), &what);
        }
    }
}

#[test]
fn the_glow_is_its_reference_and_spreads_only_what_is_bright() {
    let gpu = gpu();
    for (width, height, order) in [(320, 240, 6), (201, 333, 5), (64, 64, 3), (16, 16, 2)] {
        let mut picture = picture(program(order), ColorPalette::Inferno);
        let plain = drawn(&gpu, &picture, width, height);
        picture.glow = true;
        let glowing = drawn(&gpu, &picture, width, height);
        assert_same(&glowing, &glow(&picture, &plain), &format!("{width}×{height}"));
        assert!(
            plain
                .pixels
                .iter()
                .zip(&glowing.pixels)
                .all(|(a, b)| [16, 8, 0].iter().all(|s| a >> s & 0xff <= b >> s & 0xff))
        );
    }
    let mut cold = picture(DensityMap::from_elem((8, 8), 0.2), ColorPalette::Viridis);
    let plain = drawn(&gpu, &cold, 100, 100);
    cold.glow = true;
    assert_same(&drawn(&gpu, &cold, 100, 100), &plain, "nothing is bright");
}

/// The glow in floating point would differ; here every division is where the shader's is, and nothing else is shared.
fn glow(picture: &Picture, plain: &Image) -> Image {
    let layout = PictureLayout::new(plain.width, plain.height, picture.caption.order).expect("a layout");
    let side = layout.map.width as i64;
    let floor = picture.palette.colors()[96];
    let at = |x: i64, y: i64| {
        let (x, y) = (x.clamp(0, side - 1) as u32 + layout.map.x, y.clamp(0, side - 1) as u32 + layout.map.y);
        plain.pixels[(y * plain.width + x) as usize]
    };
    let channel = |color: u32, shift: u32| i64::from(color >> shift & 0xff);
    let mut result = plain.clone();
    for shift in [16u32, 8, 0] {
        let first: Vec<i64> = (0..side * side)
            .map(|i| {
                let color = at(i % side, i / side);
                let luma = |color| 54 * channel(color, 16) + 183 * channel(color, 8) + 19 * channel(color, 0);
                let more = (channel(color, shift) - channel(floor, shift)).max(0);
                if luma(color) > luma(floor) { 4 * more } else { 0 }
            })
            .collect();
        let mut levels = vec![(side, first)];
        while levels[levels.len() - 1].0 > 16 && levels.len() < 7 {
            let (fine, values) = &levels[levels.len() - 1];
            let fine = *fine;
            let coarse = (fine + 1) / 2;
            let value =
                |x: i64, y: i64| values[(y.clamp(0, fine - 1) * fine + x.clamp(0, fine - 1)) as usize];
            let next = (0..coarse * coarse)
                .map(|i| {
                    let (x, y) = (2 * (i % coarse), 2 * (i / coarse));
                    // Each of five blocks of four pixels around the middle; the middle one four times.
                    let block = |dx: i64, dy: i64| -> i64 {
                        (0..4).map(|k| value(x + dx + k % 2, y + dy + k / 2)).sum()
                    };
                    let sum = 4 * block(0, 0) + block(-1, -1) + block(1, -1) + block(-1, 1) + block(1, 1);
                    (sum + 16) / 32
                })
                .collect();
            levels.push((coarse, next));
        }
        let between = |(coarse, values): &(i64, Vec<i64>), x: i64, y: i64| {
            let coarse = *coarse;
            let value =
                |x: i64, y: i64| values[(y.clamp(0, coarse - 1) * coarse + x.clamp(0, coarse - 1)) as usize];
            let (nx, ny) = (x / 2, y / 2);
            let (fx, fy) = (nx + x % 2 * 2 - 1, ny + y % 2 * 2 - 1);
            (9 * value(nx, ny) + 3 * value(fx, ny) + 3 * value(nx, fy) + value(fx, fy) + 8) / 16
        };
        for fine in (1..levels.len() - 1).rev() {
            let (low, high) = levels.split_at_mut(fine + 1);
            let (side, values) = &mut low[fine];
            for i in 0..values.len() as i64 {
                let spread = between(&high[0], i % *side, i / *side);
                values[i as usize] = (values[i as usize] + spread) / 2;
            }
        }
        if levels.len() > 1 {
            for i in 0..side * side {
                let (x, y) = (i % side, i / side);
                let here = ((y as u32 + layout.map.y) * plain.width + x as u32 + layout.map.x) as usize;
                let more = between(&levels[1], x, y) * 200 / 1024;
                let color = (channel(plain.pixels[here], shift) + more).min(255) as u32;
                result.pixels[here] = result.pixels[here] & !(0xff << shift) | color << shift;
            }
        }
    }
    result
}

#[test]
fn the_volume_is_within_rounding_of_its_reference() {
    let gpu = gpu();
    for (orbit, scale) in [
        (Orbit::default(), ColorScale::Linear),
        (Orbit { yaw: 0.0, pitch: 0.0 }, ColorScale::Linear),
        (Orbit { yaw: -2.3, pitch: 1.1 }, ColorScale::Logarithmic),
    ] {
        let mut picture = bare(4, 3, volume(16, 20, 7, orbit));
        picture.scale = scale;
        let seen = drawn(&gpu, &picture, 240, 180);
        let Scene::Volume(volume) = &picture.scene else { unreachable!("it was made so") };
        let layout = PictureLayout::new(240, 180, 4).expect("a layout");
        let [right, down, forward] = orbit.axes();
        let side = layout.map.width;
        let dot = |axes: [f32; 3], u: f32| axes.map(|v| v * u);
        let (mut off, mut compared) = (0, 0);
        for (x, y) in (0..side).flat_map(|y| (0..side).map(move |x| (x, y))) {
            let place = |v: u32| ((v as f32 + 0.5) / side as f32 * 2.0 - 1.0) * 1.8;
            let (u, v) = (dot(right, place(x)), dot(down, place(y)));
            let reach = 12f32.sqrt();
            let (mut color, mut clear) = ([0f32; 3], 1f32);
            for i in 0..160 {
                let t = (i as f32 + 0.5) * reach / 160.0 - reach / 2.0;
                let p: [f32; 3] = std::array::from_fn(|k| u[k] + v[k] + forward[k] * t);
                if p.iter().any(|v| v.abs() >= 1.0) {
                    continue;
                }
                let (layers, boxes, _) = volume.boxes.dim();
                let index = |v: f32, n: usize| (((v + 1.0) * 0.5 * n as f32) as usize).min(n - 1);
                let density = volume.boxes[[index(p[2], layers), index(p[1], boxes), index(p[0], boxes)]];
                let value = (density * 255.0).round() as u32;
                if value == 0 {
                    continue;
                }
                let step = match scale {
                    ColorScale::Linear => value,
                    ColorScale::Logarithmic => {
                        let octave = value.ilog2();
                        octave * 32 + (((value << (7 - octave)) & 127) >> 2)
                    }
                };
                let alpha = 0.35 * step as f32 / 255.0;
                let hue = picture.palette.colors()[step as usize];
                for (color, shift) in color.iter_mut().zip([16, 8, 0]) {
                    *color += (hue >> shift & 0xff) as f32 * alpha * clear;
                }
                clear *= 1.0 - alpha;
            }
            let pixel = seen.pixels[((y + layout.map.y) * 240 + x + layout.map.x) as usize];
            compared += 1;
            let background = memory_glass::render::BACKGROUND;
            let wrong = color.iter().zip([16, 8, 0]).any(|(color, shift)| {
                let expected = color + (background >> shift & 0xff) as f32 * clear;
                // What is left of a ray that gives up at a hundredth is 2.55 at the most.
                ((pixel >> shift & 0xff) as f32 - expected).abs() > 4.0
            });
            off += u32::from(wrong);
        }
        // A ray along a box's wall falls to either side of it; the edges of the cube are drawn over some.
        assert!(f64::from(off) < 0.06 * f64::from(compared), "{orbit:?}: {off} of {compared}");
    }
}

#[test]
fn what_is_still_is_not_drawn_and_what_changed_is_drawn_whole() {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stages");
    let stretches: Arc<[NamedStretch]> =
        [("[heap]", 0, 900), ("[stack]", 901, 1000), ("libc.so.6", 1400, 4000)]
            .map(|(name, first, last)| NamedStretch { name: name.into(), first, last })
            .into();
    let marks = [
        Arc::new(Marks::default()),
        Arc::new(Marks { stretches: Arc::clone(&stretches), ..Marks::default() }),
        Arc::new(Marks {
            stretches,
            pins: vec![(3, 60)],
            hover: Some(Hover { cell: (63, 0), words: vec!["0x7f0000000000".into(), "[heap]".into()] }),
            lasso: vec![(0.1, 0.1), (0.9, 0.2), (0.5, 1.0)],
            series: Some(Series {
                title: "0x1000".into(),
                values: vec![0.1, 0.9, 0.4],
                span: Duration::from_millis(300),
            }),
        }),
    ];
    let mut noise = Noise(9);
    for (width, height) in [(320, 240), (48, 48)] {
        let mut target = MapTarget::offscreen(&gpu, width, height).expect("a target");
        let mut density = program(6);
        let mut last = picture(density.clone(), ColorPalette::Viridis);
        for round in 0..60 {
            // Now one thing changes, now another, and most often a few cells.
            match noise.below(9) {
                0 => last.palette = ColorPalette::ALL[noise.below(4) as usize],
                1 => last.glow = !last.glow,
                2 => last.marks = Arc::clone(&marks[noise.below(3) as usize]),
                3 => last.caption.status = format!("round {round}"),
                4 => last.scene = if noise.below(2) == 0 { Scene::Heatmap } else { kinetic(6, round) },
                5 => last.scale = ColorScale::Logarithmic,
                6 => last.scale = ColorScale::Linear,
                _ => {
                    for _ in 0..3 {
                        density[[noise.below(64) as usize, noise.below(64) as usize]] = noise.unit();
                    }
                    last.density = Arc::new(density.clone());
                }
            }
            painter.draw(&last, &mut target).expect("a frame");
            let fresh = drawn(&gpu, &last, width, height);
            assert_same(&target.read().expect("pixels"), &fresh, &format!("round {round}"));
        }
    }
}

#[test]
fn names_and_marks_are_seen_on_the_map_and_nowhere_else() {
    let gpu = gpu();
    let mut picture = picture(DensityMap::zeros((64, 64)), ColorPalette::Inferno);
    let plain = drawn(&gpu, &picture, 640, 480);
    let name = |name: &str, first, last| NamedStretch { name: name.into(), first, last };
    picture.marks = Arc::new(Marks {
        stretches: [name("[heap]", 0, 2047), name("libc.so.6", 2048, 4095)].into(),
        pins: vec![(0, 0), (63, 63)],
        ..Marks::default()
    });
    let marked = drawn(&gpu, &picture, 640, 480);
    let layout = PictureLayout::new(640, 480, 6).expect("a layout");
    let changed: Vec<(u32, u32)> = (0..plain.pixels.len())
        .filter(|at| plain.pixels[*at] != marked.pixels[*at])
        .map(|at| (at as u32 % 640, at as u32 / 640))
        .collect();
    assert!(changed.iter().all(|(x, y)| layout.map.contains(*x, *y)));
    // Half of the curve is the left half of the map: the line between is straight, and both names stand beside it.
    let middle = layout.map.x + layout.map.width / 2;
    let line = changed.iter().filter(|(x, _)| x.abs_diff(middle) <= 1).count();
    assert!(line >= layout.map.height as usize * 9 / 10, "{line}");
    for half in [layout.map.x..middle - 2, middle + 2..layout.map.right()] {
        assert!(changed.iter().filter(|(x, _)| half.contains(x)).count() > 200);
    }
    // The pins, in two corners.
    assert!(changed.contains(&(layout.map.x, layout.map.y)));
    assert!(changed.contains(&(layout.map.right() - 1, layout.map.bottom() - 1)));
}

#[test]
fn a_scene_that_does_not_fit_its_map_is_refused() {
    let gpu: Gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stages");
    let mut target = MapTarget::offscreen(&gpu, 64, 64).expect("a target");
    let good = bare(4, 1, Scene::Heatmap);
    let far = ThreadWrite { cell: 256, mass: 1, thread: 0 };
    let stranger = ThreadWrite { cell: 0, mass: 1, thread: 1 };
    let thread = MovingThread { name: "main".into(), tid: 1, velocity: 1.0 };
    let write =
        |write| Scene::Kinetic(Arc::new(KineticField { threads: vec![thread.clone()], writes: vec![write] }));
    for scene in [
        phases(5, 1),
        waterfall(3, 1),
        avalanche(5, 1),
        write(far),
        write(stranger),
        volume(0, 0, 1, Orbit::default()),
    ] {
        let mode = scene.mode();
        let error =
            painter.draw(&Picture { scene, ..good.clone() }, &mut target).expect_err("it does not fit");
        assert!(!error.to_string().contains('\n'), "{mode:?}: {error}");
    }
    assert_eq!(HUES, memory_glass::render::THREAD_HUES.len());
    painter.draw(&good, &mut target).expect("a frame");
}

#[test]
fn a_map_is_a_texture_for_others() {
    let mut visualizer = Visualizer::new(GlassRamVisualizationMode::Heatmap).expect("a device");
    let side = Visualizer::SIDE;
    let flat = visualizer.render(&program(6)).expect("a texture");
    assert_eq!((flat.width(), flat.height()), (side, side));
    visualizer.set_mode(GlassRamVisualizationMode::Volumetric);
    assert_eq!(visualizer.mode(), GlassRamVisualizationMode::Volumetric);
    visualizer.enable_interactive(true);
    visualizer.turn(1.0, -0.5);
    let body = visualizer.render_3d(&Array3::from_elem((4, 8, 8), 0.5)).expect("a texture");
    let series = visualizer.render_time_series(&[program(4), program(4)]).expect("a texture");
    assert_eq!((body.width(), series.width()), (side, side));
    assert!(visualizer.render(&DensityMap::zeros((3, 3))).is_err());
}
