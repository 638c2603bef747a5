//! A running session and what is said to it: end to end, by `memory-glass msg` and by clients of all manners.

mod session;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use memory_glass::ipc::{Event, MAX_CLIENTS, MAX_LINE, Palette, Placement, Request, Response};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use session::{Connection, Exercise, Session, until};

fn json(session: &Session, arguments: &[&str]) -> Value {
    let mut all = vec!["--json"];
    all.extend_from_slice(arguments);
    let text = session.msg(&all);
    assert_eq!(text.lines().count(), 1, "exactly one value: {text}");
    serde_json::from_str(&text).expect("JSON")
}

/// How many windows were taken, once they were so many, whether or not anything was written in them.
fn windows(session: &Session, least: u64) -> u64 {
    until("windows", || {
        let taken = json(session, &["telemetry"])["Ok"]["telemetry"]["windows"].as_u64();
        taken.filter(|taken| *taken >= least)
    })
}

/// The numbers once so many windows were taken, and something was seen to be written.
fn telemetry(session: &Session, windows: u64) -> Value {
    until("windows", || {
        let answer = json(session, &["telemetry"])["Ok"]["telemetry"].clone();
        let seen = answer["fault_rate"].as_f64() > Some(0.0);
        (answer["windows"].as_u64() >= Some(windows) && seen).then_some(answer)
    })
}

#[test]
fn the_target_is_changed_and_the_old_one_left_as_it_was_found() {
    let block = Exercise::start("block", 16);
    let mut stride = Exercise::start("stride", 16);
    let mut session = Session::start(&[]);
    assert_eq!(session.msg(&["telemetry"]), "nothing is watched\n");

    let targets = json(&session, &["targets"]);
    let targets = targets["Ok"]["targets"].as_array().expect("a list");
    let found = targets.iter().find(|target| target["pid"] == block.pid()).expect("it is listed");
    assert!(
        found["own"] == true
            && found["refused"].is_null()
            && found["resident_bytes"].as_u64() > Some(16 << 20)
    );
    let own = targets.iter().find(|target| target["pid"] == session.pid()).expect("so is the session");
    assert!(own["refused"].is_string());
    assert!(session.msg(&["targets"]).contains(&format!("{:>8}  memory-glass", block.pid())));

    assert_eq!(session.msg(&["watch", &block.pid().to_string()]), "");
    // A quarter of 4096 pages, at most once a window of a sixtieth of a second or more; within the budget it
    // takes a while until that is known of most of them.
    let numbers = until("most of the block is known", || {
        let numbers = telemetry(&session, 12);
        (numbers["fault_rate"].as_f64() >= Some(1024.0)).then_some(numbers)
    });
    assert_eq!(numbers["pid"], block.pid());
    assert!(block.is_registered());
    assert!(numbers["pages"].as_u64() >= Some(4096));
    let rate = numbers["fault_rate"].as_f64().expect("a number");
    assert!(rate <= 70_000.0, "{rate}");
    // Another budget, and none: then every page is seen.
    assert_eq!(session.msg(&["budget", "1"]), "");
    assert_eq!(session.msg(&["budget", "--exact"]), "");
    let armed = || json(&session, &["telemetry"])["Ok"]["telemetry"].clone();
    until("every page is armed", || {
        let numbers = armed();
        (numbers["armed_share"] == 1.0 && numbers["reconstruction_accuracy"] == 1.0).then_some(())
    });
    let none = session.connect().ask(&Request::Budget { percent: Some(0) });
    assert!(none.is_err_and(|complaint| complaint.contains("from 1 to 1000")));
    // The same again is no change.
    assert_eq!(session.msg(&["watch", &block.pid().to_string()]), "");
    assert!(telemetry(&session, 12)["windows"].as_u64() >= numbers["windows"].as_u64());

    assert_eq!(session.msg(&["watch", &stride.pid().to_string()]), "");
    block.assert_as_found();
    let numbers = telemetry(&session, 12);
    assert_eq!(numbers["pid"], stride.pid());
    let rate = numbers["fault_rate"].as_f64().expect("a number");
    assert!(rate < 4000.0, "every sixteenth page: {rate}");

    // What cannot be watched changes nothing.
    let complaint = session.refused(&["watch", "no-such-program"]);
    assert!(complaint.contains("no process is named \"no-such-program\""), "{complaint}");
    session.refused(&["watch", &session.pid().to_string()]);
    assert_eq!(session.state().target.expect("still").pid, stride.pid());

    // A target that ends is said to have ended, and the session goes on.
    stride.kill();
    let ended = until("its end", || session.state().target.expect("kept").ended);
    assert!(ended.contains("ended"), "{ended}");
    assert_eq!(session.msg(&["watch", &block.pid().to_string()]), "");
    assert_eq!(session.msg(&["unwatch"]), "");
    block.assert_as_found();
    assert_eq!(session.state().target, None);

    assert_eq!(session.msg(&["watch", &block.pid().to_string()]), "");
    assert_eq!(session.msg(&["quit"]), "");
    assert!(session.wait().success());
    block.assert_as_found();
    assert!(!session.socket().exists(), "the socket is gone with the session");
    let complaint = session.refused(&["state"]);
    assert!(complaint.contains("no session listens"), "{complaint}");
}

