//! Memory that clients share is Smithay's to map. What it does not foresee is kept away from it: a pool of no
//! size, and files behind which a program stands that may never answer.

use std::os::fd::AsFd;

use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::reexports::wayland_server::protocol::wl_shm::{self, WlShm};
use smithay::reexports::wayland_server::protocol::wl_shm_pool::{self, WlShmPool};
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, Resource, delegate_dispatch, delegate_global_dispatch,
};
use smithay::wayland::buffer::BufferHandler;
use smithay::wayland::shm::{ShmBufferUserData, ShmHandler, ShmPoolUserData, ShmState};

use crate::display::Compositor;
use crate::display::foreign_memory::answers_by_itself;

impl ShmHandler for Compositor
where
    Compositor: BufferHandler,
{
    fn shm_state(&self) -> &ShmState {
        &self.desk.protocols.shm
    }
}

// What `delegate_shm!` would write, but for the two below.
delegate_global_dispatch!(Compositor: [WlShm: ()] => ShmState);
delegate_dispatch!(Compositor: [WlBuffer: ShmBufferUserData] => ShmState);

impl Dispatch<WlShm, ()> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        shm: &WlShm,
        request: wl_shm::Request,
        data: &(),
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_shm::Request::CreatePool { fd, .. } = &request
            && let Err(reason) = answers_by_itself(fd.as_fd())
        {
            return shm.post_error(wl_shm::Error::InvalidFd, reason);
        }
        <ShmState as Dispatch<_, _, Self>>::request(compositor, client, shm, request, data, display, init);
    }
}

impl Dispatch<WlShmPool, ShmPoolUserData> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        pool: &WlShmPool,
        request: wl_shm_pool::Request,
        data: &ShmPoolUserData,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_shm_pool::Request::Resize { size } = &request
            && *size <= 0
        {
            // Smithay says so too, and goes on with it.
            return pool.post_error(wl_shm::Error::InvalidFd, "the size of a pool is more than nothing");
        }
        <ShmState as Dispatch<_, _, Self>>::request(compositor, client, pool, request, data, display, init);
    }
}
