//! A target of our own that writes its memory in a known pattern.
//!
//! It knows nothing of being watched: it is what the demonstration and the tests look at, and what a person can learn
//! to read the map on.

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{GlassRamError, Result};

const PAGE: usize = 4096;
/// Time between two rounds of writes: several rounds fall into each capture window.
const ROUND: Duration = Duration::from_millis(10);

/// How long each of the [`Pattern::Phases`] lasts.
const PHASE: Duration = Duration::from_secs(5);
/// Time between two of the [`Pattern::Cascade`]s,
const CASCADES: Duration = Duration::from_secs(4);
/// and how long each takes.
const CASCADE: Duration = Duration::from_millis(500);

/// Which pages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Pattern {
    /// The second quarter, all of it, all the time
    Block,
    /// Every sixteenth page, all the time
    Stride,
    /// A front that moves through the memory, a 64th wide, once every five seconds
    Front,
    /// A block, a stride, a front and one page in four at random, a quarter of the memory each
    Mixed,
    /// Ways to write that change every few seconds, each change announced
    Phases,
    /// A small block, and now and then a cascade into memory untouched before, each announced
    Cascade,
    /// Nothing
    Idle,
}

/// What an exercise says when its pattern changes, a line in JSON for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// What: `phase`, `cascade` or `calm`.
    pub what: String,
    /// When, on the system's monotonic clock, nanoseconds.
    pub monotonic_ns: u64,
    /// Which phase or cascade it is, from 0.
    pub number: u64,
}

/// What an exercise says of itself, as its first line, in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// Its process.
    pub pid: u32,
    /// Address of the first page.
    pub start: u64,
    /// Address after the last page.
    pub end: u64,
}

/// The exercise itself: a stretch of memory, and writes to it.
struct Exercise {
    memory: Vec<u8>,
    first: usize,
    pages: usize,
    random: u64,
    /// What the last announcement was about.
    stage: Option<Stage>,
    /// Pages that cascades have reached.
    reached: usize,
}

/// Where in its course a pattern is that changes with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Phase(u64),
    Cascade(u64),
    Calm(u64),
}

impl Exercise {
    fn new(mib: u32) -> Self {
        let pages = mib as usize * (1 << 20) / PAGE;
        // One page more than needed, so that whole pages fit; every byte is written once, so that all are present.
        let mut memory = vec![0u8; (pages + 1) * PAGE];
        let first = memory.as_ptr().align_offset(PAGE);
        memory.iter_mut().step_by(PAGE / 2).for_each(|byte| *byte = 1);
        Self { memory, first, pages, random: 0x9e37_79b9_7f4a_7c15, stage: None, reached: 0 }
    }

    fn announcement(&self) -> Announcement {
        let start = self.memory.as_ptr() as u64 + self.first as u64;
        Announcement { pid: std::process::id(), start, end: start + (self.pages * PAGE) as u64 }
    }

    fn write(&mut self, page: usize) {
        let byte = &mut self.memory[self.first + page * PAGE + 64];
        *byte = std::hint::black_box(byte.wrapping_add(1));
    }

    /// Writes `count` pages anywhere among the `pages` from `from` on.
    fn scatter(&mut self, from: usize, pages: usize, count: usize) {
        for _ in 0..count {
            // xorshift64* (Vigna 2016): any scatter will do.
            self.random ^= self.random >> 12;
            self.random ^= self.random << 25;
            self.random ^= self.random >> 27;
            let draw = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
            self.write(from + draw as usize % pages.max(1));
        }
    }

    /// Announces `stage` when it begins.
    fn enter(&mut self, stage: Stage) {
        if self.stage.replace(stage) == Some(stage) {
            return;
        }
        let (what, number) = match stage {
            Stage::Phase(number) => ("phase", number),
            Stage::Cascade(number) => ("cascade", number),
            Stage::Calm(number) => ("calm", number),
        };
        let happened = Happened { what: what.into(), monotonic_ns: monotonic_ns(), number };
        // Nobody need listen: the pattern is the same without.
        let line = serde_json::to_string(&happened).expect("numbers and words are JSON");
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    }

    /// One round of `pattern` on the pages `from..to`, `elapsed` after the start.
    fn round(&mut self, pattern: Pattern, from: usize, to: usize, elapsed: Duration) {
        let pages = to - from;
        match pattern {
            Pattern::Idle => {}
            Pattern::Block => (from + pages / 4..from + pages / 2).for_each(|page| self.write(page)),
            Pattern::Stride => (from..to).step_by(16).for_each(|page| self.write(page)),
            Pattern::Front => {
                let lap = (elapsed.as_secs_f64() / 5.0).fract();
                let head = from + (lap * pages as f64) as usize;
                (head..(head + pages.div_ceil(64)).min(to)).for_each(|page| self.write(page));
            }
            Pattern::Mixed => {
                let quarter = pages / 4;
                self.round(Pattern::Block, from, from + quarter, elapsed);
                self.round(Pattern::Stride, from + quarter, from + 2 * quarter, elapsed);
                self.round(Pattern::Front, from + 2 * quarter, from + 3 * quarter, elapsed);
                self.scatter(from + 3 * quarter, quarter, quarter / 64);
            }
            Pattern::Phases => {
                let number = (elapsed.as_secs_f64() / PHASE.as_secs_f64()) as u64;
                self.enter(Stage::Phase(number));
                match number % 4 {
                    0 => (from..from + pages / 8).for_each(|page| self.write(page)),
                    1 => (from + pages / 2..to).step_by(8).for_each(|page| self.write(page)),
                    2 => self.scatter(from, pages, pages / 64),
                    _ => (from + pages / 4..from + pages / 4 + pages / 64).for_each(|page| self.write(page)),
                }
            }
            Pattern::Cascade => {
                (from..from + pages / 64).for_each(|page| self.write(page));
                let round = (elapsed.as_secs_f64() / CASCADES.as_secs_f64()) as u64;
                let within = elapsed.saturating_sub(CASCADES * round as u32);
                // Each reaches its own sixteenth of what is behind the block, over half a second, from its middle outwards.
                let size = pages / 16;
                let start = pages / 64 + round as usize * size;
                if within < CASCADES - CASCADE || start + size > pages {
                    self.enter(Stage::Calm(round));
                    self.reached = 0;
                    return;
                }
                self.enter(Stage::Cascade(round));
                let grown = (within - (CASCADES - CASCADE)).as_secs_f64() / CASCADE.as_secs_f64();
                let wanted = (grown * size as f64) as usize;
                let middle = from + start + size / 2;
                for step in self.reached..wanted {
                    let page = if step % 2 == 0 { middle + step / 2 } else { middle - step.div_ceil(2) };
                    self.write(page);
                }
                self.reached = self.reached.max(wanted);
            }
        }
    }
}

/// The system's monotonic clock, on which `std::time::Instant` is, too.
fn monotonic_ns() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Announces itself on stdout and writes until `duration` is over.
pub fn run(pattern: Pattern, mib: u32, duration: Option<Duration>) -> Result<()> {
    let mut exercise = Exercise::new(mib);
    let announcement = serde_json::to_string(&exercise.announcement()).expect("numbers are JSON");
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{announcement}").and_then(|()| stdout.flush()).map_err(|error| {
        GlassRamError::FeatureNotSupported {
            feature: format!("stdout cannot be written ({error}): run the exercise with stdout open"),
        }
    })?;
    let started = Instant::now();
    while duration.is_none_or(|duration| started.elapsed() < duration) {
        exercise.round(pattern, 0, exercise.pages, started.elapsed());
        std::thread::sleep(ROUND);
    }
    Ok(())
}
