//! The outputs on the desk: which there are, what a person wants of each, and when each is to be drawn again.

use std::time::{Duration, Instant};

use calloop::RegistrationToken;
use smithay::desktop::layer_map_for_output;
use smithay::output::Output;
use smithay::reexports::wayland_server::backend::GlobalId;
use smithay::utils::{Logical, Physical, Point, Rectangle, Size};

use super::awaited::Awaited;
use super::desk::Desk;
use super::map_view::MapView;
use super::pacing::{interval, next_vblank};
use super::placement::Division;
use super::power::Off;
use super::redraw::Redraw;
use super::settings::OutputIdentity;
use super::status::{Latencies, MapPath};
use super::{Compositor, FrameStatistics, Placement, layers};
use crate::render::RenderWorker;

/// Further than this from the pointer, nothing of its image is to be seen.
pub(crate) const POINTER_REACH: f64 = 256.0;

/// A display's rate is not exactly what its mode says: for so long refreshes can be counted on from one that was seen.
const RELIABLE: Duration = Duration::from_secs(2);

/// One output, whatever drives it.
pub(crate) struct OutputState {
    pub(crate) output: Output,
    /// What tells it from others.
    pub(crate) identity: OutputIdentity,
    /// What clients know it by; they know nothing of one that only mirrors another.
    pub(crate) global: Option<GlobalId>,
    pub(crate) redraw: Redraw,
    pub(crate) awaited: Awaited,
    pub(crate) map: MapView,
    pub(crate) frames: FrameStatistics,
    /// When the newest frame came onto the screen, by the monotonic clock.
    pub(crate) presented_at: Option<Duration>,
    pub(crate) latencies: Latencies,
    /// How long it took to draw the last frame.
    pub(crate) draw_time: Duration,
    /// A frame that is held back for the map is drawn at the latest when this fires.
    pub(crate) held: Option<RegistrationToken>,
    /// The output that it shows instead of its own part of the desk.
    pub(crate) mirrors: Option<Output>,
    /// Why it is switched off.
    pub(crate) off: Option<Off>,
    /// Why something that a person has set is not in force.
    pub(crate) problem: Option<String>,
}

/// What somebody has said about an output since the session began. It holds when the display is unplugged and comes back.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByHand {
    pub(crate) placement: Option<Placement>,
    pub(crate) off: bool,
}

/// What an output shows: its own part of the desk, or that of the one that it mirrors.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// Whose part.
    pub(crate) source: Output,
    /// Where that lies on the desk.
    pub(crate) geometry: Rectangle<i32, Logical>,
    /// Pixels of the display for a logical one.
    pub(crate) scale: f64,
    /// Where on the display it begins.
    pub(crate) origin: Point<i32, Physical>,
}

impl OutputState {
    /// When the next refresh after `now` is, counted on from the newest frame. `None` when that is too long ago to tell.
    pub(crate) fn next_vblank(&self, now: Duration) -> Option<Duration> {
        let frame = interval(&self.output);
        let last = self.presented_at.filter(|last| now.saturating_sub(*last) < RELIABLE.max(frame * 4));
        next_vblank(last, now, frame)
    }

    /// A frame is on the screen since `time`, by the monotonic clock; `late` is how many vblanks that is after its own.
    pub(crate) fn presented(
        &mut self,
        path: MapPath,
        time: Duration,
        late: u64,
        now: Duration,
        worker: Option<&RenderWorker>,
    ) {
        self.frames.presented(path, late);
        self.presented_at = Some(time);
        let here = Instant::now();
        let shown = here.checked_sub(now.saturating_sub(time)).unwrap_or(here);
        if let Some(stages) = self.map.presented(shown, worker) {
            self.latencies.add(stages, interval(&self.output));
        }
    }
}

impl Desk {
    /// An output appears. It has its place when the outputs are set up again.
    pub(crate) fn add_output(&mut self, output: Output) {
        let mut map = MapView::new(output.name());
        if let Some(picture) = &self.picture {
            map.show(picture.clone(), None, self.worker.as_ref());
        }
        self.outputs.push(OutputState {
            identity: identity(&output),
            output,
            global: None,
            redraw: Redraw::default(),
            awaited: Awaited::default(),
            map,
            frames: FrameStatistics::default(),
            presented_at: None,
            latencies: Latencies::default(),
            draw_time: Duration::ZERO,
            held: None,
            mirrors: None,
            off: None,
            problem: None,
        });
        // The order of names, not of appearance: an output that comes back is where it was.
        self.outputs.sort_by_key(|state| state.output.name());
    }

    /// An output is gone; its windows go to another one when the layout is made again.
    pub(crate) fn remove_output(&mut self, output: &Output) {
        let Some(at) = self.outputs.iter().position(|state| &state.output == output) else { return };
        let mut state = self.outputs.remove(at);
        state.map.close(self.worker.as_ref());
        state.held.take().into_iter().for_each(|timer| self.handle.remove(timer));
        self.close_layers(output);
        self.lock.remove_output(output);
        self.space.unmap_output(output);
        if let Some(global) = state.global.take() {
            self.retire(global);
        }
    }

    /// Clients that bind a global in this very moment are not to be killed for it.
    pub(crate) fn retire(&self, global: GlobalId) {
        self.display.disable_global::<Compositor>(global.clone());
        let display = self.display.clone();
        let timer = calloop::timer::Timer::from_duration(Duration::from_secs(10));
        let removal = self.handle.insert_source(timer, move |_, _, _| {
            display.remove_global::<Compositor>(global.clone());
            calloop::timer::TimeoutAction::Drop
        });
        if let Err(error) = removal {
            tracing::debug!(%error, "an output's global stays, disabled");
        }
    }

