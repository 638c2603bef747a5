//! What is on the GPU already, so that only what is new goes there.
//!
//! A map is there as levels, two bytes a cell, row after row. Of a map that differs from the one before in
//! few tiles only these go: where the CPU can write what the GPU reads, straight to their places, and
//! otherwise one after another, from where shaders/tiles.wgsl takes them.

use std::any::Any;
use std::collections::HashMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use wgpu::WriteOnly;
use wgpu::util::StagingBelt;

use super::Gpu;
use super::changes::{Changed, Comparisons, Known, in_rows};
use super::import::hand_over;
use super::kernel::{Bind, GROUP, Kernel, module};
use super::levels::{Job, write};
use super::shared_map::SharedMap;

/// What a buffer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Slot {
    Density,
    Before,
    After,
    Lines,
    Ages,
    Writes,
    Boxes,
}

struct Held {
    buffer: wgpu::Buffer,
    /// Held so that its address means this data and no later one.
    of: Arc<dyn Any + Send + Sync>,
}

struct HeldMap {
    buffer: wgpu::Buffer,
    /// The same, where the CPU can write into it.
    shared: Option<SharedMap>,
    /// What is in it.
    of: Known,
}

/// Bytes of a level.
const LEVEL: usize = 2;
/// Smaller maps go as a whole: looking for what of them is new costs more.
const SMALL: usize = 1 << 14;
/// Words before the places of tiles, as shaders/tiles.wgsl has them.
const HEAD: usize = 8;
/// Memory that uploads of tiles share.
const CHUNK: u64 = 1 << 20;

/// The buffers of a device's stages, and what is in them.
pub(super) struct Uploads {
    gpu: Gpu,
    held: HashMap<Slot, Held>,
    maps: HashMap<Slot, HeldMap>,
    comparisons: Comparisons,
    /// From where maps are copied; it is kept, as making it takes longer than copying out of it.
    belt: StagingBelt,
    /// A map of another size has come: what the belt has for the old one is too much.
    resized: bool,
    /// Tiles that have come, before they are in their places.
    come: HashMap<Slot, wgpu::Buffer>,
    place: Kernel,
    /// Maps have to be copied: there is no memory that the CPU writes and this device reads.
    apart: bool,
    /// Bytes of maps that were copied, and that were written at all, since the last look.
    copied: u64,
    written: u64,
}

/// Which of a map's cells have to go to the GPU.
enum New {
    All,
    Tiles(Arc<Changed>),
}

impl Uploads {
    pub(super) fn new(gpu: &Gpu) -> Uploads {
        let tiles = module(gpu, "tiles.wgsl", include_str!("../../shaders/tiles.wgsl"));
        Uploads {
            gpu: gpu.clone(),
            held: HashMap::new(),
            maps: HashMap::new(),
            comparisons: Comparisons::default(),
            belt: StagingBelt::new(gpu.device.clone(), CHUNK),
            resized: false,
            come: HashMap::new(),
            place: Kernel::new(gpu, &tiles, "place", &[Bind::Read, Bind::Write], None),
            apart: false,
            copied: 0,
            written: 0,
        }
    }

