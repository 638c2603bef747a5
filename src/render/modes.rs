//! The stages between a mode's inputs and the map: each makes words for shaders/heatmap.wgsl, but the volume's, which draws.

use bytemuck::{Pod, Zeroable};

use super::changes::Known;
use super::glow::MapPlace;
use super::kernel::{Bind, Kernel, groups, module};
use super::picture::{ColorScale, Motion, Picture};
use super::ramps::ramp_of_thread;
use super::scene::{KineticField, MOST_THREADS, Scene, ThreadWrite, Volume};
use super::upload::{Slot, Uploads, storage, uniform};
use super::{BACKGROUND, Gpu};
use crate::sensing::DensityMap;

/// Levels that an avalanche's front loses a window: after 24 windows it is as dark as it gets.
pub(super) const FADE: u32 = 2048;

/// One stage for each mode.
pub(super) struct Modes {
    kinetic: Kernel,
    phase: Kernel,
    avalanche: Kernel,
    waterfall: Kernel,
    motion: Kernel,
    volume: Kernel,
    work: wgpu::Buffer,
    kinetic_work: wgpu::Buffer,
    volume_work: wgpu::Buffer,
    coded: Option<wgpu::Buffer>,
}

/// The `Work` of shaders/kinetic.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct KineticWork {
    count: u32,
    unused: [u32; 3],
    /// Scale and ramp of each thread.
    threads: [[u32; 4]; MOST_THREADS],
}

/// The `Work` of shaders/volume.wgsl.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct VolumeWork {
    axes: [[f32; 4]; 3],
    stride: u32,
    first: u32,
    side: u32,
    boxes: u32,
    layers: u32,
    background: u32,
    logarithmic: u32,
    unused: u32,
    palette: [u32; 256],
}

impl Modes {
    pub(super) fn new(gpu: &Gpu) -> Modes {
        use Bind::{Read, Uniform, Write};
        let kernel = |name: &str, source: &str, entry: &str, binds: &[Bind]| {
            Kernel::new(gpu, &module(gpu, name, source), entry, binds, None)
        };
        macro_rules! shader {
            ($name:literal) => {
                include_str!(concat!("../../shaders/", $name))
            };
        }
        let two = [Uniform, Read, Read, Write];
        let one = [Uniform, Read, Write];
        Modes {
            kinetic: kernel("kinetic.wgsl", shader!("kinetic.wgsl"), "kinetic", &one),
            phase: kernel("phase.wgsl", shader!("phase.wgsl"), "phase", &two),
            avalanche: kernel("avalanche.wgsl", shader!("avalanche.wgsl"), "avalanche", &two),
            waterfall: kernel("waterfall.wgsl", shader!("waterfall.wgsl"), "waterfall", &one),
            motion: kernel("motion.wgsl", shader!("motion.wgsl"), "motion", &two),
            volume: kernel("volume.wgsl", shader!("volume.wgsl"), "march", &one),
            work: uniform(gpu, "work", 16),
            kinetic_work: uniform(gpu, "kinetic", size_of::<KineticWork>() as u64),
            volume_work: uniform(gpu, "volume", size_of::<VolumeWork>() as u64),
            coded: None,
        }
    }

    /// Puts down what makes the words of the picture's cells; `None` when its density is drawn as it is.
    pub(super) fn code(
        &mut self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        uploads: &mut Uploads,
        picture: &Picture,
    ) -> Option<wgpu::Buffer> {
        let cells = 1u32 << (2 * picture.caption.order);
        let side = 1u32 << picture.caption.order;
        let work = |data: [u32; 4]| gpu.queue.write_buffer(&self.work, 0, bytemuck::bytes_of(&data));
        let (kernel, inputs, shape) = match (&picture.scene, &picture.motion) {
            (Scene::Heatmap, Some(Motion { before, share })) if *share < 256 => {
                work([cells, u32::from(*share), 0, 0]);
                let before = uploads.map(encoder, Slot::Before, &Known::bare(before));
                let density = uploads.map(encoder, Slot::Density, &picture.known());
                (&self.motion, vec![before, density], groups(cells))
            }
            (Scene::Heatmap | Scene::Volume(_), _) => return None,
            (Scene::Phases(field), _) => {
                work([cells, 0, 0, 0]);
                let before = uploads.map(encoder, Slot::Before, &Known::bare(&field.before));
                let after = uploads.map(encoder, Slot::After, &Known::bare(&field.after));
                (&self.phase, vec![before, after], groups(cells))
            }
            (Scene::Avalanche(field), _) => {
                work([cells, FADE, 0, 0]);
                let ages = uploads.put(Slot::Ages, field, |field| bytemuck::cast_slice(&field.ages).to_vec());
                let density = uploads.map(encoder, Slot::Density, &picture.known());
                (&self.avalanche, vec![ages, density], groups(cells))
            }
            (Scene::Waterfall(field), _) => {
                work([side, side, field.cursor.unwrap_or(u32::MAX), 0]);
                let lines = uploads.map(encoder, Slot::Lines, &Known::bare(&field.lines));
                let [columns, ..] = groups(side);
                (&self.waterfall, vec![lines], [columns, side, 1])
            }
            (Scene::Kinetic(field), _) => {
                gpu.queue.write_buffer(&self.kinetic_work, 0, bytemuck::bytes_of(&kinetic_work(field)));
                let writes = uploads.put(Slot::Writes, field, kinetic_words);
                (&self.kinetic, vec![writes], groups(field.writes.len() as u32))
            }
        };
        let size = u64::from(cells) * 4;
        let coded = match self.coded.take() {
            Some(buffer) if buffer.size() == size => buffer,
            _ => storage(gpu, "coded", size),
        };
        let kinetic = matches!(picture.scene, Scene::Kinetic(_));
        if kinetic {
            encoder.clear_buffer(&coded, 0, None);
        }
        let mut buffers = vec![if kinetic { &self.kinetic_work } else { &self.work }];
        buffers.extend(&inputs);
        buffers.push(&coded);
        let bound = kernel.bind(gpu, &buffers);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        kernel.run(&mut pass, &bound, shape);
        drop(pass);
        self.coded = Some(coded.clone());
        Some(coded)
    }

