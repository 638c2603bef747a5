//! Draws pictures: uploads what changed, runs the stages over what has to be drawn again, waits for the GPU.

use std::time::Instant;

use bytemuck::{Pod, Zeroable};

use super::damage::{Damage, Shown};
use super::glow::{Glow, MapPlace};
use super::kernel::{Bind, GROUP, Kernel, groups, module};
use super::layout::{PictureLayout, Rect};
use super::modes::Modes;
use super::picture::{ColorScale, Picture, RenderingMetrics};
use super::ramps::{RAMPS, ramps};
use super::scene::Scene;
use super::shared_map::SharedMap;
use super::sheet::{Sheets, Tables};
use super::upload::{Numbers, Slot, Uploads, storage, uniform};
use super::{Gpu, MapTarget, RenderError};

/// What lies around the map and under the words, as `0xffRRGGBB`.
pub const BACKGROUND: u32 = 0xff0e_0f14;
/// The words, as `0xffRRGGBB`.
pub const INK: u32 = 0xfff2_f1ec;

/// Pixels of a column that an invocation draws where pixels cover several cells; the shader says the same.
const ROWS: u32 = 8;
/// Colours this far up the palette and above glow.
const GLOWS: usize = 96;

/// Draws pictures of any size, order and mode, one after another; what did not change since the last is kept.
pub struct Painter {
    gpu: Gpu,
    map: MapKernels,
    modes: Modes,
    glow: Glow,
    overlay: Kernel,
    stage: Numbers,
    overlay_work: Numbers,
    tiles: Numbers,
    marks: Option<wgpu::Buffer>,
    uploads: Uploads,
    sheets: Sheets,
    /// The picture that parts are cut from.
    whole: Option<MapTarget>,
}

/// The entry points of shaders/heatmap.wgsl; the first two by whether cells are coded.
struct MapKernels {
    cells: [Kernel; 2],
    crowds: [Kernel; 2],
    beside: Kernel,
    beyond: Kernel,
    panel: Kernel,
    bar: Kernel,
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
    logarithmic: u32,
    two_sided: u32,
    ramps: [[u32; 256]; RAMPS],
}

/// So many pixels are not looked through for each frame: the map is drawn whole, and all of them over it.
const MANY_MARKS: usize = 1 << 15;

/// Tiles that a frame has at the most: 16 × 16.
const MOST_TILES: u64 = 256;

impl Painter {
    /// Compiles the stages for a device.
    pub fn new(gpu: &Gpu) -> Result<Painter, RenderError> {
        let overlay = module(gpu, "overlay.wgsl", include_str!("../../shaders/overlay.wgsl"));
        let painter = Painter {
            gpu: gpu.clone(),
            map: MapKernels::new(gpu),
            modes: Modes::new(gpu),
            glow: Glow::new(gpu),
            overlay: Kernel::new(gpu, &overlay, "overlay", &[Bind::Uniform, Bind::Read, Bind::Write], None),
            stage: Numbers::new(uniform(gpu, "stage", size_of::<Stage>() as u64)),
            overlay_work: Numbers::new(uniform(gpu, "overlay", 16)),
            tiles: Numbers::new(storage(gpu, "tiles", MOST_TILES * 16)),
            marks: None,
            uploads: Uploads::new(gpu),
            sheets: Sheets::new(),
            whole: None,
        };
        gpu.check("compiling the shaders")?;
        Ok(painter)
    }

    /// Draws a picture, and returns when the GPU is done with it. Nothing is drawn when it is there already.
    pub fn draw(
        &mut self,
        picture: &Picture,
        target: &mut MapTarget,
    ) -> Result<RenderingMetrics, RenderError> {
        let begun = Instant::now();
        let step = "drawing a picture";
        if target.shown.as_ref().is_some_and(|shown| shown.picture.is(picture)) {
            self.gpu.check(step)?;
            return Ok(target.measure(begun));
        }
        check(picture)?;
        let shown = target.shown.take();
        // What spreads over the picture, or is seen through it, is drawn as a whole, of which the part is cut.
        let cut = target.is_part() && (picture.glow || matches!(picture.scene, Scene::Volume(_)));
        let drawn =
            if cut { self.cut(picture, target, step) } else { self.submit(picture, shown, target, step) };
        match drawn {
            Ok(layout) => {
                target.shown = Some(Shown { picture: picture.clone(), layout });
                let (copied, written) = self.uploads.take_counts();
                Ok(RenderingMetrics { copied, written, ..target.measure(begun) })
            }
            Err(error) => {
                // Whether the uploads have arrived is not known; the next picture starts afresh.
                self.uploads.forget();
                self.sheets.forget();
                self.glow.forget();
                for numbers in [&mut self.stage, &mut self.overlay_work, &mut self.tiles] {
                    numbers.forget();
                }
                Err(error)
            }
        }
    }

