//! No display: virtual outputs, composited in memory by pixman. Their vblanks are a timer's, on a grid of time as a display's are:
//! whoever misses one is shown with the next.

use std::time::Duration;

use smithay::backend::allocator::Fourcc;
use smithay::backend::renderer::damage::OutputDamageTracker;
use smithay::backend::renderer::pixman::PixmanRenderer;
use smithay::backend::renderer::{Bind, Offscreen};
use smithay::desktop::utils::OutputPresentationFeedback;
use smithay::output::{Mode, Output, PhysicalProperties, Subpixel};
use smithay::reexports::pixman::Image as PixmanImage;
use smithay::reexports::wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::Kind;
use smithay::utils::{Monotonic, Size, Time};
use smithay::wayland::presentation::Refresh;
use tracing::warn;

use crate::display::DisplayError;
use crate::display::desk::Desk;
use crate::display::error::chain;
use crate::display::pacing::interval;
use crate::display::redraw::Drawn;
use crate::display::scene::{self, BACKDROP, Purpose};
use crate::display::screen_copy::{self, Changed, CopyError, Job};
use crate::display::settings::ModeChoice;
use crate::display::status::MapPath;
use crate::render::Image;

/// The virtual displays.
pub(crate) struct Headless {
    renderer: PixmanRenderer,
    screens: Vec<Screen>,
}

struct Screen {
    output: Output,
    image: PixmanImage<'static, 'static>,
    tracker: OutputDamageTracker,
    frame: Option<Frame>,
    sequence: u64,
}

/// A frame that waits for its vblank.
struct Frame {
    feedback: OutputPresentationFeedback,
    path: MapPath,
    /// The vblank that it was drawn for.
    due: Option<Duration>,
}

