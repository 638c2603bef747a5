//! When the loop draws: the outputs whose turn it is, and the timers that stand for vblanks that never come.

use std::time::{Duration, Instant};

use calloop::timer::{TimeoutAction, Timer};
use smithay::output::Output;
use tracing::error;

use super::Compositor;
use super::backend::Backend;
use super::redraw::Drawn;

/// How long to leave a card alone that has refused a frame.
const RETRY: Duration = Duration::from_millis(100);

impl Compositor {
    /// Draws every output whose turn it is.
    pub(crate) fn redraw_due(&mut self) {
        let due: Vec<Output> = self
            .desk
            .outputs
            .iter()
            .filter(|state| state.redraw.due())
            .map(|state| state.output.clone())
            .collect();
        for output in due {
            let off = self.desk.output_state(&output).is_some_and(|state| state.off.is_some());
            if !off && self.holds_back(&output) {
                continue;
            }
            self.release_moments(&output);
            self.desk.tell_scale(&output);
            self.tell_devices(&output);
            let begun = Instant::now();
            let drawn = if off { Drawn::Skipped } else { self.backend.draw(&mut self.desk, &output) };
            self.desk.lock.drawn(&output, drawn);
            if matches!(drawn, Drawn::Flip | Drawn::Empty) {
                self.desk.await_frame(&output);
            }
            let now = Duration::from(self.desk.clock.now());
            let mut vblank = interval(&output);
            if let Some(state) = self.desk.output_state(&output) {
                state.redraw.drawn(drawn);
                state.draw_time = begun.elapsed();
                vblank = state.next_vblank(now).map_or(vblank, |next| next.saturating_sub(now));
            }
            match drawn {
                Drawn::Empty => self.arm_timer(&output, vblank),
                Drawn::Failed => self.arm_timer(&output, RETRY),
                Drawn::Flip | Drawn::Skipped => {}
            }
        }
    }

    /// Whether this output's frame waits for the map: a picture of a window that has just ended is being drawn, and there is time.
    /// Without it the frame would be sent, and the picture, a moment later, would have to wait until that frame is shown and another
    /// one is drawn: it would come with the third refresh after its window, not the second.
    fn holds_back(&mut self, output: &Output) -> bool {
        if matches!(self.backend, Backend::Nested(_)) {
            // A window's frames are the desktop's, which has a deadline of its own.
            return false;
        }
        let now = Duration::from(self.desk.clock.now());
        let handle = self.desk.handle.clone();
        let Some(state) = self.desk.output_state(output) else { return false };
        let left = state
            .next_vblank(now)
            .map(|next| next.saturating_sub(now))
            .filter(|_| state.map.is_awaited())
            .map_or(Duration::ZERO, |left| left.saturating_sub(needed(interval(output), state.draw_time)));
        if left.is_zero() {
            state.held.take().into_iter().for_each(|timer| handle.remove(timer));
            return false;
        }
        if state.held.is_none() {
            let weak = output.downgrade();
            let timer = Timer::from_duration(left);
            let timer = handle.insert_source(timer, move |_, (), compositor: &mut Compositor| {
                let output = weak.upgrade();
                if let Some(state) = output.and_then(|output| compositor.desk.output_state(&output)) {
                    state.held = None;
                }
                compositor.desk.wake.ping();
                TimeoutAction::Drop
            });
            state.held = timer.ok();
        }
        state.held.is_some()
    }

    /// After this time the output may be drawn again, though no vblank will say so.
    pub(crate) fn arm_timer(&mut self, output: &Output, after: Duration) {
        let weak = output.downgrade();
        let timer = Timer::from_duration(after);
        let armed = self.desk.handle.insert_source(timer, move |_, _, compositor: &mut Compositor| {
            if let Some(output) = weak.upgrade() {
                compositor.timer_fired(&output);
            }
            TimeoutAction::Drop
        });
        if let Err(error) = armed {
            error!(%error, "no timer: the output is drawn at the next change only");
            if let Some(state) = self.desk.output_state(output) {
                state.redraw.reset();
            }
        }
    }

    fn timer_fired(&mut self, output: &Output) {
        let Some(state) = self.desk.output_state(output) else { return };
        let due = state.redraw.timer();
        self.backend.timer_fired(&mut self.desk, output);
        self.finish_copies();
        self.frame_shown(output);
        if due {
            self.desk.wake.ping();
        }
    }

    /// A frame of this output is on the screen.
    pub(crate) fn vblank(&mut self, output: &Output) {
        let Some(state) = self.desk.output_state(output) else { return };
        let due = state.redraw.vblank();
        self.finish_copies();
        self.desk.lock.presented(output);
        self.frame_shown(output);
        if due {
            self.desk.wake.ping();
        }
    }
}

/// How long before its vblank a frame is drawn at the latest: half a refresh, or more where drawing takes long.
fn needed(frame: Duration, draw_time: Duration) -> Duration {
    (frame / 2).max(draw_time * 2)
}

/// The first vblank after `now`, counted on from the last one that was seen.
pub(crate) fn next_vblank(last: Option<Duration>, now: Duration, frame: Duration) -> Option<Duration> {
    let frame_ns = frame.as_nanos().max(1);
    let since = now.checked_sub(last?)?.as_nanos();
    let ahead = u64::try_from((since / frame_ns + 1) * frame_ns).ok()?;
    Some(last? + Duration::from_nanos(ahead))
}

/// How long a frame of this output lasts.
pub(crate) fn interval(output: &Output) -> Duration {
    let millihertz = output.current_mode().map_or(60_000, |mode| mode.refresh.max(1_000));
    Duration::from_nanos(1_000_000_000_000 / u64::from(millihertz.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_vblank_is_counted_on_from_the_last() {
        let ms = Duration::from_millis;
        assert_eq!(next_vblank(None, ms(5), ms(10)), None);
        assert_eq!(next_vblank(Some(ms(100)), ms(101), ms(10)), Some(ms(110)));
        assert_eq!(next_vblank(Some(ms(100)), ms(110), ms(10)), Some(ms(120)));
        assert_eq!(next_vblank(Some(ms(100)), ms(157), ms(10)), Some(ms(160)));
    }

    #[test]
    fn a_frame_that_takes_long_is_begun_early() {
        let ms = Duration::from_millis;
        assert_eq!(needed(ms(16), ms(1)), ms(8));
        assert_eq!(needed(ms(16), ms(7)), ms(14));
        assert_eq!(needed(ms(16), ms(40)), ms(80), "never held back");
    }
}
