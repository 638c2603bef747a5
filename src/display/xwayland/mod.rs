//! X11 programs: Xwayland is started when the first one comes, and started anew when it has died.
//!
//! ```text
//!  sockets: we listen ──► first program ──► launch: Xwayland takes the sockets ──► manager: its windows are ours
//!       ▲                                                                              │
//!       └────────────────────────── it ends, or is killed ◄────────────────────────────┘
//! ```
//!
//! `DISPLAY` is in the environment of programs only where Xwayland is installed. An X11 window is a window like any other: a tile,
//! a dialog, or fullscreen; menus and tooltips (override-redirect) are where they put themselves.

mod focus;
mod launch;
mod manager;
mod selection;
mod sockets;

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use calloop::generic::Generic;
use calloop::{Interest, LoopHandle, Mode, PostAction, RegistrationToken};
use smithay::desktop::Window;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::wayland::xwayland_shell::XWaylandShellState;
use smithay::xwayland::xwm::XwmId;
use smithay::xwayland::{X11Wm, XWayland, XWaylandEvent};
use tracing::{debug, error, info, warn};

use self::launch::Launcher;
use self::sockets::Sockets;
use super::Compositor;
use super::desk::Desk;
use crate::capture::{rights, shortage};
pub(crate) use focus::KeyboardFocus;

/// Whoever dies so soon after its start has not been killed by accident.
const EARLY: Duration = Duration::from_secs(5);
/// After so many early deaths in a row nobody tries again.
const EARLY_DEATHS: u32 = 5;

/// The X11 side of the session.
pub(crate) struct Xwayland {
    launcher: Launcher,
    sockets: Sockets,
    display: DisplayHandle,
    handle: LoopHandle<'static, Compositor>,
    state: State,
    early_deaths: u32,
    /// Managers of servers that have died, whose last events are still to come.
    #[expect(clippy::vec_box, reason = "they come in boxes, and are not moved out of them")]
    ending: Vec<Box<X11Wm>>,
    /// Menus, tooltips and the like, in the order in which they appeared.
    pub(crate) unmanaged: Vec<Window>,
}

enum State {
    /// Nobody listens.
    Off,
    /// We listen, for the first program.
    Waiting { sources: Vec<RegistrationToken> },
    /// Xwayland listens.
    Running {
        since: Instant,
        server: RegistrationToken,
        death: RegistrationToken,
        /// There as soon as Xwayland is ready.
        manager: Option<Box<X11Wm>>,
    },
}

impl Xwayland {
    /// Listens for X11 programs. `None` where Xwayland is not installed, or nobody can listen.
    pub(crate) fn listen(display: &DisplayHandle, handle: &LoopHandle<'static, Compositor>) -> Option<Self> {
        let program = match installed() {
            Ok(program) => program,
            Err(reason) => {
                info!(reason, "no X11 programs");
                return None;
            }
        };
        let launcher = match Launcher::new(program) {
            Ok(launcher) => launcher,
            Err(error) => {
                warn!(%error, "no X11 programs: the launcher cannot be written to XDG_RUNTIME_DIR");
                return None;
            }
        };
        let sockets = match Sockets::open() {
            Ok(sockets) => sockets,
            Err(error) => {
                warn!(%error, "no X11 programs: no display number in /tmp/.X11-unix is to be had");
                return None;
            }
        };
        let mut xwayland = Self {
            launcher,
            sockets,
            display: display.clone(),
            handle: handle.clone(),
            state: State::Off,
            early_deaths: 0,
            ending: Vec::new(),
            unmanaged: Vec::new(),
        };
        xwayland.wait();
        info!(display = xwayland.name(), "X11 programs may come");
        Some(xwayland)
    }

    /// The value of `DISPLAY` for programs.
    pub(crate) fn name(&self) -> String {
        format!(":{}", self.sockets.number())
    }

    pub(crate) fn manager(&mut self) -> Option<&mut X11Wm> {
        match &mut self.state {
            State::Running { manager, .. } => manager.as_deref_mut(),
            _ => None,
        }
    }

