//! The Vulkan device, and waiting for it.
//!
//! wgpu drives it. Two things go around wgpu, through its hal: extensions that it does not ask for are enabled when the
//! device is opened, and the end of a frame is had as a sync_file where the driver can export one.
#![allow(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ash::vk;
use wgpu::hal::vulkan::Api as Vulkan;

use super::RenderError;
use super::fence::FrameFence;

/// An open Vulkan device. A clone is the same device.
#[derive(Clone)]
pub struct Gpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    shared: Arc<Shared>,
}

struct Shared {
    description: GpuDescription,
    trouble: Arc<Mutex<Option<Trouble>>>,
    fence: Option<FrameFence>,
    foreign_queue: bool,
}

/// What the driver complained about since the last look.
enum Trouble {
    /// The device is gone, and stays so.
    Lost(String),
    /// A call failed, the device lives.
    Failed(String),
}

/// What the device is, and which of the ways around copying it has.
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

impl std::fmt::Display for GpuDescription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let has = |yes: bool| if yes { "yes" } else { "no" };
        write!(
            f,
            "{} ({}): dma-buf import {}, sync_file export {}",
            self.name,
            self.driver,
            has(self.dma_buf_import),
            has(self.sync_file_export)
        )
    }
}

/// No frame takes this long, not even in software under an emulator.
const PATIENCE: Duration = Duration::from_secs(60);

