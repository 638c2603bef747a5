//! Whether a page that was written goes on to be, while nobody looks.
//!
//! A page that is not armed is shown as what is known of it, which gets older. Programs differ in how long
//! that holds: a hash table is written as it was an hour ago, an allocator goes on to the next page. So it is
//! kept, by the time for which pages were not armed and by what was said of them, how many were then written
//! within a span after they were armed again: what is said is multiplied by how often it came true.

use super::exposure::Return;

/// Steps of time, each twice as long as the one before, from this one on, seconds.
const TIMES: usize = 9;
const FIRST: f32 = 0.025;
/// Steps of what was said.
const CHANCES: usize = 3;
/// Pages that it takes to outweigh the assumption that what was said is true.
const PRIOR: f32 = 8.0;
/// What counts at most.
const MOST: f32 = 1.5;

/// How often what was said came true.
#[derive(Debug, Clone)]
pub(super) struct Persistence {
    /// Pages, weighed by what was said of them, and those that were written; older ones fading.
    said: [[f32; CHANCES]; TIMES],
    came: [[f32; CHANCES]; TIMES],
}

impl Default for Persistence {
    fn default() -> Self {
        Self { said: [[0.0; CHANCES]; TIMES], came: [[0.0; CHANCES]; TIMES] }
    }
}

impl Persistence {
    /// Takes a page that was armed again.
    pub fn note(&mut self, page: Return) {
        let (time, chance) = place(page.hidden, page.said);
        self.said[time][chance] += page.said;
        self.came[time][chance] += f32::from(u8::from(page.written));
    }

    /// What was noted counts for so much of what it did.
    pub fn fade(&mut self, keep: f32) {
        self.said.iter_mut().chain(&mut self.came).flatten().for_each(|sum| *sum *= keep);
    }

    /// How much of a chance holds after `hidden` seconds, 0..[`MOST`].
    pub fn of(&self, hidden: f32, chance: f32) -> f32 {
        let (time, step) = place(hidden, chance);
        let prior = PRIOR * chance.max(0.05);
        ((self.came[time][step] + prior) / (self.said[time][step] + prior)).min(MOST)
    }
}

fn place(hidden: f32, chance: f32) -> (usize, usize) {
    let time = (hidden / FIRST).max(1.0).log2() as usize;
    let chance = if chance < 0.3 {
        0
    } else if chance < 0.8 {
        1
    } else {
        2
    };
    (time.min(TIMES - 1), chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_on_holds_and_what_stops_does_not() {
        let mut known = Persistence::default();
        assert_eq!(known.of(1.0, 0.9), 1.0, "nothing is known");
        for _ in 0..1000 {
            known.note(Return { hidden: 0.1, said: 0.9, written: true });
            known.note(Return { hidden: 1.0, said: 0.9, written: false });
        }
        assert!((known.of(0.1, 0.9) - 1.11).abs() < 0.02, "{}", known.of(0.1, 0.9));
        assert!(known.of(1.0, 0.9) < 0.02, "{}", known.of(1.0, 0.9));
        assert_eq!(known.of(1.0, 0.5), 1.0, "of others nothing is known");
    }
}
