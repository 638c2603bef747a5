//! What each request does.

use tracing::info;

use super::control::{Asked, ClientId};
use super::state::Session;
use super::watching::Watched;
use super::words;
use crate::display::Compositor;
use crate::ipc::{PROTOCOL, Reply, Request, Response};

/// When a request is answered.
enum Answer {
    Now(Reply),
    /// A thread works on it.
    Later,
    /// It has been already.
    Given,
}

impl Session {
    /// Works through what a client has asked for, up to the first thing that takes time.
    pub(super) fn hear(&mut self, compositor: &mut Compositor, id: ClientId) {
        while let Some(asked) = self.control().and_then(|control| control.next_request(id)) {
            let answer = match asked {
                Asked::Request(request) => self.handle(compositor, id, request),
                Asked::Nonsense(reason) => Answer::Now(Err(reason)),
            };
            match answer {
                Answer::Now(reply) => self.reply(id, &reply),
                Answer::Given => {}
                Answer::Later => return,
            }
        }
    }

    /// The answer to something that took time; then the client's next request.
    pub(super) fn answer(&mut self, compositor: &mut Compositor, id: ClientId, reply: &Reply) {
        self.reply(id, reply);
        self.hear(compositor, id);
        if let Some(control) = self.control() {
            control.resume(id);
        }
    }

    fn reply(&mut self, id: ClientId, reply: &Reply) {
        if let Some(control) = self.control() {
            control.reply(id, reply);
        }
    }

    fn handle(&mut self, compositor: &mut Compositor, id: ClientId, request: Request) -> Answer {
        let later = |started: Result<(), String>| match started {
            Ok(()) => Answer::Later,
            Err(error) => Answer::Now(Err(error)),
        };
        let response = match request {
            Request::Version => Response::Version {
                version: env!("CARGO_PKG_VERSION").into(),
                protocol: PROTOCOL,
                pid: std::process::id(),
            },
            Request::Outputs => Response::Outputs(compositor.status().iter().map(words::output).collect()),
            Request::State => Response::State(Box::new(self.publish(compositor).clone())),
            Request::Telemetry => Response::Telemetry(self.watched.as_ref().map(Watched::telemetry)),
            Request::Targets => return later(self.start_targets(id)),
            Request::Watch { target } => return later(self.start_attach(id, target)),
            Request::Screenshot { path } => return later(self.screenshot(compositor, Some(id), path)),
            Request::Unwatch => match self.unwatch(compositor) {
                Ok(()) => Response::Done,
                Err(error) => return Answer::Now(Err(error.to_string())),
            },
            // There is one mode, and it is the one in use.
            Request::Mode { mode } => {
                self.config.mode = mode;
                self.publish(compositor);
                Response::Done
            }
            Request::Placement { placement } => {
                compositor.set_placement(words::display_placement(placement));
                self.publish(compositor);
                Response::Done
            }
            Request::Palette { palette } => {
                self.set_palette(compositor, palette);
                Response::Done
            }
            Request::Freeze { frozen } => {
                self.freeze(compositor, frozen.unwrap_or(self.frozen.is_none()));
                Response::Done
            }
            Request::Reload => match self.reload(compositor) {
                Ok(()) => Response::Done,
                Err(error) => return Answer::Now(Err(error)),
            },
            Request::EventStream => {
                self.reply(id, &Ok(Response::Done));
                self.subscribe(compositor, id);
                return Answer::Given;
            }
            Request::Quit => {
                info!("quit by a client of the control socket");
                compositor.stop();
                Response::Done
            }
        };
        Answer::Now(Ok(response))
    }
}
