//! The thread that waits for the GPU, so that the event loop never does.
//!
//! Requests come in through a queue that never blocks the caller; events go out through [a channel](crate::channel) into it. Requests
//! take effect in order, with one exception: a draw replaces an older draw into the same target that has not begun.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use super::{Gpu, GpuDescription, Image, MapTarget, Painter, Picture, RenderError, RenderingMetrics};
use super::{Part, TargetId, TargetSpec};
use crate::channel as events;

/// What the worker tells the event loop.
#[derive(Debug)]
pub enum RenderEvent {
    /// A picture is complete in its target.
    Drawn {
        /// The target.
        id: TargetId,
        /// How it was drawn.
        metrics: RenderingMetrics,
        /// The pixels, for an offscreen target.
        image: Option<Arc<Image>>,
    },
    /// A target could not be made, or a picture could not be drawn into it.
    Failed {
        /// The target.
        id: TargetId,
        /// Why.
        error: RenderError,
    },
}

/// The render thread. Dropping it finishes the frame in progress and joins the thread.
///
/// A thread that is gone (it never ends by itself) shows as `Event::Closed` on the channel; requests to it are void.
pub struct RenderWorker {
    requests: Option<Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    description: GpuDescription,
}

enum Request {
    Add(TargetId, TargetSpec, Option<Part>),
    Remove(TargetId),
    Draw(TargetId, Arc<Picture>),
}

impl RenderWorker {
    /// Starts the thread and opens the Vulkan device in it.
    pub fn spawn() -> Result<(RenderWorker, events::Channel<RenderEvent>), RenderError> {
        let (requests, inbox) = channel();
        let failed = |error: std::io::Error| RenderError::Thread { reason: error.to_string() };
        let (outbox, channel_out) = events::channel().map_err(failed)?;
        let (opened, opening) = channel();
        let thread = std::thread::Builder::new()
            .name("render".into())
            .spawn(move || {
                let stage = Gpu::new().and_then(|gpu| Ok((Painter::new(&gpu)?, gpu)));
                match stage {
                    Ok((painter, gpu)) => {
                        // The other side waits for exactly this message, so it can only be gone when it was dropped.
                        if opened.send(Ok(gpu.describe())).is_ok() {
                            Desk { gpu, painter, targets: HashMap::new(), waiting: VecDeque::new(), outbox }
                                .work(&inbox);
                        }
                    }
                    Err(error) => drop(opened.send(Err(error))),
                }
            })
            .map_err(failed)?;
        let description = match opening.recv() {
            Ok(Ok(description)) => description,
            Ok(Err(error)) => {
                drop(thread.join());
                return Err(error);
            }
            Err(_) => {
                drop(thread.join());
                return Err(RenderError::NoVulkan {
                    reason: "the driver crashed while it was opened".into(),
                });
            }
        };
        Ok((RenderWorker { requests: Some(requests), thread: Some(thread), description }, channel_out))
    }

    /// The device that draws.
    pub fn describe(&self) -> &GpuDescription {
        &self.description
    }

    /// Makes a target. There is no answer when it works; when not, [`RenderEvent::Failed`]. An id that is in use
    /// gets the new target, and what waits to be drawn into the old one is dropped.
    pub fn add_target(&self, id: TargetId, target: TargetSpec) {
        self.send(Request::Add(id, target, None));
    }

    /// As [`Self::add_target`], for a target that shows a part of a larger picture.
    pub fn add_part(&self, id: TargetId, target: TargetSpec, part: Part) {
        self.send(Request::Add(id, target, Some(part)));
    }

    /// Forgets a target, and what waits to be drawn into it. Its memory is released by the thread, not before this
    /// returns.
    pub fn remove_target(&self, id: TargetId) {
        self.send(Request::Remove(id));
    }

    /// Draws into a target; the newest picture wins when they come faster than the GPU draws.
    pub fn draw(&self, id: TargetId, picture: Arc<Picture>) {
        self.send(Request::Draw(id, picture));
    }

    fn send(&self, request: Request) {
        if let Some(requests) = &self.requests {
            // A dead thread is reported once, by the closed event channel.
            drop(requests.send(request));
        }
    }
}

impl Drop for RenderWorker {
    fn drop(&mut self) {
        // Without a sender the thread's queue ends, and with it the thread.
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// What lies on the thread's desk.
struct Desk {
    gpu: Gpu,
    painter: Painter,
    targets: HashMap<TargetId, (MapTarget, bool)>,
    waiting: VecDeque<(TargetId, Arc<Picture>)>,
    outbox: events::Sender<RenderEvent>,
}

impl Desk {
    fn work(&mut self, inbox: &Receiver<Request>) {
        loop {
            if self.waiting.is_empty() {
                match inbox.recv() {
                    Ok(request) => self.take(request),
                    Err(_) => return,
                }
            }
            // Everything that has come meanwhile counts before the next frame is begun.
            loop {
                match inbox.try_recv() {
                    Ok(request) => self.take(request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            if let Some((id, picture)) = self.waiting.pop_front() {
                let event = match self.draw(id, &picture) {
                    Ok(event) => event,
                    Err(error) => RenderEvent::Failed { id, error },
                };
                self.tell(event);
            }
        }
    }

    fn take(&mut self, request: Request) {
        match request {
            Request::Draw(id, picture) => match self.waiting.iter_mut().find(|(waiting, _)| *waiting == id) {
                Some(older) => older.1 = picture,
                None => self.waiting.push_back((id, picture)),
            },
            Request::Remove(id) => self.forget(id),
            Request::Add(id, spec, part) => {
                self.forget(id);
                let made = match spec {
                    TargetSpec::DmaBuf(plane) => {
                        MapTarget::import(&self.gpu, plane).map(|target| (target, false))
                    }
                    TargetSpec::Offscreen { width, height } => {
                        MapTarget::offscreen(&self.gpu, width, height).map(|target| (target, true))
                    }
                };
                let made = made.and_then(|(mut target, read_back)| {
                    part.map_or(Ok(()), |part| target.show_part(part))?;
                    Ok((target, read_back))
                });
                match made {
                    Ok(target) => drop(self.targets.insert(id, target)),
                    Err(error) => self.tell(RenderEvent::Failed { id, error }),
                }
            }
        }
    }

    fn forget(&mut self, id: TargetId) {
        self.targets.remove(&id);
        self.waiting.retain(|(waiting, _)| *waiting != id);
    }

    fn draw(&mut self, id: TargetId, picture: &Picture) -> Result<RenderEvent, RenderError> {
        let (target, read_back) = self.targets.get_mut(&id).ok_or(RenderError::UnknownTarget { id })?;
        let metrics = self.painter.draw(picture, target)?;
        let image = if *read_back { Some(Arc::new(target.read()?)) } else { None };
        Ok(RenderEvent::Drawn { id, metrics, image })
    }

    fn tell(&self, event: RenderEvent) {
        // Nobody listens any more when the loop has dropped the channel; the worker is dropped next.
        drop(self.outbox.send(event));
    }
}
