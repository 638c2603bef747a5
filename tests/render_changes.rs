//! What of a map goes to the GPU: as much as is new, and never so little that a pixel is not the reference's.

mod render;

use std::sync::{Arc, OnceLock};

use memory_glass::render::scene::{PhaseField, Scene};
use memory_glass::render::{ColorPalette, ColorScale, Gpu, MapTarget, Motion, Painter, Part, Picture};
use memory_glass::sensing::{DensityMap, MapTiles, survey};
use proptest::prelude::*;
use render::{Noise, assert_same, drawn, gpu, picture, program, reference};

/// Opened once for all cases, and never dropped.
fn shared_gpu() -> &'static Gpu {
    static GPU: OnceLock<Gpu> = OnceLock::new();
    GPU.get_or_init(gpu)
}

/// A picture of a map of which it is known what differs from the map before, or is not.
fn known(map: DensityMap, before: Option<&Picture>, changed: &[(usize, usize)], told: bool) -> Picture {
    let mut picture = picture(map, ColorPalette::Viridis);
    if told {
        let tiles = match before.and_then(|before| before.tiles.as_ref()) {
            Some(before) => before.after(&picture.density, changed.iter().copied()),
            None => MapTiles::of(&picture.density, &survey(&picture.density, 0.0).1),
        };
        picture.tiles = Some(Arc::new(tiles));
    }
    picture
}

/// A rectangle of cells of a map, made other than it is.
fn rewrite(map: &mut DensityMap, noise: &mut Noise, most: u64) -> Vec<(usize, usize)> {
    let side = map.nrows() as u64;
    let (width, height) = (1 + noise.below(side.min(most)), 1 + noise.below(side.min(most)));
    let (left, top) = (noise.below(side - width + 1), noise.below(side - height + 1));
    let cells: Vec<(usize, usize)> = (top..top + height)
        .flat_map(|y| (left..left + width).map(move |x| (x as usize, y as usize)))
        .collect();
    for (x, y) in &cells {
        map[[*y, *x]] = match noise.below(5) {
            0 => 0.0,
            1 => f32::NAN,
            _ => noise.unit(),
        };
    }
    cells
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    /// Maps that change little by little, shown on several targets of which each sees only some of them, with
    /// other palettes, scales, motion and modes between, are drawn as if each were the first.
    #[test]
    fn any_sequence_of_changes_shows_what_a_whole_upload_does(order in 4..=9u32, seed: u64, told: bool) {
        let gpu = shared_gpu();
        let mut noise = Noise(seed | 1);
        let mut painter = Painter::new(gpu).expect("the stages");
        let mut targets: Vec<MapTarget> = [(300, 200), (64, 90), (520, 420)]
            .map(|(width, height)| MapTarget::offscreen(gpu, width, height).expect("a target"))
            .into();
        let mut map = program(order);
        let mut last = known(map.clone(), None, &[], told);
        let mut another = None;
        for step in 0..10 {
            let mut changed = Vec::new();
            for _ in 0..noise.below(4) {
                changed.extend(rewrite(&mut map, &mut noise, 40));
            }
            if noise.below(6) == 0 {
                changed.extend(rewrite(&mut map, &mut noise, 1 << 9));
            }
            let before = Arc::clone(&last.density);
            // Now and then nothing is said of the tiles, or the line is laid out anew.
            let tell = told && noise.below(6) > 0;
            let since = Some(&last).filter(|_| noise.below(6) > 0);
            last = known(map.clone(), since, &changed, tell);
            let mut shown = last.clone();
            match noise.below(8) {
                0 => shown.palette = ColorPalette::Inferno,
                1 => shown.scale = ColorScale::Logarithmic,
                2 => shown.motion = Some(Motion { before, share: noise.below(257) as u16 }),
                3 => {
                    let after = Arc::clone(&shown.density);
                    shown.scene = Scene::Phases(Arc::new(PhaseField { before, after, ..PhaseField::default() }));
                }
                4 => {
                    // Another program's map, of another order.
                    let other = another.get_or_insert_with(|| picture(program(order - 1), ColorPalette::Cividis));
                    shown = other.clone();
                }
                _ => {}
            }
            let target = &mut targets[noise.below(3) as usize];
            painter.draw(&shown, target).expect("a frame");
            let (width, height) = target.resolution();
            assert_same(&target.read().expect("pixels"), &drawn_anew(&shown, width, height), &format!("step {step}"));
            assert_same(&target.read().expect("pixels"), &reference(&shown, width, height), &format!("step {step}"));
        }
    }
}

fn drawn_anew(picture: &Picture, width: u32, height: u32) -> memory_glass::render::Image {
    drawn(shared_gpu(), &Picture { tiles: None, ..picture.clone() }, width, height)
}