    /// Draws the whole picture, and copies the part of it that the target shows.
    fn cut(
        &mut self,
        picture: &Picture,
        target: &MapTarget,
        step: &str,
    ) -> Result<PictureLayout, RenderError> {
        let part = target.part();
        let mut whole = match self.whole.take() {
            Some(whole) if whole.resolution() == part.whole => whole,
            _ => MapTarget::offscreen(&self.gpu, part.whole.0, part.whole.1)?,
        };
        self.draw(picture, &mut whole)?;
        let layout = whole.shown.as_ref().map(|shown| shown.layout.clone());
        let mut encoder = self.gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let words = |count: u32| u64::from(count) * 4;
        let columns = target.width.min(part.whole.0.saturating_sub(part.at.0));
        let rows = target.height.min(part.whole.1.saturating_sub(part.at.1));
        for row in (0..rows).filter(|_| columns > 0) {
            let from = whole.first + (part.at.1 + row) * whole.stride + part.at.0;
            let to = target.first + row * target.stride;
            encoder.copy_buffer_to_buffer(
                &whole.buffer,
                words(from),
                &target.buffer,
                words(to),
                words(columns),
            );
        }
        let mut work = vec![encoder.finish()];
        work.extend(target.handed_over());
        self.gpu.finish(work, step)?;
        self.whole = Some(whole);
        layout.map_or_else(|| PictureLayout::new(part.whole.0, part.whole.1, picture.caption.order), Ok)
    }

    fn submit(
        &mut self,
        picture: &Picture,
        shown: Option<Shown>,
        target: &MapTarget,
        step: &str,
    ) -> Result<PictureLayout, RenderError> {
        let gpu = self.gpu.clone();
        // On a device that is gone no memory can be mapped.
        gpu.check(step)?;
        let sheet = self.sheets.of(&gpu, picture, target.part().whole)?;
        let layout = sheet.layout.clone();
        let mut damage = Damage::between(shown.as_ref(), picture, &layout, self.uploads.comparisons());
        if !damage.tiles.is_empty() && sheet.pixels.list.len() > MANY_MARKS {
            damage.draw_whole_map(&layout);
        }
        let stage = stage_of(target, &layout, picture);
        self.stage.write(&gpu, bytemuck::bytes_of(&stage));

        let mut encoder = gpu.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let coded = self.modes.code(&gpu, &mut encoder, &mut self.uploads, picture);
        let is_coded = coded.is_some();
        let values = coded.unwrap_or_else(|| self.uploads.map(&mut encoder, Slot::Density, &picture.known()));
        let place = MapPlace {
            side: layout.map.width,
            stride: target.stride,
            first: target.first + layout.map.y * target.stride + layout.map.x,
        };
        {
            // A volume is drawn by its own stage.
            let volume = matches!(picture.scene, Scene::Volume(_));
            let tiles = if volume { Vec::new() } else { damage.words(&layout) };
            self.tiles.write(&gpu, bytemuck::cast_slice(&tiles));
            let buffers = [self.stage.buffer(), &values, &sheet.buffer, &target.buffer, self.tiles.buffer()];
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.map.run(&gpu, &mut pass, &buffers, &layout, &damage, &tiles, is_coded);
        }
        if let Scene::Volume(volume) = &picture.scene {
            let drawn = (picture, &**volume);
            self.modes.volume(&gpu, &mut encoder, &mut self.uploads, drawn, &target.buffer, place);
        }
        if picture.glow {
            let floor = stage.ramps[0][GLOWS];
            self.glow.run(&gpu, &mut encoder, &target.buffer, place, floor);
        }
        let (marks, count) = if damage.is_whole(&layout) && !target.is_part() {
            (sheet.pixels.buffer.clone(), sheet.pixels.list.len())
        } else {
            let (again, (left, top)) = (damage.pixels(&layout), target.part().at);
            let part = Rect { x: left, y: top, width: target.width, height: target.height };
            let within = |[at, color]: &[u32; 2]| {
                let (x, y) = (at & 0xffff, at >> 16);
                let drawn = part.contains(x, y) && again.contains(x, y);
                drawn.then(|| [(y - top) << 16 | (x - left), *color])
            };
            let marks: Vec<[u32; 2]> = sheet.pixels.list.iter().filter_map(within).collect();
            if !marks.is_empty() {
                let room = match self.marks.take() {
                    Some(buffer) if buffer.size() >= marks.len() as u64 * 8 => buffer,
                    _ => storage(&gpu, "marks", (marks.len() as u64 * 8).next_power_of_two()),
                };
                gpu.queue.write_buffer(&room, 0, bytemuck::cast_slice(&marks));
                self.marks = Some(room);
            }
            (self.marks.clone(), marks.len())
        };
        if let Some(marks) = marks.filter(|_| count > 0) {
            let work = [count as u32, target.stride, target.first, 0];
            self.overlay_work.write(&gpu, bytemuck::bytes_of(&work));
            let bound = self.overlay.bind(&gpu, &[self.overlay_work.buffer(), &marks, &target.buffer]);
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            self.overlay.run(&mut pass, &bound, groups(count as u32));
        }
        self.uploads.end_frame(&encoder);
        let mut work = self.uploads.handed_over(false);
        work.push(encoder.finish());
        work.extend(self.uploads.handed_over(true));
        work.extend(target.handed_over());
        gpu.finish(work, step)?;
        Ok(layout)
    }

