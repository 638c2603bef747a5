//! Densities as the shaders have them: whole numbers of 65536ths, two a word.
//!
//! All that any stage reads of a density is this number: the colour of a cell is its upper byte, or on the logarithmic scale
//! its octave and the five bits below, which a share of 2^-8 and more has; so nothing is seen of what is cut off.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, available_parallelism};

use wgpu::WriteOnly;

/// What of a share is left: floor(65536 · v), 65535 for 1 and above, 0 below 0 and for what is no number.
pub(super) fn level(share: f32) -> u16 {
    // `max` takes the number where the other is none.
    (share * 65536.0).max(0.0).min(65535.0) as i32 as u16
}

/// Cells that are made levels in one go, in memory of the processor's own: what they go to may be slow to write piecemeal.
const BLOCK: usize = 2048;
/// Cells from which on several threads are quicker than one.
const MANY: usize = 1 << 20;
/// More threads than this find the memory busy.
const MOST_THREADS: usize = 8;

/// Runs of cells that are written one after another into their own place.
pub(super) struct Job<'a> {
    pub(super) cells: Vec<&'a [f32]>,
    /// Two bytes a cell.
    pub(super) into: WriteOnly<'a, [u8]>,
}

/// Does all of it, on several threads where that pays.
pub(super) fn write(jobs: Vec<Job<'_>>) {
    let cells = jobs.iter().map(|job| job.into.len() / 2).sum();
    in_parallel(cells, jobs, write_job);
}

fn write_job(Job { cells, mut into }: Job<'_>) {
    let mut block = [0u16; BLOCK];
    let mut filled = 0;
    let mut flush = |block: &[u16]| {
        if let Some(mut place) = into.split_off(..2 * block.len()) {
            place.copy_from_slice(bytemuck::cast_slice(block));
        }
    };
    for mut run in cells {
        while !run.is_empty() {
            let (now, later) = run.split_at(run.len().min(BLOCK - filled));
            for (level_of, share) in block[filled..].iter_mut().zip(now) {
                *level_of = level(*share);
            }
            (filled, run) = (filled + now.len(), later);
            if filled == BLOCK {
                flush(&block);
                filled = 0;
            }
        }
    }
    flush(&block[..filled]);
}

/// Does `work` with all of `parts`, of so many cells together; returns when all of it is done.
pub(super) fn in_parallel<T: Send>(cells: usize, parts: Vec<T>, work: impl Fn(T) + Sync) {
    let threads = available_parallelism().map_or(1, usize::from).min(MOST_THREADS).min(parts.len());
    if cells < MANY || threads < 2 {
        return parts.into_iter().for_each(work);
    }
    let parts = Mutex::new(parts.into_iter());
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let all = || {
        while let Some(part) = next() {
            work(part);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // A thread that cannot be had leaves the more to the others.
            drop(Builder::new().name("map".into()).spawn_scoped(scope, all));
        }
        all();
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_level_is_a_whole_number_of_65536ths() {
        for (share, expected) in [
            (f32::NAN, 0),
            (f32::NEG_INFINITY, 0),
            (-0.5, 0),
            (-0.0, 0),
            (f32::from_bits(1), 0),
            (1.0 / 65536.0, 1),
            (f32::from_bits((1.0f32 / 65536.0).to_bits() - 1), 0),
            (0.5, 32768),
            (f32::from_bits(1.0f32.to_bits() - 1), 65535),
            (1.0, 65535),
            (1e9, 65535),
            (f32::INFINITY, 65535),
        ] {
            assert_eq!(level(share), expected, "{share}");
        }
        for whole in 0..=u16::MAX {
            assert_eq!(level(f32::from(whole) / 65536.0), whole);
        }
    }

    #[test]
    fn runs_lie_one_after_another() {
        let cells: Vec<f32> = (0..3 * BLOCK + 5).map(|cell| cell as f32 / 65536.0).collect();
        let mut into = vec![0u8; 2 * (cells.len() - 10)];
        write(vec![Job { cells: vec![&cells[..7], &cells[17..]], into: WriteOnly::from(&mut into[..]) }]);
        let levels: Vec<u16> = into.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect();
        let expected: Vec<u16> = (0..7).chain(17..(3 * BLOCK + 5) as u16).collect();
        assert_eq!(levels, expected);
    }

    #[test]
    fn every_part_is_worked_on_once() {
        for cells in [0, MANY] {
            let sum = AtomicUsize::new(0);
            in_parallel(cells, (1..=100).collect(), |part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 5050);
        }
    }
}
