//! The display is ours: a libseat session, the seat's cards by DRM/KMS, its input devices by libinput.
//!
//! `card.rs` opens a card and keeps its outputs in step with its connectors, `surface.rs` puts frames on one output, `events.rs`
//! is what the session, udev and the cards tell us.

mod card;
mod connectors;
mod devices;
mod edid;
mod events;
mod surface;

use std::path::{Path, PathBuf};

use calloop::LoopHandle;
use smithay::backend::allocator::dmabuf::Dmabuf;
use smithay::backend::drm::DrmNode;
use smithay::backend::libinput::{LibinputInputBackend, LibinputSessionInterface};
use smithay::backend::renderer::gles::GlesTexture;
use smithay::backend::renderer::{Bind, ImportDma};
use smithay::backend::session::Session;
use smithay::backend::session::libseat::LibSeatSession;
use smithay::backend::udev::{UdevBackend, all_gpus};
use smithay::input::keyboard::LedState;
use smithay::output::Output;
use smithay::reexports::input::{Device, DeviceCapability, Libinput};
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::utils::{Physical, Size};
use smithay::wayland::dmabuf::{DmabufFeedback, DmabufFeedbackBuilder};
use smithay::wayland::drm_syncobj::{DrmSyncobjState, supports_syncobj_eventfd};
use tracing::{debug, info, warn};

use self::card::Card;
use self::surface::Surface;
use super::Changes;
use crate::display::desk::Desk;
use crate::display::error::chain;
use crate::display::map_view::Ring;
use crate::display::redraw::Drawn;
use crate::display::screen_copy::{self, Changed, CopyError, DmabufFormats, Job};
use crate::display::settings::{ModeChoice, Settings};
use crate::display::{Compositor, CompositorConfig, DisplayError, PlanePolicy};
use crate::render::Image;

/// The display and the input devices of one seat.
pub(crate) struct Tty {
    cards: Vec<Card>,
    session: LibSeatSession,
    libinput: Libinput,
    /// Every input device there is, and what they are set to.
    devices: Vec<Device>,
    /// For each card, which buffers are best for windows on its outputs; empty where there is one card only.
    feedbacks: Vec<(DrmNode, DmabufFeedback)>,
    /// The lamps of the keyboards.
    leds: LedState,
    handle: LoopHandle<'static, Compositor>,
    /// The only cards to use, as they were asked for, if some were.
    only: Vec<PathBuf>,
    planes: PlanePolicy,
    /// The card on which clients' timelines are waited for.
    sync_node: Option<DrmNode>,
    /// On our way to another VT, or to the end: nothing is drawn.
    leaving: bool,
}

impl Tty {
    pub(crate) fn open(
        config: &CompositorConfig,
        handle: &LoopHandle<'static, Compositor>,
    ) -> Result<Self, DisplayError> {
        let (session, notifier) =
            LibSeatSession::new().map_err(|error| DisplayError::NoSeat { reason: chain(&error) })?;
        let seat = session.seat();
        let only = config.cards.clone();
        let paths = if only.is_empty() {
            all_gpus(&seat).unwrap_or_default()
        } else {
            only.iter().map(node).collect()
        };
        if paths.is_empty() {
            return Err(DisplayError::NoDrmDevice { seat });
        }
        let mut libinput = Libinput::new_with_udev(LibinputSessionInterface::from(session.clone()));
        libinput.udev_assign_seat(&seat).map_err(|()| DisplayError::Input { seat: seat.clone() })?;
        let mut tty = Self {
            cards: Vec::new(),
            session,
            libinput: libinput.clone(),
            devices: Vec::new(),
            feedbacks: Vec::new(),
            leds: LedState::default(),
            handle: handle.clone(),
            only,
            planes: config.planes,
            sync_node: None,
            leaving: false,
        };
        let mut reasons = Vec::new();
        for path in &paths {
            if let Err(error) = tty.open_card(path) {
                warn!(%error, "a card is not used");
                reasons.push(error.to_string());
            }
        }
        if tty.cards.is_empty() {
            return Err(DisplayError::NoUsableCard { reasons: reasons.join("; ") });
        }
        let setup = |what: &'static str| move |reason: String| DisplayError::Setup { what, reason };
        handle
            .insert_source(notifier, |event, (), compositor: &mut Compositor| {
                compositor.session_event(&event);
            })
            .map_err(|error| setup("watching the seat")(error.to_string()))?;
        handle
            .insert_source(LibinputInputBackend::new(libinput), |event, (), compositor: &mut Compositor| {
                compositor.libinput_event(event);
            })
            .map_err(|error| setup("watching the input devices")(error.to_string()))?;
        let udev = UdevBackend::new(&seat).map_err(|error| setup("watching the cards")(error.to_string()))?;
        handle
            .insert_source(udev, |event, (), compositor: &mut Compositor| compositor.udev_event(event))
            .map_err(|error| setup("watching the cards")(error.to_string()))?;
        Ok(tty)
    }

