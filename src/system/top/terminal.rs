//! The terminal: taken, drawn on, and given back as it was; and noticed when it goes away.

use std::mem::ManuallyDrop;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread;

use calloop::generic::Generic;
use calloop::{Interest, Mode};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use super::draw::{View, draw};
use crate::channel::{Channel, channel};
use crate::{GlassRamError, Result};

/// The terminal while it is ours. Dropping it, and a panic, put it back.
///
/// Nothing here says on stderr that it could not: that is mostly the terminal that is gone, and to fail at it
/// would be a panic within a panic. Which is why ratatui's own ends, which do, are never reached.
pub(super) struct Screen(ManuallyDrop<DefaultTerminal>);

impl Screen {
    pub fn enter() -> Result<Self> {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let _ = ratatui::try_restore();
            before(panic);
        }));
        let entered = ratatui::crossterm::terminal::enable_raw_mode()
            .and_then(|()| {
                ratatui::crossterm::execute!(
                    std::io::stdout(),
                    ratatui::crossterm::terminal::EnterAlternateScreen
                )
            })
            .and_then(|()| DefaultTerminal::new(ratatui::backend::CrosstermBackend::new(std::io::stdout())));
        match entered {
            Ok(terminal) => Ok(Self(ManuallyDrop::new(terminal))),
            Err(error) => {
                let _ = ratatui::try_restore();
                Err(failed(error))
            }
        }
    }

    pub fn draw(&mut self, view: &View) -> Result<()> {
        self.0.draw(|frame| draw(view, frame)).map(drop).map_err(failed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to be put back.
        let _ = self.0.show_cursor();
        let _ = ratatui::try_restore();
    }
}

fn failed(error: std::io::Error) -> GlassRamError {
    GlassRamError::FeatureNotSupported {
        feature: format!("the terminal cannot be drawn on ({error}): try another one"),
    }
}

/// What is said when nobody can see it any more.
pub(super) fn gone() -> GlassRamError {
    GlassRamError::FeatureNotSupported {
        feature: "the terminal is gone, and the target let go: start top in another one".into(),
    }
}

/// Whether the terminal was closed.
pub(super) fn is_gone() -> bool {
    let stdin = std::io::stdin();
    let mut ends = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
    poll(&mut ends, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// Ready once the terminal is closed: whoever has it not as their own gets no signal of that.
pub(super) fn hang_up() -> Result<Generic<OwnedFd>> {
    let terminal = std::io::stdin().as_fd().try_clone_to_owned().map_err(failed)?;
    // No interest but in what is always told: errors and hang-ups.
    Ok(Generic::new(terminal, Interest::EMPTY, Mode::Level))
}

/// Keys, resizes and pastes as they come.
pub(super) fn keyboard() -> Result<Channel<Event>> {
    let (sender, receiver) = channel().map_err(failed)?;
    // It ends with the process: nothing else wakes a thread that waits for a key.
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send(event).is_err() {
                break;
            }
        }
    });
    Ok(receiver)
}
