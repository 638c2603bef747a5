//! What can go wrong between a density map and the pixels.

use std::path::PathBuf;

use thiserror::Error;

use super::TargetId;
use crate::GlassRamError;

/// Why a picture could not be drawn. One line each: what failed, on what, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The machine has no Vulkan driver that starts.
    #[error(
        "no Vulkan device ({reason}): install mesa-vulkan-drivers, which also has a software one, or your GPU's driver"
    )]
    NoVulkan {
        /// What the loader said.
        reason: String,
    },

    /// There is a device, but it does not open or cannot do what the stage needs.
    #[error(
        "the Vulkan device {device} could not be opened: {reason}; update its driver (`vulkaninfo --summary` names it)"
    )]
    DeviceOpen {
        /// The device's name.
        device: String,
        /// What the driver said.
        reason: String,
    },

    /// The driver cannot write into somebody else's buffer.
    #[error(
        "{device} cannot import dma-bufs (no VK_EXT_external_memory_dma_buf): use Mesa 25 or later, or your GPU's own driver"
    )]
    DmaBufUnsupported {
        /// The device's name.
        device: String,
    },

    /// A dma-buf was refused.
    #[error(
        "{plane} could not be imported: {reason}; a linear XRGB8888 buffer of this size, stride and offset is needed"
    )]
    DmaBufImport {
        /// The buffer in words, e.g. "dma-buf 1024×768, stride 4096, offset 0".
        plane: String,
        /// The step that failed and the answer.
        reason: String,
    },

    /// Memory could not be shared between CPU and GPU, or it is not what it should be.
    #[error(
        "a buffer shared with {device} failed: {reason}; load the module udmabuf, or use a card with dumb buffers"
    )]
    SharedBuffer {
        /// The device's name.
        device: String,
        /// The step that failed and the answer.
        reason: String,
    },

    /// Nobody can draw a picture of this size.
    #[error("a picture of {width}×{height} pixels cannot be drawn: {reason}")]
    TargetSize {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Which limit, and what would do.
        reason: String,
    },

    /// The map is not the square that its caption promises.
    #[error(
        "a density map of {columns}×{rows} cells is not one of order {order}: give 2^k × 2^k cells, k from 1 to 12"
    )]
    Density {
        /// Cells across.
        columns: usize,
        /// Cells down.
        rows: usize,
        /// The order in the caption.
        order: u32,
    },

    /// A draw or removal names a target that was never added, or whose buffer was refused.
    #[error("render target {} does not exist: add it before drawing into it", id.0)]
    UnknownTarget {
        /// The name that was used.
        id: TargetId,
    },

    /// The driver gave up (reset, hang, removal).
    #[error(
        "the Vulkan device {device} was lost: {reason}; restart memory-glass, and look into the kernel log"
    )]
    DeviceLost {
        /// The device's name.
        device: String,
        /// What the driver said.
        reason: String,
    },

    /// A frame did not become ready in any reasonable time.
    #[error(
        "the Vulkan device {device} did not finish a frame in {seconds} s: lower the resolution, or look into the kernel log"
    )]
    Stuck {
        /// The device's name.
        device: String,
        /// How long was waited.
        seconds: u64,
    },

    /// A GPU call failed for a reason of its own (memory, mostly).
    #[error("{step} failed on the Vulkan device {device}: {reason}; lower the resolution or the order")]
    Gpu {
        /// The device's name.
        device: String,
        /// What was being done.
        step: String,
        /// What the driver said.
        reason: String,
    },

    /// A picture could not be saved.
    #[error("the picture could not be written to {}: {reason}; choose another place with `-o`", path.display())]
    Png {
        /// Where it should have gone.
        path: PathBuf,
        /// The system's answer.
        reason: String,
    },

    /// The system refused a thread.
    #[error("the render thread could not be started: {reason}; raise the limit of processes (`ulimit -u`)")]
    Thread {
        /// The system's answer.
        reason: String,
    },
}

impl From<RenderError> for GlassRamError {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::DmaBufUnsupported { .. }
            | RenderError::DmaBufImport { .. }
            | RenderError::SharedBuffer { .. } => {
                GlassRamError::DmaBufAllocationFailed { reason: error.to_string() }
            }
            other => GlassRamError::VisualizationFailed { reason: other.to_string() },
        }
    }
}
