//! The clients of the control socket. A client that is slow, silent, rude or gone costs the session nothing but what
//! [`crate::ipc`] allows it: nothing here waits.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::rc::Weak;
use std::time::Duration;

use calloop::generic::Generic;
use calloop::timer::{TimeoutAction, Timer};
use calloop::{Interest, LoopHandle, Mode, PostAction, RegistrationToken};
use tracing::{debug, warn};

use super::lines::{Lines, Outbox, TooLong, Written};
use super::socket::{self, Place};
use super::state::Session;
use crate::display::{Compositor, DisplayError};
use crate::ipc::{Event, MAX_CLIENTS, MAX_LINE, Reply, Request};

/// How long to leave the socket alone when a client cannot be let in.
const BREATH: Duration = Duration::from_secs(1);
/// What is read of one client before others have their turn.
const BITE: usize = 16 << 10;

/// A client's number, never used twice.
pub(super) type ClientId = u64;

/// The socket and everybody who is connected to it.
pub(super) struct Control {
    handle: LoopHandle<'static, Compositor>,
    session: Weak<RefCell<Session>>,
    place: Place,
    listening: RegistrationToken,
    clients: BTreeMap<ClientId, Client>,
    next: ClientId,
}

struct Client {
    stream: UnixStream,
    reading: Option<RegistrationToken>,
    paused: bool,
    writing: Option<RegistrationToken>,
    lines: Lines,
    outbox: Outbox,
    /// A request is being worked on; the next is not looked at before it is answered.
    busy: bool,
    /// It will not write any more, and is let go when it has its answers.
    finished: bool,
    events: bool,
}

/// What a client wrote.
pub(super) enum Asked {
    Request(Request),
    Nonsense(String),
}

impl Control {
    /// Opens the socket; requests go to `session`.
    pub(super) fn open(
        handle: &LoopHandle<'static, Compositor>,
        session: Weak<RefCell<Session>>,
    ) -> Result<Self, DisplayError> {
        let (listener, place) = socket::open()?;
        let setup = |error: &dyn std::fmt::Display| DisplayError::Setup {
            what: "listening on the control socket",
            reason: error.to_string(),
        };
        let weak = session.clone();
        let listening = handle
            .insert_source(Generic::new(listener, Interest::READ, Mode::Level), move |_, listener, _| {
                let Some(session) = weak.upgrade() else { return Ok(PostAction::Remove) };
                let mut session = session.borrow_mut();
                Ok(session.control().map_or(PostAction::Remove, |control| control.accept(listener)))
            })
            .map_err(|error| setup(&error))?;
        Ok(Self { handle: handle.clone(), session, place, listening, clients: BTreeMap::new(), next: 0 })
    }

