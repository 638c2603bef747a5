//! The windows as data: in the order in which they are tiled, each with the output that it belongs to.

use std::collections::HashMap;

use smithay::desktop::Window;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::backend::ObjectId;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{IsAlive, Logical, Point, Rectangle, Size};
use smithay::wayland::compositor::with_states;
use smithay::wayland::seat::WaylandFocus;
use smithay::wayland::shell::xdg::{SurfaceCachedState, ToplevelSurface};

use super::grabs::Edges;
use super::places::Piece;

/// All windows.
#[derive(Default)]
pub(crate) struct Windows {
    /// The first of each output is its master.
    pub(super) list: Vec<Placed>,
    next_id: u32,
    uses: u64,
    /// The output that keys and new windows go to.
    pub(super) active: Option<String>,
    /// The window that has the keyboard.
    pub(super) focused: Option<u32>,
    /// Shares of the masters that were changed by hand, by output.
    pub(super) ratios: HashMap<String, f64>,
    /// What is in the space, back to front.
    pub(super) laid: Vec<(u32, Point<i32, Logical>)>,
    pub(super) due: Due,
}

/// What clients have changed in this turn of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Due {
    /// The windows were arranged for it already.
    pub(super) arranged: bool,
    /// They have to be once more, at the end of the turn.
    pub(super) again: bool,
    /// Some are not shown any more.
    pub(super) gone: bool,
}

/// One window.
pub(crate) struct Placed {
    /// Told to clients of the control socket; never used again.
    pub(super) id: u32,
    pub(super) window: Window,
    /// The key of the output it belongs to, which may be unplugged for a while.
    pub(super) home: String,
    /// The key of the output it is shown on.
    pub(super) shown: Option<String>,
    /// It has shown something.
    pub(super) mapped: bool,
    pub(super) fullscreen: bool,
    /// What a person has decided; without that a dialog floats and everything else is tiled.
    pub(super) floats: Option<bool>,
    /// Where it floats, from the corner of the clients' part of its output: the corner of its geometry, or of
    /// its own surface when its client has said nothing of a geometry. In the middle without.
    pub(super) at: Option<Point<i32, Logical>>,
    /// The size that a person gave it while it floats.
    pub(super) size: Option<Size<i32, Logical>>,
    /// It is being resized: these edges move, and the others stay where this rectangle has them.
    pub(super) resizing: Option<(Edges, Rectangle<i32, Logical>)>,
    /// Its geometry on its own surface when it was placed last.
    pub(super) placed_as: Rectangle<i32, Logical>,
    /// When it had the keyboard last, counted in changes of the focus.
    pub(super) used: u64,
}

impl Placed {
    pub(super) fn surface(&self) -> Option<WlSurface> {
        surface_of(&self.window)
    }

    pub(super) fn is(&self, surface: &WlSurface) -> bool {
        self.window.wl_surface().is_some_and(|own| &*own == surface)
    }

    pub(super) fn floating(&self) -> bool {
        self.floats.unwrap_or_else(|| floats_by_itself(&self.window))
    }

    /// From the point that [`Self::at`] is of to the corner of its geometry. A subsurface that reaches out of
    /// a window without a geometry of its own makes the window larger, and does not push it aside.
    pub(super) fn overhang(&self) -> Point<i32, Logical> {
        let said = self.window.toplevel().is_none_or(|toplevel| {
            with_states(toplevel.wl_surface(), |states| {
                states.cached_state.get::<SurfaceCachedState>().current().geometry.is_some()
            })
        });
        if said { Point::default() } else { self.window.geometry().loc }
    }
}

pub(super) fn surface_of(window: &Window) -> Option<WlSurface> {
    window.wl_surface().map(|surface| surface.into_owned())
}

/// A dialog, or a window that has one size only, is not tiled.
fn floats_by_itself(window: &Window) -> bool {
    if let Some(x11) = window.x11_surface() {
        return super::x11::floats_by_itself(x11);
    }
    let Some(toplevel) = window.toplevel() else { return false };
    if toplevel.parent().is_some() {
        return true;
    }
    let (min, max) = size_limits(toplevel);
    min.w > 0 && min.h > 0 && min == max
}

/// The smallest and the largest size that the client wants; 0 where it does not care.
pub(super) fn size_limits(toplevel: &ToplevelSurface) -> (Size<i32, Logical>, Size<i32, Logical>) {
    with_states(toplevel.wl_surface(), |states| {
        let mut cached = states.cached_state.get::<SurfaceCachedState>();
        let current = cached.current();
        (current.min_size, current.max_size)
    })
}

