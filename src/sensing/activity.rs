//! How often pages are written, fading with time, and the map of it.
//!
//! Of each page its looks are summed up, weighed by their length, older ones fading: those that found it
//! written, over all. That share, p, gives its rate, whatever the length of the looks: writes that come at a
//! rate of λ leave a look of length Δ without any with a chance of exp(−λΔ), so λ = −ln(1−p)/Δ. What is shown
//! is 1 − exp(−λ·[`SPAN`]): the chance that the page is written within that time.
//!
//! A look at a page that was not armed shows nothing. It counts as what is to be expected of it: by how long
//! the page was armed until it was written ([`exposure`](super::exposure)), weighed against what all pages
//! are like ([`write_rate`](super::write_rate)), and by how often pages go on to be written that nobody has
//! looked at for so long ([`persistence`](super::persistence)). So the map is the one of exact watching where
//! every page is armed, and near to it where most are.

use std::ops::Range;
use std::time::Duration;

use super::activity_map::ActivityMap;
use super::exposure::{Evidence, Expected, Exposure, Exposures, Fading};
use super::marks::{Marks, WORD};
use super::persistence::Persistence;
use super::write_rate::{Estimate, WriteRates};
use super::{DensityMap, activity_map};
use crate::capture::PageRange;
use crate::map::{AddressLayout, HilbertSkilling};

/// The time that a density is about: 1 is a page that is written in each such span.
pub const SPAN: Duration = Duration::from_millis(100);

/// Below this a page counts as cold: a ten-thousandth is far under what any palette shows.
const COLD: f32 = 1e-4;
/// What is known of a page that is not armed fades so much more slowly.
const SLOWER: f32 = 16.0;
/// Where pages are armed now and then only, what is known fades more slowly by their share, up to this.
const LONGER: f32 = 4.0;
/// A page that was armed for this part of the time is taken as armed all the time.
const ALL: f32 = 0.97;
/// What is left of how pages went on, from one to the next.
const PERSISTENT: f32 = 0.95;
/// Steps of the table of what is shown.
const SHARES: usize = 256;
/// Time between two looks at what all pages are like.
const FIT: Duration = Duration::from_millis(500);

/// How often each page of the line was written of late. What it takes follows the pages that were written, not the line.
#[derive(Debug, Clone)]
pub struct PageActivity {
    half_life: Duration,
    pages: Exposures,
    rates: WriteRates,
    persistence: Persistence,
    /// Since when the rates were not fitted.
    fitted: Duration,
    /// What a page has that was always armed, and always written: seconds, older ones fading.
    whole: f32,
    /// How many looks that time had.
    looks: f32,
    /// The same as `whole`, of the evidence, which fades more slowly where pages are armed now and then only.
    evidence: f32,
    /// What is shown of a page that is armed all the time, by the share of its looks that found it written,
    /// in equal steps.
    shown: Box<[f32; SHARES + 1]>,
    /// The length of a look that this is for, seconds.
    shown_for: f32,
    /// The part of the warm pages that is armed, over the last looks.
    share: f32,
    /// Places that the last look could not see, ascending, and how many of their pages nothing is known of.
    unseen: Vec<Range<u64>>,
    unknown: u64,
    /// The places of the pages that were ever written.
    touched: Marks,
}

impl PageActivity {
    /// Nothing written yet.
    pub fn new(half_life: Duration) -> Self {
        Self {
            half_life,
            pages: Exposures::default(),
            rates: WriteRates::unknown(),
            persistence: Persistence::default(),
            fitted: FIT,
            whole: 0.0,
            looks: 0.0,
            evidence: 0.0,
            shown: Box::new([0.0; SHARES + 1]),
            shown_for: 0.0,
            share: 1.0,
            unseen: Vec::new(),
            unknown: 0,
            touched: Marks::default(),
        }
    }

    /// Time in which the weight of a look falls to a half, where every page is armed all the time.
    pub fn half_life(&self) -> Duration {
        self.half_life
    }

