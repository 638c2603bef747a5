//! A picture of filled rectangles and words, for what is drawn without a GPU.

use crate::render::layout::Rect;
use crate::render::text::{Coverage, Lettering, Line};
use crate::render::{BACKGROUND, INK};

/// The picture; colours are ARGB with 8 bits each.
pub(super) struct Canvas {
    whole: Rect,
    pixels: Vec<u32>,
    ink: Coverage,
}

impl Canvas {
    pub(super) fn new(width: u32, height: u32) -> Self {
        let whole = Rect { x: 0, y: 0, width, height };
        let count = width as usize * height as usize;
        Self { whole, pixels: vec![BACKGROUND; count], ink: Coverage::new(whole) }
    }

    pub(super) fn fill(&mut self, rect: Rect, color: u32) {
        let right = rect.right().min(self.whole.width) as usize;
        for y in rect.y..rect.bottom().min(self.whole.height) {
            let row = y as usize * self.whole.width as usize;
            let from = (rect.x as usize).min(right);
            self.pixels[row + from..row + right].fill(color);
        }
    }

    /// A line of this thickness around the inside of a rectangle.
    pub(super) fn frame(&mut self, rect: Rect, stroke: u32, color: u32) {
        let stroke = stroke.min(rect.width).min(rect.height);
        self.fill(Rect { height: stroke, ..rect }, color);
        self.fill(Rect { y: rect.bottom() - stroke, height: stroke, ..rect }, color);
        self.fill(Rect { width: stroke, ..rect }, color);
        self.fill(Rect { x: rect.right() - stroke, width: stroke, ..rect }, color);
    }

    pub(super) fn write(&mut self, lettering: &mut Lettering, line: Line<'_>) {
        lettering.line(&mut self.ink, self.whole, line);
    }

    /// The bytes of the picture, as the display takes them.
    pub(super) fn finish(self) -> Vec<u8> {
        let inked = self.pixels.iter().zip(&self.ink.values).map(|(under, share)| blend(*under, *share));
        inked.flat_map(u32::to_le_bytes).collect()
    }
}

/// Ink over a colour.
fn blend(under: u32, share: u8) -> u32 {
    let channel = |shift: u32| {
        let (under, ink, share) = ((under >> shift) & 0xff, (INK >> shift) & 0xff, u32::from(share));
        ((under * (255 - share) + ink * share + 127) / 255) << shift
    };
    0xff00_0000 | channel(16) | channel(8) | channel(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ink_covers_by_its_share_and_nothing_is_drawn_outside() {
        assert_eq!(blend(0xff20_4060, 0), 0xff20_4060);
        assert_eq!(blend(0xff20_4060, 255), INK);
        let mut canvas = Canvas::new(3, 2);
        canvas.fill(Rect { x: 2, y: 1, width: 9, height: 9 }, 0xff11_2233);
        canvas.fill(Rect { x: 7, y: 0, width: 9, height: 9 }, 0xff11_2233);
        let bytes = canvas.finish();
        assert_eq!(bytes[20..], [0x33, 0x22, 0x11, 0xff]);
        assert_eq!(bytes[..4], BACKGROUND.to_le_bytes());
    }
}
