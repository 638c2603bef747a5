//! Outputs as a wall, without displays: places, scales, spans and mirrors, a map of its own for each output, and power.

mod session;

use memory_glass::ipc::{Mode, Output, OutputState, Placement, Request, Response};
use session::{Exercise, Session, until};

const FIRST: &str = "HEADLESS-1";
const SECOND: &str = "HEADLESS-2";

fn outputs(session: &Session) -> Vec<Output> {
    match session.connect().ask(&Request::Outputs) {
        Ok(Response::Outputs(outputs)) => outputs,
        other => panic!("{other:?}"),
    }
}

fn output(session: &Session, name: &str) -> OutputState {
    let found = session.state().outputs.into_iter().find(|output| output.connector == name);
    found.unwrap_or_else(|| panic!("no {name}"))
}

fn target(session: &Session, name: &str) -> Option<u32> {
    output(session, name).target.map(|target| target.pid)
}

fn pixels(session: &Session, output: &str) -> (u32, u32, Vec<u8>) {
    let file = session.path("screen.png");
    session.msg(&["screenshot", file.to_str().expect("UTF-8"), "--output", output]);
    read(&file)
}

fn read(file: &std::path::Path) -> (u32, u32, Vec<u8>) {
    let decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file).expect("written")));
    let mut reader = decoder.read_info().expect("a PNG");
    let mut bytes = vec![0; reader.output_buffer_size().expect("small")];
    let info = reader.next_frame(&mut bytes).expect("a picture");
    bytes.truncate(info.buffer_size());
    (info.width, info.height, bytes)
}

/// Saves the configuration, and waits until it is in force.
fn configure(session: &Session, text: &str) {
    let loaded = session.state().config.loaded;
    std::fs::write(session.config_file(), text).expect("written");
    until("the configuration is read", || {
        let config = session.state().config;
        assert_eq!(config.error, None);
        (config.loaded > loaded).then_some(())
    });
}

#[test]
fn each_output_shows_what_was_asked_for_it() {
    let (first, second, third) =
        (Exercise::start("block", 4), Exercise::start("stride", 4), Exercise::start("mixed", 4));
    let config = format!(
        "[[output]]\nconnector = \"{SECOND}\"\ntarget = \"{}\"\nplacement = \"full\"\n",
        second.pid()
    );
    let session = Session::start_with(&config, &["--outputs", "2", "--target", &first.pid().to_string()]);
    until("both are watched", || {
        (target(&session, FIRST) == Some(first.pid()) && target(&session, SECOND) == Some(second.pid()))
            .then_some(())
    });
    assert_eq!(session.state().target.map(|target| target.pid), Some(first.pid()));
    assert_eq!(output(&session, SECOND).placement, Placement::Full);

    // By hand, on one of them only; the configured one is kept, as it is to come back.
    session.msg(&["watch", &third.pid().to_string(), "--output", SECOND]);
    assert_eq!(target(&session, SECOND), Some(third.pid()));
    assert_eq!(target(&session, FIRST), Some(first.pid()));
    session.msg(&["unwatch", "--output", SECOND]);
    assert_eq!(target(&session, SECOND), Some(second.pid()));
    third.assert_as_found();

    // The session's own target changes what says nothing else.
    session.msg(&["watch", &third.pid().to_string()]);
    assert_eq!((target(&session, FIRST), target(&session, SECOND)), (Some(third.pid()), Some(second.pid())));
    first.assert_as_found();
    session.msg(&["unwatch"]);
    assert_eq!((target(&session, FIRST), target(&session, SECOND)), (None, Some(second.pid())));
    third.assert_as_found();
    assert!(second.is_registered());

    session.msg(&["placement", "over", "--output", FIRST]);
    assert_eq!(output(&session, FIRST).placement, Placement::Over);
    assert_eq!(output(&session, SECOND).placement, Placement::Full);
    session.msg(&["placement", "beside"]);
    assert_eq!(output(&session, FIRST).placement, Placement::Beside);
    let complaint = session.refused(&["placement", "off", "--output", "DP-9"]);
    assert!(complaint.contains("no output DP-9"), "{complaint}");
    session.refused(&["watch", "1", "--output", "DP-9"]);
    session.refused(&["power", "off", "--output", "DP-9"]);

    // Without its rule the configured one is nobody's any more.
    configure(&session, "");
    assert_eq!(target(&session, SECOND), None);
    second.assert_as_found();
}

