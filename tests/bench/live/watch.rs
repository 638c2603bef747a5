//! A watch as the session has it, in this process, so that each map is known with the moment that it is of.

use std::time::{Duration, Instant};

use memory_glass::capture::{CaptureEvent, GlassRamMonitor, MonitorConfig, Window};
use memory_glass::map::{AddressLayout, HilbertCapability as _, HilbertConfig, HilbertSkilling};
use memory_glass::render::ColorPalette;
use memory_glass::sensing::AccuracyEstimate;
use memory_glass::system::Pipeline;

/// Monitor and pipeline of one process.
pub struct Watch {
    monitor: GlassRamMonitor,
    pipeline: Pipeline,
    window: Duration,
}

/// A map, cell by cell along the curve, each with the places of the pages that it shows.
pub struct Shown {
    layout: AddressLayout,
    cells: Vec<f32>,
}

impl Shown {
    /// Cells with the first address of each page that they show. A place that no page has any more has no
    /// address.
    pub fn cells(&self) -> impl Iterator<Item = (f32, Vec<Option<u64>>)> + '_ {
        let count = self.cells.len() as u32;
        let addresses = self.addresses();
        (0..count).zip(&self.cells).map(move |(d, value)| {
            let places = self.layout.pages_of_cell(d, count);
            let pages = places.into_iter().flatten();
            (*value, pages.map(|place| addresses.get(place as usize).copied().flatten()).collect())
        })
    }

    /// By place on the line.
    fn addresses(&self) -> Vec<Option<u64>> {
        let mut addresses = vec![None; self.layout.pages() as usize];
        for region in self.layout.placed() {
            let starts = (region.start..region.end).step_by(self.layout.page_size() as usize);
            for (place, start) in (region.first_page as usize..).zip(starts) {
                addresses[place] = Some(start);
            }
        }
        addresses
    }
}

/// What came of the windows of some time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Windows {
    pub taken: usize,
    /// How many were due while another was made.
    pub lost: usize,
    /// The time that the longest took to be made, without that in which others had the processor.
    pub longest: Duration,
}

/// How long this thread has waited for a processor so far, which is not its own doing.
fn waited() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().nth(1).and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

impl Watch {
    /// Attaches to the process.
    pub fn of(pid: u32, config: MonitorConfig) -> Watch {
        let mut monitor = GlassRamMonitor::with_config(pid, config).expect("attached");
        let (target, rung) = (monitor.target().clone(), monitor.rung());
        let pipeline = Pipeline::new(target, rung, HilbertConfig::default(), ColorPalette::default());
        let pipeline = pipeline.expect("a pipeline");
        monitor.set_arming_policy(pipeline.arming_policy());
        Watch { monitor, pipeline, window: config.window }
    }

    /// Takes windows for so long, each when it is due.
    pub fn run(&mut self, time: Duration, mut each: impl FnMut(&Window, &Watch)) -> Windows {
        let begun = Instant::now();
        let (mut next, mut windows) = (begun, Windows::default());
        while begun.elapsed() < time {
            next += self.window;
            // A loop that was held up gives one longer window, never several at once.
            next = next.max(Instant::now());
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            let (begun, waited) = (Instant::now(), waited());
            let CaptureEvent::Window(window) = self.monitor.scan().expect("it lives") else { break };
            self.pipeline.window(&window).expect("a map");
            let took = begun.elapsed().saturating_sub(self::waited().saturating_sub(waited));
            windows.taken += 1;
            windows.lost += (took.as_secs_f64() / self.window.as_secs_f64()) as usize;
            windows.longest = windows.longest.max(took);
            each(&window, self);
        }
        windows
    }

    /// The map as of the last window.
    pub fn shown(&self) -> Shown {
        let layout = AddressLayout::from_file(&self.pipeline.layout());
        let curve = HilbertSkilling::new(self.pipeline.layout().order);
        let density = self.pipeline.density();
        let value = |d| {
            let (x, y) = curve.d2xy(d);
            density[[y as usize, x as usize]]
        };
        Shown { layout, cells: (0..curve.cells()).map(value).collect() }
    }

    /// What is said of its accuracy.
    pub fn accuracy(&self) -> Option<AccuracyEstimate> {
        self.pipeline.accuracy()
    }

    /// How long a window is to be.
    pub fn window(&self) -> Duration {
        self.window
    }

    /// Lets the process go.
    pub fn end(self) {
        self.monitor.detach().expect("detached");
    }
}
