//! The outputs on the desk: which there are, where they stand, and when each is to be drawn again.

use std::time::Duration;

use smithay::desktop::layer_map_for_output;
use smithay::output::Output;
use smithay::reexports::wayland_server::backend::GlobalId;
use smithay::utils::{Logical, Point, Rectangle};
use tracing::info;

use super::compositor::Notice;
use super::desk::Desk;
use super::map_view::MapView;
use super::placement::Division;
use super::redraw::Redraw;
use super::settings::OutputIdentity;
use super::{Compositor, FrameStatistics, OutputStatus, Placement, PlaneUse};

/// Further than this from the pointer, nothing of its image is to be seen.
pub(crate) const POINTER_REACH: f64 = 256.0;

/// One output, whatever drives it.
pub(crate) struct OutputState {
    pub(crate) output: Output,
    pub(crate) global: GlobalId,
    pub(crate) redraw: Redraw,
    pub(crate) map: MapView,
    pub(crate) frames: FrameStatistics,
    /// When the newest frame came onto the screen, by the monotonic clock.
    pub(crate) presented_at: Option<Duration>,
}

impl Desk {
    /// An output appears, right of the others.
    pub(crate) fn add_output(&mut self, output: Output) {
        let global = output.create_global::<Compositor>(&self.display);
        let mut map = MapView::new(output.name());
        if let Some(picture) = &self.picture {
            map.show(picture.clone(), self.worker.as_ref());
        }
        self.outputs.push(OutputState {
            output,
            global,
            redraw: Redraw::default(),
            map,
            frames: FrameStatistics::default(),
            presented_at: None,
        });
        // The order of names, not of appearance: an output that comes back is where it was.
        self.outputs.sort_by_key(|state| state.output.name());
        self.line_up();
    }

    /// An output is gone; its windows go to another one when the layout is made again.
    pub(crate) fn remove_output(&mut self, output: &Output) {
        let Some(at) = self.outputs.iter().position(|state| &state.output == output) else { return };
        let mut state = self.outputs.remove(at);
        state.map.close(self.worker.as_ref());
        self.close_layers(output);
        self.lock.remove_output(output);
        self.space.unmap_output(output);
        // Clients that bind it in this very moment are not to be killed for it.
        self.display.disable_global::<Compositor>(state.global.clone());
        let display = self.display.clone();
        let timer = calloop::timer::Timer::from_duration(Duration::from_secs(10));
        let global = state.global;
        let removal = self.handle.insert_source(timer, move |_, _, _| {
            display.remove_global::<Compositor>(global.clone());
            calloop::timer::TimeoutAction::Drop
        });
        if let Err(error) = removal {
            tracing::debug!(%error, "an output's global stays, disabled");
        }
        self.line_up();
    }

    /// Outputs stand side by side, tops aligned.
    pub(crate) fn line_up(&mut self) {
        let mut x = 0;
        for state in &self.outputs {
            let at = Point::from((x, 0));
            self.space.map_output(&state.output, at);
            state.output.change_current_state(None, None, None, Some(at));
            x += self.space.output_geometry(&state.output).map_or(0, |geometry| geometry.size.w);
        }
        self.pointer_at = self.confine(self.pointer_at, self.pointer_at);
    }

    /// The state of this output.
    pub(crate) fn output_state(&mut self, output: &Output) -> Option<&mut OutputState> {
        self.outputs.iter_mut().find(|state| &state.output == output)
    }

    /// Where the map lies on this output.
    pub(crate) fn placement(&self, output: &Output) -> Placement {
        self.config.settings.placement(&identity(output), self.config.placement)
    }

