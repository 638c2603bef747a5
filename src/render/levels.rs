//! Densities as the shaders have them: whole numbers of 65536ths, two a word.
//!
//! All that any stage reads of a density is this number: the colour of a cell is its upper byte, or on the
//! logarithmic scale its octave and the five bits below, which a share of 2^-8 and more has; so nothing is
//! seen of what is cut off.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{Builder, available_parallelism};

use wgpu::WriteOnly;

/// What of a share is left: floor(65536 · v), 65535 for 1 and above, 0 below 0 and for what is no number.
///
/// The loop over it is one of vectors only as it stands: a conversion that saturates, as of `as`, takes three
/// times as long.
pub(super) fn level(share: f32) -> u16 {
    /// Numbers from here on are whole, and their lowest bits are the number.
    const WHOLE: f32 = 8_388_608.0;
    let above = share * 65536.0;
    let above = if above > 0.0 { above } else { 0.0 };
    let within = if above < 65535.0 { above } else { 65535.0 };
    let nearest = within + WHOLE;
    let rounded_up = u32::from(nearest - WHOLE > within);
    nearest.to_bits().wrapping_sub(rounded_up) as u16
}

/// Bytes that are made in one go, in memory of the processor's own: what they go to may be slow to write
/// piecemeal.
const BLOCK: usize = 1 << 13;
/// The same where runs are short.
const SHORT: usize = 1 << 7;
/// Cells that a thread needs so that starting it pays.
const MANY: usize = 1 << 18;
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
    let bytes: usize = jobs.iter().map(|job| job.into.len()).sum();
    let in_blocks = |size: usize| jobs.iter().all(|job| job.into.len().is_multiple_of(size));
    if bytes < 4 * MANY {
        jobs.into_iter().for_each(write_job);
    } else if in_blocks(BLOCK) {
        write_blocks::<BLOCK>(jobs);
    } else if in_blocks(SHORT) {
        write_blocks::<SHORT>(jobs);
    } else {
        jobs.into_iter().for_each(write_job);
    }
}

/// Only places of a size that is known may go to another thread.
fn write_blocks<const SIZE: usize>(jobs: Vec<Job<'_>>) {
    let bytes: usize = jobs.iter().map(|job| job.into.len()).sum();
    let jobs = jobs.into_iter().map(|Job { cells, into }| {
        (cells, into.into_chunks::<SIZE>().0.into_iter().collect::<Vec<WriteOnly<'_, [u8; SIZE]>>>())
    });
    in_parallel(bytes / 2, jobs.collect(), |(cells, blocks)| {
        let mut levels = Levels(&cells, 0);
        let mut block = [0u16; BLOCK / 2];
        for into in blocks {
            let block = &mut block[..SIZE / 2];
            levels.take(block);
            WriteOnly::<[u8]>::from(into).copy_from_slice(bytemuck::cast_slice(block));
        }
    });
}

fn write_job(Job { cells, mut into }: Job<'_>) {
    let mut levels = Levels(&cells, 0);
    let mut block = [0u16; BLOCK / 2];
    while !into.is_empty() {
        let block = &mut block[..(into.len() / 2).min(BLOCK / 2)];
        let Some(mut place) = into.split_off(..2 * block.len()) else { return };
        levels.take(block);
        place.copy_from_slice(bytemuck::cast_slice(block));
    }
}

/// The levels of runs of cells, one after another.
struct Levels<'a>(&'a [&'a [f32]], usize);

impl Levels<'_> {
    /// The next ones, as many as there is room for.
    fn take(&mut self, mut room: &mut [u16]) {
        let Levels(runs, begun) = self;
        while let Some(run) = runs.first().filter(|_| !room.is_empty()) {
            let rest = &run[*begun..];
            let count = rest.len().min(room.len());
            let (now, later) = room.split_at_mut(count);
            for (level_of, share) in now.iter_mut().zip(rest) {
                *level_of = level(*share);
            }
            room = later;
            (*begun, *runs) = if count == rest.len() { (0, &runs[1..]) } else { (*begun + count, *runs) };
        }
    }
}

/// How many threads can run at a time; asked for once, since the answer is in half a dozen files of control
/// groups.
fn processors() -> usize {
    static PROCESSORS: OnceLock<usize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| available_parallelism().map_or(1, usize::from))
}

/// Does `work` with all of `parts`, of so many cells together; returns when all of it is done.
pub(super) fn in_parallel<T: Send>(cells: usize, parts: Vec<T>, work: impl Fn(T) + Sync) {
    let most = MOST_THREADS.min(cells / MANY).min(parts.len());
    let threads = if most < 2 { 1 } else { processors().min(most) };
    if threads < 2 {
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
            let share = f32::from(whole) / 65536.0;
            assert_eq!(level(share), whole);
            let below = f32::from_bits(share.to_bits().saturating_sub(1));
            assert_eq!(level(below), whole.saturating_sub(1));
            assert_eq!(level((f32::from(whole) + 0.5) / 65536.0), whole);
        }
    }

    #[test]
    fn runs_lie_one_after_another() {
        // On one thread, on several in large blocks and in short ones, and what fits neither.
        for (gap, rest) in [(10, 5), (0, 0), (64, 0), (64, 3)] {
            let count = if (gap, rest) == (10, 5) { 3 * BLOCK + rest } else { 4 * MANY + rest };
            let cells: Vec<f32> = (0..count).map(|cell| (cell % 65_521) as f32 / 65536.0).collect();
            let mut into = vec![0u8; 2 * (cells.len() - gap)];
            let half = cells.len() / 2;
            let (first, second) = into.split_at_mut(2 * half);
            let one = Job { cells: vec![&cells[..7], &cells[7..half]], into: WriteOnly::from(first) };
            let two = Job { cells: vec![&cells[half + gap..]], into: WriteOnly::from(second) };
            write(vec![one, two]);
            let levels = into.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]]));
            let expected = (0..half).chain(half + gap..count).map(|cell| (cell % 65_521) as u16);
            assert!(levels.eq(expected), "gap {gap}, rest {rest}");
        }
    }

    #[test]
    fn every_part_is_worked_on_once() {
        for cells in [0, 8 * MANY] {
            let sum = AtomicUsize::new(0);
            in_parallel(cells, (1..=100).collect(), |part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 5050);
        }
    }
}
