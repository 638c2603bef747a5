//! A target that computes and checks itself, and whose progress can be read from outside without asking it.

use std::io::{IoSlice, IoSliceMut};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

use super::{Target, programs};

static ROUNDS: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);

/// More threads than this would leave no processor to the rest of a test, which is one thread.
const CROWD: u32 = 8;

/// How a worker waits between two rounds.
#[derive(Clone, Copy)]
enum Wait {
    Not,
    Sleep,
    Epoll,
}

/// `THREADS WAIT`: so many threads go over memory of their own again and again, and check every word and a
/// sum in floating point.
pub fn work(argument: &str) {
    let (threads, wait) = argument.split_once(' ').expect("two words");
    let wait = match wait {
        "sleep" => Wait::Sleep,
        "epoll" => Wait::Epoll,
        _ => Wait::Not,
    };
    let threads: u32 = threads.parse().expect("a number");
    if threads > CROWD {
        // SAFETY: numbers only.
        let answer = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
        assert_eq!(answer, 0, "behind whoever looks at it");
    }
    for _ in 1..threads {
        std::thread::spawn(move || one_worker(wait));
    }
    programs::ready();
    programs::say(&format!("{} {}", ROUNDS.as_ptr() as u64, WRONG.as_ptr() as u64));
    one_worker(wait);
}

fn one_worker(wait: Wait) {
    const WORDS: u64 = 8192;
    let harmonic = || (1..2000).fold(0.0, |sum, i| sum + 1.0 / f64::from(std::hint::black_box(i)));
    let reference = harmonic();
    // SAFETY: a new epoll descriptor, used by this thread only.
    let epoll = unsafe { libc::epoll_create1(0) };
    loop {
        let mut block: Vec<u64> = vec![0; WORDS as usize];
        for round in 1..=16u64 {
            for (index, word) in (0..).zip(block.iter_mut()) {
                *word = std::hint::black_box(word.wrapping_add(round ^ index));
            }
            let undisturbed = match wait {
                Wait::Not => true,
                Wait::Sleep => {
                    let time = libc::timespec { tv_sec: 0, tv_nsec: 400_000 };
                    // SAFETY: reads the time only.
                    unsafe { libc::nanosleep(&time, std::ptr::null_mut()) == 0 }
                }
                Wait::Epoll => {
                    // SAFETY: all zero is a valid event, written by the kernel.
                    unsafe { libc::epoll_wait(epoll, &mut std::mem::zeroed(), 1, 1) == 0 }
                }
            };
            if !undisturbed || harmonic() != reference {
                WRONG.fetch_add(1, Ordering::Relaxed);
            }
            ROUNDS.fetch_add(1, Ordering::Relaxed);
        }
        let right = |(index, word): (u64, &u64)| *word == (1..=16u64).map(|round| round ^ index).sum::<u64>();
        if !(0..).zip(block.iter()).all(right) {
            WRONG.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A running worker.
pub struct Worker {
    pub target: Target,
    rounds: u64,
    wrong: u64,
}

impl Worker {
    pub fn start(threads: u32, wait: &str) -> Worker {
        let mut target = Target::start(&format!("work {threads} {wait}"));
        let line = target.line();
        let (rounds, wrong) = line.split_once(' ').expect("two addresses");
        let address = |text: &str| text.parse().expect("an address");
        Worker { rounds: address(rounds), wrong: address(wrong), target }
    }

    fn word(&self, address: u64) -> u64 {
        read_word(self.target.pid(), address)
    }

    pub fn rounds(&self) -> u64 {
        self.word(self.rounds)
    }

    /// Everything it has checked so far was right.
    pub fn assert_right(&self) {
        assert_eq!(self.word(self.wrong), 0, "the target has found a wrong result");
    }

    /// It still makes progress: waits (as long as it takes within the test's own limit) for some more rounds.
    pub fn assert_alive(&self) {
        let before = self.rounds();
        let patience = std::time::Instant::now();
        while self.rounds() < before + 2 {
            assert!(patience.elapsed().as_secs() < 20, "the target does not get on");
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }
}

fn read_word(pid: u32, address: u64) -> u64 {
    let mut word = [0; 8];
    let remote = RemoteIoVec { base: address as usize, len: 8 };
    process_vm_readv(Pid::from_raw(pid as i32), &mut [IoSliceMut::new(&mut word)], &[remote])
        .expect("it lives");
    u64::from_ne_bytes(word)
}

static LONGEST: AtomicU64 = AtomicU64::new(0);

/// Reads the clock and nothing else, and keeps the longest time between two readings.
pub fn gaps() {
    programs::ready();
    programs::say(&format!("{}", LONGEST.as_ptr() as u64));
    let mut before = std::time::Instant::now();
    loop {
        let now = std::time::Instant::now();
        LONGEST.fetch_max((now - before).as_nanos() as u64, Ordering::Relaxed);
        before = now;
    }
}

/// Has so many MiB in memory, in small pages, maps a little more again and again, and keeps the longest time
/// that this took.
pub fn maps(mib: &str) {
    const MORE: usize = 64 << 10;
    let length = mib.parse::<usize>().expect("a number") << 20;
    let map = |length| {
        let (rights, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), length, rights, flags, -1, 0) };
        assert_ne!(at, libc::MAP_FAILED);
        at
    };
    let memory = map(length);
    // SAFETY: the mapping is ours, and so long.
    unsafe {
        libc::madvise(memory, length, libc::MADV_NOHUGEPAGE);
        (0..length).step_by(4096).for_each(|at| memory.cast::<u8>().add(at).write_volatile(1));
    }
    programs::ready();
    programs::say(&format!("{}", LONGEST.as_ptr() as u64));
    loop {
        let begun = std::time::Instant::now();
        let more = map(MORE);
        LONGEST.fetch_max(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        // SAFETY: the mapping was made just now, for nothing else.
        unsafe { libc::munmap(more, MORE) };
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

/// A running `gaps` or `maps`.
pub struct Gaps {
    pub target: Target,
    longest: u64,
}

impl Gaps {
    pub fn start() -> Gaps {
        Self::of("gaps")
    }

    pub fn of(role: &str) -> Gaps {
        let mut target = Target::start(role);
        let longest = target.line().parse().expect("an address");
        Gaps { target, longest }
    }

    pub fn longest(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(read_word(self.target.pid(), self.longest))
    }

    pub fn reset(&self) {
        let remote = RemoteIoVec { base: self.longest as usize, len: 8 };
        let pid = Pid::from_raw(self.target.pid() as i32);
        process_vm_writev(pid, &[IoSlice::new(&[0; 8])], &[remote]).expect("it lives");
    }
}
