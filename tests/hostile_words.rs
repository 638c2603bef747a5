//! Names that others choose are shown and never obeyed: a process whose name would make lines and colours of
//! its own, in all that a person reads of it. Programs get it as it is.

mod session;
mod wayland;

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Output, Stdio};

use session::{Session, glass, until};
use wayland::bare::{Bare, Elsewhere, Word};

/// At most fifteen bytes: a line of its own, a colour, and C1's and Unicode's ways to do as much.
const NAMES: [&str; 3] = ["a\nFORGED\u{1b}[1m", "b\u{1b}]0;hi\u{7}\r\u{7f}", "c\u{9b}31m\u{202e}x"];

/// A process of this name, which is that of the file it is started from.
struct Named {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Named {
    fn start(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join(std::ffi::OsStr::from_bytes(name.as_bytes()));
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_memory-glass"), &link).expect("linked");
        let mut command = Command::new(link);
        let child =
            command.args(["exercise", "--mib", "4"]).stdout(Stdio::null()).spawn().expect("it starts");
        let named = Self { child, _folder: folder };
        let comm = format!("/proc/{}/comm", named.pid());
        until("its name", || (std::fs::read(&comm).ok()? == format!("{name}\n").as_bytes()).then_some(()));
        named
    }

    fn pid(&self) -> String {
        self.child.id().to_string()
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing but lines of what can be seen, and none that begins as the name wants it.
fn assert_plain(what: &str, text: &str) {
    let obeyed = |character: char| {
        (character.is_control() && character != '\n') || matches!(character, '\u{202a}'..='\u{202e}')
    };
    assert!(!text.contains(obeyed), "{what}: {text:?}");
    assert!(!text.lines().any(|line| line.trim_start().starts_with("FORGED")), "{what}: {text:?}");
}

/// `/proc/PID/status` writes out line breaks, and nothing else.
fn as_the_kernel_has_it(name: &str) -> String {
    name.replace('\n', "\\n")
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    text(&output.stdout) + &text(&output.stderr)
}

#[test]
fn reports_and_errors_show_a_name_as_it_is_written() {
    for name in NAMES {
        let target = Named::start(name);
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(format!("r{name}.mgr"));
        let table = folder.path().join(format!("t{name}.parquet"));
        let run = |words: &[&std::ffi::OsStr]| {
            let output = glass().args(words).output().expect("it runs");
            assert!(output.status.success(), "{name:?}: {}", said(&output));
            assert_plain("a report", &said(&output));
            said(&output)
        };
        let word = std::ffi::OsStr::new;
        let pid = target.pid();
        let shown = run(&[word("snapshot"), word(&pid), word("--seconds"), word("0.3")]);
        assert!(shown.starts_with(&*memory_glass::plain::plain(name)), "{shown}");
        run(&[word("record"), word(&pid), word("--seconds"), word("0.5"), word("-o"), file.as_os_str()]);
        run(&[word("snapshot"), word("--replay"), file.as_os_str()]);
        run(&[word("export"), file.as_os_str(), word("-o"), table.as_os_str()]);
        let again = glass().args([word("export"), file.as_os_str(), word("-o"), table.as_os_str()]).output();
        let again = again.expect("it runs");
        assert_eq!(again.status.code(), Some(1));
        assert_plain("an error", &said(&again));
        assert_eq!(said(&again).lines().count(), 1);
        let usage = glass().args(["snapshot", "--order", name]).output().expect("it runs");
        assert_eq!(usage.status.code(), Some(2));
        let usage = said(&usage);
        assert!(!usage.contains(['\u{1b}', '\u{7}', '\u{7f}', '\u{9b}', '\u{202e}']), "{usage:?}");
        // Programs get the name itself, in JSON that is safe to look at.
        let words = [word("snapshot"), word("--replay"), file.as_os_str(), word("--json")];
        let json = said(&glass().args(words).output().expect("it runs"));
        assert_plain("JSON", &json);
        let report: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(report["comm"], as_the_kernel_has_it(name));
    }
}

#[test]
fn a_session_shows_and_logs_a_name_as_it_is_written() {
    let session = Session::start(&[]);
    for name in NAMES {
        let target = Named::start(name);
        session.msg(&["watch", &target.pid()]);
        for words in [&["targets"][..], &["state"], &["telemetry"], &["outputs"]] {
            until("it is told", || {
                let text = session.msg(words);
                assert_plain(words[0], &text);
                let there =
                    text.contains(&*memory_glass::plain::plain(name)) || text.contains("nothing is watched");
                there.then_some(())
            });
        }
        assert_plain("a refusal", &session.refused(&["watch", &format!("no {name}")]));
        let state = session.state();
        assert_eq!(
            state.target.expect("it is watched").name,
            as_the_kernel_has_it(name),
            "programs get the name itself"
        );
    }
    let log = session.log();
    assert!(log.contains("watching "), "{log}");
    assert_plain("the log", &log);
}

#[test]
fn a_session_shows_and_logs_what_a_window_calls_itself_as_it_is_written() {
    let session = Session::start_in("", &["--socket", "wall"], &[("RUST_LOG", "debug")]);
    let server = &mut Elsewhere;
    for name in NAMES {
        let stream = UnixStream::connect(session.path("run/wall")).expect("let in");
        let mut client = Bare::over(stream, server);
        let compositor = client.bind(server, "wl_compositor", 4);
        let shell = client.bind(server, "xdg_wm_base", 1);
        let pixels = client.bind(server, "wp_single_pixel_buffer_manager_v1", 1);
        let [surface, xdg, toplevel] = [(); 3].map(|()| client.id());
        client.send(server, compositor, 0, &[Word::Number(surface)]);
        client.send(server, shell, 2, &[Word::Number(xdg), Word::Number(surface)]);
        client.send(server, xdg, 1, &[Word::Number(toplevel)]);
        client.send(server, toplevel, 2, &[Word::Text(name)]);
        client.send(server, toplevel, 3, &[Word::Text(name)]);
        client.send(server, surface, 6, &[]);
        assert!(client.round_trip(server), "{:?}", client.told);
        let serial = client.last(xdg, 0).expect("configured");
        client.send(server, xdg, 4, &[Word::Number(serial)]);
        let buffer = client.id();
        client.send(server, pixels, 1, &[buffer, 0, 0, 0, u32::MAX].map(Word::Number));
        client.send(server, surface, 1, &[Word::Number(buffer), Word::Signed(0), Word::Signed(0)]);
        client.send(server, surface, 6, &[]);
        assert!(client.round_trip(server), "{:?}", client.told);
        let text = session.msg(&["windows"]);
        assert_plain("the windows", &text);
        assert!(text.contains(&*memory_glass::plain::plain(name)), "{text}");
        let json = session.msg(&["--json", "windows"]);
        assert_plain("JSON", &json);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let title = serde_json::to_string(name).expect("JSON");
        assert!(json.to_string().contains(&title), "programs get the title itself: {json}");
    }
    let log = session.log();
    assert!(log.contains("ready for clients"), "{log}");
    assert_plain("the log", &log);
}
