//! Copy, paste, and drag-and-drop between clients, and clipboard managers.

use std::os::fd::OwnedFd;

use smithay::input::Seat;
use smithay::reexports::wayland_server::protocol::wl_data_source::WlDataSource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::Point;
use smithay::wayland::selection::data_device::{
    ClientDndGrabHandler, DataDeviceHandler, DataDeviceState, ServerDndGrabHandler,
};
use smithay::wayland::selection::primary_selection::{PrimarySelectionHandler, PrimarySelectionState};
use smithay::wayland::selection::{SelectionHandler, SelectionSource, SelectionTarget};
use smithay::wayland::selection::{ext_data_control, wlr_data_control};
use smithay::{
    delegate_data_control, delegate_data_device, delegate_ext_data_control, delegate_primary_selection,
};

use crate::display::Compositor;
use crate::display::cursor::DragIcon;

impl SelectionHandler for Compositor {
    type SelectionUserData = ();

    fn new_selection(&mut self, target: SelectionTarget, source: Option<SelectionSource>, _seat: Seat<Self>) {
        self.offer_to_x11(target, source.map(|source| source.mime_types()));
    }

    // The only selections that are not a client's own are those of X11 programs.
    fn send_selection(
        &mut self,
        target: SelectionTarget,
        mime_type: String,
        fd: OwnedFd,
        _seat: Seat<Self>,
        _data: &(),
    ) {
        self.paste_from_x11(target, mime_type, fd);
    }
}

impl DataDeviceHandler for Compositor {
    fn data_device_state(&self) -> &DataDeviceState {
        &self.desk.protocols.data_device
    }
}

impl ClientDndGrabHandler for Compositor {
    fn started(&mut self, _source: Option<WlDataSource>, icon: Option<WlSurface>, _seat: Seat<Self>) {
        self.desk.drag_icon = icon.map(|surface| DragIcon { surface, offset: Point::default() });
        self.desk.queue_redraw_all();
    }

    fn dropped(&mut self, _target: Option<WlSurface>, _validated: bool, _seat: Seat<Self>) {
        self.desk.drag_icon = None;
        self.desk.queue_redraw_all();
    }
}

impl ServerDndGrabHandler for Compositor {}

impl PrimarySelectionHandler for Compositor {
    fn primary_selection_state(&self) -> &PrimarySelectionState {
        &self.desk.protocols.primary_selection
    }
}

impl wlr_data_control::DataControlHandler for Compositor {
    fn data_control_state(&self) -> &wlr_data_control::DataControlState {
        &self.desk.protocols.wlr_data_control
    }
}

impl ext_data_control::DataControlHandler for Compositor {
    fn data_control_state(&self) -> &ext_data_control::DataControlState {
        &self.desk.protocols.ext_data_control
    }
}

delegate_data_control!(Compositor);
delegate_ext_data_control!(Compositor);
delegate_data_device!(Compositor);
delegate_primary_selection!(Compositor);
