//! Recordings of made-up windows: that they come back, from wherever a file is cut and whatever is done to its bytes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tempfile::tempdir;

use super::*;
use crate::capture::{
    CaptureEvent, ExitReason, MemoryRegion, PageRange, Rung, TargetInfo, ThreadWrites, Window,
};

const PAGE: u64 = 4096;
const LENGTH: Duration = Duration::from_millis(100);

fn target() -> TargetInfo {
    TargetInfo { pid: 4321, comm: "a ßtrange name".into(), page_size: PAGE }
}

fn pages(first: u64, count: u64) -> PageRange {
    PageRange::new(first * PAGE, (first + count) * PAGE)
}

fn region(first: u64, count: u64, name: Option<&str>) -> MemoryRegion {
    MemoryRegion {
        start: first * PAGE,
        end: (first + count) * PAGE,
        permissions: "rw-p".into(),
        offset: 17,
        device: "fd:00".into(),
        inode: 12345,
        pathname: name.map(str::to_owned),
    }
}

/// A window a tenth of a second after the one before.
fn window(
    origin: Instant,
    index: u64,
    written: Vec<PageRange>,
    regions: Option<Vec<MemoryRegion>>,
) -> Window {
    Window {
        index,
        started: origin + LENGTH * index as u32,
        length: LENGTH,
        // Now and then some are not armed.
        unseen: if index % 3 == 1 { vec![pages(1 << 40, 3 + index), pages(1 << 41, 1)] } else { Vec::new() },
        // As far as it was sampled.
        threads: written
            .iter()
            .zip(900..)
            .filter(|_| index % 4 != 2)
            .map(|(range, tid)| ThreadWrites {
                tid,
                name: format!("thread ß{tid}").into(),
                pages: (range.start..range.end).step_by(2 * PAGE as usize).collect(),
                faults: 17.25 + index as f64,
            })
            .collect(),
        written,
        regions: regions.map(Into::into),
        writable_pages: 4000 + index,
        active_threads: 3,
        forked: Vec::new(),
        events: Vec::new(),
        dropped: 0,
    }
}

/// What a target does whose heap grows in window 40.
fn story(origin: Instant, windows: u64) -> Vec<Window> {
    (0..windows)
        .map(|index| {
            let regions = match index {
                0 => Some(vec![region(100, 500, Some("[heap]")), region(1 << 30, 2000, None)]),
                40 => Some(vec![region(100, 800, Some("[heap]")), region(1 << 30, 2000, None)]),
                _ => None,
            };
            let first = 100 + index * 7 % 300;
            let written = vec![pages(first, 1 + index % 5), pages((1 << 30) + index * 13 % 1000, 20)];
            window(origin, index, written, regions)
        })
        .collect()
}

/// Records `windows` and answers with the size of the file after each.
fn record(path: &Path, origin: Instant, windows: &[Window], limits: RingLimits) -> Vec<u64> {
    let mut recorder = Recorder::create(path, &target(), Rung::WpAsync, origin, limits).unwrap();
    let sizes = windows
        .iter()
        .map(|window| {
            recorder.window(window).unwrap();
            recorder.recorded().bytes
        })
        .collect();
    recorder.finish(Some(ExitReason::Ended)).unwrap();
    sizes
}

/// What is read is what was written, but for instants: those are counted from the recording's own origin.
fn assert_same(recording: &Recording, origin: Instant, read: &[Window], written: &[Window]) {
    assert_eq!(read.len(), written.len());
    for (number, (read, written)) in read.iter().zip(written).enumerate() {
        assert_eq!(recording.offset(read), written.started - origin);
        let mut expected = Window { started: read.started, ..written.clone() };
        if number == 0 && expected.regions.is_none() {
            // Whoever begins here is told the regions, though they have not changed.
            expected.regions.clone_from(&read.regions);
        }
        assert_eq!(read, &expected);
    }
}

fn read_all(recording: &Recording) -> Vec<Window> {
    recording.cursor_at(Duration::ZERO).collect()
}

#[test]
fn a_recording_comes_back_window_by_window() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("a.mgr");
    let origin = Instant::now();
    let windows = story(origin, 100);
    record(&path, origin, &windows, RingLimits::default());
    assert!(Recording::is_one(&path));
    let recording = Recording::open(&path).unwrap();
    assert_eq!(recording.info().target, target());
    assert_eq!((recording.begin(), recording.end()), (Duration::ZERO, LENGTH * 100));
    assert_eq!((recording.outcome(), recording.damage()), (Some(ExitReason::Ended), None));
    assert_same(&recording, origin, &read_all(&recording), &windows);
}

