//! Pictures that a person has looked at, kept in tests/pictures. The stage computes on integers and the lettering comes
//! from bundled fonts, so they are compared exactly, on any driver.
//!
//! `UPDATE_PICTURES=1 cargo test --test render_pictures` replaces them; look at what `git diff` then shows.

mod render;

use std::path::{Path, PathBuf};

use memory_glass::render::{ColorPalette, Image, Picture};
use render::{assert_same, drawn, gpu, picture, program};

fn read_png(path: &Path) -> Option<Image> {
    let mut reader =
        png::Decoder::new(std::io::BufReader::new(std::fs::File::open(path).ok()?)).read_info().ok()?;
    let mut bytes = vec![0; reader.output_buffer_size()?];
    let info = reader.next_frame(&mut bytes).ok()?;
    assert_eq!(
        (info.color_type, info.bit_depth),
        (png::ColorType::Rgb, png::BitDepth::Eight),
        "{}",
        path.display()
    );
    let pixels = bytes[..info.buffer_size()]
        .chunks_exact(3)
        .map(|rgb| 0xff00_0000 | u32::from(rgb[0]) << 16 | u32::from(rgb[1]) << 8 | u32::from(rgb[2]))
        .collect();
    Some(Image { width: info.width, height: info.height, pixels })
}

fn compare(name: &str, picture: &Picture, width: u32, height: u32) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(format!("{name}.png"));
    let actual = drawn(&gpu(), picture, width, height);
    if std::env::var_os("UPDATE_PICTURES").is_some() {
        actual.write_png(&kept).expect("a place for the picture");
        return;
    }
    let expected = read_png(&kept);
    if expected.as_ref() != Some(&actual) {
        let beside = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.actual.png"));
        actual.write_png(&beside).expect("a place for the picture");
        eprintln!("{} is not as kept; what was drawn is in {}", kept.display(), beside.display());
    }
    assert_same(&actual, &expected.expect("a kept picture"), name);
}

#[test]
fn small_landscape() {
    compare("landscape-320x240", &picture(program(6), ColorPalette::Viridis), 320, 240);
}

#[test]
fn vga_landscape() {
    compare("landscape-640x480", &picture(program(8), ColorPalette::Viridis), 640, 480);
}

#[test]
fn portrait_in_inferno() {
    compare("portrait-480x800", &picture(program(7), ColorPalette::Inferno), 480, 800);
}

#[test]
fn square_of_few_cells() {
    compare("square-600x600", &picture(program(3), ColorPalette::Viridis), 600, 600);
}

#[test]
fn words_that_are_too_long() {
    let mut picture = picture(program(5), ColorPalette::Inferno);
    picture.caption.target = "a-process-with-a-name-that-no-kernel-would-allow 4194304".into();
    picture.caption.status =
        "soft-dirty · 1 000 ms windows · 123 456 789 pages written/s · accuracy unknown · \
        governor at 5 % of a slowdown budget that is spent · and one part more"
            .into();
    picture.caption.bytes_per_cell = 1023.96 * 1024.0;
    picture.caption.total_bytes = u64::MAX;
    compare("long-words-480x360", &picture, 480, 360);
}

#[test]
fn a_saved_picture_is_the_picture() {
    let image = drawn(&gpu(), &picture(program(4), ColorPalette::Viridis), 100, 80);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("map.png");
    image.write_png(&path).expect("written");
    assert_same(&read_png(&path).expect("a PNG"), &image, "read again");
    let error = image.write_png(folder.path().join("no/such/folder.png")).expect_err("nowhere");
    let words = error.to_string();
    assert!(words.contains("no/such/folder.png") && words.contains("-o") && !words.contains('\n'), "{words}");
}
