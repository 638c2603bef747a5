//! Where the most is written of late, and when that is reason enough to look there.
//!
//! A map that jumped at every window could not be read. So another stretch has to be clearly hotter than the shown one, and has to
//! stay so for a while.

use std::ops::Range;
use std::time::Duration;

use crate::sensing::PageActivity;

/// How many times as much has to be written elsewhere.
const CLEARLY: f32 = 1.5;
/// How long.
const LASTING: Duration = Duration::from_millis(500);
/// Stretches begin at these shares of their own length.
const STEPS: u64 = 4;

/// A stretch of the line, and how much is written there of late.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    pub places: Range<u64>,
    pub heat: f32,
}

/// The hottest stretch of `length` places on a line of `line`; none where nothing is written. It looks where something is warm, however
/// long the line is.
pub(super) fn hottest(activity: &PageActivity, length: u64, line: u64) -> Option<Stretch> {
    let step = (length / STEPS).max(1);
    let all = line.div_ceil(step);
    let wide = length.div_ceil(step).min(all).max(1);
    let steps: Vec<(u64, f32)> =
        activity.heat_in_steps(step).into_iter().filter(|(at, _)| *at < all).collect();
    // From one stretch to the next the heat changes where a warm step comes in or goes out.
    let last = all.saturating_sub(wide);
    let mut begins: Vec<u64> = steps
        .iter()
        .flat_map(|(at, _)| [(at + 1).saturating_sub(wide), at + 1])
        .filter(|begin| *begin <= last)
        .chain([0])
        .collect();
    begins.sort_unstable();
    begins.dedup();
    let mut inside = 0;
    let heats: Vec<f32> = begins
        .iter()
        .map(|begin| {
            inside += steps[inside..].iter().take_while(|(at, _)| at < begin).count();
            steps[inside..].iter().take_while(|(at, _)| *at < begin + wide).map(|(_, heat)| heat).sum()
        })
        .collect();
    let most = heats.iter().copied().fold(0.0, f32::max);
    if most == 0.0 {
        return None;
    }
    // Where several that follow each other are as hot, the middle one has what is hot in its own middle.
    let as_hot = |heat: &f32| *heat >= most * 0.999;
    let first = heats.iter().position(as_hot)?;
    let behind = first + heats[first..].iter().take_while(|heat| as_hot(heat)).count();
    let (from, to) = (begins[first], begins.get(behind).map_or(last + 1, |begin| *begin));
    let start = (from + (to - from - 1) / 2) * step;
    let start = start.min(line.saturating_sub(length));
    Some(Stretch { places: start..start + length.min(line), heat: most })
}

/// Stays with the hottest stretch.
#[derive(Debug, Clone, Default)]
pub(super) struct Follower {
    /// A stretch that is hotter than the shown one, and for how long it has been.
    rival: Option<(Range<u64>, Duration)>,
}

impl Follower {
    /// Takes a window of this length, after which the shown stretch has this heat. Answers with the stretch to show instead.
    pub fn window(&mut self, shown: f32, hottest: Option<Stretch>, length: Duration) -> Option<Range<u64>> {
        let Some(Stretch { places, .. }) = hottest.filter(|other| other.heat > CLEARLY * shown) else {
            self.rival = None;
            return None;
        };
        let held = match &self.rival {
            // It may move on a little meanwhile.
            Some((before, held)) if before.start < places.end && places.start < before.end => *held + length,
            _ => length,
        };
        if held < LASTING {
            self.rival = Some((places, held));
            return None;
        }
        self.rival = None;
        Some(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::map::AddressLayout;
    use proptest::prelude::*;

    const WINDOW: Duration = Duration::from_millis(100);
    const PAGE: u64 = 4096;

    fn stretch(start: u64, heat: f32) -> Option<Stretch> {
        Some(Stretch { places: start..start + 16, heat })
    }

    #[test]
    fn what_is_clearly_and_lastingly_hotter_is_gone_to_and_nothing_else() {
        let mut follower = Follower::default();
        for _ in 0..100 {
            assert_eq!(follower.window(1.0, stretch(0, 1.4), WINDOW), None, "not clearly");
            assert_eq!(follower.window(0.0, None, WINDOW), None, "nothing is written");
        }
        for round in 0..100 {
            assert_eq!(
                follower.window(1.0, stretch(round % 2 * 64, 9.0), WINDOW),
                None,
                "now here, now there"
            );
        }
        for _ in 0..100 {
            for _ in 0..4 {
                assert_eq!(follower.window(1.0, stretch(32, 9.0), WINDOW), None, "not lastingly");
            }
            assert_eq!(follower.window(1.0, stretch(32, 1.0), WINDOW), None);
        }
        let moves: Vec<_> =
            (0..5).map(|at| follower.window(1.0, stretch(64 + 4 * at, 1.6), WINDOW)).collect();
        assert_eq!(moves, [None, None, None, None, Some(80..96)], "a slow drift is one rival");
    }

    proptest! {
        #[test]
        fn the_hottest_stretch_is_hotter_than_every_other_that_begins_at_a_step(
            pages in 16u64..2000, length in 1u64..2000,
            written in prop::collection::vec((0u64..2000, 1u64..50), 0..8),
        ) {
            let layout = AddressLayout::new(PAGE, std::iter::once(0..pages * PAGE));
            let mut activity = PageActivity::new(Duration::from_millis(250));
            for (first, pages) in written {
                activity.window(&layout, std::iter::once(first * PAGE..(first + pages) * PAGE), WINDOW);
            }
            let all = activity.heat(0..pages);
            match hottest(&activity, length, pages) {
                None => prop_assert_eq!(all, 0.0),
                Some(Stretch { places, heat }) => {
                    prop_assert!(places.end <= pages && places.end - places.start == length.min(pages));
                    prop_assert!(heat > 0.0 && heat <= all * 1.001);
                    let step = (length / STEPS).max(1);
                    let others = (0..=pages.saturating_sub(length)).step_by(step as usize);
                    for start in others {
                        prop_assert!(activity.heat(start..start + length) <= heat * 1.001, "at {}", start);
                    }
                    // What the steps at its end have beyond it is less than a step.
                    prop_assert!(activity.heat(places.start..places.end + step) >= heat * 0.998);
                }
            }
        }

        #[test]
        fn it_never_moves_twice_within_its_patience(
            heats in prop::collection::vec((0.0f32..2.0, 0.0f32..8.0, 0u64..8, 10u64..300), 1..200),
        ) {
            let mut follower = Follower::default();
            let mut since = Duration::ZERO;
            for (shown, hot, at, milliseconds) in heats {
                let length = Duration::from_millis(milliseconds);
                since += length;
                if let Some(to) = follower.window(shown, stretch(at * 8, hot), length) {
                    prop_assert!(since >= LASTING && hot > CLEARLY * shown);
                    prop_assert_eq!(to, at * 8..at * 8 + 16);
                    since = Duration::ZERO;
                }
            }
        }
    }
}
