//! One card: its device, its renderer, and an output for every connector with a display.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use calloop::{LoopHandle, RegistrationToken};
use smithay::backend::allocator::gbm::{GbmAllocator, GbmBufferFlags, GbmDevice};
use smithay::backend::drm::{DrmDevice, DrmDeviceFd, DrmNode, NodeType};
use smithay::backend::egl::{EGLContext, EGLDisplay};
use smithay::backend::renderer::gles::GlesRenderer;
use smithay::backend::session::Session;
use smithay::backend::session::libseat::LibSeatSession;
use smithay::output::Output;
use smithay::reexports::drm::Device as _;
use smithay::reexports::drm::control::{Device as _, crtc};
use smithay::reexports::rustix::fs::OFlags;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::utils::{DeviceFd, Physical, Size};
use tracing::{debug, info, warn};

use super::connectors::{self, Wiring};
use super::surface::{PlaneRule, Surface};
use crate::display::backend::Changes;
use crate::display::desk::Desk;
use crate::display::error::chain;
use crate::display::map_buffers;
use crate::display::map_view::Ring;
use crate::display::redraw::Drawn;
use crate::display::settings::{ModeChoice, Settings};
use crate::display::{Compositor, DisplayError, PlanePolicy};

/// One card of the seat.
pub(super) struct Card {
    // Dropped in this order: outputs before the renderer, everything before the device.
    surfaces: HashMap<crtc::Handle, Surface>,
    renderer: GlesRenderer,
    gbm: GbmDevice<DrmDeviceFd>,
    drm: DrmDevice,
    node: DrmNode,
    render_node: DrmNode,
    path: PathBuf,
    plane_rule: PlaneRule,
    token: RegistrationToken,
}

impl Card {
    pub(super) fn open(
        path: &Path,
        session: &mut LibSeatSession,
        handle: &LoopHandle<'static, Compositor>,
        planes: PlanePolicy,
    ) -> Result<Self, DisplayError> {
        let failed = |reason: String| DisplayError::Card { card: path.to_owned(), reason };
        if !path.exists() {
            return Err(failed("it does not exist: `ls /dev/dri/card*` lists those that do".into()));
        }
        let fd = open_device(path, session).map_err(|reason| {
            failed(format!(
                "the seat does not give it to us: {reason}; is another display server active on this VT?"
            ))
        })?;
        let (drm, notifier) = DrmDevice::new(fd.clone(), true).map_err(|error| {
            failed(format!("it cannot be used for display ({}): choose another with `--card`", chain(&error)))
        })?;
        if !drm.is_atomic() {
            return Err(failed("its driver has no atomic mode setting: use a newer kernel or driver".into()));
        }
        if drm.resource_handles().is_ok_and(|resources| resources.connectors().is_empty()) {
            return Err(failed("it has no connectors: choose another with `--card`".into()));
        }
        let node = DrmNode::from_file(&fd).map_err(|error| failed(format!("it has no DRM node: {error}")))?;
        let render_node = node.node_with_type(NodeType::Render).and_then(Result::ok).unwrap_or(node);
        let gbm = GbmDevice::new(fd).map_err(|error| {
            failed(format!("GBM cannot be opened on it ({error}): install libgbm1 and libgl1-mesa-dri"))
        })?;
        let renderer = open_renderer(&gbm).map_err(|reason| {
            failed(format!(
                "EGL or OpenGL ES fails on it ({reason}): install libegl1, libegl-mesa0 and libgles2"
            ))
        })?;
        let driver =
            drm.get_driver().map(|driver| driver.name().to_string_lossy().to_lowercase()).unwrap_or_default();
        info!(card = %path.display(), driver, "card");
        let plane_rule = match planes {
            PlanePolicy::Never => PlaneRule::Never("overlay planes are switched off"),
            PlanePolicy::Auto if driver.contains("nvidia") => {
                PlaneRule::Never("overlay planes of the nvidia driver show artefacts")
            }
            PlanePolicy::Auto => PlaneRule::Try,
        };
        let token = handle
            .insert_source(notifier, move |event, metadata, compositor: &mut Compositor| {
                compositor.drm_event(node, event, metadata.take());
            })
            .map_err(|error| failed(format!("its events cannot be watched: {error}")))?;
        Ok(Self {
            surfaces: HashMap::new(),
            renderer,
            gbm,
            drm,
            node,
            render_node,
            path: path.to_owned(),
            plane_rule,
            token,
        })
    }

    pub(super) fn node(&self) -> DrmNode {
        self.node
    }

