//! One program wants another one's window in front.

use std::time::Duration;

use smithay::delegate_xdg_activation;
use smithay::input::Seat;
use smithay::reexports::wayland_server::Resource;
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::wayland::xdg_activation::{
    XdgActivationHandler, XdgActivationState, XdgActivationToken, XdgActivationTokenData,
};
use tracing::debug;

use crate::display::Compositor;

/// A token that is older was meant for something that a person has forgotten by now.
const PATIENCE: Duration = Duration::from_secs(10);

impl XdgActivationHandler for Compositor {
    fn activation_state(&mut self) -> &mut XdgActivationState {
        &mut self.desk.protocols.activation
    }

    /// The attention of a person can be passed on only by who has it: the client that has the keyboard or was clicked, by an
    /// event since then.
    fn token_created(&mut self, _token: XdgActivationToken, data: XdgActivationTokenData) -> bool {
        let Some((serial, seat)) = &data.serial else { return false };
        let Some(seat) = Seat::<Compositor>::from_resource(seat) else { return false };
        let is = |surface: Option<WlSurface>| {
            let client = surface.as_ref().and_then(Resource::client).map(|client| client.id());
            client.is_some() && client == data.client_id
        };
        let since = |enter: Option<smithay::utils::Serial>| {
            enter.is_some_and(|enter| serial.is_no_older_than(&enter))
        };
        let by_key = seat.get_keyboard().is_some_and(|keyboard| {
            is(keyboard.current_focus().map(Into::into)) && since(keyboard.last_enter())
        });
        let by_click = seat
            .get_pointer()
            .is_some_and(|pointer| is(pointer.current_focus()) && since(pointer.last_enter()));
        by_key || by_click
    }

    fn request_activation(
        &mut self,
        token: XdgActivationToken,
        data: XdgActivationTokenData,
        surface: WlSurface,
    ) {
        // One token, one activation.
        self.desk.protocols.activation.remove_token(&token);
        self.desk.protocols.activation.retain_tokens(|_, data| data.timestamp.elapsed() < PATIENCE);
        if data.timestamp.elapsed() >= PATIENCE {
            debug!("a token for activation is too old");
            return;
        }
        if let Some((window, true)) = self.desk.windows.find(&self.desk.owner_of(&surface)) {
            self.desk.focus(Some(window));
        }
    }
}

delegate_xdg_activation!(Compositor);
