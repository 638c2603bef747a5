//! Brings the outputs in step with what a person wants of them: mode, place, scale, turn, mirror, and where the map lies.

use smithay::desktop::layer_map_for_output;
use smithay::output::{Output, Scale};
use smithay::utils::{Logical, Point, Rectangle, Transform};
use tracing::{info, warn};

use super::compositor::Notice;
use super::desk::Desk;
use super::map_view::Place;
use super::outputs::{Shown, pixels};
use super::settings::{OutputIdentity, OutputRule, Turn};
use super::wall::{self, Standing};
use super::{Compositor, OutputStatus, Placement, PlaneUse};
use crate::render::Part;

impl Compositor {
    /// An output has appeared.
    pub(crate) fn output_added(&mut self, output: Output) {
        info!(output = output.name(), "output connected");
        let first = self.desk.outputs.is_empty();
        self.desk.add_output(output);
        self.set_up_outputs();
        if first {
            self.center_pointer();
        }
        self.desk.refocus();
        self.tend_kiosk();
        self.desk.notify(Notice::Changed);
    }

    /// An output has gone. With none left, everything waits for one to come back.
    pub(crate) fn output_removed(&mut self, output: &Output) {
        info!(output = output.name(), "output disconnected");
        self.desk.remove_output(output);
        self.set_up_outputs();
        self.desk.refocus();
        self.close_lost_overlay();
        self.desk.notify(Notice::Changed);
    }

    /// Gives every output the mode, the place and all else that its rule says. What the card refuses stays as it was, and the
    /// reason is kept.
    pub(crate) fn set_up_outputs(&mut self) {
        let before: Vec<_> = self.desk.outputs.iter().map(|state| self.desk.shown(&state.output)).collect();
        for at in 0..self.desk.outputs.len() {
            let state = &self.desk.outputs[at];
            let (output, rule) = (state.output.clone(), self.desk.config.settings.rule(&state.identity));
            let refused = self.backend.set_mode(&output, rule.mode.as_ref()).err();
            output.change_current_state(
                None,
                Some(transform(&rule)),
                Some(scale(&rule, self.backend.own_scale())),
                None,
            );
            self.desk.outputs[at].set_problem(refused);
        }
        self.desk.set_mirrors();
        self.desk.line_up();
        let after: Vec<_> = self.desk.outputs.iter().map(|state| self.desk.shown(&state.output)).collect();
        if before.len() != after.len() || before.iter().zip(&after).any(|(old, new)| differ(old, new)) {
            // Another mode, or another display on the card: a plane that was refused may be given now.
            self.desk.outputs.iter_mut().for_each(|state| state.map.retry_planes());
        }
        self.arrange();
        self.check_power();
    }

    /// Gives the map and the windows their places, after anything that decides about them has changed.
    pub(crate) fn arrange(&mut self) {
        for state in &self.desk.outputs {
            layer_map_for_output(&state.output).arrange();
        }
        self.desk.fit_lock_surfaces();
        let places: Vec<Option<Place>> =
            self.desk.outputs.iter().map(|state| self.desk.map_place(&state.output)).collect();
        let Compositor { backend, desk, .. } = self;
        let Desk { outputs, display, worker, target_ids, .. } = desk;
        for (state, place) in outputs.iter_mut().zip(places) {
            let output = &state.output;
            state
                .map
                .place(place, worker.as_ref(), target_ids, |size| backend.map_buffers(display, output, size));
        }
        desk.arrange_windows();
        desk.queue_redraw_all();
    }

