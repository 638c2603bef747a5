//! An unmodified interpreter that was running before: attached to by its number, watched, let go, and still right.

#![allow(unsafe_code)]

mod support;

use std::process::Command;

use memory_glass::capture::RegionKind;
use support::{Target, assert_untouched, exact, window};

/// Works on lists, dictionaries and a large byte array until it is told to stop, then says what a fixed amount of the same work gives.
const PROGRAM: &str = r"
import hashlib, select, sys
def work(rounds):
    table, block, digest = {}, bytearray(8 << 20), hashlib.sha256()
    for i in range(rounds):
        table[i % 5000] = [i] * 10
        block[(i * 4099) % len(block)] = i % 251
        if i % 2000 == 0:
            digest.update(block)
            digest.update(str(sum(map(sum, table.values()))).encode())
    return digest.hexdigest()
print('ready', flush=True)
seen = {work(4001)}
while not select.select([sys.stdin], [], [], 0)[0]:
    seen.add(work(4001))
print(len(seen), seen.pop(), flush=True)
";

#[test]
fn python_is_right_after_it_was_watched() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("no python3 on this machine");
        return;
    }
    let start = || {
        let mut python = Target::start_quietly(Command::new("python3").args(["-c", PROGRAM]));
        assert_eq!(python.line(), "ready");
        python
    };
    let mut undisturbed = start();
    undisturbed.say("stop");
    let expected = undisturbed.line();

    let mut python = start();
    let mut monitor = exact(python.pid());
    assert_eq!(monitor.target().comm.get(..6), Some("python"));
    let mut busy = 0;
    for _ in 0..10 {
        std::thread::sleep(std::time::Duration::from_millis(50));
        busy += usize::from(!window(&mut monitor).written.is_empty());
    }
    // Not each one: on a crowded machine an interpreter may not run at all for a while.
    assert!(busy >= 3, "an interpreter at work writes: {busy} of 10 windows");
    assert!(monitor.regions().iter().any(|region| region.kind() == RegionKind::Heap));
    monitor.detach().expect("detached");
    assert_untouched(python.pid());
    python.say("stop");
    assert_eq!(python.line(), expected);
    assert!(python.wait().success());
}
