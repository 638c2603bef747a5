//! Moving and resizing with the pointer held down: asked for by a client, or with Super and a button.

use smithay::input::pointer::{
    AxisFrame, ButtonEvent, GestureHoldBeginEvent, GestureHoldEndEvent, GesturePinchBeginEvent,
    GesturePinchEndEvent, GesturePinchUpdateEvent, GestureSwipeBeginEvent, GestureSwipeEndEvent,
    GestureSwipeUpdateEvent, GrabStartData, MotionEvent, PointerGrab, PointerInnerHandle,
    RelativeMotionEvent,
};
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel::ResizeEdge;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point, Rectangle, Size};

use super::windows::size_limits;
use crate::display::Compositor;
use crate::display::outputs::key;

/// Edges of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Edges(u8);

impl Edges {
    pub(crate) const NONE: Edges = Edges(0);
    pub(crate) const TOP: Edges = Edges(1);
    pub(crate) const BOTTOM: Edges = Edges(2);
    pub(crate) const LEFT: Edges = Edges(4);
    pub(crate) const RIGHT: Edges = Edges(8);

    pub(crate) fn contains(self, other: Edges) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn with(self, other: Edges) -> Edges {
        Edges(self.0 | other.0)
    }

    /// The corner that is nearest to this point of a window of this size.
    fn nearest(at: Point<f64, Logical>, size: Size<i32, Logical>) -> Edges {
        let side = if at.x < f64::from(size.w) / 2.0 { Edges::LEFT } else { Edges::RIGHT };
        side.with(if at.y < f64::from(size.h) / 2.0 { Edges::TOP } else { Edges::BOTTOM })
    }
}

impl From<ResizeEdge> for Edges {
    fn from(edge: ResizeEdge) -> Self {
        // The protocol's numbers are these bits.
        Edges((edge as u32 & 0xf) as u8)
    }
}

/// What is done with the window that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Held {
    Move,
    Resize(Edges),
}

/// The pointer holds a window until its buttons are released.
struct WindowGrab {
    start: GrabStartData<Compositor>,
    id: u32,
    held: Held,
    /// Where the window was.
    from: Rectangle<i32, Logical>,
}

impl Compositor {
    /// The pointer takes hold of the window of this surface, whose button was pressed with this grab.
    pub(crate) fn hold_window(&mut self, surface: &WlSurface, held: Held, start: GrabStartData<Compositor>) {
        let Some(pointer) = self.desk.seat.get_pointer() else { return };
        let Some((window, true)) = self.desk.windows.find(surface) else { return };
        let Some(from) = self.desk.space.element_geometry(&window) else { return };
        let Some(placed) = self.desk.windows.of(&window) else { return };
        let (id, floating, fullscreen) = (placed.id, placed.floating(), placed.fullscreen);
        let possible = match held {
            Held::Move => !fullscreen,
            Held::Resize(edges) => floating && !fullscreen && edges != Edges::NONE,
        };
        if !possible {
            return;
        }
        if let Held::Resize(edges) = held
            && let Some(placed) = self.desk.windows.get_mut(id)
        {
            placed.resizing = Some((edges, from));
        }
        let serial = smithay::utils::SERIAL_COUNTER.next_serial();
        let grab = WindowGrab { start, id, held, from };
        pointer.set_grab(self, grab, serial, smithay::input::pointer::Focus::Clear);
    }

    /// Super and a button take hold of the window under the pointer. Returns whether there is one.
    pub(crate) fn hold_window_under_pointer(&mut self, button: u32, resize: bool) -> bool {
        let at = self.desk.pointer_at;
        let Some(window) = self.window_under(at) else { return false };
        let Some(geometry) = self.desk.space.element_geometry(&window) else { return false };
        let Some(surface) = super::windows::surface_of(&window) else { return false };
        self.desk.focus(Some(window));
        self.apply_focus();
        let held = if resize {
            Held::Resize(Edges::nearest(at - geometry.loc.to_f64(), geometry.size))
        } else {
            Held::Move
        };
        self.hold_window(&surface, held, GrabStartData { focus: None, button, location: at });
        true
    }
}

