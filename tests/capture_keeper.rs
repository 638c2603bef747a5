//! The keeper, as it is seen from outside: what it holds and what it can still do, that nobody else can do
//! more than watch, and that the target is left as it was whoever dies, and when. Much of it needs root.

#![allow(unsafe_code)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use memory_glass::capture::{GlassRamMonitor, MonitorConfig};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::work::Worker;
use support::{PAGE, ROLE, Target, assert_untouched, exact, status, userfaultfds, window, within};

const GLASS: &str = env!("CARGO_BIN_EXE_memory-glass");
const HUGE: u64 = 2 << 20;
const NOBODY: u32 = 65_534;
/// A user of Debian's who runs nothing.
const GAMES: u32 = 5;

fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The keepers of a target.
fn keepers(pid: u32) -> Vec<u32> {
    let of = |keeper: u32| {
        let facts = fs::read_dir(format!("/proc/{keeper}/fdinfo")).into_iter().flatten().flatten();
        facts.map(|fact| fs::read_to_string(fact.path()).unwrap_or_default()).any(|fact| {
            let number = fact.lines().find_map(|line| line.strip_prefix("Pid:"));
            number.is_some_and(|number| number.trim() == pid.to_string())
        })
    };
    let processes = fs::read_dir("/proc").expect("there is one").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.filter(|&number| status(number, "Name") == "mg-keeper" && of(number)).collect()
}

fn keeper(pid: u32) -> u32 {
    let all = keepers(pid);
    assert_eq!(all.len(), 1, "a watch has one keeper: {all:?}");
    all[0]
}

/// Mappings under write protection of a userfaultfd.
fn registered(pid: u32) -> usize {
    let smaps = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("the target lives");
    smaps.lines().filter(|line| line.starts_with("VmFlags:") && line.contains(" uw")).count()
}

fn mappings(pid: u32) -> usize {
    fs::read_to_string(format!("/proc/{pid}/maps")).expect("the target lives").lines().count()
}

fn rollup(pid: u32, field: &str) -> u64 {
    let size = support::status_of(&format!("/proc/{pid}/smaps_rollup"), field);
    size.trim_end_matches(" kB").parse().expect("a number")
}

/// Whether a thread of it has a tracer: the helper of an attach outlives its monitor for a moment.
fn is_traced(pid: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the target lives").flatten();
    let tracer = |path: std::path::PathBuf| support::status_of(&path.to_string_lossy(), "TracerPid");
    tasks.map(|task| tracer(task.path().join("status"))).any(|tracer| tracer != "0")
}

fn slay(pid: u32) {
    // It may have ended by itself.
    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
}

#[test]
fn only_the_keeper_has_the_userfaultfd_and_it_has_nothing_else() {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {}", 64 * PAGE));
    target.ask(&format!("write {start} 64 1"));
    let mut monitor = exact(target.pid());
    let keeper = keeper(target.pid());
    let links = |pid: u32| -> Vec<String> {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        fds.filter_map(|fd| Some(fs::read_link(fd.path()).ok()?.to_string_lossy().into_owned())).collect()
    };
    let ours = links(std::process::id());
    assert!(!ours.iter().any(|link| link.contains("userfaultfd")), "{ours:?}");
    let mut theirs = links(keeper);
    theirs.sort();
    let has = |what: &str| theirs.iter().any(|link| link.contains(what));
    assert!(theirs.len() == 5 && has("userfaultfd") && has("pidfd"), "{theirs:?}");
    assert!(has(&format!("/proc/{}/pagemap", target.pid())) && has("socket:"), "{theirs:?}");
    assert!(theirs.contains(&format!("/proc/{}/fd", target.pid())), "{theirs:?}");

    let field = |name| status(keeper, name);
    assert_eq!(
        (field("NoNewPrivs").as_str(), field("Seccomp").as_str(), field("Threads").as_str()),
        ("1", "2", "1")
    );
    // CAP_SYS_PTRACE and CAP_SYS_NICE at most, what rebuilding huge pages takes, and CAP_DAC_READ_SEARCH to
    // look through that list.
    let set = |name| u64::from_str_radix(&field(name), 16).expect("a set");
    assert_eq!(
        (set("CapPrm") | set("CapEff") | set("CapInh") | set("CapAmb")) & !(1 << 19 | 1 << 23 | 1 << 2),
        0
    );
    // A child of ours, so that no other process has to take note of its end.
    assert_eq!(field("PPid"), std::process::id().to_string());
    // Nothing of our memory lives on in it.
    assert!(rollup(keeper, "Private_Dirty") < 2048 && rollup(keeper, "Rss") < 16 << 10);
    // It cannot be looked into by its own user.
    assert_eq!(
        fs::metadata(format!("/proc/{keeper}/environ")).map(|of| of.permissions().mode() & 0o7777).ok(),
        Some(0o400)
    );

    // And it works.
    target.ask(&format!("write {start} 3 7"));
    assert_eq!(support::pages(&within(&window(&mut monitor), start, 64 * PAGE), start), [0, 7, 14]);
    monitor.detach().expect("detached");
    wait_until("the keeper ends", || keepers(target.pid()).is_empty());
    assert_eq!(registered(target.pid()), 0);
    assert_untouched(target.pid());
}

