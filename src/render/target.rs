//! Where a picture goes.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::damage::Shown;
use super::layout::{MAX_SIDE, MIN_SIDE};
use super::{Gpu, Image, RenderError, RenderingMetrics, import};

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

impl std::fmt::Display for DmaBufPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DmaBufPlane { width, height, stride, offset, .. } = self;
        write!(f, "the dma-buf of {width}×{height} pixels (stride {stride}, offset {offset})")
    }
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

/// The part of a larger picture that a target shows: one map over several displays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Pixels of the whole picture across and down.
    pub whole: (u32, u32),
    /// Where the target's upper left corner is in it.
    pub at: (u32, u32),
}

/// Memory that the GPU writes a picture into.
pub struct MapTarget {
    gpu: Gpu,
    pub(super) buffer: wgpu::Buffer,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Words from a row to the next, and before the first.
    pub(super) stride: u32,
    pub(super) first: u32,
    /// It shows a part of a larger picture.
    part: Option<Part>,
    /// The inode of the dma-buf that it is.
    imported: Option<u64>,
    finished: VecDeque<Instant>,
    /// What is in it, when that is known.
    pub(super) shown: Option<Shown>,
}

impl MapTarget {
    /// A target in memory of our own, to be read back with [`MapTarget::read`].
    pub fn offscreen(gpu: &Gpu, width: u32, height: u32) -> Result<MapTarget, RenderError> {
        let size = checked_size(gpu, width, height, u64::from(width) * 4, 0)?;
        let buffer = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("picture"),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.check("making a picture")?;
        let gpu = gpu.clone();
        Ok(MapTarget {
            gpu,
            buffer,
            width,
            height,
            stride: width,
            first: 0,
            part: None,
            imported: None,
            finished: VecDeque::new(),
            shown: None,
        })
    }

    /// A target in somebody else's memory, most of all the display controller's.
    pub fn import(gpu: &Gpu, plane: DmaBufPlane) -> Result<MapTarget, RenderError> {
        let DmaBufPlane { width, height, stride, offset, .. } = plane;
        if !gpu.describe().dma_buf_import {
            return Err(RenderError::DmaBufUnsupported { device: gpu.describe().name });
        }
        if stride % 4 != 0 || offset % 4 != 0 || u64::from(stride) < u64::from(width) * 4 {
            let reason = "its rows are not whole pixels one after another".into();
            return Err(RenderError::DmaBufImport { plane: plane.to_string(), reason });
        }
        let size = checked_size(gpu, width, height, u64::from(stride), u64::from(offset))?;
        let words = plane.to_string();
        let inode = nix::sys::stat::fstat(&plane.fd)
            .map_err(|errno| RenderError::DmaBufImport { plane: words, reason: errno.desc().into() })?
            .st_ino;
        let buffer = import::import(gpu, plane, size)?;
        gpu.check("importing a dma-buf")?;
        let (stride, first) = (stride / 4, offset / 4);
        let gpu = gpu.clone();
        Ok(MapTarget {
            gpu,
            buffer,
            width,
            height,
            stride,
            first,
            part: None,
            imported: Some(inode),
            finished: VecDeque::new(),
            shown: None,
        })
    }

