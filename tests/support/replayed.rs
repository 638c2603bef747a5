//! A target that writes what a recorded program wrote: the truth of a live map is known then.
//!
//! A recording says of each window which pages were written, and not how often. Each is written in that
//! window here, too, and as often as by a Poisson process of the rate that the windows around tell: of a page
//! that is in the share s of them, −ln(1 − s) writes a window, at least one. When in the window is drawn at
//! random, from the same seed by the target and by whoever wants the truth.

use std::io::BufRead as _;
use std::path::Path;
use std::time::Duration;

use memory_glass::sensing::WriteTrace;
use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};

use super::programs;

/// Windows before and after, by which a page's rate goes.
const AROUND: usize = 8;
/// How long the target sleeps between two looks at the clock: a write is late by no more on an idle machine.
const STEP: Duration = Duration::from_millis(1);
/// It does not sleep while there is a write within so many microseconds.
const BUSY: u32 = 100_000;
const PAGE: usize = 4096;

/// One write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// Microseconds from the begin.
    pub at: u32,
    /// The place of the page.
    pub page: u32,
}

/// All writes of a recording, in their order.
#[derive(Debug)]
pub struct Schedule {
    pub pages: usize,
    pub length: Duration,
    pub writes: Vec<Write>,
}

impl Schedule {
    /// Of this recording, so many seconds at most.
    pub fn of(file: &Path, seconds: u64) -> Schedule {
        let trace = WriteTrace::read_recording(file).expect("a recording");
        let window = trace.window_length();
        let most = (Duration::from_secs(seconds).as_secs_f64() / window.as_secs_f64()) as usize;
        let windows = &trace.windows()[..trace.windows().len().min(most)];
        let micros = window.as_micros() as u32;
        let mut random = fastrand::Rng::with_seed(1);
        let mut writes = Vec::new();
        for (number, written) in windows.iter().enumerate() {
            let around = &windows[number.saturating_sub(AROUND)..(number + AROUND + 1).min(windows.len())];
            for page in written.iter() {
                let in_them = around.iter().filter(|window| window.contains(page)).count();
                let mean = -(1.0 - in_them as f64 / (around.len() + 1) as f64).ln();
                for _ in 0..at_least_one(mean, &mut random) {
                    let at = number as u32 * micros + random.u32(..micros);
                    writes.push(Write { at, page: page as u32 });
                }
            }
        }
        writes.sort_unstable();
        Schedule { pages: trace.pages(), length: window * windows.len() as u32, writes }
    }

    /// With the times at which the target has really written, as far as it came.
    pub fn with_times(self, times: &[u8]) -> Schedule {
        let times = times.chunks_exact(4).map(|at| u32::from_le_bytes([at[0], at[1], at[2], at[3]]));
        let writes = self.writes.into_iter().zip(times).map(|(write, at)| Write { at, ..write });
        Schedule { writes: writes.collect(), ..self }
    }
}

/// A draw from the Poisson distribution of this mean, again until it is not 0.
fn at_least_one(mean: f64, random: &mut fastrand::Rng) -> usize {
    loop {
        let (least, mut product, mut drawn) = ((-mean).exp(), random.f64(), 0);
        while product > least {
            product *= random.f64();
            drawn += 1;
        }
        if drawn > 0 {
            return drawn;
        }
    }
}

/// Nanoseconds on the clock that both sides read.
pub fn now() -> u64 {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("it is always there").num_nanoseconds() as u64
}

/// `busy|lazy SECONDS TIMES FILE`: says where its pages are; at a line, begins and says when that was; at the
/// end, writes down in TIMES when each write really was, says how late the latest was, microseconds, and
/// waits.
pub fn replayed(argument: &str) {
    let words: Vec<&str> = argument.splitn(4, ' ').collect();
    let &[how, seconds, times, file] = words.as_slice() else { panic!("four words") };
    let busy = if how == "busy" { BUSY } else { 0 };
    let schedule = Schedule::of(Path::new(file), seconds.parse().expect("a number"));
    let memory = super::load::memory((schedule.pages * PAGE).div_ceil(1 << 20));
    // It is there before it counts: a page of it is written now and then.
    let mut really = vec![u32::MAX; schedule.writes.len()];
    programs::ready();
    programs::say(&(memory.as_ptr() as u64).to_string());
    let mut lines = std::io::stdin().lock().lines();
    let Some(Ok(_)) = lines.next() else { return };
    let begun = now();
    programs::say(&begun.to_string());
    let elapsed = || ((now() - begun) / 1000) as u32;
    let mut latest = 0;
    for (write, really) in schedule.writes.iter().zip(&mut really) {
        let mut at = elapsed();
        while at < write.at {
            if write.at > at + busy {
                std::thread::sleep(STEP);
            }
            at = elapsed();
        }
        let word = &mut memory[write.page as usize * PAGE / 8];
        *word = std::hint::black_box(word.wrapping_add(1));
        *really = at;
        latest = latest.max(at - write.at);
    }
    let really: Vec<u8> = really.iter().flat_map(|at| at.to_le_bytes()).collect();
    std::fs::write(times, really).expect("written");
    programs::say(&latest.to_string());
    let _ = lines.next();
}
