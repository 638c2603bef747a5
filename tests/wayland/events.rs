//! What clients are told, written down.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use wayland_client::backend::ObjectId;
use wayland_client::globals::GlobalListContents;
use wayland_client::protocol::wl_buffer::WlBuffer;
use wayland_client::protocol::wl_callback::WlCallback;
use wayland_client::protocol::wl_compositor::WlCompositor;
use wayland_client::protocol::wl_data_device::{self, WlDataDevice};
use wayland_client::protocol::wl_data_device_manager::WlDataDeviceManager;
use wayland_client::protocol::wl_data_offer::{self, WlDataOffer};
use wayland_client::protocol::wl_data_source::{self, WlDataSource};
use wayland_client::protocol::wl_keyboard::{self, WlKeyboard};
use wayland_client::protocol::wl_output::WlOutput;
use wayland_client::protocol::wl_pointer::{self, WlPointer};
use wayland_client::protocol::wl_region::WlRegion;
use wayland_client::protocol::wl_registry::WlRegistry;
use wayland_client::protocol::wl_seat::WlSeat;
use wayland_client::protocol::wl_surface::WlSurface;
use wayland_client::protocol::wl_touch::{self, WlTouch};
use wayland_client::{Connection, Dispatch, Proxy, QueueHandle, WEnum, delegate_noop, event_created_child};
use wayland_protocols::ext::data_control::v1::client::ext_data_control_device_v1::{
    self, ExtDataControlDeviceV1,
};
use wayland_protocols::ext::data_control::v1::client::ext_data_control_manager_v1::ExtDataControlManagerV1;
use wayland_protocols::ext::data_control::v1::client::ext_data_control_offer_v1::ExtDataControlOfferV1;
use wayland_protocols::ext::data_control::v1::client::ext_data_control_source_v1::{
    self, ExtDataControlSourceV1,
};
use wayland_protocols::ext::foreign_toplevel_list::v1::client::ext_foreign_toplevel_handle_v1::{
    self, ExtForeignToplevelHandleV1,
};
use wayland_protocols::ext::foreign_toplevel_list::v1::client::ext_foreign_toplevel_list_v1::{
    self, ExtForeignToplevelListV1,
};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notification_v1::{
    self, ExtIdleNotificationV1,
};
use wayland_protocols::ext::idle_notify::v1::client::ext_idle_notifier_v1::ExtIdleNotifierV1;
use wayland_protocols::ext::session_lock::v1::client::ext_session_lock_manager_v1::ExtSessionLockManagerV1;
use wayland_protocols::ext::session_lock::v1::client::ext_session_lock_surface_v1::{
    self, ExtSessionLockSurfaceV1,
};
use wayland_protocols::ext::session_lock::v1::client::ext_session_lock_v1::{self, ExtSessionLockV1};
use wayland_protocols::wp::commit_timing::v1::client::wp_commit_timer_v1::WpCommitTimerV1;
use wayland_protocols::wp::commit_timing::v1::client::wp_commit_timing_manager_v1::WpCommitTimingManagerV1;
use wayland_protocols::wp::fifo::v1::client::wp_fifo_manager_v1::WpFifoManagerV1;
use wayland_protocols::wp::fifo::v1::client::wp_fifo_v1::WpFifoV1;
use wayland_protocols::wp::fractional_scale::v1::client::wp_fractional_scale_manager_v1::WpFractionalScaleManagerV1;
use wayland_protocols::wp::fractional_scale::v1::client::wp_fractional_scale_v1::{
    self, WpFractionalScaleV1,
};
use wayland_protocols::wp::idle_inhibit::zv1::client::zwp_idle_inhibit_manager_v1::ZwpIdleInhibitManagerV1;
use wayland_protocols::wp::idle_inhibit::zv1::client::zwp_idle_inhibitor_v1::ZwpIdleInhibitorV1;
use wayland_protocols::wp::keyboard_shortcuts_inhibit::zv1::client::zwp_keyboard_shortcuts_inhibit_manager_v1::ZwpKeyboardShortcutsInhibitManagerV1;
use wayland_protocols::wp::keyboard_shortcuts_inhibit::zv1::client::zwp_keyboard_shortcuts_inhibitor_v1::{
    self, ZwpKeyboardShortcutsInhibitorV1,
};
use wayland_protocols::wp::pointer_constraints::zv1::client::zwp_confined_pointer_v1::{
    self, ZwpConfinedPointerV1,
};
use wayland_protocols::wp::pointer_constraints::zv1::client::zwp_locked_pointer_v1::{
    self, ZwpLockedPointerV1,
};
use wayland_protocols::wp::pointer_constraints::zv1::client::zwp_pointer_constraints_v1::ZwpPointerConstraintsV1;
use wayland_protocols::wp::presentation_time::client::wp_presentation::{self, WpPresentation};
use wayland_protocols::wp::presentation_time::client::wp_presentation_feedback::{
    self, Kind, WpPresentationFeedback,
};
use wayland_protocols::wp::relative_pointer::zv1::client::zwp_relative_pointer_manager_v1::ZwpRelativePointerManagerV1;
use wayland_protocols::wp::relative_pointer::zv1::client::zwp_relative_pointer_v1::{
    self, ZwpRelativePointerV1,
};
use wayland_protocols::wp::single_pixel_buffer::v1::client::wp_single_pixel_buffer_manager_v1::WpSinglePixelBufferManagerV1;
use wayland_protocols::wp::viewporter::client::wp_viewport::WpViewport;
use wayland_protocols::wp::viewporter::client::wp_viewporter::WpViewporter;
use wayland_protocols::xdg::activation::v1::client::xdg_activation_token_v1::{self, XdgActivationTokenV1};
use wayland_protocols::xdg::activation::v1::client::xdg_activation_v1::XdgActivationV1;
use wayland_protocols::xdg::shell::client::xdg_popup::{self, XdgPopup};
use wayland_protocols::xdg::shell::client::xdg_positioner::XdgPositioner;
use wayland_protocols::xdg::shell::client::xdg_surface::{self, XdgSurface};
use wayland_protocols::xdg::shell::client::xdg_toplevel::{self, XdgToplevel};
use wayland_protocols::xdg::shell::client::xdg_wm_base::{self, XdgWmBase};
use wayland_protocols_wlr::layer_shell::v1::client::zwlr_layer_shell_v1::ZwlrLayerShellV1;
use wayland_protocols_wlr::layer_shell::v1::client::zwlr_layer_surface_v1::{self, ZwlrLayerSurfaceV1};

