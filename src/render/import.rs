//! A dma-buf as a linear Vulkan buffer.
//!
//! A buffer, not an image: no modifier, no layout, no format feature is asked of the driver, and the same shader writes
//! into it as into memory of our own.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use ash::vk;
use wgpu::hal::vulkan::Api as Vulkan;

use super::{DmaBufPlane, Gpu, RenderError};

const DMA_BUF: vk::ExternalMemoryHandleTypeFlags = vk::ExternalMemoryHandleTypeFlags::DMA_BUF_EXT;

/// Makes the dma-buf's memory, from its beginning to the plane's last pixel, a storage buffer of `size` bytes.
pub(super) fn import(gpu: &Gpu, plane: DmaBufPlane, size: u64) -> Result<wgpu::Buffer, RenderError> {
    let words = plane.to_string();
    import_memory(gpu, plane.fd, &words, size)
}

/// Makes the first `size` bytes of a dma-buf's memory a storage buffer; `words` say in an error what it is.
///
/// The descriptor is consumed: Vulkan keeps it with the memory, or it is closed on failure.
pub(super) fn import_memory(
    gpu: &Gpu,
    fd: OwnedFd,
    words: &str,
    size: u64,
) -> Result<wgpu::Buffer, RenderError> {
    let refused = |step: &str, reason: String| RenderError::DmaBufImport {
        plane: words.to_owned(),
        reason: if reason.is_empty() { step.into() } else { format!("{step}: {reason}") },
    };
    let held = nix::unistd::lseek(&fd, 0, nix::unistd::Whence::SeekEnd)
        .map_err(|errno| refused("it has no size", errno.desc().into()))?;
    let held = u64::try_from(held).unwrap_or(0);
    if held < size {
        return Err(refused(&format!("it has {held} bytes, the picture needs {size}"), String::new()));
    }

    let buffer = {
        // SAFETY: the guard is dropped with this block, and nothing of wgpu's is destroyed through it.
        let Some(hal) = (unsafe { gpu.device.as_hal::<Vulkan>() }) else {
            return Err(RenderError::DmaBufUnsupported { device: gpu.describe().name });
        };
        let device = hal.raw_device();
        let external =
            ash::khr::external_memory_fd::Device::new(hal.shared_instance().raw_instance(), device);
        let usage = vk::BufferUsageFlags::STORAGE_BUFFER
            | vk::BufferUsageFlags::TRANSFER_SRC
            | vk::BufferUsageFlags::TRANSFER_DST;
        let mut handles = vk::ExternalMemoryBufferCreateInfo::default().handle_types(DMA_BUF);
        let info = vk::BufferCreateInfo::default().size(size).usage(usage).push_next(&mut handles);
        // SAFETY: a live device; the driver said that it imports dma-bufs as buffers of this usage.
        let raw = unsafe { device.create_buffer(&info, None) }
            .map_err(|error| refused("vkCreateBuffer", error.to_string()))?;
        let raw = Unbound { device, buffer: raw };
        let memory = allocate(device, &external, raw.buffer, fd, held)
            .map_err(|(step, reason)| refused(step, reason))?;
        // SAFETY: buffer and memory are ours, unbound, and were made for each other.
        if let Err(error) = unsafe { device.bind_buffer_memory(raw.buffer, memory, 0) } {
            // SAFETY: nothing uses the memory, the bind has failed.
            unsafe { device.free_memory(memory, None) };
            return Err(refused("vkBindBufferMemory", error.to_string()));
        }
        // SAFETY: ownership of both handles goes to wgpu; the memory has at least `size` bytes from 0 on.
        unsafe { wgpu::hal::vulkan::Buffer::from_raw_managed(raw.keep(), memory, 0, size) }
    };
    let descriptor = wgpu::BufferDescriptor {
        label: Some("dma-buf"),
        size,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    };
    // SAFETY: made by this device with the same size and usages; a dma-buf's memory is always initialised (zeroed by the
    // kernel).
    Ok(unsafe { gpu.device.create_buffer_from_hal::<Vulkan>(buffer, &descriptor) })
}

/// A buffer that is destroyed again unless somebody takes it.
struct Unbound<'a> {
    device: &'a ash::Device,
    buffer: vk::Buffer,
}

impl Unbound<'_> {
    fn keep(self) -> vk::Buffer {
        let buffer = self.buffer;
        std::mem::forget(self);
        buffer
    }
}

