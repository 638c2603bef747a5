//! X11 programs in the session: Xwayland comes with the first of them, and again after it was killed.
//!
//! Needs `Xwayland`, `xclock`, `xclip`, and `wl-copy` and `wl-paste` (wl-clipboard) on the PATH.

mod session;

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use session::{Session, until};

/// A program, killed with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A session, and the `DISPLAY` that its programs find. `None` where Xwayland is older than 23.1: there they
/// find none, and the session says why.
fn session() -> Option<(Session, String)> {
    let script = "echo ${DISPLAY-none} >$HOME/display; while kill -0 $PPID; do sleep 0.1; done";
    let session = Session::start(&["--socket", "wall", "--placement", "off", "--", "sh", "-c", script]);
    let display = until("the display", || {
        let text = fs::read_to_string(session.path("home/display")).unwrap_or_default();
        text.ends_with('\n').then(|| text.trim().to_owned())
    });
    let version = Command::new("Xwayland").arg("-version").output().expect("Xwayland is installed");
    let text = String::from_utf8_lossy(&version.stderr).into_owned();
    let (_, version) = text.split_once("Xwayland Version ").expect("it says its version");
    let version = version.lines().next().unwrap_or_default();
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).expect("a number");
    if major < 23 {
        assert_eq!(display, "none");
        assert!(session.log().contains("install 23.1 or later"), "{}", session.log());
        println!("skipped, but for that: Xwayland is {version}");
        return None;
    }
    assert!(display.starts_with(':'), "{display:?}");
    Some((session, display))
}

fn start(display: &str, words: &[&str]) -> Program {
    let child = Command::new(words[0])
        .args(&words[1..])
        .env("DISPLAY", display)
        .env_remove("XAUTHORITY")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    Program(child)
}

/// The Xwayland of this session.
fn xwayland(session: &Session) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", session.pid())).ok()?;
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "Xwayland")
    })
}

/// How much of the screen is white, percent: a clock's face is, and nothing else.
fn white(session: &Session) -> usize {
    let path = session.path("screen.png");
    session.msg(&["screenshot", path.to_str().expect("a name")]);
    let file = std::io::BufReader::new(fs::File::open(path).expect("the picture"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("its size")];
    let info = reader.next_frame(&mut bytes).expect("its pixels");
    let pixels: Vec<&[u8]> = bytes.chunks_exact(info.color_type.samples()).collect();
    100 * pixels.iter().filter(|pixel| pixel[..3] == [255, 255, 255]).count() / pixels.len()
}

/// It has all of the screen: it is a tile.
fn clock_is_shown(session: &Session) {
    until("the clock", || (white(session) > 70).then_some(()));
}

fn clock_is_gone(session: &Session) {
    until("the clock is gone", || (white(session) == 0).then_some(()));
}

#[test]
fn xwayland_comes_with_the_first_program_and_again_after_it_was_killed() {
    let Some((mut session, display)) = session() else { return };
    assert_eq!(xwayland(&session), None, "nobody has asked for it yet");
    let clock = start(&display, &["xclock"]);
    clock_is_shown(&session);
    let first = xwayland(&session).expect("it runs");
    drop(clock);
    clock_is_gone(&session);

    let _clock = start(&display, &["xclock"]);
    clock_is_shown(&session);
    assert_eq!(xwayland(&session), Some(first), "one serves all");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(first).expect("a process number"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
    clock_is_gone(&session);
    assert!(session.is_running());
    let _clock = start(&display, &["xclock"]);
    clock_is_shown(&session);
    assert!(xwayland(&session).is_some_and(|second| second != first));
}

#[test]
fn what_one_side_copies_the_other_pastes() {
    let Some((session, display)) = session() else { return };
    let _clock = start(&display, &["xclock"]);
    clock_is_shown(&session);
    let wayland = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("XDG_RUNTIME_DIR", session.path("run")).env("WAYLAND_DISPLAY", "wall");
        command
    };
    let x11 = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("DISPLAY", &display);
        command
    };
    let pasted = |command: &mut Command| {
        let output = command.stderr(Stdio::null()).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    };
    for (flag, selection) in [(None, "clipboard"), (Some("--primary"), "primary")] {
        let copy: Vec<&str> = ["wl-copy"].into_iter().chain(flag).chain(["from Wayland"]).collect();
        assert!(wayland(&copy).status().expect("wl-copy (package wl-clipboard)").success());
        until("pasted into X11", || {
            let text = pasted(&mut x11(&["xclip", "-o", "-selection", selection]));
            (text == "from Wayland").then_some(())
        });
        let mut xclip = x11(&["xclip", "-i", "-selection", selection])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("xclip");
        xclip.stdin.take().expect("piped").write_all(b"from X11").expect("it reads");
        xclip.wait().expect("it goes on in the background");
        let paste: Vec<&str> = ["wl-paste", "-n"].into_iter().chain(flag).collect();
        until("pasted into Wayland", || (pasted(&mut wayland(&paste)) == "from X11").then_some(()));
    }
}

#[test]
fn without_it_programs_find_no_display() {
    let session = Session::start_with(
        "xwayland = false\n",
        &["--", "sh", "-c", "echo ${DISPLAY-none} >$HOME/display; while kill -0 $PPID; do sleep 0.1; done"],
    );
    let display = until("the answer", || {
        let text = fs::read_to_string(session.path("home/display")).unwrap_or_default();
        text.ends_with('\n').then(|| text.trim().to_owned())
    });
    assert_eq!(display, "none");
}
