//! The Hilbert curve against the fastest other crates, in turn in the same run, with the cost of only copying the same
//! words beside it; then on the GPU, with data that is there already, against a copy by the same GPU.
//!
//! `cargo bench --bench hilbert [ROUNDS]`

use std::hint::black_box;
use std::time::Instant;

use memory_glass::map::{HilbertCapability, HilbertCurve, HilbertGpu, HilbertPath};

/// Points of a column: small enough for the second-level cache, as the batches that the maps use are.
const POINTS: usize = 1 << 16;
/// The orders that are compared: the default of maps, their largest, and the largest of all.
const ORDERS: [u32; 3] = [8, 12, 16];

/// A table's columns for one order.
struct Points {
    order: u32,
    indices: Vec<u32>,
    xs: Vec<u32>,
    ys: Vec<u32>,
}

impl Points {
    fn new(order: u32) -> Points {
        let last = u32::MAX >> (32 - 2 * order);
        let mut seed = 88_172_645_463_325_252u64;
        let indices: Vec<u32> = (0..POINTS)
            .map(|_| {
                // xorshift64
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                (seed >> 20) as u32 & last
            })
            .collect();
        let (mut xs, mut ys) = (vec![0; POINTS], vec![0; POINTS]);
        HilbertCurve::new(order).d2xy_batch(&indices, &mut xs, &mut ys);
        Points { order, indices, xs, ys }
    }
}

/// Writes over the results, which every contender shares.
struct Results {
    xs: Vec<u32>,
    ys: Vec<u32>,
    indices: Vec<u32>,
}

type Work<'a> = Box<dyn Fn(&mut Results) + 'a>;

/// Who takes part in a cell of the table. The first is ours, the last the bound.
struct Contender<'a> {
    name: &'static str,
    work: Work<'a>,
}

fn contender<'a>(name: &'static str, work: impl Fn(&mut Results) + 'a) -> Contender<'a> {
    Contender { name, work: Box::new(work) }
}

/// A loop over single cells, inlined into it. Each of the others is called in one place only, or it would not be.
macro_rules! decode {
    ($name:expr, $points:expr, $one:expr) => {
        contender($name, move |results| {
            let one = $one;
            for ((&index, x), y) in $points.indices.iter().zip(&mut results.xs).zip(&mut results.ys) {
                let cell = one(index);
                (*x, *y) = (cell.0 as u32, cell.1 as u32);
            }
        })
    };
}

macro_rules! encode {
    ($name:expr, $points:expr, $one:expr) => {
        contender($name, move |results| {
            let one = $one;
            for ((&x, &y), index) in $points.xs.iter().zip(&$points.ys).zip(&mut results.indices) {
                *index = one(x, y) as u32;
            }
        })
    };
}

const HAKMEM: &str = "hakmem 0.2";
const FAST_HILBERT: &str = "fast_hilbert 2";
const LINDEL: &str = "lindel 0.1 (order 16 always)";
const HILBERT_2D: &str = "hilbert_2d 1";
const OURS: &str = "memory-glass";
const COPY: &str = "only copying";

/// The crates without a batch of their own, whose loop stands in both tables.
fn loops_d2xy(points: &Points) -> [Contender<'_>; 3] {
    let order = black_box(points.order);
    [
        decode!(FAST_HILBERT, points, |d: u32| fast_hilbert::h2xy::<u32>(d.into(), order as u8)),
        decode!(LINDEL, points, |d: u32| {
            let [x, y]: [u16; 2] = lindel::hilbert_decode(d);
            (x, y)
        }),
        decode!(HILBERT_2D, points, |d: u32| {
            hilbert_2d::u32::h2xy_discrete(d, order, hilbert_2d::Variant::Hilbert)
        }),
    ]
}

fn loops_xy2d(points: &Points) -> [Contender<'_>; 3] {
    let order = black_box(points.order);
    [
        encode!(FAST_HILBERT, points, |x: u32, y: u32| fast_hilbert::xy2h::<u32>(x, y, order as u8)),
        encode!(LINDEL, points, |x: u32, y: u32| lindel::hilbert_encode([x as u16, y as u16])),
        encode!(HILBERT_2D, points, |x: u32, y: u32| {
            hilbert_2d::u32::xy2h_discrete(x, y, order, hilbert_2d::Variant::Hilbert)
        }),
    ]
}

fn copy_d2xy(points: &Points) -> Contender<'_> {
    contender(COPY, |results| {
        results.xs.copy_from_slice(&points.indices);
        results.ys.copy_from_slice(black_box(&points.indices));
    })
}

/// Both columns are read and one is written, as by the curve.
fn copy_xy2d(points: &Points) -> Contender<'_> {
    contender(COPY, |results| {
        for ((&x, &y), index) in points.xs.iter().zip(&points.ys).zip(&mut results.indices) {
            *index = x ^ y;
        }
    })
}

