//! How often pages are written, fading with time, and the map of it.
//!
//! Of each page two weighted sums are kept: over the looks in which it was written, and over those in which it was not armed, so that
//! nobody can tell. The weight of a look is its length, and falls to a half in one half-life. The share of the looks at the armed page in
//! which it was written, p, gives its rate, whatever the plan by which it was armed and whatever the length of the looks: writes
//! that come at a rate of λ leave a look of length Δ without any with a chance of exp(−λΔ), so λ = −ln(1−p)/Δ.
//!
//! What is shown is 1 − exp(−λ·[`SPAN`]): the chance that the page is written within that time.

use std::ops::Range;
use std::time::Duration;

use super::sums::{Marks, Sums, WORD};
use super::{DensityMap, sparse_map};
use crate::capture::PageRange;
use crate::map::{AddressLayout, HilbertCapability, HilbertSkilling};

/// The time that a density is about: 1 is a page that is written in each such span.
pub const SPAN: Duration = Duration::from_millis(100);

/// What is known of a page that is not armed fades to so many looks' worth, and no further.
const HELD: f32 = 2.0;

/// Below this a page counts as cold: a ten-thousandth is far under what any palette shows.
const COLD: f32 = 1e-4;

/// How often each page of the line was written of late. What it takes follows the pages that were written, not the line.
#[derive(Debug, Clone)]
pub struct PageActivity {
    half_life: Duration,
    /// By place on the line: the weighted sum over windows in which the page was written.
    written: Sums,
    /// The same over those in which it was not armed.
    missed: Sums,
    /// The weight of all windows so far; tends to 1.
    weight: f32,
    /// The weight of the last one.
    gain: f32,
    /// The weighted sum of their lengths, seconds.
    lengths: f32,
    /// The places of the pages that were ever written.
    touched: Marks,
}

impl PageActivity {
    /// Nothing written yet.
    pub fn new(half_life: Duration) -> Self {
        let none = Sums::default;
        Self {
            half_life,
            written: none(),
            missed: none(),
            weight: 0.0,
            gain: 0.0,
            lengths: 0.0,
            touched: Marks::default(),
        }
    }

    /// Time in which a window's weight falls to a half.
    pub fn half_life(&self) -> Duration {
        self.half_life
    }

    /// As [`Self::window`], with pages of which it is not known whether they were written: `believed` has the places and
    /// how much of a written page each counts, 0..1.
    pub fn sampled_window(
        &mut self,
        layout: &AddressLayout,
        written: impl IntoIterator<Item = Range<u64>>,
        believed: impl IntoIterator<Item = (u64, f32)>,
        length: Duration,
    ) -> u64 {
        let first_writes = self.window(layout, written, length);
        let gain = 1.0 - (-length.as_secs_f64() / self.half_life.as_secs_f64()).exp2() as f32;
        for (place, share) in believed.into_iter().filter(|(_, share)| *share > 0.0) {
            self.written.add(place..place + 1, gain * share);
        }
        first_writes
    }

    /// Takes one window of `length` in which the pages of `written` (disjoint ranges of addresses) were written, and
    /// answers how many of them had never been before.
    pub fn window(
        &mut self,
        layout: &AddressLayout,
        written: impl IntoIterator<Item = Range<u64>>,
        length: Duration,
    ) -> u64 {
        self.look(layout, written, [], length)
    }

    /// As [`Self::window`], where the pages of `unseen` (disjoint, apart from `written`) were not armed.
    pub fn look(
        &mut self,
        layout: &AddressLayout,
        written: impl IntoIterator<Item = Range<u64>>,
        unseen: impl IntoIterator<Item = Range<u64>>,
        length: Duration,
    ) -> u64 {
        let keep = (-length.as_secs_f64() / self.half_life.as_secs_f64()).exp2() as f32;
        let gain = 1.0 - keep;
        let unseen: Vec<Range<u64>> = unseen.into_iter().flat_map(|range| layout.places(range)).collect();
        let mut held = Vec::new();
        for (place, sum) in unseen.iter().flat_map(|places| self.written.range(places.clone())) {
            let known = self.weight - self.missed.get(place);
            if known * keep < HELD * gain {
                held.push((place, sum, known));
            }
        }
        self.gain = gain;
        self.weight = self.weight * keep + gain;
        self.lengths = self.lengths * keep + gain * length.as_secs_f32();
        self.written.fade(keep, COLD);
        self.missed.fade(keep, COLD);
        unseen.into_iter().for_each(|places| self.missed.add(places, gain));
        for (place, sum, known) in held {
            self.written.set(place, sum);
            self.missed.set(place, self.weight - known);
        }
        let mut first_writes = 0;
        for range in written {
            for places in layout.places(range) {
                first_writes += self.touched.insert(places.clone());
                self.written.add(places, gain);
            }
        }
        first_writes
    }

