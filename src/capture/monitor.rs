//! Watching an attached process, window by window.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{EventSource, Interest, Mode, Poll, PostAction, Readiness, Token, TokenFactory};

use super::anonymous::{Anonymizer, DisguisedPolicy};
use super::arming::{ArmingPolicy, StaggeredArming, WindowEnd};
use super::attach::{AttachMetrics, ProcessAttach, has_memory};
use super::metrics::{FaultMetrics, Load, TargetMetrics};
use super::probe::{self, Rung};
use super::range::PageRange;
use super::region::MemoryRegion;
use super::running::RunningThreads;
use super::target::{TargetInfo, errno};
use super::watch::{RefusedRegion, Stopped, WatchSet};
use super::{CaptureError, ProcessAttachCapability, huge};
use crate::error::{GlassRamError, Result};

/// How a process is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MonitorConfig {
    /// Length of a window.
    pub window: Duration,
    /// How much slower the target may become, as a share of its own time: 0.05 for 5 %. None: every page is seen in every
    /// window, whatever it costs.
    pub slowdown_budget: Option<f64>,
    /// Whether detaching puts those huge pages together again that watching has split.
    pub restore_huge_pages: bool,
    /// Whether windows have other addresses than the true ones, and mappings no names.
    pub anonymize: bool,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_millis(100),
            slowdown_budget: None,
            restore_huge_pages: true,
            anonymize: false,
        }
    }
}

/// What was written in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Counts from 0.
    pub index: u64,
    /// When it began; the one before it ended then.
    pub started: Instant,
    /// How long it really was. A loop that was held up gives one longer window, never several at once.
    pub length: Duration,
    /// The written pages: sorted, disjoint, page-aligned.
    pub written: Vec<PageRange>,
    /// Pages that were not armed, sorted, disjoint, apart from `written`: whether they were written is not known. Everywhere else
    /// silence is exact; where this is empty, the whole window is.
    pub unseen: Vec<PageRange>,
    /// The mappings under watch, in address order; only where they changed, and in the first window.
    pub regions: Option<Arc<[MemoryRegion]>>,
    /// Pages of all writable mappings, under watch or refused by the kernel.
    pub writable_pages: u64,
    /// Threads of the target that ran in it.
    pub active_threads: u32,
}

/// Why there will be no more windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The process ended.
    Ended,
    /// The process executed another program: what was watched is gone, and the new program can be attached to anew.
    Executed,
    /// It was a recording, and it is over.
    Replayed,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExitReason::Ended => "the process has ended",
            ExitReason::Executed => "the process has executed another program",
            ExitReason::Replayed => "the recording is over",
        })
    }
}

/// What the monitor reports.
#[derive(Debug, Clone, PartialEq)]
pub enum CaptureEvent {
    /// One window is over.
    Window(Window),
    /// The target is gone; the last event.
    Exited(ExitReason),
    /// Watching failed; the last event. The target runs on.
    Failed(GlassRamError),
}

/// A process under watch. Dropping it detaches.
///
/// As a calloop source it reports a window per period and the end of the target at once.
#[derive(Debug)]
pub struct GlassRamMonitor {
    target: ProcessAttach,
    config: MonitorConfig,
    watch: WatchSet,
    policy: Box<dyn ArmingPolicy>,
    anonymizer: Option<Arc<Mutex<Anonymizer>>>,
    load: Load,
    threads: RunningThreads,
    index: u64,
    since: Instant,
    timer: Timer,
    /// A second descriptor of the same process, for the loop.
    end: Generic<OwnedFd>,
    detached: bool,
}

impl GlassRamMonitor {
    /// Attaches to a process and begins to watch it.
    pub fn new(pid: u32) -> Result<Self> {
        Self::with_config(pid, MonitorConfig::default())
    }

    /// As `new`, with other settings.
    pub fn with_config(pid: u32, config: MonitorConfig) -> Result<Self> {
        Self::watch(ProcessAttach::attach(pid)?, config)
    }