fn single_d2xy(points: &Points) -> Vec<Contender<'_>> {
    let order = black_box(points.order);
    let curve = HilbertCurve::new(order);
    let mut all = vec![
        decode!(OURS, points, |d: u32| curve.d2xy(d)),
        decode!(HAKMEM, points, |d: u32| hakmem::Hilbert2::<u32>::from_index(d).decode_order(order)),
    ];
    all.extend(loops_d2xy(points));
    all.push(copy_d2xy(points));
    all
}

fn single_xy2d(points: &Points) -> Vec<Contender<'_>> {
    let order = black_box(points.order);
    let curve = HilbertCurve::new(order);
    let mut all = vec![
        encode!(OURS, points, |x: u32, y: u32| curve.xy2d(x, y)),
        encode!(HAKMEM, points, |x: u32, y: u32| hakmem::Hilbert2::<u32>::encode_order(x, y, order).index()),
    ];
    all.extend(loops_xy2d(points));
    all.push(copy_xy2d(points));
    all
}

fn batch_d2xy(points: &Points) -> Vec<Contender<'_>> {
    let curve = HilbertCurve::new(black_box(points.order));
    let mut all = vec![
        contender(OURS, move |results| {
            curve.d2xy_batch(&points.indices, &mut results.xs, &mut results.ys);
        }),
        // Its columns are of order 16 always.
        contender(HAKMEM, |results| {
            hakmem::Hilbert2::<u32>::decode_columns(&points.indices, &mut results.xs, &mut results.ys);
        }),
    ];
    all.extend(loops_d2xy(points));
    all.push(copy_d2xy(points));
    all
}

fn batch_xy2d(points: &Points) -> Vec<Contender<'_>> {
    let curve = HilbertCurve::new(black_box(points.order));
    let mut all = vec![
        contender(OURS, move |results| {
            curve.xy2d_batch(&points.xs, &points.ys, &mut results.indices);
        }),
        contender(HAKMEM, |results| {
            hakmem::Hilbert2::<u32>::encode_columns(&points.xs, &points.ys, &mut results.indices);
        }),
    ];
    all.extend(loops_xy2d(points));
    all.push(copy_xy2d(points));
    all
}

/// Median, and the ends of the middle half.
fn spread(mut times: Vec<f64>) -> [f64; 3] {
    times.sort_by(f64::total_cmp);
    [2, 1, 3].map(|share| times[(times.len() - 1) * share / 4])
}

