//! What an overlay looks like: where its parts are, and painting them. All sizes hang on the em, the size of ordinary words.

use smithay::utils::{Logical, Point, Rectangle, Size};

use super::Content;
use super::canvas::Canvas;
use super::picker::Picker;
use crate::render::layout::Rect;
use crate::render::text::{FIGURES, LOUD, Lettering, Line, PLAIN, QUIET, TEXT, bytes};

const FRAME: u32 = 0xff3a_3f4c;
const FIELD: u32 = 0xff1a_1c24;
const CHOSEN: u32 = 0xff2b_3f63;
const HANDLE: u32 = 0xff4a_5060;

/// Ordinary words on an output whose clients' part is this, in its own pixels.
pub(super) fn em(room: Rectangle<i32, Logical>) -> f64 {
    f64::from(room.size.w.min(room.size.h) / 45).clamp(12.0, 22.0)
}

/// Ems that the heading and the margins of a list take.
const HEADING: f64 = 4.6;
/// Ems of a row of hotkeys, where there is room.
const ROW: f64 = 1.6;
/// Ems of such a row where there is little.
const TIGHT_ROW: f64 = 1.25;

/// In how many columns so many hotkeys stand in a panel of so many ems: one, as long as they fit.
fn columns(lines: usize, ems: f64) -> usize {
    if HEADING + TIGHT_ROW * lines as f64 <= ems { 1 } else { 2 }
}

/// Where the panel lies in this room.
pub(super) fn area(room: Rectangle<i32, Logical>, content: &Content) -> Rectangle<i32, Logical> {
    let em = em(room);
    let (wide, high) = match content {
        Content::Picker(_) => (54.0, 44.0),
        Content::Hotkeys(lines) => {
            let columns = columns(lines.len(), f64::from(room.size.h) / em - 1.0);
            let rows = lines.len().div_ceil(columns) as f64;
            (38.0 * columns as f64, HEADING + ROW * rows)
        }
    };
    let side =
        |wanted: f64, room: i32| ((wanted * em).round() as i32).min(room - em as i32).max(1).min(room.max(1));
    let size = Size::from((side(wide, room.size.w), side(high, room.size.h)));
    let at = Point::from(((room.size.w - size.w) / 2, (room.size.h - size.h) / 2));
    Rectangle::new(room.loc + at, size)
}

/// The parts of a panel, in pixels of the screen.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    width: u32,
    height: u32,
    em: f64,
    rows: Vec<Rect>,
}

impl Layout {
    /// The parts for this content; a picker learns from it how many rows it has.
    pub(super) fn new(width: u32, height: u32, em: f64, content: &mut Content) -> Self {
        let mut layout = Self { width, height, em, rows: Vec::new() };
        if let Content::Picker(picker) = content {
            let (row, margin) = (layout.px(2.0), layout.px(1.0));
            let top = layout.field().bottom() + layout.px(0.6);
            let room = height.saturating_sub(top + layout.px(3.0));
            let right = layout.px(1.8);
            layout.rows = (0..room / row.max(1))
                .map(|at| Rect {
                    x: margin,
                    y: top + at * row,
                    width: width.saturating_sub(margin + right),
                    height: row,
                })
                .collect();
            picker.set_rows(layout.rows.len());
        }
        layout
    }

    fn px(&self, ems: f64) -> u32 {
        (ems * self.em).round() as u32
    }

    fn stroke(&self) -> u32 {
        self.px(0.06).max(1)
    }

    fn title(&self) -> Rect {
        let margin = self.px(1.0);
        Rect {
            x: margin,
            y: self.px(0.7),
            width: self.width.saturating_sub(2 * margin),
            height: self.px(2.0),
        }
    }

    fn field(&self) -> Rect {
        Rect { y: self.title().bottom() + self.px(0.4), height: self.px(2.2), ..self.title() }
    }

    fn foot(&self) -> Rect {
        let height = self.px(2.4);
        Rect { y: self.height.saturating_sub(height + self.px(0.3)), height, ..self.title() }
    }

