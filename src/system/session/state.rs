//! What a running session is: what it watches, how it shows it, and who is told about it.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant};

use calloop::LoopHandle;
use tracing::{info, warn};

use super::control::{ClientId, Control};
use super::file::{self, ConfigFile};
use super::jobs::{Asker, Finished};
use super::views::Views;
use super::watching::{View, Watched};
use super::words;
use crate::capture::Attacher;
use crate::channel::{self, Channel, Event as ChannelEvent, Sender};
use crate::config::{Config, Overrides};
use crate::display::settings::OutputIdentity;
use crate::display::{Compositor, DisplayError, Notice, OutputStatus};
use crate::ipc::{ConfigState, Event, Keyboard, Look, Mode, Palette, State};
use crate::render::{Caption, Picture};
use crate::sensing::DensityMap;
use crate::system::follow::Follower;

/// Between two events of telemetry.
const TELEMETRY: Duration = Duration::from_secs(1);

/// The session, as the sources of the loop share it. Each borrows it for as long as it works, and none calls
/// another.
pub(super) type Shared = Rc<RefCell<Session>>;

/// What an output's map shows: a process, if any, in a mode.
pub(super) type Shown = (Option<u32>, Mode);

/// What a running session is.
pub(super) struct Session {
    pub(super) me: Weak<RefCell<Session>>,
    pub(super) handle: LoopHandle<'static, Compositor>,
    pub(super) jobs: Sender<Finished>,
    pub(super) attacher: Attacher,
    file: ConfigFile,
    overrides: Overrides,
    /// In force: the last good file with the command line over it.
    pub(super) config: Config,
    config_state: ConfigState,
    pub(super) palette: Palette,
    pub(super) look: Look,
    /// Frames between windows are being shown.
    pub(super) animating: bool,
    /// The pictures that stand still, each with what it shows.
    pub(super) frozen: Option<Vec<(Shown, Picture)>>,
    /// The watched processes, and those that have ended and are still to be seen.
    pub(super) watched: Vec<Watched>,
    /// Which outputs show which of them.
    pub(super) views: Views,
    /// Words of the configuration that are to be attached to when the thread is free.
    pub(super) waiting: Vec<String>,
    /// Attaches to what watched processes fork, once there was something.
    pub(super) follower: Option<Follower>,
    /// Somebody's `watch` is being worked on.
    pub(super) attaching: bool,
    /// The picker's list is being made.
    pub(super) listing: bool,
    control: Option<Control>,
    /// What listeners know.
    told: State,
    telemetry_sent: Instant,
}

impl Session {
    /// Sets up everything that the session listens to besides the screen.
    pub(super) fn start(
        handle: LoopHandle<'static, Compositor>,
        compositor: &mut Compositor,
        attacher: Attacher,
        file: ConfigFile,
        overrides: Overrides,
        config: Config,
        broken: Option<String>,
    ) -> Result<Shared, DisplayError> {
        let (jobs, finished) = channel::channel()
            .map_err(|error| DisplayError::Setup { what: LISTENING, reason: error.to_string() })?;
        let config_state = ConfigState {
            path: file.path().map(|path| path.to_string_lossy().into_owned()),
            loaded: u32::from(broken.is_none()),
            error: broken,
        };
        let told = State {
            target: None,
            mode: config.mode,
            placement: config.placement,
            palette: config.palette,
            look: config.look(),
            frozen: false,
            zoom: None,
            following_hottest: false,
            outputs: Vec::new(),
            windows: Vec::new(),
            focus: None,
            keyboard: Keyboard::default(),
            overlay: None,
            config: config_state.clone(),
        };
        let session = Rc::new_cyclic(|me| {
            RefCell::new(Self {
                me: me.clone(),
                handle: handle.clone(),
                jobs,
                attacher,
                file,
                overrides,
                palette: config.palette,
                look: config.look(),
                animating: false,
                config,
                config_state,
                frozen: None,
                watched: Vec::new(),
                views: Views::default(),
                waiting: Vec::new(),
                follower: None,
                attaching: false,
                listing: false,
                control: None,
                told,
                telemetry_sent: Instant::now(),
            })
        });
        let control = Control::open(&handle, Rc::downgrade(&session))?;
        compositor.set_environment(crate::ipc::SOCKET_VARIABLE, control.path().to_string_lossy());
        info!(socket = %control.path().display(), "`memory-glass msg` reaches the session");
        listen(&session, &handle, finished, Self::finished)?;
        listen(&session, &handle, compositor.notices()?, Self::noticed)?;
        {
            let mut this = session.borrow_mut();
            this.control = Some(control);
            this.told = this.state(compositor);
            if let Some(path) = this.file.path() {
                let me = this.me.clone();
                let watched = file::watch(&handle, path, move |compositor| {
                    let Some(session) = me.upgrade() else { return };
                    let mut session = session.borrow_mut();
                    if session.file.changed() {
                        // It is in the log and in the state; nobody waits for an answer.
                        let _ = session.reload(compositor);
                    }
                });
                if let Err(error) = watched {
                    warn!(error, "the configuration is only read again by `memory-glass msg reload`");
                }
            }
        }
        Ok(session)
    }

