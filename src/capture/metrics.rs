//! What watching costs, estimated while it runs.
//!
//! The target pays for two things: the write fault that the kernel resolves when an armed page is written for the first time in
//! a window, and the flush of its translations when pages are armed. Their prices are measured in the target
//! and by our own calls, and have bounds (`governor`). The estimate is those prices times what was counted,
//! set against the processor time that the target itself used in the same windows. Faults are the written
//! pages, or the faults that the kernel has counted for the process, where those are fewer: fresh memory is
//! written without a fault of ours. Not in it: the splitting of a huge page (about 20 µs, once each), and the
//! time that a call which changes the mappings waits for a scan to be over.

use std::fmt;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::fault_time::Price;
use super::sync::SyncMetrics;
use super::target::{Status, memory_path};
use super::vitals::Vitals;

/// What the monitor itself does.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct FaultMetrics {
    /// Written pages reported a second.
    pub events_per_second: f64,
    /// From a write until its window is reported, on average: half a window and the scan.
    pub average_latency_ms: f64,
    /// The longest that a write can have waited so far: a whole window and its scan.
    pub peak_latency_ms: f64,
    /// Time spent scanning, as a share of one processor.
    pub cpu_overhead_percent: f64,
    /// Flushes of the target's translations that arming has caused a second.
    pub flushes_per_second: f64,
}

/// What the target pays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TargetMetrics {
    /// Time that the target loses by being watched, as a share of one processor's time, percent: what is
    /// added to it from outside, however little it does itself.
    pub overhead_percent: f64,
    /// Processor time that the target's own work takes, as a factor of what it would take without us: how much slower a
    /// target gets that is busy all the time. 1 for no slow-down; NaN (null in JSON) where the target does
    /// too little for that to be known.
    pub slow_down_factor: f64,
    /// The interval that holds the true factor nine times in ten; NaN where that is not known.
    pub slow_down_low: f64,
    /// Its upper end, which is what a budget holds; infinite (null in JSON) where all that the target does
    /// may be our faults.
    pub slow_down_high: f64,
    /// The time that it loses, in milliseconds a second.
    pub lost_ms_per_second: f64,
    /// Growth of the target's page tables since the attach, its own growth included.
    pub memory_overhead_mb: f64,
}

impl Default for TargetMetrics {
    fn default() -> Self {
        Self {
            overhead_percent: 0.0,
            slow_down_factor: 1.0,
            slow_down_low: 1.0,
            slow_down_high: 1.0,
            lost_ms_per_second: 0.0,
            memory_overhead_mb: 0.0,
        }
    }
}

impl TargetMetrics {
    /// The slow-down with its interval, or, of a target that does too little for one, the time that it loses.
    pub fn slow_down(&self) -> String {
        let Self { slow_down_factor: factor, slow_down_low: low, slow_down_high: high, .. } = *self;
        if factor.is_nan() {
            return format!("{:.1} ms/s", self.lost_ms_per_second);
        }
        if high.is_infinite() {
            return format!("{factor:.2}× ({low:.2} and more)");
        }
        format!("{factor:.2}× ({low:.2}–{high:.2})")
    }
}

impl fmt::Display for TargetMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} % of a processor, slowdown {}, ", self.overhead_percent, self.slow_down())?;
        write!(f, "{:.1} MB; estimated", self.memory_overhead_mb)
    }
}

/// Sums over the recent windows, older ones fading.
#[derive(Debug)]
pub(super) struct Load {
    pid: u32,
    page_tables_before: Option<u64>,
    page_tables: Option<u64>,
    page_tables_read: Instant,
    cpu: Option<Duration>,
    recent: Recent,
    peak_latency: Duration,
}

#[derive(Debug, Default, Clone, Copy)]
struct Recent {
    pages: f64,
    /// Seconds that watching has cost the target, with the least and the most that it may have been.
    cost: f64,
    least_cost: f64,
    most_cost: f64,
    flushes: f64,
    seconds: f64,
    windows: f64,
    scanning: f64,
    target_cpu: f64,
}

/// What was counted in a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    /// Pages that were written.
    pub pages: u64,
    pub flushes: u64,
    /// Seconds.
    pub cost: Price,
}

/// A target that runs less than this part of the time has no slow-down that could be told.
const LEAST_BUSY: f64 = 0.02;
/// The part of the sums that is left after one second.
const KEPT_PER_SECOND: f64 = 0.5;
/// Time between two looks at the size of the page tables.
const PAGE_TABLES_AGE: Duration = Duration::from_secs(1);

