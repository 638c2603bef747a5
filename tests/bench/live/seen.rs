//! From a write to the picture of it, as somebody sees it who looks at the screen from outside.

use std::time::{Duration, Instant};

use wayland_protocols::ext::image_copy_capture::v1::client::ext_image_copy_capture_session_v1::ExtImageCopyCaptureSessionV1;

use super::Options;
use super::bars::{Bars, Spread};
use super::session::Session;
use super::support::{PAGE, Target};
use super::viewer::{Said, Shared, Viewer};

/// Writes that are waited for.
const WRITES: usize = 20;
/// The output, pixels, and how often it is refreshed.
const SIZE: (u32, u32) = (640, 400);
const REFRESH: f64 = 1.0 / 60.0;
/// The target's memory, and how much of it is written at a time, pages.
const PAGES: u64 = 4096;
const WRITTEN: u64 = 512;
/// The map has gone dark after so long.
const DARK: Duration = Duration::from_millis(2500);
/// A pixel is brighter by this, of 765, and so many are: a third of what is written is on the picture.
const BRIGHTER: u32 = 45;
const PIXELS: usize = 4000;
/// Longer than any write is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pictures of the output, each when it is another than the one before.
struct Screen {
    viewer: Viewer,
    session: ExtImageCopyCaptureSessionV1,
    memory: Shared,
}

impl Screen {
    fn of(session: &Session) -> Screen {
        let mut viewer = Viewer::connect(&session.run_file("wall"));
        let capture = viewer.session();
        viewer.until(&Said::Done);
        let memory = viewer.buffer(SIZE.0, SIZE.1);
        Screen { viewer, session: capture, memory }
    }

    /// The next picture until then, as the brightness of each pixel.
    fn next(&mut self, deadline: Instant) -> Option<Vec<u32>> {
        let frame = self.viewer.frame(&self.session);
        frame.attach_buffer(&self.memory.buffer);
        frame.damage_buffer(0, 0, SIZE.0 as i32, SIZE.1 as i32);
        frame.capture();
        self.viewer.take();
        while Instant::now() < deadline {
            self.viewer.turn().expect("still connected");
            if self.viewer.heard.said.contains(&Said::Ready) {
                frame.destroy();
                let sum = |pixel: u32| (pixel >> 16 & 255) + (pixel >> 8 & 255) + (pixel & 255);
                return Some(self.memory.pixels().into_iter().map(sum).collect());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        frame.destroy();
        None
    }
}

/// Whether what is written is on this picture, and was not on the one before.
fn shows(before: &[u32], now: &[u32]) -> bool {
    before.iter().zip(now).filter(|(before, now)| **now > **before + BRIGHTER).count() >= PIXELS
}

/// How long it takes until a viewer has the picture of a write: two refreshes, and one for its own delay.
pub fn seen(options: &Options, bars: &mut Bars) {
    let mut target = Target::start("obey");
    let start = target.ask(&format!("mmap {}", PAGES * PAGE));
    target.ask(&format!("small {start} {}", PAGES * PAGE));
    target.ask(&format!("write {start} {PAGES} 1"));
    let size = format!("{}x{}", SIZE.0, SIZE.1);
    let arguments = ["--socket", "wall", "--placement", "full", "--size", &size];
    let session = Session::watch(&options.program, target.pid(), &arguments);
    let mut screen = Screen::of(&session);
    let mut random = fastrand::Rng::with_seed(1);
    let (mut took, mut never) = (Vec::new(), 0);
    for _ in 0..WRITES {
        // At any moment of a look and of a refresh.
        let dark = Instant::now() + DARK + Duration::from_micros(random.u64(..100_000));
        let mut last = None;
        while let Some(picture) = screen.next(dark) {
            last = Some(picture);
        }
        let last = last.unwrap_or_else(|| vec![0; (SIZE.0 * SIZE.1) as usize]);
        let first = random.u64(..PAGES - WRITTEN);
        let written = Instant::now();
        target.ask(&format!("write {} {WRITTEN} 1", start + first * PAGE));
        let came = loop {
            match screen.next(written + PATIENCE) {
                Some(picture) if shows(&last, &picture) => break Some(written.elapsed()),
                Some(_) => {}
                None => break None,
            }
        };
        match came {
            Some(came) => took.push(came.as_secs_f64()),
            None => never += 1,
        }
    }
    session.end();
    let Some(spread) = Spread::of(took.iter().copied()) else {
        return bars.not_said("the picture of a write, to a viewer");
    };
    let refreshes: Vec<u32> = took.iter().map(|took| (took / REFRESH).ceil() as u32).collect();
    let most = refreshes.iter().copied().max().unwrap_or(0);
    let came: Vec<usize> =
        (1..=most).map(|by| refreshes.iter().filter(|refreshes| **refreshes == by).count()).collect();
    println!(
        "a viewer has the picture {:.1} ms ({:.1}..{:.1}) after the write, its own delay included; in \
         refreshes 1, 2, …: {came:?}; never: {never} of {WRITES}",
        spread.median * 1e3,
        spread.least * 1e3,
        spread.most * 1e3,
    );
    bars.at_most("refreshes until a viewer has the picture, median", spread.median / REFRESH, 3.0, 0.0);
    bars.at_most("writes that a viewer never sees", f64::from(never), 0.0, 0.0);
}