#[test]
fn each_output_shows_it_in_its_own_way() {
    let target = Exercise::start("mixed", 4);
    let config = format!("[[output]]\nconnector = \"{SECOND}\"\nmap-mode = \"phase\"\n");
    let pid = target.pid().to_string();
    let session = Session::start_with(&config, &["--outputs", "2", "--socket", "wall", "--target", &pid]);
    let modes = |session: &Session| (output(session, FIRST).mode, output(session, SECOND).mode);
    assert_eq!(modes(&session), (Mode::Heatmap, Mode::Phase));
    let pictures = |session: &Session| {
        session.msg(&["freeze", "on"]);
        let shown = [FIRST, SECOND].map(|name| grim(session, name));
        session.msg(&["freeze", "off"]);
        shown
    };
    until("one process, two pictures", || {
        let [first, second] = pictures(&session);
        (first != second).then_some(())
    });
    // A screenshot is of the output that was asked for, and without a name of the one with the focus: nothing has it, so the first.
    session.msg(&["freeze", "on"]);
    let file = session.path("focused.png");
    // A picture that was being drawn when it was frozen may still come.
    until("it is the first one's", || {
        session.msg(&["screenshot", file.to_str().expect("UTF-8")]);
        let focused = read(&file);
        (focused == pixels(&session, FIRST) && focused != pixels(&session, SECOND)).then_some(())
    });
    session.msg(&["freeze", "off"]);
    assert!(session.refused(&["screenshot", "--output", "DP-9"]).contains("no output DP-9"));

    session.msg(&["mode", "volume", "--output", FIRST]);
    assert_eq!(modes(&session), (Mode::Volume, Mode::Phase));
    assert_eq!(session.state().mode, Mode::Heatmap, "everywhere else");
    session.msg(&["mode", "kinetic", "--output", SECOND]);
    assert_eq!(modes(&session), (Mode::Volume, Mode::Kinetic));
    // What was said about single ones is over; what is configured for one is not.
    session.msg(&["mode", "time-series"]);
    assert_eq!(modes(&session), (Mode::TimeSeries, Mode::Phase));
    configure(&session, "mode = \"heatmap\"\n");
    assert_eq!(modes(&session), (Mode::Heatmap, Mode::Heatmap));
    until("two pictures of the same", || {
        let [first, second] = pictures(&session);
        (first == second).then_some(())
    });
    let complaint = session.refused(&["mode", "volume", "--output", "DP-9"]);
    assert!(complaint.contains("no output DP-9"), "{complaint}");
}

/// The pixels of one output.
fn grim(session: &Session, output: &str) -> Vec<u8> {
    let file = session.path(&format!("{output}.ppm"));
    let grim = std::process::Command::new("grim")
        .env("XDG_RUNTIME_DIR", session.path("run"))
        .env("WAYLAND_DISPLAY", "wall")
        .args(["-t", "ppm", "-o", output])
        .arg(&file)
        .output()
        .expect("grim is installed");
    assert!(grim.status.success(), "{}", String::from_utf8_lossy(&grim.stderr));
    std::fs::read(file).expect("a picture")
}

#[test]
fn modes_places_scales_and_turns_follow_the_configuration() {
    let session = Session::start_with("# none yet\n", &["--outputs", "3"]);
    let places = |session: &Session| -> Vec<(i32, i32)> {
        session.state().outputs.iter().map(|output| (output.x, output.y)).collect()
    };
    assert_eq!(places(&session), [(0, 0), (320, 0), (640, 0)]);
    configure(
        &session,
        "[[output]]\nconnector = \"HEADLESS-1\"\nmode = \"640x480@75\"\nscale = 2.0\nposition = [100, 50]\n\
         [[output]]\nconnector = \"HEADLESS-2\"\ntransform = \"90\"\nposition = [110, 60]\n",
    );
    let first = output(&session, FIRST);
    assert_eq!(
        (first.width, first.height, first.refresh_mhz, first.scale_thousandths),
        (640, 480, 75_000, 2000)
    );
    // The second cannot stand where the first does, and is as wide as it was high.
    assert_eq!(places(&session), [(100, 50), (420, 50), (660, 50)]);
    let second = output(&session, SECOND);
    assert_eq!(second.transform, "90");
    assert!(second.problem.is_some_and(|problem| problem.contains("another output stands")));
    assert_eq!(pixels(&session, FIRST).0, 640);

    configure(&session, "[[output]]\nconnector = \"HEADLESS-1\"\nmode = \"20000x480\"\n");
    let first = output(&session, FIRST);
    assert_eq!((first.width, first.height), (640, 480), "what is refused changes nothing");
    assert!(first.problem.is_some_and(|problem| problem.contains("out of bounds")));
    configure(&session, "");
    assert_eq!(places(&session), [(0, 0), (320, 0), (640, 0)]);
    assert!(session.state().outputs.iter().all(|output| output.problem.is_none()));
}

