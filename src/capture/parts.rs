//! Which parts of a long table of mappings a pass looks at.
//!
//! The kernel takes 0.2 µs for each mapping that a call goes over, whatever is in it: 13 ms for 64,000,
//! nearly a whole window at 60 a second. But it also counts the faults of the target, and a write to an armed
//! page is one. So the parts that were written lately are looked at first, and when as many pages were found
//! as there were faults, there is nothing to be found in the others.
//!
//! A fault may bring in several pages (a huge one, neighbours in a file), and what others write into the
//! target is no fault of its own. What is missed so is found [`ROUND`] later at most: some parts are looked
//! at in each pass, in turn. Where there were more faults than pages, because some were reads, all parts are
//! looked at.

use std::ops::Range;
use std::time::Duration;

use super::range::{self, PageRange};

/// Mappings of one part.
pub(super) const PART: usize = 2048;
/// Tables of fewer parts are gone over whole.
const FEWEST: usize = 4;
/// In this time each part is looked at once.
const ROUND: Duration = Duration::from_millis(100);

/// The parts of one table.
#[derive(Debug, Default, Clone)]
pub(super) struct Parts {
    parts: Vec<Part>,
    /// Faults that are accounted for, of all that the target has taken.
    accounted: u64,
    /// The part whose turn is next.
    next: usize,
    passes: u64,
    /// What the last pass has found was armed, all of it.
    armed: bool,
}

#[derive(Debug, Default, Clone)]
struct Part {
    /// The pass that has last found something new.
    hit: u64,
    /// The last pass that looked.
    looked: u64,
    /// What of it is not armed, as of the last pass that looked.
    standing: Vec<PageRange>,
}

/// What is known before a pass.
#[derive(Debug, Clone, Copy)]
pub(super) struct Faults {
    /// All that the target has taken so far.
    pub taken: u64,
    /// How long the window was.
    pub length: Duration,
}

impl Parts {
    /// So many parts of another table than `before`.
    pub fn of(parts: usize, before: &Self) -> Self {
        let accounted = before.accounted;
        Self { parts: vec![Part::default(); parts], accounted, ..Self::default() }
    }

    /// Whether all of them are gone over each time, without [`Self::pass`].
    pub fn are_few(&self) -> bool {
        self.parts.len() < FEWEST
    }

    /// Looks at parts with `look`, which answers what it finds there that is not armed, until there is
    /// nothing more to be found. Without `faults` at all.
    pub fn pass<E>(
        &mut self,
        faults: Option<Faults>,
        page_size: u64,
        mut look: impl FnMut(usize) -> Result<Vec<PageRange>, E>,
    ) -> Result<(), E> {
        self.passes += 1;
        let whole = faults.is_none() || !self.armed;
        self.armed = false;
        let turn = if whole { 0..0 } else { self.turn(faults.map_or(ROUND, |faults| faults.length)) };
        let all = self.parts.len();
        let due = turn.clone().map(|at| at % all.max(1)).chain(self.hottest_first());
        let mut seen_turn = turn.len();
        for at in due.collect::<Vec<_>>() {
            let accounted = faults.is_some_and(|faults| self.accounted >= faults.taken);
            if !whole && seen_turn == 0 && accounted {
                return Ok(());
            }
            seen_turn = seen_turn.saturating_sub(1);
            let Some(part) = self.parts.get_mut(at).filter(|part| part.looked < self.passes) else {
                continue;
            };
            let found = look(at)?;
            let new = range::pages(&range::subtract(&found, &part.standing), page_size);
            (part.looked, part.standing) = (self.passes, found);
            if new > 0 {
                part.hit = self.passes;
            }
            self.accounted += new;
        }
        // Whatever the other faults were, they were no writes.
        self.accounted = self.accounted.max(faults.map_or(0, |faults| faults.taken));
        Ok(())
    }

    /// What the pass has found is armed but for nothing of it, or some is left.
    pub fn settle(&mut self, armed: Option<&[PageRange]>) {
        self.armed = armed.is_some();
        let Some(armed) = armed else { return };
        for part in self.parts.iter_mut().filter(|part| part.looked == self.passes) {
            part.standing = range::subtract(&part.standing, armed);
        }
    }

    /// No more faults than these can be accounted for.
    pub fn taken_in_all(&mut self, faults: u64) {
        self.accounted = self.accounted.min(faults);
    }

