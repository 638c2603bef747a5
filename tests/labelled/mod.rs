//! Traces of which it is known when the pattern of writes changes and when writes cascade, and how a detector is scored on them.

#![allow(dead_code)] // each test binary that includes this uses a part of it

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::time::Duration;

use memory_glass::capture::PageRange;
use memory_glass::capture::range::merge;
use memory_glass::capture::recording::Recording;
use memory_glass::map::AddressLayout;
use memory_glass::telemetry::{TelemetryRecorder, WindowFacts};
use serde::Deserialize;

const PAGE: u64 = 4096;

/// A trace with its truth.
pub struct Labelled {
    pub name: String,
    pub page_size: u64,
    /// The table of regions where it changes, the written pages, and the length of each window.
    pub windows: Vec<(Option<Vec<PageRange>>, Vec<PageRange>, Duration)>,
    pub truth: Truth,
}

/// When what happens, in seconds from the trace's begin.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Truth {
    /// The pattern of writes changes.
    #[serde(default)]
    pub phases: Vec<f64>,
    /// Changes that are in the data but nobody's intention, such as the growth of a table: to be found or not.
    #[serde(default)]
    pub maybe: Vec<f64>,
    /// Writes cascade, from and to. `None` where nobody can say: a program that begins to use what it has held for long reaches pages
    /// that were untouched since the watch began, too.
    #[serde(default)]
    pub avalanches: Option<Vec<(f64, f64)>>,
}

/// How a detector did.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outcome {
    pub truths: usize,
    pub found: usize,
    pub false_alarms: usize,
    pub minutes: f64,
    /// Sum over what was found of the time from the truth to the report.
    pub delay: f64,
}

impl Outcome {
    pub fn add(&mut self, other: &Outcome) {
        self.truths += other.truths;
        self.found += other.found;
        self.false_alarms += other.false_alarms;
        self.minutes += other.minutes;
        self.delay += other.delay;
    }

    pub fn recall(&self) -> f64 {
        if self.truths == 0 { 1.0 } else { self.found as f64 / self.truths as f64 }
    }

    /// A minute.
    pub fn false_rate(&self) -> f64 {
        self.false_alarms as f64 / self.minutes.max(1e-9)
    }

    pub fn mean_delay(&self) -> f64 {
        self.delay / self.found.max(1) as f64
    }
}

/// What was reported: when it is said to have happened, and when that was said.
pub struct Report {
    pub at: f64,
    pub said: f64,
}

/// How far from the truth a report may be, seconds.
const NEAR: f64 = 1.0;

/// How all did on one trace, or on several.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scores {
    pub phases: Outcome,
    /// The simplest detector of phases that there is, as a yardstick.
    pub simple: Outcome,
    pub avalanches: Outcome,
}

impl Scores {
    pub fn add(&mut self, other: &Scores) {
        self.phases.add(&other.phases);
        self.simple.add(&other.simple);
        self.avalanches.add(&other.avalanches);
    }
}

/// Says that the phase changes when a second has 1.7 times the writes of the second before it, or the reverse.
#[derive(Default)]
struct Simple {
    rates: VecDeque<f64>,
    quiet: usize,
}

impl Simple {
    const SECOND: usize = 10;

    fn window(&mut self, pages: f64) -> bool {
        self.rates.push_back(pages);
        self.quiet = self.quiet.saturating_sub(1);
        if self.rates.len() > 2 * Self::SECOND {
            self.rates.pop_front();
        }
        if self.rates.len() < 2 * Self::SECOND || self.quiet > 0 {
            return false;
        }
        let sum = |rates: &mut dyn Iterator<Item = &f64>| (1.0 + rates.sum::<f64>()).log2();
        let before = sum(&mut self.rates.iter().take(Self::SECOND));
        let after = sum(&mut self.rates.iter().skip(Self::SECOND));
        let changed = (after - before).abs() > 0.75;
        if changed {
            self.quiet = 2 * Self::SECOND;
        }
        changed
    }
}