/// Children of a process that have ended and of whose end nobody took note.
fn dead_children(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let processes = fs::read_dir("/proc").expect("there is one").flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is = |pid: &u32| status(*pid, "PPid") == parent && status(*pid, "State").starts_with('Z');
    numbers.filter(is).collect()
}

#[test]
fn after_a_watch_there_is_no_dead_child_of_ours() {
    let target = Target::start("obey");
    for round in 0..20 {
        let monitor = exact(target.pid());
        // Dropped, it is not waited for.
        if round % 2 == 0 { monitor.detach().expect("detached") } else { drop(monitor) }
    }
    wait_until("all keepers end", || keepers(target.pid()).is_empty());
    wait_until("their ends are noted", || dead_children(std::process::id()).is_empty());
    // And nobody else's wait for children meets one.
    let monitor = exact(target.pid());
    let any = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
    assert_eq!(any, Ok(nix::sys::wait::WaitStatus::StillAlive), "the target lives, and is a child of ours");
    monitor.detach().expect("detached");
    assert_untouched(target.pid());
}

#[test]
fn the_death_of_the_keeper_ends_the_watch_with_a_word_and_nothing_else() {
    let worker = Worker::start(4, "sleep");
    let pid = worker.target.pid();
    // Until each thread has the memory that it allocates from.
    wait_until("it is under way", || worker.rounds() > 500);
    let before = mappings(pid);
    let mut monitor = exact(pid);
    window(&mut monitor);
    slay(keeper(pid));
    wait_until("the kernel has let go", || registered(pid) == 0);
    let error = monitor.scan().expect_err("nothing is seen any more").to_string();
    assert!(error.contains("keeper") && error.contains("attach to it again"), "{error}");
    let error = monitor.detach().expect_err("it says so").to_string();
    assert!(error.contains("keeper"), "{error}");
    worker.assert_alive();
    worker.assert_right();
    assert_untouched(pid);
    assert_eq!(mappings(pid), before);
    // And it can be watched again.
    let mut monitor = exact(pid);
    window(&mut monitor);
    assert!(registered(pid) > 0);
    drop(monitor);
    wait_until("it is let go", || registered(pid) == 0 && keepers(pid).is_empty());
}

#[test]
fn a_target_that_ends_ends_its_keeper() {
    let mut target = Target::start("obey");
    let pid = target.pid();
    let monitor = exact(pid);
    let keeper = keeper(pid);
    target.kill();
    wait_until("the keeper ends", || status(keeper, "Name") != "mg-keeper");
    monitor.detach().expect("there is nothing left to let go of");
}