    /// Those whose turn it is.
    fn turn(&mut self, length: Duration) -> Range<usize> {
        let all = self.parts.len();
        let share = (length.as_secs_f64() / ROUND.as_secs_f64()).min(1.0);
        let turn = self.next..self.next + (all as f64 * share).ceil() as usize;
        self.next = turn.end % all.max(1);
        turn
    }

    /// All of them: those that were written last before the others, and behind each other as they lie.
    fn hottest_first(&self) -> Vec<usize> {
        let all = self.parts.len();
        let latest = (0..all).max_by_key(|at| self.parts[*at].hit).unwrap_or(0);
        let mut order: Vec<usize> = (latest..all).chain(0..latest).collect();
        order.sort_by_key(|at| std::cmp::Reverse(self.parts[*at].hit));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;
    const PARTS: usize = 30;

    /// Pages of a target, by part: written and not armed.
    struct Target {
        unarmed: Vec<Vec<PageRange>>,
        faults: u64,
    }

    impl Target {
        fn write(&mut self, part: usize, page: u64) {
            let at = (part as u64 * 1000 + page) * PAGE;
            self.unarmed[part].push(PageRange::new(at, at + PAGE));
            range::merge(&mut self.unarmed[part]);
            self.faults += 1;
        }

        /// How many parts a pass looks at, and how many written pages it finds, which are armed but for those
        /// of `standing`.
        fn pass(&mut self, parts: &mut Parts, standing: &[PageRange]) -> (usize, u64) {
            let faults = Faults { taken: self.faults, length: Duration::from_millis(10) };
            let (mut looked, mut found) = (0, Vec::new());
            let answer: Result<(), ()> = parts.pass(Some(faults), PAGE, |at| {
                looked += 1;
                found.extend_from_slice(&self.unarmed[at]);
                Ok(self.unarmed[at].clone())
            });
            answer.expect("nothing fails");
            range::merge(&mut found);
            let found = range::subtract(&found, standing);
            for unarmed in &mut self.unarmed {
                *unarmed = range::subtract(unarmed, &found);
            }
            parts.settle(Some(&found));
            parts.taken_in_all(self.faults);
            (looked, range::pages(&found, PAGE))
        }
    }

    fn target() -> (Target, Parts) {
        let mut target = Target { unarmed: vec![Vec::new(); PARTS], faults: 0 };
        let mut parts = Parts::of(PARTS, &Parts::default());
        assert_eq!(target.pass(&mut parts, &[]).0, PARTS, "the first pass looks at all");
        (target, parts)
    }

    #[test]
    fn what_is_written_is_found_in_its_window_with_a_few_looks() {
        let (mut target, mut parts) = target();
        let mut looked = 0;
        for window in 0..200 {
            for page in 0..5 {
                target.write(7 + window / 50, page);
            }
            let (looks, found) = target.pass(&mut parts, &[]);
            assert_eq!(found, 5, "window {window}");
            looked += looks;
        }
        assert!(looked < 200 * 6, "{looked} looks");
    }

    #[test]
    fn what_comes_without_a_fault_is_found_within_a_round() {
        let (mut target, mut parts) = target();
        target.write(3, 1);
        target.pass(&mut parts, &[]);
        for part in [20, 4, 29] {
            // By somebody else.
            target.write(part, 0);
            target.faults -= 1;
            let found: u64 = (0..10).map(|_| target.pass(&mut parts, &[]).1).sum();
            assert_eq!(found, 1, "part {part}");
        }
    }

    #[test]
    fn what_stays_unarmed_is_not_taken_for_a_write_and_reads_hide_none() {
        let (mut target, mut parts) = target();
        // Read for the first time: a fault, and a page that is not armed for good.
        target.write(5, 7);
        let standing = target.unarmed[5].clone();
        target.pass(&mut parts, &standing);
        for window in 0..100 {
            target.write(window % PARTS, 9);
            // A read that leaves nothing.
            target.faults += u64::from(window % 3 == 0);
            assert_eq!(target.pass(&mut parts, &standing).1, 1, "window {window}");
        }
    }

    #[test]
    fn where_not_all_is_armed_all_is_looked_at() {
        let (mut target, mut parts) = target();
        target.write(2, 0);
        target.pass(&mut parts, &[]);
        parts.settle(None);
        assert_eq!(target.pass(&mut parts, &[]).0, PARTS);
    }
}
