//! Where the map, the legend and the words lie in a picture. Pure: sizes in, rectangles out.
//!
//! The map is the largest square that leaves room for the words, which stand beside it or below it, whichever leaves the
//! map larger. All words hang on one measure, the `em`: the size of the ordinary text in pixels.

use super::RenderError;

/// The fewest pixels a side that can show anything.
pub const MIN_SIDE: u32 = 16;
/// The most pixels a side; above it no display exists, and the arithmetic of the shader stays far from its limits.
pub const MAX_SIDE: u32 = 16_384;

/// The most lines of facts.
const FACTS: u32 = 13;

/// From how many ems on the words below a map stand in three columns.
const WIDE: u32 = 46;

/// A rectangle of whole pixels. Empty where a part has no room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rect {
    /// From the left edge of the picture.
    pub x: u32,
    /// From the top edge of the picture.
    pub y: u32,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Rect {
    /// The first column right of it.
    pub fn right(&self) -> u32 {
        self.x + self.width
    }

    /// The first row below it.
    pub fn bottom(&self) -> u32 {
        self.y + self.height
    }

    /// It has no pixel.
    pub fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }

    /// The pixel belongs to it.
    pub fn contains(&self, x: u32, y: u32) -> bool {
        (self.x..self.right()).contains(&x) && (self.y..self.bottom()).contains(&y)
    }
}

/// A square of cells drawn at the map's own scale, which tells how much memory an area of the map is. An aligned square
/// of 2^j × 2^j cells is one contiguous run of the Hilbert curve, so it is also a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Cells along its side.
    pub cells: u32,
    /// Where it is drawn.
    pub square: Rect,
    /// Where its words go.
    pub label: Rect,
}

/// Where everything lies in a picture of one size and order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureLayout {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Cells along the side of the map.
    pub cells: u32,
    /// The square map.
    pub map: Rect,
    /// What is left for legend and words; never overlaps the map.
    pub panel: Rect,
    /// The size of ordinary text in pixels.
    pub em: u32,
    /// The target's name.
    pub title: Rect,
    /// The target's number.
    pub process: Rect,
    /// Bytes, numbers, order, curve: one line each, the most important first.
    pub facts: Vec<Rect>,
    /// The words over the palette bar: one rectangle a line.
    pub bar_title: Vec<Rect>,
    /// The palette bar, 0 at the left, 1 at the right.
    pub bar: Rect,
    /// Tick marks and their numbers.
    pub ticks: Rect,
    /// The scale, where a cell is small enough for one.
    pub scale: Option<Scale>,
    /// What else there is to say: one rectangle a line.
    pub status: Vec<Rect>,
    /// Names with a hue, one a line.
    pub names: Vec<Rect>,
    /// The words over the chart, and its ends under it.
    pub chart_words: [Rect; 2],
    /// A strip of time or a distribution.
    pub chart: Rect,
}

/// What a legend needs room for, besides what each has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Parts {
    /// Lines of names.
    pub names: u32,
    /// A chart.
    pub chart: bool,
}

impl PictureLayout {
    /// Lays out a picture of `width` × `height` pixels with a map of 2^order × 2^order cells.
    pub fn new(width: u32, height: u32, order: u32) -> Result<PictureLayout, RenderError> {
        Self::with(width, height, order, Parts::default())
    }

