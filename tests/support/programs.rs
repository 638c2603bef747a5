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
        "work" => super::work::work(argument),
        "gaps" => super::work::gaps(),
        "maps" => super::work::maps(argument),
        "blocked" => super::blocked::blocked(argument),
        "limited" => super::limited::limited(argument),
        "monitor" => super::monitor(argument),
        "monitor-once" => super::monitor_once(argument),
        "monitor-steady" => super::monitor_steady(argument),
        "monitor-sync" => super::monitor_sync(argument),
        "unprivileged" => super::unprivileged(argument),
        "churn" => super::churn::churn(),
        "crowded" => super::crowded::crowded(argument),
        "load" => super::load::load(argument),
        "replayed" => super::replayed::replayed(argument),
        "reserve" => super::reserve::reserve(argument),
        "vforked" => super::vforked::vforked(argument),
        "attach-once" => super::attach_once(argument),
        "filtered" => {
            filtered(0);
            ready();
            echo();
        }
        "filter-later" => super::odd::filter_later(argument),
        "real-time" => super::odd::real_time(argument),
        "without-leader" => super::odd::without_leader(),
        "io-uring-poller" => super::odd::io_uring_poller(),
        "full" => full(),
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
            ("mmap-noreserve", &[length]) => {
                let flags = anonymous | libc::MAP_NORESERVE;
                libc::mmap(std::ptr::null_mut(), length as usize, rw, flags, -1, 0) as u64
            }
            ("mmap-at", &[at, length]) => {
                libc::mmap(at as *mut _, length as usize, rw, anonymous | libc::MAP_FIXED, -1, 0) as u64
            }
            ("mmap-shared", &[length]) => {
                let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
                libc::mmap(std::ptr::null_mut(), length as usize, rw, shared, -1, 0) as u64
            }
            ("mmap-hugetlb", &[length]) => {
                let huge = anonymous | libc::MAP_HUGETLB;
                libc::mmap(std::ptr::null_mut(), length as usize, rw, huge, -1, 0) as u64
            }
            ("mmap-self", &[length]) => {
                let file = libc::open(c"/proc/self/exe".as_ptr(), libc::O_RDONLY);
                libc::mmap(std::ptr::null_mut(), length as usize, rw, libc::MAP_PRIVATE, file, 0) as u64
            }
            ("reserve", &[length]) => {
                libc::mmap(std::ptr::null_mut(), length as usize, libc::PROT_NONE, anonymous, -1, 0) as u64
            }
            ("commit", &[start, length]) => libc::mprotect(start as *mut _, length as usize, rw) as u64,
            ("guard", &[start, count]) => {
                const MADV_GUARD_INSTALL: i32 = 102;
                let length = (count * super::PAGE) as usize;
                answer(libc::madvise(start as *mut _, length, MADV_GUARD_INSTALL))
            }
            ("uffd", &[]) => {
                // So that the file does not show it: what can be made is not made in most tests.
                let call = std::hint::black_box(libc::SYS_userfaultfd);
                let uffd = libc::syscall(call, libc::O_CLOEXEC | 1) as i32;
                // The structure of UFFDIO_API: version, features, ioctls.
                let mut api = [0xAA_u64, 0, 0];
                libc::ioctl(uffd, 0xC018_AA3F_u64, api.as_mut_ptr());
                uffd as u64
            }
            ("unguard", &[start, count]) => {
                const MADV_GUARD_REMOVE: i32 = 103;
                let length = (count * super::PAGE) as usize;
                answer(libc::madvise(start as *mut _, length, MADV_GUARD_REMOVE))
            }
            // The kernel's answer to reading there: EFAULT where a guard page is.
            ("readable", &[start]) => {
                let mut pair = [0; 2];
                libc::pipe(pair.as_mut_ptr());
                let answer = answer(libc::write(pair[1], start as *const _, 1) as i32 - 1);
                for end in pair {
                    libc::close(end);
                }
                answer
            }
            ("close", &[fd]) => answer(libc::close(fd as i32)),
            ("uffd-register", &[uffd, start, length]) => {
                // The structure of UFFDIO_REGISTER: range, mode, ioctls.
                let mut register = [start, length, 1, 0];
                answer(libc::ioctl(uffd as i32, 0xC020_AA00_u64, register.as_mut_ptr()))
            }
            ("arenas", &[threads, steps]) => {
                arenas(threads, steps);
                threads
            }
            ("write", &[start, count, step]) => {
                each(start, count, step).for_each(|page| page.write_volatile(page.read_volatile() + 1));
                0
            }
            // As a program that makes code: the right to write is there for a moment only.
            ("patch", &[start, count]) => {
                let length = (count * super::PAGE) as usize;
                libc::mprotect(start as *mut _, length, rw);
                each(start, count / 2, 2).for_each(|page| page.write_volatile(page.read_volatile() + 1));
                answer(libc::mprotect(start as *mut _, length, libc::PROT_READ))
            }
            // A file that has a device's name; 0 where there may be none.
            ("mmap-named", &[length]) => {
                let name = c"/dev/memory-glass-test";
                let file = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, 0o600);
                if file < 0 {
                    return 0;
                }
                libc::unlink(name.as_ptr());
                libc::ftruncate(file, length as i64);
                libc::mmap(std::ptr::null_mut(), length as usize, rw, libc::MAP_SHARED, file, 0) as u64
            }
            ("pin", &[start, length]) => {
                let mut parameters = [0_u32; 30];
                let ring = libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr());
                let buffer = libc::iovec { iov_base: start as *mut _, iov_len: length as usize };
                // IORING_REGISTER_BUFFERS
                answer(libc::syscall(libc::SYS_io_uring_register, ring, 0, &raw const buffer, 1) as i32)
            }
            ("read", &[start, count, step]) => {
                each(start, count, step).fold(0, |sum, page| sum ^ page.read_volatile())
            }
            ("fill", &[start, count]) => {
                // As the kernel writes on a process' behalf: read(2) into the page.
                let zero = libc::open(c"/dev/zero".as_ptr(), libc::O_RDONLY);
                let done = libc::read(zero, start as *mut _, (count * super::PAGE) as usize);
                libc::close(zero);
                done as u64
            }
            ("many", &[count]) => {
                // Neighbours with other rights, so that the kernel does not join them.
                for turn in 0..count {
                    let rights = if turn % 2 == 0 { rw } else { libc::PROT_READ };
                    let page =
                        libc::mmap(std::ptr::null_mut(), super::PAGE as usize, rights, anonymous, -1, 0);
                    if turn % 2 == 0 {
                        page.cast::<u64>().write_volatile(1);
                    }
                }
                count
            }
            ("lay", &[kind, count]) => super::laid::lay(kind, count),
            ("touch", &[first, count, step]) => super::laid::touch(first, count, step),
            ("take-away", &[at]) => super::laid::take_away(at),
            ("lay-again", &[at]) => super::laid::lay_again(at),
            ("thread", &[start, count, times]) => {
                let write = move || {
                    for _ in 0..times {
                        each(start, count, 1).for_each(|page| page.write_volatile(page.read_volatile() + 1));
                        std::thread::sleep(std::time::Duration::from_millis(1));
                    }
                    libc::gettid() as u64
                };
                let thread = std::thread::Builder::new().name("short-lived".into()).spawn(write);
                thread.expect("started").join().expect("no panic")
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
            ("spawn", &[]) => {
                // The library forks it with the memory shared until it executes.
                let done = std::process::Command::new("true").status();
                u64::from(!done.is_ok_and(|status| status.success()))
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

/// 0, or what went wrong.
fn answer(result: i32) -> u64 {
    if result == 0 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) as u64 }
}

