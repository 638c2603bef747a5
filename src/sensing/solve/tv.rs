//! Least total variation along the curve, exactly.
//!
//! Between two samples that agree, anything but their value adds variation; between two that differ, any monotone step
//! has the least. The step is put half way: each page takes its nearest sample's state. One pass, no iterations.

use super::super::PageSet;
use super::{Cells, Field, Samples, Solver, SolverKind};

/// The exact minimiser of total variation along the line, and what is kept of the last solution.
#[derive(Debug, Clone, Default)]
pub struct Tv {
    filled: PageSet,
    /// Samples and believed pages together, where there are believed ones.
    known: PageSet,
    /// Pages that count by their probability, with it.
    part: Vec<(usize, f32)>,
}

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
        fill_line(seen, written, &mut self.filled);
        cells.shares(&self.filled, density);
    }

    /// As [`Self::fill`], when only the samples at `changed` differ from those of the last call: they came, went, or have
    /// another state. Refills the gaps beside them and no more.
    pub fn refill(
        &mut self,
        seen: &PageSet,
        written: &PageSet,
        changed: &[usize],
        cells: &Cells,
        density: &mut [f32],
    ) {
        debug_assert_eq!((self.filled.pages(), density.len()), (seen.pages(), cells.count()));
        let mut done = 0;
        for &place in changed {
            // Neighbouring changes often lie in one gap.
            if place < done {
                continue;
            }
            let left = sample_before(seen, place);
            let mut right = sample_from(seen, place + 1);
            if seen.contains(place) {
                self.refill_gap(written, left, Some(place), seen.pages());
                self.refill_gap(written, Some(place), right, seen.pages());
            } else {
                self.refill_gap(written, left, right, seen.pages());
            }
            let from = left.unwrap_or(0);
            done = if seen.contains(place) { place + 1 } else { *right.get_or_insert(seen.pages()) };
            let to = right.unwrap_or(seen.pages()).min(seen.pages());
            let (first, last) = (cells.cells_of(from).start, cells.cells_of(to.max(from + 1) - 1).end);
            for (d, share) in density.iter_mut().enumerate().take(last).skip(first) {
                let pages = cells.pages_of(d);
                let total = pages.len() as f32;
                *share = self.filled.count_in(pages) as f32 / total;
            }
        }
    }

    /// Fills the pages from one sample to the next, both included.
    fn refill_gap(&mut self, written: &PageSet, left: Option<usize>, right: Option<usize>, pages: usize) {
        let (from, to) = (left.unwrap_or(0), right.map_or(pages, |right| right + 1));
        let state = |sample: Option<usize>| sample.map(|place| written.contains(place));
        let (first, second) = match (state(left), state(right)) {
            (Some(a), Some(b)) => (a, b),
            (Some(a), None) => (a, a),
            (None, Some(b)) => (b, b),
            (None, None) => (false, false),
        };
        let middle = match (left, right) {
            (Some(left), Some(right)) => (left + right) / 2 + 1,
            _ => to,
        };
        set_range(&mut self.filled, from..middle, first);
        set_range(&mut self.filled, middle..to, second);
    }
}

fn set_range(set: &mut PageSet, places: std::ops::Range<usize>, state: bool) {
    if state {
        set.insert_range(places);
    } else {
        set.remove_range(places);
    }
}

/// The last sample before `place`.
fn sample_before(seen: &PageSet, place: usize) -> Option<usize> {
    let words = seen.words();
    let mut index = place / 64;
    let mut word = words.get(index).copied().unwrap_or(0) & ((1u64 << (place % 64)) - 1);
    loop {
        if word != 0 {
            return Some(index * 64 + 63 - word.leading_zeros() as usize);
        }
        index = index.checked_sub(1)?;
        word = words[index];
    }
}

/// The first sample at or after `place`.
fn sample_from(seen: &PageSet, place: usize) -> Option<usize> {
    let words = seen.words();
    let mut index = place / 64;
    let mut word = words.get(index)? & (u64::MAX << (place % 64));
    loop {
        if word != 0 {
            return Some(index * 64 + word.trailing_zeros() as usize);
        }
        index += 1;
        word = *words.get(index)?;
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
        field.iterations = 0;
        if samples.prior.is_none() {
            self.fill(samples.seen, samples.written, cells, &mut field.density);
        } else {
            self.known.clone_from(samples.seen);
            let mut written = samples.written.intersection(samples.seen);
            self.part.clear();
            for place in samples.seen.complement() {
                if let Some(probability) = samples.believed(place) {
                    self.known.insert(place);
                    if probability > 0.5 {
                        written.insert(place);
                    }
                    let counted = samples.counted(probability);
                    if counted != 0.0 && counted != 1.0 {
                        self.part.push((place, counted));
                    }
                }
            }
            fill_line(&self.known, &written, &mut self.filled);
            cells.shares(&self.filled, &mut field.density);
            for &(place, counted) in &self.part {
                let change = counted - f32::from(u8::from(self.filled.contains(place)));
                for d in cells.cells_of(place) {
                    field.density[d] =
                        (field.density[d] + change / cells.pages_of(d).len() as f32).clamp(0.0, 1.0);
                }
            }
        }
        // A filled page may be either; a believed one has its probability.
        field.variance.clear();
        field.variance.resize(cells.count(), 0.0);
        for place in samples.seen.complement() {
            let probability = samples.believed(place).unwrap_or(0.5);
            for d in cells.cells_of(place) {
                let pages = cells.pages_of(d).len() as f32;
                field.variance[d] += probability * (1.0 - probability) / (pages * pages);
            }
        }
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

        #[test]
        fn a_refill_is_a_fill(
            pages in 64usize..600, changes in prop::collection::btree_set(0usize..600, 0..25),
            before in prop::collection::vec(0u8..12, 600), after in prop::collection::vec(0u8..12, 600),
        ) {
            // 0: seen silent, 1 and 2: seen written, more: not seen.
            let sets = |states: &dyn Fn(usize) -> u8| {
                let seen = PageSet::of(pages, (0..pages).filter(|place| states(*place) < 3));
                let written = PageSet::of(pages, (0..pages).filter(|place| matches!(states(*place), 1 | 2)));
                (seen, written)
            };
            let changed: Vec<usize> = changes.into_iter().filter(|place| *place < pages).collect();
            let (seen, written) = sets(&|place| before[place]);
            let cells = Cells::new(pages, 64);
            let (mut tv, mut density) = (Tv::new(), Vec::new());
            tv.fill(&seen, &written, &cells, &mut density);
            let (seen, written) = sets(&|place| if changed.contains(&place) { after[place] } else { before[place] });
            tv.refill(&seen, &written, &changed, &cells, &mut density);
            let (mut whole, mut expected) = (Tv::new(), Vec::new());
            whole.fill(&seen, &written, &cells, &mut expected);
            prop_assert_eq!(tv.filled(), whole.filled());
            prop_assert_eq!(density, expected);
        }
    }
}
