//! Clients' GPU buffers.

use smithay::backend::allocator::dmabuf::Dmabuf;
use smithay::delegate_dmabuf;
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::wayland::buffer::BufferHandler;
use smithay::wayland::dmabuf::{DmabufGlobal, DmabufHandler, DmabufState, ImportNotifier};
use tracing::debug;

use crate::display::Compositor;

impl BufferHandler for Compositor {
    fn buffer_destroyed(&mut self, _buffer: &WlBuffer) {}
}

impl DmabufHandler for Compositor {
    fn dmabuf_state(&mut self) -> &mut DmabufState {
        &mut self.desk.protocols.dmabuf
    }

    fn dmabuf_imported(&mut self, _global: &DmabufGlobal, dmabuf: Dmabuf, notifier: ImportNotifier) {
        match self.backend.import_dmabuf(&dmabuf) {
            Ok(()) => {
                // Fails only when the client is gone, and then nobody waits for the answer.
                drop(notifier.successful::<Compositor>());
            }
            Err(reason) => {
                debug!(reason, "a client's buffer was refused");
                notifier.failed();
            }
        }
    }
}

delegate_dmabuf!(Compositor);
