//! Surfaces: what a commit brings about.

use std::sync::atomic::{AtomicUsize, Ordering};

use calloop::EventSource;
use smithay::backend::renderer::utils::{on_commit_buffer_handler, with_renderer_surface_state};
use smithay::input::pointer::{CursorImageAttributes, CursorImageStatus};
use smithay::reexports::calloop::Interest;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::reexports::wayland_server::{Client, Resource};
use smithay::utils::Rectangle;
use smithay::wayland::compositor::{
    Blocker, BufferAssignment, CompositorClientState, CompositorHandler, CompositorState, Damage,
    SurfaceAttributes, add_blocker, add_pre_commit_hook, is_sync_subsurface, with_states,
};
use smithay::wayland::dmabuf::get_dmabuf;
use smithay::wayland::drm_syncobj::DrmSyncobjCachedState;
use smithay::wayland::shell::xdg::XdgPopupSurfaceData;
use smithay::wayland::shm::{BufferData, with_buffer_contents};
use smithay::xwayland::XWaylandClientData;

use super::subsurface;
use crate::display::Compositor;
use crate::display::clients::ClientState;
use crate::display::limits;

impl CompositorHandler for Compositor {
    fn compositor_state(&mut self) -> &mut CompositorState {
        &mut self.desk.protocols.compositor
    }

    fn client_compositor_state<'a>(&self, client: &'a Client) -> &'a CompositorClientState {
        if let Some(xwayland) = client.get_data::<XWaylandClientData>() {
            return &xwayland.compositor_state;
        }
        match client.get_data::<ClientState>() {
            Some(state) => &state.compositor,
            // Every other client is inserted with this data, in `clients.rs` and `map_buffers.rs`.
            None => unreachable!("a client without our data"),
        }
    }

    fn new_surface(&mut self, surface: &WlSurface) {
        if let Some(client) = surface.client()
            && limits::counts_of(&client).is_some_and(|counts| !counts.add_surface())
        {
            limits::refuse(&client, &self.desk.display, "surfaces", limits::SURFACES);
        }
        add_pre_commit_hook::<Self, _>(surface, |compositor, _, surface| {
            compositor.bound_commit(surface);
            compositor.bound_waiting(surface);
            compositor.wait_for_buffer(surface);
            compositor.note_moment(surface);
            subsurface::about_to_commit(surface);
        });
    }

    fn new_subsurface(&mut self, surface: &WlSurface, _parent: &WlSurface) {
        subsurface::begin(surface);
    }

    fn commit(&mut self, surface: &WlSurface) {
        subsurface::committed(surface);
        waits_no_more(surface, is_sync_subsurface(surface));
        self.bound_current(surface);
        self.bound_shown(surface);
        if is_sync_subsurface(surface) {
            // It changes with the surface that it is in step with, which is committed after it: what is for
            // the whole tree is done once, then.
            return;
        }
        on_commit_buffer_handler::<Self>(surface);
        let root = self.desk.root_of(surface);
        self.commit_toplevel(&root);
        self.commit_layer(&root);
        self.desk.popups.commit(surface);
        self.commit_popup(surface);
        self.commit_pointer(surface);
        self.redraw_for(surface);
        self.release_unseen(surface);
        // Before the client's next request is answered: what it asks about may be this.
        self.apply_focus();
        self.refresh_pointer();
    }

    fn destroyed(&mut self, surface: &WlSurface) {
        if let Some(client) = surface.client()
            && let Some(counts) = limits::counts_of(&client)
        {
            counts.drop_surface();
        }
        waits_no_more(surface, true);
        shows(surface, 0);
        if self.desk.drag_icon.as_ref().is_some_and(|icon| icon.surface == *surface) {
            self.desk.drag_icon = None;
        }
        self.lift_fingers(surface);
        // It may have been under the pointer.
        self.desk.wake.ping();
    }
}

impl Compositor {
    /// What a commit carries is worked through for every frame, some of it in the square of its length.
    fn bound_commit(&mut self, surface: &WlSurface) {
        with_states(surface, |states| {
            bound_damage(states.cached_state.get::<SurfaceAttributes>().pending());
        });
    }

