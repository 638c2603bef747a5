//! How long a fault takes in the target itself: moments of its processor time are sampled, and it is seen
//! which of them lie in the kernel's handling of a page fault.
//!
//! A clock that runs while a thread does (the software event cpu-clock, perf_event_open(2)) takes the
//! kernel's part of its stack once in [`EVERY`]; the entry of all page faults (`asm_exc_page_fault`,
//! arch/x86/entry) is in it or not. Its address is in /proc/kallsyms for those who may see it. What runs with
//! interrupts off is sampled where they come on again, so the last steps of a fault are missed; and a fault
//! leaves colder caches behind. Both are in the bounds that are put around the price ([`Prices`]).

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::sync::OnceLock;
use std::time::Duration;

use super::perf::{Deaf, Events};

/// A sample in so much of a thread's processor time: 199 a second, in step with nothing.
const EVERY: Duration = Duration::from_nanos(5_025_126);
/// What the price that was measured on ourselves counts for, in samples.
const PRIOR: f64 = 8.0;
/// What is left of the samples after one second: some half a minute of them counts.
const KEPT_PER_SECOND: f64 = 0.97;
/// Quantile of the normal distribution for an interval of 90 %, both sides.
const Z: f64 = 1.645;
/// The price may be less than what the samples say by this factor, and more by that one, however many there
/// are.
const LESS: f64 = 0.75;
const MORE: f64 = 1.3;
/// PERF_RECORD_SAMPLE (perf_event_open(2)).
const SAMPLE: u32 = perf_event_open_sys::bindings::PERF_RECORD_SAMPLE;

/// A price, in seconds of the target's processor time, and the bounds in which the true one is nine times in
/// ten.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Price {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// Samples the processor time of one target.
#[derive(Debug)]
pub(super) struct FaultTime {
    events: Events,
    entry: Range<u64>,
    /// Samples in faults, and faults of whatever kind, older ones fading.
    samples: f64,
    faults: f64,
}

impl FaultTime {
    /// Begins to sample, where that is permitted and the kernel's entry of page faults is known.
    pub fn of(pid: u32) -> Option<Self> {
        let entry = entry_of_faults()?;
        match Events::of_moments(pid, EVERY.as_nanos() as u64) {
            Ok(events) => Some(Self { events, entry, samples: 0.0, faults: 0.0 }),
            Err(reason) => {
                log_once(pid, &reason);
                None
            }
        }
    }

    /// Takes a window of this length in which the target took `faults` page faults, ours or not.
    pub fn window(&mut self, faults: u64, length: Duration) {
        let mut inside = 0u32;
        let entry = &self.entry;
        self.events.drain(|kind, _, body| {
            if kind == SAMPLE && frames(body).any(|frame| entry.contains(&frame)) {
                inside += 1;
            }
        });
        let kept = KEPT_PER_SECOND.powf(length.as_secs_f64());
        self.samples = self.samples * kept + f64::from(inside);
        self.faults = self.faults * kept + faults as f64;
    }

    fn price(&self, prior: f64) -> Price {
        price(self.samples, self.faults, prior)
    }
}

/// What a fault costs: as it was sampled in the target, or, where that cannot be, as on ourselves, `prior`
/// seconds.
pub(super) fn fault_price(sampled: Option<&FaultTime>, prior: f64) -> Price {
    sampled.map_or_else(|| price(0.0, 0.0, prior), |sampled| sampled.price(prior))
}

/// `samples` of processor time lay in `faults`: a Poisson number of samples, a gamma distribution for the price,
/// which begins with the prior.
fn price(samples: f64, faults: f64, prior: f64) -> Price {
    let evidence = samples + PRIOR;
    let value = evidence / (faults / EVERY.as_secs_f64() + PRIOR / prior);
    let known_to = Z / evidence.sqrt();
    Price { value, low: value * (1.0 - known_to).max(0.0) * LESS, high: value * (1.0 + known_to) * MORE }
}

