//! The compositor: the data of the event loop.

use std::sync::Arc;
use std::time::Instant;

use calloop::EventLoop;
use smithay::input::pointer::CursorImageStatus;
use smithay::reexports::wayland_server::Display;
use tracing::{debug, error, info};

use super::backend::{Backend, Headless, Nested, Tty};
use super::clients;
use super::desk::Desk;
use super::dispatch::WaylandSource;
use super::input::{Devices, Keys, MapCommand, MapPointer};
use super::outputs::{OutputState, identity};
use super::screen_copy::Copies;
use super::settings::{OutputIdentity, Settings};
use super::standby;
use super::xwayland::Xwayland;
use super::{BackendKind, CompositorConfig, DisplayError, Placement, WindowStatus};
use crate::channel::{self, Channel, Event};
use crate::render::{GlassRamVisualizationMode, Image, Picture, RenderEvent, RenderWorker};

/// What the display does by itself, or cannot do alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Notice {
    /// Outputs or the map's place have changed.
    Changed,
    /// A person wants the next palette.
    NextPalette,
    /// A person wants to see this.
    Mode(GlassRamVisualizationMode),
    /// A person wants what is bright to spread, or not.
    Glow,
    /// A person wants cells to move, or to jump.
    Animation,
    /// A person wants the other scale of colours.
    Scale,
    /// The pointer on the map.
    Map(MapPointer),
    /// A person wants to look at another part of the map.
    LookAt(MapCommand),
    /// A person wants the picture to stand still, or to go on.
    Freeze,
    /// A person wants a picture of the screen in a file.
    Screenshot,
    /// The picker wants the processes, for [`Compositor::set_candidates`].
    List,
    /// This process was picked; the picker waits for [`Compositor::picked`].
    Watch(u32),
}

/// A Wayland compositor that shows the map. It is the data of the event loop, and everything that it does, it
/// does from there.
pub struct Compositor {
    // First, so that it is dropped first: the screen is given back while the rest still stands.
    pub(crate) backend: Backend,
    pub(crate) desk: Desk,
    /// What other programs want to see of the screen.
    pub(crate) copies: Copies,
    pub(crate) keys: Keys,
    pub(crate) devices: Devices,
    /// Buttons that were pressed while an overlay was open: their release is not for clients.
    pub(crate) overlay_buttons: Vec<u32>,
}

