//! Live maps of recorded programs: their writes are played, pages are armed by the policy of a live watch as
//! far as a budget pays, and the map is compared with the one of exact watching. No process, so that it is
//! the same each time.

mod support;

use std::path::Path;
use std::time::Duration;

use memory_glass::capture::{Arming, ArmingPolicy as _, PageRange, SweepArming, WindowEnd, range};
use memory_glass::map::{AddressLayout, HilbertCapability as _, HilbertConfig, HilbertSkilling};
use memory_glass::sensing::{PageActivity, Score};
use support::PAGE;
use support::replayed::Schedule;

const LOOK: Duration = Duration::from_micros(16_667);
const HALF_LIFE: Duration = Duration::from_millis(250);
const SECONDS: u64 = 15;
/// Faults a look: 24,000 a second, some 2.5 % of a processor.
const BUDGET: f64 = 400.0;

fn ranges(pages: impl Iterator<Item = usize>) -> Vec<PageRange> {
    let mut ranges: Vec<PageRange> = Vec::new();
    for page in pages {
        let start = page as u64 * PAGE;
        match ranges.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end += PAGE,
            None => ranges.push(PageRange::new(start, start + PAGE)),
        }
    }
    ranges
}

#[derive(Debug, Default)]
struct Played {
    score: Score,
    /// Of an exact map that is a quarter of a second older.
    older: Score,
    faults: u64,
    exact_faults: u64,
    stated: f64,
    held: u32,
    moments: u32,
    looks: u64,
}

fn play(schedule: &Schedule, budget: f64) -> Played {
    let pages = schedule.pages;
    let layout = AddressLayout::new(PAGE, std::iter::once(0..pages as u64 * PAGE));
    let curve = HilbertSkilling::new(HilbertConfig::default().order_for(pages as u64));
    let (mut exact, mut shown) = (PageActivity::new(HALF_LIFE), PageActivity::new(HALF_LIFE));
    let mut policy = SweepArming::default();
    let mut armed = vec![true; pages];
    let mut ever = vec![false; pages];
    let mut played = Played::default();
    let mut writes = schedule.writes.iter().peekable();
    let looks = (schedule.length.as_secs_f64() / LOOK.as_secs_f64()) as u32;
    let mut before: Option<Vec<f32>> = None;
    let addresses = |range: &PageRange| range.start..range.end;
    for look in 1..=looks {
        let end = (LOOK * look).as_micros() as u32;
        let (mut truth, mut written) = (vec![false; pages], vec![false; pages]);
        while let Some(write) = writes.next_if(|write| write.at < end) {
            let page = write.page as usize;
            truth[page] = true;
            ever[page] = true;
            if armed[page] {
                written[page] = true;
            }
        }
        let unseen = ranges((0..pages).filter(|page| !armed[*page]));
        let truth = ranges((0..pages).filter(|page| truth[*page]));
        let written = ranges((0..pages).filter(|page| written[*page]));
        played.faults += range::pages(&written, PAGE);
        played.exact_faults += range::pages(&truth, PAGE);
        exact.look(&layout, truth.iter().map(addresses), [], LOOK);
        shown.look(&layout, written.iter().map(addresses), unseen.iter().map(addresses), LOOK);
        written.iter().for_each(|range| {
            (range.start / PAGE..range.end / PAGE).for_each(|page| armed[page as usize] = false);
        });
        let window = WindowEnd {
            regions: &[],
            page_size: PAGE,
            written: &written,
            unseen: &unseen,
            budget: Some(budget),
            run_cost: 5.0,
            flushes: 16,
        };
        if let Arming::Tables(tables) = policy.arm(&window) {
            for table in tables {
                (table.start / PAGE..table.end / PAGE).for_each(|page| armed[page as usize] = true);
            }
        }
        played.looks += 1;
        if look < 120 || look % 15 != 0 {
            continue;
        }
        let truth = exact.map(&layout, &curve).density;
        let map = shown.map(&layout, &curve);
        let cells = |map: &memory_glass::sensing::DensityMap| map.iter().copied().collect::<Vec<f32>>();
        let truth = cells(&truth);
        let mut score = Score::default();
        score.add(&truth, &cells(&map.density));
        played.score.merge(&score);
        if let Some(before) = before.replace(truth.clone()) {
            played.older.add(&truth, &before);
        }
        if let Some(doubt) = map.doubt
            && doubt.shown > 4.0
        {
            let (error, least, most) = doubt.error();
            played.stated += 1.0 - error / doubt.shown;
            let wrong = (1.0 - score.accuracy()) * doubt.shown;
            played.held += u32::from((least..=most).contains(&wrong));
            played.moments += 1;
        }
    }
    played
}

#[test]
fn a_live_map_within_a_budget_is_near_to_that_of_exact_watching() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/traces");
    let (mut held, mut moments) = (0, 0);
    // Each with the accuracy that it has at least; the last need more faults than there are.
    for (name, least) in [
        ("cascade", 0.99),
        ("phases", 0.98),
        ("redis", 0.95),
        ("sqlite", 0.85),
        ("python", 0.75),
        ("node", 0.75),
        ("xz", 0.6),
    ] {
        let schedule = Schedule::of(&folder.join(name).with_extension("mgr"), SECONDS);
        let played = play(&schedule, BUDGET);
        let stated = played.stated / f64::from(played.moments.max(1));
        println!(
            "{name:<9} {:.0} of {:.0} faults a look: accuracy {:.3}, stated {stated:.3}, held {}/{}; an exact map 250 ms \
             older {:.3}",
            played.faults as f64 / played.looks as f64,
            played.exact_faults as f64 / played.looks as f64,
            played.score.accuracy(),
            played.held,
            played.moments,
            played.older.accuracy(),
        );
        let accuracy = played.score.accuracy();
        assert!(accuracy >= least, "{name}: {accuracy}, at least {least}");
        let off = if played.moments > 0 { (stated - accuracy).abs() } else { 0.0 };
        assert!(off <= 0.15, "{name}: stated {stated}, is {accuracy}");
        (held, moments) = (held + played.held, moments + played.moments);
    }
    let share = f64::from(held) / f64::from(moments);
    println!("held {share:.2} of the time");
    assert!(share > 0.75, "the interval holds what it is to hold {share} of the time");
}
