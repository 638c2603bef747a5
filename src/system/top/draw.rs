//! What is to be seen, as a function of plain data.

use std::sync::Arc;
use std::time::Duration;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::colors::{ColorDepth, shade};
use crate::plain::plain;
use crate::render::{Caption, ColorPalette, rate};
use crate::sensing::DensityMap;
use crate::system::words::{ago, bytes, clock, thousands};
use crate::telemetry::GlassRamTelemetry;

/// Columns of the numbers beside the map.
const PANEL: u16 = 34;
/// Under this many rows of map, the numbers go.
const LEAST_MAP: u16 = 4;
/// The line of keys.
const KEYS: &str = "q quit · p palette · space hold · + − order · t targets · ? help";
const REPLAY_KEYS: &str = "q quit · space pause · ← → 5 s · [ ] speed · p palette · + − order · ? help";

/// What is to be seen.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub density: Arc<DensityMap>,
    pub palette: ColorPalette,
    pub depth: ColorDepth,
    pub caption: Caption,
    pub rung: String,
    pub telemetry: GlassRamTelemetry,
    pub slow_down: String,
    /// Too little of the map is right.
    pub poor: bool,
    /// Changes of phase, and how long ago the last one was.
    pub phases: (usize, Option<Duration>),
    /// Avalanches that have ended, and the pages that one has reached which goes on.
    pub avalanches: (u64, Option<u64>),
    pub play: Option<Play>,
    pub held: bool,
    pub ended: Option<String>,
    /// Something that was tried did not work.
    pub complaint: Option<String>,
    pub over: Over,
}

/// Where a recording is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Play {
    pub position: Duration,
    pub length: Duration,
    pub speed: f64,
}

/// What lies over the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Over {
    Nothing,
    Help,
    /// Processes as lines, and which one is chosen.
    Targets(Vec<String>, usize),
}

/// Draws `view` onto the whole of `frame`.
pub(super) fn draw(view: &View, frame: &mut Frame<'_>) {
    let [title, body, keys] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    let (map, panel) = split(body);
    frame.render_widget(Paragraph::new(title_line(view)), title);
    paint(view, map, frame.buffer_mut());
    frame.render_widget(Paragraph::new(numbers(view, panel.width)), panel);
    let line = if view.play.is_some() { REPLAY_KEYS } else { KEYS };
    frame.render_widget(Paragraph::new(line.dim()), keys);
    match &view.over {
        Over::Nothing => {}
        Over::Help => help(frame),
        Over::Targets(lines, chosen) => targets(frame, lines, *chosen),
    }
}

/// The map's square, and where the numbers go: beside it, or where that is narrow below it.
fn split(body: Rect) -> (Rect, Rect) {
    let square = |area: Rect| {
        let side = area.width.min(area.height.saturating_mul(2)) & !1;
        Rect { width: side, height: side / 2, ..area }
    };
    let beside = square(Rect { width: body.width.saturating_sub(PANEL + 1), ..body });
    let below = square(Rect { height: body.height.saturating_sub(14), ..body });
    let (map, across) = if beside.height >= below.height { (beside, true) } else { (below, false) };
    if map.height < LEAST_MAP {
        return (square(body), Rect { width: 0, height: 0, ..body });
    }
    let panel = if across {
        let x = map.right() + 1;
        Rect { x, width: body.right().saturating_sub(x), ..body }
    } else {
        let y = map.bottom();
        Rect { y, height: body.bottom().saturating_sub(y), ..body }
    };
    (map, panel)
}

fn title_line(view: &View) -> Line<'static> {
    let state = match (&view.complaint, &view.ended) {
        (Some(complaint), _) => plain(complaint).into_owned(),
        (None, Some(ended)) => plain(ended).into_owned(),
        (None, None) if view.held => "held".into(),
        (None, None) => String::new(),
    };
    let mut spans = vec![
        Span::from(plain(&view.caption.target).into_owned()).bold(),
        Span::from(format!(" by {}", view.rung)),
    ];
    if let Some(play) = &view.play {
        spans.push(Span::from(format!(
            " · recording {} of {}{}",
            clock(play.position),
            clock(play.length),
            if play.speed == 1.0 { String::new() } else { format!(" at {}×", play.speed) }
        )));
    }
    if !state.is_empty() {
        spans.push(Span::from(format!(" · {state}")).add_modifier(Modifier::REVERSED));
    }
    Line::from(spans)
}

