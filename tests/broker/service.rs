//! The service as a whole: whom it attaches for, what it writes down, what it can still do itself, and what
//! happens when somebody dies.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Broker, Finish, GAMES, GLASS, NOBODY, as_user, events, target_of, wait_until};
use crate::support::{ROLE, Target, assert_untouched, limited, status, userfaultfds};

#[test]
fn a_user_gets_their_own_processes_and_those_that_root_allows() {
    let broker = Broker::start("[[allow]]\nuser = \"games\"\ntargets = [\"nobody\"]\n");
    let (own, roots) = (target_of(NOBODY), target_of(0));

    let report = broker.snapshot_as(NOBODY, own.pid());
    assert!(report.status.success(), "{}", String::from_utf8_lossy(&report.stderr));
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert!(report["fault_rate"].as_f64().expect("a number") > 0.0);
    assert_untouched(own.pid());

    let refused = broker.snapshot_as(NOBODY, roots.pid());
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("may not be watched by user 65534") && words.contains("policy.toml"), "{words}");

    // Games may watch nobody's, and not the other way round; nor root's.
    assert!(broker.snapshot_as(GAMES, own.pid()).status.success());
    assert!(!broker.snapshot_as(GAMES, roots.pid()).status.success());
    let games = target_of(GAMES);
    assert!(!broker.snapshot_as(NOBODY, games.pid()).status.success());
    assert!(!broker.snapshot_as(NOBODY, u32::MAX).status.success());

    let (own, roots, games) = (own.pid().into(), roots.pid().into(), games.pid().into());
    let (nobody, player) = (NOBODY.into(), GAMES.into());
    // Whether a user hears of their own processes without the broker is a setting of the kernel.
    let mut log = broker.log();
    log.retain(|line| line["event"] != "listen");
    assert_eq!(
        events(&log),
        [
            ("attach", nobody, own),
            ("attached", nobody, own),
            ("refused", nobody, roots),
            ("attach", player, own),
            ("attached", player, own),
            ("refused", player, roots),
            ("refused", nobody, games),
        ]
    );
}

#[test]
fn who_writes_in_the_processes_of_others_is_known_as_far_as_they_may_be_watched() {
    let broker = Broker::start("[[allow]]\nuser = \"games\"\ntargets = [\"nobody\"]\n");
    let (own, roots) = (target_of(NOBODY), target_of(0));
    let report = broker.snapshot_as(GAMES, own.pid());
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    assert_eq!(report["lost"].as_array().map(Vec::len), Some(0), "{report}");
    // Asked without attaching first, as a client might that is not ours.
    let script = "import array, os, socket, sys\n\
        broker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n\
        broker.connect(sys.argv[1])\n\
        process = array.array('i', [os.pidfd_open(int(sys.argv[2]))])\n\
        broker.sendmsg([b'\"listen\"'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, process)])\n\
        said, others, _, _ = broker.recvmsg(65536, socket.CMSG_SPACE(4 * 253))\n\
        print(said.decode(), sum(len(fds) // 4 for _, _, fds in others))";
    let asked = |pid: u32| {
        let mut command = as_user(GAMES, "/usr/bin/python3");
        let output = command.args(["-c", script]).arg(broker.socket()).arg(pid.to_string()).output();
        String::from_utf8(output.expect("python3 is there").stdout).expect("UTF-8")
    };
    let processors = std::thread::available_parallelism().expect("known").get();
    let heard = asked(own.pid());
    assert!(heard.contains("listening") && heard.ends_with(&format!(" {processors}\n")), "{heard}");
    let refused = asked(roots.pid());
    assert!(refused.contains("refused") && refused.ends_with(" 0\n"), "{refused}");
    let (own, roots) = (own.pid().into(), roots.pid().into());
    let log = broker.log();
    assert!(events(&log).ends_with(&[("listen", GAMES.into(), own), ("refused", GAMES.into(), roots)]));
}

#[test]
fn a_program_between_two_users_is_of_neither() {
    let broker = Broker::start("");
    // Real user nobody, effective user root: what a set-uid program is.
    let mut command = Command::new("setpriv");
    command.args([
        "--ruid",
        "65534",
        "--euid",
        "0",
        "--",
        GLASS,
        "exercise",
        "--pattern",
        "block",
        "--mib",
        "4",
    ]);
    let mut target = Target::start_quietly(&mut command);
    assert!(target.line().contains("\"pid\""));
    assert!(!broker.snapshot_as(NOBODY, target.pid()).status.success());
    assert_eq!(broker.log().last().expect("written")["event"], "refused");
    assert_untouched(target.pid());
}

