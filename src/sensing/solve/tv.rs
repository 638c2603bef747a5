//! Least total variation along the curve, exactly.
//!
//! Between two samples that agree, anything but their value adds variation; between two that differ, any monotone step
//! has the least. The step is put half way: each page takes its nearest sample's state. One pass, no iterations.

use std::ops::Range;

use super::super::PageSet;
use super::chain::Chain;
use super::refill::refill;
use super::{Cells, Field, SampleChanges, Samples, Solver, SolverKind};

/// The exact minimiser of total variation along the line, and what is kept of the last solution.
#[derive(Debug, Clone, Default)]
pub struct Tv {
    filled: PageSet,
    /// What the last [`Solver::solve`] went by, of which cells, and their shares of `filled`.
    known: PageSet,
    written: PageSet,
    cells: Option<Cells>,
    shares: Vec<f32>,
    /// Pages that count by their probability, with it.
    part: Vec<(usize, f32)>,
    /// Kept only for their memory.
    changes: SampleChanges,
    touched: Vec<Range<usize>>,
}

/// With more changes than one in so many cells, a whole fill is quicker.
const FEW: usize = 16;

impl Tv {
    /// Nothing solved yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The pages that the last solution has as written.
    pub fn filled(&self) -> &PageSet {
        &self.filled
    }

    /// The densities alone, from samples without a belief: the quickest way.
    pub fn fill(&mut self, seen: &PageSet, written: &PageSet, cells: &Cells, density: &mut Vec<f32>) {
        self.part.clear();
        // `known` and `written` are of another solution.
        self.cells = None;
        fill_line(seen, written, &mut self.filled);
        cells.shares(&self.filled, density);
    }

    /// As [`Self::fill`], when only the samples of `changes` differ from those of the last call: refills the gaps beside them and
    /// no more. `touched` gets the cells over these, for each change, the new samples first.
    ///
    /// # Panics
    /// When the last call was for another line or other cells.
    pub fn refill(
        &mut self,
        seen: &PageSet,
        written: &PageSet,
        changes: &SampleChanges,
        cells: &Cells,
        density: &mut [f32],
        touched: &mut Vec<Range<usize>>,
    ) {
        self.cells = None;
        refill((seen, written), changes, cells, &mut self.filled, density, touched);
    }

    /// Brings `filled` and `shares` to the pages that are `known`, samples or believed, and the `written` ones among them: from
    /// the last solution where little has changed.
    fn follow(&mut self, known: PageSet, written: PageSet, cells: &Cells) {
        let warm = self.cells == Some(*cells)
            && self.known.differing(&known) + self.written.differing(&written) <= cells.count() / FEW;
        if warm {
            self.changes.find((&self.known, &self.written), (&known, &written));
            let samples = (&known, &written);
            refill(samples, &self.changes, cells, &mut self.filled, &mut self.shares, &mut self.touched);
        } else {
            fill_line(&known, &written, &mut self.filled);
            cells.shares(&self.filled, &mut self.shares);
        }
        (self.known, self.written, self.cells) = (known, written, Some(*cells));
    }

    /// The variance of each cell's share: a believed page has its probability, a filled one what the samples beside it leave open.
    fn doubt(&self, samples: &Samples<'_>, cells: &Cells, variance: &mut Vec<f32>) {
        variance.clear();
        variance.resize(cells.count(), 0.0);
        let chain = Chain::of(samples);
        let sample = |place: usize| (self.written.contains(place), place);
        // The samples beside the gap that is gone through, and its end.
        let (mut left, mut right, mut end) = (None, None, 0);
        for place in samples.seen.complement() {
            let probability = samples.believed(place).unwrap_or_else(|| {
                if place >= end {
                    left = place.checked_sub(1).map(sample);
                    right = self.known.next(place).map(sample);
                    end = right.map_or(self.known.pages(), |(_, at)| at);
                }
                let left = left.map(|(state, at)| (state, place - at));
                chain.between(left, right.map(|(state, at)| (state, at - place))) as f32
            });
            for d in cells.cells_of(place) {
                variance[d] += probability * (1.0 - probability);
            }
        }
        for (pages, variance) in cells.iter().zip(variance) {
            *variance = (*variance / (pages.len() * pages.len()) as f32).clamp(0.0, 0.25);
        }
    }
}

/// The pages whose nearest sample was written (the one to the left when both are as near).
fn fill_line(seen: &PageSet, written: &PageSet, filled: &mut PageSet) {
    filled.reset(seen.pages());
    // A written stretch is open from `began` while samples say so; `last` is the sample before the one looked at.
    let (mut began, mut last): (Option<usize>, Option<usize>) = (None, None);
    for (index, (&looked, &hit)) in seen.words().iter().zip(written.words()).enumerate() {
        if looked == 0 {
            continue;
        }
        let lowest = index * 64 + looked.trailing_zeros() as usize;
        let highest = index * 64 + 63 - looked.leading_zeros() as usize;
        let hit = hit & looked;
        // Most words are wholly silent or wholly written: only a change of state is worth a look at single samples.
        if (hit == 0 && began.is_none()) || (hit == looked && (began.is_some())) {
            last = Some(highest);
            continue;
        }
        if hit == 0
            && let (Some(from), Some(before)) = (began, last)
        {
            filled.insert_range(from..usize::midpoint(before, lowest) + 1);
            began = None;
            last = Some(highest);
            continue;
        }
        let mut left = looked;
        while left != 0 {
            let place = index * 64 + left.trailing_zeros() as usize;
            let is_hit = hit & (left & left.wrapping_neg()) != 0;
            left &= left - 1;
            match (began, is_hit) {
                (None, true) => began = Some(last.map_or(0, |last| usize::midpoint(last, place) + 1)),
                (Some(from), false) => {
                    let before = last.unwrap_or(from);
                    filled.insert_range(from..usize::midpoint(before, place) + 1);
                    began = None;
                }
                _ => {}
            }
            last = Some(place);
        }
    }
    if let Some(from) = began {
        filled.insert_range(from..seen.pages());
    }
}

