//! The words of the control socket: whatever can be said is read back as it was said.

use std::fmt::Debug;

use memory_glass::ipc::*;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let line = serde_json::to_string(value).expect("JSON");
    assert!(!line.contains('\n'), "{line}");
    assert_eq!(&serde_json::from_str::<T>(&line).unwrap_or_else(|error| panic!("{error}: {line}")), value);
}

fn number() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("what is measured is finite", |number| number.is_finite())
}

fn placement() -> impl Strategy<Value = Placement> {
    prop_oneof![Just(Placement::Beside), Just(Placement::Over), Just(Placement::Full), Just(Placement::Off)]
}

fn palette() -> impl Strategy<Value = Palette> {
    prop_oneof![
        Just(Palette::Viridis),
        Just(Palette::Inferno),
        Just(Palette::Cividis),
        Just(Palette::Contrast)
    ]
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Heatmap),
        Just(Mode::Kinetic),
        Just(Mode::Phase),
        Just(Mode::Avalanche),
        Just(Mode::TimeSeries),
        Just(Mode::Volume)
    ]
}

fn scale() -> impl Strategy<Value = Scale> {
    prop_oneof![Just(Scale::Linear), Just(Scale::Logarithmic)]
}

fn look() -> impl Strategy<Value = Look> {
    (any::<bool>(), any::<bool>(), scale()).prop_map(|(glow, animation, scale)| Look {
        glow,
        animation,
        scale,
    })
}

fn target() -> impl Strategy<Value = Target> {
    (any::<u32>(), any::<String>(), any::<String>(), option::of(any::<String>()), any::<bool>())
        .prop_map(|(pid, name, rung, ended, recorded)| Target { pid, name, rung, ended, recorded })
}

fn output_state() -> impl Strategy<Value = OutputState> {
    let more = (
        any::<[i32; 2]>(),
        any::<u32>(),
        any::<String>(),
        any::<[Option<String>; 3]>(),
        option::of(target()),
        option::of(program()),
    );
    (any::<[String; 4]>(), any::<[u32; 3]>(), (placement(), mode()), more).prop_map(
        |(
            [connector, make, model, serial],
            [width, height, refresh_mhz],
            (placement, mode),
            ([x, y], scale_thousandths, transform, [mirrors, off, problem], target, program),
        )| OutputState {
            connector,
            make,
            model,
            serial,
            width,
            height,
            refresh_mhz,
            placement,
            x,
            y,
            scale_thousandths,
            transform,
            mirrors,
            off,
            problem,
            target,
            mode,
            program,
        },
    )
}

fn program() -> impl Strategy<Value = Program> {
    (vec(any::<String>(), 0..3), option::of(any::<u32>()), any::<u32>(), option::of(any::<String>()))
        .prop_map(|(command, pid, restarts, last_end)| Program { command, pid, restarts, last_end })
}

fn window() -> impl Strategy<Value = Window> {
    (
        any::<u32>(),
        any::<[String; 2]>(),
        option::of(any::<u32>()),
        option::of(any::<String>()),
        any::<[bool; 2]>(),
    )
        .prop_map(|(id, [title, app_id], pid, output, [fullscreen, floating])| Window {
            id,
            title,
            app_id,
            pid,
            output,
            fullscreen,
            floating,
        })
}

fn overlay() -> impl Strategy<Value = Option<Overlay>> {
    option::of(prop_oneof![Just(Overlay::Picker), Just(Overlay::Hotkeys)])
}

fn keyboard() -> impl Strategy<Value = Keyboard> {
    (vec(any::<String>(), 0..3), any::<u32>()).prop_map(|(layouts, active)| Keyboard { layouts, active })
}

fn output() -> impl Strategy<Value = Output> {
    let map = prop_oneof![
        (any::<u32>(), option::of(any::<u32>()), option::of(any::<u64>()))
            .prop_map(|(plane, framebuffer, dma_buf)| MapPath::OnPlane { plane, framebuffer, dma_buf }),
        any::<String>().prop_map(|reason| MapPath::Composited { reason }),
        Just(MapPath::Off),
    ];
    (output_state(), map, any::<[u64; 6]>(), option::of((any::<[u64; 8]>(), vec(any::<u64>(), 0..9))))
        .prop_map(|(state, map, [presented, map_on_plane, map_composited, missed, late, failed], latency)| {
            Output {
                state,
                map,
                frames: Frames { presented, map_on_plane, map_composited, missed, late, failed },
                latency: latency.map(|(numbers, refreshes)| {
                    let [pictures, p50_us, p99_us, max_us, prepared_us, drawn_us, committed_us, shown_us] =
                        numbers;
                    Latency {
                        pictures,
                        p50_us,
                        p99_us,
                        max_us,
                        prepared_us,
                        drawn_us,
                        committed_us,
                        shown_us,
                        refreshes,
                    }
                }),
            }
        })
}

