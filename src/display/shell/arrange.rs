//! Brings the windows to their places: into the space, and by configures to the clients.

use smithay::desktop::Window;
use smithay::output::Output;
use smithay::reexports::wayland_protocols::xdg::decoration::zv1::server::zxdg_toplevel_decoration_v1::Mode;
use smithay::reexports::wayland_protocols::xdg::shell::server::xdg_toplevel::State;
use smithay::utils::{Logical, Point, Rectangle, Size};
use smithay::wayland::shell::xdg::ToplevelSurface;

use super::grabs::Edges;
use super::places::{Layer, Place, Screen, float_at, places};
use super::tiling::Tiling;
use super::windows::Placed;
use crate::display::desk::Desk;

/// What a client is told of its window's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    /// `None`: as large as it likes.
    pub(super) size: Option<Size<i32, Logical>>,
    pub(super) fullscreen: bool,
    pub(super) tiled: bool,
    pub(super) resizing: bool,
}

impl Desk {
    /// The part of an output that windows may take.
    pub(crate) fn clients_area(&self, output: &Output) -> Option<Rectangle<i32, Logical>> {
        let mut area = self.division(output)?.clients;
        area.loc += self.space.output_geometry(output)?.loc;
        Some(area)
    }

    pub(super) fn screens(&self) -> Vec<Screen> {
        let layout = &self.config.settings.layout;
        self.outputs
            .iter()
            .filter_map(|state| {
                let name = state.identity.key();
                let ratio = self.windows.ratios.get(&name).copied().unwrap_or(layout.master_ratio);
                let tiling = Tiling { gap: layout.gaps.cast_signed(), ratio, side: layout.master_side };
                Some(Screen { area: self.clients_area(&state.output)?, name, tiling })
            })
            .collect()
    }

    pub(super) fn places(&self, screens: &[Screen], also: Option<u32>) -> Vec<Place> {
        places(screens, &self.windows.pieces(also), self.is_kiosk())
    }

    /// Gives every mapped window its place. Cheap, and safe to call whenever something may have changed.
    pub(crate) fn arrange_windows(&mut self) {
        self.windows.forget_dead();
        let screens = self.screens();
        let places = self.places(&screens, None);
        for placed in &mut self.windows.list {
            if !places.iter().any(|place| place.id == placed.id) {
                placed.shown = None;
                self.space.unmap_elem(&placed.window);
            }
        }
        // Back to front: what is mapped last is in front.
        for place in places {
            let Some(placed) = self.windows.get_mut(place.id) else { continue };
            let screen = &screens[place.screen];
            placed.shown = Some(screen.name.clone());
            let geometry = placed.window.geometry();
            let size = geometry.size;
            placed.placed_as = geometry;
            let floats = matches!(place.layer, Layer::Float | Layer::Above);
            let (told, at) = if floats {
                (
                    Told {
                        size: placed.size,
                        fullscreen: false,
                        tiled: false,
                        resizing: placed.resizing.is_some(),
                    },
                    corner(placed, screen.area, size),
                )
            } else {
                let fullscreen = place.layer == Layer::Fullscreen;
                let told =
                    Told { size: Some(place.area.size), fullscreen, tiled: !fullscreen, resizing: false };
                (told, place.area.loc)
            };
            let window = placed.window.clone();
            tell(&window, told, at);
            self.space.map_element(window, at, false);
        }
        self.space.refresh();
        self.queue_redraw_all();
    }

    /// A window has drawn itself otherwise than it was placed: one that floats may have to move for it.
    pub(crate) fn rearrange_if_resized(&mut self, window: &Window) {
        let resized = self.windows.of(window).is_some_and(|placed| {
            placed.mapped && placed.floating() && placed.placed_as != window.geometry()
        });
        if resized {
            self.arrange_windows();
        }
    }
}

/// The corner of a floating window. While one is being resized, the edges that are not moved stay where they are.
fn corner(placed: &Placed, area: Rectangle<i32, Logical>, size: Size<i32, Logical>) -> Point<i32, Logical> {
    match placed.resizing {
        Some((edges, from)) => {
            let end = from.loc + from.size;
            Point::from((
                if edges.contains(Edges::LEFT) { end.x - size.w } else { from.loc.x },
                if edges.contains(Edges::TOP) { end.y - size.h } else { from.loc.y },
            ))
        }
        None => float_at(area, size, placed.at.map(|at| at + placed.overhang())),
    }
}

/// Sends the client what it has to know; nothing when it knows it already, or has not asked yet.
fn tell(window: &Window, told: Told, at: Point<i32, Logical>) {
    if let Some(x11) = window.x11_surface() {
        return super::x11::tell(x11, told, at);
    }
    let Some(toplevel) = window.toplevel() else { return };
    prepare(toplevel, told);
    if toplevel.is_initial_configure_sent() {
        toplevel.send_pending_configure();
    }
}

/// The state that the next configure carries.
pub(super) fn prepare(toplevel: &ToplevelSurface, told: Told) {
    toplevel.with_pending_state(|state| {
        state.size = told.size;
        state.decoration_mode = Some(Mode::ServerSide);
        let mut set = |which: State, on: bool| {
            if on {
                state.states.set(which)
            } else {
                state.states.unset(which)
            };
        };
        set(State::Fullscreen, told.fullscreen);
        set(State::Resizing, told.resizing);
        for edge in [State::TiledLeft, State::TiledRight, State::TiledTop, State::TiledBottom] {
            set(edge, told.tiled);
        }
    });
}
