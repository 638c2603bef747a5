//! Live capture under a budget that pays for a small part: the map shows the rates all the same, and its
//! stated accuracy is true.

mod support;

use std::time::Duration;

use memory_glass::capture::{Arming, ArmingPolicy, GlassRamMonitor, MonitorConfig, WindowEnd};
use memory_glass::map::{AddressLayout, HilbertCapability as _, HilbertConfig, HilbertSkilling};
use memory_glass::render::ColorPalette;
use memory_glass::sensing::{SPAN, Score};
use memory_glass::system::Pipeline;
use support::{PAGE, Target, assert_untouched, window};

const LENGTH: u64 = 64 << 20;
const PAGES: u64 = LENGTH / PAGE;
/// Faults a look, of some 3000 that it would take to see everything.
const BUDGET: f64 = 300.0;
/// What a look is taken to last.
const LOOK: Duration = Duration::from_nanos(16_666_667);
/// Pages that are written together.
const BLOCK: u64 = 8;

/// The pipeline's own policy, with a budget that does not depend on how fast this machine is.
#[derive(Debug)]
struct Fixed(Box<dyn ArmingPolicy>);

impl ArmingPolicy for Fixed {
    fn arm(&mut self, end: &WindowEnd<'_>) -> Arming {
        self.0.arm(&WindowEnd { budget: Some(BUDGET), flushes: 16, ..*end })
    }
}

/// The chance that a block is written between two looks: stretches that are always hot, warm ones, a
/// scattered one, and silence.
fn chance(block: u64) -> f64 {
    match block {
        250..400 => 1.0,
        600..900 => 0.3,
        1000..1100 => 0.05,
        1200..1500 if block.is_multiple_of(2) => 0.5,
        _ => 0.0,
    }
}

#[test]
fn the_map_under_a_budget_shows_the_rates_and_states_its_accuracy() {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {LENGTH}"));
    target.ask(&format!("small {start} {LENGTH}"));
    target.ask(&format!("write {start} {PAGES} 1"));
    // Nothing is paid for by default, so that every window is left to the policy.
    let config = MonitorConfig { slowdown_budget: Some(1e-9), ..MonitorConfig::default() };
    let mut monitor = GlassRamMonitor::with_config(target.pid(), config).expect("attached");
    let hilbert = HilbertConfig::fixed(6).expect("an order");
    let mut pipeline =
        Pipeline::new(monitor.target().clone(), monitor.rung(), hilbert, ColorPalette::default())
            .expect("a pipeline");
    monitor.set_arming_policy(Box::new(Fixed(pipeline.arming_policy())));
    let curve = HilbertSkilling::new(6);
    let mut random = fastrand::Rng::with_seed(11);
    let (mut measured, mut faults, mut written_pages) = (Score::default(), 0, 0);
    let (mut stated, mut held, mut rounds) = (0.0, 0, 0);
    for round in 0..360 {
        let mut all = 0;
        for block in 0..PAGES / BLOCK {
            if random.f64() < chance(block) {
                target.say(&format!("write {} {BLOCK} 1", start + block * BLOCK * PAGE));
                all += BLOCK;
            }
        }
        for _ in 0..all / BLOCK {
            target.line();
        }
        let mut window = window(&mut monitor);
        window.length = LOOK;
        pipeline.window(&window).expect("a map");
        if round < 180 {
            continue;
        }
        faults += window.written.iter().map(|range| range.pages(PAGE)).sum::<u64>();
        written_pages += all;
        let layout = AddressLayout::from_file(&pipeline.layout());
        let spans = SPAN.as_secs_f64() / LOOK.as_secs_f64();
        let cells = curve.cells();
        let (mut truth, mut shown) = (Vec::new(), Vec::new());
        for d in 0..cells {
            let Some(places) = layout.pages_of_cell(d, cells) else { continue };
            let pages = places.clone().count() as f64;
            let of_page = |place: u64| {
                let address = layout.address_of(place)?;
                let page = address.checked_sub(start)? / PAGE;
                (page < PAGES).then(|| 1.0 - (1.0 - chance(page / BLOCK)).powf(spans))
            };
            truth.push((places.filter_map(of_page).sum::<f64>() / pages) as f32);
            let (x, y) = curve.d2xy(d);
            shown.push(pipeline.density()[[y as usize, x as usize]]);
        }
        let mut this = Score::default();
        this.add(&truth, &shown);
        measured.merge(&this);
        let said = pipeline.accuracy().expect("thousands of pages were written");
        stated += said.value;
        held += u32::from((said.low..=said.high).contains(&this.accuracy()));
        rounds += 1;
        let confidence = pipeline.confidence().expect("not every page was armed");
        assert!(confidence.iter().all(|sure| (0.0..=1.0).contains(sure)));
        assert!(confidence.iter().any(|sure| *sure < 1.0));
    }
    let stated = stated / f64::from(rounds);
    let accuracy = measured.accuracy();
    let share = f64::from(held) / f64::from(rounds);
    println!(
        "accuracy {:.2} %, stated {:.2} %, held by its interval {:.0} % of the time; {faults} faults for {written_pages} written pages",
        100.0 * accuracy,
        100.0 * stated,
        100.0 * share,
    );
    assert!(faults < written_pages / 4, "the budget did not bind: {faults} of {written_pages}");
    assert!(accuracy > 0.85, "{accuracy}");
    assert!((stated - accuracy).abs() < 0.05, "stated {stated}, measured {accuracy}");
    assert!(share >= 0.9, "the interval holds the accuracy {share} of the time");
    let numbers = pipeline.picture().caption.numbers;
    let said = |name: &str, words: &str| {
        numbers.iter().any(|(known, value)| *known == name && value.contains(words))
    };
    assert!(said("accuracy", " % (") && said("pages sampled", " %"), "{numbers:?}");
    monitor.detach().expect("detached");
    assert_untouched(target.pid());
}
