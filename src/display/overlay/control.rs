//! Opening, closing and using an overlay.

use std::time::Duration;

use calloop::timer::{TimeoutAction, Timer};
use smithay::backend::input::TouchSlot;
use smithay::output::Output;
use smithay::utils::{Logical, Point};
use tracing::warn;

use super::picker::{Outcome, PickerKey};
use super::{Candidate, Content, Overlay, OverlayKind};
use crate::display::{Compositor, Notice};

/// How often the list of processes is made anew while it is to be seen.
const LISTED: Duration = Duration::from_secs(1);
/// What a wheel scrolls by, in rows a click.
const WHEEL: f64 = 3.0;

impl Compositor {
    /// The overlay that is open.
    pub fn overlay(&self) -> Option<OverlayKind> {
        // There is none through a lock.
        self.desk.overlay.as_ref().filter(|_| !self.desk.lock.is_on()).map(Overlay::kind)
    }

    /// Opens an overlay, or closes the one that is open. A picker asks for its processes by [`Notice::List`], now and each second.
    pub fn set_overlay(&mut self, kind: Option<OverlayKind>) {
        if self.overlay() == kind {
            return;
        }
        let output = self.desk.active_output().map(Output::name).unwrap_or_default();
        self.desk.overlay = kind.map(|kind| match kind {
            OverlayKind::Picker => Overlay::picker(output, self.desk.watched),
            OverlayKind::Hotkeys => Overlay::hotkeys(output, &self.desk.config.settings.hotkeys),
        });
        if kind == Some(OverlayKind::Picker) {
            self.list_each_second();
        }
        self.release_repeated_key();
        self.desk.wake.ping();
        self.desk.queue_redraw_all();
        self.desk.notify(Notice::Changed);
    }

    /// An overlay goes with its output.
    pub(crate) fn close_lost_overlay(&mut self) {
        let there =
            |overlay: &Overlay| self.desk.outputs.iter().any(|state| state.output.name() == overlay.output);
        if self.desk.overlay.as_ref().is_some_and(|overlay| !there(overlay)) {
            self.set_overlay(None);
        }
    }

    /// Opens it when it is not open, closes it when it is.
    pub(crate) fn toggle_overlay(&mut self, kind: OverlayKind) {
        let open = self.overlay() == Some(kind);
        self.set_overlay((!open).then_some(kind));
    }

    fn list_each_second(&mut self) {
        if self.desk.listing {
            self.desk.notify(Notice::List);
            return;
        }
        let timer = Timer::immediate();
        let armed = self.desk.handle.insert_source(timer, |_, (), compositor: &mut Compositor| {
            if compositor.overlay() == Some(OverlayKind::Picker) {
                compositor.desk.notify(Notice::List);
                TimeoutAction::ToDuration(LISTED)
            } else {
                compositor.desk.listing = false;
                TimeoutAction::Drop
            }
        });
        match armed {
            Ok(_) => self.desk.listing = true,
            Err(error) => {
                warn!(%error, "the list of processes is made once only");
                self.desk.notify(Notice::List);
            }
        }
    }

    /// The processes for the picker, if it is open.
    pub fn set_candidates(&mut self, candidates: Vec<Candidate>) {
        self.with_picker(|picker| picker.list(candidates));
    }