use super::Panel;

/// Something that a client was told.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    KeyboardEnter(ObjectId),
    KeyboardLeave(ObjectId),
    Key(u32, bool),
    PointerEnter(ObjectId, f64, f64),
    PointerLeave(ObjectId),
    PointerMotion(f64, f64),
    Button(u32, bool),
    RelativeMotion(f64, f64),
    TouchDown(ObjectId, f64, f64),
    PointerLocked,
    PointerUnlocked,
    PointerConfined,
    PointerUnconfined,
    Configured(ObjectId, i32, i32),
    PopupAt(i32, i32, i32, i32),
    PopupDone(ObjectId),
    LayerConfigured(u32, u32),
    LayerClosed,
    SessionLocked,
    LockFinished,
    LockConfigured(u32, u32),
    Idled,
    Resumed,
    Clock(u32),
    Presented { time_ns: u128, refresh_ns: u32, sequence: u64, flags: Kind },
    Discarded,
    PreferredScale(u32),
    Token(String),
    Selection(bool),
    DragEnter(ObjectId),
    Dropped,
    DropPerformed,
    SourceCancelled,
    Title(String),
    ToplevelClosed,
    ShortcutsInhibited(bool),
    CaptureSize(u32, u32),
    CaptureStopped,
    CaptureReady,
    CaptureFailed,
}

/// All that one client was told.
#[derive(Default)]
pub struct Heard {
    pub said: Vec<Said>,
    /// The newest serial of an input event.
    pub serial: u32,
    /// The newest offer of a selection or a drag.
    pub offer: Option<WlDataOffer>,
    /// The windows that are listed, in the order in which they appeared.
    pub listed: Vec<ExtForeignToplevelHandleV1>,
    /// Files that somebody wants the selection written to.
    pub wanted: Vec<(String, OwnedFd)>,
}

