//! The map on one output: where it lies, which buffers it is drawn into, and what the next frame shows of it.
//!
//! The best way is a ring of buffers that the display controller reads and the GPU writes ([`Ring`]). Where the card or the GPU
//! cannot do that, the picture is drawn into memory and uploaded ([`Source::Memory`]); the reason is kept and told.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use smithay::backend::allocator::Fourcc;
use smithay::backend::allocator::dmabuf::Dmabuf;
use smithay::backend::renderer::element::Id;
use smithay::backend::renderer::element::memory::MemoryRenderBuffer;
use smithay::backend::renderer::utils::{Buffer, CommitCounter};
use smithay::utils::{Logical, Physical, Point, Rectangle, Size, Transform};
use tracing::{debug, info, warn};

use super::input::MapPoint;
use super::slots::Slots;
use super::status::Stages;
use crate::render::{Image, Part, Picture, RenderEvent, RenderWorker, TargetId, TargetSpec};

/// One buffer that the display controller, our renderer and the GPU's stage all know.
pub(crate) struct MapBuffer {
    /// The memory.
    pub(crate) dmabuf: Dmabuf,
    /// The same as a `wl_buffer` of our own, which is the only thing that the DRM compositor puts on a plane.
    pub(crate) buffer: Buffer,
}

/// A ring of such buffers.
pub(crate) struct Ring {
    /// The buffers.
    pub(crate) buffers: Vec<MapBuffer>,
    /// The other end of the in-process client that owns the `wl_buffer`s: when it is dropped, they are gone.
    pub(crate) _client: UnixStream,
}

enum Source {
    /// Not drawn: off, or there is no worker.
    Nothing,
    Ring {
        ring: Ring,
        targets: Vec<TargetId>,
        slots: Slots,
        /// The inodes of the dma-bufs that the GPU says it has drawn into.
        drawn_into: Vec<Option<u64>>,
    },
    Memory {
        target: TargetId,
        drawing: bool,
        picture: Option<MemoryRenderBuffer>,
    },
}

/// What the next frame shows.
pub(crate) enum Front<'a> {
    Dmabuf { buffer: &'a MapBuffer, slot: usize },
    Memory(&'a MemoryRenderBuffer),
}

/// Where a map lies, and what of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// On its output's part of the desk.
    pub(crate) area: Rectangle<i32, Logical>,
    /// On the display.
    pub(crate) pixels: Rectangle<i32, Physical>,
    /// The part of a larger map.
    pub(crate) part: Option<Part>,
    /// How much of it is to be seen over what lies below, 0 to 1.
    pub(crate) opacity: f32,
}

impl Place {
    /// What buffers depend on.
    fn buffers(&self) -> (Size<i32, Physical>, Option<Part>) {
        (self.pixels.size, self.part)
    }
}

/// When a picture reached each stage of its way to the screen.
#[derive(Debug, Clone, Copy)]
struct Journey {
    /// The window that it shows came to its end.
    taken: Instant,
    /// The GPU was given it.
    begun: Instant,
    /// The GPU had drawn it.
    drawn: Instant,
    /// The frame that has it was handed to the display.
    queued: Instant,
}

impl Journey {
    fn stages(&self, shown: Instant) -> Stages {
        Stages {
            prepared: self.begun.saturating_duration_since(self.taken),
            drawn: self.drawn.saturating_duration_since(self.begun),
            committed: self.queued.saturating_duration_since(self.drawn),
            shown: shown.saturating_duration_since(self.queued),
        }
    }
}

/// The pictures on their way: each place is taken from the one before. The newest has its window's end alone.
#[derive(Default)]
struct Taken {
    newest: Option<Instant>,
    drawing: Option<Journey>,
    front: Option<Journey>,
    queued: Option<Journey>,
}

/// The map on one output.
pub(crate) struct MapView {
    output: String,
    place: Option<Place>,
    taken: Taken,
    /// Nobody sees it: nothing is drawn.
    dark: bool,
    source: Source,
    /// A new one makes the DRM compositor forget which planes had refused the map.
    id: Id,
    commit: CommitCounter,
    picture: Option<Arc<Picture>>,
    undrawn: bool,
    /// Why the map is uploaded instead of being drawn where the display controller reads.
    upload_reason: Option<String>,
    /// Why the map is not on a plane of its own.
    plane_reason: Option<String>,
    /// The card took the plane in its test and then refused the frame.
    plane_fails: bool,
    failure: Option<String>,
}

impl MapView {
    pub(crate) fn new(output: String) -> Self {
        Self {
            output,
            place: None,
            taken: Taken::default(),
            dark: false,
            source: Source::Nothing,
            id: Id::new(),
            commit: CommitCounter::default(),
            picture: None,
            undrawn: false,
            upload_reason: None,
            plane_reason: None,
            plane_fails: false,
            failure: None,
        }
    }

