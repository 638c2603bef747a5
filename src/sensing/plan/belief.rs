//! What is believed of a page before a window: learned from armed pages that were in the same situation.
//!
//! A situation is the page's own last four states (seen or believed), how long ago it was last seen, and how busy its
//! block is: the survival of activity by age and streak. It is counted twice, with a short memory that follows the
//! program, and with a long one that has bursts in it which the short one forgets.

/// Age classes: seen last window, the one before, up to four before that, longer.
const AGES: usize = 4;
/// Classes of a block's share of written pages.
const SHARES: usize = 6;
/// Classes of belief, in steps of one logit around evens.
pub(super) const BELIEFS: usize = 15;
/// Situations.
pub(super) const SITUATIONS: usize = 16 * AGES * SHARES;
/// A table keeps this share of its counts from window to window...
const KEEP: f32 = 0.5;
/// ...in cells with more counts than this.
const ENOUGH: f32 = 20.0;
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

/// The class of a page that was last seen `age` windows ago.
pub(super) fn age_class(age: u8) -> usize {
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

/// How likely a page in that situation is supposed to be written before anything is known.
pub(super) fn supposed(situation: usize) -> f32 {
    const BY_SHARE: [f32; SHARES] = [0.002, 0.01, 0.05, 0.2, 0.5, 0.85];
    BY_SHARE[situation % SHARES]
}

/// What was counted in each situation.
#[derive(Debug, Clone)]
pub(super) struct Belief {
    survival: Vec<Counts>,
    long_run: Vec<Counts>,
}

impl Belief {
    pub(super) fn new() -> Self {
        let survival: Vec<Counts> =
            (0..SITUATIONS).map(|cell| Counts::supposed(4.0, supposed(cell))).collect();
        Self { long_run: survival.clone(), survival }
    }

    /// Lets what was learned fade, once a window.
    pub(super) fn fade(&mut self) {
        for counts in self.survival.iter_mut().filter(|counts| counts.total() > ENOUGH) {
            counts.fade(KEEP);
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

    /// Takes a sample.
    pub(super) fn learn(&mut self, situation: Situation, written: bool) {
        self.survival[usize::from(situation)].add(written);
        self.long_run[usize::from(situation)].add(written);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survival_by_streak_is_learned_and_forgotten() {
        let mut belief = Belief::new();
        let (once, often) = (Belief::situation(0b0001, 0, 2), Belief::situation(0b1111, 0, 2));
        for window in 0..10 {
            belief.fade();
            for page in 0..100 {
                belief.learn(once, page % 10 == 0);
                belief.learn(often, page % 10 != 0);
            }
            if window > 2 {
                assert!(belief.before(once).0 < 0.15 && belief.before(often).0 > 0.85);
            }
        }
        for _ in 0..5 {
            belief.fade();
            (0..100).for_each(|_| belief.learn(often, false));
        }
        let (late, long) = belief.before(often);
        assert!(late < 0.05 && long > 0.3, "{late}, {long}: the long run remembers");
    }
}
