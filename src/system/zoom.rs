//! A part of the line on a curve of its own: looked into, moved along, dragged, or kept where the most is written.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Pipeline;
use super::hottest::{Follower, hottest};
use super::view::addresses;
use crate::capture::PageRange;
use crate::map::{AddressLayout, HilbertCapability as _, HilbertConfig, HilbertSkilling};
use crate::sensing::DensityMap;

/// Pages that a zoom shows at least.
const FEWEST: u64 = 16;
/// The share of the line that is shown when the hottest part of a whole map is followed.
const FOLLOWED: u64 = 16;
/// A drag moves by these shares of what is shown, so that the squares of the curve stay together.
const DRAG: u64 = 16;

/// A stretch of the line on a curve of its own.
#[derive(Debug)]
pub(super) struct Zoom {
    /// On the line.
    places: Range<u64>,
    pub(super) layout: AddressLayout,
    pub(super) curve: HilbertSkilling,
    pub(super) density: Arc<DensityMap>,
}

/// A place that the pointer has taken hold of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grabbed {
    place: u64,
    /// Where the shown stretch began.
    start: u64,
}

impl Pipeline {
    /// Looks into the quarter of the map that the pointer is on (the hottest, where it is on none), or out of it again.
    pub fn zoom(&mut self, inwards: bool) -> crate::Result<()> {
        self.hottest = None;
        let line = self.reconstructor.layout().pages();
        let now = self.zoom.as_ref().map_or(0..line, |zoom| zoom.places.clone());
        let length = now.end - now.start;
        let next = if inwards {
            let quarter = |at: u64| now.start + at * length / 4..now.start + (at + 1) * length / 4;
            let (curve, ..) = self.shown();
            match self.view.cell(curve.order()) {
                Some((x, y)) => quarter(u64::from(curve.xy2d(x, y) >> (2 * (curve.order() - 1)))),
                None => {
                    let heat = |at: &u64| self.reconstructor.activity().heat(quarter(*at));
                    // The first of equals.
                    let hottest = (0..4).rev().max_by(|a, b| heat(a).total_cmp(&heat(b)));
                    quarter(hottest.unwrap_or(0))
                }
            }
        } else {
            // Four times as long: what it would be a quarter of, or as near to that as has it wholly.
            let longer = (length * 4).min(line);
            let start = (now.start + length / 2) / longer * longer;
            let start = start.clamp(now.end.saturating_sub(longer), now.start).min(line - longer);
            start..start + longer
        };
        self.look_into(next)
    }

    /// Moves along the line by quarters of what is shown.
    pub fn pan(&mut self, quarters: i64) -> crate::Result<()> {
        self.hottest = None;
        let Some(Range { start, end }) = self.zoom.as_ref().map(|zoom| zoom.places.clone()) else {
            return Ok(());
        };
        let length = end - start;
        self.move_to(start as i64 + quarters * (length / 4).max(1) as i64, length)
    }

    /// Shows the whole line again.
    pub fn zoom_out(&mut self) {
        self.hottest = None;
        self.zoom = None;
    }

    /// Keeps the map where the most is written, until it is zoomed or moved by hand; or no more.
    pub fn follow_hottest(&mut self, follow: bool) -> crate::Result<()> {
        self.hottest = follow.then(Follower::default);
        if !follow {
            return Ok(());
        }
        let line = self.reconstructor.layout().pages();
        let length = self.length_to_follow();
        match hottest(self.reconstructor.activity(), length, line) {
            Some(there) => self.look_into(there.places),
            None => Ok(()),
        }
    }

    /// Whether the map is kept where the most is written.
    pub fn follows_hottest(&self) -> bool {
        self.hottest.is_some()
    }

    /// The addresses that are shown, from the first to the last; none while that is the whole line.
    pub fn zoomed(&self) -> Option<PageRange> {
        let placed = self.zoom.as_ref()?.layout.placed();
        let start = placed.iter().map(|region| region.start).min()?;
        let end = placed.iter().map(|region| region.end).max()?;
        Some(PageRange { start, end })
    }

    /// After a window of this length: the zoom follows its pages to a new line, goes where the most is written, and is painted.
    pub(super) fn refresh_zoom(&mut self, relaid: bool, length: Duration) -> crate::Result<()> {
        if relaid && let Some(places) = self.places_of_zoom() {
            self.look_into(places)?;
        }
        self.go_where_it_is_hot(length)?;
        if let Some(zoom) = &mut self.zoom {
            zoom.density = Arc::new(self.reconstructor.part(&zoom.layout, &zoom.curve));
        }
        Ok(())
    }

