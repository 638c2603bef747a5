//! What cannot be attached to is refused in one line with a remedy, before it is touched.

#![allow(unsafe_code)]

mod support;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use memory_glass::GlassRamError;
use memory_glass::capture::{GlassRamMonitor, ProcessAttach, ProcessAttachCapability};
use nix::sys::ptrace;
use nix::unistd::Pid;
use support::work::Worker;
use support::{Target, status};

fn refusal(pid: u32) -> (GlassRamError, String) {
    let error = ProcessAttach::attach(pid).expect_err("it must be refused");
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    (error, text)
}

/// A child in some state, ended with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_dead_process() {
    let mut child = Command::new("true").spawn().expect("started");
    child.wait().expect("ended");
    assert_eq!(refusal(child.id()).0, GlassRamError::ProcessNotFound { pid: child.id() });
    assert_eq!(refusal(0).0, GlassRamError::ProcessNotFound { pid: 0 });
    assert_eq!(refusal(u32::MAX).0, GlassRamError::ProcessNotFound { pid: u32::MAX });
}

#[test]
fn ourselves_and_our_threads() {
    assert!(refusal(std::process::id()).1.contains("memory-glass itself"));
    let thread = std::thread::spawn(|| refusal(nix::unistd::gettid().as_raw() as u32).1);
    assert!(thread.join().expect("no panic").contains("memory-glass itself"));
}

#[test]
fn a_thread_of_a_process_names_the_process() {
    let worker = Worker::start(2, "sleep");
    let pid = worker.target.pid();
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it lives");
    let thread =
        tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).find(|tid| *tid != pid);
    assert!(refusal(thread.expect("a second thread")).1.contains(&format!("attach to {pid}")));
}

#[test]
fn a_zombie() {
    let child = Running(Command::new("true").spawn().expect("started"));
    while !status(child.0.id(), "State").starts_with('Z') {
        std::thread::yield_now();
    }
    assert!(refusal(child.0.id()).1.contains("zombie"));
}

#[test]
fn a_kernel_thread() {
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        assert!(refusal(2).1.contains("kernel thread"));
    } else {
        eprintln!("no kernel threads can be seen from here");
    }
}

#[test]
fn a_32_bit_program() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("pause32");
    let mut file = std::fs::File::create(&path).expect("created");
    file.write_all(&pause_32()).expect("written");
    file.set_permissions(std::fs::Permissions::from_mode(0o755)).expect("executable");
    drop(file);
    match Command::new(&path).spawn() {
        Ok(child) => {
            let child = Running(child);
            let text = refusal(child.0.id()).1;
            assert!(text.contains("32-bit") && text.contains("64-bit build"), "{text}");
        }
        Err(error) => eprintln!("this kernel runs no 32-bit programs: {error}"),
    }
}

/// The smallest 32-bit program that waits for ever: one header, one segment, `pause` in a loop.
fn pause_32() -> Vec<u8> {
    const BASE: u32 = 0x0804_8000;
    let code = [0xb8, 29, 0, 0, 0, 0xcd, 0x80, 0xeb, 0xf7];
    let length = 52 + 32 + code.len() as u32;
    let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0];
    for word in [1, BASE + 84, 52, 0, 0] {
        elf.extend_from_slice(&u32::to_le_bytes(word));
    }
    for half in [52u16, 32, 1, 40, 0, 0] {
        elf.extend_from_slice(&half.to_le_bytes());
    }
    for word in [1, 0, BASE, BASE, length, length, 5, 0x1000] {
        elf.extend_from_slice(&u32::to_le_bytes(word));
    }
    elf.extend_from_slice(&code);
    elf
}

#[test]
fn a_process_that_is_traced_names_its_tracer() {
    let worker = Worker::start(1, "sleep");
    let pid = worker.target.pid();
    ptrace::seize(Pid::from_raw(pid as i32), ptrace::Options::empty()).expect("seized");
    let text = refusal(pid).1;
    assert!(text.contains(&format!("traced by {}", std::process::id())), "{text}");
    worker.assert_alive();
}

#[test]
fn a_process_of_another_user() {
    let worker = Worker::start(1, "sleep");
    let mut asker = Target::start(&format!("unprivileged {}", worker.target.pid()));
    let text = asker.line();
    assert!(text.contains("may not be attached to") && text.contains("CAP_SYS_PTRACE"), "{text}");
    worker.assert_alive();
}

/// A filter that would kill the target for our call: root suspends it for the moment, and it is in force again afterwards.
#[test]
fn a_filtered_process_is_attached_to_only_with_its_filter_suspended() {
    let mut target = Target::start("filtered");
    let pid = target.pid();
    match GlassRamMonitor::new(pid) {
        Ok(monitor) => monitor.detach().expect("detached"),
        Err(error) => assert!(error.to_string().contains("seccomp"), "{error}"),
    }
    assert_eq!(status(pid, "Seccomp"), "2");
    assert_eq!(target.ask(""), 1, "it lives and listens");
}

/// `userfaultfd` costs a descriptor for a moment; a target without a free one is told so and lives on.
#[test]
fn a_process_without_a_free_descriptor() {
    let mut target = Target::start("full");
    let (error, text) = refusal(target.pid());
    assert!(matches!(error, GlassRamError::UffdError { errno: nix::libc::EMFILE, .. }), "{text}");
    assert_eq!(target.ask(""), 1, "it lives and listens");
}