    /// Pixels across and down.
    pub fn resolution(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// From now on it shows this part of a larger picture; what of it lies outside of that stays as it is.
    pub fn show_part(&mut self, part: Part) -> Result<(), RenderError> {
        let (width, height) = part.whole;
        if width.min(height) < MIN_SIDE || width.max(height) > MAX_SIDE {
            let reason = format!("a side of the whole picture must have {MIN_SIDE} to {MAX_SIDE} pixels");
            return Err(RenderError::TargetSize { width, height, reason });
        }
        self.part = Some(part);
        self.shown = None;
        Ok(())
    }

    /// The picture that it shows a part of: all of it when nothing else was said.
    pub(super) fn part(&self) -> Part {
        self.part.unwrap_or(Part { whole: (self.width, self.height), at: (0, 0) })
    }

    /// It shows less than the whole picture.
    pub(super) fn is_part(&self) -> bool {
        self.part() != Part { whole: (self.width, self.height), at: (0, 0) }
    }

    /// The picture as it was drawn last, copied into ordinary memory.
    pub fn read(&self) -> Result<Image, RenderError> {
        let step = "reading a picture back";
        let size = self.buffer.size();
        let copy = self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("read back"),
            size,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        });
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&self.buffer, 0, &copy, 0, size);
        let mut work = Vec::new();
        if self.imported.is_some() {
            work.extend(import::hand_over(&self.gpu, &self.buffer, false));
        }
        work.push(encoder.finish());
        work.extend(self.handed_over());
        self.gpu.finish(work, step)?;
        copy.map_async(wgpu::MapMode::Read, .., |_| {});
        self.gpu.finish(Vec::new(), step)?;
        let failed = |reason: String| RenderError::Gpu {
            device: self.gpu.describe().name,
            step: step.into(),
            reason: super::gpu::one_line(&reason),
        };
        let mapped = copy.get_mapped_range(..).map_err(|error| failed(error.to_string()))?;
        // The padding between rows belongs to nobody's picture.
        let row = |y: usize| {
            let from = (self.first as usize + y * self.stride as usize) * 4;
            mapped[from..from + self.width as usize * 4].chunks_exact(4)
        };
        let pixels = (0..self.height as usize)
            .flat_map(row)
            .map(|pixel| u32::from_le_bytes([pixel[0], pixel[1], pixel[2], pixel[3]]) | 0xff00_0000)
            .collect();
        Ok(Image { width: self.width, height: self.height, pixels })
    }

    /// The picture as it was drawn last, as a texture of the same device.
    pub(super) fn texture(&self) -> Result<wgpu::Texture, RenderError> {
        let size = wgpu::Extent3d { width: self.width, height: self.height, depth_or_array_layers: 1 };
        let texture = self.gpu.device.create_texture(&wgpu::TextureDescriptor {
            label: Some("picture"),
            size,
            mip_level_count: 1,
            sample_count: 1,
            dimension: wgpu::TextureDimension::D2,
            format: wgpu::TextureFormat::Bgra8UnormSrgb,
            usage: wgpu::TextureUsages::TEXTURE_BINDING
                | wgpu::TextureUsages::COPY_DST
                | wgpu::TextureUsages::COPY_SRC,
            view_formats: &[],
        });
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_texture(
            wgpu::TexelCopyBufferInfo {
                buffer: &self.buffer,
                layout: wgpu::TexelCopyBufferLayout {
                    offset: u64::from(self.first) * 4,
                    bytes_per_row: Some(self.stride * 4),
                    rows_per_image: None,
                },
            },
            texture.as_image_copy(),
            size,
        );
        self.gpu.finish(vec![encoder.finish()], "making a texture of a picture")?;
        Ok(texture)
    }

    /// What must follow a frame so that the display controller sees it.
    pub(super) fn handed_over(&self) -> Option<wgpu::CommandBuffer> {
        self.imported.and_then(|_| import::hand_over(&self.gpu, &self.buffer, true))
    }

    /// Notes that a frame that began then is complete now.
    pub(super) fn measure(&mut self, begun: Instant) -> RenderingMetrics {
        let now = Instant::now();
        self.finished.push_back(now);
        // The last second of frames, and at least the one before, so that a slow target has a rate too.
        while self.finished.len() > 2 && now - self.finished[0] > Duration::from_secs(1) {
            self.finished.pop_front();
        }
        let span = (now - self.finished[0]).as_secs_f64();
        let intervals = (self.finished.len() - 1) as f64;
        RenderingMetrics {
            fps: if span > 0.0 { intervals / span } else { 0.0 },
            frame_time_ms: (now - begun).as_secs_f64() * 1e3,
            resolution: (self.width, self.height),
            zero_copy: self.imported.is_some(),
            dma_buf: self.imported,
            copied: 0,
            written: 0,
        }
    }
}

/// Bytes from the beginning of the memory to the last pixel.
fn checked_size(gpu: &Gpu, width: u32, height: u32, stride: u64, offset: u64) -> Result<u64, RenderError> {
    if width.min(height) < MIN_SIDE || width.max(height) > MAX_SIDE {
        let reason = format!("a side must have {MIN_SIDE} to {MAX_SIDE} pixels");
        return Err(RenderError::TargetSize { width, height, reason });
    }
    // At most 2^32 + 2^14 · 2^32 bytes.
    let size = offset + stride * u64::from(height - 1) + u64::from(width) * 4;
    let most = gpu.largest_buffer();
    if size > most {
        let reason = format!(
            "it needs a buffer of {size} bytes, {} allows {most}; lower the resolution",
            gpu.describe().name
        );
        return Err(RenderError::TargetSize { width, height, reason });
    }
    Ok(size)
}
