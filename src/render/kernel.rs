//! One entry point of a compute shader, and what it is bound to.

use super::Gpu;

/// Invocations a workgroup of every shader but the volume's.
pub(super) const GROUP: u32 = 64;

/// What a binding is, in the order of the shader's numbers.
#[derive(Clone, Copy)]
pub(super) enum Bind {
    Uniform,
    Read,
    Write,
}

/// A pipeline with its layout.
pub(super) struct Kernel {
    group: wgpu::BindGroupLayout,
    pipeline: wgpu::ComputePipeline,
}

/// Hands a shader's text to the device.
pub(super) fn module(gpu: &Gpu, name: &str, source: &str) -> wgpu::ShaderModule {
    gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
        label: Some(name),
        source: wgpu::ShaderSource::Wgsl(source.into()),
    })
}

impl Kernel {
    /// `coded` is the shader's constant of that name, where it has one.
    pub(super) fn new(
        gpu: &Gpu,
        module: &wgpu::ShaderModule,
        entry: &str,
        binds: &[Bind],
        coded: Option<bool>,
    ) -> Kernel {
        let entries: Vec<_> = (0..)
            .zip(binds)
            .map(|(binding, bind)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer {
                    ty: match bind {
                        Bind::Uniform => wgpu::BufferBindingType::Uniform,
                        Bind::Read => wgpu::BufferBindingType::Storage { read_only: true },
                        Bind::Write => wgpu::BufferBindingType::Storage { read_only: false },
                    },
                    has_dynamic_offset: false,
                    min_binding_size: None,
                },
                count: None,
            })
            .collect();
        let group = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(entry),
            entries: &entries,
        });
        let layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(entry),
            bind_group_layouts: &[Some(&group)],
            ..Default::default()
        });
        let constants: &[(&str, f64)] = match coded {
            Some(true) => &[("CODED", 1.0)],
            _ => &[],
        };
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(entry),
            layout: Some(&layout),
            module,
            entry_point: Some(entry),
            compilation_options: wgpu::PipelineCompilationOptions { constants, ..Default::default() },
            cache: None,
        });
        Kernel { group, pipeline }
    }

    /// The buffers by binding number.
    pub(super) fn bind(&self, gpu: &Gpu, buffers: &[&wgpu::Buffer]) -> wgpu::BindGroup {
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.group,
            entries: &entries,
        })
    }

    /// Puts down the work; none when there is no group of it.
    pub(super) fn run(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        bound: &wgpu::BindGroup,
        [columns, rows, layers]: [u32; 3],
    ) {
        if columns > 0 && rows > 0 && layers > 0 {
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, bound, &[]);
            pass.dispatch_workgroups(columns, rows, layers);
        }
    }
}

/// Groups for that many invocations, in rows that every device allows.
pub(super) fn groups(count: u32) -> [u32; 3] {
    let groups = count.div_ceil(GROUP);
    let rows = groups.div_ceil(1 << 15);
    if rows == 0 { [0, 0, 0] } else { [groups.div_ceil(rows), rows, 1] }
}
