//! The map and the numbers in a terminal: for people on ssh.
//!
//! ```text
//!  windows ─► pipeline ─┐
//!  keys, resizes ───────┼─► view (what is to be seen) ─► draw ─► terminal
//!  signals ─────────────┘
//! ```
//!
//! Everything is a source of one loop, as in the session; the keyboard is read on a thread of its own,
//! because it can only be waited for.

mod app;
mod colors;
mod draw;
mod terminal;

pub use colors::ColorDepth;

use std::io::IsTerminal as _;

use calloop::EventLoop;
use calloop::signals::{Signal, Signals};

use self::app::App;
use self::terminal::Screen;
use super::snapshot::loop_failed;
use super::{Subject, memory};
use crate::capture::{Attacher, MonitorConfig, SecurityConfig};
use crate::channel::Event as ChannelEvent;
use crate::map::HilbertConfig;
use crate::render::ColorPalette;
use crate::{GlassRamError, Result};

/// What to look at, and how.
#[derive(Debug, Clone)]
pub struct TopOptions {
    /// A process, or a recording.
    pub subject: Subject,
    /// How to watch a process.
    pub monitor: MonitorConfig,
    /// The orders that the map may take.
    pub hilbert: HilbertConfig,
    /// The colours of the map.
    pub palette: ColorPalette,
    /// How careful to be.
    pub security: SecurityConfig,
    /// What the terminal can show; asked of its environment when `None`.
    pub depth: Option<ColorDepth>,
}

/// Shows the target until the person quits or a signal comes. The terminal is as it was before, whatever
/// happens.
pub fn run(options: &TopOptions) -> Result<()> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(GlassRamError::FeatureNotSupported {
            feature: "top needs a terminal: run it in one, or use `memory-glass snapshot`".into(),
        });
    }
    memory::give_back();
    let mut event_loop: EventLoop<'static, App> = EventLoop::try_new().map_err(loop_failed)?;
    // Before any thread is started, so that every thread leaves these signals to the loop.
    let signals = Signals::new(&[Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT])
        .map_err(loop_failed)?;
    let attacher = Attacher::choose(options.security, None)?;
    let monitor = MonitorConfig { anonymize: attacher.anonymizes(), ..options.monitor };
    let source = options.subject.open(&attacher, monitor)?;
    let handle = event_loop.handle();
    let depth = options.depth.unwrap_or_else(ColorDepth::of_environment);
    // What was decided here is not decided again by what writes it.
    ratatui::crossterm::style::force_color_output(depth != ColorDepth::None);
    let look = (options.hilbert.clone(), options.palette, depth);
    let mut app = App::new(handle.clone(), attacher, monitor, look);
    app.watch(source)?;
    handle.insert_source(signals, |_, (), app| app.quit()).map_err(loop_failed)?;
    handle
        .insert_source(terminal::hang_up()?, |_, _, app: &mut App| {
            app.quit();
            Ok(calloop::PostAction::Remove)
        })
        .map_err(loop_failed)?;
    let shown = show(&mut event_loop, &mut app);
    // Whatever became of the terminal.
    let let_go = app.let_go();
    shown.and(let_go)
}

/// Draws, until the person has seen enough or nobody can see it any more.
fn show(event_loop: &mut EventLoop<'static, App>, app: &mut App) -> Result<()> {
    let mut screen = Screen::enter()?;
    event_loop
        .handle()
        .insert_source(terminal::keyboard()?, |event, (), app: &mut App| match event {
            ChannelEvent::Msg(event) => app.input(event),
            // The terminal is gone.
            ChannelEvent::Closed => app.quit(),
        })
        .map_err(loop_failed)?;
    let mut drawn = screen.draw(&app.view());
    while drawn.is_ok() && !app.done() {
        event_loop.dispatch(None, app).map_err(loop_failed)?;
        if app.take_changed() && !app.done() {
            drawn = screen.draw(&app.view());
        }
    }
    if terminal::is_gone() { Err(terminal::gone()) } else { drawn }
}
