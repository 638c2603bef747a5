//! The words and lines of a panel as a list, so that of the panel only what has changed is drawn again.

use std::ops::Range;

use cosmic_text::Align;

use super::layout::Rect;
use super::lettering::{Coverage, Lettering, Line};

/// One of the things that lie in a panel. Where two of them meet the stronger one shows, so their order does
/// not matter.
#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Words { text: String, place: Rect, size: f32, family: &'static str, align: Align, ink: u8 },
    Fill { rect: Rect, ink: u8 },
}

/// What is to be in a panel.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Piece>);

impl Pieces {
    /// A line of words.
    pub(super) fn line(&mut self, line: Line<'_>) {
        let Line { text, place, size, family, align, ink } = line;
        self.0.push(Piece::Words { text: text.to_owned(), place, size, family, align, ink });
    }

    /// An area.
    pub(super) fn fill(&mut self, rect: Rect, ink: u8) {
        self.0.push(Piece::Fill { rect, ink });
    }
}

/// A panel, and what lies where in it.
pub(super) struct Panel {
    place: Rect,
    /// With the rectangle of the panel that each can have ink in.
    pieces: Vec<(Piece, Rect)>,
    coverage: Coverage,
}

impl Panel {
    /// A panel at this place of a picture.
    pub(super) fn new(lettering: &mut Lettering, place: Rect, pieces: Pieces) -> Panel {
        let mut panel = Panel { place, pieces: Vec::new(), coverage: Coverage::new(place) };
        panel.update(lettering, pieces);
        panel
    }

    /// Makes it have these pieces, and says which rows are other than they were, ascending.
    pub(super) fn update(&mut self, lettering: &mut Lettering, new: Pieces) -> Vec<Range<u32>> {
        let old = std::mem::take(&mut self.pieces);
        let mut changed: Vec<Rect> =
            old.iter().filter(|(piece, _)| !new.0.contains(piece)).map(|(_, ink)| *ink).collect();
        for ink in &changed {
            self.clear(*ink);
        }
        let cleared = changed.len();
        for (at, piece) in new.0.into_iter().enumerate() {
            // Most are where they were.
            let same = |old: &&(Piece, Rect)| old.0 == piece;
            let was = old.get(at).filter(same).or_else(|| old.iter().find(same)).map(|(_, ink)| *ink);
            let ink = match was {
                Some(ink) if !changed[..cleared].iter().any(|other| meet(*other, ink)) => ink,
                _ => self.draw(lettering, &piece),
            };
            if was.is_none() {
                changed.push(ink);
            }
            self.pieces.push((piece, ink));
        }
        rows(changed)
    }

    /// How much of each pixel is ink.
    pub(super) fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// The same, to keep.
    pub(super) fn into_coverage(self) -> Coverage {
        self.coverage
    }

    fn clear(&mut self, ink: Rect) {
        let width = self.coverage.width as usize;
        for row in ink.y as usize..ink.bottom() as usize {
            let from = row * width;
            self.coverage.values[from + ink.x as usize..from + ink.right() as usize].fill(0);
        }
    }

    fn draw(&mut self, lettering: &mut Lettering, piece: &Piece) -> Rect {
        match piece {
            Piece::Words { text, place, size, family, align, ink } => {
                let line = Line { text, place: *place, size: *size, family, align: *align, ink: *ink };
                lettering.line(&mut self.coverage, self.place, line)
            }
            Piece::Fill { rect, ink } => {
                let (left, top) = (self.place.x, self.place.y);
                let column = |x: u32| x.saturating_sub(left).min(self.coverage.width);
                let row = |y: u32| y.saturating_sub(top).min(self.coverage.height);
                let (x, y) = (column(rect.x), row(rect.y));
                let within = Rect { x, y, width: column(rect.right()) - x, height: row(rect.bottom()) - y };
                for y in within.y..within.bottom() {
                    for x in within.x..within.right() {
                        self.coverage.add(x.into(), y.into(), *ink);
                    }
                }
                within
            }
        }
    }
}

fn meet(a: Rect, b: Rect) -> bool {
    !a.is_empty()
        && !b.is_empty()
        && a.x < b.right()
        && b.x < a.right()
        && a.y < b.bottom()
        && b.y < a.bottom()
}

/// The rows of these rectangles, those that touch together.
fn rows(mut rects: Vec<Rect>) -> Vec<Range<u32>> {
    rects.retain(|rect| !rect.is_empty());
    rects.sort_unstable_by_key(|rect| rect.y);
    let mut rows: Vec<Range<u32>> = Vec::new();
    for rect in rects {
        match rows.last_mut() {
            Some(last) if rect.y <= last.end => last.end = last.end.max(rect.bottom()),
            _ => rows.push(rect.y..rect.bottom()),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::lettering::{FIGURES, LOUD, TEXT};
    use super::*;

    fn pieces(words: &[(String, u32, u32, bool)], areas: &[(u32, u32)]) -> Pieces {
        let mut pieces = Pieces::default();
        for (text, x, y, figures) in words {
            pieces.line(Line {
                text,
                place: Rect { x: 30 + x, y: 20 + y, width: 70, height: 14 },
                size: 15.0,
                family: if *figures { FIGURES } else { TEXT },
                align: if *figures { Align::Right } else { Align::Left },
                ink: LOUD - *y as u8,
            });
        }
        for (x, y) in areas {
            pieces.fill(Rect { x: 30 + x, y: 20 + y, width: 40, height: 3 }, 90);
        }
        pieces
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_panel_that_was_changed_is_as_one_made_anew(
            steps in prop::collection::vec(
                (
                    prop::collection::vec(("[a-gj|_0-9Äq]{0,9}", 0..90u32, 0..70u32, any::<bool>()), 0..6),
                    prop::collection::vec((0..120u32, 0..80u32), 0..4),
                ),
                1..6,
            ),
        ) {
            let mut lettering = Lettering::new();
            // Some of what is set lies across its edges.
            let place = Rect { x: 30, y: 20, width: 150, height: 75 };
            let mut panel = Panel::new(&mut lettering, place, Pieces::default());
            for (words, areas) in &steps {
                let before = panel.coverage().clone();
                let rows = panel.update(&mut lettering, pieces(words, areas));
                let anew = Panel::new(&mut lettering, place, pieces(words, areas)).into_coverage();
                prop_assert!(*panel.coverage() == anew);
                for row in (0..75).filter(|row| !rows.iter().any(|rows| rows.contains(row))) {
                    let line = row as usize * 150..(row as usize + 1) * 150;
                    prop_assert_eq!(&before.values[line.clone()], &anew.values[line], "row {}", row);
                }
                prop_assert!(panel.update(&mut lettering, pieces(words, areas)).is_empty());
            }
        }
    }
}