    /// The same of what commits of a subsurface have added up to.
    fn bound_current(&mut self, surface: &WlSurface) {
        let waiting = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            let attributes = attributes.current();
            bound_damage(attributes);
            attributes.frame_callbacks.len()
        });
        if waiting > limits::CALLBACKS
            && let Some(client) = surface.client()
        {
            limits::refuse(&client, &self.desk.display, "frames awaited with one surface", limits::CALLBACKS);
        }
    }

    /// The renderer has a copy of what a client shows from its memory, which may have holes and be smaller
    /// than it says.
    fn bound_shown(&mut self, surface: &WlSurface) {
        let bytes = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            attributes.current().buffer.as_ref().map(|assigned| match assigned {
                // Buffers that are no memory have none of it.
                BufferAssignment::NewBuffer(buffer) => with_buffer_contents(buffer, bytes_of).unwrap_or(0),
                BufferAssignment::Removed => 0,
            })
        });
        if bytes.is_some_and(|bytes| !shows(surface, bytes))
            && let Some(client) = surface.client()
        {
            limits::refuse(&client, &self.desk.display, "bytes of memory that are shown", limits::SHOWN);
        }
    }

    /// What was committed and cannot be shown yet is kept, and looked through with every commit of the
    /// client.
    fn bound_waiting(&mut self, surface: &WlSurface) {
        // Commits of these are one until that of the surface that they are in step with.
        if is_sync_subsurface(surface) {
            return;
        }
        let Some(client) = surface.client() else { return };
        let Some(counts) = limits::counts_of(&client) else { return };
        with_states(surface, |states| {
            let waiting = states.data_map.get_or_insert_threadsafe(Waiting::default);
            waiting.0.fetch_add(1, Ordering::Relaxed);
        });
        if !counts.add_commit() {
            limits::refuse(&client, &self.desk.display, "commits that wait", limits::COMMITS);
        }
    }

    /// A client's GPU may still be drawing what the client commits. The commit waits for it, so that the
    /// screen never does.
    fn wait_for_buffer(&mut self, surface: &WlSurface) {
        let acquire = with_states(surface, |states| {
            states.cached_state.get::<DrmSyncobjCachedState>().pending().acquire_point.clone()
        });
        if let Some((blocker, source)) = acquire.and_then(|point| point.generate_blocker().ok()) {
            self.hold_commit(surface, blocker, source);
            return;
        }
        let dmabuf = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            match attributes.pending().buffer.as_ref() {
                Some(BufferAssignment::NewBuffer(buffer)) => get_dmabuf(buffer).cloned().ok(),
                _ => None,
            }
        });
        if let Some((blocker, source)) =
            dmabuf.and_then(|dmabuf| dmabuf.generate_blocker(Interest::READ).ok())
        {
            self.hold_commit(surface, blocker, source);
        }
    }

    /// The commit counts when the source fires.
    fn hold_commit<S>(&mut self, surface: &WlSurface, blocker: impl Blocker + Send + 'static, source: S)
    where
        S: EventSource<Event = (), Ret = Result<(), std::io::Error>> + 'static,
    {
        let Some(client) = surface.client() else { return };
        let watched = self.desk.handle.insert_source(source, move |(), _, compositor: &mut Compositor| {
            let display = compositor.desk.display.clone();
            let state = compositor.client_compositor_state(&client);
            state.blocker_cleared(compositor, &display);
            Ok(())
        });
        if watched.is_ok() {
            add_blocker(surface, blocker);
        }
    }

    fn commit_toplevel(&mut self, root: &WlSurface) {
        let Some((window, mapped)) = self.desk.windows.find(root) else { return };
        window.on_commit();
        let has_picture =
            with_renderer_surface_state(root, |state| state.buffer().is_some()).unwrap_or(false);
        if !mapped {
            let configured = window.toplevel().is_none_or(|toplevel| toplevel.is_initial_configure_sent());
            if !configured {
                self.desk.configure_new(&window);
            }
            // Also that of a client that has not waited for its first configure.
            if has_picture {
                self.dismiss_menu();
                self.desk.map_window(&window);
                self.desk.list_window(&window);
            }
        } else if has_picture {
            self.desk.rearrange_if_resized(&window);
        } else {
            self.desk.unlist_window(&window);
            self.desk.unmap_window(root, false);
        }
    }

    fn commit_popup(&mut self, surface: &WlSurface) {
        if let Some(smithay::desktop::PopupKind::Xdg(popup)) = self.desk.popups.find_popup(surface)
            && !popup.is_initial_configure_sent()
        {
            // Only refused for a popup that may not be configured again, which the first time is not.
            let _sent = popup.send_configure();
            // It is there from now on, also when its client has drawn it already and has nothing more to
            // commit.
            with_states(surface, |states| {
                if let Some(data) = states.data_map.get::<XdgPopupSurfaceData>()
                    && let Ok(mut attributes) = data.lock()
                {
                    attributes.current = *attributes.current_server_state();
                }
            });
        }
    }

    /// What is drawn at the pointer may have moved against it.
    fn commit_pointer(&mut self, surface: &WlSurface) {
        let icon = self.desk.drag_icon.as_mut().filter(|icon| icon.surface == *surface);
        let is_cursor =
            matches!(&self.desk.cursor.status, CursorImageStatus::Surface(cursor) if cursor == surface);
        if icon.is_none() && !is_cursor {
            return;
        }
        let moved = with_states(surface, |states| {
            let mut attributes = states.cached_state.get::<SurfaceAttributes>();
            let moved = attributes.current().buffer_delta.take().unwrap_or_default();
            if is_cursor
                && let Some(image) = states.data_map.get::<std::sync::Mutex<CursorImageAttributes>>()
                && let Ok(mut image) = image.lock()
            {
                image.hotspot -= moved;
            }
            moved
        });
        if let Some(icon) = icon {
            icon.offset += moved;
        }
    }

    /// Draws the outputs that this surface is on. One that is on none yet may be about to be.
    fn redraw_for(&mut self, surface: &WlSurface) {
        let root = self.desk.root_of(surface);
        let outputs = match self.desk.windows.find(&root) {
            Some((window, true)) => self.desk.space.outputs_for_element(&window),
            _ => Vec::new(),
        };
        let moves_pointer =
            matches!(&self.desk.cursor.status, CursorImageStatus::Surface(cursor) if cursor == surface);
        if outputs.is_empty() || moves_pointer {
            self.desk.queue_redraw_all();
        }
        for output in outputs {
            self.desk.queue_redraw(&output);
        }
    }
}