#[test]
fn reading_from_the_middle_begins_with_the_regions_of_that_time() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("a.mgr");
    let origin = Instant::now();
    let windows = story(origin, 100);
    record(&path, origin, &windows, RingLimits::default());
    let recording = Recording::open(&path).unwrap();
    for wanted in [0, 19, 20, 21, 39, 45, 77, 99, 1000] {
        let mut cursor = recording.cursor_at(LENGTH * wanted);
        let first = cursor.next_window().unwrap();
        assert!(recording.offset(&first) <= LENGTH * wanted);
        let table = first.regions.clone().expect("the first window has the regions");
        let heap_pages = if first.index < 40 { 500 } else { 800 };
        assert_eq!(table[0].pages(PAGE), heap_pages, "window {}", first.index);
        let rest: Vec<Window> = cursor.collect();
        assert_same(&recording, origin, &rest, &windows[first.index as usize + 1..]);
    }
}

#[test]
fn a_file_that_is_cut_at_any_byte_reads_back_up_to_its_last_whole_window() {
    let directory = tempdir().unwrap();
    let (path, cut) = (directory.path().join("a.mgr"), directory.path().join("cut.mgr"));
    let origin = Instant::now();
    let windows = story(origin, 45);
    let sizes = record(&path, origin, &windows, RingLimits::default());
    let bytes = fs::read(&path).unwrap();
    for length in 0..bytes.len() {
        fs::write(&cut, &bytes[..length]).unwrap();
        let whole = sizes.iter().filter(|size| **size <= length as u64).count();
        match Recording::open(&cut) {
            Ok(recording) => {
                assert_same(&recording, origin, &read_all(&recording), &windows[..whole]);
                assert_eq!(recording.end(), LENGTH * whole as u32);
                assert!(recording.damage().is_some());
            }
            Err(error) => {
                assert_eq!(whole, 0, "{length} bytes: {error}");
                assert!(matches!(error, RecordingError::Foreign { .. } | RecordingError::Empty { .. }));
            }
        }
    }
}

#[test]
fn a_ring_stays_within_its_bytes_and_keeps_most_of_them() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("ring.mgr");
    let origin = Instant::now();
    // Scattered writes do not compress: about two hundred bytes a window.
    let windows: Vec<Window> = (0..4000u64)
        .map(|index| {
            let mut at = 100;
            let written = (0..60u64)
                .map(|n| {
                    at += 1 + index.wrapping_mul(0x9e37_79b9).wrapping_add(n * n * 77_777) % 251;
                    let range = pages(at, 1);
                    at += 1;
                    range
                })
                .collect();
            window(origin, index, written, (index == 0).then(|| vec![region(100, 20_000, None)]))
        })
        .collect();
    let most = 64 << 10;
    let limits = RingLimits { max_bytes: Some(most), max_age: None };
    let mut recorder = Recorder::create(&path, &target(), Rung::WpAsync, origin, limits).unwrap();
    let on_disk = || -> u64 {
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    };
    for window in &windows {
        recorder.window(window).unwrap();
        assert!(on_disk() <= most, "{} bytes", on_disk());
        assert_eq!(on_disk(), recorder.recorded().bytes);
    }
    let recorded = recorder.recorded();
    drop(recorder);
    assert!(recorded.dropped > 1000, "{recorded:?}");
    assert!(recorded.bytes > most * 3 / 4, "{recorded:?}");
    let recording = Recording::open(&path).unwrap();
    assert_same(&recording, origin, &read_all(&recording), &windows[recorded.dropped as usize..]);
    assert_eq!(recording.begin(), LENGTH * recorded.dropped as u32);
}

#[test]
fn a_ring_by_age_drops_what_is_older() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("ring.mgr");
    let origin = Instant::now();
    let windows = story(origin, 2000);
    let limits = RingLimits { max_bytes: None, max_age: Some(LENGTH * 160) };
    record(&path, origin, &windows, limits);
    let read = read_all(&Recording::open(&path).unwrap());
    assert_eq!(read.last().unwrap().index, 1999);
    assert!((120..=161).contains(&read.len()), "{} windows", read.len());
}

