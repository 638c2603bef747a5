//! One target's way from capture windows to pictures.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::believed::Believed;
use super::confidence::Confidence;
use super::hottest::Follower;
use super::picture::Pinned;
use super::quiet::Quiet;
use super::scenes::Trail;
use super::view::View;
use super::words::{bytes, thousands};
use super::zoom::{Grabbed, Zoom};
use crate::Result;
use crate::capture::{
    ArmingPolicy, MemoryRegion, PageRange, Rung, SweepArming, SweepRate, TargetInfo, TargetMetrics, Window,
    own_time,
};
use crate::map::{AddressLayout, HilbertConfig, LayoutChange, LayoutFile};
use crate::render::ColorPalette;
use crate::sensing::{
    AccuracyEstimate, Adjustment, CompressedSensingReconstructor, DensityMap, MapTiles, OrderControl,
    RateControl, SamplingConfig,
};
use crate::telemetry::{GlassRamTelemetry, TelemetryRecorder, TimedAdjustment, WindowFacts};

/// Time in which a cell that is written no more fades to a half.
pub const HALF_LIFE: Duration = Duration::from_millis(250);
/// A line of so many pages is long: 4 GiB of 4 KiB each, a page a cell at order 10.
const LONG: u64 = 1 << 20;
/// Pages of a long line for each that was ever written, by which the order of its map goes.
const ROOM: u64 = 64;
/// How long the picture says that order or rate were changed, and why, in seconds.
const NEWS: f64 = 5.0;
/// What is not watched is said from this part of what is on.
const WORTH_SAYING: u64 = 100;

/// capture → map → sensing → telemetry for one target; [`Self::picture`] is what render shows of it.
#[derive(Debug)]
pub struct Pipeline {
    pub(super) target: TargetInfo,
    rung: Rung,
    order: OrderControl,
    rate: RateControl,
    /// What these two have changed since the last window.
    adjustments: Vec<Adjustment>,
    pub(super) hilbert: HilbertConfig,
    /// Its windows come out of a file, which may say anything.
    pub(super) bounded: bool,
    pub(super) palette: ColorPalette,
    pub(super) reconstructor: CompressedSensingReconstructor,
    /// How much of what is not armed may be armed at a time.
    sweep: SweepRate,
    believed: Believed,
    pub(super) confidence: Option<Confidence>,
    pub(super) recorder: TelemetryRecorder,
    pub(super) density: Arc<DensityMap>,
    /// What is known of its tiles.
    pub(super) tiles: Option<Arc<MapTiles>>,
    /// The mappings that the line is made of.
    regions: Vec<PageRange>,
    /// Bytes of writable memory that are in none of them.
    not_watched: u64,
    /// The line was laid out anew since the last window.
    relaid: bool,
    quiet: Quiet,
    /// What watching costs the target; `None` where nobody knows.
    cost: Option<TargetMetrics>,
    /// What else the picture says of how it came about.
    note: Option<String>,
    /// Why there will be no more windows, once that is so.
    ended: Option<String>,
    /// The mappings as the target has them, with their names.
    pub(super) mapped: Arc<[MemoryRegion]>,
    pub(super) view: View,
    pub(super) trail: Trail,
    pub(super) zoom: Option<Zoom>,
    /// While the zoom is kept where the most is written.
    pub(super) hottest: Option<Follower>,
    /// While the pointer moves the map.
    pub(super) grabbed: Option<Grabbed>,
    pub(super) pinned: Vec<Pinned>,
    /// Names of threads.
    pub(super) names: HashMap<u32, Arc<str>>,
}

