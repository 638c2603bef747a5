//! Programs that want the session's hotkeys for themselves: viewers of other machines, virtual machines. A person has one key by which
//! they are the session's again.

use smithay::delegate_keyboard_shortcuts_inhibit;
use smithay::wayland::keyboard_shortcuts_inhibit::{
    KeyboardShortcutsInhibitHandler, KeyboardShortcutsInhibitState, KeyboardShortcutsInhibitor,
    KeyboardShortcutsInhibitorSeat,
};

use crate::display::Compositor;

impl KeyboardShortcutsInhibitHandler for Compositor {
    fn keyboard_shortcuts_inhibit_state(&mut self) -> &mut KeyboardShortcutsInhibitState {
        &mut self.desk.protocols.shortcuts_inhibit
    }

    fn new_inhibitor(&mut self, inhibitor: KeyboardShortcutsInhibitor) {
        // The one key of a kiosk is its person's.
        if !self.desk.is_kiosk() {
            inhibitor.activate();
        }
    }
}

delegate_keyboard_shortcuts_inhibit!(Compositor);

impl Compositor {
    /// What the window that has the keyboard has asked for.
    fn inhibitor(&self) -> Option<KeyboardShortcutsInhibitor> {
        let focus = self.desk.seat.get_keyboard()?.current_focus()?;
        self.desk.seat.keyboard_shortcuts_inhibitor_for_surface(focus.surface())
    }

    /// Whether the window that has the keyboard has the hotkeys, too.
    pub(crate) fn hotkeys_are_handed_over(&self) -> bool {
        self.overlay().is_none() && self.inhibitor().is_some_and(|inhibitor| inhibitor.is_active())
    }

    /// They go to the window that has asked for them, or back.
    pub(crate) fn hand_over_hotkeys(&mut self) {
        match self.inhibitor() {
            Some(inhibitor) if inhibitor.is_active() => inhibitor.inactivate(),
            Some(inhibitor) => inhibitor.activate(),
            None => {}
        }
    }
}