/// Threads that allocate little by little, each in an arena of its own, and stay.
fn arenas(threads: u64, steps: u64) {
    // SAFETY: numbers only.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, threads as i32) };
    let ready = std::sync::Arc::new(std::sync::Barrier::new(threads as usize + 1));
    for _ in 0..threads {
        let ready = std::sync::Arc::clone(&ready);
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for step in 0..steps {
                kept.push(vec![step as u8; 64 << 10]);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            ready.wait();
            std::thread::park();
            drop(kept);
        });
    }
    ready.wait();
}

/// Answers every line with 1.
pub fn echo() {
    for _ in std::io::stdin().lock().lines() {
        say("1");
    }
}

/// Under a filter that kills it for userfaultfd(2), in all its threads if these flags say so.
pub fn filtered(flags: libc::c_long) {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const ANSWER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD_NUMBER, 0, 0, 0),
        step(IF_EQUAL, libc::SYS_userfaultfd as u32, 0, 1),
        step(ANSWER, libc::SECCOMP_RET_KILL_PROCESS, 0, 0),
        step(ANSWER, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program and its steps outlive the call.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &program), 0);
    }
}

/// With every descriptor in use that it may have.
fn full() {
    let limit = libc::rlimit { rlim_cur: 16, rlim_max: 16 };
    // SAFETY: numbers only.
    unsafe {
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        while libc::dup(0) >= 0 {}
    }
    ready();
    echo();
}