impl Pipeline {
    /// Nothing seen yet of `target`.
    pub fn new(
        target: TargetInfo,
        rung: Rung,
        hilbert: HilbertConfig,
        palette: ColorPalette,
    ) -> Result<Self> {
        let layout = AddressLayout::new(target.page_size, []);
        let order = hilbert.order_for(0);
        let reconstructor = CompressedSensingReconstructor::on(layout, order, HALF_LIFE)?;
        let density = Arc::new(DensityMap::zeros((1 << order, 1 << order)));
        let (sweep, rate) = (SweepRate::default(), RateControl::new(SamplingConfig::default()));
        sweep.set(rate.rate());
        Ok(Self {
            target,
            rung,
            order: OrderControl::new(hilbert.clone()),
            rate,
            adjustments: Vec::new(),
            hilbert,
            bounded: false,
            palette,
            reconstructor,
            sweep,
            believed: Believed::default(),
            confidence: None,
            recorder: TelemetryRecorder::new(),
            density,
            tiles: None,
            regions: Vec::new(),
            not_watched: 0,
            relaid: false,
            quiet: Quiet::default(),
            cost: None,
            note: None,
            ended: None,
            mapped: Arc::new([]),
            view: View::default(),
            trail: Trail::default(),
            zoom: None,
            hottest: None,
            grabbed: None,
            pinned: Vec::new(),
            names: HashMap::new(),
        })
    }

    fn follow(&mut self) -> Result<()> {
        let page_size = self.target.page_size;
        let pages = self.regions.iter().map(|region| (region.end - region.start) / page_size).sum();
        self.line(pages);
        let change = self.reconstructor.follow(&self.regions, self.order.order())?;
        self.relaid |= change == LayoutChange::Rebuilt;
        Ok(())
    }

    /// Takes the length of the line, which may ask for another order.
    fn line(&mut self, pages: u64) {
        let pages = self.worth_showing(pages);
        self.adjustments.extend(self.order.line(pages));
    }

    /// The pages that the order goes by: of a long line of which hardly anything was ever written, so many as give what was
    /// some room. A finer map of the rest has nothing to show, and has its price at every window.
    fn worth_showing(&self, pages: u64) -> u64 {
        pages.min(self.reconstructor.activity().touched().saturating_mul(ROOM).max(LONG))
    }

    /// Draws the map on other curves or fading at another pace; what was seen so far is forgotten.
    pub fn reshape(&mut self, hilbert: HilbertConfig, half_life: Duration) -> Result<()> {
        let hilbert = self.orders(hilbert);
        let layout = AddressLayout::new(self.target.page_size, []);
        self.reconstructor = CompressedSensingReconstructor::on(layout, hilbert.order_for(0), half_life)?;
        self.order = OrderControl::new(hilbert.clone());
        self.hilbert = hilbert;
        self.follow()?;
        self.trail.forget_places();
        self.zoom = None;
        let size = self.reconstructor.curve().size() as usize;
        self.density = Arc::new(DensityMap::zeros((size, size)));
        Ok(())
    }

    /// Forgets all that was seen; the next window, which has the regions, begins at `now` on the watch's clock.
    pub fn restart(&mut self, now: Duration) -> Result<()> {
        self.regions.clear();
        self.believed = Believed::default();
        self.confidence = None;
        self.rate = RateControl::new(SamplingConfig::default());
        self.sweep.set(self.rate.rate());
        self.adjustments.clear();
        self.recorder = TelemetryRecorder::starting_at(now);
        self.ended = None;
        self.quiet = Quiet::default();
        self.reshape(self.hilbert.clone(), self.reconstructor.half_life())
    }

    /// Says this in the picture's line of words as well.
    pub fn set_note(&mut self, note: Option<String>) {
        self.note = note;
    }

    /// Draws the map in other colours.
    pub fn set_palette(&mut self, palette: ColorPalette) {
        self.palette = palette;
    }