#[test]
fn only_what_is_new_goes_to_the_gpu() {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stages");
    let mut target = MapTarget::offscreen(&gpu, 640, 480).expect("a target");
    let mut noise = Noise(21);
    for told in [true, false] {
        for order in [8, 9, 11] {
            let mut map = program(order);
            let whole = 2 * map.len() as u64;
            let first = known(map.clone(), None, &[], told);
            assert_eq!(painter.draw(&first, &mut target).expect("a frame").written, whole, "order {order}");
            // The same map, the same numbers in other memory, other words, another palette, another target.
            let mut again = first.clone();
            assert_eq!(painter.draw(&again, &mut target).expect("a frame").written, 0);
            again.caption.status = "other words".into();
            assert_eq!(painter.draw(&again, &mut target).expect("a frame").written, 0);
            again.palette = ColorPalette::Inferno;
            assert_eq!(painter.draw(&again, &mut target).expect("a frame").written, 0);
            let mut other = MapTarget::offscreen(&gpu, 100, 100).expect("a target");
            assert_eq!(painter.draw(&again, &mut other).expect("a frame").written, 0);
            let same = known(map.clone(), Some(&first), &[], told);
            assert_eq!(painter.draw(&same, &mut target).expect("a frame").written, 0);
            assert_same(&target.read().expect("pixels"), &reference(&same, 640, 480), "the same");

            // A hundredth of the cells, in one place.
            let side = map.nrows() / 10;
            let changed: Vec<(usize, usize)> =
                (0..side).flat_map(|y| (0..side).map(move |x| (x + 7, y + 11))).collect();
            for (x, y) in &changed {
                map[[*y, *x]] = noise.unit();
            }
            let few = known(map.clone(), Some(&same), &changed, told);
            let written = painter.draw(&few, &mut target).expect("a frame").written;
            assert!(written > 0 && written * 20 < whole, "order {order}: {written} of {whole}");
            assert_same(&target.read().expect("pixels"), &reference(&few, 640, 480), "a hundredth");

            // Motion from the map before, which is there already.
            map[[1, 1]] = 0.5;
            let mut moving = known(map.clone(), Some(&few), &[(1, 1)], told);
            moving.motion = Some(Motion { before: Arc::clone(&few.density), share: 90 });
            painter.draw(&moving, &mut target).expect("a frame");
            for share in [120, 200] {
                moving.motion = Some(Motion { before: Arc::clone(&few.density), share });
                assert_eq!(painter.draw(&moving, &mut target).expect("a frame").written, 0);
            }
            let before = Arc::clone(&moving.density);
            map[[2, 2]] = 0.25;
            let mut next = known(map.clone(), Some(&moving), &[(2, 2)], told);
            next.motion = Some(Motion { before, share: 10 });
            let written = painter.draw(&next, &mut target).expect("a frame").written;
            assert!(written * 10 < whole, "order {order}: {written} of {whole}");
            assert_same(&target.read().expect("pixels"), &reference(&next, 640, 480), "motion");
        }
    }
}

#[test]
fn a_part_and_a_skipped_picture_are_right() {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stages");
    let mut part = MapTarget::offscreen(&gpu, 150, 480).expect("a target");
    part.show_part(Part { whole: (640, 480), at: (100, 0) }).expect("a part");
    let mut whole = MapTarget::offscreen(&gpu, 640, 480).expect("a target");
    let mut noise = Noise(4);
    let mut map = program(9);
    let mut last = known(map.clone(), None, &[], true);
    for round in 0..12 {
        let changed = rewrite(&mut map, &mut noise, 30);
        last = known(map.clone(), Some(&last), &changed, true);
        // Most are shown nowhere, and some on one of the two only.
        let expected = reference(&last, 640, 480);
        if round % 5 == 0 {
            painter.draw(&last, &mut whole).expect("a frame");
            assert_same(&whole.read().expect("pixels"), &expected, &format!("round {round}"));
        }
        if round % 4 == 3 {
            painter.draw(&last, &mut part).expect("a frame");
            let seen = part.read().expect("pixels");
            for (row, line) in seen.pixels.chunks_exact(150).enumerate() {
                let there = row * 640 + 100;
                assert_eq!(line, &expected.pixels[there..there + 150], "round {round}, row {row}");
            }
        }
    }
}

#[test]
fn what_is_said_of_tiles_never_hides_a_difference() {
    let mut map = program(8);
    let first = known(map.clone(), None, &[], true);
    assert!(known(map.clone(), Some(&first), &[], true).looks_like(&first));
    // Less than a step of any palette.
    map[[17, 200]] += 1e-4;
    let near = known(map.clone(), Some(&first), &[(200, 17)], true);
    assert!(near.looks_like(&first) && first.looks_like(&near));
    map[[255, 3]] = 1.0 - map[[255, 3]];
    for (told, changed) in [(true, vec![(3, 255)]), (false, Vec::new())] {
        let far = known(map.clone(), Some(&near), &changed, told);
        assert!(!far.looks_like(&near) && !far.looks_like(&first) && !near.looks_like(&far), "{told}");
    }
    // Numbers of another map are not believed.
    let mut wrong = picture(map, ColorPalette::Viridis);
    wrong.tiles.clone_from(&near.tiles);
    assert!(!wrong.looks_like(&near));
}
