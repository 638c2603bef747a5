//! Where windows go: tiles share the clients' part of an output, dialogs float in its middle, a fullscreen window has it alone.

use smithay::desktop::{PopupKind, Window, find_popup_root_surface, get_popup_toplevel_coords};
use smithay::output::Output;
use smithay::reexports::wayland_protocols::xdg::decoration::zv1::server::zxdg_toplevel_decoration_v1::Mode;
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel::State;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{IsAlive, Logical, Point, Rectangle, SERIAL_COUNTER, Size};
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::xdg::{PopupSurface, SurfaceCachedState, ToplevelSurface};

use super::desk::Desk;
use super::placement::tile;

/// The windows, in the order in which they came.
#[derive(Default)]
pub(crate) struct Windows {
    mapped: Vec<Placed>,
    unmapped: Vec<Placed>,
}

#[derive(Clone)]
struct Placed {
    window: Window,
    /// The name of the output it belongs to, which may be unplugged for a while.
    home: String,
    fullscreen: bool,
}

impl Windows {
    /// Windows that have not drawn anything yet.
    pub(crate) fn unmapped(&self) -> impl Iterator<Item = &Window> {
        self.unmapped.iter().map(|placed| &placed.window)
    }

    /// The window of this toplevel surface, and whether it is mapped.
    pub(crate) fn find(&self, surface: &WlSurface) -> Option<(Window, bool)> {
        let matches = |placed: &&Placed| surface_of(&placed.window) == Some(surface);
        let mapped = self.mapped.iter().find(matches).map(|placed| (placed.window.clone(), true));
        mapped.or_else(|| self.unmapped.iter().find(matches).map(|placed| (placed.window.clone(), false)))
    }

    fn find_mut(&mut self, surface: &WlSurface) -> Option<&mut Placed> {
        self.mapped
            .iter_mut()
            .chain(&mut self.unmapped)
            .find(|placed| surface_of(&placed.window) == Some(surface))
    }
}

fn surface_of(window: &Window) -> Option<&WlSurface> {
    window.toplevel().map(ToplevelSurface::wl_surface)
}

impl Desk {
    /// A client has made a toplevel; it gets its place when it has something to show.
    pub(crate) fn new_window(&mut self, toplevel: ToplevelSurface) {
        let home = self
            .space
            .output_under(self.pointer_at)
            .next()
            .or_else(|| self.outputs.first().map(|state| &state.output))
            .map(Output::name)
            .unwrap_or_default();
        let window = Window::new_wayland_window(toplevel);
        self.windows.unmapped.push(Placed { window, home, fullscreen: false });
    }

    /// The first configure of a window: the size that it will have.
    pub(crate) fn configure_new(&mut self, window: &Window) {
        let Some(at) = self.windows.unmapped.iter().position(|placed| &placed.window == window) else {
            return;
        };
        let placed = self.windows.unmapped[at].clone();
        let Some(toplevel) = placed.window.toplevel() else { return };
        if floats(toplevel) {
            prepare(toplevel, None, false, false);
        } else {
            let mut all: Vec<&Placed> = self.windows.mapped.iter().collect();
            all.push(&placed);
            let size = self.places(&all).into_iter().find(|(window, _)| window == &placed.window);
            prepare(toplevel, size.map(|(_, place)| place.size), placed.fullscreen, true);
        }
        toplevel.send_configure();
    }

    /// The window has its first picture.
    pub(crate) fn map_window(&mut self, window: &Window) {
        let Some(at) = self.windows.unmapped.iter().position(|placed| &placed.window == window) else {
            return;
        };
        let placed = self.windows.unmapped.remove(at);
        self.windows.mapped.push(placed);
        self.arrange_windows();
        self.focus(Some(window.clone()));
    }

    /// The client took its picture away, or is gone.
    pub(crate) fn unmap_window(&mut self, surface: &WlSurface, gone: bool) {
        let is = |placed: &Placed| surface_of(&placed.window) == Some(surface);
        if let Some(at) = self.windows.mapped.iter().position(is) {
            let placed = self.windows.mapped.remove(at);
            self.space.unmap_elem(&placed.window);
            if !gone {
                self.windows.unmapped.push(placed);
            }
            self.arrange_windows();
            let next = self.space.elements().next_back().cloned();
            self.focus(next);
        }
        if gone {
            self.windows.unmapped.retain(|placed| !is(placed));
        }
    }

    /// Fullscreen on or off, as the client asks.
    pub(crate) fn set_fullscreen(&mut self, surface: &WlSurface, fullscreen: bool, output: Option<Output>) {
        if let Some(placed) = self.windows.find_mut(surface) {
            placed.fullscreen = fullscreen;
            if let Some(output) = output {
                placed.home = output.name();
            }
        }
        self.arrange_windows();
    }