    /// Takes one window of `length` in which the pages of `written` (disjoint ranges of addresses) were
    /// written, and answers how many of them had never been before.
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
        let seconds = length.as_secs_f32();
        let faded = |half_life: f32| (-seconds / half_life).exp2();
        let shown = self.half_life.as_secs_f32();
        let evidence = shown * (1.0 / self.share).min(LONGER);
        self.whole = self.whole * faded(shown) + seconds;
        self.looks = self.looks * faded(shown) + 1.0;
        self.evidence = self.evidence * faded(evidence) + seconds;
        self.follow_length();
        let fading = Fading {
            length: seconds,
            span: SPAN.as_secs_f32(),
            shown: faded(shown),
            armed: faded(evidence),
            unseen: faded(SLOWER * evidence),
            // What a page has that is always armed and always written, times that.
            cold: COLD * shown / std::f32::consts::LN_2,
            whole: self.whole,
            whole_evidence: self.evidence,
        };
        let mut unseen: Vec<Range<u64>> = unseen.into_iter().flat_map(|range| layout.places(range)).collect();
        unseen.sort_unstable_by_key(|places| places.start);
        let mut returns = Vec::new();
        let mut pages = std::mem::take(&mut self.pages);
        let (warm, hidden) =
            pages.look(unseen.iter().cloned(), &fading, |page| self.expect(page), |page| returns.push(page));
        let mut first_writes = 0;
        for range in written {
            for places in layout.places(range) {
                first_writes += self.touched.insert(places.clone());
                for (places, new) in parted(places, &self.unseen) {
                    pages.write(places, new, &fading, |page| self.expect(page), |page| returns.push(page));
                }
            }
        }
        self.pages = pages;
        let all: u64 = unseen.iter().map(|places| places.end - places.start).sum();
        self.unknown = all.saturating_sub(hidden);
        self.unseen = unseen;
        returns.into_iter().for_each(|page| self.persistence.note(page));
        let share = if hidden == 0 { 1.0 } else { (warm - hidden) as f32 / warm as f32 };
        let recent = (-seconds / 0.5).exp2();
        self.share = (self.share * recent + share * (1.0 - recent)).max(1.0 / LONGER);
        self.fitted += length;
        if self.fitted >= FIT && hidden > 0 {
            self.fit();
        }
        first_writes
    }

    /// Finds out what the pages are like that were not armed all the time.
    fn fit(&mut self) {
        self.fitted = Duration::ZERO;
        self.persistence.fade(PERSISTENT);
        let look = self.length();
        let some = self.pages.evidence().filter(|page| page.armed < ALL * self.evidence);
        let looks = some.map(|page| (page.written / look, (page.armed - page.written) / look));
        self.rates.fit(looks, f64::from(look), f64::from(SPAN.as_secs_f32() / look));
    }

    /// Seconds of a look.
    fn length(&self) -> f32 {
        self.whole / self.looks
    }

    /// What is to be expected of a page that is not armed.
    fn expect(&self, page: Evidence) -> Expected {
        let length = self.length();
        let looks = (page.written / length, (page.armed - page.written) / length);
        let estimate = self.rates.of(looks.0, looks.1).filter(|_| page.armed < ALL * self.evidence);
        let estimate = estimate.unwrap_or_else(|| {
            let look = if page.armed > 0.0 { (page.written / page.armed).min(1.0) } else { 0.0 };
            let variance = look * (1.0 - look) / (looks.0 + looks.1).max(1.0);
            Estimate { mean: self.brightness(look), look, variance }
        });
        let holds = self.persistence.of(page.hidden, estimate.mean);
        Expected {
            look: (estimate.look * holds).min(1.0),
            variance: estimate.variance * holds * holds,
            span: estimate.mean,
            holds: holds.min(1.0),
        }
    }

    /// Makes the table for the length that looks have now.
    fn follow_length(&mut self) {
        let length = self.length();
        if (length / self.shown_for - 1.0).abs() < 0.005 {
            return;
        }
        self.shown_for = length;
        let looks = SPAN.as_secs_f32() / length;
        for (step, shown) in self.shown.iter_mut().enumerate() {
            *shown = 1.0 - (1.0 - step as f32 / SHARES as f32).powf(looks);
        }
    }

    /// What is shown of a page that is found written in such a share of its looks.
    fn brightness(&self, share: f32) -> f32 {
        let step = share * SHARES as f32;
        let below = (step as usize).min(SHARES - 1);
        let (low, high) = (self.shown[below], self.shown[below + 1]);
        low + (high - low) * (step - below as f32)
    }

    /// What is shown of a page, and the variance of what exact watching would show.
    fn estimate(&self, page: Exposure) -> (f32, f32) {
        let share = (page.written / self.whole).min(1.0);
        let mean = self.brightness(share);
        let missed = page.missed / self.whole;
        if missed < 1e-3 {
            return (mean, 0.0);
        }
        // Each look that was missed would have found it written or not, and the chance of that is not known
        // for certain.
        let (look, weight) = (page.look, self.length() / self.whole);
        let variance = missed * (weight * look * (1.0 - look) + missed * page.variance);
        let step = 1.0 / SHARES as f32;
        let slope = (self.brightness((share + step).min(1.0)) - self.brightness((share - step).max(0.0)))
            / ((share + step).min(1.0) - (share - step).max(0.0));
        (mean, (slope * slope * variance).min(mean * (1.0 - mean)))
    }

    fn shown(&self, page: Exposure) -> f32 {
        self.brightness((page.written / self.whole).min(1.0))
    }

    /// Follows the pages from the line `before` to the line `after`, on which they have other places.
    pub fn relay(&mut self, before: &AddressLayout, after: &AddressLayout) {
        let moves = before.moves(after);
        (self.pages, self.touched) = (self.pages.moved(&moves), self.touched.moved(&moves));
        // They are said anew with each look; one that is missed counts as silent for its length.
        self.unseen.clear();
    }

    /// The density map at the curve's order, with what is not known of it.
    pub fn map(&self, layout: &AddressLayout, curve: &HilbertSkilling) -> ActivityMap {
        let pages = self.pages.iter().map(|(place, page)| (place, self.estimate(page)));
        activity_map::with_doubt(layout, curve, pages, self.unknown)
    }

    /// The density map alone.
    pub fn density(&self, layout: &AddressLayout, curve: &HilbertSkilling) -> DensityMap {
        let pages = self.pages.iter().map(|(place, page)| (place, self.shown(page)));
        activity_map::density(layout, curve, pages)
    }

    /// The same of a part of the line `whole`, whose pages lie on a line of their own.
    pub fn density_of(
        &self,
        whole: &AddressLayout,
        part: &AddressLayout,
        curve: &HilbertSkilling,
    ) -> DensityMap {
        let mut moves = whole.moves(part);
        moves.sort_unstable_by_key(|(_, to)| *to);
        let pages = moves.iter().flat_map(|(from, to)| {
            let moved = move |(place, page)| (to + (place - from.start), self.shown(page));
            self.pages.range(from.clone()).map(moved)
        });
        activity_map::density(part, curve, pages)
    }

    /// Whether every page was armed all the time that counts.
    pub fn is_exact(&self) -> bool {
        self.unknown == 0 && self.pages.is_exact()
    }

    /// What it takes in memory, bytes.
    pub fn weight(&self) -> usize {
        self.pages.weight() + self.touched.weight()
    }

    /// What it takes in memory for pages of this size that are written for the first time, bytes at most, on
    /// a line of so many stretches.
    pub fn weight_of_new(written: &[PageRange], page_size: u64, stretches: usize) -> usize {
        let word = Exposures::WEIGHT_OF_WORD + Marks::WEIGHT_OF_WORD;
        words_of_new(written, page_size, stretches).saturating_mul(word)
    }

    /// What it takes besides where not every page was seen in the look that found these written, with what is
    /// believed of them, bytes at most.
    pub fn weight_of_unseen(&self, written: &[PageRange], page_size: u64, stretches: usize) -> usize {
        // Each second page of a word may be believed to be written: a stretch each, on its way to telemetry.
        const BELIEVED: usize = WORD as usize / 2 * 3 * size_of::<PageRange>();
        let words = self.pages.words().saturating_add(words_of_new(written, page_size, stretches));
        words.saturating_mul(Exposures::WEIGHT_OF_UNSEEN + BELIEVED)
    }

    /// Pages of the line that were ever written.
    pub fn touched(&self) -> u64 {
        self.touched.count()
    }

    /// How much is written at these places of late: 1 for a page that is written in every [`SPAN`].
    pub fn heat(&self, places: Range<u64>) -> f32 {
        self.pages.range(places).map(|(_, page)| self.shown(page)).sum()
    }

    /// Pages that the last look could not see and that are more likely written than not in a [`SPAN`], by
    /// place.
    pub fn believed(&self) -> impl Iterator<Item = u64> + '_ {
        self.pages.unseen().filter(|(_, page)| self.brightness(page.look) > 0.5).map(|(place, _)| place)
    }

    /// How many of the pages that the last look could not see were written in it, as far as is to be
    /// expected.
    pub fn expected_unseen(&self) -> f64 {
        self.pages.unseen().map(|(_, page)| f64::from(page.look)).sum()
    }

    /// [`Self::heat`] of the line in steps of so many places: the numbers of those steps that have any, ascending, with it.
    pub fn heat_in_steps(&self, step: u64) -> Vec<(u64, f32)> {
        let mut heat: Vec<(u64, f32)> = Vec::new();
        for (place, page) in self.pages.iter() {
            let (at, more) = (place / step, self.shown(page));
            match heat.last_mut() {
                Some((last, sum)) if *last == at => *sum += more,
                _ => heat.push((at, more)),
            }
        }
        heat
    }
}

