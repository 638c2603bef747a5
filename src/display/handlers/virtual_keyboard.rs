//! Keyboards that are programs. Their keymaps are read before Smithay maps them: a file that is shorter than
//! it is said to be would end the session, and one that includes others by the thousand would stop it.

use std::os::fd::OwnedFd;

use smithay::input::keyboard::xkb;
use smithay::reexports::wayland_protocols_misc::zwp_virtual_keyboard_v1::server::zwp_virtual_keyboard_manager_v1::ZwpVirtualKeyboardManagerV1;
use smithay::reexports::wayland_protocols_misc::zwp_virtual_keyboard_v1::server::zwp_virtual_keyboard_v1::{
    self, ZwpVirtualKeyboardV1,
};
use smithay::reexports::wayland_server::protocol::wl_keyboard::KeymapFormat;
use smithay::reexports::wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, delegate_dispatch, delegate_global_dispatch,
};
use smithay::wayland::virtual_keyboard::{
    VirtualKeyboardManagerGlobalData, VirtualKeyboardManagerState, VirtualKeyboardUserData,
};
use tracing::warn;

use crate::display::Compositor;
use crate::display::clients::process_of;
use crate::display::{foreign_memory, limits};

// What `delegate_virtual_keyboard_manager!` would write, but for the one below.
delegate_global_dispatch!(Compositor: [ZwpVirtualKeyboardManagerV1: VirtualKeyboardManagerGlobalData] => VirtualKeyboardManagerState);
delegate_dispatch!(Compositor: [ZwpVirtualKeyboardManagerV1: ()] => VirtualKeyboardManagerState);

impl Dispatch<ZwpVirtualKeyboardV1, VirtualKeyboardUserData<Compositor>> for Compositor {
    fn request(
        compositor: &mut Self,
        client: &Client,
        keyboard: &ZwpVirtualKeyboardV1,
        request: zwp_virtual_keyboard_v1::Request,
        data: &VirtualKeyboardUserData<Compositor>,
        display: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        let request = match request {
            zwp_virtual_keyboard_v1::Request::Keymap { format, fd, size }
                if format == u32::from(KeymapFormat::XkbV1) =>
            {
                match read(fd, size) {
                    Ok((fd, size)) => zwp_virtual_keyboard_v1::Request::Keymap { format, fd, size },
                    Err(reason) => {
                        // The protocol has no error for it; without a keymap every key is one.
                        let pid = process_of(client);
                        return warn!(pid, reason, "a client's keymap is not taken");
                    }
                }
            }
            other => other,
        };
        <VirtualKeyboardManagerState as Dispatch<_, _, Self>>::request(
            compositor, client, keyboard, request, data, display, init,
        );
    }
}

/// The keymap as XKB writes it itself, in memory of ours.
fn read(file: OwnedFd, size: u32) -> Result<(OwnedFd, u32), String> {
    let bytes =
        foreign_memory::copy(file, size as usize, limits::KEYMAP).map_err(|error| error.to_string())?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let context = xkb::Context::new(xkb::CONTEXT_NO_DEFAULT_INCLUDES);
    let keymap = xkb::Keymap::new_from_string(
        &context,
        text.to_owned(),
        xkb::KEYMAP_FORMAT_TEXT_V1,
        xkb::KEYMAP_COMPILE_NO_FLAGS,
    );
    let keymap = keymap.ok_or("XKB does not understand it")?;
    let text = keymap.get_as_string(xkb::KEYMAP_FORMAT_TEXT_V1);
    let file = foreign_memory::in_memory("keymap", text.as_bytes()).map_err(|error| error.to_string())?;
    let size = u32::try_from(text.len()).map_err(|error| error.to_string())?;
    Ok((file, size))
}
