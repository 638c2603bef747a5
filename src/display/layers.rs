//! Layer surfaces: bars, wallpapers, launchers and notifications, which have their place on an output rather than among the windows.

use std::cell::Cell;

use smithay::backend::renderer::utils::with_renderer_surface_state;
use smithay::desktop::{LayerMap, LayerSurface, WindowSurfaceType, layer_map_for_output};
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::wlr_layer::{ExclusiveZone, LayerSurfaceData};
use tracing::debug;

use super::Compositor;
use super::desk::Desk;
use super::stack::Owner;

/// Kept with a layer surface.
#[derive(Default)]
struct WasShown(Cell<bool>);

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
        let (before, after) = {
            let mut map = layer_map_for_output(&output);
            let before = map.non_exclusive_zone();
            put_exclusive_first(&mut map);
            map.arrange();
            (before, map.non_exclusive_zone())
        };
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
        let before = layer.user_data().get_or_insert(WasShown::default).0.replace(shown);
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
