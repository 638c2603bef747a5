//! When the loop draws: the outputs whose turn it is, and the timers that stand for vblanks that never come.

use std::time::Duration;

use calloop::timer::{TimeoutAction, Timer};
use smithay::output::Output;
use tracing::error;

use super::Compositor;
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
            self.desk.tell_scale(&output);
            let off = self.desk.output_state(&output).is_some_and(|state| state.off.is_some());
            let drawn = if off { Drawn::Skipped } else { self.backend.draw(&mut self.desk, &output) };
            self.desk.lock.drawn(&output, drawn);
            if matches!(drawn, Drawn::Flip | Drawn::Empty) {
                self.desk.await_frame(&output);
            }
            if let Some(state) = self.desk.output_state(&output) {
                state.redraw.drawn(drawn);
            }
            match drawn {
                Drawn::Empty => self.arm_timer(&output, interval(&output)),
                Drawn::Failed => self.arm_timer(&output, RETRY),
                Drawn::Flip | Drawn::Skipped => {}
            }
        }
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

/// How long a frame of this output lasts.
pub(crate) fn interval(output: &Output) -> Duration {
    let millihertz = output.current_mode().map_or(60_000, |mode| mode.refresh.max(1_000));
    Duration::from_nanos(1_000_000_000_000 / u64::from(millihertz.unsigned_abs()))
}
