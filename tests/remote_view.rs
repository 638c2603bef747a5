//! The screen as other programs see it: pictures of it, and who may not have them.
//!
//! Needs `grim`, `foot` and `wayland-info` on the PATH.

mod session;
mod viewer;

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use session::{Session, until};
use viewer::{Said, Viewer};
use wayland_client::globals::{GlobalListContents, registry_queue_init};
use wayland_client::protocol::wl_registry::WlRegistry;
use wayland_client::protocol::wl_shm::Format;
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, delegate_noop};
use wayland_protocols::wp::security_context::v1::client::wp_security_context_manager_v1::WpSecurityContextManagerV1;
use wayland_protocols::wp::security_context::v1::client::wp_security_context_v1::WpSecurityContextV1;

const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;

/// A session whose picture stands still: it watches nothing.
fn still() -> Session {
    let session = Session::start(&["--socket", "wall"]);
    until("the map is shown", || (presented(&session) > 0 && rests(&session)).then_some(()));
    session
}

fn presented(session: &Session) -> u64 {
    let text = session.msg(&["--json", "outputs"]);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    json["Ok"]["outputs"][0]["frames"]["map_composited"].as_u64().expect("a count")
}

fn rests(session: &Session) -> bool {
    let before = presented(session);
    std::thread::sleep(std::time::Duration::from_millis(200));
    presented(session) == before
}

fn screenshot(session: &Session) -> Vec<u32> {
    let path = session.path("screen.png");
    session.msg(&["screenshot", path.to_str().expect("a name")]);
    picture(&path)
}