/// A service that is not root may not have the kernel tell it by a signal when a thread of another user's
/// comes to user space (fs/fcntl.c, `sigio_perm`: root, or the same user; no capability counts). So a thread
/// is interrupted in its call, which is put right.
#[test]
fn what_a_service_of_its_own_user_attaches_to_goes_on_as_it_was() {
    const CALLS: &[&str] = &[
        "poll",
        "ppoll-sticky",
        "select",
        "epoll_wait",
        "nanosleep",
        "futex",
        "sigtimedwait",
        "semtimedop",
        "recv-limit",
        "accept-limit",
        "recv-all",
        "read-pipe",
        "write-pipe",
        "read-tty-vtime",
    ];
    let broker = Broker::start_as_the_service();
    assert_ne!(status(broker.pid(), "Uid").split_whitespace().next(), Some("0"));
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let binary = folder.path().join("target");
    fs::copy(std::env::current_exe().expect("the test binary has a path"), &binary).expect("copied");
    let (mut wrong, mut attached) = (Vec::new(), 0);
    for call in CALLS {
        let mut command = as_user(NOBODY, &binary.to_string_lossy());
        let mut target = Target::start_quietly(command.env(ROLE, format!("limited {call}")));
        assert_eq!(target.line(), "ready");
        let pid = target.pid();
        let (end, ended) = std::sync::mpsc::channel();
        let answer = std::thread::spawn(move || {
            let line = target.line();
            let _ = end.send(());
            line
        });
        // As often as it goes until the call has ended.
        while ended.try_recv().is_err() {
            attached += u32::from(broker.snapshot_as(NOBODY, pid).status.success());
        }
        let line = answer.join().expect("no panic");
        let said: Vec<i64> = line.split(' ').map(|word| word.parse().expect("a number")).collect();
        let (_, expected, errno) = limited::CALLS.iter().find(|(name, ..)| name == call).expect("known");
        let early = limited::LIMIT.as_millis() as i64 / 2;
        if said[..2] != [*expected, i64::from(*errno)] || said[2] < early || said[2] >= 40 * early {
            wrong.push(format!("{call}: {line}"));
        }
    }
    assert!(wrong.is_empty() && attached > 0, "{attached} times attached, {}", wrong.join("; "));
}

/// Children that end while their client stays: the process that serves it has started their keepers.
#[test]
fn no_keeper_stays_in_the_list_of_processes() {
    let broker = Broker::start("");
    let (one, other) = (target_of(NOBODY), target_of(NOBODY));
    let mut record = broker.client(NOBODY, &["record", &one.pid().to_string(), "-o"]);
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let mut record = record.arg(folder.path().join("one.mgr")).spawn().expect("started");
    wait_until("it is attached to", || events(&broker.log()).iter().any(|event| event.0 == "attached"));
    for _ in 0..3 {
        assert!(broker.snapshot_as(NOBODY, other.pid()).status.success());
    }
    drop(one);
    assert!(record.wait().expect("our own child").success());
    let dead = |pid: u32| status(pid, "Name") == "mg-keeper" && status(pid, "State").starts_with('Z');
    wait_until("their ends are noted", || {
        let processes = fs::read_dir("/proc").expect("there is one").flatten();
        let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let ours = |pid: u32| broker.clerks().iter().any(|clerk| status(pid, "PPid") == clerk.to_string());
        !numbers.any(|pid| dead(pid) && ours(pid))
    });
}

#[test]
fn it_keeps_nothing_but_what_attaching_takes() {
    let broker = Broker::start("");
    let field = |name| status(broker.pid(), name);
    let set = |name| u64::from_str_radix(&field(name), 16).expect("a set");
    // CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, CAP_SYS_NICE, CAP_PERFMON.
    let needed = 1 << 19 | 1 << 2 | 1 << 23 | 1u64 << 38;
    assert_eq!((set("CapEff"), set("CapPrm"), set("CapBnd")), (needed, needed, needed));
    assert_eq!((set("CapInh"), set("CapAmb")), (0, 0));
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
    // And nothing of a target after it has handed it over.
    let own = target_of(NOBODY);
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", broker.pid())).expect("it runs").count();
    let before = descriptors();
    assert!(broker.snapshot_as(NOBODY, own.pid()).status.success());
    wait_until("the client's socket is closed", || descriptors() == before);
}