    /// Where the zoom's first page that is still there lies on the line now, and as many places from there.
    fn places_of_zoom(&self) -> Option<Range<u64>> {
        let zoom = self.zoom.as_ref()?;
        let line = self.reconstructor.layout();
        let still = |region: &crate::map::PlacedRegion| {
            line.places(region.start..region.end).next().map(|places| places.start)
        };
        let start = zoom.layout.placed().iter().find_map(still)?;
        let length = (zoom.places.end - zoom.places.start).min(line.pages());
        let start = start.min(line.pages() - length);
        Some(start..start + length)
    }

    fn go_where_it_is_hot(&mut self, length: Duration) -> crate::Result<()> {
        let wide = self.length_to_follow();
        let Some(follower) = &mut self.hottest else { return Ok(()) };
        let activity = self.reconstructor.activity();
        let best = hottest(activity, wide, self.reconstructor.layout().pages());
        let next = match &self.zoom {
            Some(zoom) => follower.window(activity.heat(zoom.places.clone()), best, length),
            // There was nothing to go to so far.
            None => best.map(|there| there.places),
        };
        next.map_or(Ok(()), |places| self.look_into(places))
    }

    fn length_to_follow(&self) -> u64 {
        let line = self.reconstructor.layout().pages();
        match &self.zoom {
            Some(zoom) => zoom.places.end - zoom.places.start,
            None => (line / FOLLOWED).max(FEWEST),
        }
    }

    /// Takes hold of the page under the pointer, to move the map by it.
    pub(super) fn grab(&mut self) {
        self.grabbed = self.zoom.as_ref().zip(self.offset_under_pointer()).map(|(zoom, offset)| {
            let start = zoom.places.start;
            Grabbed { place: start + offset, start }
        });
    }

    /// Moves the map so that the page that was taken hold of is under the pointer again, as nearly as steps allow.
    pub(super) fn drag(&mut self, grabbed: Grabbed) -> crate::Result<bool> {
        let Some((offset, zoom)) = self.offset_under_pointer().zip(self.zoom.as_ref()) else {
            return Ok(false);
        };
        let (before, length) = (zoom.places.start, zoom.places.end - zoom.places.start);
        let step = (length / DRAG).max(1) as f64;
        let wanted = grabbed.place as f64 - offset as f64;
        let steps = ((wanted - grabbed.start as f64) / step).round();
        self.move_to(grabbed.start as i64 + (steps * step) as i64, length)?;
        let moved = self.zoom.as_ref().is_some_and(|zoom| zoom.places.start != before);
        if moved {
            self.hottest = None;
        }
        Ok(moved)
    }

    /// How far from the first shown page the one under the pointer is.
    fn offset_under_pointer(&self) -> Option<u64> {
        let (curve, layout, _) = self.shown();
        let (x, y) = self.view.cell(curve.order())?;
        layout.pages_of_cell(curve.xy2d(x, y), curve.cells() as u32).map(|pages| *pages.start())
    }

    /// Shows so many places from here, or from as near as the line goes.
    fn move_to(&mut self, start: i64, length: u64) -> crate::Result<()> {
        let last = self.reconstructor.layout().pages().saturating_sub(length);
        let start = start.clamp(0, last as i64) as u64;
        self.look_into(start..start + length)
    }

