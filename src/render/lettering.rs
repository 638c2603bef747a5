//! Lines of words as pixels that are covered more or less.
//!
//! Fonts are bundled (Hack and Ubuntu Light), so words look the same on a machine without any. A line is drawn once, as long as it is
//! the same.

use std::collections::HashMap;
use std::sync::Arc;

use cosmic_text::{
    Align, Attrs, Buffer, Color, Ellipsize, EllipsizeHeightLimit, Family, FontSystem, Metrics, Shaping,
    SwashCache, Wrap, fontdb,
};

use super::layout::Rect;
use crate::plain::plain;

/// Coverage of the words that matter most.
pub(crate) const LOUD: u8 = 255;
/// Coverage of ordinary words.
pub(crate) const PLAIN: u8 = 215;
/// Coverage of words that only name others.
pub(crate) const QUIET: u8 = 145;

/// How much of each pixel of a panel is ink.
#[derive(Clone, PartialEq, Eq)]
pub struct Coverage {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// 0 (background) to 255 (ink), row after row.
    pub values: Vec<u8>,
}

impl std::fmt::Debug for Coverage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Coverage({}×{})", self.width, self.height)
    }
}

impl Coverage {
    pub(crate) fn new(panel: Rect) -> Coverage {
        let values = vec![0; panel.width as usize * panel.height as usize];
        Coverage { width: panel.width, height: panel.height, values }
    }

    /// Adds ink to a pixel of the panel; outside of it nothing happens.
    pub(super) fn add(&mut self, x: i64, y: i64, ink: u8) {
        if (0..i64::from(self.width)).contains(&x) && (0..i64::from(self.height)).contains(&y) {
            let at = y as usize * self.width as usize + x as usize;
            self.values[at] = self.values[at].max(ink);
        }
    }
}

/// Lines and widths that are kept: most words are the same in the next window.
pub(super) const KEPT: usize = 512;

/// The bundled fonts, and the glyphs and lines drawn so far.
pub struct Lettering {
    fonts: FontSystem,
    glyphs: SwashCache,
    pub(super) lines: HashMap<LineKey, Vec<Ink>>,
    pub(super) widths: HashMap<(String, u32, &'static str), f32>,
}

/// All that the pixels of a line depend on, but its place.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct LineKey {
    text: String,
    size: u32,
    family: &'static str,
    right: bool,
    centred: bool,
    room: u32,
}

/// A pixel of a line, from its upper left corner, and how much of it a letter covers.
pub(super) struct Ink {
    x: i32,
    y: i32,
    coverage: u8,
}

/// One line of words.
pub(crate) struct Line<'a> {
    pub(crate) text: &'a str,
    /// Where it goes, in picture coordinates; the words are cut with an ellipsis at its right edge.
    pub(crate) place: Rect,
    /// Size in pixels.
    pub(crate) size: f32,
    pub(crate) family: &'static str,
    pub(crate) align: Align,
    pub(crate) ink: u8,
}

pub(crate) const TEXT: &str = "Ubuntu";
pub(crate) const FIGURES: &str = "Hack";
/// What of other signs than ASCII's stands among figures.
const SIGNS: &str = "≈–−×±";

impl Lettering {
    /// Loads the bundled fonts; those of the system are not looked at.
    pub fn new() -> Lettering {
        let mut fonts = fontdb::Database::new();
        for font in [epaint_default_fonts::UBUNTU_LIGHT, epaint_default_fonts::HACK_REGULAR] {
            fonts.load_font_source(fontdb::Source::Binary(Arc::new(font)));
        }
        fonts.set_sans_serif_family(TEXT);
        fonts.set_monospace_family(FIGURES);
        // The locale chooses among fallback fonts only, and there are none.
        Lettering {
            fonts: FontSystem::new_with_locale_and_db("en-US".into(), fonts),
            glyphs: SwashCache::new(),
            lines: HashMap::new(),
            widths: HashMap::new(),
        }
    }

    /// One line of words on nothing, as large as its letters need.
    pub(super) fn label(&mut self, text: &str, size: f32) -> Coverage {
        let width = self.width(text, size, TEXT).ceil() as u32 + 1;
        let place = Rect { x: 0, y: 0, width, height: (size * 1.2).ceil() as u32 };
        let mut label = Coverage::new(place);
        let line = Line { text, place, size, family: TEXT, align: Align::Left, ink: LOUD };
        self.line(&mut label, place, line);
        label
    }

