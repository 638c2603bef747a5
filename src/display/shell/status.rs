//! What can be told about a window.

use smithay::desktop::Window;
use smithay::reexports::wayland_server::Resource;
use smithay::wayland::compositor::with_states;
use smithay::wayland::shell::xdg::XdgToplevelSurfaceData;

use super::windows::Placed;
use crate::display::clients::process_of;
use crate::display::desk::Desk;

/// One window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowStatus {
    /// Its number in this session.
    pub id: u32,
    /// Its title, as the client has it.
    pub title: String,
    /// Which program it is of, as the client has it.
    pub app_id: String,
    /// The client's process.
    pub pid: Option<u32>,
    /// The output that it is shown on.
    pub output: Option<String>,
    /// It has the clients' part of its output alone.
    pub fullscreen: bool,
    /// It is no tile.
    pub floating: bool,
}

impl Desk {
    /// Every window that shows something, in the order in which they are tiled.
    pub(crate) fn window_status(&self) -> Vec<WindowStatus> {
        self.windows.mapped().map(|placed| self.status_of(placed)).collect()
    }

    /// The number of the window that has the keyboard.
    pub(crate) fn focused_window(&self) -> Option<u32> {
        self.windows.focused
    }

    /// Whether this window has the keyboard.
    pub(crate) fn is_focused(&self, window: &Window) -> bool {
        self.windows.focused().is_some_and(|placed| &placed.window == window)
    }

    fn status_of(&self, placed: &Placed) -> WindowStatus {
        let surface = placed.surface();
        let names = placed.window.toplevel().map(|toplevel| {
            with_states(toplevel.wl_surface(), |states| {
                let data = states.data_map.get::<XdgToplevelSurfaceData>()?.lock().ok()?;
                Some((data.title.clone().unwrap_or_default(), data.app_id.clone().unwrap_or_default()))
            })
        });
        let x11 = placed.window.x11_surface();
        let names = names.flatten().or_else(|| x11.map(|x11| (x11.title(), x11.class())));
        let (title, app_id) = names.unwrap_or_default();
        // The client of an X11 window is Xwayland.
        let pid = x11.map(|x11| x11.pid());
        let wayland = || process_of(&surface?.client()?);
        WindowStatus {
            id: placed.id,
            title,
            app_id,
            pid: pid.unwrap_or_else(wayland),
            output: self
                .outputs
                .iter()
                .find(|state| Some(state.identity.key()) == placed.shown)
                .map(|state| state.output.name()),
            fullscreen: placed.fullscreen,
            floating: placed.floating(),
        }
    }
}
