//! The configuration where people keep it: behind links that are turned, and with what no configuration may
//! hold.

mod session;

use std::os::unix::fs::symlink;

use session::{Session, until};

fn error(session: &Session) -> Option<String> {
    session.state().config.error
}

#[test]
fn a_link_that_is_turned_is_followed_wherever_it_is_on_the_way() {
    let mut session = Session::start(&[]);
    let palette = |session: &Session, wanted: &str| {
        until(wanted, || session.msg(&["state"]).contains(wanted).then_some(()));
    };
    for name in ["viridis", "cividis", "contrast"] {
        let folder = session.path(&format!("store/{name}"));
        std::fs::create_dir_all(&folder).expect("made");
        std::fs::write(folder.join("config.toml"), format!("palette = \"{name}\"\n")).expect("written");
    }
    let turn = |link: &std::path::Path, to: &str| {
        let new = link.with_extension("new");
        symlink(to, &new).expect("linked");
        std::fs::rename(new, link).expect("turned");
    };
    // A store with a generation of its own: config/memory-glass -> store/current -> store/viridis.
    let current = session.path("store/current");
    turn(&current, "viridis");
    std::fs::create_dir_all(session.path("config")).expect("made");
    let folder = session.path("config/memory-glass");
    turn(&folder, "../store/current");
    palette(&session, "viridis");
    turn(&current, "cividis");
    palette(&session, "cividis");
    turn(&folder, "../store/contrast");
    palette(&session, "contrast");
    assert!(session.is_running());
}

#[test]
fn what_no_configuration_may_hold_is_an_error_on_its_line() {
    let mut session = Session::start_with("palette = \"viridis\"\n", &[]);
    let file = session.config_file();
    let cases: [(&[u8], &str); 4] = [
        (b"palette = \"\xff\"\n", ":1:12: this is not UTF-8"),
        (b"[keyboard]\nlayout = \"us\\u0000de\"\n", ":2:10: a text holds"),
        (b"[[span]]\nname = \"a\\u0000b\"\noutputs = []\n", ":2:8: a text holds"),
        (b"palette = \"\x1b[31m\"\n", ":1:"),
    ];
    for (bytes, said) in cases {
        std::fs::write(&file, bytes).expect("written");
        let error = until(said, || error(&session).filter(|error| error.contains(said)));
        assert!(error.starts_with(&*file.to_string_lossy()), "{error}");
        assert!(!session.msg(&["state"]).contains('\u{1b}'));
    }
    std::fs::write(&file, "palette = \"cividis\"\n").expect("written");
    until("the right one", || (error(&session).is_none()).then_some(()));
    assert!(session.is_running());
}
