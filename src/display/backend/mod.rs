//! What shows the frames: a display that is ours ([`Tty`]), a window of a desktop ([`Nested`]), or memory
//! ([`Headless`]). The compositor asks the same of each.

mod headless;
mod host;
mod nested;
mod tty;

pub(crate) use headless::Headless;
pub(crate) use nested::Nested;
use smithay::backend::allocator::dmabuf::Dmabuf;
use smithay::input::keyboard::LedState;
use smithay::output::Output;
use smithay::reexports::wayland_server::DisplayHandle;
use smithay::utils::{Physical, Size};
use smithay::wayland::dmabuf::DmabufFeedback;
pub(crate) use tty::Tty;

use super::DisplayError;
use super::desk::Desk;
use super::map_view::Ring;
use super::redraw::Drawn;
use super::screen_copy::{Changed, CopyError, DmabufFormats, Job};
use super::settings::{ModeChoice, Settings};
use crate::render::Image;

/// What a look at the connectors has changed.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) added: Vec<Output>,
    pub(crate) removed: Vec<Output>,
}

/// The one in use.
pub(crate) enum Backend {
    Tty(Box<Tty>),
    Nested(Box<Nested>),
    Headless(Box<Headless>),
}

impl Backend {
    /// Gets going; returns the outputs that there are at the start.
    pub(crate) fn start(&mut self, desk: &mut Desk) -> Vec<Output> {
        match self {
            Backend::Tty(tty) => tty.start(desk),
            Backend::Nested(nested) => nested.start(desk),
            Backend::Headless(headless) => headless.start(),
        }
    }

    /// Draws one output, and queues it for the screen.
    pub(crate) fn draw(&mut self, desk: &mut Desk, output: &Output) -> Drawn {
        match self {
            Backend::Tty(tty) => tty.draw(desk, output),
            Backend::Nested(nested) => nested.draw(desk, output),
            Backend::Headless(headless) => headless.draw(desk, output),
        }
    }

    /// The timer that stands for a vblank fired.
    pub(crate) fn timer_fired(&mut self, desk: &mut Desk, output: &Output) {
        match self {
            Backend::Tty(_) | Backend::Nested(_) => {}
            Backend::Headless(headless) => headless.presented(desk, output),
        }
    }

    /// Looks at the connectors again, and which of them the settings leave out.
    pub(crate) fn rescan(&mut self, settings: &Settings) -> Changes {
        match self {
            Backend::Tty(tty) => tty.rescan(settings),
            Backend::Nested(_) | Backend::Headless(_) => Changes::default(),
        }
    }

    /// Gives the output this mode, or the one that its display prefers. Refused, it keeps the one that it
    /// has.
    pub(crate) fn set_mode(&mut self, output: &Output, choice: Option<&ModeChoice>) -> Result<(), String> {
        match self {
            Backend::Tty(tty) => tty.set_mode(output, choice),
            Backend::Nested(_) if choice.is_some() => {
                Err("the desktop decides how large its windows are".into())
            }
            Backend::Nested(_) => Ok(()),
            Backend::Headless(headless) => headless.set_mode(output, choice),
        }
    }

    /// The scale of an output that no rule gives one.
    pub(crate) fn own_scale(&self) -> f64 {
        match self {
            Backend::Nested(nested) => nested.scale(),
            Backend::Tty(_) | Backend::Headless(_) => 1.0,
        }
    }

    /// Switches the display off, or makes it ready to be drawn again.
    pub(crate) fn set_power(&mut self, output: &Output, on: bool) -> Result<(), String> {
        match self {
            Backend::Tty(tty) => tty.set_power(output, on),
            Backend::Nested(_) | Backend::Headless(_) => Ok(()),
        }
    }

