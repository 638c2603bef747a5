//! Marks as pixels: what shaders/overlay.wgsl blends over the finished map.

use std::sync::Arc;

use super::layout::{PictureLayout, Rect};
use super::legend::Legend;
use super::marks::{Hover, Marks};
use super::picture::Picture;
use super::scene::{Orbit, Scene};
use super::text::{Coverage, Lettering};
use super::{BACKGROUND, INK};
use crate::map::HilbertCurve;

/// The finest curve that outlines follow: a mapping's edge is seen as well at 512 × 512.
const OUTLINE_ORDER: u32 = 9;
/// Names on the map, the largest mappings first.
const NAMES: usize = 24;
/// The map's side, in shares of the volume's: 1.8 of shaders/volume.wgsl.
const VIEW: f32 = 1.8;

/// What the pixels depend on, besides the layout.
#[derive(PartialEq)]
pub(super) struct Key {
    marks: Arc<Marks>,
    names: Vec<u32>,
    epicentre: Option<(u32, u32)>,
    orbit: Option<Orbit>,
    on_curve: bool,
}

impl Key {
    pub(super) fn of(picture: &Picture, legend: &Legend) -> Key {
        let (mut epicentre, mut orbit) = (None, None);
        match &picture.scene {
            Scene::Avalanche(field) => epicentre = field.epicentre,
            Scene::Volume(volume) => orbit = Some(volume.orbit),
            _ => {}
        }
        Key {
            marks: Arc::clone(&picture.marks),
            names: legend.names.iter().map(|(hue, _)| *hue).collect(),
            epicentre,
            orbit,
            on_curve: on_curve(&picture.scene),
        }
    }
}

/// The map's cells are those of the curve.
fn on_curve(scene: &Scene) -> bool {
    !matches!(scene, Scene::Waterfall(_) | Scene::Volume(_))
}

/// Pixels with a colour and how much it covers.
#[derive(Default)]
pub(super) struct Pixels {
    /// y << 16 | x, and coverage << 24 | 0xRRGGBB, in the order of drawing.
    list: Vec<(u32, u32)>,
}

impl Pixels {
    fn put(&mut self, x: u32, y: u32, color: u32, coverage: u8) {
        self.list.push((y << 16 | x, u32::from(coverage) << 24 | color & 0xff_ffff));
    }

    fn fill(&mut self, rect: Rect, color: u32, coverage: u8) {
        for y in rect.y..rect.bottom() {
            for x in rect.x..rect.right() {
                self.put(x, y, color, coverage);
            }
        }
    }

    /// Lines along the inside of a rectangle.
    fn frame(&mut self, rect: Rect, stroke: u32, color: u32, coverage: u8) {
        let Rect { x, y, width, height } = rect;
        let stroke = stroke.min(width / 2).min(height / 2).max(1);
        self.fill(Rect { height: stroke, ..rect }, color, coverage);
        self.fill(Rect { y: y + height - stroke, height: stroke, ..rect }, color, coverage);
        let sides = Rect { y: y + stroke, height: height.saturating_sub(2 * stroke), ..rect };
        self.fill(Rect { width: stroke, ..sides }, color, coverage);
        self.fill(Rect { x: x + width - stroke, width: stroke, ..sides }, color, coverage);
    }

    /// A straight line that stays within `clip`.
    fn line(&mut self, clip: Rect, from: (f32, f32), to: (f32, f32), color: u32, coverage: u8) {
        let steps = (to.0 - from.0).abs().max((to.1 - from.1).abs()).ceil().clamp(1.0, 65535.0);
        for step in 0..=steps as u32 {
            let share = step as f32 / steps;
            let at = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            let (x, y) = (at.0.max(0.0) as u32, at.1.max(0.0) as u32);
            if clip.contains(x, y) {
                self.put(x, y, color, coverage);
            }
        }
    }

    fn letters(&mut self, letters: &Coverage, x: u32, y: u32, clip: Rect, color: u32) {
        for (row, line) in (y..).zip(letters.values.chunks_exact(letters.width.max(1) as usize)) {
            for (column, &ink) in (x..).zip(line) {
                if ink > 0 && clip.contains(column, row) {
                    self.put(column, row, color, ink);
                }
            }
        }
    }

