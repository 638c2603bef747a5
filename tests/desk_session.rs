//! Windows, overlays and a kiosk, end to end: the real session without a display, and real terminals in it.
//!
//! Needs `foot` on the PATH.

mod session;

use std::process::{Child, Command, Stdio};

use memory_glass::ipc::{Event, Overlay, Request, Response, State, Window};
use serde_json::Value;
use session::{Session, until};

/// A terminal in the session, killed with the test.
struct Terminal(Child);

impl Terminal {
    fn open(session: &Session, title: &str) -> Terminal {
        let log = session.log();
        let display = log.split("WAYLAND_DISPLAY=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let child = Command::new("foot")
            .args(["--config=/dev/null", "--title", title, "sleep", "1000"])
            .env("LC_ALL", "C.UTF-8")
            .env("XDG_RUNTIME_DIR", session.path("run"))
            .env("WAYLAND_DISPLAY", display.expect("it is in the log"))
            .stderr(Stdio::null())
            .spawn()
            .expect("foot (package foot)");
        Terminal(child)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn window(state: &State, title: &str) -> Option<Window> {
    state.windows.iter().find(|window| window.title == title).cloned()
}

fn until_state<T>(session: &Session, what: &str, condition: impl Fn(&State) -> Option<T>) -> T {
    until(what, || condition(&session.state()))
}

#[test]
fn windows_are_listed_and_do_as_they_are_told() {
    let session = Session::start(&[]);
    assert_eq!(session.msg(&["windows"]), "no window is open\n");
    assert!(session.refused(&["close"]).contains("no window has the keyboard"));
    let mut listener = session.connect();
    assert_eq!(listener.ask(&Request::EventStream), Ok(Response::Done));
    let Event::State(mut known) = listener.event() else { panic!("the state comes first") };

    let mut first = Terminal::open(&session, "first");
    let one = until_state(&session, "the first window", |state| window(state, "first"));
    assert_eq!((one.app_id.as_str(), one.output.as_deref()), ("foot", Some("HEADLESS-1")));
    assert_eq!(one.pid, Some(first.0.id()));
    let _second = Terminal::open(&session, "second");
    let two = until_state(&session, "the second window", |state| {
        window(state, "second").filter(|window| state.focus == Some(window.id))
    });
    assert_ne!(one.id, two.id);

    assert_eq!(session.msg(&["focus", &one.id.to_string()]), "");
    until_state(&session, "the focus", |state| (state.focus == Some(one.id)).then_some(()));
    let words = session.msg(&["windows"]);
    assert!(
        words.lines().any(|line| line.contains("first") && line.ends_with("(has the keyboard)")),
        "{words}"
    );
    assert_eq!(session.msg(&["fullscreen"]), "");
    assert!(window(&session.state(), "first").expect("open").fullscreen);
    assert_eq!(session.msg(&["fullscreen", "--window", &one.id.to_string(), "off"]), "");
    assert!(!window(&session.state(), "first").expect("open").fullscreen);
    assert_eq!(session.msg(&["move", "HEADLESS-1"]), "");
    assert!(session.refused(&["move", "DP-9"]).contains("there is no output DP-9"));
    assert!(session.refused(&["focus", "4000"]).contains("there is no window 4000"));

    // It is asked to close, and what was used before it has the keyboard then.
    assert_eq!(session.msg(&["close", "--window", &one.id.to_string()]), "");
    until("it ends", || first.0.try_wait().expect("our own child"));
    until_state(&session, "the other has the keyboard", |state| (state.focus == Some(two.id)).then_some(()));
    // Whoever listened knows the same.
    until("the events", || {
        known.apply(listener.change());
        (known.windows.len() == 1 && known.focus == Some(two.id)).then_some(())
    });
    assert_eq!(*known, session.state());
}

#[test]
fn machines_get_their_errors_as_json_too() {
    let session = Session::start(&[]);
    let failed = session.msg_output(&["--json", "focus", "7"]);
    assert_eq!(failed.status.code(), Some(1));
    let reply: Value = serde_json::from_slice(&failed.stdout).expect("one JSON value");
    assert!(reply["Err"].as_str().expect("words").contains("there is no window 7"), "{reply}");
    let socket = session.path("nowhere").display().to_string();
    let failed = session.msg_output(&["--json", "--socket", &socket, "state"]);
    let reply: Value = serde_json::from_slice(&failed.stdout).expect("one JSON value");
    assert!(reply["Err"].as_str().expect("words").contains("no session listens"), "{reply}");
    // Also what never reaches a session.
    let failed = session.msg_output(&["--json", "mode", "stars"]);
    assert_eq!(failed.status.code(), Some(2));
    let reply: Value = serde_json::from_slice(&failed.stdout).expect("one JSON value");
    let words = reply["Err"].as_str().expect("words");
    assert!(words.starts_with("invalid value 'stars'") && words.contains("heatmap"), "{words}");
    assert!(!words.contains("Usage"), "{words}");
}

#[test]
fn keyboard_layouts_are_told_and_switched() {
    let session = Session::start_with("[keyboard]\nlayout = \"us,de\"\nvariant = \",neo\"\n", &[]);
    let keyboard = session.state().keyboard;
    assert_eq!((keyboard.layouts.len(), keyboard.active), (2, 0));
    assert_eq!(session.msg(&["keyboard-layout"]), "");
    assert_eq!(session.state().keyboard.active, 1);
    assert_eq!(session.msg(&["keyboard-layout", "0"]), "");
    assert_eq!(session.state().keyboard.active, 0);
    assert_eq!(session.msg(&["keyboard-layout", &keyboard.layouts[1]]), "");
    assert_eq!(session.state().keyboard.active, 1);
    assert!(session.refused(&["keyboard-layout", "2"]).contains("there are English (US), German (Neo 2)"));
}

#[test]
fn overlays_are_seen_and_told() {
    let session = Session::start(&["--placement", "off"]);
    let shot = |name: &str| {
        session.msg(&["screenshot", name]);
        std::fs::read(session.path(name)).expect("the picture")
    };
    let empty = shot("empty.png");
    let mut seen = vec![empty.clone()];
    for (command, overlay) in [("picker", Overlay::Picker), ("hotkeys", Overlay::Hotkeys)] {
        assert_eq!(session.msg(&[command]), "");
        assert_eq!(session.state().overlay, Some(overlay));
        let picture = shot("open.png");
        assert!(!seen.contains(&picture), "{command} is to be seen");
        seen.push(picture);
    }
    assert_eq!(session.msg(&["hotkeys", "off"]), "");
    assert_eq!(session.state().overlay, None);
    assert_eq!(shot("closed.png"), empty);
}

#[test]
fn a_program_of_a_kiosk_is_started_again_and_ends_with_the_session() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let config = format!(
        "[kiosk]\nenabled = true\n[[kiosk.program]]\nconnector = \"DP-9\"\ncommand = [\"false\"]\n\
         [[kiosk.program]]\ncommand = [\"sh\", \"-c\", \"echo $MARK $WAYLAND_DISPLAY >>{}; exec sleep 1000\"]\n\
         environment = {{ MARK = \"glass\" }}\n",
        file.path().display()
    );
    let mut session = Session::start_with(&config, &[]);
    let program = |session: &Session| session.state().outputs[0].program.clone().expect("its program");
    let first = until("it runs", || program(&session).pid);
    assert_eq!(program(&session).restarts, 0);
    let kill = |pid: u32| {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).expect("a process number"));
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).expect("killed");
    };
    let said = |times: usize| {
        until("it has said so", || {
            let text = std::fs::read_to_string(file.path()).expect("the file");
            (text.lines().filter(|line| line.starts_with("glass wayland-")).count() == times).then_some(())
        });
    };
    // Not before the shell has come to it.
    said(1);
    kill(first);
    let second = until("it runs again", || program(&session).pid.filter(|pid| *pid != first));
    let now = program(&session);
    assert_eq!(now.restarts, 1);
    assert!(now.last_end.as_deref().is_some_and(|end| end.contains("SIGKILL")), "{now:?}");
    said(2);
    let words = session.msg(&["outputs"]);
    assert!(words.contains("program  sh -c") && words.contains("started again 1 times"), "{words}");

    // Another program in the file takes its place; one that cannot be started is tried again, later each time.
    let save = |text: &str| std::fs::write(session.config_file(), text).expect("written");
    save("[kiosk]\nenabled = true\n[[kiosk.program]]\ncommand = [\"/no/such/program\"]\n");
    let failed = until("it is replaced", || {
        Some(program(&session))
            .filter(|program| program.command == ["/no/such/program"] && program.restarts > 0)
    });
    assert!(failed.last_end.is_some_and(|end| end.contains("/no/such/program")));
    let gone = |pid: u32| !std::path::Path::new(&format!("/proc/{pid}")).exists();
    until("the old one has ended", || gone(second).then_some(()));

    save("[kiosk]\nenabled = true\n[[kiosk.program]]\ncommand = [\"sleep\", \"1000\"]\n");
    let last = until("it runs", || program(&session).pid);
    session.msg(&["quit"]);
    assert!(session.wait().success());
    until("it ends with the session", || gone(last).then_some(()));
}