impl Compositor {
    /// Opens the backend and the Wayland socket. Without a worker there is no map, and clients have the whole
    /// screen.
    pub fn new(
        mut config: CompositorConfig,
        event_loop: &mut EventLoop<'static, Compositor>,
        worker: Option<(RenderWorker, Channel<RenderEvent>)>,
    ) -> Result<Compositor, DisplayError> {
        let setup = |what: &'static str| move |error: String| DisplayError::Setup { what, reason: error };
        let handle = event_loop.handle();
        if worker.is_none() {
            config.placement = Placement::Off;
        }
        let display =
            Display::<Compositor>::new().map_err(|error| setup("the Wayland display")(error.to_string()))?;
        // The backend first: a machine that cannot show anything should not have a socket either.
        let mut backend = match config.backend {
            BackendKind::Tty => Backend::Tty(Box::new(Tty::open(&config, &handle)?)),
            BackendKind::Winit => Backend::Nested(Box::new(Nested::open(config.headless_size, &handle)?)),
            BackendKind::Headless => {
                Backend::Headless(Box::new(Headless::open(config.headless_size, config.headless_outputs)?))
            }
        };
        let (wake, woken) =
            calloop::ping::make_ping().map_err(|error| setup("the loop's own signal")(error.to_string()))?;
        let socket = clients::listen(&handle, config.socket.as_deref())?;
        let mut desk =
            Desk::new(display.handle(), handle.clone(), event_loop.get_signal(), config, socket, wake)?;
        WaylandSource::new(display, &desk.relays)?.insert(&handle)?;
        handle
            .insert_source(woken, |(), (), compositor: &mut Compositor| compositor.tidy_and_redraw())
            .map_err(|error| setup("the loop's own signal")(error.to_string()))?;
        if let Some((worker, events)) = worker {
            desk.worker = Some(worker);
            handle
                .insert_source(events, |event, (), compositor: &mut Compositor| match event {
                    Event::Msg(event) => compositor.rendered(&event),
                    Event::Closed => error!("the render thread has ended: the map stands still"),
                })
                .map_err(|error| setup("listening to the render thread")(error.to_string()))?;
        }
        if desk.config.backend == BackendKind::Headless {
            // Nothing moves a pointer there.
            desk.cursor.status = CursorImageStatus::Hidden;
        }
        standby::watch_clock(&handle)?;
        if desk.config.xwayland {
            desk.xwayland = Xwayland::listen(&desk.display, &handle);
            desk.environment
                .extend(desk.xwayland.as_ref().map(|xwayland| ("DISPLAY".into(), xwayland.name())));
        }
        let outputs = backend.start(&mut desk);
        let copies = Copies::new(&desk.display);
        let (keys, devices) = (Keys::default(), Devices::default());
        let mut compositor = Compositor { backend, desk, copies, keys, devices, overlay_buttons: Vec::new() };
        compositor.lock_keys(&compositor.desk.config.settings.keyboard.clone());
        for output in outputs {
            compositor.desk.add_output(output);
        }
        compositor.set_up_outputs();
        compositor.center_pointer();
        info!(socket = compositor.desk.socket, "ready for clients");
        Ok(compositor)
    }

    /// Shows this picture on every output as soon as it is drawn; the newest wins.
    pub fn show(&mut self, picture: Arc<Picture>) {
        for state in &mut self.desk.outputs {
            state.map.show(picture.clone(), None, self.desk.worker.as_ref());
        }
        self.desk.picture = Some(picture);
    }

    /// Shows this picture on one output, by its connector. `taken` is when the capture window that it shows
    /// came to its end.
    pub fn show_on(&mut self, connector: &str, picture: Arc<Picture>, taken: Option<Instant>) {
        let worker = self.desk.worker.as_ref();
        if let Some(state) = self.desk.outputs.iter_mut().find(|state| state.identity.connector == connector)
        {
            state.map.show(picture, taken, worker);
        }
    }

    /// Outputs that appear later show this until they are told otherwise.
    pub fn keep(&mut self, picture: Arc<Picture>) {
        self.desk.picture = Some(picture);
    }

    /// Every output by its connector, and the one whose map it shows: itself, or the one that it mirrors.
    pub fn views(&self) -> Vec<(String, OutputIdentity)> {
        let shown = |state: &OutputState| state.mirrors.as_ref().map_or(state.identity.clone(), identity);
        self.desk.outputs.iter().map(|state| (state.identity.connector.clone(), shown(state))).collect()
    }

    /// The output that has the keyboard, or would have it.
    pub fn active(&self) -> Option<OutputIdentity> {
        self.desk.active_output().map(identity)
    }

    /// The output whose map the pointer is on, or was on last.
    pub fn pointed_at(&self) -> Option<OutputIdentity> {
        self.desk.space.output_under(self.desk.pointer_at).next().map(identity)
    }

    /// The outputs that a person means by this name: one by its connector or by make, model and serial
    /// number, or the members of a span.
    pub fn called(&self, name: &str) -> Vec<OutputIdentity> {
        self.desk.called(Some(name))
    }

    /// The value of `WAYLAND_DISPLAY` for clients.
    pub fn socket_name(&self) -> &str {
        &self.desk.socket
    }

    /// Starts a program as a client, and returns its process number. It is reaped when it ends.
    pub fn spawn(&mut self, command: &[String]) -> Result<u32, DisplayError> {
        self.spawn_prepared(command, |_| {})
    }