    /// Each pixel once, later ones over earlier ones.
    pub(super) fn finish(mut self) -> Vec<[u32; 2]> {
        self.list.sort_by_key(|(at, _)| *at);
        let mut once: Vec<[u32; 2]> = Vec::with_capacity(self.list.len());
        for (at, color) in self.list {
            match once.last_mut() {
                Some([last, under]) if *last == at => *under = over(*under, color),
                _ => once.push([at, color]),
            }
        }
        once
    }
}

/// Two blends as one.
fn over(under: u32, top: u32) -> u32 {
    let (a, b) = (under >> 24, top >> 24);
    let both = 255 * (a + b) - a * b;
    if both == 0 {
        return 0;
    }
    let channel = |shift: u32| {
        let (low, high) = (under >> shift & 0xff, top >> shift & 0xff);
        ((high * b * 255 + low * a * (255 - b) + both / 2) / both).min(255) << shift
    };
    ((both + 127) / 255) << 24 | channel(16) | channel(8) | channel(0)
}

/// Everything over one picture.
pub(super) fn pixels(
    picture: &Picture,
    legend: &Legend,
    layout: &PictureLayout,
    lettering: &mut Lettering,
) -> Vec<[u32; 2]> {
    let mut pixels = Pixels::default();
    for (place, (hue, _)) in layout.names.iter().zip(&legend.names) {
        let side = (layout.em * 3 / 4).min(place.height);
        let y = place.y + (place.height - side) / 2;
        pixels.fill(Rect { x: place.x, y, width: side, height: side }, *hue, 255);
    }
    let marks = &*picture.marks;
    let on_curve = on_curve(&picture.scene);
    if on_curve {
        outlines(&mut pixels, marks, picture.caption.order, layout, lettering);
    }
    match &picture.scene {
        Scene::Avalanche(field) => {
            if let Some(at) = field.epicentre {
                let cell = cell(layout, at);
                let reach = layout.em;
                let around = Rect {
                    x: cell.x.saturating_sub(reach).max(layout.map.x),
                    y: cell.y.saturating_sub(reach).max(layout.map.y),
                    width: 0,
                    height: 0,
                };
                let width = (cell.right() + reach).min(layout.map.right()) - around.x;
                let height = (cell.bottom() + reach).min(layout.map.bottom()) - around.y;
                pixels.frame(Rect { width, height, ..around }, stroke(layout), INK, 230);
            }
        }
        Scene::Volume(volume) => cube(&mut pixels, layout.map, volume.orbit),
        _ => {}
    }
    for pin in marks.pins.iter().filter(|_| on_curve) {
        pixels.frame(grown(cell(layout, *pin), 1, layout.map), stroke(layout), INK, 255);
    }
    let side = layout.map.width as f32;
    let place = |(x, y): (f32, f32)| (layout.map.x as f32 + x * side, layout.map.y as f32 + y * side);
    for pair in marks.lasso.windows(2) {
        pixels.line(layout.map, place(pair[0]), place(pair[1]), INK, 220);
    }
    if let Some(hover) = &marks.hover {
        tip(&mut pixels, hover, layout, lettering);
    }
    pixels.finish()
}

/// How thick lines are.
fn stroke(layout: &PictureLayout) -> u32 {
    (layout.em / 12).max(1)
}

/// Where a cell is drawn; at least a pixel.
fn cell(layout: &PictureLayout, (x, y): (u32, u32)) -> Rect {
    let (n, s) = (u64::from(layout.cells), u64::from(layout.map.width));
    let edge = |cell: u32| (u64::from(cell) * s / n) as u32;
    let (left, top) = (edge(x.min(layout.cells - 1)), edge(y.min(layout.cells - 1)));
    let (right, bottom) = (edge(x + 1).min(layout.map.width), edge(y + 1).min(layout.map.width));
    Rect {
        x: layout.map.x + left,
        y: layout.map.y + top,
        width: right.saturating_sub(left).max(1),
        height: bottom.saturating_sub(top).max(1),
    }
}

