//! What the targets do.

use std::io::{BufRead, Write};

use nix::libc;

/// Runs before `main`: plays the target if this process was started as one.
#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = {
    extern "C" fn before_main() {
        if let Ok(role) = std::env::var(super::ROLE) {
            // A target must not outlive its test.
            // SAFETY: numbers only.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            play(&role);
            std::process::exit(0);
        }
    }
    before_main
};

fn play(role: &str) {
    let (name, argument) = role.split_once(' ').unwrap_or((role, ""));
    match name {
        "obey" => obey(),
        "sum" => sum(argument.parse().expect("a number of threads")),
        "blocked" => super::super::blocked(argument),
        _ => panic!("no such role: {role}"),
    }
}

pub fn ready() {
    say("ready");
}

pub fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// Does what it is told, one command a line, and answers each with a number.
fn obey() {
    ready();
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("the test writes text");
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default().to_owned();
        let n: Vec<u64> = words.map(|word| word.parse().expect("a number")).collect();
        // SAFETY: the test asks for what it has mapped before; that is what the tests are about.
        let answer = unsafe { act(&command, &n) };
        say(&answer.to_string());
    }
}

/// Every `step`th page of a range.
fn each(start: u64, count: u64, step: u64) -> impl Iterator<Item = *mut u64> {
    (0..count).map(move |page| (start + page * step * super::PAGE) as *mut u64)
}

unsafe fn act(command: &str, n: &[u64]) -> u64 {
    let anonymous = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let rw = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: see the caller.
    unsafe {
        match (command, n) {
            ("mmap", &[length]) => {
                libc::mmap(std::ptr::null_mut(), length as usize, rw, anonymous, -1, 0) as u64
            }
            ("mmap-at", &[at, length]) => {
                libc::mmap(at as *mut _, length as usize, rw, anonymous | libc::MAP_FIXED, -1, 0) as u64
            }
            ("mmap-shared", &[length]) => {
                let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
                libc::mmap(std::ptr::null_mut(), length as usize, rw, shared, -1, 0) as u64
            }
            ("mmap-self", &[length]) => {
                let file = libc::open(c"/proc/self/exe".as_ptr(), libc::O_RDONLY);
                libc::mmap(std::ptr::null_mut(), length as usize, rw, libc::MAP_PRIVATE, file, 0) as u64
            }
            ("write", &[start, count, step]) => {
                each(start, count, step).for_each(|page| page.write_volatile(page.read_volatile() + 1));
                0
            }
            ("read", &[start, count, step]) => {
                each(start, count, step).map(|page| page.read_volatile()).sum()
            }
            ("fill", &[start, count]) => {
                // As the kernel writes on a process' behalf: read(2) into the page.
                let zero = libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY);
                let done = libc::read(zero, start as *mut _, (count * super::PAGE) as usize);
                libc::close(zero);
                done as u64
            }
            ("munmap", &[start, length]) => libc::munmap(start as *mut _, length as usize) as u64,
            ("mremap", &[start, old, new]) => {
                libc::mremap(start as *mut _, old as usize, new as usize, libc::MREMAP_MAYMOVE) as u64
            }
            ("move", &[start, length, to]) => libc::mremap(
                start as *mut _,
                length as usize,
                length as usize,
                libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED,
                to,
            ) as u64,
            ("dontneed", &[start, length]) => {
                libc::madvise(start as *mut _, length as usize, libc::MADV_DONTNEED) as u64
            }
            ("huge", &[start, length]) => {
                libc::madvise(start as *mut _, length as usize, libc::MADV_HUGEPAGE) as u64
            }
            ("small", &[start, length]) => {
                libc::madvise(start as *mut _, length as usize, libc::MADV_NOHUGEPAGE) as u64
            }
            ("brk", &[grow]) => libc::sbrk(grow as isize) as u64,
            ("fork", &[]) => match libc::fork() {
                // The child obeys its own orders only: it writes nothing and waits to be killed.
                0 => loop {
                    libc::pause();
                },
                child => child as u64,
            },
            ("reap", &[child]) => {
                libc::kill(child as i32, libc::SIGKILL);
                libc::waitpid(child as i32, std::ptr::null_mut(), 0) as u64
            }
            ("exec", &[]) => {
                let sleep = [c"sleep".as_ptr(), c"60".as_ptr(), std::ptr::null()];
                libc::execvp(sleep[0], sleep.as_ptr()) as u64
            }
            ("exit", &[]) => libc::_exit(3),
            _ => panic!("no such command: {command} {n:?}"),
        }
    }
}

/// What `sum` must say after so many rounds: each round adds the round's number to every word of a block.
pub fn expected_sum(rounds: u64) -> u64 {
    (0..BLOCK as u64)
        .map(|word| word.wrapping_mul(rounds).wrapping_add(rounds * (rounds + 1) / 2))
        .fold(0, u64::wrapping_add)
}

/// Words of the block that `sum` works on: 4 MiB.
pub const BLOCK: usize = 512 << 10;

/// Threads that go over a block of memory again and again and check it; a line with a number of rounds asks how it
/// stands.
fn sum(threads: usize) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static ROUNDS: AtomicU64 = AtomicU64::new(0);
    static WRONG: AtomicU64 = AtomicU64::new(0);
    let work = || {
        let mut block = vec![0u64; BLOCK / 8];
        let mut rounds = 0u64;
        loop {
            rounds += 1;
            for (index, word) in block.iter_mut().enumerate() {
                *word = word.wrapping_add(rounds ^ index as u64);
            }
            let expected = (1..=rounds).fold(0u64, |sum, round| sum.wrapping_add(round ^ 77));
            if rounds < 64 && block.get(77) != Some(&expected) {
                WRONG.fetch_add(1, Ordering::Relaxed);
            }
            if rounds == 64 {
                block.fill(0);
                rounds = 0;
            }
            ROUNDS.fetch_add(1, Ordering::Relaxed);
            // Blocked as often as running.
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
    };
    for _ in 1..threads {
        std::thread::spawn(work);
    }
    std::thread::spawn(work);
    ready();
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            break;
        }
        say(&format!("{} {}", ROUNDS.load(Ordering::Relaxed), WRONG.load(Ordering::Relaxed)));
    }
}