    /// The manager of this number, which may be one that is ending.
    fn manager_of(&mut self, id: XwmId) -> Option<&mut X11Wm> {
        let running = match &mut self.state {
            State::Running { manager, .. } => manager.as_deref_mut(),
            _ => None,
        };
        let ending = self.ending.iter_mut().map(|manager| &mut **manager);
        running.into_iter().chain(ending).find(|manager| manager.id() == id)
    }

    /// No more events come from this one.
    fn forget_manager(&mut self, id: XwmId) {
        self.ending.retain(|manager| manager.id() != id);
        if let State::Running { manager, .. } = &mut self.state {
            manager.take_if(|manager| manager.id() == id);
        }
    }

    /// Watches the sockets for the first program.
    fn wait(&mut self) {
        let mut sources = Vec::new();
        for listener in self.sockets.listeners() {
            let source = match listener.try_clone() {
                Ok(listener) => Generic::new(listener, Interest::READ, Mode::OneShot),
                Err(error) => {
                    warn!(%error, "an X11 socket is not watched");
                    continue;
                }
            };
            let source = self.handle.insert_source(source, |_, _, compositor: &mut Compositor| {
                // Not from within the source that this removes.
                compositor.desk.handle.insert_idle(Compositor::start_xwayland);
                Ok(PostAction::Disable)
            });
            match source {
                Ok(source) => sources.push(source),
                Err(error) => warn!(%error, "an X11 socket is not watched"),
            }
        }
        self.state = State::Waiting { sources };
    }

    fn start(&mut self) -> std::io::Result<()> {
        let State::Waiting { sources } = &mut self.state else { return Ok(()) };
        for source in sources.drain(..) {
            self.handle.remove(source);
        }
        self.state = State::Off;
        let launch = self.launcher.prepare(self.sockets.listeners())?;
        let started = XWayland::spawn(
            &self.display,
            None,
            launch.environment(),
            false,
            Stdio::null(),
            Stdio::null(),
            |_| {},
        );
        let alive = launch.started()?;
        let (server, client) = started?;
        let handle = self.handle.clone();
        let server = self.handle.insert_source(server, move |event, (), compositor| match event {
            XWaylandEvent::Ready { x11_socket, display_number: _ } => {
                match X11Wm::start_wm(handle.clone(), x11_socket, client.clone()) {
                    Ok(wm) => compositor.x11_ready(wm),
                    Err(error) => error!(%error, "Xwayland's windows cannot be managed"),
                }
            }
            // It has died, which its lifeline tells, too.
            XWaylandEvent::Error => debug!("Xwayland did not start"),
        });
        let server = server.map_err(|error| std::io::Error::from(error.error))?;
        // Nothing is ever written to it: it is readable when the last process that holds the other end is gone.
        let lifeline = Generic::new(alive, Interest::READ, Mode::OneShot);
        let death = self.handle.insert_source(lifeline, |_, _, compositor: &mut Compositor| {
            compositor.desk.handle.insert_idle(Compositor::xwayland_died);
            Ok(PostAction::Disable)
        });
        let death = match death {
            Ok(death) => death,
            Err(error) => {
                self.handle.remove(server);
                return Err(error.error.into());
            }
        };
        self.state = State::Running { since: Instant::now(), server, death, manager: None };
        Ok(())
    }

    /// Everything that belonged to the one that has died goes, and somebody listens again.
    fn died(&mut self) {
        let State::Running { since, server, death, manager } = std::mem::replace(&mut self.state, State::Off)
        else {
            return;
        };
        self.handle.remove(server);
        self.handle.remove(death);
        self.ending.extend(manager);
        self.early_deaths = if since.elapsed() < EARLY { self.early_deaths + 1 } else { 0 };
        if self.early_deaths >= EARLY_DEATHS {
            error!(
                "Xwayland has died {EARLY_DEATHS} times right after its start: X11 programs are not served any more"
            );
            return;
        }
        info!("Xwayland has ended; the next X11 program starts it again");
        self.wait();
    }
}

