//! From the pages of a window to the map that is shown, smoothed over windows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{
    AccuracyEstimate, ActivityMap, DensityMap, Doubt, PageActivity, RateControl, SamplingConfig, survey,
};
use crate::capture::{FaultEvent, PageRange};
use crate::map::{AddressLayout, HilbertSkilling, InvalidOrder, LayoutChange};
use crate::{GlassRamError, Result};

/// The page size of the line that [`CompressedSensingCapability::new`] lays its faults on.
const DEFAULT_PAGE_SIZE: u64 = 4096;

/// What is not known of a map is reckoned ten times a second, less what a timer may be early: it takes longer
/// than the map.
const DOUBTED: Duration = Duration::from_millis(95);

/// Reconstructs a density map from write faults.
pub trait CompressedSensingCapability: Sized {
    /// A reconstructor for maps of `hilbert_order` over a line of 4^order pages from address 0, a page a cell.
    /// Cells whose density exceeds `sparsity_threshold` (0..1) count as active in [`ReconstructionMetrics::sparsity`].
    ///
    /// # Panics
    /// When the order is out of range; [`CompressedSensingReconstructor::on`] answers with an error instead.
    fn new(hilbert_order: u32, sparsity_threshold: f32) -> Self;

    /// The map of one window with these faults: each cell the share of its pages that were written. Faults beside the line lower the
    /// accuracy; where all are, there is no map.
    fn reconstruct(&mut self, faults: &[FaultEvent]) -> Result<DensityMap>;

    /// How well the last map matches the truth, 0..1: 1.0 where every page was seen.
    fn accuracy(&self) -> f32;

    /// Takes the accuracy that was reached into account for the next windows' sampling rate.
    fn adjust_sampling_rate(&mut self, accuracy: f32);
}

/// What the last reconstruction took and gave.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReconstructionMetrics {
    /// Time it took, milliseconds.
    pub time_ms: f64,
    /// 1 − relative L1 error, 0..1.
    pub accuracy: f32,
    /// Share of the cells that are active, 0..1.
    pub sparsity: f32,
    /// Solver iterations: 0 where nothing had to be solved.
    pub iterations: u32,
}

/// The map of a target, window by window. While every page is seen nothing is left to be solved and the accuracy is 1.
#[derive(Debug, Clone)]
pub struct CompressedSensingReconstructor {
    curve: HilbertSkilling,
    layout: AddressLayout,
    activity: PageActivity,
    sparsity_threshold: f32,
    metrics: ReconstructionMetrics,
    new_pages: u64,
    warm: Vec<bool>,
    doubt: Option<Arc<Doubt>>,
    /// Since when that was not reckoned.
    doubted: Duration,
    rate: RateControl,
}

impl CompressedSensingReconstructor {
    /// A reconstructor for maps of `order` over `layout`, whose windows fade by `half_life`.
    pub fn on(layout: AddressLayout, order: u32, half_life: Duration) -> Result<Self, InvalidOrder> {
        Ok(Self {
            curve: HilbertSkilling::try_new(order)?,
            activity: PageActivity::new(half_life),
            layout,
            sparsity_threshold: 0.0,
            metrics: ReconstructionMetrics { accuracy: 1.0, ..Default::default() },
            new_pages: 0,
            warm: Vec::new(),
            doubt: None,
            doubted: DOUBTED,
            rate: RateControl::new(SamplingConfig::default()),
        })
    }

    /// Faults that a window of samples may cost, as a share of the pages.
    pub fn sampling_rate(&self) -> f64 {
        self.rate.rate()
    }

    /// The line that the map is laid on.
    pub fn layout(&self) -> &AddressLayout {
        &self.layout
    }

    /// The curve of the map.
    pub fn curve(&self) -> &HilbertSkilling {
        &self.curve
    }

    /// Time in which a window's weight falls to a half.
    pub fn half_life(&self) -> Duration {
        self.activity.half_life()
    }

    /// What the last map took and gave.
    pub fn metrics(&self) -> ReconstructionMetrics {
        self.metrics
    }

    /// Pages that the last window wrote for the first time.
    pub fn new_pages(&self) -> u64 {
        self.new_pages
    }

    /// Follows the target's regions (page-aligned, by address, disjoint) and draws at `order` from now on.
    pub fn follow(&mut self, regions: &[PageRange], order: u32) -> Result<LayoutChange, InvalidOrder> {
        self.curve = HilbertSkilling::try_new(order)?;
        let before = self.layout.clone();
        let regions: Vec<_> = regions.iter().map(|region| region.start..region.end).collect();
        let change = self.layout.update(&regions);
        if change == LayoutChange::Rebuilt {
            self.activity.relay(&before, &self.layout);
        }
        Ok(change)
    }

