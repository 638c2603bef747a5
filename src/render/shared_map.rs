//! A map that the CPU writes where the GPU reads it: one dma-buf, mapped here and imported there.

use std::io;

use super::import::import_memory;
use super::shared::{DmaFence, Mapping, from_memory};
use super::{Gpu, RenderError};

/// Memory of the CPU's that shaders read.
pub(super) struct SharedMap {
    buffer: wgpu::Buffer,
    mapping: Mapping,
    fence: DmaFence,
    inode: u64,
}

impl SharedMap {
    /// Of so many bytes, all zero.
    pub(super) fn new(gpu: &Gpu, size: u64) -> Result<SharedMap, RenderError> {
        let device = gpu.describe();
        if !device.dma_buf_import {
            return Err(RenderError::DmaBufUnsupported { device: device.name });
        }
        let failed = |reason: String| RenderError::SharedBuffer { device: device.name.clone(), reason };
        let io = |what: &'static str| move |error: io::Error| failed(format!("{what}: {error}"));
        let page = super::shared::page_size();
        let fd = from_memory(size.next_multiple_of(page)).map_err(io("/dev/udmabuf"))?;
        let inode = nix::sys::stat::fstat(&fd).map_err(|errno| failed(errno.desc().into()))?.st_ino;
        let fence = DmaFence::of(&fd).map_err(io("its fences"))?;
        let mapping = Mapping::of(&fd, size as usize).map_err(io("mmap"))?;
        let words = format!("a map's dma-buf of {size} bytes");
        let buffer = import_memory(gpu, fd, &words, size)?;
        gpu.check("importing a map's dma-buf")?;
        Ok(SharedMap { buffer, mapping, fence, inode })
    }

    /// What shaders read. Nothing on the GPU may do so while [`Self::write`] is at work: the painter waits for each frame.
    pub(super) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }

    /// The number by which all who share it know it.
    pub(super) fn inode(&self) -> u64 {
        self.inode
    }

    /// Lets `write` write into it.
    pub(super) fn write_with(&mut self, write: impl FnOnce(&mut [u8])) -> io::Result<()> {
        self.fence.begin_cpu_write()?;
        write(self.mapping.bytes_mut());
        self.fence.end_cpu_write()
    }
}
