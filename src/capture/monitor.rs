//! Watching an attached process, window by window.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::timer::Timer;
use calloop::{Interest, Mode};

use super::anonymous::{Anonymizer, DisguisedPolicy};
use super::arming::{ArmingPolicy, SweepArming};
use super::attach::{AttachMetrics, ProcessAttach, has_memory};
use super::fault_time::FaultTime;
use super::faults::ThreadFaults;
use super::governor::{Governing, Governor};
use super::keeper::Keeper;
use super::listening::{BIRTHS, Listening};
use super::lost::LostFeature;
use super::metrics::{Counted, FaultMetrics, Load, TargetMetrics};
use super::probe::{self, Rung};
use super::range;
use super::region::MemoryRegion;
use super::running::RunningThreads;
use super::target::{Status, TargetInfo, errno};
use super::tracker::Tracker;
use super::unwatched::{self, NotWatched, UnwatchedRegion};
use super::watch::Stopped;
use super::window::{CaptureEvent, ExitReason, Window};
use super::{CaptureError, FaultEvent, ProcessAttachCapability};
use crate::error::Result;

/// Bytes for which it is worth saying that they are not watched: nearly every program has a page that no kernel lets us watch.
const WORTH_SAYING: u64 = 64 << 10;

/// How a process is watched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MonitorConfig {
    /// Length of a window.
    pub window: Duration,
    /// How much slower the target may become, as a share of its own time: 0.05 for 5 %. None: every page is seen in every
    /// window, whatever it costs.
    pub slowdown_budget: Option<f64>,
    /// How writes are followed: the best that the kernel has, unless one is named here. What is attached already
    /// ([`GlassRamMonitor::watch`]) has its own.
    pub rung: Option<Rung>,
    /// Whether detaching puts those huge pages together again that watching has split.
    pub restore_huge_pages: bool,
    /// Whether windows have other addresses than the true ones, and mappings no names.
    pub anonymize: bool,
    /// Whether each process that the target forks is told of at once ([`CaptureEvent::Forked`]), so that it can be watched, too.
    /// Otherwise windows name them.
    pub follow_forks: bool,
}

impl MonitorConfig {
    /// Every page in every window, ten windows a second, whatever it costs the target.
    pub fn exact() -> Self {
        Self { window: Duration::from_millis(100), slowdown_budget: None, ..Self::default() }
    }
}

impl Default for MonitorConfig {
    fn default() -> Self {
        Self {
            window: Duration::from_nanos(16_666_667),
            slowdown_budget: Some(0.05),
            rung: None,
            restore_huge_pages: true,
            anonymize: false,
            follow_forks: false,
        }
    }
}

/// A process under watch. Dropping it detaches, without waiting for it.
///
/// As a calloop source it reports a window per period and the end of the target at once.
#[derive(Debug)]
pub struct GlassRamMonitor {
    target: ProcessAttach,
    pub(super) config: MonitorConfig,
    tracker: Tracker,
    governor: Governor,
    /// Where the target's faults can be timed.
    fault_time: Option<FaultTime>,
    anonymizer: Option<Arc<Mutex<Anonymizer>>>,
    load: Load,
    running: RunningThreads,
    listening: Listening,
    faults: ThreadFaults,
    index: u64,
    since: Instant,
    pub(super) timer: Timer,
    /// When it is listened for children, where these are followed.
    pub(super) births: Option<Timer>,
    /// A second descriptor of the same process, for the loop.
    pub(super) end: Generic<OwnedFd>,
    detached: bool,
}

impl GlassRamMonitor {
    /// Attaches to a process and begins to watch it.
    pub fn new(pid: u32) -> Result<Self> {
        Self::with_config(pid, MonitorConfig::default())
    }

    /// As `new`, with other settings.
    pub fn with_config(pid: u32, config: MonitorConfig) -> Result<Self> {
        let rung = config.rung.map_or_else(Rung::probe, Ok)?;
        Self::watch(ProcessAttach::attach_by(pid, rung)?, config)
    }

