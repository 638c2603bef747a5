//! The pointer's image: what a client draws, what the cursor theme has under the name that it asks for, or an arrow of our own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::element::memory::MemoryRenderBuffer;
use smithay::input::pointer::{CursorIcon, CursorImageStatus};
use smithay::reexports::wayland_server::protocol::wl_surface::WlSurface;
use smithay::utils::{Logical, Point, Size, Transform};
use xcursor::CursorTheme;
use xcursor::parser::parse_xcursor;

use super::settings::CursorSettings;

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
    pub(crate) size: Size<i32, Logical>,
    pub(crate) hot_spot: Point<i32, Logical>,
}

/// What is dragged along with the pointer.
pub(crate) struct DragIcon {
    pub(crate) surface: WlSurface,
    /// Where its corner is, seen from the pointer.
    pub(crate) offset: Point<i32, Logical>,
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
    /// It disappears after so long without a movement.
    hide_after: Option<Duration>,
    used_at: Instant,
    timer: bool,
    resting: bool,
}

/// What becomes of a pointer that is not moved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It has disappeared.
    Hidden,
    /// It will, after this time.
    Wait(Duration),
    /// It stays.
    Never,
}

impl Cursor {
    pub(crate) fn new(settings: &CursorSettings) -> Self {
        let (width, height) = (ARROW[0].len() as u32, ARROW.len() as u32);
        let (theme, size) = theme_and_size(settings);
        Self {
            status: CursorImageStatus::default_named(),
            theme: CursorTheme::load(&theme),
            size,
            loaded: HashMap::new(),
            arrow: image(&arrow_pixels(), (width, height), (0, 0)),
            hide_after: hide_after(settings),
            used_at: Instant::now(),
            timer: false,
            resting: false,
        }
    }

    /// Takes other settings; the images are loaded anew when they are needed.
    pub(crate) fn set(&mut self, settings: &CursorSettings) {
        let (theme, size) = theme_and_size(settings);
        self.theme = CursorTheme::load(&theme);
        self.size = size;
        self.loaded.clear();
        self.hide_after = hide_after(settings);
    }

    /// The pointer was moved. Returns after which time [`Self::rested`] is to be asked, when nobody does so yet.
    pub(crate) fn used(&mut self) -> Option<Duration> {
        self.used_at = Instant::now();
        self.resting = false;
        let after = self.hide_after?;
        (!std::mem::replace(&mut self.timer, true)).then_some(after)
    }

    /// That time is over.
    pub(crate) fn rested(&mut self) -> Rest {
        let left = self.hide_after.map(|after| after.saturating_sub(self.used_at.elapsed()));
        self.timer = left.is_some_and(|left| !left.is_zero());
        self.resting |= left.is_some_and(|left| left.is_zero());
        match left {
            None => Rest::Never,
            Some(Duration::ZERO) => Rest::Hidden,
            Some(left) => Rest::Wait(left),
        }
    }

    /// It disappears until it is moved. Returns whether it was to be seen.
    pub(crate) fn hide(&mut self) -> bool {
        !std::mem::replace(&mut self.resting, true)
    }

    /// Whether it has disappeared because nobody moves it.
    pub(crate) fn resting(&self) -> bool {
        self.resting
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

/// What is not set is what `XCURSOR_THEME` and `XCURSOR_SIZE` say, as for every other program.
fn theme_and_size(settings: &CursorSettings) -> (String, u32) {
    let variable = |name: &str| std::env::var(name).ok();
    let theme = settings.theme.clone().or_else(|| variable("XCURSOR_THEME")).unwrap_or("default".into());
    let size = settings.size.or_else(|| variable("XCURSOR_SIZE")?.parse().ok()).unwrap_or(24);
    (theme, size)
}

fn hide_after(settings: &CursorSettings) -> Option<Duration> {
    let milliseconds = u64::from(settings.hide_after_ms);
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
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
        size: Size::from((width as i32, height as i32)),
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
        let settings = CursorSettings { theme: Some("no such theme".into()), ..CursorSettings::default() };
        let mut cursor = Cursor::new(&settings);
        for icon in [CursorIcon::Default, CursorIcon::Text] {
            assert_eq!(cursor.named(icon).hot_spot, Point::from((0, 0)));
        }
    }

    #[test]
    fn a_pointer_at_rest_disappears_and_comes_back_when_it_is_moved() {
        let mut cursor = Cursor::new(&CursorSettings::default());
        assert_eq!((cursor.used(), cursor.rested()), (None, Rest::Never));
        cursor.set(&CursorSettings { hide_after_ms: 3_600_000, ..CursorSettings::default() });
        let hour = Duration::from_secs(3600);
        assert_eq!(cursor.used(), Some(hour));
        assert_eq!(cursor.used(), None, "one timer is enough");
        assert!(matches!(cursor.rested(), Rest::Wait(left) if left <= hour) && !cursor.resting());
        cursor.used_at -= hour;
        assert_eq!(cursor.rested(), Rest::Hidden);
        assert!(cursor.resting());
        assert_eq!(cursor.used(), Some(hour), "and again");
        assert!(!cursor.resting());
        assert!(cursor.hide() && !cursor.hide() && cursor.resting());
        assert!(
            matches!(cursor.rested(), Rest::Wait(_)) && cursor.resting(),
            "it stays away until it is moved"
        );
        cursor.used();
        assert!(!cursor.resting());
    }
}
