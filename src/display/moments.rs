//! Pictures that are meant for a moment (commit-timing): each becomes part of the frame that is on the screen at that moment or
//! right after it, and of none before.

use std::time::Duration;

use calloop::timer::{TimeoutAction, Timer};
use smithay::output::Output;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{IsAlive, Monotonic, Time};
use smithay::wayland::commit_timing::{CommitTimerBarrierStateUserData, CommitTimerStateUserData, Timestamp};
use smithay::wayland::compositor::{CompositorHandler, with_states};

use super::Compositor;
use super::pacing::interval;

impl Compositor {
    /// A surface is about to be committed. If it is for a moment, the loop is awake when the frame for that is drawn.
    pub(crate) fn note_moment(&mut self, surface: &WlSurface) {
        let moment = with_states(surface, |states| {
            states.data_map.get::<CommitTimerStateUserData>().and_then(|state| state.borrow().timestamp)
        });
        let Some(moment) = moment else { return };
        let (at, now) =
            (Duration::from(Time::<Monotonic>::from(moment)), Duration::from(self.desk.clock.now()));
        let root = self.desk.owner_of(surface);
        let shown = self.desk.outputs.iter().find(|state| self.desk.roots_on(&state.output).contains(&root));
        let wait = shown.map_or(at.saturating_sub(now), |state| {
            let frame = interval(&state.output);
            let last = state.next_vblank(now).map(|next| next.saturating_sub(frame));
            wait(at, now, last, frame)
        });
        if !self.desk.timed.contains(surface) {
            self.desk.timed.push(surface.clone());
        }
        let surface = surface.clone();
        let armed = self.desk.handle.insert_source(
            Timer::from_duration(wait),
            move |_, (), compositor: &mut Compositor| {
                compositor.let_through(&surface, moment);
                TimeoutAction::Drop
            },
        );
        if let Err(error) = armed {
            tracing::debug!(%error, "no timer: a picture for a moment comes with the next frame after it");
        }
    }

    /// A frame of this output is about to be drawn: what is meant for when it is on the screen is part of it.
    pub(crate) fn release_moments(&mut self, output: &Output) {
        if self.desk.timed.is_empty() {
            return;
        }
        self.desk.timed.retain(|surface| {
            surface.alive()
                && with_states(surface, |states| {
                    let waiting = states.data_map.get::<CommitTimerBarrierStateUserData>();
                    waiting
                        .and_then(|state| state.lock().ok())
                        .is_some_and(|state| state.next_deadline().is_some())
                })
        });
        let now = Duration::from(self.desk.clock.now());
        let next = self.desk.output_state(output).and_then(|state| state.next_vblank(now));
        let Some(next) = next else { return };
        let here = self.desk.roots_on(output);
        let meant: Vec<WlSurface> = self
            .desk
            .timed
            .iter()
            .filter(|surface| here.contains(&self.desk.root_of(surface)))
            .cloned()
            .collect();
        for surface in meant {
            self.let_through(&surface, Time::<Monotonic>::from(next).into());
        }
    }

    /// What waits on this surface for this moment, or for one before it, waits no more.
    fn let_through(&mut self, surface: &WlSurface, moment: Timestamp) {
        if !surface.alive() {
            return;
        }
        let any = with_states(surface, |states| {
            let waiting = states.data_map.get::<CommitTimerBarrierStateUserData>();
            waiting.and_then(|state| state.lock().ok()).is_some_and(|mut state| state.signal_until(moment))
        });
        if let Some(client) = surface.client().filter(|_| any) {
            let display = self.desk.display.clone();
            self.client_compositor_state(&client).blocker_cleared(self, &display);
        }
    }
}

/// How long until frames are drawn for the first vblank that is not before `at`: a little after the one before it, so that no frame
/// for that one has it.
fn wait(at: Duration, now: Duration, last: Option<Duration>, frame: Duration) -> Duration {
    let Some(last) = last else { return at.saturating_sub(now) };
    let frame_ns = frame.as_nanos().max(1);
    let vblanks = at.saturating_sub(last).as_nanos().div_ceil(frame_ns).saturating_sub(1);
    let before = u64::try_from(vblanks * frame_ns).map_or(Duration::MAX, Duration::from_nanos);
    last.saturating_add(before).saturating_add(frame / 4).saturating_sub(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_waits_until_no_frame_is_drawn_any_more_that_is_shown_too_early() {
        let ms = Duration::from_millis;
        let wait = |at, now| wait(ms(at), ms(now), Some(ms(100)), ms(16));
        assert_eq!(wait(90, 101), ms(3), "for the next vblank");
        assert_eq!(wait(116, 101), ms(3), "that one");
        assert_eq!(wait(117, 101), ms(19), "the one after it");
        assert_eq!(wait(148, 101), ms(35));
        assert_eq!(wait(148, 200), ms(0));
        assert_eq!(super::wait(ms(50), ms(20), None, ms(16)), ms(30));
        assert!(
            super::wait(Duration::MAX, ms(20), Some(ms(10)), ms(16))
                > Duration::from_secs(u64::MAX / 2_000_000_000)
        );
    }
}
