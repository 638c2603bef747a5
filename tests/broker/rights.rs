//! Who may: wherever the kernel refuses a debugger, and no rule of root's says otherwise, the broker refuses.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Broker, GAMES, NOBODY, as_user, target_of};
use crate::support::vforked::MARK;
use crate::support::{ROLE, Target, assert_untouched};

/// A client of the broker's that is not ours.
pub const ASKER: &str = include_str!("asker.py");

/// Begins with these words what runs as somebody; none is as we are.
fn becoming(words: &[&str]) -> Command {
    let mut words = words.iter().chain(&["/usr/bin/python3"]);
    let mut command = Command::new(words.next().expect("one at least"));
    command.args(words);
    command
}

/// Runs the other client; what it says, line by line.
pub fn ask(mut command: Command, broker: &Broker, arguments: &[&str]) -> Vec<Value> {
    command.arg("-c").arg(ASKER).arg(broker.socket()).args(arguments);
    let output = command.output().expect("python3 is there");
    let (said, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> =
        said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(!lines.is_empty(), "{command:?} says nothing: {words}");
    lines
}

const AS_NOBODY: [&str; 8] =
    ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all", "--"];

/// Something that sleeps, started by these words.
fn sleeper(words: &[&str], before: &str) -> Target {
    let script = format!("import ctypes, time; {before}; print('ready', flush=True); time.sleep(600)");
    let mut target = Target::start_quietly(becoming(words).args(["-c", &script]));
    assert_eq!(target.line(), "ready", "{words:?}");
    target
}

fn targets() -> Vec<(&'static str, Target)> {
    let undumpable = "ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)";
    let alike = ["--reuid", "65534", "--clear-groups", "--inh-caps=-all"];
    let with = |more: &[&'static str]| -> Vec<&'static str> {
        ["setpriv"].iter().chain(&alike).chain(more).chain(&["--"]).copied().collect()
    };
    let capable = [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--inh-caps=-all,+net_raw",
        "--ambient-caps=-all,+net_raw",
        "--",
    ];
    let mut unshared = AS_NOBODY.to_vec();
    unshared.extend(["unshare", "--user", "--map-root-user"]);
    vec![
        ("nobody's", target_of(NOBODY)),
        ("nobody's, not dumpable", sleeper(&AS_NOBODY, undumpable)),
        ("nobody's with another group", sleeper(&with(&["--rgid", "65534", "--egid", "5"]), "0")),
        ("nobody's with a capability", sleeper(&capable, "0")),
        ("nobody's, in a user namespace", sleeper(&unshared, "0")),
        ("games'", target_of(GAMES)),
        ("root's", target_of(0)),
        ("root's, not dumpable", sleeper(&["env"], undumpable)),
        ("between nobody and root", sleeper(&["setpriv", "--ruid", "65534", "--euid", "0", "--"], "0")),
    ]
}

/// Peers by their names, and how to become them.
fn peers() -> Vec<(&'static str, Vec<&'static str>, &'static str)> {
    let nobody = |more: &[&'static str]| AS_NOBODY.iter().chain(more).copied().collect::<Vec<_>>();
    let games = ["setpriv", "--reuid", "5", "--regid", "5", "--clear-groups", "--inh-caps=-all", "--"];
    vec![
        ("nobody", nobody(&[]), "matrix"),
        ("games", games.to_vec(), "matrix"),
        ("root", vec!["env"], "matrix"),
        (
            "a root without capabilities",
            vec!["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"],
            "matrix",
        ),
        (
            "a root that may not trace",
            vec!["setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-all", "--"],
            "matrix",
        ),
        ("nobody, root of a user namespace", nobody(&["unshare", "--user", "--map-root-user"]), "matrix"),
        ("root of a process namespace", vec!["unshare", "--pid", "--fork"], "matrix"),
        ("nobody in a Landlock domain", nobody(&[]), "confined"),
    ]
}

#[test]
fn wherever_the_kernel_refuses_the_broker_does() {
    let broker = Broker::start("");
    let mut targets = targets();
    // Nobody by its user, in memory of root's.
    let mut parent = Target::start_quietly(
        Command::new(std::env::current_exe().expect("known")).env(ROLE, format!("vforked {NOBODY}")),
    );
    let vforked: u32 = parent.line().parse().expect("a number");
    let mut names: BTreeMap<u64, &str> =
        targets.iter().map(|(name, target)| (u64::from(target.pid()), *name)).collect();
    names.insert(vforked.into(), "nobody's vfork child of root's");
    let pids: Vec<String> = names.keys().map(u64::to_string).collect();

    let mut table = Vec::new();
    for (peer, words, mode) in peers() {
        let arguments: Vec<&str> = [mode].into_iter().chain(pids.iter().map(String::as_str)).collect();
        let answers = ask(becoming(&words), &broker, &arguments);
        if answers == ["no Landlock"] {
            println!("skipped: this kernel has no Landlock");
            continue;
        }
        assert_eq!(answers.len(), names.len(), "{peer}: {answers:?}");
        for answer in answers {
            let target = names[&answer["pid"].as_u64().expect("a number")];
            let kernel = answer["kernel"].as_u64().expect("a number");
            for (which, handed) in answer["handed"].as_array().expect("two").iter().enumerate() {
                let got = handed[0].as_u64().expect("a number") > 0;
                assert!(
                    !got || kernel == 0,
                    "{peer} to {target}: the kernel refuses ({kernel}), and the broker hands over: {handed}"
                );
                let answer = handed[1].to_string();
                assert!(
                    got || answer.contains("may not be watched") || answer.contains("does not serve"),
                    "{peer} to {target}: refused for another reason: {answer}"
                );
                table.push((peer, target, which == 1, kernel == 0, got, answer));
            }
        }
    }
    for (peer, target, shown, kernel, got, answer) in &table {
        println!("{peer:36} {target:32} shown {shown:5} kernel {kernel:5} broker {got:5} {answer:.90}");
    }
    // And it is not that it refuses everything.
    let gets = |peer: &str, target: &str, shown: bool| {
        table.iter().any(|row| row.0 == peer && row.1 == target && row.2 == shown && row.4)
    };
    assert!(gets("nobody", "nobody's", true) && gets("games", "games'", true));
    assert!(
        gets("a root without capabilities", "root's", true)
            || table.iter().any(|row| {
                // Root's own programs have capabilities, which such a root may not look into.
                row.0 == "a root without capabilities" && row.1 == "root's" && !row.3
            })
    );
    assert!(!gets("nobody", "nobody's", false), "what is not shown is not believed");
    for name in names.values() {
        assert!(gets("root", name, false), "{name} by root");
    }
    for (_, target) in &mut targets {
        assert_untouched(target.pid());
    }
    kill(&vforked.to_string());
    parent.kill();
}

/// The child of a vfork gets another user, and only then, slowly, another memory.
#[test]
fn the_memory_that_a_vfork_child_leaves_is_never_handed_over() {
    const ROUNDS: u32 = 8;
    let broker = Broker::start("");
    let mut got = 0;
    for round in 0..ROUNDS {
        let mut parent = Target::start_quietly(
            Command::new(std::env::current_exe().expect("known")).env(ROLE, format!("vforked {NOBODY}")),
        );
        let child = parent.line();
        let asks = spawn_storm(&broker, &child, 2.0, false);
        std::thread::sleep(Duration::from_millis(u64::from(500 + 37 * round)));
        parent.say("go");
        for maps in finish_storm(asks) {
            assert!(!maps.contains(MARK), "round {round}: root's memory was handed over");
            got += usize::from(maps.contains("/sleep"));
        }
        kill(&child);
        parent.kill();
    }
    assert!(got > 0, "what is nobody's own in the end is handed over");
}

/// A program becomes another one, which is root's, at some instant of an attach.
#[test]
fn a_set_uid_program_is_never_handed_over_to_who_has_started_it() {
    const ROUNDS: u32 = 8;
    let broker = Broker::start("");
    let folder = broker.folder.path();
    let program = folder.join("suid-sleep");
    fs::copy("/bin/sleep", &program).expect("copied");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("ours");
    if !is_set_uid(&program) {
        println!("skipped: {} is on a file system without set-uid programs", folder.display());
        return;
    }
    let mut got = 0;
    for round in 0..ROUNDS {
        let mut command = as_user(NOBODY, "/bin/sh");
        command.arg("-c").arg("echo ready; read line; exec \"$0\" 60").arg(&program);
        let mut target = Target::start_quietly(&mut command);
        assert_eq!(target.line(), "ready");
        let asks = spawn_storm(&broker, &target.pid().to_string(), 2.0, round % 2 == 1);
        std::thread::sleep(Duration::from_millis(u64::from(500 + 37 * round)));
        target.say("go");
        for maps in finish_storm(asks) {
            assert!(!maps.contains("suid-sleep"), "round {round}: a set-uid program was handed over");
            got += 1;
        }
        assert_untouched(target.pid());
    }
    assert!(got > 0, "before, it is nobody's own");
}

fn is_set_uid(program: &Path) -> bool {
    let mut command = as_user(NOBODY, "/bin/sh");
    command.arg("-c").arg("\"$0\" 5 & sleep 0.5; grep Uid /proc/$!/status; kill -9 $!").arg(program);
    let output = command.output().expect("started");
    String::from_utf8_lossy(&output.stdout).split_whitespace().nth(2) == Some("0")
}

fn spawn_storm(broker: &Broker, pid: &str, seconds: f64, early: bool) -> std::process::Child {
    let mut command = as_user(NOBODY, "/usr/bin/python3");
    let when = if early { "early" } else { "anew" };
    command.arg("-c").arg(ASKER).arg(broker.socket()).args(["storm", pid, &seconds.to_string(), when]);
    command.stdout(Stdio::piped()).spawn().expect("python3 is there")
}

fn finish_storm(asks: std::process::Child) -> Vec<String> {
    let output = asks.wait_with_output().expect("our own child");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn kill(pid: &str) {
    let pid = nix::unistd::Pid::from_raw(pid.parse().expect("a number"));
    // It may have ended.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

/// The list of users of a rule is what the kernel would give a debugger of theirs.
#[test]
fn a_rule_for_a_users_processes_is_not_one_for_what_that_user_may_not_look_into() {
    let broker = Broker::start("[[allow]]\nuser = \"games\"\ntargets = [\"nobody\"]\n");
    let targets = targets();
    let pids: Vec<String> = targets.iter().map(|(_, target)| target.pid().to_string()).collect();
    let arguments: Vec<&str> = ["matrix"].into_iter().chain(pids.iter().map(String::as_str)).collect();
    let answers = ask(as_user(GAMES, "/usr/bin/python3"), &broker, &arguments);
    for ((name, target), answer) in targets.iter().zip(answers) {
        assert_eq!(answer["pid"], target.pid());
        let by_rule = answer["handed"][0][0].as_u64().expect("a number") > 0;
        assert_eq!(by_rule, *name == "nobody's", "{name}: {answer}");
    }
}