    /// What became of [`Notice::Watch`]: the picker closes, or says why not.
    pub fn picked(&mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) if self.overlay() == Some(OverlayKind::Picker) => self.set_overlay(None),
            Ok(()) => {}
            Err(reason) => {
                self.with_picker(|picker| picker.refuse(reason));
            }
        }
    }

    /// The process that is watched, which the picker marks.
    pub fn set_watched(&mut self, pid: Option<u32>) {
        self.desk.watched = pid;
    }

    fn with_picker<T>(&mut self, change: impl FnOnce(&mut super::Picker) -> T) -> Option<T> {
        let overlay = self.desk.overlay.as_mut()?;
        let Content::Picker(picker) = &mut overlay.content else { return None };
        let before = picker.clone();
        let outcome = change(picker);
        if *picker != before {
            overlay.changed();
            self.desk.queue_redraw_all();
        }
        Some(outcome)
    }

    /// A key while an overlay is open.
    pub(crate) fn overlay_key(&mut self, key: PickerKey) {
        let escape = key == PickerKey::Escape || key == PickerKey::Enter;
        match self.overlay() {
            Some(OverlayKind::Hotkeys) if escape => self.set_overlay(None),
            Some(OverlayKind::Picker) => {
                if let Some(outcome) = self.with_picker(|picker| picker.key(key)) {
                    self.carry_out(outcome);
                }
            }
            _ => {}
        }
    }

    fn carry_out(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Stay => {}
            Outcome::Close => self.set_overlay(None),
            Outcome::Pick(pid) => self.desk.notify(Notice::Watch(pid)),
        }
    }

    /// What of the overlay is at this point of the screen: a row, only the panel, or nothing.
    fn overlay_at(&self, at: Point<f64, Logical>) -> Option<Option<usize>> {
        let overlay = self.desk.overlay.as_ref()?;
        let state = self.desk.outputs.iter().find(|state| state.output.name() == overlay.output)?;
        let geometry = self.desk.space.output_geometry(&state.output)?;
        overlay.at(at - geometry.loc.to_f64())
    }

    /// The pointer is here: the row under it is chosen.
    pub(crate) fn overlay_pointed(&mut self, at: Point<f64, Logical>) {
        if let Some(Some(row)) = self.overlay_at(at) {
            self.with_picker(|picker| picker.point_at(row));
        }
    }

    /// A click: on a row it picks it, beside the panel it closes it.
    pub(crate) fn overlay_clicked(&mut self, at: Point<f64, Logical>) {
        match self.overlay_at(at) {
            None => self.set_overlay(None),
            Some(None) => {}
            Some(Some(row)) => {
                let picked = self.with_picker(|picker| {
                    picker.point_at(row);
                    picker.pick()
                });
                if let Some(outcome) = picked {
                    self.carry_out(outcome);
                }
            }
        }
    }

    /// The wheel was turned by so many clicks, or fingers moved by as much.
    pub(crate) fn overlay_scrolled(&mut self, clicks: f64) {
        self.desk.overlay_scroll += clicks * WHEEL;
        let rows = self.desk.overlay_scroll.trunc();
        self.desk.overlay_scroll -= rows;
        if rows != 0.0 {
            self.with_picker(|picker| picker.scroll(rows as isize));
        }
    }

    /// A finger comes down; the first one is heard.
    pub(crate) fn overlay_touched(&mut self, slot: TouchSlot, at: Point<f64, Logical>) {
        if let Some(overlay) = &mut self.desk.overlay
            && overlay.finger.is_none()
        {
            overlay.finger = Some((slot.into(), at.y, false));
            self.overlay_pointed(at);
            self.desk.touched_at = at;
        }
    }

    /// A finger that moves up and down takes the list along.
    pub(crate) fn overlay_dragged(&mut self, slot: TouchSlot, at: Point<f64, Logical>) {
        let Some(overlay) = &mut self.desk.overlay else { return };
        let height = overlay.row_height();
        let Some((finger, from, moved)) = &mut overlay.finger else { return };
        let rows = ((*from - at.y) / height).trunc();
        if *finger != i32::from(slot) || rows == 0.0 {
            return;
        }
        *from -= rows * height;
        *moved = true;
        self.with_picker(|picker| picker.scroll(rows as isize));
    }

    /// A finger that is lifted where it came down is a click.
    pub(crate) fn overlay_released(&mut self, slot: TouchSlot) {
        let Some(overlay) = &mut self.desk.overlay else { return };
        if let Some((finger, _, moved)) = overlay.finger
            && finger == i32::from(slot)
        {
            overlay.finger = None;
            if !moved {
                self.overlay_clicked(self.desk.touched_at);
            }
        }
    }
}
