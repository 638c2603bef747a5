//! What watching costs, estimated while it runs.
//!
//! The target pays for two things: the write fault that the kernel resolves when an armed page is written for the first time in
//! a window, and the flush of its translations when pages are armed. Their prices are measured on this machine (see
//! `governor`). The estimate is those prices times what was counted, set against the processor time that the target
//! itself used in the same windows. Faults are the written pages, or the faults that the kernel has counted for the process, where
//! those are fewer: fresh memory is written without a fault of ours. Not in it: the splitting of a huge page
//! (about 20 µs, once each), and the time that a call which changes the mappings waits for a scan to be over.

use std::time::{Duration, Instant};

use serde::Serialize;

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
}

/// What the target pays.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TargetMetrics {
    /// Time that the target spends in our faults, as a share of one processor's time, percent: what is added to it from
    /// outside, however little it does itself.
    pub overhead_percent: f64,
    /// Processor time that the target's own work takes, as a factor of what it would take without us: how much slower a
    /// target gets that is busy all the time. 1 for no slow-down.
    pub slow_down_factor: f64,
    /// Growth of the target's page tables since the attach, its own growth included.
    pub memory_overhead_mb: f64,
}

impl Default for TargetMetrics {
    fn default() -> Self {
        Self { overhead_percent: 0.0, slow_down_factor: 1.0, memory_overhead_mb: 0.0 }
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
    /// Seconds that watching has cost the target.
    cost: f64,
    seconds: f64,
    windows: f64,
    scanning: f64,
    target_cpu: f64,
}

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

    /// Takes one window into account, which has cost the target so many seconds.
    pub fn window(&mut self, vitals: &Vitals, pages: u64, cost: f64, length: Duration, scan: Duration) {
        let kept = KEPT_PER_SECOND.powf(length.as_secs_f64());
        let cpu = vitals.processor_time();
        let used = cpu.zip(self.cpu).map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before));
        self.cpu = cpu;
        let old = self.recent;
        self.recent = Recent {
            pages: old.pages * kept + pages as f64,
            cost: old.cost * kept + cost,
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
        let Recent { cost, seconds, target_cpu, .. } = self.recent;
        // More fault time than processor time used is a counting error of an idle target, not a slow-down without end.
        let own = (target_cpu - cost).max(cost * 0.01);
        let share = if own > 0.0 { cost / own } else { 0.0 };
        let grown =
            self.page_tables.zip(self.page_tables_before).map_or(0, |(now, then)| now.saturating_sub(then));
        TargetMetrics {
            overhead_percent: if seconds > 0.0 { cost / seconds * 100.0 } else { 0.0 },
            slow_down_factor: 1.0 + share,
            memory_overhead_mb: grown as f64 / 1024.0,
        }
    }

    /// On the synchronous rungs latencies are those of single events.
    pub fn faults(&self, events: Option<SyncMetrics>) -> FaultMetrics {
        let Recent { pages, seconds, windows, scanning, .. } = self.recent;
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
        }
    }
}

/// Page tables of the process in KiB.
fn page_tables(pid: u32) -> Option<u64> {
    Status::read(&memory_path(pid, "status")).ok()?.number("VmPTE")
}
