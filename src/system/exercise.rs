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
    /// Nothing
    Idle,
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
}

impl Exercise {
    fn new(mib: u32) -> Self {
        let pages = mib as usize * (1 << 20) / PAGE;
        // One page more than needed, so that whole pages fit; every byte is written once, so that all are present.
        let mut memory = vec![0u8; (pages + 1) * PAGE];
        let first = memory.as_ptr().align_offset(PAGE);
        memory.iter_mut().step_by(PAGE / 2).for_each(|byte| *byte = 1);
        Self { memory, first, pages, random: 0x9e37_79b9_7f4a_7c15 }
    }

    fn announcement(&self) -> Announcement {
        let start = self.memory.as_ptr() as u64 + self.first as u64;
        Announcement { pid: std::process::id(), start, end: start + (self.pages * PAGE) as u64 }
    }

    fn write(&mut self, page: usize) {
        let byte = &mut self.memory[self.first + page * PAGE + 64];
        *byte = std::hint::black_box(byte.wrapping_add(1));
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
                for _ in 0..quarter / 64 {
                    // xorshift64* (Vigna 2016): any scatter will do.
                    self.random ^= self.random >> 12;
                    self.random ^= self.random << 25;
                    self.random ^= self.random >> 27;
                    let draw = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
                    self.write(from + 3 * quarter + draw as usize % quarter.max(1));
                }
            }
        }
    }
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