    /// As [`Self::new`], with room for more.
    pub fn with(width: u32, height: u32, order: u32, parts: Parts) -> Result<PictureLayout, RenderError> {
        if width.min(height) < MIN_SIDE || width.max(height) > MAX_SIDE {
            let reason = format!("a side must have {MIN_SIDE} to {MAX_SIDE} pixels");
            return Err(RenderError::TargetSize { width, height, reason });
        }
        if !(1..=12).contains(&order) {
            return Err(RenderError::Density { columns: 0, rows: 0, order });
        }
        let short = width.min(height);
        let em = (short / 60).max(if short < 400 { 10 } else { 12 });
        let margin = (em * 3 / 4).min(short / 8);
        let beside = short.min(height - 2 * margin).min(width.saturating_sub(3 * margin + 25 * em / 2));
        // Three columns are flatter than two, but need a wide map above them.
        let under = |ems10: u32| {
            short.min(width - 2 * margin).min(height.saturating_sub(3 * margin + ems10 * em / 10))
        };
        let below = if under(94) >= WIDE * em { under(94) } else { under(120) };

        let mut layout = PictureLayout {
            width,
            height,
            cells: 1 << order,
            map: Rect::default(),
            panel: Rect::default(),
            em,
            title: Rect::default(),
            process: Rect::default(),
            facts: Vec::new(),
            bar_title: Vec::new(),
            bar: Rect::default(),
            ticks: Rect::default(),
            scale: None,
            status: Vec::new(),
            names: Vec::new(),
            chart_words: [Rect::default(); 2],
            chart: Rect::default(),
        };
        if beside.max(below) < short / 2 {
            // Words would take more than the map: show the map alone.
            let side = short - 2 * margin;
            layout.map = Rect { x: (width - side) / 2, y: (height - side) / 2, width: side, height: side };
        } else if beside >= below {
            let (x, y) = (margin, (height - beside) / 2);
            layout.map = Rect { x, y, width: beside, height: beside };
            // A wide panel has room for larger words: they are read from further away.
            let gap = margin + layout.em / 2;
            let room = width - layout.map.right() - gap - margin;
            layout.em = (room / 26).min(beside / 26).clamp(em, em * 8 / 5);
            let x = layout.map.right() + gap;
            layout.panel = Rect { x, y, width: room.min(36 * layout.em), height: beside };
            layout.fill_beside(parts);
        } else {
            layout.map = Rect { x: (width - below) / 2, y: margin, width: below, height: below };
            let y = layout.map.bottom() + margin;
            layout.panel = Rect { x: layout.map.x, y, width: below, height: height - y - margin };
            if layout.panel.height >= 25 * em {
                // A tall screen: the same column as beside the map, and as large as fits.
                layout.em = (layout.panel.height / 26).min(layout.panel.width / 26).clamp(em, em * 8 / 5);
                layout.fill_beside(parts);
            } else {
                layout.fill_below(parts);
            }
        }
        Ok(layout)
    }

    /// One column: who at the top, what it means in the middle, what happens at the bottom.
    fn fill_beside(&mut self, parts: Parts) {
        let em = self.em;
        let mut flow = Flow::new(self.panel, em);
        self.title = flow.take(24);
        self.process = flow.take(14);
        flow.skip(8);
        self.bar_title = flow.lines(if self.panel.width >= 24 * em { 1 } else { 2 });
        flow.skip(3);
        self.bar = flow.take(11);
        self.ticks = flow.take(17);
        flow.skip(8);
        // The status stands on the map's lower edge and gives way when there is no room for it.
        let lines = (flow.room() / (14 * em / 10))
            .saturating_sub(6)
            .clamp(1, if self.panel.width >= 24 * em { 3 } else { 6 });
        let height = lines * (14 * em / 10);
        let y = self.panel.bottom().saturating_sub(height).max(flow.y);
        let mut foot = Flow::new(Rect { y, height: self.panel.bottom() - y, ..self.panel }, em);
        flow.bottom = foot.y;
        self.status = foot.lines(lines);
        self.more(&mut flow, parts);
        // The scale is worth more than the last facts.
        let lines = flow.room().saturating_sub(38 * em / 10) / (14 * em / 10);
        self.facts = flow.lines(lines.clamp(6, FACTS));
        flow.skip(8);
        self.scale = self.scale_in(&mut flow);
    }

