//! Who gets the keys: a surface, and for an X11 window also the X server's idea of the focus.

use std::borrow::Cow;

use smithay::backend::input::KeyState;
use smithay::desktop::{PopupKind, Window};
use smithay::input::Seat;
use smithay::input::keyboard::{KeyboardTarget, KeysymHandle, ModifiersState};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{IsAlive, Serial};
use smithay::wayland::seat::WaylandFocus;
use smithay::xwayland::X11Surface;

use crate::display::Compositor;

/// Who gets the keys.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyboardFocus {
    surface: WlSurface,
    x11: Option<X11Surface>,
}

impl KeyboardFocus {
    /// The keys for this window, once it has a surface.
    pub(crate) fn of(window: &Window) -> Option<Self> {
        let surface = window.wl_surface().filter(|surface| surface.alive())?.into_owned();
        Some(Self { surface, x11: window.x11_surface().cloned() })
    }

    pub(crate) fn surface(&self) -> &WlSurface {
        &self.surface
    }

    pub(crate) fn x11(&self) -> Option<&X11Surface> {
        self.x11.as_ref()
    }
}

impl From<WlSurface> for KeyboardFocus {
    fn from(surface: WlSurface) -> Self {
        Self { surface, x11: None }
    }
}

impl From<PopupKind> for KeyboardFocus {
    fn from(popup: PopupKind) -> Self {
        popup.wl_surface().clone().into()
    }
}

impl From<KeyboardFocus> for WlSurface {
    fn from(focus: KeyboardFocus) -> Self {
        focus.surface
    }
}

impl IsAlive for KeyboardFocus {
    fn alive(&self) -> bool {
        self.surface.alive()
    }
}

impl WaylandFocus for KeyboardFocus {
    fn wl_surface(&self) -> Option<Cow<'_, WlSurface>> {
        Some(Cow::Borrowed(&self.surface))
    }
}

impl KeyboardTarget<Compositor> for KeyboardFocus {
    fn enter(
        &self,
        seat: &Seat<Compositor>,
        compositor: &mut Compositor,
        keys: Vec<KeysymHandle<'_>>,
        serial: Serial,
    ) {
        match &self.x11 {
            Some(x11) => KeyboardTarget::enter(x11, seat, compositor, keys, serial),
            None => KeyboardTarget::enter(&self.surface, seat, compositor, keys, serial),
        }
    }

    fn leave(&self, seat: &Seat<Compositor>, compositor: &mut Compositor, serial: Serial) {
        match &self.x11 {
            Some(x11) => KeyboardTarget::leave(x11, seat, compositor, serial),
            None => KeyboardTarget::leave(&self.surface, seat, compositor, serial),
        }
    }

    fn key(
        &self,
        seat: &Seat<Compositor>,
        compositor: &mut Compositor,
        key: KeysymHandle<'_>,
        state: KeyState,
        serial: Serial,
        time: u32,
    ) {
        match &self.x11 {
            Some(x11) => KeyboardTarget::key(x11, seat, compositor, key, state, serial, time),
            None => KeyboardTarget::key(&self.surface, seat, compositor, key, state, serial, time),
        }
    }

    fn modifiers(
        &self,
        seat: &Seat<Compositor>,
        compositor: &mut Compositor,
        modifiers: ModifiersState,
        serial: Serial,
    ) {
        match &self.x11 {
            Some(x11) => KeyboardTarget::modifiers(x11, seat, compositor, modifiers, serial),
            None => KeyboardTarget::modifiers(&self.surface, seat, compositor, modifiers, serial),
        }
    }
}