/// The numbers and the legend.
fn numbers(view: &View, width: u16) -> Vec<Line<'static>> {
    let View { telemetry, caption, .. } = view;
    let fact =
        |name: &str, value: String| Line::from(vec![Span::from(format!("{name:<11}")).dim(), value.into()]);
    let phases = match view.phases {
        (0, _) | (_, None) => "none".into(),
        (count, Some(last)) => format!("{count}, the last {} ago", ago(last)),
    };
    let avalanches = match view.avalanches {
        (count, Some(pages)) => format!("{} pages now, {count} past", thousands(pages)),
        (count, None) => count.to_string(),
    };
    let mut lines = vec![
        fact("written", format!("{} pages/s", thousands(telemetry.fault_rate.round() as u64))),
        fact("threads", telemetry.active_threads.to_string()),
        fact("accuracy", accuracy(telemetry.reconstruction_accuracy)),
        fact("slowdown", view.slow_down.clone()),
        fact("phases", phases),
        fact("avalanches", avalanches),
        Line::default(),
        fact("map", bytes(caption.total_bytes as f64)),
        fact("order", format!("{} ({size} × {size} cells)", caption.order, size = 1u64 << caption.order)),
        fact("a cell", bytes(caption.bytes_per_cell)),
        Line::default(),
    ];
    if view.poor {
        let offer = ["less than 70 % is right:", "--exact shows all of it,", "a larger budget more"];
        let after = lines.len().min(3);
        lines.splice(after..after, offer.map(|part| fact("", part.into())));
    }
    lines.extend(legend(view, width.min(PANEL)));
    lines
}

/// The palette with its scale: how often each page of a cell is written.
fn legend(view: &View, width: u16) -> [Line<'static>; 3] {
    let width = width.max(12);
    let colors = view.palette.colors();
    let bar: Vec<Span<'static>> = (0..width)
        .map(|x| {
            let value = f32::from(x) / f32::from(width - 1);
            match view.depth {
                ColorDepth::None => Span::from(shade(value).to_string()),
                depth => Span::from("█").fg(depth.color(colors[index(value)])),
            }
        })
        .collect();
    let [low, middle, high] = [0.0, 0.5, 1.0].map(rate::in_words);
    let wide = |text: &str| text.chars().count();
    let spare = |taken: usize| " ".repeat(usize::from(width).saturating_sub(taken));
    // The middle one stands under the middle of the bar.
    let left = format!("{low}{}{middle}", spare(usize::from(width).div_ceil(2) + wide(&low)));
    let ticks = format!("{left}{}{high}", spare(wide(&left) + wide(&high)));
    let half_life = view.caption.half_life.as_millis();
    [
        Line::from(bar),
        Line::from(ticks).dim(),
        Line::from(format!("writes/s a page, half-life {half_life} ms")).dim(),
    ]
}

/// The place of a value from 0 to 1 in a palette.
fn index(value: f32) -> usize {
    ((value * 256.0) as usize).min(255)
}

/// The map on `area`, two rows of its pixels in each row of characters.
fn paint(view: &View, area: Rect, buffer: &mut Buffer) {
    let colors = view.palette.colors();
    let side = usize::from(area.width);
    let color = |x: usize, y: usize| view.depth.color(colors[index(pixel(&view.density, side, x, y))]);
    for row in 0..area.height {
        for column in 0..area.width {
            let (x, y) = (usize::from(column), 2 * usize::from(row));
            let Some(cell) = buffer.cell_mut((area.x + column, area.y + row)) else { continue };
            if view.depth == ColorDepth::None {
                let both = [y, y + 1].map(|y| pixel(&view.density, side, x, y));
                cell.set_char(shade((both[0] + both[1]) / 2.0));
            } else {
                cell.set_char('▀').set_style(Style::new().fg(color(x, y)).bg(color(x, y + 1)));
            }
        }
    }
}

