//! Which connector is driven by which CRTC, and what its output is called.

use smithay::backend::drm::DrmDevice;
use smithay::output::{Mode, Output, PhysicalProperties, Subpixel};
use smithay::reexports::drm::control::{Device as _, Mode as DrmMode, ModeTypeFlags, connector, crtc};
use tracing::{debug, warn};

use super::edid::{self, Edid};
use crate::display::outputs::SerialNumber;

/// A connector with a display, and the CRTC that can drive it.
#[derive(Debug, Clone)]
pub(super) struct Wiring {
    pub(super) connector: connector::Info,
    pub(super) crtc: crtc::Handle,
    pub(super) mode: DrmMode,
}

/// The connectors with a display. Those in `driven` keep their CRTC, the others get a free one; one that no CRTC is left for
/// stays dark.
pub(super) fn scan(drm: &DrmDevice, driven: &[(connector::Handle, crtc::Handle)]) -> Vec<Wiring> {
    let resources = match drm.resource_handles() {
        Ok(resources) => resources,
        Err(error) => {
            warn!(%error, "the card's connectors cannot be read");
            return Vec::new();
        }
    };
    let mut connected: Vec<connector::Info> = resources
        .connectors()
        .iter()
        .filter_map(|handle| drm.get_connector(*handle, true).ok())
        .filter(|info| info.interface() != connector::Interface::Writeback)
        .filter(|info| info.state() == connector::State::Connected)
        .collect();
    // Those that are driven choose first.
    connected.sort_by_key(|info| !driven.iter().any(|(handle, _)| *handle == info.handle()));
    let mut used: Vec<crtc::Handle> = Vec::new();
    let mut wirings = Vec::new();
    for info in connected {
        let Some(mode) = preferred(info.modes()) else {
            debug!(connector = name(&info), "a display without a mode");
            continue;
        };
        let kept = driven.iter().find(|(handle, _)| *handle == info.handle()).map(|(_, crtc)| *crtc);
        // What the firmware or the console uses now needs no other wiring.
        let current = info
            .current_encoder()
            .and_then(|encoder| drm.get_encoder(encoder).ok())
            .and_then(|encoder| encoder.crtc());
        let possible = info
            .encoders()
            .iter()
            .filter_map(|encoder| drm.get_encoder(*encoder).ok())
            .flat_map(|encoder| resources.filter_crtcs(encoder.possible_crtcs()));
        let reserved = |crtc: &crtc::Handle| {
            used.contains(crtc)
                || driven.iter().any(|(handle, driven)| driven == crtc && *handle != info.handle())
        };
        match kept.into_iter().chain(current).chain(possible).find(|crtc| !reserved(crtc)) {
            Some(crtc) => {
                used.push(crtc);
                wirings.push(Wiring { connector: info, crtc, mode });
            }
            None => {
                warn!(connector = name(&info), "the card has no CRTC left for this display: it stays dark");
            }
        }
    }
    wirings
}

fn preferred(modes: &[DrmMode]) -> Option<DrmMode> {
    modes.iter().find(|mode| mode.mode_type().contains(ModeTypeFlags::PREFERRED)).or(modes.first()).copied()
}

/// "DP-1", as everywhere. The kernel counts over all cards, so it is the only one of that name.
pub(super) fn name(info: &connector::Info) -> String {
    format!("{}-{}", info.interface().as_str(), info.interface_id())
}

/// The output for this connector, in this mode.
pub(super) fn output(drm: &DrmDevice, wiring: &Wiring) -> Output {
    let info = &wiring.connector;
    let (width, height) = info.size().unwrap_or((0, 0));
    let unknown = || Edid { make: "unknown".into(), model: "unknown".into(), ..Edid::default() };
    let edid = identify(drm, info.handle()).unwrap_or_else(unknown);
    let subpixel = match info.subpixel() {
        connector::SubPixel::HorizontalRgb => Subpixel::HorizontalRgb,
        connector::SubPixel::HorizontalBgr => Subpixel::HorizontalBgr,
        connector::SubPixel::VerticalRgb => Subpixel::VerticalRgb,
        connector::SubPixel::VerticalBgr => Subpixel::VerticalBgr,
        connector::SubPixel::None => Subpixel::None,
        _ => Subpixel::Unknown,
    };
    let output = Output::new(
        name(info),
        PhysicalProperties {
            size: (width as i32, height as i32).into(),
            subpixel,
            make: edid.make,
            model: edid.model,
        },
    );
    output.user_data().insert_if_missing(|| SerialNumber(edid.serial));
    let mode = Mode::from(wiring.mode);
    output.set_preferred(mode);
    output.change_current_state(Some(mode), None, None, None);
    output
}

/// What the display on this connector says of itself.
fn identify(drm: &DrmDevice, connector: connector::Handle) -> Option<Edid> {
    let properties = drm.get_properties(connector).ok()?;
    let blob = properties.iter().find_map(|(handle, value)| {
        let name = drm.get_property(*handle).ok()?;
        (name.name().to_bytes() == b"EDID" && *value != 0).then_some(*value)
    })?;
    edid::parse(&drm.get_property_blob(blob).ok()?)
}