    /// Connects the outputs that are there, and offers clients GPU buffers.
    pub(super) fn start(&mut self, desk: &mut Desk) -> Vec<Output> {
        let outputs = self.rescan(&desk.config.settings).added;
        if outputs.is_empty() {
            warn!("no display is connected: waiting for one");
        }
        self.choose_sync_card(desk);
        let Some(card) = self.cards.first() else { return outputs };
        // A window may lie on the outputs of any card.
        let mut formats = card.renderer().dmabuf_formats();
        for other in &self.cards[1..] {
            let theirs = other.renderer().dmabuf_formats();
            formats = formats.iter().filter(|format| theirs.contains(format)).copied().collect();
        }
        if self.cards.len() > 1 {
            self.feedbacks = self
                .cards
                .iter()
                .filter_map(|card| {
                    let device = card.render_node().dev_id();
                    let feedback = DmabufFeedbackBuilder::new(device, formats.iter().copied()).build();
                    Some((card.node(), feedback.ok()?))
                })
                .collect();
        }
        match DmabufFeedbackBuilder::new(card.render_node().dev_id(), formats).build() {
            Ok(feedback) => {
                let _global = desk
                    .protocols
                    .dmabuf
                    .create_global_with_default_feedback::<Compositor>(&desk.display, &feedback);
            }
            Err(error) => warn!(%error, "clients get no GPU buffers"),
        }
        outputs
    }

    /// The card on which clients' timelines are waited for. One that is pulled must not be kept open for that.
    fn choose_sync_card(&mut self, desk: &mut Desk) {
        if self.cards.iter().any(|card| Some(card.node()) == self.sync_node) {
            return;
        }
        let able = self.cards.iter().find(|card| supports_syncobj_eventfd(card.device()));
        self.sync_node = able.map(Card::node);
        match (able.map(|card| card.device().clone()), &mut desk.protocols.drm_syncobj) {
            (Some(device), Some(state)) => state.update_device(device),
            (Some(device), state) => *state = Some(DrmSyncobjState::new::<Compositor>(&desk.display, device)),
            (None, state) => {
                if let Some(state) = state.take() {
                    desk.retire(state.into_global());
                }
            }
        }
    }

    fn surface_mut(
        &mut self,
        output: &Output,
    ) -> Option<(&mut Card, smithay::reexports::drm::control::crtc::Handle)> {
        self.cards.iter_mut().find_map(|card| card.crtc_of(output).map(|crtc| (card, crtc)))
    }

    fn surface(&self, output: &Output) -> Option<&Surface> {
        self.cards.iter().find_map(|card| card.crtc_of(output).and_then(|crtc| card.surface(crtc)))
    }

    pub(super) fn draw(&mut self, desk: &mut Desk, output: &Output) -> Drawn {
        if !self.is_active() {
            return Drawn::Skipped;
        }
        match self.surface_mut(output) {
            Some((card, crtc)) => card.draw(desk, crtc),
            None => Drawn::Skipped,
        }
    }

    pub(super) fn map_buffers(
        &mut self,
        display: &mut DisplayHandle,
        output: &Output,
        size: Size<i32, Physical>,
    ) -> Result<Ring, String> {
        match self.surface_mut(output) {
            Some((card, _)) => card.map_buffers(display, size),
            None => Err("the output is not there any more".into()),
        }
    }

    pub(super) fn is_active(&self) -> bool {
        !self.leaving && self.session.is_active()
    }

    pub(super) fn map_plane(&self, output: &Output) -> Option<(u32, u32)> {
        self.surface(output).and_then(Surface::map_plane)
    }

    pub(super) fn import_dmabuf(&mut self, dmabuf: &Dmabuf) -> Result<(), String> {
        if self.cards.is_empty() {
            return Err("no card".into());
        }
        self.cards.iter_mut().try_for_each(|card| {
            card.renderer_mut().import_dmabuf(dmabuf, None).map(drop).map_err(|error| chain(&error))
        })
    }

    /// Which buffers are best for windows on this output, where that is not the same on all.
    pub(super) fn dmabuf_feedback(&self, output: &Output) -> Option<&DmabufFeedback> {
        let card = self.cards.iter().find(|card| card.crtc_of(output).is_some())?;
        self.feedbacks.iter().find(|(node, _)| *node == card.node()).map(|(_, feedback)| feedback)
    }

    pub(super) fn rescan(&mut self, settings: &Settings) -> Changes {
        let mut all = Changes::default();
        for card in &mut self.cards {
            let changes = card.rescan(settings);
            all.added.extend(changes.added);
            all.removed.extend(changes.removed);
        }
        all
    }