    /// As [`Self::spawn`], with something to be done to the command first.
    pub fn spawn_prepared(
        &mut self,
        command: &[String],
        prepare: impl FnOnce(&mut std::process::Command),
    ) -> Result<u32, DisplayError> {
        let Desk { handle, socket, environment, .. } = &self.desk;
        let ended = Box::new(|_: &mut Compositor, _, _| ());
        let pid = clients::spawn(handle, socket, environment, command, prepare, ended)?;
        self.desk.programs.add(pid);
        Ok(pid)
    }

    /// Ends the event loop because of this, which [`Self::failure`] tells afterwards.
    pub(crate) fn end_with(&mut self, failure: DisplayError) {
        error!("{failure}");
        self.desk.failure.get_or_insert(failure);
        self.stop();
    }

    /// Why it was ended, if nobody wanted that.
    pub fn failure(&self) -> Option<DisplayError> {
        self.desk.failure.clone()
    }

    /// Ends the event loop after what it is doing now.
    pub fn stop(&mut self) {
        self.desk.kiosk.end();
        self.backend.shut_down();
        self.desk.signal.stop();
        self.desk.signal.wakeup();
    }

    /// Where the map lies.
    pub fn placement(&self) -> Placement {
        self.desk.config.placement
    }

    /// Moves the map of one output or of a span. Returns how many outputs are meant.
    pub fn set_placement_on(&mut self, name: &str, placement: Placement) -> usize {
        let meant = self.desk.called(Some(name));
        for output in &meant {
            self.desk.by_hand.entry(output.key()).or_default().placement = Some(placement);
        }
        if self.desk.worker.is_some() {
            self.arrange();
            self.desk.notify(Notice::Changed);
        }
        meant.len()
    }

    /// Moves the map everywhere: what was said about single outputs by hand is forgotten. Without a worker
    /// there is none, and this does nothing.
    pub fn set_placement(&mut self, placement: Placement) {
        let mut same = placement == self.desk.config.placement;
        for by_hand in self.desk.by_hand.values_mut() {
            same &= by_hand.placement.take().is_none();
        }
        if self.desk.worker.is_none() || same {
            return;
        }
        info!(?placement, "the map is moved");
        self.desk.config.placement = placement;
        self.arrange();
        self.desk.notify(Notice::Changed);
    }

    /// What the display does by itself comes over this channel from now on.
    pub fn notices(&mut self) -> Result<Channel<Notice>, DisplayError> {
        let (sender, notices) = channel::channel().map_err(|error| DisplayError::Setup {
            what: "listening to what the display does",
            reason: error.to_string(),
        })?;
        self.desk.notices = Some(sender);
        Ok(notices)
    }

    /// Programs that are started from now on find this in their environment.
    pub fn set_environment(&mut self, name: impl Into<String>, value: impl Into<String>) {
        let name = name.into();
        self.desk.environment.retain(|(known, _)| *known != name);
        self.desk.environment.push((name, value.into()));
    }

    /// What the programs that it starts find in their environment, the display included.
    pub fn environment(&self) -> Vec<(String, String)> {
        let display = ("WAYLAND_DISPLAY".to_owned(), self.desk.socket.clone());
        std::iter::once(display).chain(self.desk.environment.iter().cloned()).collect()
    }

    /// Changes what can change while the session runs. Refused, everything stays as it is.
    pub fn set_settings(&mut self, settings: Settings) -> Result<(), DisplayError> {
        let old = self.desk.config.settings.clone();
        if settings == old {
            return Ok(());
        }
        if settings.keyboard != old.keyboard {
            self.set_keyboard(&settings.keyboard, &old.keyboard)?;
        }
        if settings.cursor != old.cursor {
            self.desk.cursor.set(&settings.cursor);
        }
        let devices = settings.touchpad != old.touchpad
            || settings.mouse != old.mouse
            || settings.touch != old.touch
            || settings.tablet != old.tablet;
        let layout = settings.layout != old.layout || settings.kiosk.enabled != old.kiosk.enabled;
        let outputs = settings.outputs != old.outputs
            || settings.spans != old.spans
            || settings.opacity != old.opacity
            || settings.power != old.power;
        self.desk.config.settings = settings;
        if devices {
            self.backend.configure_input(&self.desk.config.settings);
        }
        if layout {
            self.desk.forget_ratios();
            self.desk.arrange_windows();
        }
        if outputs {
            self.rescan();
            self.set_up_outputs();
            self.desk.notify(Notice::Changed);
        }
        self.tend_kiosk();
        self.pointer_used();
        Ok(())
    }

