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
/// Pixels of a column that an invocation draws where pixels cover several cells; the shader says the same.
const ROWS: u32 = 8;
/// How many sizes of picture keep their words; more than there are outputs on most desks.
const SHEETS: usize = 4;

/// Draws heat maps. Pictures of any size and order, one after another; what did not change since the last is kept.
pub struct Heatmap {
    gpu: Gpu,
    pipelines: Pipelines,
    lettering: Lettering,
    stage: wgpu::Buffer,
    density: Option<Uploaded>,
    /// The most recently used last.
    sheets: Vec<Sheet>,
}

/// One pipeline for each entry point of the shader, with one layout.
struct Pipelines {
    group: wgpu::BindGroupLayout,
    cells: wgpu::ComputePipeline,
    crowds: wgpu::ComputePipeline,
    beside: wgpu::ComputePipeline,
    beyond: wgpu::ComputePipeline,
    panel: wgpu::ComputePipeline,
    bar: wgpu::ComputePipeline,
}

impl Pipelines {
    fn new(gpu: &Gpu, module: &wgpu::ShaderModule) -> Pipelines {
        let storage = |read_only| wgpu::BufferBindingType::Storage { read_only };
        let kinds = [wgpu::BufferBindingType::Uniform, storage(true), storage(true), storage(false)];
        let entries: Vec<_> = (0..)
            .zip(kinds)
            .map(|(binding, ty)| wgpu::BindGroupLayoutEntry {
                binding,
                visibility: wgpu::ShaderStages::COMPUTE,
                ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                count: None,
            })
            .collect();
        let group = gpu.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some("heat map"),
            entries: &entries,
        });
        let layout = gpu.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some("heat map"),
            bind_group_layouts: &[Some(&group)],
            ..Default::default()
        });
        let pipeline = |entry| {
            gpu.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(entry),
                layout: Some(&layout),
                module,
                entry_point: Some(entry),
                compilation_options: wgpu::PipelineCompilationOptions::default(),
                cache: None,
            })
        };
        Pipelines {
            cells: pipeline("cells"),
            crowds: pipeline("crowds"),
            beside: pipeline("beside"),
            beyond: pipeline("beyond"),
            panel: pipeline("panel"),
            bar: pipeline("bar"),
            group,
        }
    }
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
    edges: u32,
    mask: u32,
    mask_row: u32,
    part_at: [u32; 2],
    part_size: [u32; 2],
    unused: [u32; 2],
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
        let pipelines = Pipelines::new(gpu, &module);
        let stage = gpu.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("stage"),
            size: size_of::<Stage>() as u64,
            usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        gpu.check("compiling shaders/heatmap.wgsl")?;
        Ok(Heatmap {
            gpu: gpu.clone(),
            pipelines,
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
        let (width, height) = target.part().whole;
        let layout = PictureLayout::new(width, height, picture.caption.order)?;
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
        let sheet = self.upload_sheet(&picture.caption, layout.clone());
        let buffers = [&self.stage, &density, &sheet, &target.buffer];
        let entries: Vec<_> = (0..)
            .zip(buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry { binding, resource: buffer.as_entire_binding() })
            .collect();
        let group = self.gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some("heat map"),
            layout: &self.pipelines.group,
            entries: &entries,
        });
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_bind_group(0, &group, &[]);
            let side = layout.map.width;
            let Pipelines { cells, crowds, beside, beyond, panel, bar, .. } = &self.pipelines;
            let map = if layout.cells > side {
                (crowds, side, side.div_ceil(ROWS))
            } else {
                (cells, side, layout.cells)
            };
            let parts = [
                map,
                (beside, layout.width - side, side),
                (beyond, layout.width, layout.height - side),
                (panel, Tables::of(&layout).mask_row, layout.panel.height),
                (bar, layout.bar.width, layout.bar.height),
            ];
            for (pipeline, columns, rows) in parts {
                // A part without room has no pixel.
                if columns > 0 && rows > 0 {
                    pass.set_pipeline(pipeline);
                    pass.dispatch_workgroups(columns.div_ceil(GROUP), rows, 1);
                }
            }
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

/// Where the tables of a sheet begin, in words.
struct Tables {
    edges: u32,
    mask: u32,
    /// Words from a row of the mask to the next.
    mask_row: u32,
}

impl Tables {
    fn of(layout: &PictureLayout) -> Tables {
        let edges = layout.map.width + 1;
        let has_edges = layout.cells <= layout.map.width;
        let panel = layout.panel;
        // Groups of four pixels, counted from the left edge of the picture.
        let groups = if panel.is_empty() { 0 } else { panel.right().div_ceil(4) - panel.x / 4 };
        Tables { edges, mask: edges + if has_edges { layout.cells + 1 } else { 0 }, mask_row: groups }
    }
}

fn stage_of(target: &MapTarget, layout: &PictureLayout, palette: ColorPalette) -> Stage {
    let rect = |rect: Rect| [rect.x, rect.y, rect.width, rect.height];
    let tables = Tables::of(layout);
    let (x, y) = target.part().at;
    Stage {
        size: [layout.width, layout.height],
        stride: target.stride,
        first: target.first,
        map: rect(layout.map),
        panel: rect(layout.panel),
        bar: rect(layout.bar),
        cells: layout.cells,
        background: BACKGROUND,
        ink: INK,
        edges: tables.edges,
        mask: tables.mask,
        mask_row: tables.mask_row,
        part_at: [x, y],
        part_size: [target.width, target.height],
        unused: [0; 2],
        palette: palette.colors().map(|color| 0xff00_0000 | color),
    }
}

/// The shader's `sheet`.
fn sheet_words(layout: &PictureLayout, coverage: &Coverage) -> Vec<u32> {
    let tables = Tables::of(layout);
    let mut words = layout.first_cells();
    if tables.mask > tables.edges {
        // The first pixel that shows cell c is the first i with ⌊i·n/s⌋ ≥ c.
        let (n, s) = (u64::from(layout.cells), u64::from(layout.map.width));
        words.extend((0..=n).map(|cell| (cell * s).div_ceil(n) as u32));
    }
    let lead = layout.panel.x as usize % 4;
    for row in coverage.values.chunks_exact(coverage.width.max(1) as usize) {
        let start = words.len();
        words.resize(start + tables.mask_row as usize, 0);
        for (at, &ink) in (lead..).zip(row) {
            words[start + at / 4] |= u32::from(ink) << (8 * (at % 4));
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_lost_device_is_an_error_for_every_later_frame() {
        let gpu = Gpu::new().unwrap_or_else(|error| panic!("{error}"));
        let mut heatmap = Heatmap::new(&gpu).expect("the stage");
        let mut target = MapTarget::offscreen(&gpu, 64, 64).expect("a target");
        let caption = Caption {
            target: "program 1".into(),
            status: String::new(),
            order: 4,
            bytes_per_cell: 4096.0,
            total_bytes: 1 << 20,
            half_life: Duration::from_millis(250),
        };
        let picture = Picture {
            density: Arc::new(DensityMap::zeros((16, 16))),
            caption,
            palette: ColorPalette::Viridis,
        };
        heatmap.draw(&picture, &mut target).expect("a frame");
        gpu.device.destroy();
        for _ in 0..3 {
            let error = heatmap.draw(&picture, &mut target).expect_err("the device is gone");
            assert!(matches!(error, RenderError::DeviceLost { .. }), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        assert!(matches!(target.read(), Err(RenderError::DeviceLost { .. })));
        assert!(matches!(MapTarget::offscreen(&gpu, 64, 64).err(), Some(RenderError::DeviceLost { .. })));
    }
}
