//! Who has the keyboard: the lock's surface before all others, then a layer surface that wants it for itself
//! alone, then the layer surface that was clicked, then the window that was clicked or opened last.

use smithay::backend::renderer::utils::with_renderer_surface_state;
use smithay::desktop::{LayerSurface, Window, layer_map_for_output};
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{IsAlive, SERIAL_COUNTER};
use smithay::wayland::shell::wlr_layer::{KeyboardInteractivity, Layer};
use smithay::xwayland::X11Surface;

use super::Compositor;
use super::desk::Desk;
use super::stack::Owner;
use super::xwayland::KeyboardFocus;

/// Who would have the keyboard if nobody stood above them.
#[derive(Default)]
pub(crate) struct Focus {
    window: Option<Window>,
    /// A layer surface that takes the keyboard when it is clicked.
    layer: Option<LayerSurface>,
    changed: bool,
}

impl Desk {
    /// The keyboard goes to this window, unless somebody stands above all windows.
    pub(crate) fn wish_focus(&mut self, window: Option<Window>) {
        self.focus.window = window;
        self.focus.layer = None;
        self.reconsider_focus();
    }

    /// Something was clicked.
    pub(crate) fn focus_owner(&mut self, owner: Owner) {
        match owner {
            // A menu of an X11 program asks the X server for the keyboard itself.
            Owner::Window(window) if window.x11_surface().is_some_and(X11Surface::is_override_redirect) => {}
            Owner::Window(window) => self.focus(Some(window)),
            Owner::Layer(layer)
                if layer.cached_state().keyboard_interactivity != KeyboardInteractivity::None =>
            {
                self.focus.layer = Some(layer);
                self.reconsider_focus();
            }
            Owner::Layer(_) => {}
            Owner::Lock => self.reconsider_focus(),
        }
    }

    /// Who has the keyboard is decided anew: somebody has come, gone, or become another.
    pub(crate) fn reconsider_focus(&mut self) {
        self.focus.changed = true;
        self.wake.ping();
    }

    fn keyboard_target(&self) -> Option<KeyboardFocus> {
        if self.lock.is_on() {
            let here = self.space.output_under(self.pointer_at).next();
            return here
                .into_iter()
                .chain(self.outputs.iter().map(|state| &state.output))
                .find_map(|output| self.lock.surface(output))
                .map(Into::into);
        }
        let outputs = || self.outputs.iter().map(|state| &state.output);
        for layer in [Layer::Overlay, Layer::Top] {
            if let Some(surface) = outputs().find_map(|output| exclusive(output, layer)) {
                return Some(surface.into());
            }
        }
        let layer = self.focus.layer.as_ref().filter(|layer| {
            layer.alive()
                && shown(layer.wl_surface())
                && layer.cached_state().keyboard_interactivity != KeyboardInteractivity::None
        });
        if let Some(layer) = layer {
            return Some(layer.wl_surface().clone().into());
        }
        KeyboardFocus::of(self.focus.window.as_ref()?)
    }
}

impl Compositor {
    /// Carries out what was asked for. Setting the focus calls back into the whole compositor, so it is done
    /// here.
    pub(crate) fn apply_focus(&mut self) {
        if !self.desk.focus.changed {
            return;
        }
        // Who has it may be gone.
        self.desk.settle_windows();
        self.desk.focus.changed = false;
        let target = self.desk.keyboard_target();
        let Some(keyboard) = self.desk.seat.get_keyboard() else { return };
        if let Some(target) = &target {
            self.raise_in_x11(target);
        }
        if keyboard.current_focus() != target {
            keyboard.set_focus(self, target, SERIAL_COUNTER.next_serial());
            self.release_constraint();
            self.activate_constraint();
        }
    }
}

/// The front one of the layer surfaces here that want the keyboard for themselves alone.
fn exclusive(output: &Output, layer: Layer) -> Option<WlSurface> {
    let map = layer_map_for_output(output);
    let wants = |surface: &&LayerSurface| {
        surface.cached_state().keyboard_interactivity == KeyboardInteractivity::Exclusive
            && shown(surface.wl_surface())
    };
    map.layers_on(layer).rev().find(wants).map(|surface| surface.wl_surface().clone())
}

fn shown(surface: &WlSurface) -> bool {
    surface.alive() && with_renderer_surface_state(surface, |state| state.buffer().is_some()).unwrap_or(false)
}