    /// Two or three columns, all as high as the panel.
    fn fill_below(&mut self, parts: Parts) {
        let em = self.em;
        let wide = self.panel.width >= WIDE * em;
        // Hundredths of the width; the last column takes what rounding leaves.
        let shares: &[u32] = if wide { &[40, 27, 33] } else { &[50, 50] };
        let gap = 2 * em;
        let free = self.panel.width.saturating_sub(gap * (shares.len() as u32 - 1));
        let mut x = self.panel.x;
        let mut columns = shares.iter().map(|share| {
            let width = (free * share).div_ceil(100).min(self.panel.right().saturating_sub(x));
            let column = Flow::new(Rect { x, width, ..self.panel }, em);
            x += width + gap;
            column
        });
        // There are always two; an empty column only shows nothing.
        let none = Flow::new(Rect::default(), em);
        let mut who = columns.next().unwrap_or(none);
        let second = columns.next().unwrap_or(none);
        let third = columns.next();

        self.title = who.take(24);
        self.process = who.take(14);
        who.skip(6);
        self.status = who.lines(4);
        let mut legend = third.unwrap_or(second);
        self.bar_title = legend.lines(2);
        legend.skip(2);
        self.bar = legend.take(11);
        self.ticks = legend.take(17);
        legend.skip(5);
        self.more(&mut legend, parts);
        if wide {
            let mut facts = second;
            self.facts = facts.lines(6);
            self.scale = self.scale_in(&mut legend);
        } else {
            self.facts = legend.lines(4);
        }
    }

    /// What this mode has besides: names first, they explain the colours.
    fn more(&mut self, flow: &mut Flow, parts: Parts) {
        self.names = flow.lines(parts.names);
        if parts.names > 0 {
            flow.skip(8);
        }
        if parts.chart && flow.room() >= 80 * self.em / 10 {
            let over = flow.take(14);
            self.chart = flow.take(44);
            flow.skip(2);
            self.chart_words = [over, flow.take(12)];
            flow.skip(8);
        }
    }

    /// The largest square of cells that is about as high as two lines of text.
    fn scale_in(&self, flow: &mut Flow) -> Option<Scale> {
        let most = 30 * self.em / 10;
        if flow.room() < most {
            return None;
        }
        let cells = (0..=self.cells.ilog2()).rev().map(|j| 1 << j).find(|&j| self.pixels(j) <= most)?;
        let side = self.pixels(cells);
        if side < 6 || side > flow.width {
            return None;
        }
        let row = flow.take(30);
        let square = Rect { x: row.x, y: row.y + (row.height - side) / 2, width: side, height: side };
        let x = square.right() + self.em * 2 / 3;
        let height = 14 * self.em / 10;
        let label =
            Rect { x, y: row.y + (row.height - height) / 2, width: row.right().saturating_sub(x), height };
        Some(Scale { cells, square, label })
    }

    /// How many pixels that many cells are, rounded to the nearest.
    fn pixels(&self, cells: u32) -> u32 {
        // Both factors are far below 2^16.
        (cells * self.map.width + self.cells / 2) / self.cells
    }

    /// Which cells a pixel of the map shows, along either axis: pixel `i` shows the largest value of the cells from
    /// element `i` up to, not including, element `i + 1`, and at least the one it starts with.
    ///
    /// Element `i` is ⌊i·n/s⌋ for n cells on s pixels. With s ≥ n that is the nearest cell, each shown by ⌊s/n⌋ or ⌈s/n⌉
    /// pixels; with s < n every cell belongs to exactly one pixel, so that none is lost.
    pub fn first_cells(&self) -> Vec<u32> {
        let (n, s) = (u64::from(self.cells), u64::from(self.map.width));
        (0..=s).map(|i| (i * n / s) as u32).collect()
    }
}

/// Takes rectangles off the top of a column; what does not fit is empty.
#[derive(Clone, Copy)]
struct Flow {
    x: u32,
    y: u32,
    width: u32,
    bottom: u32,
    em: u32,
}

impl Flow {
    fn new(column: Rect, em: u32) -> Flow {
        Flow { x: column.x, y: column.y, width: column.width, bottom: column.bottom(), em }
    }

    fn room(&self) -> u32 {
        self.bottom.saturating_sub(self.y)
    }

    /// A rectangle of `tenths` of an em in height.
    fn take(&mut self, tenths: u32) -> Rect {
        let height = tenths * self.em / 10;
        if height > self.room() {
            // Nothing below it may slip into its place: the order of the column is its order of importance.
            self.y = self.bottom;
            return Rect { x: self.x, y: self.bottom, width: 0, height: 0 };
        }
        let taken = Rect { x: self.x, y: self.y, width: self.width, height };
        self.y += height;
        taken
    }