impl Gpu {
    /// Opens the device: the first that the loader lists among those that can import dma-bufs, else among the rest, and
    /// hardware before software.
    pub fn new() -> Result<Gpu, RenderError> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::VULKAN,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        let best = adapters
            .iter()
            .filter_map(|adapter| Some((adapter, Abilities::of(adapter)?)))
            // min_by_key keeps the first of equals, which is the loader's own order.
            .min_by_key(|(_, abilities)| (!abilities.dma_buf_import, abilities.software));
        let Some((adapter, abilities)) = best else {
            return Err(RenderError::NoVulkan { reason: "no driver answered".into() });
        };
        Self::open(adapter, &abilities)
    }

    fn open(adapter: &wgpu::Adapter, abilities: &Abilities) -> Result<Gpu, RenderError> {
        let info = adapter.get_info();
        let refused = |reason: String| RenderError::DeviceOpen { device: info.name.clone(), reason };
        if !adapter.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS) {
            return Err(refused("it has no compute shaders".into()));
        }
        let most = adapter.limits();
        // Small limits, so that any device opens; large buffers, because a map and a picture are large.
        let limits = wgpu::Limits {
            max_buffer_size: most.max_buffer_size,
            max_storage_buffer_binding_size: most.max_storage_buffer_binding_size,
            ..wgpu::Limits::downlevel_defaults()
        };
        // Textures in dma-bufs, where the driver knows how its images lie in memory.
        let features = adapter.features() & wgpu::Features::VULKAN_EXTERNAL_MEMORY_DMA_BUF;
        let hints = wgpu::MemoryHints::MemoryUsage;
        let wanted = abilities.extensions.clone();
        let opened = {
            // SAFETY: the guard is dropped with this block, and the adapter's handles are not destroyed through it.
            let Some(hal) = (unsafe { adapter.as_hal::<Vulkan>() }) else {
                return Err(refused("it is not driven by Vulkan".into()));
            };
            let enable = Box::new(move |args: wgpu::hal::vulkan::CreateDeviceCallbackArgs<'_, '_, '_>| {
                for name in wanted {
                    if !args.extensions.contains(&name) {
                        args.extensions.push(name);
                    }
                }
            });
            // SAFETY: the callback only adds extensions that this device lists (`Abilities::of`), and removes nothing.
            unsafe { hal.open_with_callback(features, &limits, &hints, Some(enable)) }
                .map_err(|error| refused(error.to_string()))?
        };
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("memory.glass"),
            required_features: features,
            required_limits: limits,
            memory_hints: hints,
            ..Default::default()
        };
        // SAFETY: `opened` was made from this adapter just above, with the same features and limits.
        let (device, queue) = unsafe { adapter.create_device_from_hal(opened, &descriptor) }
            .map_err(|error| refused(error.to_string()))?;

        let trouble = Arc::new(Mutex::new(None));
        let lost = Arc::clone(&trouble);
        device.set_device_lost_callback(move |_, message| {
            let message = if message.is_empty() { "no reason given".into() } else { one_line(&message) };
            *lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(Trouble::Lost(message));
        });
        let failed = Arc::clone(&trouble);
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let mut trouble = failed.lock().unwrap_or_else(PoisonError::into_inner);
            // The first complaint is the cause, and a lost device explains all that follow.
            trouble.get_or_insert(Trouble::Failed(one_line(&error.to_string())));
        }));
        let fence = abilities.sync_file_export.then(|| FrameFence::new(&device)).flatten();
        let description = GpuDescription {
            name: info.name,
            driver: format!("{} {}", info.driver, info.driver_info).trim().to_owned(),
            software: abilities.software,
            dma_buf_import: abilities.dma_buf_import,
            sync_file_export: fence.is_some(),
        };
        let foreign_queue = abilities.extensions.contains(&ash::ext::queue_family_foreign::NAME);
        Ok(Gpu { device, queue, shared: Arc::new(Shared { description, trouble, fence, foreign_queue }) })
    }

    /// What the device is and can do.
    pub fn describe(&self) -> GpuDescription {
        self.shared.description.clone()
    }

    /// The device and its queue, for work beside the pictures.
    pub fn handles(&self) -> (Arc<wgpu::Device>, Arc<wgpu::Queue>) {
        (Arc::new(self.device.clone()), Arc::new(self.queue.clone()))
    }

    /// Buffers can be handed to queues outside Vulkan.
    pub(super) fn has_foreign_queue(&self) -> bool {
        self.shared.foreign_queue
    }

    /// The most bytes that a shader can see of one buffer.
    pub(super) fn largest_buffer(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_buffer_size.min(limits.max_storage_buffer_binding_size)
    }

    /// Turns what the driver complained about since the last call into an error.
    pub(super) fn check(&self, step: &str) -> Result<(), RenderError> {
        let mut trouble = self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let device = self.shared.description.name.clone();
        match trouble.take() {
            None => Ok(()),
            Some(Trouble::Lost(reason)) => {
                *trouble = Some(Trouble::Lost(reason.clone()));
                Err(RenderError::DeviceLost { device, reason })
            }
            Some(Trouble::Failed(reason)) => Err(RenderError::Gpu { device, step: step.into(), reason }),
        }
    }

    /// Submits work and returns when it is done.
    pub(super) fn finish(&self, work: Vec<wgpu::CommandBuffer>, step: &str) -> Result<(), RenderError> {
        self.check(step)?;
        // A lost device makes wgpu panic in poll; that must cost a frame, not the thread.
        let done = catch_unwind(AssertUnwindSafe(|| {
            let fence = self.shared.fence.as_ref();
            let signal = fence.and_then(|fence| Some((fence, fence.arm(&self.queue)?)));
            let submission = self.queue.submit(work);
            if let Some((fence, signal)) = &signal
                && !fence.wait(signal, &self.queue, PATIENCE)
            {
                return Outcome::Late;
            }
            let poll = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(PATIENCE) };
            match self.device.poll(poll) {
                Ok(_) => {
                    if let Some((fence, signal)) = signal {
                        fence.retire(signal, &self.queue);
                    }
                    Outcome::Done
                }
                Err(wgpu::PollError::Timeout) => Outcome::Late,
                // The submission was never accepted; one more look brings the reason.
                Err(_) => {
                    drop(self.device.poll(wgpu::PollType::Poll));
                    Outcome::Refused
                }
            }
        }));
        self.check(step)?;
        let device = || self.shared.description.name.clone();
        match done {
            Ok(Outcome::Done) => Ok(()),
            Ok(Outcome::Late) => Err(RenderError::Stuck { device: device(), seconds: PATIENCE.as_secs() }),
            Ok(Outcome::Refused) | Err(_) => Err(RenderError::DeviceLost {
                device: device(),
                reason: "the driver takes no more work".into(),
            }),
        }
    }
}

