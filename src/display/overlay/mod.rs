//! What the compositor draws over everything by itself: the target picker and the list of hotkeys.
//!
//! ```text
//!  keys, pointer, touch ─► picker (pure: filter, selection, scrolling) ─┐
//!  session ─► candidates ───────────────────────────────────────────────┼─► paint ─► one buffer, above all else
//!  hotkeys as configured ─► help ───────────────────────────────────────┘
//! ```
//!
//! While one is open it has all keys and all clicks. It lies on the clients' part of the active output, so that a map beside them
//! stays on its plane.

mod canvas;
mod control;
mod help;
mod picker;
mod picture;
#[cfg(test)]
mod pictures;

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::element::memory::MemoryRenderBuffer;
use smithay::utils::{Logical, Physical, Point, Rectangle, Size, Transform};

pub use picker::Candidate;
pub(crate) use picker::{Picker, PickerKey};
use picture::Layout;

use super::hotkey::Hotkeys;
use crate::render::text::Lettering;

/// Which one is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayKind {
    /// The target picker.
    Picker,
    /// The list of hotkeys.
    Hotkeys,
}

/// What is in it.
pub(crate) enum Content {
    Picker(Picker),
    /// The hotkeys as configured, each with its words.
    Hotkeys(Vec<(String, String)>),
}

/// The one that is open.
pub(crate) struct Overlay {
    pub(crate) content: Content,
    /// The name of the output it is on.
    pub(crate) output: String,
    painted: Option<Painted>,
    /// Where a finger came down, and where the list has been scrolled to since.
    finger: Option<(i32, f64, bool)>,
}

/// As it was painted last.
struct Painted {
    /// On its output.
    area: Rectangle<i32, Logical>,
    scale: f64,
    layout: Layout,
    pixels: Size<i32, Physical>,
    buffer: MemoryRenderBuffer,
    /// The content is another one by now.
    stale: bool,
}

/// As it is to be seen.
pub(crate) struct Shown<'a> {
    /// On its output.
    pub(crate) area: Rectangle<i32, Logical>,
    /// The size of its buffer.
    pub(crate) pixels: Size<i32, Physical>,
    pub(crate) buffer: &'a MemoryRenderBuffer,
}

impl Overlay {
    fn new(content: Content, output: String) -> Self {
        Self { content, output, painted: None, finger: None }
    }

    /// The picker, without any process yet.
    pub(crate) fn picker(output: String, watched: Option<u32>) -> Self {
        Self::new(Content::Picker(Picker::new(watched)), output)
    }

    /// The list of hotkeys.
    pub(crate) fn hotkeys(output: String, hotkeys: &Hotkeys) -> Self {
        Self::new(Content::Hotkeys(help::lines(hotkeys)), output)
    }

    pub(crate) fn kind(&self) -> OverlayKind {
        match self.content {
            Content::Picker(_) => OverlayKind::Picker,
            Content::Hotkeys(_) => OverlayKind::Hotkeys,
        }
    }

    /// It is to be painted anew.
    pub(crate) fn changed(&mut self) {
        if let Some(painted) = &mut self.painted {
            painted.stale = true;
        }
    }

    /// The picture of it, where it lies on its output, whose clients' part is `room`, and how large it is there.
    pub(crate) fn paint(
        &mut self,
        lettering: &mut Lettering,
        room: Rectangle<i32, Logical>,
        scale: f64,
    ) -> Shown<'_> {
        let area = picture::area(room, &self.content);
        let fresh = self.painted.take().filter(|old| !old.stale && old.area == area && old.scale == scale);
        let painted = fresh.unwrap_or_else(|| {
            let size: Size<i32, Physical> = area.size.to_f64().to_physical(scale).to_i32_round();
            let pixels = Size::from((size.w.max(1), size.h.max(1)));
            let (width, height) = (pixels.w.unsigned_abs(), pixels.h.unsigned_abs());
            let layout = Layout::new(width, height, picture::em(room) * scale, &mut self.content);
            let buffer = MemoryRenderBuffer::from_slice(
                &layout.paint(lettering, &self.content),
                Fourcc::Argb8888,
                (pixels.w, pixels.h),
                1,
                Transform::Normal,
                None,
            );
            Painted { area, scale, layout, pixels, buffer, stale: false }
        });
        let painted = self.painted.insert(painted);
        Shown { area: painted.area, pixels: painted.pixels, buffer: &painted.buffer }
    }

    /// What is at this point of its output: a row of the list, the panel, or nothing of it.
    fn at(&self, point: Point<f64, Logical>) -> Option<Option<usize>> {
        let painted = self.painted.as_ref()?;
        let within = point - painted.area.loc.to_f64();
        if !Rectangle::from_size(painted.area.size).to_f64().contains(within) {
            return None;
        }
        Some(painted.layout.row_at(within.x * painted.scale, within.y * painted.scale))
    }

    /// The height of a row, in the output's own pixels.
    fn row_height(&self) -> f64 {
        self.painted.as_ref().map_or(20.0, |painted| painted.layout.row_height() / painted.scale)
    }
}
