//! Drawing into a dma-buf: only the picture's own pixels change, and nothing is left behind.
//!
//! The memory is a memfd, turned into a dma-buf by /dev/udmabuf. Where that device is missing, a software driver gets the
//! memfd itself: it maps whatever descriptor it is given. A driver that cannot import must say so, which is checked too.
#![allow(unsafe_code)]

mod render;

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use memory_glass::render::{
    ColorPalette, DmaBufCapability, DmaBufExporter, DmaBufPlane, DmaFence, Gpu, MapTarget, Painter,
    RenderError,
};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use render::{assert_same, gpu, picture, program, reference};

/// `struct udmabuf_create` of linux/udmabuf.h.
#[repr(C)]
struct UdmabufCreate {
    memfd: u32,
    flags: u32,
    offset: u64,
    size: u64,
}

mod request {
    //! The one request of /dev/udmabuf.
    #![allow(missing_docs)]
    use super::UdmabufCreate;
    nix::ioctl_write_ptr!(udmabuf_create, b'u', 0x42, UdmabufCreate);
}

/// Memory of whole pages full of 0xa5, to look into, and the descriptor to import.
fn memory(gpu: &Gpu, size: u64) -> Option<(std::fs::File, OwnedFd)> {
    let size = size.next_multiple_of(4096);
    let memfd =
        memfd_create(c"picture", MFdFlags::MFD_ALLOW_SEALING | MFdFlags::MFD_CLOEXEC).expect("a memfd");
    let file = std::fs::File::from(memfd);
    file.set_len(size).expect("its size");
    file.write_all_at(&vec![0xa5; size as usize], 0).expect("its bytes");
    fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).expect("its seal");
    if let Ok(device) = std::fs::File::options().read(true).write(true).open("/dev/udmabuf") {
        let create = UdmabufCreate { memfd: file.as_raw_fd() as u32, flags: 1, offset: 0, size };
        // SAFETY: the argument is the struct that this request takes, and the kernel only reads it.
        let fd =
            unsafe { request::udmabuf_create(device.as_raw_fd(), &raw const create) }.expect("a udmabuf");
        // SAFETY: the request returns a new descriptor, which nobody else owns.
        return Some((file, unsafe { std::os::fd::FromRawFd::from_raw_fd(fd) }));
    }
    if !gpu.describe().software {
        eprintln!("no /dev/udmabuf: nothing to import into {}", gpu.describe().name);
        return None;
    }
    let copy = file.try_clone().expect("a second descriptor");
    Some((file, copy.into()))
}

fn plane(fd: OwnedFd, width: u32, height: u32, stride: u32, offset: u32) -> DmaBufPlane {
    DmaBufPlane { fd, width, height, stride, offset }
}

/// A device that imports, or None after checking that it says that it does not.
fn importing() -> Option<Gpu> {
    let gpu = gpu();
    if gpu.describe().dma_buf_import {
        return Some(gpu);
    }
    let memfd = memfd_create(c"picture", MFdFlags::MFD_CLOEXEC).expect("a memfd");
    let error = MapTarget::import(&gpu, plane(memfd, 64, 64, 256, 0)).err().expect("no import");
    assert!(matches!(error, RenderError::DmaBufUnsupported { .. }), "{error}");
    assert!(error.to_string().contains(&gpu.describe().name));
    eprintln!("{error}");
    None
}

#[test]
fn the_picture_lies_where_the_plane_says_and_nowhere_else() {
    let Some(gpu) = importing() else { return };
    let mut painter = Painter::new(&gpu).expect("the stage");
    for (width, height, stride, offset) in
        [(320, 240, 1280, 0), (300, 200, 1536, 0), (64, 100, 512, 8192), (33, 17, 132, 4)]
    {
        let Some((file, fd)) = memory(&gpu, u64::from(offset + stride * height)) else { return };
        let mut target =
            MapTarget::import(&gpu, plane(fd, width, height, stride, offset)).expect("an import");
        for palette in [ColorPalette::Viridis, ColorPalette::Inferno] {
            let picture = picture(program(6), palette);
            let expected = reference(&picture, width, height);
            let metrics = painter.draw(&picture, &mut target).expect("a frame");
            assert!(metrics.zero_copy);
            // Looked at from outside as soon as `draw` returns, as the display controller does.
            let mut bytes = vec![0; file.metadata().expect("its size").len() as usize];
            file.read_exact_at(&mut bytes, 0).expect("its bytes");
            let mut pixels = expected.pixels.iter();
            for (at, word) in bytes.chunks_exact(4).enumerate() {
                let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                let row = (at * 4)
                    .checked_sub(offset as usize)
                    .map(|at| (at / stride as usize, at % stride as usize / 4));
                match row {
                    Some((y, x)) if y < height as usize && x < width as usize => {
                        assert_eq!(Some(&word), pixels.next(), "({x}, {y}) of {width}×{height}");
                    }
                    _ => assert_eq!(word, 0xa5a5_a5a5, "byte {} is not the picture's", at * 4),
                }
            }
            assert_same(&target.read().expect("pixels"), &expected, "read back");
        }
    }
}

