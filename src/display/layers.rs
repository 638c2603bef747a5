//! Layer surfaces: bars, wallpapers, launchers and notifications, which have their place on an output rather than among the windows.

use std::cell::Cell;

use smithay::backend::renderer::utils::with_renderer_surface_state;
use smithay::desktop::{LayerMap, LayerSurface, WindowSurfaceType, layer_map_for_output};
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point, Rectangle, Size};
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::wlr_layer::{Anchor, ExclusiveZone, LayerSurfaceCachedState, LayerSurfaceData};
use tracing::debug;

use super::Compositor;
use super::desk::Desk;
use super::stack::Owner;

/// An edge of an output, and how much of the output a layer surface keeps for itself there.
type Zone = (Edge, i32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Edge {
    Top,
    Bottom,
    Left,
    Right,
}

/// What was known of a layer surface when it was committed last; kept with it.
#[derive(Default)]
struct Known {
    zone: Cell<Option<Zone>>,
    shown: Cell<bool>,
}

impl Desk {
    /// A client has made a layer surface. Without a wish it goes to the output with the pointer.
    pub(crate) fn add_layer(&mut self, layer: &LayerSurface, output: Option<Output>) {
        let output = output
            .filter(|wanted| self.outputs.iter().any(|state| &state.output == wanted))
            .or_else(|| self.space.output_under(self.pointer_at).next().cloned())
            .or_else(|| self.outputs.first().map(|state| state.output.clone()));
        let Some(output) = output else {
            layer.layer_surface().send_close();
            return;
        };
        if let Err(error) = layer_map_for_output(&output).map_layer(layer) {
            debug!(%error, "a layer surface is on an output already");
        }
    }

    /// The layer surface of this root, and its output.
    pub(crate) fn find_layer(&self, root: &WlSurface) -> Option<(LayerSurface, Output)> {
        self.outputs.iter().find_map(|state| {
            let map = layer_map_for_output(&state.output);
            let layer = map.layer_for_surface(root, WindowSurfaceType::TOPLEVEL)?;
            Some((layer.clone(), state.output.clone()))
        })
    }

    /// Puts a layer surface with its corner here on its output, as if its client had asked for that. Returns whether it is one.
    pub(crate) fn place_layer(&mut self, root: &WlSurface, at: Point<i32, Logical>) -> bool {
        let Some((_, output)) = self.find_layer(root) else { return false };
        with_states(root, |states| {
            let mut cached = states.cached_state.get::<LayerSurfaceCachedState>();
            let place = |state: &mut LayerSurfaceCachedState| {
                state.anchor = Anchor::TOP | Anchor::LEFT;
                (state.margin.top, state.margin.left) = (at.y, at.x);
            };
            place(cached.pending());
            place(cached.current());
        });
        layer_map_for_output(&output).arrange();
        self.queue_redraw(&output);
        true
    }

    /// The output is gone, and with it the place of these surfaces.
    pub(crate) fn close_layers(&self, output: &Output) {
        for layer in layer_map_for_output(output).layers() {
            layer.layer_surface().send_close();
        }
    }
}

impl Compositor {
    /// A layer surface was committed: its place and what it keeps for itself may be others.
    pub(crate) fn commit_layer(&mut self, root: &WlSurface) {
        let Some((layer, output)) = self.desk.find_layer(root) else { return };
        as_smithay_reads_it(root);
        let before = layer.user_data().get_or_insert(Known::default).zone.take();
        let after = zone(&layer);
        layer.user_data().get_or_insert(Known::default).zone.set(after);
        {
            let mut map = layer_map_for_output(&output);
            put_exclusive_first(&mut map);
            map.arrange();
        }
        let configured = with_states(root, |states| {
            let data = states.data_map.get::<LayerSurfaceData>();
            data.and_then(|data| data.lock().ok()).is_some_and(|data| data.initial_configure_sent)
        });
        if !configured {
            layer.layer_surface().send_configure();
        }
        if before != after {
            self.arrange();
        }
        let shown = with_renderer_surface_state(root, |state| state.buffer().is_some()).unwrap_or(false);
        let before = layer.user_data().get_or_insert(Known::default).shown.replace(shown);
        if shown && !before {
            // Something that a person has called up, and may want to type into.
            self.desk.focus_owner(Owner::Layer(layer));
        }
        self.desk.queue_redraw(&output);
        self.desk.reconsider_focus();
    }

    /// The client has taken it away.
    pub(crate) fn remove_layer(&mut self, root: &WlSurface) {
        let Some((layer, output)) = self.desk.find_layer(root) else { return };
        layer_map_for_output(&output).unmap_layer(&layer);
        self.arrange();
        self.desk.reconsider_focus();
        self.apply_focus();
        self.refresh_pointer();
    }
}

/// Smithay stretches a surface between two edges whatever size it has asked for, and lets one in a corner keep room for itself. By
/// the protocol a size that is asked for counts, in the middle between the edges, and room is kept at one edge only. What the
/// client has said stays as it is, pending, and comes through here again with each commit.
fn as_smithay_reads_it(root: &WlSurface) {
    with_states(root, |states| {
        let mut cached = states.cached_state.get::<LayerSurfaceCachedState>();
        let current = cached.current();
        if current.size.w > 0 && current.anchor.anchored_horizontally() {
            current.anchor.remove(Anchor::LEFT | Anchor::RIGHT);
        }
        if current.size.h > 0 && current.anchor.anchored_vertically() {
            current.anchor.remove(Anchor::TOP | Anchor::BOTTOM);
        }
        if matches!(current.exclusive_zone, ExclusiveZone::Exclusive(_)) && zone_of(current).is_none() {
            current.exclusive_zone = ExclusiveZone::Neutral;
        }
    });
}

/// What a layer surface keeps for itself. That counts at one edge, or at one with both of those beside it; in a corner, or
/// between two edges, the protocol has no meaning for it.
fn zone(layer: &LayerSurface) -> Option<Zone> {
    zone_of(&layer.cached_state())
}

fn zone_of(state: &LayerSurfaceCachedState) -> Option<Zone> {
    let LayerSurfaceCachedState { anchor, margin, exclusive_zone, .. } = *state;
    let ExclusiveZone::Exclusive(room) = exclusive_zone else { return None };
    let (along_x, along_y) = (Anchor::LEFT | Anchor::RIGHT, Anchor::TOP | Anchor::BOTTOM);
    let is = |edge: Anchor, beside: Anchor| anchor == edge || anchor == edge | beside;
    let (edge, margin) = if is(Anchor::TOP, along_x) {
        (Edge::Top, margin.top)
    } else if is(Anchor::BOTTOM, along_x) {
        (Edge::Bottom, margin.bottom)
    } else if is(Anchor::LEFT, along_y) {
        (Edge::Left, margin.left)
    } else if is(Anchor::RIGHT, along_y) {
        (Edge::Right, margin.right)
    } else {
        return None;
    };
    let room = i32::try_from(room).unwrap_or(i32::MAX).saturating_add(margin);
    (room > 0).then_some((edge, room))
}

/// What layer surfaces leave of an output of this size.
pub(crate) fn usable(whole: Size<i32, Logical>, map: &LayerMap) -> Rectangle<i32, Logical> {
    left_of(whole, map.layers().filter_map(zone))
}

/// One that wants more than there is gets nothing: programs and the map have to be somewhere.
fn left_of(whole: Size<i32, Logical>, zones: impl Iterator<Item = Zone>) -> Rectangle<i32, Logical> {
    const LEAST: i32 = 32;
    let mut left = Rectangle::from_size(whole);
    for (edge, room) in zones {
        let length = match edge {
            Edge::Top | Edge::Bottom => &mut left.size.h,
            Edge::Left | Edge::Right => &mut left.size.w,
        };
        if *length < room.saturating_add(LEAST) {
            continue;
        }
        *length -= room;
        match edge {
            Edge::Top => left.loc.y += room,
            Edge::Left => left.loc.x += room,
            Edge::Bottom | Edge::Right => {}
        }
    }
    left
}

/// Who keeps room for itself is placed before those that take what is left of it, whoever came first.
fn put_exclusive_first(map: &mut LayerMap) {
    let keeps =
        |layer: &LayerSurface| matches!(layer.cached_state().exclusive_zone, ExclusiveZone::Exclusive(_));
    if map.layers().is_sorted_by_key(|layer| !keeps(layer)) {
        return;
    }
    let others: Vec<LayerSurface> = map.layers().filter(|layer| !keeps(layer)).cloned().collect();
    for layer in &others {
        map.unmap_layer(layer);
    }
    for layer in &others {
        // Refused only for one that is on an output, and it was just taken off.
        let _mapped = map.map_layer(layer);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bar_and_a_dock() {
        let zones = [(Edge::Top, 30), (Edge::Left, 60), (Edge::Bottom, 10_000)];
        let left = left_of(Size::from((800, 600)), zones.into_iter());
        assert_eq!(left, Rectangle::new((60, 30).into(), (740, 570).into()));
    }

    proptest! {
        #[test]
        fn something_is_always_left_and_it_is_on_the_output(
            (w, h) in (1..4000i32, 1..4000i32),
            zones in prop::collection::vec((0..4usize, 1..=i32::MAX), 0..6),
        ) {
            let edges = [Edge::Top, Edge::Bottom, Edge::Left, Edge::Right];
            let whole = Size::from((w, h));
            let left = left_of(whole, zones.into_iter().map(|(edge, room)| (edges[edge], room)));
            prop_assert!(left.size.w >= w.min(32) && left.size.h >= h.min(32));
            prop_assert!(Rectangle::from_size(whole).contains_rect(left));
        }
    }
}
