//! The session's answers and events in words.

use std::fmt::Write as _;

use clap::ValueEnum;

use crate::capture::TargetMetrics;
use crate::ipc::{
    AddressRange, Candidate, Event, Keyboard, Latency, Look, MapPath, Output, Overlay, Program, ReplayState,
    Response, State, Target, Telemetry, Window,
};
use crate::system::poor;

pub(super) fn words(response: &Response, all: bool) -> String {
    match response {
        Response::Done => String::new(),
        Response::Version { version, protocol, pid } => {
            format!("memory-glass {version}, process {pid}, protocol {protocol}\n")
        }
        Response::Outputs(outputs) if outputs.is_empty() => "no output is connected\n".into(),
        Response::Outputs(outputs) => outputs.iter().map(output_words).collect(),
        Response::Targets(candidates) => target_words(candidates, all),
        Response::State(state) => state_words(state),
        Response::Windows { windows, .. } if windows.is_empty() => "no window is open\n".into(),
        Response::Windows { windows, focus } => {
            windows.iter().map(|window| window_words(window, *focus)).collect()
        }
        Response::Screenshot { path, width, height } => format!("{path} ({width}×{height})\n"),
        Response::Selection(ranges) if ranges.is_empty() => {
            "nothing is chosen: draw a line around cells with the left button held\n".into()
        }
        Response::Selection(ranges) => {
            ranges.iter().map(|range| format!("{}\n", range_words(*range))).collect()
        }
        Response::Telemetry(None) => "nothing is watched\n".into(),
        Response::Telemetry(Some(telemetry)) => telemetry_words(telemetry),
        Response::Replay(state) => replay_words(state),
    }
}

fn range_words(range: AddressRange) -> String {
    format!("{:#x}-{:#x}", range.start, range.end)
}

fn output_words(output: &Output) -> String {
    let Output { state, map, frames, latency } = output;
    let refresh = f64::from(state.refresh_mhz) / 1000.0;
    let map = match map {
        MapPath::OnPlane { plane, framebuffer, dma_buf } => {
            let mut words = format!("on plane {plane}");
            if let (Some(framebuffer), Some(inode)) = (framebuffer, dma_buf) {
                let _ = write!(words, " (framebuffer {framebuffer}, dma-buf {inode})");
            }
            words
        }
        MapPath::Composited { reason } => format!("composited: {reason}"),
        MapPath::Off => "off".into(),
    };
    let display: Vec<&str> = [&state.make, &state.model, &state.serial]
        .into_iter()
        .filter(|text| !text.is_empty())
        .map(|text| text.as_str())
        .collect();
    let mut text = format!("{}  {}×{} at {refresh:.3} Hz", state.connector, state.width, state.height);
    if let Some(other) = &state.mirrors {
        let _ = write!(text, ", mirrors {other}");
    } else {
        let _ = write!(text, ", at {},{}", state.x, state.y);
    }
    if state.scale_thousandths != 1000 {
        let _ = write!(text, ", scale {}", f64::from(state.scale_thousandths) / 1000.0);
    }
    if state.transform != "normal" {
        let _ = write!(text, ", turned {}", state.transform);
    }
    if let Some(off) = &state.off {
        let _ = write!(text, ", {off}");
    }
    text.push('\n');
    if let Some(problem) = &state.problem {
        let _ = writeln!(text, "  problem  {problem}");
    }
    let _ = write!(
        text,
        "  display  {}\n  map      {} of {}, {}, {map}\n  frames   {} shown, {} with the map on a plane, {} with it composited; \
         {} late, {} failed\n",
        display.join(" · "),
        word(state.mode),
        target(state.target.as_ref()),
        word(state.placement),
        frames.presented,
        frames.map_on_plane,
        frames.map_composited,
        frames.missed,
        frames.failed,
    );
    if let Some(latency) = latency {
        text.push_str(&latency_words(latency));
    }
    if let Some(program) = &state.program {
        text.push_str(&program_words(program));
    }
    text
}

