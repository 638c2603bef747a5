//! What clients ask is answered, each in its share, and what they are told is sent right before the loop
//! sleeps: whoever runs the loop needs to know nothing of it.
//!
//! Xwayland is not relayed: Smithay gives its socket to the library itself.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::{EventSource, Interest, LoopHandle, Mode, Poll, PostAction, Readiness, Token, TokenFactory};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use smithay::reexports::wayland_server::{Client, Display, DisplayHandle};
use tracing::debug;

use super::limits;
use super::relay::{Carried, Relay};
use super::shares::Share;
use super::{Compositor, DisplayError};

/// Bytes of requests after which what a client has is counted. Twelve make an object.
const COUNTED: usize = 1 << 18;

/// How long a client that does not read what it is told is not read either. Then it is, and disconnected when
/// it is told too much.
const UNHEARD: Duration = Duration::from_secs(2);

/// The relays of all clients.
#[derive(Debug)]
pub(crate) struct Relays {
    /// Tells which clients ask something.
    asking: Epoll,
    /// Tells for which there is something to be told.
    telling: Epoll,
    all: HashMap<u64, Place>,
    next: u64,
}

/// What there is for a client.
#[derive(Debug)]
struct Place {
    relay: Relay,
    share: Share,
    /// As the library knows it, from the moment on at which it does.
    client: Option<Client>,
    /// Bytes of requests since what it has was counted last.
    uncounted: usize,
    /// Since when it has not read what it is told. It is not read either, for a while.
    blocked: Option<Instant>,
}

pub(crate) type SharedRelays = Rc<RefCell<Relays>>;

/// None yet.
pub(crate) fn relays() -> Result<SharedRelays, DisplayError> {
    let relays = || -> nix::Result<Relays> {
        let epoll = || Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        Ok(Relays { asking: epoll()?, telling: epoll()?, all: HashMap::new(), next: 0 })
    };
    let relays = relays()
        .map_err(|error| DisplayError::Setup { what: "watching the clients", reason: error.to_string() })?;
    Ok(Rc::new(RefCell::new(relays)))
}

impl Relays {
    /// A client more. Returns its number here, and what the library is to have in the place of its socket.
    pub(crate) fn add(&mut self, client: UnixStream) -> io::Result<(u64, UnixStream)> {
        let (relay, library) = Relay::new(client)?;
        let id = self.next;
        self.asking.add(relay.client(), EpollEvent::new(EpollFlags::EPOLLIN, id))?;
        self.telling.add(relay.library(), EpollEvent::new(EpollFlags::EPOLLIN, id))?;
        self.next += 1;
        let share = Share::new(Instant::now());
        self.all.insert(id, Place { relay, share, client: None, uncounted: 0, blocked: None });
        Ok((id, library))
    }

    /// The library knows it as this.
    pub(crate) fn known_as(&mut self, id: u64, client: Client) {
        if let Some(place) = self.all.get_mut(&id) {
            place.client = Some(client);
        }
    }

    /// Those that have not listened for long are read again.
    fn lose_patience(&mut self, now: Instant) {
        for (id, place) in &mut self.all {
            if place.blocked.is_some_and(|since| now.saturating_duration_since(since) > UNHEARD) {
                // Now it is read, until nobody keeps its answers any more.
                place.blocked = None;
                interest(&self.asking, &place.relay, *id, EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT);
            }
        }
    }

    /// A turn of the loop begins: those that ask something.
    fn begin(&mut self, now: Instant) -> Vec<u64> {
        let ready = wait(&self.asking, self.all.len());
        for (id, ready) in &ready {
            if let Some(place) = self.all.get_mut(id) {
                place.share.begin(now);
            }
            if ready.contains(EpollFlags::EPOLLOUT) {
                self.tell(*id);
            }
        }
        ready.into_iter().map(|(id, _)| id).collect()
    }

    /// Gives the library the next requests of this client. Returns whether there were some, or the last one
    /// was.
    fn ask(&mut self, id: u64) -> bool {
        let Some(Place { relay, share, uncounted, blocked, .. }) = self.all.get_mut(&id) else {
            return false;
        };
        if blocked.is_some() {
            return false;
        }
        match relay.carry_requests(share.parcel()) {
            Carried::Bytes(count) => {
                *uncounted += count;
                true
            }
            Carried::Nothing | Carried::Blocked => false,
            Carried::Over => {
                // An end is readable for ever.
                let _once = self.asking.delete(relay.client());
                true
            }
        }
    }

    /// The library has answered this client's requests since then. Returns whether it is its turn still.
    fn asked(&mut self, id: u64, since: Instant, asking: usize) -> bool {
        let answers = self.tell(id);
        let Some(Place { share, .. }) = self.all.get_mut(&id) else { return false };
        share.took(since.elapsed(), answers, asking)
    }

    /// This client, when it has asked so much that it may have made more than it may have.
    fn due_for_count(&mut self, id: u64) -> Option<Client> {
        let place = self.all.get_mut(&id).filter(|place| place.uncounted >= COUNTED)?;
        place.uncounted = 0;
        place.client.clone()
    }

