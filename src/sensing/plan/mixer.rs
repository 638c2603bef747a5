//! What is believed of a page that was not seen: several answers, each from counts in one kind of situation, mixed.
//!
//! Every table says how often pages in a page's situation were written: by its own past, by the nearest samples to
//! either side on the line, by the share of written ones among the samples around it, by how often it was written in the
//! long run. None is best everywhere, and no table of all of it together would ever fill. So their log-odds are added
//! with weights, which are learned from the samples by gradient descent on the coding cost, for old and fresh pages
//! apart (logistic mixing of contexts: Mahoney, "Adaptive weighing of context models for lossless data compression",
//! 2005). Samples of the window itself teach before anything is read, so that a change of the program's ways is followed
//! at once; each is foretold before it is counted, so that the weights are not learned from answers that know it.

use super::belief::{BELIEFS, Neighbour, Situation, belief_class};

/// The tables.
const TABLES: usize = 6;
/// Classes of distance to the nearer sample, in pages.
const DISTANCES: usize = 6;
/// Classes of a share: eight, and unknown.
const SHARES: usize = 9;
/// Sizes of the tables.
const SIZES: [usize; TABLES] = [
    super::belief::SITUATIONS,
    BELIEFS * 9 * DISTANCES,
    BELIEFS * SHARES,
    16 * SHARES,
    9 * DISTANCES * SHARES,
    SHARES * SHARES * 2,
];
/// A table keeps this share of its counts from window to window, in cells with more counts than [`ENOUGH`].
const KEEP: f32 = 0.5;
const ENOUGH: f32 = 20.0;
/// Every cell begins with this much of each state, so that no answer is certain.
const LEAST: f32 = 0.02;
/// Weights at the start, and how far a sample moves them.
const WEIGHT: f32 = 0.25;
const STEP: f32 = 0.02;
/// Log-odds beyond which a table moves no weight further.
const SURE: f32 = 6.0;
/// Rounds in which a window's samples are taken, the line through in each: what is learned in one serves the next.
const ROUNDS: usize = 8;
/// Samples of a window that are learned from; more say no more.
const SAMPLES: usize = 32_768;

/// A page's cell in each table.
pub(super) type Contexts = [u16; TABLES];

/// What is known of an unseen page's surroundings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings {
    /// Its own situation before the window, and how likely that makes it.
    pub(super) situation: Situation,
    pub(super) class: usize,
    /// Its last four states, newest lowest.
    pub(super) states: u8,
    /// The nearest samples of its kind.
    pub(super) left: Option<Neighbour>,
    pub(super) right: Option<Neighbour>,
    /// The share of written ones among the dozen or so samples of its kind around it, and among all samples near it.
    pub(super) of_kind: Option<f32>,
    pub(super) of_all: Option<f32>,
    /// How often it was written in the long run.
    pub(super) rate: f32,
}

/// The class of a share that may be unknown.
fn share(share: Option<f32>) -> usize {
    const LIMITS: [f32; 7] = [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98];
    share.map_or(SHARES - 1, |share| LIMITS.iter().position(|limit| share < *limit).unwrap_or(LIMITS.len()))
}

impl Surroundings {
    pub(super) fn contexts(&self) -> Contexts {
        let distance = |side: Option<Neighbour>| side.map_or(u32::MAX, |sample| sample.distance);
        let (near, far) = if distance(self.left) <= distance(self.right) {
            (self.left, self.right)
        } else {
            (self.right, self.left)
        };
        let state = |side: Option<Neighbour>| side.map_or(2, |sample| usize::from(sample.written));
        let step = match distance(near) {
            0..=1 => 0,
            2..=3 => 1,
            4..=7 => 2,
            8..=31 => 3,
            32..=127 => 4,
            _ => 5,
        };
        let beside = (state(near) * 3 + state(far)) * DISTANCES + step;
        let (of_kind, of_all) = (share(self.of_kind), share(self.of_all));
        let states = usize::from(self.states & 15);
        [
            usize::from(self.situation),
            self.class * 9 * DISTANCES + beside,
            self.class * SHARES + of_kind,
            states * SHARES + of_all,
            beside * SHARES + of_kind,
            (share(Some(self.rate)) * SHARES + of_all) * 2 + (states & 1),
        ]
        .map(|cell| cell as u16)
    }
}

