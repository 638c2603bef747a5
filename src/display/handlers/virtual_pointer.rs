//! wlr-virtual-pointer, version 2: a pointer that a program moves, as a viewer at another machine does.

use std::sync::{Mutex, PoisonError};

use smithay::backend::input::{Axis, AxisSource, ButtonState};
use smithay::input::pointer::AxisFrame;
use smithay::output::{Output, WeakOutput};
use smithay::reexports::wayland_protocols_wlr::virtual_pointer::v1::server::zwlr_virtual_pointer_manager_v1::{
    self, ZwlrVirtualPointerManagerV1,
};
use smithay::reexports::wayland_protocols_wlr::virtual_pointer::v1::server::zwlr_virtual_pointer_v1::{
    self, ZwlrVirtualPointerV1,
};
use smithay::reexports::wayland_server::backend::GlobalId;
use smithay::reexports::wayland_server::protocol::wl_pointer;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource, WEnum,
};
use smithay::utils::{Logical, Point, Rectangle};

use crate::display::Compositor;
use crate::display::clients::is_unconfined;

/// A pointer of a program.
pub(crate) struct VirtualPointer {
    /// What absolute positions refer to; all outputs together when `None`.
    output: Option<WeakOutput>,
    /// What waits for the end of its frame.
    frame: Mutex<Gathered>,
}

/// What belongs together: one frame of a pointer.
#[derive(Default)]
struct Gathered {
    steps: Vec<Step>,
    scrolling: Option<AxisFrame>,
}

/// What happens in a frame, in its order.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    By { time: u32, x: f64, y: f64 },
    To { time: u32, at: Point<f64, Logical> },
    Button { time: u32, button: u32, state: ButtonState },
}

impl Gathered {
    /// A program that never ends its frame does not fill the memory: so much is one.
    const MOST: usize = 64;

    /// Returns whether the frame is as long as it gets.
    fn add(&mut self, step: Step) -> bool {
        self.steps.push(step);
        self.steps.len() >= Self::MOST
    }
}

pub(crate) fn global(display: &DisplayHandle) -> GlobalId {
    display.create_global::<Compositor, ZwlrVirtualPointerManagerV1, ()>(2, ())
}

impl GlobalDispatch<ZwlrVirtualPointerManagerV1, ()> for Compositor {
    fn bind(
        _: &mut Self,
        _: &DisplayHandle,
        _: &Client,
        manager: New<ZwlrVirtualPointerManagerV1>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        init.init(manager, ());
    }

    fn can_view(client: Client, (): &()) -> bool {
        is_unconfined(&client)
    }
}

impl Dispatch<ZwlrVirtualPointerManagerV1, ()> for Compositor {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &ZwlrVirtualPointerManagerV1,
        request: zwlr_virtual_pointer_manager_v1::Request,
        (): &(),
        _: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        use zwlr_virtual_pointer_manager_v1::Request;
        // There is one seat.
        let (id, output) = match request {
            Request::CreateVirtualPointer { seat: _, id } => (id, None),
            Request::CreateVirtualPointerWithOutput { seat: _, output, id } => {
                (id, output.as_ref().and_then(Output::from_resource).map(|output| output.downgrade()))
            }
            _ => return,
        };
        init.init(id, VirtualPointer { output, frame: Mutex::default() });
    }
}

impl Dispatch<ZwlrVirtualPointerV1, VirtualPointer> for Compositor {
    fn request(
        compositor: &mut Self,
        _: &Client,
        object: &ZwlrVirtualPointerV1,
        request: zwlr_virtual_pointer_v1::Request,
        pointer: &VirtualPointer,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        use zwlr_virtual_pointer_v1::Request;
        let mut gathered = pointer.frame.lock().unwrap_or_else(PoisonError::into_inner);
        let full = match request {
            Request::Motion { time, dx, dy } => gathered.add(Step::By { time, x: dx, y: dy }),
            Request::MotionAbsolute { time, x, y, x_extent, y_extent } => {
                let extent = compositor.extent(pointer.output.as_ref());
                let at = extent.and_then(|extent| within(extent, (x, y), (x_extent, y_extent)));
                at.is_some_and(|at| gathered.add(Step::To { time, at }))
            }
            Request::Button { time, button, state } => {
                let state = match state {
                    WEnum::Value(wl_pointer::ButtonState::Pressed) => ButtonState::Pressed,
                    _ => ButtonState::Released,
                };
                gathered.add(Step::Button { time, button, state })
            }
            Request::Frame => true,
            other => {
                scroll(compositor, object, &mut gathered.scrolling, other);
                false
            }
        };
        if full {
            let Gathered { steps, scrolling } = std::mem::take(&mut *gathered);
            drop(gathered);
            compositor.desk.notice_activity();
            for step in steps {
                compositor.step(step);
            }
            if let Some(frame) = scrolling {
                compositor.scroll(frame);
            }
        }
    }
}