#[test]
fn a_mirror_shows_the_same_and_nobody_else_knows_of_it() {
    let session = Session::start_with(
        "[[output]]\nconnector = \"HEADLESS-1\"\nmirror = \"HEADLESS-2\"\n",
        &["--outputs", "2"],
    );
    let mirror = output(&session, FIRST);
    assert_eq!((mirror.mirrors.as_deref(), mirror.x), (Some(SECOND), 0));
    // The first output is the mirror: the map's words are on its right half.
    let (width, height, mirrored) = until("the map is drawn", || {
        let picture = pixels(&session, FIRST);
        let ink = picture.2.iter().filter(|byte| **byte > 200).count();
        (ink > 20).then_some(picture)
    });
    assert_eq!((width, height), (320, 240));
    configure(&session, "");
    assert_eq!(output(&session, FIRST).mirrors, None);
    let alone = until("the map is drawn", || {
        let picture = pixels(&session, FIRST);
        (picture.2 == mirrored).then_some(picture)
    });
    assert_eq!(alone.0, 320);
    // To mirror what is not there is told, and changes nothing.
    configure(&session, "[[output]]\nconnector = \"HEADLESS-1\"\nmirror = \"DP-7\"\n");
    let first = output(&session, FIRST);
    assert!(first.mirrors.is_none() && first.problem.is_some_and(|problem| problem.contains("DP-7")));
}

#[test]
fn power_is_not_presence() {
    let target = Exercise::start("block", 4);
    let session = Session::start(&["--outputs", "2", "--target", &target.pid().to_string()]);
    let shown = |session: &Session, name: &str| {
        let all = outputs(session);
        all.iter().find(|output| output.state.connector == name).map_or(0, |output| output.frames.presented)
    };
    until("frames", || (shown(&session, FIRST) > 3 && shown(&session, SECOND) > 3).then_some(()));
    session.msg(&["power", "off", "--output", SECOND]);
    let off = output(&session, SECOND);
    assert_eq!((off.off.as_deref(), off.width, off.x), (Some("off by hand"), 320, 320));
    let before = (shown(&session, FIRST), shown(&session, SECOND));
    until("the other goes on", || (shown(&session, FIRST) > before.0 + 5).then_some(()));
    assert!(shown(&session, SECOND) <= before.1 + 1, "one that was on its way, and no more");
    session.msg(&["power", "on", "--output", SECOND]);
    until("it goes on", || (shown(&session, SECOND) > before.1 + 5).then_some(()));

    // Nobody is there: a headless session has no key to press, but the words do the same.
    configure_power(&session);
    until("off by itself", || output(&session, FIRST).off.filter(|off| off.contains("nobody")));
    session.msg(&["power", "on"]);
    assert_eq!(output(&session, FIRST).off, None);
    assert!(session.msg(&["outputs"]).contains("HEADLESS-2"));
}

fn configure_power(session: &Session) {
    std::fs::create_dir_all(session.config_file().parent().expect("it has one")).expect("made");
    configure(session, "[power]\nidle-off-s = 1\n");
}

#[test]
fn pages_are_on_the_screen_soon_after_their_window() {
    let target = Exercise::start("mixed", 4);
    let session = Session::start(&["--target", &target.pid().to_string()]);
    let latency = until("pictures are measured", || {
        outputs(&session)[0].latency.clone().filter(|latency| latency.pictures > 10)
    });
    assert!(0 < latency.p50_us && latency.p50_us <= latency.p99_us && latency.p99_us <= latency.max_us);
    assert!(session.msg(&["outputs"]).contains("from the end of a window to the screen"));
    // Each is counted with the refresh that it came with.
    let counted = outputs(&session)[0].latency.clone().expect("measured");
    assert_eq!(counted.refreshes.iter().sum::<u64>(), counted.pictures);
    assert!(counted.prepared_us > 0 && counted.drawn_us > 0, "{counted:?}");
}

#[test]
fn what_stands_still_costs_nothing() {
    let session = Session::start(&["--outputs", "2"]);
    until("the empty map is drawn", || {
        outputs(&session).iter().all(|output| output.frames.presented > 0).then_some(())
    });
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", session.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|number| number.trim().parse::<u64>().ok()).expect("a number")
    };
    // It may still be at work on its last frames.
    let quiet = until("it sleeps", || {
        let before = switches();
        std::thread::sleep(std::time::Duration::from_secs(2));
        Some(switches() - before).filter(|woken| *woken <= 2)
    });
    assert!(quiet <= 2);
}

#[test]
fn a_client_that_answers_nothing_holds_no_output_up() {
    let target = Exercise::start("mixed", 4);
    let arguments = ["--outputs", "2", "--target", &target.pid().to_string(), "--", "weston-simple-shm"];
    let session = Session::start(&arguments);
    let client = until("the client is started", || {
        let pid = session.pid();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse::<i32>().ok()
    });
    let shown = || outputs(&session).iter().map(|output| output.frames.presented).min().unwrap_or(0);
    until("frames", || (shown() > 3).then_some(()));
    let client = nix::unistd::Pid::from_raw(client);
    nix::sys::signal::kill(client, nix::sys::signal::Signal::SIGSTOP).expect("it is ours");
    let before = shown();
    until("both outputs go on", || (shown() > before + 10).then_some(()));
    nix::sys::signal::kill(client, nix::sys::signal::Signal::SIGKILL).expect("it is ours");
    let before = shown();
    until("both outputs go on", || (shown() > before + 5).then_some(()));
}