/// Takes the trace through everything.
pub fn score(trace: &Labelled) -> Scores {
    let mut layout = AddressLayout::new(trace.page_size, []);
    let mut recorder = TelemetryRecorder::new();
    let (mut phases, mut simple, mut avalanches) = (Vec::new(), Vec::new(), Vec::new());
    let mut threshold = Simple::default();
    for (regions, written, length) in &trace.windows {
        let mut relaid = false;
        if let Some(regions) = regions {
            let ranges: Vec<_> = regions.iter().map(|range| range.start..range.end).collect();
            relaid = layout.update(&ranges) == memory_glass::map::LayoutChange::Rebuilt;
        }
        let changes = recorder.phases().changes().next_back().map(|change| change.detected);
        let cascading = recorder.avalanches().current().is_some();
        recorder.window(&WindowFacts {
            written,
            layout: &layout,
            relaid,
            threads: &[],
            length: *length,
            writable_pages: layout.pages(),
            unseen_pages: 0,
            believed: &[],
            faults: written.iter().map(|range| range.pages(layout.page_size())).sum::<u64>() as f64,
            active_threads: 1,
            adjustments: &[],
            hilbert_order: 6,
            accuracy: 1.0,
        });
        let now = recorder.now().as_secs_f64();
        let pages: u64 = written.iter().map(|range| range.pages(trace.page_size)).sum();
        if threshold.window(pages as f64) {
            // In the middle of its two seconds.
            simple.push(Report { at: now - 1.0, said: now });
        }
        if let Some(change) = recorder.phases().changes().next_back()
            && Some(change.detected) != changes
        {
            phases.push(Report { at: change.at.as_secs_f64(), said: now });
        }
        if let Some(avalanche) = recorder.avalanches().current()
            && !cascading
        {
            avalanches.push(Report { at: avalanche.start.as_secs_f64(), said: now });
        }
    }
    let minutes = recorder.now().as_secs_f64() / 60.0;
    let phase_truth: Vec<(f64, f64)> = trace.truth.phases.iter().map(|at| (*at, *at)).collect();
    let maybe: Vec<(f64, f64)> = trace.truth.maybe.iter().map(|at| (*at, *at)).collect();
    Scores {
        phases: outcome(&phase_truth, &maybe, &phases, minutes),
        simple: outcome(&phase_truth, &maybe, &simple, minutes),
        avalanches: trace
            .truth
            .avalanches
            .as_ref()
            .map_or_else(Outcome::default, |truth| outcome(truth, &[], &avalanches, minutes)),
    }
}

/// Each truth is found by the first report near it; each report that is near none is a false alarm.
fn outcome(truths: &[(f64, f64)], maybe: &[(f64, f64)], reports: &[Report], minutes: f64) -> Outcome {
    let near = |(from, to): &(f64, f64), report: &Report| (from - NEAR..=to + NEAR).contains(&report.at);
    let mut used = vec![false; reports.len()];
    let mut outcome = Outcome { truths: truths.len(), minutes, ..Outcome::default() };
    for truth in truths {
        if let Some(index) = (0..reports.len()).find(|index| !used[*index] && near(truth, &reports[*index])) {
            used[index] = true;
            outcome.found += 1;
            outcome.delay += (reports[index].said - truth.0).max(0.0);
        }
    }
    let harmless = |report: &Report| maybe.iter().any(|truth| near(truth, report));
    outcome.false_alarms =
        reports.iter().zip(&used).filter(|(report, used)| !**used && !harmless(report)).count();
    outcome
}

/// The recordings in `tests/traces` that have a truth beside them, `NAME.json`.
pub fn recorded() -> Vec<Labelled> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "mgr"));
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> Labelled {
    let recording = Recording::open(file).expect("a recording");
    let truth = fs::read_to_string(file.with_extension("json")).expect("its truth");
    let windows = recording.cursor_at(Duration::ZERO).map(|window| {
        let regions = window.regions.map(|table| table.iter().map(|region| region.range()).collect());
        (regions, window.written, window.length)
    });
    Labelled {
        name: file.file_stem().expect("a name").to_string_lossy().into_owned(),
        page_size: recording.info().target.page_size,
        windows: windows.collect(),
        truth: serde_json::from_str(&truth).expect("seconds"),
    }
}

/// Any numbers, the same for the same seed (xorshift64*, Vigna 2016).
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How a made-up program writes for a while.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    /// A block, all of it in each window.
    Block { at: u64, pages: u64 },
    /// So many pages anywhere in a stretch.
    Scatter { at: u64, pages: u64, count: u64 },
    /// A front that goes round in a stretch, so many pages a window.
    Front { at: u64, pages: u64, step: u64 },
    /// One page in so many of a stretch.
    Stride { at: u64, pages: u64, every: u64 },
    /// Nothing.
    Idle,
}

/// Pages of the made-up program.
const PAGES: u64 = 16_384;
const WINDOW: Duration = Duration::from_millis(100);

/// A program that does not write the same twice: what it writes has noise, it collects garbage now and then, and windows are late.
struct Program {
    random: Random,
    window: u64,
    front: u64,
    /// The next page that was never written.
    fresh: u64,
    windows: Vec<(Option<Vec<PageRange>>, Vec<PageRange>, Duration)>,
}

