//! A texture whose memory the CPU writes and the GPU samples, without a copy between them.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wgpu::hal::vulkan::Api as Vulkan;

use super::RenderError;
use super::shared::{Allocated, DmaFence, Mapping, allocate};

/// Buffers that CPU and GPU share.
pub trait DmaBufCapability: Sized {
    /// Shares buffers with this device.
    fn new(device: Arc<wgpu::Device>, queue: Arc<wgpu::Queue>) -> Result<Self, RenderError>;

    /// Allocates a linear dma-buf and imports it as a texture of one of the formats with four bytes a pixel;
    /// [`DmaBufExporter::stride`] tells where its rows begin.
    fn create_shared_buffer(
        &self,
        width: u32,
        height: u32,
        format: wgpu::TextureFormat,
    ) -> Result<(OwnedFd, wgpu::Texture), RenderError>;

    /// Waits until whoever writes the buffer now is done, so that the GPU may read it.
    fn sync_before_gpu_read(&self, fence: &DmaFence, timeout_ms: u32) -> Result<(), RenderError>;

    /// What the CPU wrote since [`DmaFence::begin_cpu_write`] is there for the GPU.
    fn signal_cpu_write(&self, fence: &DmaFence) -> Result<(), RenderError>;
}

/// [`DmaBufCapability`] of a Vulkan device.
pub struct DmaBufExporter {
    device: Arc<wgpu::Device>,
    queue: Arc<wgpu::Queue>,
    name: String,
    /// Bytes a row of each buffer made here, by its inode.
    strides: Mutex<BTreeMap<u64, u32>>,
}

/// What [`DmaBufExporter::verify_zero_copy`] has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZeroCopyProof {
    /// The dma-buf's inode, and how many mappings of it this process has: ours, and where the driver is a program on the
    /// CPU, its own.
    pub inode: u64,
    /// Mappings of that inode in /proc/self/maps.
    pub mappings: usize,
    /// The dma-buf's size, bytes.
    pub size: u64,
    /// Pixels that the CPU wrote and the GPU saw in the texture, all of them as they were written.
    pub seen_by_gpu: u64,
    /// Pixels that the GPU wrote into the texture and the CPU saw, all of them.
    pub seen_by_cpu: u64,
    /// Bytes that the commands put down for it have copied: the GPU's answer, and nothing of the texture.
    pub copied: u64,
}

/// What the GPU answers: a sum over the pixels, each weighed by its place.
const LOOK: &str = "
@group(0) @binding(0) var picture: texture_2d<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<atomic<u32>, 4>;
@compute @workgroup_size(8, 8)
fn look(@builtin(global_invocation_id) at: vec3<u32>) {
    let size = textureDimensions(picture);
    if at.x >= size.x || at.y >= size.y { return; }
    let pixel = textureLoad(picture, vec2<i32>(at.xy), 0);
    let weight = (at.y * size.x + at.x) * 2654435761u + 1u;
    atomicAdd(&sums[0], select(0u, weight, pixel.r > 0.5));
    atomicAdd(&sums[1], select(0u, weight, pixel.g > 0.5));
    atomicAdd(&sums[2], select(0u, weight, pixel.b > 0.5));
    atomicAdd(&sums[3], 1u);
}
";
/// Bytes of the answer.
const ANSWER: u64 = 16;

impl DmaBufCapability for DmaBufExporter {
    fn new(device: Arc<wgpu::Device>, queue: Arc<wgpu::Queue>) -> Result<Self, RenderError> {
        let name = device.adapter_info().name;
        if !device.features().contains(wgpu::Features::VULKAN_EXTERNAL_MEMORY_DMA_BUF) {
            return Err(RenderError::DmaBufUnsupported { device: name });
        }
        Ok(DmaBufExporter { device, queue, name, strides: Mutex::default() })
    }

