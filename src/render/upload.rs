//! What is on the GPU already, so that only what is new goes there.

use std::any::Any;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use super::Gpu;
use super::import::hand_over;
use super::shared_map::SharedMap;
use crate::sensing::DensityMap;

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
    /// The same, where the CPU can write into it.
    shared: Option<SharedMap>,
    /// Held so that its address means this data and no later one.
    of: Arc<dyn Any + Send + Sync>,
}

/// The buffers of a device's stages, and what is in them.
pub(super) struct Uploads {
    gpu: Gpu,
    held: HashMap<Slot, Held>,
    /// Maps have to be copied: there is no memory that the CPU writes and this device reads.
    apart: bool,
    /// Bytes of maps that were copied since the last look.
    copied: u64,
}

impl Uploads {
    pub(super) fn new(gpu: &Gpu) -> Uploads {
        Uploads { gpu: gpu.clone(), held: HashMap::new(), apart: false, copied: 0 }
    }

    /// Whether the last uploads have arrived is not known: everything goes there again.
    pub(super) fn forget(&mut self) {
        self.held.clear();
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
        let buffer = self.room(slot, size);
        self.gpu.queue.write_buffer(&buffer, 0, &bytes);
        self.hold(slot, buffer, None, data)
    }

    /// As [`Self::put`] for a map; where one of that size is there, only the rows that differ go. They are written where the GPU
    /// reads them, if it can, and otherwise copied.
    pub(super) fn map(&mut self, slot: Slot, map: &Arc<DensityMap>) -> wgpu::Buffer {
        let old = self.held.get(&slot).and_then(|held| Arc::clone(&held.of).downcast::<DensityMap>().ok());
        if let (Some(old), Some(held)) = (&old, self.held.get(&slot))
            && Arc::ptr_eq(old, map)
        {
            return held.buffer.clone();
        }
        let size = (map.len() * size_of::<f32>()) as u64;
        let (values, width) = (in_rows(map), map.ncols());
        let changed = match old {
            Some(old) => changed_rows(&old, map),
            None => every_row(map),
        };
        let parts = || {
            let part = |rows: &Range<usize>| {
                let part = &values[rows.start * width..rows.end * width];
                (rows.start * width * size_of::<f32>(), bytemuck::cast_slice(part))
            };
            changed.iter().map(part)
        };
        if let Some(mut shared) = self.shared_room(slot, size) {
            match shared.write(parts()) {
                Ok(()) => return self.hold(slot, shared.buffer().clone(), Some(shared), map),
                Err(error) => self.keep_apart(&error),
            }
            // Nothing of the map is in the buffer that takes its place.
            self.held.remove(&slot);
            return self.map(slot, map);
        }
        let buffer = self.room(slot, size);
        for (offset, part) in parts() {
            self.copied += part.len() as u64;
            self.gpu.queue.write_buffer(&buffer, offset as u64, part);
        }
        self.hold(slot, buffer, None, map)
    }

    /// The slot's shared memory, if it has that size, or new memory; none where there is no such thing.
    fn shared_room(&mut self, slot: Slot, size: u64) -> Option<SharedMap> {
        if let Some(held) = self.held.get_mut(&slot).filter(|held| held.buffer.size() == size) {
            return held.shared.take();
        }
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
        self.held.values().filter_map(|held| held.shared.as_ref())
    }

    /// What must come before a frame so that the GPU sees what the CPU has written, or after it so that the CPU may write again.
    pub(super) fn handed_over(&self, outwards: bool) -> Vec<wgpu::CommandBuffer> {
        self.shared().filter_map(|shared| hand_over(&self.gpu, shared.buffer(), outwards)).collect()
    }

    /// Bytes of maps that were copied since this was asked last.
    pub(super) fn take_copied(&mut self) -> u64 {
        std::mem::take(&mut self.copied)
    }

    fn hold<T: Any + Send + Sync>(
        &mut self,
        slot: Slot,
        buffer: wgpu::Buffer,
        shared: Option<SharedMap>,
        data: &Arc<T>,
    ) -> wgpu::Buffer {
        let of: Arc<dyn Any + Send + Sync> = Arc::clone(data) as _;
        self.held.insert(slot, Held { buffer: buffer.clone(), shared, of });
        buffer
    }

    /// The slot's buffer, if it has that size.
    fn room(&mut self, slot: Slot, size: u64) -> wgpu::Buffer {
        match self.held.get(&slot) {
            Some(held) if held.buffer.size() == size => held.buffer.clone(),
            _ => storage(&self.gpu, "upload", size),
        }
    }
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

/// A map's values row after row; it may have come here transposed or otherwise out of row order.
pub(super) fn in_rows(map: &DensityMap) -> Cow<'_, [f32]> {
    match map.as_slice() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(map.iter().copied().collect()),
    }
}

fn every_row(map: &DensityMap) -> Vec<Range<usize>> {
    std::iter::once(0..map.nrows()).collect()
}

/// The rows in which two maps differ, as few ranges as that takes; all rows when they are not of one size. Bits are
/// compared: a NaN is the same as itself.
pub(super) fn changed_rows(old: &DensityMap, new: &DensityMap) -> Vec<Range<usize>> {
    let columns = new.ncols();
    if old.dim() != new.dim() || columns == 0 {
        return every_row(new);
    }
    let (old, new) = (in_rows(old), in_rows(new));
    let mut changed: Vec<Range<usize>> = Vec::new();
    for (row, (a, b)) in old.chunks_exact(columns).zip(new.chunks_exact(columns)).enumerate() {
        if bytemuck::cast_slice::<f32, u8>(a) == bytemuck::cast_slice::<f32, u8>(b) {
            continue;
        }
        match changed.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => changed.push(row..row + 1),
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_that_differ_are_found() {
        let old = DensityMap::from_shape_fn((8, 8), |(y, x)| (y * 8 + x) as f32);
        assert!(changed_rows(&old, &old.clone()).is_empty());
        let mut new = old.clone();
        for (y, x) in [(0, 7), (3, 0), (4, 4), (7, 1)] {
            new[[y, x]] = f32::NAN;
        }
        assert_eq!(changed_rows(&old, &new), [0..1, 3..5, 7..8]);
        assert!(changed_rows(&new, &new.clone()).is_empty(), "a NaN is itself");
        assert_eq!(changed_rows(&old, &DensityMap::zeros((4, 4))), vec![0..4]);
        // The same numbers, column after column in memory.
        let turned = old.t().as_standard_layout().into_owned().reversed_axes();
        assert!(!turned.is_standard_layout() && changed_rows(&old, &turned).is_empty());
    }
}