    /// Puts down what draws a volume over the map's place in `target`.
    pub(super) fn volume(
        &self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        uploads: &mut Uploads,
        (picture, volume): (&Picture, &Volume),
        target: &wgpu::Buffer,
        place: MapPlace,
    ) {
        let (layers, boxes, _) = volume.boxes.dim();
        let work = VolumeWork {
            axes: volume.orbit.axes().map(|[x, y, z]| [x, y, z, 0.0]),
            stride: place.stride,
            first: place.first,
            side: place.side,
            boxes: boxes as u32,
            layers: layers as u32,
            background: BACKGROUND,
            logarithmic: u32::from(picture.scale == ColorScale::Logarithmic),
            unused: 0,
            palette: *picture.palette.colors(),
        };
        gpu.queue.write_buffer(&self.volume_work, 0, bytemuck::bytes_of(&work));
        let boxes = uploads.put(Slot::Boxes, &volume.boxes, |boxes| {
            let mut bytes: Vec<u8> = boxes.iter().map(|value| (value * 255.0 + 0.5) as u8).collect();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        });
        let bound = self.volume.bind(gpu, &[&self.volume_work, &boxes, target]);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let tiles = place.side.div_ceil(8);
        self.volume.run(&mut pass, &bound, [tiles, tiles, 1]);
    }

    /// What a scene must have so that its stage stays within its buffers.
    pub(super) fn fits(picture: &Picture) -> Result<(), (usize, usize)> {
        let side = 1usize << picture.caption.order.min(12);
        let square = |map: &DensityMap| {
            if map.dim() == (side, side) { Ok(()) } else { Err((map.ncols(), map.nrows())) }
        };
        match &picture.scene {
            Scene::Heatmap => match &picture.motion {
                Some(motion) => square(&motion.before),
                None => Ok(()),
            },
            Scene::Phases(field) => square(&field.before).and_then(|()| square(&field.after)),
            Scene::Waterfall(field) => square(&field.lines),
            Scene::Avalanche(field) if field.ages.len() == side * side => Ok(()),
            Scene::Avalanche(field) => Err((field.ages.len(), 1)),
            Scene::Kinetic(field) => {
                let fits = |write: &ThreadWrite| {
                    (write.cell as usize) < side * side && usize::from(write.thread) < field.threads.len()
                };
                if field.threads.len() <= MOST_THREADS && field.writes.iter().all(fits) {
                    Ok(())
                } else {
                    Err((field.writes.len(), field.threads.len()))
                }
            }
            Scene::Volume(volume) => {
                let (layers, rows, columns) = volume.boxes.dim();
                if layers > 0 && rows > 0 && rows == columns { Ok(()) } else { Err((columns, rows)) }
            }
        }
    }
}

fn kinetic_work(field: &KineticField) -> KineticWork {
    let mut work =
        KineticWork { count: field.writes.len() as u32, unused: [0; 3], threads: [[0; 4]; MOST_THREADS] };
    for (thread, (place, scale)) in work.threads.iter_mut().zip(field.scales()).enumerate() {
        *place = [scale, ramp_of_thread(thread) as u32, 0, 0];
    }
    work
}

/// The cells and `thread << 16 | mass`, as the shader reads them: the layout of `ThreadWrite` in little endian.
fn kinetic_words(field: &KineticField) -> Vec<u8> {
    field
        .writes
        .iter()
        .flat_map(|write| [write.cell, u32::from(write.thread) << 16 | u32::from(write.mass)])
        .flat_map(u32::to_le_bytes)
        .collect()
}
