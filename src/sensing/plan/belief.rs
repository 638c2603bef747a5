//! What is believed of a page that is not armed: learned from armed pages that were in the same situation.
//!
//! Two tables of counts, both with a short memory so that they follow the program:
//! - **before** the window, by the page's own last four states (seen or believed), how long ago it was last seen, and how
//!   busy its block is: the survival of activity by age and streak;
//! - **after** it, by that first belief, by the states of the nearest samples to the left and right on the line that were
//!   in the same state before, and by the distance to the nearer one. Samples of the window itself are counted before
//!   anything is read, so that a change of the program's ways is followed at once.

/// Age classes: seen last window, the one before, up to four before that, longer.
const AGES: usize = 4;
/// Classes of a block's share of written pages.
const SHARES: usize = 6;
/// Classes of belief, in steps of one logit around evens.
pub(super) const BELIEFS: usize = 15;
/// Classes of distance, in pages.
const DISTANCES: usize = 6;
/// A table keeps this share of its counts from window to window...
const KEEP: f32 = 0.5;
/// ...in cells with more counts than this.
const ENOUGH: f32 = 20.0;
/// Evidence (samples) behind an answer below which it is none.
const LEAST_EVIDENCE: f32 = 3.0;
/// Share that the long memory keeps.
const LONG_KEEP: f32 = 0.97;

/// Counts of silent and written pages in a situation; the first values are what is supposed before anything is known.
#[derive(Debug, Clone, Copy)]
struct Counts {
    silent: f32,
    written: f32,
}

impl Counts {
    fn supposed(weight: f32, probability: f32) -> Self {
        Self { silent: weight * (1.0 - probability), written: weight * probability }
    }

    fn add(&mut self, written: bool) {
        *(if written { &mut self.written } else { &mut self.silent }) += 1.0;
    }

    fn total(&self) -> f32 {
        self.silent + self.written
    }

    fn probability(&self) -> f32 {
        self.written / self.total()
    }

    fn fade(&mut self, keep: f32) {
        self.silent *= keep;
        self.written *= keep;
    }
}

/// Belief class of a probability.
pub(super) fn belief_class(probability: f64) -> usize {
    let logit = (probability / (1.0 - probability)).ln();
    (logit + 7.5).clamp(0.0, BELIEFS as f64 - 1.0) as usize
}

/// The probability in the middle of a belief class.
fn class_probability(class: usize) -> f32 {
    1.0 / (1.0 + (7.0 - class as f32).exp())
}

fn age_class(age: u8) -> usize {
    match age {
        0 => 0,
        1 => 1,
        2..=4 => 2,
        _ => 3,
    }
}

/// Class of a block's share of written pages, 0..1.
pub(super) fn share_class(share: f64) -> usize {
    [0.003, 0.02, 0.1, 0.3, 0.7].iter().position(|limit| share < *limit).unwrap_or(SHARES - 1)
}

/// A sample beside a page: whether it was written, and how many pages away it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) written: bool,
    pub(super) distance: u32,
}

/// The situation of a page before the window; an index into the first table.
pub(super) type Situation = u16;

/// The situation of a page after the window; an index into the second.
pub(super) type Surroundings = u16;

/// Both tables.
#[derive(Debug, Clone)]
pub(super) struct Belief {
    survival: Vec<Counts>,
    /// The same with a long memory, which has bursts in it that the short one forgets.
    long_run: Vec<Counts>,
    fill: Vec<Counts>,
    /// Samples behind each cell of `fill`, without what was supposed.
    evidence: Vec<f32>,
}

impl Belief {
    pub(super) fn new() -> Self {
        const SHARE_SUPPOSED: [f32; SHARES] = [0.002, 0.01, 0.05, 0.2, 0.5, 0.85];
        let survival: Vec<Counts> = (0..16 * AGES * SHARES)
            .map(|cell| Counts::supposed(4.0, SHARE_SUPPOSED[cell % SHARES]))
            .collect();
        let fill: Vec<Counts> = (0..BELIEFS * 9 * DISTANCES)
            .map(|cell| {
                let (near, far) = (cell / (DISTANCES * 3) % 3, cell / DISTANCES % 3);
                let mut counts = Counts::supposed(0.5, class_probability(cell / (DISTANCES * 9)));
                // Before anything is learned, the nearest sample is the best guess.
                for (state, weight) in [(near, 1.0), (far, 0.3)] {
                    match state {
                        0 => counts.silent += weight,
                        1 => counts.written += weight,
                        _ => {}
                    }
                }
                counts
            })
            .collect();
        Self { long_run: survival.clone(), survival, evidence: vec![0.0; fill.len()], fill }
    }

