//! A target that waits in one system call, and says how the call ended.

use std::io::BufRead;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::libc::{self, c_int, c_long};

use super::programs;

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handler(_: c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// How a call ends, in the words that the test compares.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended {
    pub answer: i64,
    pub errno: i32,
    /// It ended because of its own event, not before.
    pub released: bool,
    /// The signal mask is what it was before the call.
    pub same_mask: bool,
    pub handled: u32,
}

impl Ended {
    pub fn parse(line: &str) -> Ended {
        let n: Vec<i64> = line.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        let &[answer, errno, released, same_mask, handled] = n.as_slice() else { panic!("odd line: {line}") };
        let (released, same_mask) = (released == 1, same_mask == 1);
        Ended { answer, errno: errno as i32, released, same_mask, handled: handled as u32 }
    }
}

/// Blocks in the call, in the only thread. A child process releases it when a line comes in.
pub fn blocked(call: &str) {
    // SAFETY: this process has one thread and plays a target: descriptors, signals and memory are all its own.
    unsafe {
        let shared = libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        let word = |index: usize| &*shared.cast::<AtomicU32>().add(index);
        let (released, futex) = (word(0), word(1));
        let mut pipe = [0; 2];
        libc::pipe(pipe.as_mut_ptr());
        let mut pair = [0; 2];
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr());
        let listener = listen();
        let semaphore = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
        let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
        let parent = libc::getpid();

        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut());
        // SIGUSR1 and SIGUSR2 are blocked; the calls that take a mask let SIGUSR1 in.
        let (mut none, mut both): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigemptyset(&mut none);
        libc::sigemptyset(&mut both);
        libc::sigaddset(&mut both, libc::SIGUSR1);
        libc::sigaddset(&mut both, libc::SIGUSR2);
        if call != "pause" {
            libc::sigprocmask(libc::SIG_BLOCK, &both, std::ptr::null_mut());
        }

        let child = libc::fork();
        if child == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            let mut line = String::new();
            let _ = std::io::stdin().lock().read_line(&mut line);
            released.store(1, Ordering::SeqCst);
            match call {
                "sigsuspend" | "pause" | "sigtimedwait" => drop(libc::kill(parent, libc::SIGUSR1)),
                "futex" => {
                    futex.store(1, Ordering::SeqCst);
                    libc::syscall(libc::SYS_futex, futex.as_ptr(), libc::FUTEX_WAKE, 1, 0, 0, 0);
                }
                "accept" => drop(connect(listener)),
                "semop" => drop(libc::semctl(semaphore, 0, libc::SETVAL, 1)),
                "msgrcv" => drop(libc::msgsnd(queue, (&raw const MESSAGE).cast(), 8, 0)),
                "recv" => drop(libc::write(pair[1], b"x".as_ptr().cast(), 1)),
                _ => drop(libc::write(pipe[1], b"x".as_ptr().cast(), 1)),
            }
            libc::_exit(7);
        }

        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &mut before);
        let epoll = libc::epoll_create1(0);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, pipe[0], &mut event);
        let mut poll = libc::pollfd { fd: pipe[0], events: libc::POLLIN, revents: 0 };
        let mut fds: libc::fd_set = std::mem::zeroed();
        libc::FD_SET(pipe[0], &mut fds);
        let mut byte = [0u8; 64];
        let long = libc::timespec { tv_sec: 1000, tv_nsec: 0 };
        let short = libc::timespec { tv_sec: 0, tv_nsec: 300_000_000 };
        let nothing = std::ptr::null_mut::<libc::c_void>();
        programs::ready();
        let begun = std::time::Instant::now();
        let answer: c_long = match call {
            "read" => libc::read(pipe[0], byte.as_mut_ptr().cast(), 1) as c_long,
            "futex" => libc::syscall(libc::SYS_futex, futex.as_ptr(), libc::FUTEX_WAIT, 0, &long, 0, 0),
            "epoll_wait" => libc::epoll_wait(epoll, &mut event, 1, -1).into(),
            "epoll_pwait" => libc::epoll_pwait(epoll, &mut event, 1, -1, &none).into(),
            "poll" => libc::poll(&mut poll, 1, -1).into(),
            "poll-limit" => libc::poll(&mut poll, 1, 1_000_000).into(),
            "ppoll" => libc::ppoll(&mut poll, 1, &long, &none).into(),
            // The library would make a pselect of it.
            "select" => {
                let null = nothing;
                libc::syscall(libc::SYS_select, pipe[0] + 1, &mut fds, null, null, null)
            }
            "pselect" => {
                libc::pselect(pipe[0] + 1, &mut fds, nothing.cast(), nothing.cast(), &long, &none).into()
            }
            "accept" => libc::accept(listener, nothing.cast(), nothing.cast()).signum().into(),
            "recv" => libc::recv(pair[0], byte.as_mut_ptr().cast(), 1, 0) as c_long,
            "sigsuspend" => libc::sigsuspend(&none).into(),
            "pause" => libc::pause().into(),
            "sigtimedwait" => libc::sigwaitinfo(&both, nothing.cast()).into(),
            "wait4" => (libc::waitpid(child, nothing.cast(), 0) == child).into(),
            "semop" => {
                let mut operation = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 };
                libc::semop(semaphore, &mut operation, 1).into()
            }
            "msgrcv" => libc::msgrcv(queue, byte.as_mut_ptr().cast(), 8, 0, 0) as c_long,
            "nanosleep" => libc::nanosleep(&short, nothing.cast()).into(),
            _ => panic!("no such call: {call}"),
        };
        let errno = if answer < 0 { *libc::__errno_location() } else { 0 };
        let ended = if call == "nanosleep" {
            begun.elapsed() >= std::time::Duration::from_millis(300)
        } else {
            released.load(Ordering::SeqCst) == 1
        };
        let mut after: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_BLOCK, std::ptr::null(), &mut after);
        let same =
            (1..=64).all(|signal| libc::sigismember(&before, signal) == libc::sigismember(&after, signal));
        libc::semctl(semaphore, 0, libc::IPC_RMID);
        libc::msgctl(queue, libc::IPC_RMID, nothing.cast());
        let handled = HANDLED.load(Ordering::Relaxed);
        programs::say(&format!("{answer} {errno} {} {} {handled}", u8::from(ended), u8::from(same)));
        // The test looks at the process once more before it goes.
        let _ = std::io::stdin().lock().read_line(&mut String::new());
    }
}

static MESSAGE: [u64; 2] = [1, 0];

pub unsafe fn listen() -> c_int {
    // SAFETY: a new socket on a name of the kernel's choice.
    unsafe {
        let listener = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        let address = libc::sockaddr { sa_family: libc::AF_UNIX as u16, sa_data: [0; 14] };
        libc::bind(listener, &address, 2);
        libc::listen(listener, 1);
        listener
    }
}

pub unsafe fn connect(listener: c_int) -> c_int {
    // SAFETY: see there.
    unsafe { connect_within(listener, None) }
}

/// Connects with a new socket, of which something is asked before.
pub unsafe fn connect_within(listener: c_int, ask: Option<&dyn Fn(c_int)>) -> c_int {
    // SAFETY: the address is filled by the kernel and its length kept.
    unsafe {
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        let mut length = size_of_val(&address) as u32;
        libc::getsockname(listener, (&raw mut address).cast(), &mut length);
        let socket = libc::socket(libc::AF_UNIX, libc::SOCK_STREAM, 0);
        if let Some(ask) = ask {
            ask(socket);
        }
        libc::connect(socket, (&raw const address).cast(), length)
    }
}
