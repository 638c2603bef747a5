//! A session that watches a target which sleeps: no frame is drawn for it, and it is looked at now and then.

mod session;

use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;
use session::{Session, until};

/// A shell that sleeps until it is told to write for a moment.
struct Sleeper(Child);

impl Sleeper {
    fn start() -> Self {
        let script = "while read line; do i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; done";
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().expect("sh is there"))
    }

    fn write(&mut self) {
        self.0.stdin.as_mut().expect("piped").write_all(b"\n").expect("it reads");
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn answer(session: &Session, what: &str) -> Value {
    let answer: Value = serde_json::from_str(&session.msg(&["--json", what])).expect("JSON");
    answer["Ok"][what].clone()
}

fn frames(session: &Session) -> u64 {
    answer(session, "outputs")[0]["frames"]["presented"].as_u64().expect("a number")
}

fn windows(session: &Session) -> u64 {
    answer(session, "telemetry")["windows"].as_u64().expect("a number")
}

/// Waits for three seconds without a frame, and answers how many windows there were in each second of them.
fn rest(session: &Session) -> f64 {
    let (mut last, mut since) = (frames(session), Instant::now());
    let mut seen = windows(session);
    until("three seconds without a frame", || {
        let now = frames(session);
        if now != last {
            (last, since, seen) = (now, Instant::now(), windows(session));
        }
        let seconds = since.elapsed().as_secs_f64();
        (seconds >= 3.0).then(|| (windows(session) - seen) as f64 / seconds)
    })
}

#[test]
fn a_sleeping_target_costs_no_frame_in_any_mode_and_its_next_write_is_seen() {
    let mut target = Sleeper::start();
    let session = Session::start(&["--target", &target.0.id().to_string()]);
    until("it is watched", || (windows(&session) > 0).then_some(()));
    // A map with words, a time axis that would run on, and a window that cells are moved in.
    for (mode, config) in [("heatmap", ""), ("time-series", ""), ("phase", "window-ms = 100\n")] {
        if !config.is_empty() {
            let path = session.config_file();
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
            std::fs::write(&path, config).expect("written");
            session.msg(&["reload"]);
        }
        session.msg(&["mode", mode]);
        let before = frames(&session);
        target.write();
        until("what it writes is on the screen", || (frames(&session) > before).then_some(()));
        rest(&session);
        // From here on it is at rest.
        let looks = rest(&session);
        assert!(looks < 8.0, "{mode}: {looks} windows a second");
    }
}
