//! Which connector is driven by which CRTC, and what its output is called.

use smithay::backend::drm::DrmDevice;
use smithay::output::{Mode, Output, PhysicalProperties, Subpixel};
use smithay::reexports::drm::control::{
    Device as _, Mode as DrmMode, ModeFlags, ModeTypeFlags, connector, crtc,
};
use tracing::{debug, warn};

use super::edid::{self, Edid};
use crate::display::outputs::SerialNumber;
use crate::display::settings::{ModeChoice, Modeline, OutputIdentity, Settings};

/// A connector with a display, and the CRTC that can drive it.
#[derive(Debug, Clone)]
pub(super) struct Wiring {
    pub(super) connector: connector::Info,
    pub(super) crtc: crtc::Handle,
    pub(super) mode: DrmMode,
}

/// The connectors with a display, without those that a rule leaves out. Those in `driven` keep their CRTC, the others get a free one; one that no CRTC is left for
/// stays dark.
pub(super) fn scan(
    drm: &DrmDevice,
    driven: &[(connector::Handle, crtc::Handle)],
    settings: &Settings,
) -> Vec<Wiring> {
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
        .filter(|info| settings.rule(&identity(drm, info)).enabled != Some(false))
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

/// The mode that a person asks for, among those of the display or as they wrote it.
pub(super) fn choose(modes: &[DrmMode], choice: Option<&ModeChoice>) -> Result<DrmMode, String> {
    match choice {
        None => preferred(modes).ok_or_else(|| "the display has no mode".into()),
        Some(ModeChoice::Custom(line)) => Ok(written_out(line)),
        Some(ModeChoice::Listed { width, height, refresh_mhz }) => {
            let rate = |mode: &DrmMode| Mode::from(*mode).refresh.unsigned_abs();
            let fitting = modes.iter().filter(|mode| mode.size() == (*width, *height));
            let found = match refresh_mhz {
                None => fitting.max_by_key(|mode| rate(mode)),
                Some(wanted) => fitting
                    .filter(|mode| rate(mode).abs_diff(*wanted) <= NEAR)
                    .min_by_key(|mode| rate(mode).abs_diff(*wanted)),
            };
            found.copied().ok_or_else(|| {
                let mut all: Vec<String> = modes
                    .iter()
                    .map(|mode| {
                        let (width, height) = mode.size();
                        format!("{width}x{height}@{:.2}", f64::from(rate(mode)) / 1000.0)
                    })
                    .collect();
                all.dedup();
                format!("the display has no mode {}: it has {}", choice_words(choice), all.join(", "))
            })
        }
    }
}

/// "60" is meant by many who have 59.94 Hz, and "59.94" by few who have 60.
const NEAR: u32 = 500;

fn choice_words(choice: Option<&ModeChoice>) -> String {
    choice.map_or_else(String::new, ToString::to_string)
}

/// A mode in the kernel's form.
fn written_out(line: &Modeline) -> DrmMode {
    let (h, v) = (line.horizontal, line.vertical);
    let sync = |positive: bool, high: ModeFlags, low: ModeFlags| if positive { high } else { low };
    let flags = sync(line.positive_hsync, ModeFlags::PHSYNC, ModeFlags::NHSYNC)
        | sync(line.positive_vsync, ModeFlags::PVSYNC, ModeFlags::NVSYNC);
    let mut name = [0; 32];
    for (to, from) in name.iter_mut().zip(format!("{}x{}", h[0], v[0]).bytes()) {
        *to = from as std::ffi::c_char;
    }
    DrmMode::from(drm_ffi::drm_mode_modeinfo {
        clock: line.clock_khz,
        hdisplay: h[0],
        hsync_start: h[1],
        hsync_end: h[2],
        htotal: h[3],
        hskew: 0,
        vdisplay: v[0],
        vsync_start: v[1],
        vsync_end: v[2],
        vtotal: v[3],
        vscan: 0,
        vrefresh: (line.refresh_mhz() + 500) / 1000,
        flags: flags.bits(),
        type_: ModeTypeFlags::USERDEF.bits(),
        name,
    })
}

fn preferred(modes: &[DrmMode]) -> Option<DrmMode> {
    modes.iter().find(|mode| mode.mode_type().contains(ModeTypeFlags::PREFERRED)).or(modes.first()).copied()
}

/// "DP-1", as everywhere. The kernel counts over all cards, so it is the only one of that name.
pub(super) fn name(info: &connector::Info) -> String {
    format!("{}-{}", info.interface().as_str(), info.interface_id())
}

/// What tells the output for this connector from others.
fn identity(drm: &DrmDevice, info: &connector::Info) -> OutputIdentity {
    let Edid { make, model, serial } = identify(drm, info.handle()).unwrap_or_else(unknown);
    OutputIdentity { connector: name(info), make, model, serial }
}

fn unknown() -> Edid {
    Edid { make: "unknown".into(), model: "unknown".into(), ..Edid::default() }
}

/// The output for this connector, in this mode.
pub(super) fn output(drm: &DrmDevice, wiring: &Wiring) -> Output {
    let info = &wiring.connector;
    let (width, height) = info.size().unwrap_or((0, 0));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(text: &str) -> ModeChoice {
        ModeChoice::try_from(text.to_owned()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn written(text: &str) -> DrmMode {
        let ModeChoice::Custom(line) = mode(text) else { panic!("{text}") };
        written_out(&line)
    }

    #[test]
    fn the_nearest_mode_is_taken_and_none_that_was_not_asked_for() {
        let modes = [
            written("148.500 1920 2008 2052 2200 1080 1084 1089 1125 +hsync +vsync"),
            written("148.352 1920 2008 2052 2200 1080 1084 1089 1125 +hsync +vsync"),
            written("123.750 1920 2448 2492 2640 1080 1084 1089 1125 +hsync +vsync"),
            written("25.175 640 656 752 800 480 490 492 525 -hsync -vsync"),
        ];
        let rate = |text: &str| choose(&modes, Some(&mode(text))).map(|mode| Mode::from(mode).refresh);
        assert_eq!(rate("1920x1080"), Ok(60_000));
        assert_eq!(rate("1920x1080@59.94"), Ok(59_940));
        let refused = rate("1920x1080@47").expect_err("no such rate");
        assert_eq!(
            refused,
            "the display has no mode 1920x1080@47.000: it has 1920x1080@60.00, 1920x1080@59.94, 1920x1080@41.67, \
             640x480@59.94"
        );
        assert_eq!(rate("640x480@60"), Ok(59_940));
        assert!(rate("800x600").is_err());
        assert_eq!(choose(&modes, None).map(|mode| mode.size()), Ok((1920, 1080)));
        assert!(choose(&[], None).is_err());
        let own = choose(&modes, Some(&mode("173.00 1920 2048 2248 2576 1080 1083 1088 1120 -hsync +vsync")));
        let own = own.expect("whatever is written out");
        assert_eq!((own.size(), own.vrefresh(), own.clock()), ((1920, 1080), 60, 173_000));
        assert_eq!(own.name().to_bytes(), b"1920x1080");
    }
}