impl Headless {
    /// So many displays of this size.
    pub(crate) fn open(size: (i32, i32), count: u32) -> Result<Self, DisplayError> {
        let failed = |output: String, reason: String| DisplayError::Render { output, reason };
        let mut renderer = PixmanRenderer::new().map_err(|error| failed("memory".into(), chain(&error)))?;
        let screens = (1..=count)
            .map(|number| {
                let name = format!("HEADLESS-{number}");
                Screen::new(&mut renderer, &name, size).map_err(|reason| failed(name, reason))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { renderer, screens })
    }

    pub(super) fn start(&mut self) -> Vec<Output> {
        self.screens.iter().map(|screen| screen.output.clone()).collect()
    }

    /// A virtual display has every mode.
    pub(super) fn set_mode(&mut self, output: &Output, choice: Option<&ModeChoice>) -> Result<(), String> {
        let (size, refresh) = match choice {
            None => {
                let Some(mode) = output.preferred_mode() else { return Ok(()) };
                ((mode.size.w, mode.size.h), mode.refresh)
            }
            Some(ModeChoice::Listed { width, height, refresh_mhz }) => {
                ((i32::from(*width), i32::from(*height)), refresh_mhz.unwrap_or(60_000).cast_signed())
            }
            Some(ModeChoice::Custom(line)) => (
                (i32::from(line.horizontal[0]), i32::from(line.vertical[0])),
                line.refresh_mhz().cast_signed(),
            ),
        };
        let mode = Mode { size: size.into(), refresh };
        let Self { renderer, screens } = self;
        let Some(screen) = screens.iter_mut().find(|screen| &screen.output == output) else { return Ok(()) };
        if output.current_mode() == Some(mode) {
            return Ok(());
        }
        screen.image = image(renderer, size)?;
        output.change_current_state(Some(mode), None, None, None);
        screen.tracker = OutputDamageTracker::from_output(output);
        Ok(())
    }

    /// Composites into memory. There is no flip to wait for, so the timer always follows.
    pub(super) fn draw(&mut self, desk: &mut Desk, output: &Output) -> Drawn {
        let Self { renderer, screens } = self;
        let Some(screen) = screens.iter_mut().find(|screen| &screen.output == output) else {
            return Drawn::Skipped;
        };
        let now = desk.clock.now().into();
        let due = desk.output_state(output).and_then(|state| state.next_vblank(now));
        let scene = scene::build(desk, renderer, output, Purpose::Screen { planes: false });
        let mut target = match renderer.bind(&mut screen.image) {
            Ok(target) => target,
            Err(error) => return failed(desk, output, &chain(&error)),
        };
        // Drawn in place, so all but the damage is still there from the frame before.
        let damaged = match screen.tracker.render_output(renderer, &mut target, 1, &scene.elements, BACKDROP)
        {
            Ok(result) => result.damage.is_some(),
            Err(error) => return failed(desk, output, &chain(&error)),
        };
        if damaged {
            let feedback = desk.take_presentation_feedback(output, |_, _| Kind::empty());
            let path = if scene.has_map { MapPath::Composited } else { MapPath::Absent };
            if let Some(state) = desk.output_state(output) {
                state.map.queued(scene.slot);
            }
            screen.frame = Some(Frame { feedback, path, due });
        }
        Drawn::Empty
    }

    /// The frame counts as shown.
    pub(super) fn presented(&mut self, desk: &mut Desk, output: &Output) {
        let Some(screen) = self.screens.iter_mut().find(|screen| &screen.output == output) else { return };
        let Some(Frame { mut feedback, path, due }) = screen.frame.take() else { return };
        let (now, frame) = (Duration::from(desk.clock.now()), interval(output));
        let Desk { outputs, worker, .. } = desk;
        let Some(state) = outputs.iter_mut().find(|state| &state.output == output) else { return };
        // The vblank that has just been, however late the timer: one before the next.
        let time = state.next_vblank(now).map_or(now, |next| next.saturating_sub(frame));
        let refreshes = |from: Duration| time.saturating_sub(from).as_nanos() / frame.as_nanos().max(1);
        screen.sequence += state.presented_at.map_or(1, |last| refreshes(last).max(1) as u64);
        let late = due.map_or(0, |due| refreshes(due) as u64);
        feedback.presented(
            Time::<Monotonic>::from(time),
            Refresh::fixed(frame),
            screen.sequence,
            Kind::empty(),
        );
        state.presented(path, time, late, now, worker.as_ref());
    }

    pub(super) fn screenshot(&mut self, desk: &mut Desk, output: &Output) -> Result<Image, DisplayError> {
        screen_copy::take::<_, PixmanImage<'static, 'static>>(desk, &mut self.renderer, output)
    }

    pub(super) fn copy(
        &mut self,
        desk: &mut Desk,
        output: &Output,
        job: Job<'_>,
    ) -> Result<Option<Changed>, CopyError> {
        screen_copy::copy::<_, PixmanImage<'static, 'static>>(desk, &mut self.renderer, output, job)
    }
}

impl Screen {
    fn new(renderer: &mut PixmanRenderer, name: &str, size: (i32, i32)) -> Result<Self, String> {
        let image = image(renderer, size)?;
        let output = Output::new(
            name.into(),
            PhysicalProperties {
                size: (0, 0).into(),
                subpixel: Subpixel::Unknown,
                make: "memory.glass".into(),
                model: "headless".into(),
            },
        );
        let mode = Mode { size: size.into(), refresh: 60_000 };
        output.set_preferred(mode);
        output.change_current_state(Some(mode), None, None, None);
        let tracker = OutputDamageTracker::from_output(&output);
        Ok(Self { output, image, tracker, frame: None, sequence: 0 })
    }
}

fn image(
    renderer: &mut PixmanRenderer,
    (width, height): (i32, i32),
) -> Result<PixmanImage<'static, 'static>, String> {
    if !(1..=16_384).contains(&width) || !(1..=16_384).contains(&height) {
        return Err(format!("a virtual output of {width}×{height} pixels is out of bounds"));
    }
    renderer.create_buffer(Fourcc::Xrgb8888, Size::from((width, height))).map_err(|error| chain(&error))
}

fn failed(desk: &mut Desk, output: &Output, reason: &str) -> Drawn {
    if let Some(state) = desk.output_state(output) {
        state.frames.failed += 1;
        if state.frames.failed == 1 {
            warn!(output = output.name(), reason, "a frame could not be drawn");
        }
    }
    Drawn::Failed
}