impl Solver for Tv {
    fn kind(&self) -> SolverKind {
        SolverKind::Tv
    }

    fn solve(&mut self, samples: &Samples<'_>, cells: &Cells, field: &mut Field) {
        let (mut known, mut written) = (samples.seen.clone(), samples.written.intersection(samples.seen));
        self.part.clear();
        if samples.prior.is_some() {
            for place in samples.seen.complement() {
                let Some(probability) = samples.believed(place) else { continue };
                known.insert(place);
                if probability > 0.5 {
                    written.insert(place);
                }
                let counted = samples.counted(probability);
                if counted != 0.0 && counted != 1.0 {
                    self.part.push((place, counted));
                }
            }
        }
        self.follow(known, written, cells);
        field.iterations = 0;
        field.density.clone_from(&self.shares);
        for &(place, counted) in &self.part {
            let change = counted - f32::from(u8::from(self.filled.contains(place)));
            for d in cells.cells_of(place) {
                field.density[d] =
                    (field.density[d] + change / cells.pages_of(d).len() as f32).clamp(0.0, 1.0);
            }
        }
        self.doubt(samples, cells, &mut field.variance);
    }

    fn page(&self, place: usize) -> Option<f32> {
        match self.part.binary_search_by_key(&place, |(place, _)| *place) {
            Ok(index) => Some(self.part[index].1),
            Err(_) => Some(f32::from(u8::from(self.filled.contains(place)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variation(line: &[bool]) -> usize {
        line.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    #[test]
    fn between_samples_that_agree_there_is_little_doubt_and_at_an_edge_there_is_much() {
        let pages = 4096;
        let seen = PageSet::of(pages, (0..pages).filter(|place| place % 4 == 0));
        let written = PageSet::of(pages, seen.iter().filter(|place| place / 512 % 2 == 1));
        let nothing = vec![f32::NAN; pages];
        let mut field = Field::default();
        for prior in [None, Some(nothing.as_slice())] {
            let samples = Samples { prior, ..Samples::alone(&seen, &written) };
            Tv::new().solve(&samples, &Cells::new(pages, pages), &mut field);
            let sure: Vec<f32> = field.confidence().collect();
            assert!(seen.iter().all(|place| sure[place] == 1.0));
            assert!((256..260).all(|place| sure[place] > 0.9), "{:?}", &sure[256..260]);
            assert!(sure[510] < 0.2, "{}", sure[510]);
        }
    }

    proptest! {
        #[test]
        fn no_other_fill_varies_less(states in prop::collection::vec(prop::option::of(any::<bool>()), 1..13)) {
            let pages = states.len();
            let seen = PageSet::of(pages, (0..pages).filter(|place| states[*place].is_some()));
            let written = PageSet::of(pages, (0..pages).filter(|place| states[*place] == Some(true)));
            let mut tv = Tv::new();
            tv.fill(&seen, &written, &Cells::new(pages, 1), &mut Vec::new());
            let own: Vec<bool> = (0..pages).map(|place| tv.filled().contains(place)).collect();
            let least = (0u32..1 << pages)
                .map(|bits| (0..pages).map(|place| bits >> place & 1 != 0).collect::<Vec<bool>>())
                .filter(|line| states.iter().zip(line).all(|(state, value)| state.is_none_or(|state| state == *value)))
                .map(|line| variation(&line))
                .min();
            prop_assert_eq!(Some(variation(&own)), least);
            prop_assert!(states.iter().zip(&own).all(|(state, value)| state.is_none_or(|state| state == *value)));
        }

        #[test]
        fn every_page_has_its_nearest_samples_state(
            pages in 1usize..500, rate in 1usize..40, seed in any::<u32>(), run in 1usize..90,
        ) {
            let chosen = |place: usize| (place.wrapping_mul(2_654_435_761) ^ seed as usize) >> 7;
            let seen = PageSet::of(pages, (0..pages).filter(|place| chosen(*place) % rate == 0));
            let written = PageSet::of(pages, seen.iter().filter(|place| (place / run) % 2 == 0));
            let mut tv = Tv::new();
            tv.fill(&seen, &written, &Cells::new(pages, 4), &mut Vec::new());
            for place in 0..pages {
                let nearest = seen.iter().min_by_key(|sample| (sample.abs_diff(place), *sample));
                let expected = nearest.is_some_and(|sample| written.contains(sample));
                prop_assert_eq!(tv.filled().contains(place), expected, "page {}", place);
            }
        }
    }
}