    /// What the map and the clients have of this output: what layer surfaces keep for themselves is taken off before.
    pub(crate) fn division(&self, output: &Output) -> Option<Division> {
        let whole = self.space.output_geometry(output)?.size;
        let zone = layer_map_for_output(output).non_exclusive_zone();
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
        let wake = self.wake.clone();
        if let Some(state) = self.output_state(output)
            && state.redraw.queue()
        {
            wake.ping();
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
            self.outputs.iter().filter_map(|state| self.space.output_geometry(&state.output)).find(
                |geometry| {
                    let geometry = geometry.to_f64();
                    geometry.contains(point)
                },
            )
        };
        if inside(to).is_some() {
            return to;
        }
        let first = self.outputs.first().and_then(|state| self.space.output_geometry(&state.output));
        let Some(geometry) = inside(from).or(first) else { return to };
        let (left, top) = (f64::from(geometry.loc.x), f64::from(geometry.loc.y));
        let (right, bottom) = (left + f64::from(geometry.size.w - 1), top + f64::from(geometry.size.h - 1));
        Point::from((to.x.max(left).min(right), to.y.max(top).min(bottom)))
    }
}

impl Compositor {
    /// What each output is doing.
    pub fn status(&self) -> Vec<OutputStatus> {
        let mut all = Vec::with_capacity(self.desk.outputs.len());
        for state in &self.desk.outputs {
            let mode = state.output.current_mode();
            let map = if !state.map.visible() || !self.backend.is_active() {
                PlaneUse::Off
            } else if let Some(reason) = state.map.reason() {
                PlaneUse::Composited { reason: reason.to_owned() }
            } else {
                match self.backend.map_plane(&state.output) {
                    Some(plane) => PlaneUse::OnPlane { plane },
                    None => PlaneUse::Composited { reason: "planes are tried with the next frame".into() },
                }
            };
            all.push(OutputStatus {
                identity: identity(&state.output),
                placement: self.desk.placement(&state.output),
                resolution: mode.map_or((0, 0), |mode| (mode.size.w, mode.size.h)),
                refresh_hz: mode.map_or(0.0, |mode| f64::from(mode.refresh) / 1000.0),
                map,
                frames: state.frames,
            });
        }
        all
    }

    /// Gives the map and the windows their places, after anything that decides about them has changed.
    pub(crate) fn arrange(&mut self) {
        let Compositor { backend, desk, .. } = self;
        for state in &desk.outputs {
            layer_map_for_output(&state.output).arrange();
        }
        desk.fit_lock_surfaces();
        let divisions: Vec<_> = desk.outputs.iter().map(|state| desk.division(&state.output)).collect();
        for (state, division) in desk.outputs.iter_mut().zip(divisions) {
            let Some(Division { map: area, .. }) = division else { continue };
            let (output, display) = (&state.output, &mut desk.display);
            state.map.place(area, desk.worker.as_ref(), &mut desk.target_ids, || match area {
                Some(area) => backend.map_buffers(display, output, area.size),
                None => Err("the map is off".into()),
            });
        }
        desk.arrange_windows();
        desk.queue_redraw_all();
    }

    /// An output has appeared.
    pub(crate) fn output_added(&mut self, output: Output) {
        info!(output = output.name(), "output connected");
        let first = self.desk.outputs.is_empty();
        self.desk.add_output(output);
        if first {
            self.center_pointer();
        }
        self.arrange();
        self.desk.refocus();
        self.desk.notify(Notice::Changed);
    }

    /// An output has gone. With none left, everything waits for one to come back.
    pub(crate) fn output_removed(&mut self, output: &Output) {
        info!(output = output.name(), "output disconnected");
        self.desk.remove_output(output);
        self.arrange();
        self.desk.refocus();
        self.desk.notify(Notice::Changed);
    }

    pub(crate) fn center_pointer(&mut self) {
        let first =
            self.desk.outputs.first().and_then(|state| self.desk.space.output_geometry(&state.output));
        if let Some(geometry) = first {
            let middle =
                geometry.loc + smithay::utils::Point::from((geometry.size.w / 4, geometry.size.h / 2));
            self.desk.pointer_at = middle.to_f64();
        }
    }
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

/// Kept with an output whose display has said it.
pub(crate) struct SerialNumber(pub(crate) String);
