//! Words and lines of the legend as a coverage mask.
//!
//! In: a caption and a layout. Out: for each pixel of the layout's panel how much of it is ink, 0..255. The shader
//! blends ink over the background by that, so that a picture has one ink and its tones: what is less important has less
//! coverage.

use cosmic_text::Align;

use super::Caption;
use super::layout::{PictureLayout, Rect};
use super::legend::{Chart, Legend};
pub use super::lettering::{Coverage, Lettering};
pub(crate) use super::lettering::{FIGURES, LOUD, Line, PLAIN, QUIET, TEXT};
use super::pieces::{Panel, Pieces};

/// Coverage of an area that only marks its size.
const SHADE: u8 = 30;
/// Coverage of the lines under facts.
const HAIRLINE: u8 = 34;

impl Lettering {
    /// Sets the words of a caption and a legend into the panel of a layout.
    pub fn set(&mut self, caption: &Caption, legend: &Legend, layout: &PictureLayout) -> Coverage {
        let pieces = self.pieces(caption, legend, layout);
        Panel::new(self, layout.panel, pieces).into_coverage()
    }

    /// What there is to be set into that panel.
    pub(super) fn pieces(&mut self, caption: &Caption, legend: &Legend, layout: &PictureLayout) -> Pieces {
        let mut sheet = Pieces::default();
        if layout.panel.is_empty() {
            return sheet;
        }
        let em = layout.em as f32;
        let (name, number) = split_target(&caption.target);
        // A long name is set smaller before it is cut.
        let fits = self.width(name, em * 1.8, TEXT) <= layout.title.width as f32;
        let size = em * if fits { 1.8 } else { 1.3 };
        let heading =
            Line { text: name, place: layout.title, size, family: TEXT, align: Align::Left, ink: LOUD };
        sheet.line(heading);
        let process = number.map(|number| format!("process {number}")).unwrap_or_default();
        self.words(&mut sheet, layout, &process, layout.process, QUIET);

        self.legend(&mut sheet, layout, legend);
        self.names(&mut sheet, layout, legend);
        if let Some(chart) = &legend.chart {
            self.chart(&mut sheet, layout, chart);
        }
        let facts = facts(caption, legend);
        self.facts(&mut sheet, layout, &facts);
        // Where the axes are not the curve's, an area is not a stretch of memory.
        if let Some(scale) = layout.scale.filter(|_| legend.axes.is_empty()) {
            frame(&mut sheet, scale.square, stroke(layout));
            let area = f64::from(scale.cells) * f64::from(scale.cells) * caption.bytes_per_cell;
            let cells =
                if scale.cells == 1 { "1 cell".into() } else { format!("{0} × {0} cells", scale.cells) };
            self.words(&mut sheet, layout, &format!("{cells} = {}", bytes(area)), scale.label, PLAIN);
        }
        let status = status(caption, facts.get(layout.facts.len()..).unwrap_or_default());
        self.status(&mut sheet, layout, &status);
        sheet
    }

    /// The palette bar's title, frame, ticks and numbers; the colours are the shader's.
    fn legend(&mut self, sheet: &mut Pieces, layout: &PictureLayout, legend: &Legend) {
        let size = layout.em as f32;
        let room = layout.bar_title.first().map_or(0.0, |line| line.width as f32);
        let title = legend.titles.iter().find(|lines| {
            lines.len() <= layout.bar_title.len()
                && lines.iter().all(|line| self.width(line, size, TEXT) <= room)
        });
        let title = title.copied().unwrap_or(&[]);
        // They stand on the bar.
        for (&place, line) in layout.bar_title.iter().rev().zip(title.iter().rev()) {
            self.words(sheet, layout, line, place, QUIET);
        }
        if layout.ticks.is_empty() {
            return;
        }
        let (bar, ticks) = (layout.bar, layout.ticks);
        let (tick, stroke) = (layout.em / 3, stroke(layout));
        for (i, label) in legend.ticks.into_iter().enumerate() {
            let x = bar.x + bar.width.saturating_sub(stroke) * i as u32 / 4;
            sheet.fill(Rect { x, y: ticks.y, width: stroke, height: tick }, QUIET);
            let half = bar.width / 8;
            let (x, width, align) = match i {
                0 => (bar.x, bar.width / 5, Align::Left),
                4 => (bar.right() - bar.width / 5, bar.width / 5, Align::Right),
                _ => (x - half, 2 * half, Align::Center),
            };
            let place = Rect { x, y: ticks.y + tick, width, height: ticks.height - tick };
            let size = layout.em as f32 * 0.85;
            sheet.line(Line { text: label, place, size, family: FIGURES, align, ink: PLAIN });
        }
    }

