//! The heat-map stage: uploads what changed, runs the shader, waits for the GPU.

use std::sync::Arc;
use std::time::Instant;

use bytemuck::{Pod, Zeroable};

use super::layout::{PictureLayout, Rect};
use super::text::{Coverage, Lettering};
use super::{Caption, ColorPalette, Gpu, MapTarget, Picture, RenderError, RenderingMetrics};
use crate::sensing::DensityMap;

/// What lies around the map and under the words, as `0xffRRGGBB`.
pub const BACKGROUND: u32 = 0xff0e_0f14;
/// The words, as `0xffRRGGBB`.
pub const INK: u32 = 0xfff2_f1ec;

/// Invocations a workgroup, along a row; the shader says the same.
const GROUP: u32 = 64;
/// How many sizes of picture keep their words; more than there are outputs on most desks.
const SHEETS: usize = 4;

/// Draws heat maps. Pictures of any size and order, one after another; what did not change since the last is kept.
pub struct Heatmap {
    gpu: Gpu,
    pipeline: wgpu::ComputePipeline,
    lettering: Lettering,
    stage: wgpu::Buffer,
    density: Option<Uploaded>,
    /// The most recently used last.
    sheets: Vec<Sheet>,
}

/// The density map that is on the GPU.
struct Uploaded {
    buffer: wgpu::Buffer,
    /// Held so that its address means this map and no later one.
    map: Arc<DensityMap>,
}

/// Layout and words of one size of picture.
struct Sheet {
    layout: PictureLayout,
    caption: Caption,
    buffer: wgpu::Buffer,
}

/// The shader's `Stage`, field by field.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Stage {
    size: [u32; 2],
    stride: u32,
    first: u32,
    map: [u32; 4],
    panel: [u32; 4],
    bar: [u32; 4],
    cells: u32,
    background: u32,
    ink: u32,
    mask: u32,
    palette: [u32; 256],
}

impl Heatmap {
    /// Compiles the stage for a device.
    pub fn new(gpu: &Gpu) -> Result<Heatmap, RenderError> {
        let source = include_str!("../../shaders/heatmap.wgsl");
        let module = gpu.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("heatmap.wgsl"),
            source: wgpu::ShaderSource::Wgsl(source.into()),
        });
        let pipeline = gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("heat map"),
            layout: None,
            module: &module,
            entry_point: Some("draw"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let stage = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("stage"),
            size: size_of::<Stage>() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.check("compiling shaders/heatmap.wgsl")?;
        Ok(Heatmap {
            gpu: gpu.clone(),
            pipeline,
            lettering: Lettering::new(),
            stage,
            density: None,
            sheets: Vec::new(),
        })
    }

    /// Draws a picture, and returns when the GPU is done with it.
    pub fn draw(
        &mut self,
        picture: &Picture,
        target: &mut MapTarget,
    ) -> Result<RenderingMetrics, RenderError> {
        let begun = Instant::now();
        let step = "drawing a heat map";
        let layout = PictureLayout::new(target.width, target.height, picture.caption.order)?;
        let (rows, columns) = picture.density.dim();
        if (rows, columns) != (layout.cells as usize, layout.cells as usize) {
            return Err(RenderError::Density { columns, rows, order: picture.caption.order });
        }
        let drawn = self.submit(picture, layout, target, step);
        if drawn.is_err() {
            // Whether the uploads have arrived is not known; the next picture starts afresh.
            self.density = None;
            self.sheets.clear();
        }
        drawn.map(|()| target.measure(begun))
    }

    fn submit(
        &mut self,
        picture: &Picture,
        layout: PictureLayout,
        target: &MapTarget,
        step: &str,
    ) -> Result<(), RenderError> {
        let stage = stage_of(target, &layout, picture.palette);
        self.gpu.queue.write_buffer(&self.stage, 0, bytemuck::bytes_of(&stage));
        let density = self.upload_density(&picture.density);
        let sheet = self.upload_sheet(&picture.caption, layout);
        let buffers = [&self.stage, &density, &sheet, &target.buffer];
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("heat map"),
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(target.width.div_ceil(GROUP), target.height, 1);
        }
        let mut work = vec![encoder.finish()];
        work.extend(target.handed_over());
        self.gpu.finish(work, step)
    }

    fn upload_density(&mut self, map: &Arc<DensityMap>) -> wgpu::Buffer {
        if let Some(uploaded) = &self.density
            && Arc::ptr_eq(&uploaded.map, map)
        {
            return uploaded.buffer.clone();
        }
        let size = (map.len() * size_of::<f32>()) as u64;
        let buffer = match self.density.take() {
            Some(old) if old.buffer.size() == size => old.buffer,
            _ => self.storage("density", size),
        };
        // A map may have come here transposed or otherwise out of row order.
        let rows = map.as_standard_layout();
        if let Some(values) = rows.as_slice() {
            self.gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(values));
        }
        self.density = Some(Uploaded { buffer: buffer.clone(), map: Arc::clone(map) });
        buffer
    }

    fn upload_sheet(&mut self, caption: &Caption, layout: PictureLayout) -> wgpu::Buffer {
        let same_place = |sheet: &Sheet| sheet.layout == layout;
        let old = self.sheets.iter().position(same_place).map(|at| self.sheets.remove(at));
        let sheet = match old {
            Some(sheet) if sheet.caption == *caption => sheet,
            old => {
                let words = sheet_words(&layout, &self.lettering.set(caption, &layout));
                let size = (words.len() * size_of::<u32>()) as u64;
                let buffer = match old {
                    Some(old) if old.buffer.size() == size => old.buffer,
                    _ => self.storage("sheet", size),
                };
                self.gpu.queue.write_buffer(&buffer, 0, bytemuck::cast_slice(&words));
                Sheet { layout, caption: caption.clone(), buffer }
            }
        };
        if self.sheets.len() == SHEETS {
            self.sheets.remove(0);
        }
        let buffer = sheet.buffer.clone();
        self.sheets.push(sheet);
        buffer
    }

    fn storage(&self, label: &str, size: u64) -> wgpu::Buffer {
        self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }
}

fn stage_of(target: &MapTarget, layout: &PictureLayout, palette: ColorPalette) -> Stage {
    let rect = |rect: Rect| [rect.x, rect.y, rect.width, rect.height];
    Stage {
        size: [target.width, target.height],
        stride: target.stride,
        first: target.first,
        map: rect(layout.map),
        panel: rect(layout.panel),
        bar: rect(layout.bar),
        cells: layout.cells,
        background: BACKGROUND,
        ink: INK,
        mask: layout.map.width + 1,
        palette: palette.colors().map(|color| 0xff00_0000 | color),
    }
}

/// The shader's `sheet`: the first cell of each pixel along the map, then the coverage, four pixels a word.
fn sheet_words(layout: &PictureLayout, coverage: &Coverage) -> Vec<u32> {
    let mut words = layout.first_cells();
    if coverage.width > 0 {
        for row in coverage.values.chunks_exact(coverage.width as usize) {
            words.extend(
                row.chunks(4)
                    .map(|four| (0..).zip(four).fold(0, |word, (i, &ink)| word | u32::from(ink) << (8 * i))),
            );
        }
    }
    words
}
