//! The render thread: what is asked of it, and what comes back through an event loop.

mod render;

use std::sync::Arc;
use std::time::{Duration, Instant};

use calloop::EventLoop;
use memory_glass::channel::{Channel, Event};
use memory_glass::render::{
    ColorPalette, DmaBufPlane, Picture, RenderError, RenderEvent, RenderWorker, TargetId, TargetSpec,
};
use render::{assert_same, picture, program, reference};

struct Desk {
    events: EventLoop<'static, Vec<RenderEvent>>,
    seen: Vec<RenderEvent>,
}

impl Desk {
    fn new(channel: Channel<RenderEvent>) -> Desk {
        let events = EventLoop::try_new().expect("an event loop");
        let insert = events.handle().insert_source(channel, |event, (), seen: &mut Vec<RenderEvent>| {
            if let Event::Msg(event) = event {
                seen.push(event);
            }
        });
        insert.expect("a source");
        Desk { events, seen: Vec::new() }
    }

    /// Turns the loop until `enough`; a minute without that is a failure.
    fn until(&mut self, enough: impl Fn(&[RenderEvent]) -> bool) -> Vec<RenderEvent> {
        let begun = Instant::now();
        while !enough(&self.seen) {
            assert!(begun.elapsed() < Duration::from_secs(60), "nothing more came after {:?}", self.seen);
            self.events.dispatch(Duration::from_millis(100), &mut self.seen).expect("a turn of the loop");
        }
        std::mem::take(&mut self.seen)
    }
}

fn worker() -> (RenderWorker, Desk) {
    let (worker, channel) = RenderWorker::spawn().unwrap_or_else(|error| panic!("{error}"));
    (worker, Desk::new(channel))
}

fn offscreen(width: u32, height: u32) -> TargetSpec {
    TargetSpec::Offscreen { width, height }
}

fn small() -> Arc<Picture> {
    Arc::new(picture(program(5), ColorPalette::Viridis))
}

#[test]
fn a_picture_comes_back_as_it_was_asked_for() {
    let (worker, mut desk) = worker();
    assert!(!worker.describe().name.is_empty());
    let (id, picture) = (TargetId(7), small());
    worker.add_target(id, offscreen(200, 150));
    worker.draw(id, Arc::clone(&picture));
    let events = desk.until(|seen| !seen.is_empty());
    let [RenderEvent::Drawn { id: TargetId(7), metrics, image: Some(image) }] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((metrics.resolution, metrics.zero_copy), ((200, 150), false));
    assert_same(image, &reference(&picture, 200, 150), "from the thread");
}

#[test]
fn the_newest_picture_wins_and_no_target_starves() {
    let (worker, mut desk) = worker();
    let (fast, other) = (TargetId(1), TargetId(2));
    worker.add_target(fast, offscreen(640, 480));
    worker.add_target(other, offscreen(160, 120));
    let pictures: Vec<Arc<Picture>> = (0..200)
        .map(|i| {
            let mut one = Picture::clone(&small());
            one.caption.status = format!("picture {i}");
            Arc::new(one)
        })
        .collect();
    for (i, picture) in pictures.iter().enumerate() {
        worker.draw(fast, Arc::clone(picture));
        if i == 0 {
            worker.draw(other, Arc::clone(picture));
        }
    }
    let last = reference(&pictures[199], 640, 480);
    let is_last = |event: &RenderEvent| matches!(event, RenderEvent::Drawn { id: TargetId(1), image: Some(image), .. } if **image == last);
    let count = |events: &[RenderEvent], target| {
        events.iter().filter(|event| matches!(event, RenderEvent::Drawn { id, .. } if *id == target)).count()
    };
    let events = desk.until(|seen| seen.iter().any(is_last) && count(seen, other) > 0);
    assert_eq!(count(&events, other), 1);
    // Asking is far quicker than drawing: most pictures must have been replaced before their turn came.
    assert!(count(&events, fast) < 100, "{} of 200 were drawn", count(&events, fast));
}

