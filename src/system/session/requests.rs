//! What each request does.

use tracing::info;

use super::control::{Asked, ClientId};
use super::jobs::Asker;
use super::state::Session;
use super::watching::View;
use super::words;
use crate::capture::PageRange;
use crate::display::Compositor;
use crate::ipc::{AddressRange, Look, PROTOCOL, Reply, Request, Response};

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
            Request::Outputs => Response::Outputs(self.outputs(compositor)),
            Request::State => Response::State(Box::new(self.publish(compositor).clone())),
            Request::Telemetry => {
                Response::Telemetry(self.main().map(|watched| Box::new(watched.telemetry())))
            }
            Request::Replay { action } => return Answer::Now(self.steer(compositor, action)),
            Request::Targets => return later(self.start_targets(Some(id))),
            Request::Watch { target, output: None } => {
                return later(self.start_attach(Asker::Client(id), target, View::Main));
            }
            Request::Watch { target, output: Some(name) } => {
                let outputs = compositor.called(&name);
                if outputs.is_empty() {
                    return Answer::Now(Err(no_output(&name)));
                }
                return later(self.start_attach(Asker::Client(id), target, View::Outputs(outputs)));
            }
            Request::Follow { output } => {
                let outputs = compositor.called(&output);
                if outputs.is_empty() {
                    return Answer::Now(Err(no_output(&output)));
                }
                self.views.release(&outputs);
                self.views_changed(compositor);
                Response::Done
            }
            Request::Power { on, output } => {
                if compositor.set_power(on, output.as_deref()) == 0
                    && let Some(name) = output
                {
                    return Answer::Now(Err(no_output(&name)));
                }
                self.publish(compositor);
                Response::Done
            }
            Request::Screenshot { output: Some(name), .. } if compositor.called(&name).is_empty() => {
                return Answer::Now(Err(no_output(&name)));
            }
            Request::Screenshot { path, output } => {
                return later(self.screenshot(compositor, Some(id), path, output.as_deref()));
            }
            Request::Unwatch => match self.unwatch(compositor) {
                Ok(()) => Response::Done,
                Err(error) => return Answer::Now(Err(error.to_string())),
            },
            Request::Mode { mode, output: None } => {
                self.set_mode(compositor, mode, None);
                Response::Done
            }
            Request::Mode { mode, output: Some(name) } => {
                let outputs = compositor.called(&name);
                if outputs.is_empty() {
                    return Answer::Now(Err(no_output(&name)));
                }
                self.set_mode(compositor, mode, Some(&outputs));
                Response::Done
            }
            Request::Look { glow, animation, scale } => {
                let Look { glow: g, animation: a, scale: s } = self.look;
                let look = Look {
                    glow: glow.unwrap_or(g),
                    animation: animation.unwrap_or(a),
                    scale: scale.unwrap_or(s),
                };
                self.set_look(compositor, look);
                Response::Done
            }
            Request::Placement { placement, output } => {
                let placement = words::display_placement(placement);
                match output {
                    None => compositor.set_placement(placement),
                    Some(name) if compositor.set_placement_on(&name, placement) == 0 => {
                        return Answer::Now(Err(no_output(&name)));
                    }
                    Some(_) => {}
                }
                self.publish(compositor);
                Response::Done
            }
            Request::Budget { percent: Some(percent) } if !(1..=1000).contains(&percent) => {
                return Answer::Now(Err(format!(
                    "{percent} is out of bounds: from 1 to 1000 percent is allowed"
                )));
            }
            Request::Budget { percent } => {
                self.set_budget(percent);
                Response::Done
            }
            Request::Palette { palette } => {
                self.set_palette(compositor, palette);
                Response::Done
            }
            Request::Selection => {
                let chosen = self.main().map(|watched| watched.pipeline.chosen()).unwrap_or_default();
                let range = |range: &PageRange| AddressRange { start: range.start, end: range.end };
                Response::Selection(chosen.iter().map(range).collect())
            }
            Request::ZoomOut => {
                if let Some(watched) = self.main_mut() {
                    watched.pipeline.zoom_out();
                }
                self.show(compositor);
                self.publish(compositor);
                Response::Done
            }
            Request::FollowHottest { follow } => match self.follow_hottest(compositor, follow) {
                Ok(()) => Response::Done,
                Err(error) => return Answer::Now(Err(error)),
            },
            Request::Freeze { frozen } => {
                self.freeze(compositor, frozen.unwrap_or(self.frozen.is_none()));
                Response::Done
            }
            Request::Windows => Response::Windows {
                windows: compositor.windows().into_iter().map(words::window).collect(),
                focus: compositor.focused_window(),
            },
            Request::FocusWindow { .. }
            | Request::CloseWindow { .. }
            | Request::FullscreenWindow { .. }
            | Request::MoveWindow { .. } => match on_window(compositor, request) {
                Ok(()) => Response::Done,
                Err(error) => return Answer::Now(Err(error)),
            },
            Request::KeyboardLayout { layout } => match switch_layout(compositor, layout.as_deref()) {
                Ok(()) => Response::Done,
                Err(error) => return Answer::Now(Err(error)),
            },
            Request::Overlay { overlay } => {
                compositor.set_overlay(overlay.map(words::display_overlay));
                self.publish(compositor);
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

fn no_output(name: &str) -> String {
    format!("there is no output {name}: `memory-glass msg outputs` lists those that there are")
}

/// What is to be done with one window.
fn on_window(compositor: &mut Compositor, request: Request) -> Result<(), String> {
    let windows = compositor.windows();
    let find = |id: Option<u32>| match id.or(compositor.focused_window()) {
        None => Err("no window has the keyboard: say which one is meant".to_owned()),
        Some(id) => windows
            .iter()
            .find(|window| window.id == id)
            .ok_or(format!("there is no window {id}: `memory-glass msg windows` lists them")),
    };
    match request {
        Request::FocusWindow { id } => {
            let id = find(Some(id))?.id;
            compositor.focus_window(id);
        }
        Request::CloseWindow { id } => {
            let id = find(id)?.id;
            compositor.close_window(id);
        }
        Request::FullscreenWindow { id, fullscreen } => {
            let window = find(id)?;
            let (id, fullscreen) = (window.id, fullscreen.unwrap_or(!window.fullscreen));
            compositor.set_window_fullscreen(id, fullscreen);
        }
        Request::MoveWindow { id, output } => {
            let id = find(id)?.id;
            if !compositor.move_window(id, &output) {
                return Err(no_output(&output));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Puts the layout of this number or name in force, or the next one.
fn switch_layout(compositor: &mut Compositor, layout: Option<&str>) -> Result<(), String> {
    let Some(layout) = layout else {
        compositor.next_keyboard_layout();
        return Ok(());
    };
    let names = compositor.keyboard_layouts().names;
    let named = names.iter().position(|name| name.eq_ignore_ascii_case(layout));
    let number = named.and_then(|at| u32::try_from(at).ok()).or_else(|| layout.parse().ok());
    match number {
        Some(number) if compositor.set_keyboard_layout(number) => Ok(()),
        _ => Err(format!("there is no layout \"{layout}\": there are {}", names.join(", "))),
    }
}