    fn look_into(&mut self, places: Range<u64>) -> crate::Result<()> {
        let line = self.reconstructor.layout();
        let length = places.end - places.start;
        if length >= line.pages() {
            self.zoom = None;
            return Ok(());
        }
        if length < FEWEST
            || self.zoom.as_ref().is_some_and(|zoom| zoom.places == places && zoom.layout.pages() == length)
        {
            return Ok(());
        }
        let ranges = addresses(line, std::slice::from_ref(&places));
        let layout = AddressLayout::new(line.page_size(), ranges.iter().map(|range| range.start..range.end));
        let orders = HilbertConfig { min_order: 2, ..HilbertConfig::default() };
        let curve = HilbertSkilling::try_new(orders.order_for(layout.pages()))?;
        let density = Arc::new(self.reconstructor.part(&layout, &curve));
        self.zoom = Some(Zoom { places, layout, curve, density });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{MemoryRegion, Rung, TargetInfo, Window};
    use crate::render::layout::PictureLayout;
    use crate::render::{ColorPalette, Legend};
    use crate::system::PointerAt;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;
    const PAGES: u64 = 4096;
    const BASE: u64 = 0x1000_0000;

    fn region(start: u64, pages: u64) -> MemoryRegion {
        MemoryRegion {
            start,
            end: start + pages * PAGE,
            permissions: "rw-p".into(),
            offset: 0,
            device: "00:00".into(),
            inode: 0,
            pathname: None,
        }
    }

    fn pages(range: Range<u64>) -> PageRange {
        PageRange { start: BASE + range.start * PAGE, end: BASE + range.end * PAGE }
    }

    /// A window of a tenth of a second in which these pages were written.
    fn window(pipeline: &mut Pipeline, regions: Option<&[MemoryRegion]>, written: Range<u64>) {
        let window = Window {
            index: pipeline.windows(),
            started: std::time::Instant::now(),
            length: Duration::from_millis(100),
            written: vec![pages(written)],
            unseen: Vec::new(),
            regions: regions.map(Into::into),
            writable_pages: PAGES,
            active_threads: 1,
            threads: Vec::new(),
            forked: Vec::new(),
            events: Vec::new(),
            dropped: 0,
        };
        pipeline.window(&window).expect("it is taken");
    }

    fn watching(written: Range<u64>) -> Pipeline {
        let target = TargetInfo { pid: 1, comm: "target".into(), page_size: PAGE };
        let orders = HilbertConfig::default();
        let mut pipeline =
            Pipeline::new(target, Rung::WpAsync, orders, ColorPalette::default()).expect("a pipeline");
        window(&mut pipeline, Some(&[region(BASE, PAGES)]), written);
        pipeline
    }

    /// The pointer goes to this share of the map's sides.
    fn point(pipeline: &mut Pipeline, (x, y): (f32, f32)) {
        let picture = pipeline.picture();
        let whole = (900, 700);
        let parts = Legend::of(&picture).parts();
        let layout = PictureLayout::with(whole.0, whole.1, picture.caption.order, parts).expect("a layout");
        let along = |share: f32, from: u32| from + (share * (layout.map.width - 1) as f32) as u32;
        let at = (along(x, layout.map.x), along(y, layout.map.y));
        pipeline.pointer_moved(Some(PointerAt { whole, at })).expect("it is shown");
    }

    /// The first page that the cell under the pointer shows.
    fn pointed(pipeline: &Pipeline) -> u64 {
        let (_, layout, _) = pipeline.shown();
        let offset = pipeline.offset_under_pointer().expect("the pointer is on the map");
        (layout.address_of(offset).expect("a page") - BASE) / PAGE
    }

    fn shown(pipeline: &Pipeline) -> Option<Range<u64>> {
        pipeline.zoomed().map(|part| (part.start - BASE) / PAGE..(part.end - BASE) / PAGE)
    }

    fn brightness(pipeline: &Pipeline) -> f32 {
        pipeline.shown_density().iter().sum()
    }

    #[test]
    fn a_part_is_as_bright_as_it_was_in_the_whole_from_the_first_moment_on() {
        let mut pipeline = watching(1104..1120);
        let whole = brightness(&pipeline);
        point(&mut pipeline, (0.1, 0.6));
        for length in [1024, 256, 64, 16] {
            pipeline.view.moved(&pipeline.picture(), None);
            pipeline.zoom(true).expect("shown");
            let part = shown(&pipeline).expect("a part");
            assert_eq!(part.end - part.start, length);
            assert!(part.start <= 1104 && part.end >= 1120, "the hottest quarter is {part:?}");
            // At least a cell a page, and as many cells for each of them.
            let cells = pipeline.shown_density().len() as f32 / length as f32;
            assert!((brightness(&pipeline) - whole * cells).abs() < 0.01, "{part:?}");
        }
        pipeline.zoom(true).expect("shown");
        assert_eq!(shown(&pipeline), Some(1104..1120), "as far as it goes");
        pipeline.zoom(false).expect("shown");
        assert_eq!(shown(&pipeline), Some(1088..1152));
        pipeline.zoom_out();
        assert_eq!((shown(&pipeline), brightness(&pipeline)), (None, whole));
    }

    #[test]
    fn the_hottest_part_is_kept_in_sight_without_jumping() {
        let mut pipeline = watching(512..640);
        pipeline.follow_hottest(true).expect("shown");
        let first = shown(&pipeline).expect("a sixteenth of the line");
        assert!(first.start <= 512 && first.end >= 640 && first.end - first.start == PAGES / 16, "{first:?}");
        // Something short elsewhere is no reason to go.
        for _ in 0..3 {
            window(&mut pipeline, None, 3000..3200);
        }
        for _ in 0..30 {
            window(&mut pipeline, None, 512..640);
            assert_eq!(shown(&pipeline), Some(first.clone()));
        }
        // What has moved for good is gone to, once.
        let mut seen = vec![first];
        for _ in 0..60 {
            window(&mut pipeline, None, 3000..3128);
            let now = shown(&pipeline).expect("a part");
            if seen.last() != Some(&now) {
                seen.push(now);
            }
        }
        let [_, last] = seen.as_slice() else { panic!("it went {seen:?}") };
        assert!(last.start <= 3000 && last.end >= 3128, "{last:?}");
        assert!(brightness(&pipeline) > 100.0);
        assert!(pipeline.follows_hottest());
    }

    #[test]
    fn whoever_looks_somewhere_by_hand_is_not_led_away_again() {
        let by_hand: [fn(&mut Pipeline); 4] = [
            |pipeline| pipeline.zoom(false).expect("shown"),
            |pipeline| pipeline.pan(1).expect("shown"),
            |pipeline| pipeline.zoom_out(),
            |pipeline| {
                point(pipeline, (0.1, 0.1));
                pipeline.pointer_pressed(true, true);
                point(pipeline, (0.9, 0.9));
                pipeline.pointer_pressed(false, false);
            },
        ];
        for look in by_hand {
            let mut pipeline = watching(512..640);
            pipeline.follow_hottest(true).expect("shown");
            let followed = shown(&pipeline);
            look(&mut pipeline);
            let there = shown(&pipeline);
            assert!(!pipeline.follows_hottest() && there != followed, "{there:?}");
            for _ in 0..30 {
                window(&mut pipeline, None, 3000..3128);
            }
            assert_eq!(shown(&pipeline), there);
        }
    }

    #[test]
    fn what_is_written_first_is_gone_to_when_there_was_nothing() {
        let mut pipeline = watching(0..0);
        pipeline.follow_hottest(true).expect("shown");
        assert_eq!(shown(&pipeline), None);
        window(&mut pipeline, None, 2000..2001);
        assert!(shown(&pipeline).is_some_and(|part| part.contains(&2000)));
    }

    #[test]
    fn what_is_said_of_a_maps_tiles_is_true_of_its_cells() {
        let mut pipeline = watching(100..140);
        let mut before = pipeline.picture();
        let mut spared = 0;
        for round in 0..8u64 {
            window(&mut pipeline, None, 100 + 20 * round..130 + 20 * round);
            let after = pipeline.picture();
            let tiles = [&before, &after].map(|picture| picture.tiles.as_ref().expect("it is said"));
            assert!(tiles[1].is_of(&after.density));
            let side = after.density.nrows();
            let step = crate::sensing::tile_side(side);
            let numbers = tiles[0].numbers().iter().zip(tiles[1].numbers()).enumerate();
            for (tile, _) in numbers.filter(|(_, (old, new))| old == new) {
                spared += 1;
                let (top, left) = (tile / (side / step) * step, tile % (side / step) * step);
                let cells = ndarray::s![top..top + step, left..left + step];
                assert_eq!(before.density.slice(cells), after.density.slice(cells), "tile {tile}");
            }
            before = after;
        }
        assert!(spared > 8 * 200, "{spared}");
        // Nothing is said of a part, which is another map.
        point(&mut pipeline, (0.1, 0.6));
        pipeline.zoom(true).expect("shown");
        let part = pipeline.picture();
        assert!(!part.tiles.is_some_and(|tiles| tiles.is_of(&part.density)));
    }

    #[test]
    fn a_part_stays_with_its_pages_when_the_line_is_laid_anew() {
        let mut pipeline = watching(2048..2112);
        pipeline.follow_hottest(true).expect("shown");
        pipeline.zoom(false).expect("shown");
        let before = shown(&pipeline).expect("a part");
        let below = region(BASE / 2, PAGES);
        window(&mut pipeline, Some(&[below, region(BASE, PAGES)]), 2048..2112);
        assert_eq!(shown(&pipeline), Some(before.clone()));
        assert!(brightness(&pipeline) > 60.0);
        // Moving on from there is moving on from these pages.
        pipeline.pan(1).expect("shown");
        let quarter = (before.end - before.start) / 4;
        assert_eq!(shown(&pipeline), Some(before.start + quarter..before.end + quarter));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_the_pointer_takes_hold_of_stays_under_it(
            from in (0f32..1.0, 0f32..1.0),
            way in prop::collection::vec((0f32..1.0, 0f32..1.0), 1..8),
        ) {
            let mut pipeline = watching(2048..2112);
            pipeline.follow_hottest(true).expect("shown");
            pipeline.zoom(false).expect("shown");
            let length = shown(&pipeline).map(|part| part.end - part.start).expect("a part");
            point(&mut pipeline, from);
            let held = pointed(&pipeline);
            pipeline.pointer_pressed(true, true);
            for to in way {
                point(&mut pipeline, to);
                let part = shown(&pipeline).expect("a part");
                prop_assert_eq!(part.end - part.start, length);
                let apart = pointed(&pipeline).abs_diff(held);
                let at_an_end = part.start == 0 || part.end == PAGES;
                prop_assert!(apart <= length / DRAG / 2 + 1 || at_an_end, "{} pages apart at {:?}", apart, part);
            }
            // What is let go stays.
            pipeline.pointer_pressed(false, false);
            let there = shown(&pipeline);
            point(&mut pipeline, (0.5, 0.5));
            prop_assert_eq!(shown(&pipeline), there);
        }
    }
}