    /// The state of this output.
    pub(crate) fn output_state(&mut self, output: &Output) -> Option<&mut OutputState> {
        self.outputs.iter_mut().find(|state| &state.output == output)
    }

    /// The outputs that a person means by this name: one, the members of a span, or all when there is no name.
    pub(crate) fn called(&self, name: Option<&str>) -> Vec<OutputIdentity> {
        let Some(name) = name else {
            return self.outputs.iter().map(|state| state.identity.clone()).collect();
        };
        let settings = &self.config.settings;
        let in_span = |identity: &OutputIdentity| {
            settings.span(identity).is_some_and(|span| span.name.eq_ignore_ascii_case(name))
        };
        self.outputs
            .iter()
            .map(|state| &state.identity)
            .filter(|identity| identity.is_called(name) || in_span(identity))
            .cloned()
            .collect()
    }

    /// Where the map lies on this output.
    pub(crate) fn placement(&self, output: &Output) -> Placement {
        let identity = identity(output);
        let by_hand = self.by_hand.get(&identity.key()).and_then(|by_hand| by_hand.placement);
        by_hand.unwrap_or_else(|| self.config.settings.rule(&identity).placement(self.config.placement))
    }

    /// What this output shows. `None` for one that has no place yet.
    pub(crate) fn shown(&self, output: &Output) -> Option<Shown> {
        let mirrored = self.outputs.iter().find(|state| &state.output == output)?.mirrors.clone();
        let Some(source) = mirrored else {
            let geometry = self.space.output_geometry(output)?;
            let scale = output.current_scale().fractional_scale();
            return Some(Shown { source: output.clone(), geometry, scale, origin: Point::default() });
        };
        let geometry = self.space.output_geometry(&source)?;
        let (scale, origin) = super::wall::fit(geometry.size, pixels(output)?);
        Some(Shown { source, geometry, scale, origin })
    }

    /// What the map and the clients have of this output: what layer surfaces keep for themselves is taken off before.
    pub(crate) fn division(&self, output: &Output) -> Option<Division> {
        let whole = self.space.output_geometry(output)?.size;
        let zone = layers::usable(whole, &layer_map_for_output(output));
        let placement = self.placement(output);
        let mut division = placement.divide(zone.size);
        division.clients.loc += zone.loc;
        division.map = match (placement, division.map) {
            (Placement::Full, Some(_)) => Some(Rectangle::from_size(whole)),
            (_, map) => map.map(|map| Rectangle::new(map.loc + zone.loc, map.size)),
        };
        Some(division)
    }

    /// Something on this output changed.
    pub(crate) fn queue_redraw(&mut self, output: &Output) {
        let affected =
            |state: &OutputState| &state.output == output || state.mirrors.as_ref() == Some(output);
        for state in self.outputs.iter_mut().filter(|state| affected(state)) {
            if state.redraw.queue() {
                self.wake.ping();
            }
        }
    }

    /// Something changed that may be on any output.
    pub(crate) fn queue_redraw_all(&mut self) {
        for state in &mut self.outputs {
            if state.redraw.queue() {
                self.wake.ping();
            }
        }
    }

    /// The pointer moved: outputs that its image may reach into.
    pub(crate) fn queue_redraw_near(&mut self, points: &[Point<f64, Logical>]) {
        let near: Vec<Output> = self
            .outputs
            .iter()
            .filter(|state| {
                self.space.output_geometry(&state.output).is_some_and(|geometry| {
                    let mut reach = geometry.to_f64();
                    reach.loc -= Point::from((POINTER_REACH, POINTER_REACH));
                    reach.size += (2.0 * POINTER_REACH, 2.0 * POINTER_REACH).into();
                    points.iter().any(|point| reach.contains(*point))
                })
            })
            .map(|state| state.output.clone())
            .collect();
        for output in near {
            self.queue_redraw(&output);
        }
    }

    /// Keeps a point on the outputs: where it is if there is one, else at the edge of the one it came from.
    pub(crate) fn confine(&self, to: Point<f64, Logical>, from: Point<f64, Logical>) -> Point<f64, Logical> {
        let inside = |point: Point<f64, Logical>| {
            self.outputs
                .iter()
                .filter_map(|state| self.space.output_geometry(&state.output))
                .find(|geometry| geometry.to_f64().contains(point))
        };
        if inside(to).is_some() {
            return to;
        }
        let first = self.outputs.iter().find_map(|state| self.space.output_geometry(&state.output));
        let Some(geometry) = inside(from).or(first) else { return to };
        let (left, top) = (f64::from(geometry.loc.x), f64::from(geometry.loc.y));
        let (right, bottom) = (left + f64::from(geometry.size.w - 1), top + f64::from(geometry.size.h - 1));
        Point::from((to.x.max(left).min(right), to.y.max(top).min(bottom)))
    }
}

/// The display's pixels across and down, as a person sees it: turned.
pub(crate) fn pixels(output: &Output) -> Option<Size<i32, Physical>> {
    output.current_mode().map(|mode| output.current_transform().transform_size(mode.size))
}

/// What tells this output from others.
pub(crate) fn identity(output: &Output) -> OutputIdentity {
    let physical = output.physical_properties();
    let serial = output.user_data().get::<SerialNumber>().map(|serial| serial.0.clone());
    OutputIdentity {
        connector: output.name(),
        make: physical.make,
        model: physical.model,
        serial: serial.unwrap_or_default(),
    }
}

/// What stays the same of a display wherever it is plugged in: see [`OutputIdentity::key`].
pub(crate) fn key(output: &Output) -> String {
    identity(output).key()
}

/// Kept with an output whose display has said it.
pub(crate) struct SerialNumber(pub(crate) String);
