//! What watching costs, estimated while it runs.
//!
//! The target pays for one thing: the write fault that the kernel resolves when an armed page is written for the first time in
//! a window. Its price is measured on this machine, on a scratch mapping of ours, before the first attach (the same stores are timed
//! armed and unarmed, the difference is divided by the pages). The estimate is that price times the pages counted, set
//! against the processor time that the target itself used in the same windows. Not in it: the TLB shoot-downs of
//! re-arming on targets with many threads, and the splitting of a huge page (about 20 µs, once each). Too
//! much in it: pages written for the first time ever, whose fault happens without us as well.

use std::time::Duration;

use nix::sys::time::TimeValLike;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::Serialize;

use super::target::Status;

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
    fault_cost: Duration,
    page_tables_before: Option<u64>,
    page_tables: Option<u64>,
    cpu: Option<Duration>,
    recent: Recent,
    peak_latency: Duration,
}

#[derive(Debug, Default, Clone, Copy)]
struct Recent {
    pages: f64,
    seconds: f64,
    windows: f64,
    scanning: f64,
    target_cpu: f64,
}

/// The part of the sums that is left after one second.
const KEPT_PER_SECOND: f64 = 0.5;

impl Load {
    pub fn new(pid: u32, fault_cost: Duration) -> Self {
        let page_tables = page_tables(pid);
        Self {
            pid,
            fault_cost,
            page_tables_before: page_tables,
            page_tables,
            cpu: cpu_time(pid),
            recent: Recent::default(),
            peak_latency: Duration::ZERO,
        }
    }

    /// What one fault costs the target.
    pub fn fault_cost(&self) -> Duration {
        self.fault_cost
    }

    /// Takes one window into account.
    pub fn window(&mut self, pages: u64, length: Duration, scan: Duration) {
        let kept = KEPT_PER_SECOND.powf(length.as_secs_f64());
        let cpu = cpu_time(self.pid);
        let used = cpu.zip(self.cpu).map_or(Duration::ZERO, |(now, before)| now.saturating_sub(before));
        self.cpu = cpu;
        let old = self.recent;
        self.recent = Recent {
            pages: old.pages * kept + pages as f64,
            seconds: old.seconds * kept + length.as_secs_f64(),
            windows: old.windows * kept + 1.0,
            scanning: old.scanning * kept + scan.as_secs_f64(),
            target_cpu: old.target_cpu * kept + used.as_secs_f64(),
        };
        self.peak_latency = self.peak_latency.max(length + scan);
        self.page_tables = page_tables(self.pid).or(self.page_tables);
    }

    pub fn target(&self) -> TargetMetrics {
        let faults = self.recent.pages * self.fault_cost.as_secs_f64();
        // More fault time than processor time used is a counting error of an idle target, not a slow-down without end.
        let own = (self.recent.target_cpu - faults).max(faults * 0.01);
        let share = if own > 0.0 { faults / own } else { 0.0 };
        let grown =
            self.page_tables.zip(self.page_tables_before).map_or(0, |(now, then)| now.saturating_sub(then));
        TargetMetrics {
            overhead_percent: if self.recent.seconds > 0.0 {
                faults / self.recent.seconds * 100.0
            } else {
                0.0
            },
            slow_down_factor: 1.0 + share,
            memory_overhead_mb: grown as f64 / 1024.0,
        }
    }

    pub fn faults(&self) -> FaultMetrics {
        let Recent { pages, seconds, windows, scanning, .. } = self.recent;
        if seconds <= 0.0 {
            return FaultMetrics::default();
        }
        FaultMetrics {
            events_per_second: pages / seconds,
            average_latency_ms: (seconds / 2.0 + scanning) / windows * 1e3,
            peak_latency_ms: self.peak_latency.as_secs_f64() * 1e3,
            cpu_overhead_percent: scanning / seconds * 100.0,
        }
    }
}

/// Processor time of the whole process, from its own clock.
fn cpu_time(pid: u32) -> Option<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid as i32)).ok()?;
    let time = clock_gettime(clock).ok()?;
    Some(Duration::from_nanos(u64::try_from(time.num_nanoseconds()).ok()?))
}

/// Page tables of the process in KiB.
fn page_tables(pid: u32) -> Option<u64> {
    Status::of(pid).ok()?.number("VmPTE")
}