    pub(super) fn control(&mut self) -> Option<&mut Control> {
        self.control.as_mut()
    }

    /// Everything that events are about, as it is now.
    fn state(&self, compositor: &Compositor) -> State {
        State {
            target: self.main().map(Watched::target),
            mode: self.config.mode,
            placement: words::placement(compositor.placement()),
            palette: self.palette,
            look: self.look,
            frozen: self.frozen.is_some(),
            zoom: self.main().and_then(Watched::zoom),
            following_hottest: self.main().is_some_and(|watched| watched.pipeline.follows_hottest()),
            outputs: self.output_states(compositor),
            windows: compositor.windows().into_iter().map(words::window).collect(),
            focus: compositor.focused_window(),
            keyboard: words::keyboard(compositor.keyboard_layouts()),
            overlay: compositor.overlay().map(words::overlay),
            config: self.config_state.clone(),
        }
    }

    /// Every output with what its map shows.
    fn output_states(&self, compositor: &Compositor) -> Vec<crate::ipc::OutputState> {
        let views = compositor.views();
        let state = |status: &OutputStatus| {
            let view = views.iter().find(|(name, _)| *name == status.identity.connector);
            let target = view.and_then(|(_, output)| Some(self.watched_by(self.view(output)?)?.target()));
            let mode = view.map_or(self.config.mode, |(_, output)| self.mode_of(output));
            words::output_state(status, target, mode)
        };
        compositor.status().iter().map(state).collect()
    }

    /// Every output in full.
    pub(super) fn outputs(&self, compositor: &Compositor) -> Vec<crate::ipc::Output> {
        let states = self.output_states(compositor);
        compositor.status().iter().zip(states).map(|(status, state)| words::output(status, state)).collect()
    }

    /// Tells the listeners what has changed since they were told last, and returns what is.
    pub(super) fn publish(&mut self, compositor: &Compositor) -> &State {
        let now = self.state(compositor);
        let events = self.told.changes(&now);
        self.told = now;
        if let Some(control) = &mut self.control {
            events.iter().for_each(|event| control.broadcast(event));
        }
        &self.told
    }

    /// The client gets the whole state, and from then on each change of it.
    pub(super) fn subscribe(&mut self, compositor: &Compositor, id: ClientId) {
        let first = Event::State(Box::new(self.publish(compositor).clone()));
        if let Some(control) = &mut self.control {
            control.subscribe(id, &first);
        }
    }

    /// Tells the listeners the numbers, when it is time again. Not from within the capture source, which they
    /// are asked of.
    pub(super) fn publish_telemetry(&mut self) {
        let due = self.telemetry_sent.elapsed() >= TELEMETRY;
        if !due || !self.control.as_ref().is_some_and(Control::has_listeners) {
            return;
        }
        self.telemetry_sent = Instant::now();
        let me = self.me.clone();
        self.handle.insert_idle(move |_| {
            let Some(session) = me.upgrade() else { return };
            let mut session = session.borrow_mut();
            let telemetry = session.main().map(Watched::telemetry);
            if let (Some(telemetry), Some(control)) = (telemetry, &mut session.control) {
                control.broadcast(&Event::Telemetry(telemetry));
            }
        });
    }

    /// Puts what is to be seen now on the screen.
    pub(super) fn show(&self, compositor: &mut Compositor) {
        let mut pids: Vec<Option<u32>> = self.shown(compositor).into_iter().map(|(pid, _)| pid).collect();
        pids.sort_unstable();
        pids.dedup();
        for pid in pids {
            self.show_view(compositor, pid);
        }
    }

    /// Everything that the outputs show, and what one that comes will show.
    fn shown(&self, compositor: &Compositor) -> Vec<Shown> {
        let mut all: Vec<Shown> = vec![(self.views.main, self.config.mode)];
        for (_, output) in compositor.views() {
            let shown = (self.view(&output), self.mode_of(&output));
            if !all.contains(&shown) {
                all.push(shown);
            }
        }
        all
    }

    /// Puts the pictures of this process on the outputs that show it.
    pub(super) fn show_view(&self, compositor: &mut Compositor, pid: Option<u32>) {
        for shown in self.shown(compositor).into_iter().filter(|(of, _)| *of == pid) {
            self.show_one(compositor, shown);
        }
    }