/// Whoever dies, in whatever order and at whatever instant: `MEMORY_GLASS_STORM` is how often in all (300
/// unless said), as in capture_kill.rs. The keepers of a target at this instant, or as soon as there is one,
/// which on a busy machine takes a while.
fn met(pid: u32, waits: bool) -> Vec<u32> {
    let until = Instant::now() + Duration::from_secs(2);
    loop {
        let found = keepers(pid);
        if !waits || !found.is_empty() || Instant::now() > until {
            return found;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_storm_of_deaths() {
    let storm = std::env::var("MEMORY_GLASS_STORM").ok().and_then(|text| text.parse().ok()).unwrap_or(300u64);
    let worker = Worker::start(8, "sleep");
    let pid = worker.target.pid();
    // Until each thread has the memory that it allocates from.
    wait_until("it is under way", || worker.rounds() > 500);
    let before = mappings(pid);
    let mut random = fastrand::Rng::with_seed(0x5eed_0100);
    let (mut of_keepers, mut of_both) = (0, 0);
    for _ in 0..(storm / 5).max(1) {
        let mut monitor = Target::start_group(&format!("monitor {pid}"));
        let watcher = monitor.pid();
        std::thread::sleep(Duration::from_micros(random.u64(..25_000)));
        match random.u32(..4) {
            0 => slay(watcher),
            1 => {
                let victims = met(pid, random.bool());
                of_keepers += victims.len();
                victims.into_iter().for_each(slay);
                // Its client has noticed, or watches already by another one.
                worker.assert_alive();
                slay(watcher);
            }
            2 => {
                let victims = met(pid, random.bool());
                of_both += victims.len();
                victims.into_iter().chain([watcher]).for_each(slay);
            }
            _ => {
                slay(watcher);
                // In the midst of letting go.
                std::thread::sleep(Duration::from_micros(random.u64(..3_000)));
                keepers(pid).into_iter().for_each(slay);
            }
        }
        monitor.wait();
        // A helper whose monitor is dead may come to the target after its keeper has gone.
        wait_until("nothing is held", || {
            !is_traced(pid) && registered(pid) == 0 && keepers(pid).is_empty() && userfaultfds(pid) == 0
        });
        worker.assert_alive();
        worker.assert_right();
    }
    assert_eq!(mappings(pid), before, "mappings are left in pieces");
    assert!(storm < 100 || of_keepers > 0 && of_both > 0, "no keeper was met: {of_keepers}, {of_both}");
}

#[test]
fn many_mappings_are_watched_and_let_go_of() {
    let mut target = Target::start("obey");
    let pid = target.pid();
    target.ask("many 20000");
    let before = mappings(pid);
    let mut monitor = exact(pid);
    window(&mut monitor);
    assert!(registered(pid) >= 10_000, "{}", registered(pid));
    monitor.detach().expect("detached");
    assert_eq!((registered(pid), mappings(pid)), (0, before));
}

/// A target with so many bytes of huge pages in memory of this kind, or none where this machine makes none.
fn of_huge_pages(map: &str, length: u64, field: &str) -> Option<(Target, u64, u64)> {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("{map} {}", length + HUGE)).next_multiple_of(HUGE);
    target.ask(&format!("huge {start} {length}"));
    target.ask(&format!("write {start} {} 1", length / PAGE));
    let there = rollup(target.pid(), field);
    if there == 0 {
        println!("skipped: this machine makes no huge pages here ({field})");
        return None;
    }
    Some((target, start, there))
}

#[test]
fn huge_pages_are_whole_after_a_watch_that_ended_in_order() {
    const LENGTH: u64 = 256 << 20;
    let Some((mut target, start, before)) = of_huge_pages("mmap", LENGTH, "AnonHugePages") else { return };
    let mut monitor = exact(target.pid());
    window(&mut monitor);
    target.ask(&format!("write {start} {} 512", LENGTH / HUGE));
    window(&mut monitor);
    assert!(rollup(target.pid(), "AnonHugePages") < before, "the writes have split them");
    monitor.detach().expect("detached");
    wait_until("they are whole", || rollup(target.pid(), "AnonHugePages") >= before);
    assert_eq!(registered(target.pid()), 0);
}

#[test]
fn huge_pages_are_whole_after_the_death_of_who_watched() {
    const LENGTH: u64 = 256 << 20;
    let Some((mut target, start, before)) = of_huge_pages("mmap", LENGTH, "AnonHugePages") else { return };
    let resident = rollup(target.pid(), "Rss");
    let watcher = Target::start_group(&format!("monitor-steady {}", target.pid()));
    target.ask(&format!("write {start} {} 512", LENGTH / HUGE));
    assert!(rollup(target.pid(), "AnonHugePages") < before, "the writes have split them");
    // Given back meanwhile: what the target does not want any more, it does not get again.
    target.ask(&format!("dontneed {} {PAGE}", start + 9 * PAGE));
    target.ask(&format!("dontneed {} {HUGE}", start + 8 * HUGE));
    slay(watcher.pid());
    wait_until("they are whole", || rollup(target.pid(), "AnonHugePages") >= before - 2 * HUGE / 1024);
    wait_until("the keeper ends", || keepers(target.pid()).is_empty());
    assert!(rollup(target.pid(), "Rss") < resident, "the target got memory that it had given back");
}

#[test]
fn shared_huge_pages_are_whole_again() {
    const LENGTH: u64 = 64 << 20;
    const SWITCH: &str = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    let text = fs::read_to_string(SWITCH).unwrap_or_default();
    let was = text.split(['[', ']']).nth(1).unwrap_or("never").to_owned();
    if was == "never" && fs::write(SWITCH, "advise").is_err() {
        println!("skipped: shared huge pages are off, and only root may switch them on");
        return;
    }
    let made = of_huge_pages("mmap-shared", LENGTH, "ShmemPmdMapped");
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let Some((mut target, start, before)) = made else { return };
        let write = format!("write {start} {} 8", LENGTH / PAGE / 8);
        for killed in [false, true] {
            if killed {
                let watcher = Target::start_group(&format!("monitor-steady {}", target.pid()));
                target.ask(&write);
                slay(watcher.pid());
            } else {
                let mut monitor = exact(target.pid());
                target.ask(&write);
                window(&mut monitor);
                monitor.detach().expect("detached");
            }
            wait_until("they are whole", || rollup(target.pid(), "ShmemPmdMapped") >= before);
            wait_until("the keeper ends", || keepers(target.pid()).is_empty());
        }
    }));
    fs::write(SWITCH, was).expect("root may");
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}

