//! Where subsurfaces are. A place that a client has chosen counts when the surface above is committed after that, and takes effect
//! with what that commit brings. Smithay lets it take effect with whatever is committed next: the subsurface, or a surface far above.

use std::sync::{Mutex, MutexGuard, PoisonError};

use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point};
use smithay::wayland::compositor::{
    SubsurfaceCachedState, SurfaceData, get_children, get_parent, with_states,
};

/// Kept with a subsurface.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    in_force: Point<i32, Logical>,
    /// Chosen before the last commit of the surface above.
    chosen: Option<Point<i32, Logical>>,
}

fn place(states: &SurfaceData) -> MutexGuard<'_, Place> {
    let place = states.data_map.get_or_insert_threadsafe(Mutex::<Place>::default);
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The surface is a subsurface from now on.
pub(super) fn begin(surface: &WlSurface) {
    with_states(surface, |states| *place(states) = Place::default());
}

/// A client commits this surface: what it has chosen for those on it counts.
pub(super) fn about_to_commit(surface: &WlSurface) {
    for child in get_children(surface) {
        with_states(&child, |states| {
            let chosen = states.cached_state.get::<SubsurfaceCachedState>().pending().location;
            place(states).chosen = Some(chosen);
        });
    }
}

/// A commit has taken effect: it moves those on the surface, and not the surface itself.
pub(super) fn committed(surface: &WlSurface) {
    if get_parent(surface).is_some() {
        with_states(surface, put);
    }
    for child in get_children(surface) {
        with_states(&child, |states| {
            let mut place = place(states);
            place.in_force = place.chosen.unwrap_or(place.in_force);
            drop(place);
            put(states);
        });
    }
}

fn put(states: &SurfaceData) {
    states.cached_state.get::<SubsurfaceCachedState>().current().location = place(states).in_force;
}