impl WindowGrab {
    fn moved(&self, compositor: &mut Compositor, to: Point<f64, Logical>) {
        let by: Point<i32, Logical> = (to - self.start.location).to_i32_round();
        let desk = &mut compositor.desk;
        match self.held {
            Held::Move => {
                // A tile stays where it is until it is dropped.
                if !desk.windows.get(self.id).is_some_and(|placed| placed.floating()) {
                    return;
                }
                let output = desk.space.output_under(to).next().cloned();
                let Some(output) = output else { return };
                let Some(area) = desk.clients_area(&output) else { return };
                let from = self.from.loc;
                if let Some(placed) = desk.windows.get_mut(self.id) {
                    placed.home = key(&output);
                    placed.at = Some(from + by - area.loc - placed.overhang());
                }
            }
            Held::Resize(edges) => {
                let Some(placed) = desk.windows.get_mut(self.id) else { return };
                let limits = placed.window.toplevel().map(size_limits).unwrap_or_default();
                placed.size = Some(resized(self.from.size, edges, by, limits));
            }
        }
        desk.arrange_windows();
    }
}

/// The size of a window whose edges were moved.
fn resized(
    from: Size<i32, Logical>,
    edges: Edges,
    by: Point<i32, Logical>,
    (min, max): (Size<i32, Logical>, Size<i32, Logical>),
) -> Size<i32, Logical> {
    const SMALLEST: i32 = 32;
    let length = |from: i32, before: Edges, after: Edges, by: i32, min: i32, max: i32| {
        let wanted = match (edges.contains(before), edges.contains(after)) {
            (true, _) => from - by,
            (_, true) => from + by,
            _ => from,
        };
        let least = min.max(SMALLEST);
        let most = if max > 0 { max.max(least) } else { i32::MAX };
        wanted.clamp(least, most)
    };
    Size::from((
        length(from.w, Edges::LEFT, Edges::RIGHT, by.x, min.w, max.w),
        length(from.h, Edges::TOP, Edges::BOTTOM, by.y, min.h, max.h),
    ))
}

type Handle<'a> = PointerInnerHandle<'a, Compositor>;
type Focus = Option<(WlSurface, Point<f64, Logical>)>;

impl PointerGrab<Compositor> for WindowGrab {
    fn motion(&mut self, data: &mut Compositor, handle: &mut Handle<'_>, _focus: Focus, event: &MotionEvent) {
        handle.motion(data, None, event);
        self.moved(data, event.location);
    }

    fn relative_motion(
        &mut self,
        data: &mut Compositor,
        handle: &mut Handle<'_>,
        focus: Focus,
        event: &RelativeMotionEvent,
    ) {
        handle.relative_motion(data, focus, event);
    }

    fn button(&mut self, data: &mut Compositor, handle: &mut Handle<'_>, event: &ButtonEvent) {
        handle.button(data, event);
        if handle.current_pressed().is_empty() {
            handle.unset_grab(self, data, event.serial, event.time, true);
        }
    }

    fn axis(&mut self, data: &mut Compositor, handle: &mut Handle<'_>, details: AxisFrame) {
        handle.axis(data, details);
    }

    fn frame(&mut self, data: &mut Compositor, handle: &mut Handle<'_>) {
        handle.frame(data);
    }

    fn gesture_swipe_begin(
        &mut self,
        data: &mut Compositor,
        handle: &mut Handle<'_>,
        event: &GestureSwipeBeginEvent,
    ) {
        handle.gesture_swipe_begin(data, event);
    }

    fn gesture_swipe_update(
        &mut self,
        data: &mut Compositor,
        handle: &mut Handle<'_>,
        event: &GestureSwipeUpdateEvent,
    ) {
        handle.gesture_swipe_update(data, event);
    }

    fn gesture_swipe_end(
        &mut self,
        data: &mut Compositor,
        handle: &mut Handle<'_>,
        event: &GestureSwipeEndEvent,
    ) {
        handle.gesture_swipe_end(data, event);
    }

    fn gesture_pinch_begin(
        &mut self,
        data: &mut Compositor,
        handle: &mut Handle<'_>,
        event: &GesturePinchBeginEvent,
    ) {
        handle.gesture_pinch_begin(data, event);
    }