    /// Tells a client all that there is for it, and lets go of it when the library has. Returns how many
    /// bytes there were.
    fn tell(&mut self, id: u64) -> usize {
        let Some(Place { relay, blocked, .. }) = self.all.get_mut(&id) else { return 0 };
        let (mut told, was_blocked) = (0, relay.is_blocked());
        loop {
            match relay.carry_events() {
                Carried::Bytes(count) => told += count,
                Carried::Over => {
                    self.all.remove(&id);
                    return told;
                }
                Carried::Nothing | Carried::Blocked => break,
            }
        }
        match (was_blocked, relay.is_blocked()) {
            (false, true) => {
                *blocked = Some(Instant::now());
                interest(&self.asking, relay, id, EpollFlags::EPOLLOUT);
            }
            (true, false) => {
                *blocked = None;
                interest(&self.asking, relay, id, EpollFlags::EPOLLIN);
            }
            _ => {}
        }
        told
    }

    /// Tells all clients what there is for them. Returns whether there was anything.
    fn tell_all(&mut self) -> bool {
        let mut any = false;
        for (id, ready) in wait(&self.telling, self.all.len()) {
            any |= self.tell(id) > 0;
            let blocked = self.all.get(&id).is_some_and(|place| place.relay.is_blocked());
            if blocked && ready.contains(EpollFlags::EPOLLHUP) {
                // The library has let go of it, and it is not waited for.
                self.all.remove(&id);
            }
        }
        any
    }
}

/// What is waited for with a client. It is not there any more when the client has ended, and nothing can be
/// told then.
fn interest(asking: &Epoll, relay: &Relay, id: u64, interest: EpollFlags) {
    let _there = asking.modify(relay.client(), &mut EpollEvent::new(interest, id));
}

/// Those of so many that are ready now, and for what.
fn wait(epoll: &Epoll, all: usize) -> Vec<(u64, EpollFlags)> {
    let mut events = vec![EpollEvent::empty(); all.max(1)];
    // An interruption by a signal is as good as nothing: they are ready still when the loop asks again.
    let count = epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
    events[..count].iter().map(|event| (event.data(), event.events())).collect()
}

/// Wakes the loop when clients ask something.
pub(crate) struct WaylandSource {
    display: Generic<Display<Compositor>>,
    asking: Generic<OwnedFd>,
    handle: DisplayHandle,
    relays: SharedRelays,
}

impl WaylandSource {
    pub(crate) fn new(display: Display<Compositor>, relays: &SharedRelays) -> Result<Self, DisplayError> {
        let asking = relays.borrow().asking.0.try_clone();
        let asking = asking.map_err(|error| DisplayError::Setup {
            what: "watching the clients",
            reason: error.to_string(),
        })?;
        let handle = display.handle();
        Ok(Self {
            display: Generic::new(display, Interest::READ, Mode::Level),
            asking: Generic::new(asking, Interest::READ, Mode::Level),
            handle,
            relays: relays.clone(),
        })
    }

    pub(crate) fn insert(self, handle: &LoopHandle<'static, Compositor>) -> Result<(), DisplayError> {
        let relays = self.relays.clone();
        handle
            .insert_source(self, move |(), display, compositor| {
                let dispatched = answer(&relays, display, compositor);
                compositor.end_turn();
                dispatched
            })
            .map(drop)
            .map_err(|error| DisplayError::Setup { what: "watching the clients", reason: error.to_string() })
    }
}

/// Answers each client that asks something, in its share.
fn answer(
    relays: &RefCell<Relays>,
    display: &mut Display<Compositor>,
    compositor: &mut Compositor,
) -> io::Result<()> {
    let asking = relays.borrow_mut().begin(Instant::now());
    for id in &asking {
        while relays.borrow_mut().ask(*id) {
            let since = Instant::now();
            display.dispatch_clients(compositor)?;
            let counted = relays.borrow_mut().due_for_count(*id);
            if let Some(client) = counted {
                limits::bound_objects(&client, &compositor.desk.display);
            }
            if !relays.borrow_mut().asked(*id, since, asking.len()) {
                break;
            }
        }
    }
    // Xwayland, and those of this process.
    display.dispatch_clients(compositor).map(drop)
}

impl EventSource for WaylandSource {
    type Event = ();
    type Metadata = Display<Compositor>;
    type Ret = io::Result<()>;
    type Error = io::Error;

    const NEEDS_EXTRA_LIFECYCLE_EVENTS: bool = true;

    #[allow(unsafe_code)]
    fn process_events<F>(&mut self, _: Readiness, _: Token, mut callback: F) -> io::Result<PostAction>
    where
        F: FnMut((), &mut Display<Compositor>) -> io::Result<()>,
    {
        // SAFETY: the display is not dropped or replaced here, so the descriptor stays registered and valid.
        callback((), unsafe { self.display.get_mut() })?;
        Ok(PostAction::Continue)
    }

    fn register(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.display.register(poll, factory)?;
        self.asking.register(poll, factory)
    }

    fn reregister(&mut self, poll: &mut Poll, factory: &mut TokenFactory) -> calloop::Result<()> {
        self.display.reregister(poll, factory)?;
        self.asking.reregister(poll, factory)
    }

    fn unregister(&mut self, poll: &mut Poll) -> calloop::Result<()> {
        self.display.unregister(poll)?;
        self.asking.unregister(poll)
    }

    fn before_sleep(&mut self) -> calloop::Result<Option<(Readiness, Token)>> {
        self.relays.borrow_mut().lose_patience(Instant::now());
        loop {
            // Errors here are single clients that are gone; they are noticed and cleaned up when their socket
            // is read.
            if let Err(error) = self.handle.flush_clients() {
                debug!(%error, "a client could not be written to");
            }
            // What did not fit into a socket is what is left to flush.
            if !self.relays.borrow_mut().tell_all() {
                return Ok(None);
            }
        }
    }
}
