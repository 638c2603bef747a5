//! A target that waits in one system call which ends by itself, after LIMIT: by its own time limit, or
//! because a child of it sees to that. Nothing sends it a signal that it does not expect, so it is prepared
//! for none.

use std::time::{Duration, Instant};

use nix::libc::{self, c_long, syscall};

use super::programs;

/// When the call ends.
pub const LIMIT: Duration = Duration::from_millis(1500);

/// Each call with what it answers and its errno.
pub const CALLS: &[(&str, i64, i32)] = &[
    ("ppoll", 0, 0),
    ("ppoll-read-only", 0, 0),
    ("ppoll-sticky", 0, 0),
    ("pselect", 0, 0),
    ("pselect-read-only", 0, 0),
    ("select", 0, 0),
    ("poll", 0, 0),
    ("epoll_wait", 0, 0),
    ("epoll_pwait", 0, 0),
    ("epoll_pwait2", 0, 0),
    ("nanosleep", 0, 0),
    ("nanosleep-rest", 0, 0),
    ("nanosleep-rest-read-only", 0, 0),
    ("clock_nanosleep-until", 0, 0),
    ("clock_nanosleep-rest", 0, 0),
    ("futex", -1, libc::ETIMEDOUT),
    ("futex-until", -1, libc::ETIMEDOUT),
    ("futex-woken", 0, 0),
    ("sigtimedwait", -1, libc::EAGAIN),
    ("semtimedop", -1, libc::EAGAIN),
    ("io_getevents", 0, 0),
    ("io_uring_enter", -1, libc::ETIME),
    ("mq_timedreceive", -1, libc::ETIMEDOUT),
    ("msgrcv", 8, 0),
    ("recv-limit", -1, libc::EAGAIN),
    ("recvmsg-limit", -1, libc::EAGAIN),
    ("read-socket-limit", -1, libc::EAGAIN),
    ("accept-limit", -1, libc::EAGAIN),
    ("connect-limit", -1, libc::EAGAIN),
    ("send-limit", -1, libc::EAGAIN),
    ("recv-all", 8, 0),
    ("recvmmsg", 2, 0),
    ("recv-low-water", 8, 0),
    ("read-pipe", 1, 0),
    ("readv-pipe", 1, 0),
    ("read-eventfd", 8, 0),
    ("read-timerfd", 8, 0),
    ("read-inotify", 32, 0),
    ("read-signalfd", 128, 0),
    ("read-tty-line", 6, 0),
    ("read-tty-vtime", 0, 0),
    ("read-tty-vmin", 10, 0),
    ("write-pipe", BIG as i64, 0),
    ("writev-pipe", BIG as i64, 0),
    ("write-socket", BIG as i64, 0),
    ("send-socket", BIG as i64, 0),
    ("sendmsg-socket", BIG as i64, 0),
    ("flock", 0, 0),
    ("setlkw", 0, 0),
    ("wait4", 1, 0),
    ("waitid", 0, 0),
    ("sigsuspend", -1, libc::EINTR),
    ("pause", -1, libc::EINTR),
    ("vfork", 0, 0),
    ("open-fifo", 1, 0),
    ("close-linger", 0, 0),
];

/// More than a pipe or a socket holds.
const BIG: usize = 4 << 20;

extern "C" fn handled(_: libc::c_int) {}

/// Has a child do something at the limit.
unsafe fn later(act: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this process has one thread, and the child ends by itself.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            std::thread::sleep(LIMIT);
            act();
            // Its ends of pipes and sockets stay open until the other side has taken note.
            std::thread::sleep(Duration::from_millis(300));
            libc::_exit(0);
        }
        child
    }
}

/// Has a child take out of this descriptor all that is put in, slowly at first.
unsafe fn drained(fd: i32) {
    // SAFETY: as above.
    unsafe {
        later(|| {
            let mut buffer = vec![0u8; 1 << 16];
            while libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) > 0 {}
        });
    }
}