#[test]
fn failures_name_the_target_and_the_thread_lives_on() {
    let (worker, mut desk) = worker();
    let good = small();
    worker.draw(TargetId(1), Arc::clone(&good));
    worker.add_target(TargetId(2), offscreen(0, 0));
    worker.add_target(TargetId(3), offscreen(64, 64));
    let mut wrong = Picture::clone(&good);
    wrong.caption.order = 9;
    worker.draw(TargetId(3), Arc::new(wrong));
    let events = desk.until(|seen| seen.len() == 3);
    let errors: Vec<(u64, &RenderError)> = events
        .iter()
        .map(|event| match event {
            RenderEvent::Failed { id, error } => (id.0, error),
            RenderEvent::Drawn { .. } => panic!("{event:?}"),
        })
        .collect();
    for (id, error) in errors {
        match id {
            1 => assert!(matches!(error, RenderError::UnknownTarget { id: TargetId(1) }), "{error}"),
            2 => assert!(matches!(error, RenderError::TargetSize { .. }), "{error}"),
            _ => assert!(matches!(error, RenderError::Density { .. }), "{error}"),
        }
    }
    worker.draw(TargetId(3), good);
    assert!(matches!(desk.until(|seen| !seen.is_empty())[..], [RenderEvent::Drawn { id: TargetId(3), .. }]));
}

#[test]
fn a_replaced_target_has_its_new_size_and_a_removed_one_is_gone() {
    let (worker, mut desk) = worker();
    let id = TargetId(1);
    worker.add_target(id, offscreen(64, 64));
    worker.add_target(id, offscreen(96, 64));
    worker.draw(id, small());
    let events = desk.until(|seen| !seen.is_empty());
    assert!(
        matches!(&events[..], [RenderEvent::Drawn { metrics, .. }] if metrics.resolution == (96, 64)),
        "{events:?}"
    );
    worker.remove_target(id);
    worker.draw(id, small());
    let events = desk.until(|seen| !seen.is_empty());
    assert!(
        matches!(&events[..], [RenderEvent::Failed { error: RenderError::UnknownTarget { .. }, .. }]),
        "{events:?}"
    );
}

#[test]
fn a_file_that_is_no_dma_buf_is_refused_and_closed() {
    let (worker, mut desk) = worker();
    let (reader, writer) = nix::unistd::pipe().expect("a pipe");
    let plane = DmaBufPlane { fd: writer, width: 64, height: 64, stride: 256, offset: 0 };
    worker.add_target(TargetId(1), TargetSpec::DmaBuf(plane));
    let events = desk.until(|seen| !seen.is_empty());
    let [RenderEvent::Failed { id: TargetId(1), error }] = &events[..] else { panic!("{events:?}") };
    match error {
        RenderError::DmaBufUnsupported { .. } => assert!(!worker.describe().dma_buf_import),
        RenderError::DmaBufImport { .. } => assert!(worker.describe().dma_buf_import),
        other => panic!("{other}"),
    }
    // The other end of the pipe sees the end of file as soon as the last copy of the descriptor is closed.
    assert_eq!(nix::unistd::read(&reader, &mut [0; 8]), Ok(0));
}

#[test]
fn dropping_ends_the_thread_whatever_is_asked_of_it() {
    for requests in [0, 1, 50] {
        let (worker, channel) = RenderWorker::spawn().unwrap_or_else(|error| panic!("{error}"));
        worker.add_target(TargetId(1), offscreen(640, 480));
        for _ in 0..requests {
            worker.draw(TargetId(1), small());
        }
        drop(worker);
        // The thread held the only sender: the channel is closed, after what was drawn.
        let mut closed = false;
        let mut events: EventLoop<'_, bool> = EventLoop::try_new().expect("an event loop");
        let insert = events.handle().insert_source(channel, |event, (), closed: &mut bool| {
            *closed |= matches!(event, Event::Closed);
        });
        insert.expect("a source");
        for _ in 0..100 {
            events.dispatch(Duration::from_millis(1), &mut closed).expect("a turn of the loop");
        }
        assert!(closed);
    }
}