fn picture(path: &Path) -> Vec<u32> {
    let file = std::io::BufReader::new(std::fs::File::open(path).expect("the picture"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("its size")];
    let info = reader.next_frame(&mut bytes).expect("its pixels");
    assert_eq!((info.width, info.height), (WIDTH, HEIGHT));
    let samples = info.color_type.samples();
    bytes.chunks_exact(samples).map(|b| u32::from_be_bytes([0, b[0], b[1], b[2]])).collect()
}

/// The map's half of the screen has more than a handful of colours; nothing else does.
fn has_map(pixels: &[u32]) -> bool {
    let colours: std::collections::HashSet<u32> = pixels.iter().copied().collect();
    colours.len() > 8
}

#[test]
fn grim_sees_what_the_screen_shows_map_included() {
    let session = still();
    let path = session.path("grim.png");
    let grim = Command::new("grim")
        .env("XDG_RUNTIME_DIR", session.path("run"))
        .env("WAYLAND_DISPLAY", "wall")
        .args(["-o", "HEADLESS-1"])
        .arg(&path)
        .output()
        .expect("grim is installed");
    assert!(grim.status.success(), "{}", String::from_utf8_lossy(&grim.stderr));
    let seen = picture(&path);
    assert!(has_map(&seen));
    assert!(seen == screenshot(&session), "grim's picture is another one");
}

#[test]
fn a_copy_that_waits_for_a_change_makes_no_frames_and_says_what_has_changed() {
    let session = still();
    let mut viewer = Viewer::connect(&session.path("run/wall"));
    let frame = viewer.wlr_frame(None);
    viewer.until(&Said::Done);
    let announced = Said::Shm { format: Format::Xrgb8888, width: WIDTH, height: HEIGHT, stride: 4 * WIDTH };
    assert_eq!(viewer.take(), [announced, Said::Done]);
    let shared = viewer.buffer(WIDTH, HEIGHT);
    frame.copy_with_damage(&shared.buffer);
    viewer.until(&Said::Ready);
    // Everything is new to who looks for the first time.
    assert_eq!(viewer.take(), [Said::Damage((0, 0, WIDTH.into(), HEIGHT.into())), Said::Ready]);
    assert!(shared.pixels() == screenshot(&session));
    frame.destroy();

    let frame = viewer.wlr_frame(None);
    viewer.until(&Said::Done);
    let _announcements = viewer.take();
    frame.copy_with_damage(&shared.buffer);
    let before = presented(&session);
    for _ in 0..10 {
        viewer.turn().expect("connected");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(viewer.take(), [], "nothing has changed");
    assert_eq!(presented(&session), before, "waiting draws nothing");
    session.msg(&["palette", "viridis"]);
    viewer.until(&Said::Ready);
    let said = viewer.take();
    // The map has the right half.
    assert!(
        matches!(said[..], [Said::Damage((x, ..)), .., Said::Ready] if x >= i64::from(WIDTH / 2)),
        "{said:?}"
    );
    assert!(shared.pixels() == screenshot(&session), "the new colours are in the buffer");
}

#[test]
fn a_part_of_the_screen_is_that_part() {
    let session = still();
    let mut viewer = Viewer::connect(&session.path("run/wall"));
    // Beyond the edge is clipped.
    let frame = viewer.wlr_frame(Some((200, 100, 1000, 40)));
    viewer.until(&Said::Done);
    let (width, height) = (120, 40);
    let announced = Said::Shm { format: Format::Xrgb8888, width, height, stride: 4 * width };
    assert_eq!(viewer.take(), [announced, Said::Done]);
    let shared = viewer.buffer(width, height);
    frame.copy(&shared.buffer);
    viewer.until(&Said::Ready);
    let screen = screenshot(&session);
    let expected: Vec<u32> = (100..140)
        .flat_map(|y| (200..320).map(move |x| (y * WIDTH + x) as usize))
        .map(|at| screen[at])
        .collect();
    assert!(shared.pixels() == expected);
    assert!(has_map(&expected), "the part is one with something in it");

    viewer.take();
    let _nothing_there = viewer.wlr_frame(Some((320, 0, 10, 10)));
    viewer.until(&Said::Failed);
}

#[test]
fn a_capture_session_waits_for_changes_and_refuses_what_does_not_fit() {
    let session = still();
    let mut viewer = Viewer::connect(&session.path("run/wall"));
    let capture = viewer.session();
    viewer.until(&Said::Done);
    assert_eq!(viewer.take(), [Said::Size(WIDTH, HEIGHT), Said::Done]);
    let shared = viewer.buffer(WIDTH, HEIGHT);
    let frame = viewer.frame(&capture);
    frame.attach_buffer(&shared.buffer);
    frame.damage_buffer(0, 0, WIDTH as i32, HEIGHT as i32);
    frame.capture();
    viewer.until(&Said::Ready);
    assert_eq!(viewer.take(), [Said::Damage((0, 0, WIDTH.into(), HEIGHT.into())), Said::Ready]);
    assert!(shared.pixels() == screenshot(&session));
    frame.destroy();

    let frame = viewer.frame(&capture);
    frame.attach_buffer(&shared.buffer);
    frame.capture();
    let before = presented(&session);
    for _ in 0..10 {
        viewer.turn().expect("connected");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!((viewer.take(), presented(&session)), (vec![], before), "nothing has changed");
    session.msg(&["palette", "viridis"]);
    viewer.until(&Said::Ready);
    assert!(shared.pixels() == screenshot(&session));
    frame.destroy();

    let small = viewer.buffer(10, 10);
    let frame = viewer.frame(&capture);
    frame.attach_buffer(&small.buffer);
    frame.capture();
    viewer.until(&Said::Failed);
    frame.destroy();

    // One frame at a time.
    let _first = viewer.frame(&capture);
    let _second = viewer.frame(&capture);
    assert!(viewer.turn().is_err());
    assert_eq!(viewer.protocol_error(), Some(("ext_image_copy_capture_session_v1".into(), 1)));
    assert!(rests(&session), "the session is as before");
}

struct Nothing;

impl Dispatch<WlRegistry, GlobalListContents> for Nothing {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: <WlRegistry as Proxy>::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

delegate_noop!(Nothing: WpSecurityContextManagerV1);
delegate_noop!(Nothing: WpSecurityContextV1);

fn globals(session: &Session, socket: &Path) -> String {
    let output = Command::new("wayland-info")
        .env("XDG_RUNTIME_DIR", session.path("run"))
        .env("WAYLAND_DISPLAY", socket)
        .output()
        .expect("wayland-info (package wayland-utils)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_sandboxed_program_cannot_look_at_the_screen_nor_type() {
    let session = Session::start(&["--socket", "wall"]);
    let privileged = [
        "zwlr_screencopy_manager_v1",
        "ext_image_copy_capture_manager_v1",
        "ext_output_image_capture_source_manager_v1",
        "zwlr_virtual_pointer_manager_v1",
        "wp_security_context_manager_v1",
    ];
    let has = |text: &str, global: &str| text.contains(&format!("'{global}'"));
    let outside = globals(&session, &session.path("run/wall"));
    for global in privileged {
        assert!(has(&outside, global), "{global} is missing in:\n{outside}");
    }

    // What a sandbox does: it makes a socket for its programs, and says that whoever comes in by it is confined.
    let inner = session.path("run/sandboxed");
    let listener = UnixListener::bind(&inner).expect("a socket");
    let (until_closed, close) = UnixStream::pair().expect("a pair of sockets");
    let stream = UnixStream::connect(session.path("run/wall")).expect("the session listens");
    let connection = Connection::from_socket(stream).expect("a connection");
    let (list, mut queue) = registry_queue_init::<Nothing>(&connection).expect("the globals");
    let handle = queue.handle();
    let manager: WpSecurityContextManagerV1 = list.bind(&handle, 1..=1, ()).expect("security contexts");
    let context = manager.create_listener(listener.as_fd(), close.as_fd(), &handle, ());
    context.set_sandbox_engine("org.memory-glass.test".into());
    context.set_app_id("test".into());
    context.commit();
    queue.roundtrip(&mut Nothing).expect("the context is made");

    let inside = globals(&session, &inner);
    for global in privileged {
        assert!(!has(&inside, global), "{global} is shown to a confined program");
    }
    for global in ["wl_compositor", "wl_shm", "xdg_wm_base", "wl_seat"] {
        assert!(has(&inside, global), "{global} is missing in:\n{inside}");
    }
    drop(until_closed);
}