    /// Whether the last uploads have arrived is not known: everything goes there again.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.maps.clear();
        self.come.clear();
        self.comparisons.clear();
        self.belt = StagingBelt::new(self.gpu.device.clone(), CHUNK);
    }

    /// What maps differ in, within one frame.
    pub(super) fn comparisons(&mut self) -> &mut Comparisons {
        &mut self.comparisons
    }

    /// The buffer with `data`, as `bytes` makes it; nothing is done when it is there already.
    pub(super) fn put<T: Any + Send + Sync>(
        &mut self,
        slot: Slot,
        data: &Arc<T>,
        bytes: impl FnOnce(&T) -> Vec<u8>,
    ) -> wgpu::Buffer {
        let same = |held: &Held| std::ptr::addr_eq(Arc::as_ptr(&held.of), Arc::as_ptr(data));
        if let Some(held) = self.held.get(&slot).filter(|held| same(held)) {
            return held.buffer.clone();
        }
        let bytes = bytes(data);
        let size = (bytes.len() as u64).next_multiple_of(4).max(8);
        let buffer = match self.held.get(&slot) {
            Some(held) if held.buffer.size() == size => held.buffer.clone(),
            _ => storage(&self.gpu, "upload", size),
        };
        self.gpu.queue.write_buffer(&buffer, 0, &bytes);
        let of: Arc<dyn Any + Send + Sync> = Arc::clone(data) as _;
        self.held.insert(slot, Held { buffer: buffer.clone(), of });
        buffer
    }

    /// As [`Self::put`] for a square map, as levels; only what is new goes. It is written where the GPU reads
    /// it, if it can be, and otherwise copied by what is put down in `encoder`.
    pub(super) fn map(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        slot: Slot,
        map: &Known,
    ) -> wgpu::Buffer {
        self.take_over(slot, map);
        let held = self.maps.remove(&slot);
        let held = match held {
            Some(held) if Arc::ptr_eq(&held.of.map, &map.map) => {
                let buffer = held.buffer.clone();
                self.maps.insert(slot, held);
                return buffer;
            }
            Some(held) if held.of.map.dim() == map.map.dim() => Some(held),
            Some(_) => {
                self.resized = true;
                None
            }
            None => None,
        };
        let cells = map.map.len();
        let new = match &held {
            Some(held) if cells > SMALL => New::Tiles(self.comparisons.between(&held.of, map)),
            _ => New::All,
        };
        let size = (cells * LEVEL) as u64;
        let (buffer, shared) = match held {
            Some(held) => (Some(held.buffer), held.shared),
            None => (None, self.shared_room(size)),
        };
        if let Some(mut shared) = shared {
            let runs = match &new {
                New::All => std::iter::once(0..cells).collect(),
                New::Tiles(changed) => changed.runs(),
            };
            match shared.write_with(|memory| write_runs(&in_rows(&map.map), &runs, memory)) {
                Ok(()) => {
                    self.written += runs.iter().map(|run| (run.len() * LEVEL) as u64).sum::<u64>();
                    let (of, buffer) = (map.clone(), shared.buffer().clone());
                    self.maps.insert(slot, HeldMap { buffer: buffer.clone(), shared: Some(shared), of });
                    return buffer;
                }
                Err(error) => self.keep_apart(&error),
            }
            // Nothing of the map is in the buffer that takes its place.
            return self.map(encoder, slot, map);
        }
        let buffer = buffer.unwrap_or_else(|| storage(&self.gpu, "map", size));
        let arrives = match new {
            New::Tiles(changed) if changed.tiles.len() * 2 < changed.across * changed.across => {
                self.copy_tiles(encoder, slot, &in_rows(&map.map), &changed, &buffer)
            }
            _ => self.copy_all(encoder, &in_rows(&map.map), &buffer),
        };
        if arrives.is_some() {
            self.maps.insert(slot, HeldMap { buffer: buffer.clone(), shared: None, of: map.clone() });
        }
        buffer
    }

    /// A map that moves from one slot to another, as the newest becomes the one before, is there already.
    fn take_over(&mut self, slot: Slot, map: &Known) {
        let is = |held: &HeldMap| Arc::ptr_eq(&held.of.map, &map.map);
        if self.maps.get(&slot).is_some_and(is) {
            return;
        }
        let other = self.maps.iter().find(|(_, held)| is(held)).map(|(other, _)| *other);
        if let Some(other) = other
            && let Some(moved) = self.maps.remove(&other)
            && let Some(old) = self.maps.insert(slot, moved)
        {
            self.maps.insert(other, old);
        }
    }

    /// None where the device has no memory to give, which the frame's end will tell.
    fn copy_all(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        cells: &[f32],
        buffer: &wgpu::Buffer,
    ) -> Option<()> {
        let size = (cells.len() * LEVEL) as u64;
        let from = self.belt.allocate(NonZero::new(size)?, NonZero::new(wgpu::MAP_ALIGNMENT)?);
        let mut room = from.get_mapped_range_mut().ok()?;
        let mut rest = room.slice(..);
        let jobs = cells.chunks(PIECE).filter_map(|cells| {
            let into = rest.split_off(..cells.len() * LEVEL)?;
            Some(Job { cells: vec![cells], into })
        });
        write(jobs.collect());
        encoder.copy_buffer_to_buffer(from.buffer(), from.offset(), buffer, 0, size);
        self.count(size);
        Some(())
    }

    fn copy_tiles(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        slot: Slot,
        cells: &[f32],
        changed: &Changed,
        buffer: &wgpu::Buffer,
    ) -> Option<()> {
        let Changed { step, across, tiles } = changed;
        if tiles.is_empty() {
            return Some(());
        }
        let tile = step * step * LEVEL;
        let (run, first) = (step * LEVEL / 4, HEAD + tiles.len());
        let mut head =
            [run, tile / 4, run * across, *across, tiles.len(), first, 0, 0].map(|word| word as u32).to_vec();
        head.extend(tiles.iter().map(|tile| *tile as u32));
        let size = (4 * first + tile * tiles.len()) as u64;
        let from = self.belt.allocate(NonZero::new(size)?, NonZero::new(wgpu::MAP_ALIGNMENT)?);
        let mut room = from.get_mapped_range_mut().ok()?;
        let mut rest = room.slice(..);
        rest.split_off(..4 * first)?.copy_from_slice(bytemuck::cast_slice(&head));
        let job = |which: &usize| {
            let into = rest.split_off(..tile)?;
            Some(Job { cells: changed.rows_of(*which).map(|run| &cells[run]).collect(), into })
        };
        write(tiles.iter().filter_map(job).collect());
        let come = match self.come.remove(&slot) {
            Some(come) if come.size() >= size => come,
            _ => storage(&self.gpu, "tiles that have come", size.next_power_of_two()),
        };
        encoder.copy_buffer_to_buffer(from.buffer(), from.offset(), &come, 0, size);
        let bound = self.place.bind(&self.gpu, &[&come, buffer]);
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.place.run(&mut pass, &bound, [(tile as u32 / 4).div_ceil(GROUP), tiles.len() as u32, 1]);
        drop(pass);
        self.come.insert(slot, come);
        self.count(size);
        Some(())
    }

    fn count(&mut self, bytes: u64) {
        self.copied += bytes;
        self.written += bytes;
    }

    /// New memory that the CPU writes and the GPU reads; none where there is no such thing.
    fn shared_room(&mut self, size: u64) -> Option<SharedMap> {
        if self.apart {
            return None;
        }
        SharedMap::new(&self.gpu, size).inspect_err(|error| self.keep_apart(error)).ok()
    }

    fn keep_apart(&mut self, reason: &dyn std::fmt::Display) {
        self.apart = true;
        tracing::info!(%reason, "maps are copied to the GPU");
    }

    /// The memory that the CPU writes and the GPU reads.
    pub(super) fn shared(&self) -> impl Iterator<Item = &SharedMap> {
        self.maps.values().filter_map(|held| held.shared.as_ref())
    }

    /// What must come before a frame so that the GPU sees what the CPU has written, or after it so that the CPU may write again.
    pub(super) fn handed_over(&self, outwards: bool) -> Vec<wgpu::CommandBuffer> {
        self.shared().filter_map(|shared| hand_over(&self.gpu, shared.buffer(), outwards)).collect()
    }

    /// All of a frame is put down in `encoder`: what was written for it may be read, and written again when
    /// the GPU is done.
    pub(super) fn end_frame(&mut self, encoder: &wgpu::CommandEncoder) {
        self.comparisons.clear();
        if std::mem::take(&mut self.resized) {
            self.belt.finish();
            self.belt = StagingBelt::new(self.gpu.device.clone(), CHUNK);
            self.come.clear();
        } else {
            self.belt.finish_and_recall_on_submit(encoder);
        }
    }

    /// Bytes of maps that were copied, and bytes that were written for the GPU at all, since this was asked
    /// last.
    pub(super) fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.copied), std::mem::take(&mut self.written))
    }
}