fn grown(rect: Rect, by: u32, within: Rect) -> Rect {
    let (x, y) = (rect.x.saturating_sub(by).max(within.x), rect.y.saturating_sub(by).max(within.y));
    let (right, bottom) =
        ((rect.right() + by).min(within.right()), (rect.bottom() + by).min(within.bottom()));
    Rect { x, y, width: right - x, height: bottom - y }
}

/// The edges of the mappings, and the names of the large ones.
fn outlines(
    pixels: &mut Pixels,
    marks: &Marks,
    order: u32,
    layout: &PictureLayout,
    lettering: &mut Lettering,
) {
    let coarse = order.min(OUTLINE_ORDER);
    let Ok(curve) = HilbertCurve::try_new(coarse) else { return };
    if marks.stretches.is_empty() {
        return;
    }
    let side = curve.size() as usize;
    let mut owner = vec![0u32; side * side];
    let mut middles = Vec::new();
    for (number, stretch) in (1..).zip(marks.stretches.iter()) {
        let shift = 2 * (order - coarse);
        let indices: Vec<u32> = (stretch.first >> shift..=stretch.last >> shift)
            .take_while(|index| u64::from(*index) < curve.cells())
            .collect();
        let (mut xs, mut ys) = (vec![0; indices.len()], vec![0; indices.len()]);
        curve.d2xy_batch(&indices, &mut xs, &mut ys);
        for (x, y) in xs.iter().zip(&ys) {
            owner[*y as usize * side + *x as usize] = number;
        }
        let count = indices.len().max(1) as f64;
        let middle = |axis: &[u32]| axis.iter().map(|v| f64::from(*v) + 0.5).sum::<f64>() / count;
        middles.push((indices.len(), middle(&xs), middle(&ys), &stretch.name));
    }
    let edge = |cell: usize| (cell as u64 * u64::from(layout.map.width)).div_ceil(side as u64) as u32;
    for y in 0..side {
        for x in 0..side {
            let here = owner[y * side + x];
            let (left, top) = (layout.map.x + edge(x), layout.map.y + edge(y));
            if !layout.map.contains(left, top) {
                // The last of several cells that one pixel shows.
                continue;
            }
            let (width, height) = (edge(x + 1) - edge(x), edge(y + 1) - edge(y));
            let (width, height) = (width.max(1), height.max(1));
            let over_left = x > 0 && owner[y * side + x - 1] != here;
            let over_top = y > 0 && owner[(y - 1) * side + x] != here;
            if over_top {
                pixels.fill(Rect { x: left, y: top, width, height: 1 }, INK, 80);
            }
            if over_left {
                let from = u32::from(over_top);
                pixels.fill(
                    Rect { x: left, y: top + from, width: 1, height: height - from.min(height) },
                    INK,
                    80,
                );
            }
        }
    }
    middles.sort_by_key(|(cells, ..)| std::cmp::Reverse(*cells));
    let mut taken: Vec<Rect> = Vec::new();
    for (cells, x, y, name) in middles.into_iter().take(NAMES) {
        let letters = lettering.label(name, layout.em as f32 * 0.85);
        let room = f64::from(layout.map.width) / side as f64;
        // A name needs a mapping about as large as itself.
        if (cells as f64).sqrt() * room < f64::from(letters.width) * 0.8 || letters.width == 0 {
            continue;
        }
        let (pad, map) = (layout.em / 4, layout.map);
        let (width, height) = (letters.width + 2 * pad, letters.height + pad);
        if width > map.width || height > map.height {
            continue;
        }
        let left = map.x + ((x * room) as u32).saturating_sub(width / 2).min(map.width - width);
        let top = map.y + ((y * room) as u32).saturating_sub(height / 2).min(map.height - height);
        let plate = Rect { x: left, y: top, width, height };
        let apart = |other: &Rect| {
            plate.right() <= other.x
                || other.right() <= plate.x
                || plate.bottom() <= other.y
                || other.bottom() <= plate.y
        };
        if taken.iter().all(apart) {
            pixels.fill(plate, BACKGROUND, 165);
            pixels.letters(&letters, left + pad, top + pad / 2, plate, INK);
            taken.push(plate);
        }
    }
}

