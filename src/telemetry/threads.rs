//! Threads as bodies that move along the curve: where each writes, how much, and how fast that place moves.

use std::collections::{BTreeMap, VecDeque};

/// Windows of each thread that are remembered.
const REMEMBERED: usize = 600;
/// A thread that has not written for so many windows is forgotten.
const FORGOTTEN: u64 = 600;
/// Threads that are followed at a time: those that wrote last, and of one window those that wrote the most.
const FOLLOWED: usize = 2048;

/// Writes of one thread to one page in a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThreadSample {
    /// The thread.
    pub tid: u32,
    /// The page's place on the line.
    pub place: u64,
    /// How many writes it stands for.
    pub writes: f32,
}

/// What a thread did in one window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThreadMotion {
    /// The thread.
    pub tid: u32,
    /// The window, counted from the begin of the watch.
    pub window: u64,
    /// Its writes.
    pub writes: f32,
    /// The mean place of its writes on the curve, in cells.
    pub centre: f64,
    /// How far that moved since the window before, in cells; 0 when it did not write then.
    pub speed: f64,
    /// ½·m·v² of all its writes.
    pub energy: f64,
}

/// ½·m·v², with m the writes of a thread in a window and v how far its centre of writing moved along the
/// curve since the last, in cells a window.
pub fn kinetic_energy(writes: f64, speed: f64) -> f64 {
    0.5 * writes * speed * speed
}

/// Follows the threads.
#[derive(Debug, Clone, Default)]
pub struct ThreadTracker {
    window: u64,
    threads: BTreeMap<u32, VecDeque<ThreadMotion>>,
}

impl ThreadTracker {
    /// Takes what was written in a window, on a line of `pages` that is laid on `cells`.
    pub fn window(&mut self, samples: &[ThreadSample], pages: u64, cells: u32) {
        let scale = f64::from(cells) / pages.max(1) as f64;
        let mut sums: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
        for sample in samples {
            let (writes, moment) = sums.entry(sample.tid).or_default();
            *writes += f64::from(sample.writes);
            *moment += f64::from(sample.writes) * (sample.place as f64 + 0.5) * scale;
        }
        if sums.len() > FOLLOWED {
            // Those that write the most; no window of a program has so many, but a file may say so.
            let mut busy: Vec<(f64, u32)> = sums.iter().map(|(tid, (writes, _))| (*writes, *tid)).collect();
            busy.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            for (_, tid) in &busy[FOLLOWED..] {
                sums.remove(tid);
            }
        }
        let window = self.window;
        self.window += 1;
        for (tid, (writes, moment)) in sums {
            if writes <= 0.0 {
                continue;
            }
            let series = self.threads.entry(tid).or_default();
            let centre = moment / writes;
            let last = series.back().filter(|last| last.window + 1 == window);
            let speed = last.map_or(0.0, |last| (centre - last.centre).abs());
            let energy = kinetic_energy(writes, speed);
            series.push_back(ThreadMotion { tid, window, writes: writes as f32, centre, speed, energy });
            if series.len() > REMEMBERED {
                series.pop_front();
            }
        }
        self.threads.retain(|_, series| series.back().is_some_and(|last| window - last.window < FORGOTTEN));
        if self.threads.len() > FOLLOWED {
            let last = |series: &VecDeque<ThreadMotion>| series.back().map_or(0, |motion| motion.window);
            let mut known: Vec<(u64, u32)> =
                self.threads.iter().map(|(tid, series)| (last(series), *tid)).collect();
            known.sort_unstable_by(|a, b| b.cmp(a));
            for (_, tid) in &known[FOLLOWED..] {
                self.threads.remove(tid);
            }
        }
    }

    /// What each thread that wrote in the last window did in it, by number.
    pub fn motions(&self) -> impl Iterator<Item = &ThreadMotion> {
        let last = self.window.wrapping_sub(1);
        self.threads.values().filter_map(move |series| series.back().filter(|motion| motion.window == last))
    }

    /// What this thread did in the windows in which it wrote, oldest first.
    pub fn series(&self, tid: u32) -> impl DoubleEndedIterator<Item = &ThreadMotion> {
        self.threads.get(&tid).into_iter().flatten()
    }

    /// The threads that are known, by number.
    pub fn threads(&self) -> impl Iterator<Item = u32> {
        self.threads.keys().copied()
    }

    /// The kinetic energy of each cell in the last window: for every sample, which must be that window's, its
    /// cell, its thread and the energy that its writes carry. Cells and threads may come several times.
    pub fn energies<'a>(
        &'a self,
        samples: &'a [ThreadSample],
        pages: u64,
        cells: u32,
    ) -> impl Iterator<Item = (u32, u32, f64)> + 'a {
        let last = self.window.wrapping_sub(1);
        samples.iter().filter_map(move |sample| {
            let motion = self.threads.get(&sample.tid)?.back().filter(|motion| motion.window == last)?;
            let cell = u128::from(sample.place) * u128::from(cells) / u128::from(pages.max(1));
            Some((cell as u32, sample.tid, kinetic_energy(f64::from(sample.writes), motion.speed)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(tid: u32, place: u64, writes: f32) -> ThreadSample {
        ThreadSample { tid, place, writes }
    }

    #[test]
    fn a_thread_that_moves_has_energy_and_one_that_stays_has_none() {
        let mut tracker = ThreadTracker::default();
        for window in 0..10u64 {
            let samples = [sample(1, 100, 4.0), sample(1, 102, 4.0), sample(2, 200 + 40 * window, 2.0)];
            tracker.window(&samples, 1000, 500);
            let motions: Vec<ThreadMotion> = tracker.motions().copied().collect();
            assert_eq!((motions[0].writes, motions[0].speed, motions[0].energy), (8.0, 0.0, 0.0));
            assert!((motions[0].centre - 50.75).abs() < 1e-9);
            if window > 0 {
                assert!((motions[1].speed - 20.0).abs() < 1e-9);
                assert!((motions[1].energy - 0.5 * 2.0 * 400.0).abs() < 1e-6);
                let energies: Vec<_> = tracker.energies(&samples, 1000, 500).collect();
                assert_eq!((energies[0].0, energies[0].1, energies[0].2), (50, 1, 0.0));
                assert_eq!((energies[2].0, energies[2].1), (100 + 20 * window as u32, 2));
                assert!((energies[2].2 - 400.0).abs() < 1e-6);
            }
        }
        assert_eq!(tracker.series(2).count(), 10);
        // One that pauses starts from rest.
        tracker.window(&[], 1000, 500);
        assert_eq!(tracker.motions().count(), 0);
        tracker.window(&[sample(2, 900, 1.0)], 1000, 500);
        assert_eq!(tracker.motions().next().map(|motion| motion.speed), Some(0.0));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut tracker = ThreadTracker::default();
        for window in 0..2000u32 {
            tracker.window(&[sample(7, 1, 1.0), sample(1000 + window, 2, 1.0)], 10, 16);
        }
        assert_eq!(tracker.series(7).count(), REMEMBERED);
        assert!(tracker.threads().count() <= FORGOTTEN as usize + 1);
    }
}