    fn show_one(&self, compositor: &mut Compositor, shown: Shown) {
        let (pid, palette) = (shown.0, words::color_palette(self.palette));
        // What stands still stays as it is, whatever is asked for meanwhile.
        let still = self.frozen.as_ref().and_then(|all| {
            let same = all.iter().find(|(still, _)| *still == shown);
            same.or_else(|| all.iter().find(|(still, _)| still.0 == pid))
        });
        let picture = match still {
            Some((_, still)) => Picture { palette, ..still.clone() },
            None => self.picture(shown),
        };
        let taken = pid.and_then(|pid| self.watched_by(pid)).and_then(Watched::taken);
        let taken = taken.filter(|_| still.is_none());
        let picture = Arc::new(picture);
        if shown == (self.views.main, self.config.mode) {
            compositor.keep(Arc::clone(&picture));
        }
        for (connector, output) in compositor.views() {
            if (self.view(&output), self.mode_of(&output)) == shown {
                compositor.show_on(&connector, Arc::clone(&picture), taken);
            }
        }
    }

    /// What there is to be seen of a process.
    fn picture(&self, (pid, mode): Shown) -> Picture {
        pid.and_then(|pid| self.watched_by(pid)).map_or_else(
            || self.nothing(),
            |watched| {
                let mut picture = watched.pipeline.picture_as(words::mode(mode));
                if let Some(moving) = &watched.moving {
                    moving.place(&mut picture);
                }
                picture
            },
        )
    }

    /// The picture of a session that watches nothing.
    fn nothing(&self) -> Picture {
        let order = self.config.hilbert().unwrap_or_default().order_for(0);
        Picture::new(
            Arc::new(DensityMap::zeros((1 << order, 1 << order))),
            Caption {
                target: "no target".into(),
                numbers: Vec::new(),
                status: "`memory-glass msg watch PID` watches a process".into(),
                order,
                bytes_per_cell: 0.0,
                total_bytes: 0,
                half_life: self.half_life(),
            },
            words::color_palette(self.palette),
        )
    }

    pub(super) fn half_life(&self) -> Duration {
        Duration::from_millis(self.config.half_life_ms.into())
    }

    pub(super) fn set_palette(&mut self, compositor: &mut Compositor, palette: Palette) {
        self.palette = palette;
        for watched in &mut self.watched {
            watched.pipeline.set_palette(words::color_palette(palette));
        }
        self.show(compositor);
        self.publish(compositor);
    }

    /// The maps of these outputs show something else, from the next frame on; all of them, whatever was said
    /// about single ones, without any.
    pub(super) fn set_mode(
        &mut self,
        compositor: &mut Compositor,
        mode: Mode,
        outputs: Option<&[OutputIdentity]>,
    ) {
        match outputs {
            Some(outputs) => self.views.set_mode(outputs, mode),
            None => {
                self.config.mode = mode;
                self.views.forget_modes();
            }
        }
        self.dress();
        self.show(compositor);
        self.publish(compositor);
    }

    /// The watched processes may become so much slower, percent; as much as it takes to see every page, when that is left out.
    pub(super) fn set_budget(&mut self, percent: Option<u32>) {
        let old = self.config.clone();
        self.config.exact = percent.is_none();
        self.config.slowdown_budget = percent.unwrap_or(old.slowdown_budget);
        self.watched.iter().for_each(|watched| watched.follow_budget(&old, &self.config));
    }

    /// The picture is drawn in another way.
    pub(super) fn set_look(&mut self, compositor: &mut Compositor, look: Look) {
        self.look = look;
        self.dress();
        self.show(compositor);
        self.publish(compositor);
    }

    /// The watched processes are shown as the session is set.
    pub(super) fn dress(&mut self) {
        let (mode, look, plain) = (words::mode(self.config.mode), self.look, !self.config.outlines);
        for watched in &mut self.watched {
            let view = watched.pipeline.view_mut();
            view.mode = mode;
            view.glow = look.glow;
            view.plain = plain;
            view.scale = words::color_scale(look.scale);
        }
    }

    /// The picture stands still, or goes on.
    pub(super) fn freeze(&mut self, compositor: &mut Compositor, frozen: bool) {
        if frozen == self.frozen.is_some() {
            return;
        }
        self.frozen = frozen.then(|| {
            let others = self.watched.iter().map(|watched| Some(watched.pid())).chain([None]);
            let others = others.map(|pid| (pid, self.config.mode));
            self.shown(compositor)
                .into_iter()
                .chain(others)
                .map(|shown| {
                    let mut still = self.picture(shown);
                    still.caption.status.insert_str(0, "standing still · ");
                    (shown, still)
                })
                .collect()
        });
        self.show(compositor);
        self.publish(compositor);
    }