/// What is known of the cell under the pointer, beside it.
fn tip(pixels: &mut Pixels, hover: &Hover, layout: &PictureLayout, lettering: &mut Lettering) {
    let map = layout.map;
    let under = grown(cell(layout, hover.cell), 1, map);
    pixels.frame(under, stroke(layout), INK, 255);
    let lines: Vec<Coverage> =
        hover.words.iter().map(|words| lettering.label(words, layout.em as f32 * 0.95)).collect();
    let widest = lines.iter().map(|line| line.width).max().unwrap_or(0);
    let (pad, pitch) = (layout.em / 2, layout.em * 13 / 10);
    let (width, height) =
        ((widest + 2 * pad).min(map.width), (pitch * lines.len() as u32 + pad).min(map.height));
    if lines.is_empty() {
        return;
    }
    // At its right, or where there is no room, at its left; never off the map.
    let x = if under.right() + pad + width <= map.right() {
        under.right() + pad
    } else {
        under.x.saturating_sub(width + pad).max(map.x)
    };
    let y = under.y.min(map.bottom() - height);
    let plate = Rect { x: x.min(map.right() - width), y, width, height };
    pixels.fill(plate, BACKGROUND, 235);
    pixels.frame(plate, 1, INK, 90);
    for (row, line) in (0..).zip(&lines) {
        pixels.letters(line, plate.x + pad, plate.y + pad / 2 + row * pitch, plate, INK);
    }
}

/// The edges of the volume.
fn cube(pixels: &mut Pixels, map: Rect, orbit: Orbit) {
    let [right, down, _] = orbit.axes();
    let corner = |at: usize| {
        let point: [f32; 3] = std::array::from_fn(|axis| if at >> axis & 1 == 1 { 1.0 } else { -1.0 });
        let along = |axis: [f32; 3]| axis.iter().zip(point).map(|(a, b)| a * b).sum::<f32>() / VIEW;
        let place = |share: f32| (share + 1.0) / 2.0 * map.width as f32;
        (map.x as f32 + place(along(right)), map.y as f32 + place(along(down)))
    };
    for from in 0..8usize {
        for axis in 0..3 {
            if from >> axis & 1 == 0 {
                // The newest window's plane is the one that stands out.
                let newest = axis < 2 && from >> 2 & 1 == 0;
                pixels.line(map, corner(from), corner(from | 1 << axis), INK, if newest { 150 } else { 60 });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blends_at_once_are_as_two_after_each_other() {
        let blend = |under: u32, top: u32| {
            let share = f64::from(top >> 24) / 255.0;
            [16, 8, 0].map(|shift| {
                let of = |color: u32| f64::from(color >> shift & 0xff);
                of(under) * (1.0 - share) + of(top) * share
            })
        };
        for (a, b) in
            [(0xff10_2030, 0x80f0_f0f0), (0x40ff_0000, 0x400000ff), (0, 0x12345678), (0x7f123456, 0)]
        {
            let both = over(a, b);
            for ground in [0u32, 0xff_ffff, 0x80_4020] {
                let once = blend(ground, both);
                let first = blend(ground, a);
                let share = f64::from(b >> 24) / 255.0;
                for (channel, shift) in [16, 8, 0].into_iter().enumerate() {
                    let twice = first[channel] * (1.0 - share) + f64::from(b >> shift & 0xff) * share;
                    assert!((once[channel] - twice).abs() < 1.5, "{a:08x} {b:08x}: {once:?} {twice}");
                }
            }
        }
    }

    #[test]
    fn no_pixel_comes_twice() {
        let mut pixels = Pixels::default();
        let rect = Rect { x: 3, y: 4, width: 10, height: 6 };
        pixels.fill(rect, 0, 200);
        pixels.frame(rect, 1, 0xffffff, 255);
        let list = pixels.finish();
        assert_eq!(list.len(), 60);
        assert!(list.windows(2).all(|pair| pair[0][0] < pair[1][0]));
        assert!(list.contains(&[4 << 16 | 3, 0xffff_ffff]) && list.contains(&[5 << 16 | 4, 200 << 24]));
    }
}