#[test]
fn a_buffer_that_does_not_hold_the_picture_is_refused() {
    let Some(gpu) = importing() else { return };
    let odd = [
        (64, 64, 252, 0, "rows"),
        (64, 64, 258, 0, "rows"),
        (64, 64, 256, 2, "rows"),
        (64, 64, 256, 4, "bytes"),
        (64, 65, 256, 0, "bytes"),
        (64, 64, 0, 0, "rows"),
        (64, 64, 0xffff_fffc, 0, "pixels"),
    ];
    for (width, height, stride, offset, word) in odd {
        let Some((_file, fd)) = memory(&gpu, 64 * 256) else { return };
        let plane = plane(fd, width, height, stride, offset);
        let words = MapTarget::import(&gpu, plane).err().expect("no import").to_string();
        assert!(words.contains(word) && !words.contains('\n'), "{words}");
    }
}

#[test]
fn nothing_is_left_behind() {
    let Some(gpu) = importing() else { return };
    let mut painter = Painter::new(&gpu).expect("the stage");
    let picture = picture(program(5), ColorPalette::Viridis);
    // Names of what is open and mapped: a descriptor or a mapping of a picture's memory would show.
    let left = |name: &str| {
        let mapped = std::fs::read_to_string("/proc/self/maps")
            .expect("maps")
            .lines()
            .filter(|l| l.contains(name))
            .count();
        let open = std::fs::read_dir("/proc/self/fd")
            .expect("descriptors")
            .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
            .filter(|link| link.to_string_lossy().contains(name))
            .count();
        (open, mapped)
    };
    // The painter's own memory, in which the CPU leaves the map.
    let mut last = MapTarget::offscreen(&gpu, 64, 64).expect("a target");
    painter.draw(&picture, &mut last).expect("a frame");
    let own = left("/dmabuf:");
    assert_eq!(own.0 > 0, !painter.shared_maps().is_empty(), "{own:?}");
    let mut work = || {
        for round in 0..20 {
            let (file, fd) = memory(&gpu, 256 * 256 * 4)?;
            // Every third is refused.
            let height = if round % 3 == 0 { 257 } else { 256 };
            let target = MapTarget::import(&gpu, plane(fd, 256, height, 1024, 0));
            assert_eq!(target.is_ok(), round % 3 != 0);
            if let Ok(mut target) = target {
                painter.draw(&picture, &mut target).expect("a frame");
            }
            drop(file);
        }
        // wgpu releases what it holds when it next looks.
        let mut last = MapTarget::offscreen(&gpu, 64, 64).expect("a target");
        painter.draw(&picture, &mut last).expect("a frame");
        Some(["memfd:picture", "/dmabuf:"].map(left))
    };
    // lavapipe keeps one dma-buf of its own for as long as the device lives.
    let Some(once) = work() else { return };
    let [(memfds, memfds_mapped), (open, mapped)] = once;
    assert_eq!((memfds, memfds_mapped), (0, 0));
    assert!(open <= own.0 + 1 && mapped <= own.1, "{once:?}, and the painter's own are {own:?}");
    assert_eq!(work(), Some(once));
}

/// How many mappings of this dma-buf the process has.
fn mappings(inode: u64) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let is_it = |line: &&str| {
        line.contains("/dmabuf") && line.split_ascii_whitespace().nth(4) == Some(&inode.to_string())
    };
    maps.lines().filter(is_it).count()
}

