//! What clients wait for: that the frame with what they have committed is on the screen. It is collected when the frame is drawn,
//! so that nobody is told of a picture that came too late for it, and answered when the frame arrives.

use std::time::Duration;

use calloop::timer::{TimeoutAction, Timer};
use smithay::desktop::utils::{
    OutputPresentationFeedback, take_presentation_feedback_surface_tree, with_surfaces_surface_tree,
};
use smithay::output::Output;
use smithay::reexports::wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::Kind;
use smithay::reexports::wayland_server::protocol::wl_callback::WlCallback;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::utils::IsAlive;
use smithay::wayland::compositor::{Barrier, SurfaceAttributes, SurfaceData, with_states};
use smithay::wayland::fifo::FifoBarrierCachedState;
use smithay::wayland::seat::WaylandFocus;

use super::Compositor;
use super::clients::ClientState;
use super::desk::Desk;

/// How long a picture that nobody sees counts as shown.
const UNSEEN: Duration = Duration::from_millis(100);

/// What one frame is awaited for.
#[derive(Default)]
pub(crate) struct Awaited {
    callbacks: Vec<WlCallback>,
    /// Commits that wait for the one before them to be shown.
    barriers: Vec<(Barrier, Client)>,
}

impl Desk {
    /// Who wants to know when exactly this output's next frame is on the screen.
    pub(crate) fn take_presentation_feedback(
        &self,
        output: &Output,
        mut flags: impl FnMut(&WlSurface, &SurfaceData) -> Kind,
    ) -> OutputPresentationFeedback {
        let mut feedback = OutputPresentationFeedback::new(output);
        for root in self.roots_on(output) {
            let here = |_: &WlSurface, _: &SurfaceData| Some(output.clone());
            take_presentation_feedback_surface_tree(&root, &mut feedback, here, &mut flags);
        }
        feedback
    }

    /// A frame of this output was drawn.
    pub(crate) fn await_frame(&mut self, output: &Output) {
        let mut awaited = Awaited::default();
        // A window that has no place yet still has to be able to draw its first picture.
        let unmapped = self.windows.unmapped().filter_map(WaylandFocus::wl_surface);
        let roots: Vec<WlSurface> =
            unmapped.map(|surface| surface.into_owned()).chain(self.roots_on(output)).collect();
        for root in roots {
            with_surfaces_surface_tree(&root, |surface, states| {
                let mut attributes = states.cached_state.get::<SurfaceAttributes>();
                awaited.callbacks.append(&mut attributes.current().frame_callbacks);
                if let Some(barrier) = take_barrier(states)
                    && let Some(client) = surface.client()
                {
                    awaited.barriers.push((barrier, client));
                }
            });
        }
        if let Some(state) = self.output_state(output) {
            state.awaited.callbacks.append(&mut awaited.callbacks);
            state.awaited.barriers.append(&mut awaited.barriers);
        }
    }
}

impl Compositor {
    /// That frame is on the screen: clients may draw their next one.
    pub(crate) fn frame_shown(&mut self, output: &Output) {
        let time = self.desk.milliseconds();
        let Some(state) = self.desk.output_state(output) else { return };
        let Awaited { callbacks, barriers } = std::mem::take(&mut state.awaited);
        for callback in callbacks {
            callback.done(time);
        }
        for (barrier, client) in barriers {
            self.lift(&barrier, &client);
        }
    }

    /// A surface that is on no output is not drawn, and its client is not held up for ever by that.
    pub(crate) fn release_unseen(&mut self, surface: &WlSurface) {
        let waits = with_states(surface, |states| {
            states.cached_state.get::<FifoBarrierCachedState>().current().barrier.is_some()
        });
        if !waits || self.desk.is_shown(&self.desk.root_of(surface)) {
            return;
        }
        let surface = surface.clone();
        let armed = self.desk.handle.insert_source(Timer::from_duration(UNSEEN), move |_, (), compositor| {
            if surface.alive()
                && let Some(client) = surface.client()
                && let Some(barrier) = with_states(&surface, take_barrier)
            {
                compositor.lift(&barrier, &client);
            }
            TimeoutAction::Drop
        });
        if let Err(error) = armed {
            tracing::debug!(%error, "no timer: a client that nobody sees waits until it is seen");
        }
    }

    fn lift(&mut self, barrier: &Barrier, client: &Client) {
        barrier.signal();
        let display = self.desk.display.clone();
        if let Some(state) = client.get_data::<ClientState>() {
            state.compositor.blocker_cleared(self, &display);
        }
    }
}

fn take_barrier(states: &SurfaceData) -> Option<Barrier> {
    states.cached_state.get::<FifoBarrierCachedState>().current().barrier.take()
}