/// Makes the call, and says: answer, errno, and how many milliseconds it took.
pub fn limited(call: &str) {
    // The last of six arguments of a system call lies on the stack, where all of a word counts.
    // SAFETY: this process has one thread and plays a target: descriptors, signals and memory are all its
    // own.
    unsafe {
        static READ_ONLY: libc::timespec = libc::timespec { tv_sec: 1, tv_nsec: 500_000_000 };
        let limit = libc::timespec { tv_sec: 1, tv_nsec: 500_000_000 };
        let brief = libc::timeval { tv_sec: 1, tv_usec: 500_000 };
        let until = |clock| {
            let mut now = limit;
            libc::clock_gettime(clock, &mut now);
            let nanoseconds = now.tv_nsec + limit.tv_nsec;
            libc::timespec {
                tv_sec: now.tv_sec + limit.tv_sec + nanoseconds / 1_000_000_000,
                tv_nsec: nanoseconds % 1_000_000_000,
            }
        };
        let read_only = &raw const READ_ONLY;
        let (mut pipe, mut pair, mut packets) = ([0; 2], [0; 2], [0; 2]);
        libc::pipe(pipe.as_mut_ptr());
        libc::socketpair(libc::AF_UNIX, libc::SOCK_STREAM, 0, pair.as_mut_ptr());
        libc::socketpair(libc::AF_UNIX, libc::SOCK_DGRAM, 0, packets.as_mut_ptr());
        let mut poll = libc::pollfd { fd: pipe[0], events: libc::POLLIN, revents: 0 };
        let epoll = libc::epoll_create1(0);
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
        libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, pipe[0], &mut event);
        let mut set: libc::fd_set = std::mem::zeroed();
        libc::FD_SET(pipe[0], &mut set);
        let mut buffer = vec![0u8; BIG];
        let (bytes, none) = (buffer.as_mut_ptr(), std::ptr::null_mut::<libc::c_void>());
        let mut rest = limit;
        let word = 0u32;
        let mut mask: libc::sigset_t = std::mem::zeroed();
        let folder = tempfile::tempdir().expect("a folder");
        let path = std::ffi::CString::new(folder.path().join("x").to_str().expect("text")).expect("no zero");
        let option = |fd, name| {
            let size = size_of_val(&brief) as u32;
            libc::setsockopt(fd, libc::SOL_SOCKET, name, (&raw const brief).cast(), size);
        };
        let mut part = libc::iovec { iov_base: bytes.cast(), iov_len: 8 };
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&mut part, 1);
        let wake = |signal: i32| {
            let parent = libc::getpid();
            later(move || {
                libc::kill(parent, signal);
            });
        };
        let put = |fd: i32, count: usize| {
            later(move || {
                libc::write(fd, b"hello\nworld!".as_ptr().cast(), count);
            });
        };
        let terminal = |least: u8, tenths: u8| {
            let (mut master, mut slave) = (0, 0);
            libc::openpty(&mut master, &mut slave, none.cast(), std::ptr::null(), std::ptr::null());
            let mut settings: libc::termios = std::mem::zeroed();
            libc::tcgetattr(slave, &mut settings);
            settings.c_lflag &= !libc::ECHO;
            if least != u8::MAX {
                settings.c_lflag &= !libc::ICANON;
                (settings.c_cc[libc::VMIN], settings.c_cc[libc::VTIME]) = (least, tenths);
            }
            libc::tcsetattr(slave, libc::TCSANOW, &settings);
            (master, slave)
        };
        let locked = |exclusive: &dyn Fn(i32)| {
            let fd = libc::open(path.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600);
            let mut said = [0; 2];
            libc::pipe(said.as_mut_ptr());
            if libc::fork() == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                exclusive(libc::open(path.as_ptr(), libc::O_RDWR));
                libc::write(said[1], b"x".as_ptr().cast(), 1);
                std::thread::sleep(LIMIT);
                libc::_exit(0);
            }
            libc::read(said[0], bytes.cast(), 1);
            fd
        };
        let mut begun = Instant::now();
        let mut start = || {
            begun = Instant::now();
            programs::ready();
        };
        let answer: c_long = match call {
            "ppoll" => {
                start();
                syscall(libc::SYS_ppoll, &mut poll, 1, &mut rest, 0, 8)
            }
            "ppoll-read-only" => {
                start();
                syscall(libc::SYS_ppoll, &mut poll, 1, read_only, 0, 8)
            }
            "ppoll-sticky" => {
                libc::personality(0x0400_0000);
                start();
                syscall(libc::SYS_ppoll, &mut poll, 1, &mut rest, 0, 8)
            }
            "pselect" => {
                start();
                syscall(libc::SYS_pselect6, pipe[0] + 1, &mut set, 0, 0, &mut rest, c_long::from(0))
            }
            "pselect-read-only" => {
                start();
                syscall(libc::SYS_pselect6, pipe[0] + 1, &mut set, 0, 0, read_only, c_long::from(0))
            }
            "select" => {
                let mut rest = brief;
                start();
                syscall(libc::SYS_select, pipe[0] + 1, &mut set, 0, 0, &mut rest)
            }
            "poll" => {
                start();
                libc::poll(&mut poll, 1, 1500).into()
            }
            "epoll_wait" => {
                start();
                syscall(libc::SYS_epoll_wait, epoll, &mut event, 1, 1500)
            }
            "epoll_pwait" => {
                start();
                syscall(libc::SYS_epoll_pwait, epoll, &mut event, 1, 1500, 0, c_long::from(8))
            }
            "epoll_pwait2" => {
                start();
                syscall(libc::SYS_epoll_pwait2, epoll, &mut event, 1, &limit, 0, c_long::from(8))
            }
            "nanosleep" => {
                start();
                syscall(libc::SYS_nanosleep, &limit, 0)
            }
            "nanosleep-rest" => {
                start();
                syscall(libc::SYS_nanosleep, &limit, &mut rest)
            }
            "nanosleep-rest-read-only" => {
                start();
                syscall(libc::SYS_nanosleep, &limit, read_only)
            }
            "clock_nanosleep-until" => {
                start();
                let end = until(libc::CLOCK_MONOTONIC);
                syscall(libc::SYS_clock_nanosleep, libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &end, 0)
            }
            "clock_nanosleep-rest" => {
                start();
                syscall(libc::SYS_clock_nanosleep, libc::CLOCK_REALTIME, 0, &limit, &mut rest)
            }
            "futex" => {
                start();
                syscall(libc::SYS_futex, &word, libc::FUTEX_WAIT, 0, &limit, 0, c_long::from(0))
            }
            "futex-until" => {
                start();
                let end = until(libc::CLOCK_MONOTONIC);
                syscall(libc::SYS_futex, &word, libc::FUTEX_WAIT_BITSET, 0, &end, 0, c_long::from(u32::MAX))
            }
            "futex-woken" => {
                let shared = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
                let word = libc::mmap(none, 4096, 3, shared, -1, 0).cast::<u32>();
                later(|| {
                    word.write_volatile(1);
                    syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, 1, 0, 0, c_long::from(0));
                });
                start();
                syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, 0, 0, c_long::from(0))
            }
            "sigtimedwait" => {
                libc::sigaddset(&mut mask, libc::SIGUSR1);
                libc::sigprocmask(libc::SIG_BLOCK, &mask, std::ptr::null_mut());
                start();
                syscall(libc::SYS_rt_sigtimedwait, &mask, 0, &limit, 8)
            }
            "semtimedop" => {
                let semaphore = libc::semget(libc::IPC_PRIVATE, 1, 0o600);
                let mut take = libc::sembuf { sem_num: 0, sem_op: -1, sem_flg: 0 };
                start();
                let answer = syscall(libc::SYS_semtimedop, semaphore, &mut take, 1, &limit);
                let errno = *libc::__errno_location();
                libc::semctl(semaphore, 0, libc::IPC_RMID);
                *libc::__errno_location() = errno;
                answer
            }
            "io_getevents" => {
                let mut context = 0u64;
                syscall(libc::SYS_io_setup, 8, &mut context);
                start();
                syscall(libc::SYS_io_getevents, context, 1, 2, bytes, &limit)
            }
            "io_uring_enter" => {
                let ring = syscall(libc::SYS_io_uring_setup, 8, bytes);
                let extra: [u64; 3] = [0, 8, (&raw const limit) as u64];
                start();
                syscall(libc::SYS_io_uring_enter, ring, 0, 1, 1 | 8, &extra, c_long::from(24))
            }
            "mq_timedreceive" => {
                let name = std::ffi::CString::new(format!("/mg-{}", libc::getpid())).expect("no zero");
                let rights: libc::mode_t = 0o600;
                let queue = libc::mq_open(name.as_ptr(), libc::O_RDWR | libc::O_CREAT, rights, none);
                libc::mq_unlink(name.as_ptr());
                start();
                let end = until(libc::CLOCK_REALTIME);
                syscall(libc::SYS_mq_timedreceive, queue, bytes, 8192, 0, &end)
            }
            "msgrcv" => {
                let queue = libc::msgget(libc::IPC_PRIVATE, 0o600);
                later(|| {
                    libc::msgsnd(queue, [1u64, 0].as_ptr().cast(), 8, 0);
                });
                start();
                let answer = libc::msgrcv(queue, bytes.cast(), 8, 0, 0) as c_long;
                libc::msgctl(queue, libc::IPC_RMID, none.cast());
                answer
            }
            "recv-limit" | "recvmsg-limit" | "read-socket-limit" => {
                option(pair[0], libc::SO_RCVTIMEO);
                start();
                match call {
                    "recv-limit" => libc::recv(pair[0], bytes.cast(), 8, 0) as c_long,
                    "recvmsg-limit" => libc::recvmsg(pair[0], &mut message, 0) as c_long,
                    _ => libc::read(pair[0], bytes.cast(), 8) as c_long,
                }
            }
            "accept-limit" => {
                let listener = super::blocked::listen();
                option(listener, libc::SO_RCVTIMEO);
                start();
                libc::accept4(listener, none.cast(), none.cast(), 0).into()
            }
            "connect-limit" => {
                let listener = super::blocked::listen();
                libc::listen(listener, 0);
                super::blocked::connect(listener);
                start();
                super::blocked::connect_within(listener, Some(&|fd| option(fd, libc::SO_SNDTIMEO))).into()
            }
            "send-limit" => {
                libc::fcntl(pair[0], libc::F_SETFL, libc::O_NONBLOCK);
                while libc::write(pair[0], bytes.cast(), 4096) > 0 {}
                libc::fcntl(pair[0], libc::F_SETFL, 0);
                option(pair[0], libc::SO_SNDTIMEO);
                start();
                libc::send(pair[0], bytes.cast(), 1, 0) as c_long
            }
            "recv-all" => {
                libc::write(pair[1], bytes.cast(), 3);
                put(pair[1], 5);
                start();
                libc::recv(pair[0], bytes.cast(), 8, libc::MSG_WAITALL) as c_long
            }
            "recvmmsg" => {
                let mut two: [libc::mmsghdr; 2] = std::mem::zeroed();
                two.iter_mut().for_each(|one| one.msg_hdr = message);
                libc::write(packets[1], bytes.cast(), 3);
                put(packets[1], 3);
                start();
                syscall(libc::SYS_recvmmsg, packets[0], two.as_mut_ptr(), 2, 0, 0)
            }
            "recv-low-water" => {
                let least = 8;
                let size = size_of_val(&least) as u32;
                let option = libc::SO_RCVLOWAT;
                libc::setsockopt(pair[0], libc::SOL_SOCKET, option, (&raw const least).cast(), size);
                libc::write(pair[1], bytes.cast(), 3);
                put(pair[1], 5);
                start();
                libc::recv(pair[0], bytes.cast(), 8, 0) as c_long
            }
            "read-pipe" => {
                put(pipe[1], 1);
                start();
                libc::read(pipe[0], bytes.cast(), 8) as c_long
            }
            "readv-pipe" => {
                put(pipe[1], 1);
                start();
                libc::readv(pipe[0], &part, 1) as c_long
            }
            "read-eventfd" => {
                let fd = libc::eventfd(0, 0);
                later(|| {
                    libc::write(fd, [1u64].as_ptr().cast(), 8);
                });
                start();
                libc::read(fd, bytes.cast(), 8) as c_long
            }
            "read-timerfd" => {
                let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, 0);
                let mut timer: libc::itimerspec = std::mem::zeroed();
                timer.it_value = limit;
                start();
                libc::timerfd_settime(fd, 0, &timer, none.cast());
                libc::read(fd, bytes.cast(), 8) as c_long
            }
            "read-inotify" => {
                let fd = libc::inotify_init1(0);
                let watched = std::ffi::CString::new(folder.path().to_str().expect("text")).expect("no zero");
                libc::inotify_add_watch(fd, watched.as_ptr(), libc::IN_CREATE);
                later(|| {
                    libc::open(path.as_ptr(), libc::O_CREAT | libc::O_RDWR, 0o600);
                });
                start();
                libc::read(fd, bytes.cast(), 999) as c_long
            }
            "read-signalfd" => {
                libc::sigaddset(&mut mask, libc::SIGUSR1);
                libc::sigprocmask(libc::SIG_BLOCK, &mask, std::ptr::null_mut());
                let fd = libc::signalfd(-1, &mask, 0);
                wake(libc::SIGUSR1);
                start();
                libc::read(fd, bytes.cast(), 128) as c_long
            }
            "read-tty-line" | "read-tty-vtime" | "read-tty-vmin" => {
                let (least, tenths) = match call {
                    "read-tty-line" => (u8::MAX, 0),
                    "read-tty-vtime" => (0, 15),
                    _ => (10, 0),
                };
                let (master, slave) = terminal(least, tenths);
                match call {
                    "read-tty-line" => put(master, 6),
                    "read-tty-vmin" => {
                        libc::write(master, bytes.cast(), 3);
                        put(master, 7);
                    }
                    _ => {}
                }
                start();
                libc::read(slave, bytes.cast(), if call == "read-tty-vmin" { 10 } else { 99 }) as c_long
            }
            "write-pipe" | "writev-pipe" => {
                drained(pipe[0]);
                libc::close(pipe[0]);
                part.iov_len = BIG;
                start();
                match call {
                    "write-pipe" => libc::write(pipe[1], bytes.cast(), BIG) as c_long,
                    _ => libc::writev(pipe[1], &part, 1) as c_long,
                }
            }
            "write-socket" | "send-socket" | "sendmsg-socket" => {
                drained(pair[1]);
                (*message.msg_iov).iov_len = BIG;
                start();
                match call {
                    "write-socket" => libc::write(pair[0], bytes.cast(), BIG) as c_long,
                    "send-socket" => libc::send(pair[0], bytes.cast(), BIG, 0) as c_long,
                    _ => libc::sendmsg(pair[0], &message, 0) as c_long,
                }
            }
            "flock" => {
                let fd = locked(&|fd| {
                    libc::flock(fd, libc::LOCK_EX);
                });
                start();
                libc::flock(fd, libc::LOCK_EX).into()
            }
            "setlkw" => {
                let mut whole: libc::flock = std::mem::zeroed();
                whole.l_type = libc::F_WRLCK as _;
                let fd = locked(&|fd| {
                    libc::fcntl(fd, libc::F_SETLKW, &whole);
                });
                start();
                libc::fcntl(fd, libc::F_SETLKW, &whole).into()
            }
            "wait4" => {
                let child = later(|| {});
                start();
                (libc::wait4(child, none.cast(), 0, none.cast()) == child).into()
            }
            "waitid" => {
                later(|| {});
                let mut info: libc::siginfo_t = std::mem::zeroed();
                start();
                libc::waitid(libc::P_ALL, 0, &mut info, libc::WEXITED).into()
            }
            "sigsuspend" | "pause" => {
                libc::signal(libc::SIGUSR1, handled as *const () as usize);
                wake(libc::SIGUSR1);
                start();
                if call == "pause" { libc::pause().into() } else { libc::sigsuspend(&mask).into() }
            }
            "vfork" => {
                start();
                // As vfork(2), which the library no longer offers: the parent sleeps until the child is gone.
                let child = syscall(libc::SYS_clone, libc::CLONE_VFORK | libc::SIGCHLD, 0, 0, 0, 0);
                if child == 0 {
                    std::thread::sleep(LIMIT);
                    libc::_exit(0);
                }
                0
            }
            "open-fifo" => {
                libc::mkfifo(path.as_ptr(), 0o600);
                later(|| {
                    libc::open(path.as_ptr(), libc::O_WRONLY);
                });
                start();
                c_long::from(libc::open(path.as_ptr(), libc::O_RDONLY) >= 0)
            }
            "close-linger" => {
                let fd = lingering();
                start();
                libc::close(fd).into()
            }
            _ => panic!("no such call: {call}"),
        };
        let errno = if answer < 0 { *libc::__errno_location() } else { 0 };
        programs::say(&format!("{answer} {errno} {}", begun.elapsed().as_millis()));
    }
}

/// A connection on which much is under way to somebody who does not read, and which waits for that when it is
/// closed.
unsafe fn lingering() -> i32 {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::IntoRawFd;
    let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
    let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let other = listener.accept().expect("accepted").0;
    let fd = socket.into_raw_fd();
    let _ = other.into_raw_fd();
    let block = [0u8; 65536];
    // SAFETY: our own socket.
    unsafe {
        libc::fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK);
        while libc::write(fd, block.as_ptr().cast(), block.len()) > 0 {}
        libc::fcntl(fd, libc::F_SETFL, 0);
        let linger = libc::linger { l_onoff: 1, l_linger: 2 };
        let size = size_of_val(&linger) as u32;
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, (&raw const linger).cast(), size);
    }
    fd
}
