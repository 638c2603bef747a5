//! What can go wrong between here and the screen, each on one line with its remedy.

use std::path::PathBuf;

use thiserror::Error;

use crate::GlassRamError;

/// Why the display could not be opened or driven.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DisplayError {
    /// The running desktop gives no window, or no OpenGL ES in it.
    #[error(
        "no window on this desktop: {reason}: switch to a text console (Ctrl+Alt+F3) and start again there, or use `--backend \
         headless`"
    )]
    Window {
        /// What the desktop or its driver said.
        reason: String,
    },

    /// The desktop that the window was on has ended.
    #[error("the desktop that the window was on is gone: start again on another, or on a text console")]
    DesktopGone,

    /// There is no `/dev/dri/card*` on this seat.
    #[error(
        "no DRM device on seat {seat}: load a display driver (`ls /dev/dri` should list card0), or use `--backend headless`"
    )]
    NoDrmDevice {
        /// The seat that was searched.
        seat: String,
    },

    /// libseat could not open a session.
    #[error(
        "no seat: libseat refused ({reason}): start from a text console of a logind session, or start seatd and join its \
         group (`sudo systemctl start seatd; sudo usermod -aG _seatd,seat,video $USER`, whichever exist)"
    )]
    NoSeat {
        /// What libseat said.
        reason: String,
    },

    /// One card could not be opened or used.
    #[error("card {card}: {reason}")]
    Card {
        /// The device node.
        card: PathBuf,
        /// What failed, and the remedy.
        reason: String,
    },

    /// No card of the seat could be used.
    #[error("no usable display card: {reasons}; choose one with `--card`, or use `--backend headless`")]
    NoUsableCard {
        /// One reason per card.
        reasons: String,
    },

    /// Input devices cannot be read.
    #[error("input devices of seat {seat} cannot be opened: is another display server active on this VT?")]
    Input {
        /// The seat.
        seat: String,
    },

    /// The Wayland socket.
    #[error(
        "Wayland socket {name}: {reason}: is XDG_RUNTIME_DIR set to a directory of yours, and the name free?"
    )]
    Socket {
        /// The name asked for, or "wayland-1…32".
        name: String,
        /// What the system said.
        reason: String,
    },

    /// Something of the event loop or the Wayland display could not be set up.
    #[error("{what} failed: {reason}: too many open files? (`ulimit -n`)")]
    Setup {
        /// What was being set up.
        what: &'static str,
        /// What the system said.
        reason: String,
    },

    /// The keyboard map.
    #[error("no keyboard map for the XKB_DEFAULT_* variables: install xkb-data, or correct them")]
    Keyboard,

    /// A program could not be started.
    #[error("`{command}` cannot be started: {reason}: is it installed and on the PATH?")]
    Spawn {
        /// The program.
        command: String,
        /// What the system said.
        reason: String,
    },

    /// The software or hardware renderer failed.
    #[error("rendering on {output} failed: {reason}; `memory-glass doctor` says what this machine can do")]
    Render {
        /// The output's name.
        output: String,
        /// What the renderer said.
        reason: String,
    },

    /// A picture of the screen was asked for where there is no screen.
    #[error("no output to take a picture of: connect a display, or use `--backend headless`")]
    NoOutput,
}

impl From<DisplayError> for GlassRamError {
    fn from(error: DisplayError) -> Self {
        match error {
            DisplayError::Window { .. }
            | DisplayError::NoDrmDevice { .. }
            | DisplayError::NoSeat { .. }
            | DisplayError::Card { .. }
            | DisplayError::NoUsableCard { .. } => {
                GlassRamError::FeatureNotSupported { feature: error.to_string() }
            }
            other => GlassRamError::VisualizationFailed { reason: other.to_string() },
        }
    }
}

/// The whole chain of causes on one line, which is what a person needs from a driver's answer.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_is_one_line_and_holds_a_remedy() {
        let all = [
            DisplayError::Window { reason: "EGL error".into() },
            DisplayError::DesktopGone,
            DisplayError::NoDrmDevice { seat: "seat0".into() },
            DisplayError::NoSeat { reason: "Operation not permitted".into() },
            DisplayError::Input { seat: "seat0".into() },
            DisplayError::Socket { name: "wayland-9".into(), reason: "in use".into() },
            DisplayError::Keyboard,
            DisplayError::Spawn { command: "foot".into(), reason: "not found".into() },
            DisplayError::NoOutput,
        ];
        for error in all {
            let text = GlassRamError::from(error).to_string();
            assert!(!text.contains('\n') && text.contains(':'), "{text}");
        }
    }
}