/// Words that these pages need at most.
fn words_of_new(written: &[PageRange], page_size: u64, stretches: usize) -> usize {
    // On a line, they lie as close together as by their addresses, but begin anywhere in a word: each run of
    // words, and each stretch, may reach into one more.
    let (mut words, mut last) = (stretches as u64, None);
    for range in written.iter().filter(|range| !range.is_empty()) {
        let (first, end) = (range.start / page_size / WORD, (range.end - 1) / page_size / WORD);
        let run = last.is_none_or(|last| first > last + 1);
        words += end - first + u64::from(last != Some(first)) + u64::from(run);
        last = Some(end);
    }
    usize::try_from(words).unwrap_or(usize::MAX)
}

/// A stretch in parts that are wholly in one of `others` (ascending, disjoint) or in none, and whether they
/// are.
fn parted(places: Range<u64>, others: &[Range<u64>]) -> Vec<(Range<u64>, bool)> {
    let (mut parts, mut from) = (Vec::new(), places.start);
    let first = others.partition_point(|other| other.end <= places.start);
    for other in others[first..].iter().take_while(|other| other.start < places.end) {
        if from < other.start {
            parts.push((from..other.start, false));
        }
        from = other.end.min(places.end);
        parts.push((other.start.max(places.start)..from, true));
    }
    if from < places.end {
        parts.push((from..places.end, false));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::HilbertCapability as _;
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
    fn a_page_that_nobody_could_see_was_not_silent_meanwhile() {
        let layout = line(64);
        let mut activity = PageActivity::new(HALF_LIFE);
        let look = Duration::from_micros(16_667);
        // All of them are written all the time; nobody looks for a second, and then at one of them at a time.
        for turn in 0..600u64 {
            let seen = turn.checked_sub(60).map(|turn| turn % 64);
            let written = seen.map(|page| pages(page, 1));
            let unseen = match seen {
                None => vec![pages(0, 64)],
                Some(page) => vec![pages(0, page), pages(page + 1, 63 - page)],
            };
            activity.look(&layout, written, unseen.into_iter().filter(|range| !range.is_empty()), look);
        }
        let coldest = (0..64).map(|page| activity.heat(page..page + 1)).fold(1.0, f32::min);
        assert!(coldest > 0.95, "{coldest}");
    }

    #[test]
    fn parts_of_a_stretch_are_all_of_it() {
        let others = [2..4, 4..6, 8..20];
        assert_eq!(parted(0..3, &others), [(0..2, false), (2..3, true)]);
        assert_eq!(parted(5..9, &others), [(5..6, true), (6..8, false), (8..9, true)]);
        assert_eq!(parted(20..22, &others), [(20..22, false)]);
        assert_eq!(parted(3..7, &others), [(3..4, true), (4..6, true), (6..7, false)]);
        assert_eq!(parted(1..9, &[]), [(1..9, false)]);
    }

    #[test]
    fn a_page_written_in_every_window_is_as_hot_as_can_be_from_the_first_window_on() {
        let (layout, curve) = (line(256), HilbertSkilling::new(4));
        let mut activity = PageActivity::new(HALF_LIFE);
        for _ in 0..20 {
            activity.window(&layout, [pages(16, 16)], WINDOW);
            let density = activity.map(&layout, &curve).density;
            for d in 0..256 {
                let (x, y) = curve.d2xy(d);
                let share = density[[y as usize, x as usize]];
                let expected = if (16..32).contains(&d) { 1.0 } else { 0.0 };
                assert!((share - expected).abs() < 1e-5, "cell {d}: {share}");
            }
        }
    }

    /// Writes at a rate, each page at its own, seen in looks of a length by a plan that arms one page in so
    /// many looks again.
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
        assert!(worst < 0.14, "{worst}");
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
        let density = activity.map(&layout, &curve).density;
        // Half of the windows, as far as they count; those of half the length say twice as much.
        assert!(density.iter().all(|share| (0.5..0.7).contains(share)), "{density}");
        for _ in 0..40 {
            activity.window(&layout, [], WINDOW);
        }
        assert!(activity.map(&layout, &curve).density.iter().all(|share| *share == 0.0));
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
            let density = activity.map(&layout, &curve).density;
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
        let density = activity.map(&after, &curve).density;
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
            let both = (activity.density_of(&whole, &part, &curve), alone.map(&part, &curve).density);
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