/// Silent and written pages counted in each situation, and the log-odds that follow.
#[derive(Debug, Clone)]
struct Table {
    counts: Vec<[f32; 2]>,
    log_odds: Vec<f32>,
}

impl Table {
    /// What is supposed before anything is known: by cell, a probability and the samples that it counts for.
    fn supposing(size: usize, supposed: impl Fn(usize) -> (f32, f32)) -> Self {
        let counts = (0..size).map(|cell| {
            let (probability, weight) = supposed(cell);
            [weight * (1.0 - probability) + LEAST, weight * probability + LEAST]
        });
        let mut table = Self { counts: counts.collect(), log_odds: vec![0.0; size] };
        table.refresh();
        table
    }

    fn refresh(&mut self) {
        for (log_odds, [silent, written]) in self.log_odds.iter_mut().zip(&self.counts) {
            *log_odds = (written / silent).ln();
        }
    }

    fn fade(&mut self) {
        for counts in self.counts.iter_mut().filter(|counts| counts[0] + counts[1] > ENOUGH) {
            *counts = counts.map(|count| (count * KEEP).max(LEAST));
        }
    }
}

/// The tables and their weights.
#[derive(Debug, Clone)]
pub(super) struct Mixer {
    tables: [Table; TABLES],
    /// By the page's kind and age; the last one of each is added as it is.
    weights: [[f32; TABLES + 1]; 8],
}

/// A sample to learn from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lesson {
    pub(super) contexts: Contexts,
    /// [`weight_set`] of the page.
    pub(super) set: u8,
    pub(super) written: bool,
    /// How the mix would have foretold it: set by [`Mixer::learn`].
    pub(super) foretold: bool,
}

/// Which weights a page has: by its last state and its age class.
pub(super) fn weight_set(states: u8, age_class: usize) -> u8 {
    (states & 1) * 4 + age_class as u8
}

/// The kind of a page for which the map goes by `belief`, or by the samples beside it: errors are about as frequent on all of a kind.
pub(super) fn stratum(contexts: &Contexts, belief: Option<f32>) -> u8 {
    /// Classes of belief, before those of samples.
    const CLASSES: usize = 16;
    match belief {
        Some(probability) => {
            ((probability / (1.0 - probability)).ln() + 8.0).clamp(0.0, CLASSES as f32 - 1.0) as u8
        }
        None => (CLASSES + usize::from(contexts[4]) / SHARES) as u8,
    }
}

impl Mixer {
    pub(super) fn new() -> Self {
        // Before anything is learned, the nearest sample is the best guess, and the farther one tells a little.
        let beside = |cell: usize, own: (f32, f32)| {
            let (near, far) = (cell / (DISTANCES * 3) % 3, cell / DISTANCES % 3);
            let [mut silent, mut written] = [own.1 * (1.0 - own.0), own.1 * own.0];
            for (state, weight) in [(near, 1.0), (far, 0.3)] {
                match state {
                    0 => silent += weight,
                    1 => written += weight,
                    _ => {}
                }
            }
            (written / (silent + written), silent + written)
        };
        let belief = |class: usize| 1.0 / (1.0 + (7.0 - class as f32).exp());
        let middle = |class: usize| [0.01, 0.05, 0.15, 0.35, 0.65, 0.8, 0.95, 0.99, 0.3][class];
        let [own, neighbours, kind_by_class, states, line, rate] = SIZES;
        Self {
            tables: [
                Table::supposing(own, |cell| (super::belief::supposed(cell), 2.0)),
                Table::supposing(neighbours, |cell| beside(cell, (belief(cell / (DISTANCES * 9)), 0.5))),
                Table::supposing(kind_by_class, |cell| (middle(cell % SHARES), 1.0)),
                Table::supposing(states, |cell| (middle(cell % SHARES), 1.0)),
                Table::supposing(line, |cell| beside(cell / SHARES, (0.5, 0.6))),
                Table::supposing(rate, |cell| (middle(cell / 2 % SHARES), 1.0)),
            ],
            weights: [std::array::from_fn(|table| if table < TABLES { WEIGHT } else { 0.0 }); 8],
        }
    }

