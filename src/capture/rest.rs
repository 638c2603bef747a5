//! When there is nothing to look for: a target that sleeps writes nothing.
//!
//! A look goes over all that is armed. As long as the target's processor time stands still, none of its threads has run, and none can
//! have written; asking for that is one call. So a window of a sleeping target goes on, and ends with the first period in which it
//! has run. What others write for it (process_vm_writev(2), a process that shares its memory, the kernel) takes none of its time:
//! it is looked for all the same, a few times a second.

use std::time::{Duration, Instant};

use super::window::Window;

/// So long nothing was written before windows become longer: what was written before has faded by then.
const SILENT: Duration = Duration::from_secs(2);
/// A window lasts so long at the most.
const LONGEST: Duration = Duration::from_millis(250);

/// Whether windows may go on.
#[derive(Debug, Default)]
pub struct Rest {
    /// How long nothing was written.
    silent: Duration,
    /// When the last look was over.
    looked: Option<Instant>,
    /// The target's processor time, read before the last look began.
    ran: Option<Duration>,
    /// As it was read last.
    asked: Option<Duration>,
    /// Until then it had not run since the last look.
    slept: Option<Instant>,
    /// Windows that have become two so far.
    parted: u64,
}

impl Rest {
    /// Whether the window may go on for another period, at `now`; `time` is the target's processor time.
    pub(super) fn may_go_on(&mut self, now: Instant, time: impl FnOnce() -> Option<Duration>) -> bool {
        if self.silent < SILENT {
            return false;
        }
        self.asked = time();
        let sleeps = self.asked.is_some() && self.asked == self.ran;
        if sleeps {
            self.slept = Some(now);
        }
        sleeps && self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < LONGEST)
    }

    /// A look that was over at `now` gave this window.
    pub(super) fn looked(&mut self, mut window: Window, now: Instant) -> Window {
        self.slept = None;
        self.ran = self.asked;
        self.looked = Some(now);
        let nothing = window.written.is_empty() && window.unseen.is_empty() && window.regions.is_none();
        self.silent = if nothing { self.silent.saturating_add(window.length) } else { Duration::ZERO };
        window.index += self.parted;
        window
    }

    /// As [`Self::looked`]; a window in which something was written after a while of sleep is two: until the target ran, nothing was.
    pub(super) fn ended(&mut self, window: Window, now: Instant) -> (Option<Window>, Window) {
        let slept = self.slept.and_then(|slept| slept.checked_duration_since(window.started));
        let window = self.looked(window, now);
        let news = self.silent.is_zero() && window.unseen.is_empty();
        let within = Duration::from_nanos(1)..window.length;
        let Some(asleep) = slept.filter(|slept| news && within.contains(slept)) else {
            return (None, window);
        };
        let before = Window {
            length: asleep,
            written: Vec::new(),
            regions: None,
            active_threads: 0,
            threads: Vec::new(),
            forked: Vec::new(),
            events: Vec::new(),
            dropped: 0,
            ..window.clone()
        };
        self.parted += 1;
        let after = Window {
            index: window.index + 1,
            started: window.started + asleep,
            length: window.length - asleep,
            ..window
        };
        (Some(before), after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::PageRange;

    const PERIOD: Duration = Duration::from_millis(16);

    /// A target, and who looks at it each period.
    struct Watch {
        rest: Rest,
        now: Instant,
        begun: Instant,
        ran: Duration,
        looks: u32,
    }

    impl Watch {
        fn new() -> Self {
            let now = Instant::now();
            Self { rest: Rest::default(), now, begun: now, ran: Duration::ZERO, looks: 0 }
        }

        /// A period in which the target runs so long and writes a page, or does not.
        fn period(&mut self, runs: Duration, writes: bool) -> Vec<Window> {
            self.now += PERIOD;
            self.ran += runs;
            if self.rest.may_go_on(self.now, || Some(self.ran)) {
                assert!(!writes, "what is written is looked for at once");
                return Vec::new();
            }
            self.looks += 1;
            let window = Window {
                index: u64::from(self.looks),
                started: self.begun,
                length: self.now - self.begun,
                written: writes.then(|| PageRange::new(4096, 8192)).into_iter().collect(),
                unseen: Vec::new(),
                regions: None,
                writable_pages: 1,
                active_threads: u32::from(!runs.is_zero()),
                threads: Vec::new(),
                forked: Vec::new(),
                events: Vec::new(),
                dropped: 0,
            };
            self.begun = self.now;
            let (before, window) = self.rest.ended(window, self.now);
            before.into_iter().chain([window]).collect()
        }

        fn looks_in(&mut self, periods: u32, runs: Duration) -> u32 {
            let before = self.looks;
            for _ in 0..periods {
                let windows = self.period(runs, false);
                assert!(windows.iter().all(|window| window.written.is_empty()));
            }
            self.looks - before
        }
    }

    #[test]
    fn a_sleeping_target_is_looked_at_a_few_times_a_second_and_one_that_runs_in_every_period() {
        let mut watch = Watch::new();
        // It may still have its say in the picture: nothing is left out.
        assert_eq!(watch.looks_in(125, Duration::ZERO), 125);
        let looks = watch.looks_in(625, Duration::ZERO);
        assert!((30..=45).contains(&looks), "{looks} looks in ten seconds");
        assert_eq!(watch.looks_in(100, Duration::from_micros(3)), 100, "it runs, and may write");
    }

    #[test]
    fn the_first_write_is_of_the_period_that_it_was_made_in() {
        for asleep in 1..40 {
            let mut watch = Watch::new();
            watch.looks_in(400 + asleep, Duration::ZERO);
            let begun = watch.begun;
            let windows = watch.period(Duration::from_micros(1), true);
            let last = windows.last().expect("one that says what was written");
            assert_eq!((last.written.len(), last.length), (1, PERIOD), "after {asleep} periods");
            // Between them they are all of the time.
            assert_eq!(windows[0].started, begun);
            assert!(windows.windows(2).all(|pair| pair[0].started + pair[0].length == pair[1].started));
            let next = watch.period(Duration::ZERO, false);
            let numbers: Vec<u64> = windows.iter().chain(&next).map(|window| window.index).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
            assert_eq!(watch.looks_in(50, Duration::ZERO), 50, "and then everything is looked at again");
        }
    }

    #[test]
    fn what_others_write_is_found_and_an_unknown_clock_is_no_sleep() {
        let mut watch = Watch::new();
        watch.looks_in(400, Duration::ZERO);
        let found = (0..20).map(|_| {
            watch.now += PERIOD;
            let (now, ran) = (watch.now, watch.ran);
            watch.rest.may_go_on(now, || Some(ran))
        });
        assert!(found.into_iter().any(|goes_on| !goes_on), "a look is due within a quarter of a second");
        let now = watch.now;
        assert!(!watch.rest.may_go_on(now, || None));
    }
}
