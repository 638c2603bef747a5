//! The end of a frame as a sync_file: a file descriptor that becomes readable when the GPU is done.
#![allow(unsafe_code)]

use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ash::vk;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use wgpu::hal::vulkan::Api as Vulkan;

/// Makes sync_files on a device that can export them.
pub(super) struct FrameFence {
    export: ash::khr::external_semaphore_fd::Device,
}

/// A semaphore that one submission signals.
pub(super) struct Signal {
    semaphore: vk::Semaphore,
}

impl FrameFence {
    /// The device must have been opened with VK_KHR_external_semaphore_fd.
    pub(super) fn new(device: &wgpu::Device) -> Option<FrameFence> {
        // SAFETY: the guard is dropped with this function, and nothing is destroyed through it.
        let hal = unsafe { device.as_hal::<Vulkan>() }?;
        let instance = hal.shared_instance().raw_instance();
        Some(FrameFence { export: ash::khr::external_semaphore_fd::Device::new(instance, hal.raw_device()) })
    }

    /// Has the next submission to `queue` signal. None when the driver has no semaphore for us: wait otherwise then.
    pub(super) fn arm(&self, queue: &wgpu::Queue) -> Option<Signal> {
        // SAFETY: the guard is dropped with this function, and nothing is destroyed through it.
        let hal = unsafe { queue.as_hal::<Vulkan>() }?;
        let mut exportable = vk::ExportSemaphoreCreateInfo::default()
            .handle_types(vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD);
        let info = vk::SemaphoreCreateInfo::default().push_next(&mut exportable);
        // SAFETY: the device behind the queue is alive and was found able to export SYNC_FD semaphores.
        let semaphore = unsafe { hal.raw_device().create_semaphore(&info, None) }.ok()?;
        hal.add_signal_semaphore(semaphore, None);
        Some(Signal { semaphore })
    }

    /// Waits until the submission that followed [`FrameFence::arm`] is done; false when that took longer than `patience`.
    ///
    /// True only means that nothing speaks against it: where the driver has no sync_file for us (it is done already, the
    /// device is lost, nothing was submitted) the caller's own wait on the device decides.
    pub(super) fn wait(&self, signal: &Signal, queue: &wgpu::Queue, patience: Duration) -> bool {
        {
            // SAFETY: the guard is dropped with this block, and nothing is destroyed through it.
            let Some(hal) = (unsafe { queue.as_hal::<Vulkan>() }) else { return true };
            // Left over only when the submission never reached the driver, and then there is nothing to export.
            if hal.remove_signal_semaphore(signal.semaphore) {
                return true;
            }
        }
        let info = vk::SemaphoreGetFdInfoKHR::default()
            .semaphore(signal.semaphore)
            .handle_type(vk::ExternalSemaphoreHandleTypeFlags::SYNC_FD);
        // SAFETY: the semaphore was made exportable as SYNC_FD, and its signal operation was submitted.
        match unsafe { self.export.get_semaphore_fd(&info) } {
            // SAFETY: Vulkan gives the descriptor to the caller.
            Ok(fd) if fd >= 0 => readable(&unsafe { OwnedFd::from_raw_fd(fd) }, patience),
            // -1 stands for a sync_file that has signalled already.
            Ok(_) | Err(_) => true,
        }
    }

    /// Releases the semaphore. Only for a submission that has ended as a whole: one that never does keeps its semaphore,
    /// because destroying it under the driver's feet would be undefined.
    pub(super) fn retire(&self, signal: Signal, queue: &wgpu::Queue) {
        // SAFETY: the guard is dropped with this function.
        if let Some(hal) = unsafe { queue.as_hal::<Vulkan>() } {
            // SAFETY: made by this device in `arm`, and the caller has waited for the only submission that uses it.
            unsafe { hal.raw_device().destroy_semaphore(signal.semaphore, None) };
        }
    }
}

fn readable(file: &OwnedFd, patience: Duration) -> bool {
    let until = Instant::now() + patience;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut polled = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) => return false,
            Err(nix::errno::Errno::EINTR) => {}
            // An error of poll itself says nothing about the GPU.
            Ok(_) | Err(_) => return true,
        }
    }
}