/// Width, height and pixels of a PNG file.
fn read_png(path: &std::path::Path) -> (u32, u32, Vec<u8>) {
    let mut reader = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).expect("the file")))
        .read_info()
        .expect("PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("it fits")];
    let info = reader.next_frame(&mut pixels).expect("its pixels");
    (info.width, info.height, pixels)
}

#[test]
fn what_is_shown_follows_and_can_be_photographed() {
    let target = Exercise::start("block", 16);
    let session = Session::start(&["--target", &target.pid().to_string(), "--placement", "full"]);
    telemetry(&session, 5);
    let shot = |name: &str| {
        let answer = session.msg(&["screenshot", name]);
        assert_eq!(answer, format!("{} (320×240)\n", session.path(name).display()));
        let (width, height, pixels) = read_png(&session.path(name));
        assert_eq!((width, height), (320, 240));
        pixels
    };
    // What is never written has the colour of 0, which is black or violet.
    let share = |pixels: &[u8], color: [u8; 3]| {
        pixels.chunks_exact(3).filter(|pixel| **pixel == color).count() as f64 / (320.0 * 240.0)
    };
    const INFERNO_0: [u8; 3] = [0, 0, 4];
    const VIRIDIS_0: [u8; 3] = [0x44, 1, 0x54];
    let until_shot = |color: [u8; 3]| {
        until("the colours", || Some(shot("a.png")).filter(|pixels| share(pixels, color) > 0.1))
    };
    until_shot(INFERNO_0);
    session.msg(&["palette", "viridis"]);
    until_shot(VIRIDIS_0);

    // Still is still: the words of the map, which count, do not change any more.
    session.msg(&["freeze", "on"]);
    assert!(session.state().frozen);
    let seen = telemetry(&session, 0)["windows"].as_u64().expect("a number");
    let mut last = shot("b.png");
    until("the last picture before is drawn", || {
        let next = shot("b.png");
        (std::mem::replace(&mut last, next.clone()) == next).then_some(())
    });
    telemetry(&session, seen + 5);
    assert_eq!(shot("c.png"), last);
    // It can have other colours all the same.
    session.msg(&["palette", "inferno"]);
    until_shot(INFERNO_0);
    session.msg(&["freeze"]);
    assert!(!session.state().frozen);

    session.msg(&["placement", "off"]);
    until("the map is off", || {
        let outputs = json(&session, &["outputs"]);
        let output = outputs["Ok"]["outputs"][0].clone();
        assert_eq!(output["connector"], "HEADLESS-1");
        (output["map"] == "off" && output["placement"] == "off").then_some(())
    });
    until("nothing of it is seen", || (share(&shot("d.png"), INFERNO_0) == 0.0).then_some(()));
    session.msg(&["placement", "over"]);
    until("it is composited", || {
        let output = json(&session, &["outputs"])["Ok"]["outputs"][0].clone();
        (output["map"]["composited"]["reason"].is_string()
            && output["frames"]["map_composited"].as_u64() > Some(0))
        .then_some(())
    });
    let words = session.msg(&["outputs"]);
    assert!(
        words.starts_with("HEADLESS-1  320×240 at 60.000 Hz")
            && words.contains("heatmap of memory-glass ")
            && words.contains(", over, composited: "),
        "{words}"
    );

    // Without a name: where pictures go. There is no such directory, so it is the session's own.
    let answer = json(&session, &["screenshot"]);
    let path = answer["Ok"]["screenshot"]["path"].as_str().expect("a path").to_owned();
    assert!(path.ends_with(".png") && path.contains("/memory-glass-20"), "{path}");
    read_png(path.as_ref());
    fs::remove_file(&path).expect("it is ours");
    session.refused(&["screenshot", "no/such/directory.png"]);
    assert!(session.refused(&["screenshot", "/proc/x.png"]).contains("/proc/x.png"));
}