    /// Begins to watch a process that is attached to already. What it wrote before is of no window.
    pub fn watch(mut target: ProcessAttach, config: MonitorConfig) -> Result<Self> {
        let pid = target.info.pid;
        let end = target.pidfd.try_clone().map_err(|error| CaptureError::System {
            operation: "duplicating a pidfd",
            pid,
            errno: errno(error),
        })?;
        target.set_restoring(config.restore_huge_pages);
        let anonymizer =
            config.anonymize.then(|| Arc::new(Mutex::new(Anonymizer::new(target.info.page_size))));
        let policy = disguised(anonymizer.as_ref(), Box::new(SweepArming::default()));
        let mut governor = Governor::new(config.slowdown_budget, probe::fault_cost());
        let listening = Listening::to(&target, config.follow_forks);
        let tracker = Tracker::begin(&mut target, &mut governor, policy, config.window);
        let tracker = tracker.map_err(|stopped| match stopped {
            Stopped::Gone => CaptureError::Changed { pid },
            // A target that ends takes its keeper along.
            Stopped::Failed(CaptureError::KeeperDied { .. }) if target.has_ended() => {
                CaptureError::NoSuchProcess { pid }
            }
            Stopped::Failed(error) => error,
        })?;
        let load = Load::new(pid, tracker.vitals());
        let since = Instant::now();
        Ok(Self {
            target,
            config,
            tracker,
            governor,
            fault_time: FaultTime::of(pid),
            anonymizer,
            load,
            running: RunningThreads::new(pid),
            listening,
            faults: ThreadFaults::default(),
            index: 0,
            since,
            timer: Timer::from_deadline(since + config.window),
            births: config.follow_forks.then(|| Timer::from_duration(BIRTHS)),
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
        let length = now - self.since;
        let (samples, mut forked) = self.listening.window(&mut self.faults);
        let mut look = match self.tracker.look(&mut self.target, &mut self.governor, length) {
            Ok(look) => look,
            Err(Stopped::Gone) => return Ok(CaptureEvent::Exited(self.why_gone())),
            Err(Stopped::Failed(CaptureError::KeeperDied { .. })) if self.target.has_ended() => {
                return Ok(CaptureEvent::Exited(ExitReason::Ended));
            }
            Err(Stopped::Failed(error)) => return Err(error.into()),
        };
        // Without it nothing is registered any more, and a look finds nothing, whatever is written.
        if self.target.keeper().is_some_and(Keeper::is_gone) && !self.target.has_ended() {
            return Err(CaptureError::KeeperDied { pid: self.target.info.pid }.into());
        }
        let is_fork = |event: &&FaultEvent| matches!(event, FaultEvent::Fork { .. });
        if look.events.iter().filter(is_fork).count() > forked.len() {
            forked.extend(self.listening.find_children());
        }
        name_children(&mut look.events, &forked);
        let TargetInfo { pid, page_size, .. } = self.target.info;
        let running = self.running.latest(pid);
        let threads = self.faults.window(pid, samples, &look.written, page_size, length);
        if let Some(sampled) = &mut self.fault_time {
            sampled.window(look.spent.taken.max(look.spent.faults), length);
        }
        let shares = self.faults.shares();
        let cost = self.governor.window(&look.spent, length, running, &shares, self.fault_time.as_ref());
        let window = Window {
            index: self.index,
            started: self.since,
            length,
            written: look.written,
            unseen: look.unseen,
            regions: (look.changed || self.index == 0).then(|| self.tracker.regions()),
            writable_pages: self.tracker.writable_pages(page_size),
            active_threads: running.count(),
            threads,
            forked,
            events: look.events,
            dropped: look.dropped,
        };
        let pages = range::pages(&window.written, page_size);
        let counted = Counted { pages, flushes: look.spent.flushes, cost };
        self.load.window(self.tracker.vitals(), counted, length, now.elapsed());
        self.since = now;
        self.index += 1;
        Ok(CaptureEvent::Window(match &self.anonymizer {
            Some(anonymizer) => locked(anonymizer).window(window),
            None => window,
        }))
    }

    /// The processes that the target has forked and that this has not named before.
    pub(super) fn born(&mut self) -> Vec<u32> {
        self.listening.births(&mut self.faults)
    }

    /// The address space is gone although the process is there: it ends, or it executes another program.
    fn why_gone(&self) -> ExitReason {
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
        self.target.rung()
    }

    /// What this watch goes without, and why.
    pub fn lost(&self) -> Vec<LostFeature> {
        let threads = self
            .listening
            .deaf()
            .map(|reason| LostFeature { what: "who writes: the threads of a window", reason });
        let rung = Some(self.rung().lost())
            .filter(|lost| !lost.is_empty())
            .map(|lost| LostFeature { what: lost, reason: format!("this is the rung {}", self.rung()) });
        let not_watched = self.not_watched().into_iter().filter(|memory| memory.bytes >= WORTH_SAYING);
        let memory = not_watched
            .map(|memory| LostFeature { what: "a part of its memory", reason: memory.to_string() });
        threads
            .into_iter()
            .chain(rung)
            .chain(pinned(self.target.info.pid))
            .chain(self.tracker.unknown(self.config.anonymize))
            .chain(memory)
            .collect()
    }

    /// What watching costs the target, estimated over the last seconds (see the `metrics` module for how).
    pub fn target_metrics(&self) -> TargetMetrics {
        self.load.target()
    }

    /// What watching costs us, over the last seconds.
    pub fn fault_metrics(&self) -> FaultMetrics {
        self.load.faults(self.tracker.sync_metrics())
    }

    /// How the slowdown budget is held at the moment.
    pub fn governing(&self) -> Governing {
        self.governor.governing()
    }

    /// How long the next window is to be.
    pub(super) fn period(&self) -> Duration {
        self.tracker.period(self.config.window)
    }

    /// From the window after the current one on, windows are so long.
    pub fn set_window(&mut self, window: Duration) {
        self.config.window = window;
    }

    /// From the end of this window on, the target may become so much slower.
    pub fn set_slowdown_budget(&mut self, budget: Option<f64>) {
        self.config.slowdown_budget = budget;
        self.governor.set_budget(budget);
    }

    /// Puts another policy in the place of the built-in one, from the end of this window on. Only the asynchronous rung asks one.
    pub fn set_arming_policy(&mut self, policy: Box<dyn ArmingPolicy>) {
        if let Tracker::Async(tracker) = &mut self.tracker {
            tracker.set_policy(disguised(self.anonymizer.as_ref(), policy));
        }
    }

    /// The mappings under watch.
    pub fn regions(&self) -> Arc<[MemoryRegion]> {
        let regions = self.tracker.regions();
        self.anonymizer
            .as_ref()
            .map_or_else(|| Arc::clone(&regions), |anonymizer| locked(anonymizer).follow(&regions))
    }

    /// Writable mappings that are not watched.
    pub fn unwatched_regions(&self) -> &[UnwatchedRegion] {
        self.tracker.unwatched()
    }

    /// How much writable memory is not watched, and why; without addresses.
    pub fn not_watched(&self) -> Vec<NotWatched> {
        unwatched::summary(self.tracker.unwatched())
    }

    /// Attaches to a child of the target, to be watched as a target of its own.
    pub fn handle_fork(&mut self, child_pid: u32) -> Result<GlassRamMonitor> {
        self.target.handle_fork(child_pid)?;
        let child =
            self.target.take_children().pop().ok_or(CaptureError::NoSuchProcess { pid: child_pid })?;
        Self::watch(child, self.config)
    }

    /// Ends the watch and leaves nothing behind in the target. Huge pages that watching has split are whole again when this returns, unless
    /// that takes more than half a second: then they are soon after.
    ///
    /// # Errors
    ///
    /// [`CaptureError::KeeperDied`] where the kernel has ended the watch before, and huge pages stay as they are.
    pub fn detach(mut self) -> Result<()> {
        self.detached = true;
        if self.target.has_ended() {
            return Ok(());
        }
        let Some(keeper) = self.target.keeper() else { return self.let_go() };
        match keeper.finish() {
            Ok(restored) => {
                tracing::debug!(
                    pid = self.target.info.pid,
                    ?restored,
                    "let go; bytes of huge pages put together again"
                );
                Ok(())
            }
            // A target that ends takes its keeper along, and so does one that has executed another program.
            Err(_) if self.target.has_ended() || self.has_executed() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn has_executed(&mut self) -> bool {
        self.target.maps.read().is_ok() && self.target.maps.is_gone()
    }

    /// Lets go of what is registered with a userfaultfd of our own.
    fn let_go(&mut self) -> Result<()> {
        // The table of this moment: what is not in it any more took its registration along.
        let _ = self.target.maps.read();
        let table = self.target.maps.regions(self.target.info.pid)?;
        for region in table.iter().filter(|region| region.is_watchable()) {
            // Mappings that were refused or are younger than the last window are not registered; closing the
            // descriptor ends whatever this leaves.
            let _ = self.target.unwatch(region.range());
        }
        Ok(())
    }
}

/// Memory that is written without a page table being asked.
fn pinned(pid: u32) -> Option<LostFeature> {
    let kib = Status::of(pid).ok()?.number("VmPin").filter(|kib| *kib > 0)?;
    let reason = format!(
        "{kib} KiB are pinned, and what the kernel or a device writes there (registered buffers of io_uring, RDMA) leaves no trace"
    );
    Some(LostFeature { what: "writes into pinned memory", reason })
}

/// The kernel tells of a fork before the child has a number.
fn name_children(events: &mut [FaultEvent], forked: &[u32]) {
    let mut children = forked.iter();
    for event in events {
        if let FaultEvent::Fork { child_pid, .. } = event
            && let Some(child) = children.next()
        {
            *child_pid = *child;
        }
    }
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

impl Drop for GlassRamMonitor {
    fn drop(&mut self) {
        // A keeper lets go by itself when nobody is there any more.
        if self.detached || self.target.keeper().is_some() || self.target.has_ended() {
            return;
        }
        if let Err(error) = self.let_go() {
            tracing::debug!(%error, "detaching");
        }
    }
}