#[test]
fn a_ring_that_was_killed_between_two_files_reads_back() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("ring.mgr");
    let origin = Instant::now();
    let windows = story(origin, 100);
    record(&path, origin, &windows, RingLimits { max_bytes: None, max_age: Some(LENGTH * 400) });
    // After the rename and before the next file has its first byte, or its header.
    for left in [None, Some(0), Some(5), Some(30)] {
        let bytes = left.map(|left| fs::read(&path).unwrap()[..left].to_vec());
        fs::remove_file(&path).unwrap();
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        let recording = Recording::open(&path).unwrap();
        assert_same(&recording, origin, &read_all(&recording), &windows[..50]);
        fs::write(&path, [0; 40]).unwrap();
    }
}

#[test]
fn nothing_is_written_over_and_what_is_no_recording_is_said_to_be_none() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("a.mgr");
    fs::write(&path, "a letter").unwrap();
    let limits = RingLimits::default();
    let refused = Recorder::create(&path, &target(), Rung::WpAsync, Instant::now(), limits).err();
    assert_eq!(refused, Some(RecordingError::Exists { path: path.clone() }));
    assert_eq!(fs::read(&path).unwrap(), b"a letter");
    assert_eq!(Recording::open(&path).err(), Some(RecordingError::Foreign { path: path.clone() }));
    assert!(!Recording::is_one(&path));
    let mut later = fs::read(&path).unwrap();
    later.splice(.., [0x89, b'M', b'G', b'R', b'\r', b'\n', 0x1a, 200]);
    fs::write(&path, &later).unwrap();
    assert!(matches!(Recording::open(&path).err(), Some(RecordingError::Version { version: 200, .. })));
    let nowhere = directory.path().join("nothing.mgr");
    let error = Recording::open(&nowhere).expect_err("it is not there").to_string();
    assert!(error.contains("nothing.mgr"), "{error}");
}