impl Drop for Unbound<'_> {
    fn drop(&mut self) {
        // SAFETY: made by this device, and no submission has ever used it.
        unsafe { self.device.destroy_buffer(self.buffer, None) };
    }
}

/// Imports the dma-buf as memory that is dedicated to the buffer. The error names the step.
fn allocate(
    device: &ash::Device,
    external: &ash::khr::external_memory_fd::Device,
    buffer: vk::Buffer,
    fd: OwnedFd,
    held: u64,
) -> Result<vk::DeviceMemory, (&'static str, String)> {
    // SAFETY: a live buffer of this device.
    let needs = unsafe { device.get_buffer_memory_requirements(buffer) };
    if needs.size > held {
        return Err(("its size", format!("the driver needs {} bytes, it has {held}", needs.size)));
    }
    let mut properties = vk::MemoryFdPropertiesKHR::default();
    // SAFETY: the descriptor is open; the driver only looks at it.
    unsafe { external.get_memory_fd_properties(DMA_BUF, fd.as_raw_fd(), &mut properties) }
        .map_err(|error| ("vkGetMemoryFdPropertiesKHR", error.to_string()))?;
    let types = properties.memory_type_bits & needs.memory_type_bits;
    if types == 0 {
        return Err(("memory types", "the driver can reach it from no buffer".into()));
    }
    let mut dedicated = vk::MemoryDedicatedAllocateInfo::default().buffer(buffer);
    let mut import = vk::ImportMemoryFdInfoKHR::default().handle_type(DMA_BUF).fd(fd.as_raw_fd());
    let info = vk::MemoryAllocateInfo::default()
        .allocation_size(needs.size)
        .memory_type_index(types.trailing_zeros())
        .push_next(&mut import)
        .push_next(&mut dedicated);
    // SAFETY: the memory type is one of those that both the descriptor and the buffer allow.
    let memory = unsafe { device.allocate_memory(&info, None) };
    if memory.is_ok() {
        // Only a successful import takes the descriptor over; otherwise dropping it closes it.
        let _owned_by_vulkan = fd.into_raw_fd();
    }
    memory.map_err(|error| ("vkAllocateMemory", error.to_string()))
}

/// A command buffer that hands an imported buffer to whoever reads it outside Vulkan, or takes it back from there.
///
/// The display controller reads it next, which for Vulkan is a queue of a foreign family.
pub(super) fn hand_over(gpu: &Gpu, buffer: &wgpu::Buffer, outwards: bool) -> Option<wgpu::CommandBuffer> {
    if !gpu.has_foreign_queue() {
        return None;
    }
    // SAFETY: the guards are dropped with this function, and nothing is destroyed through them.
    let (device, raw) = unsafe { (gpu.device.as_hal::<Vulkan>()?, buffer.as_hal::<Vulkan>()?.raw_handle()) };
    let (ours, theirs) = (device.queue_family_index(), vk::QUEUE_FAMILY_FOREIGN_EXT);
    let inside = vk::AccessFlags::MEMORY_READ | vk::AccessFlags::MEMORY_WRITE;
    let barrier = vk::BufferMemoryBarrier::default().buffer(raw).size(vk::WHOLE_SIZE);
    let (barrier, before, after) = if outwards {
        let barrier =
            barrier.src_queue_family_index(ours).dst_queue_family_index(theirs).src_access_mask(inside);
        (barrier, vk::PipelineStageFlags::ALL_COMMANDS, vk::PipelineStageFlags::BOTTOM_OF_PIPE)
    } else {
        let barrier =
            barrier.src_queue_family_index(theirs).dst_queue_family_index(ours).dst_access_mask(inside);
        (barrier, vk::PipelineStageFlags::TOP_OF_PIPE, vk::PipelineStageFlags::ALL_COMMANDS)
    };
    let mut encoder = gpu
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("dma-buf hand-over") });
    // SAFETY: only a barrier is recorded; the command buffer is neither ended nor destroyed here. wgpu records nothing
    // into this encoder.
    unsafe {
        encoder.as_hal_mut::<Vulkan, _, _>(|hal| {
            if let Some(hal) = hal {
                let commands = hal.raw_handle();
                let none = vk::DependencyFlags::empty();
                device.raw_device().cmd_pipeline_barrier(commands, before, after, none, &[], &[barrier], &[]);
            }
        });
    }
    Some(encoder.finish())
}