/// The frames of a sample that has nothing but its stack: their number, and as many addresses.
fn frames(body: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let mut words = body.chunks_exact(8).map(|word| word.try_into().map_or(0, u64::from_ne_bytes));
    let count = words.next().unwrap_or(0);
    words.take(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Where the kernel's entry of page faults lies; none where that is hidden (kernel.kptr_restrict) or the
/// processor has another.
fn entry_of_faults() -> Option<Range<u64>> {
    static KNOWN: OnceLock<Option<Range<u64>>> = OnceLock::new();
    KNOWN.get_or_init(|| find_entry(BufReader::new(File::open("/proc/kallsyms").ok()?))).clone()
}

/// Finds the symbol in a table that is not sorted: its address, and the next higher one.
fn find_entry(table: impl BufRead) -> Option<Range<u64>> {
    const LONGEST: u64 = 4096;
    let (mut entry, mut addresses) = (None, Vec::new());
    for line in table.lines().map_while(Result::ok) {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().and_then(|word| u64::from_str_radix(word, 16).ok())?;
        if matches!(words.nth(1), Some("asm_exc_page_fault")) {
            entry = Some(address);
        }
        addresses.push(address);
    }
    let entry = entry.filter(|entry| *entry > 0)?;
    let next = addresses.into_iter().filter(|address| *address > entry).min()?;
    Some(entry..next.min(entry + LONGEST))
}

fn log_once(pid: u32, reason: &Deaf) {
    tracing::info!(pid, %reason, "what a fault costs the target is taken from ourselves");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::probe::Scratch;

    #[test]
    fn the_entry_is_found_with_its_end_and_hidden_addresses_are_none() {
        let table = "ffff81000c60 T asm_exc_page_fault\nffff81000d00 T other\nffff81000c90 T asm_exc_x\n";
        assert_eq!(find_entry(table.as_bytes()), Some(0xffff_8100_0c60..0xffff_8100_0c90));
        let hidden = "0000000000000000 T asm_exc_page_fault\n0000000000000000 T other\n";
        assert_eq!(find_entry(hidden.as_bytes()), None);
        assert_eq!(find_entry("nonsense".as_bytes()), None);
    }

    #[test]
    fn frames_are_no_more_than_there_are() {
        let words = |words: &[u64]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        assert_eq!(frames(&words(&[2, 7, 8, 9])).collect::<Vec<_>>(), [7, 8]);
        assert_eq!(frames(&words(&[u64::MAX, 7])).collect::<Vec<_>>(), [7]);
        assert_eq!(frames(&[1, 2, 3]).count(), 0);
    }

    #[test]
    fn the_price_begins_with_the_prior_and_ends_with_the_samples() {
        let first = price(0.0, 0.0, 1e-6);
        assert!((first.value - 1e-6).abs() < 1e-12 && first.low < 0.6e-6 && first.high > 1.9e-6);
        // A sample in 5 ms: 2000 of them are 10 s, of five million faults.
        let later = price(2000.0, 5e6, 1e-6);
        assert!((later.value - 2e-6).abs() < 0.05e-6, "{later:?}");
        assert!(later.low > 1.3e-6 && later.high < 2.8e-6, "{later:?}");
    }

    #[test]
    fn a_thread_that_takes_faults_is_seen_in_them() {
        let Some(mut time) = FaultTime::of(std::process::id()) else {
            println!("skipped: moments of processor time may not be sampled here");
            return;
        };
        // A fresh page at every turn, given back: nothing but faults.
        let scratch = Scratch::new().expect("mapped");
        let begun = std::time::Instant::now();
        let mut faults = 0;
        while time.samples < 5.0 && begun.elapsed() < Duration::from_secs(20) {
            for _ in 0..20 {
                scratch.write_each_page();
                scratch.give_back();
                faults += Scratch::PAGES as u64;
            }
            time.window(std::mem::take(&mut faults), Duration::ZERO);
        }
        assert!(time.samples >= 5.0, "{} samples in faults", time.samples);
        let price = time.price(1e-6);
        assert!(price.low < price.value && price.value < price.high && price.value < 1e-3, "{price:?}");
    }
}
