//! Clients come in over the socket, and the programs that we start find it.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use calloop::generic::Generic;
use calloop::{Interest, LoopHandle, Mode, PostAction};
use nix::sys::signal::SigSet;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use smithay::reexports::rustix::process::{Pid, PidfdFlags, pidfd_open};
use smithay::reexports::wayland_server::Client;
use smithay::reexports::wayland_server::backend::{ClientData, ClientId, DisconnectReason};
use smithay::wayland::compositor::CompositorClientState;
use smithay::wayland::security_context::SecurityContext;
use smithay::wayland::socket::ListeningSocketSource;
use tracing::{debug, info, warn};

use super::desk::Desk;
use super::limits::Counts;
use super::{Compositor, DisplayError};
use crate::capture::{rights, shortage};

/// What is kept per client.
#[derive(Debug, Default)]
pub(crate) struct ClientState {
    pub(crate) compositor: CompositorClientState,
    /// The sandbox that it comes from, if any.
    pub(crate) confined: Option<SecurityContext>,
    /// What it has of what is limited.
    pub(crate) counts: Counts,
    /// The process that has connected.
    pid: Option<u32>,
}

impl ClientState {
    /// Of a client that a sandbox lets in.
    pub(crate) fn of_sandbox(context: SecurityContext) -> Self {
        Self { confined: Some(context), ..Self::default() }
    }

    /// The process that has connected, where the kernel says.
    pub(crate) fn process(&self) -> Option<u32> {
        self.pid
    }
}

/// Whether a client may look at the screen, type for the person, or read what others have copied: every
/// program that the person has started, unless a sandbox has let it in by a socket of its own. Each global of
/// that kind is shown to these only.
pub(crate) fn is_unconfined(client: &Client) -> bool {
    client.get_data::<ClientState>().is_some_and(|state| state.confined.is_none())
}

/// The process that a client is, where the kernel says. Not asked for whenever it is needed: the Wayland
/// library takes no answer for impossible.
pub(crate) fn process_of(client: &Client) -> Option<u32> {
    client.get_data::<ClientState>()?.pid
}

impl ClientData for ClientState {
    fn initialized(&self, _client: ClientId) {}

    fn disconnected(&self, _client: ClientId, reason: DisconnectReason) {
        if let DisconnectReason::ProtocolError(error) = reason {
            info!(%error, "a client was disconnected");
        }
    }
}

/// Opens the socket; returns its name.
pub(crate) fn listen(
    handle: &LoopHandle<'static, Compositor>,
    name: Option<&str>,
) -> Result<String, DisplayError> {
    let socket = match name {
        Some(name) => ListeningSocketSource::with_name(name),
        None => ListeningSocketSource::new_auto(),
    };
    let socket = socket.map_err(|error| DisplayError::Socket {
        name: name.unwrap_or("wayland-1…32").to_owned(),
        reason: error.to_string(),
    })?;
    let name = socket.socket_name().to_string_lossy().into_owned();
    handle
        .insert_source(socket, |stream: UnixStream, (), compositor: &mut Compositor| {
            if let Err(error) = admit(&mut compositor.desk, stream, ClientState::default()) {
                warn!(%error, "a client could not be let in");
            }
        })
        .map_err(|error| DisplayError::Setup {
            what: "listening on the Wayland socket",
            reason: error.to_string(),
        })?;
    Ok(name)
}

/// Lets a client in.
pub(crate) fn admit(desk: &mut Desk, stream: UnixStream, mut state: ClientState) -> std::io::Result<Client> {
    let peer = getsockopt(&stream, PeerCredentials).ok();
    state.pid = peer.and_then(|peer| u32::try_from(peer.pid()).ok());
    let (id, library) = desk.relays.borrow_mut().add(stream)?;
    let client = desk.display.insert_client(library, Arc::new(state))?;
    desk.relays.borrow_mut().known_as(id, client.clone());
    Ok(client)
}

/// Is told of the end of a program: its process, and how it ended.
pub(crate) type Ended = Box<dyn FnOnce(&mut Compositor, u32, String)>;

/// Starts a program as a client of this compositor, in a process group of its own; it is reaped when it ends.
pub(crate) fn spawn(
    handle: &LoopHandle<'static, Compositor>,
    socket: &str,
    environment: &[(String, String)],
    command: &[String],
    prepare: impl FnOnce(&mut Command),
    ended: Ended,
) -> Result<u32, DisplayError> {
    let name = command.first().cloned().unwrap_or_default();
    let failed = |reason: String| DisplayError::Spawn { command: name.clone(), reason };
    let mut program = Command::new(&name);
    shortage::as_before(&mut program);
    start_clean(&mut program);
    prepare(&mut program);
    let mut child = program
        .args(command.get(1..).unwrap_or_default())
        .env("WAYLAND_DISPLAY", socket)
        .env("XDG_SESSION_TYPE", "wayland")
        .env_remove("DISPLAY")
        .env_remove("WAYLAND_SOCKET")
        // What systemd gave us to say that we are ready is ours alone.
        .env_remove("NOTIFY_SOCKET")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let pid = child.id();
    let pidfd = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| failed(format!("no such process number: {pid}")))
        .and_then(|pid| {
            pidfd_open(pid, PidfdFlags::empty()).map_err(|error| failed(format!("no pidfd for it: {error}")))
        });
    let watch = pidfd.and_then(|pidfd| {
        let source = Generic::new(pidfd, Interest::READ, Mode::OneShot);
        let name = name.clone();
        let mut ended = Some(ended);
        handle
            .insert_source(source, move |_, _, compositor| {
                let how = match child.wait() {
                    Ok(status) => status.to_string(),
                    Err(error) => {
                        warn!(name, pid, %error, "a program could not be reaped");
                        error.to_string()
                    }
                };
                debug!(name, pid, how, "a program ended");
                compositor.desk.programs.forget(pid);
                if let Some(ended) = ended.take() {
                    ended(compositor, pid, how);
                }
                Ok(PostAction::Remove)
            })
            .map_err(|error| failed(error.to_string()))
    });
    if let Err(error) = watch {
        // It runs, and is only not reaped before we end ourselves.
        warn!(%error, "a program is not watched");
    }
    info!(name, pid, "program started");
    Ok(pid)
}

/// A loop that reads signals as events has them blocked, and a program would inherit that: it could not be
/// ended by Ctrl+C.
#[allow(unsafe_code)]
fn start_clean(program: &mut Command) {
    rights::keep_to_ourselves(program);
    // SAFETY: between fork and exec only sigprocmask(2) is called, with a value on the stack.
    unsafe {
        program.pre_exec(|| SigSet::empty().thread_set_mask().map_err(std::io::Error::from));
    }
}