    fn skip(&mut self, tenths: u32) {
        self.y = (self.y + tenths * self.em / 10).min(self.bottom);
    }

    /// At most `count` lines of ordinary text.
    fn lines(&mut self, count: u32) -> Vec<Rect> {
        (0..count).map(|_| self.take(14)).filter(|line| !line.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_that_show_nothing_are_refused() {
        for (width, height) in
            [(0, 0), (0, 480), (640, 0), (15, 480), (640, 15), (16_385, 480), (u32::MAX, u32::MAX)]
        {
            let error = PictureLayout::new(width, height, 8).expect_err("no picture of this size");
            assert!(matches!(error, RenderError::TargetSize { .. }), "{error}");
        }
        for order in [0, 13, u32::MAX] {
            assert!(matches!(PictureLayout::new(640, 480, order), Err(RenderError::Density { .. })));
        }
    }

    #[test]
    fn the_map_takes_nearly_the_whole_short_side_of_a_screen() {
        for (width, height) in [(640, 480), (1024, 768), (1280, 720), (1920, 1080), (3840, 2160), (480, 800)]
        {
            let layout = PictureLayout::new(width, height, 8).expect("a usual size");
            assert!(
                layout.map.width * 20 >= width.min(height) * 19,
                "{width}×{height}: map {:?}",
                layout.map
            );
            assert!(!layout.bar.is_empty() && !layout.title.is_empty() && !layout.status.is_empty());
        }
        let square = PictureLayout::new(4096, 4096, 12).expect("the largest of the specification");
        assert!(square.map.width >= 3200, "{:?}", square.map);
    }

    /// Sides of screens, and small ones, where parts have to give way.
    fn side() -> impl Strategy<Value = u32> {
        prop_oneof![MIN_SIDE..200, MIN_SIDE..5000]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_part_lies_in_its_place(
            width in side(), height in side(), order in 1..=12u32, names in 0..10u32, chart: bool,
        ) {
            let parts = Parts { names, chart };
            let layout = PictureLayout::with(width, height, order, parts).expect("a size that can be drawn");
            prop_assert_eq!(layout.map.width, layout.map.height);
            prop_assert!(layout.map.width >= width.min(height) / 2);
            prop_assert!(layout.map.right() <= width && layout.map.bottom() <= height);
            prop_assert!(layout.panel.right() <= width && layout.panel.bottom() <= height);
            prop_assert!(
                layout.panel.is_empty() || layout.panel.x >= layout.map.right() || layout.panel.y >= layout.map.bottom()
            );
            let mut parts = vec![layout.title, layout.process, layout.bar, layout.ticks];
            parts.extend(&layout.bar_title);
            parts.extend(&layout.names);
            parts.extend(layout.chart_words);
            parts.push(layout.chart);
            parts.extend(&layout.facts);
            parts.extend(&layout.status);
            parts.extend(layout.scale.iter().flat_map(|scale| [scale.square, scale.label]));
            parts.retain(|part| !part.is_empty());
            for (i, part) in parts.iter().enumerate() {
                prop_assert!(part.x >= layout.panel.x && part.right() <= layout.panel.right(), "{:?}", part);
                prop_assert!(part.y >= layout.panel.y && part.bottom() <= layout.panel.bottom(), "{:?}", part);
                for other in &parts[..i] {
                    let apart = part.x >= other.right() || other.x >= part.right()
                        || part.y >= other.bottom() || other.y >= part.bottom();
                    prop_assert!(apart, "{:?} and {:?}", part, other);
                }
            }
        }

        #[test]
        fn every_cell_has_its_pixels(side in MIN_SIDE..5000u32, order in 1..=12u32) {
            let layout = PictureLayout::new(side, side, order).expect("a size that can be drawn");
            let first = layout.first_cells();
            prop_assert_eq!(first[0], 0);
            prop_assert_eq!(*first.last().expect("never empty"), layout.cells);
            // No cell is jumped over, and each step is as even as whole numbers allow.
            let (n, s) = (layout.cells, layout.map.width);
            prop_assert!(first.windows(2).all(|pair| (n / s..=n.div_ceil(s)).contains(&(pair[1] - pair[0]))));
        }
    }
}