/// What became of submitted work.
enum Outcome {
    Done,
    Late,
    Refused,
}

/// Drivers and wgpu explain themselves on several lines.
pub(super) fn one_line(text: &str) -> String {
    text.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What a device has of what we can use.
struct Abilities {
    dma_buf_import: bool,
    sync_file_export: bool,
    software: bool,
    /// Extensions that it lists and that we enable.
    extensions: Vec<&'static std::ffi::CStr>,
}

impl Abilities {
    fn of(adapter: &wgpu::Adapter) -> Option<Abilities> {
        // SAFETY: the guard is dropped with this function, and the adapter's handles are not destroyed through it.
        let hal = unsafe { adapter.as_hal::<Vulkan>() }?;
        let extensions: Vec<_> = [
            ash::khr::external_memory_fd::NAME,
            ash::ext::external_memory_dma_buf::NAME,
            ash::khr::external_semaphore_fd::NAME,
            ash::ext::queue_family_foreign::NAME,
        ]
        .into_iter()
        .filter(|name| hal.physical_device_capabilities().supports_extension(name))
        .collect();
        let has = |name| extensions.contains(&name);

        let instance = hal.shared_instance().raw_instance();
        let dma_buf =
            has(ash::khr::external_memory_fd::NAME) && has(ash::ext::external_memory_dma_buf::NAME) && {
                let query = vk::PhysicalDeviceExternalBufferInfo::default()
                    .usage(vk::BufferUsageFlags::STORAGE_BUFFER | vk::BufferUsageFlags::TRANSFER_SRC)
                    .handle_type(vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT);
                let mut answer = vk::ExternalBufferProperties::default();
                // SAFETY: instance and physical device are alive behind `hal`; Vulkan 1.1, which wgpu requires for the
                // extensions above, has this call.
                unsafe {
                    instance.get_physical_device_external_buffer_properties(
                        hal.raw_physical_device(),
                        &query,
                        &mut answer,
                    );
                }
                let features = answer.external_memory_properties.external_memory_features;
                features.contains(vk::ExternalMemoryFeatureFlags::IMPORTABLE)
            };
        let sync_file = has(ash::khr::external_semaphore_fd::NAME) && {
            let query = vk::PhysicalDeviceExternalSemaphoreInfo::default()
                .handle_type(vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD);
            let mut answer = vk::ExternalSemaphoreProperties::default();
            // SAFETY: as above.
            unsafe {
                instance.get_physical_device_external_semaphore_properties(
                    hal.raw_physical_device(),
                    &query,
                    &mut answer,
                );
            }
            answer.external_semaphore_features.contains(vk::ExternalSemaphoreFeatureFlags::EXPORTABLE)
        };
        let software = adapter.get_info().device_type == wgpu::DeviceType::Cpu;
        Some(Abilities { dma_buf_import: dma_buf, sync_file_export: sync_file, software, extensions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_one_line() {
        let description = GpuDescription {
            name: "llvmpipe".into(),
            driver: "llvmpipe Mesa 26.1".into(),
            software: true,
            dma_buf_import: true,
            sync_file_export: false,
        };
        assert_eq!(
            description.to_string(),
            "llvmpipe (llvmpipe Mesa 26.1): dma-buf import yes, sync_file export no"
        );
        assert_eq!(
            one_line("Validation Error\n\nCaused by:\n  too large\n"),
            "Validation Error; Caused by:; too large"
        );
    }
}