fn config() -> impl Strategy<Value = ConfigState> {
    (option::of(any::<String>()), any::<u32>(), option::of(any::<String>()))
        .prop_map(|(path, loaded, error)| ConfigState { path, loaded, error })
}

fn address_range() -> impl Strategy<Value = AddressRange> {
    any::<[u64; 2]>().prop_map(|[start, end]| AddressRange { start, end })
}

fn state() -> impl Strategy<Value = State> {
    let desk = (vec(window(), 0..3), option::of(any::<u32>()), keyboard(), overlay());
    let shown = (mode(), placement(), palette(), look());
    let looked = (any::<bool>(), option::of(address_range()), any::<bool>());
    (option::of(target()), shown, looked, vec(output_state(), 0..3), config(), desk).prop_map(
        |(target, (mode, placement, palette, look), looked, outputs, config, desk)| State {
            target,
            mode,
            placement,
            palette,
            look,
            frozen: looked.0,
            zoom: looked.1,
            following_hottest: looked.2,
            outputs,
            windows: desk.0,
            focus: desk.1,
            keyboard: desk.2,
            overlay: desk.3,
            config,
        },
    )
}

fn telemetry() -> impl Strategy<Value = Telemetry> {
    let numbers = [number(), number(), number(), number(), number()];
    let counts = (any::<[u64; 2]>(), any::<[u32; 2]>(), any::<[bool; 2]>());
    (target(), counts, option::of(0f32..=1.0), numbers, option::of(".{0,40}")).prop_map(
        |(
            target,
            ([windows, pages], [active_threads, hilbert_order], flags),
            reconstruction_accuracy,
            numbers,
            last_adjustment,
        )| {
            let [fault_rate, sampling_rate, overhead_percent, slow_down_factor, memory_overhead_mb] = numbers;
            Telemetry {
                target,
                windows,
                pages,
                fault_rate,
                active_threads,
                memory_avalanche_detected: flags[0],
                phase_transition_detected: flags[1],
                reconstruction_accuracy,
                hilbert_order,
                sampling_rate,
                last_adjustment,
                overhead_percent,
                slow_down_factor: flags[0].then_some(slow_down_factor),
                slow_down_low: flags[0].then_some(slow_down_factor),
                slow_down_high: flags[0].then_some(slow_down_factor),
                lost_ms_per_second: overhead_percent,
                flushes_per_second: fault_rate,
                memory_overhead_mb,
                armed_share: reconstruction_accuracy.map(f64::from),
                lost: flags.map(|lost| format!("{lost} (because)")).into(),
            }
        },
    )
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::Version),
        Just(Request::Outputs),
        Just(Request::Targets),
        Just(Request::State),
        (any::<String>(), option::of(any::<String>()))
            .prop_map(|(target, output)| Request::Watch { target, output }),
        any::<String>().prop_map(|output| Request::Follow { output }),
        (any::<bool>(), option::of(any::<String>())).prop_map(|(on, output)| Request::Power { on, output }),
        Just(Request::Unwatch),
        (mode(), option::of(any::<String>())).prop_map(|(mode, output)| Request::Mode { mode, output }),
        (option::of(any::<bool>()), option::of(any::<bool>()), option::of(scale()))
            .prop_map(|(glow, animation, scale)| Request::Look { glow, animation, scale }),
        (placement(), option::of(any::<String>()))
            .prop_map(|(placement, output)| Request::Placement { placement, output }),
        palette().prop_map(|palette| Request::Palette { palette }),
        option::of(any::<u32>()).prop_map(|percent| Request::Budget { percent }),
        option::of(any::<bool>()).prop_map(|frozen| Request::Freeze { frozen }),
        (option::of(any::<String>()), option::of(any::<String>()))
            .prop_map(|(path, output)| Request::Screenshot { path, output }),
        Just(Request::Selection),
        Just(Request::ZoomOut),
        option::of(any::<bool>()).prop_map(|follow| Request::FollowHottest { follow }),
        Just(Request::Telemetry),
        replay_action().prop_map(|action| Request::Replay { action }),
        Just(Request::Windows),
        any::<u32>().prop_map(|id| Request::FocusWindow { id }),
        option::of(any::<u32>()).prop_map(|id| Request::CloseWindow { id }),
        (option::of(any::<u32>()), option::of(any::<bool>()))
            .prop_map(|(id, fullscreen)| Request::FullscreenWindow { id, fullscreen }),
        (option::of(any::<u32>()), any::<String>())
            .prop_map(|(id, output)| Request::MoveWindow { id, output }),
        option::of(any::<String>()).prop_map(|layout| Request::KeyboardLayout { layout }),
        overlay().prop_map(|overlay| Request::Overlay { overlay }),
        Just(Request::EventStream),
        Just(Request::Reload),
        Just(Request::Quit),
    ]
}

