//! The session in a window of a desktop, X11 or Wayland: seen from outside, by the desktop's own means.
//!
//! Needs `Xvfb`, `xwd`, `xdotool` and `weston` on the PATH.

mod session;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use session::{Session, until};
use x11rb::protocol::xproto::{ClientMessageEvent, ConnectionExt as _, EventMask};
use x11rb::wrapper::ConnectionExt as _;

const WIDTH: usize = 320;
const HEIGHT: usize = 240;

/// A desktop, killed with the test.
struct Desktop {
    child: Child,
}

impl Drop for Desktop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An X server on a display of its own; returns the value of `DISPLAY`, too.
fn x_server() -> (Desktop, String) {
    let mut child = Command::new("Xvfb")
        .args(["-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("Xvfb (package xvfb)");
    let mut number = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut number).expect("its display");
    (Desktop { child }, format!(":{}", number.trim()))
}

fn xdotool(display: &str, words: &[&str]) -> String {
    let output =
        Command::new("xdotool").env("DISPLAY", display).args(words).output().expect("xdotool is installed");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What a window manager sends when its button to close the window is pressed.
fn close(display: &str, window: u32) {
    let (connection, _) = x11rb::connect(Some(display)).expect("the X server");
    let atom = |name: &str| {
        let cookie = connection.intern_atom(false, name.as_bytes()).expect("asked");
        cookie.reply().expect("an atom").atom
    };
    let data = [atom("WM_DELETE_WINDOW"), 0, 0, 0, 0];
    let event = ClientMessageEvent::new(32, window, atom("WM_PROTOCOLS"), data);
    connection.send_event(false, window, EventMask::NO_EVENT, event).expect("sent");
    connection.sync().expect("arrived");
}

/// The window's pixels, as the X server has them, row by row.
fn window(display: &str, id: &str) -> (usize, usize, Vec<u32>) {
    let output = Command::new("xwd")
        .env("DISPLAY", display)
        .args(["-silent", "-id", id])
        .output()
        .expect("xwd (package x11-apps)");
    let data = output.stdout;
    let word =
        |at: usize| u32::from_be_bytes(data[4 * at..4 * at + 4].try_into().expect("a header")) as usize;
    // XWDFile.h: header size, …, width, height, …, bytes a line, …, colours.
    let (header, width, height, stride, colours) = (word(0), word(4), word(5), word(12), word(19));
    assert_eq!((word(2), word(11), word(7)), (2, 32, 0), "pixels of 32 bits, least significant byte first");
    let pixels = &data[header + 12 * colours..];
    let rows = (0..height).flat_map(|y| pixels[y * stride..y * stride + 4 * width].chunks_exact(4));
    (width, height, rows.map(|p| u32::from_le_bytes([p[0], p[1], p[2], 0])).collect())
}

fn picture(path: &Path) -> (usize, usize, Vec<u32>) {
    let file = BufReader::new(std::fs::File::open(path).expect("the picture"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("its size")];
    let info = reader.next_frame(&mut bytes).expect("its pixels");
    let samples = info.color_type.samples();
    let pixels = bytes.chunks_exact(samples).map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]])).collect();
    (info.width as usize, info.height as usize, pixels)
}

fn screenshot(session: &Session) -> (usize, usize, Vec<u32>) {
    let path = session.path("screen.png");
    session.msg(&["screenshot", path.to_str().expect("a name")]);
    picture(&path)
}

/// The same picture. The software driver rounds a colour that no byte holds (the backdrop) up in one tile and
/// down in another.
fn alike(one: &(usize, usize, Vec<u32>), other: &(usize, usize, Vec<u32>)) -> bool {
    let near = |(a, b): (&u32, &u32)| {
        a.to_le_bytes().into_iter().zip(b.to_le_bytes()).all(|(a, b)| a.abs_diff(b) <= 1)
    };
    (one.0, one.1) == (other.0, other.1) && one.2.iter().zip(&other.2).all(near)
}