/// What was huge before the first of two watches is whole after the second: the keeper of the first waits for
/// it.
#[test]
fn huge_pages_are_whole_after_the_last_of_several_watches() {
    let Some((mut target, start, before)) = of_huge_pages("mmap", 32 << 20, "AnonHugePages") else { return };
    let first = Target::start_group(&format!("monitor-steady {}", target.pid()));
    target.ask(&format!("write {start} 16 512"));
    slay(first.pid());
    let mut second = exact(target.pid());
    target.ask(&format!("write {start} 16 512"));
    window(&mut second);
    second.detach().expect("detached");
    wait_until("they are whole", || rollup(target.pid(), "AnonHugePages") >= before);
}

#[test]
fn who_wants_no_huge_pages_gets_none() {
    let Some((mut target, start, before)) = of_huge_pages("mmap", 8 * HUGE, "AnonHugePages") else { return };
    let config = MonitorConfig { restore_huge_pages: false, ..MonitorConfig::exact() };
    let mut monitor = GlassRamMonitor::with_config(target.pid(), config).expect("attached");
    window(&mut monitor);
    target.ask(&format!("write {start} 3 512"));
    monitor.detach().expect("detached");
    wait_until("the keeper ends", || keepers(target.pid()).is_empty());
    assert!(rollup(target.pid(), "AnonHugePages") < before);
}

/// All that a client of the broker's can try with what it gets, as another user than the target's, whom root
/// has allowed to watch.
const CLIENT: &str = r#"
import array, ctypes, errno, fcntl, json, mmap, os, socket, struct, sys
path, pid, start, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
broker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
broker.connect(path)
broker.send(json.dumps({"attach": {"pid": pid}}).encode())
said, others, _, _ = broker.recvmsg(65536, socket.CMSG_SPACE(4 * 8))
fds = [fd for _, _, fds in others for fd in array.array('i', fds)]
names = [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]
report = {"said": json.loads(said), "names": names, "done": []}
def attempt(what, do):
    try:
        do()
    except (OSError, ValueError):
        return
    report["done"].append(what)