    fn shaped(
        &mut self,
        text: &str,
        size: f32,
        family: &'static str,
        room: Option<f32>,
        align: Align,
    ) -> Buffer {
        let mut buffer = Buffer::new(&mut self.fonts, Metrics::new(size, size * 1.2));
        buffer.set_wrap(Wrap::None);
        if room.is_some() {
            buffer.set_ellipsize(Ellipsize::End(EllipsizeHeightLimit::Lines(1)));
        }
        buffer.set_size(room, None);
        let weight = if family == TEXT { fontdb::Weight::LIGHT } else { fontdb::Weight::NORMAL };
        let attrs = Attrs::new().family(Family::Name(family)).weight(weight);
        // A line break in a process name must not make a second line, nor a mark of direction turn the numbers around it.
        buffer.set_text(&plain(text), &attrs, Shaping::Advanced, Some(align));
        buffer.shape_until_scroll(&mut self.fonts, false);
        buffer
    }

    /// How many pixels a line of words takes.
    pub(crate) fn width(&mut self, text: &str, size: f32, family: &'static str) -> f32 {
        let key = (text.to_owned(), size.to_bits(), family);
        if let Some(width) = self.widths.get(&key) {
            return *width;
        }
        let shaped = self.shaped(text, size, family, None, Align::Left);
        let width = shaped.layout_runs().map(|run| run.line_w).fold(0.0, f32::max);
        if self.widths.len() >= KEPT {
            self.widths.clear();
        }
        self.widths.insert(key, width);
        width
    }

    /// The same of figures, which are all as wide as one another: most are new in every window, and setting
    /// them takes long.
    pub(crate) fn width_of_figures(&mut self, text: &str, size: f32) -> f32 {
        if text.chars().all(|sign| (' '..='~').contains(&sign) || SIGNS.contains(sign)) {
            return text.chars().count() as f32 * self.width("0", size, FIGURES);
        }
        self.width(text, size, FIGURES)
    }

    /// Sets one line onto the sheet of a panel, and says in which rectangle of the sheet there may be
    /// letters.
    pub(crate) fn line(&mut self, sheet: &mut Coverage, panel: Rect, line: Line<'_>) -> Rect {
        if line.text.is_empty() || line.place.is_empty() {
            return Rect::default();
        }
        let key = LineKey {
            text: line.text.to_owned(),
            size: line.size.to_bits(),
            family: line.family,
            right: line.align == Align::Right,
            centred: line.align == Align::Center,
            room: line.place.width,
        };
        if !self.lines.contains_key(&key) {
            let letters = self.letters(&line);
            if self.lines.len() >= KEPT {
                self.lines.clear();
            }
            self.lines.insert(key, letters);
            return self.line(sheet, panel, line);
        }
        let left = i64::from(line.place.x - panel.x);
        let top = i64::from(line.place.y - panel.y);
        // The line stands in the middle of its place.
        let top = top + (f64::from(line.place.height) - f64::from(line.size) * 1.2).round() as i64 / 2;
        let ink = u32::from(line.ink);
        let (mut first, mut last) = (i32::MAX, i32::MIN);
        for Ink { x, y, coverage } in &self.lines[&key] {
            let shade = ((u32::from(*coverage) * ink + 127) / 255) as u8;
            sheet.add(left + i64::from(*x), top + i64::from(*y), shade);
            (first, last) = (first.min(*y), last.max(*y));
        }
        // Letters may reach above and below their place, but never out of it sideways.
        let row = |y: i64| y.clamp(0, i64::from(sheet.height)) as u32;
        let column = |x: i64| x.clamp(0, i64::from(sheet.width)) as u32;
        let (x, y) = (column(left), row(top + i64::from(first)));
        let right = column(left + i64::from(line.place.width));
        let bottom = row(top + i64::from(last) + 1);
        Rect { x, y, width: right - x, height: bottom.saturating_sub(y) }
    }

    /// The pixels of a line, cut at the edges of its place.
    fn letters(&mut self, line: &Line<'_>) -> Vec<Ink> {
        let room = line.place.width;
        let mut buffer = self.shaped(line.text, line.size, line.family, Some(room as f32), line.align);
        let mut letters = Vec::new();
        let white = Color::rgb(255, 255, 255);
        buffer.draw(&mut self.fonts, &mut self.glyphs, white, |x, y, width, height, color| {
            for (dx, dy) in (0..height).flat_map(|dy| (0..width).map(move |dx| (dx, dy))) {
                let (x, y) = (x + dx as i32, y + dy as i32);
                if (0..room as i32).contains(&x) && color.a() > 0 {
                    letters.push(Ink { x, y, coverage: color.a() });
                }
            }
        });
        letters
    }
}

impl Default for Lettering {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_as_wide_as_one_another() {
        let mut lettering = Lettering::new();
        for size in [9.2, 15.0, 61.0] {
            let all: String = (' '..='~').chain(SIGNS.chars()).collect();
            for text in ["0", "94 % (93–97)", "≈ 1.05×", "12 345", &all] {
                let (told, set) =
                    (lettering.width_of_figures(text, size), lettering.width(text, size, FIGURES));
                assert!((told - set).abs() < 0.01 * size, "{text} at {size}: {told}, {set}");
            }
        }
    }
}
