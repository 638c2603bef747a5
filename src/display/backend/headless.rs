//! No display: one virtual output, composited in memory by pixman, with a timer for a vblank.

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
use crate::display::status::MapPath;
use crate::render::Image;

/// The virtual display.
pub(crate) struct Headless {
    output: Output,
    renderer: PixmanRenderer,
    screen: PixmanImage<'static, 'static>,
    tracker: OutputDamageTracker,
    frame: Option<(OutputPresentationFeedback, MapPath)>,
    sequence: u64,
}

impl Headless {
    pub(crate) fn open((width, height): (i32, i32)) -> Result<Self, DisplayError> {
        const NAME: &str = "HEADLESS-1";
        let failed = |reason: String| DisplayError::Render { output: NAME.into(), reason };
        if !(1..=16_384).contains(&width) || !(1..=16_384).contains(&height) {
            return Err(failed(format!("a virtual output of {width}×{height} pixels is out of bounds")));
        }
        let mut renderer = PixmanRenderer::new().map_err(|error| failed(chain(&error)))?;
        let screen = renderer
            .create_buffer(Fourcc::Xrgb8888, Size::from((width, height)))
            .map_err(|error| failed(chain(&error)))?;
        let output = Output::new(
            NAME.into(),
            PhysicalProperties {
                size: (0, 0).into(),
                subpixel: Subpixel::Unknown,
                make: "memory.glass".into(),
                model: "headless".into(),
            },
        );
        let mode = Mode { size: (width, height).into(), refresh: 60_000 };
        output.set_preferred(mode);
        output.change_current_state(Some(mode), None, None, None);
        let tracker = OutputDamageTracker::from_output(&output);
        Ok(Self { output, renderer, screen, tracker, frame: None, sequence: 0 })
    }

    pub(super) fn start(&mut self) -> Vec<Output> {
        vec![self.output.clone()]
    }

    /// Composites into memory. There is no flip to wait for, so the timer always follows.
    pub(super) fn draw(&mut self, desk: &mut Desk, output: &Output) -> Drawn {
        let scene = scene::build(desk, &mut self.renderer, output, Purpose::Screen { planes: false });
        let mut target = match self.renderer.bind(&mut self.screen) {
            Ok(target) => target,
            Err(error) => return failed(desk, output, &chain(&error)),
        };
        // Drawn in place, so all but the damage is still there from the frame before.
        let damaged =
            match self.tracker.render_output(&mut self.renderer, &mut target, 1, &scene.elements, BACKDROP) {
                Ok(result) => result.damage.is_some(),
                Err(error) => return failed(desk, output, &chain(&error)),
            };
        if damaged {
            let feedback = desk.take_presentation_feedback(output, |_, _| Kind::empty());
            let path = if scene.has_map { MapPath::Composited } else { MapPath::Absent };
            self.frame = Some((feedback, path));
        }
        Drawn::Empty
    }

    /// The frame counts as shown.
    pub(super) fn presented(&mut self, desk: &mut Desk, output: &Output) {
        let Some((mut feedback, path)) = self.frame.take() else { return };
        self.sequence += 1;
        let now: Time<Monotonic> = desk.clock.now();
        feedback.presented(now, Refresh::fixed(interval(output)), self.sequence, Kind::empty());
        if let Some(state) = desk.output_state(output) {
            state.frames.presented(path, 0);
            state.presented_at = Some(now.into());
        }
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

fn failed(desk: &mut Desk, output: &Output, reason: &str) -> Drawn {
    if let Some(state) = desk.output_state(output) {
        state.frames.failed += 1;
        if state.frames.failed == 1 {
            warn!(output = output.name(), reason, "a frame could not be drawn");
        }
    }
    Drawn::Failed
}
