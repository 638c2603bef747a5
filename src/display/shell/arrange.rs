//! Brings the windows to their places: into the space, and by configures to the clients.

use std::collections::HashSet;

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
        let there: HashSet<u32> = places.iter().map(|place| place.id).collect();
        for placed in &mut self.windows.list {
            if placed.shown.is_some() && !there.contains(&placed.id) {
                placed.shown = None;
                self.space.unmap_elem(&placed.window);
            }
        }
        let positions = self.windows.positions();
        let mut laid = std::mem::take(&mut self.windows.laid);
        laid.retain(|(id, _)| there.contains(id));
        let mut now = Vec::with_capacity(places.len());
        // Back to front: what is mapped last is in front.
        for place in places {
            let Some(placed) = positions.get(&place.id).and_then(|at| self.windows.list.get_mut(*at)) else {
                continue;
            };
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
            // The space is searched for each window that is put there: those that lie right are left alone,
            // up to the first one that does not. What is put there anew comes to the front.
            if laid.get(now.len()) != Some(&(place.id, at)) {
                laid.truncate(now.len());
                self.space.map_element(window, at, false);
            }
            now.push((place.id, at));
        }
        self.windows.laid = now;
        self.space.refresh();
        self.queue_redraw_all();
    }

    /// A client has changed something of its windows, or some are `gone`. The first time in a turn of the
    /// loop it is seen to at once, and what comes after that in the same turn is seen to once, at its end: a
    /// program that closes a thousand windows is no thousand arrangements.
    pub(crate) fn arrange_soon(&mut self, gone: bool) {
        self.windows.due.gone |= gone;
        if std::mem::replace(&mut self.windows.due.arranged, true) {
            self.windows.due.again = true;
            self.wake.ping();
        } else {
            self.arrange_anew();
        }
    }

    fn arrange_anew(&mut self) {
        self.windows.due.again = false;
        let gone = std::mem::take(&mut self.windows.due.gone);
        self.arrange_windows();
        if gone {
            self.refocus();
            self.windows_changed();
        }
    }

    /// Whether something was put off.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.windows.due.again
    }

    /// What was put off is done.
    pub(crate) fn settle_windows(&mut self) {
        if self.is_unsettled() {
            self.arrange_anew();
        }
    }

    /// A turn of the loop has ended.
    pub(crate) fn end_turn(&mut self) {
        self.settle_windows();
        self.windows.due.arranged = false;
    }

    /// A window has drawn itself otherwise than it was placed: one that floats may have to move for it.
    pub(crate) fn rearrange_if_resized(&mut self, window: &Window) {
        let resized = self.windows.of(window).is_some_and(|placed| {
            placed.mapped && placed.floating() && placed.placed_as != window.geometry()
        });
        if resized {
            self.arrange_soon(false);
        }
    }
}

/// The corner of a floating window. While one is being resized, the edges that are not moved stay where they
/// are.
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
