//! Sandboxes let their programs in by a socket of their own: these clients are confined.

use smithay::delegate_security_context;
use smithay::wayland::security_context::{
    SecurityContext, SecurityContextHandler, SecurityContextListenerSource,
};
use tracing::{info, warn};

use crate::display::Compositor;
use crate::display::clients::{ClientState, admit};

impl SecurityContextHandler for Compositor {
    fn context_created(&mut self, source: SecurityContextListenerSource, context: SecurityContext) {
        info!(
            engine = context.sandbox_engine.as_deref().unwrap_or("unnamed"),
            application = context.app_id.as_deref().unwrap_or("unnamed"),
            "a sandbox lets its programs in"
        );
        let listening = self.desk.handle.insert_source(source, move |stream, (), compositor| {
            let client = ClientState::of_sandbox(context.clone());
            if let Err(error) = admit(&mut compositor.desk, stream, client) {
                warn!(%error, "a confined client could not be let in");
            }
        });
        if let Err(error) = listening {
            warn!(%error, "the sandbox's socket is not watched: its programs cannot come in");
        }
    }
}

delegate_security_context!(Compositor);
