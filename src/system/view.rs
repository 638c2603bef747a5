//! How a watched process is looked at: what the map shows, and what of it is pointed at, held on to or looked into.
//!
//! Cells are told by their place on the line of pages wherever something is to stay where it is while the map changes its
//! order. A zoom lays a stretch of the line on a curve of its own.

use std::ops::Range;
use std::sync::Arc;

use super::session;
use crate::capture::{MemoryRegion, PageRange};
use crate::ipc::{Mode, Scale};
use crate::map::{AddressLayout, HilbertCapability as _, HilbertCurve};
use crate::render::layout::PictureLayout;
use crate::render::scene::Orbit;
use crate::render::{ColorScale, GlassRamVisualizationMode, Legend, NamedStretch, Picture};

/// Turns of the volume for a drag over the whole map, in radians.
const TURN: f32 = 4.0;
/// Mappings that are outlined, the largest; more are lines without a place between them.
const OUTLINED: usize = 512;

/// Where the pointer is on a picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PointerAt {
    /// Of the whole picture, across and down.
    pub whole: (u32, u32),
    /// The pointer.
    pub at: (u32, u32),
}

/// How a process is looked at.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// What the map shows.
    pub mode: GlassRamVisualizationMode,
    /// How values become colours.
    pub scale: ColorScale,
    /// What is bright spreads.
    pub glow: bool,
    /// No outlines and names of mappings.
    pub plain: bool,
    /// From where the volume is seen.
    pub orbit: Orbit,
    /// The row of the time series that is looked at.
    pub cursor: Option<u32>,
    /// Where the pointer is on the map, in shares of its side.
    pointer: Option<(f32, f32)>,
    /// Since when the button is held, and where it was last.
    held: Option<Held>,
    /// Places on the line that are held on to.
    pub pins: Vec<u64>,
    /// A line around cells that is being drawn, in shares of the map's side.
    pub lasso: Vec<(f32, f32)>,
    /// What was chosen by the last such line: cells along the curve, and of how many.
    chosen: Vec<Range<u64>>,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    from: (f32, f32),
    last: (f32, f32),
}

/// What a press, a drag or a turn of the wheel came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gesture {
    /// Nothing that the picture shows.
    Nothing,
    /// The picture looks another way.
    Changed,
    /// A click on this cell, (x, y).
    Clicked((u32, u32)),
    /// The lasso is closed.
    Chosen,
}

impl View {
    /// As a person asks for it.
    pub fn of(mode: Mode, scale: Scale, glow: bool) -> Self {
        Self { mode: session::mode(mode), scale: session::color_scale(scale), glow, ..Self::default() }
    }

    /// The pointer is here; `picture` is what it is on.
    pub fn moved(&mut self, picture: &Picture, pointer: Option<PointerAt>) -> Gesture {
        let before = self.pointer;
        self.pointer = pointer.and_then(|pointer| share(picture, pointer));
        if let (Some(held), Some(now)) = (self.held, self.pointer) {
            self.drag(held, now);
            return Gesture::Changed;
        }
        if before == self.pointer { Gesture::Nothing } else { Gesture::Changed }
    }

    /// The button goes down.
    pub fn pressed(&mut self) -> Gesture {
        let Some(at) = self.pointer else { return Gesture::Nothing };
        self.held = Some(Held { from: at, last: at });
        if self.mode == GlassRamVisualizationMode::TimeSeries {
            self.drag(Held { from: at, last: at }, at);
        }
        Gesture::Changed
    }

    /// The button comes up again.
    pub fn released(&mut self, order: u32) -> Gesture {
        let Some(held) = self.held.take() else { return Gesture::Nothing };
        let lasso = std::mem::take(&mut self.lasso);
        let moved = (held.from.0 - held.last.0).abs().max((held.from.1 - held.last.1).abs());
        match self.is_on_curve() {
            true if lasso.len() > 3 => {
                self.chosen = inside(&lasso, order);
                Gesture::Chosen
            }
            true if moved < 0.01 => Gesture::Clicked(cell_at(held.last, order)),
            _ => Gesture::Changed,
        }
    }

    /// What is pointed at is a cell of the curve.
    pub(super) fn is_on_curve(&self) -> bool {
        !matches!(self.mode, GlassRamVisualizationMode::TimeSeries | GlassRamVisualizationMode::Volumetric)
    }

    fn drag(&mut self, held: Held, now: (f32, f32)) {
        match self.mode {
            GlassRamVisualizationMode::Volumetric => {
                self.orbit.yaw += (now.0 - held.last.0) * TURN;
                let pitch = self.orbit.pitch + (now.1 - held.last.1) * TURN;
                self.orbit.pitch = pitch.clamp(-1.5, 1.5);
            }
            GlassRamVisualizationMode::TimeSeries => {
                let rows = (1u32 << super::scenes::WATERFALL_ORDER) as f32;
                self.cursor = Some((now.1 * rows) as u32);
            }
            _ => self.lasso.push(now),
        }
        self.held = Some(Held { last: now, ..held });
    }

    /// The cell under the pointer, (x, y), of a map of this order.
    pub fn cell(&self, order: u32) -> Option<(u32, u32)> {
        self.pointer.map(|at| cell_at(at, order))
    }

