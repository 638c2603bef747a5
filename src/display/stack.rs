//! What of the clients is on an output, front to back, and where in that order the map lies. Drawing, the pointer, frame callbacks
//! and presentation times all follow this one order.

use smithay::desktop::utils::under_from_surface_tree;
use smithay::desktop::{
    LayerSurface, PopupManager, Window, WindowSurfaceType, find_popup_root_surface, layer_map_for_output,
};
use smithay::input::pointer::CursorImageStatus;
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point};
use smithay::wayland::compositor::get_parent;
use smithay::wayland::shell::wlr_layer::Layer;
use smithay::xwayland::X11Surface;

use super::desk::Desk;

/// Whose surface it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Owner {
    Window(Window),
    Layer(LayerSurface),
    Lock,
}

/// A surface with all its subsurfaces.
pub(crate) struct Piece {
    pub(crate) surface: WlSurface,
    /// Where its origin is on the desk.
    pub(crate) place: Point<i32, Logical>,
    pub(crate) owner: Owner,
}

/// Everything of the clients on one output, front to back.
#[derive(Default)]
pub(crate) struct Stack {
    /// In front of the map.
    pub(crate) above: Vec<Piece>,
    /// Whether the map may be seen at all.
    pub(crate) map: bool,
    /// Behind it.
    pub(crate) below: Vec<Piece>,
}

/// What is at a point.
pub(crate) struct Under {
    pub(crate) surface: WlSurface,
    /// Where the surface's origin is on the desk.
    pub(crate) place: Point<f64, Logical>,
    pub(crate) owner: Owner,
}

impl Stack {
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.above.iter().chain(&self.below)
    }
}

impl Desk {
    /// The order on this output. While the session is locked there is nothing but the lock's own surface.
    pub(crate) fn stack(&self, output: &Output) -> Stack {
        let mut stack = Stack::default();
        if self.lock.is_on() {
            if let (Some(surface), Some(geometry)) =
                (self.lock.surface(output), self.space.output_geometry(output))
            {
                let piece = Piece { surface, place: geometry.loc, owner: Owner::Lock };
                push_with_popups(&mut stack.above, piece, Point::default());
            }
            return stack;
        }
        stack.map = true;
        for layer in [Layer::Overlay, Layer::Top] {
            self.push_layer(&mut stack.above, output, layer);
        }
        // Menus are in front of every window: a tile's menu may reach over the tile beside it.
        let mut floating = Vec::new();
        for window in self.space.elements_for_output(output).rev() {
            if let Some(piece) = self.window_piece(window) {
                push_popups(&mut stack.above, &piece, window.geometry().loc);
                let pieces = if window.x11_surface().is_some_and(X11Surface::is_override_redirect) {
                    &mut stack.above
                } else if self.floats_over_map(window, output) {
                    &mut floating
                } else {
                    &mut stack.below
                };
                pieces.push(piece);
            }
        }
        stack.above.extend(floating);
        for layer in [Layer::Bottom, Layer::Background] {
            self.push_layer(&mut stack.below, output, layer);
        }
        stack
    }

    fn window_piece(&self, window: &Window) -> Option<Piece> {
        let place = self.space.element_location(window)? - window.geometry().loc;
        let surface = smithay::wayland::seat::WaylandFocus::wl_surface(window)?.into_owned();
        Some(Piece { surface, place, owner: Owner::Window(window.clone()) })
    }

    fn push_layer(&self, pieces: &mut Vec<Piece>, output: &Output, layer: Layer) {
        let Some(geometry) = self.space.output_geometry(output) else { return };
        let map = layer_map_for_output(output);
        for surface in map.layers_on(layer).rev() {
            let Some(place) = map.layer_geometry(surface) else { continue };
            // Its own corner; the geometry is of the whole tree.
            let place = place.loc - surface.bbox().loc + geometry.loc;
            let owner = Owner::Layer(surface.clone());
            let piece = Piece { surface: surface.wl_surface().clone(), place, owner };
            push_with_popups(pieces, piece, Point::default());
        }
    }