fn latency_words(latency: &Latency) -> String {
    let ms = |us: u64| us as f64 / 1000.0;
    let soon: u64 = latency.refreshes.iter().take(2).sum();
    format!(
        "  latency  {:.1} ms, 99 of 100 within {:.1} ms, longest {:.1} ms, from the end of a window to the screen\n           \
         {:.1} ms to the GPU, {:.1} ms on it, {:.1} ms to the frame, {:.1} ms to the screen; {soon} of {} by the second refresh\n",
        ms(latency.p50_us),
        ms(latency.p99_us),
        ms(latency.max_us),
        ms(latency.prepared_us),
        ms(latency.drawn_us),
        ms(latency.committed_us),
        ms(latency.shown_us),
        latency.pictures,
    )
}

fn program_words(program: &Program) -> String {
    let state = match (program.pid, &program.last_end) {
        (Some(pid), _) => format!("process {pid}"),
        (None, Some(end)) => format!("ended ({end})"),
        (None, None) => "not started".into(),
    };
    format!("  program  {}, {state}, started again {} times\n", program.command.join(" "), program.restarts)
}

fn window_words(window: &Window, focus: Option<u32>) -> String {
    let mut remarks = Vec::new();
    if Some(window.id) == focus {
        remarks.push("has the keyboard");
    }
    if window.fullscreen {
        remarks.push("fullscreen");
    }
    if window.floating {
        remarks.push("floats");
    }
    format!(
        "{:>4}  {:<12}  {}{}{}\n",
        window.id,
        window.output.as_deref().unwrap_or("nowhere"),
        if window.app_id.is_empty() { "?" } else { &window.app_id },
        if window.title.is_empty() { String::new() } else { format!("  {}", window.title) },
        if remarks.is_empty() { String::new() } else { format!("  ({})", remarks.join(", ")) },
    )
}

fn target_words(candidates: &[Candidate], all: bool) -> String {
    let mut text = String::new();
    for candidate in candidates.iter().filter(|candidate| all || candidate.refused.is_none()) {
        let mib = candidate.resident_bytes as f64 / f64::from(1 << 20);
        let _ = write!(text, "{:>8}  {:<15}  {mib:>9.1} MiB", candidate.pid, candidate.name);
        if candidate.followed {
            text.push_str("  followed");
        }
        if let Some(reason) = &candidate.refused {
            let _ = write!(text, "  {reason}");
        }
        text.push('\n');
    }
    let refused = candidates.iter().filter(|candidate| candidate.refused.is_some()).count();
    if !all && refused > 0 {
        let _ = writeln!(text, "{refused} more cannot be watched: --all says why");
    }
    text
}

fn state_words(state: &State) -> String {
    let mut text = format!(
        "target     {}\nmap        {}, {}, {}{}{}{}\n",
        target(state.target.as_ref()),
        word(state.mode),
        word(state.placement),
        word(state.palette),
        state.zoom.map_or_else(String::new, |part| format!(", {} of it", range_words(part))),
        if state.following_hottest { ", where the most is written" } else { "" },
        if state.frozen { ", standing still" } else { "" },
    );
    for output in &state.outputs {
        let _ = writeln!(
            text,
            "output     {} {}×{}, map {}",
            output.connector,
            output.width,
            output.height,
            word(output.placement)
        );
    }
    for window in &state.windows {
        let _ = write!(text, "window {}", window_words(window, state.focus));
    }
    let _ = writeln!(text, "keyboard   {}", layout_words(&state.keyboard));
    let path = state.config.path.as_deref().unwrap_or("none");
    let _ = writeln!(text, "config     {path}");
    if let Some(error) = &state.config.error {
        let _ = writeln!(text, "           {error}");
    }
    text
}

fn layout_words(keyboard: &Keyboard) -> String {
    let active = usize::try_from(keyboard.active).ok().and_then(|at| keyboard.layouts.get(at));
    let name = active.map_or("?", String::as_str);
    match keyboard.layouts.len() {
        0 | 1 => name.to_owned(),
        count => format!("{name} ({} of {count})", keyboard.active + 1),
    }
}