    fn accept(&mut self, listener: &UnixListener) -> PostAction {
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(error) = self.let_in(stream) {
                    warn!(error, "a client of the control socket could not be let in");
                }
                PostAction::Continue
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                PostAction::Continue
            }
            // No descriptors left, most likely: trying again at once would only burn time.
            Err(error) => {
                warn!(%error, "no clients are let in for a moment");
                let (handle, listening) = (self.handle.clone(), self.listening);
                let timer = Timer::from_duration(BREATH);
                let armed = self.handle.insert_source(timer, move |_, (), _| {
                    if let Err(error) = handle.enable(&listening) {
                        warn!(%error, "no clients are let in any more");
                    }
                    TimeoutAction::Drop
                });
                if armed.is_ok() { PostAction::Disable } else { PostAction::Continue }
            }
        }
    }

    fn let_in(&mut self, mut stream: UnixStream) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        stream.set_nonblocking(true).map_err(|error| text(&error))?;
        if self.clients.len() >= MAX_CLIENTS {
            let refusal: Reply = Err(format!("{MAX_CLIENTS} clients are connected already: close one"));
            // If it does not take even this, it is gone.
            let _ = stream.write_all(format!("{}\n", encode(&refusal)).as_bytes());
            return Err(format!("there are {MAX_CLIENTS} already"));
        }
        let id = self.next;
        self.next += 1;
        let source =
            Generic::new(stream.try_clone().map_err(|error| text(&error))?, Interest::READ, Mode::Level);
        let weak = self.session.clone();
        let reading = self
            .handle
            .insert_source(source, move |_, _, compositor: &mut Compositor| {
                let Some(session) = weak.upgrade() else { return Ok(PostAction::Remove) };
                let mut session = session.borrow_mut();
                let Some(control) = session.control() else { return Ok(PostAction::Remove) };
                control.read(id);
                session.hear(compositor, id);
                Ok(session.control().map_or(PostAction::Remove, |control| control.after_reading(id)))
            })
            .map_err(|error| text(&error))?;
        self.clients.insert(
            id,
            Client {
                stream,
                reading: Some(reading),
                paused: false,
                writing: None,
                lines: Lines::default(),
                outbox: Outbox::default(),
                busy: false,
                finished: false,
                events: false,
            },
        );
        Ok(())
    }

    /// Takes in what the client has written, as much as is its turn.
    fn read(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let mut bite = [0; BITE];
        match client.stream.read(&mut bite) {
            Ok(0) => client.finished = true,
            Ok(count) => client.lines.push(&bite[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => client.finished = true,
        }
    }

    /// Whether to go on reading now that the requests have been looked at.
    fn after_reading(&mut self, id: ClientId) -> PostAction {
        let Some(client) = self.clients.get_mut(&id) else { return PostAction::Remove };
        if client.finished {
            client.reading = None;
            self.close_if_finished(id);
            return PostAction::Remove;
        }
        client.paused = client.busy;
        if client.busy { PostAction::Disable } else { PostAction::Continue }
    }

    /// The next request of this client, when it is not waiting for an answer.
    pub(super) fn next_request(&mut self, id: ClientId) -> Option<Asked> {
        let client = self.clients.get_mut(&id).filter(|client| !client.busy)?;
        loop {
            let line = match client.lines.next() {
                Ok(line) => line?,
                Err(TooLong) => {
                    client.lines = Lines::default();
                    client.finished = true;
                    return Some(Asked::Nonsense(format!("a line is longer than {MAX_LINE} bytes")));
                }
            };
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            client.busy = true;
            return Some(match serde_json::from_slice(&line) {
                Ok(request) => Asked::Request(request),
                Err(error) => Asked::Nonsense(format!("this is no request: {error}")),
            });
        }
    }

    /// A client that was waiting for an answer may write again.
    pub(super) fn resume(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id).filter(|client| client.paused && !client.busy) else {
            return;
        };
        client.paused = false;
        if let Some(reading) = &client.reading
            && let Err(error) = self.handle.enable(reading)
        {
            debug!(%error, "a client cannot be read any more");
            self.close(id);
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    /// Whether anybody wants events.
    pub(super) fn has_listeners(&self) -> bool {
        self.clients.values().any(|client| client.events)
    }

    /// The client gets events from now on, these first.
    pub(super) fn subscribe(&mut self, id: ClientId, first: &Event) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.events = true;
            self.send(id, &encode(first));
        }
    }

    /// Tells everybody who wants to know.
    pub(super) fn broadcast(&mut self, event: &Event) {
        let line = encode(event);
        let listeners: Vec<ClientId> =
            self.clients.iter().filter(|(_, client)| client.events).map(|(id, _)| *id).collect();
        for id in listeners {
            self.send(id, &line);
        }
    }

    /// Answers a request; the client's next one may be looked at.
    pub(super) fn reply(&mut self, id: ClientId, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.busy = false;
            self.send(id, &encode(reply));
        }
    }

    fn send(&mut self, id: ClientId, line: &str) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        match client.outbox.send(line, &mut client.stream) {
            Written::All => self.close_if_finished(id),
            Written::Waiting => self.wait_for_reader(id),
            Written::Broken => {
                warn!(client = id, "a client of the control socket does not read: it is disconnected");
                self.close(id);
            }
        }
    }

    /// Carries on when the client has read something.
    fn wait_for_reader(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.writing.is_some() {
            return;
        }
        let source =
            client.stream.try_clone().map(|stream| Generic::new(stream, Interest::WRITE, Mode::Level));
        let weak = self.session.clone();
        let inserted = source.map_err(|error| error.to_string()).and_then(|source| {
            self.handle
                .insert_source(source, move |_, _, _| {
                    let Some(session) = weak.upgrade() else { return Ok(PostAction::Remove) };
                    let mut session = session.borrow_mut();
                    let done = session.control().is_none_or(|control| control.write_more(id));
                    Ok(if done { PostAction::Remove } else { PostAction::Continue })
                })
                .map_err(|error| error.to_string())
        });
        match inserted {
            Ok(token) => client.writing = Some(token),
            Err(error) => {
                debug!(error, "a client cannot be waited for");
                self.close(id);
            }
        }
    }

    /// Returns whether there is nothing left to wait for.
    fn write_more(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get_mut(&id) else { return true };
        match client.outbox.flush(&mut client.stream) {
            Written::Waiting => return false,
            // The source takes itself away.
            Written::All => {
                client.writing = None;
                self.close_if_finished(id);
            }
            Written::Broken => {
                client.writing = None;
                self.close(id);
            }
        }
        true
    }

    fn close_if_finished(&mut self, id: ClientId) {
        let over = |client: &Client| client.finished && !client.busy && client.outbox.is_empty();
        if self.clients.get(&id).is_some_and(over) {
            self.close(id);
        }
    }

    pub(super) fn close(&mut self, id: ClientId) {
        let Some(client) = self.clients.remove(&id) else { return };
        for token in client.reading.into_iter().chain(client.writing) {
            self.handle.remove(token);
        }
    }
}

fn encode(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("numbers and strings are JSON")
}
