//! The Vulkan device.

use super::RenderError;

/// An open Vulkan device.
pub struct Gpu;

/// What the device is and which of the ways around copying it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuDescription {
    /// The device's name.
    pub name: String,
    /// The driver and its version.
    pub driver: String,
    /// The device is a program on the CPU.
    pub software: bool,
    /// It can write into a dma-buf of another device.
    pub dma_buf_import: bool,
    /// A frame's end can be had as a sync_file.
    pub sync_file_export: bool,
}

impl Gpu {
    /// Opens the device.
    pub fn new() -> Result<Gpu, RenderError> {
        Err(RenderError::NoVulkan { reason: "the stage is not written yet".into() })
    }

    /// What it is and can do.
    pub fn describe(&self) -> GpuDescription {
        GpuDescription {
            name: String::new(),
            driver: String::new(),
            software: false,
            dma_buf_import: false,
            sync_file_export: false,
        }
    }
}