    fn create_shared_buffer(
        &self,
        width: u32,
        height: u32,
        format: wgpu::TextureFormat,
    ) -> Result<(OwnedFd, wgpu::Texture), RenderError> {
        if format.block_copy_size(None) != Some(4) || width == 0 || height == 0 {
            let reason = format!("{format:?} has not four bytes a pixel, or there is no pixel");
            return Err(RenderError::TargetSize { width, height, reason });
        }
        let failed = |reason: String| RenderError::SharedBuffer { device: self.name.clone(), reason };
        let Allocated { fd, stride } = allocate(width, height).map_err(failed)?;
        let size = wgpu::Extent3d { width, height, depth_or_array_layers: 1 };
        let label = Some("shared with the CPU");
        let texture = {
            // SAFETY: the guard is dropped with this block, and nothing is destroyed through it.
            let Some(hal) = (unsafe { self.device.as_hal::<Vulkan>() }) else {
                return Err(RenderError::DmaBufUnsupported { device: self.name.clone() });
            };
            let description = wgpu::hal::TextureDescriptor {
                label,
                size,
                mip_level_count: 1,
                sample_count: 1,
                dimension: wgpu::TextureDimension::D2,
                format,
                usage: wgpu::TextureUses::RESOURCE | wgpu::TextureUses::COLOR_TARGET,
                memory_flags: wgpu::hal::MemoryFlags::empty(),
                view_formats: Vec::new(),
            };
            let copy = fd.try_clone().map_err(|error| failed(error.to_string()))?;
            // 0 is DRM_FORMAT_MOD_LINEAR.
            // SAFETY: the device has the feature, the descriptor is a dma-buf of our own, linear with this stride.
            unsafe { hal.texture_from_dmabuf_fd(copy, &description, 0, stride.into(), 0) }
                .map_err(|error| failed(format!("the import failed: {error}")))?
        };
        let description = wgpu::TextureDescriptor {
            label,
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format,
            usage: wgpu::TextureUsages::TEXTURE_BINDING | wgpu::TextureUsages::RENDER_ATTACHMENT,
            view_formats: &[],
        };
        // SAFETY: made by this device from the same description. A linear image needs no transition to keep its contents.
        let texture = unsafe {
            self.device.create_texture_from_hal::<Vulkan>(texture, &description, wgpu::TextureUses::RESOURCE)
        };
        let inode = inode_of(&fd).map_err(|error| failed(error.to_string()))?;
        self.strides.lock().unwrap_or_else(PoisonError::into_inner).insert(inode, stride);
        Ok((fd, texture))
    }

    fn sync_before_gpu_read(&self, fence: &DmaFence, timeout_ms: u32) -> Result<(), RenderError> {
        match fence.wait(timeout_ms) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.shared(format!("its writer was not done within {timeout_ms} ms"))),
            Err(error) => Err(self.shared(format!("its fences cannot be had: {error}"))),
        }
    }

    fn signal_cpu_write(&self, fence: &DmaFence) -> Result<(), RenderError> {
        fence.end_cpu_write().map_err(|error| self.shared(format!("DMA_BUF_IOCTL_SYNC: {error}")))
    }
}

impl DmaBufExporter {
    /// Bytes from a row of a buffer that was made here to the next.
    pub fn stride(&self, fd: impl AsFd) -> Result<u32, RenderError> {
        let inode = inode_of(fd).map_err(|error| self.shared(error.to_string()))?;
        let strides = self.strides.lock().unwrap_or_else(PoisonError::into_inner);
        strides.get(&inode).copied().ok_or_else(|| self.shared("it was not made here".into()))
    }

    /// Proves that `fd` and `texture` are the same memory: the GPU sees through the texture what the CPU writes through the
    /// descriptor, pixel by pixel, and the other way round, while no command copies any of it. What the buffer held is lost.
    pub fn verify_zero_copy(
        &self,
        fd: impl AsFd,
        texture: &wgpu::Texture,
    ) -> Result<ZeroCopyProof, RenderError> {
        let io = |error: std::io::Error| self.shared(error.to_string());
        let wrong = |what: &str| self.shared(format!("not zero-copy: {what}"));
        let size = size_of(&fd).map_err(io)?;
        let (width, height) = (texture.width() as usize, texture.height() as usize);
        let row = self.stride(&fd)? as usize;
        if row < width * 4 || (size as usize) < row * height {
            return Err(wrong("the buffer is smaller than the texture"));
        }
        let fence = DmaFence::of(&fd).map_err(io)?;
        let mut mapping = Mapping::of(&fd, size as usize).map_err(io)?;
        let (inode, mappings) = mappings_of(mapping.address()).map_err(io)?;

        // The CPU writes; what it writes is black or white in each channel, which every format keeps.
        let mut sums = [0u32; 4];
        let bgra =
            matches!(texture.format(), wgpu::TextureFormat::Bgra8Unorm | wgpu::TextureFormat::Bgra8UnormSrgb);
        let order = if bgra { [2, 1, 0] } else { [0, 1, 2] };
        fence.begin_cpu_write().map_err(io)?;
        let mut random = 0x9e37_79b9_7f4a_7c15u64 ^ u64::from(std::process::id());
        for (y, line) in mapping.bytes_mut().chunks_mut(row).take(height).enumerate() {
            for (x, pixel) in line.chunks_exact_mut(4).take(width).enumerate() {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let weight = ((y * width + x) as u32).wrapping_mul(2_654_435_761).wrapping_add(1);
                for (channel, byte) in order.into_iter().enumerate() {
                    let set = random >> (40 + channel) & 1 == 1;
                    pixel[byte] = if set { 255 } else { 0 };
                    sums[channel] = sums[channel].wrapping_add(if set { weight } else { 0 });
                }
                pixel[3] = 255;
                sums[3] += 1;
            }
        }
        self.signal_cpu_write(&fence)?;
        self.sync_before_gpu_read(&fence, 1000)?;
        if self.look(texture)? != sums {
            return Err(wrong("the GPU does not see what the CPU has written"));
        }

        // The GPU writes.
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        drop(encoder.begin_render_pass(&wgpu::RenderPassDescriptor {
            label: None,
            color_attachments: &[Some(wgpu::RenderPassColorAttachment {
                view: &view,
                depth_slice: None,
                resolve_target: None,
                ops: wgpu::Operations {
                    load: wgpu::LoadOp::Clear(wgpu::Color { r: 1.0, g: 0.0, b: 1.0, a: 1.0 }),
                    store: wgpu::StoreOp::Store,
                },
            })],
            ..Default::default()
        }));
        self.submit(encoder)?;
        fence.begin_cpu_read().map_err(io)?;
        let lines = mapping.bytes().chunks(row).take(height);
        let pixels = lines.flat_map(|line| line.chunks_exact(4).take(width));
        let seen_by_cpu = pixels.filter(|pixel| *pixel == [255, 0, 255, 255]).count();
        fence.end_cpu_read().map_err(io)?;
        if seen_by_cpu != width * height {
            return Err(wrong("the CPU does not see what the GPU has written"));
        }
        Ok(ZeroCopyProof {
            inode,
            mappings,
            size,
            seen_by_gpu: (width * height) as u64,
            seen_by_cpu: seen_by_cpu as u64,
            copied: ANSWER,
        })
    }