    pub(crate) fn area(&self) -> Option<Rectangle<i32, Logical>> {
        self.place.map(|place| place.area)
    }

    /// The point of the picture that lies here on the output, when the map is to be seen there.
    pub(crate) fn point(&self, at: Point<f64, Logical>) -> Option<MapPoint> {
        let place = self.place.filter(|_| self.visible())?;
        let area = place.area.to_f64();
        if !area.contains(at) {
            return None;
        }
        let (width, height) = (place.pixels.size.w.unsigned_abs(), place.pixels.size.h.unsigned_abs());
        let (whole, (left, top)) = match place.part {
            Some(part) => (part.whole, part.at),
            None => ((width, height), (0, 0)),
        };
        let along = |from: f64, length: f64, pixels: u32| {
            ((from / length.max(1.0) * f64::from(pixels)) as u32).min(pixels.saturating_sub(1))
        };
        let x = left + along(at.x - area.loc.x, area.size.w, width);
        let y = top + along(at.y - area.loc.y, area.size.h, height);
        Some(MapPoint { whole, at: (x, y) })
    }

    pub(crate) fn id(&self) -> &Id {
        &self.id
    }

    pub(crate) fn commit(&self) -> CommitCounter {
        self.commit
    }

    /// Puts the map there. `make` is asked for buffers only when they have to be others.
    pub(crate) fn place(
        &mut self,
        place: Option<Place>,
        worker: Option<&RenderWorker>,
        ids: &mut u64,
        make: impl FnOnce(Size<i32, Physical>) -> Result<Ring, String>,
    ) {
        if place == self.place {
            return;
        }
        let same_buffers = place.map(|place| place.buffers()) == self.place.map(|place| place.buffers());
        self.place = place;
        self.retry_planes();
        if same_buffers {
            self.commit.increment();
            return;
        }
        let Some(worker) = worker else { return };
        self.drop_buffers(worker);
        let Some(place) = place else { return };
        let Rectangle { loc, size } = place.pixels;
        let words = format!("{},{},{}x{}", loc.x, loc.y, size.w, size.h);
        info!(output = self.output, place = words, "the map has its place");
        let ring = if worker.describe().dma_buf_import {
            make(size)
        } else {
            Err(format!("{} cannot import dma-bufs", worker.describe().name))
        };
        match ring {
            Ok(ring) => self.use_ring(ring, place, worker, ids),
            Err(reason) => self.use_memory(reason, place, worker, ids),
        }
        self.draw_newest(worker);
    }

    fn use_ring(&mut self, ring: Ring, place: Place, worker: &RenderWorker, ids: &mut u64) {
        let mut targets = Vec::with_capacity(ring.buffers.len());
        for buffer in &ring.buffers {
            match super::map_buffers::plane_of(&buffer.dmabuf) {
                Ok(plane) => {
                    let id = next(ids);
                    add_target(worker, id, TargetSpec::DmaBuf(plane), place.part);
                    targets.push(id);
                }
                Err(reason) => {
                    for id in targets {
                        worker.remove_target(id);
                    }
                    return self.use_memory(reason, place, worker, ids);
                }
            }
        }
        self.upload_reason = None;
        let slots = Slots::new(targets.len());
        let drawn_into = vec![None; targets.len()];
        self.source = Source::Ring { ring, targets, slots, drawn_into };
    }

    fn use_memory(&mut self, reason: String, place: Place, worker: &RenderWorker, ids: &mut u64) {
        let target = next(ids);
        let size = place.pixels.size;
        let (width, height) = (size.w.unsigned_abs(), size.h.unsigned_abs());
        add_target(worker, target, TargetSpec::Offscreen { width, height }, place.part);
        self.source = Source::Memory { target, drawing: false, picture: None };
        if self.upload_reason.as_ref() != Some(&reason) {
            info!(output = self.output, reason, "the map is uploaded and composited");
            self.upload_reason = Some(reason);
        }
    }

    fn drop_buffers(&mut self, worker: &RenderWorker) {
        match std::mem::replace(&mut self.source, Source::Nothing) {
            Source::Nothing => {}
            Source::Ring { targets, .. } => {
                for id in targets {
                    worker.remove_target(id);
                }
            }
            Source::Memory { target, .. } => worker.remove_target(target),
        }
        self.undrawn = self.picture.is_some();
    }

    /// The output is going away.
    pub(crate) fn close(&mut self, worker: Option<&RenderWorker>) {
        if let Some(worker) = worker {
            self.drop_buffers(worker);
        }
        self.place = None;
    }