    /// The inodes of the dma-bufs in which the CPU leaves its maps for the GPU; none where they have to be copied.
    pub fn shared_maps(&self) -> Vec<u64> {
        self.uploads.shared().map(SharedMap::inode).collect()
    }
}

/// What would go wrong on the GPU is refused here.
fn check(picture: &Picture) -> Result<(), RenderError> {
    let order = picture.caption.order;
    let (rows, columns) = picture.density.dim();
    let wrong = |columns, rows| Err(RenderError::Density { columns, rows, order });
    if !(1..=12).contains(&order) || (rows, columns) != (1 << order, 1 << order) {
        return wrong(columns, rows);
    }
    Modes::fits(picture).or_else(|(columns, rows)| wrong(columns, rows))
}

impl MapKernels {
    fn new(gpu: &Gpu) -> MapKernels {
        let shader = module(gpu, "heatmap.wgsl", include_str!("../../shaders/heatmap.wgsl"));
        let binds = [Bind::Uniform, Bind::Read, Bind::Read, Bind::Write, Bind::Read];
        let kernel = |entry, coded| Kernel::new(gpu, &shader, entry, &binds, Some(coded));
        MapKernels {
            cells: [false, true].map(|coded| kernel("cells", coded)),
            crowds: [false, true].map(|coded| kernel("crowds", coded)),
            beside: kernel("beside", false),
            beyond: kernel("beyond", false),
            panel: kernel("panel", false),
            bar: kernel("bar", false),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call, and each is another kind of thing")]
    fn run(
        &self,
        gpu: &Gpu,
        pass: &mut wgpu::ComputePass<'_>,
        buffers: &[&wgpu::Buffer],
        layout: &PictureLayout,
        damage: &Damage,
        tiles: &[[u32; 4]],
        coded: bool,
    ) {
        let mut run = |kernel: &Kernel, columns: u32, rows: u32, layers: u32| {
            let bound = kernel.bind(gpu, buffers);
            kernel.run(pass, &bound, [columns.div_ceil(GROUP), rows, layers]);
        };
        let widest = tiles.iter().map(|[left, right, ..]| right - left).max().unwrap_or(0);
        let tallest = tiles.iter().map(|[.., top, bottom]| bottom - top).max().unwrap_or(0);
        if layout.cells > layout.map.width {
            run(&self.crowds[usize::from(coded)], widest, tallest.div_ceil(ROWS), tiles.len() as u32);
        } else {
            run(&self.cells[usize::from(coded)], widest, tallest, tiles.len() as u32);
        }
        let side = layout.map.width;
        if damage.surroundings {
            run(&self.beside, layout.width - side, side, 1);
            run(&self.beyond, layout.width, layout.height - side, 1);
        }
        if damage.panel {
            run(&self.panel, Tables::of(layout).mask_row, layout.panel.height, 1);
            run(&self.bar, layout.bar.width, layout.bar.height, 1);
        }
    }
}

fn stage_of(target: &MapTarget, layout: &PictureLayout, picture: &Picture) -> Stage {
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
        logarithmic: u32::from(picture.scale == ColorScale::Logarithmic),
        two_sided: u32::from(matches!(picture.scene, Scene::Phases(_))),
        ramps: ramps(&picture.scene, picture.palette),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::render::{Caption, ColorPalette};
    use crate::sensing::DensityMap;

    #[test]
    fn a_lost_device_is_an_error_for_every_later_frame() {
        let gpu = Gpu::new().unwrap_or_else(|error| panic!("{error}"));
        let mut painter = Painter::new(&gpu).expect("the stages");
        let mut target = MapTarget::offscreen(&gpu, 64, 64).expect("a target");
        let caption = Caption {
            target: "program 1".into(),
            numbers: Vec::new(),
            status: String::new(),
            order: 4,
            bytes_per_cell: 4096.0,
            total_bytes: 1 << 20,
            half_life: Duration::from_millis(250),
        };
        let mut picture = Picture::new(Arc::new(DensityMap::zeros((16, 16))), caption, ColorPalette::Viridis);
        painter.draw(&picture, &mut target).expect("a frame");
        gpu.device.destroy();
        for round in 0..3 {
            picture.caption.status = format!("round {round}");
            let error = painter.draw(&picture, &mut target).expect_err("the device is gone");
            assert!(matches!(error, RenderError::DeviceLost { .. }), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        assert!(matches!(target.read(), Err(RenderError::DeviceLost { .. })));
        assert!(matches!(MapTarget::offscreen(&gpu, 64, 64).err(), Some(RenderError::DeviceLost { .. })));
    }
}
