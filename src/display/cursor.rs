//! The pointer's image: what a client asks for, or an arrow of our own.

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::element::memory::MemoryRenderBuffer;
use smithay::input::pointer::CursorImageStatus;
use smithay::utils::{Logical, Point, Transform};

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

/// The pointer.
pub(crate) struct Cursor {
    /// What the client under the pointer wants.
    pub(crate) status: CursorImageStatus,
    arrow: MemoryRenderBuffer,
}

impl Cursor {
    pub(crate) fn new() -> Self {
        let (width, height) = (ARROW[0].len() as i32, ARROW.len() as i32);
        let arrow = MemoryRenderBuffer::from_slice(
            &arrow_pixels(),
            Fourcc::Argb8888,
            (width, height),
            1,
            Transform::Normal,
            None,
        );
        Self { status: CursorImageStatus::default_named(), arrow }
    }

    /// Our own image; its hot spot is its first pixel.
    pub(crate) fn arrow(&self) -> (&MemoryRenderBuffer, Point<i32, Logical>) {
        (&self.arrow, Point::from((0, 0)))
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
}