    pub(super) fn set_mode(&mut self, output: &Output, choice: Option<&ModeChoice>) -> Result<(), String> {
        if !self.is_active() {
            // It is set when the screen is ours again.
            return Ok(());
        }
        match self.surface_mut(output) {
            Some((card, crtc)) => card.set_mode(crtc, choice),
            None => Ok(()),
        }
    }

    pub(super) fn set_power(&mut self, output: &Output, on: bool) -> Result<(), String> {
        if !self.is_active() {
            // The screen is not ours, and when it is again, only what is on is drawn.
            return Ok(());
        }
        let Some((card, crtc)) = self.surface_mut(output) else { return Ok(()) };
        card.surface_mut(crtc).map_or(Ok(()), |surface| surface.set_power(on))
    }

    pub(super) fn screenshot(&mut self, desk: &mut Desk, output: &Output) -> Result<Image, DisplayError> {
        let (card, _) = self.surface_mut(output).ok_or(DisplayError::NoOutput)?;
        screen_copy::take::<_, GlesTexture>(desk, card.renderer_mut(), output)
    }

    pub(super) fn copy(
        &mut self,
        desk: &mut Desk,
        output: &Output,
        job: Job<'_>,
    ) -> Result<Option<Changed>, CopyError> {
        let (card, _) = self.surface_mut(output).ok_or(CopyError::Failed("the output is gone".into()))?;
        screen_copy::copy::<_, GlesTexture>(desk, card.renderer_mut(), output, job)
    }

    pub(super) fn copy_formats(&self, output: &Output) -> Option<DmabufFormats> {
        let card = self.cards.iter().find(|card| card.crtc_of(output).is_some())?;
        let formats = Bind::<Dmabuf>::supported_formats(card.renderer())?;
        Some(DmabufFormats { device: card.render_node().dev_id(), formats })
    }

    pub(super) fn configure_input(&mut self, settings: &Settings) {
        for device in &mut self.devices {
            devices::configure(device, settings);
        }
    }

    pub(super) fn set_leds(&mut self, leds: LedState) {
        self.leds = leds;
        for device in &mut self.devices {
            if device.has_capability(DeviceCapability::Keyboard) {
                device.led_update(leds.into());
            }
        }
    }

    /// Goes to another VT. Our planes are switched off while we still may: whoever comes next may not know of them.
    pub(super) fn switch_vt(&mut self, vt: i32) {
        if current_vt() == Some(vt) {
            return;
        }
        info!(vt, "going to another virtual terminal");
        self.leaving = true;
        self.planes_off();
        if let Err(error) = self.session.change_vt(vt) {
            warn!(vt, error = chain(&error), "the virtual terminal cannot be switched");
        }
        // If it does not happen (refused, or locked by somebody), carry on here.
        let timer = calloop::timer::Timer::from_duration(std::time::Duration::from_secs(1));
        let armed = self.handle.insert_source(timer, |_, _, compositor: &mut Compositor| {
            compositor.stay_if_still_here();
            calloop::timer::TimeoutAction::Drop
        });
        if armed.is_err() {
            self.leaving = false;
        }
    }

    pub(super) fn shut_down(&mut self) {
        self.leaving = true;
        self.planes_off();
    }

    fn planes_off(&mut self) {
        for card in &mut self.cards {
            card.planes_off();
        }
    }

    /// Whether the card of this node is one of those that were asked for.
    fn is_wanted(&self, path: &Path) -> bool {
        self.only.is_empty() || self.only.iter().any(|asked| node(asked) == path)
    }

    fn card_index(&self, node: DrmNode) -> Option<usize> {
        self.cards.iter().position(|card| card.node() == node)
    }

    /// Opens one more card.
    fn open_card(&mut self, path: &Path) -> Result<&mut Card, DisplayError> {
        let card = Card::open(path, &mut self.session, &self.handle, self.planes)?;
        debug!(card = %path.display(), "card opened");
        self.cards.push(card);
        // The first card is the one whose buffers clients are told to use: keep the order stable.
        self.cards.sort_by_key(|card| card.node().dev_id());
        let at = self.cards.iter().position(|card| card.path() == path).unwrap_or(0);
        Ok(&mut self.cards[at])
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        self.planes_off();
    }
}

/// A card may be named by a link, as in /dev/dri/by-path, but is announced by its node, which may be another after each plug.
fn node(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// The VT in front, as the kernel says.
fn current_vt() -> Option<i32> {
    let name = std::fs::read_to_string("/sys/class/tty/tty0/active").ok()?;
    name.trim().strip_prefix("tty")?.parse().ok()
}
