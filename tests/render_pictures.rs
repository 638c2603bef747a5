//! Pictures that a person has looked at, kept in tests/pictures. The stage computes on integers and the lettering comes
//! from bundled fonts, so they are compared exactly, on any driver.
//!
//! `UPDATE_PICTURES=1 cargo test --test render_pictures` replaces them; look at what `git diff` then shows.

mod render;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use memory_glass::render::{
    ColorPalette, ColorScale, GlassRamVisualizationMode, Hover, Image, Marks, NamedStretch, Painter, Picture,
};
use render::{assert_same, drawn, gpu, picture, program, scene};

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
    compare_image(name, drawn(&gpu(), picture, width, height), 0);
}

/// `loose`: how far a channel may be off, where a stage computes on floats.
fn compare_image(name: &str, actual: Image, loose: u32) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures").join(format!("{name}.png"));
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
    let expected = expected.expect("a kept picture");
    if loose == 0 {
        assert_same(&actual, &expected, name);
        return;
    }
    let far = |a: u32, b: u32| [16, 8, 0].iter().any(|s| (a >> s & 0xff).abs_diff(b >> s & 0xff) > loose);
    let wrong = actual.pixels.iter().zip(&expected.pixels).filter(|(a, b)| far(**a, **b)).count();
    // Rays along the wall of a box fall to either side of it.
    assert!(wrong < actual.pixels.len() / 50, "{name}: {wrong} pixels are far off");
}

/// One mode in every palette, two by two.
fn sheet(name: &str, mode: GlassRamVisualizationMode, order: u32, loose: u32) {
    let gpu = gpu();
    let mut painter = Painter::new(&gpu).expect("the stages");
    let (width, height) = (360, 240);
    let mut pixels = vec![0; 4 * (width * height) as usize];
    for (at, palette) in ColorPalette::ALL.into_iter().enumerate() {
        let mut target = memory_glass::render::MapTarget::offscreen(&gpu, width, height).expect("a target");
        painter.draw(&moded(mode, order, palette), &mut target).expect("a frame");
        let image = target.read().expect("pixels");
        for (y, row) in image.pixels.chunks_exact(width as usize).enumerate() {
            let line = (at / 2 * height as usize + y) * 2 * width as usize + at % 2 * width as usize;
            pixels[line..line + width as usize].copy_from_slice(row);
        }
    }
    compare_image(name, Image { width: 2 * width, height: 2 * height, pixels }, loose);
}

fn moded(mode: GlassRamVisualizationMode, order: u32, palette: ColorPalette) -> Picture {
    let mut picture = picture(program(order), palette);
    picture.scene = scene(mode, order);
    picture
}

/// The mappings of that program.
fn mappings(order: u32) -> Arc<[NamedStretch]> {
    let cells = f64::from(1u32 << (2 * order));
    let stretch = |name: &str, from: f64, to: f64| NamedStretch {
        name: name.into(),
        first: (from * cells) as u32,
        last: (to * cells) as u32 - 1,
    };
    [
        stretch("[heap]", 0.0, 0.18),
        stretch("appendonly.log", 0.18, 0.5),
        stretch("anonymous", 0.5, 0.55),
        stretch("table", 0.55, 0.7),
        stretch("libjemalloc.so.2", 0.7, 0.9),
        stretch("[stack]", 0.9, 1.0),
    ]
    .into()
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

#[test]
fn heat_map_in_every_palette() {
    sheet("palettes-heatmap", GlassRamVisualizationMode::Heatmap, 6, 0);
}

#[test]
fn threads_in_every_palette() {
    sheet("palettes-kinetic", GlassRamVisualizationMode::ThreadKineticEnergy, 6, 0);
}

#[test]
fn phases_in_every_palette() {
    sheet("palettes-phase", GlassRamVisualizationMode::PhaseTransition, 6, 0);
}

#[test]
fn avalanche_in_every_palette() {
    sheet("palettes-avalanche", GlassRamVisualizationMode::MemoryAvalanche, 6, 0);
}

#[test]
fn time_series_in_every_palette() {
    sheet("palettes-time-series", GlassRamVisualizationMode::TimeSeries, 7, 0);
}

#[test]
fn volume_in_every_palette() {
    sheet("palettes-volume", GlassRamVisualizationMode::Volumetric, 5, 6);
}

/// The README's pictures.
#[test]
fn modes_as_the_readme_shows_them() {
    let modes = [
        ("mode-1-heatmap", GlassRamVisualizationMode::Heatmap, 8, 0),
        ("mode-2-kinetic", GlassRamVisualizationMode::ThreadKineticEnergy, 7, 0),
        ("mode-3-phase", GlassRamVisualizationMode::PhaseTransition, 6, 0),
        ("mode-4-avalanche", GlassRamVisualizationMode::MemoryAvalanche, 7, 0),
        ("mode-5-time-series", GlassRamVisualizationMode::TimeSeries, 8, 0),
        ("mode-6-volume", GlassRamVisualizationMode::Volumetric, 5, 6),
    ];
    for (name, mode, order, loose) in modes {
        let mut picture = moded(mode, order, ColorPalette::Inferno);
        if matches!(mode, GlassRamVisualizationMode::Heatmap) {
            picture.marks = Arc::new(Marks {
                stretches: mappings(order),
                hover: Some(Hover {
                    cell: (40, 120),
                    words: vec![
                        "0x7f3a_5c20_0000 + 4 KiB".into(),
                        "appendonly.log".into(),
                        "27 writes/s".into(),
                        "written last by log-writer 1236".into(),
                    ],
                }),
                ..Marks::default()
            });
            picture.glow = true;
        }
        if matches!(mode, GlassRamVisualizationMode::MemoryAvalanche) {
            picture.marks = Arc::new(Marks { stretches: mappings(order), ..Marks::default() });
        }
        compare_image(name, drawn(&gpu(), &picture, 720, 540), loose);
    }
}

#[test]
fn logarithmic_with_pins_and_a_lasso() {
    let mut picture = picture(program(6), ColorPalette::Cividis);
    picture.scale = ColorScale::Logarithmic;
    picture.glow = true;
    picture.marks = Arc::new(Marks {
        pins: vec![(5, 40), (60, 3)],
        lasso: vec![(0.2, 0.2), (0.7, 0.25), (0.8, 0.6), (0.3, 0.7), (0.2, 0.2)],
        ..Marks::default()
    });
    compare("logarithmic-640x480", &picture, 640, 480);
}