/// Any windows, by page.
fn any_windows() -> impl Strategy<Value = Vec<Vec<(u64, u64)>>> {
    prop::collection::vec(prop::collection::vec((1u64..1 << 34, 1u64..5000), 0..40), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_windows_come_back(spans in any_windows()) {
        let directory = tempdir().unwrap();
        let path = directory.path().join("a.mgr");
        let origin = Instant::now();
        let windows: Vec<Window> = spans
            .into_iter()
            .enumerate()
            .map(|(index, spans)| {
                let mut written: Vec<PageRange> =
                    spans.into_iter().map(|(first, count)| pages(first, count)).collect();
                crate::capture::range::merge(&mut written);
                window(origin, index as u64, written, (index == 0).then(Vec::new))
            })
            .collect();
        record(&path, origin, &windows, RingLimits::default());
        let recording = Recording::open(&path).unwrap();
        assert_same(&recording, origin, &read_all(&recording), &windows);
    }

    #[test]
    fn a_large_file_that_is_cut_anywhere_reads_back(share in 0.0f64..1.0) {
        let directory = tempdir().unwrap();
        let path = directory.path().join("a.mgr");
        let origin = Instant::now();
        let windows = story(origin, 1000);
        let sizes = record(&path, origin, &windows, RingLimits::default());
        let length = (*sizes.last().unwrap() as f64 * share) as u64;
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
        let whole = sizes.iter().filter(|size| **size <= length).count();
        match Recording::open(&path) {
            Ok(recording) => assert_same(&recording, origin, &read_all(&recording), &windows[..whole]),
            Err(_) => prop_assert_eq!(whole, 0),
        }
    }

    #[test]
    fn mutated_bytes_make_no_panic_and_no_window_that_was_not_written(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let directory = tempdir().unwrap();
        let path = directory.path().join("a.mgr");
        let origin = Instant::now();
        let windows = story(origin, 100);
        record(&path, origin, &windows, RingLimits::default());
        let mut bytes = fs::read(&path).unwrap();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        fs::write(&path, &bytes).unwrap();
        if let Ok(recording) = Recording::open(&path) {
            for read in read_all(&recording) {
                let written = &windows[read.index as usize];
                prop_assert_eq!(&read.written, &written.written);
                prop_assert_eq!(read.writable_pages, written.writable_pages);
            }
        }
    }

    /// As an attacker would: the checksums are right, the content is anything.
    #[test]
    fn hostile_content_makes_no_panic(contents in prop::collection::vec(hostile_record(), 1..8)) {
        let directory = tempdir().unwrap();
        let path = directory.path().join("a.mgr");
        let origin = Instant::now();
        record(&path, origin, &story(origin, 1), RingLimits::default());
        let mut bytes = fs::read(&path).unwrap();
        for (kind, content) in contents {
            bytes.extend(frame::frame(kind, &[&content]));
        }
        // Instead of what was recorded, after the header.
        let header = frame::Frame::parse(bytes[8..8 + frame::FRAME].try_into().unwrap()).unwrap();
        let after_header = 8 + frame::FRAME + header.length;
        let recorded = fs::metadata(&path).unwrap().len() as usize;
        bytes.drain(after_header..recorded);
        fs::write(&path, &bytes).unwrap();
        if let Ok(recording) = Recording::open(&path) {
            for window in recording.cursor_at(Duration::ZERO).take(100) {
                prop_assert!(window.written.iter().all(|range| range.start < range.end));
                prop_assert!(window.written.windows(2).all(|pair| pair[0].end <= pair[1].start));
            }
        }
    }
}

/// A record with right frames: numbers at their bounds, compressed or not.
fn hostile_record() -> impl Strategy<Value = (frame::Kind, Vec<u8>)> {
    let number = prop_oneof![0u64..4, Just(u64::MAX), Just(1 << 60), Just(1 << 52), any::<u64>()];
    let numbers = prop::collection::vec(number, 0..30).prop_map(|numbers| {
        let mut bytes = Vec::new();
        numbers.iter().for_each(|value| numbers::put(&mut bytes, *value));
        bytes
    });
    let bytes = prop_oneof![numbers, prop::collection::vec(any::<u8>(), 0..60)];
    (0..4u8, bytes, any::<bool>()).prop_map(|(kind, bytes, compressed)| {
        let kind =
            [frame::Kind::Chunk, frame::Kind::Data, frame::Kind::Data, frame::Kind::End][kind as usize];
        let content = if kind == frame::Kind::Data && compressed {
            let mut content = 1000u64.to_le_bytes().to_vec();
            content.extend(zstd::encode_all(bytes.as_slice(), 1).unwrap());
            content
        } else {
            bytes
        };
        (kind, content)
    })
}

#[test]
fn a_window_that_grows_without_end_when_it_is_decompressed_is_refused() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("a.mgr");
    let origin = Instant::now();
    record(&path, origin, &story(origin, 3), RingLimits::default());
    let mut bytes = fs::read(&path).unwrap();
    let bomb = zstd::encode_all(vec![0u8; 200 << 20].as_slice(), 1).unwrap();
    assert!(bomb.len() < 1 << 20);
    let chunk = frame::frame(frame::Kind::Chunk, &[&[1, 0x80, 0x80, 0x80, 0x80, 0x08]]);
    bytes.truncate(bytes.len() - frame::FRAME - 1);
    bytes.extend(chunk);
    bytes.extend(frame::frame(frame::Kind::Data, &[&1u64.to_le_bytes(), &bomb]));
    fs::write(&path, &bytes).unwrap();
    let recording = Recording::open(&path).unwrap();
    assert_eq!(read_all(&recording).len(), 3, "what is before it is read");
}

#[test]
fn sections_of_a_later_version_are_passed_over() {
    let origin = Instant::now();
    let context = codec::Context { page_size: PAGE, origin };
    let written = window(origin, 7, vec![pages(5, 2)], Some(vec![region(1, 100, None)]));
    let mut bytes = Vec::new();
    codec::encode(&written, None, context, &mut bytes);
    numbers::put(&mut bytes, 99);
    numbers::put_text(&mut bytes, "something new");
    let (read, table) = codec::decode(&bytes, context).unwrap();
    assert_eq!(read.written, written.written);
    assert_eq!(table, written.regions.map(|table| (table, true)));
}

#[test]
fn seeking_gives_the_run_up_and_then_what_follows() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("a.mgr");
    let origin = Instant::now();
    let windows = story(origin, 200);
    record(&path, origin, &windows, RingLimits::default());
    let mut replay = Replay::open(&path, ReplayStart::default()).unwrap();
    assert_eq!((replay.position(), replay.length()), (Duration::ZERO, LENGTH * 200));
    let run_up = replay.seek(LENGTH * 150);
    assert_eq!(replay.position(), LENGTH * 150);
    assert_eq!(run_up.last().unwrap().index, 149);
    assert!(run_up[0].regions.is_some() && run_up.len() >= 40 && run_up.len() < 80, "{}", run_up.len());
    for index in 150..200 {
        let CaptureEvent::Window(next) = replay.scan() else { panic!("windows are left") };
        assert_eq!(next.index, index);
    }
    assert_eq!(replay.scan(), CaptureEvent::Exited(ExitReason::Ended));
    assert!(replay.is_over());
    assert_eq!(replay.seek(Duration::ZERO), []);
    assert!(!replay.is_over());
    assert!(matches!(replay.scan(), CaptureEvent::Window(Window { index: 0, .. })));
    // Beyond the end is the end.
    replay.seek(LENGTH * 9999);
    assert_eq!(replay.scan(), CaptureEvent::Exited(ExitReason::Ended));
}

