//! The list of windows, for bars and for whoever wants a picture of one.

use std::cell::RefCell;

use smithay::delegate_foreign_toplevel_list;
use smithay::desktop::Window;
use smithay::wayland::compositor::with_states;
use smithay::wayland::foreign_toplevel_list::{
    ForeignToplevelHandle, ForeignToplevelListHandler, ForeignToplevelListState,
};
use smithay::wayland::seat::WaylandFocus;
use smithay::wayland::shell::xdg::XdgToplevelSurfaceData;

use crate::display::Compositor;
use crate::display::desk::Desk;

impl ForeignToplevelListHandler for Compositor {
    fn foreign_toplevel_list_state(&mut self) -> &mut ForeignToplevelListState {
        &mut self.desk.protocols.toplevel_list
    }
}

delegate_foreign_toplevel_list!(Compositor);

/// Kept with a window while it is listed.
#[derive(Default)]
struct Listed(RefCell<Option<ForeignToplevelHandle>>);

impl Desk {
    /// A window is shown, or says something else of itself.
    pub(crate) fn list_window(&mut self, window: &Window) {
        let (title, app_id) = words(window);
        let listed = window.user_data().get_or_insert(Listed::default);
        let mut handle = listed.0.borrow_mut();
        match &*handle {
            Some(handle) => {
                handle.send_title(&title);
                handle.send_app_id(&app_id);
                handle.send_done();
            }
            None => {
                let list = &mut self.protocols.toplevel_list;
                *handle = Some(list.new_toplevel::<Compositor>(title, app_id));
            }
        }
    }

    /// The number of the window that is listed by this handle.
    pub(crate) fn listed_window(&self, handle: &ForeignToplevelHandle) -> Option<u32> {
        self.windows.number_of(|window| {
            let listed = window.user_data().get::<Listed>();
            let own =
                listed.and_then(|listed| listed.0.borrow().as_ref().map(ForeignToplevelHandle::identifier));
            own.is_some_and(|own| own == handle.identifier())
        })
    }

    /// It is not shown any more.
    pub(crate) fn unlist_window(&mut self, window: &Window) {
        let handle = window.user_data().get::<Listed>().and_then(|listed| listed.0.borrow_mut().take());
        if let Some(handle) = handle {
            self.protocols.toplevel_list.remove_toplevel(&handle);
        }
    }
}

fn words(window: &Window) -> (String, String) {
    if let Some(x11) = window.x11_surface() {
        return (without_nul(&x11.title()), without_nul(&x11.class()));
    }
    let Some(surface) = window.wl_surface() else { return Default::default() };
    with_states(&surface, |states| {
        let data = states.data_map.get::<XdgToplevelSurfaceData>();
        let data = data.and_then(|data| data.lock().ok());
        data.map(|data| (data.title.clone().unwrap_or_default(), data.app_id.clone().unwrap_or_default()))
            .unwrap_or_default()
    })
}

/// A property of X11 may hold a NUL, a text on the wire of Wayland may not.
fn without_nul(text: &str) -> String {
    text.split('\0').next().unwrap_or_default().to_owned()
}
