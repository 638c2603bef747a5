//! The pointer's image: what a client draws, what the cursor theme has under the name that it asks for, or an arrow of our own.

use std::collections::HashMap;

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::element::memory::MemoryRenderBuffer;
use smithay::input::pointer::{CursorIcon, CursorImageStatus};
use smithay::utils::{Logical, Point, Transform};
use xcursor::CursorTheme;
use xcursor::parser::parse_xcursor;

/// `#` is black, `.` is white, anything else is clear.
const ARROW: [&str; 19] = [
    "#           ",
    "##          ",
    "#.#         ",
    "#..#        ",
    "#...#       ",
    "#....#      ",
    "#.....#     ",
    "#......#    ",
    "#.......#   ",
    "#........#  ",
    "#.........# ",
    "#......#####",
    "#...#..#    ",
    "#..# #..#   ",
    "#.#  #..#   ",
    "##    #..#  ",
    "      #..#  ",
    "       ##   ",
    "            ",
];

/// One picture of the pointer.
pub(crate) struct PointerImage {
    pub(crate) pixels: MemoryRenderBuffer,
    pub(crate) hot_spot: Point<i32, Logical>,
}

/// The pointer.
pub(crate) struct Cursor {
    /// What the client under the pointer wants.
    pub(crate) status: CursorImageStatus,
    theme: CursorTheme,
    size: u32,
    /// What the theme has of the names that were asked for so far.
    loaded: HashMap<&'static str, Option<PointerImage>>,
    arrow: PointerImage,
}

impl Cursor {
    /// The theme is what `XCURSOR_THEME` and `XCURSOR_SIZE` say, as for every other program.
    pub(crate) fn new() -> Self {
        let theme = std::env::var("XCURSOR_THEME").unwrap_or_else(|_| "default".into());
        let size = std::env::var("XCURSOR_SIZE").ok().and_then(|size| size.parse().ok()).unwrap_or(24);
        let (width, height) = (ARROW[0].len() as u32, ARROW.len() as u32);
        Self {
            status: CursorImageStatus::default_named(),
            theme: CursorTheme::load(&theme),
            size,
            loaded: HashMap::new(),
            arrow: image(&arrow_pixels(), (width, height), (0, 0)),
        }
    }

    /// The image for this name: from the theme, else the arrow.
    pub(crate) fn named(&mut self, icon: CursorIcon) -> &PointerImage {
        let Self { theme, size, loaded, arrow, .. } = self;
        let found = loaded.entry(icon.name()).or_insert_with(|| {
            std::iter::once(icon.name())
                .chain(icon.alt_names().iter().copied())
                .find_map(|name| load(theme, name, *size))
        });
        found.as_ref().unwrap_or(arrow)
    }
}

/// The theme's image of this name that is nearest to the wanted size; of a moving one, the first.
fn load(theme: &CursorTheme, name: &str, size: u32) -> Option<PointerImage> {
    let bytes = std::fs::read(theme.load_icon(name)?).ok()?;
    let images = parse_xcursor(&bytes)?;
    let best = images.iter().min_by_key(|image| image.size.abs_diff(size))?;
    let sane = best.width > 0 && best.height > 0 && best.width <= 512 && best.height <= 512;
    let whole = best.pixels_rgba.len() as u64 == u64::from(best.width) * u64::from(best.height) * 4;
    (sane && whole).then(|| image(&best.pixels_rgba, (best.width, best.height), (best.xhot, best.yhot)))
}

fn image(pixels: &[u8], (width, height): (u32, u32), (x, y): (u32, u32)) -> PointerImage {
    PointerImage {
        pixels: MemoryRenderBuffer::from_slice(
            pixels,
            Fourcc::Argb8888,
            (width as i32, height as i32),
            1,
            Transform::Normal,
            None,
        ),
        hot_spot: Point::from((x as i32, y as i32)),
    }
}

fn arrow_pixels() -> Vec<u8> {
    ARROW
        .iter()
        .flat_map(|row| row.bytes())
        .flat_map(|byte| match byte {
            b'#' => [0, 0, 0, 0xff],
            b'.' => [0xff; 4],
            _ => [0; 4],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arrow_is_a_rectangle_with_its_tip_at_the_hot_spot() {
        assert!(ARROW.iter().all(|row| row.len() == ARROW[0].len()));
        let pixels = arrow_pixels();
        assert_eq!(pixels.len(), ARROW.len() * ARROW[0].len() * 4);
        assert_eq!(pixels[..4], [0, 0, 0, 0xff]);
    }

    #[test]
    fn an_image_comes_from_the_theme_and_else_is_the_arrow() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("broken");
        std::fs::write(&path, b"Xcur nonsense").expect("written");
        assert!(parse_xcursor(&std::fs::read(&path).expect("read")).is_none_or(|images| images.is_empty()));
        let mut cursor = Cursor { theme: CursorTheme::load("no such theme"), ..Cursor::new() };
        for icon in [CursorIcon::Default, CursorIcon::Text] {
            assert_eq!(cursor.named(icon).hot_spot, Point::from((0, 0)));
        }
    }
}