#[test]
fn events_are_the_whole_state_and_then_every_change_in_order() {
    let target = Exercise::start("stride", 8);
    let session = Session::start(&[]);
    let mut listener = session.connect();
    assert_eq!(listener.ask(&Request::EventStream), Ok(Response::Done));
    let Event::State(mut known) = listener.event() else { panic!("the state comes first") };
    assert_eq!(*known, session.state());
    assert_eq!((known.target.clone(), known.placement), (None, Placement::Beside));

    session.msg(&["palette", "viridis"]);
    session.msg(&["watch", &target.pid().to_string()]);
    session.msg(&["freeze", "on"]);
    session.msg(&["freeze", "on"]);
    session.msg(&["placement", "full"]);
    session.msg(&["mode", "heatmap"]);
    session.msg(&["unwatch"]);
    let mut changes = Vec::new();
    while !matches!(changes.last(), Some(Event::Frozen(false))) {
        let event = listener.change();
        known.apply(event.clone());
        changes.push(event);
    }
    let seen: Vec<String> = changes
        .iter()
        .map(|event| match event {
            Event::Palette(Palette::Viridis) => "viridis".into(),
            Event::Target(Some(new)) if new.pid == target.pid() => "target".into(),
            Event::Target(None) => "no target".into(),
            Event::Frozen(frozen) => format!("frozen {frozen}"),
            Event::Placement(Placement::Full) => "full".into(),
            Event::Outputs(outputs) => {
                let shown = outputs[0].target.as_ref().map(|shown| shown.pid == target.pid());
                match (outputs[0].placement, shown) {
                    (Placement::Beside, Some(true)) => "it on the output".into(),
                    (Placement::Full, Some(true)) => "it in full".into(),
                    (Placement::Full, None) => "nothing on the output".into(),
                    other => format!("{other:?}"),
                }
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(
        seen,
        [
            "viridis",
            "it on the output",
            "target",
            "frozen true",
            "it in full",
            "full",
            "nothing on the output",
            "no target",
            "frozen false"
        ]
    );
    assert_eq!(*known, session.state());

    // Numbers come by themselves while something is watched, and requests still have their replies among them.
    session.msg(&["watch", &target.pid().to_string()]);
    until("telemetry", || match listener.event() {
        Event::Telemetry(telemetry) => (telemetry.target.pid == target.pid()).then_some(()),
        _ => None,
    });
    listener.write(b"\"version\"\n");
    until("the reply", || listener.line().contains("{\"Ok\":{\"version\"").then_some(()));
}

/// Of the squares of four pixels in this part of the screen's width, how many have a line within. A picture of half the size, drawn
/// twice as large, has none.
fn lines_within(session: &Session, from: f64, to: f64) -> usize {
    let file = session.path("twice.png");
    json(session, &["screenshot", file.to_str().expect("UTF-8")]);
    let (width, height, pixels) = read_png(&file);
    assert_eq!((width, height), (1280, 960));
    let at = |x: u32, y: u32| &pixels[3 * (y * width + x) as usize..][..3];
    let columns = (f64::from(width / 2) * from) as u32..(f64::from(width / 2) * to) as u32;
    let squares = (0..height / 2).flat_map(|y| columns.clone().map(move |x| (2 * x, 2 * y)));
    squares
        .filter(|&(x, y)| {
            [at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)].iter().any(|pixel| pixel != &at(x, y))
        })
        .count()
}

#[test]
fn words_on_an_output_of_twice_the_pixels_have_all_of_them() {
    let output = "placement = \"full\"\n[[output]]\nconnector = \"HEADLESS-1\"\nscale = 2\n";
    let target = Exercise::start("block", 16);
    let session = Session::start_with(output, &["--size", "1280x960", "--target", &target.pid().to_string()]);
    telemetry(&session, 3);
    assert_eq!(session.state().outputs[0].scale_thousandths, 2000);
    until("words beside the map", || (lines_within(&session, 0.76, 1.0) > 1500).then_some(()));
    session.msg(&["placement", "off"]);
    until("nothing", || (lines_within(&session, 0.0, 1.0) == 0).then_some(()));
    session.msg(&["hotkeys"]);
    // Their names at the left, and the end of the second column's words at the right.
    for (from, to) in [(0.0, 0.2), (0.8, 1.0)] {
        until("the hotkeys", || (lines_within(&session, from, to) > 300).then_some(()));
    }
}

#[test]
fn the_map_is_kept_where_the_most_is_written_until_it_is_moved_by_hand() {
    let session = Session::start(&["--exact"]);
    assert!(session.refused(&["follow-hottest"]).contains("msg watch"));
    let target = Exercise::start("block", 64);
    session.msg(&["watch", &target.pid().to_string()]);
    telemetry(&session, 3);
    let mut listener = session.connect();
    assert_eq!(listener.ask(&Request::EventStream), Ok(Response::Done));
    let Event::State(state) = listener.event() else { panic!("the state comes first") };
    assert_eq!((state.zoom, state.following_hottest), (None, false));

    session.msg(&["follow-hottest", "on"]);
    let Event::Zoom(Some(part)) = listener.change() else { panic!("another part is shown") };
    assert_eq!(listener.change(), Event::FollowingHottest(true));
    // Within the quarter that is written, of which it shows a fourth.
    let size = target.announced.end - target.announced.start;
    let block = target.announced.start + size / 4..target.announced.start + size / 2;
    assert!(block.start <= part.start && part.end <= block.end, "{part:x?} is not of {block:x?}");
    assert!(part.end - part.start >= size / 16, "{part:x?}");
    let words = session.msg(&["state"]);
    assert!(words.contains(&format!(", {:#x}-{:#x} of it, where the most is written", part.start, part.end)));
    // All of it is written alike: there is nothing to go to.
    telemetry(&session, 15);
    assert_eq!(session.state().zoom, Some(part));

    session.msg(&["zoom-out"]);
    assert_eq!(listener.change(), Event::Zoom(None));
    assert_eq!(listener.change(), Event::FollowingHottest(false));
    session.msg(&["follow-hottest"]);
    assert!(session.state().following_hottest);
    session.msg(&["follow-hottest", "off"]);
    let state = session.state();
    assert!(!state.following_hottest && state.zoom.is_some(), "it stays where it is: {:?}", state.zoom);
}

#[test]
fn the_configuration_is_read_again_when_it_is_saved() {
    let session = Session::start_with(
        "palette = \"viridis\"\nplacement = \"full\"\n[keyboard]\nlayout = \"de\"\n",
        &["--placement", "over"],
    );
    let state = session.state();
    assert_eq!(
        (state.palette, state.placement),
        (Palette::Viridis, Placement::Over),
        "the command line wins"
    );
    assert_eq!(state.config.path.as_deref(), session.config_file().to_str());
    assert_eq!((state.config.loaded, state.config.error), (1, None));

    let mut listener = session.connect();
    assert_eq!(listener.ask(&Request::EventStream), Ok(Response::Done));
    assert!(matches!(listener.event(), Event::State(_)));
    let mut config_event = || loop {
        if let Event::Config(config) = listener.change() {
            return config;
        }
    };

    // As editors save: a new file in the place of the old one.
    let save = |text: &str| {
        let new = session.config_file().with_extension("new");
        fs::write(&new, text).expect("written");
        fs::rename(&new, session.config_file()).expect("moved");
    };
    save("palette = \"inferno\"\nplacement = \"full\"\n");
    assert_eq!(config_event().error, None);
    let state = session.state();
    assert_eq!((state.palette, state.placement), (Palette::Inferno, Placement::Over));

    // What is wrong is told with its place, and nothing else changes.
    save("palette = \"viridis\"\nplacment = \"off\"\n");
    let error = config_event().error.expect("it is wrong");
    assert!(
        error.ends_with("config.toml:2:1: unknown field `placment`: did you mean `placement`?"),
        "{error}"
    );
    assert_eq!(session.state().palette, Palette::Inferno);
    assert!(session.refused(&["reload"]).contains(&error));
    assert!(session.log().contains("the last good configuration stays"));
    assert!(session.msg(&["state"]).contains(&error));

    // A layout that is no layout is refused as a whole, although it is written rightly.
    save("palette = \"viridis\"\n[keyboard]\nlayout = \"nonsense\"\n");
    let error = config_event().error.expect("it is wrong");
    assert!(error.contains("keyboard"), "{error}");
    assert_eq!(session.state().palette, Palette::Inferno);

    // Written in place, too. What was changed by hand stays where the file says nothing new about it.
    session.msg(&["placement", "beside"]);
    fs::write(
        session.config_file(),
        "palette = \"viridis\"\n[[output]]\nconnector = \"HEADLESS-1\"\nmap = false\n",
    )
    .expect("written");
    assert_eq!(config_event().error, None);
    let state = session.state();
    assert_eq!((state.palette, state.placement), (Palette::Viridis, Placement::Beside));
    assert_eq!(state.outputs[0].placement, Placement::Off, "by its own rule");
    assert_eq!(state.config.loaded, 3);
    assert_eq!(session.msg(&["reload"]), "");
    assert_eq!(session.state().config.loaded, 4);
}

#[test]
fn a_configuration_that_comes_later_or_is_broken_at_the_start_is_no_reason_not_to_start() {
    let session = Session::start(&[]);
    fs::create_dir_all(session.config_file().parent().expect("it has one")).expect("made");
    fs::write(session.config_file(), "palette = \"viridis\"\n").expect("written");
    until("it is read", || (session.state().palette == Palette::Viridis).then_some(()));

    let session = Session::start_with("palette = 7\ntarget = \"no-such-program\"\n", &[]);
    let error = session.state().config.error.expect("it is wrong");
    assert!(error.contains("config.toml:1:11: "), "{error}");
    fs::write(session.config_file(), "palette = \"viridis\"\n").expect("written");
    until("it is right now", || (session.state().palette == Palette::Viridis).then_some(()));
    assert_eq!(session.state().config.error, None);

    let missing = session::glass()
        .args(["session", "--backend", "headless", "--config", "/nonexistent/config.toml"])
        .output()
        .expect("it runs");
    assert_eq!(missing.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&missing.stderr)
            .contains("there is no configuration /nonexistent/config.toml")
    );
}

#[test]
fn programs_of_the_session_find_its_socket() {
    let script = "echo $MEMORY_GLASS_SOCKET $NOTIFY_SOCKET >$XDG_RUNTIME_DIR/told; exec sleep 1000";
    let session = Session::start(&["--", "sh", "-c", script]);
    let told = until("the program writes it", || {
        fs::read_to_string(session.path("run/told")).ok().filter(|text| text.ends_with('\n'))
    });
    assert_eq!(told.trim_end(), session.socket().to_string_lossy());
    let target = until("it is the target", || session.state().target);
    let pid = nix::unistd::Pid::from_raw(target.pid.cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("it runs");
}

#[test]
fn systemd_is_told_when_the_session_is_there_and_its_environment_before() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let notified = std::os::unix::net::UnixDatagram::bind(path("notify")).expect("a socket");
    notified.set_read_timeout(Some(std::time::Duration::from_secs(60))).expect("a time limit");
    // What would talk to the machine's own systemd and D-Bus, and writes down what it is asked instead.
    for name in ["systemctl", "dbus-update-activation-environment"] {
        let script = format!("#!/bin/sh\necho {name} $* $WAYLAND_DISPLAY >>{}\n", path("asked").display());
        fs::write(path(name), script).expect("written");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path(name), executable).expect("set");
    }
    let search = format!("{}:{}", directory.path().display(), std::env::var("PATH").expect("a path"));
    let variables = [("NOTIFY_SOCKET", path("notify").to_str().expect("UTF-8").to_owned()), ("PATH", search)];
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut session = Session::start_in("", &["--export-environment", "--socket", "wayland-7"], &variables);
    let heard = || {
        let mut message = [0; 256];
        let length = notified.recv(&mut message).expect("systemd is told");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    assert_eq!(heard(), "READY=1\n");
    let names = "WAYLAND_DISPLAY MEMORY_GLASS_SOCKET XDG_CURRENT_DESKTOP XDG_SESSION_TYPE wayland-7";
    assert_eq!(
        fs::read_to_string(path("asked")).expect("both were asked before"),
        format!("systemctl --user import-environment {names}\ndbus-update-activation-environment {names}\n")
    );
    session.msg(&["quit"]);
    assert_eq!(heard(), "STOPPING=1\n");
    assert!(session.wait().success());
}

#[test]
fn junk_on_the_socket_never_harms_the_session() {
    let mut session = Session::start(&[]);
    // Seeded, so that what fails once fails again.
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = || {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    };
    for round in 0..200 {
        let mut connection = session.connect();
        let bytes: Vec<u8> = match round % 4 {
            0 => (0..draw() % 300).map(|_| draw() as u8).collect(),
            1 => b"{\"watch\":{\"target\":".repeat(1 + (draw() % 40) as usize),
            2 => b"[[[[[[[[[[".repeat(500),
            _ => {
                let mut bytes = b"{\"screenshot\":{\"path\":\"x.png\"}}\n\"quit\"\n".to_vec();
                let at = draw() as usize % bytes.len();
                bytes[at] = 0xff;
                bytes.truncate(1 + draw() as usize % 32);
                bytes
            }
        };
        // The session may close the connection before it has read everything.
        let _ = connection.stream.write_all(&bytes);
        let _ = connection.stream.write_all(b"\n");
    }
    assert!(session.is_running());

    // Nonsense has an answer, and what comes after it is heard.
    let mut connection = session.connect();
    connection.write(b"nonsense\n\n  \n{\"watch\":7}\n\"version\"\n\"targets\"\n{\"freeze\":{}}\n\"state\"");
    assert!(connection.reply().expect_err("nonsense").starts_with("this is no request: "));
    connection.reply().expect_err("no target is called 7");
    assert!(matches!(connection.reply(), Ok(Response::Version { .. })));
    assert!(matches!(connection.reply(), Ok(Response::Targets(_))), "in order, though it takes longer");
    assert_eq!(connection.reply(), Ok(Response::Done));
    // A line in pieces, and the end of the connection before the answer.
    connection.write(b"\n");
    connection.stream.shutdown(std::net::Shutdown::Write).expect("shut");
    let Ok(Response::State(state)) = connection.reply() else { panic!("the last answer still comes") };
    assert!(state.frozen);
    assert_eq!(connection.line(), "", "and then it is closed");
}

#[test]
fn who_takes_too_much_is_disconnected() {
    let mut session = Session::start(&[]);
    let mut endless = session.connect();
    // The session stops reading when it has had enough.
    let _ = endless.stream.write_all(&vec![b'x'; 4 * MAX_LINE]);
    let mut rest = String::new();
    let _ = endless.stream.read_to_string(&mut rest);
    assert!(rest.is_empty() || rest.contains("longer than"), "{rest}");

    // Asks and asks, and never reads.
    let mut deaf = session.connect();
    deaf.stream.set_nonblocking(true).expect("set");
    until("it is disconnected", || {
        for _ in 0..1000 {
            match deaf.stream.write(b"\"state\"\n") {
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return Some(()),
            }
        }
        None
    });

    let mut crowd: Vec<UnixStream> = Vec::new();
    until("the session is full", || {
        let mut connection = Connection::new(UnixStream::connect(session.socket()).expect("connected"));
        crowd.push(connection.stream.try_clone().expect("a second descriptor"));
        (crowd.len() > MAX_CLIENTS).then(|| {
            let refusal = connection.reply().expect_err("one too many");
            assert!(refusal.contains("connected already"), "{refusal}");
        })
    });
    crowd.clear();
    until("there is room again", || {
        let mut connection = session.connect();
        matches!(connection.ask(&Request::Version), Ok(Response::Version { .. })).then_some(())
    });
    assert!(session.is_running());
}

/// A shell that forks a program for each line that it is given, and ends them with itself.
fn forking_shell() -> Child {
    let script = "while read line; do sleep 600 & child=$!; done; kill $child 2>/dev/null; wait; exit 0";
    Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().expect("sh is there")
}

#[test]
fn what_a_target_forks_is_watched_as_long_as_it_lives_where_that_is_wished() {
    let followed = |session: &Session| match session.connect().ask(&Request::Targets) {
        Ok(Response::Targets(targets)) => targets.into_iter().filter(|one| one.followed).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    for wished in [true, false] {
        let mut shell = forking_shell();
        let mut lines = shell.stdin.take().expect("piped");
        let pid = shell.id().to_string();
        let mut arguments = vec!["--target", pid.as_str()];
        arguments.extend(wished.then_some("--follow-forks"));
        let session = Session::start(&arguments);
        let windows = windows(&session, 1);
        lines.write_all(b"fork\n").expect("it reads");
        if wished {
            let children = until("the child is watched", || {
                Some(followed(&session)).filter(|found| found.iter().any(|child| child.name == "sleep"))
            });
            let child = children[0].pid;
            assert_eq!(children.len(), 1);
            session.msg(&["watch", &child.to_string()]);
            let seen = |session: &Session| session.state().target.expect("one is shown");
            assert_eq!(seen(&session).pid, child);
            session.msg(&["watch", &pid]);
            kill(Pid::from_raw(child.cast_signed()), Signal::SIGTERM).expect("it lives");
            until("the child is let go", || followed(&session).is_empty().then_some(()));
            assert_eq!(seen(&session).pid, shell.id());
        } else {
            self::windows(&session, windows + 5);
            assert!(followed(&session).is_empty());
        }
        drop(session);
        drop(lines);
        assert!(shell.wait().expect("ours").success(), "it is not disturbed");
    }
}