macro_rules! hear {
    ($interface:ty, $data:ty, |$heard:ident, $proxy:ident, $data_name:ident| $($pattern:pat => $answer:expr),+ $(,)?) => {
        impl Dispatch<$interface, $data> for Heard {
            fn event(
                $heard: &mut Self,
                $proxy: &$interface,
                event: <$interface as Proxy>::Event,
                $data_name: &$data,
                _: &Connection,
                _: &QueueHandle<Self>,
            ) {
                match event {
                    $($pattern => $answer,)+
                    #[allow(unreachable_patterns)]
                    _ => {}
                }
            }
        }
    };
}

pub(super) use hear;

hear!(WlKeyboard, (), |heard, _proxy, _data|
    wl_keyboard::Event::Enter { serial, surface, .. } => {
        heard.serial = serial;
        heard.said.push(Said::KeyboardEnter(surface.id()));
    },
    wl_keyboard::Event::Leave { surface, .. } => heard.said.push(Said::KeyboardLeave(surface.id())),
    wl_keyboard::Event::Key { serial, key, state, .. } => {
        heard.serial = serial;
        heard.said.push(Said::Key(key, state == WEnum::Value(wl_keyboard::KeyState::Pressed)));
    },
);
hear!(WlPointer, (), |heard, _proxy, _data|
    wl_pointer::Event::Enter { serial, surface, surface_x, surface_y } => {
        heard.serial = serial;
        heard.said.push(Said::PointerEnter(surface.id(), surface_x, surface_y));
    },
    wl_pointer::Event::Leave { surface, .. } => heard.said.push(Said::PointerLeave(surface.id())),
    wl_pointer::Event::Motion { surface_x, surface_y, .. } => {
        heard.said.push(Said::PointerMotion(surface_x, surface_y));
    },
    wl_pointer::Event::Button { serial, button, state, .. } => {
        heard.serial = serial;
        heard.said.push(Said::Button(button, state == WEnum::Value(wl_pointer::ButtonState::Pressed)));
    },
);
hear!(WlTouch, (), |heard, _proxy, _data|
    wl_touch::Event::Down { serial, surface, x, y, .. } => {
        heard.serial = serial;
        heard.said.push(Said::TouchDown(surface.id(), x, y));
    },
);
hear!(ZwpRelativePointerV1, (), |heard, _proxy, _data|
    zwp_relative_pointer_v1::Event::RelativeMotion { dx, dy, .. } => {
        heard.said.push(Said::RelativeMotion(dx, dy));
    },
);
hear!(ZwpLockedPointerV1, (), |heard, _proxy, _data|
    zwp_locked_pointer_v1::Event::Locked => heard.said.push(Said::PointerLocked),
    zwp_locked_pointer_v1::Event::Unlocked => heard.said.push(Said::PointerUnlocked),
);
hear!(ZwpConfinedPointerV1, (), |heard, _proxy, _data|
    zwp_confined_pointer_v1::Event::Confined => heard.said.push(Said::PointerConfined),
    zwp_confined_pointer_v1::Event::Unconfined => heard.said.push(Said::PointerUnconfined),
);
hear!(XdgWmBase, (), |_heard, proxy, _data|
    xdg_wm_base::Event::Ping { serial } => proxy.pong(serial),
);
hear!(XdgSurface, Arc<Panel>, |_heard, proxy, panel|
    xdg_surface::Event::Configure { serial } => {
        proxy.ack_configure(serial);
        panel.draw();
    },
);
hear!(XdgToplevel, Arc<Panel>, |heard, _proxy, panel|
    xdg_toplevel::Event::Configure { width, height, .. } => {
        if width > 0 && height > 0 {
            *panel.size.lock().expect("its size") = (width, height);
        }
        heard.said.push(Said::Configured(panel.id(), width, height));
    },
);
hear!(XdgPopup, Arc<Panel>, |heard, _proxy, panel|
    xdg_popup::Event::Configure { x, y, width, height } => heard.said.push(Said::PopupAt(x, y, width, height)),
    xdg_popup::Event::PopupDone => heard.said.push(Said::PopupDone(panel.id())),
);
hear!(ZwlrLayerSurfaceV1, Arc<Panel>, |heard, proxy, panel|
    zwlr_layer_surface_v1::Event::Configure { serial, width, height } => {
        proxy.ack_configure(serial);
        *panel.size.lock().expect("its size") = (width as i32, height as i32);
        heard.said.push(Said::LayerConfigured(width, height));
        panel.draw();
    },
    zwlr_layer_surface_v1::Event::Closed => heard.said.push(Said::LayerClosed),
);
hear!(ExtSessionLockV1, (), |heard, _proxy, _data|
    ext_session_lock_v1::Event::Locked => heard.said.push(Said::SessionLocked),
    ext_session_lock_v1::Event::Finished => heard.said.push(Said::LockFinished),
);
hear!(ExtSessionLockSurfaceV1, Arc<Panel>, |heard, proxy, panel|
    ext_session_lock_surface_v1::Event::Configure { serial, width, height } => {
        proxy.ack_configure(serial);
        *panel.size.lock().expect("its size") = (width as i32, height as i32);
        heard.said.push(Said::LockConfigured(width, height));
        panel.draw();
    },
);
hear!(ExtIdleNotificationV1, (), |heard, _proxy, _data|
    ext_idle_notification_v1::Event::Idled => heard.said.push(Said::Idled),
    ext_idle_notification_v1::Event::Resumed => heard.said.push(Said::Resumed),
);
hear!(WpPresentation, (), |heard, _proxy, _data|
    wp_presentation::Event::ClockId { clk_id } => heard.said.push(Said::Clock(clk_id)),
);
hear!(WpPresentationFeedback, (), |heard, _proxy, _data|
    wp_presentation_feedback::Event::Presented { tv_sec_hi, tv_sec_lo, tv_nsec, refresh, seq_hi, seq_lo, flags } => {
        let seconds = (u128::from(tv_sec_hi) << 32) | u128::from(tv_sec_lo);
        heard.said.push(Said::Presented {
            time_ns: seconds * 1_000_000_000 + u128::from(tv_nsec),
            refresh_ns: refresh,
            sequence: (u64::from(seq_hi) << 32) | u64::from(seq_lo),
            flags: flags.into_result().expect("flags"),
        });
    },
    wp_presentation_feedback::Event::Discarded => heard.said.push(Said::Discarded),
);
hear!(WpFractionalScaleV1, (), |heard, _proxy, _data|
    wp_fractional_scale_v1::Event::PreferredScale { scale } => heard.said.push(Said::PreferredScale(scale)),
);
hear!(XdgActivationTokenV1, (), |heard, _proxy, _data|
    xdg_activation_token_v1::Event::Done { token } => heard.said.push(Said::Token(token)),
);
hear!(ExtForeignToplevelHandleV1, (), |heard, _proxy, _data|
    ext_foreign_toplevel_handle_v1::Event::Title { title } => heard.said.push(Said::Title(title)),
    ext_foreign_toplevel_handle_v1::Event::Closed => heard.said.push(Said::ToplevelClosed),
);
hear!(ZwpKeyboardShortcutsInhibitorV1, (), |heard, _proxy, _data|
    zwp_keyboard_shortcuts_inhibitor_v1::Event::Active => heard.said.push(Said::ShortcutsInhibited(true)),
    zwp_keyboard_shortcuts_inhibitor_v1::Event::Inactive => heard.said.push(Said::ShortcutsInhibited(false)),
);
hear!(WlDataSource, (), |heard, _proxy, _data|
    wl_data_source::Event::Send { mime_type, fd } => heard.wanted.push((mime_type, fd)),
    wl_data_source::Event::Cancelled => heard.said.push(Said::SourceCancelled),
    wl_data_source::Event::DndDropPerformed => heard.said.push(Said::DropPerformed),
);
hear!(ExtDataControlSourceV1, (), |heard, _proxy, _data|
    ext_data_control_source_v1::Event::Send { mime_type, fd } => heard.wanted.push((mime_type, fd)),
    ext_data_control_source_v1::Event::Cancelled => heard.said.push(Said::SourceCancelled),
);
hear!(WlDataOffer, (), |_heard, _proxy, _data| wl_data_offer::Event::Offer { .. } => {},);