    /// The cells along the curve of `order` that the last lasso chose, in ranges.
    pub fn chosen(&self) -> &[Range<u64>] {
        &self.chosen
    }
}

/// The pointer in shares of the map's side; none beside it.
fn share(picture: &Picture, pointer: PointerAt) -> Option<(f32, f32)> {
    let (width, height) = pointer.whole;
    let parts = Legend::of(picture).parts();
    let layout = PictureLayout::with(width, height, picture.caption.order, parts).ok()?;
    let (x, y) = pointer.at;
    layout.map.contains(x, y).then(|| {
        let side = layout.map.width as f32;
        ((x - layout.map.x) as f32 / side, (y - layout.map.y) as f32 / side)
    })
}

fn cell_at((x, y): (f32, f32), order: u32) -> (u32, u32) {
    let side = 1u32 << order;
    let cell = |share: f32| ((share * side as f32) as u32).min(side - 1);
    (cell(x), cell(y))
}

/// The cells whose middles lie within a closed line, as ranges along the curve (even-odd rule).
fn inside(line: &[(f32, f32)], order: u32) -> Vec<Range<u64>> {
    let Ok(curve) = HilbertCurve::try_new(order) else { return Vec::new() };
    let side = curve.size();
    let mut indices = Vec::new();
    for y in 0..side {
        let middle = (y as f32 + 0.5) / side as f32;
        let mut crossings: Vec<f32> = line
            .iter()
            .zip(line.iter().cycle().skip(1))
            .filter(|(a, b)| (a.1 > middle) != (b.1 > middle))
            .map(|(a, b)| a.0 + (middle - a.1) / (b.1 - a.1) * (b.0 - a.0))
            .collect();
        crossings.sort_by(f32::total_cmp);
        for pair in crossings.chunks_exact(2) {
            let first = (pair[0] * side as f32 - 0.5).ceil().max(0.0) as u32;
            let last = (pair[1] * side as f32 - 0.5).floor().min(side as f32 - 1.0);
            if last >= 0.0 {
                indices.extend((first..=last as u32).map(|x| curve.xy2d(x, y)));
            }
        }
    }
    indices.sort_unstable();
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for index in indices.into_iter().map(u64::from) {
        match ranges.last_mut() {
            Some(last) if last.end == index => last.end += 1,
            Some(last) if last.end > index => {}
            _ => ranges.push(index..index + 1),
        }
    }
    ranges
}

/// The mappings as stretches of the curve, for their outlines and names.
pub(super) fn stretches(layout: &AddressLayout, regions: &[MemoryRegion], cells: u32) -> Arc<[NamedStretch]> {
    let mut stretches: Vec<NamedStretch> = Vec::new();
    for region in regions {
        for places in layout.places(region.start..region.end) {
            if places.is_empty() {
                continue;
            }
            let first = *layout.cells_of_page(places.start, cells).start();
            let last = *layout.cells_of_page(places.end - 1, cells).end();
            stretches.push(NamedStretch { name: name_of(region), first, last });
        }
    }
    stretches.sort_by_key(|stretch| std::cmp::Reverse(stretch.last - stretch.first));
    stretches.truncate(OUTLINED);
    stretches.into()
}

/// "libc.so.6", "[heap]", "anonymous".
pub(super) fn name_of(region: &MemoryRegion) -> String {
    match &region.pathname {
        Some(path) => path.rsplit('/').next().unwrap_or(path).to_owned(),
        None => "anonymous".into(),
    }
}

/// The addresses of places on the line, joined where they follow each other.
pub(super) fn addresses(layout: &AddressLayout, places: &[Range<u64>]) -> Vec<PageRange> {
    let page = layout.page_size();
    let mut ranges: Vec<PageRange> = Vec::new();
    for region in layout.placed() {
        let first = region.first_page;
        let end = first + (region.end - region.start) / page;
        for wanted in places {
            let (from, to) = (wanted.start.max(first), wanted.end.min(end));
            if from < to {
                let start = region.start + (from - first) * page;
                ranges.push(PageRange { start, end: start + (to - from) * page });
            }
        }
    }
    ranges.sort_by_key(|range| range.start);
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasso_holds_the_cells_whose_middles_it_surrounds() {
        let square = [(0.0, 0.0), (0.5, 0.0), (0.5, 0.5), (0.0, 0.5)];
        // A quadrant is one stretch of the curve.
        let one = |range: Range<u64>| std::iter::once(range).collect::<Vec<_>>();
        assert_eq!(inside(&square, 4), one(0..64));
        assert_eq!(inside(&square, 1), one(0..1));
        let all = [(-1.0, -1.0), (2.0, -1.0), (2.0, 2.0), (-1.0, 2.0)];
        assert_eq!(inside(&all, 6), one(0..4096));
        assert!(inside(&[(0.1, 0.1), (0.101, 0.1), (0.101, 0.101)], 4).is_empty());
    }

    #[test]
    fn places_have_their_addresses_in_pieces() {
        let layout = AddressLayout::new(4096, [0x1000..0x4000, 0x10000..0x12000]);
        let wanted = 1..4;
        let ranges = addresses(&layout, std::slice::from_ref(&wanted));
        assert_eq!(
            ranges,
            [PageRange { start: 0x2000, end: 0x4000 }, PageRange { start: 0x10000, end: 0x11000 }]
        );
    }
}