/// Pixel (x, y) of `side`²: the mean of the cells that it covers, or the one cell that covers it.
fn pixel(density: &DensityMap, side: usize, x: usize, y: usize) -> f32 {
    let cells = density.nrows();
    let span = |at: usize| {
        if cells <= side {
            let cell = (2 * at + 1) * cells / (2 * side);
            cell..cell + 1
        } else {
            at * cells / side..((at + 1) * cells).div_ceil(side)
        }
    };
    let (columns, rows) = (span(x), span(y));
    let count = (columns.len() * rows.len()) as f32;
    rows.flat_map(|row| columns.clone().map(move |column| (row, column))).map(|at| density[at]).sum::<f32>()
        / count
}

fn help(frame: &mut Frame<'_>) {
    let lines = [
        "Each cell is a stretch of the target's writable memory,",
        "in address order along a Hilbert curve from the top left",
        "to the top right; the brighter, the more often each of its",
        "pages is written.",
        "",
        "q, Esc      quit",
        "p           another palette",
        "space       hold the picture; a recording pauses",
        "+ −         a finer or coarser map; 0 as fits the target",
        "t           another target",
        "← →         5 s back and on in a recording",
        "[ ]         a recording at half or double speed",
        "?           this",
    ];
    window(frame, " help ", lines.map(Line::from).to_vec(), 60);
}

fn targets(frame: &mut Frame<'_>, lines: &[String], chosen: usize) {
    let rows = usize::from(frame.area().height.saturating_sub(4)).max(1);
    let first = chosen.saturating_sub(rows / 2).min(lines.len().saturating_sub(rows));
    let shown = lines.iter().enumerate().skip(first).take(rows).map(|(index, line)| {
        let line = Line::from(plain(line).into_owned());
        if index == chosen { line.reversed() } else { line }
    });
    window(frame, " ↑ ↓ choose · Enter watch · Esc back ", shown.collect(), 60);
}

/// A box in the middle.
fn window(frame: &mut Frame<'_>, title: &'static str, lines: Vec<Line<'static>>, width: u16) {
    let all = frame.area();
    let width = width.min(all.width);
    let height = (lines.len() as u16 + 2).min(all.height);
    let area =
        Rect { x: all.x + (all.width - width) / 2, y: all.y + (all.height - height) / 2, width, height };
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(title)), area);
}