fn replay_action() -> impl Strategy<Value = ReplayAction> {
    prop_oneof![
        Just(ReplayAction::Status),
        Just(ReplayAction::Pause),
        Just(ReplayAction::Play),
        any::<u32>().prop_map(|percent| ReplayAction::Speed { percent }),
        any::<u64>().prop_map(|position_ms| ReplayAction::Seek { position_ms }),
    ]
}

fn replay_state() -> impl Strategy<Value = ReplayState> {
    (any::<[u64; 2]>(), any::<u32>(), any::<[bool; 2]>()).prop_map(
        |([position_ms, length_ms], speed_percent, [paused, over])| ReplayState {
            position_ms,
            length_ms,
            speed_percent,
            paused,
            over,
        },
    )
}

fn candidate() -> impl Strategy<Value = Candidate> {
    let refused = option::of(any::<String>());
    (any::<u32>(), any::<String>(), any::<bool>(), any::<u64>(), refused, any::<bool>()).prop_map(
        |(pid, name, own, resident_bytes, refused, followed)| Candidate {
            pid,
            name,
            own,
            resident_bytes,
            refused,
            followed,
        },
    )
}

fn response() -> impl Strategy<Value = Response> {
    prop_oneof![
        Just(Response::Done),
        (any::<String>(), any::<u32>(), any::<u32>())
            .prop_map(|(version, protocol, pid)| Response::Version { version, protocol, pid }),
        vec(output(), 0..3).prop_map(Response::Outputs),
        vec(candidate(), 0..4).prop_map(Response::Targets),
        (vec(window(), 0..3), option::of(any::<u32>()))
            .prop_map(|(windows, focus)| Response::Windows { windows, focus }),
        state().prop_map(|state| Response::State(Box::new(state))),
        (any::<String>(), any::<u32>(), any::<u32>())
            .prop_map(|(path, width, height)| Response::Screenshot { path, width, height }),
        option::of(telemetry().prop_map(Box::new)).prop_map(Response::Telemetry),
        replay_state().prop_map(Response::Replay),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        state().prop_map(|state| Event::State(Box::new(state))),
        option::of(target()).prop_map(Event::Target),
        mode().prop_map(Event::Mode),
        look().prop_map(Event::Look),
        placement().prop_map(Event::Placement),
        palette().prop_map(Event::Palette),
        any::<bool>().prop_map(Event::Frozen),
        option::of(address_range()).prop_map(Event::Zoom),
        any::<bool>().prop_map(Event::FollowingHottest),
        vec(output_state(), 0..3).prop_map(Event::Outputs),
        vec(window(), 0..3).prop_map(Event::Windows),
        option::of(any::<u32>()).prop_map(Event::Focus),
        keyboard().prop_map(Event::Keyboard),
        overlay().prop_map(Event::Overlay),
        config().prop_map(Event::Config),
        telemetry().prop_map(Event::Telemetry),
    ]
}

proptest! {
    #[test]
    fn requests_are_read_as_they_were_written(request in request()) {
        round_trip(&request);
    }

    #[test]
    fn replies_are_read_as_they_were_written(reply in prop_oneof![response().prop_map(Reply::Ok), any::<String>().prop_map(Reply::Err)]) {
        round_trip(&reply);
    }

    #[test]
    fn events_are_read_as_they_were_written_and_are_no_replies(event in event()) {
        round_trip(&event);
        let line = serde_json::to_string(&event).expect("JSON");
        prop_assert!(serde_json::from_str::<Reply>(&line).is_err());
    }

    #[test]
    fn whoever_applies_every_change_knows_the_state(states in vec(state(), 1..6)) {
        let mut known = states[0].clone();
        for pair in states.windows(2) {
            for event in pair[0].changes(&pair[1]) {
                known.apply(event);
            }
            prop_assert_eq!(&known, &pair[1]);
            prop_assert!(pair[1].changes(&known).is_empty());
        }
    }
}

#[test]
fn the_words_are_those_that_are_documented() {
    let lines = [
        (Request::Outputs, "\"outputs\""),
        (
            Request::Watch { target: "redis-server".into(), output: None },
            "{\"watch\":{\"target\":\"redis-server\"}}",
        ),
        (Request::Freeze { frozen: None }, "{\"freeze\":{}}"),
        (Request::EventStream, "\"event_stream\""),
    ];
    for (request, line) in lines {
        assert_eq!(serde_json::to_string(&request).expect("JSON"), line);
    }
    let refusal: Reply = Err("no".into());
    assert_eq!(serde_json::to_string(&refusal).expect("JSON"), "{\"Err\":\"no\"}");
}