    /// Gives every mapped window its place. Cheap, and safe to call whenever something may have changed.
    pub(crate) fn arrange_windows(&mut self) {
        self.windows.mapped.retain(|placed| placed.window.alive());
        self.windows.unmapped.retain(|placed| placed.window.alive());
        let all: Vec<&Placed> = self.windows.mapped.iter().collect();
        let places = self.places(&all);
        let fullscreen: Vec<bool> = self.windows.mapped.iter().map(|placed| placed.fullscreen).collect();
        // What lies in front is decided here, so that it does not depend on who was clicked last: tiles, dialogs, fullscreen.
        let mut front = Vec::new();
        for (placed, fullscreen) in self.windows.mapped.iter().zip(fullscreen) {
            let window = &placed.window;
            let Some(toplevel) = window.toplevel() else { continue };
            let Some((_, place)) = places.iter().find(|(placed, _)| placed == window) else { continue };
            let floating = floats(toplevel) && !fullscreen;
            if floating {
                let size = window.geometry().size;
                let middle = place.loc
                    + Point::from(((place.size.w - size.w).max(0) / 2, (place.size.h - size.h).max(0) / 2));
                prepare(toplevel, None, false, false);
                self.space.map_element(window.clone(), middle, false);
            } else {
                prepare(toplevel, Some(place.size), fullscreen, true);
                self.space.map_element(window.clone(), place.loc, false);
            }
            if toplevel.is_initial_configure_sent() {
                toplevel.send_pending_configure();
            }
            if floating || fullscreen {
                front.push((fullscreen, window.clone()));
            }
        }
        front.sort_by_key(|(fullscreen, _)| *fullscreen);
        for (_, window) in front {
            self.space.raise_element(&window, false);
        }
        self.space.refresh();
        self.queue_redraw_all();
    }

    /// The place of each of these windows: a tile, or for a dialog and a fullscreen window the whole clients' area.
    fn places(&self, windows: &[&Placed]) -> Vec<(Window, Rectangle<i32, Logical>)> {
        let Some(first) = self.outputs.first() else { return Vec::new() };
        let mut places = Vec::with_capacity(windows.len());
        for state in &self.outputs {
            let Some(geometry) = self.space.output_geometry(&state.output) else { continue };
            let mut area = self.placement(&state.output).divide(geometry.size).clients;
            area.loc += geometry.loc;
            let name = state.output.name();
            let here: Vec<&Placed> = windows
                .iter()
                .copied()
                .filter(|placed| {
                    let home_is_there = self.outputs.iter().any(|other| other.output.name() == placed.home);
                    if home_is_there { placed.home == name } else { state.output == first.output }
                })
                .collect();
            let tiled =
                |placed: &&&Placed| !placed.fullscreen && !placed.window.toplevel().is_some_and(floats);
            let mut tiles = tile(area, here.iter().filter(tiled).count()).into_iter();
            for placed in &here {
                let place = if tiled(&placed) { tiles.next().unwrap_or(area) } else { area };
                places.push((placed.window.clone(), place));
            }
        }
        places
    }

    /// The keyboard goes to this window.
    pub(crate) fn focus(&mut self, window: Option<Window>) {
        self.wants_focus = Some(window);
        self.wake.ping();
    }

    /// Tells the clients which window is the active one.
    pub(crate) fn show_focus(&mut self, focused: Option<&WlSurface>) {
        for placed in &self.windows.mapped {
            let active = focused.is_some() && surface_of(&placed.window) == focused;
            if placed.window.set_activated(active)
                && let Some(toplevel) = placed.window.toplevel()
                && toplevel.is_initial_configure_sent()
            {
                toplevel.send_pending_configure();
            }
        }
    }

    /// Keeps a popup on the clients' part of its window's output.
    pub(crate) fn constrain_popup(&self, popup: &PopupSurface) {
        let kind = PopupKind::Xdg(popup.clone());
        let Ok(root) = find_popup_root_surface(&kind) else { return };
        let Some((window, _)) = self.windows.find(&root) else { return };
        let Some(place) = self.space.element_location(&window) else { return };
        let Some(state) = self
            .outputs
            .iter()
            .find(|state| {
                self.space.output_geometry(&state.output).is_some_and(|geometry| geometry.contains(place))
            })
            .or(self.outputs.first())
        else {
            return;
        };
        let Some(geometry) = self.space.output_geometry(&state.output) else { return };
        let mut target = self.placement(&state.output).divide(geometry.size).clients;
        target.loc += geometry.loc - get_popup_toplevel_coords(&kind) - place;
        popup
            .with_pending_state(|state| state.geometry = state.positioner.get_unconstrained_geometry(target));
    }
}

/// A dialog, or a window that has one size only, is not tiled.
fn floats(toplevel: &ToplevelSurface) -> bool {
    if toplevel.parent().is_some() {
        return true;
    }
    with_states(toplevel.wl_surface(), |states| {
        let mut cached = states.cached_state.get::<SurfaceCachedState>();
        let current = cached.current();
        let (min, max): (Size<i32, Logical>, Size<i32, Logical>) = (current.min_size, current.max_size);
        min.w > 0 && min.h > 0 && min == max
    })
}

/// The state that the next configure carries.
fn prepare(toplevel: &ToplevelSurface, size: Option<Size<i32, Logical>>, fullscreen: bool, tiled: bool) {
    toplevel.with_pending_state(|state| {
        state.size = size;
        state.decoration_mode = Some(Mode::ServerSide);
        if fullscreen {
            state.states.set(State::Fullscreen);
        } else {
            state.states.unset(State::Fullscreen);
        }
        for edge in [State::TiledLeft, State::TiledRight, State::TiledTop, State::TiledBottom] {
            if tiled && !fullscreen {
                state.states.set(edge);
            } else {
                state.states.unset(edge);
            }
        }
    });
}

impl super::Compositor {
    /// Carries out what [`Desk::focus`] asked for. Setting the focus calls back into the whole compositor, so it is done here.
    pub(crate) fn apply_focus(&mut self) {
        let Some(wanted) = self.desk.wants_focus.take() else { return };
        let surface = wanted.as_ref().and_then(surface_of).filter(|surface| surface.alive()).cloned();
        if let Some(keyboard) = self.desk.seat.get_keyboard() {
            keyboard.set_focus(self, surface, SERIAL_COUNTER.next_serial());
        }
    }
}