/// An accuracy, 0..1; a dash where it is not known.
fn accuracy(share: f32) -> String {
    if share.is_nan() { "–".into() } else { format!("{:.1} %", 100.0 * share) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::style::Color;

    fn view() -> View {
        let mut density = DensityMap::zeros((16, 16));
        density.slice_mut(ndarray::s![0..8, 0..8]).fill(1.0);
        View {
            density: Arc::new(density),
            palette: ColorPalette::Inferno,
            depth: ColorDepth::True,
            caption: Caption {
                target: "redis-server 4321".into(),
                numbers: Vec::new(),
                status: String::new(),
                order: 4,
                bytes_per_cell: 262_144.0,
                total_bytes: 64 << 20,
                half_life: Duration::from_millis(250),
            },
            rung: "wp-async".into(),
            telemetry: GlassRamTelemetry {
                fault_rate: 12_345.0,
                active_threads: 3,
                reconstruction_accuracy: 0.985,
                hilbert_order: 4,
                sampling_rate: 100.0,
                ..GlassRamTelemetry::default()
            },
            slow_down: "1.01× (1.00–1.02)".into(),
            poor: false,
            phases: (2, Some(Duration::from_secs(7))),
            avalanches: (1, Some(4096)),
            play: None,
            held: false,
            ended: None,
            complaint: None,
            over: Over::Nothing,
        }
    }

    fn drawn(view: &View, width: u16, height: u16) -> Terminal<TestBackend> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(view, frame)).unwrap();
        terminal
    }

    #[test]
    fn the_usual_terminal() {
        insta::assert_snapshot!(drawn(&view(), 80, 24).backend());
    }

    #[test]
    fn a_poor_map_says_so_and_what_would_be_better() {
        let telemetry = GlassRamTelemetry { reconstruction_accuracy: 0.43, ..view().telemetry };
        let terminal = drawn(&View { poor: true, telemetry, ..view() }, 80, 24);
        let rows = terminal.backend().to_string();
        let line = |at: usize| rows.lines().nth(at).expect("24 of them").to_owned();
        assert!(line(3).contains("accuracy   43.0 %"), "{rows}");
        assert!(line(4).contains("less than 70 % is right") && line(5).contains("--exact"), "{rows}");
        assert!(!drawn(&view(), 80, 24).backend().to_string().contains("--exact"));
    }

    #[test]
    fn a_tall_one_has_the_numbers_below() {
        insta::assert_snapshot!(drawn(&view(), 40, 36).backend());
    }

    #[test]
    fn a_recording_that_is_held_and_help_over_it() {
        let play = Play { position: Duration::from_secs(65), length: Duration::from_secs(600), speed: 2.0 };
        let view = View { play: Some(play), held: true, over: Over::Help, ..view() };
        insta::assert_snapshot!(drawn(&view, 80, 24).backend());
    }

    #[test]
    fn the_targets() {
        let lines = (0..40).map(|n| format!("{:>8}  process-{n}", 1000 + n)).collect();
        let view =
            View { over: Over::Targets(lines, 33), ended: Some("the process has ended".into()), ..view() };
        insta::assert_snapshot!(drawn(&view, 80, 24).backend());
    }

    #[test]
    fn the_map_has_the_palettes_colours_two_pixels_a_character() {
        let terminal = drawn(&view(), 80, 24);
        let buffer = terminal.backend().buffer();
        let (hot, cold) = (Color::Rgb(0xfc, 0xff, 0xa4), Color::Rgb(0x00, 0x00, 0x04));
        // 44 columns are 44 × 44 pixels in 22 rows; the upper left quarter is written.
        for (column, row, upper, lower) in [
            (0, 1, hot, hot),
            (21, 11, hot, hot),
            (22, 1, cold, cold),
            (0, 12, cold, cold),
            (43, 22, cold, cold),
        ] {
            let cell = &buffer[(column, row)];
            assert_eq!((cell.symbol(), cell.fg, cell.bg), ("▀", upper, lower), "{column}, {row}");
        }
        let plain = drawn(&View { depth: ColorDepth::None, ..view() }, 80, 24);
        let plain = plain.backend().buffer();
        assert_eq!([(0, 1), (22, 1)].map(|at| plain[at].symbol()), ["█", " "]);
        assert!(plain.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
        let indexed = drawn(&View { depth: ColorDepth::Indexed, ..view() }, 80, 24);
        assert_eq!(indexed.backend().buffer()[(0, 1)].fg, Color::Indexed(229));
    }

    #[test]
    fn no_size_is_too_small_to_be_drawn() {
        for (width, height) in [(1, 1), (2, 3), (10, 5), (200, 4), (5, 100), (300, 100)] {
            drawn(&view(), width, height);
            drawn(&View { over: Over::Help, ..view() }, width, height);
            drawn(&View { over: Over::Targets(Vec::new(), 0), ..view() }, width, height);
        }
    }

    #[test]
    fn a_fine_map_is_averaged_and_a_coarse_one_repeated() {
        let mut fine = DensityMap::zeros((8, 8));
        fine[[1, 0]] = 1.0;
        assert_eq!(pixel(&fine, 4, 0, 0), 0.25);
        assert_eq!(pixel(&fine, 4, 1, 0), 0.0);
        assert_eq!((pixel(&fine, 16, 0, 2), pixel(&fine, 16, 1, 3), pixel(&fine, 16, 2, 2)), (1.0, 1.0, 0.0));
    }
}
