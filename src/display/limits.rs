//! How much of the session one client may take. Whatever is walked, mapped or copied on a client's behalf is
//! bounded here, far above what programs need, so that nothing a client asks for ends the session or keeps
//! others waiting.
//!
//! Trees that are too deep are not an error of the protocol: what is beyond the bound is accepted and not
//! shown. Whoever hoards objects is disconnected with `wl_display.error no_memory`, and the log says why.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, DisplayHandle};
use smithay::wayland::compositor::{get_children, get_parent, with_states};
use smithay::wayland::shell::xdg::XdgPopupSurfaceData;
use tracing::warn;

use super::clients::ClientState;

/// Surfaces of one client.
pub(crate) const SURFACES: usize = 4096;
/// Subsurfaces of one client that are shown. Each commit of a surface costs the square of those below it.
pub(crate) const SUBSURFACES: usize = 1024;
/// Subsurfaces on subsurfaces. Smithay walks them by recursion, and a commit costs the third power of the
/// depth.
pub(crate) const SUBSURFACE_DEPTH: usize = 64;
/// Popups on popups. Where one is follows from all those below it.
pub(crate) const POPUP_DEPTH: usize = 32;
/// Rectangles of one region, which each surface that has the region copies.
pub(crate) const RECTANGLES: usize = 4096;
/// Damaged rectangles of one commit; more count as everything.
pub(crate) const DAMAGE: usize = 256;
/// Frames that a client waits for with one surface.
pub(crate) const CALLBACKS: usize = 4096;
/// Commits of one client that wait: for its GPU, for a moment, for the frame before.
pub(crate) const COMMITS: usize = 1024;
/// Bytes of the shared memory that one client shows, of which the renderer has a copy: eight windows of 8K.
pub(crate) const SHOWN: usize = 1 << 30;
/// Objects of one client, of whatever kind. Browsers have thousands.
pub(crate) const OBJECTS: usize = 1 << 16;
/// Bytes of a keymap. The largest of xkeyboard-config have 80 KiB.
pub(crate) const KEYMAP: usize = 1 << 20;

/// `wl_display.error.no_memory`.
const NO_MEMORY: u32 = 2;

/// What a client has, counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    surfaces: AtomicUsize,
    subsurfaces: AtomicUsize,
    commits: AtomicUsize,
    shown: AtomicUsize,
    /// Rectangles of each region.
    regions: Mutex<HashMap<ObjectId, usize>>,
}

impl Counts {
    /// A surface more; whether it may have that.
    pub(crate) fn add_surface(&self) -> bool {
        self.surfaces.fetch_add(1, Ordering::Relaxed) < SURFACES
    }

    pub(crate) fn drop_surface(&self) {
        self.surfaces.fetch_sub(1, Ordering::Relaxed);
    }

    /// A subsurface more, if it may have that.
    pub(crate) fn add_subsurface(&self) -> bool {
        let more = |count: usize| (count < SUBSURFACES).then_some(count + 1);
        self.subsurfaces.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(crate) fn drop_subsurface(&self) {
        self.subsurfaces.fetch_sub(1, Ordering::Relaxed);
    }

    /// A commit more that waits; whether it may have that.
    pub(crate) fn add_commit(&self) -> bool {
        self.commits.fetch_add(1, Ordering::Relaxed) < COMMITS
    }

    /// A surface shows so many bytes of shared memory, and not so many as before; whether it may.
    pub(crate) fn show(&self, now: usize, before: usize) -> bool {
        self.shown.fetch_add(now, Ordering::Relaxed);
        self.shown.fetch_sub(before, Ordering::Relaxed) <= SHOWN + before
    }

    /// So many wait no more.
    pub(crate) fn drop_commits(&self, count: usize) {
        self.commits.fetch_sub(count, Ordering::Relaxed);
    }

    /// A rectangle more in this region; whether it may have that.
    pub(crate) fn add_rectangle(&self, region: ObjectId) -> bool {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let count = regions.entry(region).or_default();
        *count += 1;
        *count <= RECTANGLES
    }

    pub(crate) fn drop_region(&self, region: &ObjectId) {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner).remove(region);
    }
}

/// What is counted of this client. That of Xwayland, which stands for many programs, is not.
pub(crate) fn counts_of(client: &Client) -> Option<&Counts> {
    client.get_data::<ClientState>().map(|state| &state.counts)
}

/// Disconnects a client that has more of something than it may.
pub(crate) fn refuse(client: &Client, display: &DisplayHandle, what: &str, most: usize) {
    let message = format!("more than {most} {what}");
    let pid = client.get_data::<ClientState>().and_then(ClientState::process);
    warn!(pid, reason = message, "a client takes too much, and is disconnected");
    // An error of the client itself is one of its first object, which has no type here.
    let backend = display.backend_handle();
    let mut own = None;
    let all = backend.with_all_objects_for(client.id(), |object| {
        if object.protocol_id() == 1 {
            own = Some(object);
        }
    });
    if all.is_err() {
        return;
    }
    if let (Some(own), Ok(message)) = (own, CString::new(message)) {
        backend.post_error(own, NO_MEMORY, message);
    }
}

/// Disconnects a client that has more objects than it may.
pub(crate) fn bound_objects(client: &Client, display: &DisplayHandle) {
    let mut count = 0;
    let counted = display.backend_handle().with_all_objects_for(client.id(), |_| count += 1);
    if counted.is_ok() && count > OBJECTS {
        refuse(client, display, "objects", OBJECTS);
    }
}

/// Whether this surface may become a subsurface of that one: the tree does not get too deep.
pub(crate) fn may_nest(child: &WlSurface, parent: &WlSurface) -> bool {
    let mut levels = 1 + height(child);
    let mut above = get_parent(parent);
    while let Some(next) = above.filter(|_| levels <= SUBSURFACE_DEPTH) {
        levels += 1;
        above = get_parent(&next);
    }
    levels <= SUBSURFACE_DEPTH
}

/// The levels of subsurfaces below this surface, which are never more than the bound.
fn height(surface: &WlSurface) -> usize {
    get_children(surface).iter().map(|child| 1 + height(child)).max().unwrap_or(0)
}

/// How a popup hangs on others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hanging {
    Fine,
    TooDeep,
    /// On itself.
    Ring,
}

/// How a popup hangs on what it was made for. Smithay and we follow the parents of popups to the end.
pub(crate) fn hanging(popup: &WlSurface) -> Hanging {
    let mut next = popup_parent(popup);
    for _ in 0..POPUP_DEPTH {
        let Some(surface) = next else { return Hanging::Fine };
        if surface == *popup {
            return Hanging::Ring;
        }
        next = popup_parent(&surface);
    }
    Hanging::TooDeep
}

fn popup_parent(surface: &WlSurface) -> Option<WlSurface> {
    with_states(surface, |states| states.data_map.get::<XdgPopupSurfaceData>()?.lock().ok()?.parent.clone())
}

/// It hangs on nothing any more.
pub(crate) fn take_down(popup: &WlSurface) {
    with_states(popup, |states| {
        let data = states.data_map.get::<XdgPopupSurfaceData>();
        if let Some(mut data) = data.and_then(|data| data.lock().ok()) {
            data.parent = None;
        }
    });
}
