//! How soon a write is to be seen: in refreshes of the output, from the end of the window that it was seen in.

mod wayland;

use std::sync::Arc;
use std::time::{Duration, Instant};

use memory_glass::display::settings::{ModeChoice, OutputRule, Settings};
use memory_glass::display::{FrameStatistics, Latency, Placement};
use memory_glass::render::{Caption, ColorPalette, Picture};
use memory_glass::sensing::DensityMap;
use wayland::{Bench, RED};

/// Two refreshes a second: what is counted in refreshes does not depend on how fast this machine is.
const REFRESH: Duration = Duration::from_millis(500);

fn bench() -> Bench {
    let mut bench = Bench::with_map(Some(Placement::Beside));
    let mode = ModeChoice::Listed { width: 900, height: 600, refresh_mhz: Some(2000) };
    let rule = OutputRule { mode: Some(mode), ..OutputRule::default() };
    let settings = Settings { outputs: vec![rule], ..Settings::default() };
    bench.compositor.set_settings(settings).expect("a virtual output has every mode");
    bench
}

fn picture(seed: usize) -> Arc<Picture> {
    let density =
        DensityMap::from_shape_fn((32, 32), |(y, x)| ((x * 3 + y * 5 + seed * 7) % 97) as f32 / 96.0);
    let caption = Caption {
        target: format!("picture {seed}"),
        numbers: Vec::new(),
        status: String::new(),
        order: 5,
        bytes_per_cell: 4096.0,
        total_bytes: 32 * 32 * 4096,
        half_life: Duration::from_millis(250),
    };
    Arc::new(Picture::new(Arc::new(density), caption, ColorPalette::Viridis))
}

fn latency(bench: &Bench) -> Option<Latency> {
    bench.compositor.status()[0].latency
}

fn frames(bench: &Bench) -> FrameStatistics {
    bench.compositor.status()[0].frames
}

/// Shows a picture of a window that ends now, and returns with which refresh it came.
fn refreshes(bench: &mut Bench, seed: usize, mut meanwhile: impl FnMut()) -> usize {
    let counts = |bench: &Bench| latency(bench).map_or_else(Default::default, |latency| latency.refreshes);
    let before = counts(bench);
    bench.compositor.show_on("HEADLESS-1", picture(seed), Some(Instant::now()));
    bench.until("it is on the screen", |bench| {
        meanwhile();
        let now = counts(bench);
        now.iter().zip(before).position(|(now, before)| *now > before)
    }) + 1
}

#[test]
fn a_write_is_to_be_seen_by_the_second_refresh_after_its_window_however_busy_the_clients_are() {
    let mut bench = bench();
    let program = bench.program();
    let window = bench.window(program, RED);
    // The first one waits for the shaders.
    refreshes(&mut bench, 0, || {});
    let milliseconds = REFRESH.as_millis() as u64;
    // After a refresh, in the middle, and so shortly before the next that the GPU is at work on the picture when that comes.
    for (seed, phase) in [5, 200, 350, 470, 490, 494, 497, 499].into_iter().enumerate() {
        let before = frames(&bench).presented;
        bench.until("a refresh", |bench| {
            window.panel.draw();
            (frames(bench).presented > before).then_some(())
        });
        let (begun, phase) = (Instant::now(), Duration::from_millis(phase.min(milliseconds)));
        bench.until("its time", |_| {
            window.panel.draw();
            (begun.elapsed() >= phase).then_some(())
        });
        let came = refreshes(&mut bench, seed + 1, || window.panel.draw());
        assert!(came <= 2, "{phase:?} after a refresh: with refresh {came}; {:?}", latency(&bench));
    }
    let latency = latency(&bench).expect("pictures were shown");
    assert_eq!((latency.pictures, latency.refreshes.iter().sum()), (9, 9u64));
    let stages = latency.stages;
    assert!(stages.drawn > Duration::ZERO && stages.shown > Duration::ZERO, "{stages:?}");
    assert_eq!(frames(&bench).missed, 0, "no frame of the clients' was late for it");
}

#[test]
fn alone_it_is_not_held_up_either_and_a_picture_without_a_window_is_not_counted() {
    let mut bench = bench();
    refreshes(&mut bench, 0, || {});
    for seed in 1..4 {
        let came = refreshes(&mut bench, seed, || {});
        assert!(came <= 2, "with refresh {came}");
    }
    let before = (frames(&bench).presented, latency(&bench));
    bench.compositor.show_on("HEADLESS-1", picture(9), None);
    bench.until("it is on the screen", |bench| (frames(bench).presented > before.0).then_some(()));
    assert_eq!(latency(&bench), before.1);
}