#[test]
fn in_a_window_of_an_x_desktop() {
    let (_desktop, display) = x_server();
    let mut session = Session::start_in("", &["--backend", "winit"], &[("DISPLAY", &display)]);
    let id = until("the window", || {
        let found = Command::new("xdotool")
            .env("DISPLAY", &display)
            .args(["search", "--name", "^memory.glass$"])
            .output()
            .expect("xdotool is installed");
        let id = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        (!id.is_empty()).then_some(id)
    });
    let shows_the_session = |size: (usize, usize)| {
        until("the window shows what the session shows", || {
            let (window, session) = (window(&display, &id), screenshot(&session));
            ((window.0, window.1) == size && alike(&window, &session)).then_some(())
        });
    };
    shows_the_session((WIDTH, HEIGHT));
    let words = session.msg(&["outputs"]);
    assert!(words.contains("WINDOW-1") && words.contains("composited: "), "{words}");

    xdotool(&display, &["windowsize", "--sync", &id, "500", "300"]);
    shows_the_session((500, 300));
    let output = &session.state().outputs[0];
    assert_eq!((output.width, output.height), (500, 300));

    // Keys arrive: the map is moved by its hotkey.
    xdotool(&display, &["windowfocus", "--sync", &id]);
    let placement = session.state().placement;
    until("the hotkey", || {
        xdotool(&display, &["key", "super+o"]);
        (session.state().placement != placement).then_some(())
    });
    shows_the_session((500, 300));

    // Nothing changes, nothing is drawn.
    let frames = || {
        let json: serde_json::Value =
            serde_json::from_str(&session.msg(&["--json", "outputs"])).expect("JSON");
        json["Ok"]["outputs"][0]["frames"]["presented"].as_u64().expect("a count")
    };
    until("rest", || {
        let before = frames();
        std::thread::sleep(std::time::Duration::from_millis(300));
        (frames() == before).then_some(())
    });

    close(&display, id.parse().expect("a number"));
    assert!(session.wait().success(), "closing the window ends the session");
}

/// A Wayland desktop that answers, and the folder of its socket.
fn wayland_desktop() -> (Desktop, tempfile::TempDir) {
    let runtime = tempfile::Builder::new().prefix("glass-desktop-").tempdir().expect("a directory");
    let child = Command::new("weston")
        .args(["--backend=headless-backend.so", "--socket=desktop", "--idle-time=0", "--use-pixman"])
        .args(["--width=800", "--height=600", "--no-config"])
        .env("XDG_RUNTIME_DIR", runtime.path())
        .env_remove("WAYLAND_DISPLAY")
        .env_remove("DISPLAY")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("weston is installed");
    let desktop = Desktop { child };
    let socket = runtime.path().join("desktop");
    until("the desktop", || socket.exists().then_some(()));
    (desktop, runtime)
}

#[test]
fn in_a_window_of_a_wayland_desktop() {
    let (_desktop, runtime) = wayland_desktop();
    let socket = runtime.path().join("desktop");
    let socket = socket.to_str().expect("a name");
    let session = Session::start_in("", &["--backend", "winit"], &[("WAYLAND_DISPLAY", socket)]);
    // The desktop has answered frames of ours.
    until("frames are shown", || {
        let json: serde_json::Value =
            serde_json::from_str(&session.msg(&["--json", "outputs"])).expect("JSON");
        (json["Ok"]["outputs"][0]["frames"]["map_composited"].as_u64() >= Some(1)).then_some(())
    });
    let (width, height, pixels) = screenshot(&session);
    assert_eq!((width, height), (WIDTH, HEIGHT));
    let colours: std::collections::HashSet<u32> = pixels.into_iter().collect();
    assert!(colours.len() > 8, "the map is in it");
    assert!(session.msg(&["outputs"]).contains("composited: "));
}

#[test]
fn a_desktop_that_is_gone_ends_the_session_which_says_so() {
    let (desktop, runtime) = wayland_desktop();
    let socket = runtime.path().join("desktop");
    let socket = socket.to_str().expect("a name");
    let target = session::Exercise::start("block", 4);
    let pid = target.pid().to_string();
    let script = "echo $$ >$HOME/program; exec sleep 1000";
    let arguments = ["--backend", "winit", "--target", &pid, "--", "sh", "-c", script];
    let mut session = Session::start_in("", &arguments, &[("WAYLAND_DISPLAY", socket)]);
    until("it is watched", || session.state().target.is_some().then_some(()));
    let program = until("its program", || {
        let text = std::fs::read_to_string(session.path("home/program")).unwrap_or_default();
        text.trim().parse::<u32>().ok().filter(|_| text.ends_with('\n'))
    });
    // Killed, and not asked.
    drop(desktop);
    assert_eq!(session.wait().code(), Some(1), "{}", session.log());
    let log = session.log();
    assert!(log.lines().last().is_some_and(|last| last.contains("is gone")), "{log}");
    assert_eq!(log.matches("Broken pipe").count(), 0, "said once, in our words: {log}");
    target.assert_as_found();
    assert!(!Path::new(&format!("/proc/{program}")).exists(), "a program of the session ends with it");
}

#[test]
fn no_desktop_is_said_in_one_line() {
    let runtime = tempfile::tempdir().expect("a directory");
    let output = session::glass()
        .args(["session", "--backend", "winit"])
        .env("XDG_RUNTIME_DIR", runtime.path())
        .env_remove("WAYLAND_DISPLAY")
        .env("DISPLAY", ":4711")
        .env("RUST_LOG", "off")
        .output()
        .expect("it runs");
    assert!(!output.status.success());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.contains("--backend headless"), "{complaint}");
}