    fn gesture_pinch_update(
        &mut self,
        data: &mut Compositor,
        handle: &mut Handle<'_>,
        event: &GesturePinchUpdateEvent,
    ) {
        handle.gesture_pinch_update(data, event);
    }

    fn gesture_pinch_end(
        &mut self,
        data: &mut Compositor,
        handle: &mut Handle<'_>,
        event: &GesturePinchEndEvent,
    ) {
        handle.gesture_pinch_end(data, event);
    }

    fn gesture_hold_begin(
        &mut self,
        data: &mut Compositor,
        handle: &mut Handle<'_>,
        event: &GestureHoldBeginEvent,
    ) {
        handle.gesture_hold_begin(data, event);
    }

    fn gesture_hold_end(
        &mut self,
        data: &mut Compositor,
        handle: &mut Handle<'_>,
        event: &GestureHoldEndEvent,
    ) {
        handle.gesture_hold_end(data, event);
    }

    fn start_data(&self) -> &GrabStartData<Compositor> {
        &self.start
    }

    fn unset(&mut self, data: &mut Compositor) {
        let desk = &mut data.desk;
        match self.held {
            Held::Move => {
                let floating = desk.windows.get(self.id).is_some_and(|placed| placed.floating());
                if !floating {
                    data.drop_tile(self.id);
                }
            }
            Held::Resize(_) => {
                let area = desk
                    .windows
                    .get(self.id)
                    .and_then(|placed| placed.shown.clone())
                    .and_then(|shown| desk.outputs.iter().find(|state| state.identity.key() == shown))
                    .and_then(|state| desk.clients_area(&state.output));
                let now = desk.windows.get(self.id).and_then(|p| desk.space.element_location(&p.window));
                if let Some(placed) = desk.windows.get_mut(self.id) {
                    placed.resizing = None;
                    let overhang = placed.overhang();
                    placed.at = area.zip(now).map(|(area, now)| now - area.loc - overhang).or(placed.at);
                }
                desk.arrange_windows();
            }
        }
    }
}

impl Compositor {
    /// A tile that was dragged is dropped here: it changes places with the one below, or moves to an output that has none.
    fn drop_tile(&mut self, id: u32) {
        let at = self.desk.pointer_at;
        let Some(output) = self.desk.space.output_under(at).next().cloned() else { return };
        let below = self.window_under(at).and_then(|window| {
            let placed = self.desk.windows.of(&window)?;
            (!placed.floating() && !placed.fullscreen).then_some(placed.id)
        });
        let elsewhere = self.desk.windows.get(id).is_some_and(|placed| placed.shown != Some(key(&output)));
        match below {
            Some(below) if below != id => self.desk.swap_windows(id, below),
            None if elsewhere => self.desk.move_window(id, &output),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_moved_within_the_clients_limits() {
        let (free, from) = ((Size::default(), Size::default()), Size::from((200, 100)));
        let by = Point::from((30, -20));
        let corner = Edges::RIGHT.with(Edges::BOTTOM);
        assert_eq!(resized(from, corner, by, free), Size::from((230, 80)));
        assert_eq!(resized(from, Edges::LEFT.with(Edges::TOP), by, free), Size::from((170, 120)));
        assert_eq!(resized(from, Edges::RIGHT, by, free), Size::from((230, 100)));
        let limits = (Size::from((0, 90)), Size::from((210, 0)));
        assert_eq!(resized(from, corner, by, limits), Size::from((210, 90)));
        assert_eq!(resized(from, corner, Point::from((-900, -900)), free), Size::from((32, 32)));
    }

    #[test]
    fn the_corner_under_the_pointer_is_taken() {
        let size = Size::from((200, 100));
        assert_eq!(Edges::nearest(Point::from((10.0, 90.0)), size), Edges::LEFT.with(Edges::BOTTOM));
        assert_eq!(Edges::nearest(Point::from((150.0, 10.0)), size), Edges::RIGHT.with(Edges::TOP));
        assert_eq!(Edges::from(ResizeEdge::TopLeft), Edges::TOP.with(Edges::LEFT));
        assert_eq!(Edges::from(ResizeEdge::BottomRight), Edges::BOTTOM.with(Edges::RIGHT));
    }
}
