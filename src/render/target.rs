//! Where a picture goes.

use std::os::fd::OwnedFd;

use super::{Gpu, Image, RenderError};

/// The name that the caller gives to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u64);

/// A linear XRGB8888 dma-buf (little endian, which wgpu calls Bgra8).
#[derive(Debug)]
pub struct DmaBufPlane {
    /// The dma-buf.
    pub fd: OwnedFd,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bytes from a row to the next.
    pub stride: u32,
    /// Bytes before the first row.
    pub offset: u32,
}

/// A target that the worker is to make.
#[derive(Debug)]
pub enum TargetSpec {
    /// The GPU writes into this dma-buf.
    DmaBuf(DmaBufPlane),
    /// The picture is read back.
    Offscreen {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
    },
}

/// Memory that the GPU writes a picture into.
pub struct MapTarget;

impl MapTarget {
    /// A target that is read back with [`MapTarget::read`].
    pub fn offscreen(_gpu: &Gpu, width: u32, height: u32) -> Result<MapTarget, RenderError> {
        Err(RenderError::TargetSize { width, height, reason: "the stage is not written yet".into() })
    }

    /// A target in somebody else's memory.
    pub fn import(gpu: &Gpu, _plane: DmaBufPlane) -> Result<MapTarget, RenderError> {
        Err(RenderError::DmaBufUnsupported { device: gpu.describe().name })
    }

    /// The picture as it was drawn last.
    pub fn read(&self) -> Result<Image, RenderError> {
        Err(RenderError::NoVulkan { reason: "the stage is not written yet".into() })
    }
}