page = ctypes.create_string_buffer(8192)
source = (ctypes.addressof(page) + 4095) & ~4095
requests = {
    "register missing": (0xc020aa00, struct.pack("QQQQ", start, length, 1, 0)),
    "register": (0xc020aa00, struct.pack("QQQQ", start, length, 2, 0)),
    "copy": (0xc028aa03, struct.pack("QQQQq", start, source, 4096, 0, 0)),
    "zero": (0xc020aa04, struct.pack("QQQq", start, 4096, 0, 0)),
    "move": (0xc028aa05, struct.pack("QQQQq", start, start + 4096, 4096, 0, 0)),
    "protect": (0xc018aa06, struct.pack("QQQ", start, length, 1)),
    "continue": (0xc020aa07, struct.pack("QQQq", start, 4096, 0, 0)),
    "poison": (0xc020aa08, struct.pack("QQQq", start, 4096, 0, 0)),
}
for fd, name in zip(fds, names):
    for what, (number, argument) in requests.items():
        attempt(f"{what} by {name}", lambda: fcntl.ioctl(fd, number, bytearray(argument)))
    if "socket" not in name:
        attempt(f"write by {name}", lambda: os.write(fd, b"x" * 4096))
        attempt(f"write at its place by {name}", lambda: os.pwrite(fd, b"x" * 4096, start))
    attempt(f"map {name}", lambda: mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ))
