//! Copy and paste across the border: what one side copies, the other may paste.

use std::os::fd::OwnedFd;

use smithay::wayland::selection::SelectionTarget;
use smithay::wayland::selection::data_device::{
    clear_data_device_selection, current_data_device_selection_userdata,
    request_data_device_client_selection, set_data_device_selection,
};
use smithay::wayland::selection::primary_selection::{
    clear_primary_selection, current_primary_selection_userdata, request_primary_client_selection,
    set_primary_selection,
};
use tracing::debug;

use crate::display::Compositor;
use crate::display::error::chain;

impl Compositor {
    /// A Wayland client has copied something of these types, or nothing any more: X11 programs may paste it.
    pub(crate) fn offer_to_x11(&mut self, target: SelectionTarget, types: Option<Vec<String>>) {
        match target {
            SelectionTarget::Clipboard => self.desk.copied.0.clone_from(&types),
            SelectionTarget::Primary => self.desk.copied.1.clone_from(&types),
        }
        let manager = self.desk.xwayland.as_mut().and_then(super::Xwayland::manager);
        if let Some(manager) = manager
            && let Err(error) = manager.new_selection(target, types)
        {
            debug!(error = chain(&error), "X11 programs cannot paste what was copied");
        }
    }

    /// Xwayland has come later than what was copied.
    pub(super) fn offer_selections_to_x11(&mut self) {
        let (clipboard, primary) = self.desk.copied.clone();
        for (target, types) in [(SelectionTarget::Clipboard, clipboard), (SelectionTarget::Primary, primary)]
        {
            if types.is_some() {
                self.offer_to_x11(target, types);
            }
        }
    }

    /// A Wayland client pastes what an X11 program has copied.
    pub(crate) fn paste_from_x11(&mut self, target: SelectionTarget, mime_type: String, fd: OwnedFd) {
        let handle = self.desk.handle.clone();
        let manager = self.desk.xwayland.as_mut().and_then(super::Xwayland::manager);
        if let Some(manager) = manager
            && let Err(error) = manager.send_selection(target, mime_type, fd, handle)
        {
            debug!(error = chain(&error), "what an X11 program has copied cannot be pasted");
        }
    }

    /// An X11 program pastes what a Wayland client has copied.
    pub(super) fn paste_to_x11(&mut self, target: SelectionTarget, mime_type: String, fd: OwnedFd) {
        let seat = &self.desk.seat;
        let sent = match target {
            SelectionTarget::Clipboard => {
                request_data_device_client_selection(seat, mime_type, fd).map_err(|error| chain(&error))
            }
            SelectionTarget::Primary => {
                request_primary_client_selection(seat, mime_type, fd).map_err(|error| chain(&error))
            }
        };
        if let Err(error) = sent {
            debug!(error, "an X11 program cannot paste what was copied");
        }
    }

    /// An X11 program has copied something.
    pub(super) fn offer_from_x11(&mut self, target: SelectionTarget, mut types: Vec<String>) {
        // An atom may hold a NUL, a text on the wire of Wayland may not.
        types.retain(|name| !name.contains('\0'));
        let (display, seat) = (&self.desk.display, &self.desk.seat);
        match target {
            SelectionTarget::Clipboard => set_data_device_selection::<Self>(display, seat, types, ()),
            SelectionTarget::Primary => set_primary_selection::<Self>(display, seat, types, ()),
        }
    }

    /// What an X11 program had copied is gone.
    pub(super) fn cleared_by_x11(&mut self, target: SelectionTarget) {
        let (display, seat) = (&self.desk.display, &self.desk.seat);
        match target {
            SelectionTarget::Clipboard => {
                if current_data_device_selection_userdata::<Self>(seat).is_some() {
                    clear_data_device_selection::<Self>(display, seat);
                }
            }
            SelectionTarget::Primary => {
                if current_primary_selection_userdata::<Self>(seat).is_some() {
                    clear_primary_selection::<Self>(display, seat);
                }
            }
        }
    }

    /// Nobody is there to paste it from.
    pub(super) fn forget_x11_selections(&mut self) {
        self.cleared_by_x11(SelectionTarget::Clipboard);
        self.cleared_by_x11(SelectionTarget::Primary);
    }
}