    /// Whose hue is whose; the hues are drawn over it.
    fn names(&mut self, sheet: &mut Pieces, layout: &PictureLayout, legend: &Legend) {
        for (&place, (_, name)) in layout.names.iter().zip(&legend.names) {
            let lead = (layout.em * 5 / 4).min(place.width);
            let after = Rect { x: place.x + lead, width: place.width - lead, ..place };
            self.words(sheet, layout, name, after, PLAIN);
        }
    }

    /// Bars over a line, with lines between them.
    fn chart(&mut self, sheet: &mut Pieces, layout: &PictureLayout, chart: &Chart) {
        let place = layout.chart;
        if place.is_empty() {
            return;
        }
        let [over, under] = layout.chart_words;
        self.words(sheet, layout, &chart.title, over, QUIET);
        let count = chart.bars.len().max(1) as u32;
        let edge = |bar: u32| place.x + (u64::from(bar) * u64::from(place.width) / u64::from(count)) as u32;
        let gap = u32::from(place.width / count >= 4);
        let stroke = stroke(layout);
        for (bar, &value) in (0..).zip(&chart.bars) {
            let height = ((place.height - stroke) as f32 * value.clamp(0.0, 1.0)).round() as u32;
            let width = (edge(bar + 1) - edge(bar)).saturating_sub(gap);
            let y = place.bottom() - stroke - height;
            sheet.fill(Rect { x: edge(bar), y, width, height }, QUIET);
        }
        sheet.fill(Rect { y: place.bottom() - stroke, height: stroke, ..place }, HAIRLINE);
        for &(bar, strength) in &chart.lines {
            let ink = (f32::from(QUIET) + strength.clamp(0.0, 1.0) * f32::from(LOUD - QUIET)) as u8;
            let x = edge(bar as u32).min(place.right() - 2 * stroke);
            sheet.fill(Rect { x, width: 2 * stroke, ..place }, ink);
        }
        let size = layout.em as f32 * 0.85;
        for (text, align) in [(chart.left.as_str(), Align::Left), (chart.right.as_str(), Align::Right)] {
            let half = under.width / 2;
            let x = if align == Align::Left { under.x } else { under.right() - half };
            let place = Rect { x, width: half, ..under };
            sheet.line(Line { text, place, size, family: TEXT, align, ink: QUIET });
        }
    }

    /// Names at the left and values at the right of a column.
    fn facts(&mut self, sheet: &mut Pieces, layout: &PictureLayout, facts: &[Fact]) {
        for (&place, Fact { name, value, .. }) in layout.facts.iter().zip(facts) {
            // The value is what is looked for: the name gives way.
            let size = layout.em as f32;
            let value_width =
                (self.width_of_figures(value, size * 0.92).ceil() as u32 + layout.em / 2).min(place.width);
            // Its letters are the same whatever room there is beyond them.
            let name_width = self.width(name, size, TEXT).ceil() as u32 + layout.em / 2;
            let left = Rect { width: (place.width - value_width).min(name_width), ..place };
            self.words(sheet, layout, name, left, QUIET);
            let line = Line {
                text: value,
                place,
                size: size * 0.92,
                family: FIGURES,
                align: Align::Right,
                ink: PLAIN,
            };
            sheet.line(line);
            let stroke = stroke(layout);
            let under = Rect { y: place.bottom() - stroke, height: stroke, ..place };
            sheet.fill(under, HAIRLINE);
        }
    }

