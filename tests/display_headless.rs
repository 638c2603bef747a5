//! The compositor without a display: real clients on a real socket, and what is on the (virtual) screen.
//!
//! Needs `foot`, `weston-simple-shm` and `wayland-info` on the PATH.

#![allow(unsafe_code)]

use std::os::unix::fs::DirBuilderExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use calloop::EventLoop;
use memory_glass::display::{BackendKind, Compositor, CompositorConfig, DisplayError, Placement, PlaneUse};
use memory_glass::render::{Caption, ColorPalette, Gpu, Image, MapTarget, Painter, Picture, RenderWorker};
use memory_glass::sensing::DensityMap;

const WIDTH: i32 = 900;
const HEIGHT: i32 = 600;
const BLUE: u32 = 0xff20_4080;

struct Fixture {
    event_loop: EventLoop<'static, Compositor>,
    compositor: Compositor,
}

/// Clients and compositor meet in `XDG_RUNTIME_DIR`, which a test machine does not always have.
fn runtime_directory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // One for all tests and runs, so that none is left behind by each: a socket's name is taken with a lock.
        let name = format!("memory-glass-tests-{}", nix::unistd::getuid());
        let directory = std::env::temp_dir().join(name);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.expect("a directory for sockets");
        // SAFETY: every test comes through here before it starts a thread or reads the environment.
        unsafe {
            std::env::set_var("XDG_RUNTIME_DIR", directory);
            std::env::remove_var("WAYLAND_DISPLAY");
        }
    });
}

impl Fixture {
    fn new(map: bool) -> Self {
        runtime_directory();
        let mut event_loop = EventLoop::try_new().expect("an event loop");
        let worker = map.then(|| RenderWorker::spawn().expect("a Vulkan device (mesa-vulkan-drivers)"));
        let config = CompositorConfig {
            headless_size: (WIDTH, HEIGHT),
            ..CompositorConfig::new(BackendKind::Headless)
        };
        let compositor = Compositor::new(config, &mut event_loop, worker).expect("a headless compositor");
        Self { event_loop, compositor }
    }

    /// Runs the loop until this holds. The time limit is only there to end a test that hangs.
    fn until<T>(&mut self, what: &str, mut condition: impl FnMut(&mut Compositor) -> Option<T>) -> T {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(value) = condition(&mut self.compositor) {
                return value;
            }
            if Instant::now() >= deadline {
                let image = self.compositor.screenshot(None).expect("a screenshot");
                let path = std::env::temp_dir().join("display_headless_timeout.png");
                image.write_png(&path).expect("the picture is written");
                panic!("{what} did not happen; the screen is in {}", path.display());
            }
            self.event_loop
                .dispatch(Some(Duration::from_millis(20)), &mut self.compositor)
                .expect("the loop runs");
        }
    }

    fn spawn(&mut self, command: &[&str]) -> u32 {
        let command: Vec<String> = command.iter().map(|&word| word.to_owned()).collect();
        self.compositor.spawn(&command).expect("the client starts")
    }

    /// A terminal that shows nothing but its background. In a locale without UTF-8 it would show a warning about that.
    fn spawn_plain(&mut self, colour: &str) -> u32 {
        self.spawn(&[
            "env",
            "LC_ALL=C.UTF-8",
            "foot",
            "--config=/dev/null",
            &format!("--override=colors.background={colour}"),
            "--override=colors.alpha=1.0",
            "sh",
            "-c",
            // Without a cursor.
            "printf '\\033[?25l'; exec sleep 1000",
        ])
    }

    fn spawn_blue(&mut self) -> u32 {
        self.spawn_plain("204080")
    }
}

fn at(image: &Image, x: i32, y: i32) -> u32 {
    image.pixels[(y * image.width as i32 + x) as usize]
}

/// The share of this rectangle that has this colour.
fn share(image: &Image, (x, y, w, h): (i32, i32, i32, i32), color: u32) -> f64 {
    let hits =
        (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))).filter(|&(x, y)| at(image, x, y) == color);
    hits.count() as f64 / f64::from(w * h)
}

fn picture(seed: usize) -> Arc<Picture> {
    let side = 64;
    let density =
        DensityMap::from_shape_fn((side, side), |(y, x)| ((x * 3 + y * 5 + seed) % 97) as f32 / 96.0);
    Arc::new(Picture::new(
        Arc::new(density),
        Caption {
            target: format!("test {seed}"),
            numbers: Vec::new(),
            status: "headless".into(),
            order: 6,
            bytes_per_cell: 4096.0,
            total_bytes: 64 * 64 * 4096,
            half_life: Duration::from_millis(250),
        },
        ColorPalette::Viridis,
    ))
}

/// The same picture, drawn without any of the display's code.
fn reference(picture: &Picture, width: u32, height: u32) -> Image {
    let gpu = Gpu::new().expect("a Vulkan device (mesa-vulkan-drivers)");
    let mut painter = Painter::new(&gpu).expect("the stage");
    let mut target = MapTarget::offscreen(&gpu, width, height).expect("a target");
    painter.draw(picture, &mut target).expect("a picture");
    target.read().expect("its pixels")
}

