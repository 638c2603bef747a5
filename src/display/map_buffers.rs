//! Buffers that three parties share: the GPU writes the map into them, the display controller scans them out, and the clients'
//! renderer reads them when no plane takes the map.
//!
//! The DRM compositor puts only a client's `wl_buffer` on an overlay plane. So each buffer is also a `wl_buffer` of a client that
//! lives in this process: a socket pair whose other end nobody reads.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use smithay::backend::allocator::dmabuf::{AsDmabuf, Dmabuf, DmabufFlags};
use smithay::backend::allocator::gbm::{GbmAllocator, GbmBufferFlags, GbmDevice};
use smithay::backend::allocator::{Buffer as _, Fourcc, Modifier};
use smithay::backend::drm::{DrmDeviceFd, DrmNode};
use smithay::backend::renderer::utils::Buffer;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::reexports::wayland_server::protocol::wl_buffer::WlBuffer;
use smithay::utils::{Physical, Size};

use super::Compositor;
use super::clients::ClientState;
use super::error::chain;
use super::map_view::{MapBuffer, Ring};
use crate::render::DmaBufPlane;

/// One on the screen, one in the frame under way, one being drawn.
const BUFFERS: usize = 3;

/// Allocates the ring on this card.
pub(crate) fn allocate(
    display: &mut DisplayHandle,
    gbm: &GbmDevice<DrmDeviceFd>,
    node: DrmNode,
    size: Size<i32, Physical>,
) -> Result<Ring, String> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| format!("no socket pair: {error}"))?;
    let client = display
        .insert_client(ours, Arc::new(ClientState::default()))
        .map_err(|error| format!("no in-process client: {error}"))?;
    let mut buffers = Vec::with_capacity(BUFFERS);
    for _ in 0..BUFFERS {
        let dmabuf = allocate_one(gbm, node, size)?;
        let buffer = client
            .create_resource::<WlBuffer, Dmabuf, Compositor>(display, 1, dmabuf.clone())
            .map_err(|error| format!("no wl_buffer: {error}"))?;
        buffers.push(MapBuffer { dmabuf, buffer: Buffer::with_implicit(buffer) });
    }
    Ok(Ring { buffers, _client: theirs })
}

fn allocate_one(
    gbm: &GbmDevice<DrmDeviceFd>,
    node: DrmNode,
    size: Size<i32, Physical>,
) -> Result<Dmabuf, String> {
    let flags = GbmBufferFlags::SCANOUT | GbmBufferFlags::LINEAR;
    let mut allocator = GbmAllocator::new(gbm.clone(), flags);
    let (width, height) = (size.w.unsigned_abs(), size.h.unsigned_abs());
    let buffer = allocator
        .create_buffer_with_flags(width, height, Fourcc::Xrgb8888, &[Modifier::Linear], flags)
        .map_err(|error| format!("the card gives no linear scan-out buffer of {width}×{height}: {error}"))?;
    let exported =
        buffer.export().map_err(|error| format!("the card does not export its buffer: {}", chain(&error)))?;
    let (Some(fd), Some(offset), Some(stride)) =
        (exported.handles().next(), exported.offsets().next(), exported.strides().next())
    else {
        return Err("the card exported a buffer without a plane".into());
    };
    let fd =
        fd.try_clone_to_owned().map_err(|error| format!("the buffer's file cannot be shared: {error}"))?;
    // A buffer that was asked for as linear may still report no modifier, and without one the DRM compositor does not touch it;
    // without a node, its exporter does not either.
    let mut builder =
        Dmabuf::builder((size.w, size.h), Fourcc::Xrgb8888, Modifier::Linear, DmabufFlags::empty());
    builder.add_plane(fd, 0, offset, stride);
    builder.set_node(node);
    builder.build().ok_or_else(|| "the card exported a buffer without a plane".into())
}

/// The same buffer in the words of the render stage.
pub(crate) fn plane_of(dmabuf: &Dmabuf) -> Result<DmaBufPlane, String> {
    let (Some(fd), Some(offset), Some(stride)) =
        (dmabuf.handles().next(), dmabuf.offsets().next(), dmabuf.strides().next())
    else {
        return Err("the map's buffer has no plane".into());
    };
    let fd =
        fd.try_clone_to_owned().map_err(|error| format!("the buffer's file cannot be shared: {error}"))?;
    Ok(DmaBufPlane { fd, width: dmabuf.width(), height: dmabuf.height(), stride, offset })
}