    /// Takes one window through every room up to telemetry.
    pub fn window(&mut self, window: &Window) -> Result<()> {
        self.affords(window)?;
        let started = own_time();
        if let Some(regions) = &window.regions {
            self.regions =
                regions.iter().map(|region| PageRange { start: region.start, end: region.end }).collect();
            self.follow()?;
            self.mapped = Arc::clone(regions);
        } else if self.reconstructor.layout().pages() > LONG {
            self.line(self.reconstructor.layout().pages());
        }
        let watched: u64 = self.regions.iter().map(PageRange::len).sum();
        self.not_watched =
            window.writable_pages.saturating_mul(self.target.page_size).saturating_sub(watched);
        if self.reconstructor.curve().order() != self.order.order() {
            self.reconstructor.set_order(self.order.order())?;
        }
        let density = self.reconstructor.look(&window.written, &window.unseen, window.length);
        self.confidence = self.reconstructor.doubt().cloned().map(Confidence::of);
        if !window.unseen.is_empty() {
            let (accuracy, allowed) = (self.accuracy(), self.sweep.allowed());
            self.adjustments.extend(self.rate.window(accuracy, allowed));
            self.sweep.set(self.rate.rate());
            if allowed <= self.rate.rate() {
                self.adjustments.extend(self.order.accuracy(accuracy));
            }
        }
        let relaid = std::mem::take(&mut self.relaid);
        if relaid || density.dim() != self.density.dim() {
            self.trail.forget_places();
        }
        self.density = Arc::new(density);
        self.tiles = Some(Arc::new(MapTiles::of(&self.density, self.reconstructor.warm())));
        self.quiet.window(relaid || !window.written.is_empty() || self.confidence.is_some(), window.length);
        let pages = self.worth_showing(self.reconstructor.layout().pages());
        let took = own_time().saturating_sub(started);
        self.adjustments.extend(self.order.window(took, window.length, pages));
        self.quiet.accuracy(self.accuracy().map(|accuracy| accuracy.value));
        let samples = self.samples(window);
        let adjustments = std::mem::take(&mut self.adjustments);
        let page_size = self.target.page_size;
        let layout = self.reconstructor.layout();
        self.believed.window(window, self.reconstructor.activity(), layout);
        let seen: u64 = window.written.iter().map(|range| range.pages(page_size)).sum();
        self.recorder.window(&WindowFacts {
            written: &window.written,
            believed: self.believed.pages(),
            faults: seen as f64 + self.believed.faults(),
            layout,
            relaid,
            threads: &samples,
            length: window.length,
            writable_pages: window.writable_pages,
            unseen_pages: window.unseen.iter().map(|range| range.pages(page_size)).sum(),
            active_threads: window.active_threads,
            adjustments: &adjustments,
            hilbert_order: self.reconstructor.curve().order(),
            accuracy: self.accuracy().map_or(f32::NAN, |accuracy| accuracy.value as f32),
        });
        self.look(window, &samples);
        if self.is_idle() {
            self.trail.forget_places();
        }
        self.refresh_zoom(relaid, window.length)
    }

    /// Nothing was written for a while, all that was has faded, and there is no news: a picture would be the
    /// same as the one before, but for the time that has gone by.
    pub fn is_idle(&self) -> bool {
        let dark = |tiles: &Arc<MapTiles>| tiles.numbers().iter().all(|number| *number == 0);
        self.quiet.is_idle() && self.tiles.as_ref().is_some_and(dark) && self.news().is_none()
    }

    /// What can change in the picture of an idle target: the threads that run without writing, and what is
    /// known of the map. What watching costs it is an estimate that goes on to move, and nothing new. `None`
    /// of any other target.
    pub(super) fn stands(&self) -> Option<(u32, String, String)> {
        let sampled = self.sampled_in_words();
        self.is_idle().then(|| (self.telemetry().active_threads, accuracy_in_words(self.accuracy()), sampled))
    }

    fn sampled_in_words(&self) -> String {
        match &self.confidence {
            None => "all".to_owned(),
            Some(_) => format!("{:.1} %", self.telemetry().sampling_rate),
        }
    }

    /// So little of the map is right that the picture says so, and what would be better.
    pub fn is_poor(&self) -> bool {
        self.quiet.is_poor()
    }

    /// A change of the map's order or of the sampling rate that is still to be said.
    fn news(&self) -> Option<&TimedAdjustment> {
        let now = self.recorder.now().as_secs_f64();
        self.telemetry().last_adjustment.as_ref().filter(|last| last.at + NEWS > now)
    }

    /// What capture is to ask which pages to arm, when its budget does not pay for all.
    pub fn arming_policy(&self) -> Box<dyn ArmingPolicy> {
        Box::new(SweepArming::at(self.sweep.clone()))
    }

    /// How near the shown map is to the one that would be shown if every page were armed all the time; 1
    /// where every page was. `None` where too little was written to tell.
    pub fn accuracy(&self) -> Option<AccuracyEstimate> {
        match &self.confidence {
            Some(confidence) => confidence.accuracy(),
            None => Some(AccuracyEstimate { value: 1.0, low: 1.0, high: 1.0 }),
        }
    }