/// What it calls while it attaches, as strace sees it: it looks for a `syscall` instruction, in code, and at
/// the one word that tells whether the thread may be stopped there.
#[test]
fn it_reads_code_and_no_other_memory() {
    let broker = Broker::start("");
    let own = target_of(NOBODY);
    let trace = broker.folder.path().join("trace");
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-p", &broker.pid().to_string(), "-o"])
        .arg(&trace)
        .spawn()
        .expect("strace is installed");
    wait_until("strace has attached", || status(broker.pid(), "TracerPid") != "0");
    let executable: Vec<(u64, u64)> = fs::read_to_string(format!("/proc/{}/maps", own.pid()))
        .expect("it runs")
        .lines()
        .filter(|line| line.split(' ').nth(1).is_some_and(|flags| flags.contains('x')))
        .filter_map(|line| {
            let (start, end) = line.split(' ').next()?.split_once('-')?;
            Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
        })
        .collect();
    for _ in 0..3 {
        assert!(broker.snapshot_as(NOBODY, own.pid()).status.success());
    }
    let strace_pid = nix::unistd::Pid::from_raw(strace.id().cast_signed());
    nix::sys::signal::kill(strace_pid, nix::sys::signal::Signal::SIGINT).expect("it runs");
    strace.wait().expect("our own child");

    let trace = fs::read_to_string(trace).expect("written");
    let calls =
        |name: &str| trace.lines().filter(|line| line.contains(&format!(" {name}("))).collect::<Vec<_>>();
    let reads = calls("process_vm_readv");
    assert!(reads.len() >= 3, "{reads:#?}");
    let mut others = 0;
    for read in reads {
        // process_vm_readv(PID, [{iov_base=…, iov_len=…}], 1, [{iov_base=0x…, iov_len=N}], 1, 0) = N
        let remote = read.rsplit("iov_base=0x").next().expect("it has one");
        let base = u64::from_str_radix(remote.split(',').next().expect("a number"), 16).expect("hexadecimal");
        if !executable.iter().any(|(start, end)| (*start..*end).contains(&base)) {
            // Whether the thread is within a restartable sequence: the one word that it shares with the
            // kernel (rseq(2)).
            assert!(remote.contains("iov_len=8}"), "{read}");
            others += 1;
        }
    }
    assert!(others <= 3, "at most one for each attach");
    for forbidden in
        ["process_vm_writev", "pwrite64", "execve", "io_uring_setup", "mount", "unlink", "rename"]
    {
        assert!(calls(forbidden).is_empty(), "{:#?}", calls(forbidden));
    }
    assert!(calls("ptrace").len() > 6, "the helper is seen, too");
    for call in calls("ptrace") {
        assert!(!call.contains("PEEK") && !call.contains("POKE"), "{call}");
    }
    for open in calls("openat").into_iter().chain(calls("open")) {
        assert!(
            !open.contains("/mem\"") && !open.contains("O_WRONLY") || open.contains("oom_score_adj"),
            "{open}"
        );
        assert!(!open.contains("O_RDWR") && !open.contains("O_CREAT"), "{open}");
    }
}