    pub(super) fn render_node(&self) -> DrmNode {
        self.render_node
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn token(&self) -> RegistrationToken {
        self.token
    }

    pub(super) fn device(&self) -> &DrmDeviceFd {
        self.drm.device_fd()
    }

    pub(super) fn renderer(&self) -> &GlesRenderer {
        &self.renderer
    }

    pub(super) fn renderer_mut(&mut self) -> &mut GlesRenderer {
        &mut self.renderer
    }

    pub(super) fn crtc_of(&self, output: &Output) -> Option<crtc::Handle> {
        self.surfaces.iter().find(|(_, surface)| surface.output() == output).map(|(crtc, _)| *crtc)
    }

    pub(super) fn surface(&self, crtc: crtc::Handle) -> Option<&Surface> {
        self.surfaces.get(&crtc)
    }

    pub(super) fn surface_mut(&mut self, crtc: crtc::Handle) -> Option<&mut Surface> {
        self.surfaces.get_mut(&crtc)
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.surfaces.values().map(Surface::output)
    }

    pub(super) fn draw(&mut self, desk: &mut Desk, crtc: crtc::Handle) -> Drawn {
        if !self.drm.is_active() {
            return Drawn::Skipped;
        }
        match self.surfaces.get_mut(&crtc) {
            Some(surface) => surface.draw(desk, &mut self.renderer),
            None => Drawn::Skipped,
        }
    }

    pub(super) fn map_buffers(
        &self,
        display: &mut DisplayHandle,
        size: Size<i32, Physical>,
    ) -> Result<Ring, String> {
        map_buffers::allocate(display, &self.gbm, self.node, size)
    }

    /// Gives an output this mode, or the one that its display prefers.
    pub(super) fn set_mode(&mut self, crtc: crtc::Handle, choice: Option<&ModeChoice>) -> Result<(), String> {
        let Some(surface) = self.surfaces.get_mut(&crtc) else { return Ok(()) };
        let info = self
            .drm
            .get_connector(surface.connector(), false)
            .map_err(|error| format!("its modes cannot be read: {error}"))?;
        surface.use_mode(connectors::choose(info.modes(), choice)?)
    }

    /// Brings outputs and connectors in step.
    pub(super) fn rescan(&mut self, settings: &Settings) -> Changes {
        let mut changes = Changes::default();
        if !self.drm.is_active() {
            return changes;
        }
        let driven: Vec<_> =
            self.surfaces.iter().map(|(crtc, surface)| (surface.connector(), *crtc)).collect();
        let wirings = connectors::scan(&self.drm, &driven, settings);
        let stays = |crtc: &crtc::Handle, surface: &Surface| {
            wirings
                .iter()
                .any(|wiring| wiring.crtc == *crtc && wiring.connector.handle() == surface.connector())
        };
        self.surfaces.retain(|crtc, surface| {
            let stays = stays(crtc, surface);
            if !stays {
                changes.removed.push(surface.output().clone());
            }
            stays
        });
        for wiring in &wirings {
            if self.surfaces.contains_key(&wiring.crtc) {
                continue;
            }
            match self.connect(wiring) {
                Ok(surface) => {
                    changes.added.push(surface.output().clone());
                    self.surfaces.insert(wiring.crtc, surface);
                }
                Err(reason) => warn!(
                    card = %self.path.display(), connector = connectors::name(&wiring.connector), reason,
                    "a display cannot be used"
                ),
            }
        }
        changes
    }

    fn connect(&mut self, wiring: &Wiring) -> Result<Surface, String> {
        let drm_surface = self
            .drm
            .create_surface(wiring.crtc, wiring.mode, &[wiring.connector.handle()])
            .map_err(|error| chain(&error))?;
        let output = connectors::output(&self.drm, wiring);
        let flags = GbmBufferFlags::RENDERING | GbmBufferFlags::SCANOUT;
        let allocator = GbmAllocator::new(self.gbm.clone(), flags);
        let formats = self.renderer.egl_context().dmabuf_render_formats().clone();
        Surface::new(
            output,
            wiring.connector.handle(),
            wiring.mode,
            drm_surface,
            allocator,
            &self.gbm,
            self.node,
            formats,
            self.drm.cursor_size(),
            self.plane_rule,
        )
    }

    /// Switches overlay and cursor planes off, as far as the card is still ours.
    pub(super) fn planes_off(&mut self) {
        if self.drm.is_active() {
            for surface in self.surfaces.values() {
                surface.planes_off();
            }
        }
    }

    /// The card is not there any more. What the seat has opened, the seat has to close, or it keeps it for ever.
    pub(super) fn close(self, session: &mut LibSeatSession) {
        let (path, fd) = (self.path.clone(), self.drm.device_fd().clone());
        drop(self);
        let device = fd.device_fd();
        drop(fd);
        let closed: Result<OwnedFd, DeviceFd> = device.try_into();
        match closed {
            Ok(fd) => {
                if let Err(error) = session.close(fd) {
                    debug!(card = %path.display(), error = chain(&error), "the seat does not close the card");
                }
            }
            Err(_) => debug!(card = %path.display(), "the card is still in use by a client's buffers"),
        }
    }

    /// The session is gone: nothing may be sent to the card.
    pub(super) fn pause(&mut self) {
        self.drm.pause();
    }

    /// The session is back. What others have left on the card is cleared, then everything is set anew.
    pub(super) fn activate(&mut self) {
        if let Err(error) = self.drm.activate(true) {
            warn!(card = %self.path.display(), error = chain(&error), "the card did not come back cleanly");
        }
        for surface in self.surfaces.values_mut() {
            surface.start_over();
        }
    }
}

/// A seat that was opened a moment ago may not be active yet, and then gives no devices.
fn open_device(path: &Path, session: &mut LibSeatSession) -> Result<DrmDeviceFd, String> {
    const PATIENCE: u32 = 20;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let mut tries = 0;
    loop {
        match session.open(path, flags) {
            Ok(fd) => return Ok(DrmDeviceFd::new(DeviceFd::from(fd))),
            Err(error) if session.is_active() || tries == PATIENCE => return Err(chain(&error)),
            Err(error) => {
                debug!(error = chain(&error), "the seat is not active yet");
                tries += 1;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn open_renderer(gbm: &GbmDevice<DrmDeviceFd>) -> Result<GlesRenderer, String> {
    // SAFETY: nothing else in this process makes an EGL display of this GBM device or terminates it.
    let display = unsafe { EGLDisplay::new(gbm.clone()) }.map_err(|error| chain(&error))?;
    let context = EGLContext::new(&display).map_err(|error| chain(&error))?;
    // SAFETY: the context was just made, and is current on no thread; only this renderer uses it.
    unsafe { GlesRenderer::new(context) }.map_err(|error| chain(&error))
}