#[test]
fn a_replay_in_a_loop_keeps_its_pace_and_can_be_held() {
    struct Seen {
        windows: Vec<u64>,
        over: bool,
    }
    let directory = tempdir().unwrap();
    let path = directory.path().join("a.mgr");
    let origin = Instant::now();
    record(&path, origin, &story(origin, 60), RingLimits::default());
    let start = ReplayStart { from: Duration::ZERO, speed: 20.0 };
    let mut event_loop: calloop::EventLoop<'_, Seen> = calloop::EventLoop::try_new().unwrap();
    let source = calloop::Dispatcher::new(
        Replay::open(&path, start).unwrap(),
        |event, (), seen: &mut Seen| match event {
            CaptureEvent::Window(window) => seen.windows.push(window.index),
            CaptureEvent::Exited(ExitReason::Ended) => seen.over = true,
            other => panic!("{other:?}"),
        },
    );
    event_loop.handle().register_dispatcher(source.clone()).unwrap();
    let mut seen = Seen { windows: Vec::new(), over: false };
    let began = Instant::now();
    while seen.windows.len() < 20 {
        event_loop.dispatch(Some(Duration::from_secs(5)), &mut seen).unwrap();
    }
    assert!(began.elapsed() >= LENGTH, "2 s at 20 times the speed are a tenth of a second");
    source.as_source_mut().set_paused(true);
    event_loop.dispatch(Some(Duration::from_millis(50)), &mut seen).unwrap();
    let held = seen.windows.len();
    event_loop.dispatch(Some(Duration::from_millis(100)), &mut seen).unwrap();
    assert_eq!(seen.windows.len(), held, "it stands still");
    source.as_source_mut().set_paused(false);
    source.as_source_mut().set_speed(1000.0);
    while !seen.over {
        event_loop.dispatch(Some(Duration::from_secs(5)), &mut seen).unwrap();
    }
    assert_eq!(seen.windows, (0..60).collect::<Vec<_>>());
    // Over, it stays, and can be sought back.
    let run_up = source.as_source_mut().seek(LENGTH * 50);
    assert_eq!(run_up.last().map(|window| window.index), Some(49));
    (seen.windows, seen.over) = (Vec::new(), false);
    while !seen.over {
        event_loop.dispatch(Some(Duration::from_secs(5)), &mut seen).unwrap();
    }
    assert_eq!(seen.windows, (50..60).collect::<Vec<_>>());
}

#[test]
fn windows_share_the_table_of_regions() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("a.mgr");
    let origin = Instant::now();
    record(&path, origin, &story(origin, 30), RingLimits::default());
    let recording = Recording::open(&path).unwrap();
    let tables: Vec<Arc<[MemoryRegion]>> =
        read_all(&recording).into_iter().filter_map(|window| window.regions).collect();
    assert_eq!(tables.len(), 1, "a table that is repeated for seeking is no change");
}

#[test]
fn address_space_is_reserved_by_the_terabyte_and_what_is_written_of_it_comes_back() {
    let directory = tempdir().unwrap();
    let path = directory.path().join("a.mgr");
    let origin = Instant::now();
    // As a sanitizer has it; and all that five levels of page tables reach.
    for (index, (first, count)) in [(0x7fff8, 22 << 28), (16, (1 << 45) - 16)].into_iter().enumerate() {
        let path = path.with_extension(index.to_string());
        let far = first + count - 3;
        let table = vec![region(first, count, None)];
        let windows = [
            window(origin, 0, vec![pages(first, 2), pages(far, 3)], Some(table.clone())),
            window(origin, 1, vec![pages(far, 1)], None),
        ];
        record(&path, origin, &windows, RingLimits::default());
        let recording = Recording::open(&path).unwrap();
        assert_eq!(recording.damage(), None);
        let read = read_all(&recording);
        assert_eq!(read.len(), 2);
        assert_eq!(read[0].regions.as_deref(), Some(&table[..]));
        assert_eq!(read[0].written, windows[0].written);
        assert_eq!(read[1].written, windows[1].written);
    }
}