impl Dispatch<WlDataDevice, ()> for Heard {
    fn event(
        heard: &mut Self,
        _: &WlDataDevice,
        event: wl_data_device::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        match event {
            wl_data_device::Event::Selection { id } => {
                heard.said.push(Said::Selection(id.is_some()));
                heard.offer = id;
            }
            wl_data_device::Event::Enter { surface, id, .. } => {
                heard.said.push(Said::DragEnter(surface.id()));
                heard.offer = id;
            }
            wl_data_device::Event::Drop => heard.said.push(Said::Dropped),
            _ => {}
        }
    }

    event_created_child!(Heard, WlDataDevice, [wl_data_device::EVT_DATA_OFFER_OPCODE => (WlDataOffer, ())]);
}

impl Dispatch<ExtDataControlDeviceV1, ()> for Heard {
    fn event(
        heard: &mut Self,
        _: &ExtDataControlDeviceV1,
        event: ext_data_control_device_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let ext_data_control_device_v1::Event::Selection { id } = event {
            heard.said.push(Said::Selection(id.is_some()));
        }
    }

    event_created_child!(Heard, ExtDataControlDeviceV1, [
        ext_data_control_device_v1::EVT_DATA_OFFER_OPCODE => (ExtDataControlOfferV1, ())
    ]);
}