    /// Every window that shows something.
    pub fn windows(&self) -> Vec<WindowStatus> {
        self.desk.window_status()
    }

    /// The window of this number gets the keyboard.
    pub fn focus_window(&mut self, id: u32) {
        self.desk.focus_window(id);
    }

    /// Asks the client to close the window of this number; it may ask back.
    pub fn close_window(&mut self, id: u32) {
        self.desk.close_window(id);
    }

    /// The window of this number has the clients' part of its output alone, or no more.
    pub fn set_window_fullscreen(&mut self, id: u32, fullscreen: bool) {
        self.desk.set_window_fullscreen(id, fullscreen);
    }

    /// The window of this number moves to this output. Returns whether that is there.
    pub fn move_window(&mut self, id: u32, output: &str) -> bool {
        let called = |state: &&OutputState| state.identity.is_called(output);
        let output = self.desk.outputs.iter().find(called).map(|state| state.output.clone());
        if let Some(output) = &output {
            self.desk.move_window(id, output);
        }
        output.is_some()
    }

    /// The number of the window that has the keyboard.
    pub fn focused_window(&self) -> Option<u32> {
        self.desk.focused_window()
    }

    /// What the output of this name shows, or the one that the person works at, drawn once more into memory:
    /// clients, map and pointer.
    pub fn screenshot(&mut self, output: Option<&str>) -> Result<Image, DisplayError> {
        let output = match output {
            Some(name) => {
                let called = self.desk.called(Some(name));
                let is_first = |state: &&OutputState| called.first() == Some(&state.identity);
                self.desk.outputs.iter().find(is_first).map(|state| &state.output)
            }
            None => self.desk.active_output(),
        };
        let output = output.ok_or(DisplayError::NoOutput)?.clone();
        self.backend.screenshot(&mut self.desk, &output)
    }

    fn rendered(&mut self, event: &RenderEvent) {
        let Desk { outputs, worker, target_ids, .. } = &mut self.desk;
        let Some(worker) = worker else { return };
        let changed = outputs.iter_mut().find_map(|state| {
            state.map.rendered(event, worker, target_ids).map(|new| (state.output.clone(), new))
        });
        match (changed, event) {
            (Some((output, new)), _) => {
                if new {
                    self.desk.queue_redraw(&output);
                }
                // A frame may have waited for this.
                self.desk.wake.ping();
            }
            // An answer for buffers that were given up meanwhile.
            (None, RenderEvent::Failed { error, .. }) => debug!(%error, "a discarded picture failed"),
            (None, RenderEvent::Drawn { .. }) => {}
        }
    }

    /// All that clients have asked for in this turn of the loop was answered: what was put off meanwhile is
    /// done.
    pub(crate) fn end_turn(&mut self) {
        let unsettled = self.desk.is_unsettled();
        self.desk.end_turn();
        if unsettled {
            self.apply_focus();
            self.refresh_pointer();
        }
    }

    /// Once per turn of the loop in which something changed.
    fn tidy_and_redraw(&mut self) {
        self.end_turn();
        self.apply_focus();
        self.desk.space.refresh();
        self.desk.popups.cleanup();
        self.desk.weigh_inhibitors();
        self.refresh_pointer();
        self.redraw_due();
        self.serve_copies();
    }
}
