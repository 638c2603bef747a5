//! Live capture under a budget that pays for a small part: the map is reconstructed, and its stated accuracy is true.

#![allow(unsafe_code)]

mod support;

use std::time::Duration;

use memory_glass::capture::{Arming, ArmingPolicy, GlassRamMonitor, MonitorConfig, WindowEnd};
use memory_glass::map::{AddressLayout, HilbertCapability as _, HilbertConfig, HilbertSkilling};
use memory_glass::render::ColorPalette;
use memory_glass::sensing::{Cells, PageSet, Score};
use memory_glass::system::Pipeline;
use support::{PAGE, Target, assert_untouched, window};

const LENGTH: u64 = 64 << 20;
const PAGES: u64 = LENGTH / PAGE;
/// Faults a window, of the 3000 to 5000 pages that are written.
const BUDGET: f64 = 900.0;

/// The pipeline's own policy, with a budget that does not depend on how fast this machine is.
#[derive(Debug)]
struct Fixed(Box<dyn ArmingPolicy>);

impl ArmingPolicy for Fixed {
    fn arm(&mut self, end: &WindowEnd<'_>) -> Arming {
        self.0.arm(&WindowEnd { budget: Some(BUDGET), ..*end })
    }
}

/// What the target writes in a round, as (first page, pages, stride) within its 64 MiB: a block that is always hot, a
/// front that moves on, and every other page of a stretch that begins half-way.
fn writes(round: u64) -> Vec<(u64, u64, u64)> {
    let mut writes = vec![(2000, 1500, 1), (5000 + 60 * (round % 100), 1200, 1)];
    if round >= 30 {
        writes.push((12_500, 1000, 2));
    }
    writes
}

#[test]
fn the_stated_accuracy_of_a_real_process_is_the_measured_one() {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} {PAGES} 1"));
    // Nothing is paid for by default, so that every window is left to the policy.
    let config = MonitorConfig { slowdown_budget: Some(1e-9), ..MonitorConfig::default() };
    let mut monitor = GlassRamMonitor::with_config(target.pid(), config).expect("attached");
    let hilbert = HilbertConfig::fixed(8).expect("an order");
    let mut pipeline =
        Pipeline::new(monitor.target().clone(), monitor.rung(), hilbert.clone(), ColorPalette::default())
            .expect("a pipeline");
    // Each window alone, without those before.
    pipeline.reshape(hilbert, Duration::from_micros(100)).expect("a shape");
    monitor.set_arming_policy(Box::new(Fixed(pipeline.arming_policy())));
    let curve = HilbertSkilling::new(8);
    let (mut measured, mut faults, mut written_pages, mut stated) = (Score::default(), 0, 0, None);
    for round in 0..60 {
        for (first, count, stride) in writes(round) {
            target.ask(&format!("write {} {count} {stride}", start + first * PAGE));
        }
        let window = window(&mut monitor);
        pipeline.window(&window).expect("a map");
        if round < 44 {
            continue;
        }
        let layout = AddressLayout::from_file(&pipeline.layout());
        let mut truth = PageSet::empty(layout.pages() as usize);
        for (first, count, stride) in writes(round) {
            for page in 0..count {
                let address = start + (first + page * stride) * PAGE;
                truth.insert(layout.page_of(address).expect("it is watched") as usize);
            }
        }
        let mut shares = Vec::new();
        Cells::new(truth.pages(), 1 << 16).shares(&truth, &mut shares);
        let shown: Vec<f32> = (0..1 << 16)
            .map(|d| {
                let (x, y) = curve.d2xy(d);
                pipeline.density()[[y as usize, x as usize]]
            })
            .collect();
        measured.add(&shares, &shown);
        faults += window.written.iter().map(|range| range.pages(PAGE)).sum::<u64>();
        written_pages += truth.count() as u64;
        stated = pipeline.accuracy();
        let confidence = pipeline.confidence().expect("not every page was armed");
        assert!(confidence.iter().all(|sure| (0.0..=1.0).contains(sure)));
        assert!(confidence.iter().any(|sure| *sure < 1.0));
    }
    let stated = stated.expect("thousands of pages were written");
    let accuracy = measured.accuracy();
    println!(
        "accuracy {:.2} %, stated {:.2} % ({:.2}–{:.2}); {faults} faults for {written_pages} written pages",
        100.0 * accuracy,
        100.0 * stated.value,
        100.0 * stated.low,
        100.0 * stated.high
    );
    assert!(faults < written_pages / 2, "the budget did not bind: {faults} of {written_pages}");
    assert!((stated.value - accuracy).abs() < 0.05, "stated {stated:?}, measured {accuracy}");
    assert!(accuracy > 0.8, "{accuracy}");
    let numbers = pipeline.picture().caption.numbers;
    let said = |name: &str, words: &str| {
        numbers.iter().any(|(known, value)| *known == name && value.contains(words))
    };
    let interval = if stated.low < stated.high { " % (" } else { " %" };
    assert!(said("accuracy", interval) && said("pages sampled", " %"), "{numbers:?}");
    monitor.detach().expect("detached");
    assert_untouched(target.pid());
}