impl Dispatch<ExtForeignToplevelListV1, ()> for Heard {
    fn event(
        heard: &mut Self,
        _: &ExtForeignToplevelListV1,
        event: ext_foreign_toplevel_list_v1::Event,
        (): &(),
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
        if let ext_foreign_toplevel_list_v1::Event::Toplevel { toplevel } = event {
            heard.listed.push(toplevel);
        }
    }

    event_created_child!(Heard, ExtForeignToplevelListV1, [
        ext_foreign_toplevel_list_v1::EVT_TOPLEVEL_OPCODE => (ExtForeignToplevelHandleV1, ())
    ]);
}

impl Dispatch<WlRegistry, GlobalListContents> for Heard {
    fn event(
        _: &mut Self,
        _: &WlRegistry,
        _: <WlRegistry as Proxy>::Event,
        _: &GlobalListContents,
        _: &Connection,
        _: &QueueHandle<Self>,
    ) {
    }
}

delegate_noop!(Heard: ignore WlCompositor);
delegate_noop!(Heard: ignore WlSurface);
delegate_noop!(Heard: ignore WlRegion);
delegate_noop!(Heard: ignore WlCallback);
delegate_noop!(Heard: ignore WlBuffer);
delegate_noop!(Heard: ignore WlSeat);
delegate_noop!(Heard: ignore WlOutput);
delegate_noop!(Heard: ignore WlDataDeviceManager);
delegate_noop!(Heard: ignore XdgPositioner);
delegate_noop!(Heard: ignore WpSinglePixelBufferManagerV1);
delegate_noop!(Heard: ignore WpViewporter);
delegate_noop!(Heard: ignore WpViewport);
delegate_noop!(Heard: ignore ZwlrLayerShellV1);
delegate_noop!(Heard: ignore ExtSessionLockManagerV1);
delegate_noop!(Heard: ignore ExtIdleNotifierV1);
delegate_noop!(Heard: ignore ZwpIdleInhibitManagerV1);
delegate_noop!(Heard: ignore ZwpIdleInhibitorV1);
delegate_noop!(Heard: ignore ZwpPointerConstraintsV1);
delegate_noop!(Heard: ignore ZwpRelativePointerManagerV1);
delegate_noop!(Heard: ignore WpFractionalScaleManagerV1);
delegate_noop!(Heard: ignore WpFifoManagerV1);
delegate_noop!(Heard: ignore WpFifoV1);
delegate_noop!(Heard: ignore ZwpKeyboardShortcutsInhibitManagerV1);
delegate_noop!(Heard: ignore WpCommitTimingManagerV1);
delegate_noop!(Heard: ignore WpCommitTimerV1);
delegate_noop!(Heard: ignore XdgActivationV1);
delegate_noop!(Heard: ignore ExtDataControlManagerV1);
delegate_noop!(Heard: ignore ExtDataControlOfferV1);
