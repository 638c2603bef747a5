//! Who wants to know that nobody is there, and who says that somebody watches all the same.

use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::IsAlive;
use smithay::wayland::idle_inhibit::IdleInhibitHandler;
use smithay::wayland::idle_notify::{IdleNotifierHandler, IdleNotifierState};
use smithay::{delegate_idle_inhibit, delegate_idle_notify};

use crate::display::Compositor;
use crate::display::desk::Desk;

impl IdleNotifierHandler for Compositor {
    fn idle_notifier_state(&mut self) -> &mut IdleNotifierState<Self> {
        &mut self.desk.protocols.idle_notifier
    }
}

impl IdleInhibitHandler for Compositor {
    fn inhibit(&mut self, surface: WlSurface) {
        self.desk.protocols.idle_inhibitors.push(surface);
        self.desk.weigh_inhibitors();
    }

    fn uninhibit(&mut self, surface: WlSurface) {
        let inhibitors = &mut self.desk.protocols.idle_inhibitors;
        if let Some(at) = inhibitors.iter().position(|inhibitor| *inhibitor == surface) {
            inhibitors.swap_remove(at);
        }
        self.desk.weigh_inhibitors();
    }
}

delegate_idle_notify!(Compositor);
delegate_idle_inhibit!(Compositor);

impl Desk {
    /// A person has touched a key, a pointer, the screen.
    pub(crate) fn notice_activity(&mut self) {
        self.activity();
        let seat = self.seat.clone();
        self.protocols.idle_notifier.notify_activity(&seat);
    }

    /// An inhibitor counts while its surface is to be seen.
    pub(crate) fn weigh_inhibitors(&mut self) {
        self.protocols.idle_inhibitors.retain(IsAlive::alive);
        let inhibited = self.idle_inhibited();
        self.protocols.idle_notifier.set_is_inhibited(inhibited);
    }

    /// Whether a program that is to be seen wants the screen on.
    pub(crate) fn idle_inhibited(&self) -> bool {
        let inhibitors = &self.protocols.idle_inhibitors;
        inhibitors.iter().any(|surface| self.is_shown(&self.root_of(surface)))
    }
}