/// How many pixels of the map's area are not the reference's.
fn wrong(screen: &Image, reference: &Image, x0: i32, y0: i32) -> usize {
    let (w, h) = (reference.width as i32, reference.height as i32);
    (0..h)
        .flat_map(|y| (0..w).map(move |x| (x, y)))
        .filter(|&(x, y)| at(screen, x0 + x, y0 + y) != at(reference, x, y))
        .count()
}

#[test]
fn a_terminal_and_the_map_are_where_they_belong_to_the_pixel() {
    let mut fixture = Fixture::new(true);
    let shown = picture(1);
    fixture.compositor.show(shown.clone());
    fixture.spawn_blue();
    // 900 × 600 beside: a map of 450 × 600 on the right.
    let expected = reference(&shown, 450, 600);
    let screen = fixture.until("terminal and map", |compositor| {
        let screen = compositor.screenshot(None).expect("a screenshot");
        (share(&screen, (0, 0, 450, 600), BLUE) == 1.0 && wrong(&screen, &expected, 450, 0) == 0)
            .then_some(screen)
    });
    assert!(share(&screen, (0, 0, 450, 600), BLUE) == 1.0, "all of the left half is the client's");
    assert_eq!(wrong(&screen, &expected, 450, 0), 0);

    // The newest picture wins, without anything else changing.
    let newer = picture(2);
    fixture.compositor.show(picture(3));
    fixture.compositor.show(newer.clone());
    let expected = reference(&newer, 450, 600);
    fixture.until("the newest picture", |compositor| {
        let screen = compositor.screenshot(None).expect("a screenshot");
        (wrong(&screen, &expected, 450, 0) == 0 && share(&screen, (0, 0, 450, 600), BLUE) == 1.0)
            .then_some(())
    });
    // A frame counts when its vblank comes, which may be after the picture of it was taken.
    fixture.until("a frame with the map is presented", |compositor| {
        (compositor.status()[0].frames.map_composited > 0).then_some(())
    });
    let status = fixture.compositor.status();
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].resolution, (WIDTH, HEIGHT));
    let PlaneUse::Composited { reason } = &status[0].map else { panic!("{:?}", status[0].map) };
    assert!(!reason.is_empty());
    assert_eq!(status[0].frames.map_on_plane, 0);
}

#[test]
fn moving_the_map_resizes_the_clients() {
    let mut fixture = Fixture::new(true);
    let shown = picture(1);
    fixture.compositor.show(shown.clone());
    fixture.spawn_blue();
    let blue_at = |x: i32, y: i32| {
        move |compositor: &mut Compositor| {
            let screen = compositor.screenshot(None).expect("a screenshot");
            (at(&screen, x, y) == BLUE).then_some(screen)
        }
    };
    let screen = fixture.until("beside", blue_at(440, 10));
    assert_ne!(at(&screen, 460, 10), BLUE, "the right half is the map's");
    fixture.compositor.set_placement(Placement::Over);
    fixture.until("over: the upper right is the client's", blue_at(890, 10));
    // 3/5 of 600 square, 15 from the edges.
    let expected = reference(&shown, 360, 360);
    fixture.until("the map over the client", |compositor| {
        let screen = compositor.screenshot(None).expect("a screenshot");
        (wrong(&screen, &expected, 525, 225) == 0 && at(&screen, 890, 590) == BLUE).then_some(())
    });
    fixture.compositor.set_placement(Placement::Full);
    let expected = reference(&shown, WIDTH as u32, HEIGHT as u32);
    fixture.until("the map alone", |compositor| {
        let screen = compositor.screenshot(None).expect("a screenshot");
        (wrong(&screen, &expected, 0, 0) == 0).then_some(())
    });
    fixture.compositor.set_placement(Placement::Off);
    let screen = fixture.until("the client alone", blue_at(890, 590));
    assert!(share(&screen, (450, 0, 450, 600), BLUE) == 1.0);
    assert_eq!(fixture.compositor.status()[0].map, PlaneUse::Off);
    fixture.compositor.set_placement(Placement::Beside);
    fixture.until("back again", |compositor| {
        let screen = compositor.screenshot(None).expect("a screenshot");
        (wrong(&screen, &reference(&shown, 450, 600), 450, 0) == 0).then_some(())
    });
}

