//! A locked session. From the moment a program asks for the lock, outputs show nothing but its surfaces; it is told that the session
//! is locked when the last picture from before is off every screen. If it dies, the session stays locked, and another one may take
//! its place.

use smithay::output::Output;
use smithay::reexports::wayland_protocols::ext::session_lock::v1::server::ext_session_lock_v1::ExtSessionLockV1;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::Size;
use smithay::wayland::session_lock::{LockSurface, SessionLocker};
use tracing::info;

use super::desk::Desk;
use super::redraw::Drawn;

/// Whether the session is locked, and what it shows then.
#[derive(Default)]
pub(crate) struct Lock {
    state: State,
    surfaces: Vec<(Output, LockSurface)>,
}

#[derive(Default)]
enum State {
    #[default]
    Open,
    /// These outputs may still show what was there before; the flag says that a frame without it is on its way.
    Closing {
        confirmation: SessionLocker,
        outputs: Vec<(Output, bool)>,
    },
    Closed(ExtSessionLockV1),
}

impl Lock {
    /// Nothing of the session may be shown.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.state, State::Open)
    }

    /// What this output shows.
    pub(crate) fn surface(&self, output: &Output) -> Option<WlSurface> {
        let found = self.surfaces.iter().find(|(at, surface)| at == output && surface.alive());
        found.map(|(_, surface)| surface.wl_surface().clone())
    }

    /// The program that locked it is still there.
    fn is_held(&self) -> bool {
        match &self.state {
            State::Open => false,
            State::Closing { confirmation, .. } => confirmation.ext_session_lock().is_alive(),
            State::Closed(lock) => lock.is_alive(),
        }
    }

    /// An output was drawn, as a locked session has it.
    pub(crate) fn drawn(&mut self, output: &Output, drawn: Drawn) {
        let State::Closing { outputs, .. } = &mut self.state else { return };
        match drawn {
            Drawn::Flip => {
                if let Some((_, on_its_way)) = outputs.iter_mut().find(|(at, _)| at == output) {
                    *on_its_way = true;
                }
            }
            // Nothing differs from what is on the screen, or nothing is on it.
            Drawn::Empty | Drawn::Skipped => self.forget(output),
            Drawn::Failed => {}
        }
    }

    /// The last frame of this output is on the screen.
    pub(crate) fn presented(&mut self, output: &Output) {
        if let State::Closing { outputs, .. } = &self.state
            && outputs.iter().any(|(at, on_its_way)| at == output && *on_its_way)
        {
            self.forget(output);
        }
    }

    /// Nothing from before is on this output any more.
    fn forget(&mut self, output: &Output) {
        let State::Closing { outputs, .. } = &mut self.state else { return };
        outputs.retain(|(at, _)| at != output);
        self.confirm_if_covered();
    }

    fn confirm_if_covered(&mut self) {
        if !matches!(&self.state, State::Closing { outputs, .. } if outputs.is_empty()) {
            return;
        }
        if let State::Closing { confirmation, .. } = std::mem::take(&mut self.state) {
            self.state = State::Closed(confirmation.ext_session_lock().clone());
            confirmation.lock();
            info!("the session is locked");
        }
    }

    /// The output is gone.
    pub(crate) fn remove_output(&mut self, output: &Output) {
        self.surfaces.retain(|(at, _)| at != output);
        self.forget(output);
    }
}

impl Desk {
    /// A program asks for the lock. Refused while another one holds it.
    pub(crate) fn lock_session(&mut self, confirmation: SessionLocker) {
        if self.lock.is_held() {
            info!("the session is locked already: a second lock is refused");
            return;
        }
        let outputs = if self.lock.is_on() {
            // The one that held it has died; nothing has been shown since.
            Vec::new()
        } else {
            self.outputs.iter().map(|state| (state.output.clone(), false)).collect()
        };
        self.lock = Lock { state: State::Closing { confirmation, outputs }, surfaces: Vec::new() };
        self.lock.confirm_if_covered();
        self.reconsider_focus();
        self.queue_redraw_all();
    }

    /// The program that locked the session opens it.
    pub(crate) fn unlock_session(&mut self) {
        info!("the session is open again");
        self.lock = Lock::default();
        self.reconsider_focus();
        self.queue_redraw_all();
    }

    /// What an output shows from now on.
    pub(crate) fn add_lock_surface(&mut self, output: Output, surface: LockSurface) {
        output.enter(surface.wl_surface());
        self.lock.surfaces.retain(|(at, old)| *at != output && old.alive());
        self.lock.surfaces.push((output, surface));
        self.fit_lock_surfaces();
        self.reconsider_focus();
    }

    /// The lock's surfaces are as large as their outputs. The first configure of each is sent by its handler.
    pub(crate) fn fit_lock_surfaces(&self) {
        for (output, surface) in &self.lock.surfaces {
            let Some(geometry) = self.space.output_geometry(output).filter(|_| surface.alive()) else {
                continue;
            };
            let size = Size::from((geometry.size.w.unsigned_abs(), geometry.size.h.unsigned_abs()));
            surface.with_pending_state(|state| state.size = Some(size));
            surface.send_configure();
        }
    }
}