    /// Begins to watch a process that is attached to already. What it wrote before is of no window.
    pub fn watch(mut target: ProcessAttach, config: MonitorConfig) -> Result<Self> {
        let pid = target.info.pid;
        let fault_cost = probe::supported()?.fault_cost;
        let end = target.pidfd.try_clone().map_err(|error| CaptureError::System {
            operation: "duplicating a pidfd",
            pid,
            errno: errno(error),
        })?;
        let load = Load::new(pid, fault_cost);
        let mut threads = RunningThreads::default();
        threads.since_last(pid);
        let mut watch = WatchSet::default();
        let anonymizer =
            config.anonymize.then(|| Arc::new(Mutex::new(Anonymizer::new(target.info.page_size))));
        let mut policy = disguised(anonymizer.as_ref(), Box::new(StaggeredArming::default()));
        let budget = faults_within(&config, config.window, fault_cost);
        // What was written before the attach is found here, and is of no window.
        let begun =
            watch.begin(&mut target).and_then(|()| end_window(&mut watch, &mut target, &mut policy, budget));
        begun.map_err(|stopped| match stopped {
            Stopped::Gone => CaptureError::Changed { pid },
            Stopped::Failed(error) => error,
        })?;
        let since = Instant::now();
        Ok(Self {
            target,
            config,
            watch,
            policy,
            anonymizer,
            load,
            threads,
            index: 0,
            since,
            timer: Timer::from_deadline(since + config.window),
            end: Generic::new(end, Interest::READ, Mode::Level),
            detached: false,
        })
    }

    /// Ends the current window now and reports it.
    pub fn scan(&mut self) -> Result<CaptureEvent> {
        if self.target.has_ended() {
            return Ok(CaptureEvent::Exited(ExitReason::Ended));
        }
        let now = Instant::now();
        let budget = faults_within(&self.config, now - self.since, self.load.fault_cost());
        let outcome = self.watch.reconcile(&mut self.target).and_then(|changed| {
            // Not those of the pages that are about to be left unarmed.
            let unseen = self.watch.unseen().to_vec();
            let written = end_window(&mut self.watch, &mut self.target, &mut self.policy, budget)?;
            Ok((changed, written, unseen))
        });
        let (changed, written, unseen) = match outcome {
            Ok(outcome) => outcome,
            Err(Stopped::Gone) => return Ok(CaptureEvent::Exited(self.why_gone())),
            Err(Stopped::Failed(error)) => return Err(error.into()),
        };
        let regions = (changed || self.index == 0).then(|| self.watch.regions());
        let page_size = self.target.info.page_size;
        let window = Window {
            index: self.index,
            started: self.since,
            length: now - self.since,
            written,
            unseen,
            regions,
            writable_pages: self.watch.writable_pages(page_size),
            active_threads: self.threads.since_last(self.target.info.pid),
        };
        let pages = window.written.iter().map(|range| range.pages(page_size)).sum();
        self.load.window(pages, window.length, now.elapsed());
        self.index += 1;
        self.since = now;
        Ok(CaptureEvent::Window(match &self.anonymizer {
            Some(anonymizer) => locked(anonymizer).window(window),
            None => window,
        }))
    }

    /// The address space has vanished: with the process, or because it executed another program.
    fn why_gone(&self) -> ExitReason {
        // A process that ends loses its memory a moment before its pidfd says so.
        if !self.target.has_ended() && has_memory(self.target.info.pid) {
            ExitReason::Executed
        } else {
            ExitReason::Ended
        }
    }

    /// Who is watched.
    pub fn target(&self) -> &TargetInfo {
        &self.target.info
    }

    /// What attaching cost.
    pub fn attach_metrics(&self) -> AttachMetrics {
        self.target.metrics()
    }

    /// How writes are followed.
    pub fn rung(&self) -> Rung {
        Rung::WpAsync
    }

    /// What watching costs the target, estimated over the last seconds (see the `metrics` module for how).
    pub fn target_metrics(&self) -> TargetMetrics {
        self.load.target()
    }

    /// What watching costs us, over the last seconds.
    pub fn fault_metrics(&self) -> FaultMetrics {
        self.load.faults()
    }

    /// From the window after the current one on, windows are so long.
    pub fn set_window(&mut self, window: Duration) {
        self.config.window = window;
    }

    /// Puts another policy in the place of the built-in one, from the end of this window on.
    pub fn set_arming_policy(&mut self, policy: Box<dyn ArmingPolicy>) {
        self.policy = disguised(self.anonymizer.as_ref(), policy);
    }

    /// The mappings under watch.
    pub fn regions(&self) -> Arc<[MemoryRegion]> {
        let regions = self.watch.regions();
        self.anonymizer
            .as_ref()
            .map_or_else(|| Arc::clone(&regions), |anonymizer| locked(anonymizer).follow(&regions))
    }

    /// Writable mappings that the kernel would not let us watch.
    pub fn refused_regions(&self) -> &[RefusedRegion] {
        self.watch.refused()
    }

    /// Attaches to a child of the target, to be watched as a target of its own.
    pub fn handle_fork(&mut self, child_pid: u32) -> Result<GlassRamMonitor> {
        self.target.handle_fork(child_pid)?;
        let child =
            self.target.take_children().pop().ok_or(CaptureError::NoSuchProcess { pid: child_pid })?;
        Self::watch(child, self.config)
    }