impl Windows {
    /// Windows that have not drawn anything yet.
    pub(crate) fn unmapped(&self) -> impl Iterator<Item = &Window> {
        self.list.iter().filter(|placed| !placed.mapped).map(|placed| &placed.window)
    }

    /// The window of this toplevel surface, and whether it is mapped.
    pub(crate) fn find(&self, surface: &WlSurface) -> Option<(Window, bool)> {
        self.list
            .iter()
            .find(|placed| placed.is(surface))
            .map(|placed| (placed.window.clone(), placed.mapped))
    }

    /// The window of this number, while it shows something.
    pub(crate) fn shown(&self, id: u32) -> Option<&Window> {
        self.get(id).filter(|placed| placed.mapped).map(|placed| &placed.window)
    }

    /// The number of the window of which this holds.
    pub(crate) fn number_of(&self, holds: impl Fn(&Window) -> bool) -> Option<u32> {
        self.list.iter().find(|placed| holds(&placed.window)).map(|placed| placed.id)
    }

    /// The name of the output that this window is shown on.
    pub(crate) fn shown_on(&self, window: &Window) -> Option<String> {
        self.of(window)?.shown.clone()
    }

    pub(super) fn add(&mut self, window: Window, home: String) {
        self.next_id += 1;
        self.list.push(Placed {
            id: self.next_id,
            window,
            home,
            shown: None,
            mapped: false,
            fullscreen: false,
            floats: None,
            at: None,
            size: None,
            resizing: None,
            placed_as: Rectangle::default(),
            used: 0,
        });
    }

    pub(super) fn get(&self, id: u32) -> Option<&Placed> {
        self.list.iter().find(|placed| placed.id == id)
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Placed> {
        self.list.iter_mut().find(|placed| placed.id == id)
    }

    pub(super) fn of(&self, window: &Window) -> Option<&Placed> {
        self.list.iter().find(|placed| &placed.window == window)
    }

    pub(super) fn of_surface_mut(&mut self, surface: &WlSurface) -> Option<&mut Placed> {
        self.list.iter_mut().find(|placed| placed.is(surface))
    }

    pub(super) fn mapped(&self) -> impl DoubleEndedIterator<Item = &Placed> {
        self.list.iter().filter(|placed| placed.mapped)
    }

    /// The window that has the keyboard.
    pub(super) fn focused(&self) -> Option<&Placed> {
        self.get(self.focused?)
    }

    /// It has the keyboard now, or would have it, were its output the active one.
    pub(super) fn use_now(&mut self, id: u32) {
        self.uses += 1;
        let uses = self.uses;
        if let Some(placed) = self.get_mut(id) {
            placed.used = uses;
        }
    }

    pub(super) fn forget_dead(&mut self) {
        self.list.retain(|placed| placed.window.alive());
    }

    /// The window that this one is a dialog of.
    pub(super) fn parent_of(&self, placed: &Placed) -> Option<&Placed> {
        if let Some(x11) = placed.window.x11_surface() {
            let parent = x11.is_transient_for()?;
            let is =
                |other: &&Placed| other.window.x11_surface().is_some_and(|other| other.window_id() == parent);
            return self.list.iter().find(is);
        }
        let parent = placed.window.toplevel().and_then(ToplevelSurface::parent)?;
        self.list.iter().find(|other| other.is(&parent))
    }

    /// What has to be known to give them their places. A window that is not mapped counts when it is `also`.
    pub(super) fn pieces(&self, also: Option<u32>) -> Vec<Piece> {
        // Looked up once for all: a client may have windows by the thousand.
        let surfaces: HashMap<ObjectId, u32> =
            self.list.iter().filter_map(|placed| Some((placed.surface()?.id(), placed.id))).collect();
        self.list
            .iter()
            .filter(|placed| placed.mapped || Some(placed.id) == also)
            .map(|placed| Piece {
                id: placed.id,
                home: placed.home.clone(),
                fullscreen: placed.fullscreen,
                floating: placed.floating(),
                parent: match placed.window.toplevel() {
                    Some(toplevel) => {
                        toplevel.parent().and_then(|parent| surfaces.get(&parent.id()).copied())
                    }
                    None => self.parent_of(placed).map(|parent| parent.id),
                },
                used: placed.used,
            })
            .collect()
    }

    /// Where each window is in the list, by its number.
    pub(super) fn positions(&self) -> HashMap<u32, usize> {
        self.list.iter().enumerate().map(|(at, placed)| (placed.id, at)).collect()
    }
}
