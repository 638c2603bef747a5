//! The terminal: taken, drawn on, and given back as it was.

use std::thread;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};

use super::draw::{View, draw};
use crate::channel::{Channel, channel};
use crate::{GlassRamError, Result};

/// The terminal while it is ours. Dropping it, and a panic, put it back.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    pub fn enter() -> Result<Self> {
        // This also makes a panic restore the terminal before it says anything.
        ratatui::try_init().map(Self).map_err(failed)
    }

    pub fn draw(&mut self, view: &View) -> Result<()> {
        self.0.draw(|frame| draw(view, frame)).map(drop).map_err(failed)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn failed(error: std::io::Error) -> GlassRamError {
    GlassRamError::FeatureNotSupported {
        feature: format!("the terminal cannot be drawn on ({error}): try another one"),
    }
}

/// Keys, resizes and pastes as they come; closed when the terminal is gone.
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