    /// Ends the watch and leaves nothing behind in the target.
    pub fn detach(mut self) -> Result<()> {
        self.release()
    }

    fn release(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.detached, true) || self.target.has_ended() {
            return Ok(());
        }
        // The table of this moment: what is not in it any more took its registration along.
        let _ = self.target.maps.read();
        let table = self.target.maps.parse(self.target.info.pid)?;
        for region in table.iter().filter(|region| region.is_watchable()) {
            // Mappings that were refused or are younger than the last window are not registered; closing the
            // descriptor ends whatever this leaves.
            let _ = self.target.uffd.unwatch(region.range());
        }
        if self.config.restore_huge_pages && !self.watch.huge().is_empty() {
            let (pidfd, by) = (self.target.pidfd.as_fd(), &self.target.by);
            let collapse = |pages: &[PageRange]| by.collapse(pidfd, pages);
            let restored = huge::restore(collapse, &mut self.target.pagemap, &table, self.watch.huge());
            tracing::debug!(pid = self.target.info.pid, restored, "huge pages put together again");
        }
        Ok(())
    }
}

/// Faults that a window of this length may cost the target; None where there is no limit.
fn faults_within(config: &MonitorConfig, length: Duration, fault_cost: Duration) -> Option<f64> {
    let budget = config.slowdown_budget?;
    Some(budget * length.as_secs_f64() / fault_cost.as_secs_f64().max(1e-9))
}

fn locked(anonymizer: &Arc<Mutex<Anonymizer>>) -> MutexGuard<'_, Anonymizer> {
    anonymizer.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The policy, seeing what everybody sees.
fn disguised(
    anonymizer: Option<&Arc<Mutex<Anonymizer>>>,
    policy: Box<dyn ArmingPolicy>,
) -> Box<dyn ArmingPolicy> {
    match anonymizer {
        Some(anonymizer) => Box::new(DisguisedPolicy { anonymizer: Arc::clone(anonymizer), policy }),
        None => policy,
    }
}

/// Finds what was written and arms for the next window: everything, where that is within the budget, else what the policy
/// chooses.
fn end_window(
    watch: &mut WatchSet,
    target: &mut ProcessAttach,
    policy: &mut Box<dyn ArmingPolicy>,
    budget: Option<f64>,
) -> std::result::Result<Vec<PageRange>, Stopped> {
    let collected = watch.collect(target, budget.map_or(u64::MAX, |faults| faults as u64))?;
    let regions = watch.regions();
    let end = WindowEnd {
        regions: &regions,
        page_size: target.info.page_size,
        written: &collected.written,
        unseen: watch.unseen(),
        budget: if collected.armed { None } else { budget },
    };
    let arming = policy.arm(&end);
    if !collected.armed {
        watch.arm(target, &collected.written, arming)?;
    }
    Ok(collected.written)
}

impl Drop for GlassRamMonitor {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            tracing::debug!(%error, "detaching");
        }
    }
}

impl EventSource for GlassRamMonitor {
    type Event = CaptureEvent;
    type Metadata = ();
    type Ret = ();
    type Error = std::io::Error;

    fn process_events<F>(
        &mut self,
        readiness: Readiness,
        token: Token,
        mut callback: F,
    ) -> std::io::Result<PostAction>
    where
        F: FnMut(CaptureEvent, &mut ()),
    {
        let mut ended = false;
        self.end.process_events(readiness, token, |_, _| {
            ended = true;
            Ok(PostAction::Continue)
        })?;
        if ended {
            callback(CaptureEvent::Exited(ExitReason::Ended), &mut ());
            return Ok(PostAction::Remove);
        }

        let mut due = None;
        let period = self.config.window;
        self.timer.process_events(readiness, token, |deadline, _| {
            due = Some(deadline);
            // Deadlines that have passed already are left out: one late window, then a whole period again.
            let (next, now) = (deadline + period, Instant::now());
            TimeoutAction::ToInstant(if next > now { next } else { now + period })
        })?;
        if due.is_none() {
            return Ok(PostAction::Continue);
        }
        let event = self.scan().unwrap_or_else(CaptureEvent::Failed);
        let last = !matches!(event, CaptureEvent::Window(_));
        callback(event, &mut ());
        Ok(if last { PostAction::Remove } else { PostAction::Continue })
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.timer.register(poll, factory)?;
        self.end.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.timer.reregister(poll, factory)?;
        self.end.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.timer.unregister(poll)?;
        self.end.unregister(poll)
    }
}