/// Scrolling is gathered until the end of its frame.
fn scroll(
    compositor: &Compositor,
    object: &ZwlrVirtualPointerV1,
    scrolling: &mut Option<AxisFrame>,
    request: zwlr_virtual_pointer_v1::Request,
) {
    use zwlr_virtual_pointer_v1::{Error, Request};
    let bad_axis = || object.post_error(Error::InvalidAxis, "no such axis");
    match request {
        Request::Axis { time, axis, value } => match axis_of(axis) {
            Some(axis) => change(scrolling, time, |frame| frame.value(axis, value)),
            None => bad_axis(),
        },
        Request::AxisDiscrete { time, axis, value, discrete } => match axis_of(axis) {
            Some(axis) => change(scrolling, time, |frame| {
                frame.value(axis, value).v120(axis, discrete.saturating_mul(120))
            }),
            None => bad_axis(),
        },
        Request::AxisStop { time, axis } => match axis_of(axis) {
            Some(axis) => change(scrolling, time, |frame| frame.stop(axis)),
            None => bad_axis(),
        },
        Request::AxisSource { axis_source } => {
            let source = match axis_source {
                WEnum::Value(wl_pointer::AxisSource::Wheel) => AxisSource::Wheel,
                WEnum::Value(wl_pointer::AxisSource::Finger) => AxisSource::Finger,
                WEnum::Value(wl_pointer::AxisSource::Continuous) => AxisSource::Continuous,
                WEnum::Value(wl_pointer::AxisSource::WheelTilt) => AxisSource::WheelTilt,
                _ => return object.post_error(Error::InvalidAxisSource, "no such source of scrolling"),
            };
            let time = compositor.desk.clock.now().as_millis();
            change(scrolling, time, |frame| frame.source(source));
        }
        _ => {}
    }
}

impl Compositor {
    fn step(&mut self, step: Step) {
        match step {
            Step::By { time, x, y } => {
                let from = self.desk.pointer_at;
                let to = self.desk.confine(from + Point::from((x, y)), from);
                self.pointer_to(to, time);
            }
            Step::To { time, at } => {
                let to = self.desk.confine(at, self.desk.pointer_at);
                self.pointer_to(to, time);
            }
            Step::Button { time, button, state } => self.press(button, state, time),
        }
    }

    /// Where absolute positions of a pointer for this output lie.
    fn extent(&self, output: Option<&WeakOutput>) -> Option<Rectangle<i32, Logical>> {
        let desk = &self.desk;
        match output {
            Some(output) => desk.space.output_geometry(&output.upgrade()?),
            None => desk
                .outputs
                .iter()
                .filter_map(|state| desk.space.output_geometry(&state.output))
                .reduce(Rectangle::merge),
        }
    }
}

fn change(scrolling: &mut Option<AxisFrame>, time: u32, change: impl FnOnce(AxisFrame) -> AxisFrame) {
    *scrolling = Some(change(scrolling.take().unwrap_or_else(|| AxisFrame::new(time))));
}

fn axis_of(axis: WEnum<wl_pointer::Axis>) -> Option<Axis> {
    match axis {
        WEnum::Value(wl_pointer::Axis::VerticalScroll) => Some(Axis::Vertical),
        WEnum::Value(wl_pointer::Axis::HorizontalScroll) => Some(Axis::Horizontal),
        _ => None,
    }
}

/// The point at `at` of `whole` in this rectangle.
fn within(extent: Rectangle<i32, Logical>, at: (u32, u32), whole: (u32, u32)) -> Option<Point<f64, Logical>> {
    let part = |at: u32, whole: u32| (whole > 0).then(|| f64::from(at.min(whole)) / f64::from(whole));
    let (x, y) = (part(at.0, whole.0)?, part(at.1, whole.1)?);
    let offset = Point::from((x * f64::from(extent.size.w), y * f64::from(extent.size.h)));
    Some(extent.loc.to_f64() + offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_positions_are_shares_of_the_extent() {
        let extent = Rectangle::new((1000, 0).into(), (800, 600).into());
        assert_eq!(within(extent, (0, 0), (100, 100)), Some((1000.0, 0.0).into()));
        assert_eq!(within(extent, (50, 25), (100, 100)), Some((1400.0, 150.0).into()));
        assert_eq!(within(extent, (200, 100), (100, 100)), Some((1800.0, 600.0).into()), "clipped");
        assert_eq!(within(extent, (1, 1), (0, 100)), None);
    }
}