    /// How sure each cell of the last window's map is, 0 (nothing known) to 1 (seen), indexed `[y][x]`; `None` where every
    /// page was seen.
    pub fn confidence(&self) -> Option<DensityMap> {
        self.confidence.as_ref().map(Confidence::map)
    }

    /// Notes that there will be no more windows, and why.
    pub fn end(&mut self, reason: impl Into<String>) {
        self.ended = Some(reason.into());
    }

    /// Why there will be no more windows, once that is so.
    pub fn ended(&self) -> Option<&str> {
        self.ended.as_deref()
    }

    /// The process that is watched.
    pub fn target(&self) -> &TargetInfo {
        &self.target
    }

    /// How it is watched.
    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// The state as of the last window.
    pub fn telemetry(&self) -> &GlassRamTelemetry {
        self.recorder.telemetry()
    }

    /// What the detectors and the history know.
    pub fn recorder(&self) -> &TelemetryRecorder {
        &self.recorder
    }

    /// Windows taken so far.
    pub fn windows(&self) -> u64 {
        self.recorder.windows()
    }

    /// The map as of the last window.
    pub fn density(&self) -> &Arc<DensityMap> {
        &self.density
    }

    /// Which addresses lie where on the curve.
    pub fn layout(&self) -> LayoutFile {
        self.reconstructor.layout().to_file(self.reconstructor.curve().order())
    }

    /// Notes what watching costs the target, as far as that is known.
    pub fn set_cost(&mut self, cost: Option<TargetMetrics>) {
        self.cost = cost;
    }

    /// What there is to say besides the numbers.
    pub(super) fn status(&self) -> String {
        let mut parts: Vec<String> = self.note.iter().chain(&self.ended).cloned().collect();
        if let Some(part) = self.zoomed() {
            let line = self.reconstructor.layout();
            let whole = bytes((line.pages() * line.page_size()) as f64);
            parts.push(format!("{:#x} – {:#x} of {whole}", part.start, part.end));
        }
        let watched: u64 = self.regions.iter().map(PageRange::len).sum();
        if self.not_watched > watched / WORTH_SAYING {
            parts.push(format!("{} not watched", bytes(self.not_watched as f64)));
        }
        if self.follows_hottest() {
            parts.push("stays where the most is written".into());
        }
        if self.is_poor() {
            // Parts, since a line has no room for all of it.
            parts.push("less than 70 % is right".into());
            let (all, more) = if self.bounded {
                ("record it with --exact", "or a larger budget")
            } else {
                ("--exact shows all of it", "a larger budget more")
            };
            parts.extend([all.into(), more.into()]);
        }
        if self.ended.is_none() && self.is_idle() {
            parts.push("idle".into());
        }
        parts.extend(self.news().map(|news| news.adjustment.to_string()));
        parts.join(" · ")
    }

    /// The numbers of the last window.
    pub(super) fn numbers(&self) -> Vec<(&'static str, String)> {
        let telemetry = self.telemetry();
        vec![
            ("pages/s written", thousands(telemetry.fault_rate.round() as u64)),
            ("accuracy", accuracy_in_words(self.accuracy())),
            ("pages sampled", self.sampled_in_words()),
            ("slowdown", self.cost.map_or_else(|| "–".into(), |cost| cost.slow_down())),
            ("threads", telemetry.active_threads.to_string()),
            ("rung", self.rung.to_string()),
            ("looks", self.quiet.looks()),
        ]
    }
}

