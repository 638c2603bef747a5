//! Targets that do a fixed amount of work, for the benchmarks: `load NAME MIB AMOUNT`, once for every line that comes in.

use std::io::BufRead;
use std::sync::Barrier;

use super::programs;

const PAGE: usize = 4096;

/// xorshift64* (Vigna 2016): any scatter will do.
fn next(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11
}

/// Memory in small pages, all of it written.
pub fn memory(mib: usize) -> &'static mut [u64] {
    let length = mib << 20;
    // SAFETY: new memory at an address of the kernel's choice, never given back.
    unsafe {
        let flags = nix::libc::MAP_PRIVATE | nix::libc::MAP_ANONYMOUS;
        let start = nix::libc::mmap(std::ptr::null_mut(), length, 3, flags, -1, 0);
        assert_ne!(start, nix::libc::MAP_FAILED);
        nix::libc::madvise(start, length, nix::libc::MADV_NOHUGEPAGE);
        let words = std::slice::from_raw_parts_mut(start.cast::<u64>(), length / 8);
        words.iter_mut().step_by(PAGE / 8).for_each(|word| *word = 1);
        words
    }
}

pub fn load(argument: &str) {
    let mut words = argument.split(' ');
    let name = words.next().expect("a name");
    let number = |word: Option<&str>| -> usize { word.expect("a number").parse().expect("a number") };
    let (mib, amount) = (number(words.next()), number(words.next()));
    let memory = memory(mib);
    let ranks = zipf(if name == "zipf" { memory.len() * 8 / PAGE } else { 0 });
    let mut state = 88_172_645_463_325_252;
    programs::ready();
    programs::say(&(memory.as_ptr() as u64).to_string());
    for line in std::io::stdin().lock().lines() {
        line.expect("text");
        match name {
            // Random read-modify-writes of eight bytes, as a hash table does.
            "rmw" => (0..amount).for_each(|_| {
                let at = next(&mut state) as usize % (memory.len() / 8) * 8;
                memory[at] = memory[at].wrapping_mul(3).wrapping_add(1);
            }),
            "zipf" => (0..amount).for_each(|turn| {
                let draw =
                    next(&mut state) as f64 / (1u64 << 53) as f64 * ranks.0.last().copied().unwrap_or(1.0);
                let rank = ranks.0.partition_point(|sum| *sum < draw).min(ranks.1.len() - 1);
                let at = ranks.1[rank] * (PAGE / 8) + turn % 512;
                memory[at] = memory[at].wrapping_add(1);
            }),
            "stencil" => stencil(memory, amount),
            // Every page once, in order.
            "sweep" => {
                (0..amount).for_each(|_| memory.iter_mut().step_by(PAGE / 8).for_each(|word| *word += 1));
            }
            "idle" => std::thread::sleep(std::time::Duration::from_millis(amount as u64)),
            _ => panic!("no such load: {name}"),
        }
        programs::say("done");
    }
}

/// The sums of 1/rank^0.99, and a page for each rank.
fn zipf(pages: usize) -> (Vec<f64>, Vec<usize>) {
    let mut sum = 0.0;
    let sums = (1..=pages)
        .map(|rank| {
            sum += (rank as f64).powf(-0.99);
            sum
        })
        .collect();
    let mut order: Vec<usize> = (0..pages).collect();
    let mut state = 7;
    for at in (1..pages).rev() {
        order.swap(at, next(&mut state) as usize % (at + 1));
    }
    (sums, order)
}

/// Four threads average their neighbours, row by row, from one half of the memory into the other and back.
fn stencil(memory: &mut [u64], sweeps: usize) {
    const THREADS: usize = 4;
    let half = memory.len() / 2;
    let side = (half as f64).sqrt() as usize;
    let start = memory.as_mut_ptr() as usize;
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let barrier = &barrier;
            scope.spawn(move || {
                let rows = 1 + (side - 2) * thread / THREADS..1 + (side - 2) * (thread + 1) / THREADS;
                for sweep in 0..sweeps {
                    let (from, to) = if sweep % 2 == 0 { (0, half) } else { (half, 0) };
                    // SAFETY: the threads write to rows of their own of the one half, and read the other, which nobody writes.
                    unsafe {
                        let (from, to) = ((start as *const f64).add(from), (start as *mut f64).add(to));
                        for row in rows.clone() {
                            for column in 1..side - 1 {
                                let at = row * side + column;
                                let around = *from.add(at - side)
                                    + *from.add(at + side)
                                    + *from.add(at - 1)
                                    + *from.add(at + 1);
                                *to.add(at) = 0.25 * around;
                            }
                        }
                    }
                    barrier.wait();
                }
            });
        }
    });
}