    /// The parts of the status, as many on a line as fit.
    fn status(&mut self, sheet: &mut Pieces, layout: &PictureLayout, status: &str) {
        let Some(first) = layout.status.first() else { return };
        let size = layout.em as f32;
        let mut lines: Vec<String> = Vec::new();
        for part in status.split(" · ").filter(|part| !part.trim().is_empty()) {
            let joined = lines.last().map(|line| format!("{line} · {part}"));
            match joined {
                // On the last line the rest is cut with an ellipsis, which shows that there was more.
                Some(joined)
                    if lines.len() == layout.status.len()
                        || self.width(&joined, size, TEXT) <= first.width as f32 =>
                {
                    lines.pop();
                    lines.push(joined);
                }
                _ => lines.push(part.to_owned()),
            }
        }
        // Beside the map the block stands on its lower edge.
        let blank = if layout.panel.y < layout.map.bottom() { layout.status.len() - lines.len() } else { 0 };
        for (&place, line) in layout.status[blank..].iter().zip(&lines) {
            self.words(sheet, layout, line, place, PLAIN);
        }
    }

    fn words(&mut self, sheet: &mut Pieces, layout: &PictureLayout, text: &str, place: Rect, ink: u8) {
        let line = Line { text, place, size: layout.em as f32, family: TEXT, align: Align::Left, ink };
        sheet.line(line);
    }
}

/// A name and its value.
struct Fact {
    name: String,
    value: String,
    /// It changes while watching.
    number: bool,
}

/// All facts, the most important first.
fn facts(caption: &Caption, legend: &Legend) -> Vec<Fact> {
    let fact = |name: &str, value: String| Fact { name: name.to_owned(), value, number: false };
    let mut facts = vec![fact("on the map", bytes(caption.total_bytes as f64))];
    if legend.axes.is_empty() {
        facts.push(fact("a cell", bytes(caption.bytes_per_cell)));
    }
    // The map's own axes, in the place of the curve's.
    facts.extend(legend.axes.iter().map(|(name, value)| fact(name, value.clone())));
    let numbers = caption.numbers.iter();
    facts.extend(numbers.map(|(name, value)| Fact { number: true, ..fact(name, value.clone()) }));
    facts.push(fact("half-life", format!("{} ms", caption.half_life.as_millis())));
    if legend.axes.is_empty() {
        let side = 1u64 << caption.order.min(31);
        facts.push(fact(&format!("order {}", caption.order), format!("{side} × {side}")));
        facts.push(fact("lowest page", "top left".to_owned()));
        facts.push(fact("highest page", "top right".to_owned()));
    }
    facts
}

/// What there is to say, with the numbers that have no line of their own.
fn status(caption: &Caption, without_room: &[Fact]) -> String {
    let numbers = without_room.iter().filter(|fact| fact.number);
    let mut parts = vec![caption.status.clone()];
    parts.extend(numbers.map(|fact| format!("{} {}", fact.name, fact.value)));
    parts.join(" · ")
}

/// "redis-server 1234" is a name and a number; without a number at the end it is all name.
fn split_target(target: &str) -> (&str, Option<&str>) {
    match target.trim().rsplit_once(' ') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => {
            (name.trim_end(), Some(number))
        }
        _ => (target.trim(), None),
    }
}

/// Bytes in the largest binary unit that leaves at least one, with at most three digits that matter.
pub(crate) fn bytes(count: f64) -> String {
    if !count.is_finite() || count < 0.0 {
        return "–".into();
    }
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = count;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.
    while value >= 1023.95 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if value >= 99.95 || (value - value.round()).abs() < 0.005 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {}", units[unit])
}