    fn log_odds(&self, contexts: &Contexts, set: u8) -> f32 {
        let weights = &self.weights[usize::from(set)];
        let answers = self.tables.iter().zip(contexts).zip(weights);
        weights[TABLES]
            + answers.map(|((table, cell), weight)| weight * table.log_odds[usize::from(*cell)]).sum::<f32>()
    }

    /// How likely a page was written, 0..1.
    pub(super) fn probability(&self, contexts: &Contexts, set: u8) -> f32 {
        1.0 / (1.0 + (-self.log_odds(contexts, set)).exp())
    }

    /// Class of the belief that a page's own past alone supports.
    pub(super) fn class_before(&self, situation: Situation) -> usize {
        let odds = f64::from(self.tables[0].log_odds[usize::from(situation)]).exp();
        belief_class((odds / (1.0 + odds)).clamp(1e-4, 1.0 - 1e-4))
    }

    /// Takes a window's samples, and notes in each how it was foretold.
    pub(super) fn learn(&mut self, lessons: &mut [Lesson]) {
        self.tables.iter_mut().for_each(Table::fade);
        let step = ROUNDS * lessons.len().div_ceil(SAMPLES).max(1);
        for round in 0..step {
            for lesson in lessons.iter_mut().skip(round).step_by(step) {
                let probability = self.probability(&lesson.contexts, lesson.set);
                lesson.foretold = probability > 0.5;
                if round >= ROUNDS {
                    continue;
                }
                let pull = STEP * (f32::from(u8::from(lesson.written)) - probability);
                let weights = &mut self.weights[usize::from(lesson.set)];
                for ((weight, table), cell) in weights.iter_mut().zip(&mut self.tables).zip(&lesson.contexts)
                {
                    let cell = usize::from(*cell);
                    *weight += pull * table.log_odds[cell].clamp(-SURE, SURE);
                    table.counts[cell][usize::from(lesson.written)] += 1.0;
                }
                weights[TABLES] += pull;
            }
            if round < ROUNDS {
                self.tables.iter_mut().for_each(Table::refresh);
            }
        }
    }

    /// Counts a sample that had to test the map, once it has.
    pub(super) fn count(&mut self, contexts: &Contexts, written: bool) {
        for (table, cell) in self.tables.iter_mut().zip(contexts) {
            table.counts[usize::from(*cell)][usize::from(written)] += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(class: usize, near: bool, far: bool) -> Surroundings {
        let sample = |written, distance| Some(Neighbour { written, distance });
        Surroundings {
            situation: super::super::belief::Belief::situation(0, 0, 3),
            class,
            states: 0,
            left: sample(near, 2),
            right: sample(far, 9),
            of_kind: None,
            of_all: None,
            rate: 0.3,
        }
    }

    #[test]
    fn the_sides_of_a_page_are_alike() {
        for (near, far) in [(true, false), (false, true), (true, true), (false, false)] {
            let one = page(7, near, far);
            let other = Surroundings { left: one.right, right: one.left, ..one };
            assert_eq!(one.contexts(), other.contexts());
        }
    }

    #[test]
    fn what_tells_is_learned_and_what_does_not_loses_its_say() {
        // Pages are written as their farther neighbour is, whatever the nearer one; then it changes about.
        let mut mixer = Mixer::new();
        for (windows, by_far) in [(12, true), (12, false)] {
            for _ in 0..windows {
                let mut lessons: Vec<Lesson> = (0..400)
                    .map(|index| {
                        let (near, far) = (index % 2 == 0, index % 3 == 0);
                        let written = if by_far { far } else { near };
                        Lesson { contexts: page(7, near, far).contexts(), set: 0, written, foretold: false }
                    })
                    .collect();
                mixer.learn(&mut lessons);
            }
            for (near, far) in [(true, false), (false, true), (true, true), (false, false)] {
                let probability = mixer.probability(&page(7, near, far).contexts(), 0);
                assert_eq!(
                    probability > 0.5,
                    if by_far { far } else { near },
                    "{near} {far} {by_far}: {probability}"
                );
                assert!((probability - 0.5).abs() > 0.4, "{probability}");
            }
        }
    }
}
