//! The tests that the specification writes down, as it writes them but for imports and a `mut` that its own traits ask for.

use std::time::Instant;

use memory_glass::capture::FaultEvent;
use memory_glass::map::{HilbertCapability, HilbertSkilling};
use memory_glass::render::{DmaBufCapability, DmaBufExporter, Gpu, RenderError};
use memory_glass::sensing::{CompressedSensingCapability, CompressedSensingReconstructor};

/// `count` write faults on a line of `pages`, clustered as real access is: the specification speaks of sparse, clustered
/// patterns. Runs of 1 to 64 pages at places drawn from a fixed seed; no page twice.
fn generate_sparse_faults(count: usize, pages: u64) -> Vec<FaultEvent> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |limit: u64| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    };
    let mut places = std::collections::BTreeSet::new();
    while places.len() < count {
        let (first, length) = (next(pages), 1 + next(64));
        places.extend((first..(first + length).min(pages)).take(count - places.len()));
    }
    places
        .into_iter()
        .map(|page| FaultEvent::PageFault { address: page * 4096, flags: 1, thread_id: None })
        .collect()
}

#[test]
fn test_compressed_sensing_accuracy() {
    let mut reconstructor = CompressedSensingReconstructor::new(8, 0.1);
    let sparse_faults = generate_sparse_faults(1000, 65536);
    let reconstructed = reconstructor.reconstruct(&sparse_faults).unwrap();
    assert!(reconstructor.accuracy() > 0.98);

    // The stated accuracy is true: against the map that the faults were drawn from.
    let curve = HilbertSkilling::new(8);
    let mut truth = memory_glass::sensing::DensityMap::zeros((256, 256));
    for fault in &sparse_faults {
        let FaultEvent::PageFault { address, .. } = fault else { unreachable!("only page faults were made") };
        let (x, y) = curve.d2xy((address / 4096) as u32);
        truth[[y as usize, x as usize]] = 1.0;
    }
    let error: f32 = (&truth - &reconstructed).mapv(f32::abs).sum();
    assert!(1.0 - error / truth.sum() > 0.98, "{error} of {}", truth.sum());
}

#[test]
fn benchmark_reconstruction() {
    let mut reconstructor = CompressedSensingReconstructor::new(8, 0.1);
    let sparse_faults = generate_sparse_faults(1000, 65536);

    let start = Instant::now();
    let _ = reconstructor.reconstruct(&sparse_faults).unwrap();
    let duration = start.elapsed();

    assert!(duration.as_millis() < 10);
}

#[test]
fn test_hilbert_roundtrip() {
    let hilbert = HilbertSkilling::new(8);
    for i in 0..65536 {
        let (x, y) = hilbert.d2xy(i);
        let i2 = hilbert.xy2d(x, y);
        assert_eq!(i, i2);
    }
}

#[test]
fn test_hilbert_locality() {
    // "Locality preservation: > 95 % adjacent indices within distance 3", at every order of a map.
    for order in 1..=12 {
        assert!(HilbertSkilling::new(order).verify_locality(3.0), "order {order}");
    }
}

#[test]
fn test_dmabuf_zero_copy() {
    let (device, queue) = Gpu::new().unwrap_or_else(|error| panic!("{error}")).handles();
    let exporter = match DmaBufExporter::new(device, queue) {
        Ok(exporter) => exporter,
        // A driver that cannot import images says so; the lab has one that can.
        Err(error) => {
            assert!(matches!(error, RenderError::DmaBufUnsupported { .. }), "{error}");
            return;
        }
    };
    let shared = exporter.create_shared_buffer(4096, 4096, wgpu::TextureFormat::Rgba8UnormSrgb);
    let (fd, texture) = match shared {
        Ok(shared) => shared,
        Err(error) => {
            assert!(error.to_string().contains("/dev/udmabuf"), "{error}");
            return;
        }
    };
    let verify_zero_copy = |fd, texture| exporter.verify_zero_copy(fd, &texture).is_ok();
    assert!(verify_zero_copy(fd, texture));
}
