//! Screen lockers.

use smithay::delegate_session_lock;
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_output::WlOutput;
use smithay::utils::SERIAL_COUNTER;
use smithay::wayland::session_lock::{
    LockSurface, SessionLockHandler, SessionLockManagerState, SessionLocker,
};

use crate::display::Compositor;

impl SessionLockHandler for Compositor {
    fn lock_state(&mut self) -> &mut SessionLockManagerState {
        &mut self.desk.protocols.session_lock
    }

    fn lock(&mut self, confirmation: SessionLocker) {
        // Whoever held pointer or keyboard for a menu or a drag holds them no more.
        self.dismiss_menu();
        let serial = SERIAL_COUNTER.next_serial();
        if let Some(pointer) = self.desk.seat.get_pointer() {
            pointer.unset_grab(self, serial, self.desk.milliseconds());
        }
        if let Some(keyboard) = self.desk.seat.get_keyboard() {
            keyboard.unset_grab(self);
        }
        self.desk.lock_session(confirmation);
        self.leave_covered_map();
    }

    fn unlock(&mut self) {
        self.desk.unlock_session();
    }

    fn new_surface(&mut self, surface: LockSurface, output: WlOutput) {
        if let Some(output) = Output::from_resource(&output) {
            self.desk.add_lock_surface(output, surface);
        }
    }
}

delegate_session_lock!(Compositor);
