//! How long a heat-map frame takes, beside the least that any picture costs: the same driver writing one colour into a
//! buffer of that size, measured in turn with it.
//!
//! `cargo bench --bench render [ROUNDS]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use memory_glass::render::{Caption, ColorPalette, Gpu, Heatmap, MapTarget, Picture};
use memory_glass::sensing::DensityMap;

const BARE: &str = "
@group(0) @binding(0) var<storage, read_write> picture: array<u32>;
@compute @workgroup_size(64, 1)
fn bare(@builtin(global_invocation_id) at: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    picture[at.y * groups.x * 64u + at.x] = 0xff0e0f14u;
}
";

/// One colour into a buffer, with wgpu and nothing else.
struct Bare {
    device: wgpu::Device,
    queue: wgpu::Queue,
    pipeline: wgpu::ComputePipeline,
}

impl Bare {
    fn open(name: &str) -> Bare {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::VULKAN,
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        let adapter =
            adapters.into_iter().find(|one| one.get_info().name == name).expect("the stage's device");
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor::default()))
            .expect("a second device on the same driver");
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(BARE.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("bare"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        Bare { device, queue, pipeline }
    }

    fn frame(&self, width: u32, height: u32, buffer: &wgpu::Buffer) -> Duration {
        let begun = Instant::now();
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &[wgpu::BindGroupEntry { binding: 0, resource: buffer.as_entire_binding() }],
        });
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&self.pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.dispatch_workgroups(width / 64, height, 1);
        }
        self.queue.submit([encoder.finish()]);
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the frame's end");
        begun.elapsed()
    }

    fn buffer(&self, width: u32, height: u32) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: u64::from(width) * u64::from(height) * 4,
            usage: wgpu::BufferUsages::STORAGE,
            mapped_at_creation: false,
        })
    }
}

/// Median, and the middle half around it.
fn spread(mut times: Vec<Duration>) -> (f64, f64, f64) {
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 4].as_secs_f64() * 1e3;
    (at(2), at(1), at(3))
}

fn picture(order: u32, seed: u32) -> Picture {
    let side = 1usize << order;
    let density = DensityMap::from_shape_fn((side, side), |(y, x)| {
        let mixed = (x as u32 ^ seed).wrapping_mul(0x9e37_79b9) ^ (y as u32).wrapping_mul(0x85eb_ca6b);
        if mixed.is_multiple_of(3) { (mixed >> 8) as f32 / (1u32 << 24) as f32 } else { 0.0 }
    });
    let caption = Caption {
        target: "redis-server 1234".into(),
        status: "wp-async · 100 ms windows".into(),
        order,
        bytes_per_cell: 4096.0,
        total_bytes: 4096 << (2 * order),
        half_life: Duration::from_millis(250),
    };
    Picture { density: Arc::new(density), caption, palette: ColorPalette::Viridis }
}

fn main() {
    // cargo passes options of its own.
    let rounds: u32 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(31);
    let gpu = Gpu::new().unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(1);
    });
    println!("{}; {rounds} rounds, median (middle half) in ms, and times the bare write", gpu.describe());
    let bare = Bare::open(&gpu.describe().name);
    let mut heatmap = Heatmap::new(&gpu).expect("the stage");
    for (width, height, order) in [(1920, 1080, 8), (1920, 1080, 10), (4096, 4096, 8), (4096, 4096, 12)] {
        let pictures = [picture(order, 1), picture(order, 2)];
        let buffer = bare.buffer(width, height);
        let mut target = MapTarget::offscreen(&gpu, width, height).expect("a target");
        let [mut base, mut same, mut fresh, mut words] = [const { Vec::new() }; 4];
        for round in 0..rounds + 3 {
            let mut times =
                [bare.frame(width, height, &buffer), Duration::ZERO, Duration::ZERO, Duration::ZERO];
            let mut picture = pictures[round as usize % 2].clone();
            let mut draw = |picture: &Picture| {
                let begun = Instant::now();
                heatmap.draw(picture, &mut target).expect("a frame");
                begun.elapsed()
            };
            times[2] = draw(&picture);
            times[1] = draw(&picture);
            picture.caption.status = format!("wp-async · 100 ms windows · {round} pages written/s");
            times[3] = draw(&picture);
            // The first rounds compile shaders and touch memory for the first time.
            if round >= 3 {
                for (times, time) in [&mut base, &mut same, &mut fresh, &mut words].into_iter().zip(times) {
                    times.push(time);
                }
            }
        }
        let least = spread(base.clone()).0;
        println!("{width}×{height}, order {order}");
        for (name, times) in
            [("bare write", base), ("same map again", same), ("a new map", fresh), ("new words", words)]
        {
            let (median, low, high) = spread(times);
            println!("  {name:15} {median:8.2} ({low:.2}–{high:.2})  {:5.2}×", median / least);
        }
    }
}