    /// What each output is doing.
    pub fn status(&self) -> Vec<OutputStatus> {
        let mut all = Vec::with_capacity(self.desk.outputs.len());
        for state in &self.desk.outputs {
            let mode = state.output.current_mode();
            let map = if !state.map.visible() || !self.backend.is_active() || state.off.is_some() {
                PlaneUse::Off
            } else if let Some(reason) = state.map.reason() {
                PlaneUse::Composited { reason: reason.to_owned() }
            } else {
                match self.backend.map_plane(&state.output) {
                    Some((plane, framebuffer)) => {
                        PlaneUse::OnPlane { plane, framebuffer, dma_buf: state.map.buffer_on_screen() }
                    }
                    None => PlaneUse::Composited { reason: "planes are tried with the next frame".into() },
                }
            };
            let shown = self.desk.shown(&state.output);
            let source = shown.as_ref().map_or(&state.output, |shown| &shown.source);
            let place = shown.as_ref().map_or(Rectangle::default(), |shown| shown.geometry);
            all.push(OutputStatus {
                identity: state.identity.clone(),
                placement: self.desk.placement(source),
                resolution: mode.map_or((0, 0), |mode| (mode.size.w, mode.size.h)),
                refresh_hz: mode.map_or(0.0, |mode| f64::from(mode.refresh) / 1000.0),
                position: (place.loc.x, place.loc.y),
                scale: shown.as_ref().map_or(1.0, |shown| shown.scale),
                turn: turn(state.output.current_transform()),
                mirrors: state.mirrors.as_ref().map(Output::name),
                off: state.off.map(|off| off.to_string()),
                problem: state.problem.clone(),
                map,
                frames: state.frames,
                latency: state.latencies.summary(),
                program: self.desk.kiosk.status(&state.identity.key()),
            });
        }
        all
    }

    pub(crate) fn center_pointer(&mut self) {
        let first = self.desk.outputs.iter().find_map(|state| self.desk.space.output_geometry(&state.output));
        if let Some(geometry) = first {
            let middle = geometry.loc + Point::from((geometry.size.w / 4, geometry.size.h / 2));
            self.desk.pointer_at = middle.to_f64();
        }
    }
}

impl Desk {
    /// Who mirrors whom, and who is known to clients.
    fn set_mirrors(&mut self) {
        let all: Vec<(Output, OutputIdentity, OutputRule)> = self
            .outputs
            .iter()
            .map(|state| {
                (state.output.clone(), state.identity.clone(), self.config.settings.rule(&state.identity))
            })
            .collect();
        for (at, (output, _, rule)) in all.iter().enumerate() {
            let found = rule.mirror.as_ref().map(|name| {
                all.iter()
                    .find(|(other, identity, rule)| {
                        other != output && rule.mirror.is_none() && identity.is_called(name)
                    })
                    .map(|(source, _, _)| source.clone())
                    .ok_or_else(|| format!("there is no other output {name} to mirror"))
            });
            let state = &mut self.outputs[at];
            let mirrors = match found.transpose() {
                Ok(mirrors) => mirrors,
                Err(reason) => {
                    state.set_problem(Some(reason));
                    None
                }
            };
            let global = match (&mirrors, state.global.take()) {
                (None, None) => Some(output.create_global::<Compositor>(&self.display)),
                (None, global) => global,
                (Some(_), global) => {
                    self.space.unmap_output(output);
                    if let Some(global) = global {
                        self.retire(global);
                    }
                    None
                }
            };
            let state = &mut self.outputs[at];
            state.global = global;
            state.mirrors = mirrors;
        }
    }

    /// Gives the outputs their places on the desk.
    fn line_up(&mut self) {
        let settings = &self.config.settings;
        let standing: Vec<(usize, Standing)> = self
            .outputs
            .iter()
            .enumerate()
            .filter(|(_, state)| state.mirrors.is_none())
            .map(|(at, state)| {
                let wish = settings.rule(&state.identity).position.map(|[x, y]| Point::from((x, y)));
                let scale = state.output.current_scale().fractional_scale();
                let size =
                    pixels(&state.output).unwrap_or_default().to_f64().to_logical(scale).to_i32_round();
                (at, (wish, size))
            })
            .collect();
        let wishes: Vec<Standing> = standing.iter().map(|(_, standing)| *standing).collect();
        for ((at, _), (place, refused)) in standing.iter().zip(wall::stand(&wishes)) {
            let state = &mut self.outputs[*at];
            self.space.map_output(&state.output, place);
            state.output.change_current_state(None, None, None, Some(place));
            if refused {
                state.set_problem(Some(
                    "another output stands where it is to stand: it stands to the right".into(),
                ));
            }
        }
        // A mirror draws the other's part of the desk at the scale that makes it fit.
        let mirrors: Vec<(Output, f64)> = self
            .outputs
            .iter()
            .filter(|state| state.mirrors.is_some())
            .filter_map(|state| Some((state.output.clone(), self.shown(&state.output)?.scale)))
            .collect();
        for (output, scale) in mirrors {
            output.change_current_state(None, None, Some(Scale::Fractional(scale)), None);
        }
        self.pointer_at = self.confine(self.pointer_at, self.pointer_at);
    }