    /// Reads the configuration again. What is wrong with it is logged and told, and the last good one stays.
    pub(super) fn reload(&mut self, compositor: &mut Compositor) -> Result<(), String> {
        let outcome = self
            .file
            .read()
            .map(|config| config.overridden(&self.overrides))
            // What was in force from the start stays so: nothing that runs could be taken back, and nothing
            // is let loose.
            .map(|config| Config { security: self.config.security, ..config })
            .map_err(|error| error.to_string())
            .and_then(|config| self.apply(compositor, config));
        match &outcome {
            Ok(()) => {
                info!("the configuration is read");
                self.config_state.loaded += 1;
                self.config_state.error = None;
            }
            Err(error) => {
                warn!("{error}; the last good configuration stays");
                self.config_state.error = Some(error.clone());
            }
        }
        self.publish(compositor);
        outcome
    }

    /// Brings everything in step with `new`, as far as it is another than now: what was changed by hand since
    /// then stays.
    fn apply(&mut self, compositor: &mut Compositor, new: Config) -> Result<(), String> {
        let hilbert = new.hilbert().map_err(|error| error.to_string())?;
        // What can refuse comes first, so that a refusal changes nothing.
        compositor.set_settings(new.display_settings()).map_err(|error| error.to_string())?;
        let old = std::mem::replace(&mut self.config, new);
        if old.placement != self.config.placement {
            compositor.set_placement(words::display_placement(self.config.placement));
        }
        crate::capture::watch_own_userfaultfd(self.config.watch_own_userfaultfd);
        let half_life = self.half_life();
        for watched in &mut self.watched {
            watched.follow_budget(&old, &self.config);
            if (old.order, old.half_life_ms) != (self.config.order, self.config.half_life_ms) {
                watched.pipeline.reshape(hilbert.clone(), half_life).map_err(|error| error.to_string())?;
            }
        }
        if old.palette != self.config.palette {
            self.set_palette(compositor, self.config.palette);
        }
        if old.look() != self.config.look() {
            self.look = self.config.look();
        }
        self.dress();
        self.views_settled(compositor);
        Ok(())
    }

    /// Outputs or what is configured for them may be others: each shows what it is to show.
    fn views_settled(&mut self, compositor: &mut Compositor) {
        self.watch_configured(compositor);
        self.let_go_unwanted();
        self.show(compositor);
    }

    /// What the display reports, and the hotkeys that it cannot do alone.
    fn noticed(&mut self, compositor: &mut Compositor, notice: Notice) {
        match notice {
            Notice::Changed => {
                self.views_settled(compositor);
                self.publish(compositor);
            }
            Notice::Mode(mode) => {
                let outputs = self.in_hand(compositor);
                self.set_mode(compositor, words::mode_of(mode), outputs.as_deref());
            }
            Notice::Glow => self.set_look(compositor, Look { glow: !self.look.glow, ..self.look }),
            Notice::Animation => {
                self.set_look(compositor, Look { animation: !self.look.animation, ..self.look });
            }
            Notice::Scale => {
                let scale = words::next_scale(self.look.scale);
                self.set_look(compositor, Look { scale, ..self.look });
            }
            Notice::Map(pointer) => self.map_pointer(compositor, pointer),
            Notice::LookAt(command) => self.look_at_part(compositor, command),
            Notice::NextPalette => self.set_palette(compositor, words::next_palette(self.palette)),
            Notice::Freeze => self.freeze(compositor, self.frozen.is_none()),
            Notice::Screenshot => {
                if let Err(error) = self.screenshot(compositor, None, None, None) {
                    warn!(error, "no screenshot");
                }
            }
            // A slow machine may need longer than until the next wish.
            Notice::List if self.listing => {}
            Notice::List => match self.start_targets(None) {
                Ok(()) => self.listing = true,
                Err(error) => warn!(error, "no list of processes"),
            },
            Notice::Watch(pid) => {
                let view = self.in_hand(compositor).map_or(View::Main, View::Outputs);
                if let Err(error) = self.start_attach(Asker::Picker, pid.to_string(), view) {
                    compositor.picked(Err(error));
                }
            }
        }
    }
}

const LISTENING: &str = "listening to the session's own threads";

/// Hands everything that comes over a channel to the session.
fn listen<T: 'static>(
    session: &Shared,
    handle: &LoopHandle<'static, Compositor>,
    channel: Channel<T>,
    then: impl Fn(&mut Session, &mut Compositor, T) + 'static,
) -> Result<(), DisplayError> {
    let weak = Rc::downgrade(session);
    handle
        .insert_source(channel, move |event, (), compositor| {
            if let (ChannelEvent::Msg(message), Some(session)) = (event, weak.upgrade()) {
                then(&mut session.borrow_mut(), compositor, message);
            }
        })
        .map(drop)
        .map_err(|error| DisplayError::Setup { what: LISTENING, reason: error.to_string() })
}