    /// Draws at `order` from the next window on.
    pub fn set_order(&mut self, order: u32) -> Result<(), InvalidOrder> {
        self.curve = HilbertSkilling::try_new(order)?;
        Ok(())
    }

    /// Lays the map on this line, which another has followed the target's regions with, and draws at `order` from now on.
    /// True when it is another line than before.
    pub fn adopt(&mut self, layout: &AddressLayout, order: u32) -> Result<bool, InvalidOrder> {
        self.curve = HilbertSkilling::try_new(order)?;
        let another = self.layout != *layout;
        if another {
            let before = std::mem::replace(&mut self.layout, layout.clone());
            self.activity.relay(&before, &self.layout);
        }
        Ok(another)
    }

    /// The map as it stands, of a part of the line and on a curve of its own.
    pub fn part(&self, part: &AddressLayout, curve: &HilbertSkilling) -> DensityMap {
        self.activity.density_of(&self.layout, part, curve)
    }

    /// Which tiles of the last window's map have a cell that is not zero, as [`survey`] says of it.
    pub fn warm(&self) -> &[bool] {
        &self.warm
    }

    /// How often each page was written of late.
    pub fn activity(&self) -> &PageActivity {
        &self.activity
    }

    /// Takes one window in which exactly `written` was written, and answers with the map as it stands after it.
    pub fn window(&mut self, written: &[PageRange], length: Duration) -> DensityMap {
        self.look(written, &[], length)
    }

    /// As [`Self::window`], where the pages of `unseen` (apart from `written`) were not armed.
    pub fn look(&mut self, written: &[PageRange], unseen: &[PageRange], length: Duration) -> DensityMap {
        let started = Instant::now();
        let addresses = |range: &PageRange| range.start..range.end;
        let (written, unseen) = (written.iter().map(addresses), unseen.iter().map(addresses));
        self.new_pages = self.activity.look(&self.layout, written, unseen, length);
        self.doubted = self.doubted.saturating_add(length);
        let side = self.curve.size() as usize;
        let fits = self.doubt.as_ref().is_some_and(|doubt| doubt.variance.dim() == (side, side));
        if self.activity.is_exact() {
            (self.doubt, self.doubted) = (None, DOUBTED);
        } else if self.doubted >= DOUBTED || !fits {
            self.doubted = Duration::ZERO;
            let ActivityMap { density, doubt } = self.activity.map(&self.layout, &self.curve);
            self.doubt = doubt.map(Arc::new);
            return self.finish(started, density);
        }
        let density = self.activity.density(&self.layout, &self.curve);
        self.finish(started, density)
    }

    /// What is not known of the map, as of the last tenth of a second; none where every page was armed all
    /// the time.
    pub fn doubt(&self) -> Option<&Arc<Doubt>> {
        self.doubt.as_ref()
    }

    fn finish(&mut self, started: Instant, density: DensityMap) -> DensityMap {
        let error =
            self.doubt.as_ref().map_or(0.0, |doubt| doubt.error().0 / doubt.shown.max(f64::MIN_POSITIVE));
        let (active, warm) = survey(&density, self.sparsity_threshold);
        self.warm = warm;
        self.metrics = ReconstructionMetrics {
            time_ms: started.elapsed().as_secs_f64() * 1e3,
            accuracy: (1.0 - error).max(0.0) as f32,
            sparsity: active as f32 / density.len() as f32,
            iterations: 0,
        };
        density
    }
}

impl CompressedSensingCapability for CompressedSensingReconstructor {
    fn new(hilbert_order: u32, sparsity_threshold: f32) -> Self {
        let pages = 1u64 << (2 * hilbert_order);
        let layout = AddressLayout::new(DEFAULT_PAGE_SIZE, std::iter::once(0..pages * DEFAULT_PAGE_SIZE));
        match Self::on(layout, hilbert_order, Duration::from_millis(250)) {
            Ok(reconstructor) => Self { sparsity_threshold, ..reconstructor },
            Err(error) => panic!("{error}"),
        }
    }