    /// Where the map lies on this output, in its part of the desk.
    fn map_area(&self, shown: &Shown) -> Option<Rectangle<i32, Logical>> {
        self.division(&shown.source)?.map
    }

    /// Where the map lies on this display, and what of it.
    fn map_place(&self, output: &Output) -> Option<Place> {
        let shown = self.shown(output)?;
        let area = self.map_area(&shown)?;
        let mut pixels = area.to_f64().to_physical(shown.scale).to_i32_round();
        pixels.loc += shown.origin;
        let rule = self.config.settings.rule(&super::outputs::identity(&shown.source));
        let opacity = match self.placement(&shown.source) {
            Placement::Over => rule.opacity.or(self.config.settings.opacity).unwrap_or(1.0),
            _ => 1.0,
        };
        Some(Place { area, pixels, part: self.map_part(&shown, area), opacity: opacity as f32 })
    }

    /// Which part of its span's map this output shows.
    fn map_part(&self, shown: &Shown, area: Rectangle<i32, Logical>) -> Option<Part> {
        let span = self.config.settings.span(&super::outputs::identity(&shown.source))?;
        let areas: Vec<Rectangle<i32, Logical>> = self
            .outputs
            .iter()
            .filter(|state| {
                state.mirrors.is_none() && self.config.settings.span(&state.identity) == Some(span)
            })
            .filter_map(|state| {
                let shown = self.shown(&state.output)?;
                let mut area = self.map_area(&shown)?;
                area.loc += shown.geometry.loc;
                Some(area)
            })
            .collect();
        let mut area = area;
        area.loc += shown.geometry.loc;
        (areas.len() > 1).then(|| wall::part(area, &areas, shown.scale))
    }
}

impl super::outputs::OutputState {
    fn set_problem(&mut self, problem: Option<String>) {
        if let Some(reason) = problem.as_ref().filter(|_| problem != self.problem) {
            warn!(output = self.output.name(), reason, "an output is not as it is configured");
        }
        self.problem = problem;
    }
}

fn differ(old: &Option<Shown>, new: &Option<Shown>) -> bool {
    let facts = |shown: &Option<Shown>| {
        shown
            .as_ref()
            .map(|shown| (shown.source.clone(), shown.source.current_mode(), shown.geometry, shown.origin))
    };
    facts(old) != facts(new)
}

fn scale(rule: &OutputRule, own: f64) -> Scale {
    match rule.scale.unwrap_or(own) {
        whole if whole.fract() == 0.0 => Scale::Integer(whole as i32),
        fractional => Scale::Fractional(fractional),
    }
}

const TURNS: [(Turn, Transform); 8] = [
    (Turn::Normal, Transform::Normal),
    (Turn::Quarter, Transform::_90),
    (Turn::Half, Transform::_180),
    (Turn::ThreeQuarters, Transform::_270),
    (Turn::Flipped, Transform::Flipped),
    (Turn::FlippedQuarter, Transform::Flipped90),
    (Turn::FlippedHalf, Transform::Flipped180),
    (Turn::FlippedThreeQuarters, Transform::Flipped270),
];

fn transform(rule: &OutputRule) -> Transform {
    let wanted = rule.transform.unwrap_or_default();
    TURNS.iter().find(|(turn, _)| *turn == wanted).map_or(Transform::Normal, |(_, transform)| *transform)
}

fn turn(transform: Transform) -> Turn {
    TURNS.iter().find(|(_, other)| *other == transform).map_or(Turn::Normal, |(turn, _)| *turn)
}
