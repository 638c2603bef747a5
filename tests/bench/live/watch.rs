//! A watch as the session has it, in this process, so that each map is known with the moment that it is of.

use std::time::{Duration, Instant};

use calloop::{Dispatcher, EventLoop, RegistrationToken};
use memory_glass::capture::{CaptureEvent, GlassRamMonitor, MonitorConfig, Window};
use memory_glass::map::{AddressLayout, HilbertCapability as _, HilbertConfig, HilbertSkilling};
use memory_glass::render::ColorPalette;
use memory_glass::sensing::AccuracyEstimate;
use memory_glass::system::Pipeline;

/// Monitor and pipeline of one process, and the loop that asks the monitor when it is due.
pub struct Watch {
    event_loop: EventLoop<'static, Taken>,
    source: Dispatcher<'static, GlassRamMonitor, Taken>,
    token: RegistrationToken,
    pipeline: Pipeline,
    window: Duration,
}

/// What the monitor has reported since it was asked last.
#[derive(Default)]
struct Taken {
    windows: Vec<Window>,
    over: bool,
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
    /// How many did not come when they were due, without those for which others had the processor.
    pub lost: usize,
    /// Processor time of the dearest, with its map.
    pub dearest: Duration,
}

/// Processor time of this thread so far, and how long it has waited for a processor.
fn schedule() -> [Duration; 2] {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap_or(0));
    [(); 2].map(|()| Duration::from_nanos(numbers.next().unwrap_or(0)))
}

impl Watch {
    /// Attaches to the process.
    pub fn of(pid: u32, config: MonitorConfig) -> Watch {
        let mut monitor = GlassRamMonitor::with_config(pid, config).expect("attached");
        let (target, rung) = (monitor.target().clone(), monitor.rung());
        let pipeline = Pipeline::new(target, rung, HilbertConfig::default(), ColorPalette::default());
        let pipeline = pipeline.expect("a pipeline");
        monitor.set_arming_policy(pipeline.arming_policy());
        let source = Dispatcher::new(monitor, |event, _, taken: &mut Taken| match event {
            CaptureEvent::Window(window) => taken.windows.push(window),
            CaptureEvent::Forked(_) => {}
            CaptureEvent::Exited(_) | CaptureEvent::Failed(_) => taken.over = true,
        });
        let event_loop = EventLoop::try_new().expect("a loop");
        let token = event_loop.handle().register_dispatcher(source.clone()).expect("registered");
        Watch { event_loop, source, token, pipeline, window: config.window }
    }

    /// Takes windows for so long, each when the monitor has it due.
    pub fn run(&mut self, time: Duration, mut each: impl FnMut(&Window, &Watch)) -> Windows {
        let (begun, mut windows, mut taken) = (Instant::now(), Windows::default(), Taken::default());
        let mut before = schedule();
        while let Some(left) = time.checked_sub(begun.elapsed()).filter(|_| !taken.over) {
            self.event_loop.dispatch(Some(left), &mut taken).expect("the loop goes on");
            for window in std::mem::take(&mut taken.windows) {
                self.pipeline.window(&window).expect("a map");
                let now = schedule();
                let [used, waited] = [0, 1].map(|which| now[which].saturating_sub(before[which]));
                before = now;
                let periods = window.length.saturating_sub(waited).as_secs_f64() / self.window.as_secs_f64();
                windows.taken += 1;
                windows.lost += (periods.round() as usize).saturating_sub(1);
                windows.dearest = windows.dearest.max(used);
                each(&window, self);
            }
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
        self.event_loop.handle().remove(self.token);
        Dispatcher::into_source_inner(self.source).detach().expect("detached");
    }
}
