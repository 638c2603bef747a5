//! This compositor as a module for wlcs, the conformance tests of Wayland, which loads it, lets clients in and moves pointer,
//! fingers and windows. It runs on a thread of its own, without a screen; `run` beside this file runs the tests.

#![allow(unsafe_code)]

mod ffi;

use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use calloop::EventLoop;
use calloop::channel::{self, Event, Sender};
use memory_glass::display::{BackendKind, Compositor, CompositorConfig, Placement, PuppetClient};

/// The clients, by the socket that wlcs knows them by.
type Clients = Vec<(RawFd, PuppetClient)>;
/// Something that the compositor's thread is to do.
type Order = Box<dyn FnOnce(&mut Compositor, &mut Clients) + Send>;

/// The compositor, seen from wlcs.
pub(crate) struct Server {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn new() -> Self {
        Self { orders: None, thread: None }
    }

    /// Returns when clients can be let in.
    fn start(&mut self) {
        let (orders, channel) = channel::channel::<Order>();
        let (ready, started) = mpsc::channel();
        self.orders = Some(orders);
        self.thread = Some(std::thread::spawn(move || serve(channel, &ready)));
        started.recv().expect("the compositor starts");
    }

    fn stop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the compositor ends by itself");
        }
    }

    /// Has something done, and waits until it is.
    fn order<T: Send + 'static>(
        &self,
        order: impl FnOnce(&mut Compositor, &mut Clients) -> T + Send + 'static,
    ) -> Option<T> {
        let (done, answer) = mpsc::channel();
        let order: Order = Box::new(move |compositor, clients| {
            // Nobody waits any more when wlcs has given up.
            let _gone = done.send(order(compositor, clients));
        });
        self.orders.as_ref()?.send(order).ok()?;
        answer.recv().ok()
    }

    /// The client's end of a socket, or -1.
    fn connect(&self) -> RawFd {
        let Ok((ours, theirs)) = UnixStream::pair() else { return -1 };
        let socket = ours.into_raw_fd();
        let admitted = self.order(move |compositor, clients| {
            let client = compositor.puppet().connect(theirs).ok()?;
            // A number is used again when its socket was closed.
            clients.retain(|(known, _)| *known != socket);
            clients.push((socket, client));
            Some(())
        });
        if admitted.flatten().is_some() { socket } else { -1 }
    }

    fn place(&self, socket: RawFd, surface: u32, x: i32, y: i32) {
        self.order(move |compositor, clients| {
            if let Some((_, client)) = clients.iter().find(|(known, _)| *known == socket) {
                compositor.puppet().place(client, surface, x, y);
            }
        });
    }
}

fn serve(orders: channel::Channel<Order>, ready: &mpsc::Sender<()>) {
    let mut event_loop = EventLoop::try_new().expect("an event loop");
    let config = CompositorConfig {
        headless_size: (1280, 1024),
        placement: Placement::Off,
        ..CompositorConfig::new(BackendKind::Headless)
    };
    let mut compositor = Compositor::new(config, &mut event_loop, None).expect("a headless compositor");
    compositor.puppet().plug_in();
    let mut clients = Clients::new();
    event_loop
        .handle()
        .insert_source(orders, move |event, (), compositor| match event {
            Event::Msg(order) => order(compositor, &mut clients),
            Event::Closed => compositor.stop(),
        })
        .expect("orders are heard");
    ready.send(()).expect("somebody waits");
    event_loop.run(Some(Duration::from_secs(1)), &mut compositor, |_| {}).expect("the loop runs");
}