    /// Nobody sees it any more, or somebody does again.
    pub(crate) fn set_dark(&mut self, dark: bool, worker: Option<&RenderWorker>) {
        self.dark = dark;
        if let Some(worker) = worker {
            self.draw_newest(worker);
        }
    }

    /// A newer picture, and when what it shows came to its end; the older one is drawn no more. One that nobody could tell from
    /// the one before is not drawn at all.
    pub(crate) fn show(
        &mut self,
        picture: Arc<Picture>,
        taken: Option<Instant>,
        worker: Option<&RenderWorker>,
    ) {
        let drawn = !self.undrawn && !matches!(self.source, Source::Nothing);
        if drawn && self.picture.as_ref().is_some_and(|old| picture.looks_like(old)) {
            return;
        }
        self.picture = Some(picture);
        self.taken.newest = taken;
        self.undrawn = true;
        if let Some(worker) = worker {
            self.draw_newest(worker);
        }
    }

    /// Hands the newest picture to the worker, when there is a free buffer.
    pub(crate) fn draw_newest(&mut self, worker: &RenderWorker) {
        let (true, Some(picture)) = (self.undrawn && !self.dark, &self.picture) else { return };
        let target = match &mut self.source {
            Source::Nothing => return,
            Source::Ring { targets, slots, .. } => match slots.begin() {
                Some(slot) => targets[slot],
                None => return,
            },
            Source::Memory { drawing: true, .. } => return,
            Source::Memory { target, drawing, .. } => {
                *drawing = true;
                *target
            }
        };
        self.undrawn = false;
        let begun = Instant::now();
        let journey = |taken| Journey { taken, begun, drawn: begun, queued: begun };
        self.taken.drawing = self.taken.newest.take().map(journey);
        worker.draw(target, picture.clone());
    }

    /// The worker's answer. Returns whether this view has something new to show; `None` when the answer is not for it.
    pub(crate) fn rendered(
        &mut self,
        event: &RenderEvent,
        worker: &RenderWorker,
        ids: &mut u64,
    ) -> Option<bool> {
        let (RenderEvent::Drawn { id, .. } | RenderEvent::Failed { id, .. }) = event;
        let slot = match &self.source {
            Source::Nothing => return None,
            Source::Ring { targets, .. } => targets.iter().position(|target| target == id)?,
            Source::Memory { target, .. } if target == id => 0,
            Source::Memory { .. } => return None,
        };
        let new = match event {
            RenderEvent::Drawn { image, metrics, .. } => {
                if let Source::Ring { drawn_into, .. } = &mut self.source {
                    drawn_into[slot] = metrics.dma_buf;
                }
                self.drawn(slot, image.as_deref())
            }
            RenderEvent::Failed { error, .. } => {
                self.render_failed(slot, &error.to_string(), worker, ids);
                false
            }
        };
        self.draw_newest(worker);
        Some(new)
    }

    fn drawn(&mut self, slot: usize, image: Option<&Image>) -> bool {
        match &mut self.source {
            Source::Nothing => return false,
            Source::Ring { slots, .. } => slots.finished(slot),
            Source::Memory { drawing, picture, .. } => {
                *drawing = false;
                let Some(image) = image else { return false };
                upload(image, picture);
            }
        }
        self.failure = None;
        let drawn = Instant::now();
        self.taken.front = self.taken.drawing.take().map(|journey| Journey { drawn, ..journey });
        self.commit.increment();
        true
    }

    fn render_failed(&mut self, slot: usize, reason: &str, worker: &RenderWorker, ids: &mut u64) {
        match &mut self.source {
            Source::Nothing => {}
            // Whatever the GPU dislikes about the display's buffer, memory of its own is still there.
            Source::Ring { slots, .. } => {
                slots.failed(slot);
                self.drop_buffers(worker);
                if let Some(place) = self.place {
                    self.use_memory(reason.to_owned(), place, worker, ids);
                }
            }
            Source::Memory { drawing, .. } => {
                *drawing = false;
                if self.failure.as_deref() != Some(reason) {
                    warn!(output = self.output, reason, "the map cannot be drawn");
                    self.failure = Some(reason.to_owned());
                }
            }
        }
    }

    /// What the next frame shows of the map, and where.
    pub(crate) fn front(&self) -> Option<(Place, Front<'_>)> {
        let place = self.place?;
        let front = match &self.source {
            Source::Nothing => return None,
            Source::Ring { ring, slots, .. } => {
                let slot = slots.front()?;
                Front::Dmabuf { buffer: &ring.buffers[slot], slot }
            }
            Source::Memory { picture, .. } => Front::Memory(picture.as_ref()?),
        };
        Some((place, front))
    }

