//! The devices of the seat: what they make the seat capable of, and which output each covers.

use std::collections::HashMap;

use smithay::backend::input::{AbsolutePositionEvent, Device, DeviceCapability, InputBackend};
use smithay::output::Output;
use smithay::utils::{Logical, Point, Rectangle, Size, Transform};

use crate::display::Compositor;

/// What is known of the devices.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    /// Touch screens, by their identification.
    touch: Vec<String>,
    /// The output that a device says it is part of.
    outputs: HashMap<String, String>,
}

impl Devices {
    /// A device says which output it is part of.
    pub(crate) fn belongs_to(&mut self, device: String, output: String) {
        self.outputs.insert(device, output);
    }
}

impl Compositor {
    pub(super) fn device_added(&mut self, device: &impl Device) {
        if device.has_capability(DeviceCapability::Touch) {
            self.devices.touch.push(device.id());
            if self.devices.touch.len() == 1 {
                self.desk.seat.add_touch();
            }
        }
    }

    pub(super) fn device_removed(&mut self, device: &impl Device) {
        let id = device.id();
        self.devices.outputs.remove(&id);
        let before = self.devices.touch.len();
        self.devices.touch.retain(|known| *known != id);
        if before > 0 && self.devices.touch.is_empty() {
            self.desk.seat.remove_touch();
        }
    }

    /// Where on the screen an event of a device is that covers an output.
    pub(crate) fn absolute<B: InputBackend, E: AbsolutePositionEvent<B>>(
        &self,
        event: &E,
    ) -> Option<Point<f64, Logical>> {
        let output = self.output_of(&event.device())?;
        let geometry = self.desk.space.output_geometry(output)?;
        let transform = output.current_transform();
        Some(on_output(geometry, transform, |size| event.position_transformed(size)))
    }

    /// The output that a device covers: as configured, as the device says, or for a touch screen the machine's own display; else
    /// the first.
    fn output_of(&self, device: &impl Device) -> Option<&Output> {
        let named = |name: &str| {
            self.desk.outputs.iter().map(|state| &state.output).find(|output| {
                let identity = crate::display::outputs::identity(output);
                identity.is_called(name)
            })
        };
        let settings = &self.desk.config.settings;
        let touch = device.has_capability(DeviceCapability::Touch);
        let configured = if touch {
            settings.touch_rule(&device.name()).and_then(|rule| rule.output.as_deref())
        } else {
            settings.tablet.output.as_deref()
        };
        let said = self.devices.outputs.get(&device.id()).map(String::as_str);
        configured
            .and_then(named)
            .or_else(|| said.and_then(named))
            .or_else(|| self.built_in().filter(|_| touch))
            .or_else(|| self.desk.outputs.first().map(|state| &state.output))
    }

    /// The machine's own display.
    fn built_in(&self) -> Option<&Output> {
        self.desk
            .outputs
            .iter()
            .map(|state| &state.output)
            .find(|output| ["eDP", "LVDS", "DSI"].iter().any(|kind| output.name().starts_with(kind)))
    }
}

/// A point of a panel, which does not know how it is mounted, as a point of the screen.
fn on_output(
    geometry: Rectangle<i32, Logical>,
    transform: Transform,
    at: impl FnOnce(Size<i32, Logical>) -> Point<f64, Logical>,
) -> Point<f64, Logical> {
    let panel = transform.invert().transform_size(geometry.size);
    transform.transform_point_in(at(panel), &panel.to_f64()) + geometry.loc.to_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touch_is_where_the_finger_is_however_the_panel_is_mounted() {
        let geometry = Rectangle::new(Point::from((1000, 0)), Size::from((600, 800)));
        // A finger at a tenth of the panel's own width and a quarter of its height.
        let finger =
            |panel: Size<i32, Logical>| Point::from((f64::from(panel.w) * 0.1, f64::from(panel.h) * 0.25));
        let at = |transform| on_output(geometry, transform, finger);
        assert_eq!(at(Transform::Normal), Point::from((1060.0, 200.0)));
        assert_eq!(at(Transform::_180), Point::from((1540.0, 600.0)));
        assert_eq!(at(Transform::_90), Point::from((1450.0, 80.0)));
        assert_eq!(at(Transform::_270), Point::from((1150.0, 720.0)));
    }
}