    fn reconstruct(&mut self, faults: &[FaultEvent]) -> Result<DensityMap> {
        let started = Instant::now();
        let page_size = self.layout.page_size();
        let mut pages: Vec<u64> = faults
            .iter()
            .filter_map(|fault| match fault {
                FaultEvent::PageFault { address, .. } => Some(address & !(page_size - 1)),
                _ => None,
            })
            .collect();
        pages.sort_unstable();
        pages.dedup();
        let on_line = |page: &&u64| self.layout.places(**page..**page + page_size).next().is_some();
        let held = pages.iter().filter(on_line).count();
        let accuracy = if pages.is_empty() { 1.0 } else { held as f32 / pages.len() as f32 };
        if accuracy == 0.0 {
            return Err(GlassRamError::ReconstructionFailed { accuracy });
        }
        // One window alone, with no memory of earlier ones: what the specification's call means.
        let mut window = PageActivity::new(self.half_life());
        window.window(&self.layout, pages.into_iter().map(|page| page..page + page_size), self.half_life());
        let density = self.finish(started, window.density(&self.layout, &self.curve));
        self.metrics.accuracy = accuracy;
        Ok(density)
    }

    fn accuracy(&self) -> f32 {
        self.metrics.accuracy
    }

    /// The accuracy is taken as certain; where it is NaN, nothing is known and nothing changes.
    fn adjust_sampling_rate(&mut self, accuracy: f32) {
        let value = f64::from(accuracy);
        let known = !value.is_nan();
        self.rate.window(known.then_some(AccuracyEstimate { value, low: value, high: value }), 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::HilbertCapability;

    #[test]
    fn faults_light_their_own_cells_and_no_other() {
        let mut reconstructor = CompressedSensingReconstructor::new(3, 0.1);
        let fault =
            |page: u64| FaultEvent::PageFault { address: page * 4096 + 123, flags: 1, thread_id: None };
        let density = reconstructor.reconstruct(&[fault(5), fault(6), fault(5), fault(40)]).unwrap();
        let curve = HilbertSkilling::new(3);
        for d in 0..64 {
            let (x, y) = curve.d2xy(d);
            let expected = if [5, 6, 40].contains(&d) { 1.0 } else { 0.0 };
            assert_eq!(density[[y as usize, x as usize]], expected, "cell {d}");
        }
        assert_eq!(reconstructor.accuracy(), 1.0);
        assert_eq!(reconstructor.metrics().sparsity, 3.0 / 64.0);
    }

    #[test]
    fn faults_beside_the_line_are_no_map_of_it() {
        let mut reconstructor = CompressedSensingReconstructor::new(3, 0.1);
        let fault = |page: u64| FaultEvent::PageFault { address: page * 4096, flags: 1, thread_id: None };
        let error = reconstructor.reconstruct(&[fault(64), fault(1000)]).unwrap_err();
        assert_eq!(error, GlassRamError::ReconstructionFailed { accuracy: 0.0 });
        reconstructor.reconstruct(&[fault(63), fault(64), fault(1000), fault(2)]).unwrap();
        assert_eq!(reconstructor.accuracy(), 0.5);
        reconstructor.reconstruct(&[]).unwrap();
        assert_eq!(reconstructor.accuracy(), 1.0);
    }

    #[test]
    fn the_sampling_rate_follows_the_accuracy_that_is_reached() {
        let mut reconstructor = CompressedSensingReconstructor::new(3, 0.1);
        let start = reconstructor.sampling_rate();
        (0..100).for_each(|_| reconstructor.adjust_sampling_rate(f32::NAN));
        assert_eq!(reconstructor.sampling_rate(), start);
        (0..100).for_each(|_| reconstructor.adjust_sampling_rate(0.9));
        let raised = reconstructor.sampling_rate();
        assert!(raised > start);
        (0..1000).for_each(|_| reconstructor.adjust_sampling_rate(1.0));
        assert!(reconstructor.sampling_rate() < start);
    }

    #[test]
    fn following_new_regions_keeps_what_is_known_of_the_old_ones() {
        let range = |first: u64, pages: u64| PageRange { start: first * 4096, end: (first + pages) * 4096 };
        let layout = AddressLayout::new(4096, std::iter::once(100 * 4096..116 * 4096));
        let mut reconstructor =
            CompressedSensingReconstructor::on(layout, 2, Duration::from_millis(250)).unwrap();
        reconstructor.window(&[range(103, 1)], Duration::from_millis(100));
        let change = reconstructor.follow(&[range(10, 48), range(100, 16)], 3).unwrap();
        assert_eq!(change, LayoutChange::Rebuilt);
        let density = reconstructor.window(&[range(103, 1)], Duration::from_millis(100));
        let (x, y) = reconstructor.curve().d2xy(48 + 3);
        assert!((density[[y as usize, x as usize]] - 1.0).abs() < 1e-5);
        assert_eq!(density.iter().filter(|share| **share > 0.0).count(), 1);
    }
}
