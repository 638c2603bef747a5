//! What a mode's colours mean, in words: the part of the panel that changes with the scene.

use std::time::Duration;

use super::layout::Parts;
use super::marks::Series;
use super::picture::{ColorScale, Picture};
use super::ramps::hue_of_thread;
use super::scene::{HUES, Scene};

/// The words of the legend.
#[derive(Debug, Clone, PartialEq)]
pub struct Legend {
    /// Over the bar: the first that fits, each in lines.
    pub(super) titles: &'static [&'static [&'static str]],
    /// Under the bar, at its quarters.
    pub(super) ticks: [&'static str; 5],
    /// Hues (`0xRRGGBB`) and whose they are.
    pub(super) names: Vec<(u32, String)>,
    /// How the map's axes are to be read, where they are not the curve's: names and values for the list of facts.
    pub(super) axes: Vec<(&'static str, String)>,
    /// A strip of time or a distribution.
    pub(super) chart: Option<Chart>,
}

/// Bars side by side.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    pub(super) title: String,
    /// 0..1 each.
    pub(super) bars: Vec<f32>,
    /// Bars that a line stands before, and how strong it is, 0..1.
    pub(super) lines: Vec<(usize, f32)>,
    pub(super) left: String,
    pub(super) right: String,
}

impl Legend {
    /// What it needs room for.
    pub fn parts(&self) -> Parts {
        Parts { names: self.names.len() as u32, chart: self.chart.is_some() }
    }

    /// The legend of a picture.
    pub fn of(picture: &Picture) -> Legend {
        let logarithmic = picture.scale == ColorScale::Logarithmic;
        let ticks = if logarithmic { LOGARITHMIC } else { LINEAR };
        let plain = Legend { titles: WRITTEN, ticks, names: Vec::new(), axes: Vec::new(), chart: None };
        let plain = Legend { chart: picture.marks.series.as_ref().map(series), ..plain };
        match &picture.scene {
            Scene::Heatmap => plain,
            Scene::Kinetic(field) => {
                let mut names: Vec<(u32, String)> = field
                    .threads
                    .iter()
                    .take(HUES)
                    .enumerate()
                    .map(|(at, thread)| (hue_of_thread(at), format!("{} {}", thread.name, thread.tid)))
                    .collect();
                let others = field.threads.len().saturating_sub(HUES);
                if others > 0 {
                    names.push((hue_of_thread(HUES), format!("{others} others")));
                }
                Legend { titles: ENERGY, names, ..plain }
            }
            Scene::Phases(field) => {
                let most = field.strip.iter().map(|window| window.activity).fold(0.0, f32::max);
                let chart = Chart {
                    title: match field.since {
                        Some(since) => format!("changed {} ago", seconds(since.as_secs_f64())),
                        None => "no change yet".into(),
                    },
                    bars: field.strip.iter().map(|window| window.activity / most.max(1e-9)).collect(),
                    lines: field
                        .strip
                        .iter()
                        .enumerate()
                        .filter_map(|(at, window)| Some((at, window.change?)))
                        .collect(),
                    left: format!("{} ago", seconds(field.span.as_secs_f64())),
                    right: "now".into(),
                };
                let ticks = if logarithmic {
                    ["−1", "−1/16", "0", "1/16", "1"]
                } else {
                    ["−1", "−0.5", "0", "0.5", "1"]
                };
                Legend { titles: REGIMES, ticks, chart: Some(chart), ..plain }
            }
            Scene::Avalanche(field) => Legend {
                titles: FRONT,
                ticks: ["old", "", "", "", "now"],
                chart: Some(distribution(&field.ended)),
                ..plain
            },
            Scene::Waterfall(field) => {
                let rows = field.lines.nrows() as f64;
                Legend {
                    axes: vec![
                        ("across", "the line of pages".into()),
                        ("down", format!("{} ago", seconds(rows * field.window.as_secs_f64()))),
                    ],
                    ..plain
                }
            }
            Scene::Volume(field) => {
                let layers = field.boxes.dim().0 as f64;
                Legend {
                    axes: vec![("away", format!("{} ago", seconds(layers * field.window.as_secs_f64())))],
                    ..plain
                }
            }
        }
    }
}

const WRITTEN: &[&[&str]] = &[
    &["writes a second to each page of a cell"],
    &["writes a second", "to each page of a cell"],
    &["writes/s to a page"],
    &["writes/s"],
];
/// Writes a second at the quarters of the bar, as [`super::rate`] has them in words.
const LINEAR: [&str; 5] = ["0", "3", "7", "14", "max"];
const LOGARITHMIC: [&str; 5] = ["0", "0.2", "0.6", "3", "max"];
const ENERGY: &[&[&str]] = &[
    &["½ m v² of a thread, share of the largest"],
    &["½ m v² of a thread,", "share of the largest"],
    &["kinetic energy"],
];
const REGIMES: &[&[&str]] = &[
    &["written since the change, less before it"],
    &["written since the change,", "less before it"],
    &["change of density"],
];
const FRONT: &[&[&str]] = &[&["when the front came to a cell"], &["front, by its age"], &["front"]];

/// What a pinned cell did.
fn series(series: &Series) -> Chart {
    Chart {
        title: series.title.clone(),
        bars: series.values.clone(),
        lines: Vec::new(),
        left: format!("{} ago", seconds(series.span.as_secs_f64())),
        right: "now".into(),
    }
}

/// How often avalanches of each size came, by powers of two.
fn distribution(ended: &[(u64, Duration)]) -> Chart {
    let mut counts = vec![0u32; 24];
    for (pages, _) in ended {
        counts[(pages.max(&1).ilog2() as usize).min(23)] += 1;
    }
    let used = counts.iter().rposition(|count| *count > 0).map_or(8, |last| (last + 1).max(8));
    counts.truncate(used);
    let most = f64::from(counts.iter().copied().max().unwrap_or(0)).ln_1p().max(1e-9);
    let longest = ended.iter().map(|(_, time)| *time).max().unwrap_or_default();
    let longest = seconds(longest.as_secs_f64());
    Chart {
        title: match ended.len() {
            0 => "no avalanche has ended yet".into(),
            1 => format!("1 avalanche, {longest}"),
            count => format!("{count} avalanches, {longest} at most"),
        },
        bars: counts.iter().map(|count| (f64::from(*count).ln_1p() / most) as f32).collect(),
        lines: Vec::new(),
        left: "1 page".into(),
        right: format!("2^{used} pages"),
    }
}

/// "0.8 s", "12 s", "3 min".
fn seconds(count: f64) -> String {
    match count {
        c if c < 9.95 => format!("{c:.1} s"),
        c if c < 120.0 => format!("{c:.0} s"),
        c => format!("{:.0} min", c / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rate::in_words;
    use super::*;

    #[test]
    fn what_stands_under_the_bar_is_what_its_colour_means() {
        assert_eq!(LINEAR.map(str::to_owned), [0.0, 0.25, 0.5, 0.75, 1.0].map(in_words));
        let octaves = [-6, -4, -2, 0].map(|octave| in_words(2f32.powi(octave)));
        // The lowest colour is that of all below it.
        assert_eq!(LOGARITHMIC[1..], octaves);
        assert_eq!((LOGARITHMIC[0], in_words(2f32.powi(-8)).as_str()), ("0", "0.04"));
    }
}