/// Measures all contenders of a cell in turn, round after round, and returns nanoseconds a point of each.
fn measure(contenders: &[Contender<'_>], rounds: u32) -> Vec<[f64; 3]> {
    let mut results = Results { xs: vec![0; POINTS], ys: vec![0; POINTS], indices: vec![0; POINTS] };
    let mut times = vec![Vec::new(); contenders.len()];
    for round in 0..rounds + 2 {
        for (contender, times) in contenders.iter().zip(&mut times) {
            let begun = Instant::now();
            for _ in 0..4 {
                (contender.work)(&mut results);
                black_box(&mut results);
            }
            // The first rounds warm the caches.
            if round >= 2 {
                times.push(begun.elapsed().as_secs_f64() * 1e9 / (4 * POINTS) as f64);
            }
        }
    }
    times.into_iter().map(spread).collect()
}

/// Prints one cell of the table; true when ours is ahead of everybody.
fn cell(title: &str, contenders: &[Contender<'_>], rounds: u32) -> bool {
    let times = measure(contenders, rounds);
    let ours = times[0][0];
    println!("{title}");
    for (contender, [median, low, high]) in contenders.iter().zip(&times) {
        let name = contender.name;
        println!("  {name:30} {median:8.3} ns ({low:.3}–{high:.3})  {:6.2} × ours", median / ours);
    }
    let others = 1..times.len() - 1;
    let best = others.min_by(|a, b| times[*a][0].total_cmp(&times[*b][0])).unwrap_or(1);
    let ahead = ours < times[best][0];
    if !ahead {
        println!("  BEHIND {}", contenders[best].name);
    }
    ahead
}

fn on_the_cpu(rounds: u32) {
    let path = HilbertCurve::new(8).path();
    println!(
        "{POINTS} random points, ns a point, median (middle half) of {rounds} rounds; batches by {path}"
    );
    if path != HilbertPath::Avx512 {
        println!("this CPU has no AVX-512 with GFNI: hakmem's batch and ours take their slower ways");
    }
    let (mut ahead, mut cells) = (0, 0);
    for order in ORDERS {
        let points = Points::new(order);
        for (title, contenders) in [
            ("single, index to cell", single_d2xy(&points)),
            ("single, cell to index", single_xy2d(&points)),
            ("batch, index to cell", batch_d2xy(&points)),
            ("batch, cell to index", batch_xy2d(&points)),
        ] {
            cells += 1;
            ahead += u32::from(cell(&format!("order {order}: {title}"), &contenders, rounds));
        }
    }
    println!("ahead of every other crate in {ahead} of {cells} cells");
}

const COPY_SHADER: &str = "
@group(0) @binding(0) var<storage, read> input: array<u32>;
@group(0) @binding(1) var<storage, read_write> output: array<u32>;
@compute @workgroup_size(256)
fn copy(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let begin = (group.y * groups.x + group.x) * 1024u + lane;
    for (var i = 0u; i < 4u; i++) { output[begin + i * 256u] = input[begin + i * 256u]; }
}
";

/// Words that are on the GPU, and how often a step is taken over them within one submission.
struct Resident {
    device: wgpu::Device,
    queue: wgpu::Queue,
    from: wgpu::Buffer,
    to: wgpu::Buffer,
    words: u32,
    times: u32,
}

impl Resident {
    fn open(adapter: &wgpu::Adapter) -> Resident {
        let software = adapter.get_info().device_type == wgpu::DeviceType::Cpu;
        let descriptor = wgpu::DeviceDescriptor { required_limits: adapter.limits(), ..Default::default() };
        let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("the device");
        // Far more than any cache holds.
        let (words, times) = if software { (1 << 20, 1) } else { (1 << 28, 16) };
        let buffer = || {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: u64::from(words) * 4,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let (from, to) = (buffer(), buffer());
        let chunk: Vec<u32> = (0..1 << 20).map(|at: u32| at.wrapping_mul(2_654_435_761)).collect();
        for at in (0..u64::from(words)).step_by(1 << 20) {
            queue.write_buffer(&from, at * 4, bytemuck::cast_slice(&chunk));
        }
        Resident { device, queue, from, to, words, times }
    }

    /// Points a nanosecond.
    fn rate(&self, rounds: u32, step: impl Fn(&mut wgpu::CommandEncoder)) -> [f64; 3] {
        let mut rates = Vec::new();
        for round in 0..rounds + 2 {
            let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for _ in 0..self.times {
                step(&mut encoder);
            }
            let work = encoder.finish();
            self.device.poll(wgpu::PollType::wait_indefinitely()).expect("nothing left to do");
            let begun = Instant::now();
            self.queue.submit([work]);
            self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the end of the work");
            if round >= 2 {
                rates.push(
                    f64::from(self.words) * f64::from(self.times) / begun.elapsed().as_secs_f64() * 1e-9,
                );
            }
        }
        spread(rates)
    }

    fn copy(&self) -> (wgpu::ComputePipeline, wgpu::BindGroup) {
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(COPY_SHADER.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: Some("copy"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
        let entries = [&self.from, &self.to].map(wgpu::Buffer::as_entire_binding);
        let group = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.get_bind_group_layout(0),
            entries: &std::array::from_fn::<_, 2, _>(|at| wgpu::BindGroupEntry {
                binding: at as u32,
                resource: entries[at].clone(),
            }),
        });
        (pipeline, group)
    }
}

fn on_the_gpu(rounds: u32) {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    for adapter in pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN)) {
        let resident = Resident::open(&adapter);
        let (pipeline, group) = resident.copy();
        let [copied, low, high] = resident.rate(rounds, |encoder| {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            let groups = resident.words / 1024;
            let rows = groups.div_ceil(1 << 15);
            pass.dispatch_workgroups(groups / rows, rows, 1);
        });
        println!(
            "{}: {} words on it, points a ns (Gop/s), median (middle half) of {rounds} rounds",
            adapter.get_info().name,
            resident.words
        );
        println!(
            "  only copying, 4 B in and 4 B out {copied:9.3} ({low:.3}–{high:.3}), {:.0} GB/s",
            copied * 8.0
        );
        let curve = HilbertGpu::new(&resident.device, &resident.queue);
        let Resident { from, to, words, .. } = &resident;
        for order in ORDERS {
            let decoded = resident.rate(rounds, |encoder| {
                curve.d2xy(encoder, order, from, to, *words).expect("buffers of that size");
            });
            let encoded = resident.rate(rounds, |encoder| {
                curve.xy2d(encoder, order, from, to, *words).expect("buffers of that size");
            });
            for (way, [median, low, high]) in [("index to cell", decoded), ("cell to index", encoded)] {
                println!(
                    "  order {order:2}, {way:22} {median:9.3} ({low:.3}–{high:.3}), {:.2} of the copy",
                    median / copied
                );
            }
        }
    }
}

fn main() {
    // cargo passes options of its own.
    let rounds: u32 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(31);
    on_the_cpu(rounds);
    on_the_gpu(rounds.min(11));
}
