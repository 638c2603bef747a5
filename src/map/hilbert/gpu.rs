//! The curve for data that is in a GPU's memory already.
//!
//! The way there and back costs many times what the arithmetic does, so that this pays only between steps that run on
//! the GPU anyway; everything else takes [`super::HilbertCurve`]. The device is the caller's.

use super::{MAX_CURVE_ORDER, MIN_ORDER, bits};
use crate::GlassRamError;

/// Why a batch was not put down for the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GpuCurveError {
    /// An order outside [`MIN_ORDER`]`..=`[`MAX_CURVE_ORDER`].
    #[error(
        "a Hilbert curve has an order from {MIN_ORDER} to {MAX_CURVE_ORDER}, not {0}: choose one in that range"
    )]
    Order(u32),
    /// A buffer does not hold that many words.
    #[error(
        "a batch of {count} words on the Hilbert curve does not fit a buffer of {size} bytes: make it larger"
    )]
    Buffer {
        /// Words of the batch.
        count: u32,
        /// What the smaller buffer has.
        size: u64,
    },
    /// A shader of this device does not see that much at once.
    #[error(
        "a batch of {count} words on the Hilbert curve is more than this device takes at once, {most}: divide it"
    )]
    Batch {
        /// Words of the batch.
        count: u32,
        /// Words that the device takes.
        most: u64,
    },
}

impl From<GpuCurveError> for GlassRamError {
    fn from(error: GpuCurveError) -> Self {
        Self::FeatureNotSupported { feature: error.to_string() }
    }
}

/// Words that a workgroup takes: the shader's `GROUP * EACH`.
const WORDS_PER_GROUP: u32 = 256 * 4;

/// The curve as two compute pipelines of one device.
///
/// Indices are words of 32 bits, cells are words x | y << 16, of any order up to [`MAX_CURVE_ORDER`]. Both go from one
/// buffer to another, each with [`wgpu::BufferUsages::STORAGE`]; nothing runs before the caller submits the encoder to
/// the queue.
pub struct HilbertGpu {
    device: wgpu::Device,
    queue: wgpu::Queue,
    d2xy: wgpu::ComputePipeline,
    xy2d: wgpu::ComputePipeline,
}

impl HilbertGpu {
    /// Compiles the pipelines for `device`, whose queue is `queue`.
    pub fn new(device: &wgpu::Device, queue: &wgpu::Queue) -> Self {
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("hilbert"),
            source: wgpu::ShaderSource::Wgsl(include_str!("../../../shaders/hilbert.wgsl").into()),
        });
        let pipeline = |entry_point| {
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(entry_point),
                layout: None,
                module: &module,
                entry_point: Some(entry_point),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            })
        };
        Self { device: device.clone(), queue: queue.clone(), d2xy: pipeline("d2xy"), xy2d: pipeline("xy2d") }
    }

    /// Puts down the step from the first `count` words of `indices` to `cells`, on the curve of `order`.
    pub fn d2xy(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        order: u32,
        indices: &wgpu::Buffer,
        cells: &wgpu::Buffer,
        count: u32,
    ) -> Result<(), GpuCurveError> {
        self.put_down(&self.d2xy, encoder, order, [indices, cells], count)
    }

    /// Puts down the step from the first `count` words of `cells` to `indices`, on the curve of `order`.
    pub fn xy2d(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        order: u32,
        cells: &wgpu::Buffer,
        indices: &wgpu::Buffer,
        count: u32,
    ) -> Result<(), GpuCurveError> {
        self.put_down(&self.xy2d, encoder, order, [cells, indices], count)
    }

    fn put_down(
        &self,
        pipeline: &wgpu::ComputePipeline,
        encoder: &mut wgpu::CommandEncoder,
        order: u32,
        [from, to]: [&wgpu::Buffer; 2],
        count: u32,
    ) -> Result<(), GpuCurveError> {
        if !(MIN_ORDER..=MAX_CURVE_ORDER).contains(&order) {
            return Err(GpuCurveError::Order(order));
        }
        let size = from.size().min(to.size());
        let Some(bytes) = wgpu::BufferSize::new(u64::from(count) * 4) else { return Ok(()) };
        if bytes.get() > size {
            return Err(GpuCurveError::Buffer { count, size });
        }
        let limits = self.device.limits();
        let side = limits.max_compute_workgroups_per_dimension;
        let most = (u64::from(side).pow(2) * u64::from(WORDS_PER_GROUP))
            .min(limits.max_storage_buffer_binding_size / 4);
        if u64::from(count) > most {
            return Err(GpuCurveError::Batch { count, most });
        }
        // Rows of groups, as the device allows; what is over in the last row does nothing.
        let groups = count.div_ceil(WORDS_PER_GROUP);
        let rows = groups.div_ceil(side);

        let work = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("hilbert work"),
            size: 8,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.queue.write_buffer(&work, 0, bytemuck::bytes_of(&[bits::levels(order), count]));
        let part = |buffer| {
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size: Some(bytes) })
        };
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("hilbert"),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &[
                wgpu::BindGroupEntry { binding: 0, resource: work.as_entire_binding() },
                wgpu::BindGroupEntry { binding: 1, resource: part(from) },
                wgpu::BindGroupEntry { binding: 2, resource: part(to) },
            ],
        });
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(pipeline);
        pass.set_bind_group(0, &group, &[]);
        pass.dispatch_workgroups(groups.div_ceil(rows), rows, 1);
        Ok(())
    }
}
