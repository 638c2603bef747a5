//! Graphics tablets: their tools move the pointer's image, and speak to the client under it in the tablet protocol.

use smithay::backend::input::{
    AbsolutePositionEvent, Device, DeviceCapability, Event, InputBackend, InputEvent, ProximityState,
    TabletToolAxisEvent, TabletToolButtonEvent, TabletToolEvent, TabletToolProximityEvent,
    TabletToolTipEvent, TabletToolTipState,
};
use smithay::utils::SERIAL_COUNTER;
use smithay::wayland::tablet_manager::{TabletDescriptor, TabletSeatTrait};

use super::Compositor;

impl Compositor {
    /// Handles an event of a tablet or its tools; every other kind is left alone.
    pub(crate) fn tablet<B: InputBackend>(&mut self, event: &InputEvent<B>) {
        match event {
            InputEvent::DeviceAdded { device } if device.has_capability(DeviceCapability::TabletTool) => {
                let tablets = self.desk.seat.tablet_seat();
                tablets.add_tablet::<Self>(&self.desk.display, &TabletDescriptor::from(device));
            }
            InputEvent::DeviceRemoved { device } if device.has_capability(DeviceCapability::TabletTool) => {
                let tablets = self.desk.seat.tablet_seat();
                tablets.remove_tablet(&TabletDescriptor::from(device));
                // A tool belongs to a seat, not to a tablet; with the last tablet the tools are gone too.
                if tablets.count_tablets() == 0 {
                    tablets.clear_tools();
                }
            }
            InputEvent::TabletToolProximity { event } => self.tool_proximity::<B>(event),
            InputEvent::TabletToolAxis { event } => self.tool_moved::<B, _>(event),
            InputEvent::TabletToolTip { event } => self.tool_tip::<B>(event),
            InputEvent::TabletToolButton { event } => {
                if let Some(tool) = self.desk.seat.tablet_seat().get_tool(&event.tool()) {
                    let serial = SERIAL_COUNTER.next_serial();
                    tool.button(event.button(), event.button_state(), serial, event.time_msec());
                }
            }
            _ => {}
        }
    }

    fn tool_proximity<B: InputBackend>(&mut self, event: &B::TabletToolProximityEvent) {
        let Some(to) = self.absolute::<B, _>(event) else { return };
        let tablets = self.desk.seat.tablet_seat();
        let display = self.desk.display.clone();
        tablets.add_tool::<Self>(self, &display, &event.tool());
        let tablet = tablets.get_tablet(&TabletDescriptor::from(&event.device()));
        let (Some(tablet), Some(tool)) = (tablet, tablets.get_tool(&event.tool())) else { return };
        let time = event.time_msec();
        match event.state() {
            ProximityState::In => {
                self.pointer_to(to, time);
                if let Some(under) = self.desk.under(to) {
                    let focus = (under.surface, under.place);
                    tool.proximity_in(to, focus, &tablet, SERIAL_COUNTER.next_serial(), time);
                }
            }
            ProximityState::Out => tool.proximity_out(time),
        }
    }

    fn tool_moved<B: InputBackend, E>(&mut self, event: &E)
    where
        E: TabletToolEvent<B> + TabletToolAxisEvent<B> + AbsolutePositionEvent<B>,
    {
        let Some(to) = self.absolute::<B, _>(event) else { return };
        let tablets = self.desk.seat.tablet_seat();
        let tablet = tablets.get_tablet(&TabletDescriptor::from(&event.device()));
        let (Some(tablet), Some(tool)) = (tablet, tablets.get_tool(&event.tool())) else { return };
        self.pointer_to(to, event.time_msec());
        if event.pressure_has_changed() {
            tool.pressure(event.pressure());
        }
        if event.distance_has_changed() {
            tool.distance(event.distance());
        }
        if event.tilt_has_changed() {
            tool.tilt(event.tilt());
        }
        if event.slider_has_changed() {
            tool.slider_position(event.slider_position());
        }
        if event.rotation_has_changed() {
            tool.rotation(event.rotation());
        }
        if event.wheel_has_changed() {
            tool.wheel(event.wheel_delta(), event.wheel_delta_discrete());
        }
        let under = self.desk.under(to).map(|under| (under.surface, under.place));
        tool.motion(to, under, &tablet, SERIAL_COUNTER.next_serial(), event.time_msec());
    }

    fn tool_tip<B: InputBackend>(&mut self, event: &B::TabletToolTipEvent) {
        let Some(tool) = self.desk.seat.tablet_seat().get_tool(&event.tool()) else { return };
        match event.tip_state() {
            TabletToolTipState::Down => {
                tool.tip_down(SERIAL_COUNTER.next_serial(), event.time_msec());
                self.activate_at(self.desk.pointer_at);
            }
            TabletToolTipState::Up => tool.tip_up(event.time_msec()),
        }
    }
}
