//! What the session, udev, the cards and the input devices tell us.

use smithay::backend::drm::{DrmEvent, DrmEventMetadata, DrmNode};
use smithay::backend::input::InputEvent;
use smithay::backend::libinput::LibinputInputBackend;
use smithay::backend::session::{Event as SessionEvent, Session};
use smithay::backend::udev::UdevEvent;
use smithay::output::Output;
use tracing::{info, warn};

use super::Tty;
use crate::display::Compositor;
use crate::display::backend::{Backend, Changes};
use crate::display::error::chain;

impl Compositor {
    fn tty(&mut self) -> Option<&mut Tty> {
        match &mut self.backend {
            Backend::Tty(tty) => Some(tty),
            Backend::Nested(_) | Backend::Headless(_) => None,
        }
    }

    pub(super) fn libinput_event(&mut self, mut event: InputEvent<LibinputInputBackend>) {
        if let (Backend::Tty(tty), settings) = (&mut self.backend, &self.desk.config.settings) {
            match &mut event {
                InputEvent::DeviceAdded { device } => {
                    super::devices::configure(device, settings);
                    tty.devices.push(device.clone());
                    tty.set_leds(tty.leds);
                    if let Some(output) = device.output_name() {
                        self.devices.belongs_to(device.sysname().to_owned(), output.to_owned());
                    }
                }
                InputEvent::DeviceRemoved { device } => tty.devices.retain(|known| known != device),
                _ => {}
            }
        }
        self.input(event);
    }

    pub(super) fn session_event(&mut self, event: &SessionEvent) {
        match event {
            SessionEvent::PauseSession => {
                info!("the session is paused");
                let Some(tty) = self.tty() else { return };
                tty.libinput.suspend();
                for card in &mut tty.cards {
                    card.pause();
                }
                for state in &mut self.desk.outputs {
                    state.redraw.reset();
                }
            }
            SessionEvent::ActivateSession => {
                info!("the session is active");
                let Some(tty) = self.tty() else { return };
                if tty.libinput.resume().is_err() {
                    warn!("the input devices did not come back");
                }
                self.come_back();
            }
        }
    }

    /// A VT switch that was asked for has not happened.
    pub(super) fn stay_if_still_here(&mut self) {
        if let Some(tty) = self.tty()
            && tty.leaving
            && tty.session.is_active()
        {
            self.come_back();
        }
    }

    /// The screen is ours (again): whatever is on it is drawn anew, and planes are tried after the first frame.
    fn come_back(&mut self) {
        let Some(tty) = self.tty() else { return };
        tty.leaving = false;
        for card in &mut tty.cards {
            card.activate();
        }
        for state in &mut self.desk.outputs {
            state.redraw.reset();
            state.map.screen_lost(self.desk.worker.as_ref());
        }
        // Displays may have been plugged, and settings changed, while nobody was looking.
        self.rescan();
        self.set_up_outputs();
        self.desk.queue_redraw_all();
    }

    fn apply(&mut self, changes: Changes) {
        for output in &changes.removed {
            self.output_removed(output);
        }
        for output in changes.added {
            self.output_added(output);
        }
    }

    pub(super) fn udev_event(&mut self, event: UdevEvent) {
        let Compositor { backend: Backend::Tty(tty), desk, .. } = self else { return };
        let settings = &desk.config.settings;
        match event {
            UdevEvent::Added { device_id, path } => {
                let known = DrmNode::from_dev_id(device_id).ok().and_then(|node| tty.card_index(node));
                if known.is_some() || !tty.is_wanted(&path) {
                    return;
                }
                match tty.open_card(&path) {
                    Ok(card) => {
                        let changes = card.rescan(settings);
                        tty.choose_sync_card(desk);
                        self.apply(changes);
                    }
                    Err(error) => warn!(%error, "a new card is not used"),
                }
            }
            UdevEvent::Changed { device_id } => {
                let known = DrmNode::from_dev_id(device_id).ok().and_then(|node| tty.card_index(node));
                if let Some(at) = known {
                    let changes = tty.cards[at].rescan(settings);
                    self.apply(changes);
                }
            }
            UdevEvent::Removed { device_id } => {
                // Its node may be gone already, so it is compared by number.
                let at = tty.cards.iter().position(|card| card.node().dev_id() == device_id);
                if let Some(at) = at {
                    let card = tty.cards.remove(at);
                    warn!(card = %card.path().display(), "a card is gone");
                    tty.handle.remove(card.token());
                    let outputs: Vec<Output> = card.outputs().cloned().collect();
                    tty.choose_sync_card(desk);
                    card.close(&mut tty.session);
                    self.apply(Changes { added: Vec::new(), removed: outputs });
                }
            }
        }
    }

    pub(super) fn drm_event(&mut self, node: DrmNode, event: DrmEvent, metadata: Option<DrmEventMetadata>) {
        let crtc = match event {
            DrmEvent::VBlank(crtc) => crtc,
            DrmEvent::Error(error) => {
                warn!(error = chain(&error), "a card's events cannot be read");
                return;
            }
        };
        let Compositor { backend: Backend::Tty(tty), desk, .. } = self else { return };
        let Some(at) = tty.card_index(node) else { return };
        let Some(surface) = tty.cards[at].surface_mut(crtc) else { return };
        let output = surface.output().clone();
        let again = surface.presented(desk, metadata.as_ref());
        if again {
            desk.queue_redraw(&output);
        }
        self.vblank(&output);
    }
}
