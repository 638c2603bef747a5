//! What a hotkey does.

use tracing::{info, warn};

use crate::display::hotkey::Action;
use crate::display::{Compositor, Notice, OverlayKind};

impl Compositor {
    /// Does what the hotkey asks for, or tells the session, whose business it is.
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Quit => {
                info!("quit by hotkey");
                self.stop();
            }
            Action::Terminal => {
                let terminal = self.desk.config.settings.terminal();
                if let Err(error) = self.spawn(&terminal) {
                    warn!(%error, "no terminal");
                }
            }
            Action::NextPlacement => self.set_placement(self.desk.config.placement.next()),
            Action::NextPalette => self.desk.notify(Notice::NextPalette),
            Action::Mode(mode) => self.desk.notify(Notice::Mode(mode)),
            Action::Glow => self.desk.notify(Notice::Glow),
            Action::Animation => self.desk.notify(Notice::Animation),
            Action::Scale => self.desk.notify(Notice::Scale),
            Action::LookAt(command) => self.desk.notify(Notice::LookAt(command)),
            Action::Freeze => self.desk.notify(Notice::Freeze),
            Action::Screenshot => self.desk.notify(Notice::Screenshot),
            Action::Picker => self.toggle_overlay(OverlayKind::Picker),
            Action::Help => self.toggle_overlay(OverlayKind::Hotkeys),
            Action::NextKeyboardLayout => self.next_keyboard_layout(),
            Action::HandOver => self.hand_over_hotkeys(),
            Action::Window(command) => self.desk.window_command(command),
            Action::SwitchVt(vt) => {
                let kiosk = &self.desk.config.settings.kiosk;
                if !kiosk.enabled || kiosk.vt_switch {
                    self.backend.switch_vt(vt);
                }
            }
        }
    }
}