    /// Lets what was learned fade, once a window.
    pub(super) fn fade(&mut self) {
        for counts in self.survival.iter_mut().filter(|counts| counts.total() > ENOUGH) {
            counts.fade(KEEP);
        }
        for (counts, evidence) in
            self.fill.iter_mut().zip(&mut self.evidence).filter(|(counts, _)| counts.total() > ENOUGH)
        {
            counts.fade(KEEP);
            *evidence *= KEEP;
        }
        for counts in &mut self.long_run {
            counts.fade(LONG_KEEP);
        }
    }

    /// The situation of a page whose last four states are the low bits of `states` (newest lowest).
    pub(super) fn situation(states: u8, age: u8, share_class: usize) -> Situation {
        ((usize::from(states & 15) * AGES + age_class(age)) * SHARES + share_class) as Situation
    }

    /// How likely a page in this situation is written, 0..1: of late, and in the long run (at least that).
    pub(super) fn before(&self, situation: Situation) -> (f64, f64) {
        let situation = usize::from(situation);
        let late = f64::from(self.survival[situation].probability()).clamp(1e-4, 1.0 - 1e-4);
        let long = f64::from(self.long_run[situation].probability());
        (late, late.max(long))
    }

    /// The surroundings of a page of belief class `class`.
    pub(super) fn surroundings(
        class: usize,
        left: Option<Neighbour>,
        right: Option<Neighbour>,
    ) -> Surroundings {
        let distance = |side: Option<Neighbour>| side.map_or(u32::MAX, |sample| sample.distance);
        let (near, far) = if distance(left) <= distance(right) { (left, right) } else { (right, left) };
        let state = |side: Option<Neighbour>| side.map_or(2, |sample| usize::from(sample.written));
        let step = match distance(near) {
            0..=1 => 0,
            2..=3 => 1,
            4..=7 => 2,
            8..=31 => 3,
            32..=127 => 4,
            _ => 5,
        };
        (((class * 3 + state(near)) * 3 + state(far)) * DISTANCES + step) as Surroundings
    }

    /// How likely a page in these surroundings was written, and whether enough samples stand behind it.
    pub(super) fn after(&self, surroundings: Surroundings) -> (f32, bool) {
        let cell = usize::from(surroundings);
        (self.fill[cell].probability(), self.evidence[cell] >= LEAST_EVIDENCE)
    }

    /// A sample, for the first table.
    pub(super) fn learn_survival(&mut self, situation: Situation, written: bool) {
        self.survival[usize::from(situation)].add(written);
        self.long_run[usize::from(situation)].add(written);
    }

    /// A sample, for the second.
    pub(super) fn learn_fill(&mut self, surroundings: Surroundings, written: bool) {
        self.fill[usize::from(surroundings)].add(written);
        self.evidence[usize::from(surroundings)] += 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_anything_is_learned_the_nearest_sample_decides() {
        let belief = Belief::new();
        for class in 3..12 {
            for (near, far) in [(true, false), (false, true), (true, true), (false, false)] {
                let sample = |written, distance| Some(Neighbour { written, distance });
                let cell = Belief::surroundings(class, sample(near, 2), sample(far, 9));
                assert_eq!(cell, Belief::surroundings(class, sample(far, 9), sample(near, 2)));
                let (probability, known) = belief.after(cell);
                assert_eq!(probability > 0.5, near, "class {class}: {probability}");
                assert!(!known);
            }
        }
    }

    #[test]
    fn survival_by_streak_is_learned_and_forgotten() {
        let mut belief = Belief::new();
        let (once, often) = (Belief::situation(0b0001, 0, 2), Belief::situation(0b1111, 0, 2));
        for window in 0..10 {
            belief.fade();
            for page in 0..100 {
                belief.learn_survival(once, page % 10 == 0);
                belief.learn_survival(often, page % 10 != 0);
            }
            if window > 2 {
                assert!(belief.before(once).0 < 0.15 && belief.before(often).0 > 0.85);
            }
        }
        for _ in 0..5 {
            belief.fade();
            (0..100).for_each(|_| belief.learn_survival(often, false));
        }
        let (late, long) = belief.before(often);
        assert!(late < 0.05 && long > 0.3, "{late}, {long}: the long run remembers");
    }
}