#[test]
fn its_death_changes_nothing_for_the_watched_nor_for_who_watches() {
    let mut broker = Broker::start("");
    let own = target_of(NOBODY);
    let mut client = broker
        .client(NOBODY, &["snapshot", &own.pid().to_string(), "--seconds", "3", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    // The answer goes out after the log has it; the client's trial on itself is over by then.
    wait_until("it is attached to", || events(&broker.log()).iter().any(|event| event.0 == "attached"));
    let pagemap = format!("/proc/{}/pagemap", own.pid());
    wait_until("the client has it", || {
        let fds = fs::read_dir(format!("/proc/{}/fd", client.id())).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|link| link.to_string_lossy() == pagemap)
    });
    broker.process.kill().expect("killed");
    broker.process.wait().expect("reaped");
    let output = client.wait_with_output_after();
    let report: Value = serde_json::from_slice(&output).expect("JSON");
    assert!(report["windows"].as_u64().expect("a number") > 10, "it watched on: {report}");
    assert_untouched(own.pid());
}

#[test]
fn the_death_of_who_watches_changes_nothing_for_the_broker_nor_for_the_watched() {
    let broker = Broker::start("");
    let own = target_of(NOBODY);
    for round in 0..20u64 {
        let mut client = broker
            .client(NOBODY, &["snapshot", &own.pid().to_string(), "--seconds", "60"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        std::thread::sleep(Duration::from_millis(5 * round));
        client.kill().expect("killed");
        client.wait().expect("reaped");
    }
    wait_until("nothing is left in the target", || userfaultfds(own.pid()) == 0);
    // The allowance of each new client is its own.
    assert!(broker.snapshot_as(NOBODY, own.pid()).status.success());
    assert_untouched(own.pid());
}

#[test]
fn who_floods_it_is_held_back_and_nobody_else() {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, recv, send, socket,
    };
    use std::os::fd::AsRawFd;

    let broker = Broker::start("");
    let own = target_of(NOBODY);
    let flood =
        socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    connect(flood.as_raw_fd(), &UnixAddr::new(&broker.socket()).expect("a path")).expect("connected");
    let mut answer = [0u8; 4096];
    let mut held_back = 0;
    for _ in 0..20_000 {
        let request = br#"{"may_watch":{"pids":[1]}}"#;
        send(flood.as_raw_fd(), request, MsgFlags::empty()).expect("sent");
        let length = recv(flood.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("answered");
        held_back += usize::from(answer[..length].starts_with(b"{\"refused\""));
    }
    assert!(held_back > 19_000, "{held_back}");
    assert_eq!(events(&broker.log()).iter().filter(|event| event.0 == "limited").count(), 1);
    assert!(broker.snapshot_as(NOBODY, own.pid()).status.success());
    // What is no request ends the connection, and only that one.
    send(flood.as_raw_fd(), b"\"shell\"", MsgFlags::empty()).expect("sent");
    let length = recv(flood.as_raw_fd(), &mut answer, MsgFlags::empty()).expect("answered");
    assert!(answer[..length].starts_with(b"{\"refused\""));
    assert_eq!(recv(flood.as_raw_fd(), &mut answer, MsgFlags::empty()), Ok(0));
    assert!(broker.snapshot_as(NOBODY, own.pid()).status.success());
}

/// Between the question whose process it is and the attach, its number goes to a process of root's: at
/// another instant in each round.
#[test]
fn a_number_that_changes_hands_never_hands_over_the_new_process() {
    const ROUNDS: u32 = 60;
    let last_pid = "/proc/sys/kernel/ns_last_pid";
    let broker = Broker::start("");
    // How long an attach takes here decides which instants are worth trying.
    let own = target_of(NOBODY);
    let begun = Instant::now();
    assert!(broker.snapshot_as(NOBODY, own.pid()).status.success());
    let usual = begun.elapsed();
    drop(own);
    let mut reused = 0;
    for round in 0..ROUNDS {
        let mut own = target_of(NOBODY);
        let pid = own.pid();
        let client = broker
            .client(NOBODY, &["snapshot", &pid.to_string(), "--seconds", "0.01", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        std::thread::sleep(usual * round / ROUNDS);
        own.kill();
        // Another program on this machine may be faster; then the round tells nothing.
        fs::write(last_pid, (pid - 1).to_string()).expect("root may");
        let mut roots = Command::new("sleep").arg("60").spawn().expect("started");
        let output = client.wait_with_output().expect("our own child");
        if roots.id() == pid {
            reused += 1;
            if output.status.success() {
                let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
                assert_ne!(report["comm"], "sleep", "round {round}: root's process was handed over");
            } else {
                assert!(!output.stderr.is_empty(), "round {round}: refused without a word");
            }
            assert_untouched(pid);
        }
        roots.kill().and_then(|()| roots.wait()).expect("our own child");
    }
    let attached = |line: &&Value| line["event"] == "attached" && line["target"]["uid"] == 0;
    assert_eq!(broker.log().iter().filter(attached).count(), 0);
    assert!(reused > ROUNDS / 4, "only {reused} of {ROUNDS} numbers were given to another process");
}

#[test]
fn a_userfaultfd_of_another_users_program_is_noticed_even_when_the_broker_is_gone() {
    const LENGTH: u64 = 4 << 20;
    let mut broker = Broker::start("[[allow]]\nuser = \"games\"\ntargets = [\"nobody\"]\n");
    // A library of its own would not be readable for that user everywhere: the program is copied to where it
    // is.
    let program = broker.folder.path().join("program");
    std::fs::copy(std::env::current_exe().expect("it has a path"), &program).expect("copied");
    let mut command = as_user(NOBODY, program.to_str().expect("text"));
    let mut target = Target::start_quietly(command.env(crate::support::ROLE, "obey"));
    assert_eq!(target.line(), "ready");
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("write {start} {} 1", LENGTH / crate::support::PAGE));
    let mut client =
        broker.client(GAMES, &["snapshot", &target.pid().to_string(), "--seconds", "6", "--json"]);
    let client = client.stdout(Stdio::piped()).spawn().expect("started");
    wait_until("it is attached", || broker.log().iter().any(|line| line["event"] == "attached"));
    broker.process.kill().and_then(|()| broker.process.wait().map(drop)).expect("our own child");
    // Not every user may make one that sees the kernel's accesses, too.
    let uffd = target.ask("uffd");
    wait_until("its registration succeeds", || {
        std::thread::sleep(Duration::from_millis(100));
        target.ask(&format!("uffd-register {uffd} {start} {LENGTH}")) == 0
    });
    let output = client.wait_with_output().expect("our own child");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(report["not_watched"].to_string().contains("has a userfaultfd of its own"), "{report}");
}