pidfd, keeper, pagemap, maps = fds
frames = os.pread(pagemap, 8, start // 4096 * 8)
report["frame"] = struct.unpack("Q", frames)[0] & ((1 << 55) - 1)
libc = ctypes.CDLL(None, use_errno=True)
def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")
for number in range(64):
    attempt(f"take descriptor {number} of the target", lambda: call(438, pidfd, number, 0))
attempt("open its memory", lambda: os.open(f"/proc/{pid}/mem", os.O_RDWR))
for entry in filter(str.isdigit, os.listdir("/proc")):
    try:
        if open(f"/proc/{entry}/comm").read() != "mg-keeper\n":
            continue
        theirs = os.pidfd_open(int(entry))
    except OSError:
        continue
    for number in range(64):
        attempt("take a descriptor of the keeper", lambda: call(438, theirs, number, 0))
    attempt("list the keeper's descriptors", lambda: os.listdir(f"/proc/{entry}/fd"))
    attempt("kill the keeper", lambda: os.kill(int(entry), 9))
link = socket.socket(fileno=keeper)
link.settimeout(30)
def ask(*words):
    link.send(struct.pack(f"{len(words)}Q", *words))
    answer = link.recv(65536)
    return struct.unpack(f"{len(answer) // 8}Q", answer)
report["nonsense"] = [ask(1, *pair)[1] for pair in [(start + 1, start + 4096), (start + 4096, start), (0, 1 << 63)]]
report["watch"] = ask(1, start, start + length)
def scan(flags):
    runs = bytearray(24 * 64)
    at = (ctypes.c_char * len(runs)).from_buffer(runs)
    argument = bytearray(struct.pack("12Q", 96, flags, start, start + length, 0, ctypes.addressof(at), 64, 0, 0, 10, 0, 2))
    found = fcntl.ioctl(pagemap, 0xc0606610, argument)
    return [(a - start) // 4096 for n in range(found) for a, b, _ in [struct.unpack_from("3Q", runs, 24 * n)] for a in range(a, b, 4096)]
armed = scan(3)
print("armed", flush=True)
sys.stdin.readline()
report["seen"] = scan(0)
# As many pieces as there could be.
refused = 0
for first in range(0, 120000, 500):
    words = [w for n in range(first, first + 500) for w in (start + length + n * 8192, start + length + n * 8192 + 4096)]
    refused += sum(1 for error in ask(1, *words)[1:] if error == errno.ENOMEM)
report["refused"] = refused
print(json.dumps(report), flush=True)
sys.stdin.readline()
# What is no message at all ends the watch.
link.send(b"shell")
while link.recv(65536):
    pass
print("over", flush=True)
sys.stdin.readline()
"#;

/// Without any capability, as after a login.
fn as_user(user: u32, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    let user = user.to_string();
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--", program]);
    command
}

#[test]
fn who_may_watch_can_only_watch() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: needs root, to be several users");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let open = |path: &std::path::Path| fs::set_permissions(path, fs::Permissions::from_mode(0o755));
    open(folder.path()).expect("ours");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("policy.toml"), "[[allow]]\nuser = \"games\"\ntargets = [\"nobody\"]\n").expect("written");
    let mut broker = Command::new(GLASS)
        .args(["broker", "--socket"])
        .arg(path("socket"))
        .arg("--policy")
        .arg(path("policy.toml"))
        .arg("--audit-log")
        .arg(path("audit/log.jsonl"))
        .stderr(fs::File::create(path("broker.log")).expect("made"))
        .spawn()
        .expect("started");
    let broker_pid = broker.id();
    wait_until("the broker confines itself", || {
        path("socket").exists() && status(broker_pid, "Seccomp") == "2"
    });

    let binary = std::env::current_exe().expect("the test binary has a path");
    let mut target = Target::start_quietly(as_user(NOBODY, &binary.to_string_lossy()).env(ROLE, "obey"));
    assert_eq!(target.line(), "ready");
    let length = 16 * PAGE;
    let beside = 240_000 * PAGE;
    let start = target.ask(&format!("mmap {}", length + beside));
    target.ask(&format!("small {start} {length}"));
    target.ask(&format!("write {start} 16 1"));

    let mut client = as_user(GAMES, "/usr/bin/python3");
    client.args(["-c", CLIENT]).arg(path("socket"));
    client.args([target.pid().into(), start, length].map(|number: u64| number.to_string()));
    let mut client = Target::start_quietly(&mut client);
    assert_eq!(client.line(), "armed");
    target.ask(&format!("write {start} 3 5"));
    client.say("look");
    let report: serde_json::Value = serde_json::from_str(&client.line()).expect("JSON");
    assert!(report["said"]["attached"].is_object(), "{report}");
    let names: Vec<&str> =
        report["names"].as_array().expect("a list").iter().filter_map(|name| name.as_str()).collect();
    assert!(!names.iter().any(|name| name.contains("userfaultfd")), "{names:?}");
    // Nothing that it tried was done.
    assert_eq!(report["done"], serde_json::json!([]), "{report}");
    assert_eq!(report["frame"], 0, "where the page lies is not said");
    assert_eq!(report["nonsense"], serde_json::json!([22, 22, 22]));
    // Watching works, and is exact.
    assert_eq!(report["watch"], serde_json::json!([1, 0]));
    assert_eq!(report["seen"], serde_json::json!([0, 5, 10]));
    // And not so many pieces that the target gets no more memory.
    assert!(report["refused"].as_u64().expect("a number") > 1000, "{report}");
    let more = target.ask(&format!("mmap {PAGE}"));
    assert!(more < u64::MAX / 2, "the target has no room for a mapping: {}", mappings(target.pid()));
    target.ask(&format!("write {more} 1 1"));
    // Memory is what the target has written, and nothing waits.
    target.ask(&format!("write {start} 16 1"));
    let mut word = |page: u64| target.ask(&format!("read {} 1 1", start + page * PAGE));
    assert_eq!((word(0), word(1), word(5), word(15)), (3, 2, 3, 2));
    assert_eq!(keepers(target.pid()).len(), 1);

    client.say("nonsense");
    assert_eq!(client.line(), "over");
    wait_until("nothing is watched any more", || registered(target.pid()) == 0);
    assert_untouched(target.pid());
    broker.kill().and_then(|()| broker.wait()).expect("our own child");
}