    /// Of the windows in which the page was armed, the share in which it was written, 0..1.
    fn share(&self, place: u64, written: f32) -> f32 {
        let missed = self.missed.get(place);
        let known = self.weight - missed;
        // A page is left unarmed when it has just been written, and what is known of it then is what is shown for long: as if half a
        // look more had shown nothing.
        let known = known + 0.5 * self.gain * missed / self.weight;
        if known > 0.0 { (written / known).min(1.0) } else { 0.0 }
    }

    /// What is shown of such a page, 0..1.
    fn shown(&self, place: u64, written: f32) -> f32 {
        let length = self.lengths / self.weight;
        let share = self.share(place, written);
        1.0 - (1.0 - share).powf(SPAN.as_secs_f32() / length)
    }

    /// Follows the pages from the line `before` to the line `after`, on which they have other places.
    pub fn relay(&mut self, before: &AddressLayout, after: &AddressLayout) {
        let moves = before.moves(after);
        // Pages that are only believed to be written are not touched, and yet warm.
        (self.written, self.touched) = (self.written.moved(&moves), self.touched.moved(&moves));
        self.missed = self.missed.moved(&moves);
    }

    /// The density map at the curve's order: each cell the mean over its pages.
    pub fn density(&self, layout: &AddressLayout, curve: &HilbertSkilling) -> DensityMap {
        self.map(layout, curve, self.written.iter().map(|(place, sum)| (place, self.shown(place, sum))))
    }

    /// The same of a part of the line `whole`, whose pages lie on a line of their own.
    pub fn density_of(
        &self,
        whole: &AddressLayout,
        part: &AddressLayout,
        curve: &HilbertSkilling,
    ) -> DensityMap {
        let moves = whole.moves(part);
        let pages = moves.iter().flat_map(|(from, to)| {
            let shown = move |(place, sum)| (to + (place - from.start), self.shown(place, sum));
            self.written.range(from.clone()).map(shown)
        });
        self.map(part, curve, pages)
    }

    /// Pages with their place on the map's line and what is shown of them.
    fn map(
        &self,
        layout: &AddressLayout,
        curve: &HilbertSkilling,
        pages: impl Iterator<Item = (u64, f32)>,
    ) -> DensityMap {
        let (size, cells) = (curve.size() as usize, curve.cells());
        let mut density = sparse_map(size);
        if self.weight == 0.0 {
            return density;
        }
        for (place, sum) in pages {
            for d in layout.cells_of_page(place, cells) {
                let Some(shown) = layout.pages_of_cell(d, cells) else { continue };
                let pages = (shown.end() - shown.start() + 1) as f32;
                let (x, y) = curve.d2xy(d);
                let share = &mut density[[y as usize, x as usize]];
                // Rounding may leave a full cell a few ulps over one.
                *share = (*share + sum / pages).min(1.0);
            }
        }
        density
    }

    /// What it takes in memory, bytes.
    pub fn weight(&self) -> usize {
        self.written.weight() + self.missed.weight() + self.touched.weight()
    }

    /// What it takes in memory for pages of this size that are written for the first time, bytes at most, on a line of so many stretches.
    pub fn weight_of_new(written: &[PageRange], page_size: u64, stretches: usize) -> usize {
        // On a line, they lie as close together as by their addresses, but begin anywhere in a word: each run of words, and each
        // stretch, may reach into one more.
        let (mut words, mut last) = (stretches as u64, None);
        for range in written.iter().filter(|range| !range.is_empty()) {
            let (first, end) = (range.start / page_size / WORD, (range.end - 1) / page_size / WORD);
            let run = last.is_none_or(|last| first > last + 1);
            words += end - first + u64::from(last != Some(first)) + u64::from(run);
            last = Some(end);
        }
        usize::try_from(words).unwrap_or(usize::MAX).saturating_mul(Sums::WEIGHT_OF_WORD)
    }

    /// Pages of the line that were ever written.
    pub fn touched(&self) -> u64 {
        self.touched.count()
    }

    /// How much was written at these places of late: 1 for a page that is written in every window.
    pub fn heat(&self, places: Range<u64>) -> f32 {
        self.written.range(places).map(|(place, sum)| self.shown(place, sum)).sum()
    }