    /// The surface at this point. The map takes no input, and what it hides is not clicked by accident.
    pub(crate) fn under(&self, at: Point<f64, Logical>) -> Option<Under> {
        let output = self.space.output_under(at).next()?;
        let stack = self.stack(output);
        let hidden = || {
            let state = self.outputs.iter().find(|state| &state.output == output)?;
            let mut area = state.map.area().filter(|_| stack.map && state.map.visible())?;
            area.loc += self.space.output_geometry(output)?.loc;
            area.to_f64().contains(at).then_some(())
        };
        find(&stack.above, at).or_else(|| match hidden() {
            Some(()) => None,
            None => find(&stack.below, at),
        })
    }

    /// The surface that this one is drawn and placed with: a window's, a layer's, the lock's. A popup is its own.
    pub(crate) fn root_of(&self, surface: &WlSurface) -> WlSurface {
        let mut root = surface.clone();
        while let Some(parent) = get_parent(&root) {
            root = parent;
        }
        root
    }

    /// The window's or layer's surface behind this one, popups included.
    pub(crate) fn owner_of(&self, surface: &WlSurface) -> WlSurface {
        let root = self.root_of(surface);
        let popup = self.popups.find_popup(&root);
        popup.and_then(|popup| find_popup_root_surface(&popup).ok()).unwrap_or(root)
    }

    /// Whether this root is on any output.
    pub(crate) fn is_shown(&self, root: &WlSurface) -> bool {
        self.outputs.iter().any(|state| self.roots_on(&state.output).contains(root))
    }

    /// Every surface that is shown on this output and can be the root of others: windows, popups, layers, the lock, the pointer.
    pub(crate) fn roots_on(&self, output: &Output) -> Vec<WlSurface> {
        let mut roots: Vec<WlSurface> =
            self.stack(output).pieces().map(|piece| piece.surface.clone()).collect();
        if let CursorImageStatus::Surface(surface) = &self.cursor.status {
            roots.push(surface.clone());
        }
        roots.extend(self.drag_icon.as_ref().map(|icon| icon.surface.clone()));
        roots
    }
}

/// A window with its menus, front to back, as it is by itself: its corner is the origin.
pub(crate) fn window_pieces(window: &Window) -> Vec<Piece> {
    let mut pieces = Vec::new();
    if let Some(surface) = smithay::wayland::seat::WaylandFocus::wl_surface(window) {
        let corner = window.geometry().loc;
        let surface = surface.into_owned();
        let piece = Piece { surface, place: Point::default() - corner, owner: Owner::Window(window.clone()) };
        push_popups(&mut pieces, &piece, corner);
        pieces.push(piece);
    }
    pieces
}

/// `origin` is the corner of the surface's window geometry, which popups are placed by.
fn push_popups(pieces: &mut Vec<Piece>, parent: &Piece, origin: Point<i32, Logical>) {
    for (popup, offset) in PopupManager::popups_for_surface(&parent.surface) {
        pieces.push(Piece {
            surface: popup.wl_surface().clone(),
            place: parent.place + origin + offset - popup.geometry().loc,
            owner: parent.owner.clone(),
        });
    }
}

fn push_with_popups(pieces: &mut Vec<Piece>, piece: Piece, origin: Point<i32, Logical>) {
    push_popups(pieces, &piece, origin);
    pieces.push(piece);
}

fn find(pieces: &[Piece], at: Point<f64, Logical>) -> Option<Under> {
    pieces.iter().find_map(|piece| {
        let (surface, place) =
            under_from_surface_tree(&piece.surface, at, piece.place, WindowSurfaceType::ALL)?;
        Some(Under { surface, place: place.to_f64(), owner: piece.owner.clone() })
    })
}