/// How thick lines are: one pixel on a usual screen, more where everything is larger.
fn stroke(layout: &PictureLayout) -> u32 {
    (layout.em / 24).max(1)
}

/// An area with a line around it, `stroke` thick, inside.
fn frame(sheet: &mut Pieces, rect: Rect, stroke: u32) {
    let Rect { x, y, width, height } = rect;
    sheet.fill(rect, SHADE);
    for edge in [
        Rect { height: stroke, ..rect },
        Rect { y: y + height - stroke, height: stroke, ..rect },
        Rect { width: stroke, ..rect },
        Rect { x: x + width - stroke, width: stroke, ..rect },
    ] {
        sheet.fill(edge, PLAIN);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::lettering::KEPT;
    use super::*;
    use crate::render::{ColorPalette, Picture};

    /// The words of a plain heat map.
    fn set(lettering: &mut Lettering, caption: &Caption, layout: &PictureLayout) -> Coverage {
        let density = Arc::new(crate::sensing::DensityMap::zeros((1, 1)));
        let picture = Picture::new(density, caption.clone(), ColorPalette::Viridis);
        lettering.set(caption, &Legend::of(&picture), layout)
    }

    fn caption(target: &str, status: &str) -> Caption {
        Caption {
            target: target.into(),
            numbers: ["written", "accuracy", "sampled", "slowdown", "threads", "rung", "looks"]
                .map(|name| (name, "95 % (93–97)".to_owned()))
                .into(),
            status: status.into(),
            order: 8,
            bytes_per_cell: 4096.0,
            total_bytes: 64 << 20,
            half_life: Duration::from_millis(250),
        }
    }

    fn ink_in(sheet: &Coverage, panel: Rect, rect: Rect) -> usize {
        let inked = |x: u32, y: u32| sheet.values[((y - panel.y) * panel.width + x - panel.x) as usize] > 0;
        (rect.y..rect.bottom()).map(|y| (rect.x..rect.right()).filter(|&x| inked(x, y)).count()).sum()
    }

    #[test]
    fn a_target_is_a_name_and_a_number() {
        assert_eq!(split_target("redis-server 1234"), ("redis-server", Some("1234")));
        assert_eq!(split_target("Web Content 77"), ("Web Content", Some("77")));
        assert_eq!(split_target("python3"), ("python3", None));
        assert_eq!(split_target("tmux: server"), ("tmux: server", None));
        assert_eq!(split_target(""), ("", None));
    }

    #[test]
    fn bytes_are_short_and_right() {
        let shown = [
            0.0,
            16.0,
            1000.0,
            1023.96,
            1024.0,
            4096.0,
            1536.0,
            12_800.0,
            1_048_575.0,
            67_108_864.0,
            3.3e9,
            1e18,
        ]
        .map(bytes)
        .join(", ");
        assert_eq!(
            shown,
            "0 B, 16 B, 1000 B, 1 KiB, 1 KiB, 4 KiB, 1.50 KiB, 12.5 KiB, 1 MiB, 64 MiB, 3.07 GiB, 888 PiB"
        );
        assert_eq!(bytes(f64::NAN), "–");
        assert_eq!(bytes(-1.0), "–");
    }

    #[test]
    fn whatever_a_name_is_it_stays_in_its_place() {
        let mut lettering = Lettering::new();
        let layout = PictureLayout::new(640, 480, 8).expect("a usual size");
        for name in [
            "x".repeat(4000),
            "WWWW ".repeat(100),
            "データベース 1234".into(),
            "مرحبا بالعالم 99".into(),
            "line\nbreak\ttab\0nul\u{1b}[31m 5".into(),
            "🦀🦀🦀".into(),
            "\u{202e}override".into(),
            "a\u{301}\u{301}\u{301}\u{301}".repeat(50),
        ] {
            let sheet = set(&mut lettering, &caption(&name, &name), &layout);
            let empty = set(&mut lettering, &caption("", ""), &layout);
            // Between the parts there is no ink but what is there without words.
            let title = layout.title;
            let right = Rect { x: title.right(), width: layout.panel.right() - title.right(), ..title };
            assert_eq!(ink_in(&sheet, layout.panel, right), 0);
            for (part, what) in [(layout.bar, "bar"), (layout.ticks, "ticks")] {
                let (with, without) =
                    (ink_in(&sheet, layout.panel, part), ink_in(&empty, layout.panel, part));
                assert_eq!(with, without, "{what} under {name:?}");
            }
            assert!(ink_in(&sheet, layout.panel, title) > 0, "{name:?}");
        }
    }

    #[test]
    fn every_part_that_has_a_place_is_written() {
        let mut lettering = Lettering::new();
        for (width, height) in [(320, 240), (640, 480), (1920, 1080), (1080, 1920), (1000, 1000)] {
            let layout = PictureLayout::new(width, height, 8).expect("a usual size");
            let caption = caption("redis-server 1234", "wp-async · 100 ms windows");
            let sheet = set(&mut lettering, &caption, &layout);
            let mut parts = vec![layout.title, layout.process, layout.ticks];
            parts.extend(&layout.facts);
            parts.extend(layout.scale.iter().flat_map(|scale| [scale.square, scale.label]));
            for part in parts.into_iter().filter(|part| !part.is_empty()) {
                assert!(ink_in(&sheet, layout.panel, part) > 0, "{width}×{height}: {part:?}");
            }
            assert!(layout.status.iter().any(|&line| ink_in(&sheet, layout.panel, line) > 0));
        }
    }

    #[test]
    fn what_was_set_before_changes_nothing() {
        let mut used = Lettering::new();
        let layouts = [(640, 480), (1280, 720)]
            .map(|(width, height)| PictureLayout::new(width, height, 8).expect("a usual size"));
        for round in 0..3 * KEPT {
            let caption = caption(&format!("program {}", round % 700), &format!("{round} of many"));
            let layout = &layouts[round % 2];
            let sheet = set(&mut used, &caption, layout);
            if round % 97 == 0 {
                assert!(sheet == set(&mut Lettering::new(), &caption, layout), "round {round}");
            }
        }
        assert!(used.lines.len() <= KEPT && used.widths.len() <= KEPT);
    }

    #[test]
    fn words_at_twice_the_pixels_are_set_anew_and_not_doubled() {
        let mut lettering = Lettering::new();
        let caption = caption("redis-server 1234", "order 7 → 8 (more pages)");
        let once = PictureLayout::new(1280, 720, 8).expect("a usual size");
        let twice = PictureLayout::new(2560, 1440, 8).expect("a usual size");
        assert!(twice.em.abs_diff(2 * once.em) <= 1, "as large to the eye: {} and {}", once.em, twice.em);
        let sheet = set(&mut lettering, &caption, &twice);
        // The words, without the lines and areas, which are as straight at any size.
        let words = [twice.title, twice.process, twice.bar_title[0], twice.ticks];
        let (mut inked, mut finer) = (0, 0);
        for word in words {
            for (x, y) in (word.y / 2..word.bottom() / 2)
                .flat_map(|y| (word.x / 2..word.right() / 2).map(move |x| (2 * x, 2 * y)))
            {
                let at = |x: u32, y: u32| {
                    let (x, y) = (x.saturating_sub(twice.panel.x), y.saturating_sub(twice.panel.y));
                    sheet.values.get((y * sheet.width + x) as usize).copied().unwrap_or(0)
                };
                let block = [at(x, y), at(x + 1, y), at(x, y + 1), at(x + 1, y + 1)];
                inked += u32::from(block != [0; 4]);
                finer += u32::from(block.iter().any(|ink| *ink != block[0]));
            }
        }
        // A doubled letter has none of these.
        assert!(
            inked > 500 && finer * 2 > inked,
            "{finer} of {inked} blocks of four pixels have a line in them"
        );
    }
}
