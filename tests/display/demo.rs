//! The compositor with a moving picture and no capture: what the display does, without a target to watch.
//!
//! ```text
//! display-demo tty|headless [CARD] [--never] [--still] [-- COMMAND…]
//! ```
//!
//! Prints the outputs' state each second.

use std::sync::Arc;
use std::time::Duration;

use calloop::EventLoop;
use calloop::timer::{TimeoutAction, Timer};
use memory_glass::display::{BackendKind, Compositor, CompositorConfig, PlanePolicy};
use memory_glass::render::{Caption, ColorPalette, Picture, RenderWorker};
use memory_glass::sensing::DensityMap;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (own, command) = match words.iter().position(|word| word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (&words[..], &[][..]),
    };
    let backend = match own.first().map(String::as_str) {
        Some("tty") => BackendKind::Tty,
        Some("headless") => BackendKind::Headless,
        _ => BackendKind::detect(),
    };
    let mut config = CompositorConfig::new(backend);
    config.cards = own.iter().filter(|word| word.starts_with("/dev/")).map(Into::into).collect();
    if own.iter().any(|word| word == "--never") {
        config.planes = PlanePolicy::Never;
    }
    let still = own.iter().any(|word| word == "--still");
    let mut event_loop: EventLoop<'static, Compositor> = EventLoop::try_new()?;
    let worker = RenderWorker::spawn()?;
    println!("{:?}", worker.0.describe());
    let mut compositor = Compositor::new(config, &mut event_loop, Some(worker))?;
    if !command.is_empty() {
        compositor.spawn(command)?;
    }
    let handle = event_loop.handle();
    let mut tick = 0;
    handle.insert_source(Timer::immediate(), move |_, _, compositor: &mut Compositor| {
        compositor.show(Arc::new(picture(tick)));
        tick += 1;
        if still { TimeoutAction::Drop } else { TimeoutAction::ToDuration(Duration::from_millis(100)) }
    })?;
    handle.insert_source(Timer::immediate(), |_, _, compositor: &mut Compositor| {
        for output in compositor.status() {
            println!(
                "{} {}x{}@{:.2} map {} {:?}",
                output.identity.connector,
                output.resolution.0,
                output.resolution.1,
                output.refresh_hz,
                output.map,
                output.frames
            );
        }
        TimeoutAction::ToDuration(Duration::from_secs(1))
    })?;
    event_loop.run(None, &mut compositor, |_| ())?;
    println!("ended");
    Ok(())
}

/// A bar that moves down one row a tick.
fn picture(tick: usize) -> Picture {
    let side = 64;
    let density = DensityMap::from_shape_fn((side, side), |(y, x)| {
        if (y + side - tick % side) % side < 8 { 1.0 } else { x as f32 / (2 * side) as f32 }
    });
    Picture::new(
        Arc::new(density),
        Caption {
            target: "demo".into(),
            numbers: Vec::new(),
            status: format!("tick {tick}"),
            order: 6,
            bytes_per_cell: 4096.0,
            total_bytes: (side * side * 4096) as u64,
            half_life: Duration::from_millis(250),
        },
        ColorPalette::Viridis,
    )
}