    /// Buffers for a map of this size on this output, or why there are none.
    pub(crate) fn map_buffers(
        &mut self,
        display: &mut DisplayHandle,
        output: &Output,
        size: Size<i32, Physical>,
    ) -> Result<Ring, String> {
        match self {
            Backend::Tty(tty) => tty.map_buffers(display, output, size),
            Backend::Nested(_) => Err("the session is nested in a window".into()),
            Backend::Headless(_) => Err("there is no display controller".into()),
        }
    }

    /// Whether the screen is ours at the moment.
    pub(crate) fn is_active(&self) -> bool {
        match self {
            Backend::Tty(tty) => tty.is_active(),
            Backend::Nested(_) | Backend::Headless(_) => true,
        }
    }

    /// The plane that shows the map on this output, and its framebuffer.
    pub(crate) fn map_plane(&self, output: &Output) -> Option<(u32, u32)> {
        match self {
            Backend::Tty(tty) => tty.map_plane(output),
            Backend::Nested(_) | Backend::Headless(_) => None,
        }
    }

    /// Whether the renderers can read a client's buffer.
    pub(crate) fn import_dmabuf(&mut self, dmabuf: &Dmabuf) -> Result<(), String> {
        match self {
            Backend::Tty(tty) => tty.import_dmabuf(dmabuf),
            Backend::Nested(nested) => nested.import_dmabuf(dmabuf),
            Backend::Headless(_) => Err("the headless backend has no GPU".into()),
        }
    }

    /// Which GPU buffers are best for windows on this output, where that is not the same on all.
    pub(crate) fn dmabuf_feedback(&self, output: &Output) -> Option<&DmabufFeedback> {
        match self {
            Backend::Tty(tty) => tty.dmabuf_feedback(output),
            Backend::Nested(_) | Backend::Headless(_) => None,
        }
    }

    /// The input devices get these settings.
    pub(crate) fn configure_input(&mut self, settings: &Settings) {
        match self {
            Backend::Tty(tty) => tty.configure_input(settings),
            Backend::Nested(_) | Backend::Headless(_) => {}
        }
    }

    /// The lamps of the keyboards.
    pub(crate) fn set_leds(&mut self, leds: LedState) {
        match self {
            Backend::Tty(tty) => tty.set_leds(leds),
            Backend::Nested(_) | Backend::Headless(_) => {}
        }
    }

    /// Goes to another virtual terminal.
    pub(crate) fn switch_vt(&mut self, vt: i32) {
        match self {
            Backend::Tty(tty) => tty.switch_vt(vt),
            Backend::Nested(_) | Backend::Headless(_) => {}
        }
    }

    /// Gives the screen back before the end: nothing of ours stays on it.
    pub(crate) fn shut_down(&mut self) {
        match self {
            Backend::Tty(tty) => tty.shut_down(),
            Backend::Nested(_) | Backend::Headless(_) => {}
        }
    }

    /// What this output shows, drawn into memory.
    pub(crate) fn screenshot(&mut self, desk: &mut Desk, output: &Output) -> Result<Image, DisplayError> {
        match self {
            Backend::Tty(tty) => tty.screenshot(desk, output),
            Backend::Nested(nested) => nested.screenshot(desk, output),
            Backend::Headless(headless) => headless.screenshot(desk, output),
        }
    }

    /// Copies what this output shows into a client's buffer; `None` when nothing has changed and that was the
    /// condition.
    pub(crate) fn copy(
        &mut self,
        desk: &mut Desk,
        output: &Output,
        job: Job<'_>,
    ) -> Result<Option<Changed>, CopyError> {
        match self {
            Backend::Tty(tty) => tty.copy(desk, output, job),
            Backend::Nested(nested) => nested.copy(desk, output, job),
            Backend::Headless(headless) => headless.copy(desk, output, job),
        }
    }

    /// GPU buffers of clients that this output can be copied into.
    pub(crate) fn copy_formats(&self, output: &Output) -> Option<DmabufFormats> {
        match self {
            Backend::Tty(tty) => tty.copy_formats(output),
            Backend::Nested(nested) => nested.copy_formats(),
            Backend::Headless(_) => None,
        }
    }
}
