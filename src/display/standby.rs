//! Switches displays off and on again: the part of [`power`](super::power) that acts.

use std::time::Instant;

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{Interest, LoopHandle, Mode, PostAction};
use nix::libc;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tracing::{debug, info, warn};

use super::compositor::Notice;
use super::desk::Desk;
use super::power::{Moment, Off};
use super::{Compositor, DisplayError};

impl Desk {
    /// Somebody has used a key, the pointer or the touch screen.
    pub(crate) fn activity(&mut self) {
        self.last_used = Instant::now();
        let dark = self.outputs.iter().any(|state| state.off.is_some());
        if dark || self.off_by_hand {
            self.off_by_hand = false;
            // Not from within the event: it may still be on its way to a client.
            self.handle.insert_idle(Compositor::check_power);
        }
    }
}

impl Compositor {
    /// Switches displays on or off: one or a span by hand, until it is done again; all of them until somebody uses the session.
    /// Returns how many outputs are meant.
    pub fn set_power(&mut self, on: bool, name: Option<&str>) -> usize {
        let meant = self.desk.called(name);
        if name.is_none() {
            self.desk.off_by_hand = !on;
            if on {
                self.desk.last_used = Instant::now();
            }
        }
        for output in &meant {
            if name.is_some() || on {
                self.desk.by_hand.entry(output.key()).or_default().off = !on;
            }
        }
        self.check_power();
        meant.len()
    }

    /// Brings every output in step with the time, the settings and what was said by hand.
    pub(crate) fn check_power(&mut self) {
        let desk = &mut self.desk;
        let moment = Moment {
            unused: desk.last_used.elapsed(),
            inhibited: desk.idle_inhibited(),
            second_of_day: local_second_of_day(),
            off_by_hand: desk.off_by_hand,
        };
        let (all_off, again) = desk.config.settings.power.decide(&moment);
        let mut changed = false;
        for at in 0..self.desk.outputs.len() {
            let state = &self.desk.outputs[at];
            let by_hand = self.desk.by_hand.get(&state.identity.key()).is_some_and(|by_hand| by_hand.off);
            let off = if by_hand { Some(Off::ByHand) } else { all_off };
            if off != state.off {
                changed = true;
                self.switch(at, off);
            }
        }
        if let Some(token) = self.desk.power_timer.take() {
            self.desk.handle.remove(token);
        }
        if let Some(after) = again {
            let timer = Timer::from_duration(after);
            let armed = self.desk.handle.insert_source(timer, |_, (), compositor: &mut Compositor| {
                compositor.desk.power_timer = None;
                compositor.desk.handle.insert_idle(Compositor::check_power);
                TimeoutAction::Drop
            });
            match armed {
                Ok(token) => self.desk.power_timer = Some(token),
                Err(error) => warn!(%error, "no timer: displays are not switched off by themselves"),
            }
        }
        if changed {
            self.desk.notify(Notice::Changed);
        }
    }

    fn switch(&mut self, at: usize, off: Option<Off>) {
        let state = &mut self.desk.outputs[at];
        let output = state.output.clone();
        let was_off = std::mem::replace(&mut state.off, off).is_some();
        match off {
            Some(reason) => info!(output = output.name(), "{reason}"),
            None => info!(output = output.name(), "on"),
        }
        if was_off == off.is_some() {
            return;
        }
        if let Err(reason) = self.backend.set_power(&output, off.is_none()) {
            warn!(output = output.name(), reason, "the display cannot be switched off: it shows nothing new");
        }
        let (state, worker) = (&mut self.desk.outputs[at], self.desk.worker.as_ref());
        // A frame that was under way is not answered any more.
        state.redraw.reset();
        state.map.screen_lost(worker);
        state.map.set_dark(off.is_some(), worker);
        self.desk.queue_redraw(&output);
    }

    /// Somebody has set the clock, or the machine was asleep: displays may have been plugged meanwhile, and it may be night.
    fn clock_changed(&mut self) {
        debug!("the clock was set, or the machine slept");
        self.rescan();
        self.set_up_outputs();
    }

    /// Looks at the connectors again.
    pub(crate) fn rescan(&mut self) {
        let changes = self.backend.rescan(&self.desk.config.settings);
        for output in &changes.removed {
            self.output_removed(output);
        }
        for output in changes.added {
            self.output_added(output);
        }
    }
}

/// The kernel tells whoever waits for a time of day when that clock jumps, which it also does when the machine wakes up. Costs
/// nothing while nothing happens.
pub(crate) fn watch_clock(handle: &LoopHandle<'static, Compositor>) -> Result<(), DisplayError> {
    let failed = |reason: String| DisplayError::Setup { what: "watching the clock", reason };
    let timer = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)
        .map_err(|error| failed(error.to_string()))?;
    // A moment that never comes: the end of 32-bit time, or a century from now.
    let never = TimeSpec::new(i64::from(u32::MAX), 0);
    let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
    timer.set(Expiration::OneShot(never), flags).map_err(|error| failed(error.to_string()))?;
    handle
        .insert_source(Generic::new(timer, Interest::READ, Mode::Level), |_, timer, compositor| {
            // Reading it says ECANCELED, and waits for the next jump.
            let _ = timer.wait();
            compositor.desk.handle.insert_idle(Compositor::clock_changed);
            Ok(PostAction::Continue)
        })
        .map(drop)
        .map_err(|error| failed(error.to_string()))
}

/// Seconds after midnight where the person is.
#[allow(unsafe_code)]
fn local_second_of_day() -> u32 {
    // SAFETY: time(2) takes a null pointer; localtime_r(3) writes the structure that it is given, all of whose fields may be zero.
    let broken_down = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut broken_down: libc::tm = std::mem::zeroed();
        libc::localtime_r(&now, &mut broken_down);
        broken_down
    };
    // A leap second counts as the one before it.
    let seconds = broken_down.tm_hour * 3600 + broken_down.tm_min * 60 + broken_down.tm_sec.min(59);
    seconds.unsigned_abs()
}