#[test]
fn two_windows_share_the_area_and_a_killed_one_leaves_it() {
    let mut fixture = Fixture::new(false);
    let first = fixture.spawn_blue();
    let all = (600, 0, 300, 600);
    fixture.until("one window", |compositor| {
        (share(&compositor.screenshot(None).expect("a screenshot"), all, BLUE) == 1.0).then_some(())
    });
    fixture.spawn_plain("802040");
    let red = 0xff80_2040;
    fixture.until("two halves", |compositor| {
        let screen = compositor.screenshot(None).expect("a screenshot");
        (at(&screen, 440, 10) == BLUE && share(&screen, (450, 0, 450, 600), red) == 1.0).then_some(())
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(first).expect("a process number"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
    fixture.until("the other has all", |compositor| {
        let screen = compositor.screenshot(None).expect("a screenshot");
        (at(&screen, 10, 10) == red && share(&screen, all, red) == 1.0).then_some(())
    });
    // It is reaped, too.
    fixture.until("no zombie", |_| nix::sys::signal::kill(pid, None).is_err().then_some(()));
}

#[test]
fn a_client_that_keeps_its_own_size_is_shown_and_animated() {
    let mut fixture = Fixture::new(false);
    fixture.spawn(&["weston-simple-shm"]);
    let backdrop = fixture.compositor.screenshot(None).expect("a screenshot").pixels[0];
    fixture.until("a moving picture", |compositor| {
        let screen = compositor.screenshot(None).expect("a screenshot");
        let drawn = (0..HEIGHT).filter(|&y| (0..150).any(|x| at(&screen, x, y) != backdrop)).count();
        (drawn > 100).then_some(())
    });
    let before = fixture.compositor.status()[0].frames.presented;
    fixture.until("frames go on", |compositor| {
        (compositor.status()[0].frames.presented > before + 20).then_some(())
    });
}

#[test]
fn nothing_is_drawn_when_nothing_changes() {
    let mut fixture = Fixture::new(false);
    fixture.spawn_blue();
    fixture.until("one window", |compositor| {
        (share(&compositor.screenshot(None).expect("a screenshot"), (600, 0, 300, 600), BLUE) == 1.0)
            .then_some(())
    });
    // The loop settles: turns without a frame, however long a slow machine takes for them.
    let mut last = (fixture.compositor.status()[0].frames.presented, 0);
    fixture.until("rest", |compositor| {
        let presented = compositor.status()[0].frames.presented;
        last = if presented == last.0 { (presented, last.1 + 1) } else { (presented, 0) };
        (last.1 >= 25).then_some(())
    });
}

#[test]
fn clients_find_the_globals_they_need() {
    let mut fixture = Fixture::new(false);
    let mut child = Command::new("wayland-info")
        .env("WAYLAND_DISPLAY", fixture.compositor.socket_name())
        .stdout(Stdio::piped())
        .spawn()
        .expect("wayland-info (package wayland-utils)");
    fixture.until("wayland-info ends", |_| child.try_wait().expect("a child"));
    let output = child.wait_with_output().expect("its output");
    let text = String::from_utf8_lossy(&output.stdout);
    for global in [
        "wl_compositor",
        "wl_subcompositor",
        "wl_shm",
        "wl_seat",
        "wl_output",
        "wl_data_device_manager",
        "xdg_wm_base",
        "zxdg_output_manager_v1",
        "zxdg_decoration_manager_v1",
        "wp_viewporter",
        "wp_presentation",
        "wp_cursor_shape_manager_v1",
        "wp_fractional_scale_manager_v1",
        "wp_single_pixel_buffer_manager_v1",
        "zwp_primary_selection_device_manager_v1",
    ] {
        assert!(text.contains(&format!("'{global}'")), "{global} is missing in:\n{text}");
    }
    assert!(
        text.contains("HEADLESS-1") && text.contains("width: 900 px, height: 600 px, refresh: 60.000 Hz"),
        "{text}"
    );
}

#[test]
fn programs_start_with_all_signals_and_the_socket() {
    use nix::sys::signal::{SigSet, Signal};
    let mut fixture = Fixture::new(false);
    // As the session does, which reads these as events of its loop.
    let blocked: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    blocked.thread_block().expect("signals blocked");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let script = format!("(grep SigBlk /proc/self/status; echo $WAYLAND_DISPLAY) >{}", file.path().display());
    fixture.spawn(&["sh", "-c", &script]);
    let text = fixture.until("its answer", |_| {
        let text = std::fs::read_to_string(file.path()).expect("the file");
        (text.lines().count() == 2).then_some(text)
    });
    blocked.thread_unblock().expect("signals unblocked");
    let expected = format!("SigBlk:\t{:016x}\n{}\n", 0, fixture.compositor.socket_name());
    assert_eq!(text, expected);
}

#[test]
fn what_cannot_work_is_refused_in_one_line() {
    runtime_directory();
    let mut fixture = Fixture::new(false);
    let error = fixture.compositor.spawn(&["/no/such/program".into()]).expect_err("nothing to start");
    assert!(matches!(error, DisplayError::Spawn { .. }) && !error.to_string().contains('\n'));
    let name = fixture.compositor.socket_name().to_owned();
    let config = CompositorConfig { socket: Some(name), ..CompositorConfig::new(BackendKind::Headless) };
    let mut event_loop = EventLoop::try_new().expect("an event loop");
    let error = Compositor::new(config, &mut event_loop, None).err().expect("the name is taken");
    assert!(matches!(error, DisplayError::Socket { .. }), "{error}");
    let config = CompositorConfig { headless_size: (0, 600), ..CompositorConfig::new(BackendKind::Headless) };
    assert!(Compositor::new(config, &mut event_loop, None).is_err());
}