/// An accuracy with its interval; a dash where it is not known.
pub(super) fn accuracy_in_words(accuracy: Option<AccuracyEstimate>) -> String {
    let Some(AccuracyEstimate { value, low, high }) = accuracy else { return "–".into() };
    if low == high {
        return format!("{:.0} %", 100.0 * value);
    }
    let with = |decimals| [value, low, high].map(|share| format!("{:.decimals$}", 100.0 * share));
    // An interval that whole numbers would hide is not none.
    let [value, low, high] = Some(with(0)).filter(|[_, low, high]| low != high).unwrap_or_else(|| with(1));
    format!("{value} % ({low}–{high})")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_not_watched_is_said_with_its_size_where_it_is_worth_saying() {
        const PAGE: u64 = 4096;
        let target = TargetInfo { pid: 7, comm: "one".into(), page_size: PAGE };
        let orders = HilbertConfig::default();
        let mut pipeline =
            Pipeline::new(target, Rung::WpAsync, orders, ColorPalette::default()).expect("a pipeline");
        let region = MemoryRegion {
            start: PAGE,
            end: 1025 * PAGE,
            permissions: "rw-p".into(),
            offset: 0,
            device: "00:00".into(),
            inode: 0,
            pathname: None,
        };
        let mut said = |writable_pages| {
            let window = Window {
                index: 0,
                started: Instant::now(),
                length: Duration::from_millis(100),
                written: Vec::new(),
                unseen: Vec::new(),
                regions: Some(vec![region.clone()].into()),
                writable_pages,
                active_threads: 1,
                threads: Vec::new(),
                forked: Vec::new(),
                events: Vec::new(),
                dropped: 0,
            };
            pipeline.window(&window).expect("it is taken");
            pipeline.picture().caption.status
        };
        assert_eq!(said(1024), "");
        assert_eq!(said(1034), "", "less than a hundredth");
        assert_eq!(said(1536), "2.0 MiB not watched");
        // A file may say any number.
        assert!(said(u64::MAX).contains("not watched"));
    }

    #[test]
    fn the_picture_of_an_idle_target_stands_still() {
        const PAGE: u64 = 4096;
        let target = TargetInfo { pid: 7, comm: "one".into(), page_size: PAGE };
        let (orders, palette) = (HilbertConfig::default(), ColorPalette::default());
        let mut pipeline = Pipeline::new(target, Rung::WpAsync, orders, palette).expect("a pipeline");
        let regions: Arc<[MemoryRegion]> = vec![MemoryRegion {
            start: PAGE,
            end: 1025 * PAGE,
            permissions: "rw-p".into(),
            offset: 0,
            device: "00:00".into(),
            inode: 0,
            pathname: None,
        }]
        .into();
        let mut random = fastrand::Rng::with_seed(1);
        let mut windows = |pipeline: &mut Pipeline, count: u64, pages: u64| {
            for index in 0..count {
                let window = Window {
                    index,
                    started: Instant::now(),
                    // As a busy machine has them.
                    length: Duration::from_micros(16_667 + random.u64(0..3000)),
                    written: (pages > 0)
                        .then(|| PageRange::new(PAGE, (1 + pages) * PAGE))
                        .into_iter()
                        .collect(),
                    unseen: Vec::new(),
                    regions: Some(Arc::clone(&regions)),
                    writable_pages: 1024,
                    active_threads: 0,
                    threads: Vec::new(),
                    forked: Vec::new(),
                    events: Vec::new(),
                    dropped: 0,
                };
                pipeline.window(&window).expect("it is taken");
            }
        };
        windows(&mut pipeline, 200, 300);
        assert!(!pipeline.is_idle() && pipeline.density().iter().any(|share| *share > 0.9));
        windows(&mut pipeline, 30, 0);
        assert!(!pipeline.is_idle(), "it fades");
        // Ten seconds are more than enough for that, and for what was news.
        windows(&mut pipeline, 600, 0);
        let still = pipeline.picture();
        assert!(pipeline.is_idle() && still.caption.status == "idle", "{}", still.caption.status);
        assert!(still.density.iter().all(|share| *share == 0.0));
        for _ in 0..100 {
            windows(&mut pipeline, 1, 0);
            assert!(pipeline.picture().looks_like(&still), "{:?}", pipeline.picture().caption);
        }
        windows(&mut pipeline, 1, 1);
        assert!(!pipeline.is_idle() && !pipeline.picture().looks_like(&still));
    }

    #[test]
    fn an_accuracy_is_said_with_its_interval_and_never_made_up() {
        let estimate = |value, low, high| Some(AccuracyEstimate { value, low, high });
        assert_eq!(accuracy_in_words(None), "–");
        assert_eq!(accuracy_in_words(estimate(1.0, 1.0, 1.0)), "100 %");
        assert_eq!(accuracy_in_words(estimate(0.954, 0.93, 0.971)), "95 % (93–97)");
        assert_eq!(accuracy_in_words(estimate(0.997, 0.9961, 0.9983)), "99.7 % (99.6–99.8)");
    }
}