impl Compositor {
    /// An X11 program is at the door.
    fn start_xwayland(&mut self) {
        let Some(xwayland) = &mut self.desk.xwayland else { return };
        if let Err(error) = xwayland.start() {
            error!(%error, "Xwayland cannot be started");
        }
    }

    /// The X server has to know which of its windows is in front: it finds out itself what is under the pointer.
    pub(crate) fn raise_in_x11(&mut self, focus: &KeyboardFocus) {
        let manager = self.desk.xwayland.as_mut().and_then(Xwayland::manager);
        if let (Some(manager), Some(x11)) = (manager, focus.x11())
            && let Err(error) = manager.raise_window(x11)
        {
            debug!(%error, "an X11 window cannot be raised");
        }
    }

    fn x11_ready(&mut self, wm: X11Wm) {
        let Some(xwayland) = &mut self.desk.xwayland else { return };
        if let State::Running { manager, .. } = &mut xwayland.state {
            info!(display = xwayland.sockets.number(), "Xwayland is ready");
            *manager = Some(Box::new(wm));
        }
        self.offer_selections_to_x11();
    }

    fn xwayland_died(&mut self) {
        let Some(xwayland) = &mut self.desk.xwayland else { return };
        xwayland.died();
        let unmanaged = std::mem::take(&mut xwayland.unmanaged);
        for window in unmanaged {
            self.desk.space.unmap_elem(&window);
        }
        self.forget_x11_selections();
        self.desk.remove_x11_windows();
        // The next server counts its surfaces from one again, and the state never forgets a number.
        let Desk { display, protocols, .. } = &mut self.desk;
        display.remove_global::<Self>(protocols.xwayland_shell.global());
        protocols.xwayland_shell = XWaylandShellState::new::<Self>(display);
    }
}

/// Where Xwayland is, or why it is of no use.
fn installed() -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program =
        std::env::split_paths(&path).map(|folder| folder.join("Xwayland")).find(|file| file.is_file());
    let program = program.ok_or("Xwayland is not installed")?;
    let text = said(&program, "-version")
        .map_err(|error| format!("{} cannot be asked: {error}", program.display()))?;
    match version(&text) {
        Some(version) if version < FIRST => {
            let (major, minor) = version;
            Err(format!(
                "Xwayland {major}.{minor} cannot say which window is on which surface: install 23.1 or later"
            ))
        }
        // One that does not say how old it is will be new.
        _ => Ok(program),
    }
}

/// What a program says, on either of its two outputs. `Command::output` would panic where reading them is interrupted.
fn said(program: &Path, argument: &str) -> io::Result<String> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    shortage::as_before(&mut command);
    rights::keep_to_ourselves(&mut command);
    let mut child =
        command.arg(argument).stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).spawn()?;
    // Its ends of the pipe are open as long as it is there.
    drop(command);
    let mut text = Vec::new();
    let read = reader.read_to_end(&mut text);
    child.wait()?;
    read?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The first version of Xwayland that speaks xwayland-shell, without which Smithay cannot tell its windows apart.
const FIRST: (u32, u32) = (23, 1);

/// Of "The X.Org Foundation Xwayland Version 24.1.6 (12401006)".
fn version(text: &str) -> Option<(u32, u32)> {
    let (_, rest) = text.split_once("Xwayland Version ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_it_says_of_itself() {
        let old =
            "The X.Org Foundation Xwayland Version 22.1.9 (12201009)\nX Protocol Version 11, Revision 0\n";
        assert_eq!(version(old), Some((22, 1)));
        assert_eq!(version("The X.Org Foundation Xwayland Version 24.1.6"), Some((24, 1)));
        assert_eq!(version("something else"), None);
        assert!((22, 1) < FIRST && (23, 2) > FIRST && (24, 0) > FIRST);
    }
}