    /// What the GPU sees in the texture.
    fn look(&self, texture: &wgpu::Texture) -> Result<[u32; 4], RenderError> {
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("look"),
            source: wgpu::ShaderSource::Wgsl(LOOK.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("look"),
            layout: None,
            module: &module,
            entry_point: Some("look"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let buffer = |usage| {
            self.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("answer"),
                size: ANSWER,
                usage,
                mapped_at_creation: false,
            })
        };
        let sums = buffer(wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC);
        let answer = buffer(wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST);
        let view = texture.create_view(&wgpu::TextureViewDescriptor::default());
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("look"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: wgpu::BindingResource::TextureView(&view) },
                wgpu::BindGroupEntry { binding: 1, resource: sums.as_entire_binding() },
            ],
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(texture.width().div_ceil(8), texture.height().div_ceil(8), 1);
        }
        encoder.copy_buffer_to_buffer(&sums, 0, &answer, 0, ANSWER);
        self.submit(encoder)?;
        answer.map_async(wgpu::MapMode::Read, .., |_| {});
        self.wait(None)?;
        let mapped = answer.get_mapped_range(..).map_err(|error| self.shared(error.to_string()))?;
        Ok(std::array::from_fn(|at| u32::from_le_bytes(std::array::from_fn(|byte| mapped[4 * at + byte]))))
    }

    fn submit(&self, encoder: wgpu::CommandEncoder) -> Result<(), RenderError> {
        let submission = self.queue.submit([encoder.finish()]);
        self.wait(Some(submission))
    }

    fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) -> Result<(), RenderError> {
        let wait = wgpu::PollType::Wait { submission_index, timeout: Some(Duration::from_secs(60)) };
        self.device.poll(wait).map(drop).map_err(|error| self.shared(error.to_string()))
    }

    fn shared(&self, reason: String) -> RenderError {
        RenderError::SharedBuffer { device: self.name.clone(), reason: super::gpu::one_line(&reason) }
    }
}

fn inode_of(fd: impl AsFd) -> std::io::Result<u64> {
    Ok(nix::sys::stat::fstat(fd)?.st_ino)
}

fn size_of(fd: impl AsFd) -> std::io::Result<u64> {
    Ok(nix::unistd::lseek(fd, 0, nix::unistd::Whence::SeekEnd)? as u64)
}

/// The inode that is mapped at this address, and how many mappings of it there are.
fn mappings_of(address: usize) -> std::io::Result<(u64, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    // "7f0000000000-7f0000001000 rw-s 00000000 00:0d 1234   /dmabuf:"
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let start = usize::from_str_radix(words.next()?.split('-').next()?, 16).ok()?;
        Some((start, words.nth(2)?.to_owned(), words.next()?.parse::<u64>().ok()?))
    };
    let all: Vec<(usize, String, u64)> = maps.lines().filter_map(line).collect();
    let ours = all.iter().find(|(start, ..)| *start == address).ok_or(std::io::ErrorKind::NotFound)?;
    let same = all.iter().filter(|(_, device, inode)| (device, inode) == (&ours.1, &ours.2)).count();
    Ok((ours.2, same))
}