fn telemetry_words(telemetry: &Telemetry) -> String {
    let adjusted = telemetry.last_adjustment.as_ref();
    let adjusted = adjusted.map_or(String::new(), |last| format!("  adjusted  {last}\n"));
    let cost = TargetMetrics {
        overhead_percent: telemetry.overhead_percent,
        slow_down_factor: telemetry.slow_down_factor.unwrap_or(f64::NAN),
        slow_down_low: telemetry.slow_down_low.unwrap_or(f64::NAN),
        slow_down_high: telemetry.slow_down_high.unwrap_or(f64::NAN),
        lost_ms_per_second: telemetry.lost_ms_per_second,
        memory_overhead_mb: telemetry.memory_overhead_mb,
    };
    let mut text = format!(
        "{}: {} windows over {} pages\n  written   {:.0} pages/s by {} threads\n  map       order {}, accuracy {}, \
         {:.1} % of the pages watched\n{adjusted}  its cost  {cost}\n",
        target(Some(&telemetry.target)),
        telemetry.windows,
        telemetry.pages,
        telemetry.fault_rate,
        telemetry.active_threads,
        telemetry.hilbert_order,
        telemetry.reconstruction_accuracy.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share)),
        telemetry.sampling_rate,
    );
    if let Some(poor) = poor(telemetry.reconstruction_accuracy.map(f64::from)) {
        let _ = writeln!(text, "  poor      {poor}");
    }
    if let Some(share) = telemetry.armed_share.filter(|share| *share < 1.0) {
        let _ = writeln!(text, "  armed     {:.1} % of the hot pages, as the budget allows", 100.0 * share);
    }
    for lost in &telemetry.lost {
        let _ = writeln!(text, "  without   {lost}");
    }
    text
}

fn replay_words(state: &ReplayState) -> String {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    format!(
        "{:.1} s of {:.1} s, {}× as fast as it was{}\n",
        seconds(state.position_ms),
        seconds(state.length_ms),
        f64::from(state.speed_percent) / 100.0,
        match state {
            ReplayState { over: true, .. } => ", over",
            ReplayState { paused: true, .. } => ", paused",
            _ => "",
        }
    )
}

fn look_words(look: Look) -> String {
    let mut words = format!("{} scale", word(look.scale));
    for (on, name) in [(look.glow, "glow"), (look.animation, "animation")] {
        if on {
            let _ = write!(words, ", {name}");
        }
    }
    words
}

pub(super) fn event_words(event: &Event) -> String {
    match event {
        Event::State(state) => state_words(state),
        Event::Target(new) => format!("target     {}\n", target(new.as_ref())),
        Event::Mode(mode) => format!("mode       {}\n", word(*mode)),
        Event::Placement(placement) => format!("placement  {}\n", word(*placement)),
        Event::Palette(palette) => format!("palette    {}\n", word(*palette)),
        Event::Look(look) => format!("look       {}\n", look_words(*look)),
        Event::Frozen(frozen) => format!("frozen     {}\n", if *frozen { "yes" } else { "no" }),
        Event::Zoom(None) => "zoom       none\n".into(),
        Event::Zoom(Some(part)) => format!("zoom       {}\n", range_words(*part)),
        Event::FollowingHottest(on) => {
            format!("hottest    {}\n", if *on { "followed" } else { "not followed" })
        }
        Event::Outputs(outputs) => {
            let names: Vec<&str> = outputs.iter().map(|output| output.connector.as_str()).collect();
            format!("outputs    {}\n", if names.is_empty() { "none".into() } else { names.join(", ") })
        }
        Event::Windows(windows) => format!("windows    {}\n", windows.len()),
        Event::Focus(focus) => format!("focus      {}\n", focus.map_or("none".into(), |id| id.to_string())),
        Event::Keyboard(keyboard) => format!("keyboard   {}\n", layout_words(keyboard)),
        Event::Overlay(None) => "overlay    none\n".into(),
        Event::Overlay(Some(Overlay::Picker)) => "overlay    picker\n".into(),
        Event::Overlay(Some(Overlay::Hotkeys)) => "overlay    hotkeys\n".into(),
        Event::Config(config) => {
            format!("config     {}\n", config.error.as_deref().unwrap_or("read, and in force"))
        }
        Event::Telemetry(telemetry) => format!(
            "telemetry  {} pages/s written, {} threads\n",
            telemetry.fault_rate.round(),
            telemetry.active_threads
        ),
    }
}

fn target(target: Option<&Target>) -> String {
    match target {
        None => "none".into(),
        Some(Target { pid, name, rung, ended: None, recorded: false }) => format!("{name} {pid} by {rung}"),
        Some(Target { pid, name, rung, ended: None, recorded: true }) => {
            format!("{name} {pid} by {rung}, recorded")
        }
        Some(Target { pid, name, ended: Some(reason), .. }) => format!("{name} {pid}: {reason}"),
    }
}

/// As it is written on the command line.
fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
