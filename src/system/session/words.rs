//! The rooms' own types as words of the control socket, and back.

use crate::display::{self, OutputStatus, PlaneUse};
use crate::ipc::{Frames, MapPath, Output, OutputState, Palette, Placement};
use crate::render::ColorPalette;

pub(super) fn placement(placement: display::Placement) -> Placement {
    match placement {
        display::Placement::Beside => Placement::Beside,
        display::Placement::Over => Placement::Over,
        display::Placement::Full => Placement::Full,
        display::Placement::Off => Placement::Off,
    }
}

pub(super) fn display_placement(placement: Placement) -> display::Placement {
    match placement {
        Placement::Beside => display::Placement::Beside,
        Placement::Over => display::Placement::Over,
        Placement::Full => display::Placement::Full,
        Placement::Off => display::Placement::Off,
    }
}

pub(super) fn color_palette(palette: Palette) -> ColorPalette {
    match palette {
        Palette::Viridis => ColorPalette::Viridis,
        Palette::Inferno => ColorPalette::Inferno,
    }
}

/// The hotkey goes round.
pub(super) fn next_palette(palette: Palette) -> Palette {
    match palette {
        Palette::Viridis => Palette::Inferno,
        Palette::Inferno => Palette::Viridis,
    }
}

pub(super) fn output_state(status: &OutputStatus) -> OutputState {
    let identity = status.identity.clone();
    OutputState {
        connector: identity.connector,
        make: identity.make,
        model: identity.model,
        serial: identity.serial,
        width: status.resolution.0.unsigned_abs(),
        height: status.resolution.1.unsigned_abs(),
        refresh_mhz: (status.refresh_hz * 1000.0).round() as u32,
        placement: placement(status.placement),
    }
}

pub(super) fn output(status: &OutputStatus) -> Output {
    Output {
        state: output_state(status),
        map: match &status.map {
            PlaneUse::OnPlane { plane } => MapPath::OnPlane { plane: *plane },
            PlaneUse::Composited { reason } => MapPath::Composited { reason: reason.clone() },
            PlaneUse::Off => MapPath::Off,
        },
        frames: Frames {
            presented: status.frames.presented,
            map_on_plane: status.frames.map_on_plane,
            map_composited: status.frames.map_composited,
            missed: status.frames.missed,
            failed: status.frames.failed,
        },
    }
}
