//! Tens of thousands of mappings of one page each, laid in the ways in which programs have them.

use std::sync::Mutex;

use nix::libc;

use super::PAGE;

/// A way to lay mappings. The obedient target is told its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Laid {
    /// Pages of a file, one beside the other, as a broker has its indices.
    Shared,
    /// Private memory, each page beside one of a file that is only read.
    BesideFiles,
    /// Private memory with a guard before each page, as small stacks are.
    Guarded,
    /// Private memory, each page 256 MiB from the next.
    Apart,
    /// Private and shared in turn.
    Mixed,
}

impl Laid {
    pub const ALL: [Laid; 5] = [Self::Shared, Self::BesideFiles, Self::Guarded, Self::Apart, Self::Mixed];

    /// How many rows of the table each takes.
    pub fn rows(self) -> u64 {
        if matches!(self, Self::BesideFiles | Self::Guarded) { 2 } else { 1 }
    }

    /// From one page to the next.
    pub fn stride(self) -> u64 {
        match self {
            Self::Apart => 256 << 20,
            _ => self.rows() * PAGE,
        }
    }
}

/// Where the first of them is, which way, and the file.
static LAID: Mutex<(u64, Laid, i32)> = Mutex::new((0, Laid::Shared, -1));

/// Lays so many of them, each written once; where the first of them is.
pub fn lay(kind: u64, count: u64) -> u64 {
    let kind = Laid::ALL[kind as usize];
    // SAFETY: new memory, at places that the kernel has given us.
    let (base, file) = unsafe {
        let length = (count * kind.stride()) as usize;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let base = libc::mmap(std::ptr::null_mut(), length, libc::PROT_NONE, flags, -1, 0) as u64;
        let file = libc::memfd_create(c"laid".as_ptr(), 0);
        assert_eq!(libc::ftruncate(file, (2 * count * PAGE) as i64), 0);
        if kind == Laid::Apart {
            libc::munmap(base as *mut _, length);
        }
        (base, file)
    };
    *LAID.lock().expect("one thread") = (base, kind, file);
    for at in 0..count {
        lay_again(at);
    }
    touch(0, count, 1);
    base
}

/// Puts a new mapping in the place of this one.
pub fn lay_again(at: u64) -> u64 {
    let (base, kind, file) = *LAID.lock().expect("one thread");
    let place = base + at * kind.stride();
    let (private, shared) = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, libc::MAP_SHARED);
    let rw = libc::PROT_READ | libc::PROT_WRITE;
    // Each page of the file has one beside it that is not mapped, or the kernel would make one mapping of
    // them.
    let map = |place: u64, rights, flags| {
        let (file, offset) = if flags == shared { (file, (2 * at * PAGE) as i64) } else { (-1, 0) };
        // SAFETY: within what `lay` has reserved.
        let got = unsafe {
            libc::mmap(place as *mut _, PAGE as usize, rights, flags | libc::MAP_FIXED, file, offset)
        };
        assert_eq!(got as u64, place, "{}", std::io::Error::last_os_error());
    };
    match kind {
        Laid::Shared => map(place, rw, shared),
        Laid::BesideFiles => {
            map(place, rw, private);
            map(place + PAGE, libc::PROT_READ, shared);
        }
        Laid::Guarded | Laid::Apart => map(place, rw, private),
        Laid::Mixed => map(place, rw, if at.is_multiple_of(2) { private } else { shared }),
    }
    place
}

/// Unmaps this one.
pub fn take_away(at: u64) -> u64 {
    let (base, kind, _) = *LAID.lock().expect("one thread");
    // SAFETY: `lay` has mapped it, and nothing is in it but numbers that nobody reads.
    unsafe { libc::munmap((base + at * kind.stride()) as *mut _, PAGE as usize) as u64 }
}

/// Writes into every `step`th of them.
pub fn touch(first: u64, count: u64, step: u64) -> u64 {
    let (base, kind, _) = *LAID.lock().expect("one thread");
    for at in (0..count).map(|at| first + at * step) {
        let page = (base + at * kind.stride()) as *mut u64;
        // SAFETY: `lay` has mapped it, and whoever took it away does not ask for it.
        unsafe { page.write_volatile(page.read_volatile() + 1) };
    }
    count
}
