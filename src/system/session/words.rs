//! The rooms' own types as words of the control socket, and back.

use std::time::Duration;

use crate::display::settings::Turn;
use crate::display::{self, KeyboardLayouts, OutputStatus, OverlayKind, PlaneUse, WindowStatus};
use crate::ipc::{
    Candidate, Frames, Keyboard, Latency, MapPath, Mode, Output, OutputState, Overlay, Palette, Placement,
    Program, Scale, Target, Window,
};
use crate::render::{ColorPalette, ColorScale, GlassRamVisualizationMode};

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
        Palette::Cividis => ColorPalette::Cividis,
        Palette::Contrast => ColorPalette::Contrast,
    }
}

pub(in crate::system) fn mode(mode: Mode) -> GlassRamVisualizationMode {
    match mode {
        Mode::Heatmap => GlassRamVisualizationMode::Heatmap,
        Mode::Kinetic => GlassRamVisualizationMode::ThreadKineticEnergy,
        Mode::Phase => GlassRamVisualizationMode::PhaseTransition,
        Mode::Avalanche => GlassRamVisualizationMode::MemoryAvalanche,
        Mode::TimeSeries => GlassRamVisualizationMode::TimeSeries,
        Mode::Volume => GlassRamVisualizationMode::Volumetric,
    }
}

/// The mode that a hotkey stands for.
pub(super) fn mode_of(shown: GlassRamVisualizationMode) -> Mode {
    let all = [Mode::Heatmap, Mode::Kinetic, Mode::Phase, Mode::Avalanche, Mode::TimeSeries, Mode::Volume];
    all.into_iter().find(|each| mode(*each) == shown).unwrap_or_default()
}

pub(in crate::system) fn color_scale(scale: Scale) -> ColorScale {
    match scale {
        Scale::Linear => ColorScale::Linear,
        Scale::Logarithmic => ColorScale::Logarithmic,
    }
}

pub(super) fn next_scale(scale: Scale) -> Scale {
    match scale {
        Scale::Linear => Scale::Logarithmic,
        Scale::Logarithmic => Scale::Linear,
    }
}

/// The hotkey goes round.
pub(super) fn next_palette(palette: Palette) -> Palette {
    match palette {
        Palette::Inferno => Palette::Viridis,
        Palette::Viridis => Palette::Cividis,
        Palette::Cividis => Palette::Contrast,
        Palette::Contrast => Palette::Inferno,
    }
}

pub(super) fn output_state(status: &OutputStatus, target: Option<Target>, mode: Mode) -> OutputState {
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
        mode,
        x: status.position.0,
        y: status.position.1,
        scale_thousandths: (status.scale * 1000.0).round() as u32,
        transform: word(status.turn),
        mirrors: status.mirrors.clone(),
        off: status.off.clone(),
        problem: status.problem.clone(),
        target,
        program: status.program.as_ref().map(|program| Program {
            command: program.command.clone(),
            pid: program.pid,
            restarts: program.restarts,
            last_end: program.last_end.clone(),
        }),
    }
}

pub(super) fn window(status: WindowStatus) -> Window {
    let WindowStatus { id, title, app_id, pid, output, fullscreen, floating } = status;
    Window { id, title, app_id, pid, output, fullscreen, floating }
}

pub(super) fn keyboard(layouts: KeyboardLayouts) -> Keyboard {
    Keyboard { layouts: layouts.names, active: layouts.active }
}

pub(super) fn overlay(kind: OverlayKind) -> Overlay {
    match kind {
        OverlayKind::Picker => Overlay::Picker,
        OverlayKind::Hotkeys => Overlay::Hotkeys,
    }
}

pub(super) fn display_overlay(overlay: Overlay) -> OverlayKind {
    match overlay {
        Overlay::Picker => OverlayKind::Picker,
        Overlay::Hotkeys => OverlayKind::Hotkeys,
    }
}

pub(super) fn display_candidate(candidate: Candidate) -> display::Candidate {
    let Candidate { pid, name, own, resident_bytes, refused, followed } = candidate;
    // The picker finds it by this word as well.
    let name = if followed { format!("{name} (followed)") } else { name };
    display::Candidate { pid, name, own, resident_bytes, refused }
}

/// As it stands in the configuration.
fn word(turn: Turn) -> String {
    serde_json::to_value(turn).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn output(status: &OutputStatus, state: OutputState) -> Output {
    Output {
        state,
        map: match &status.map {
            PlaneUse::OnPlane { plane, framebuffer, dma_buf } => {
                MapPath::OnPlane { plane: *plane, framebuffer: Some(*framebuffer), dma_buf: *dma_buf }
            }
            PlaneUse::Composited { reason } => MapPath::Composited { reason: reason.clone() },
            PlaneUse::Off => MapPath::Off,
        },
        frames: Frames {
            presented: status.frames.presented,
            map_on_plane: status.frames.map_on_plane,
            map_composited: status.frames.map_composited,
            missed: status.frames.missed,
            late: status.frames.late,
            failed: status.frames.failed,
        },
        latency: status.latency.map(|latency| Latency {
            pictures: latency.pictures,
            p50_us: microseconds(latency.median),
            p99_us: microseconds(latency.p99),
            max_us: microseconds(latency.max),
            prepared_us: microseconds(latency.stages.prepared),
            drawn_us: microseconds(latency.stages.drawn),
            committed_us: microseconds(latency.stages.committed),
            shown_us: microseconds(latency.stages.shown),
            refreshes: latency.refreshes.to_vec(),
        }),
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
