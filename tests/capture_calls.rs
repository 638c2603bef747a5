//! A thread that waits in a system call waits on, undisturbed, when its process is attached to and let go.

#![allow(unsafe_code)]

mod support;

use memory_glass::capture::GlassRamMonitor;
use nix::libc;
use support::blocked::Ended;
use support::limited::{CALLS, LIMIT};
use support::{Target, assert_untouched, status};

/// Waits until the process sleeps in the call, or in the one by which the kernel restarts it.
fn until_it_waits(pid: u32, call: &str, number: libc::c_long) {
    let patience = std::time::Instant::now();
    let waits = || {
        let line = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        let now = line.split_whitespace().next().and_then(|word| word.parse().ok());
        now == Some(number) || now == Some(libc::SYS_restart_syscall)
    };
    while !waits() {
        // A sleep with a time limit may have ended by itself meanwhile.
        if call == "nanosleep" && status(pid, "State").starts_with('S') {
            return;
        }
        assert_ne!(status(pid, "State").chars().next(), Some('Z'), "the target ended early");
        assert!(patience.elapsed().as_secs() < 20, "the target does not wait in {call}");
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
}

/// Priority, nice value, real-time priority and policy: fields 18, 19, 40 and 41 of `stat`, counted from
/// behind the name.
fn priority(pid: u32) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the target lives");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    [15, 16, 37, 38].iter().map(|&field| fields[field].to_owned()).collect()
}

/// Attaches and detaches several times while the target waits in `call`, then lets the call end.
fn undisturbed(call: &str, number: libc::c_long) -> Ended {
    let mut target = Target::start(&format!("blocked {call}"));
    let pid = target.pid();
    until_it_waits(pid, call, number);
    let masks = || ["SigBlk", "SigIgn", "SigCgt"].map(|field| status(pid, field));
    let before = masks();
    let urgency = priority(pid);
    for _ in 0..4 {
        let monitor = GlassRamMonitor::new(pid).expect("attached");
        assert_eq!(monitor.attach_metrics().stop.map(|stop| stop.thread), Some(pid));
        monitor.detach().expect("detached");
        assert_untouched(pid);
        assert_eq!(priority(pid), urgency, "its priority is what it was");
    }
    // sigtimedwait and the calls with a mask show theirs only while they wait; the target itself says how it
    // is afterwards.
    if !matches!(call, "sigtimedwait" | "ppoll" | "pselect" | "epoll_pwait" | "sigsuspend") {
        assert_eq!(masks(), before);
    }
    // Let go is not yet back in the call: a futex, for one, would rightly say so if its word changed before.
    until_it_waits(pid, call, number);
    target.say("go on");
    let ended = Ended::parse(&target.line());
    assert!(ended.released, "{call} ended before its event: {ended:?}");
    assert!(ended.same_mask, "{call} came back with another signal mask");
    target.say("end");
    assert!(target.wait().success());
    ended
}

macro_rules! calls {
    ($($test:ident: $call:literal, $number:ident, $answer:literal;)*) => {$(
        #[test]
        fn $test() {
            let ended = undisturbed($call, libc::$number);
            assert_eq!((ended.answer, ended.errno, ended.handled), ($answer, 0, 0));
        }
    )*};
}

calls! {
    read: "read", SYS_read, 1;
    futex: "futex", SYS_futex, 0;
    epoll_wait: "epoll_wait", SYS_epoll_wait, 1;
    epoll_pwait: "epoll_pwait", SYS_epoll_pwait, 1;
    poll: "poll", SYS_poll, 1;
    poll_with_a_limit: "poll-limit", SYS_poll, 1;
    ppoll: "ppoll", SYS_ppoll, 1;
    select: "select", SYS_select, 1;
    pselect: "pselect", SYS_pselect6, 1;
    accept: "accept", SYS_accept, 1;
    recv: "recv", SYS_recvfrom, 1;
    sigtimedwait: "sigtimedwait", SYS_rt_sigtimedwait, 10;
    wait4: "wait4", SYS_wait4, 1;
    semop: "semop", SYS_semtimedop, 0;
    msgrcv: "msgrcv", SYS_msgrcv, 8;
    nanosleep: "nanosleep", SYS_clock_nanosleep, 0;
}

/// These two always end with EINTR; what counts is that it is their own signal's, and its handler ran once.
#[test]
fn sigsuspend() {
    let ended = undisturbed("sigsuspend", libc::SYS_rt_sigsuspend);
    assert_eq!((ended.answer, ended.errno, ended.handled), (-1, libc::EINTR, 1));
}

#[test]
fn pause() {
    let ended = undisturbed("pause", libc::SYS_pause);
    assert_eq!((ended.answer, ended.errno, ended.handled), (-1, libc::EINTR, 1));
}

/// Whatever a thread waits in, and however often it is attached to meanwhile: the call answers what it would
/// have answered, and neither before its time nor as if its time had begun anew at each attach.
#[test]
fn calls_that_end_by_themselves_end_as_they_would_have() {
    let watch = |&(call, answer, errno): &(&'static str, i64, i32)| {
        std::thread::spawn(move || {
            let mut target = Target::start(&format!("limited {call}"));
            let pid = target.pid();
            let (end, ended) = std::sync::mpsc::channel();
            let attaching = std::thread::spawn(move || {
                let (mut attached, mut refused) = (0, String::new());
                while ended.try_recv().is_err() {
                    match GlassRamMonitor::new(pid) {
                        Ok(monitor) => {
                            attached += 1;
                            drop(monitor);
                        }
                        Err(error) => refused = error.to_string(),
                    }
                    std::thread::sleep(std::time::Duration::from_millis(100));
                }
                (attached, refused)
            });
            let line = target.line();
            let _ = end.send(());
            let (attached, refused) = attaching.join().expect("no panic");
            let n: Vec<i64> = line.split(' ').map(|word| word.parse().expect("a number")).collect();
            // A child that ends it may have begun to count before.
            let early = LIMIT.as_millis() as i64 / 2;
            // Ten times the limit is a machine that is very busy; attached to every 100 ms, one that began
            // anew would never end.
            let right = n[..2] == [answer, i64::from(errno)] && n[2] >= early && n[2] < 20 * early;
            (right, format!("{call}: {line}, {attached} times attached to {refused}"))
        })
    };
    let watched: Vec<_> = CALLS.iter().map(watch).collect();
    let all: Vec<_> = watched.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    all.iter().for_each(|(_, words)| println!("{words}"));
    let wrong: Vec<_> = all.iter().filter(|(right, _)| !right).map(|(_, words)| words.as_str()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A transfer through a pipe to a slow reader, attached to again and again: not a byte is missing.
#[test]
fn a_transfer_that_is_attached_to_a_hundred_times_is_whole() {
    use std::io::Read;
    const BLOCKS: usize = 60;
    let mut writer = std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=1M", &format!("count={BLOCKS}")])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("started");
    let pid = writer.id();
    let mut from = writer.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let (mut buffer, mut all) = (vec![0; 1 << 16], 0);
        loop {
            match from.read(&mut buffer).expect("read") {
                0 => return all,
                some => all += some,
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    });
    let mut attached = 0;
    while attached < 100 && !reader.is_finished() {
        attached += usize::from(GlassRamMonitor::new(pid).is_ok());
    }
    let all = reader.join().expect("no panic");
    let output = writer.wait_with_output().expect("it ran");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(all, BLOCKS << 20, "{words}");
    assert!(words.contains(&format!("{BLOCKS}+0 records out")), "no block was cut: {words}");
    assert!(attached > 10, "attached to only {attached} times");
}
