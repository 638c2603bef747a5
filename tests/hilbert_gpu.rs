//! The curve on a GPU against the curve on the CPU, on every Vulkan device there is (Mesa's lavapipe is one).

use memory_glass::map::{GpuCurveError, HilbertCurve, HilbertGpu, MAX_CURVE_ORDER, MIN_ORDER};

struct Stage {
    device: wgpu::Device,
    queue: wgpu::Queue,
    curve: HilbertGpu,
}

fn stages() -> Vec<Stage> {
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::VULKAN,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
    assert!(
        !adapters.is_empty(),
        "these tests need a Vulkan device; mesa-vulkan-drivers has one in software"
    );
    adapters
        .iter()
        .map(|adapter| {
            println!("tested on {}", adapter.get_info().name);
            let limits = wgpu::Limits::downlevel_defaults();
            let descriptor = wgpu::DeviceDescriptor { required_limits: limits, ..Default::default() };
            let (device, queue) =
                pollster::block_on(adapter.request_device(&descriptor)).expect("the device");
            let curve = HilbertGpu::new(&device, &queue);
            Stage { device, queue, curve }
        })
        .collect()
}

impl Stage {
    fn buffer(&self, words: usize, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: words as u64 * 4,
            usage: usage | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        })
    }

    /// `step` from a buffer of `input` to one of `room` words that are all ones before.
    fn run(
        &self,
        input: &[u32],
        room: usize,
        step: impl FnOnce(&mut wgpu::CommandEncoder, &wgpu::Buffer, &wgpu::Buffer),
    ) -> Vec<u32> {
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let (from, to) = (self.buffer(input.len(), storage), self.buffer(room, storage));
        let back = self.buffer(room, wgpu::BufferUsages::MAP_READ);
        self.queue.write_buffer(&from, 0, bytemuck::cast_slice(input));
        self.queue.write_buffer(&to, 0, bytemuck::cast_slice(&vec![u32::MAX; room]));
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        step(&mut encoder, &from, &to);
        encoder.copy_buffer_to_buffer(&to, 0, &back, 0, room as u64 * 4);
        self.queue.submit([encoder.finish()]);
        back.slice(..).map_async(wgpu::MapMode::Read, |mapped| mapped.expect("the copy is readable"));
        self.device.poll(wgpu::PollType::wait_indefinitely()).expect("the end of the work");
        let view = back.slice(..).get_mapped_range().expect("the mapped copy");
        bytemuck::cast_slice(&view).to_vec()
    }
}

/// Cells as the GPU has them.
fn cells(curve: &HilbertCurve, indices: &[u32]) -> Vec<u32> {
    let (mut xs, mut ys) = (vec![0; indices.len()], vec![0; indices.len()]);
    curve.d2xy_batch(indices, &mut xs, &mut ys);
    xs.iter().zip(ys).map(|(x, y)| x | y << 16).collect()
}

#[test]
fn every_order_is_the_cpus_both_ways() {
    for stage in stages() {
        for order in MIN_ORDER..=MAX_CURVE_ORDER {
            let curve = HilbertCurve::try_new(order).unwrap();
            // All of a small curve, a scattering of a large one; ends within a group and within a word's four.
            let count = curve.cells().min(70_001) as u32;
            let last = (curve.cells() - 1) as u32;
            let indices: Vec<u32> = if curve.cells() == u64::from(count) {
                (0..count).collect()
            } else {
                (0..count).map(|at| at.wrapping_mul(2_654_435_761) & last).chain([0, last]).collect()
            };
            let count = indices.len() as u32;
            let expected = cells(&curve, &indices);
            let found = stage.run(&indices, indices.len(), |encoder, from, to| {
                stage.curve.d2xy(encoder, order, from, to, count).unwrap();
            });
            assert!(found == expected, "order {order}: index to cell");
            let back = stage.run(&found, found.len(), |encoder, from, to| {
                stage.curve.xy2d(encoder, order, from, to, count).unwrap();
            });
            assert!(back == indices, "order {order}: cell to index");
        }
    }
}

#[test]
fn only_the_batchs_words_are_written() {
    for stage in stages() {
        let curve = HilbertCurve::try_new(12).unwrap();
        let indices: Vec<u32> = (0..3000).collect();
        for count in [0, 1, 255, 256, 1023, 1024, 1025, 2999] {
            let found = stage.run(&indices, indices.len(), |encoder, from, to| {
                stage.curve.d2xy(encoder, 12, from, to, count).unwrap();
            });
            let (written, rest) = found.split_at(count as usize);
            assert_eq!(written, cells(&curve, &indices[..count as usize]));
            assert!(rest.iter().all(|word| *word == u32::MAX), "{count}");
        }
    }
}

#[test]
fn what_cannot_be_done_is_refused_in_one_line() {
    for stage in stages() {
        let buffer = stage.buffer(100, wgpu::BufferUsages::STORAGE);
        let small = stage.buffer(99, wgpu::BufferUsages::STORAGE);
        let mut encoder = stage.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        for order in [0, 17] {
            let refusal = stage.curve.d2xy(&mut encoder, order, &buffer, &small, 1).unwrap_err();
            assert_eq!(refusal, GpuCurveError::Order(order));
        }
        let refusal = stage.curve.xy2d(&mut encoder, 8, &buffer, &small, 100).unwrap_err();
        assert_eq!(refusal, GpuCurveError::Buffer { count: 100, size: 396 });
        assert!(!refusal.to_string().contains('\n'));
    }
}
