//! Pictures that a person has looked at, kept in tests/pictures. Words are drawn from bundled fonts, so they are compared exactly.
//!
//! `UPDATE_PICTURES=1 cargo test --lib overlay` replaces them; look at what `git diff` then shows.

use std::path::{Path, PathBuf};

use smithay::utils::{Point, Rectangle, Size};

use super::Content;
use super::picker::{Candidate, Picker, PickerKey};
use super::picture::{self, Layout};
use crate::display::hotkey::Hotkeys;
use crate::render::Image;
use crate::render::text::Lettering;

fn read_png(path: &Path) -> Option<Image> {
    let file = std::io::BufReader::new(std::fs::File::open(path).ok()?);
    let mut reader = png::Decoder::new(file).read_info().ok()?;
    let mut bytes = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut bytes).ok()?;
    let color = |rgb: &[u8]| u32::from_be_bytes([0xff, rgb[0], rgb[1], rgb[2]]);
    let pixels = bytes[..info.buffer_size()].chunks_exact(3).map(color).collect();
    Some(Image { width: info.width, height: info.height, pixels })
}

/// On a clients' part of this size, on an output of this scale.
fn compare(name: &str, mut content: Content, (w, h): (i32, i32), scale: f64) {
    let room = Rectangle::new(Point::from((0, 0)), Size::from((w, h)));
    let area = picture::area(room, &content);
    let side = |length: i32| (f64::from(length) * scale).round() as u32;
    let (width, height) = (side(area.size.w), side(area.size.h));
    let layout = Layout::new(width, height, picture::em(room) * scale, &mut content);
    let bytes = layout.paint(&mut Lettering::new(), &content);
    let pixels =
        bytes.chunks_exact(4).map(|bgra| u32::from_le_bytes([bgra[0], bgra[1], bgra[2], bgra[3]])).collect();
    let actual = Image { width, height, pixels };
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(format!("{name}.png"));
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        actual.write_png(&kept).expect("a place for the picture");
        return;
    }
    let expected = read_png(&kept).expect("a kept picture");
    if expected != actual {
        let beside: PathBuf = std::env::temp_dir().join(format!("{name}.actual.png"));
        actual.write_png(&beside).expect("a place for the picture");
        panic!("{} is not as kept; what was drawn is in {}", kept.display(), beside.display());
    }
}

fn picker() -> Picker {
    let candidate = |pid, name: &str, own, mib: u64, refused: Option<&str>| Candidate {
        pid,
        name: name.into(),
        own,
        resident_bytes: mib << 20,
        refused: refused.map(str::to_owned),
    };
    let root = "process 1 may not be attached to (PTRACE_SEIZE: EPERM): run as its user with CAP_SYS_PTRACE, or as root";
    let mut picker = Picker::new(Some(4217));
    let mut all = vec![
        candidate(4217, "redis-server", true, 812, None),
        candidate(1203, "firefox-esr", true, 1630, None),
        candidate(1544, "Isolated Web Co", true, 402, None),
        candidate(911, "foot", true, 31, None),
        candidate(1, "systemd", false, 13, Some(root)),
        candidate(431, "dbus-daemon", false, 5, Some(root)),
        candidate(
            7001,
            "gdb-target",
            true,
            2,
            Some("process 7001 is already traced by 7000 (gdb): detach that debugger or tracer first"),
        ),
    ];
    all.extend((0..30).map(|i| candidate(2000 + i, &format!("worker-{i}"), true, 1 + u64::from(i), None)));
    picker.list(all);
    picker
}

#[test]
fn the_picker_on_a_usual_screen() {
    compare("picker", Content::Picker(picker()), (960, 1080), 1.0);
}

#[test]
fn the_picker_on_half_a_small_screen() {
    compare("picker-small", Content::Picker(picker()), (512, 768), 1.0);
}

#[test]
fn the_picker_with_a_filter_and_a_refusal_at_twice_the_pixels() {
    let mut picker = picker();
    picker.key(PickerKey::Text("7".into()));
    picker.key(PickerKey::Text("001".into()));
    picker.key(PickerKey::Enter);
    compare("picker-refusal-2x", Content::Picker(picker), (640, 480), 2.0);
}

#[test]
fn the_picker_when_no_process_fits() {
    let mut picker = picker();
    picker.key(PickerKey::Text("postgres".into()));
    compare("picker-nothing", Content::Picker(picker), (640, 480), 1.0);
}

fn hotkeys() -> Content {
    Content::Hotkeys(super::help::lines(&Hotkeys::default()))
}

#[test]
fn the_hotkeys_on_a_usual_screen() {
    compare("hotkeys", hotkeys(), (960, 1080), 1.0);
}

#[test]
fn the_hotkeys_on_half_a_small_screen() {
    compare("hotkeys-small", hotkeys(), (512, 480), 1.0);
}

#[test]
fn the_hotkeys_at_one_and_a_half_times_the_pixels() {
    compare("hotkeys-1.5x", hotkeys(), (800, 700), 1.5);
}
