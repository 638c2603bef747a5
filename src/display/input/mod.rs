//! Keys, pointer and touch: to the client that has the focus, or to the compositor itself when it is a hotkey.
//!
//! ```text
//!  device event ─► keyboard ─┬─► hotkey ─► actions ─► windows, map, session
//!                            └─► client
//!               ─► pointer, touch ─► under (what is at this point?) ─► client
//! ```

mod actions;
mod keyboard;
mod map;
mod pointer;
mod seat;
mod touch;
mod under;

use smithay::backend::input::{Event, InputBackend, InputEvent};

pub use keyboard::KeyboardLayouts;
pub(crate) use keyboard::Keys;
pub use map::{MapCommand, MapPoint, MapPointer};
pub(crate) use seat::Devices;

use super::Compositor;

impl Compositor {
    /// One event of any input device.
    pub(crate) fn input<B: InputBackend>(&mut self, event: InputEvent<B>) {
        if !matches!(event, InputEvent::DeviceAdded { .. } | InputEvent::DeviceRemoved { .. }) {
            self.desk.notice_activity();
        }
        match event {
            InputEvent::DeviceAdded { ref device } => {
                self.device_added(device);
                self.tablet(&event);
            }
            InputEvent::DeviceRemoved { ref device } => {
                self.device_removed(device);
                self.tablet(&event);
            }
            InputEvent::Keyboard { event } => self.key::<B>(&event),
            InputEvent::PointerMotion { event } => self.pointer_moved::<B>(&event),
            InputEvent::PointerMotionAbsolute { event } => {
                if let Some(to) = self.absolute::<B, _>(&event) {
                    self.pointer_to(to, event.time_msec());
                }
            }
            InputEvent::PointerButton { event } => self.button::<B>(&event),
            InputEvent::PointerAxis { event } => self.axis::<B>(&event),
            InputEvent::TouchDown { event } => self.touch_down::<B>(&event),
            InputEvent::TouchMotion { event } => self.touch_motion::<B>(&event),
            InputEvent::TouchUp { event } => self.touch_up::<B>(&event),
            InputEvent::TouchCancel { .. } => self.touch_cancel(),
            InputEvent::TouchFrame { .. } => self.touch_frame(),
            event => {
                self.tablet(&event);
                self.gesture(&event);
            }
        }
    }
}
