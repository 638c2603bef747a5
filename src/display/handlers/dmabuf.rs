//! Clients' GPU buffers, and the points in time at which they may be read and written again.

use smithay::backend::allocator::dmabuf::Dmabuf;
use smithay::desktop::utils::with_surfaces_surface_tree;
use smithay::output::Output;
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::wayland::buffer::BufferHandler;
use smithay::wayland::dmabuf::{
    DmabufGlobal, DmabufHandler, DmabufState, ImportNotifier, SurfaceDmabufFeedbackState,
};
use smithay::wayland::drm_syncobj::{DrmSyncobjHandler, DrmSyncobjState};
use smithay::{delegate_dmabuf, delegate_drm_syncobj};
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

impl Compositor {
    /// Tells the windows on this output which buffers are best there. One that is on several is told by the first. Who has just asked
    /// is answered by Smithay with what is best for all, and hears of this with the next frame: while it asks, its surface is locked.
    pub(crate) fn tell_devices(&self, output: &Output) {
        let Some(feedback) = self.backend.dmabuf_feedback(output) else { return };
        let roots = self.desk.roots_on(output);
        for root in roots.iter().filter(|root| self.desk.output_of(root) == Some(output)) {
            with_surfaces_surface_tree(root, |_, states| {
                if let Some(told) = SurfaceDmabufFeedbackState::from_states(states) {
                    told.set_feedback(feedback);
                }
            });
        }
    }
}

impl DrmSyncobjHandler for Compositor {
    fn drm_syncobj_state(&mut self) -> Option<&mut DrmSyncobjState> {
        self.desk.protocols.drm_syncobj.as_mut()
    }
}

delegate_dmabuf!(Compositor);
delegate_drm_syncobj!(Compositor);