    /// The renderer cannot read the ring's buffers, so they could never be composited.
    pub(crate) fn give_up_ring(&mut self, reason: String, worker: &RenderWorker, ids: &mut u64) {
        if let (Source::Ring { .. }, Some(place)) = (&self.source, self.place) {
            self.drop_buffers(worker);
            self.use_memory(reason, place, worker, ids);
            self.draw_newest(worker);
        }
    }

    /// A frame that shows this buffer is on its way to the screen.
    pub(crate) fn queued(&mut self, slot: Option<usize>) {
        let queued = Instant::now();
        self.taken.queued = self.taken.front.take().map(|journey| Journey { queued, ..journey });
        if let Source::Ring { slots, .. } = &mut self.source {
            slots.queued(slot);
        }
    }

    /// That frame is on the screen since `shown`. Returns how its picture came there, if it is the first to show it.
    pub(crate) fn presented(&mut self, shown: Instant, worker: Option<&RenderWorker>) -> Option<Stages> {
        if let Source::Ring { slots, .. } = &mut self.source {
            slots.presented();
        }
        if let Some(worker) = worker {
            self.draw_newest(worker);
        }
        self.taken.queued.take().map(|journey| journey.stages(shown))
    }

    /// The screen was lost or regained: buffers are free again, and planes are asked again.
    pub(crate) fn screen_lost(&mut self, worker: Option<&RenderWorker>) {
        if let Source::Ring { slots, .. } = &mut self.source {
            slots.screen_lost();
        }
        self.retry_planes();
        if let Some(worker) = worker {
            self.draw_newest(worker);
        }
    }

    /// Something has changed that may make a plane take the map after all.
    pub(crate) fn retry_planes(&mut self) {
        self.id = Id::new();
        self.plane_reason = None;
        self.plane_fails = false;
    }

    /// Whether planes are worth a try.
    pub(crate) fn may_have_plane(&self) -> bool {
        !self.plane_fails
    }

    /// Whether a picture of a window that has just ended is being drawn: the next frame is better with it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.taken.drawing.is_some()
    }

    /// How much of it is to be seen over what lies below, 0 to 1.
    pub(crate) fn opacity(&self) -> f32 {
        self.place.map_or(1.0, |place| place.opacity)
    }

    /// The card took the plane in its test and then refused the frame: it is asked again when something has changed.
    pub(crate) fn plane_failed(&mut self, reason: &str) {
        if !self.plane_fails {
            warn!(
                output = self.output,
                reason, "a frame with the map on a plane was refused: it is composited"
            );
        }
        self.plane_fails = true;
    }

    /// The last frame had the map on a plane (`None`) or not, for this reason, which is logged when it is a new one.
    pub(crate) fn plane_answer(&mut self, reason: Option<String>) {
        if self.plane_reason != reason {
            match &reason {
                Some(reason) => info!(output = self.output, reason, "the map is composited"),
                None => debug!(output = self.output, "the map is on a plane"),
            }
            self.plane_reason = reason;
        }
    }

    /// The inode of the dma-buf on the screen, as the GPU knows it, which has drawn into it.
    pub(crate) fn buffer_on_screen(&self) -> Option<u64> {
        match &self.source {
            Source::Ring { slots, drawn_into, .. } => drawn_into[slots.on_screen()?],
            Source::Nothing | Source::Memory { .. } => None,
        }
    }

    /// Why the map is not on a plane of its own, if so.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.failure.as_deref().or(self.upload_reason.as_deref()).or(self.plane_reason.as_deref())
    }

    /// Whether there is anything of it on the screen.
    pub(crate) fn visible(&self) -> bool {
        self.front().is_some()
    }
}

fn add_target(worker: &RenderWorker, id: TargetId, spec: TargetSpec, part: Option<Part>) {
    match part {
        Some(part) => worker.add_part(id, spec, part),
        None => worker.add_target(id, spec),
    }
}

fn next(ids: &mut u64) -> TargetId {
    *ids += 1;
    TargetId(*ids)
}

/// Copies the picture to where the renderers upload from; only what has changed is damage, but here that is all of it.
fn upload(image: &Image, buffer: &mut Option<MemoryRenderBuffer>) {
    let size = (image.width as i32, image.height as i32);
    let whole = Rectangle::from_size(size.into());
    let target = buffer.get_or_insert_with(|| {
        MemoryRenderBuffer::new(Fourcc::Xrgb8888, size, 1, Transform::Normal, Some(vec![whole]))
    });
    let copied = target.render().draw(|memory| {
        for (bytes, pixel) in memory.chunks_exact_mut(4).zip(&image.pixels) {
            bytes.copy_from_slice(&pixel.to_le_bytes());
        }
        Ok::<_, std::convert::Infallible>(vec![whole])
    });
    match copied {
        Ok(()) => {}
        Err(never) => match never {},
    }
}