impl Program {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        let mut program = Self { random, window: 0, front: 0, fresh: PAGES, windows: Vec::new() };
        // All of its memory is known from the first window on.
        program.window(Way::Idle, vec![PageRange::new(0, PAGES * PAGE)]);
        program
    }

    /// A few pages that were never written, as a heap that grows.
    fn growth(&mut self) -> Vec<PageRange> {
        let growth = self.random.below(6);
        let fresh = PageRange::new(self.fresh * PAGE, (self.fresh + growth) * PAGE);
        self.fresh += growth;
        vec![fresh]
    }

    fn now(&self) -> f64 {
        self.windows.iter().map(|(_, _, length)| length.as_secs_f64()).sum()
    }

    /// Writes in this way in one window, and `more`.
    fn window(&mut self, way: Way, mut more: Vec<PageRange>) {
        let random = &mut self.random;
        let written = &mut more;
        let mut page = |first: u64, count: u64| {
            written.push(PageRange::new(first * PAGE, (first + count) * PAGE));
        };
        match way {
            Way::Block { at, pages } => page(at, pages - random.below(pages / 10 + 1)),
            Way::Scatter { at, pages, count } => {
                let count = count - random.below(count / 5 + 1);
                (0..count).for_each(|_| page(at + random.below(pages), 1));
            }
            Way::Front { at, pages, step } => {
                let from = self.front % pages;
                page(at + from, step.min(pages - from));
                self.front += step;
            }
            Way::Stride { at, pages, every } => {
                (0..pages).step_by(every as usize).for_each(|offset| page(at + offset, 1));
            }
            Way::Idle => {}
        }
        // What every program writes besides: a few pages of its stack and its allocator.
        (0..2 + random.below(4)).for_each(|n| page(PAGES - 16 + n, 1));
        // One window in fifty collects garbage: an eighth of the memory at once.
        if random.below(50) == 0 {
            page(random.below(PAGES / 2), PAGES / 8);
        }
        merge(&mut more);
        let late = if random.below(40) == 0 { random.between(1.0, 3.0) } else { 1.0 };
        let regions = (self.window == 0).then(|| vec![PageRange::new(0, 2 * PAGES * PAGE)]);
        self.windows.push((regions, more, WINDOW.mul_f64(late)));
        self.window += 1;
    }

    fn run(&mut self, way: Way, seconds: f64) {
        let end = self.now() + seconds;
        while self.now() < end {
            let growth = self.growth();
            self.window(way, growth);
        }
    }

    fn labelled(self, name: String, truth: Truth) -> Labelled {
        Labelled { name, page_size: PAGE, windows: self.windows, truth }
    }
}

/// Ways to write of which any two differ.
const WAYS: [Way; 6] = [
    Way::Block { at: 0, pages: 1500 },
    Way::Block { at: 9000, pages: 1500 },
    Way::Scatter { at: 0, pages: 14_000, count: 900 },
    Way::Scatter { at: 4000, pages: 2000, count: 150 },
    Way::Stride { at: 2000, pages: 12_000, every: 3 },
    Way::Idle,
];

/// Programs that change phase at known times.
pub fn changing(seed: u64) -> Labelled {
    let mut program = Program::new(seed);
    let mut truth = Truth { avalanches: Some(Vec::new()), ..Truth::default() };
    let mut last = usize::MAX;
    for number in 0..8 {
        let mut next = program.random.below(WAYS.len() as u64) as usize;
        if next == last {
            next = (next + 1) % WAYS.len();
        }
        last = next;
        if number > 0 {
            truth.phases.push(program.now());
        }
        let seconds = program.random.between(4.0, 20.0);
        program.run(WAYS[next], seconds);
    }
    program.labelled(format!("changing {seed}"), truth)
}

/// Programs that never change, for two minutes each.
pub fn steady(seed: u64) -> Labelled {
    let ways = [
        WAYS[0],
        WAYS[2],
        WAYS[3],
        WAYS[4],
        Way::Front { at: 0, pages: 12_000, step: 240 },
        Way::Front { at: 3000, pages: 3000, step: 100 },
    ];
    let mut program = Program::new(seed);
    program.run(ways[seed as usize % ways.len()], 120.0);
    program.labelled(format!("steady {seed}"), Truth { avalanches: Some(Vec::new()), ..Truth::default() })
}

/// Programs with cascades into memory untouched before, on top of a slow growth.
pub fn cascading(seed: u64) -> Labelled {
    let mut program = Program::new(seed);
    let mut truth = Truth::default();
    let mut avalanches = Vec::new();
    for _ in 0..6 {
        let quiet = program.random.between(3.0, 12.0);
        program.run(WAYS[2], quiet);
        let start = program.now();
        let mut wave = program.random.between(60.0, 200.0);
        for _ in 0..4 + program.random.below(8) {
            let size = wave as u64;
            let fresh = PageRange::new(program.fresh * PAGE, (program.fresh + size) * PAGE);
            program.fresh += size;
            wave *= program.random.between(0.9, 1.3);
            program.window(WAYS[2], vec![fresh]);
        }
        avalanches.push((start, program.now()));
        // That is another way to write, for a while.
        truth.maybe.extend([start, program.now()]);
    }
    program.run(WAYS[2], 5.0);
    truth.avalanches = Some(avalanches);
    program.labelled(format!("cascading {seed}"), truth)
}