    /// The row at this point of the panel.
    pub(super) fn row_at(&self, x: f64, y: f64) -> Option<usize> {
        let (x, y) = (x.max(0.0) as u32, y.max(0.0) as u32);
        self.rows.iter().position(|row| row.contains(x, y))
    }

    pub(super) fn row_height(&self) -> f64 {
        self.rows.first().map_or(2.0 * self.em, |row| f64::from(row.height))
    }

    /// The picture.
    pub(super) fn paint(&self, lettering: &mut Lettering, content: &Content) -> Vec<u8> {
        let mut canvas = Canvas::new(self.width, self.height);
        let whole = Rect { x: 0, y: 0, width: self.width, height: self.height };
        canvas.frame(whole, self.stroke(), FRAME);
        match content {
            Content::Picker(picker) => self.paint_picker(&mut canvas, lettering, picker),
            Content::Hotkeys(lines) => self.paint_hotkeys(&mut canvas, lettering, lines),
        }
        canvas.finish()
    }

    fn words<'a>(&self, text: &'a str, place: Rect, ink: u8) -> Line<'a> {
        Line { text, place, size: self.em as f32, family: TEXT, align: cosmic_text::Align::Left, ink }
    }

    fn figures<'a>(&self, text: &'a str, place: Rect, ink: u8) -> Line<'a> {
        let align = cosmic_text::Align::Right;
        Line { size: self.em as f32 * 0.92, family: FIGURES, align, ..self.words(text, place, ink) }
    }

    fn heading(&self, canvas: &mut Canvas, lettering: &mut Lettering, left: &str, right: &str) {
        let title = self.title();
        canvas.write(lettering, Line { size: self.em as f32 * 1.5, ..self.words(left, title, LOUD) });
        let align = cosmic_text::Align::Right;
        canvas.write(lettering, Line { align, ..self.words(right, title, QUIET) });
    }

    fn paint_picker(&self, canvas: &mut Canvas, lettering: &mut Lettering, picker: &Picker) {
        self.heading(canvas, lettering, "Watch a process", &picker.count());
        let field = self.field();
        canvas.fill(field, FIELD);
        canvas.frame(field, self.stroke(), FRAME);
        let inset = self.px(0.7);
        let inside = Rect { x: field.x + inset, width: field.width.saturating_sub(2 * inset), ..field };
        let filter = picker.filter();
        let typed = lettering.width(filter, self.em as f32, TEXT).ceil() as u32;
        if filter.is_empty() {
            let after = Rect { x: inside.x + self.px(0.4), ..inside };
            canvas.write(lettering, self.words("type a part of the name, or the number", after, QUIET));
        } else {
            canvas.write(lettering, self.words(filter, inside, LOUD));
        }
        let caret = Rect {
            x: (inside.x + typed + self.stroke()).min(inside.right()),
            y: field.y + self.px(0.45),
            width: (2 * self.stroke()).max(2),
            height: field.height.saturating_sub(2 * self.px(0.45)),
        };
        canvas.fill(caret, 0xff00_0000 | crate::render::INK);

        for (row, (candidate, chosen)) in self.rows.iter().zip(picker.visible()) {
            if chosen {
                canvas.fill(*row, CHOSEN);
            }
            let ink = match (&candidate.refused, chosen) {
                (Some(_), _) => QUIET,
                (None, true) => LOUD,
                (None, false) => PLAIN,
            };
            let (mut x, right) = (row.x, row.right());
            let mut column = |ems: f64| {
                let place = Rect { x, width: self.px(ems).min(right - x), ..*row };
                x = (x + place.width + self.px(0.8)).min(right);
                place
            };
            let (pid, name, size) = (column(4.6), column(13.0), column(5.2));
            canvas.write(lettering, self.figures(&candidate.pid.to_string(), pid, QUIET.max(ink - 40)));
            canvas.write(lettering, self.words(&candidate.name, name, ink));
            canvas.write(lettering, self.figures(&bytes(candidate.resident_bytes as f64), size, ink));
            let rest = Rect { x, width: right - x, ..*row };
            let remark = match &candidate.refused {
                Some(reason) => reason.as_str(),
                None if picker.watched() == Some(candidate.pid) => "is being watched",
                None => "",
            };
            canvas.write(lettering, self.words(remark, rest, QUIET));
        }
        self.paint_extent(canvas, picker);
        canvas.write(lettering, self.words(&picker.message(), self.foot(), PLAIN));
    }

    /// The bar at the right tells which part of the list is to be seen.
    fn paint_extent(&self, canvas: &mut Canvas, picker: &Picker) {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else { return };
        let (begin, length) = picker.extent();
        if length >= 1.0 {
            return;
        }
        let height = f64::from(last.bottom() - first.y);
        let handle = Rect {
            x: first.right() + self.px(0.5),
            y: first.y + (begin * height) as u32,
            width: self.px(0.3).max(2),
            height: ((length * height) as u32).max(self.px(0.6)),
        };
        canvas.fill(handle, HANDLE);
    }

    fn paint_hotkeys(&self, canvas: &mut Canvas, lettering: &mut Lettering, lines: &[(String, String)]) {
        self.heading(canvas, lettering, "Hotkeys", "Esc closes");
        let title = self.title();
        let top = title.bottom() + self.px(0.8);
        let columns = columns(lines.len(), f64::from(self.height) / self.em) as u32;
        let rows = (lines.len() as u32).div_ceil(columns).max(1);
        let room = self.height.saturating_sub(top + self.px(0.4));
        let row = self.px(ROW).min(room / rows).max(1);
        let gap = self.px(1.6);
        let column = title.width.saturating_sub((columns - 1) * gap) / columns;
        // Where there is little room, the words are smaller.
        let widest = |lettering: &mut Lettering, figures: bool| {
            let width = |(keys, words): &(String, String)| match figures {
                true => lettering.width(keys, self.em as f32 * 0.86, FIGURES),
                false => lettering.width(words, self.em as f32, TEXT),
            };
            lines.iter().map(width).fold(0.0, f32::max)
        };
        let (keys_width, words_width) = (widest(lettering, true), widest(lettering, false));
        let wanted = keys_width + words_width + self.em as f32;
        let shrink = (column as f32 / wanted.max(1.0)).min(row as f32 / (1.2 * self.em as f32)).min(1.0);
        let size = self.em as f32 * shrink;
        for (at, (keys, words)) in lines.iter().enumerate() {
            let (side, at) = (at as u32 / rows, at as u32 % rows);
            let x = title.x + side * (column + gap);
            let width = ((keys_width * shrink).ceil() as u32).min(column);
            let place = Rect { x, y: top + at * row, width, height: row };
            let align = cosmic_text::Align::Left;
            canvas.write(lettering, Line { size: size * 0.86, align, ..self.figures(keys, place, LOUD) });
            let after = width + (size * 0.9) as u32;
            let rest = Rect { x: x + after, width: column.saturating_sub(after), ..place };
            canvas.write(lettering, Line { size, ..self.words(words, rest, PLAIN) });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_panel_is_inside_and_every_row_of_it_is_found_again(
            x in 0..4000i32, w in 64..8000i32, h in 64..8000i32, scale in 0.5..4.0f64,
        ) {
            let room = Rectangle::new(Point::from((x, 0)), Size::from((w, h)));
            let mut content = Content::Picker(Picker::new(None));
            let area = area(room, &content);
            prop_assert!(room.contains_rect(area));
            let side = |length: i32| ((f64::from(length) * scale).round() as u32).max(1);
            let layout = Layout::new(side(area.size.w), side(area.size.h), em(room) * scale, &mut content);
            for (at, row) in layout.rows.iter().enumerate() {
                prop_assert!(row.right() <= layout.width && row.bottom() <= layout.foot().y);
                if row.width > 0 {
                    prop_assert_eq!(layout.row_at(f64::from(row.x), f64::from(row.bottom()) - 0.5), Some(at));
                }
            }
            prop_assert_eq!(layout.row_at(-5.0, -5.0), None);
        }
    }
}