    /// [`Self::heat`] of the line in steps of so many places: the numbers of those steps that have any, ascending, with it.
    pub fn heat_in_steps(&self, step: u64) -> Vec<(u64, f32)> {
        let mut heat: Vec<(u64, f32)> = Vec::new();
        for (place, sum) in self.written.iter() {
            let (at, more) = (place / step, self.shown(place, sum));
            match heat.last_mut() {
                Some((last, sum)) if *last == at => *sum += more,
                _ => heat.push((at, more)),
            }
        }
        heat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PAGE: u64 = 4096;
    const WINDOW: Duration = Duration::from_millis(100);
    const HALF_LIFE: Duration = Duration::from_millis(250);

    fn line(pages: u64) -> AddressLayout {
        AddressLayout::new(PAGE, std::iter::once(PAGE..(pages + 1) * PAGE))
    }

    fn pages(first: u64, count: u64) -> Range<u64> {
        (first + 1) * PAGE..(first + 1 + count) * PAGE
    }

    #[test]
    fn a_page_written_in_every_window_is_as_hot_as_can_be_from_the_first_window_on() {
        let (layout, curve) = (line(256), HilbertSkilling::new(4));
        let mut activity = PageActivity::new(HALF_LIFE);
        for _ in 0..20 {
            activity.window(&layout, [pages(16, 16)], WINDOW);
            let density = activity.density(&layout, &curve);
            for d in 0..256 {
                let (x, y) = curve.d2xy(d);
                let share = density[[y as usize, x as usize]];
                let expected = if (16..32).contains(&d) { 1.0 } else { 0.0 };
                assert!((share - expected).abs() < 1e-5, "cell {d}: {share}");
            }
        }
    }

    /// Writes at a rate, each page at its own, seen in looks of a length by a plan that arms one page in so many looks again.
    fn seen(rates: &[f64], look: Duration, again: usize, seconds: f64, seed: u64) -> PageActivity {
        let layout = line(rates.len() as u64);
        let mut activity = PageActivity::new(HALF_LIFE);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut armed = vec![true; rates.len()];
        for turn in 0..(seconds / look.as_secs_f64()) as usize {
            let (mut written, mut unseen) = (Vec::new(), Vec::new());
            for (page, rate) in rates.iter().enumerate() {
                if !armed[page] {
                    unseen.push(pages(page as u64, 1));
                } else if random.f64() > (-rate * look.as_secs_f64()).exp() {
                    written.push(pages(page as u64, 1));
                    armed[page] = again == 1;
                }
                armed[page] |= page % again == turn % again;
            }
            activity.look(&layout, written, unseen, look);
        }
        activity
    }

    #[test]
    fn what_is_shown_is_the_rate_whatever_the_looks_and_the_plan() {
        let rates: Vec<f64> = (0..4000).map(|page| [0.0, 2.0, 10.0, 40.0][page % 4]).collect();
        let mut worst = 0.0_f32;
        for (look, again) in [(16_667, 1), (16_667, 30), (16_667, 60), (100_000, 1), (100_000, 5)] {
            let activity = seen(&rates, Duration::from_micros(look), again, 6.0, 7);
            for (kind, rate) in [0.0, 2.0, 10.0, 40.0].into_iter().enumerate() {
                let of_kind =
                    (0..1000u64).map(|at| activity.heat(at * 4 + kind as u64..at * 4 + kind as u64 + 1));
                let (mean, expected) = (of_kind.sum::<f32>() / 1000.0, 1.0 - (-0.1 * rate as f32).exp());
                println!("{rate}/s by {look} µs, 1 in {again}: {mean}, {expected}");
                worst = worst.max((mean - expected).abs());
            }
        }
        assert!(worst < 0.06, "{worst}");
    }

    #[test]
    fn activity_halves_in_a_half_life_and_ends_at_zero() {
        let (layout, curve) = (line(16), HilbertSkilling::new(2));
        let mut activity = PageActivity::new(HALF_LIFE);
        for _ in 0..100 {
            activity.window(&layout, [pages(0, 16)], WINDOW);
        }
        for _ in 0..5 {
            activity.window(&layout, [], WINDOW / 2);
        }
        let density = activity.density(&layout, &curve);
        // Half of the windows, as far as they count; those of half the length say twice as much.
        assert!(density.iter().all(|share| (0.5..0.7).contains(share)), "{density}");
        for _ in 0..40 {
            activity.window(&layout, [], WINDOW);
        }
        assert!(activity.density(&layout, &curve).iter().all(|share| *share == 0.0));
    }

    proptest! {
        #[test]
        fn the_map_is_the_mean_over_each_cells_pages(
            count in 1u64..2000, order in 1u32..5, first in 0u64..2000, length in 1u64..500,
        ) {
            let layout = line(count);
            let curve = HilbertSkilling::new(order);
            let first = first % count;
            let hot = first..(first + length).min(count);
            let mut activity = PageActivity::new(HALF_LIFE);
            activity.window(&layout, [pages(hot.start, hot.end - hot.start)], WINDOW);
            let density = activity.density(&layout, &curve);
            for d in 0..curve.cells() {
                let shown = layout.pages_of_cell(d, curve.cells()).unwrap();
                let total = shown.clone().count() as f32;
                let written = shown.filter(|place| hot.contains(place)).count() as f32;
                let (x, y) = curve.d2xy(d);
                let share = density[[y as usize, x as usize]];
                prop_assert!((0.0..=1.0).contains(&share));
                prop_assert!((share - written / total).abs() < 1e-5, "cell {}: {} of {}, {}", d, written, total, share);
            }
        }
    }

    #[test]
    fn activity_follows_its_pages_to_a_new_line() {
        let before = AddressLayout::new(PAGE, std::iter::once(PAGE * 100..PAGE * 110));
        let after = AddressLayout::new(PAGE, [PAGE * 10..PAGE * 20, PAGE * 100..PAGE * 110]);
        let mut activity = PageActivity::new(HALF_LIFE);
        activity.window(&before, std::iter::once(PAGE * 103..PAGE * 104), WINDOW);
        activity.relay(&before, &after);
        assert_eq!(
            activity.window(&after, std::iter::once(PAGE * 103..PAGE * 105), WINDOW),
            1,
            "page 103 was written before"
        );
        let curve = HilbertSkilling::new(4);
        let density = activity.density(&after, &curve);
        let hot: Vec<u32> = (0..256)
            .filter(|d| {
                let (x, y) = curve.d2xy(*d);
                density[[y as usize, x as usize]] > 0.0
            })
            .collect();
        assert_eq!(
            hot,
            (after.cells_of_page(13, 256).chain(after.cells_of_page(14, 256)))
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect::<Vec<_>>()
        );
    }

    proptest! {
        #[test]
        fn what_new_pages_are_going_to_take_is_never_more_than_is_reckoned(
            holes in prop::collection::vec((1u64..300, 1u64..700), 1..5),
            spans in prop::collection::vec((0u64..200, 1u64..300), 0..12),
        ) {
            let mut at = 1;
            let regions: Vec<_> = holes.iter().map(|(hole, pages)| {
                let first = at + hole;
                at = first + pages;
                first * PAGE..at * PAGE
            }).collect();
            let layout = AddressLayout::new(PAGE, regions.iter().cloned());
            let mut at = 0;
            let written: Vec<PageRange> = spans.iter().map(|(gap, pages)| {
                let first = at + gap;
                at = first + pages;
                PageRange::new(first * PAGE, at * PAGE)
            }).collect();
            let mut activity = PageActivity::new(HALF_LIFE);
            activity.window(&layout, written.iter().map(|range| range.start..range.end), WINDOW);
            let reckoned = PageActivity::weight_of_new(&written, PAGE, regions.len());
            prop_assert!(activity.weight() <= reckoned, "{} of {}", activity.weight(), reckoned);
        }

        #[test]
        fn a_part_of_the_line_has_the_cells_that_it_would_have_alone(
            count in 64u64..600, from in 0u64..64, length in 16u64..500, order in 2u32..5,
            hot in prop::collection::vec((0u64..600, 1u64..40), 1..6),
        ) {
            // Two mappings with a hole between them.
            let regions = [PAGE..(count / 2 + 1) * PAGE, (count + 100) * PAGE..(2 * count + 100) * PAGE];
            let whole = AddressLayout::new(PAGE, regions);
            let addresses: Vec<u64> = (from..(from + length).min(whole.pages()))
                .map(|place| whole.address_of(place).expect("on the line"))
                .collect();
            let part = AddressLayout::new(PAGE, addresses.iter().map(|start| *start..start + PAGE));
            let curve = HilbertSkilling::new(order);
            let mut activity = PageActivity::new(HALF_LIFE);
            let mut alone = PageActivity::new(HALF_LIFE);
            for (first, length) in hot {
                let Some(start) = whole.address_of(first % whole.pages()) else { continue };
                let written = start..start + length * PAGE;
                activity.window(&whole, std::iter::once(written.clone()), WINDOW);
                alone.window(&part, std::iter::once(written), WINDOW);
            }
            let both = (activity.density_of(&whole, &part, &curve), alone.density(&part, &curve));
            prop_assert!(both.0.iter().zip(&both.1).all(|(a, b)| (a - b).abs() < 1e-5), "{}\n{}", both.0, both.1);
            let step = 7;
            let heat = activity.heat_in_steps(step);
            let of_step: std::collections::BTreeMap<u64, f32> = heat.iter().copied().collect();
            for at in 0..whole.pages().div_ceil(step) {
                let heat = of_step.get(&at).copied().unwrap_or_default();
                prop_assert!((activity.heat(at * step..(at + 1) * step) - heat).abs() < 1e-3);
            }
            let sum: f32 = heat.iter().map(|(_, heat)| heat).sum();
            prop_assert!((sum - activity.heat(0..whole.pages())).abs() < 1e-2);
        }
    }
}