/// Commits of a surface that are not part of what it shows yet. Every commit is one of these for a moment at
/// least.
#[derive(Default)]
struct Waiting(AtomicUsize);

fn bytes_of(_: *const u8, _: usize, data: BufferData) -> usize {
    let length = |value: i32| usize::try_from(value).unwrap_or(0);
    4 * length(data.width) * length(data.height)
}

/// Bytes of memory that a surface shows.
#[derive(Default)]
struct Shown(AtomicUsize);

/// This surface shows so many bytes. Returns whether its client may show them.
fn shows(surface: &WlSurface, bytes: usize) -> bool {
    let before = with_states(surface, |states| {
        states.data_map.get_or_insert_threadsafe(Shown::default).0.swap(bytes, Ordering::Relaxed)
    });
    let Some(client) = surface.client() else { return true };
    limits::counts_of(&client).is_none_or(|counts| counts.show(bytes, before))
}

/// One commit of this surface is part of it, or all wait no more.
fn waits_no_more(surface: &WlSurface, all: bool) {
    let fewer = with_states(surface, |states| {
        let Some(waiting) = states.data_map.get::<Waiting>() else { return 0 };
        let now = waiting.0.load(Ordering::Relaxed);
        let fewer = if all { now } else { now.min(1) };
        waiting.0.store(now - fewer, Ordering::Relaxed);
        fewer
    });
    if let Some(client) = surface.client()
        && let Some(counts) = limits::counts_of(&client)
    {
        counts.drop_commits(fewer);
    }
}

/// More than a few damaged rectangles are as good as all.
fn bound_damage(attributes: &mut SurfaceAttributes) {
    if attributes.damage.len() > limits::DAMAGE {
        let all = Rectangle::from_size((i32::MAX, i32::MAX).into());
        attributes.damage.clear();
        attributes.damage.push(Damage::Buffer(all));
    }
}