/// Cells that a thread takes at once.
const PIECE: usize = 1 << 16;

/// Writes runs of cells, ascending, to the same places as levels.
fn write_runs(cells: &[f32], runs: &[Range<usize>], memory: &mut [u8]) {
    let mut rest = WriteOnly::from(memory);
    let mut at = 0;
    let mut jobs = Vec::new();
    for run in runs {
        for first in run.clone().step_by(PIECE) {
            let run = first..(first + PIECE).min(run.end);
            let _ = rest.split_off(..(run.start - at) * LEVEL);
            at = run.end;
            if let Some(into) = rest.split_off(..run.len() * LEVEL) {
                jobs.push(Job { cells: vec![&cells[run]], into });
            }
        }
    }
    write(jobs);
}

/// A buffer that shaders read or write, and that can be uploaded to.
pub(super) fn storage(gpu: &Gpu, label: &str, size: u64) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// A buffer for a shader's numbers.
pub(super) fn uniform(gpu: &Gpu, label: &str, size: u64) -> wgpu::Buffer {
    gpu.device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size,
        usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    })
}

/// Numbers for a shader that are often the same in the next frame, and then not written again.
pub(super) struct Numbers {
    buffer: wgpu::Buffer,
    held: Vec<u8>,
}

impl Numbers {
    /// Of a buffer that nobody else writes.
    pub(super) fn new(buffer: wgpu::Buffer) -> Numbers {
        Numbers { buffer, held: Vec::new() }
    }

    /// Has these bytes at its beginning from the next submission on.
    pub(super) fn write(&mut self, gpu: &Gpu, bytes: &[u8]) {
        if self.held != bytes {
            gpu.queue.write_buffer(&self.buffer, 0, bytes);
            self.held = bytes.to_vec();
        }
    }

    /// Whether the last bytes have arrived is not known.
    pub(super) fn forget(&mut self) {
        self.held.clear();
    }

    pub(super) fn buffer(&self) -> &wgpu::Buffer {
        &self.buffer
    }
}