#[test]
fn a_map_is_written_where_the_gpu_reads_it() {
    let Some(gpu) = importing() else { return };
    let mut painter = Painter::new(&gpu).expect("the stage");
    let mut target = MapTarget::offscreen(&gpu, 300, 200).expect("a target");
    let possible = std::path::Path::new("/dev/udmabuf").exists();
    let mut density = program(6);
    let mut known = Vec::new();
    for round in 0..5usize {
        let picture = picture(density.clone(), ColorPalette::Viridis);
        let metrics = painter.draw(&picture, &mut target).expect("a frame");
        // What the CPU has written is what the GPU has drawn.
        let expected = reference(&picture, 300, 200);
        assert_same(&target.read().expect("pixels"), &expected, &format!("round {round}"));
        let shared = painter.shared_maps();
        println!("round {round}: {} bytes copied, {:.3} ms", metrics.copied, metrics.frame_time_ms);
        if !possible {
            assert!(shared.is_empty() && metrics.copied > 0, "{shared:?}: {metrics:?}");
            eprintln!("no /dev/udmabuf: maps are copied");
        } else {
            assert_eq!((shared.len(), metrics.copied), (1, 0), "{metrics:?}");
            // One memory all the time: ours, and where the driver is a program, its own view of it.
            known.extend(&shared);
            assert!(known.iter().all(|inode| *inode == known[0]), "{known:?}");
            assert!(mappings(known[0]) > usize::from(gpu.describe().software), "{known:?}");
        }
        // Some rows change, and in the end all of them.
        let rows = if round == 3 { 0..64 } else { round * 8..round * 8 + 3 };
        density.slice_mut(ndarray::s![rows, ..]).mapv_inplace(|value| 1.0 - value);
    }
    drop(painter);
    assert!(known.iter().all(|inode| mappings(*inode) == 0), "it is left behind");
}

/// An exporter, or None after checking that what is missing is said.
fn exporting() -> Option<DmaBufExporter> {
    let (device, queue) = gpu().handles();
    match DmaBufExporter::new(device, queue) {
        Ok(exporter) => Some(exporter),
        Err(error) => {
            assert!(matches!(error, RenderError::DmaBufUnsupported { .. }), "{error}");
            eprintln!("{error}");
            None
        }
    }
}

#[test]
fn what_the_cpu_writes_the_gpu_sees_and_the_other_way_round() {
    let Some(exporter) = exporting() else { return };
    for (width, height, format) in [
        (64, 64, wgpu::TextureFormat::Rgba8Unorm),
        (1023, 517, wgpu::TextureFormat::Rgba8UnormSrgb),
        (300, 200, wgpu::TextureFormat::Bgra8Unorm),
    ] {
        let begun = std::time::Instant::now();
        let (fd, texture) = match exporter.create_shared_buffer(width, height, format) {
            Ok(shared) => shared,
            Err(error @ RenderError::SharedBuffer { .. }) => {
                // Neither /dev/udmabuf nor a card.
                assert!(error.to_string().contains("udmabuf"), "{error}");
                eprintln!("{error}");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let allocated = begun.elapsed();
        let proof = exporter.verify_zero_copy(&fd, &texture).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(proof.seen_by_gpu, u64::from(width) * u64::from(height));
        assert_eq!(proof.seen_by_cpu, proof.seen_by_gpu);
        assert!(proof.copied < 100 && proof.size >= proof.seen_by_gpu * 4, "{proof:?}");
        // A driver on the CPU has the pages in its own address space, too.
        assert!(proof.mappings > usize::from(gpu().describe().software), "{proof:?}");
        let fence = DmaFence::of(&fd).expect("its fences");
        let begun = std::time::Instant::now();
        fence.begin_cpu_write().expect("the CPU's turn");
        exporter.signal_cpu_write(&fence).expect("the end of it");
        exporter.sync_before_gpu_read(&fence, 1000).expect("the GPU's turn");
        println!(
            "{width}×{height} {format:?}: allocated in {allocated:?}, synced in {:?}, {proof:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn other_memory_is_no_proof() {
    let Some(exporter) = exporting() else { return };
    let format = wgpu::TextureFormat::Rgba8Unorm;
    let Ok((first, _)) = exporter.create_shared_buffer(64, 64, format) else { return };
    let Ok((_, second)) = exporter.create_shared_buffer(64, 64, format) else { return };
    let error = exporter.verify_zero_copy(&first, &second).expect_err("they are two");
    assert!(error.to_string().contains("does not see"), "{error}");
    let (file, fd) = memory(&gpu(), 64 * 256).expect("memory of another kind");
    drop(file);
    assert!(exporter.verify_zero_copy(&fd, &second).is_err());
    assert!(exporter.create_shared_buffer(64, 64, wgpu::TextureFormat::Rgba16Float).is_err());
}