impl Load {
    pub fn new(pid: u32, vitals: &Vitals) -> Self {
        let page_tables = page_tables(pid);
        Self {
            pid,
            page_tables_before: page_tables,
            page_tables,
            page_tables_read: Instant::now(),
            cpu: vitals.processor_time(),
            recent: Recent::default(),
            peak_latency: Duration::ZERO,
        }
    }

    /// Takes one window into account.
    pub fn window(&mut self, vitals: &Vitals, counted: Counted, length: Duration, scan: Duration) {
        let Counted { pages, flushes, cost } = counted;
        let kept = KEPT_PER_SECOND.powf(length.as_secs_f64());
        let cpu = vitals.processor_time();
        let used = cpu.zip(self.cpu).map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before));
        self.cpu = cpu;
        let old = self.recent;
        self.recent = Recent {
            pages: old.pages * kept + pages as f64,
            cost: old.cost * kept + cost.value,
            least_cost: old.least_cost * kept + cost.low,
            most_cost: old.most_cost * kept + cost.high,
            flushes: old.flushes * kept + flushes as f64,
            seconds: old.seconds * kept + length.as_secs_f64(),
            windows: old.windows * kept + 1.0,
            scanning: old.scanning * kept + scan.as_secs_f64(),
            target_cpu: old.target_cpu * kept + used.as_secs_f64(),
        };
        self.peak_latency = self.peak_latency.max(length + scan);
        if self.page_tables_read.elapsed() >= PAGE_TABLES_AGE {
            self.page_tables = page_tables(self.pid).or(self.page_tables);
            self.page_tables_read = Instant::now();
        }
    }

    pub fn target(&self) -> TargetMetrics {
        let Recent { cost, least_cost, most_cost, seconds, target_cpu, .. } = self.recent;
        let grown =
            self.page_tables.zip(self.page_tables_before).map_or(0, |(now, then)| now.saturating_sub(then));
        let a_second = if seconds > 0.0 { cost / seconds } else { 0.0 };
        // Not of a target that does next to nothing, nor of one that would have spent all of its time in our
        // faults.
        let known = target_cpu >= LEAST_BUSY * seconds && cost < target_cpu;
        let factor = |cost: f64| match target_cpu - cost {
            _ if !known => f64::NAN,
            left if left > 0.0 => target_cpu / left,
            _ => f64::INFINITY,
        };
        let nothing = cost == 0.0;
        TargetMetrics {
            overhead_percent: 100.0 * a_second,
            slow_down_factor: if nothing { 1.0 } else { factor(cost) },
            slow_down_low: if nothing { 1.0 } else { factor(least_cost) },
            slow_down_high: if nothing { 1.0 } else { factor(most_cost) },
            lost_ms_per_second: 1e3 * a_second,
            memory_overhead_mb: grown as f64 / 1024.0,
        }
    }

    /// On the synchronous rungs latencies are those of single events.
    pub fn faults(&self, events: Option<SyncMetrics>) -> FaultMetrics {
        let Recent { pages, seconds, windows, scanning, flushes, .. } = self.recent;
        if seconds <= 0.0 {
            return FaultMetrics::default();
        }
        let (average, peak) = match events {
            Some(events) => (events.mean, events.longest),
            None => (Duration::from_secs_f64((seconds / 2.0 + scanning) / windows), self.peak_latency),
        };
        FaultMetrics {
            events_per_second: pages / seconds,
            average_latency_ms: average.as_secs_f64() * 1e3,
            peak_latency_ms: peak.as_secs_f64() * 1e3,
            cpu_overhead_percent: scanning / seconds * 100.0,
            flushes_per_second: flushes / seconds,
        }
    }
}

/// Page tables of the process in KiB.
fn page_tables(pid: u32) -> Option<u64> {
    Status::read(&memory_path(pid, "status")).ok()?.number("VmPTE")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_a_factor_with_its_interval_or_a_time() {
        let cost = TargetMetrics {
            slow_down_factor: 1.041,
            slow_down_low: 1.02,
            slow_down_high: 1.068,
            lost_ms_per_second: 40.0,
            ..TargetMetrics::default()
        };
        assert_eq!(cost.slow_down(), "1.04× (1.02–1.07)");
        let idle = TargetMetrics { slow_down_factor: f64::NAN, lost_ms_per_second: 0.31, ..cost };
        assert_eq!(idle.slow_down(), "0.3 ms/s");
    }
}
