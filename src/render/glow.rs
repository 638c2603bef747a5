//! The glow: the levels of shaders/glow.wgsl for one size of map.

use bytemuck::{Pod, Zeroable};

use super::Gpu;
use super::kernel::{Bind, GROUP, Kernel, module};
use super::upload::{Numbers, uniform};

/// How much of the glow is added, of 256.
const STRENGTH: u32 = 200;

/// The stages, and the levels of the map that was drawn last.
pub(super) struct Glow {
    first: Kernel,
    down: Kernel,
    up: Kernel,
    add: Kernel,
    levels: Option<Levels>,
}

/// Half the map's side, a quarter, and so on.
struct Levels {
    side: u32,
    sides: Vec<u32>,
    buffers: Vec<wgpu::Buffer>,
    /// What each step has to know: from the map to the first level, from there to the next…
    works: Vec<Numbers>,
}

/// The shader's `Work`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Work {
    fine: [u32; 2],
    coarse: [u32; 2],
    stride: u32,
    first: u32,
    strength: u32,
    floor: u32,
}

/// The map's place in a picture, in words of its buffer.
#[derive(Clone, Copy)]
pub(super) struct MapPlace {
    pub(super) side: u32,
    pub(super) stride: u32,
    pub(super) first: u32,
}

impl Glow {
    pub(super) fn new(gpu: &Gpu) -> Glow {
        let shader = module(gpu, "glow.wgsl", include_str!("../../shaders/glow.wgsl"));
        let kernel =
            |entry| Kernel::new(gpu, &shader, entry, &[Bind::Uniform, Bind::Read, Bind::Write], None);
        Glow {
            first: kernel("first"),
            down: kernel("down"),
            up: kernel("up"),
            add: kernel("add"),
            levels: None,
        }
    }

    /// Whether the last uploads have arrived is not known.
    pub(super) fn forget(&mut self) {
        self.levels = None;
    }

    /// Makes what is bright on the map in `picture` glow. `floor` (0xRRGGBB) and what is darker does not.
    pub(super) fn run(
        &mut self,
        gpu: &Gpu,
        encoder: &mut wgpu::CommandEncoder,
        picture: &wgpu::Buffer,
        place: MapPlace,
        floor: u32,
    ) {
        let mut levels = match self.levels.take() {
            Some(levels) if levels.side == place.side => levels,
            _ => Levels::new(gpu, place.side),
        };
        let mut fine = place.side;
        for (coarse, work) in levels.sides.iter().zip(&mut levels.works) {
            let data = Work {
                fine: [fine; 2],
                coarse: [*coarse; 2],
                stride: place.stride,
                first: place.first,
                strength: STRENGTH,
                floor: floor & 0xff_ffff,
            };
            work.write(gpu, bytemuck::bytes_of(&data));
            fine = *coarse;
        }
        let rows = |side: u32| [side.div_ceil(GROUP), side, 1];
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (at, (side, work)) in levels.sides.iter().zip(&levels.works).enumerate() {
            let (kernel, source) =
                if at == 0 { (&self.first, picture) } else { (&self.down, &levels.buffers[at - 1]) };
            let bound = kernel.bind(gpu, &[work.buffer(), source, &levels.buffers[at]]);
            kernel.run(&mut pass, &bound, rows(*side));
        }
        for at in (1..levels.sides.len()).rev() {
            let bound =
                self.up.bind(gpu, &[levels.works[at].buffer(), &levels.buffers[at], &levels.buffers[at - 1]]);
            self.up.run(&mut pass, &bound, rows(levels.sides[at - 1]));
        }
        if let (Some(work), Some(level)) = (levels.works.first(), levels.buffers.first()) {
            let bound = self.add.bind(gpu, &[work.buffer(), level, picture]);
            self.add.run(&mut pass, &bound, rows(place.side));
        }
        drop(pass);
        self.levels = Some(levels);
    }
}

impl Levels {
    fn new(gpu: &Gpu, side: u32) -> Levels {
        let (mut sides, mut next) = (Vec::new(), side);
        // Down to what spreads over a thirtieth of the map; the smallest is a few pixels.
        while next > 16 && sides.len() < 6 {
            next = next.div_ceil(2);
            sides.push(next);
        }
        let buffer = |size: u64| {
            gpu.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("glow"),
                size,
                usage: wgpu::BufferUsages::STORAGE,
                mapped_at_creation: false,
            })
        };
        let buffers = sides.iter().map(|side| buffer(u64::from(*side) * u64::from(*side) * 4)).collect();
        let works =
            sides.iter().map(|_| Numbers::new(uniform(gpu, "glow", size_of::<Work>() as u64))).collect();
        Levels { side, sides, buffers, works }
    }
}
