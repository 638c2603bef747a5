//! `memory-glass top` in a terminal of its own (script(1) makes one, vt100 understands what is written to
//! it): what it draws, and that it leaves the terminal as it was.

mod session;

use std::io::{Read as _, Write as _};
use std::num::NonZeroU16;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use session::{Exercise, until};

/// A running `top`, and what is to be seen of it.
struct Top {
    script: Child,
    chunks: Receiver<Vec<u8>>,
    terminal: vt100::Parser,
}

impl Top {
    fn start(arguments: &str) -> Top {
        let binary = env!("CARGO_BIN_EXE_memory-glass");
        Self::run(&format!("stty rows 24 cols 80; exec {binary} top {arguments}"))
    }

    fn run(command: &str) -> Top {
        let mut script = Command::new("script")
            .args(["-qfec", command, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env_remove("COLORTERM")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script(1) is everywhere");
        let (mut output, (sender, chunks)) = (script.stdout.take().expect("piped"), channel());
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        let size = [24, 80].map(|cells| NonZeroU16::new(cells).expect("more than none"));
        Top { script, chunks, terminal: vt100::Parser::new(size[0], size[1], 0) }
    }

    fn type_keys(&mut self, keys: &str) {
        let stdin = self.script.stdin.as_mut().expect("piped");
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).expect("it reads");
    }

    fn screen(&self) -> &vt100::Screen {
        self.terminal.screen()
    }

    /// Waits until this is to be seen.
    fn until_drawn(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.screen().contents().contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let chunk = self.chunks.recv_timeout(left);
            let chunk = chunk.unwrap_or_else(|_| panic!("no {text:?} in\n{}", self.screen().contents()));
            self.terminal.process(&chunk);
        }
    }

    /// Its exit status, and whether the terminal shows again what it did before.
    fn ended(mut self) -> (Option<i32>, bool) {
        let status = until("it ends", || self.script.try_wait().expect("our own child"));
        while let Ok(chunk) = self.chunks.recv_timeout(Duration::from_secs(5)) {
            self.terminal.process(&chunk);
        }
        let screen = self.screen();
        (status.code(), !screen.alternate_screen() && !screen.hide_cursor())
    }
}

#[test]
fn the_map_and_the_numbers_are_drawn_and_keys_do_what_they_say() {
    let target = Exercise::start("block", 16);
    let mut top = Top::start(&target.pid().to_string());
    top.until_drawn("pages/s");
    assert!(top.screen().alternate_screen() && target.is_registered());
    // The second quarter of the memory is the lower left of the map, and written all the time.
    until("the map", || {
        top.until_drawn("written");
        let chunk = top.chunks.recv_timeout(Duration::from_secs(10)).ok();
        chunk.iter().for_each(|chunk| top.terminal.process(chunk));
        let hot = vt100::Color::Idx(229);
        let cells = (1..23).flat_map(|row| (0..44).map(move |column| (row, column)));
        let count = cells.filter(|(row, column)| {
            top.screen().cell(*row, *column).is_some_and(|cell| cell.fgcolor() == hot)
        });
        (count.count() > 150).then_some(())
    });
    top.type_keys("-");
    top.until_drawn("5 (32 × 32 cells)");
    top.type_keys("?");
    top.until_drawn("another palette");
    top.type_keys("x ");
    top.until_drawn("· held");
    top.type_keys("q");
    assert_eq!(top.ended(), (Some(0), true));
    target.assert_as_found();
}

#[test]
fn what_the_configuration_forbids_is_not_watched() {
    let target = Exercise::start("block", 4);
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config.toml");
    for (text, word) in [
        ("[security]\nallow-ptrace = false\n", "forbids"),
        ("palette = 7\n[security]\nallow-ptrace = false\n", "forbids"),
        ("[securty]\nallow-ptrace = true\n", "[security]"),
    ] {
        std::fs::write(&config, text).expect("written");
        let mut top = Top::start(&format!("--config {} {}", config.display(), target.pid()));
        top.until_drawn(word);
        assert_eq!(top.ended().0, Some(1), "{text}");
    }
    target.assert_as_found();
}

#[test]
fn a_signal_leaves_the_terminal_and_the_target_as_they_were() {
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT] {
        let target = Exercise::start("stride", 4);
        let mut top = Top::start(&target.pid().to_string());
        top.until_drawn("pages/s");
        let pid = until("its process", || {
            let children = format!("/proc/{0}/task/{0}/children", top.script.id());
            std::fs::read_to_string(children).ok()?.split_whitespace().next()?.parse().ok()
        });
        kill(Pid::from_raw(pid), signal).expect("it runs");
        assert_eq!(top.ended(), (Some(0), true), "{signal}");
        target.assert_as_found();
    }
}

/// Both where the hang-up is a signal and where that is ignored, as under nohup(1).
#[test]
fn a_terminal_that_is_closed_ends_it_and_lets_the_target_go() {
    for trap in [":", ""] {
        let target = Exercise::start("stride", 4);
        let folder = tempfile::tempdir().expect("a folder");
        let status = folder.path().join("status");
        let binary = env!("CARGO_BIN_EXE_memory-glass");
        let command = format!(
            "stty rows 24 cols 80; trap '{trap}' HUP; {binary} top {}; echo $? > {}.new; mv {}.new {}",
            target.pid(),
            status.display(),
            status.display(),
            status.display()
        );
        let mut top = Top::run(&command);
        top.until_drawn("pages/s");
        top.script.kill().expect("it runs");
        top.script.wait().expect("our own child");
        let code = until("top ends", || std::fs::read_to_string(&status).ok());
        assert_eq!(code.trim(), "1", "trap {trap:?}");
        target.assert_as_found();
    }
}

#[test]
fn without_colours_the_map_is_told_by_characters() {
    let target = Exercise::start("block", 4);
    let binary = env!("CARGO_BIN_EXE_memory-glass");
    let mut top = Top::run(&format!("stty rows 24 cols 80; NO_COLOR=1 exec {binary} top {}", target.pid()));
    top.until_drawn("pages/s");
    top.until_drawn("░");
    top.until_drawn("█");
    let cells = (0..24).flat_map(|row| (0..80).map(move |column| (row, column)));
    let coloured = cells
        .filter_map(|(row, column)| top.screen().cell(row, column))
        .any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default);
    assert!(!coloured, "{}", top.screen().contents());
    top.type_keys("q");
    assert_eq!(top.ended(), (Some(0), true));
}

#[test]
fn without_a_terminal_it_says_so() {
    let output = session::glass().args(["top", "1"]).stdin(Stdio::null()).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(complaint.contains("top needs a terminal"), "{complaint}");
}
