//! What a person looks at on the map: pointed at, zoomed into, moved along, or kept where the most is written.

use tracing::warn;

use super::state::Session;
use super::watching::Watched;
use super::words;
use crate::Result;
use crate::display::{Compositor, MapCommand, MapPointer};
use crate::ipc::AddressRange;
use crate::system::{Gesture, Pipeline, PointerAt};

impl Watched {
    /// The addresses that its map shows; none while that is all.
    pub(super) fn zoom(&self) -> Option<AddressRange> {
        self.pipeline.zoomed().map(|range| AddressRange { start: range.start, end: range.end })
    }
}

impl Session {
    /// The pointer does something on the map.
    pub(super) fn map_pointer(&mut self, compositor: &mut Compositor, pointer: MapPointer) {
        if self.frozen.is_some() {
            return;
        }
        // The map under the pointer may be that of another process, in another mode.
        let output = compositor.pointed_at();
        let pid = output.as_ref().map_or(self.views.main, |output| self.view(output));
        let mode = output.as_ref().map_or(self.config.mode, |output| self.mode_of(output));
        let mut changed = false;
        for watched in &mut self.watched {
            let here = Some(watched.pid()) == pid;
            let pipeline = &mut watched.pipeline;
            if here && matches!(pointer, MapPointer::Moved(_)) {
                pipeline.view_mut().mode = words::mode(mode);
            }
            let gesture = pointed(pipeline, pointer, here);
            changed |= told(gesture).unwrap_or(Gesture::Changed) != Gesture::Nothing;
        }
        if changed {
            self.show(compositor);
            self.publish(compositor);
        }
    }

    /// A key asks for another part of the map of the output that has the keyboard.
    pub(super) fn look_at_part(&mut self, compositor: &mut Compositor, command: MapCommand) {
        let output = compositor.active();
        let pid = output.as_ref().map_or(self.views.main, |output| self.view(output));
        if self.frozen.is_some() {
            return;
        }
        let Some(watched) = self.watched.iter_mut().find(|watched| Some(watched.pid()) == pid) else {
            return;
        };
        let pipeline = &mut watched.pipeline;
        told(match command {
            MapCommand::ZoomIn => pipeline.zoom(true),
            MapCommand::ZoomOut => pipeline.zoom(false),
            MapCommand::Back => pipeline.pan(-1),
            MapCommand::Forward => pipeline.pan(1),
            MapCommand::Whole => {
                pipeline.zoom_out();
                Ok(())
            }
            MapCommand::FollowHottest => pipeline.follow_hottest(!pipeline.follows_hottest()),
        });
        self.show(compositor);
        self.publish(compositor);
    }

    /// The session's own map stays where the most is written, or no more; the other of what it does without a word.
    pub(super) fn follow_hottest(
        &mut self,
        compositor: &mut Compositor,
        follow: Option<bool>,
    ) -> std::result::Result<(), String> {
        let watched = self.main_mut().ok_or("nothing is watched: `memory-glass msg watch` comes first")?;
        let follow = follow.unwrap_or(!watched.pipeline.follows_hottest());
        watched.pipeline.follow_hottest(follow).map_err(|error| error.to_string())?;
        self.show(compositor);
        self.publish(compositor);
        Ok(())
    }
}

/// What the pointer, which is on the map of this process or not, does there.
fn pointed(pipeline: &mut Pipeline, pointer: MapPointer, here: bool) -> Result<Gesture> {
    Ok(match pointer {
        // What the pointer has left is told so, too, and what is let go somewhere else.
        MapPointer::Moved(point) => {
            let point = point.filter(|_| here);
            return pipeline.pointer_moved(point.map(|point| PointerAt { whole: point.whole, at: point.at }));
        }
        MapPointer::Pressed { down, moving } if here || !down => pipeline.pointer_pressed(down, moving),
        MapPointer::Scrolled { down, right } if here => {
            if right.abs() > down.abs() {
                pipeline.pan(right.signum() as i64)?;
            } else {
                pipeline.zoom(down < 0.0)?;
            }
            Gesture::Changed
        }
        MapPointer::Pressed { .. } | MapPointer::Scrolled { .. } => Gesture::Nothing,
    })
}

fn told<T>(outcome: Result<T>) -> Option<T> {
    outcome.inspect_err(|error| warn!(%error, "this stretch of memory cannot be shown")).ok()
}
